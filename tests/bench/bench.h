/* SPDX-License-Identifier: MIT */
/*
 * bench.h - what the benchmarks share: numbers, tables, verdicts, CPU time, threads
 *
 * A benchmark prints tables and, below each, what a good number is and whether ours is one ("PASS", "MISS"). With
 * --json it prints the same as one JSON object a row. Exit status: 0 all targets met, 1 one missed, 2 it could not run.
 *
 * These programs assert speed, tests never do.
 */
#pragma once

#include "core/util.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/types.h>

/* Before bench_start(): an option of this benchmark's own, "--NAME=VALUE" or "--NAME" (then *ret is ""). Without it *ret stays. */
void bench_option(const char *name, const char **ret);
/* Before bench_start(): what --help prints below the usage. */
void bench_help(const char *text);

/* Takes the options every benchmark knows out of `argv`. `name` goes into the JSON. Returns: the arguments that are left,
 * which are numbers. Exits on others. */
int bench_start(const char *name, const char *usage, int argc, char **argv, unsigned *numbers,
		int max_numbers);
/* A part of it could not run, for the reason given: makes the exit status 2. */
void bench_missing(const char *format, ...) _printf_(1, 2);
/* The exit status. */
int bench_end(void);
/* Cannot go on: says why, exits with 2. */
void bench_die(const char *format, ...) _printf_(1, 2) __attribute__((noreturn));

uint64_t now_nsec(void);
void sleep_usec(uint64_t usec);

/* ---- numbers ------------------------------------------------------------------------------------ */

struct series {
	double *values;
	size_t count, room;
};
void series_add(struct series *series, double value);
/* Sorts. 0 to 100; 0 if it is empty. */
double series_percentile(struct series *series, double percent);
void series_clear(struct series *series);

/* ---- tables ------------------------------------------------------------------------------------- */

#define TABLE_COLUMNS 16
#define TABLE_ROWS 40

struct column {
	const char *key;   /* in JSON */
	const char *title; /* over the column */
};

struct table {
	const char *name; /* in JSON */
	const char *title;
	const struct column *columns;
	unsigned width, rows, cells;
	char text[TABLE_ROWS][TABLE_COLUMNS][64];
	bool number[TABLE_ROWS][TABLE_COLUMNS];
	char notes[TABLE_ROWS][160];
	unsigned note_count;
};

void table_begin(struct table *table, const char *name, const char *title,
		 const struct column *columns, unsigned width);
void table_row(struct table *table);
void cell_text(struct table *table, const char *format, ...) _printf_(2, 3);
void cell_number(struct table *table, double value, int decimals);
/* A dash. */
void cell_none(struct table *table);
/* Why there are dashes; printed below. */
void table_note(struct table *table, const char *format, ...) _printf_(2, 3);
void table_print(struct table *table);

/* A line of explanation; not in JSON. */
void bench_say(const char *format, ...) _printf_(1, 2);
/* A target. What is missed makes the exit status 1. */
void bench_target(bool met, const char *format, ...) _printf_(2, 3);

/* ---- threads and CPU time ----------------------------------------------------------------------- */

#define THREADS_MAX 64

/* The threads of this process. Returns: how many. */
unsigned threads_list(pid_t *tids);
/* Of a thread of this process. */
uint64_t cpu_of_thread_nsec(pid_t tid);
uint64_t cpu_of_process_nsec(void);
/* Of the process but its calling thread: what a benchmark that sleeps has running beside it. Two of them may differ by a
 * microsecond in either direction: usec_sub(). */
uint64_t cpu_of_others_nsec(void);

/* Memory that children see too. */
void *shared_new(size_t size);
