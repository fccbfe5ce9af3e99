/* SPDX-License-Identifier: MIT */
/*
 * test-manager.c - what the service manager hears, and what is taken over from it (src/daemon/manager.h)
 *
 * The manager is a datagram socket of this test.
 */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../unit.h"
#include "../../sockets.h"
#include "daemon/manager.h"
#include "kernel/file.h"
#include "kernel/loop.h"
#include "../count-malloc.h"
#include "../fake-root.h"

static int queue = -1; /* the manager's end */
static struct manager *m;

/* `name` as in $NOTIFY_SOCKET. */
static void bind_queue(const char *name)
{
	fd_close(&queue);
	queue = socket_at(name, SOCK_DGRAM | SOCK_NONBLOCK, bind);
	setenv("NOTIFY_SOCKET", name, 1);
}

static const char *queue_name(void)
{
	static char name[64];

	snprintf(name, sizeof(name), "@psb-test-manager-%d", (int)getpid());
	return name;
}

static int set_up(_unused_ void **state)
{
	bind_queue(queue_name());
	return manager_new(&m);
}

static int tear_down(_unused_ void **state)
{
	static const char *const variables[] = { "NOTIFY_SOCKET",  "FDSTORE",	    "LISTEN_FDS",
						 "LISTEN_FDNAMES", "WATCHDOG_USEC", "LISTEN_PID",
						 "WATCHDOG_PID" };

	m = manager_free(m);
	fd_close(&queue);
	for (size_t i = 0; i < ELEMENTSOF(variables); i++)
		unsetenv(variables[i]);
	return 0;
}

/* Another one, as the variables are now. */
static void again(void)
{
	m = manager_free(m);
	assert_int_equal(manager_new(&m), 0);
}

static void assert_said(const char *text)
{
	int fd;

	assert_string_equal(receive(queue, &fd), text);
	assert_int_equal(fd, -1);
}

/* ---- what goes out --------------------------------------------------------------------------- */

PROMISE(a_message_is_one_datagram_with_its_descriptor_or_without_and_allocates_nothing)
{
	int fd = memfd_create("state", MFD_CLOEXEC), got;
	struct stat a, b;
	char big[2000];

	memset(big, 'x', sizeof(big));
	if (!COUNT_MALLOC_SANITIZED)
		count_malloc_start();
	assert_int_equal(manager_say(m, "READY=%d", 1), 0);
	assert_int_equal(manager_try(m, -1, "STATUS=%.2000s", big), 0);
	assert_int_equal(manager_try(m, fd, "FDSTORE=1\nFDNAME=state"), 0);
	if (!COUNT_MALLOC_SANITIZED)
		count_malloc_stop();
	assert_said("READY=1");
	assert_int_equal(strlen(receive(queue, &got)), 1023);
	/* the descriptor itself, and ours stays open */
	assert_string_equal(receive(queue, &got), "FDSTORE=1\nFDNAME=state");
	assert_int_equal(fstat(fd, &a), 0);
	assert_int_equal(fstat(got, &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(got);
	close(fd);
}

static void *say_ready(void *arg)
{
	*(int *)arg = manager_say(m, "READY=1");
	return NULL;
}

PROMISE(only_what_is_said_waits_for_room_and_no_longer_than_a_second)
{
	uint64_t began;
	pthread_t thread;
	int ready = 1;
	unsigned n = 0;

	while (manager_try(m, -1, "WATCHDOG=1") == 0)
		n++;
	assert_true(n > 0);
	began = now_usec();
	assert_int_equal(manager_try(m, STDERR_FILENO, "FDSTORE=1"), -EAGAIN);
	assert_true(now_usec() - began < USEC_PER_SEC / 2);
	began = now_usec();
	assert_int_equal(manager_say(m, "STOPPING=1"), -EAGAIN);
	assert_in_range(now_usec() - began, 900 * USEC_PER_MSEC, 20 * USEC_PER_SEC);
	assert_int_equal(pthread_create(&thread, NULL, say_ready, &ready), 0);
	while (n-- > 0)
		assert_said("WATCHDOG=1");
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(ready, 0);
	assert_said("READY=1");
}

PROMISE(a_manager_may_go_and_come_back_in_the_file_system_too_or_not_be_there)
{
	assert_int_equal(fake_set_up(state), 0);
	bind_queue(fake_path("notify"));
	again();
	fd_close(&queue);
	assert_int_equal(manager_try(m, -1, "WATCHDOG=1"), -ECONNREFUSED);
	unlink(fake_path("notify"));
	bind_queue(fake_path("notify"));
	assert_int_equal(manager_try(m, -1, "WATCHDOG=1"), 0);
	assert_said("WATCHDOG=1");
	assert_int_equal(fake_tear_down(state), 0);

	unsetenv("NOTIFY_SOCKET");
	again();
	assert_int_equal(manager_say(m, "READY=1"), 0);
	assert_int_equal(manager_try(m, STDERR_FILENO, "FDSTORE=1"), 0);
	assert_false(manager_can_store(m));
	assert_int_equal(manager_watchdog_usec(m), 0);
	assert_int_equal(manager_take(m, "client"), -1);
}

/* ---- what comes in --------------------------------------------------------------------------- */

#define X100                                                 \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

PROMISE(variables_are_understood_or_refused)
{
	static const struct {
		const char *name, *value;
		int result;
		bool can_store;
		uint64_t watchdog_usec;
	} rows[] = {
		{ "FDSTORE", "0", 0, false, 0 },
		{ "FDSTORE", "16384", 0, true, 0 },
		{ "WATCHDOG_USEC", "30000000", 0, true, 15000000 }, /* twice as often as it wants */
		{ "NOTIFY_SOCKET", "", -EINVAL, false, 0 },
		{ "NOTIFY_SOCKET", "/", -EINVAL, false, 0 },
		{ "NOTIFY_SOCKET", "vsock:2:1234", -EINVAL, false, 0 },
		{ "NOTIFY_SOCKET", "/xxxxxxx" X100, -EINVAL, false, 0 },
		{ "WATCHDOG_USEC", "soon", -EINVAL, false, 0 },
	};

	assert_true(manager_can_store(m)); /* before systemd 254 nothing is said of it */
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		m = manager_free(m);
		setenv("NOTIFY_SOCKET", queue_name(), 1);
		setenv(rows[i].name, rows[i].value, 1);
		if (manager_new(&m) != rows[i].result ||
		    (m && (manager_can_store(m) != rows[i].can_store ||
			   manager_watchdog_usec(m) != rows[i].watchdog_usec)))
			fail_msg("%s=%s", rows[i].name, rows[i].value);
		unsetenv(rows[i].name);
	}
}

EACH(set_up, tear_down)
GROUP(tear_down, NULL) /* the variables of whatever runs us */
