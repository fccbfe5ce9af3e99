/* SPDX-License-Identifier: MIT */
/*
 * pressure.c - cgroups made, pressed and removed
 *
 * Pressure comes from page cache: a process in a group with a small limit reads a larger file, so each read has to reclaim what an
 * earlier one brought in and waits for it to come back. Pages that are charged to another group already would be read without any
 * pressure, so each press has a file of its own, and what writing it left in memory is dropped first (facts: POSIX_FADV_DONTNEED).
 * Such a file must be on a disk (on a tmpfs it *is* memory) and holds noise (file systems that compress would keep zeros in a page).
 *
 * Groups are removed by the guardian: a process that waits for the other end of a socket to close, which the kernel sees to however
 * this process ends. It kills what is in the groups, and again until they are gone, because a process that is about to die may still
 * be listed.
 *
 * There is no swap in a group with a limit: idle memory is what the kernel would swap out first, and then nothing would be short.
 */
#include "pressure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/psi.h"
#include "threads.h"

#define V1_MOUNT "/sys/fs/cgroup/memory"
#define GONE_MAX_MS 10000
#define READERS_MAX 4

static pid_t started[16]; /* that lab_kill() was not asked to end yet */
static int guard_fd = -1; /* to the guardian */

__attribute__((weak)) void lab_failed(const char *message)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name, message);
	exit(2);
}

/* "WHAT: error" */
static void fail_unless(int r, const char *what)
{
	char message[LAB_PATH_MAX + 64];

	snprintf(message, sizeof(message), "%s: %s", what, strerror(-MIN(r, 0)));
	if (r < 0)
		lab_failed(message);
}

int lab_why(char *why, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(why, LAB_WHY_MAX, format, args);
	va_end(args);
	return error;
}

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

/* ---- files ------------------------------------------------------------------------------------- */

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
	fail_unless(lab_try_write(path, text), path);
}

static int try_write_number(const char *path, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return lab_try_write(path, text);
}

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

uint64_t lab_number(const char *path, const char *word)
{
	return proc_number(path, word, 10);
}

uint64_t lab_proc_number(pid_t pid, const char *file, const char *word)
{
	return thread_number(pid, file, word, 10);
}

/* What the callers get lives in one of eight buffers. */
static const char *join(const char *a, const char *b, const char *c, const char *d)
{
	static char buf[8][LAB_PATH_MAX];
	static unsigned next;
	char *path = buf[next++ % 8];

	snprintf(path, LAB_PATH_MAX, "%s/%s%s%s%s%s", a, b, *c ? "/" : "", c, *d ? "/" : "", d);
	return path;
}

const char *lab_path(const struct lab *lab, const char *group)
{
	return join("", lab->name, group, "");
}

const char *lab_file(const struct lab *lab, const char *group, const char *file)
{
	return join(lab->mount, lab->name, group, file);
}

const char *lab_v1_file(const struct lab *lab, const char *group, const char *file)
{
	return join(lab->v1_mount, lab->name, group, file);
}

/* ---- the guardian ------------------------------------------------------------------------------ */

static void kill_members(const char *path)
{
	char name[LAB_PATH_MAX], line[32];
	FILE *f;

	snprintf(name, sizeof(name), "%s/cgroup.procs", path);
	f = fopen(name, "re");
	while (f && fgets(line, sizeof(line), f))
		if (atoi(line) > 1 && atoi(line) != getpid())
			kill(atoi(line), SIGKILL);
	if (f)
		fclose(f);
}

/* Everything below `path` and, unless it is `kept`, itself; processes are killed. Depth first. */
static int raze(const char *path, bool kept)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[LAB_PATH_MAX];

	while (dir && (entry = readdir(dir)) != NULL) {
		if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		raze(name, false);
	}
	if (dir)
		closedir(dir);
	return kept || (LAB_WAIT(GONE_MAX_MS, rmdir(path) == 0 || errno != EBUSY ||
						      (kill_members(path), false)) &&
			access(path, F_OK) < 0)
		       ? 0
		       : -EBUSY;
}

static int try_remove(const struct lab *lab, const char *group)
{
	int r = raze(lab_file(lab, group, ""), false),
	    r_v1 = lab->v1 ? raze(lab_v1_file(lab, group, ""), false) : 0;

	return r < 0 ? r : r_v1;
}

void lab_clear(const struct lab *lab)
{
	raze(lab_file(lab, "", ""), true);
	if (lab->v1)
		raze(lab_v1_file(lab, "", ""), true);
}

static int clean_up(const struct lab *lab)
{
	int r = try_remove(lab, "");

	if (lab->enabled)
		lab_try_write(join(lab->mount, "cgroup.subtree_control", "", ""), "-memory");
	return r;
}

/* Until the other end of `fd` is closed, by lab_close() or by the end of that process. */
static _Noreturn void guard(const struct lab *lab, int fd)
{
	char result;

	setsid();
	prctl(PR_SET_NAME, "psb-guardian");
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	/* the other process's files, pipes and locks are not its own to hold open */
	dup2(fd, 0);
	close_range(1, ~0u, 0);
	while (read(0, &result, 1) < 0 && errno == EINTR)
		;
	result = clean_up(lab) < 0;
	_exit(write(0, &result, 1) < 0);
}

/* It is no child of ours: one that waits for all its children would wait for it. */
static int start_guardian(const struct lab *lab, char *why)
{
	int fds[2], status = 0;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return lab_why(why, -errno, "socketpair: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		close(fds[1]);
		pid = fork();
		if (pid == 0)
			guard(lab, fds[0]);
		_exit(pid < 0);
	}
	close(fds[0]);
	guard_fd = fds[1];
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return 0;
	close(guard_fd);
	guard_fd = -1;
	return lab_why(why, -EAGAIN, "fork: no more processes");
}

int lab_close(struct lab *lab)
{
	int fd = guard_fd;
	char result = 1;

	if (fd < 0)
		return 0;
	guard_fd = -1;
	shutdown(fd, SHUT_WR); /* a child may have a copy */
	while (read(fd, &result, 1) < 0 && errno == EINTR)
		;
	close(fd);
	*lab = (struct lab){ 0 };
	return result == 0 ? 0 : -EBUSY;
}

/* ---- the lab ----------------------------------------------------------------------------------- */

static bool is_cgroup2(const char *path)
{
	struct statfs s;

	return statfs(path, &s) == 0 && s.f_type == CGROUP2_SUPER_MAGIC;
}

/* In its new cgroup. */
static int set_up(struct lab *lab, char *why)
{
	const char *parent = join(lab->mount, "cgroup.subtree_control", "", "");
	char text[512];
	int r;

	if (slurp(lab_file(lab, "", "memory.pressure"), text, sizeof(text)) == 0)
		return lab_why(
			why, -EOPNOTSUPP,
			"PSI is off in this kernel (not built in, or not switched on by psi=1)");
	if (lab->v1) {
		r = mkdir(lab_v1_file(lab, "", ""), 0755) < 0 ? -errno : 0;
		return r < 0 ? lab_why(why, r, "mkdir %s: %s", lab_v1_file(lab, "", ""),
				       strerror(-r))
			     : 0;
	}
	if (access(lab_file(lab, "", "memory.max"), F_OK) < 0) {
		r = lab_try_write(parent, "+memory");
		if (r < 0)
			return lab_why(why, r, "+memory to %s: %s%s", parent, strerror(-r),
				       r == -EBUSY ? " (it has processes of its own)" : "");
		lab->enabled = true;
	}
	parent = lab_file(lab, "", "cgroup.subtree_control");
	r = lab_try_write(parent, "+memory");
	return r < 0 ? lab_why(why, r, "+memory to %s: %s", parent, strerror(-r)) : 0;
}

int lab_open_in(struct lab *lab, const char *mount, const char *v1_mount, const char *name,
		char *why)
{
	int r;

	*lab = (struct lab){ .mount = mount, .v1_mount = v1_mount, .v1 = v1_mount };
	snprintf(lab->name, sizeof(lab->name), "%s", name);
	if (mkdir(lab_file(lab, "", ""), 0755) < 0)
		return lab_why(why, -errno, "mkdir %s: %s", lab_file(lab, "", ""), strerror(errno));
	r = set_up(lab, why);
	if (r == 0)
		r = start_guardian(lab, why);
	if (r < 0)
		clean_up(lab);
	return r;
}

const char *lab_open(struct lab *lab, const char *name)
{
	const char *mount = is_cgroup2("/sys/fs/cgroup") ? "/sys/fs/cgroup"
							 : "/sys/fs/cgroup/unified";
	static char why[LAB_WHY_MAX];
	char controllers[512] = "", full[64];
	bool v1;

	*lab = (struct lab){ 0 };
	if (!is_cgroup2(mount))
		return "no cgroup2 hierarchy here";
	if (geteuid() != 0)
		return "not root: no permission to make cgroups";
	slurp(join(mount, "cgroup.controllers", "", ""), controllers, sizeof(controllers));
	v1 = !strstr(controllers, "memory");
	if (v1 && access(V1_MOUNT "/memory.limit_in_bytes", F_OK) < 0)
		return "no memory controller to limit a cgroup with";
	snprintf(full, sizeof(full), "psb-%.32s-%d", name, (int)getpid());
	if (lab_open_in(lab, mount, v1 ? V1_MOUNT : NULL, full, why) < 0)
		return why;
	/* does the kernel take a window that is no multiple of 2 s? It drops the last character */
	lab->privileged = lab_try_write(lab_file(lab, "", "memory.pressure"),
					"some 100000 1000000\n") == 0;
	return NULL;
}

static int set_limit(const struct lab *lab, const char *group, uint64_t limit_bytes)
{
	int r;

	if (lab->v1) {
		r = try_write_number(lab_v1_file(lab, group, "memory.limit_in_bytes"), limit_bytes);
		/* the first is there with swap accounting only; then the second does well enough */
		try_write_number(lab_v1_file(lab, group, "memory.memsw.limit_in_bytes"),
				 limit_bytes);
		try_write_number(lab_v1_file(lab, group, "memory.swappiness"), 0);
		return r;
	}
	lab_try_write(lab_file(lab, group, "memory.swap.max"), "0");
	return try_write_number(lab_file(lab, group, "memory.max"), limit_bytes);
}

void lab_make(const struct lab *lab, const char *group, uint64_t limit_bytes)
{
	int r = mkdir(lab_file(lab, group, ""), 0755);

	if (r == 0 && lab->v1)
		r = mkdir(lab_v1_file(lab, group, ""), 0755);
	r = r < 0 ? -errno : 0;
	if (r == 0 && limit_bytes > 0)
		r = set_limit(lab, group, limit_bytes);
	fail_unless(r, lab_file(lab, group, ""));
}

void lab_delegate(const struct lab *lab, const char *group)
{
	if (!lab->v1)
		lab_write(lab_file(lab, group, "cgroup.subtree_control"), "+memory");
}

void lab_remove(const struct lab *lab, const char *group)
{
	fail_unless(try_remove(lab, group), lab_file(lab, group, ""));
}

/* ---- processes --------------------------------------------------------------------------------- */

/* `parent` may have been killed before this is said. */
static void end_with(pid_t parent)
{
	if (getpid() == parent)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
}

pid_t lab_fork(const struct lab *lab, const char *group)
{
	const char *v2 = group ? lab_file(lab, group, "cgroup.procs") : NULL,
		   *v1 = group && lab->v1 ? lab_v1_file(lab, group, "cgroup.procs") : NULL;
	pid_t parent = getpid(), pid;
	int fds[2], r = 0;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -errno;
	pid = fork();
	if (pid == 0) {
		end_with(parent);
		close(guard_fd); /* or the guardian would wait for us too */
		guard_fd = -1;
		/* of a process that may have had threads: system calls only */
		r = v2 ? lab_try_write(v2, "0") : 0;
		if (r == 0 && v1)
			r = lab_try_write(v1, "0");
		(void)!write(fds[1], &r, sizeof(r));
		close(fds[0]);
		close(fds[1]);
		if (r < 0)
			_exit(1);
		return 0;
	}
	close(fds[1]);
	if (pid < 0)
		r = -EAGAIN;
	else if (read(fds[0], &r, sizeof(r)) != sizeof(r))
		r = -EIO;
	close(fds[0]);
	if (pid > 0 && r < 0)
		waitpid(pid, NULL, 0);
	return r < 0 ? r : pid;
}

void lab_enter(const struct lab *lab, const char *group)
{
	lab_write(group ? lab_file(lab, group, "cgroup.procs")
			: join(lab->mount, "cgroup.procs", "", ""),
		  "0");
}

/* For a test. */
static pid_t start(const struct lab *lab, const char *group)
{
	pid_t pid = lab_fork(lab, group);

	fail_unless(pid, "a process of the lab's");
	for (size_t i = 0; pid > 0 && i < ELEMENTSOF(started); i++)
		if (started[i] == 0) {
			started[i] = pid;
			break;
		}
	return pid;
}

bool lab_alive(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

/* ---- files to read ----------------------------------------------------------------------------- */

/* Errors: -EMEDIUMTYPE: that is no disk. */
static int open_nameless(const char *dir)
{
	char path[LAB_PATH_MAX];
	struct statfs fs;
	int fd;

	if (statfs(dir, &fs) < 0)
		return -errno;
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
		return -EMEDIUMTYPE;
	snprintf(path, sizeof(path), "%s/psibridge.XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

static int fill(int fd, uint64_t size)
{
	static char noise[LAB_MB];

	for (uint64_t done = 0; done < size;) {
		ssize_t n;

		if (getrandom(noise, sizeof(noise), 0) < 0)
			return -errno;
		n = write(fd, noise, MIN(sizeof(noise), size - done));
		if (n < 0)
			return -errno;
		done += (uint64_t)n;
		/* as it goes: a disk may be slow, and a process that waits for all of it cannot be ended */
		if (done % (16 * LAB_MB) == 0 && fdatasync(fd) < 0)
			return -errno;
	}
	lab_data_evict(fd);
	return 0;
}

int lab_data(uint64_t size)
{
	const char *tmp = getenv("TMPDIR"),
		   *dirs[] = { tmp && *tmp ? tmp : "/var/tmp", "/var/tmp", "/tmp", "." };
	char why[LAB_WHY_MAX];
	size_t used = (size_t)snprintf(why, sizeof(why), "nowhere to put a file of %u MiB",
				       (unsigned)(size / LAB_MB));

	for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
		int fd = open_nameless(dirs[i]), r = fd < 0 ? fd : fill(fd, size);

		if (r == 0)
			return fd;
		if (fd >= 0)
			close(fd);
		used += (size_t)snprintf(why + used, sizeof(why) - used, "; %.80s: %s", dirs[i],
					 r == -EMEDIUMTYPE ? "not on a disk" : strerror(-r));
	}
	lab_failed(why);
}

void lab_data_evict(int fd)
{
	fdatasync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* ---- readers ----------------------------------------------------------------------------------- */

/* Lies in memory shared with the readers. */
struct lab_readers {
	_Atomic uint64_t bytes;
	pid_t pids[READERS_MAX];
	unsigned count;
};

static _Noreturn void read_for_ever(struct lab_readers *readers, int fd, uint64_t seed,
				    uint64_t pace_usec)
{
	static const uint64_t strides[] = { 7919, 7907, 7901, 7883, 7879, 7877, 7873, 7867 };
	uint64_t blocks = (uint64_t)lseek(fd, 0, SEEK_END) / LAB_BLOCK;
	char *block = malloc(LAB_BLOCK);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (uint64_t pass = seed;; pass++) {
		/* a prime that does not divide the number of blocks visits each of them once */
		uint64_t stride = strides[pass % ELEMENTSOF(strides)];

		if (!block || blocks == 0 || blocks % stride == 0)
			_exit(1);
		for (uint64_t i = 0; i < blocks; i++) {
			uint64_t at = (i + pass) * stride % blocks * LAB_BLOCK;
			uint64_t begun = lab_now_usec(), took;
			ssize_t n = pread(fd, block, LAB_BLOCK, (off_t)at);

			if (n < 0)
				_exit(1);
			atomic_fetch_add_explicit(&readers->bytes, (uint64_t)n,
						  memory_order_relaxed);
			took = lab_now_usec() - begun;
			if (took < pace_usec)
				usleep((useconds_t)(pace_usec - took));
		}
	}
}

struct lab_readers *lab_readers_start(const struct lab *lab, const char *group, int fd,
				      unsigned count, uint64_t pace_usec)
{
	struct lab_readers *readers = mmap(NULL, sizeof(*readers), PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	fail_unless(readers == MAP_FAILED ? -errno : 0, "mmap");
	for (; readers->count < MIN(count, (unsigned)READERS_MAX); readers->count++) {
		pid_t pid = lab_fork(lab, group);

		fail_unless(pid, "a process that reads");
		if (pid == 0) {
			/* ends of pipes to others, which wait for the last one to close */
			close_range(STDERR_FILENO + 1, (unsigned)fd - 1, 0);
			close_range((unsigned)fd + 1, ~0u, 0);
			read_for_ever(readers, fd, UINT64_C(3) * readers->count, pace_usec);
		}
		readers->pids[readers->count] = pid;
	}
	return readers;
}

uint64_t lab_readers_bytes(const struct lab_readers *readers)
{
	return atomic_load_explicit(&readers->bytes, memory_order_relaxed);
}

bool lab_readers_alive(const struct lab_readers *readers)
{
	for (unsigned i = 0; i < readers->count; i++)
		if (!lab_alive(readers->pids[i]))
			return false;
	return true;
}

struct lab_readers *lab_readers_free(struct lab_readers *readers)
{
	if (!readers)
		return NULL;
	for (unsigned i = 0; i < readers->count; i++)
		lab_kill(readers->pids[i]);
	munmap(readers, sizeof(*readers));
	return NULL;
}

/* ---- pressure ---------------------------------------------------------------------------------- */

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

static unsigned pressers;

pid_t lab_press(const struct lab *lab, const char *group)
{
	/* written outside of the group, whose limit would have to wait for the disk */
	int fd = lab_data(LAB_FILE);
	pid_t pid;

	pid = start(lab, group);
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
	pid_t pid = start(lab, group);
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
	pid_t pid = start(lab, group);
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
	for (size_t i = 0; i < ELEMENTSOF(started); i++)
		if (started[i] == pid)
			started[i] = 0;
}

void lab_kill_all(void)
{
	for (size_t i = 0; i < ELEMENTSOF(started); i++)
		if (started[i] > 0)
			lab_kill(started[i]);
}

/* ---- looking ----------------------------------------------------------------------------------- */

struct lab_psi lab_psi(const struct lab *lab, const char *group)
{
	char text[512];
	size_t n = slurp(lab_file(lab, group, "memory.pressure"), text, sizeof(text));
	struct psi psi;

	if (n == 0 || psi_parse(text, n, &psi) < 0)
		return (struct lab_psi){ 0 };
	return (struct lab_psi){ psi.some.total_usec, psi.full.total_usec };
}
