/* SPDX-License-Identifier: MIT */
/*
 * control-client.c - one connection, one request, one answer
 *
 * Every wait has an end, also the one for a connection (a listener's queue may be full, and it may
 * have stopped to read). The answer is parsed as it comes. That of a daemon with ten thousand cgroups
 * is some megabytes long; ANSWER_MAX keeps anything else from filling our memory.
 *
 * A daemon that turns us away says so before it closes, perhaps before our request is sent: what it
 * wrote is read even when writing failed.
 */
#include "cli/control-client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/wait.h"
#include "core/names.h"

#define ANSWER_MAX ((size_t)64 << 20)
#define LOCK_PACE_USEC (50 * USEC_PER_MSEC)

struct call {
	const char *path;
	int fd;
	uint64_t end_usec;
	size_t size; /* of the answer, so far */
	int error;   /* of receive() */
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
			    "psibridged is not running (nothing listens on %s); \"systemctl start "
			    "psibridged\" starts it",
			    call->path);
	case ETIMEDOUT:
		return fail(call, error, "psibridged does not answer (its queue is full)");
	default:
		return fail(call, error, "%s: %s", call->path, strerror(-error));
	}
}

static int connect_socket(struct call *call)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int r;

	if (!call->path[0] || strlen(call->path) >= sizeof(address.sun_path))
		return fail(call, -ENAMETOOLONG, "\"%s\": a path of 1 to %zu bytes was expected",
			    call->path, sizeof(address.sun_path) - 1);
	strcpy(address.sun_path, call->path);
	call->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (call->fd < 0)
		return fail(call, -errno, "socket: %s", strerror(errno));
	r = socket_connect(call->fd, &address, call->end_usec);
	return r < 0 ? not_connected(call, r) : 0;
}

/* What json_load_callback() reads by: the next bytes; -1: `error` and `why` say which error. */
static size_t receive(void *buf, size_t capacity, void *userdata)
{
	struct call *call = userdata;
	ssize_t n = socket_receive(call->fd, buf, capacity, call->end_usec);

	if (n > 0 && (call->size += (size_t)n) <= ANSWER_MAX)
		return (size_t)n;
	if (n > 0)
		call->error = fail(call, -EBADMSG,
				   "%s: the answer is longer than any of psibridged's", call->path);
	else if (n == 0 || n == -ECONNRESET)
		call->error = fail(call, -ECONNRESET, "psibridged ended the connection %s",
				   call->size > 0 ? "in the middle of its answer"
						  : "without an answer");
	else if (n == -ETIMEDOUT)
		call->error = fail(call, -ETIMEDOUT, "psibridged does not answer");
	else
		call->error = fail(call, (int)n, "%s: %s", call->path, strerror((int)-n));
	return (size_t)-1;
}

static int exchange(struct call *call, const char *request, json_t **ret)
{
	int r = connect_socket(call);

	if (r < 0)
		return r;
	/* any other error leaves an answer to be read */
	if (socket_send(call->fd, request, strlen(request), call->end_usec) == -ETIMEDOUT ||
	    socket_send(call->fd, "\n", 1, call->end_usec) == -ETIMEDOUT)
		return fail(call, -ETIMEDOUT, "psibridged does not answer (it does not read)");
	/* up to the end of the object: the connection stays open behind it */
	*ret = json_load_callback(receive, call, JSON_DISABLE_EOF_CHECK, NULL);
	if (call->error < 0)
		return call->error;
	if (!json_is_object(*ret))
		return fail(call, -EBADMSG, "%s: what listens there is not psibridged", call->path);
	if (json_object_get(*ret, "error"))
		return fail(call, -EREMOTEIO, "%s", answer_text(*ret, "error"));
	return 0;
}

/* ---- answers --------------------------------------------------------------------------------- */

static const char *socket_of(const char *path)
{
	if (!path)
		path = getenv("PSIBRIDGE_CONTROL");
	return path && *path ? path : CONTROL_SOCKET;
}

int control_lock(const char *path, uint64_t timeout_usec, char *why)
{
	uint64_t end = usec_add(now_usec(), timeout_usec);
	char *file = NULL;
	int fd, r;

	if (asprintf(&file, "%s.lock", socket_of(path)) < 0)
		return -ENOMEM;
	fd = open(file, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
	while (fd >= 0 && (r = flock(fd, LOCK_EX | LOCK_NB)) < 0 && errno == EWOULDBLOCK &&
	       now_usec() < end)
		usleep(LOCK_PACE_USEC);
	if (fd >= 0 && r < 0)
		snprintf(why, CONTROL_WHY_MAX, "another psibridge set has held %.200s for %u s",
			 file, (unsigned)(timeout_usec / USEC_PER_SEC));
	free(file);
	return fd >= 0 && r < 0 ? -EBUSY : 0;
}

int control_ask(const char *path, json_t *request, uint64_t timeout_usec, json_t **ret, char *why)
{
	struct call call = { .fd = -1, .why = why };
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	json_t *answer = NULL;
	int r;

	json_decref(request);
	call.path = socket_of(path);
	call.end_usec = usec_add(now_usec(), timeout_usec);
	r = text ? exchange(&call, text, &answer) : fail(&call, -ENOMEM, "%s", strerror(ENOMEM));
	free(text);
	if (call.fd >= 0)
		close(call.fd);
	if (r < 0)
		json_decref(answer);
	else
		*ret = answer;
	return r;
}

int control_ask_status(const char *path, uint64_t timeout_usec, json_t **ret, char *why)
{
	json_t *status;
	int r = control_ask(path, json_pack("{s:s}", "verb", "status"), timeout_usec, &status, why);

	if (r < 0)
		return r;
	if (!*answer_text(status, "version") ||
	    !json_is_array(json_object_get(status, "watches")) ||
	    !json_is_array(json_object_get(status, "cgroups")) ||
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
	const json_t *watch;
	bool failed = false;

	EACH_ANSWER(watch, status, "watches") {
		const char *state = answer_text(watch, "state");

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
	unsigned level = available_of_name(answer_text(object, "available"));

	return level > 0 ? (enum psb_available)level : PSB_HIGH;
}

bool answer_flag(const json_t *object, const char *key)
{
	return json_is_true(json_object_get(object, key));
}
