/* SPDX-License-Identifier: MIT */
/*
 * lab.c - cgroups made, pressed and removed
 *
 * Pressure comes from page cache: a process in a group with a small limit reads a larger file, so
 * each read has to reclaim what an earlier one brought in and waits for it to come back. Pages that
 * are charged to another group already would be read without any pressure, so each press has a file
 * of its own, and what writing it left in memory is dropped first (facts: POSIX_FADV_DONTNEED).
 *
 * The files lie in /var/tmp, because /tmp may be a tmpfs, whose pages cannot be dropped.
 */
#include "lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define V1_MOUNT "/sys/fs/cgroup/memory"
#define BUFFER_SIZE 512

static pid_t started[16]; /* that lab_kill() was not asked to end yet */
static int guard_fd = -1;
static pid_t guard_pid;

uint64_t lab_now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

void lab_sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, ms % 1000 * 1000000L }, NULL);
}

int lab_try_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		r = -errno;
	close(fd);
	return r;
}

void lab_write(const char *path, const char *text)
{
	int r = lab_try_write(path, text);

	if (r < 0)
		fail_msg("%s to %s: %s", text, path, strerror(-r));
}

/* What the callers get lives in one of eight buffers. */
static char *next_buffer(void)
{
	static char buf[8][BUFFER_SIZE];
	static unsigned next;

	return buf[next++ % 8];
}

const char *lab_path(const struct lab *lab, const char *group)
{
	char *buf = next_buffer();

	snprintf(buf, BUFFER_SIZE, "/%s%s%s", lab->name, *group ? "/" : "", group);
	return buf;
}

const char *lab_file(const struct lab *lab, const char *group, const char *file)
{
	char *buf = next_buffer();

	snprintf(buf, BUFFER_SIZE, "%s/%s/%s/%s", lab->mount, lab->name, group, file);
	return buf;
}

const char *lab_v1_file(const struct lab *lab, const char *group, const char *file)
{
	char *buf = next_buffer();

	snprintf(buf, BUFFER_SIZE, V1_MOUNT "/%s/%s/%s", lab->name, group, file);
	return buf;
}

/* ---- the guardian ------------------------------------------------------------------------------ */

/* Everything below and `path` itself; processes are killed. Depth first. */
static void raze(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[1024];

	if (!dir)
		return;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		raze(name);
	}
	closedir(dir);
	for (int i = 0; i < 400 && rmdir(path) < 0 && errno == EBUSY; i++) {
		char line[32];
		FILE *f;

		snprintf(name, sizeof(name), "%s/cgroup.procs", path);
		f = fopen(name, "re");
		while (f && fgets(line, sizeof(line), f))
			if (atoi(line) > 1)
				kill(atoi(line), SIGKILL);
		if (f)
			fclose(f);
		lab_sleep_ms(5);
	}
}

/* Ends when the test does, however it does. */
static void guard(const struct lab *lab, int fd)
{
	char c, path[192];

	setsid();
	prctl(PR_SET_NAME, "psb-guardian");
	while (read(fd, &c, 1) < 0 && errno == EINTR)
		;
	snprintf(path, sizeof(path), "%s/%s", lab->mount, lab->name);
	raze(path);
	snprintf(path, sizeof(path), V1_MOUNT "/%s", lab->name);
	raze(path);
	_exit(0);
}

static void start_guardian(const struct lab *lab)
{
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	guard_pid = fork();
	assert_true(guard_pid >= 0);
	if (guard_pid == 0) {
		close(fds[1]);
		signal(SIGINT, SIG_IGN);
		signal(SIGTERM, SIG_IGN);
		/* the test's output is not ours to hold open */
		close(0);
		close(1);
		close(2);
		guard(lab, fds[0]);
	}
	close(fds[0]);
	guard_fd = fds[1];
}

/* ---- the lab
 * ------------------------------------------------------------------------------------- */

static bool is_cgroup2(const char *path)
{
	struct statfs s;

	return statfs(path, &s) == 0 && s.f_type == CGROUP2_SUPER_MAGIC;
}

/* Does the kernel take a window that is no multiple of 2 s? */
static bool takes_any_window(const char *file)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, "some 100000 1000000", 20) == 20;

	if (fd >= 0)
		close(fd);
	return ok;
}

const char *lab_open(struct lab *lab, const char *name)
{
	const char *mount = is_cgroup2("/sys/fs/cgroup") ? "/sys/fs/cgroup"
							 : "/sys/fs/cgroup/unified";
	int r;

	*lab = (struct lab){ 0 };
	if (!is_cgroup2(mount))
		return "no cgroup2 hierarchy here";
	if (geteuid() != 0)
		return "not root: no permission to make cgroups";
	snprintf(lab->mount, sizeof(lab->mount), "%s", mount);
	snprintf(lab->name, sizeof(lab->name), "psb-%.32s-%d", name, (int)getpid());
	r = mkdir(lab_file(lab, "", ""), 0755);
	if (r < 0)
		return "cgroups can't be made here (read-only cgroup file system?)";
	lab->v1 = access(lab_file(lab, "", "memory.max"), F_OK) < 0;
	if (access(lab_file(lab, "", "memory.pressure"), R_OK) < 0) {
		rmdir(lab_file(lab, "", ""));
		return "PSI is off in this kernel";
	}
	if (lab->v1 && mkdir(lab_v1_file(lab, "", ""), 0755) < 0) {
		rmdir(lab_file(lab, "", ""));
		return "no memory controller to limit a cgroup with";
	}
	lab->privileged = takes_any_window(lab_file(lab, "", "memory.pressure"));
	start_guardian(lab);
	if (!lab->v1)
		lab_write(lab_file(lab, "", "cgroup.subtree_control"), "+memory");
	return NULL;
}

void lab_close(struct lab *lab)
{
	if (guard_fd < 0)
		return;
	close(guard_fd);
	guard_fd = -1;
	waitpid(guard_pid, NULL, 0);
	*lab = (struct lab){ 0 };
}

void lab_make(const struct lab *lab, const char *group, uint64_t limit_bytes)
{
	char text[32];

	if (mkdir(lab_file(lab, group, ""), 0755) < 0)
		fail_msg("mkdir %s: %s", lab_file(lab, group, ""), strerror(errno));
	if (lab->v1 && mkdir(lab_v1_file(lab, group, ""), 0755) < 0)
		fail_msg("mkdir %s: %s", lab_v1_file(lab, group, ""), strerror(errno));
	if (limit_bytes == 0)
		return;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)limit_bytes);
	if (lab->v1) {
		lab_write(lab_v1_file(lab, group, "memory.limit_in_bytes"), text);
	} else {
		lab_write(lab_file(lab, group, "memory.max"), text);
		lab_try_write(lab_file(lab, group, "memory.swap.max"), "0");
	}
}

void lab_remove(const struct lab *lab, const char *group)
{
	/* a process that was killed leaves its cgroup a moment after it was waited for */
	bool gone = LAB_WAIT(5000, rmdir(lab_file(lab, group, "")) == 0 || errno == ENOENT);

	if (!gone)
		fail_msg("rmdir %s: %s", lab_file(lab, group, ""), strerror(errno));
	if (lab->v1)
		(void)LAB_WAIT(5000, rmdir(lab_v1_file(lab, group, "")) == 0 || errno == ENOENT);
}

/* ---- pressure
 * -------------------------------------------------------------------------------------- */

/* In a child of a process with threads: system calls only. */
static bool enter(const char *procs)
{
	int fd = open(procs, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, "0", 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

static pid_t fork_into(const struct lab *lab, const char *group)
{
	const char *v2 = lab_file(lab, group, "cgroup.procs"),
		   *v1 = lab_v1_file(lab, group, "cgroup.procs");
	int fds[2];
	char c = 0;
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(guard_fd); /* or the guardian would wait for us too */
		c = enter(v2) && (!lab->v1 || enter(v1)) ? 'y' : 'n';
		(void)!write(fds[1], &c, 1);
		close(fds[0]);
		close(fds[1]);
		if (c == 'n')
			_exit(1);
		return 0;
	}
	close(fds[1]);
	assert_int_equal(read(fds[0], &c, 1), 1);
	close(fds[0]);
	if (c != 'y')
		fail_msg("no process can be moved into %s", v2);
	for (size_t i = 0; i < sizeof(started) / sizeof(started[0]); i++)
		if (started[i] == 0) {
			started[i] = pid;
			break;
		}
	return pid;
}

/* `parent` may have been killed before this is said. */
static void end_with(pid_t parent)
{
	if (getpid() == parent)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

static bool burning; /* all CPUs but the first */

/* To one CPU; by number among those that we may use. */
static void pin(unsigned n)
{
	cpu_set_t may, one;

	CPU_ZERO(&one);
	if (sched_getaffinity(0, sizeof(may), &may) < 0)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may) && n-- == 0)
			CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

/*
 * A file is read over and over. Does not return.
 *
 * By four processes, in pieces of 1 MiB: with both CPUs taken by others they stall 58 to 72 % of the time. What was measured
 * beside them: one process 10 to 17 % (Low is 10 %), pieces of 64 KiB 43 to 53 %, pieces of 64 KiB without read-ahead 8 to 10 %.
 * The limit leaves room for what four of them read ahead: where a disk has a read_ahead_kb of 8192 that is 32 MiB which cannot be
 * reclaimed, and in a group of 16 MiB the kernel killed readers.
 */
static void press(int fd)
{
	static char block[1 << 20];
	pid_t first = getpid();
	unsigned part = 0;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	while (part < 3 && fork() != 0)
		part++;
	end_with(first);
	for (off_t at = part * (off_t)(LAB_FILE / 4);;
	     at = (at + (off_t)sizeof(block)) % (off_t)LAB_FILE)
		if (pread(fd, block, sizeof(block), at) <= 0)
			_exit(1);
}

/* LAB_FILE bytes that are on the disk, and in nobody's memory. */
static void fill(int fd)
{
	static char block[1 << 16];

	assert_true(fd >= 0);
	memset(block, 'x', sizeof(block));
	for (uint64_t n = 0; n < LAB_FILE; n += sizeof(block))
		assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
	fdatasync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static unsigned pressers;

pid_t lab_press(const struct lab *lab, const char *group)
{
	/* written outside of the group, whose limit would have to wait for the disk */
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	pid_t pid;

	fill(fd);
	pid = fork_into(lab, group);
	if (pid != 0) {
		close(fd);
		pressers++;
		return pid;
	}
	/* `some` is an average over CPUs, so that of a process which moves about depends on when it
	 * is read */
	pin(burning ? 0 : pressers % (unsigned)sysconf(_SC_NPROCESSORS_ONLN));
	press(fd);
	return 0;
}

pid_t lab_burn(const struct lab *lab, const char *group)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	pid_t pid = fork_into(lab, group);
	volatile unsigned spin = 0;
	pid_t first;

	if (pid != 0) {
		burning = true;
		return pid;
	}
	first = getpid();
	for (long i = 1; i < cpus; i++)
		if (i == cpus - 1 || fork() == 0) {
			end_with(first);
			pin((unsigned)i);
			break;
		}
	for (;;)
		spin++;
}

pid_t lab_hog(const struct lab *lab, const char *group, uint64_t bytes)
{
	pid_t pid = fork_into(lab, group);
	volatile char *p;

	if (pid != 0)
		return pid;
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		_exit(1);
	for (uint64_t i = 0; i < bytes; i += 4096)
		p[i] = 1;
	for (;;)
		pause();
}

void lab_kill(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (size_t i = 0; i < sizeof(started) / sizeof(started[0]); i++)
		if (started[i] == pid)
			started[i] = 0;
}

void lab_kill_all(void)
{
	for (size_t i = 0; i < sizeof(started) / sizeof(started[0]); i++)
		if (started[i] > 0)
			lab_kill(started[i]);
}

/* ---- looking
 * --------------------------------------------------------------------------------------- */

static size_t slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return 0;
	n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

struct lab_psi lab_psi(const struct lab *lab, const char *group)
{
	struct lab_psi psi = { 0 };
	char text[512], *some, *full;

	if (slurp(lab_file(lab, group, "memory.pressure"), text, sizeof(text)) == 0)
		return psi;
	some = strstr(text, "total=");
	full = some ? strstr(some + 1, "total=") : NULL;
	if (some)
		psi.some_usec = strtoull(some + 6, NULL, 10);
	if (full)
		psi.full_usec = strtoull(full + 6, NULL, 10);
	return psi;
}

pid_t lab_thread(const char *name)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	pid_t found = 0;

	while (dir && (entry = readdir(dir)) != NULL && found == 0) {
		char path[300], comm[32];

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
		if (slurp(path, comm, sizeof(comm)) == 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (strcmp(comm, name) == 0)
			found = atoi(entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

uint64_t lab_thread_switches(pid_t tid)
{
	static const char key[] = "\nvoluntary_ctxt_switches:";
	char path[64], text[4096], *at = NULL;

	snprintf(path, sizeof(path), "/proc/self/task/%d/status", (int)tid);
	if (slurp(path, text, sizeof(text)) == 0 || !(at = strstr(text, key)))
		fail_msg("%s can't be read", path);
	return strtoull(at + sizeof(key) - 1, NULL, 10);
}

uint64_t lab_thread_cpu_usec(pid_t tid)
{
	char path[64], text[128];

	snprintf(path, sizeof(path), "/proc/self/task/%d/schedstat", (int)tid);
	if (slurp(path, text, sizeof(text)) == 0)
		fail_msg("%s can't be read", path);
	return strtoull(text, NULL, 10) / 1000;
}
