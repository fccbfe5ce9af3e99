/* SPDX-License-Identifier: MIT */
/*
 * test-manager-inherit.c - what is taken over from the service manager (src/daemon/manager.h)
 *
 * Taking over is about the environment and the descriptors from 3 on of a whole process, so each
 * case is tried in a child. It says on stderr which line did not hold.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit.h"
#include "daemon/manager.h"

static const char *const variables[] = { "NOTIFY_SOCKET", "FDSTORE",	    "LISTEN_PID",
					 "LISTEN_FDS",	  "LISTEN_FDNAMES", "WATCHDOG_USEC",
					 "WATCHDOG_PID" };

/* The exit status of `in_child`: 0, or the number of the line that did not hold. */
static void run_in_child(int (*in_child)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int line = in_child();

		if (line)
			fprintf(stderr, "%s:%d does not hold\n", __FILE__, line);
		_exit(line ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define HOLDS(condition)                 \
	do {                             \
		if (!(condition))        \
			return __LINE__; \
	} while (0)

static void set_listen(int count, const char *names)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", (int)getpid());
	setenv("LISTEN_PID", text, 1);
	snprintf(text, sizeof(text), "%d", count);
	setenv("LISTEN_FDS", text, 1);
	if (names)
		setenv("LISTEN_FDNAMES", names, 1);
}

static int take_over(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	static const enum inherited kinds[] = { INHERITED_LISTENER, INHERITED_CLIENT,
						INHERITED_STATE, INHERITED_OTHER };
	struct manager *m = NULL;
	int pair[2], listener, state, other;

	/* a blocking one each, without O_CLOEXEC, as systemd passes them */
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	HOLDS(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)) == 0);
	HOLDS(listen(listener, 1) == 0);
	HOLDS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	state = memfd_create("state", 0);
	other = memfd_create("other", 0);
	for (int k = 0; k < 5; k++) {
		const int from[] = { listener, pair[0], state, other, listener };

		HOLDS(fcntl(from[k], F_DUPFD, 200 + k) == 200 + k);
	}
	for (int k = 0; k < 5; k++)
		HOLDS(dup2(200 + k, 3 + k) == 3 + k);
	set_listen(
		5,
		"psibridged.socket:client:state:foreign:client"); /* what listens is a listener whatever its name */
	HOLDS(manager_new(&m) == 0);
	for (int k = 3; k < 8; k++) {
		HOLDS(fcntl(k, F_GETFD) & FD_CLOEXEC);
		HOLDS(fcntl(k, F_GETFL) & O_NONBLOCK);
	}
	for (int k = 0; k < 4; k++)
		HOLDS(manager_take(m, kinds[k]) == 3 + k);
	HOLDS(manager_take(m, INHERITED_CLIENT) == -1);
	for (size_t k = 0; k < ELEMENTSOF(variables); k++)
		HOLDS(!getenv(variables[k]));
	manager_free(m);
	for (int k = 3; k < 7; k++)
		HOLDS(fcntl(k, F_GETFD) >= 0);
	HOLDS(fcntl(7, F_GETFD) < 0 && errno == EBADF);
	return 0;
}

static void
descriptors_are_taken_over_by_what_they_are_and_what_nobody_takes_is_closed(void **state)
{
	(void)state;
	run_in_child(take_over);
}

static int take_unnamed(void)
{
	struct manager *m = NULL;

	HOLDS(dup2(memfd_create("x", 0), 3) == 3);
	set_listen(1, NULL);
	HOLDS(manager_new(&m) == 0);
	HOLDS(manager_take(m, INHERITED_OTHER) == 3);
	manager_free(m);
	return 0;
}

static void a_descriptor_without_a_name_is_nobody_s(void **state)
{
	(void)state;
	run_in_child(take_unnamed);
}

static int take_others(void)
{
	struct manager *m = NULL;

	HOLDS(dup2(memfd_create("x", 0), 3) == 3);
	set_listen(1, "client");
	setenv("LISTEN_PID", "1", 1);
	HOLDS(manager_new(&m) == 0);
	HOLDS(manager_take(m, INHERITED_CLIENT) == -1);
	manager_free(m);
	HOLDS(fcntl(3, F_GETFD) >= 0);
	for (size_t k = 0; k < ELEMENTSOF(variables); k++)
		HOLDS(!getenv(variables[k]));
	return 0;
}

static void descriptors_for_another_process_are_left_alone(void **state)
{
	(void)state;
	run_in_child(take_others);
}

static int take_nonsense(void)
{
	static const struct {
		const char *fds, *names;
	} rows[] = { { "x", "a" }, { "-1", "a" }, { "0", "" }, { "2", "only-one" } };
	struct manager *m = NULL;

	HOLDS(dup2(memfd_create("x", 0), 3) == 3);
	HOLDS(dup2(memfd_create("x", 0), 4) == 4);
	for (size_t k = 0; k < ELEMENTSOF(rows); k++) {
		set_listen(2, rows[k].names);
		setenv("LISTEN_FDS", rows[k].fds, 1);
		HOLDS(manager_new(&m) == -EINVAL);
		HOLDS(!m);
		HOLDS(!getenv("LISTEN_FDS"));
	}
	return 0;
}

static void counts_and_names_that_do_not_fit_are_refused(void **state)
{
	(void)state;
	run_in_child(take_nonsense);
}

#define TEST(name) cmocka_unit_test(name)

TEST_GROUP(manager_inherit)
{
	const struct CMUnitTest tests[] = {
		TEST(descriptors_are_taken_over_by_what_they_are_and_what_nobody_takes_is_closed),
		TEST(a_descriptor_without_a_name_is_nobody_s),
		TEST(descriptors_for_another_process_are_left_alone),
		TEST(counts_and_names_that_do_not_fit_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
