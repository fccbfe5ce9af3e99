/* SPDX-License-Identifier: MIT */
/*
 * test-peer-proc.c - what /proc says of a peer, and what the peer may ask for (src/daemon/peer.h)
 *
 * Reuse of a pid cannot be ordered from the kernel, so /proc is a directory of this test. Only who
 * is known without a pidfd has to be checked against it: peer-kernel.h takes the pidfd away.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/fanotify.h>

#include "../unit.h"
#include "daemon/peer.h"
#include "../../skip.h"
#include "../fake-root.h"
#include "peer-kernel.h"

/* ---- reuse of a pid, on a /proc of our own -------------------------------------------------------- */

#define EITHER_WAY 1u /* also as this kernel is; the others only where a peer is known by its pid */

static int pair[2];
static struct cgroups fake_cgroups;

static int fake_world(void **state)
{
	char text[512];

	if (fake_set_up(state) < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -1;
	fake_write("sys/a.service/", "");
	fake_write("sys/cgroup.procs", "");
	snprintf(text, sizeof(text), "%u 20 0:26 / %s/sys rw - cgroup2 cgroup2 rw\n",
		 fake_mount_id(), fake_root);
	fake_write("self/mountinfo", text);
	/* a long TMPDIR would not fit where the library keeps the name of /proc */
	return chdir(fake_root) < 0 ? -1 : cgroups_discover(".", &fake_cgroups);
}

static int no_fake_world(void **state)
{
	close(pair[0]);
	close(pair[1]);
	return chdir("/") < 0 ? -1 : fake_tear_down(state);
}

/* Ticks since boot of a moment `usec` from now. */
static uint64_t ticks_at(int64_t usec)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)((int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000 + usec) /
	       (USEC_PER_SEC / (uint64_t)sysconf(_SC_CLK_TCK));
}

static void fake_process(const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "%d/%s", (int)getpid(), file);
	fake_write(path, text);
}

static void fake_stat(const char *name, char state, int threads, uint64_t start_ticks)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "7 (%s) %c 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 %d 0 %llu 1000 1 1\n", name,
		 state, threads, (unsigned long long)start_ticks);
	fake_process("stat", text);
}

static void fake_status(uid_t uid)
{
	char text[512];

	snprintf(text, sizeof(text),
		 "Name:\tx\nUid:\t%u\t%u\t%u\t%u\nNSpid:\t7\nCapEff:\t0000000000200000\n", uid, uid,
		 uid, uid);
	fake_process("status", text);
}

static void fake_whole(void)
{
	fake_stat("x", 'S', 1, ticks_at(-5000000));
	fake_status(geteuid());
	fake_process("cgroup", "0::/a.service\n");
}

static int identify_fake(struct peer *ret)
{
	return peer_identify(pair[0], &fake_cgroups, ".", now_usec(), ret);
}

PROMISE(a_process_that_started_after_the_accept_only_has_the_number)
{
	static const struct {
		int64_t started_usec; /* from now */
		int result;
	} rows[] = { { -5000000, 0 }, { -20000, 0 }, { 1000000, -ESRCH }, { 60000000, -ESRCH } };
	struct peer peer;

	fake_whole();
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		fake_stat("x", 'S', 1, ticks_at(rows[i].started_usec));
		assert_int_equal(identify_fake(&peer), rows[i].result);
	}
	/* it is the time of the accept that counts, not ours */
	fake_stat("x", 'S', 1, ticks_at(-5000000));
	assert_int_equal(peer_identify(pair[0], &fake_cgroups, ".", now_usec() - 10000000, &peer),
			 -ESRCH);
}

/* Lets a file be opened, after the process has become another one. */
static void *change_process(void *arg)
{
	const int *fan = arg;
	struct fanotify_event_metadata event;
	struct fanotify_response response = { .response = FAN_ALLOW };

	if (read(*fan, &event, sizeof(event)) != (ssize_t)sizeof(event))
		abort();
	fake_stat("x", 'S', 1, ticks_at(-4000000));
	response.fd = event.fd;
	if (write(*fan, &response, sizeof(response)) != (ssize_t)sizeof(response))
		abort();
	close(event.fd);
	return NULL;
}

PROMISE(a_number_that_changes_hands_while_we_read_is_noticed)
{
	int fan = fanotify_init(FAN_CLASS_CONTENT | FAN_CLOEXEC, O_RDONLY);
	struct peer peer;
	pthread_t thread;
	char path[64];
	int r;

	fake_whole();
	snprintf(path, sizeof(path), "%d/status", (int)getpid());
	if (fan < 0 || fanotify_mark(fan, FAN_MARK_ADD, FAN_OPEN_PERM, AT_FDCWD, path) < 0) {
		fd_close(&fan);
		SKIP("no fanotify permission events (they need CAP_SYS_ADMIN)");
	}
	assert_int_equal(pthread_create(&thread, NULL, change_process, &fan), 0);
	r = identify_fake(&peer);
	pthread_join(thread, NULL);
	close(fan);
	assert_int_equal(r, -ESRCH);
}

PROMISE(a_process_of_another_user_only_has_the_number)
{
	struct peer peer;
	char text[256];

	fake_whole();
	fake_status(geteuid() + 1);
	assert_int_equal(identify_fake(&peer), -ESRCH);
	/* a set-user-ID program has several, and connected as one of them */
	snprintf(text, sizeof(text), "Uid:\t%u\t%u\t%u\t%u\n", geteuid() + 1, geteuid() + 2,
		 geteuid(), geteuid() + 2);
	fake_process("status", text);
	assert_int_equal(identify_fake(&peer), 0);
	/* not a digit of one */
	snprintf(text, sizeof(text), "Uid:\t1%u\t%u9\n", geteuid(), geteuid() + 1);
	fake_process("status", text);
	assert_int_equal(identify_fake(&peer), -ESRCH);
}

PROMISE(a_zombie_is_gone_unless_other_threads_of_it_live)
{
	struct peer peer;

	fake_whole();
	fake_stat("x", 'Z', 1, ticks_at(-5000000));
	assert_int_equal(identify_fake(&peer), -ESRCH);
	fake_stat("x", 'X', 0, ticks_at(-5000000));
	assert_int_equal(identify_fake(&peer), -ESRCH);
	fake_stat("x", 'Z', 2, ticks_at(-5000000));
	assert_int_equal(identify_fake(&peer), 0);
}

PROMISE(a_process_may_call_itself_what_it_likes)
{
	static const char *const names[] = { "", "a b", ") Z 1 (", "a) S 1 1 1 1", "((", ")" };
	struct peer peer;

	fake_whole();
	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		fake_stat(names[i], 'S', 1, ticks_at(-5000000));
		assert_int_equal(identify_fake(&peer), 0);
		fake_stat(names[i], 'S', 1, ticks_at(60000000));
		assert_int_equal(identify_fake(&peer), -ESRCH);
	}
}

PROMISE(rubbish_in_proc_is_an_error)
{
	static const char *const stats[] = { "",
					     "7",
					     "7 (x",
					     "7 (x)",
					     "7 (x) S 1 1\n",
					     "7 (x) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 soon\n",
					     "7 (x) S 1 1 1 0 -1 4 0 0 0 0 0 0 0 0 20 0 x 0 1\n" };
	struct peer peer;

	fake_whole();
	for (size_t i = 0; i < ELEMENTSOF(stats); i++) {
		fake_process("stat", stats[i]);
		assert_int_equal(identify_fake(&peer), -EBADMSG);
	}
}

PROMISE_FLAGS(a_cgroup_that_is_not_visible_or_not_there_is_an_error, EITHER_WAY)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{ "0::/a.service\n", 0 },
		{ "0::/../elsewhere\n", -ENOENT },
		{ "0::/not/there\n", -ENOENT },
		{ "4:memory:/a.service\n", -ENOENT },
		{ "0::/a.service (deleted)\n", -ENODEV },
	};
	struct peer peer;

	fake_whole();
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		fake_process("cgroup", rows[i].text);
		assert_int_equal(identify_fake(&peer), rows[i].result);
	}
}

PROMISE_FLAGS(where_namespaces_may_not_be_seen_one_of_pids_is_enough_to_doubt, EITHER_WAY)
{
	static const struct {
		const char *status;
		bool privileged;
	} rows[] = {
		{ "Uid:\t0\t0\t0\t0\nNSpid:\t7\nCapEff:\t000001ffffffffff\n", true },
		{ "Uid:\t0\t0\t0\t0\nNSpid:\t7\nCapEff:\t0000000000200000\n", true },
		{ "Uid:\t0\t0\t0\t0\nNSpid:\t7\nCapEff:\t000001ffffdfffff\n", false },
		{ "Uid:\t0\t0\t0\t0\nNSpid:\t7\t1\nCapEff:\t000001ffffffffff\n", false },
		{ "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n", false },
		{ "Uid:\t0\t0\t0\t0\nNSpid:\t7\n", false },
		{ "Uid:\t0\nNSpid:\t7\nCapEff:\t0\nxxxxxxxxffffffffffffffff\n", false },
		{ "Uid:\t0\t0\t0\t0\nNSpid:\t7\nCapEff:\t0000000000200000", false },
	};
	struct peer peer;

	if (geteuid() != 0)
		SKIP("not root");
	fake_whole();
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		fake_process("status", rows[i].status);
		assert_int_equal(identify_fake(&peer), 0);
		if (peer.privileged != rows[i].privileged)
			fail_msg("row %zu", i);
	}
}

/* ---- whose pressure ------------------------------------------------------------------------------- */

static char long_name[CGPATH_MAX + 1];

PROMISE_FLAGS(a_peer_gets_its_own_cgroup_or_one_below_and_no_other, EITHER_WAY)
{
	static const struct {
		const char *own;
		bool privileged;
		const char *wanted; /* NULL: nothing */
		int result;
		const char *path, *why;
	} rows[] = {
		{ "/a/b", false, NULL, 0, "/a/b", NULL },
		{ "/", false, NULL, 0, "/", NULL },
		{ "/a/b", false, "sub/x", 0, "/a/b/sub/x", NULL },
		{ "/a/b", false, "./sub//x/", 0, "/a/b/sub/x", NULL },
		{ "/a/b", false, ".", 0, "/a/b", NULL },
		{ "/a/b", false, "/a/b", 0, "/a/b", NULL },
		{ "/a/b", false, "/a/b/", 0, "/a/b", NULL },
		{ "/a/b", false, "//a/./b/c", 0, "/a/b/c", NULL },
		{ "/", false, "sub", 0, "/sub", NULL },
		{ "/", false, "/sub", 0, "/sub", NULL },
		/* others' */
		{ "/a/b", false, "/a/bc", -EACCES, NULL, "not its own" },
		{ "/a/b", false, "/a/bc/d", -EACCES, NULL, "not its own" },
		{ "/a/b", false, "/a", -EACCES, NULL, "not its own" },
		{ "/a/b", false, "/", -EACCES, NULL, "not its own" },
		{ "/a/b", false, "/a/c", -EACCES, NULL, "not its own" },
		{ "/a/b", false, "/b", -EACCES, NULL, "not its own" },
		{ "/a/b", true, "/a/bc", 0, "/a/bc", NULL },
		{ "/a/b", true, "/", 0, "/", NULL },
		{ "/a/b", true, "c", 0, "/a/b/c", NULL },
		/* nobody's */
		{ "/a/b", false, "", -EINVAL, NULL, "empty" },
		{ "/a/b", false, "..", -EINVAL, NULL, "\"..\"" },
		{ "/a/b", false, "../b", -EINVAL, NULL, "\"..\"" },
		{ "/a/b", false, "/a/b/../c", -EINVAL, NULL, "\"..\"" },
		{ "/a/b", true, "/a/b/..", -EINVAL, NULL, "\"..\"" },
		{ "/a/b", true, "x\ny", -EINVAL, NULL, "newline" },
		/* "..." is a name */
		{ "/a/b", false, ".../x", 0, "/a/b/.../x", NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		const char *why = NULL, *wanted = rows[i].wanted;
		struct peer peer = { .privileged = rows[i].privileged };
		char path[CGPATH_MAX] = "untouched";
		int r;

		snprintf(peer.cgroup, sizeof(peer.cgroup), "%s", rows[i].own);
		r = peer_resolve(&peer, wanted, wanted ? strlen(wanted) : 0, path, &why);
		if (r != rows[i].result ||
		    strcmp(path, rows[i].path ? rows[i].path : "untouched") != 0 ||
		    (rows[i].why && (!why || !strstr(why, rows[i].why))))
			fail_msg("%s wants %s: %d %s, %s", rows[i].own, wanted ? wanted : "(none)",
				 r, path, why ? why : "");
	}
}

PROMISE_FLAGS(only_the_bytes_that_were_given_count, EITHER_WAY)
{
	struct peer peer = { .cgroup = "/a" };
	char path[CGPATH_MAX];
	const char *why;

	assert_int_equal(peer_resolve(&peer, "subXXXX", 3, path, &why), 0);
	assert_string_equal(path, "/a/sub");
	assert_int_equal(peer_resolve(&peer, "s\0b", 3, path, &why), -EINVAL);
	assert_non_null(strstr(why, "NUL"));
	assert_int_equal(peer_resolve(&peer, "", 0, path, NULL), -EINVAL);
}

PROMISE_FLAGS(a_path_that_gets_too_long_is_refused_to_the_byte, EITHER_WAY)
{
	struct peer peer = { .cgroup = "/own" };
	char path[CGPATH_MAX];
	const char *why = NULL;

	memset(long_name, 'x', sizeof(long_name));
	/* "/own" "/" name: 4095 bytes are the most */
	assert_int_equal(peer_resolve(&peer, long_name, 4090, path, &why), 0);
	assert_int_equal(strlen(path), 4095);
	assert_memory_equal(path, "/own/xxx", 8);
	assert_int_equal(peer_resolve(&peer, long_name, 4091, path, &why), -ENAMETOOLONG);
	assert_non_null(strstr(why, "4095"));
	assert_int_equal(peer_resolve(&peer, long_name, 4095, path, &why), -ENAMETOOLONG);
	assert_int_equal(peer_resolve(&peer, long_name, 4096, path, &why), -ENAMETOOLONG);
}

/* ---- once, or either way -------------------------------------------------------------------------- */

static bool suits(const void *kernel, const struct promise *promise)
{
	return peer_kernel_is_there(kernel, promise) &&
	       (((const struct peer_kernel *)kernel)->is_old || promise->flags == EITHER_WAY);
}

static void begin(void **state)
{
	assert_int_equal(fake_world(state), 0);
	need_peer_kernel(state);
}

FIXTURE(begin, no_fake_world)
VARIANTS(peer_kernels, suits)
