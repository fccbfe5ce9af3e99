/* SPDX-License-Identifier: MIT */
/*
 * client.c - from its first bytes to what it is told
 *
 *     connected --> deciding: is told bytes 'L' for its own cgroup, for systemd's clients that
 *        |             |      write nothing
 *        |             +-- "some 200000 2000000" --> bytes, by its own threshold
 *        |             +-- "psibridge/1 ..."     --> records
 *        |             +-- anything else         --> bytes, and a warning in the journal
 *        v             |
 *     (restored from the store, decided or not)
 *
 * What it writes is read with MSG_PEEK until it is complete, so no buffer is kept for it. Once it is
 * decided nothing is read any more: what a client writes then fills its own socket, and only that.
 *
 * A client that does not read: a byte that finds no room is dropped, for as many unread ones lie
 * there already. A record that finds none is remembered as "pending", and when there is room the
 * present state is sent, the newest. Our send buffer is kept small, which bounds what the kernel
 * holds for it. Only a client whose subscription is refused is hung up on: one that shut down its
 * writing side still reads.
 */
#include "daemon/client.h"

#include "kernel/file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_BUFFER_BYTES 4096
#define REFUSALS_USEC (10 * USEC_PER_SEC)

static char scratch[WIRE_HELLO_MAX]; /* one thread, and nothing stays in it */

static void watch_socket(struct client *c);

static struct client *client_of(const struct subscriber *s)
{
	return CONTAINER_OF((struct subscriber *)(uintptr_t)s, struct client, subscriber);
}

/* Hang up; freed from the loop. */
static void client_end(struct client *c)
{
	if (c->ending)
		return;
	c->ending = true;
	c->deciding = c->pending = false;
	/* a stored copy keeps the connection; shut down, the manager drops that too */
	shutdown(c->fd, SHUT_RDWR);
	states_remove(c->server->states, c->state);
	c->server->daemon->calls->status_changed(c->server->daemon);
	/* never freed in here: the caller may still be in the middle of it */
	c->source = sd_event_source_disable_unref(c->source);
	timer_set(c->server->reaper, now_usec());
}

/* ---- telling ------------------------------------------------------------------------------------- */

static ssize_t put(struct client *c, const void *data, size_t size)
{
	ssize_t n = send(c->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		c->server->view.told++;
	return n < 0 ? -errno : n;
}

/* In place of one that finds no room the present state is sent later. */
static void put_record(struct client *c, enum wire_record_kind kind,
		       const struct psb_notification *n)
{
	const struct wire_record record = {
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = (uint16_t)kind,
		.available = (uint8_t)n->available,
		.critical = n->critical != 0,
		.reason = (uint8_t)n->reason,
		.time_usec = n->time_usec,
		.since_usec = n->since_usec,
		.some_total_usec = n->some_total_usec,
		.full_total_usec = n->full_total_usec,
		.stall_usec = n->stall_usec,
		.current_bytes = n->current_bytes,
		.limit_bytes = n->limit_bytes,
		.some_avg10_centi = n->some_avg10_centi,
	};
	ssize_t sent;

	if (c->pending) {
		c->server->view.replaced++;
		return;
	}
	sent = put(c, &record, sizeof(record));
	if (sent == -EAGAIN) {
		c->pending = true;
		c->greeting = kind == WIRE_WELCOME;
		watch_socket(c);
	} else if (sent >= 0 && sent < (ssize_t)sizeof(record)) {
		client_end(c); /* half a record cannot be taken back */
	} /* else it was taken, or the peer is gone, and the poll will say so */
}

static void remember(struct client *c, const struct psb_notification *n, uint64_t told_usec)
{
	c->state->told_usec = told_usec;
	c->state->available = (uint8_t)n->available;
	c->state->critical = n->critical != 0;
}

static void put_state(struct client *c, enum wire_record_kind kind)
{
	struct psb_notification n;
	bool is_told;

	subscriber_present(&c->subscriber, &n);
	if (subscriber_in_shadow(&c->subscriber)) {
		n.available = PSB_HIGH;
		n.critical = 0;
	}
	is_told = n.available == c->state->available; /* then Rearm goes on */
	remember(c, &n, is_told ? c->state->told_usec : now_usec());
	put_record(c, kind, &n);
}

static void put_byte(struct client *c)
{
	static const char low = WIRE_LOW;

	if (put(c, &low, 1) == -EAGAIN)
		c->server->view.replaced++;
}

void client_notify(struct subscriber *s, const struct psb_notification *n)
{
	struct client *c = client_of(s);

	if (c->ending || subscriber_in_shadow(s))
		return;
	remember(c, n, n->time_usec);
	if (c->state->protocol == PROTOCOL_RECORDS) {
		put_record(c, n->kind == PSB_KIND_GONE ? WIRE_GONE : WIRE_LEVEL, n);
	} else if (n->kind == PSB_KIND_LEVEL && n->available == PSB_LOW) {
		put_byte(c);
	}
}

void client_terms(const struct subscriber *s, struct policy_options *ret)
{
	state_get_terms(client_of(s)->state, ret);
}

void client_say_bye(struct client *c)
{
	struct psb_notification n;

	if (c->state->protocol != PROTOCOL_RECORDS || c->pending)
		return;
	subscriber_present(&c->subscriber, &n);
	put_record(c, WIRE_BYE, &n);
}

/* ---- subscribing --------------------------------------------------------------------------------- */

static int join(struct client *c, const char *cgroup, const struct psb_notification *last,
		const char **ret_why)
{
	struct policy_options terms;
	int r;

	state_get_terms(c->state, &terms);
	unsubscribe(&c->subscriber);
	r = subscribe(c->server->daemon->table, &c->subscriber, cgroup, &terms, last, ret_why);
	/* also without a watch: client_resubscribe() uses it. A longer path is found out anew */
	if (strlen(cgroup) < sizeof(c->state->cgroup))
		strcpy(c->state->cgroup, cgroup);
	else
		c->state->cgroup[0] = '\0';
	return r;
}

static void log_client(const struct client *c, const char *cgroup, const char *what,
		       const char *why)
{
	journal_log(c->server->daemon->journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
		    "%s: a client (pid %d) %s: %s", cgroup, (int)c->state->pid, what, why);
}

/* The daemon's own thresholds are better than none. */
static int join_without_terms(struct client *c, const char *cgroup,
			      const struct psb_notification *last, const char **ret_why)
{
	log_client(c, cgroup, "cannot have its thresholds", *ret_why);
	state_put_terms(c->state, &(struct policy_options){ 0 });
	return join(c, cgroup, last, ret_why);
}

/* A client of systemd's protocol is never refused: where no watch can be had, it waits for a configuration that has
 * one. */
static void join_anyhow(struct client *c, const char *cgroup, const struct psb_notification *last)
{
	const char *why = "";

	if (join(c, cgroup, last, &why) < 0 && join_without_terms(c, cgroup, last, &why) < 0)
		log_client(c, cgroup, "cannot be served", why);
}

/* What was Low before it came is news to it. */
static void welcome_plain(struct client *c)
{
	struct psb_notification n;

	if (subscriber_in_shadow(&c->subscriber))
		return;
	subscriber_present(&c->subscriber, &n);
	remember(c, &n, now_usec());
	if (n.available == PSB_LOW)
		put_byte(c);
}

void server_log_refused(struct server *s)
{
	struct journal *journal = s->daemon->journal;

	if (s->refused_untold == 0)
		return;
	if (s->refused_untold == 1)
		journal_log(journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED, "refused a client: %s",
			    s->refused_why);
	else
		journal_log(journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
			    "clients refused: %llu, the last one: %s",
			    (unsigned long long)s->refused_untold, s->refused_why);
	s->refused_untold = 0;
	s->refused_logged_usec = now_usec();
}

void server_refused(struct server *s, const char *format, ...)
{
	uint64_t next = s->refused_logged_usec + REFUSALS_USEC;
	va_list args;

	va_start(args, format);
	vsnprintf(s->refused_why, sizeof(s->refused_why), format, args);
	va_end(args);
	s->view.refused++;
	s->refused_untold++;
	if (s->refused_logged_usec == 0 || now_usec() >= next)
		server_log_refused(s);
	else
		timer_set(s->refusal, next);
}

static void refuse(struct client *c, int error, const char *why)
{
	struct wire_record record = {
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = WIRE_REFUSED,
		.available = PSB_HIGH,
		.reason = PSB_REASON_PRESENT,
		.error = (uint32_t)-error,
		.time_usec = now_usec(),
	};

	snprintf(record.text, sizeof(record.text), "%s", why);
	put(c, &record, sizeof(record));
	/* closed with unread bytes the peer gets a reset, and the record is lost */
	shutdown(c->fd, SHUT_RD); /* first, or a client that keeps writing never lets it end */
	while (recv(c->fd, scratch, sizeof(scratch), MSG_DONTWAIT) > 0)
		;
	server_refused(c->server, "pid %d, uid %u: %s", (int)c->state->pid, (unsigned)c->state->uid,
		       why);
	client_end(c);
}

/*
 * Whose pressure is asked for? Its own cgroup is the one that it connected from, wherever it may be
 * by now. Errors: those of peer_identify() and peer_resolve().
 */
static int resolve(struct client *c, const struct wire_hello *hello, char *path,
		   const char **ret_why)
{
	struct daemon *d = c->server->daemon;
	struct peer peer;
	int r;

	if (!hello->cgroup && c->subscriber.watch) {
		snprintf(path, CGPATH_MAX, "%s", subscriber_path(&c->subscriber));
		return 0;
	}
	r = peer_identify(c->fd, &d->cgroups, "/proc", now_usec(), &peer);
	if (r < 0) {
		*ret_why = "your credentials say nothing any more";
		return r;
	}
	if (c->subscriber.watch)
		snprintf(peer.cgroup, CGPATH_MAX, "%s", subscriber_path(&c->subscriber));
	return peer_resolve(&peer, hello->cgroup, hello->cgroup_size, path, ret_why);
}

static void take_subscription(struct client *c, const struct wire_hello *hello)
{
	char path[CGPATH_MAX];
	const char *why = "";
	int r;

	state_put_terms(c->state, &hello->terms);
	r = resolve(c, hello, path, &why);
	if (r == 0)
		r = join(c, path, NULL, &why);
	if (r == -EUSERS)
		r = join_without_terms(c, path, NULL, &why);
	if (r == 0) {
		why = subscriber_failure(&c->subscriber);
		r = why ? -EOPNOTSUPP : 0; /* the client has a ladder of its own, and tries again */
	}
	if (r < 0) {
		refuse(c, r, why);
		return;
	}
	c->state->protocol = PROTOCOL_RECORDS;
	put_state(c, WIRE_WELCOME);
}

static void take_trigger(struct client *c, const struct wire_hello *hello)
{
	struct policy_options had;
	char path[CGPATH_MAX];

	state_get_terms(c->state, &had);
	c->state->protocol = PROTOCOL_PLAIN;
	if (!c->subscriber.watch || trigger_is_same(&had.low, &hello->terms.low))
		return;
	state_put_terms(c->state, &hello->terms);
	snprintf(path, CGPATH_MAX, "%s", subscriber_path(&c->subscriber));
	join_anyhow(c, path, NULL);
}

static void complain(struct client *c, const char *why)
{
	c->state->protocol = PROTOCOL_PLAIN;
	log_client(c, c->state->cgroup, "wrote what is ignored", why);
}

static void read_hello(struct client *c)
{
	struct wire_hello hello;
	const char *why = "";
	ssize_t n = recv(c->fd, scratch, sizeof(scratch), MSG_PEEK | MSG_DONTWAIT);
	int r;

	if (n <= 0)
		return;
	r = wire_hello_parse(scratch, (size_t)n, &hello, &why);
	if (r == -EAGAIN && (size_t)n < sizeof(scratch))
		return;
	c->deciding = r == 1;
	if (r == -EAGAIN) {
		r = -EINVAL;
		why = "the line has no end";
	}
	if (r >= 0 && hello.kind == WIRE_SUBSCRIBE) {
		take_subscription(c, &hello);
	} else if (r >= 0) {
		take_trigger(c, &hello);
	} else if ((size_t)n >= strlen("psibridge/") &&
		   memcmp(scratch, "psibridge/", strlen("psibridge/")) == 0) {
		refuse(c, r, why);
	} else {
		complain(c, why);
	}
	if (!c->deciding && !c->ending) /* read, so that it does not look unread to the peer */
		recv(c->fd, scratch, (size_t)n, MSG_DONTWAIT);
}

/* ---- the socket ---------------------------------------------------------------------------------- */

static int spoke(_unused_ sd_event_source *source, _unused_ int fd, uint32_t events, void *userdata)
{
	struct client *c = userdata;

	if (c->ending)
		return 0;
	if (events & (EPOLLHUP | EPOLLERR)) {
		client_end(c);
		return 0;
	}
	if ((events & EPOLLIN) && c->deciding)
		read_hello(c);
	if ((events & EPOLLOUT) && c->pending && !c->ending) {
		c->pending = false;
		put_state(c, c->greeting ? WIRE_WELCOME : WIRE_LEVEL);
	}
	if (!c->ending)
		watch_socket(c);
	return 0;
}

/* Poll only for what is of interest now, and for changes: a client that keeps writing, or that shut down its writing
 * side, causes no wake-up. */
static void watch_socket(struct client *c)
{
	uint32_t events = EPOLLET | (c->deciding ? EPOLLIN : 0u) | (c->pending ? EPOLLOUT : 0u);
	int r;

	if (events == c->events || c->server->daemon->stopping) /* then the loop takes no more */
		return;
	c->events = events;
	r = c->source ? sd_event_source_set_io_events(c->source, events)
		      : sd_event_add_io(c->server->daemon->event, &c->source, c->fd, events, spoke,
					c);
	if (r < 0)
		client_end(c);
}

/* ---- life ---------------------------------------------------------------------------------------- */

uint64_t peer_hash(const struct peer *peer)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (const char *s = peer->cgroup; *s; s++)
		hash = (hash ^ (unsigned char)*s) * UINT64_C(1099511628211);
	return hash;
}

/* Takes the descriptor over. NULL: no room. */
static struct client *make(struct server *s, int fd, bool is_restored)
{
	struct client *c = calloc(1, sizeof(*c));
	uint64_t cookie;

	if (c && socket_cookie(fd, &cookie) == 0) {
		c->state = is_restored ? states_find(s->states, cookie) : NULL;
		c->is_known = c->state != NULL;
		if (!c->state)
			c->state = states_add(s->states, cookie);
	}
	if (!c || !c->state) {
		server_refused(s, "no room for another client");
		free(c);
		close(fd);
		return NULL;
	}
	c->server = s;
	c->fd = fd;
	LIST_INSERT_HEAD(&s->clients, c, list);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER_BYTES }, sizeof(int));
	return c;
}

static void join_own(struct client *c, const struct peer *peer, const struct psb_notification *last)
{
	c->state->uid = peer->uid;
	c->state->pid = peer->pid;
	c->state->peer_hash = peer_hash(peer);
	join_anyhow(c, peer->cgroup, last);
}

void client_new(struct server *s, int fd, const struct peer *peer)
{
	struct client *c = make(s, fd, false);

	if (!c)
		return;
	c->deciding = true;
	join_own(c, peer, NULL);
	read_hello(c); /* most have written by now */
	if (c->ending)
		return;
	if (c->state->protocol != PROTOCOL_RECORDS)
		welcome_plain(c);
	c->unstored = true;
	watch_socket(c);
}

void client_restore(struct server *s, int fd)
{
	struct client *c = make(s, fd, true);
	struct psb_notification last = { .size = sizeof(last), .kind = PSB_KIND_LEVEL };
	char path[STATE_PATH_MAX];
	struct peer peer;

	if (!c)
		return;
	last.available = (enum psb_available)c->state->available;
	last.critical = c->state->critical;
	last.time_usec = c->state->told_usec;
	c->deciding = c->state->protocol == PROTOCOL_UNDECIDED;
	strcpy(path, c->state->cgroup);
	if (path[0])
		join_anyhow(c, path, &last);
	else if (peer_identify(fd, &s->daemon->cgroups, "/proc", now_usec(), &peer) == 0)
		join_own(c, &peer, c->is_known ? &last : NULL);
	if (c->deciding)
		read_hello(c);
	else if (c->state->protocol == PROTOCOL_RECORDS)
		put_state(c, WIRE_WELCOME);
	if (!c->ending)
		watch_socket(c);
}

void client_free(struct client *c)
{
	unsubscribe(&c->subscriber);
	LIST_REMOVE(c, list);
	sd_event_source_disable_unref(c->source);
	fd_close(&c->fd);
	free(c);
}

void client_resubscribe(struct client *c)
{
	char path[STATE_PATH_MAX];

	if (c->ending || c->subscriber.watch || !c->state->cgroup[0])
		return;
	strcpy(path, c->state->cgroup);
	join_anyhow(c, path, NULL);
	if (!c->subscriber.watch)
		return;
	if (c->state->protocol == PROTOCOL_RECORDS)
		put_state(c, WIRE_LEVEL);
	else
		welcome_plain(c);
}
