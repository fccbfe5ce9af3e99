/* SPDX-License-Identifier: MIT */
/*
 * daemon-bench.h - a real psibridged under the double of a service manager, in a directory of its
 * own, and clients in real cgroups
 *
 * A client's cgroup is that of the process that connects, at the time the daemon looks. So this
 * process moves into the cgroup, connects, waits until the daemon has counted the client, and moves
 * on: one process can be a thousand clients.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../skip.h"
#include "core/wire.h"
#include "../pressure.h"
#include "psibridge/tools.h"

/* Where this process is between two clients. Not the lab itself: a cgroup that hands controllers on
 * may have no processes. */
#define HOME "home"

struct bench {
	char dir[80]; /* $dir/root is "/" for the configuration, $dir/run/psibridge has the sockets */
	char notify[104], control[104];
	pid_t manager;		   /* manager-double.c */
	FILE *said;		   /* what it says */
	const char *watchdog_usec; /* of the manager; NULL: none */
	pid_t service;
};

static struct lab lab;
static const char *no_lab;

static inline void bench_need_lab(void)
{
	if (no_lab)
		SKIP(no_lab);
}

/* With cgroups of those names. */
static inline int bench_open_lab(const char *name, const char *const *groups)
{
	no_lab = lab_open(&lab, name);
	for (; !no_lab && *groups; groups++)
		lab_make(&lab, *groups, 0);
	return 0;
}

static inline int bench_close_lab(_unused_ void **state)
{
	if (no_lab)
		return 0;
	lab_enter(&lab, NULL);
	lab_close(&lab);
	return 0;
}

/* The whole configuration; %s in it is the lab's name. */
static inline void bench_configure(const struct bench *b, const char *text)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/root/etc/psibridge/psibridged.conf", b->dir);
	f = fopen(path, "we");
	assert_non_null(f);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	fprintf(f, text, lab.name, lab.name, lab.name);
#pragma GCC diagnostic pop
	assert_int_equal(fclose(f), 0);
}

static inline int bench_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && strlen(path) < sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		fail_msg("connect %s: %s", path, strerror(errno));
	return fd;
}

/* One request, one answer; the caller frees it. */
static inline json_t *bench_ask(struct bench *b, const char *request)
{
	static char buf[4 << 20];
	struct pollfd p = { .fd = bench_connect(b->control), .events = POLLIN };
	size_t size = 0;
	ssize_t n;
	json_error_t error;
	json_t *answer;

	assert_int_equal(send(p.fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
	do {
		if (poll(&p, 1, 20000) != 1)
			fail_msg("no answer to %s", request);
		n = recv(p.fd, buf + size, sizeof(buf) - size, 0);
		size += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	close(p.fd);
	answer = json_loadb(buf, size, 0, &error);
	if (!answer)
		fail_msg("%s: %.200s", error.text, buf);
	return answer;
}

static inline long long bench_number(struct bench *b, const char *object, const char *key)
{
	json_t *answer = bench_ask(b, "{\"verb\":\"status\"}\n");
	long long n = json_integer_value(json_object_get(json_object_get(answer, object), key));

	json_decref(answer);
	return n;
}

/* "low", "neutral", "high", "critical", as if it had been judged so. */
static inline void bench_simulate(struct bench *b, const char *group, const char *level)
{
	bool critical = strcmp(level, "critical") == 0;
	char request[512];
	json_t *answer;

	snprintf(request, sizeof(request),
		 "{\"verb\":\"simulate\",\"cgroup\":\"%s\",\"available\":\"%s\",\"critical\":%s}\n",
		 lab_path(&lab, group), critical ? "low" : level, critical ? "true" : "false");
	answer = bench_ask(b, request);
	if (json_object_get(answer, "error"))
		fail_msg("simulate %s %s: %s", group, level,
			 json_string_value(json_object_get(answer, "error")));
	json_decref(answer);
}

/* ---- the manager ---------------------------------------------------------------------------------- */

/* A line that begins with `prefix` comes within `ms`; those before it are forgotten. */
static inline void bench_await(struct bench *b, const char *prefix, unsigned ms)
{
	struct pollfd p = { .fd = fileno(b->said), .events = POLLIN };
	uint64_t end = lab_now_usec() + (uint64_t)ms * 1000;
	char line[256];

	/* each is written at once, and not buffered here */
	while (lab_now_usec() < end && poll(&p, 1, (int)ms) == 1 &&
	       fgets(line, sizeof(line), b->said))
		if (strncmp(line, prefix, strlen(prefix)) == 0) {
			if (strncmp(line, "START ", 6) == 0)
				b->service = (pid_t)strtol(line + 6, NULL, 10);
			return;
		}
	fail_msg("the manager's double says no \"%s\"", prefix);
}

static inline void bench_await_start(struct bench *b)
{
	bench_await(b, "START", 20000);
	bench_await(b, "READY", 20000);
}

/* The daemon on what is there already. */
static inline void bench_again(struct bench *b)
{
	const char *builddir = getenv("builddir");
	char manager[512], program[512], root[160];
	int out[2];

	builddir = builddir ? builddir : ".";
	snprintf(manager, sizeof(manager), "%s/tests/integration/manager-double", builddir);
	snprintf(program, sizeof(program), "%s/psibridged", builddir);
	snprintf(root, sizeof(root), "%s/root", b->dir);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	b->manager = fork();
	if (b->manager == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDOUT_FILENO);
		execl(manager, manager, "-s", b->notify, "-w",
		      b->watchdog_usec ? b->watchdog_usec : "0", "--", program, "--root", root,
		      "--control", b->control, NULL);
		_exit(127);
	}
	assert_true(b->manager > 0);
	close(out[1]);
	b->said = fdopen(out[0], "r");
	assert_non_null(b->said);
	setvbuf(b->said, NULL, _IONBF, 0);
	bench_await_start(b);
}

/* SIGUSR1: systemctl restart; SIGUSR2: kill -9. */
static inline void bench_restart(struct bench *b, int how)
{
	kill(b->manager, how);
	bench_await_start(b);
}

/* systemctl stop */
static inline void bench_end(struct bench *b)
{
	int status;

	kill(b->manager, SIGTERM);
	assert_int_equal(waitpid(b->manager, &status, 0), b->manager);
	assert_int_equal(status, 0);
	fclose(b->said);
}

/* ---- what the daemon says ------------------------------------------------------------------------- */

/* What the status says of `group` in one of its lists, whose items are called by their `name`; "": it is not in there. */
static inline const char *bench_text(struct bench *b, const char *list, const char *name,
				     const char *group, const char *key)
{
	static char text[32];
	json_t *answer = bench_ask(b, "{\"verb\":\"status\"}\n"),
	       *items = json_object_get(answer, list);

	text[0] = '\0';
	for (size_t i = 0; i < json_array_size(items); i++) {
		json_t *item = json_array_get(items, i);

		if (strcmp(json_string_value(json_object_get(item, name)), lab_path(&lab, group)) ==
		    0)
			snprintf(text, sizeof(text), "%s",
				 json_string_value(json_object_get(item, key)));
	}
	json_decref(answer);
	return text;
}

/* "low", "neutral" or "high"; "": nothing is known of that cgroup, which then is High. */
static inline const char *bench_level(struct bench *b, const char *group)
{
	return bench_text(b, "cgroups", "cgroup", group, "available");
}

static inline void bench_start_with(struct bench *b, const char *configuration,
				    const char *watchdog_usec)
{
	const char *tmp = getenv("TMPDIR");
	char command[256];

	*b = (struct bench){ .watchdog_usec = watchdog_usec };
	snprintf(b->dir, sizeof(b->dir), "%s/psb-daemon-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	snprintf(command, sizeof(command), "mkdir -p '%s/run/psibridge' '%s/root/etc/psibridge'",
		 b->dir, b->dir);
	assert_int_equal(system(command), 0);
	snprintf(b->notify, sizeof(b->notify), "%s/run/psibridge/notify", b->dir);
	snprintf(b->control, sizeof(b->control), "%s/run/psibridge/control", b->dir);
	bench_configure(b, configuration);
	if (access(lab_file(&lab, HOME, "cgroup.procs"), F_OK) < 0)
		lab_make(&lab, HOME, 0);
	bench_again(b);
}

static inline void bench_start(struct bench *b, const char *configuration)
{
	bench_start_with(b, configuration, NULL);
}

static inline void bench_stop(struct bench *b)
{
	char command[256];

	if (b->dir[0] == '\0')
		return;
	bench_end(b);
	snprintf(command, sizeof(command), "rm -rf '%s'", b->dir);
	assert_int_equal(system(command), 0);
	b->dir[0] = '\0';
}

/* ---- clients ------------------------------------------------------------------------------------ */

/* In `group`, having written `hello` (NULL: nothing); at home afterwards. */
static inline int bench_client(struct bench *b, const char *group, const char *hello)
{
	long long before = bench_number(b, "clients", "accepted") +
			   bench_number(b, "clients", "refused");
	int fd;

	lab_enter(&lab, group);
	fd = bench_connect(b->notify);
	if (hello)
		assert_int_equal(send(fd, hello, strlen(hello), MSG_NOSIGNAL), strlen(hello));
	if (!LAB_WAIT(10000, bench_number(b, "clients", "accepted") +
					     bench_number(b, "clients", "refused") >
				     before))
		fail_msg("the client was not noticed");
	lab_enter(&lab, HOME);
	return fd;
}

/* The next record within `ms`; false: none came, or the end of the connection. */
static inline bool bench_record(int fd, unsigned ms, struct wire_record *ret)
{
	const struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	char first;

	memset(ret, 0, sizeof(*ret));
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	if (recv(fd, &first, 1, MSG_PEEK) == 1 && first == WIRE_LOW)
		(void)!recv(fd, &first, 1, 0); /* from before our line was read */
	if (recv(fd, ret, sizeof(*ret), MSG_WAITALL) != sizeof(*ret))
		return false;
	assert_int_equal(wire_record_check(ret), 0);
	return true;
}

/* The next record is of that kind and level. */
static inline void bench_expect(int fd, unsigned ms, enum wire_record_kind kind,
				enum psb_available available, struct wire_record *ret)
{
	struct wire_record record;

	if (!bench_record(fd, ms, &record))
		fail_msg("no record within %u ms", ms);
	if (record.kind != kind || record.available != available)
		fail_msg("kind %u level %u (%s) instead of kind %d level %d", record.kind,
			 record.available, record.text, kind, available);
	if (ret)
		*ret = record;
}

/* How many bytes came within `ms`; -1: the end of the connection. */
static inline int bench_bytes(int fd, unsigned ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char buf[256];
	ssize_t n;

	if (poll(&p, 1, (int)ms) != 1)
		return 0;
	n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
	return n == 0 ? -1 : n < 0 ? -errno : (int)n;
}

static inline bool bench_is_silent(int fd)
{
	return bench_bytes(fd, 0) == 0;
}
