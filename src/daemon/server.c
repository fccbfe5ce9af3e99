/* SPDX-License-Identifier: MIT */
/*
 * server.c - identify, count, refuse
 *
 * Counting walks the clients: a connection costs some microseconds for each thousand of them, and
 * no table has to be kept right.
 */
#include "daemon/server.h"

#include "kernel/file.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_FULL_USEC \
	(10 * USEC_PER_MSEC) /* the manager's queue may be as short as ten messages */
#define STORE_FAILED_USEC (1 * USEC_PER_SEC)

/* Give those to the manager that it has not yet; what finds no room is tried again. */
static int store(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	struct server *s = userdata;
	struct client *c;
	int r = 0;

	if (!manager_can_store(s->daemon->manager))
		return 0;
	LIST_FOREACH(c, &s->clients, list)
	{
		if (!c->unstored)
			continue;
		r = manager_try(s->daemon->manager, c->fd, "FDSTORE=1\nFDNAME=client");
		if (r < 0)
			break;
		c->unstored = false;
	}
	if (r < 0 && r != -EAGAIN && !s->store_failed)
		journal_log(s->daemon->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "clients cannot be stored, and would not survive a restart: %s",
			    strerror(-r));
	s->store_failed = r < 0 && r != -EAGAIN;
	if (r < 0)
		timer_set(s->store,
			  now_usec() + (r == -EAGAIN ? STORE_FULL_USEC : STORE_FAILED_USEC));
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
	store(NULL, 0, s);
	s->daemon->calls->status_changed(s->daemon);
}

/* ---- life --------------------------------------------------------------------------------------- */

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
	r = timer_new(d->event, store, s, &s->store);
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
	sd_event_source_disable_unref(s->store);
	states_free(s->states);
	free(s);
	return NULL;
}

void server_restored(struct server *s)
{
	states_prune(s->states);
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
	client_say_bye(c);
}

void server_view(const struct server *s, struct server_view *ret)
{
	const struct client *c;

	*ret = s->view;
	LIST_FOREACH(c, &s->clients, list)
	{
		ret->clients++;
		ret->records += c->state->protocol == PROTOCOL_RECORDS;
	}
	ret->plain = ret->clients - ret->records;
}
