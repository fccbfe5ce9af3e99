/* SPDX-License-Identifier: MIT */
/*
 * bus-bench.h - a private bus, a daemon with a forest made of tables, and a client
 *
 * Everything runs on one thread: spin() drives the daemon's loop and the client by turns until a
 * condition is true. So the client, an sd-bus connection of its own, calls asynchronously as well.
 * A client of another user is made by connecting with that user's effective id: the kernel tells
 * the bus who connected.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../skip.h"
#include "daemon/bus-internal.h"
#include "fake-forest.h"
#include "fake-root.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC)
#define NOBODY 65534

static const enum loop_backend backends[] = { LOOP_URING, LOOP_EPOLL };

/* ---- a bus ----------------------------------------------------------------------------------- */

static pid_t bus_pid;
static const char *bus_policy; /* more of its configuration; NULL: everybody may do everything */

#define OPEN_POLICY                                                         \
	"<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>" \
	"<allow send_destination=\"*\" eavesdrop=\"true\"/>"                \
	"<allow eavesdrop=\"true\"/></policy>"

static inline bool have_dbus_daemon(void)
{
	static int have = -1;

	if (have < 0)
		have = system("dbus-daemon --version >/dev/null 2>&1") == 0;
	return have;
}

/* In a directory that may have to be made: "run/dbus/socket" below the fake root. */
static inline const char *bus_socket(void)
{
	return fake_path("run/dbus/socket");
}

static inline void bus_start(void)
{
	char config[8192], option[600];
	int ready[2];
	char c = '\0';

	snprintf(
		config, sizeof(config),
		"<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\" "
		"\"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">"
		"<busconfig><type>system</type><auth>EXTERNAL</auth>"
		"<listen>unix:path=%s</listen>%s</busconfig>",
		bus_socket(), bus_policy ? bus_policy : OPEN_POLICY);
	fake_write("bus.conf", config);
	fake_write("run/dbus/", "");
	assert_int_equal(chmod(fake_root, 0755), 0);
	unlink(bus_socket());
	assert_int_equal(pipe(ready), 0);
	bus_pid = fork();
	assert_true(bus_pid >= 0);
	if (bus_pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		if (!freopen(fake_path("bus.log"), "ae", stderr) || dup2(fileno(stderr), 2) < 0)
			_exit(126);
		snprintf(option, sizeof(option), "--config-file=%s", fake_path("bus.conf"));
		snprintf(config, sizeof(config), "--print-address=%d", ready[1]);
		execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog",
		       option, config, NULL);
		_exit(127);
	}
	close(ready[1]);
	while (read(ready[0], &c, 1) < 0 && errno == EINTR)
		;
	if (c != 'u') /* "unix:path=..." */
		fail_msg("dbus-daemon did not start; is its configuration right?");
	close(ready[0]);
}

static inline void bus_stop(void)
{
	if (bus_pid <= 0)
		return;
	kill(bus_pid, SIGKILL);
	while (waitpid(bus_pid, NULL, 0) < 0 && errno == EINTR)
		;
	bus_pid = 0;
}

/* ---- a daemon -------------------------------------------------------------------------------- */

struct house {
	struct daemon d;
	struct config config;
	char *files[3];
	struct loop_op bridge_op;
	sd_bus *client;
};

static struct house house;

static inline void bridge_is_ready(struct loop_op *op, int result)
{
	(void)op;
	(void)result;
	while (psb_bridge_dispatch(house.d.bridge) > 0)
		;
}

static inline void daemon_up(enum loop_backend backend)
{
	struct loop_options options = { .backend = backend };
	struct psb_bridge_options bridge = {
		.size = sizeof(bridge),
		.backend = backend == LOOP_URING ? PSB_BACKEND_URING : PSB_BACKEND_EPOLL,
	};
	char address[600];

	fake_reset();
	memset(&house, 0, sizeof(house));
	if (loop_new(&options, &house.d.loop, NULL) < 0)
		SKIP("io_uring cannot be had here");
	assert_int_equal(psb_bridge_new(&bridge, &house.d.bridge), 0);
	house.files[0] = (char *)(uintptr_t) "/etc/psibridge/psibridged.conf";
	house.files[1] = (char *)(uintptr_t) "/run/psibridge/psibridged.conf.d/10-x.conf";
	house.config = (struct config){
		.defaults = {
			/* the machine's own pressure, whatever else runs on it, stays below */
			.early = { PSI_SOME, 10000000, 10000000 },
			.low = { PSI_SOME, 10000000, 10000000 },
			.critical = { PSI_FULL, 10000000, 10000000 },
			.rearm_usec = 8192000,
			.calm_usec = 10000000,
		},
		.bus = true,
		.low_memory_monitor = true,
		.files = house.files,
	};
	house.d.config = &house.config;
	house.d.root = "";
	assert_int_equal(loop_poll(house.d.loop, &house.bridge_op, psb_bridge_fd(house.d.bridge),
				   POLLIN, bridge_is_ready),
			 0);
	snprintf(address, sizeof(address), "unix:path=%s", bus_socket());
	setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
	assert_int_equal(bus_new(&house.d, &house.d.bus), 0);
}

static inline void loop_turn(uint64_t usec)
{
	assert_true(loop_dispatch(house.d.loop, usec ? now_usec() + usec : 0) >= 0);
	while (house.client && sd_bus_process(house.client, NULL) > 0)
		;
}

#define SPIN(condition)                                             \
	do {                                                        \
		uint64_t _end = now_usec() + PATIENCE_USEC;         \
		while (!(condition)) {                              \
			if (now_usec() > _end)                      \
				fail_msg("waited for " #condition); \
			loop_turn(2000);                            \
		}                                                   \
	} while (0)

static inline void daemon_down(void)
{
	house.client = sd_bus_close_unref(house.client);
	house.d.bus = bus_free(house.d.bus);
	if (house.d.loop) {
		uint64_t end = now_usec() + USEC_PER_SEC / 2;

		while (loop_dispatch(house.d.loop, now_usec() + 20000) > 0 && now_usec() < end)
			;
	}
	house.d.loop = loop_free(house.d.loop);
	house.d.bridge = psb_bridge_unref(house.d.bridge);
}

static inline bool names_are_ours(void)
{
	const struct bus *bus = house.d.bus;

	return bus->state == BUS_READY && bus->names[BUS_NAME_OURS].owned == house.config.bus &&
	       bus->names[BUS_NAME_LOWMEM].owned == house.config.low_memory_monitor;
}

/* ---- a client -------------------------------------------------------------------------------- */

static inline sd_bus *client_new(uid_t uid)
{
	sd_bus *client;
	uid_t own = geteuid();

	assert_true(sd_bus_new(&client) >= 0);
	assert_true(sd_bus_set_address(client, getenv("DBUS_SYSTEM_BUS_ADDRESS")) >= 0);
	assert_true(sd_bus_set_bus_client(client, 1) >= 0);
	if (uid != own) /* of this thread alone: glibc's would change the library's too */
		assert_int_equal(syscall(SYS_setresuid, -1, uid, -1), 0);
	assert_true(sd_bus_start(client) >= 0);
	if (uid != own)
		assert_int_equal(syscall(SYS_setresuid, -1, own, -1), 0);
	return client;
}

static inline void client_up(uid_t uid)
{
	house.client = client_new(uid);
	SPIN(sd_bus_is_ready(house.client) > 0);
}

static inline int answer_came(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus_message **answer = userdata;

	(void)error;
	*answer = sd_bus_message_ref(m);
	return 1;
}

/* To be freed by the caller. */
static inline sd_bus_message *ask(const char *path, const char *interface, const char *member,
				  const char *types, ...)
{
	sd_bus_message *call = NULL, *answer = NULL;
	va_list args;

	assert_true(sd_bus_message_new_method_call(house.client, &call, BUS_NAME, path, interface,
						   member) >= 0);
	va_start(args, types);
	if (types)
		assert_true(sd_bus_message_appendv(call, types, args) >= 0);
	va_end(args);
	assert_true(sd_bus_call_async(house.client, NULL, call, answer_came, &answer, 0) >= 0);
	sd_bus_message_unref(call);
	SPIN(answer);
	return answer;
}

/* The name of the error of an answer, which is freed; "" if it is none. */
static inline const char *error_of(sd_bus_message *answer, const char **ret_text)
{
	static char name[128], text[512];
	const sd_bus_error *error = sd_bus_message_get_error(answer);

	snprintf(name, sizeof(name), "%s", error ? error->name : "");
	snprintf(text, sizeof(text), "%s", error && error->message ? error->message : "");
	sd_bus_message_unref(answer);
	if (ret_text)
		*ret_text = text;
	return name;
}

/* Signals that the client heard, in words: "LevelChanged /a low 0 stall 5". */
#define HEARD_MAX 400
static char heard[HEARD_MAX][256];
static unsigned heard_count;
static const char *heard_not; /* a member that the test does not want to hear */

static inline int heard_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *member = sd_bus_message_get_member(m), *path = sd_bus_message_get_path(m);
	char *line = heard[heard_count], *end = line + sizeof(heard[0]);

	(void)userdata;
	(void)error;
	if (heard_count == HEARD_MAX || (heard_not && strcmp(member, heard_not) == 0))
		return 0;
	heard_count++;
	if (strcmp(member, "LevelChanged") == 0) {
		const char *cgroup, *available, *reason;
		uint64_t stall;
		int critical;

		assert_true(sd_bus_message_read(m, "ssbst", &cgroup, &available, &critical, &reason,
						&stall) > 0);
		snprintf(line, sizeof(heard[0]), "%s %.100s %s %d %s %llu", member, cgroup,
			 available, critical, reason, (unsigned long long)stall);
	} else if (strcmp(member, "LowMemoryWarning") == 0) {
		uint8_t level;

		assert_true(sd_bus_message_read(m, "y", &level) > 0);
		snprintf(line, sizeof(heard[0]), "%s %s %u", member, path, level);
	} else if (strcmp(member, "LevelsMissed") == 0) {
		uint32_t count;

		assert_true(sd_bus_message_read(m, "u", &count) > 0);
		snprintf(line, sizeof(heard[0]), "%s %u", member, count);
	} else if (strcmp(member, "PropertiesChanged") == 0) {
		const char *interface, *name;

		line += snprintf(line, sizeof(heard[0]), "%s %s", member, path);
		assert_true(sd_bus_message_read(m, "s", &interface) > 0);
		assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
		while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
			assert_true(sd_bus_message_read(m, "s", &name) > 0);
			line += snprintf(line, (size_t)(end - line), " %s", name);
			if (strcmp(name, "Available") == 0 || strcmp(name, "State") == 0) {
				assert_true(sd_bus_message_read(m, "v", "s", &name) > 0);
				line += snprintf(line, (size_t)(end - line), "=%s", name);
			} else {
				assert_true(sd_bus_message_skip(m, "v") > 0);
			}
			assert_true(sd_bus_message_exit_container(m) > 0);
		}
	} else {
		const char *object;
		uint32_t id;

		assert_true(sd_bus_message_read(m, "uo", &id, &object) > 0);
		snprintf(line, sizeof(heard[0]), "%s %u %s", member, id, object);
	}
	return 0;
}

static inline int match_is_there(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	(void)error;
	assert_null(sd_bus_message_get_error(m));
	*(bool *)userdata = true;
	return 0;
}

static inline void listen_for_signals(void)
{
	bool there = false;

	heard_count = 0;
	assert_true(sd_bus_match_signal_async(house.client, NULL, BUS_NAME, NULL, NULL, NULL,
					      heard_signal, match_is_there, &there) >= 0);
	SPIN(there);
}

static inline const char *heard_line(const char *text)
{
	for (unsigned i = 0; i < heard_count; i++)
		if (strstr(heard[i], text))
			return heard[i];
	return NULL;
}

static inline unsigned heard_lines(const char *text)
{
	unsigned n = 0;

	for (unsigned i = 0; i < heard_count; i++)
		n += strstr(heard[i], text) != NULL;
	return n;
}

/* ---- running --------------------------------------------------------------------------------- */

static inline int bench_down(void **state)
{
	daemon_down();
	bus_stop();
	bus_policy = NULL;
	heard_not = NULL;
	return fake_tear_down(state);
}

static inline int bench_up(void **state)
{
	return fake_set_up(state);
}

/* The usual: a bus, a daemon on it, a client that listens. */
static inline void all_up(void **state)
{
	if (!have_dbus_daemon())
		SKIP("no dbus-daemon here");
	bus_start();
	daemon_up(*(const enum loop_backend *)*state);
	SPIN(names_are_ours());
	client_up(geteuid());
	listen_for_signals();
}

typedef struct {
	const char *name;
	CMUnitTestFunction test;
} promise;

#define PROMISE(name)       \
	{                   \
#name, name \
	}

static inline int run_promises(const char *group, const promise *promises, size_t n)
{
	static struct CMUnitTest tests[128];
	static char names[128][160];
	size_t used = 0;

	for (size_t b = 0; b < ELEMENTSOF(backends); b++) {
		if (backends[b] == LOOP_URING && getenv("PSIBRIDGE_TEST_DENIED"))
			continue;
		for (size_t i = 0; i < n && used < ELEMENTSOF(tests); i++, used++) {
			snprintf(names[used], sizeof(names[0]), "%s (%s)", promises[i].name,
				 backends[b] == LOOP_URING ? "io_uring" : "epoll");
			tests[used] = (struct CMUnitTest){ names[used], promises[i].test, bench_up,
							   bench_down,
							   (void *)(uintptr_t)&backends[b] };
		}
	}
	return _cmocka_run_group_tests(group, tests, used, NULL, NULL);
}
