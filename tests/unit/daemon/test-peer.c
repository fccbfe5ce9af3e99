/* SPDX-License-Identifier: MIT */
/*
 * test-peer.c - who is at the other end (src/daemon/peer.h)
 *
 * The peers are real: children in cgroups of this test, connected to a socket of it. All that is said of them holds on both
 * ways to know them, so everything runs twice: as the kernel is, and then, for good, as on one before 6.5, for which a seccomp
 * filter answers SO_PEERPIDFD. Reuse of a pid cannot be ordered from the kernel: for that /proc is a directory of this test.
 */
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../unit.h"
#include "daemon/peer.h"
#include "kernel/file.h"
#include "../../pressure.h"
#include "../../threads.h"
#include "../fake-root.h"

static struct cgroups cgroups;
static struct lab lab;
static const char *no_lab;
static struct sockaddr_un address;
static socklen_t address_size;
static int listener = -1;

/* ---- the kernel ---- */

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

static bool old_kernel; /* the filter is installed */

/* getsockopt(SO_PEERPIDFD) is ENOPROTOOPT from now on. */
static bool make_kernel_old(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_getsockopt, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SO_PEERPIDFD, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOPROTOOPT),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = ELEMENTSOF(filter), .filter = filter };

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static bool kernel_is_new(void)
{
	int ends[2], pidfd = -1;
	socklen_t size = sizeof(pidfd);
	bool is_new;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return false;
	is_new = getsockopt(ends[0], SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0;
	close(ends[0]);
	close(ends[1]);
	fd_close(&pidfd);
	return is_new;
}

static const struct peer_kernel {
	const char *name;
	bool is_old;
} peer_kernels[] = { { "by pidfd", false }, { "by pid", true } };

static bool peer_kernel_is_there(const void *kernel, _unused_ const struct promise *promise)
{
	return ((const struct peer_kernel *)kernel)->is_old || kernel_is_new();
}

static void begin(void **state)
{
	const struct peer_kernel *kernel = *state;

	if (kernel->is_old && !old_kernel)
		old_kernel = make_kernel_old() || !kernel_is_new();
	if (kernel->is_old != old_kernel)
		SKIP("no seccomp filter can be had here");
}

/* ---- peers ------------------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	int fd; /* our end */
};

/* In the child: connect, say so, and live until the test hangs up. */
static void connect_and_wait(bool in_a_child)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char c;

	if (connect(fd, (struct sockaddr *)&address, address_size) < 0)
		_exit(11);
	if (in_a_child && fork() != 0)
		_exit(0);
	if (write(fd, "r", 1) != 1)
		_exit(12);
	while (read(fd, &c, 1) > 0)
		;
	_exit(0);
}

/* A child in the lab's `group` (NULL: where we are) that calls `become` and connects. */
static struct child start(const char *group, void (*become)(void))
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
	struct child child;
	char c;

	child.pid = lab_fork(&lab, group);
	if (child.pid == 0) {
		become();
		connect_and_wait(false);
	}
	assert_true(child.pid > 0);
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	child.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_int_equal(read(child.fd, &c, 1), 1);
	return child;
}

static void end(struct child *child)
{
	int status;

	fd_close(&child->fd);
	kill(child->pid, SIGKILL);
	assert_int_equal(waitpid(child->pid, &status, 0), child->pid);
}

static int identify(const struct child *child, struct peer *ret)
{
	memset(ret, 0xa5, sizeof(*ret));
	return peer_identify(child->fd, &cgroups, "/proc", ret);
}

static void nothing(void)
{
}

PROMISE(a_peer_is_known_by_pid_user_and_cgroup)
{
	struct child child;
	struct peer peer;
	char pid[16];

	if (no_lab)
		SKIP(no_lab);
	child = start("own", nothing);
	assert_int_equal(identify(&child, &peer), 0);
	assert_int_equal(peer.pid, child.pid);
	assert_int_equal(peer.uid, geteuid());
	assert_string_equal(peer.cgroup, lab_path(&lab, "own"));
	/* one that moved is where it is now */
	snprintf(pid, sizeof(pid), "%d", (int)child.pid);
	lab_write(lab_file(&lab, "other", "cgroup.procs"), pid);
	assert_int_equal(identify(&child, &peer), 0);
	assert_string_equal(peer.cgroup, lab_path(&lab, "other"));
	end(&child);
}

static void leave_the_connection_to_a_child(void)
{
	connect_and_wait(true);
}

PROMISE(a_dead_peer_is_esrch_though_a_child_of_it_has_the_connection)
{
	struct child child = start(NULL, leave_the_connection_to_a_child);
	int unused = dup(STDERR_FILENO);
	struct peer peer;
	siginfo_t info;

	close(unused);
	/* a zombie first, then nothing at all */
	assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(identify(&child, &peer), -ESRCH);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	assert_int_equal(identify(&child, &peer), -ESRCH);
	assert_int_equal(fcntl(unused, F_GETFD), -1); /* none stayed open */
	fd_close(&child.fd);
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
		_exit(17);
}

/* From the permitted and the effective ones. */
static void drop_sys_admin(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		_exit(18);
	data[0].effective = data[0].permitted &= ~(1u << CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &header, data) < 0)
		_exit(19);
}

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		_exit(20);
	close(fd);
}

/* What root of a container does that wants to be more. */
static void become_root_of_a_user_namespace(void)
{
	drop_sys_admin();
	if (unshare(CLONE_NEWUSER) < 0)
		_exit(21);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/uid_map", "0 0 1");
}

/* Can a child do that? */
static bool can(void (*become)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		become();
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

PROMISE(privileged_is_root_with_cap_sys_admin_in_our_user_namespace_and_nobody_else)
{
	static const struct {
		void (*become)(void);
		bool privileged;
		uid_t uid;
	} rows[] = {
		{ nothing, true, 0 },
		{ drop_sys_admin, false, 0 },
		{ become_nobody, false, 65534 },
		{ become_root_of_a_user_namespace, false, 0 },
	};

	if (!(thread_number(getpid(), "status", "CapEff:", 16) >> CAP_SYS_ADMIN & 1))
		SKIP("not root with CAP_SYS_ADMIN");
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct child child;
		struct peer peer;

		if (!can(rows[i].become))
			SKIP("no user namespace can be made here");
		child = start(NULL, rows[i].become);
		assert_int_equal(identify(&child, &peer), 0);
		assert_int_equal(peer.uid, rows[i].uid);
		assert_int_equal(peer.privileged, rows[i].privileged);
		end(&child);
	}
}

/* The exit status is what peer_identify() said of a peer outside; 255: no namespace can be made. */
static void identify_from_inside(int fd)
{
	struct peer peer;
	int status = 255 << 8;
	pid_t pid;

	if (unshare(CLONE_NEWPID) == 0) {
		pid = fork();
		if (pid == 0)
			_exit(-peer_identify(fd, &cgroups, "/proc", &peer));
		waitpid(pid, &status, 0);
	}
	_exit(WEXITSTATUS(status));
}

PROMISE(a_peer_outside_of_our_pid_namespace_is_nobody)
{
	int pair[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0)
		identify_from_inside(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pair[0]);
	close(pair[1]);
	if (WEXITSTATUS(status) == 255)
		SKIP("no pid namespace can be made here");
	assert_int_equal(WEXITSTATUS(status), ESRCH);
}

/* ---- a /proc of our own -------------------------------------------------------------------------- */

static void fake_process(const char *file, const char *text)
{
	char path[64];

	snprintf(path, sizeof(path), "%d", (int)getpid());
	fake_file(path, file, text);
}

/* A set-user-ID program, which connected as one of its users. */
static void fake_whole(void)
{
	char text[128];

	snprintf(text, sizeof(text), "Name:\tx\nUid:\t%u\t%u\nNSpid:\t7\n", geteuid() + 2,
		 geteuid());
	fake_write("sys/a.service/", "");
	fake_process("status", text);
	fake_process("cgroup", "0::/a.service\n");
}

/* Each in place of the one file in what is whole. Whose the number is, is not asked with a pidfd of the peer's own. Who is
 * root is privileged where /proc says all of it: where namespaces may not be seen, one of pids is enough to doubt. */
PROMISE(what_proc_says_decides)
{
	static const struct {
		const char *file, *text;
		int by_pid, by_pidfd;
		bool privileged;
	} rows[] = {
		{ "none", "", 0, 0, false },
		{ "status", "Uid:\t4294967290\t10\n", -ESRCH, 0, false }, /* another user's */
		{ "cgroup", "0::/../elsewhere\n", -ENOENT, -ENOENT, false },
		{ "cgroup", "0::/not/there\n", -ENOENT, -ENOENT, false },
		{ "cgroup", "4:memory:/a.service\n", -ENOENT, -ENOENT, false },
		{ "cgroup", "0::/a.service (deleted)\n", -ENODEV, -ENODEV, false },
#define ROOT "Uid:\t0\n"
		{ "status", ROOT "NSpid:\t7\nCapEff:\t000001ffffffffff\n", 0, 0, true },
		{ "status", ROOT "NSpid:\t7\nCapEff:\t0000000000200000\n", 0, 0, true },
		{ "status", ROOT "NSpid:\t7\nCapEff:\t000001ffffdfffff\n", 0, 0, false },
		{ "status", ROOT "NSpid:\t7\t1\nCapEff:\t000001ffffffffff\n", 0, 0, false },
		{ "status", ROOT "CapEff:\t000001ffffffffff\n", 0, 0, false },
		{ "status", ROOT "NSpid:\t7\n", 0, 0, false },
		{ "status", ROOT "NSpid:\t7\nCapEff:\t0\nxxxxxxxxffffffffffffffff\n", 0, 0, false },
		{ "status", ROOT "NSpid:\t7\nCapEff:\t0000000000200000", 0, 0,
		  false }, /* cut off */
	};
	const struct cgroups fake = fake_v2("sys");
	int pair[2];

	if (geteuid() != 0)
		SKIP("not root");
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct peer peer = { .privileged = false };
		int r;

		fake_whole();
		fake_process(rows[i].file, rows[i].text);
		r = peer_identify(pair[0], &fake, ".", &peer);
		if (r != (old_kernel ? rows[i].by_pid : rows[i].by_pidfd) ||
		    peer.privileged != rows[i].privileged)
			fail_msg("row %zu: %d", i, r);
	}
	close(pair[0]);
	close(pair[1]);
}

/* ---- whose pressure ------------------------------------------------------------------------------ */

PROMISE(a_peer_gets_its_own_cgroup_or_one_below_and_no_other)
{
	static const struct {
		const char *own;
		bool privileged;
		const char *wanted; /* NULL: nothing */
		int result;
		const char *says; /* the path, or what is in the reason */
	} rows[] = {
		{ "/a/b", false, NULL, 0, "/a/b" },
		{ "/", false, NULL, 0, "/" },
		{ "/a/b", false, "./sub//x/", 0, "/a/b/sub/x" },
		{ "/a/b", false, ".", 0, "/a/b" },
		{ "/a/b", false, "/a/b", 0, "/a/b" },
		{ "/a/b", false, "//a/./b/c", 0, "/a/b/c" },
		{ "/a/b", false, ".../x", 0, "/a/b/.../x" }, /* "..." is a name */
		{ "/", false, "sub", 0, "/sub" },
		{ "/", false, "/sub", 0, "/sub" },
		/* others' */
		{ "/a/b", false, "/a/bc", -EACCES, "not its own" },
		{ "/a/b", false, "/a/bc/d", -EACCES, "not its own" },
		{ "/a/b", false, "/a", -EACCES, "not its own" },
		{ "/a/b", false, "/", -EACCES, "not its own" },
		{ "/a/b", false, "/b", -EACCES, "not its own" },
		{ "/a/b", true, "/a/bc", 0, "/a/bc" },
		{ "/a/b", true, "/", 0, "/" },
		{ "/a/b", true, "c", 0, "/a/b/c" },
		/* nobody's */
		{ "/a/b", false, "", -EINVAL, "empty" },
		{ "/a/b", false, "../b", -EINVAL, "\"..\"" },
		{ "/a/b", false, "/a/b/../c", -EINVAL, "\"..\"" },
		{ "/a/b", true, "/a/b/..", -EINVAL, "\"..\"" },
		{ "/a/b", true, "x\ny", -EINVAL, "newline" },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		const char *why = "", *wanted = rows[i].wanted;
		struct peer peer = { .privileged = rows[i].privileged };
		char path[CGPATH_MAX] = "untouched";
		int r;

		snprintf(peer.cgroup, sizeof(peer.cgroup), "%s", rows[i].own);
		r = peer_resolve(&peer, wanted, wanted ? strlen(wanted) : 0, path, &why);
		if (r != rows[i].result || strcmp(path, r == 0 ? rows[i].says : "untouched") != 0 ||
		    (r < 0 && !strstr(why, rows[i].says)))
			fail_msg("%s wants %s: %d %s, %s", rows[i].own, wanted ? wanted : "(none)",
				 r, path, why);
	}
}

PROMISE(only_the_bytes_that_were_given_count_and_no_more_than_a_path_may_have)
{
	static char name[CGPATH_MAX + 1];
	static const size_t too_long[] = { 4091, 4095, 4096 };
	struct peer peer = { .cgroup = "/own" };
	char path[CGPATH_MAX];
	const char *why;

	assert_int_equal(peer_resolve(&peer, "s\0b", 3, path, &why), -EINVAL);
	assert_non_null(strstr(why, "NUL"));
	/* "/own" "/" name: 4095 bytes are the most */
	memset(name, 'x', sizeof(name));
	assert_int_equal(peer_resolve(&peer, name, 4090, path, &why), 0);
	assert_int_equal(strlen(path), 4095);
	assert_memory_equal(path, "/own/xxx", 8);
	for (size_t i = 0; i < ELEMENTSOF(too_long); i++) {
		assert_int_equal(peer_resolve(&peer, name, too_long[i], path, &why), -ENAMETOOLONG);
		assert_non_null(strstr(why, "4095"));
	}
	memset(name, '/', sizeof(name));
	assert_int_equal(peer_resolve(&peer, name, CGPATH_MAX, path, &why), -ENAMETOOLONG);
}

/* ---- twice -------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	int n;

	/* a long TMPDIR would not fit where the name of /proc is kept */
	if (fake_set_up(state) < 0 || chdir(fake_root) < 0)
		return -1;
	cgroups_discover("/proc", &cgroups);
	no_lab = lab_open(&lab, "peer");
	if (!no_lab) {
		lab_make(&lab, "own", 0);
		lab_make(&lab, "other", 0);
	}
	address.sun_family = AF_UNIX;
	n = snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "psb-test-peer-%d",
		     (int)getpid());
	address_size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)n);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, address_size) < 0)
		return -1;
	return listen(listener, 8);
}

static int tear_down(void **state)
{
	lab_close(&lab);
	return chdir("/") < 0 ? -1 : fake_tear_down(state);
}

GROUP(set_up, tear_down)
FIXTURE(begin, NULL)
VARIANTS(peer_kernels, peer_kernel_is_there)
