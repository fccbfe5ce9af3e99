/* SPDX-License-Identifier: MIT */
/*
 * effect-stage.c - the group, the file, and the neighbour that reads it
 *
 * The neighbour's processes take the file's blocks in another order each time and without
 * read-ahead, as a database would: each block that is not in memory is then waited for, which is
 * what "stalled for want of memory" means. What they have read stands in memory shared with us.
 * Once around is a pass.
 *
 * The file must be on a disk (on a tmpfs it *is* memory), must not be in memory when a run begins
 * (pages that are charged to another group cost this one nothing; facts: `POSIX_FADV_DONTNEED`),
 * and holds noise (file systems that compress would keep zeros in a page). It has no name, so it is
 * gone when we are.
 */
#include "effect-stage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK_BYTES ((size_t)1 << 20)
#define READERS_MAX 4

/* ---- the file ----------------------------------------------------------------------------------------- */

static int open_nameless(const char *dir)
{
	char path[GROUND_PATH];
	struct statfs fs;
	int fd;

	if (statfs(dir, &fs) < 0 || fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
		return -EMEDIUMTYPE;
	snprintf(path, sizeof(path), "%.500s/psibridge-bench.XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

static int fill(int fd, uint64_t size)
{
	uint64_t *chunk = malloc(CHUNK_BYTES), x = UINT64_C(0x9e3779b97f4a7c15);
	int r = chunk ? 0 : -ENOMEM;

	for (uint64_t done = 0; r == 0 && done < size; done += CHUNK_BYTES) {
		for (size_t i = 0; i < CHUNK_BYTES / sizeof(*chunk); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			chunk[i] = x;
		}
		for (size_t written = 0; r == 0 && written < CHUNK_BYTES;) {
			ssize_t n = write(fd, (char *)chunk + written, CHUNK_BYTES - written);

			if (n < 0)
				r = -errno;
			else
				written += (size_t)n;
		}
	}
	free(chunk);
	return r;
}

struct data data_new(uint64_t size)
{
	const char *dirs[] = { getenv("TMPDIR"), "/var/tmp", "/tmp", "." };

	for (unsigned i = 0; i < ELEMENTSOF(dirs); i++) {
		int fd = dirs[i] && *dirs[i] ? open_nameless(dirs[i]) : -ENOENT;

		if (fd < 0)
			continue;
		if (fill(fd, size) == 0)
			return (struct data){ .fd = fd, .size = size, .where = dirs[i] };
		close(fd);
	}
	bench_die("no room on a disk for a file of %u MiB ($TMPDIR, /var/tmp, /tmp)",
		  (unsigned)(size / MIB));
}

void data_evict(const struct data *data)
{
	fdatasync(data->fd);
	posix_fadvise(data->fd, 0, 0, POSIX_FADV_DONTNEED);
}

/* ---- the neighbour -------------------------------------------------------------------------------------- */

struct neighbour {
	_Atomic uint64_t *bytes; /* shared */
	pid_t pids[READERS_MAX];
	unsigned count;
};

static _Noreturn void read_for_ever(_Atomic uint64_t *bytes, const struct data *data, uint64_t seed,
				    uint64_t pace_usec)
{
	static const uint64_t strides[] = { 7919, 7907, 7901, 7883, 7879, 7877, 7873, 7867 };
	uint64_t blocks = data->size / NEIGHBOUR_BLOCK;
	char *block = malloc(NEIGHBOUR_BLOCK);

	posix_fadvise(data->fd, 0, 0, POSIX_FADV_RANDOM);
	for (uint64_t pass = seed;; pass++) {
		/* a prime that does not divide the number of blocks visits each of them once */
		uint64_t stride = strides[pass % ELEMENTSOF(strides)];

		if (!block || blocks == 0 || blocks % stride == 0)
			_exit(1);
		for (uint64_t i = 0; i < blocks; i++) {
			uint64_t at = (i + pass) * stride % blocks * NEIGHBOUR_BLOCK;
			uint64_t start = now_nsec(), took;
			ssize_t n = pread(data->fd, block, NEIGHBOUR_BLOCK, (off_t)at);

			if (n < 0)
				_exit(1);
			atomic_fetch_add_explicit(bytes, (uint64_t)n, memory_order_relaxed);
			took = (now_nsec() - start) / NSEC_PER_USEC;
			if (took < pace_usec)
				sleep_usec(pace_usec - took);
		}
	}
}

struct neighbour *neighbour_start(const char *group, const struct data *data, unsigned count,
				  uint64_t pace_usec)
{
	struct neighbour *n = calloc(1, sizeof(*n));

	if (!n)
		bench_die("no memory");
	n->bytes = shared_new(sizeof(*n->bytes));
	fflush(stdout);
	for (unsigned i = 0; i < MIN(count, (unsigned)READERS_MAX); i++) {
		pid_t pid = fork();

		if (pid < 0)
			bench_die("fork: %s", strerror(errno));
		if (pid == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			/* the ends of pipes to programs, who wait for the last one to close */
			close_range(STDERR_FILENO + 1, (unsigned)data->fd - 1, 0);
			close_range((unsigned)data->fd + 1, ~0u, 0);
			ground_enter(group);
			read_for_ever(n->bytes, data, UINT64_C(3) * i, pace_usec);
		}
		n->pids[n->count++] = pid;
	}
	return n;
}

uint64_t neighbour_bytes(const struct neighbour *n)
{
	return atomic_load_explicit(n->bytes, memory_order_relaxed);
}

bool child_alive(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

bool neighbour_alive(const struct neighbour *n)
{
	for (unsigned i = 0; i < n->count; i++)
		if (!child_alive(n->pids[i]))
			return false;
	return true;
}

struct neighbour *neighbour_free(struct neighbour *n)
{
	if (!n)
		return NULL;
	for (unsigned i = 0; i < n->count; i++) {
		kill(n->pids[i], SIGKILL);
		waitpid(n->pids[i], NULL, 0);
	}
	munmap(n->bytes, sizeof(*n->bytes));
	free(n);
	return NULL;
}

/* ---- the stage -------------------------------------------------------------------------------------------- */

void stage_open(struct stage *stage, const char *name, uint64_t limit_bytes, uint64_t high_bytes)
{
	*stage = (struct stage){ .name = name, .pressure = -1 };
	snprintf(stage->run, sizeof(stage->run), "%.50s/run", name);
	ground_remove(name);
	ground_make_parent(name);
	ground_make(stage->run);
	ground_limit(stage->run, limit_bytes);
	if (high_bytes > 0 && !ground_high(stage->run, high_bytes))
		bench_die("%s: memory.high cannot be set", stage->run);
	stage->pressure = stall_open(name);
	stage_begin(stage);
}

void stage_begin(struct stage *stage)
{
	stage->start_nsec = now_nsec();
	stage->before = stall_read(stage->pressure);
}

struct stall stage_stall(const struct stage *stage)
{
	struct stall now = stall_read(stage->pressure);

	return (struct stall){
		.some_usec = usec_sub(now.some_usec, stage->before.some_usec),
		.full_usec = usec_sub(now.full_usec, stage->before.full_usec),
	};
}

void stage_close(struct stage *stage)
{
	close(stage->pressure);
	stage->pressure = -1;
	ground_remove(stage->name);
}
