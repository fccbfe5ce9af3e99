/* SPDX-License-Identifier: MIT */
/*
 * stalls.c - pressure for a part of the time
 *
 * A process in a group with a limit reads a file twice as big, round and round. With the kernel's LRU each page it wants was
 * just thrown out (a refault), and waiting for it is a stall. For how much of the time it does so is set from outside, through
 * shared memory: that is what the laboratory's own readers, which press as hard as they can, do not do.
 */
#include "stalls.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK ((size_t)64 * 1024)
#define PERIOD_USEC 100000

int data_new(uint64_t size)
{
	char why[LAB_WHY_MAX];
	int fd = lab_data(size, why);

	if (fd < 0)
		bench_die("%s", why);
	return fd;
}

struct lab_readers *neighbour_start(const char *group, int fd, unsigned count, uint64_t pace_usec)
{
	struct lab_readers *readers = lab_readers_start(&lab, group, fd, count, pace_usec);

	if (!readers)
		bench_die("%s: no process that reads: %s", group, strerror(errno));
	return readers;
}

/* ---- pressure --------------------------------------------------------------------------------------- */

/* Shared with its process. */
struct pressure {
	pid_t pid;
	_Atomic unsigned busy_usec;
};

/* A hole as long as a file may be has never the same page again. */
static int make_hole(void)
{
	int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)1 << 42) < 0)
		bench_die("/var/tmp: a file of 4 TiB without content: %s", strerror(errno));
	return fd;
}

static _Noreturn void pressure_run(const struct pressure *p, int fd)
{
	uint64_t at = 0, size = (uint64_t)lseek(fd, 0, SEEK_END);
	char *chunk = malloc(CHUNK);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* read-ahead would hide the waiting */
	for (;;) {
		uint64_t start = now_nsec(), used;
		unsigned busy = atomic_load(&p->busy_usec);

		if (busy == 0) {
			sleep_usec(500);
			continue;
		}
		do {
			if (!chunk || pread(fd, chunk, CHUNK, (off_t)at) < 0)
				_exit(2);
			at = (at + CHUNK) % size;
			used = (now_nsec() - start) / NSEC_PER_USEC;
		} while (used < busy);
		if (used < PERIOD_USEC)
			sleep_usec(PERIOD_USEC - used);
	}
}

struct pressure *pressure_new(const char *name, enum pressure_kind kind, uint64_t limit_bytes)
{
	struct pressure *p = shared_new(sizeof(*p));
	int fd = kind == PRESSURE_CLEAN ? make_hole() : data_new(2 * limit_bytes);

	lab_make(&lab, name, limit_bytes);
	p->pid = lab_fork(&lab, name);
	if (p->pid < 0)
		bench_die("%s: %s", name, strerror(-p->pid));
	if (p->pid == 0)
		pressure_run(p, fd);
	close(fd);
	return p;
}

void pressure_set(struct pressure *p, unsigned busy_usec)
{
	int status;

	atomic_store(&p->busy_usec, busy_usec);
	if (waitpid(p->pid, &status, WNOHANG) == p->pid)
		bench_die("the process that makes pressure died (status %d)", status);
}

void pressure_free(struct pressure *p)
{
	lab_kill(p->pid);
	munmap(p, sizeof(*p));
}

/* ---- a stage ------------------------------------------------------------------------------------------ */

void stage_open(struct stage *stage, const char *name, uint64_t limit_bytes, uint64_t high_bytes)
{
	char high[32];

	*stage = (struct stage){ .name = name };
	snprintf(stage->run, sizeof(stage->run), "%.50s/run", name);
	lab_make(&lab, name, 0);
	lab_delegate(&lab, name);
	lab_make(&lab, stage->run, limit_bytes);
	snprintf(high, sizeof(high), "%llu", (unsigned long long)high_bytes);
	if (high_bytes > 0)
		lab_write(lab_file(&lab, stage->run, "memory.high"), high);
	stage_begin(stage);
}

void stage_begin(struct stage *stage)
{
	stage->start_usec = lab_now_usec();
	stage->before = lab_psi(&lab, stage->name);
}

struct lab_psi stage_stall(const struct stage *stage)
{
	struct lab_psi now = lab_psi(&lab, stage->name);

	return (struct lab_psi){
		.some_usec = usec_sub(now.some_usec, stage->before.some_usec),
		.full_usec = usec_sub(now.full_usec, stage->before.full_usec),
	};
}

void stage_close(struct stage *stage)
{
	lab_remove(&lab, stage->name);
}
