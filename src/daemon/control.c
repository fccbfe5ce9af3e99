/* SPDX-License-Identifier: MIT */
/*
 * control.c - the control socket
 *
 *     accept --> READING --(a line)--> ANSWERING --(all sent)--> the next line, or READING
 *                   |                      |
 *                   +---- EOF, error, timeout -------------> closing --(ops released)--> freed
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
#include "daemon/lowmemory.h"
#include "daemon/names.h"
#include "kernel/file.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_WITHIN_USEC (10 * USEC_PER_SEC)
#define ASK_WITHIN_USEC (60 * USEC_PER_SEC)
#define ACCEPT_AGAIN_USEC (1 * USEC_PER_SEC)
#define STATUS_KEPT_USEC (100 * USEC_PER_MSEC)
#define STATUS_SHARE 20 /* one part in so many of the loop's time, at most */

struct client {
	struct control *control;
	struct client *next, **back;
	int fd;
	uid_t uid;
	bool closing;
	bool skipping; /* a line that was too long, up to its newline */
	struct loop_op op;
	struct loop_timer patience;
	struct text *answer;
	size_t sent;
	size_t size; /* of what is in `line` */
	char line[CONTROL_LINE_MAX];
};

struct control {
	struct daemon *daemon;
	int listen_fd;
	struct loop_op accept;
	struct loop_timer accept_again;
	struct client *clients;
	bool closing;
	uint64_t answer_usec, ask_usec;
	struct text *status;  /* the last one */
	uint64_t status_usec; /* until then it is given again */
};

static void client_read(struct client *c);
static void client_answered(struct client *c);

/* ---- answers --------------------------------------------------------------------------------- */

static int __attribute__((format(printf, 3, 4)))
refuse(struct text **ret, int error, const char *format, ...)
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

static int accept_done(struct text **ret)
{
	return text_of_json(json_pack("{s:b}", "ok", 1), ret);
}

static int answer_status(struct client *c, json_t *request, struct text **ret)
{
	struct control *control = c->control;
	uint64_t begun = now_usec(), took;

	(void)request;
	if (!control->status || begun >= control->status_usec) {
		struct text *status;
		int r;

		if (!control->daemon->calls->bridge_answers(control->daemon))
			return refuse(
				ret, -EIO,
				"psibridged runs, but hears nothing from the kernel: its event loop "
				"does not answer; \"systemctl restart psibridged\" starts it anew");
		r = control_status(control->daemon, &status);
		if (r < 0)
			return r;
		text_unref(control->status);
		control->status = status;
		took = usec_sub(now_usec(), begun);
		control->status_usec = begun + MAX(STATUS_KEPT_USEC, STATUS_SHARE * took);
	}
	*ret = text_ref(control->status);
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

static int answer_simulate(struct client *c, json_t *request, struct text **ret)
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

static int answer_reload(struct client *c, json_t *request, struct text **ret)
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
	int (*answer)(struct client *c, json_t *request, struct text **ret);
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

static int answer_object(struct client *c, json_t *request, struct text **ret)
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

static int answer_line(struct client *c, const char *line, size_t size, struct text **ret)
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

static void control_release(struct control *control)
{
	if (!control->closing || control->clients || loop_op_is_busy(&control->accept))
		return;
	text_unref(control->status);
	fd_close(&control->listen_fd);
	free(control);
}

static void client_released(struct loop_op *op)
{
	struct client *c = CONTAINER_OF(op, struct client, op);
	struct control *control = c->control;

	*c->back = c->next;
	if (c->next)
		c->next->back = c->back;
	text_unref(c->answer);
	fd_close(&c->fd);
	free(c);
	control_release(control);
}

static void client_close(struct client *c)
{
	if (c->closing)
		return;
	c->closing = true;
	loop_timer_stop(c->control->daemon->loop, &c->patience);
	loop_cancel(&c->op, client_released);
}

static void client_out_of_patience(struct loop_timer *timer, uint64_t now)
{
	(void)now;
	client_close(CONTAINER_OF(timer, struct client, patience));
}

static void client_sent(struct loop_op *op, int result)
{
	struct client *c = CONTAINER_OF(op, struct client, op);

	if (result <= 0) {
		client_close(c);
		return;
	}
	c->sent += (size_t)result;
	client_answered(c);
}

static void client_send(struct client *c)
{
	if (loop_send(c->control->daemon->loop, &c->op, c->fd, c->answer->data + c->sent,
		      c->answer->size - c->sent, client_sent) < 0)
		client_close(c);
}

/* Takes the answer over. */
static void client_answer(struct client *c, struct text *answer)
{
	c->answer = answer;
	c->sent = 0;
	loop_timer_set(c->control->daemon->loop, &c->patience,
		       now_usec() + c->control->answer_usec);
	client_send(c);
}

/* Take the first line out of the buffer and answer it. False: there is none, more is to be read. */
static bool client_take_line(struct client *c)
{
	char *newline = c->size > 0 ? memchr(c->line, '\n', c->size) : NULL;
	struct text *answer = NULL;
	size_t length;
	int r;

	if (c->skipping) {
		length = newline ? (size_t)(newline - c->line) + 1 : c->size;
		c->skipping = !newline;
		memmove(c->line, c->line + length, c->size - length);
		c->size -= length;
		return newline && client_take_line(c);
	}
	if (newline) {
		length = (size_t)(newline - c->line) + 1;
		r = answer_line(c, c->line, length - 1, &answer);
		memmove(c->line, c->line + length, c->size - length);
		c->size -= length;
	} else if (c->size == sizeof(c->line)) {
		r = refuse(&answer, -EMSGSIZE, "a line is at most %d bytes long", CONTROL_LINE_MAX);
		c->skipping = true;
		c->size = 0;
	} else {
		return false;
	}
	if (r < 0)
		client_close(c);
	else
		client_answer(c, answer);
	return true;
}

static void client_received(struct loop_op *op, int result)
{
	struct client *c = CONTAINER_OF(op, struct client, op);

	if (result <= 0) { /* an incomplete line at the end is no request */
		client_close(c);
		return;
	}
	c->size += (size_t)result;
	if (!client_take_line(c))
		client_read(c);
}

static void client_read(struct client *c)
{
	if (loop_recv(c->control->daemon->loop, &c->op, c->fd, c->line + c->size,
		      sizeof(c->line) - c->size, client_received) < 0)
		client_close(c);
}

/* The time to ask begins when an answer was taken whole, not with each byte: a client that sends
 * one now and then does not stay for ever. */
static void client_expect(struct client *c)
{
	loop_timer_set(c->control->daemon->loop, &c->patience, now_usec() + c->control->ask_usec);
	client_read(c);
}

static void client_answered(struct client *c)
{
	if (c->sent < c->answer->size) {
		client_send(c);
		return;
	}
	c->answer = text_unref(c->answer);
	if (!client_take_line(c))
		client_expect(c);
}

/* ---- connections ----------------------------------------------------------------------------- */

/* Why one more of `uid` is too many; NULL: it is not. */
static const char *too_many(const struct control *control, uid_t uid)
{
	unsigned all = 0, not_root = 0, same = 0;

	for (const struct client *c = control->clients; c; c = c->next) {
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
	struct text *text;

	if (refuse(&text, -EUSERS, "%s", why) < 0)
		return;
	/* a fresh socket has room for it */
	(void)!send(fd, text->data, text->size, MSG_DONTWAIT | MSG_NOSIGNAL);
	text_unref(text);
}

/* Takes the descriptor over. */
static void client_new(struct control *control, int fd)
{
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
	c->patience.expired = client_out_of_patience;
	c->next = control->clients;
	c->back = &control->clients;
	if (c->next)
		c->next->back = &c->next;
	control->clients = c;
	client_expect(c);
}

static void accepted(struct loop_op *op, int result)
{
	struct control *control = CONTAINER_OF(op, struct control, accept);

	if (result >= 0)
		client_new(control, result);
	if (!loop_op_is_busy(op)) /* no descriptor to be had, for example */
		loop_timer_set(control->daemon->loop, &control->accept_again,
			       now_usec() + ACCEPT_AGAIN_USEC);
}

static int listen_again(struct control *control)
{
	return loop_accept(control->daemon->loop, &control->accept, control->listen_fd, accepted);
}

static void accept_again(struct loop_timer *timer, uint64_t now)
{
	struct control *control = CONTAINER_OF(timer, struct control, accept_again);

	if (listen_again(control) < 0)
		loop_timer_set(control->daemon->loop, timer, now + ACCEPT_AGAIN_USEC);
}

static void accept_released(struct loop_op *op)
{
	control_release(CONTAINER_OF(op, struct control, accept));
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
	control->listen_fd = listen_fd;
	control->answer_usec = ANSWER_WITHIN_USEC;
	control->ask_usec = ASK_WITHIN_USEC;
	control->accept_again.expired = accept_again;
	r = listen_again(control);
	if (r < 0) {
		fd_close(&control->listen_fd);
		free(control);
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
	struct client *next;

	if (!control)
		return NULL;
	loop_timer_stop(control->daemon->loop, &control->accept_again);
	for (struct client *c = control->clients; c; c = next) {
		next = c->next;
		client_close(c);
	}
	control->closing = true;
	loop_cancel(&control->accept, accept_released);
	return NULL;
}
