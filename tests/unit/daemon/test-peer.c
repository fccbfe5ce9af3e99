/* SPDX-License-Identifier: MIT */
/*
 * test-peer.c - who is at the other end (src/daemon/peer.h)
 *
 * The peers are real: children in cgroups of this test, connected to a socket of it. All that is
 * said of them holds on both ways to know them, so everything runs twice: as the kernel is, and as
 * on one before 6.5 (peer-kernel.h).
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "../unit.h"
#include "daemon/peer.h"
#include "kernel/file.h"
#include "../../pressure.h"
#include "../../skip.h"
#include "peer-kernel.h"

static struct cgroups cgroups;
static struct lab lab;
static const char *no_lab;
static struct sockaddr_un address;
static socklen_t address_size;
static int listener = -1;

/* ---- peers ------------------------------------------------------------------------------------- */

struct child {
	pid_t pid;
	int fd; /* our end */
	uint64_t accepted_usec;
};

/* In the child: connect, say so, and live until the test hangs up. */
static void connect_and_wait(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char c;

	if (connect(fd, (struct sockaddr *)&address, address_size) < 0 || write(fd, "r", 1) != 1)
		_exit(11);
	while (read(fd, &c, 1) > 0)
		;
	_exit(0);
}

static void await_byte(int fd)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
	char c;

	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	assert_int_equal(read(fd, &c, 1), 1);
}

/* A child in the lab's `group` (NULL: where we are) that calls `become` and connects. */
static struct child start(const char *group, void (*become)(void))
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
	struct child child;

	child.pid = lab_fork(&lab, group);
	if (child.pid == 0) {
		become();
		connect_and_wait();
	}
	assert_true(child.pid > 0);
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	child.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	child.accepted_usec = now_usec();
	assert_true(child.fd >= 0);
	await_byte(child.fd);
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
	return peer_identify(child->fd, &cgroups, "/proc", child->accepted_usec, ret);
}

static void nothing(void)
{
}

PROMISE(a_peer_is_known_by_pid_user_and_cgroup)
{
	struct child child;
	struct peer peer;

	if (no_lab)
		SKIP(no_lab);
	child = start("own", nothing);
	assert_int_equal(identify(&child, &peer), 0);
	assert_int_equal(peer.pid, child.pid);
	assert_int_equal(peer.uid, geteuid());
	assert_string_equal(peer.cgroup, lab_path(&lab, "own"));
	assert_int_equal(peer.by_pidfd, !old_kernel);
	end(&child);
}

PROMISE(a_peer_that_moved_is_where_it_is_now)
{
	struct child child;
	struct peer peer;
	char pid[16];

	if (no_lab)
		SKIP(no_lab);
	child = start("own", nothing);
	snprintf(pid, sizeof(pid), "%d", (int)child.pid);
	lab_write(lab_file(&lab, "other", "cgroup.procs"), pid);
	assert_int_equal(identify(&child, &peer), 0);
	assert_string_equal(peer.cgroup, lab_path(&lab, "other"));
	end(&child);
}

static void become_another_program(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	/* sh says "r" on the inherited connection, and lives until we hang up */
	if (connect(fd, (struct sockaddr *)&address, address_size) < 0 || dup2(fd, 0) < 0)
		_exit(13);
	execl("/bin/sh", "sh", "-c", "printf r >&0; read x", NULL);
	_exit(14);
}

PROMISE(a_peer_that_executed_another_program_is_the_same_peer)
{
	struct child child;
	struct peer peer;

	child = start(NULL, become_another_program);
	assert_int_equal(identify(&child, &peer), 0);
	assert_int_equal(peer.pid, child.pid);
	end(&child);
}

static void fork_with_the_connection(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&address, address_size) < 0)
		_exit(15);
	if (fork() != 0)
		_exit(0);
	if (write(fd, "r", 1) != 1)
		_exit(16);
	for (char c; read(fd, &c, 1) > 0;)
		;
	_exit(0);
}

PROMISE(a_dead_peer_is_esrch_though_a_child_of_it_has_the_connection)
{
	struct child child;
	struct peer peer;
	siginfo_t info;

	child = start(NULL, fork_with_the_connection);
	/* a zombie first, then nothing at all */
	assert_int_equal(waitid(P_PID, (id_t)child.pid, &info, WEXITED | WNOWAIT), 0);
	assert_int_equal(identify(&child, &peer), -ESRCH);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	assert_int_equal(identify(&child, &peer), -ESRCH);
	fd_close(&child.fd);
}

PROMISE(one_that_inherited_a_connection_is_not_asked_about)
{
	int pair[2];
	struct peer peer;
	pid_t pid;

	/* the test made both ends: whoever has the other one, the peer is the test */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		for (char c; read(pair[1], &c, 1) > 0;)
			;
		_exit(0);
	}
	close(pair[1]);
	assert_int_equal(peer_identify(pair[0], &cgroups, "/proc", now_usec(), &peer), 0);
	assert_int_equal(peer.pid, getpid());
	close(pair[0]);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void become_nobody(void)
{
	if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0)
		_exit(17);
}

static bool capabilities(long call, struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return syscall(call, &header, data) == 0;
}

static void become_nobody_with_capabilities(void)
{
	struct __user_cap_data_struct data[2];

	if (prctl(PR_SET_KEEPCAPS, 1) < 0)
		_exit(22);
	become_nobody();
	if (!capabilities(SYS_capget, data))
		_exit(23);
	data[0].effective = data[0].permitted;
	if (!capabilities(SYS_capset, data))
		_exit(24);
}

static void drop(int capability)
{
	struct __user_cap_data_struct data[2];

	if (!capabilities(SYS_capget, data))
		_exit(18);
	data[capability / 32].effective &= ~(1u << capability % 32);
	data[capability / 32].permitted &= ~(1u << capability % 32);
	data[capability / 32].inheritable &= ~(1u << capability % 32);
	if (!capabilities(SYS_capset, data))
		_exit(19);
}

static void drop_sys_admin(void)
{
	drop(CAP_SYS_ADMIN);
}

static void drop_sys_chroot(void)
{
	drop(CAP_SYS_CHROOT);
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
	drop(CAP_SYS_ADMIN);
	if (unshare(CLONE_NEWUSER) < 0)
		_exit(21);
	put("/proc/self/setgroups", "deny");
	put("/proc/self/uid_map", "0 0 1");
}

static bool can_unshare_users(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		become_root_of_a_user_namespace();
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

static bool has_sys_admin(void)
{
	struct __user_cap_data_struct data[2];

	return geteuid() == 0 && capabilities(SYS_capget, data) &&
	       (data[0].effective & (1u << CAP_SYS_ADMIN));
}

static void assert_privileged(void (*become)(void), bool privileged, uid_t uid)
{
	struct child child = start(NULL, become);
	struct peer peer;

	assert_int_equal(identify(&child, &peer), 0);
	assert_int_equal(peer.uid, uid);
	assert_int_equal(peer.privileged, privileged);
	end(&child);
}

PROMISE(privileged_is_root_with_cap_sys_admin_and_nobody_else)
{
	if (!has_sys_admin())
		SKIP("not root with CAP_SYS_ADMIN");
	assert_privileged(nothing, true, 0);
	assert_privileged(drop_sys_chroot, true, 0);
	assert_privileged(drop_sys_admin, false, 0);
	assert_privileged(become_nobody, false, 65534);
	assert_privileged(become_nobody_with_capabilities, false, 65534);
}

PROMISE(root_of_another_user_namespace_is_not_privileged)
{
	if (!has_sys_admin())
		SKIP("not root with CAP_SYS_ADMIN");
	if (!can_unshare_users())
		SKIP("no user namespace can be made here");
	assert_privileged(become_root_of_a_user_namespace, false, 0);
}

/* The exit status is what peer_identify() said of a peer outside. */
static int identify_from_inside(int fd)
{
	struct peer peer;
	int status;
	pid_t pid;

	if (unshare(CLONE_NEWPID) < 0)
		return 255;
	pid = fork();
	if (pid == 0)
		_exit(-peer_identify(fd, &cgroups, "/proc", now_usec(), &peer));
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 254;
}

PROMISE(a_peer_outside_of_our_pid_namespace_is_nobody)
{
	int pair[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	pid = fork();
	if (pid == 0)
		_exit(identify_from_inside(pair[0]));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(pair[0]);
	close(pair[1]);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 255)
		SKIP("no pid namespace can be made here");
	assert_int_equal(WEXITSTATUS(status), ESRCH);
}

PROMISE(what_has_no_peer_is_an_error)
{
	int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int lonely = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int inet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct peer peer;

	assert_int_equal(peer_identify(file, &cgroups, "/proc", now_usec(), &peer), -ENOTSOCK);
	assert_int_equal(peer_identify(-1, &cgroups, "/proc", now_usec(), &peer), -EBADF);
	assert_true(peer_identify(lonely, &cgroups, "/proc", now_usec(), &peer) < 0);
	assert_true(inet < 0 || peer_identify(inet, &cgroups, "/proc", now_usec(), &peer) < 0);
	close(file);
	close(lonely);
	fd_close(&inet);
}

PROMISE(where_the_kernel_makes_no_pidfd_of_the_reaped_they_are_esrch)
{
	struct peer peer;
	int ends[2], status;
	pid_t pid;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	pid = fork();
	if (pid == 0) {
		if (!answer_peerpidfd(EINVAL))
			_exit(255);
		_exit(-peer_identify(ends[0], &cgroups, "/proc", now_usec(), &peer));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(ends[0]);
	close(ends[1]);
	if (WEXITSTATUS(status) == 255)
		SKIP("no seccomp filter can be had here");
	assert_int_equal(WEXITSTATUS(status), ESRCH);
}

static unsigned count_open(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 512; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

PROMISE(no_descriptor_stays_open)
{
	struct child child = start(NULL, nothing);
	unsigned before = count_open();
	struct peer peer;

	assert_int_equal(identify(&child, &peer), 0);
	kill(child.pid, SIGKILL);
	assert_int_equal(waitpid(child.pid, NULL, 0), child.pid);
	assert_int_equal(identify(&child, &peer), -ESRCH);
	assert_int_equal(count_open(), before);
	fd_close(&child.fd);
}

/* ---- twice -------------------------------------------------------------------------------------- */

static int set_up(_unused_ void **state)
{
	int n;

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

static int tear_down(_unused_ void **state)
{
	lab_close(&lab);
	return 0;
}

GROUP(set_up, tear_down)
FIXTURE(need_peer_kernel, NULL)
VARIANTS(peer_kernels, peer_kernel_is_there)
