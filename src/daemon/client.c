/* SPDX-License-Identifier: MIT */
/*
 * client.c - from its first bytes to what it is told
 *
 *     connected --> undecided: is told bytes 'L' for its own cgroup, for systemd's clients that
 *        |             |       write nothing
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
 * there already. A record that finds none is remembered as "pending", and when there is room a WELCOME
 * has the present state. Our send buffer is kept small, which bounds what the kernel holds for it. Only
 * a client whose subscription is refused is hung up on: one that shut down its writing side still reads.
 */
#include "daemon/client.h"

#include "core/scan.h"
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
#define OURS "psibridge/"

static char scratch[WIRE_HELLO_MAX]; /* one thread, and nothing stays in it */

static int watch_socket(struct client *c);

static struct client *client_of(const struct subscriber *s)
{
	return CONTAINER_OF((struct subscriber *)(uintptr_t)s, struct client, subscriber);
}

void client_free(struct client *c)
{
	unsubscribe(&c->subscriber);
	LIST_REMOVE(c, list);
	sd_event_source_disable_unref(c->source);
	fd_close(&c->fd);
	free(c);
}

/* Hang up. Never from within a notification. */
static void client_end(struct client *c)
{
	struct daemon *d = c->server->daemon;

	/* a stored copy keeps the connection; shut down, the manager drops that too */
	shutdown(c->fd, SHUT_RDWR);
	states_remove(c->state);
	client_free(c);
	d->calls->status_changed(d);
}

/* ---- telling ------------------------------------------------------------------------------------- */

/* False: there is no room. Any other error: the peer is gone, and the poll says so. Half of a record is never taken: what
 * fits into half of the buffer is one piece to the kernel (unix_stream_sendmsg() in net/unix/af_unix.c). */
static bool put(struct client *c, const void *data, size_t size)
{
	ssize_t n = send(c->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		c->server->view.told++;
	return n >= 0 || errno != EAGAIN;
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
		.cause = (uint8_t)n->cause,
		.cause_up = (uint16_t)(n->cause_length > 0
					       ? cgpath_levels_above(n->cgroup, n->cause_length)
					       : 0),
		.cause_is_high = n->cause_is_high != 0,
	};

	if (c->pending) {
		c->server->view.replaced++;
	} else if (!put(c, &record, sizeof(record))) {
		c->pending = true;
		(void)watch_socket(c);
	}
}

static void put_byte(struct client *c)
{
	static const char low = WIRE_LOW;

	if (!put(c, &low, 1))
		c->server->view.replaced++;
}

static void remember(struct client *c, const struct psb_notification *n, uint64_t told_usec)
{
	c->state->told_usec = told_usec;
	c->state->available = (uint8_t)n->available;
	c->state->critical = n->critical != 0;
}

/* The present state; a Low that was there before it came is news to a client without records. */
static void welcome(struct client *c)
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
	if (c->state->protocol == PROTOCOL_RECORDS)
		put_record(c, WIRE_WELCOME, &n);
	else if (n.available == PSB_LOW)
		put_byte(c);
}

void client_notify(struct subscriber *s, const struct psb_notification *n)
{
	struct client *c = client_of(s);

	if (subscriber_in_shadow(s))
		return;
	remember(c, n, n->time_usec);
	if (c->state->protocol == PROTOCOL_RECORDS)
		put_record(c, n->kind == PSB_KIND_GONE ? WIRE_GONE : WIRE_LEVEL, n);
	else if (n->kind == PSB_KIND_LEVEL && n->available == PSB_LOW)
		put_byte(c);
}

void client_terms(const struct subscriber *s, struct policy_options *ret)
{
	*ret = client_of(s)->state->terms;
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
	int r;

	unsubscribe(&c->subscriber);
	r = subscribe(c->server->daemon->table, &c->subscriber, cgroup, &c->state->terms, last,
		      ret_why);
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
	c->state->terms = (struct policy_options){ 0 };
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

static void join_own(struct client *c, const struct peer *peer, const struct psb_notification *last)
{
	c->state->uid = peer->uid;
	c->state->pid = peer->pid;
	c->state->privileged = peer->privileged;
	c->state->peer_hash = peer_hash(peer);
	join_anyhow(c, peer->cgroup, last);
}

/* The cgroup that it is subscribed to; of one that is undecided, its own: where it connected from, wherever it may be by
 * now. ret[CGPATH_MAX]; "": not known. */
static void path_of(const struct client *c, char *ret)
{
	snprintf(ret, CGPATH_MAX, "%s",
		 c->subscriber.watch ? subscriber_path(&c->subscriber) : c->state->cgroup);
}

static int take_subscription(struct client *c, const struct wire_hello *hello, const char **ret_why)
{
	struct peer peer = { .privileged = c->state->privileged };
	char path[CGPATH_MAX];
	int r;

	c->state->terms = hello->terms;
	path_of(c, peer.cgroup);
	if (!peer.cgroup[0])
		return scan_refuse(-ENOENT, "nothing is known of its own cgroup", ret_why);
	r = peer_resolve(&peer, hello->cgroup, hello->cgroup_size, path, ret_why);
	if (r == 0)
		r = join(c, path, NULL, ret_why);
	if (r == -EUSERS)
		r = join_without_terms(c, path, NULL, ret_why);
	if (r < 0)
		return r;
	*ret_why = subscriber_failure(&c->subscriber);
	if (*ret_why)
		return -EOPNOTSUPP; /* the client has a ladder of its own, and tries again */
	c->state->protocol = PROTOCOL_RECORDS;
	welcome(c);
	return 0;
}

static void take_trigger(struct client *c, const struct wire_hello *hello)
{
	char path[CGPATH_MAX];

	c->state->protocol = PROTOCOL_PLAIN;
	if (!c->subscriber.watch)
		return;
	c->state->terms = hello->terms;
	path_of(c, path);
	join_anyhow(c, path, NULL);
}

void server_refused(struct server *s, const char *format, ...)
{
	uint64_t now = now_usec();
	char why[256], more[64] = "";
	va_list args;

	s->view.refused++;
	s->refused_unlogged++;
	if (s->refused_logged_usec > 0 && now < s->refused_logged_usec + REFUSALS_USEC)
		return;
	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	if (s->refused_unlogged > 1)
		snprintf(more, sizeof(more), " (and %u before)", s->refused_unlogged - 1);
	journal_log(s->daemon->journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
		    "refused a client%s: %s", more, why);
	s->refused_unlogged = 0;
	s->refused_logged_usec = now;
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
	(void)put(c, &record, sizeof(record));
	/* closed with unread bytes the peer gets a reset, and the record is lost */
	shutdown(c->fd, SHUT_RD); /* first, or a client that keeps writing never lets it end */
	while (recv(c->fd, scratch, sizeof(scratch), MSG_DONTWAIT) > 0)
		;
	server_refused(c->server, "pid %d, uid %u: %s", (int)c->state->pid, (unsigned)c->state->uid,
		       why);
	client_end(c);
}

/* False: it was refused, and is no more. */
static bool read_hello(struct client *c)
{
	struct wire_hello hello;
	const char *why = "";
	ssize_t n = recv(c->fd, scratch, sizeof(scratch), MSG_PEEK | MSG_DONTWAIT);
	bool is_ours = n >= (ssize_t)strlen(OURS) && memcmp(scratch, OURS, strlen(OURS)) == 0;
	int r;

	if (n <= 0)
		return true;
	r = wire_hello_parse(scratch, (size_t)n, &hello, &why);
	if (r == -EAGAIN && (size_t)n < sizeof(scratch))
		return true;
	if (r == -EAGAIN)
		r = scan_refuse(-EINVAL, "the line has no end", &why);
	if (r >= 0 && is_ours)
		r = take_subscription(c, &hello, &why);
	if (r < 0 && is_ours) {
		refuse(c, r, why);
		return false;
	}
	if (r < 0) {
		c->state->protocol = PROTOCOL_PLAIN;
		log_client(c, c->state->cgroup, "wrote what is ignored", why);
	} else if (!is_ours) {
		take_trigger(c, &hello);
	}
	recv(c->fd, scratch, (size_t)n, MSG_DONTWAIT); /* or it would look unread to the peer */
	return true;
}

/* ---- the socket ---------------------------------------------------------------------------------- */

static int spoke(_unused_ sd_event_source *source, _unused_ int fd, uint32_t events, void *userdata)
{
	struct client *c = userdata;

	if (events & (EPOLLHUP | EPOLLERR)) {
		client_end(c);
		return 0;
	}
	if ((events & EPOLLIN) && c->state->protocol == PROTOCOL_UNDECIDED && !read_hello(c))
		return 0;
	if ((events & EPOLLOUT) && c->pending) {
		c->pending = false;
		welcome(c);
	}
	(void)watch_socket(c);
	return 0;
}

/* Poll only for what is of interest now, and for changes: a client that keeps writing, or that shut down its writing
 * side, causes no wake-up. Errors: as sd_event_add_io(3), the first time; later ones can only say that the loop ended. */
static int watch_socket(struct client *c)
{
	bool reads = c->state->protocol == PROTOCOL_UNDECIDED;
	uint32_t events = EPOLLET | (reads ? EPOLLIN : 0u) | (c->pending ? EPOLLOUT : 0u);

	if (events == c->events)
		return 0;
	c->events = events;
	if (c->source)
		return sd_event_source_set_io_events(c->source, events);
	return sd_event_add_io(c->server->daemon->event, &c->source, c->fd, events, spoke, c);
}

/* ---- life ---------------------------------------------------------------------------------------- */

/* FNV-1a */
uint64_t peer_hash(const struct peer *peer)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (const char *s = peer->cgroup; *s; s++)
		hash = (hash ^ (unsigned char)*s) * UINT64_C(1099511628211);
	return hash;
}

/* Takes the descriptor over. NULL: no room. */
static struct client *make(struct server *s, int fd, bool *ret_known)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c)
		c->state = states_get(s->states, fd, ret_known);
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

void client_new(struct server *s, int fd, const struct peer *peer)
{
	bool is_known;
	struct client *c = make(s, fd, &is_known);

	if (!c)
		return;
	c->unstored = true;
	join_own(c, peer, NULL);
	if (!read_hello(c)) /* most have written by now */
		return;
	if (c->state->protocol != PROTOCOL_RECORDS)
		welcome(c);
	if (watch_socket(c) < 0)
		client_end(c);
}

void client_restore(struct server *s, int fd)
{
	bool is_known;
	struct client *c = make(s, fd, &is_known);
	struct psb_notification last = { .size = sizeof(last), .kind = PSB_KIND_LEVEL };
	char path[CGPATH_MAX];
	struct peer peer;

	if (!c)
		return;
	last.available = (enum psb_available)c->state->available;
	last.critical = c->state->critical;
	last.time_usec = c->state->told_usec;
	path_of(c, path);
	if (path[0])
		join_anyhow(c, path, &last);
	else if (peer_identify(fd, &s->daemon->cgroups, "/proc", now_usec(), &peer) == 0)
		join_own(c, &peer, is_known ? &last : NULL);
	if (c->state->protocol == PROTOCOL_RECORDS)
		welcome(c);
	else if (c->state->protocol == PROTOCOL_UNDECIDED && !read_hello(c))
		return;
	if (watch_socket(c) < 0)
		client_end(c);
}

void client_resubscribe(struct client *c)
{
	char path[CGPATH_MAX];

	path_of(c, path);
	if (c->subscriber.watch || !path[0])
		return;
	join_anyhow(c, path, NULL);
	if (c->subscriber.watch)
		welcome(c);
}
