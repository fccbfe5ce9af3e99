/* SPDX-License-Identifier: MIT */
/*
 * server.c - identify, count, refuse
 *
 * Counting walks the clients: a connection costs some microseconds for each thousand of them, and
 * no table has to be kept right.
 */
#include "daemon/server.h"

#include "kernel/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_AGAIN_MIN_USEC (2 * USEC_PER_MSEC)
#define STORE_AGAIN_MAX_USEC (1 * USEC_PER_SEC)

/* ---- the manager's store ------------------------------------------------------------------------ */

/* Give those to the manager that it has not yet. Its queue is short: what finds no room is tried
 * again soon. */
static void store(struct server *s)
{
	struct client *c;
	int r = 0;

	if (!manager_can_store(s->daemon->manager))
		return;
	LIST_FOREACH(c, &s->clients, list)
	{
		if (!c->unstored || c->ending)
			continue;
		r = manager_store(s->daemon->manager, "client", c->fd);
		if (r < 0)
			break;
		c->unstored = false;
	}
	if (r == 0) {
		s->store_pace_usec = STORE_AGAIN_MIN_USEC;
		return;
	}
	/* the manager is slow (its queue holds some ten messages), or gone */
	if (r != -EAGAIN && s->store_pace_usec < STORE_AGAIN_MAX_USEC)
		journal_log(s->daemon->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "clients cannot be stored, and would not survive a restart: %s",
			    strerror(-r));
	s->store_pace_usec = r == -EAGAIN ? MIN(2 * s->store_pace_usec, STORE_AGAIN_MAX_USEC)
					  : STORE_AGAIN_MAX_USEC;
	timer_set(s->store, now_usec() + s->store_pace_usec);
}

static int store_due(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	store(userdata);
	return 0;
}

static int refusals_due(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	server_log_refused(userdata);
	return 0;
}

/* ---- accepting ----------------------------------------------------------------------------------- */

/* Why it is refused; NULL: it is not. */
static const char *is_too_many(const struct server *s, const struct peer *peer)
{
	const uint64_t hash = peer_hash(peer);
	const struct config *config = s->daemon->config;
	unsigned all = 0, same_uid = 0, same_cgroup = 0;
	const struct client *c;

	LIST_FOREACH(c, &s->clients, list)
	{
		if (c->ending)
			continue;
		all++;
		same_uid += c->state->uid == peer->uid;
		/* a user can choose the path, and so perhaps its hash, but not the uid */
		same_cgroup += c->state->peer_hash == hash && c->state->uid == peer->uid;
	}
	if (all >= config->clients_max)
		return "ClientsMax= is reached";
	if (peer->uid != 0 && same_uid >= config->clients_per_uid)
		return "ClientsPerUid= is reached";
	if (same_cgroup >= config->clients_per_cgroup)
		return "ClientsPerCgroup= is reached";
	return NULL;
}

static void admit(int fd, void *userdata)
{
	struct server *s = userdata;
	struct peer peer;
	const char *why;
	int r = peer_identify(fd, &s->daemon->cgroups, "/proc", now_usec(), &peer);

	if (r < 0) {
		server_refused(s, "it cannot be identified: %s", strerror(-r));
		close(fd);
		return;
	}
	why = is_too_many(s, &peer);
	if (why) {
		server_refused(s, "pid %d, uid %u, %.100s: %s", (int)peer.pid, (unsigned)peer.uid,
			       peer.cgroup, why);
		close(fd);
		return;
	}
	s->view.accepted++;
	client_new(s, fd, &peer);
	store(s);
	s->daemon->calls->status_changed(s->daemon);
}

/* ---- life --------------------------------------------------------------------------------------- */

static int reap(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct server *s = userdata;

	for (struct client *c = LIST_FIRST(&s->clients), *next; c; c = next) {
		next = LIST_NEXT(c, list);
		if (c->ending)
			client_free(c);
	}
	return 0;
}

int server_new(struct daemon *d, struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->daemon = d;
	s->acceptor = (struct acceptor){ .fd = steal_fd(&d->notify_fd),
					 .journal = d->journal,
					 .accepted = admit,
					 .userdata = s };
	s->states = steal(d->states);
	s->store_pace_usec = STORE_AGAIN_MIN_USEC;
	r = timer_new(d->event, refusals_due, s, &s->refusal);
	if (r >= 0)
		r = timer_new(d->event, reap, s, &s->reaper);
	if (r >= 0)
		r = timer_new(d->event, store_due, s, &s->store);
	if (r < 0) {
		server_free(s);
		return r;
	}
	*ret = s;
	return 0;
}

int server_listen(struct server *s)
{
	return acceptor_start(&s->acceptor, s->daemon->event);
}

struct server *server_free(struct server *s)
{
	if (!s)
		return NULL;
	acceptor_end(&s->acceptor);
	while (!LIST_EMPTY(&s->clients))
		client_free(LIST_FIRST(&s->clients));
	server_log_refused(s);
	sd_event_source_disable_unref(s->refusal);
	sd_event_source_disable_unref(s->reaper);
	sd_event_source_disable_unref(s->store);
	states_free(s->states);
	free(s);
	return NULL;
}

static bool is_connected(uint64_t cookie, void *userdata)
{
	const struct server *s = userdata;
	const struct client *c;

	LIST_FOREACH(c, &s->clients, list)
	if (c->state->cookie == cookie)
		return true;
	return false;
}

void server_restored(struct server *s)
{
	states_prune(s->states, is_connected, s);
}

void server_resubscribe(struct server *s)
{
	struct client *c;

	LIST_FOREACH(c, &s->clients, list)
	client_resubscribe(c);
}

void server_say_bye(struct server *s)
{
	struct client *c;

	LIST_FOREACH(c, &s->clients, list)
	if (!c->ending)
		client_say_bye(c);
}

void server_view(const struct server *s, struct server_view *ret)
{
	const struct client *c;

	*ret = s->view;
	ret->clients = ret->plain = ret->records = 0;
	LIST_FOREACH(c, &s->clients, list)
	{
		if (c->ending)
			continue;
		ret->clients++;
		if (c->state->protocol == PROTOCOL_RECORDS)
			ret->records++;
		else
			ret->plain++;
	}
}
