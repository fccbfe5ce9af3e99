/* SPDX-License-Identifier: MIT */
/*
 * bench.h - the frame of a benchmark: options, numbers, tables, verdicts, CPU time, what is measured
 *
 * A benchmark prints tables and, below each, what a good number is and whether ours is one ("PASS", "MISS"). With
 * --json it prints the same as one JSON object a row. Exit status: 0, also where a target was missed, for speed is a figure;
 * 1 something is broken ("FAIL": an event was lost, a program died); 2 it could not run.
 *
 * These programs assert speed, tests never do.
 */
#pragma once

#include "../pressure.h"

#include <math.h>
#include <psibridge/psibridge.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/types.h>

#define MIB LAB_MB

struct bench {
	const char *name, *usage;
	const char *help; /* what --help prints below the usage; may be NULL */
	struct {
		const char *name, **value; /* "--NAME=VALUE", or "--NAME", then it becomes "" */
	} options[4];
	unsigned *numbers; /* arguments that are no options */
	int max_numbers;
	enum { LAB_UNUSED, LAB_USED, LAB_NEEDED } lab;
	void (*work)(void);
};

/* main(): options, the laboratory, the work. Returns: the exit status. */
int bench_main(const struct bench *bench, int argc, char **argv);

/* How many numbers there were. */
extern int bench_numbers;
/* Where the benchmark's cgroups are; and why there is none, NULL: there is. What it cannot do ends the program. */
extern struct lab lab;
extern const char *no_lab;

/* A part of it could not run, for the reason given: makes the exit status 2. */
void bench_missing(const char *format, ...) _printf_(1, 2);
/* Cannot go on: says why, exits with 2. */
void bench_die(const char *format, ...) _printf_(1, 2) __attribute__((noreturn));
/* A line of explanation; not in JSON. */
void bench_say(const char *format, ...) _printf_(1, 2);
/* A figure beside what it should be. */
void bench_target(bool met, const char *format, ...) _printf_(2, 3);
/* What must be so on any machine: else the exit status is 1. */
void bench_promise(bool kept, const char *format, ...) _printf_(2, 3);

uint64_t now_nsec(void);
void sleep_usec(uint64_t usec);
/* Memory that children see too. */
void *shared_new(size_t size);
/* A path in a directory of the benchmark's own, which goes with it. Valid until the next call. */
const char *scratch(const char *name);
/* Runs `fn` in a process of its own, whose memory and descriptors nobody else used before. Dies if that does. */
void in_child(void (*fn)(void *userdata), void *userdata);

/* ---- numbers ------------------------------------------------------------------------------------ */

struct series {
	double *values;
	size_t count, room;
};
void series_add(struct series *series, double value);
/* Sorts. 0 to 100; NAN if it is empty. */
double series_percentile(struct series *series, double percent);
double median(struct series *series);

/* ---- a table: one at a time --------------------------------------------------------------------- */

struct column {
	const char *key;   /* in JSON */
	const char *title; /* over the column */
	int decimals;
};

#define table_begin(name, columns, ...) table_new(name, columns, ELEMENTSOF(columns), __VA_ARGS__)
void table_new(const char *name, const struct column *columns, unsigned width, const char *title,
	       ...) _printf_(4, 5);
void table_row(void);
/* The next cells of the row. NAN, and what a row leaves out at its end, is a dash. */
void table_text(const char *format, ...) _printf_(1, 2);
#define table_numbers(...)                         \
	table_put((const double[]){ __VA_ARGS__ }, \
		  sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double))
void table_put(const double *numbers, size_t count);
/* Why there are dashes; printed below, once. */
void table_note(const char *format, ...) _printf_(1, 2);
void table_print(void);

/* ---- threads and CPU time ----------------------------------------------------------------------- */

#define THREADS_MAX 64

/* The threads of this process. Returns: how many. */
unsigned threads_list(pid_t *tids);
/* Of a thread of this process. */
uint64_t cpu_of_thread_nsec(pid_t tid);
/* Of the process but its calling thread: what a benchmark that sleeps has running beside it, in percent of a core since
 * cpu_begin(). */
void cpu_begin(void);
double cpu_percent(void);

/* ---- a watch ------------------------------------------------------------------------------------ */

struct watched {
	psb_bridge *bridge;
	psb_watch *watch;
	char why[160];
};
/* A watch whose loop runs. `flags` are of psb_watch_add_callback(). Errors: -errno, and words in `why`. */
int watch_start(struct watched *ret, enum psb_backend backend, struct psb_watch_options options,
		psb_callback_fn *told, void *userdata, unsigned flags);
struct psb_stats watch_stats(const struct watched *watched);
