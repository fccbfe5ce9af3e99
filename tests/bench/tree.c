/* SPDX-License-Identifier: MIT */
/*
 * tree.c - one pattern over 10, 100, 1,000 and 10,000 cgroups, and one trigger for all of them
 *
 * For each size: that many real cgroups below one directory; a fresh process that watches "DIRECTORY/" + two stars;
 * some seconds in which nothing happens; then one of the cgroups begins to stall, and we wait for *its* notification.
 *
 * When a stall began is seen from outside, in the stalling cgroup's own memory.pressure, each millisecond. That is not the
 * file that carries the trigger (the parent's does), so looking does not swallow an alarm. From there to the notification it takes
 * what the kernel takes to ring (tens of milliseconds with CAP_SYS_RESOURCE, up to two seconds without), and the search, which
 * includes waiting until the stall is worth telling (early: 20 ms in 2 s).
 *
 * Beside it, on the same cgroups: one trigger each, as everybody else does it. 300 of them, for 10,000 would take minutes to close.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDLE_USEC (3 * USEC_PER_SEC)
#define GIVE_UP_NSEC UINT64_C(20000000000)
#define SETTLE_TIMES 20
#define LIMIT_BYTES (8 * MIB)
#define NAIVE 300
#define NAIVE_TRIGGER "some 200000 2000000"
#define IDLE_BOUND_PERCENT 0.1

enum { NAME, TRIGGERS, FDS, THREADS, START, STOP, GROWTH, IDLE, TOLD, SILENT, WRONG };
static const struct column columns[] = {
	[NAME] = { "cgroups", 0 },    [TRIGGERS] = { "triggers", 0 }, [FDS] = { "fds", 0 },
	[THREADS] = { "threads", 0 }, [START] = { "start ms", 1 },    [STOP] = { "stop ms", 1 },
	[GROWTH] = { "KiB", 0 },      [IDLE] = { "idle CPU %", 4 },   [TOLD] = { "told ms", 0 },
};

static int data; /* a file twice as big as the limit of the group in which it is read */
static unsigned size;
static char parent[16], stalling[LAB_PATH_MAX]; /* its path */
static _Atomic uint64_t told_nsec;
static _Atomic unsigned wrong;

static const char *group_of(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "%s/c%05u", parent, i);
	return name;
}

/* Descriptors in all, and those on a pressure file that may be written to: only such a one carries a trigger. */
static void count_fds(int *ret_all, int *ret_triggers)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	*ret_all = *ret_triggers = 0;
	while (dir && (entry = readdir(dir))) {
		int fd = (int)strtol(entry->d_name, NULL, 10);
		char target[LAB_PATH_MAX];
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);

		if (n < 0 || fd == dirfd(dir))
			continue;
		target[n] = '\0';
		*ret_all += 1;
		*ret_triggers += strstr(target, "memory.pressure") &&
				 (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR;
	}
	if (dir)
		closedir(dir);
}

static void put_possessions(unsigned row, int fds_before)
{
	int fds, triggers;

	count_fds(&fds, &triggers);
	put(row, TRIGGERS, triggers, fds - fds_before,
	    (double)lab_proc_number(getpid(), "status", "Threads:") - 1);
}

static double memory_kib(void)
{
	return (double)lab_proc_number(getpid(), "status", "RssAnon:");
}

static double ms_since(uint64_t nsec)
{
	return (double)(now_nsec() - nsec) / 1e6;
}

/* ---- one size ---------------------------------------------------------------------------------------- */

static void told(const struct psb_notification *n, _unused_ void *userdata)
{
	uint64_t none = 0;

	if (n->kind != PSB_KIND_LEVEL || n->available == PSB_HIGH)
		return;
	if (strcmp(n->cgroup, stalling) == 0)
		atomic_compare_exchange_strong(&told_nsec, &none, now_nsec());
	else
		atomic_fetch_add(&wrong, 1);
}

/* Until the notification. The clock starts with the first stall. */
static void follow(unsigned row)
{
	const char *name = group_of(size / 2);
	uint64_t before = lab_psi(&lab, name).some_usec, start = now_nsec(), stall = 0, at;
	struct lab_readers *readers = neighbour_start(name, data, 1, 0);

	while (!(at = atomic_load(&told_nsec)) && now_nsec() - start < GIVE_UP_NSEC) {
		if (!stall && lab_psi(&lab, name).some_usec > before)
			stall = now_nsec();
		sleep_usec(1000);
	}
	lab_readers_free(readers);
	put(row, WRONG, atomic_load(&wrong));
	put(row, SILENT, stall && !at);
	if (at && stall)
		put(row, TOLD, ((double)at - (double)stall) / 1e6);
	else
		row_fails(row, "%s",
			  stall ? "it stalled and was not told" : "the cgroup would not stall");
}

static void measure_tree(unsigned row)
{
	struct watched watched;
	int fds, triggers, r;
	char pattern[128];
	uint64_t start;
	double memory;

	count_fds(&fds, &triggers);
	snprintf(pattern, sizeof(pattern), "%s/**", lab_path(&lab, parent));
	malloc_trim(0);
	memory = memory_kib();
	start = now_nsec();
	r = watch_start(&watched, PSB_BACKEND_AUTO,
			(struct psb_watch_options){ .pattern = pattern }, told, NULL);
	if (r < 0)
		bench_die("%u cgroups: %s: %s", size, watched.why, strerror(-r));
	put(row, START, ms_since(start));

	/* what starting brings about: a look at each, which takes longer where others have the CPUs */
	for (unsigned i = 0; i < SETTLE_TIMES; i++) {
		cpu_begin();
		sleep_usec(USEC_PER_SEC / 2);
		if (i > 0 && cpu_percent() <= IDLE_BOUND_PERCENT)
			break;
	}
	put_possessions(row, fds);
	cpu_begin();
	sleep_usec(IDLE_USEC);
	put(row, IDLE, cpu_percent());
	follow(row);
	put(row, GROWTH, memory_kib() - memory);

	start = now_nsec();
	psb_watch_unref(watched.watch);
	psb_bridge_unref(watched.bridge);
	put(row, STOP, ms_since(start));
}

static void measure_naive(unsigned row)
{
	unsigned count = MIN(size, (unsigned)NAIVE);
	uint64_t start = now_nsec();
	int opened[NAIVE], fds, triggers;

	count_fds(&fds, &triggers);
	for (unsigned i = 0; i < count; i++) {
		opened[i] = open(lab_file(&lab, group_of(i), "memory.pressure"),
				 O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (opened[i] < 0 || write(opened[i], NAIVE_TRIGGER, sizeof(NAIVE_TRIGGER)) < 0) {
			row_fails(row, "%s", strerror(errno));
			return;
		}
	}
	put(row, START, ms_since(start));
	put_possessions(row, fds);
	start = now_nsec();
	for (unsigned i = 0; i < count; i++)
		close(opened[i]);
	put(row, STOP, ms_since(start));
}

/* ---- all sizes --------------------------------------------------------------------------------------- */

/* Each size has a parent of its own: one that stalled a moment ago would still ring. */
static void run_size(bool last)
{
	snprintf(parent, sizeof(parent), "t%u", size);
	lab_make(&lab, parent, 0);
	lab_delegate(&lab, parent);
	for (unsigned i = 0; i < size; i++)
		/* no twins in v1, but for the one that stalls */
		if (i != size / 2 && mkdir(lab_file(&lab, group_of(i), ""), 0755) < 0)
			bench_die("%s: %s", group_of(i), strerror(errno));
	lab_make(&lab, group_of(size / 2), LIMIT_BYTES);
	snprintf(stalling, sizeof(stalling), "%s", lab_path(&lab, group_of(size / 2)));
	in_child(measure_tree, table_row("%u", size));
	if (last)
		in_child(measure_naive,
			 table_row("%u, a trigger each", MIN(size, (unsigned)NAIVE)));
	lab_remove(&lab, parent);
}

static void work(void)
{
	static const unsigned sizes[] = { 10, 100, 1000, 10000 };
	unsigned count = bench_number_count > 0 ? bench_number_count : ELEMENTSOF(sizes);
	double mistaken = 0, silent = 0, idle = 0;
	bool equal = true, one = true;

	table_begin(columns, "A tree: one pattern; one of the cgroups begins to stall");
	data = data_new(2 * LIMIT_BYTES);
	for (unsigned i = 0; i < count; i++) {
		lab_data_evict(data);
		size = bench_number(i, sizes[i % ELEMENTSOF(sizes)]);
		run_size(i == count - 1);
		equal = equal && median(i, FDS) == median(0, FDS) &&
			median(i, THREADS) == median(0, THREADS);
		one = one && median(i, TRIGGERS) == 1;
		idle = MAX(idle, median(i, IDLE));
		mistaken += median(i, WRONG);
		silent += median(i, SILENT);
	}
	table_print(
		"fds, threads and memory (KiB) are what the watch added. told: from the first stall to that cgroup's own\n"
		"notification, which is not due before it stalled 20 ms in 2 s, nor before the kernel rang: within 2 s\n"
		"without CAP_SYS_RESOURCE.\n"
		"Good is: triggers, fds, threads, start and idle CPU do not depend on how many cgroups there are.");
	bench_promise(one, "one trigger, however many cgroups");
	bench_target(equal, "descriptors and threads are the same for all sizes");
	bench_target(idle <= IDLE_BOUND_PERCENT, "idle: %.4f %% of a core at most (bound: %.1f %%)",
		     idle, IDLE_BOUND_PERCENT);
	bench_promise(silent == 0, "each stall was told (%.0f were not)", silent);
	bench_promise(mistaken == 0, "no other cgroup was named (%.0f were)", mistaken);
}

const struct bench bench_tree = { "tree", "[CGROUPS...]", true, work };
