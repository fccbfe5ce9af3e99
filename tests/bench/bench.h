/* SPDX-License-Identifier: MIT */
/*
 * bench.h - the frame of the benchmarks: processes, verdicts, tables, CPU time, what is measured
 *
 * All are in one program, and each runs in a process of its own. It prints tables and, below each, what a good number is and
 * whether ours is one ("PASS", "MISS"). Exit status: 0, also where a target was missed, for speed is a figure; 1 something is
 * broken ("FAIL": an event was lost, a program died); 2 it could not run.
 *
 * These programs assert speed, tests never do.
 */
#pragma once

#include "../pressure.h"

#include <math.h>
#include <psibridge/psibridge.h>
#include <stdatomic.h>
#include <stdio.h>

#define MIB LAB_MB

struct bench {
	const char *name, *usage;
	bool needs_lab; /* nothing of it can be done without */
	void (*work)(void);
};
extern const struct bench bench_latency, bench_faults, bench_tree, bench_cost, bench_effect,
	bench_load, bench_survive, bench_needless, bench_again, bench_ring, bench_shapes;

/* --runtime=, --way=; NULL: not given. */
extern const char *wanted_runtime, *wanted_way;
/* The numbers behind the benchmark's name, or what they are when they are not there. */
extern unsigned bench_number_count;
unsigned bench_number(unsigned i, unsigned otherwise);

/* Where the benchmark's cgroups are; and why there is none, NULL: there is. What it cannot do ends the process. */
extern struct lab lab;
extern const char *no_lab;

/* As printf(3), valid until the next call. What takes words below takes them so. */
const char *words(const char *format, ...) _printf_(1, 2);
/* Cannot go on: says why, exits with 2. */
#define bench_die(...) bench_die_of(words(__VA_ARGS__))
void bench_die_of(const char *why) __attribute__((noreturn));
/* A figure beside what it should be. */
#define bench_target(met, ...) bench_target_of(met, words(__VA_ARGS__))
void bench_target_of(bool met, const char *what);
/* What must be so on any machine: else the exit status is 1. */
#define bench_promise(kept, ...) bench_promise_of(kept, words(__VA_ARGS__))
void bench_promise_of(bool kept, const char *what);

uint64_t now_nsec(void);
void sleep_usec(uint64_t usec);
/* A path of this process, to be unlinked once it is open. Valid until the next call. */
const char *scratch(const char *name);
/* Runs `fn` in a process of its own, whose memory and descriptors nobody else used before. That it dies is a promise broken, and the end. */
void in_child(void (*fn)(unsigned row), unsigned row);
#define data_new(size) lab_data(size)
#define neighbour_start(...) lab_readers_start(&lab, __VA_ARGS__)

/* ---- a table: one at a time, which children write to, too ---------------------------------------- */

struct column {
	const char *title;
	int decimals;
};

/* The first column is the rows' names. */
#define table_begin(columns, ...) table_new(columns, ELEMENTSOF(columns), words(__VA_ARGS__))
void table_new(const struct column *columns, unsigned width, const char *title);
/* Returns its number, counted from 0. */
#define table_row(...) table_row_of(words(__VA_ARGS__))
unsigned table_row_of(const char *name);
const char *row_name(unsigned row);
/* A value more for this cell, and for those right of it; what is shown of a cell is the median. NAN is no value, none is a dash. */
#define put(row, column, ...)                                    \
	put_values(row, column, (const double[]){ __VA_ARGS__ }, \
		   sizeof((const double[]){ __VA_ARGS__ }) / sizeof(double))
void put_values(unsigned row, unsigned column, const double *values, size_t count);
/* Shown instead. */
#define put_text(row, column, ...) put_text_of(row, column, words(__VA_ARGS__))
void put_text_of(unsigned row, unsigned column, const char *text);
/* Of the values of a cell, which are sorted by it; NAN: it has none. */
double percentile(unsigned row, unsigned column, double percent);
double median(unsigned row, unsigned column);
unsigned value_count(unsigned row, unsigned column);
void forget(unsigned row, unsigned column);
/* What went wrong with it, or why there are dashes: printed below the table. Only the first is kept. */
#define row_fails(row, ...) row_fails_of(row, words(__VA_ARGS__))
void row_fails_of(unsigned row, const char *why);
/* NULL: nothing. */
const char *row_failure(unsigned row);
void table_print(const char *what_is_good);

/* ---- a watch ------------------------------------------------------------------------------------ */

/* CPU time of the process but its calling thread: what a benchmark that sleeps has running beside it, in percent of a core since
 * cpu_begin(). */
void cpu_begin(void);
double cpu_percent(void);

struct watched {
	psb_bridge *bridge;
	psb_watch *watch;
	char why[160];
};
/* A watch whose loop runs and calls inline. Errors: -errno, and words in `why`. */
int watch_start(struct watched *ret, enum psb_backend backend, struct psb_watch_options options,
		psb_callback_fn *told, void *userdata);
struct psb_stats watch_stats(const struct watched *watched);
