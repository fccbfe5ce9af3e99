/* SPDX-License-Identifier: MIT */
/*
 * control.c - the control socket
 *
 *     accept --> READING --(a line)--> ANSWERING --(all sent)--> the next line, or READING
 *                   |                      |
 *                   +---- EOF, error, timeout -------------> freed
 *
 * A connection has one line buffer and at most one answer. Nothing is read while an answer is on
 * its way, so a client that asks faster than it reads is stopped by its own socket and costs what a
 * slow one costs. A line that does not fit is answered once and skipped up to its newline.
 *
 * An unprivileged user can neither use up the connections (limits per uid, some kept for root,
 * timeouts) nor the loop's time: the answer to "status", the only one that takes any, is made at
 * most every 100 ms, and at most a twentieth of the time goes into it.
 *
 * Memory is allocated for a connection and for an answer, and only here. Without memory the answer is
 * an error, or that connection ends.
 */
#include "daemon/control.h"

#include "core/cgpath.h"
#include "daemon/control-status.h"
#include "daemon/listen.h"
#include "daemon/lowmemory.h"
#include "daemon/names.h"
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

#define ANSWER_WITHIN_USEC (10 * USEC_PER_SEC)
#define ASK_WITHIN_USEC (60 * USEC_PER_SEC)
#define STATUS_KEPT_USEC (100 * USEC_PER_MSEC)
#define STATUS_SHARE 20 /* one part in so many of the loop's time, at most */

struct client {
	struct control *control;
	LIST_ENTRY(client) list;
	int fd;
	uid_t uid;
	bool skipping; /* a line that was too long, up to its newline */
	sd_event_source *source, *patience;
	json_t *answer; /* NULL: READING */
	size_t sent;
	size_t size; /* of what is in `line` */
	char line[CONTROL_LINE_MAX];
};

struct control {
	struct daemon *daemon;
	struct acceptor acceptor;
	LIST_HEAD(, client) clients;
	uint64_t answer_usec, ask_usec;
	json_t *status;	      /* the last one */
	uint64_t status_usec; /* until then it is given again */
};

/* ---- answers --------------------------------------------------------------------------------- */

static int __attribute__((format(printf, 3, 4)))
refuse(json_t **ret, int error, const char *format, ...)
{
	char words[640];
	const char *name = strerrorname_np(-error);
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	return text_of_json(json_pack("{s:o, s:s}", "error", json_of_bytes(words), "errno",
				      name ? name : "EIO"),
			    ret);
}

static int accept_done(json_t **ret)
{
	return text_of_json(json_pack("{s:b}", "ok", 1), ret);
}

static int answer_status(struct client *c, json_t *request, json_t **ret)
{
	struct control *control = c->control;
	uint64_t begun = now_usec(), took;

	(void)request;
	if (!control->status || begun >= control->status_usec) {
		json_t *status;
		int r;

		if (!control->daemon->calls->bridge_answers(control->daemon))
			return refuse(
				ret, -EIO,
				"psibridged runs, but hears nothing from the kernel: its event loop "
				"does not answer; \"systemctl restart psibridged\" starts it anew");
		r = control_status(control->daemon, &status);
		if (r < 0)
			return r;
		json_decref(control->status);
		control->status = status;
		took = usec_sub(now_usec(), begun);
		control->status_usec = begun + MAX(STATUS_KEPT_USEC, STATUS_SHARE * took);
	}
	*ret = json_incref(control->status);
	return 0;
}

/* Of "/" LowMemoryMonitor has a watch beside the table's: one of them is enough. */
static int simulate(struct daemon *d, const char *path, enum psb_available available, bool critical)
{
	int r = table_simulate(d->table, path, available, critical);

	if (strcmp(path, "/") == 0 && lowmemory_simulate(d->lowmemory, available, critical) == 0)
		return 0;
	return r;
}

static int answer_simulate(struct client *c, json_t *request, json_t **ret)
{
	const json_t *critical = json_object_get(request, "critical");
	const char *cgroup = json_string_value(json_object_get(request, "cgroup"));
	const char *name = json_string_value(json_object_get(request, "available")), *why;
	enum psb_available available;
	char path[CGPATH_MAX];
	int r;

	if (!cgroup)
		return refuse(ret, -EINVAL, "cgroup: a path was expected");
	if (!name || !available_of_name(name, &available))
		return refuse(ret, -EINVAL, "available: low, neutral or high was expected");
	if (critical && !json_is_boolean(critical))
		return refuse(ret, -EINVAL, "critical: true or false was expected");
	if (json_is_true(critical) && available != PSB_LOW)
		return refuse(ret, -EINVAL, "critical: only Low can be critical");
	r = cgpath_normalise(cgroup, c->control->daemon->cgroups.v2.point, path, &why);
	if (r < 0)
		return refuse(ret, r, "cgroup \"%s\": %s", cgroup, why);
	r = simulate(c->control->daemon, path, available, json_is_true(critical));
	c->control->status_usec = 0;
	if (r == -ENOENT)
		return refuse(ret, r, "%s: there is no such cgroup", path);
	if (r == -ENODATA)
		return refuse(ret, r, "%s: no watch covers it; psibridge status lists them", path);
	if (r < 0)
		return refuse(ret, r, "%s: %s", path, strerror(-r));
	return accept_done(ret);
}

static int answer_reload(struct client *c, json_t *request, json_t **ret)
{
	struct daemon *d = c->control->daemon;
	int r = d->calls->reload(d);

	(void)request;
	c->control->status_usec = 0;
	if (r < 0)
		return refuse(ret, r, "%s",
			      r == -EINVAL && d->config_error[0] ? d->config_error : strerror(-r));
	return accept_done(ret);
}

static const struct verb {
	const char *name;
	bool for_root;
	int (*answer)(struct client *c, json_t *request, json_t **ret);
	const char *keys[4]; /* besides "verb"; ended by NULL */
} verbs[] = {
	{ "status", false, answer_status, { NULL } },
	{ "simulate", true, answer_simulate, { "cgroup", "available", "critical", NULL } },
	{ "reload", true, answer_reload, { NULL } },
};

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
		if (strcmp(name, verbs[i].name) == 0)
			return &verbs[i];
	return NULL;
}

/* A key of the request that its verb does not have; NULL: there is none. */
static const char *unknown_key(const struct verb *verb, json_t *request)
{
	const char *key;
	json_t *value;

	json_object_foreach(request, key, value)
	{
		bool known = strcmp(key, "verb") == 0;

		for (const char *const *k = verb->keys; *k && !known; k++)
			known = strcmp(key, *k) == 0;
		if (!known)
			return key;
	}
	return NULL;
}

static int answer_object(struct client *c, json_t *request, json_t **ret)
{
	const char *name = json_string_value(json_object_get(request, "verb")), *key;
	const struct verb *verb = name ? find_verb(name) : NULL;

	if (!name)
		return refuse(ret, -EINVAL, "verb: a word was expected");
	if (!verb)
		return refuse(ret, -EOPNOTSUPP, "verb \"%.64s\": there is no such verb", name);
	key = unknown_key(verb, request);
	if (key)
		return refuse(ret, -EINVAL, "%.64s: %s has no such key", key, name);
	if (verb->for_root && c->uid != 0)
		return refuse(ret, -EACCES, "%s is for root", name);
	return verb->answer(c, request, ret);
}

static int answer_line(struct client *c, const char *line, size_t size, json_t **ret)
{
	json_error_t error;
	json_t *request = json_loadb(line, size, JSON_REJECT_DUPLICATES, &error);
	int r;

	if (!request)
		r = refuse(ret, -EBADMSG, "not JSON: %s (column %d)", error.text, error.column);
	else if (!json_is_object(request))
		r = refuse(ret, -EBADMSG, "a JSON object was expected");
	else
		r = answer_object(c, request, ret);
	json_decref(request);
	return r;
}

/* ---- one connection -------------------------------------------------------------------------- */

static void client_free(struct client *c)
{
	LIST_REMOVE(c, list);
	sd_event_source_disable_unref(c->source);
	sd_event_source_disable_unref(c->patience);
	json_decref(c->answer);
	fd_close(&c->fd);
	free(c);
}

static int out_of_patience(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	client_free(userdata);
	return 0;
}

/* The first line of the buffer, up to its newline, is dealt with. */
static void drop_line(struct client *c, const char *newline)
{
	size_t length = (size_t)(newline - c->line) + 1;

	memmove(c->line, c->line + length, c->size - length);
	c->size -= length;
}

/* The answer to the first line in the buffer. 0: there is none, more is to be read; else 1, or a negative errno: the
 * connection ends. */
static int take_line(struct client *c)
{
	char *newline = memchr(c->line, '\n', c->size);
	int r;

	if (c->skipping) {
		c->skipping = !newline;
		if (!newline) {
			c->size = 0;
			return 0;
		}
		drop_line(c, newline);
		newline = memchr(c->line, '\n', c->size);
	}
	if (newline) {
		r = answer_line(c, c->line, (size_t)(newline - c->line), &c->answer);
		drop_line(c, newline);
	} else if (c->size == sizeof(c->line)) {
		r = refuse(&c->answer, -EMSGSIZE, "a line is at most %d bytes long",
			   CONTROL_LINE_MAX);
		c->skipping = true;
		c->size = 0;
	} else {
		return 0;
	}
	return r < 0 ? r : 1;
}

/* 1: it was taken whole; 0: not yet; or a negative errno. */
static int send_answer(struct client *c)
{
	size_t size = json_string_length(c->answer);
	ssize_t n = send(c->fd, json_string_value(c->answer) + c->sent, size - c->sent,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	c->sent += (size_t)n;
	if (c->sent < size)
		return 0;
	json_decref(c->answer);
	c->answer = NULL;
	c->sent = 0;
	return 1;
}

/* Answer what was asked, as far as the socket takes it. The time to ask begins when an answer was taken whole, not with
 * each byte: a client that sends one now and then does not stay for ever. */
static int go_on(struct client *c)
{
	int r = 1;

	while (r > 0) {
		if (c->answer) {
			r = send_answer(c);
			if (r > 0)
				timer_set(c->patience, now_usec() + c->control->ask_usec);
			continue;
		}
		r = take_line(c);
		if (r > 0)
			timer_set(c->patience, now_usec() + c->control->answer_usec);
	}
	return r < 0 ? r : sd_event_source_set_io_events(c->source, c->answer ? EPOLLOUT : EPOLLIN);
}

static int ready(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
	struct client *c = userdata;
	ssize_t n = 1;

	if (!c->answer) {
		n = recv(fd, c->line + c->size, sizeof(c->line) - c->size, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN)
			return 0;
		c->size += (size_t)MAX(n, (ssize_t)0);
	}
	/* an incomplete line at the end is no request */
	if (n <= 0 || go_on(c) < 0)
		client_free(c);
	return 0;
}

/* ---- connections ----------------------------------------------------------------------------- */

/* Why one more of `uid` is too many; NULL: it is not. */
static const char *too_many(const struct control *control, uid_t uid)
{
	unsigned all = 0, not_root = 0, same = 0;
	const struct client *c;

	LIST_FOREACH(c, &control->clients, list)
	{
		all++;
		not_root += c->uid != 0;
		same += c->uid == uid;
	}
	if (all >= CONTROL_CLIENTS_MAX || (uid != 0 && not_root >= CONTROL_CLIENTS_NOT_ROOT))
		return "too many connections";
	if (uid != 0 && same >= CONTROL_CLIENTS_PER_UID)
		return "too many connections of this user";
	return NULL;
}

static void turn_away(int fd, const char *why)
{
	json_t *text;

	if (refuse(&text, -EUSERS, "%s", why) < 0)
		return;
	/* a fresh socket has room for it */
	(void)!send(fd, json_string_value(text), json_string_length(text),
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	json_decref(text);
}

static void accepted(int fd, void *userdata)
{
	struct control *control = userdata;
	sd_event *event = control->daemon->event;
	struct ucred peer;
	socklen_t size = sizeof(peer);
	const char *why = NULL;
	struct client *c = NULL;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0) {
		why = too_many(control, peer.uid);
		if (why)
			turn_away(fd, why);
		else
			c = malloc(sizeof(*c));
	}
	if (!c) {
		close(fd);
		return;
	}
	/* not the line: it need not be touched before it is used */
	memset(c, 0, offsetof(struct client, line));
	c->control = control;
	c->fd = fd;
	c->uid = peer.uid;
	LIST_INSERT_HEAD(&control->clients, c, list);
	if (timer_new(event, out_of_patience, c, &c->patience) < 0 ||
	    sd_event_add_io(event, &c->source, fd, EPOLLIN, ready, c) < 0)
		client_free(c);
	else
		timer_set(c->patience, now_usec() + control->ask_usec);
}

int control_new(struct daemon *daemon, int listen_fd, struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));
	int r;

	if (!control) {
		close(listen_fd);
		return -ENOMEM;
	}
	control->daemon = daemon;
	control->acceptor = (struct acceptor){ .fd = listen_fd,
					       .journal = daemon->journal,
					       .accepted = accepted,
					       .userdata = control };
	control_set_patience(control, ANSWER_WITHIN_USEC, ASK_WITHIN_USEC);
	r = acceptor_start(&control->acceptor, daemon->event);
	if (r < 0) {
		control_free(control);
		return r;
	}
	*ret = control;
	return 0;
}

void control_set_patience(struct control *control, uint64_t answer_usec, uint64_t ask_usec)
{
	control->answer_usec = answer_usec;
	control->ask_usec = ask_usec;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	acceptor_end(&control->acceptor);
	while (!LIST_EMPTY(&control->clients))
		client_free(LIST_FIRST(&control->clients));
	json_decref(control->status);
	free(control);
	return NULL;
}
