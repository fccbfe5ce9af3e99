/* SPDX-License-Identifier: MIT */
/*
 * control-client.c - one connection, one request, one answer
 *
 * Every wait has an end, also the one for a connection: a listener whose queue is full makes
 * connect(2) on a local socket fail with EAGAIN, and whoever listens may have stopped to read. The
 * answer of a daemon with ten thousand cgroups is some megabytes long; ANSWER_MAX keeps anything
 * else from filling our memory.
 *
 * A daemon that turns us away says so before it closes, perhaps before our request is sent: what it
 * wrote is read even when writing failed.
 */
#include "cli/control-client.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/wait.h"
#include "cli/words.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define CONNECT_PAUSE_MSEC 50

struct call {
	const char *path;
	int fd;
	uint64_t end_usec;
	char *answer;
	size_t size, capacity;
	char *why;
};

static int _printf_(3, 4) fail(struct call *call, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(call->why, CONTROL_WHY_MAX, format, args);
	va_end(args);
	return error;
}

/* ---- the connection -------------------------------------------------------------------------- */

static int wait_for(struct call *call, short events)
{
	struct pollfd fd = { .fd = call->fd, .events = events };
	int r;

	do
		r = poll(&fd, 1, msec_until(call->end_usec));
	while (r < 0 && errno == EINTR && msec_until(call->end_usec) > 0);
	return r > 0 ? 0 : -ETIMEDOUT;
}

static int not_connected(struct call *call, int error)
{
	switch (-error) {
	case ENOENT:
		return fail(call, error,
			    "psibridged is not running (%s does not exist); \"systemctl enable "
			    "--now psibridged\" starts it",
			    call->path);
	case ECONNREFUSED:
		return fail(call, error,
			    "psibridged is not running (nobody listens on %s); \"systemctl start "
			    "psibridged\" starts it",
			    call->path);
	case EACCES:
	case EPERM:
		return fail(call, error, "%s: this user may not speak with psibridged", call->path);
	case EPROTOTYPE:
		return fail(call, error, "%s is a socket of another kind, not psibridged's",
			    call->path);
	default:
		return fail(call, error, "%s: %s", call->path, strerror(-error));
	}
}

static int connect_socket(struct call *call)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (!call->path[0] || strlen(call->path) >= sizeof(address.sun_path))
		return fail(call, -ENAMETOOLONG, "\"%s\": a path of 1 to %zu bytes was expected",
			    call->path, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, call->path);
	call->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (call->fd < 0)
		return fail(call, -errno, "socket: %s", strerror(errno));
	while (connect(call->fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return not_connected(call, -errno);
		/* its queue is full, and there is nothing to poll for */
		if (msec_until(call->end_usec) == 0)
			return fail(call, -ETIMEDOUT,
				    "psibridged does not answer (its queue is full)");
		poll(NULL, 0, MIN(CONNECT_PAUSE_MSEC, msec_until(call->end_usec)));
	}
	return 0;
}

static int send_request(struct call *call, const char *text)
{
	size_t left = strlen(text);

	while (left > 0) {
		ssize_t n = send(call->fd, text, left, MSG_NOSIGNAL);

		if (n >= 0) {
			text += n;
			left -= (size_t)n;
		} else if (errno == EAGAIN) {
			if (wait_for(call, POLLOUT) < 0)
				return fail(call, -ETIMEDOUT,
					    "psibridged does not answer (it does not read)");
		} else if (errno != EINTR) {
			return fail(call, -errno, "%s: %s", call->path, strerror(errno));
		}
	}
	return 0;
}

static int make_room(struct call *call)
{
	size_t capacity = MAX(call->capacity * 2, (size_t)4096);
	char *bigger;

	if (call->size < call->capacity)
		return 0;
	if (capacity > ANSWER_MAX)
		return fail(call, -EBADMSG, "%s: the answer is longer than any of psibridged's",
			    call->path);
	bigger = realloc(call->answer, capacity);
	if (!bigger)
		return fail(call, -ENOMEM, "%s", strerror(ENOMEM));
	call->answer = bigger;
	call->capacity = capacity;
	return 0;
}

/* One line. */
static int receive(struct call *call)
{
	for (;;) {
		ssize_t n;
		int r = make_room(call);

		if (r < 0)
			return r;
		n = recv(call->fd, call->answer + call->size, call->capacity - call->size, 0);
		if (n > 0) {
			call->size += (size_t)n;
			if (call->answer[call->size - 1] == '\n')
				return 0;
		} else if (n == 0 || errno == ECONNRESET) {
			return fail(call, -ECONNRESET, "psibridged ended the connection %s",
				    call->size > 0 ? "in the middle of its answer"
						   : "without an answer");
		} else if (errno == EAGAIN) {
			if (wait_for(call, POLLIN) < 0)
				return fail(call, -ETIMEDOUT, "psibridged does not answer");
		} else if (errno != EINTR) {
			return fail(call, -errno, "%s: %s", call->path, strerror(errno));
		}
	}
}

static int exchange(struct call *call, const char *request)
{
	int r = connect_socket(call), sent;

	if (r < 0)
		return r;
	sent = send_request(call, request);
	if (sent == -ETIMEDOUT)
		return sent;
	return receive(call);
}

/* ---- answers --------------------------------------------------------------------------------- */

int control_ask(const char *path, json_t *request, uint64_t timeout_usec, json_t **ret, char *why)
{
	struct call call = { .fd = -1, .why = why };
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL, *line = NULL;
	json_t *answer = NULL;
	int r;

	json_decref(request);
	if (!path)
		path = getenv("PSIBRIDGE_CONTROL");
	call.path = path && *path ? path : CONTROL_SOCKET;
	call.end_usec = usec_add(now_usec(), timeout_usec);
	if (!text || asprintf(&line, "%s\n", text) < 0) {
		line = NULL;
		r = fail(&call, -ENOMEM, "%s", strerror(ENOMEM));
	} else {
		r = exchange(&call, line);
	}
	free(text);
	free(line);
	if (call.fd >= 0)
		close(call.fd);
	if (r == 0) {
		answer = json_loadb(call.answer, call.size, 0, NULL);
		if (!json_is_object(answer))
			r = fail(&call, -EBADMSG, "%s: whoever listens there is not psibridged",
				 call.path);
		else if (json_object_get(answer, "error"))
			r = fail(&call, -EREMOTEIO, "%s", answer_text(answer, "error"));
	}
	free(call.answer);
	if (r < 0) {
		json_decref(answer);
		return r;
	}
	*ret = answer;
	return 0;
}

static bool is_array_of_objects(const json_t *array)
{
	if (!json_is_array(array))
		return false;
	for (size_t i = 0; i < json_array_size(array); i++)
		if (!json_is_object(json_array_get(array, i)))
			return false;
	return true;
}

int control_ask_status(const char *path, uint64_t timeout_usec, json_t **ret, char *why)
{
	json_t *status;
	int r = control_ask(path, json_pack("{s:s}", "verb", "status"), timeout_usec, &status, why);

	if (r < 0)
		return r;
	if (!*answer_text(status, "version") ||
	    !is_array_of_objects(json_object_get(status, "watches")) ||
	    !is_array_of_objects(json_object_get(status, "cgroups")) ||
	    !json_is_object(json_object_get(status, "clients")) ||
	    !json_is_object(json_object_get(status, "configuration"))) {
		snprintf(why, CONTROL_WHY_MAX,
			 "psibridged's answer is none that psibridge %s understands (psibridged is "
			 "version \"%.32s\")",
			 psb_version(), answer_text(status, "version"));
		json_decref(status);
		return -EBADMSG;
	}
	*ret = status;
	return 0;
}

bool control_is_blind(const json_t *status)
{
	const json_t *watches = json_object_get(status, "watches");
	bool failed = false;

	for (size_t i = 0; i < json_array_size(watches); i++) {
		const char *state = answer_text(json_array_get(watches, i), "state");

		if (strcmp(state, "watching") == 0)
			return false;
		failed = failed || strcmp(state, "failed") == 0;
	}
	return failed;
}

bool control_is_absent(int error)
{
	return error == -ENOENT || error == -ECONNREFUSED;
}

uint64_t answer_number(const json_t *object, const char *key)
{
	json_int_t number = json_integer_value(json_object_get(object, key));

	return number > 0 ? (uint64_t)number : 0;
}

const char *answer_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

enum psb_available answer_level(const json_t *object)
{
	const struct words_level *level = words_level_named(answer_text(object, "available"));

	return level ? level->available : PSB_HIGH;
}

bool answer_flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}
