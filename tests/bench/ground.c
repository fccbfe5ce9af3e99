/* SPDX-License-Identifier: MIT */
/*
 * ground.c - cgroups that are gone afterwards, and pressure in them
 *
 * The benchmark's work runs in a child. Its parent only waits, passes on SIGINT, SIGTERM and SIGHUP by killing the child,
 * and then cleans up: kills what is left in the tree, removes it bottom up. So a crash leaves nothing behind either.
 *
 * Pressure is real: a process in a group with a limit reads a file twice as big, round and round. With the kernel's
 * LRU each page it wants was just thrown out (a refault), and waiting for it is a stall. The file holds data, on a disk if
 * $TMPDIR (or /var/tmp) is on one: where reading costs nothing, there is hardly a stall. Its pages are dropped first, for
 * page cache that is charged to another group makes no pressure (facts: `POSIX_FADV_DONTNEED`).
 */
#include "ground.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define BASE_MAX 64

static char base[BASE_MAX], v2[300], v1[300], data_file[GROUND_PATH];
static char why_not[160];
static bool unified;
static volatile pid_t worker;

static void find_mounts(void)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *m;

	if (!mounts)
		return;
	while ((m = getmntent(mounts))) {
		if (strcmp(m->mnt_type, "cgroup2") == 0 && !v2[0])
			snprintf(v2, sizeof(v2), "%s", m->mnt_dir);
		else if (strcmp(m->mnt_type, "cgroup") == 0 && hasmntopt(m, "memory") && !v1[0])
			snprintf(v1, sizeof(v1), "%s", m->mnt_dir);
	}
	endmntent(mounts);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		r = -errno;
	close(fd);
	return r;
}

static ssize_t read_file(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, ret, size - 1);

	if (fd >= 0)
		close(fd);
	ret[MAX(n, 0)] = '\0';
	return n;
}

static void path_of(const char *mount, const char *name, const char *file, char ret[GROUND_PATH])
{
	snprintf(ret, GROUND_PATH, "%s/%s%s%.64s%s%.64s", mount, base, *name ? "/" : "", name,
		 *file ? "/" : "", file);
}

void ground_file(const char *name, const char *file, char ret[GROUND_PATH])
{
	path_of(v2, name, file, ret);
}

const char *ground_why_not(void)
{
	return why_not[0] ? why_not : NULL;
}

bool ground_is_unified(void)
{
	return unified;
}

bool ground_has_memory(void)
{
	return unified || v1[0];
}

const char *ground_cgroup(void)
{
	return base;
}

const char *ground_directory(void)
{
	static char path[GROUND_PATH];

	ground_file("", "", path);
	return path;
}

/* ---- making and removing ---------------------------------------------------------------------------- */

static void make_dir(const char *mount, const char *name)
{
	char path[GROUND_PATH];

	path_of(mount, name, "", path);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		bench_die("%s: %s", path, strerror(errno));
}

void ground_make(const char *name)
{
	make_dir(v2, name);
}

void ground_make_parent(const char *name)
{
	char path[GROUND_PATH];

	make_dir(v2, name);
	if (v1[0])
		make_dir(v1, name);
	if (unified) {
		ground_file(name, "cgroup.subtree_control", path);
		(void)write_file(path, "+memory");
	}
}

static void remove_below(int dirfd, const char *name, unsigned depth)
{
	int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	while (dir && depth < 8 && (entry = readdir(dir)))
		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			remove_below(fd, entry->d_name, depth + 1);
	if (dir)
		closedir(dir);
	/* a process that was killed takes a moment to leave */
	for (int i = 0; i < 200 && unlinkat(dirfd, name, AT_REMOVEDIR) < 0 && errno == EBUSY; i++)
		sleep_usec(10000);
}

void ground_remove(const char *name)
{
	char path[GROUND_PATH];

	path_of(v2, name, "", path);
	remove_below(AT_FDCWD, path, 0);
	if (v1[0]) {
		path_of(v1, name, "", path);
		remove_below(AT_FDCWD, path, 0);
	}
}

static void clean_up(void)
{
	char path[GROUND_PATH];

	ground_file("", "cgroup.kill", path);
	(void)write_file(path, "1");
	ground_remove("");
	unlink(data_file);
}

static void open_ground(void)
{
	char path[GROUND_PATH], text[512];
	const char *tmp = getenv("TMPDIR");

	snprintf(data_file, sizeof(data_file), "%.200s/%s", tmp && *tmp ? tmp : "/var/tmp", base);
	find_mounts();
	if (!v2[0]) {
		snprintf(why_not, sizeof(why_not), "no cgroup2 hierarchy is mounted");
		return;
	}
	snprintf(path, sizeof(path), "%s/cgroup.controllers", v2);
	read_file(path, text, sizeof(text));
	unified = strstr(text, "memory") != NULL;
	if (unified) {
		v1[0] = '\0';
		snprintf(path, sizeof(path), "%s/cgroup.subtree_control", v2);
		(void)write_file(path, "+memory");
	}
	ground_file("", "", path);
	if (mkdir(path, 0755) < 0) {
		snprintf(why_not, sizeof(why_not), "%.100s: %s", path, strerror(errno));
		return;
	}
	ground_make_parent("");
}

static void kill_worker(_unused_ int signal)
{
	if (worker > 0)
		kill(worker, SIGKILL);
}

int ground_run(int (*work)(void))
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct sigaction action = { .sa_handler = kill_worker };
	pid_t guardian = getpid();
	int status = 0;

	snprintf(base, sizeof(base), "psibridge-bench.%d", (int)guardian);
	for (unsigned i = 0; i < ELEMENTSOF(signals); i++)
		sigaction(signals[i], &action, NULL);
	open_ground();
	fflush(stdout);
	worker = fork();
	if (worker < 0)
		bench_die("fork: %s", strerror(errno));
	if (worker == 0) {
		for (unsigned i = 0; i < ELEMENTSOF(signals); i++)
			signal(signals[i], SIG_IGN); /* ^C reaches us both; it is the parent's */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(work());
	}
	while (waitpid(worker, &status, 0) < 0 && errno == EINTR)
		;
	clean_up();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 2;
}

/* ---- memory ---------------------------------------------------------------------------------------- */

static int write_memory(const char *name, const char *file, uint64_t bytes)
{
	char path[GROUND_PATH], text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
	path_of(v1[0] ? v1 : v2, name, file, path);
	return write_file(path, bytes > 0 ? text : v1[0] ? "-1" : "max");
}

void ground_limit(const char *name, uint64_t limit_bytes)
{
	char path[GROUND_PATH];
	int r;

	if (v1[0])
		make_dir(v1, name);
	r = write_memory(name, v1[0] ? "memory.limit_in_bytes" : "memory.max", limit_bytes);
	if (r < 0)
		bench_die("%s/%s: limit: %s", base, name, strerror(-r));
	/* where swap is not accounted for there is no such file */
	path_of(v2, name, "memory.swap.max", path);
	if (v1[0])
		(void)write_memory(name, "memory.memsw.limit_in_bytes", limit_bytes);
	else
		(void)write_file(path, "0");
}

bool ground_high(const char *name, uint64_t high_bytes)
{
	return !v1[0] && write_memory(name, "memory.high", high_bytes) == 0;
}

void ground_enter(const char *name)
{
	char path[GROUND_PATH], pid[16];

	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	path_of(v2, name, "cgroup.procs", path);
	if (write_file(path, pid) < 0)
		_exit(2);
	if (v1[0]) {
		path_of(v1, name, "cgroup.procs", path);
		if (write_file(path, pid) < 0)
			_exit(2);
	}
}

static uint64_t number_after(const char *text, const char *word)
{
	const char *at = text ? strstr(text, word) : NULL;

	return at ? strtoull(at + strlen(word), NULL, 10) : 0;
}

static uint64_t read_memory(const char *name, const char *file, const char *word)
{
	char path[GROUND_PATH], text[512];

	path_of(v1[0] ? v1 : v2, name, file, path);
	return read_file(path, text, sizeof(text)) > 0 ? number_after(text, word) : 0;
}

struct ground_memory ground_memory(const char *name)
{
	bool old = v1[0];

	return (struct ground_memory){
		.used_bytes = read_memory(name, old ? "memory.usage_in_bytes" : "memory.current",
					  ""),
		.peak_bytes = read_memory(name, old ? "memory.max_usage_in_bytes" : "memory.peak",
					  ""),
		.oom_kills = read_memory(name, old ? "memory.oom_control" : "memory.events",
					 "oom_kill "),
	};
}

/* ---- pressure --------------------------------------------------------------------------------------- */

#define CHUNK (64 * 1024)
#define PERIOD_USEC 100000

struct shared {
	_Atomic unsigned busy_usec;
};

struct pressure {
	pid_t pid;
	struct shared *shared;
};

static void make_data(enum pressure_kind kind, uint64_t size)
{
	int fd = open(data_file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	char *chunk = malloc(CHUNK);

	if (fd < 0 || !chunk)
		bench_die("%s: %s", data_file, strerror(errno));
	memset(chunk, 'x', CHUNK);
	if (kind == PRESSURE_CLEAN && ftruncate(fd, (off_t)size) < 0)
		bench_die("%s: %s", data_file, strerror(errno));
	for (uint64_t at = 0; kind == PRESSURE_REFAULT && at < size; at += CHUNK)
		if (write(fd, chunk, CHUNK) != CHUNK)
			bench_die("%s: %s", data_file, strerror(errno));
	fdatasync(fd);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	free(chunk);
}

static void pressure_run(struct shared *shared, uint64_t size)
{
	int fd = open(data_file, O_RDONLY | O_CLOEXEC);
	char *chunk = malloc(CHUNK);
	uint64_t at = 0;

	if (fd < 0 || !chunk)
		_exit(2);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* read-ahead would hide the waiting */
	for (;;) {
		uint64_t start = now_nsec(), used;
		unsigned busy = atomic_load(&shared->busy_usec);

		if (busy == 0) {
			sleep_usec(500);
			continue;
		}
		do {
			if (pread(fd, chunk, CHUNK, (off_t)at) < 0)
				_exit(2);
			at = (at + CHUNK) % size;
			used = (now_nsec() - start) / 1000;
		} while (used < busy);
		if (used < PERIOD_USEC)
			sleep_usec(PERIOD_USEC - used);
	}
}

struct pressure *pressure_new(const char *name, enum pressure_kind kind, uint64_t limit_bytes)
{
	struct pressure *p = malloc(sizeof(*p));
	/* a hole as long as a file may be: never the same page again */
	uint64_t size = kind == PRESSURE_CLEAN ? UINT64_C(1) << 42 : 2 * limit_bytes;

	if (!p)
		bench_die("no memory");
	p->shared = shared_new(sizeof(*p->shared));
	ground_limit(name, limit_bytes);
	make_data(kind, size);
	fflush(stdout);
	p->pid = fork();
	if (p->pid < 0)
		bench_die("fork: %s", strerror(errno));
	if (p->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		ground_enter(name);
		pressure_run(p->shared, size);
	}
	return p;
}

void pressure_set(struct pressure *p, unsigned busy_usec)
{
	int status;

	atomic_store(&p->shared->busy_usec, busy_usec);
	if (waitpid(p->pid, &status, WNOHANG) == p->pid)
		bench_die("the process that makes pressure died (status %d)", status);
}

void pressure_free(struct pressure *p)
{
	kill(p->pid, SIGKILL);
	waitpid(p->pid, NULL, 0);
	free(p);
}

struct stall stall_read(int fd)
{
	char text[256];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[MAX(n, 0)] = '\0';
	return (struct stall){ .some_usec = number_after(text, "total="),
			       .full_usec = number_after(strstr(text, "full"), "total=") };
}

int stall_open(const char *name)
{
	char path[GROUND_PATH];
	int fd;

	ground_file(name, "memory.pressure", path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		bench_die("%s: %s", path, strerror(errno));
	return fd;
}

uint64_t events_read(const char *name)
{
	char path[GROUND_PATH], text[512];

	ground_file(name, "memory.events", path);
	if (read_file(path, text, sizeof(text)) <= 0)
		return 0;
	return number_after(text, "high ") + number_after(text, "max ");
}
