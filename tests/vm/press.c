/* SPDX-License-Identifier: MIT */
/*
 * press.c - makes its own cgroup short of memory, or says when that was first felt
 *
 * For guest-*.sh. Times are CLOCK_MONOTONIC in microseconds.
 *
 *     press hold MB WORK_SECONDS [REST_SECONDS WORK_SECONDS]...
 *         takes MB of memory, page by page, over and over, and gives it back before it rests. In a cgroup with a MemoryHigh=
 *         below that, the kernel puts it to sleep for most of the time: that is a stall, and nearly all of it. (Reading
 *         files makes hardly any in an emulated machine, where reclaim costs more than waiting for the disk.) Says
 *         "work TIME" and "rest TIME"; a sleep at the end of work lasts up to 2 s.
 *     press full KEEP_MB GIVE_MB
 *         takes both, and from then on 64 KiB that it gives back at once: in a cgroup whose MemoryHigh= is below what it
 *         holds, a stall each time. When psibridged, whose socket $MEMORY_PRESSURE_WATCH names, says Low, GIVE_MB are given
 *         back for good. Says "full TIME" and "gave TIME".
 *     press leave MB
 *         takes memory until MB of the machine's MemAvailable are left, says "left TIME", and takes what others give back.
 *     press garbage MB
 *         takes MB of memory, says "full TIME", and gives it back when psibridged, as above, says Low: "gave TIME".
 *     press grow MB MB_PER_SECOND
 *         takes MB of memory at that speed, from "growing TIME" to "grown TIME".
 *     press onset PRESSURE SECONDS
 *         reads the file PRESSURE (a memory.pressure) every 20 ms and says "onset TIME" when the first total= in it grew,
 *         "crossed TIME" when it has grown by 200 ms, which is Low. Status 1: it did not.
 *         No faster: a read adds what came since the last one, weighted by how many whole ticks each CPU was busy
 *         (collect_percpu_times() in kernel/sched/psi.c). Within less than a tick that is none, and what was stalled is lost,
 *         for everybody who reads the file. At 1 ms most of it was.
 */
#include "../pressure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static uint64_t usec(const char *seconds)
{
	return strtoull(seconds, NULL, 10) * 1000000;
}

static int fail(const char *what)
{
	fprintf(stderr, "press: %s: %s\n", what, strerror(errno));
	return 1;
}

static char *take(const char *megabytes, size_t *ret_size)
{
	*ret_size = strtoul(megabytes, NULL, 10) * LAB_MB;
	return mmap(NULL, *ret_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void say(const char *word)
{
	printf("%s %" PRIu64 "\n", word, lab_now_usec());
	fflush(stdout);
}

/* Page after page until `end`; what is full is given back and filled anew. */
static void touch(char *memory, size_t size, uint64_t end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), at = 0;

	while (lab_now_usec() < end) {
		memory[at] = 1;
		at += page;
		if (at < size)
			continue;
		madvise(memory, size, MADV_DONTNEED);
		at = 0;
	}
	madvise(memory, size, MADV_DONTNEED);
}

static int hold(const char *megabytes, char **times)
{
	size_t size;
	char *memory = take(megabytes, &size);
	bool work = true;

	if (memory == MAP_FAILED)
		return fail("mmap");
	for (; *times; times++, work = !work) {
		uint64_t end = lab_now_usec() + usec(*times);

		say(work ? "work" : "rest");
		if (work)
			touch(memory, size, end);
		while (lab_now_usec() < end)
			usleep(10000);
	}
	say("rest");
	return 0;
}

/* -1: nothing says Low. */
static int connect_to(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (!path)
		return -1;
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	return connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : fd;
}

static int be_full(const char *keep_mb, const char *give_mb)
{
	/* A page: over memory.high each charge may sleep for 2 s. 64 pages are charged at once, but one by one while others charge on this CPU. */
	const size_t step = 4096;
	size_t keep = strtoul(keep_mb, NULL, 10) * LAB_MB,
	       give = strtoul(give_mb, NULL, 10) * LAB_MB;
	char *memory = mmap(NULL, keep + give + step, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = connect_to(getenv("MEMORY_PRESSURE_WATCH"));
	char low;

	if (memory == MAP_FAILED)
		return fail("mmap");
	memset(memory, 1, keep + give);
	printf("full %" PRIu64 "\n", lab_now_usec());
	for (char *more = memory + keep + give;; madvise(more, step, MADV_DONTNEED)) {
		fflush(stdout);
		memset(more, 1, step);
		if (give == 0 || recv(fd, &low, 1, MSG_DONTWAIT) != 1)
			continue;
		madvise(memory + keep, give, MADV_DONTNEED);
		give = 0;
		printf("gave %" PRIu64 "\n", lab_now_usec());
	}
}

static uint64_t meminfo_mb(const char *key)
{
	return lab_number("/proc/meminfo", key) / 1024;
}

static int leave(const char *megabytes)
{
	/* a fault for a huge page, not for 4 kB: it should not take minutes */
	const size_t step = 2 * LAB_MB;
	uint64_t target = strtoull(megabytes, NULL, 10);
	bool said = false;
	size_t size = meminfo_mb("MemTotal:") * LAB_MB;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (memory == MAP_FAILED)
		return fail("mmap");
	madvise(memory, size, MADV_HUGEPAGE);
	for (size_t at = 0;; usleep(100000)) {
		for (; at + step <= size && meminfo_mb("MemAvailable:") > target; at += step)
			for (size_t page = 0; page < step; page += 4096)
				memory[at + page] = 1;
		if (!said)
			say("left");
		said = true;
	}
}

static int keep_garbage(const char *megabytes)
{
	int fd = connect_to(getenv("MEMORY_PRESSURE_WATCH"));
	size_t size;
	char *memory = take(megabytes, &size), byte;

	if (memory == MAP_FAILED || fd < 0)
		return fail("mmap, or $MEMORY_PRESSURE_WATCH");
	memset(memory, 1, size);
	say("full");
	while (read(fd, &byte, 1) == 1) {
		madvise(memory, size, MADV_DONTNEED);
		say("gave");
	}
	return 1;
}

static int grow(const char *megabytes, const char *per_second)
{
	uint64_t speed = strtoull(per_second, NULL, 10), start = lab_now_usec();
	size_t size;
	char *memory = take(megabytes, &size);

	if (memory == MAP_FAILED)
		return fail("mmap");
	say("growing");
	for (size_t at = 0; at < size; at += LAB_MB) {
		memset(memory + at, 1, LAB_MB);
		while ((lab_now_usec() - start) * speed < (at / LAB_MB + 1) * 1000000)
			usleep(1000);
	}
	say("grown");
	for (;;)
		pause();
}

/* -1: not there */
static int64_t total(int fd)
{
	char text[256];
	const char *at;
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	text[n < 0 ? 0 : n] = '\0';
	at = strstr(text, "total=");
	return at ? (int64_t)strtoull(at + strlen("total="), NULL, 10) : -1;
}

static int say_onset(const char *path, const char *seconds)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint64_t end = lab_now_usec() + usec(seconds);
	int64_t first, grown;
	bool onset = false;

	if (fd < 0 || (first = total(fd)) < 0)
		return fail(path);
	mlockall(MCL_CURRENT);
	say("looking");
	while (lab_now_usec() < end) {
		grown = total(fd) - first;
		if (grown > 0 && !onset) {
			printf("onset %" PRIu64 "\n", lab_now_usec());
			onset = true;
		}
		if (grown >= 200000) {
			printf("crossed %" PRIu64 "\n", lab_now_usec());
			return 0;
		}
		usleep(20000);
	}
	return 1;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && !strcmp(argv[1], "hold"))
		return hold(argv[2], argv + 3);
	if (argc == 4 && !strcmp(argv[1], "full"))
		return be_full(argv[2], argv[3]);
	if (argc == 3 && !strcmp(argv[1], "leave"))
		return leave(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "garbage"))
		return keep_garbage(argv[2]);
	if (argc == 4 && !strcmp(argv[1], "grow"))
		return grow(argv[2], argv[3]);
	if (argc == 4 && !strcmp(argv[1], "onset"))
		return say_onset(argv[2], argv[3]);
	fputs("usage: press hold MB WORK_SECONDS [REST_SECONDS WORK_SECONDS]...\n"
	      "       press full KEEP_MB GIVE_MB\n"
	      "       press leave MB\n"
	      "       press garbage MB\n"
	      "       press grow MB MB_PER_SECOND\n"
	      "       press onset PRESSURE SECONDS\n",
	      stderr);
	return 2;
}
