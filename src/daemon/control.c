/* SPDX-License-Identifier: MIT */
/*
 * control.c - the control socket: a bounded line in, one answer out
 *
 * An unprivileged user can neither use up the connections (limits, patience) nor the loop's time: the answer to "status", the
 * only one that takes any, is made at most every 100 ms, and at most a twentieth of the time goes into it.
 */
#include "daemon/control.h"

#include "core/cgpath.h"
#include "daemon/control-set.h"
#include "daemon/listen.h"
#include "core/names.h"

#include <errno.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define STATUS_KEPT_USEC (100 * USEC_PER_MSEC)
#define STATUS_SHARE 20 /* one part in so many of the loop's time, at most */

struct client {
	struct control *control;
	LIST_ENTRY(client) list;
	int fd;
	uid_t uid;
	sd_event_source *source, *patience;
	struct text *answer; /* NULL: a line is read */
	size_t sent;
	size_t size; /* of what is in `line` */
	char line[CONTROL_LINE_MAX];
};

struct control {
	struct daemon *daemon;
	struct acceptor acceptor;
	LIST_HEAD(, client) clients;
	uint64_t patience_usec;
	struct text *status;  /* the last one */
	uint64_t status_usec; /* until then it is given again */
};

/* ---- answers; NULL: out of memory ---------------------------------------------------------------- */

static struct text *_printf_(2, 3) result(int error, const char *format, ...)
{
	char words[640];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	return control_result(error, words);
}

struct request {
	const char *verb, *cgroup, *text;
	int critical;
};

static struct text *answer_status(struct control *control, _unused_ const struct request *request)
{
	uint64_t begun = now_usec(), took;
	struct text *status;

	if (control->status && begun < control->status_usec)
		return text_ref(control->status);
	if (!control->daemon->calls->bridge_answers(control->daemon))
		return result(-EIO,
			      "psibridged runs, but hears nothing from the kernel: its event loop "
			      "does not answer; \"systemctl restart psibridged\" starts it anew");
	status = control_status(control->daemon);
	if (!status)
		return NULL;
	text_unref(control->status);
	control->status = status;
	took = usec_sub(now_usec(), begun);
	control->status_usec = begun + MAX(STATUS_KEPT_USEC, STATUS_SHARE * took);
	return text_ref(status);
}

static struct text *answer_simulate(struct control *control, const struct request *request)
{
	struct daemon *d = control->daemon;
	enum psb_available available;
	char path[CGPATH_MAX];
	const char *why;
	int r;

	available = (enum psb_available)available_of_name(request->text);
	if (available == 0)
		return result(-EINVAL, "available: low, neutral or high was expected");
	if (request->critical && available != PSB_LOW)
		return result(-EINVAL, "critical: only Low can be critical");
	r = cgpath_normalise(request->cgroup, d->cgroups.v2.point, path, &why);
	if (r < 0)
		return result(r, "cgroup \"%s\": %s", request->cgroup, why);
	r = table_simulate(d->table, path, available, request->critical);
	control->status_usec = 0;
	return result(r, "%s: %s", path,
		      r == -ENOENT    ? "there is no such cgroup"
		      : r == -ENODATA ? "no watch covers it; psibridge status lists them"
				      : strerror(-r));
}

static struct text *answer_reload(struct control *control, _unused_ const struct request *request)
{
	struct daemon *d = control->daemon;
	int r = d->calls->reload(d);

	control->status_usec = 0;
	return control_result(r,
			      r == -EINVAL && d->config_error[0] ? d->config_error : strerror(-r));
}

static struct text *answer_set(struct control *control, const struct request *request)
{
	control->status_usec = 0;
	return control_set(control->daemon, request->cgroup, request->text);
}

static struct text *answer_diff(struct control *control, _unused_ const struct request *request)
{
	return control_diff(control->daemon);
}

static const struct verb {
	const char *name, *keys; /* as json_unpack() has them */
	const char *text;	 /* the third of them */
	bool for_root;
	struct text *(*answer)(struct control *control, const struct request *request);
} verbs[] = {
	{ "status", "{s:s}", "", false, answer_status },
	{ "simulate", "{s:s, s:s, s:s, s?b}", "available", true, answer_simulate },
	{ "reload", "{s:s}", "", true, answer_reload },
	{ "set", "{s:s, s:s, s:s}", "lines", true, answer_set },
	{ "reset", "{s:s, s:s}", "", true, answer_set },
	{ "diff", "{s:s}", "", true, answer_diff },
};

static struct text *answer_request(struct client *c, json_t *json)
{
	struct request request = { 0 };
	const struct verb *verb = NULL;
	json_error_t error;

	if (json_unpack_ex(json, &error, 0, "{s:s}", "verb", &request.verb) < 0)
		return result(-EINVAL, "%s", error.text);
	for (size_t i = 0; i < ELEMENTSOF(verbs) && !verb; i++)
		if (strcmp(request.verb, verbs[i].name) == 0)
			verb = &verbs[i];
	if (!verb)
		return result(-EOPNOTSUPP, "verb \"%.64s\": there is no such verb", request.verb);
	if (verb->for_root && c->uid != 0)
		return result(-EACCES, "%s is for root", verb->name);
	if (json_unpack_ex(json, &error, JSON_STRICT, verb->keys, "verb", &request.verb, "cgroup",
			   &request.cgroup, verb->text, &request.text, "critical",
			   &request.critical) < 0)
		return result(-EINVAL, "%s: %s", verb->name, error.text);
	return verb->answer(c->control, &request);
}

static struct text *answer_line(struct client *c, size_t size)
{
	json_error_t error;
	json_t *request = json_loadb(c->line, size, JSON_REJECT_DUPLICATES, &error);
	struct text *answer;

	if (!request)
		return result(-EBADMSG, "not JSON: %s (column %d)", error.text, error.column);
	answer = answer_request(c, request);
	json_decref(request);
	return answer;
}

/* ---- one connection ------------------------------------------------------------------------------ */

static void client_free(struct client *c)
{
	LIST_REMOVE(c, list);
	sd_event_source_disable_unref(c->source);
	sd_event_source_disable_unref(c->patience);
	text_unref(c->answer);
	close(c->fd);
	free(c);
}

static int out_of_patience(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	client_free(userdata);
	return 0;
}

/* False: nothing is to be answered now. A line that does not fit is refused; an incomplete one at the end is no request. */
static bool read_request(struct client *c)
{
	ssize_t n = recv(c->fd, c->line + c->size, sizeof(c->line) - c->size, MSG_DONTWAIT);
	char *end;

	if (n < 0 && errno == EAGAIN)
		return false;
	c->size += (size_t)MAX(n, (ssize_t)0);
	end = memchr(c->line, '\n', c->size);
	if (!end && n > 0 && c->size < sizeof(c->line))
		return false;
	if (end)
		c->answer = answer_line(c, (size_t)(end - c->line));
	else if (c->size == sizeof(c->line))
		c->answer = result(-EMSGSIZE, "a line is at most %d bytes long", CONTROL_LINE_MAX);
	if (c->answer)
		return true;
	client_free(c);
	return false;
}

static int ready(_unused_ sd_event_source *source, int fd, _unused_ uint32_t events, void *userdata)
{
	struct client *c = userdata;
	ssize_t n;

	if (!c->answer && !read_request(c))
		return 0;
	n = send(fd, c->answer->data + c->sent, c->answer->size - c->sent,
		 MSG_DONTWAIT | MSG_NOSIGNAL);
	c->sent += (size_t)MAX(n, (ssize_t)0);
	if ((n < 0 && errno != EAGAIN) || c->sent == c->answer->size ||
	    sd_event_source_set_io_events(c->source, EPOLLOUT) < 0)
		client_free(c);
	return 0;
}

/* ---- connections --------------------------------------------------------------------------------- */

/* Root has no limit. */
static bool is_too_many(const struct control *control, uid_t uid)
{
	unsigned not_root = 0, same = 0;
	const struct client *c;

	LIST_FOREACH(c, &control->clients, list)
	{
		not_root += c->uid != 0;
		same += c->uid == uid;
	}
	return uid != 0 && (not_root >= CONTROL_CLIENTS_MAX || same >= CONTROL_CLIENTS_PER_UID);
}

static void accepted(int fd, void *userdata)
{
	static const char too_many[] = "{\"error\":\"too many connections\",\"errno\":\"EUSERS\"}\n";
	struct control *control = userdata;
	sd_event *event = control->daemon->event;
	struct ucred peer = { .uid = (uid_t)-1 };
	struct client *c = NULL;

	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &(socklen_t){ sizeof(peer) });
	if (is_too_many(control, peer.uid)) /* a fresh socket has room for it */
		(void)!send(fd, too_many, strlen(too_many), MSG_DONTWAIT | MSG_NOSIGNAL);
	else
		c = calloc(1, sizeof(*c));
	if (!c) {
		close(fd);
		return;
	}
	c->control = control;
	c->fd = fd;
	c->uid = peer.uid;
	LIST_INSERT_HEAD(&control->clients, c, list);
	if (timer_new(event, out_of_patience, c, &c->patience) < 0 ||
	    sd_event_add_io(event, &c->source, fd, EPOLLIN, ready, c) < 0)
		client_free(c);
	else
		timer_set(c->patience, now_usec() + control->patience_usec);
}

int control_new(struct daemon *daemon, int listen_fd, uint64_t patience_usec, struct control **ret)
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
	control->patience_usec = patience_usec;
	*ret = control;
	r = acceptor_start(&control->acceptor, daemon->event);
	if (r < 0)
		*ret = control_free(control);
	return r;
}

struct control *control_free(struct control *control)
{
	if (!control)
		return NULL;
	acceptor_end(&control->acceptor);
	while (!LIST_EMPTY(&control->clients))
		client_free(LIST_FIRST(&control->clients));
	text_unref(control->status);
	free(control);
	return NULL;
}
