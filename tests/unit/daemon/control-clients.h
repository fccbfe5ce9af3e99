/* SPDX-License-Identifier: MIT */
/*
 * control-clients.h - clients of a control socket, for its tests
 *
 * Clients and server share one thread: a client writes what its socket takes, then the loop is
 * turned until something is there to read. Time passes only where patience is set short.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>

#include "../../skip.h"
#include "control-stage.h"
#include "../fake-root.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC) /* for what must happen */
#define SHORT_USEC (20 * USEC_PER_MSEC)
#define NOBODY 65534

static char main_file[] = "/etc/psibridge/psibridged.conf", *files[] = { main_file, NULL };
static const char *socket_path;

/* ---- clients --------------------------------------------------------------------------------- */

static inline void turn(void)
{
	assert_true(sd_event_run(stage.daemon.event, USEC_PER_MSEC) >= 0);
}

static inline int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* The kernel notes who it is when the connection is made. */
static inline int dial_as(uid_t uid)
{
	int fd;

	assert_int_equal(seteuid(uid), 0);
	fd = dial();
	assert_int_equal(seteuid(0), 0);
	return fd;
}

static inline void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line, without its newline; NULL: the connection ended. The caller frees. */
static inline char *hear(int fd)
{
	uint64_t end = now_usec() + PATIENCE_USEC;
	size_t size = 0, capacity = 256;
	char *line = malloc(capacity);

	while (now_usec() < end) {
		ssize_t n = recv(fd, line + size, 1, 0);

		if (n < 0 && errno == EAGAIN) {
			turn();
			continue;
		}
		if (n <= 0) {
			free(line);
			return NULL;
		}
		if (line[size] == '\n') {
			line[size] = '\0';
			return line;
		}
		if (++size == capacity)
			line = realloc(line, capacity *= 2);
	}
	fail_msg("no answer");
	return NULL;
}

static inline json_t *hear_json(int fd)
{
	char *line = hear(fd);
	json_t *answer;

	assert_non_null(line);
	answer = json_loads(line, 0, NULL);
	if (!answer)
		fail_msg("not JSON: %s", line);
	free(line);
	return answer;
}

static inline json_t *ask(int fd, const char *request)
{
	say(fd, request);
	say(fd, "\n");
	return hear_json(fd);
}

static inline const char *text_at(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		fail_msg("no %s", key);
	return text;
}

static inline json_int_t number_at(json_t *object, const char *key)
{
	json_t *number = json_object_get(object, key);

	if (!json_is_integer(number))
		fail_msg("no %s", key);
	return json_integer_value(number);
}

static inline void assert_refused(json_t *answer, const char *error, const char *words)
{
	if (strcmp(text_at(answer, "errno"), error) != 0 ||
	    (words && !strstr(text_at(answer, "error"), words)))
		fail_msg("%s, %s instead of %s, %s", text_at(answer, "errno"),
			 text_at(answer, "error"), error, words);
	assert_null(json_object_get(answer, "ok"));
	json_decref(answer);
}

static inline void assert_ok(json_t *answer)
{
	if (!json_is_true(json_object_get(answer, "ok")))
		fail_msg("refused: %s", text_at(answer, "error"));
	json_decref(answer);
}

static inline void assert_serves(int fd)
{
	json_t *answer = ask(fd, "{\"verb\":\"status\"}");

	assert_int_equal(number_at(answer, "pid"), getpid());
	json_decref(answer);
}

/* ---- the stage ------------------------------------------------------------------------------- */

/* In place of those that were there. A single one is "/one". */
static inline void fill_cgroups(unsigned count)
{
	static char names[5000][32];

	assert_true(count <= ELEMENTSOF(names));
	free(stage.cgroups);
	stage.cgroups = calloc(count, sizeof(*stage.cgroups));
	stage.cgroup_count = count;
	for (unsigned i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "/some.slice/%u.service", i);
		stage.cgroups[i] = stage_cgroup(1, count == 1 ? "/one" : names[i], PSB_LOW);
	}
}

static inline int set_up_all(void **state)
{
	if (fake_set_up(state) < 0 || chmod(fake_root, 0755) < 0)
		return -1;
	socket_path = strdup(fake_path("control"));
	return 0;
}

static inline int tear_down_all(void **state)
{
	free((char *)(uintptr_t)socket_path);
	return fake_tear_down(state);
}

static inline int set_up(void **state)
{
	(void)state;
	return stage_open(socket_path, files);
}

static inline int tear_down(void **state)
{
	(void)state;
	stage_close();
	return 0;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
