/* SPDX-License-Identifier: MIT */
/*
 * test-manager.c - what the service manager hears, and what is taken over from it (src/daemon/manager.h)
 *
 * The manager is a datagram socket of this test.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit.h"
#include "daemon/manager.h"
#include "kernel/file.h"
#include "kernel/loop.h"
#include "../../skip.h"
#include "../count-malloc.h"
#include "../fake-root.h"

static int ear = -1; /* the manager's end */
static char ear_name[108];

static int open_ear(_unused_ void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(ear_name, sizeof(ear_name), "@psb-test-manager-%d", (int)getpid());

	memcpy(address.sun_path + 1, ear_name + 1, (size_t)n - 1);
	ear = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return bind(ear, (struct sockaddr *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n));
}

static const char *const variables[] = { "NOTIFY_SOCKET", "FDSTORE",	    "LISTEN_PID",
					 "LISTEN_FDS",	  "LISTEN_FDNAMES", "WATCHDOG_USEC",
					 "WATCHDOG_PID" };

static int close_ear(_unused_ void **state)
{
	fd_close(&ear);
	for (size_t i = 0; i < ELEMENTSOF(variables); i++)
		unsetenv(variables[i]);
	return 0;
}

static struct manager *manager_with(const char *name, const char *value)
{
	struct manager *m = NULL;

	setenv("NOTIFY_SOCKET", ear_name, 1);
	if (name)
		setenv(name, value, 1);
	assert_int_equal(manager_new(&m), 0);
	return m;
}

/* The next message, or "" if there is none; *ret_fd -1: nothing came with it. */
static const char *heard(int *ret_fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	static char text[4096];
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(ear, &message, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	text[MAX(n, 0)] = '\0';
	if (ret_fd)
		*ret_fd = -1;
	c = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
	if (c && ret_fd)
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return text;
}

/* Messages until the queue takes no more. */
static unsigned fill(struct manager *m)
{
	unsigned n = 0;
	int r;

	while ((r = manager_alive(m)) == 0)
		n++;
	assert_int_equal(r, -EAGAIN);
	return n;
}

PROMISE(every_message_is_what_the_protocol_says)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);
	static const char reloading[] = "RELOADING=1\nMONOTONIC_USEC=";
	uint64_t before = now_usec(), told;
	const char *text;

	assert_int_equal(manager_ready(m), 0);
	assert_string_equal(heard(NULL), "READY=1");
	assert_int_equal(manager_status(m, "%d clients", 7), 0);
	assert_string_equal(heard(NULL), "STATUS=7 clients");
	assert_int_equal(manager_stopping(m), 0);
	assert_string_equal(heard(NULL), "STOPPING=1");
	assert_int_equal(manager_alive(m), 0);
	assert_string_equal(heard(NULL), "WATCHDOG=1");
	assert_int_equal(manager_forget(m, "client"), 0);
	assert_string_equal(heard(NULL), "FDSTOREREMOVE=1\nFDNAME=client");
	/* with the time it began */
	assert_int_equal(manager_reloading(m), 0);
	text = heard(NULL);
	assert_memory_equal(text, reloading, strlen(reloading));
	told = strtoull(text + strlen(reloading), NULL, 10);
	assert_in_range(told, before, now_usec());
}

PROMISE(a_status_is_one_line_whatever_is_in_it)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);
	char big[5000];
	const char *text;

	assert_int_equal(manager_status(m, "a\nREADY=1\nb"), 0);
	assert_string_equal(heard(NULL), "STATUS=a READY=1 b");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	assert_int_equal(manager_status(m, "%s", big), 0);
	text = heard(NULL);
	assert_in_range(strlen(text), 1000, 1023);
	assert_memory_equal(text, "STATUS=xxxx", 11);
}

PROMISE(what_is_stored_is_the_descriptor_itself)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);
	int fd = memfd_create("state", MFD_CLOEXEC), got;
	struct stat a, b;

	assert_int_equal(manager_store(m, "state", fd), 0);
	assert_string_equal(heard(&got), "FDSTORE=1\nFDNAME=state");
	assert_true(got >= 0);
	assert_int_equal(fstat(fd, &a), 0); /* ours is open still */
	assert_int_equal(fstat(got, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(got);
	close(fd);
}

PROMISE(a_full_queue_is_eagain_and_never_waited_for)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);
	uint64_t began;
	unsigned n = fill(m);

	assert_true(n > 0);
	began = now_usec();
	assert_int_equal(manager_store(m, "client", STDERR_FILENO), -EAGAIN);
	assert_int_equal(manager_forget(m, "client"), -EAGAIN);
	assert_int_equal(manager_status(m, "x"), -EAGAIN);
	assert_int_equal(manager_alive(m), -EAGAIN);
	assert_true(now_usec() - began < USEC_PER_SEC / 2);
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(heard(NULL), "WATCHDOG=1");
	assert_string_equal(heard(NULL), "");
	assert_int_equal(manager_store(m, "client", STDERR_FILENO), 0);
}

struct patient {
	int (*say)(struct manager *m);
	struct manager *m;
	int result;
	uint64_t usec;
};

static void *say_and_measure(void *arg)
{
	struct patient *p = arg;
	uint64_t began = now_usec();

	p->result = p->say(p->m);
	p->usec = now_usec() - began;
	return NULL;
}

PROMISE(readiness_waits_for_room_in_a_full_queue)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);
	struct patient patient = { .say = manager_ready, .m = m, .result = 1 };
	unsigned n = fill(m);
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, say_and_measure, &patient), 0);
	for (unsigned i = 0; i < n; i++)
		assert_string_equal(heard(NULL), "WATCHDOG=1");
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(patient.result, 0);
	assert_string_equal(heard(NULL), "READY=1");
}

PROMISE(what_must_not_get_lost_waits_a_second_and_no_longer)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);
	struct patient patients[] = { { .say = manager_ready },
				      { .say = manager_reloading },
				      { .say = manager_stopping } };
	pthread_t threads[ELEMENTSOF(patients)];

	fill(m);
	for (size_t i = 0; i < ELEMENTSOF(patients); i++) {
		patients[i].m = m;
		assert_int_equal(pthread_create(&threads[i], NULL, say_and_measure, &patients[i]),
				 0);
	}
	for (size_t i = 0; i < ELEMENTSOF(patients); i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(patients[i].result, -EAGAIN);
		assert_in_range(patients[i].usec, 900 * USEC_PER_MSEC, 20 * USEC_PER_SEC);
	}
}

PROMISE(nothing_is_allocated_to_store_or_to_tell)
{
	_cleanup_(manager_freep) struct manager *m = NULL;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
	m = manager_with(NULL, NULL);
	count_malloc_start();
	assert_int_equal(manager_store(m, "client", STDERR_FILENO), 0);
	assert_int_equal(manager_forget(m, "client"), 0);
	assert_int_equal(manager_status(m, "%d clients of %s", 7, "x"), 0);
	assert_int_equal(manager_alive(m), 0);
	count_malloc_stop();
}

PROMISE(a_manager_that_is_gone_is_an_error)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);

	fd_close(&ear);
	assert_int_equal(manager_alive(m), -ECONNREFUSED);
	assert_int_equal(manager_store(m, "client", STDERR_FILENO), -ECONNREFUSED);
}

PROMISE(a_manager_that_binds_its_socket_anew_is_told_again)
{
	_cleanup_(manager_freep) struct manager *m = manager_with(NULL, NULL);

	fd_close(&ear);
	assert_int_equal(open_ear(state), 0);
	assert_int_equal(manager_alive(m), 0);
	assert_string_equal(heard(NULL), "WATCHDOG=1");
}

PROMISE(a_path_in_the_file_system_is_as_good_as_an_abstract_one)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	_cleanup_(manager_freep) struct manager *m = NULL;

	assert_int_equal(fake_set_up(state), 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", fake_path("notify"));
	fd_close(&ear);
	ear = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(ear, (struct sockaddr *)&address, sizeof(address)), 0);
	m = manager_with("NOTIFY_SOCKET", address.sun_path);
	assert_int_equal(manager_alive(m), 0);
	assert_string_equal(heard(NULL), "WATCHDOG=1");
	assert_int_equal(fake_tear_down(state), 0);
}

PROMISE(without_a_manager_every_call_is_a_no_op_that_answers_0)
{
	_cleanup_(manager_freep) struct manager *m = NULL;

	assert_int_equal(manager_new(&m), 0);
	assert_int_equal(manager_ready(m), 0);
	assert_int_equal(manager_status(m, "x"), 0);
	assert_int_equal(manager_reloading(m), 0);
	assert_int_equal(manager_stopping(m), 0);
	assert_int_equal(manager_alive(m), 0);
	assert_int_equal(manager_store(m, "client", STDERR_FILENO), 0);
	assert_int_equal(manager_forget(m, "client"), 0);
	assert_false(manager_can_store(m));
	assert_int_equal(manager_watchdog_usec(m), 0);
	assert_int_equal(manager_take(m, INHERITED_OTHER), -1);
	assert_string_equal(heard(NULL), "");
}

PROMISE(a_store_is_there_unless_the_manager_says_there_is_none)
{
	static const struct {
		const char *fdstore;
		bool can;
	} rows[] = { { NULL, true }, { "0", false }, { "1", true }, { "16384", true } };

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		_cleanup_(manager_freep) struct manager *m = manager_with(
			rows[i].fdstore ? "FDSTORE" : NULL, rows[i].fdstore);

		assert_int_equal(manager_can_store(m), rows[i].can);
	}
}

PROMISE(the_watchdog_is_fed_twice_as_often_as_it_wants_and_only_our_own)
{
	struct manager *m = manager_with("WATCHDOG_USEC", "30000000");

	assert_int_equal(manager_watchdog_usec(m), 15000000);
	manager_free(m);
	m = manager_with("WATCHDOG_PID", "1"); /* another process's */
	assert_int_equal(manager_watchdog_usec(m), 0);
	manager_free(m);
}

PROMISE(nonsense_in_the_variables_is_refused)
{
	static const struct {
		const char *name, *value;
	} rows[] = {
		{ "NOTIFY_SOCKET", "" },
		{ "NOTIFY_SOCKET", "/" },
		{ "NOTIFY_SOCKET", "run/notify" },
		{ "NOTIFY_SOCKET", "vsock:2:1234" },
		{ "NOTIFY_SOCKET",
		  "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		  "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" },
		{ "FDSTORE", "" },
		{ "FDSTORE", "many" },
		{ "FDSTORE", "-1" },
		{ "FDSTORE", "1x" },
		{ "FDSTORE", "99999999999999999999999" },
		{ "WATCHDOG_USEC", "soon" },
		{ "WATCHDOG_USEC", "0" },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct manager *m = NULL;
		int r;

		setenv("NOTIFY_SOCKET", ear_name, 1);
		setenv(rows[i].name, rows[i].value, 1);
		r = manager_new(&m);
		if (r != -EINVAL || m)
			fail_msg("%s=%s: %d", rows[i].name, rows[i].value, r);
		unsetenv(rows[i].name);
	}
}

/* ---- what is taken over: the environment and the descriptors of a whole process, so in a child -------- */

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
	manager_free(m);
	for (int k = 3; k < 7; k++)
		HOLDS(fcntl(k, F_GETFD) >= 0);
	HOLDS(fcntl(7, F_GETFD) < 0 && errno == EBADF);
	return 0;
}

PROMISE(descriptors_are_taken_over_by_what_they_are_and_what_nobody_takes_is_closed)
{
	run_in_child(take_over);
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
	set_listen(1, NULL);
	unsetenv("LISTEN_FDNAMES");
	HOLDS(manager_new(&m) == 0);
	HOLDS(manager_take(m, INHERITED_OTHER) == 3);
	manager_free(m);
	return 0;
}

PROMISE(descriptors_for_another_process_are_left_alone_and_one_without_a_name_is_of_no_kind)
{
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
	}
	return 0;
}

PROMISE(counts_and_names_that_do_not_fit_are_refused)
{
	run_in_child(take_nonsense);
}

EACH(open_ear, close_ear)
GROUP(close_ear, NULL) /* the variables of whoever runs us */
