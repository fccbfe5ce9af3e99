/* SPDX-License-Identifier: MIT */
/*
 * daemon-bench.h - a real psibridged in a directory of its own, and clients in real cgroups
 *
 * Its service manager is a thread of the test, which keeps what psibridged stores and counts what it says; the test itself starts,
 * restarts and kills it. Under systemd itself: tests/vm/guest-daemon.sh.
 *
 * A client's cgroup is that of the process that connects, at the time the daemon looks. So this process moves into the cgroup,
 * connects, waits until the daemon has counted the client, and moves on: one process can be a thousand clients.
 */
#pragma once

#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../unit/unit.h"
#include "../sockets.h"
#include "core/wire.h"
#include "../pressure.h"
#include "psibridge/tools.h"

/* Where this process is between two clients. Not the lab itself: a cgroup that hands controllers on
 * may have no processes. */
#define HOME "home"
#define PATIENCE_MS 60000u /* for what must happen, on whatever machine */
#define STORE_MAX 2048
#define FIRST_FD 3 /* sd_listen_fds(3) */

struct bench {
	char dir[80]; /* $dir/root is "/" for the configuration, $dir/run/psibridge has the sockets */
	char notify[104], control[104];
	char said[104]; /* NOTIFY_SOCKET */
	pid_t service;
	/* the manager's thread: */
	pthread_t manager;
	int queue;
	atomic_uint ready, watchdogs, barriers; /* how often it was said */
	struct {				/* the listeners first */
		int fd;
		char name[24];
	} store[STORE_MAX];
	unsigned stored;
};

static struct lab lab;
static const char *no_lab;

static inline void bench_need_lab(void)
{
	if (no_lab)
		SKIP(no_lab);
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
	return socket_at(path, SOCK_STREAM, connect);
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
		if (poll(&p, 1, PATIENCE_MS) != 1)
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

/* What the status says in `object` under `key`. */
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

/* The store is the manager's thread's while a service runs, and the test's in between; so ThreadSanitizer knows it, too. */
static pthread_mutex_t bench_lock = PTHREAD_MUTEX_INITIALIZER;

/* Of that name; NULL: whose peer hung up. */
static inline void bench_drop(struct bench *b, const char *name)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < b->stored; i++) {
		struct pollfd p = { .fd = b->store[i].fd };

		if (name ? strcmp(b->store[i].name, name) == 0
			 : poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
			close(b->store[i].fd);
		else
			b->store[kept++] = b->store[i];
	}
	b->stored = kept;
}

static inline void bench_keep(struct bench *b, const char *name, int fd)
{
	if (b->stored == STORE_MAX)
		bench_drop(b, NULL);
	if (b->stored == STORE_MAX)
		abort();
	b->store[b->stored].fd = fd;
	snprintf(b->store[b->stored++].name, sizeof(b->store[0].name), "%s", name);
}

static void *bench_manager(void *userdata)
{
	struct bench *b = userdata;
	const char *text, *name;
	int fd;

	/* its queue has room for ten messages, and a thousand clients send one each: the thread must not wait for a CPU */
	setpriority(PRIO_PROCESS, 0, -10);
	while (strcmp(text = receive(b->queue, &fd), "END") != 0) {
		name = strstr(text, "FDNAME=");
		b->ready += strcmp(text, "READY=1") == 0;
		b->watchdogs += strcmp(text, "WATCHDOG=1") == 0;
		b->barriers += strcmp(text, "BARRIER") == 0;
		pthread_mutex_lock(&bench_lock);
		if (name && strncmp(text, "FDSTOREREMOVE=1", 15) == 0)
			bench_drop(b, name + 7);
		else if (name && fd >= 0)
			bench_keep(b, name + 7, fd);
		pthread_mutex_unlock(&bench_lock);
	}
	return NULL;
}

static inline void bench_say_to_manager(const struct bench *b, const char *text)
{
	int fd = socket_at(b->said, SOCK_DGRAM, connect);

	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	close(fd);
}

static _Noreturn void bench_become_service(struct bench *b)
{
	const char *builddir = getenv("builddir");
	char program[512], root[160], pid[16], fds[16], *names = NULL;
	size_t size;
	FILE *f = open_memstream(&names, &size);

	lab_enter(&lab, NULL);
	/* out of the way first, for what goes to 3 may still be needed there */
	for (unsigned i = 0; i < b->stored; i++) {
		b->store[i].fd = fcntl(b->store[i].fd, F_DUPFD_CLOEXEC, FIRST_FD + (int)b->stored);
		fprintf(f, "%s%s", i ? ":" : "", b->store[i].name);
	}
	for (unsigned i = 0; i < b->stored; i++)
		dup2(b->store[i].fd, FIRST_FD + (int)i);
	fclose(f);
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(fds, sizeof(fds), "%u", b->stored);
	setenv("NOTIFY_SOCKET", b->said, 1);
	setenv("LISTEN_FDNAMES", names, 1);
	setenv("LISTEN_FDS", fds, 1);
	setenv("LISTEN_PID", pid, 1);
	setenv("FDSTORE", "65536", 1);
	setenv("WATCHDOG_USEC", "6000000", 1); /* WatchdogSec=6: it is fed every 3 s */
	setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus", 1);
	unsetenv("MEMORY_PRESSURE_WATCH");
	unsetenv("MEMORY_PRESSURE_WRITE");
	snprintf(program, sizeof(program), "%s/psibridged", builddir ? builddir : ".");
	snprintf(root, sizeof(root), "%s/root", b->dir);
	setenv("STATE_DIRECTORY", root, 1); /* the trace is in $dir/root/trace */
	execl(program, program, "--root", root, "--control", b->control, NULL);
	_exit(127);
}

/* With what was stored, but for those whose peer hung up. */
static inline void bench_start_service(struct bench *b)
{
	unsigned ready = b->ready;

	pthread_mutex_lock(&bench_lock);
	bench_drop(b, NULL);
	pthread_mutex_unlock(&bench_lock);
	b->service = lab_fork(&lab, NULL);
	if (b->service == 0)
		bench_become_service(b);
	if (!LAB_WAIT(PATIENCE_MS, b->ready > ready))
		fail_msg("psibridged is not ready");
}

/* All that it said was heard. Returns: its status. */
static inline int bench_end_service(struct bench *b, int signal)
{
	unsigned barriers = b->barriers;
	int status;

	kill(b->service, signal);
	assert_int_equal(waitpid(b->service, &status, 0), b->service);
	bench_say_to_manager(b, "BARRIER");
	assert_true(LAB_WAIT(PATIENCE_MS, b->barriers > barriers));
	return status;
}

/* SIGTERM: systemctl restart; SIGKILL: kill -9. */
static inline void bench_restart(struct bench *b, int signal)
{
	assert_int_equal(bench_end_service(b, signal), signal == SIGTERM ? 0 : SIGKILL);
	bench_start_service(b);
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

/* ---- its life --------------------------------------------------------------------------------------- */

static inline void bench_start(struct bench *b, const char *configuration)
{
	const char *tmp = getenv("TMPDIR");
	char command[256];
	int fd;

	memset(b, 0, sizeof(*b));
	snprintf(b->dir, sizeof(b->dir), "%s/psb-daemon-XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(b->dir));
	snprintf(command, sizeof(command), "mkdir -p '%s/run/psibridge' '%s/root/etc/psibridge'",
		 b->dir, b->dir);
	assert_int_equal(system(command), 0);
	snprintf(b->notify, sizeof(b->notify), "%s/run/psibridge/notify", b->dir);
	snprintf(b->control, sizeof(b->control), "%s/run/psibridge/control", b->dir);
	snprintf(b->said, sizeof(b->said), "%s/said", b->dir);
	bench_configure(b, configuration);
	if (access(lab_file(&lab, HOME, "cgroup.procs"), F_OK) < 0)
		lab_make(&lab, HOME, 0);
	b->queue = socket_at(b->said, SOCK_DGRAM, bind);
	fd = listen_here(b->notify);
	assert_int_equal(chmod(b->notify, 0666), 0);
	bench_keep(b, "psibridged.socket", fd);
	assert_int_equal(pthread_create(&b->manager, NULL, bench_manager, b), 0);
	bench_start_service(b);
}

static inline void bench_stop(struct bench *b)
{
	char command[256];

	if (b->dir[0] == '\0')
		return;
	assert_int_equal(bench_end_service(b, SIGTERM), 0);
	bench_say_to_manager(b, "END");
	assert_int_equal(pthread_join(b->manager, NULL), 0);
	close(b->queue);
	while (b->stored > 0)
		close(b->store[--b->stored].fd);
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
	if (!LAB_WAIT(PATIENCE_MS, bench_number(b, "clients", "accepted") +
						   bench_number(b, "clients", "refused") >
					   before))
		fail_msg("the client was not noticed");
	lab_enter(&lab, HOME);
	return fd;
}

/* The next record within `ms`; false: none came, or the end of the connection. */
static inline bool bench_any_record(int fd, unsigned ms, struct wire_record *ret)
{
	const struct timeval wait = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };
	char first;

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)), 0);
	memset(ret, 0, sizeof(*ret));
	if (recv(fd, &first, 1, MSG_PEEK) == 1 && first == WIRE_LOW)
		(void)!recv(fd, &first, 1, 0); /* from before our line was read */
	if (recv(fd, ret, sizeof(*ret), MSG_WAITALL) != sizeof(*ret))
		return false;
	assert_int_equal(wire_record_check(ret), 0);
	return true;
}

/* The same, but for what a Low achieved, which comes 5 s after it whatever is told then. */
static inline bool bench_record(int fd, unsigned ms, struct wire_record *ret)
{
	bool came;

	do
		came = bench_any_record(fd, ms, ret);
	while (came && ret->kind == WIRE_EFFECT);
	return came;
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
