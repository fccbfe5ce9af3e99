/* SPDX-License-Identifier: MIT */
/*
 * bench-tree.c - one pattern over 10, 100, 1,000 and 10,000 cgroups, and one trigger for all of them
 *
 * For each size: that many real cgroups below one directory; a fresh process that watches "DIRECTORY/" + two stars;
 * some seconds in which nothing happens; then one of the cgroups begins to stall, and we wait for *its* notification.
 *
 * When a stall began is seen from outside, in the stalling cgroup's own memory.pressure, each millisecond. That is not the
 * file that carries the trigger (the parent's does), so looking does not swallow an alarm. The time from there to
 * the notification has two parts, told apart by the watch's own counters, looked at as often:
 *
 *      first stall ----------> the kernel rings ----------> the sweep found it, and it is told
 *                   alarm                        search
 *
 * The first depends on what the kernel allows: tens of milliseconds with CAP_SYS_RESOURCE, up to two seconds without. The second is
 * ours, and includes waiting until the stall is worth telling (early: 20 ms in 2 s).
 *
 * Beside it, on the same cgroups: one trigger each, as everybody else does it. 300 of them, for 10,000 would take minutes to close.
 */
#include "stalls.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define IDLE_USEC (3 * USEC_PER_SEC)
#define GIVE_UP_USEC (20 * USEC_PER_SEC)
#define LOOK_USEC (1 * USEC_PER_MSEC)
#define LIMIT_BYTES (8u << 20)
#define NAIVE 300
#define NAIVE_TRIGGER "some 200000 2000000"
#define NAME_SIZE 32
#define IDLE_BOUND_PERCENT 0.1

struct result {
	unsigned count, triggers, fds, threads, psimon;
	double start_ms, stop_ms;
	double rss_mib, growth_kib;
	double idle_percent;
	bool stalled, told;
	double alarm_ms, search_ms, total_ms, stall_ms;
	unsigned sweeps, wrong;
	char rung[32];
	int error;
	char why[160];
};

static unsigned sizes[] = { 10, 100, 1000, 10000 };
static int n_sizes = ELEMENTSOF(sizes);
static struct pressure *pressure; /* in the cgroup that is to stall, */
static char stalling_name[NAME_SIZE];

/* Each size has a parent of its own: one that stalled a moment ago would still ring. */
static void name_of(unsigned size, unsigned i, char ret[NAME_SIZE])
{
	snprintf(ret, NAME_SIZE, "t%u/c%05u", size, i);
}

/* ---- what a process has ------------------------------------------------------------------------------ */

static unsigned count_psimon(void)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	unsigned n = 0;

	while (dir && (entry = readdir(dir))) {
		char path[300], comm[32] = "";
		FILE *file;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(comm, sizeof(comm), file) && strncmp(comm, "psimon", 6) == 0)
			n++;
		fclose(file);
	}
	if (dir)
		closedir(dir);
	return n;
}

/* Descriptors in all, and those on a pressure file that may be written to: only such a one carries a trigger. */
static unsigned count_fds(unsigned *ret_triggers)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	unsigned n = 0, triggers = 0;

	while (dir && (entry = readdir(dir))) {
		char target[400];
		ssize_t size;
		int fd;

		if (entry->d_name[0] == '.')
			continue;
		fd = (int)strtol(entry->d_name, NULL, 10);
		if (fd == dirfd(dir))
			continue;
		n++;
		size = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[MAX(size, 0)] = '\0';
		if (strstr(target, "memory.pressure") && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR)
			triggers++;
	}
	if (dir)
		closedir(dir);
	*ret_triggers = triggers;
	return n;
}

static double rss_kib(void)
{
	return (double)lab_proc_number(getpid(), "status", "VmRSS:");
}

static double ms_since(uint64_t start_nsec)
{
	return (double)(now_nsec() - start_nsec) / 1e6;
}

/* ---- one size ---------------------------------------------------------------------------------------- */

static char stalling[LAB_PATH_MAX]; /* its path */
static _Atomic uint64_t told_nsec;
static _Atomic unsigned wrong;

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
static void follow(const struct watched *watched, struct result *r)
{
	const char *name = stalling_name;
	uint64_t before = lab_psi(&lab, name).some_usec, alarms = watch_stats(watched).alarms;
	uint64_t start = now_nsec(), stall = 0, alarm = 0, at;
	unsigned sweeps = 0;

	pressure_set(pressure, 100000);
	while (!(at = atomic_load(&told_nsec)) && now_nsec() - start < GIVE_UP_USEC * 1000) {
		uint64_t now = now_nsec();
		struct psb_stats stats = watch_stats(watched);

		sweeps = (unsigned)stats.sweeps;
		if (!stall && lab_psi(&lab, name).some_usec > before)
			stall = now;
		if (!alarm && stats.alarms > alarms)
			alarm = now;
		sleep_usec(LOOK_USEC);
	}
	r->stall_ms = (double)(lab_psi(&lab, name).some_usec - before) / 1000;
	r->stalled = stall > 0;
	r->told = at > 0;
	if (!at || !stall)
		return;
	alarm = alarm ? MAX(alarm, stall) : at; /* awake before; or both within one look */
	r->total_ms = ((double)at - (double)stall) / 1e6;
	r->alarm_ms = ((double)alarm - (double)stall) / 1e6;
	r->search_ms = MAX(r->total_ms - r->alarm_ms, 0.0);
	r->sweeps = sweeps + 1; /* with the one that found it, which goes on */
}

/* What a process has, and then what it has more. */
struct possessions {
	unsigned fds, triggers, psimon;
};

static struct possessions possessions(void)
{
	struct possessions p = { .psimon = count_psimon() };

	p.fds = count_fds(&p.triggers);
	return p;
}

static void take_growth(struct result *r, struct possessions before)
{
	struct possessions now = possessions();

	r->fds = now.fds - before.fds;
	r->triggers = now.triggers - before.triggers;
	r->psimon = now.psimon - before.psimon;
}

static void measure_tree(void *userdata)
{
	struct result *r = userdata;
	struct possessions before = possessions();
	struct psb_source source = { .size = sizeof(source) };
	pid_t tids[THREADS_MAX];
	struct watched watched;
	char pattern[128];
	uint64_t start;
	double rss;

	malloc_trim(0);
	rss = rss_kib();
	start = now_nsec();
	snprintf(pattern, sizeof(pattern), "/%s/t%u/**", lab.name, r->count);
	r->error = watch_start(&watched, PSB_BACKEND_AUTO,
			       (struct psb_watch_options){ .pattern = pattern }, told, NULL,
			       PSB_INLINE);
	memcpy(r->why, watched.why, sizeof(r->why));
	if (r->error < 0)
		return;
	r->start_ms = ms_since(start);
	psb_watch_source(watched.watch, &source);
	snprintf(r->rung, sizeof(r->rung), "%.31s", source.name);

	sleep_usec(USEC_PER_SEC); /* what starting brings about */
	take_growth(r, before);
	r->threads = threads_list(tids) - 1;
	cpu_begin();
	sleep_usec(IDLE_USEC);
	r->idle_percent = cpu_percent();

	follow(&watched, r);
	r->wrong = atomic_load(&wrong);
	r->rss_mib = rss_kib() / 1024;
	r->growth_kib = rss_kib() - rss;

	start = now_nsec();
	psb_watch_unref(watched.watch);
	psb_bridge_unref(watched.bridge);
	r->stop_ms = ms_since(start);
}

static void measure_naive(void *userdata)
{
	struct result *r = userdata;
	struct possessions before = possessions();
	static int opened[NAIVE];
	uint64_t start = now_nsec();

	for (unsigned i = 0; i < r->count; i++) {
		char name[NAME_SIZE];

		name_of(sizes[n_sizes - 1], i, name);
		opened[i] = open(lab_file(&lab, name, "memory.pressure"),
				 O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (opened[i] < 0 || write(opened[i], NAIVE_TRIGGER, sizeof(NAIVE_TRIGGER)) < 0) {
			r->error = -errno;
			snprintf(r->why, sizeof(r->why), "one trigger each: %s", strerror(errno));
			return;
		}
	}
	r->start_ms = ms_since(start);
	take_growth(r, before);
	start = now_nsec();
	for (unsigned i = 0; i < r->count; i++)
		close(opened[i]);
	r->stop_ms = ms_since(start);
}

/* ---- all sizes --------------------------------------------------------------------------------------- */

static void print_tree(const struct result *results, const struct result *naive)
{
	static const struct column columns[] = {
		{ "cgroups", "cgroups", 0 },
		{ "triggers", "triggers", 0 },
		{ "fds", "fds", 0 },
		{ "threads", "threads", 0 },
		{ "psimon", "psimon", 0 },
		{ "start_ms", "start ms", 1 },
		{ "stop_ms", "stop ms", 1 },
		{ "rss_mib", "RSS MiB", 1 },
		{ "growth_kib", "of it KiB", 0 },
		{ "idle_percent", "idle CPU %", 4 },
		{ "alarm_ms", "alarm ms", 0 },
		{ "search_ms", "+ search ms", 0 },
		{ "total_ms", "= told ms", 0 },
		{ "stall_ms", "stalled ms", 0 },
		{ "sweeps", "sweeps", 0 },
	};

	table_begin("tree", columns, "A tree: one pattern; one of the cgroups begins to stall");
	for (int i = 0; i <= n_sizes; i++) {
		const struct result *r = i < n_sizes ? &results[i] : naive;

		table_row();
		if (r != naive)
			table_numbers(r->count);
		else
			table_text("%u, one trigger each", r->count);
		if (r->error < 0) {
			table_note("%s", r->why);
			continue;
		}
		table_numbers(r->triggers, r->fds, r->threads, r->psimon, r->start_ms, r->stop_ms);
		if (r == naive)
			continue;
		table_numbers(r->rss_mib, r->growth_kib, r->idle_percent);
		if (r->told && r->stalled)
			table_numbers(r->alarm_ms, r->search_ms, r->total_ms, r->stall_ms,
				      r->sweeps);
		else
			table_note(r->stalled ? "it stalled and was not told"
					      : "the cgroup would not stall");
	}
	table_print();
	bench_say(
		"fds, threads, psimon (kernel threads) and memory are what the watch added. alarm: from the first stall to\n"
		"the kernel's ring (this watch is on \"%s\": %s); search: until that cgroup's own notification,\n"
		"which is not due before it stalled 20 ms in 2 s; stalled: what it had by then.\n"
		"Good is: the first five numbers and idle CPU do not depend on how many cgroups there are.",
		results[0].rung,
		strcmp(results[0].rung, "psi") == 0 ? "the kernel looks every 2 s"
						    : "the kernel looks at once");
}

static void print_targets(const struct result *results)
{
	const struct result *first = &results[0], *last = &results[n_sizes - 1];
	unsigned mistaken = 0, silent = 0;
	bool equal = true, one = true;
	double idle = 0;

	for (int i = 0; i < n_sizes; i++) {
		const struct result *r = &results[i];

		if (r->error < 0) {
			bench_promise(false, "%u cgroups: %s: %s", r->count, r->why,
				      strerror(-r->error));
			return;
		}
		equal = equal && r->fds == first->fds && r->threads == first->threads &&
			r->psimon == first->psimon;
		one = one && r->triggers == 1;
		idle = MAX(idle, r->idle_percent);
		mistaken += r->wrong;
		silent += r->stalled && !r->told;
	}
	bench_promise(one, "one trigger, however many cgroups");
	bench_target(equal,
		     "descriptors, threads and kernel threads are the same for %u and %u cgroups",
		     first->count, last->count);
	bench_target(idle <= IDLE_BOUND_PERCENT, "idle: %.4f %% of a core at most (bound: %.1f %%)",
		     idle, IDLE_BOUND_PERCENT);
	bench_promise(silent == 0, "each stall was told (%u were not)", silent);
	bench_promise(mistaken == 0, "no other cgroup was named (%u were)", mistaken);
}

static void run_size(unsigned size, struct result *r, struct result *naive)
{
	char name[NAME_SIZE], parent[NAME_SIZE];

	snprintf(parent, sizeof(parent), "t%u", size);
	lab_make(&lab, parent, 0);
	lab_delegate(&lab, parent);
	for (unsigned i = 0; i < size; i++) {
		name_of(size, i, name);
		/* no twins in v1, but for the one that stalls */
		if (i != size / 2 && mkdir(lab_file(&lab, name, ""), 0755) < 0)
			bench_die("%s: %s", name, strerror(errno));
	}
	name_of(size, size / 2, stalling_name);
	snprintf(stalling, sizeof(stalling), "/%s/%s", lab.name, stalling_name);
	pressure = pressure_new(stalling_name, PRESSURE_REFAULT, LIMIT_BYTES);
	r->count = size;
	in_child(measure_tree, r);
	pressure_free(pressure);
	if (naive) {
		naive->count = MIN(size, (unsigned)NAIVE);
		in_child(measure_naive, naive);
	}
	lab_remove(&lab, parent);
}

static void work(void)
{
	struct result *results, *naive = shared_new(sizeof(*naive));

	n_sizes = bench_numbers > 0 ? bench_numbers : n_sizes;
	results = shared_new((size_t)n_sizes * sizeof(*results));
	for (int i = 0; i < n_sizes; i++)
		run_size(sizes[i], &results[i], i == n_sizes - 1 ? naive : NULL);
	print_tree(results, naive);
	print_targets(results);
}

int main(int argc, char **argv)
{
	static const struct bench bench = { .name = "tree",
					    .usage = "[CGROUPS...]",
					    .numbers = sizes,
					    .max_numbers = ELEMENTSOF(sizes),
					    .lab = LAB_NEEDED,
					    .work = work };

	return bench_main(&bench, argc, argv);
}
