/* SPDX-License-Identifier: MIT */
/*
 * needless.c - ordinary programs under limits that suffice: how often is Low foretold, and nothing follows?
 *
 *     copier     copies a file greater than its limit, over and over: full of page cache
 *     breathing  a collector's heap: 60 to 80 ... 85 % of the limit, in 2 to 20 s, and back
 *     steady     90 %, and a little more or less
 *     builder    compilers: processes that take 3 to 12 % at once and end, up to six at a time
 *     server     half of the limit, a file in use beside it, requests of up to 3 %
 *
 * All run at once, a group and a watch for each. A Low by forecast is needless where less than 20 ms of stall
 * followed within 10 s. They are told to nobody who would give back.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MINUTES 5
#define LIMIT (256 * MIB)
#define PERCENT (LIMIT / 100)
#define FOLLOWS_USEC (10 * USEC_PER_SEC)
#define STALL_USEC (20 * USEC_PER_MSEC)
#define LOWS_MAX 1000
#define BLOCK (1 << 20)

/* ---- the programs ------------------------------------------------------------------------------------------ */

static char *memory;
static int data;

static unsigned between(unsigned low, unsigned high)
{
	return low + (unsigned)rand() % (high - low + 1);
}

static void touch(unsigned from_percent, unsigned to_percent, uint64_t usec)
{
	uint64_t from = from_percent * PERCENT, to = to_percent * PERCENT, steps = usec / 10000 + 1;

	for (uint64_t i = 0; i < steps; i++) {
		uint64_t a = from + (to - from) * i / steps,
			 b = from + (to - from) * (i + 1) / steps;

		memset(memory + a, 1, b - a);
		sleep_usec(usec / steps);
	}
}

static void drop(unsigned from_percent, unsigned to_percent)
{
	madvise(memory + from_percent * PERCENT / 4096 * 4096,
		(to_percent - from_percent) * PERCENT, MADV_DONTNEED);
}

static void copy(void)
{
	static char block[BLOCK];
	int to = data_new(BLOCK);

	touch(0, 15, 0);
	for (;;) {
		for (uint64_t at = 0; at < 2 * LIMIT; at += BLOCK)
			if (pread(data, block, BLOCK, (off_t)at) < 0 ||
			    pwrite(to, block, BLOCK, (off_t)at) < 0)
				_exit(1);
		if (ftruncate(to, 0) < 0)
			_exit(1);
	}
}

static void breathe(void)
{
	touch(0, 60, USEC_PER_SEC);
	for (;;) {
		unsigned top = between(80, 85);

		touch(60, top, between(2, 20) * USEC_PER_SEC);
		drop(60, top);
	}
}

static void stay(void)
{
	touch(0, 90, 2 * USEC_PER_SEC);
	for (;;) {
		touch(89, 90, between(1, 200) * USEC_PER_MSEC);
		drop(89, 90);
	}
}

static void build(void)
{
	unsigned running = 0;

	for (;;) {
		if (running < 6 && fork() == 0) {
			srand((unsigned)getpid());
			touch(0, between(3, 12), between(1, 500) * USEC_PER_MSEC);
			sleep_usec(between(1, 2000) * USEC_PER_MSEC);
			_exit(0);
		}
		running++;
		sleep_usec(between(1, 300) * USEC_PER_MSEC);
		while (running > 0 && waitpid(-1, NULL, running < 6 ? WNOHANG : 0) > 0)
			running--;
	}
}

static void serve(void)
{
	static char block[BLOCK / 4];

	touch(0, 50, USEC_PER_SEC);
	for (;;) {
		unsigned size = between(1, 3);

		for (unsigned i = 0; i < 20; i++)
			if (pread(data, block, sizeof(block),
				  (off_t)(between(0, 255) * sizeof(block))) < 0)
				_exit(1);
		touch(50, 50 + size, 0);
		sleep_usec(between(1, 50) * USEC_PER_MSEC);
		drop(50, 50 + size);
	}
}

static struct program_of {
	const char *name;
	void (*run)(void);
	pid_t pid;
	struct watched watched;
	unsigned lows, others;
	struct {
		uint64_t usec, some_usec;
		bool followed;
	} low[LOWS_MAX];
} programs[] = {
	{ .name = "copier", .run = copy },  { .name = "breathing", .run = breathe },
	{ .name = "steady", .run = stay },  { .name = "builder", .run = build },
	{ .name = "server", .run = serve },
};

/* ---- what is told -------------------------------------------------------------------------------------------- */

static void told(const struct psb_notification *n, void *userdata)
{
	struct program_of *p = userdata;

	if (n->available != PSB_LOW)
		return;
	if (n->reason != PSB_REASON_FORECAST) {
		p->others++;
	} else if (p->lows < LOWS_MAX) {
		p->low[p->lows].usec = lab_now_usec();
		p->low[p->lows++].some_usec = n->some_total_usec;
	}
}

static void start(struct program_of *p)
{
	struct psb_watch_options options = { .forecast_usec = 2 * USEC_PER_SEC };
	int r;

	lab_make(&lab, p->name, LIMIT);
	fflush(stdout);
	p->pid = lab_fork(&lab, p->name);
	if (p->pid == 0) {
		srand(7);
		memory = mmap(NULL, LIMIT, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
			      0);
		p->run();
	}
	options.pid = p->pid;
	r = watch_start(&p->watched, PSB_BACKEND_AUTO, options, told, p);
	if (r < 0)
		bench_die("%s: %s: %s", p->name, p->watched.why, strerror(-r));
}

static void follow(struct program_of *p)
{
	uint64_t now = lab_now_usec(), some = lab_psi(&lab, p->name).some_usec;

	for (unsigned i = 0; i < p->lows; i++)
		if (now < p->low[i].usec + FOLLOWS_USEC && some >= p->low[i].some_usec + STALL_USEC)
			p->low[i].followed = true;
}

enum { NAME, LOWS, NEEDLESS, AN_HOUR, OTHERS };
static const struct column columns[] = {
	[NAME] = { "program", 0 },	   [LOWS] = { "foretold", 0 },
	[NEEDLESS] = { "needless", 0 },	   [AN_HOUR] = { "an hour", 1 },
	[OTHERS] = { "Low by stalls", 0 },
};

static void work(void)
{
	unsigned minutes = bench_number(0, MINUTES), worst = 0;
	double cpu;

	data = data_new(2 * LIMIT);
	table_begin(columns, "Needless Lows: %u minutes, limits of %u MiB", minutes,
		    (unsigned)(LIMIT / MIB));
	for (struct program_of *p = programs; p < programs + ELEMENTSOF(programs); p++)
		start(p);
	cpu_begin();
	for (unsigned i = 0; i < minutes * 60; i++) {
		sleep_usec(USEC_PER_SEC);
		for (struct program_of *p = programs; p < programs + ELEMENTSOF(programs); p++)
			follow(p);
	}
	cpu = cpu_percent() / ELEMENTSOF(programs);
	for (struct program_of *p = programs; p < programs + ELEMENTSOF(programs); p++) {
		unsigned row = table_row("%s", p->name), needless = 0;

		for (unsigned i = 0; i < p->lows; i++)
			needless += !p->low[i].followed;
		put(row, LOWS, p->lows, needless, needless * 60.0 / minutes, p->others);
		worst = MAX(worst, needless);
		if (!lab_alive(p->pid))
			row_fails(row, "it died");
	}
	table_print("");
	bench_target(worst <= (minutes + 59) / 60, "at most one needless Low an hour and program");
	bench_target(cpu < 0.1, "a watch: %.4f %% of a core (under 0.1 %%)", cpu);
}

const struct bench bench_needless = {
	"needless", "[MINUTES]: whether Lows are foretold that nothing follows (5)", true, work
};
