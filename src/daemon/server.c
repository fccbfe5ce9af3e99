/* SPDX-License-Identifier: MIT */
/*
 * server.c - the clients of the notify socket: identify, count, refuse; what they write, what they are told
 *
 *     connected --> undecided: is told bytes 'L' for its own cgroup, for systemd's clients that
 *        |             |       write nothing
 *        |             +-- "some 200000 2000000" --> bytes, by its own threshold
 *        |             +-- "psibridge/1 ..."     --> records
 *        |             +-- anything else         --> bytes, and a warning in the journal
 *        v             |
 *     (restored from the store, decided or not)
 *
 * What it writes is read with MSG_PEEK until it is complete, so no buffer is kept for it. Once it is decided, one report is
 * read for each Low that it was sent as a record, so that a client which keeps writing causes no wake-up but after a Low, and
 * no report can be of an earlier one. Whatever else a client writes fills its own socket, and only that.
 *
 * A client that does not read: a byte that finds no room is dropped, for as many unread ones lie there already. A record that
 * finds none is remembered as "pending", and when there is room a WELCOME has the present state. Our send buffer is kept
 * small, which bounds what the kernel holds for it. Only a client whose subscription is refused is hung up on: one that shut
 * down its writing side still reads.
 *
 * Counting walks the clients: a connection costs some microseconds for each thousand of them.
 */
#include "daemon/server.h"

#include "core/scan.h"
#include "core/wire.h"
#include "daemon/listen.h"
#include "daemon/peer.h"
#include "daemon/state.h"
#include "kernel/file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEND_BUFFER_BYTES 4096
#define REFUSALS_USEC (10 * USEC_PER_SEC)
#define STORE_FULL_USEC \
	(10 * USEC_PER_MSEC) /* the manager's queue may be as short as ten messages */
#define STORE_FAILED_USEC (1 * USEC_PER_SEC)
#define OURS "psibridge/"

struct server {
	struct daemon *daemon;
	struct states *states;
	struct acceptor acceptor;
	LIST_HEAD(, client) clients;
	sd_event_source *store; /* a timer: the manager had no room */
	bool store_failed;
	unsigned refused_unlogged;
	uint64_t refused_logged_usec;
	struct server_view view; /* counters only */
};

struct client {
	LIST_ENTRY(client) list;
	struct server *server;
	struct subscriber subscriber;
	sd_event_source *source;
	struct client_state *state; /* protocol, terms, what it was told */
	int fd;
	uint32_t events;  /* polled for now */
	unsigned reports; /* that may be read: so many Lows it was sent */
	bool deaf;	  /* what it wrote was no report: nothing is read again */
	bool pending;	  /* a record waits for room in the socket */
	bool unstored;	  /* the manager has no copy of it yet */
};

static char scratch[WIRE_HELLO_MAX]; /* one thread, and nothing stays in it */

static void client_free(struct client *c)
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

static void log_client(const struct client *c, const char *cgroup, const char *what,
		       const char *why)
{
	journal_log(c->server->daemon->journal, LOG_IS_WARNING, MESSAGE_CLIENT_REFUSED,
		    "%s: a client (pid %d) %s: %s", cgroup, (int)c->state->pid, what, why);
}

/* ---- telling ------------------------------------------------------------------------------------- */

static int ready(sd_event_source *source, int fd, uint32_t events, void *userdata);

/* Poll only for what is of interest now, and for changes: a client that keeps writing, or that shut down its writing side,
 * causes no wake-up. Errors: as sd_event_add_io(3), the first time; later ones can only say that the loop ended. */
static int watch_socket(struct client *c)
{
	bool reads = c->state->protocol == PROTOCOL_UNDECIDED || (c->reports > 0 && !c->deaf);
	uint32_t events = EPOLLET | (reads ? EPOLLIN : 0u) | (c->pending ? EPOLLOUT : 0u);

	if (events == c->events)
		return 0;
	c->events = events;
	if (c->source)
		return sd_event_source_set_io_events(c->source, events);
	return sd_event_add_io(c->server->daemon->event, &c->source, c->fd, events, ready, c);
}

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
		.takes_reports = 1,
	};

	if (c->pending) {
		c->server->view.replaced++;
		return;
	}
	c->pending = !put(c, &record, sizeof(record));
	c->reports += !c->pending && kind != WIRE_BYE && n->available == PSB_LOW;
	if (c->source)
		(void)watch_socket(c);
}

/* By its protocol; a byte only for Low. */
static void tell(struct client *c, enum wire_record_kind kind, const struct psb_notification *n)
{
	static const char low = WIRE_LOW;

	if (c->state->protocol == PROTOCOL_RECORDS)
		put_record(c, kind, n);
	else if (kind != WIRE_GONE && n->available == PSB_LOW && !put(c, &low, 1))
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
	tell(c, WIRE_WELCOME, &n);
}

static void notify(struct subscriber *s, const struct psb_notification *n)
{
	struct client *c = CONTAINER_OF(s, struct client, subscriber);

	if (subscriber_in_shadow(s))
		return;
	remember(c, n, n->time_usec);
	tell(c, n->kind == PSB_KIND_GONE ? WIRE_GONE : WIRE_LEVEL, n);
}

/* One that finds no room is lost: the client has measured, too. */
static void took_effect(struct subscriber *s, const struct psb_stats *stats)
{
	struct client *c = CONTAINER_OF(s, struct client, subscriber);
	const struct wire_record record = {
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = WIRE_EFFECT,
		.available = (uint8_t)s->available,
		.time_usec = stats->effect_usec,
		.effect = { stats->effect_bytes, stats->first_back_usec, stats->stall_before_usec,
			    stats->stall_after_usec, stats->unanswered },
	};

	if (c->state->protocol == PROTOCOL_RECORDS && !c->pending)
		(void)put(c, &record, sizeof(record));
}

static void say_bye(struct client *c)
{
	struct psb_notification n;

	if (c->state->protocol != PROTOCOL_RECORDS || c->pending)
		return;
	subscriber_present(&c->subscriber, &n);
	put_record(c, WIRE_BYE, &n);
}

/* ---- subscribing --------------------------------------------------------------------------------- */

static int join(struct client *c, const char *cgroup, const char **ret_why)
{
	bool fits = strlen(cgroup) < sizeof(c->state->cgroup);

	unsubscribe(&c->subscriber);
	/* also without a watch, for one may be there after a reload. A longer path is found out anew */
	strcpy(c->state->cgroup, fits ? cgroup : "");
	return subscribe(c->server->daemon->table, &c->subscriber, cgroup, ret_why);
}

/* A client of systemd's protocol is never refused: the daemon's own thresholds are better than none, and where no watch can
 * be had, it waits for a configuration that has one. `cgroup` may be path_of() it. */
static void join_anyhow(struct client *c, const char *cgroup)
{
	char path[CGPATH_MAX];
	const char *why = "";

	snprintf(path, sizeof(path), "%s", cgroup);
	if (join(c, path, &why) == 0)
		return;
	log_client(c, path, "cannot have its thresholds", why);
	c->state->terms = (struct policy_options){ 0 };
	if (join(c, path, &why) < 0)
		log_client(c, path, "cannot be served", why);
}

/* The cgroup that it is subscribed to; of one that is undecided, its own: where it connected from, wherever it may be by
 * now. "": not known. */
static const char *path_of(const struct client *c)
{
	return c->subscriber.watch ? c->subscriber.path : c->state->cgroup;
}

/* ---- what it writes ------------------------------------------------------------------------------ */

static int take_subscription(struct client *c, const struct wire_hello *hello, const char **ret_why)
{
	struct peer peer = { .privileged = c->state->privileged };
	char path[CGPATH_MAX];
	int r;

	strcpy(peer.cgroup, path_of(c));
	if (!peer.cgroup[0])
		return scan_refuse(-ENOENT, "nothing is known of its own cgroup", ret_why);
	r = peer_resolve(&peer, hello->cgroup, hello->cgroup_size, path, ret_why);
	if (r == 0)
		r = join(c, path, ret_why);
	if (r < 0)
		return r;
	*ret_why = subscriber_failure(&c->subscriber);
	if (*ret_why)
		return -EOPNOTSUPP; /* the client has a ladder of its own, and tries again */
	c->state->protocol = PROTOCOL_RECORDS;
	welcome(c);
	return 0;
}

static int take_hello(struct client *c, const struct wire_hello *hello, bool is_ours,
		      const char **ret_why)
{
	c->state->terms = hello->terms;
	c->subscriber.available = 0; /* by its own thresholds it may be another */
	if (is_ours)
		return take_subscription(c, hello, ret_why);
	c->state->protocol = PROTOCOL_PLAIN;
	if (c->subscriber.watch)
		join_anyhow(c, path_of(c));
	return 0;
}

static void refused(struct server *s, const char *format, ...) _printf_(2, 3);
static void refused(struct server *s, const char *format, ...)
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
	refused(c->server, "pid %d, uid %u: %s", (int)c->state->pid, (unsigned)c->state->uid, why);
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
	if (r >= 0)
		r = take_hello(c, &hello, is_ours, &why);
	if (r < 0 && is_ours) {
		refuse(c, r, why);
		return false;
	}
	if (r < 0) {
		c->state->protocol = PROTOCOL_PLAIN;
		log_client(c, c->state->cgroup, "wrote what is ignored", why);
	}
	recv(c->fd, scratch, (size_t)n, MSG_DONTWAIT); /* or it would look unread to the peer */
	return true;
}

static void read_reports(struct client *c)
{
	struct wire_record record;
	ssize_t n;

	for (; c->reports > 0 && !c->deaf; c->reports--) {
		n = recv(c->fd, &record, sizeof(record), MSG_DONTWAIT);
		if (n <= 0)
			return;
		c->deaf = n < (ssize_t)sizeof(record) || wire_record_check(&record) < 0 ||
			  record.kind != WIRE_REPORT;
		if (c->deaf)
			log_client(c, path_of(c), "wrote what is ignored", "it is no report");
		else
			subscriber_report(&c->subscriber, record.report.bytes, record.report.usec);
	}
}

static int ready(_unused_ sd_event_source *source, _unused_ int fd, uint32_t events, void *userdata)
{
	struct client *c = userdata;

	if (events & (EPOLLHUP | EPOLLERR)) {
		client_end(c);
		return 0;
	}
	if ((events & EPOLLIN) && c->state->protocol == PROTOCOL_RECORDS)
		read_reports(c);
	if ((events & EPOLLIN) && c->state->protocol == PROTOCOL_UNDECIDED && !read_hello(c))
		return 0;
	if ((events & EPOLLOUT) && c->pending) {
		c->pending = false;
		welcome(c);
	}
	(void)watch_socket(c);
	return 0;
}

/* ---- coming -------------------------------------------------------------------------------------- */

/* Takes the descriptor over. NULL: no room. */
static struct client *client_new(struct server *s, int fd, bool *ret_known)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c)
		c->state = states_get(s->states, fd, ret_known);
	if (!c || !c->state) {
		refused(s, "no room for another client");
		free(c);
		close(fd);
		return NULL;
	}
	c->server = s;
	c->fd = fd;
	c->subscriber.notify = notify;
	c->subscriber.effect = took_effect;
	c->subscriber.terms = &c->state->terms;
	LIST_INSERT_HEAD(&s->clients, c, list);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER_BYTES }, sizeof(int));
	return c;
}

static void join_own(struct client *c, const struct peer *peer)
{
	c->state->uid = peer->uid;
	c->state->pid = peer->pid;
	c->state->privileged = peer->privileged;
	c->state->peer_hash = scan_hash(scan_string(peer->cgroup));
	join_anyhow(c, peer->cgroup);
}

/* Most have written by now. What a client of the process before was told, by byte, it knows. */
static void begin(struct client *c, bool is_new)
{
	bool subscribed = c->state->protocol == PROTOCOL_RECORDS;

	if (c->state->protocol == PROTOCOL_UNDECIDED && !read_hello(c))
		return;
	if (subscribed || (is_new && c->state->protocol != PROTOCOL_RECORDS))
		welcome(c);
	if (watch_socket(c) < 0)
		client_end(c);
}

/* Why it is refused; NULL: it is not. */
static const char *is_too_many(const struct server *s, const struct peer *peer)
{
	const uint64_t hash = scan_hash(scan_string(peer->cgroup));
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

static void accepted(int fd, void *userdata)
{
	struct server *s = userdata;
	struct client *c;
	struct peer peer;
	const char *why;
	bool is_known;
	int r = peer_identify(fd, &s->daemon->cgroups, "/proc", &peer);

	if (r < 0) {
		refused(s, "it cannot be identified: %s", strerror(-r));
		close(fd);
		return;
	}
	why = is_too_many(s, &peer);
	if (why) {
		refused(s, "pid %d, uid %u, %.100s: %s", (int)peer.pid, (unsigned)peer.uid,
			peer.cgroup, why);
		close(fd);
		return;
	}
	s->view.accepted++;
	c = client_new(s, fd, &is_known);
	if (c) {
		c->unstored = true;
		join_own(c, &peer);
		begin(c, true);
	}
	store(NULL, 0, s);
	s->daemon->calls->status_changed(s->daemon);
}

/* A client of the process before. */
static void restore(struct server *s, int fd)
{
	bool is_known;
	struct client *c = client_new(s, fd, &is_known);
	struct peer peer;

	if (!c)
		return;
	if (is_known) {
		c->subscriber.available = (enum psb_available)c->state->available;
		c->subscriber.critical = c->state->critical;
		c->subscriber.told_usec = c->state->told_usec;
		c->reports = c->state->available == PSB_LOW; /* it may lie there */
	}
	if (c->state->cgroup[0])
		join_anyhow(c, c->state->cgroup);
	else if (peer_identify(fd, &s->daemon->cgroups, "/proc", &peer) == 0)
		join_own(c, &peer);
	begin(c, false);
}

void server_resubscribe(struct server *s)
{
	struct client *c;

	LIST_FOREACH(c, &s->clients, list)
	{
		if (c->subscriber.watch || !c->state->cgroup[0])
			continue;
		c->subscriber.available = 0;
		join_anyhow(c, c->state->cgroup);
		if (c->subscriber.watch)
			welcome(c);
	}
}

struct states *server_states(const struct server *s)
{
	return s->states;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void restore_all(struct server *s)
{
	struct daemon *d = s->daemon;
	size_t clients = 0;

	for (int fd; (fd = manager_take(d->manager, "client")) >= 0; clients++)
		restore(s, fd);
	states_prune(s->states); /* other states are of clients that went */
	if (clients > 0)
		journal_log(d->journal, LOG_IS_INFO, MESSAGE_OTHER,
			    "taken over from the process before: clients: %zu", clients);
}

static int get_states(struct server *s)
{
	struct manager *m = s->daemon->manager;
	int fd = manager_take(m, "state"), r;

	if (fd >= 0 && states_adopt(fd, &s->states) == 0)
		return 0;
	if (fd >= 0)
		journal_log(s->daemon->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "the clients' state of the process before cannot be used: they are "
			    "identified anew");
	r = states_new(&s->states, &fd);
	if (r < 0)
		return r;
	(void)manager_try(m, -1, "FDSTOREREMOVE=1\nFDNAME=state");
	(void)manager_try(m, fd, "FDSTORE=1\nFDNAME=state");
	close(fd);
	return 0;
}

int server_new(struct daemon *d, int listen_fd, struct server **ret)
{
	struct server *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		close(listen_fd);
		return -ENOMEM;
	}
	s->daemon = d;
	s->acceptor = (struct acceptor){ listen_fd, d->journal, accepted, s, NULL, NULL };
	r = get_states(s);
	if (r >= 0)
		r = timer_new(d->event, store, s, &s->store);
	if (r >= 0)
		r = acceptor_start(&s->acceptor, d->event);
	if (r < 0) {
		server_free(s);
		return r;
	}
	restore_all(s);
	*ret = s;
	return 0;
}

struct server *server_free(struct server *s)
{
	struct client *c;

	if (!s)
		return NULL;
	acceptor_end(&s->acceptor);
	while ((c = LIST_FIRST(&s->clients))) {
		say_bye(c);
		client_free(c);
	}
	sd_event_source_disable_unref(s->store);
	states_free(s->states);
	free(s);
	return NULL;
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
