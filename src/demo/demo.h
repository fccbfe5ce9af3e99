/* SPDX-License-Identifier: MIT */
/*
 * demo.h - what the files of `psibridge demo` share
 *
 * Cgroups, the file and the actors' processes are those of the tests: tests/pressure.h, program.h. Functions that return an error
 * say it in words, too: why[LAB_WHY_MAX] is one line.
 */
#pragma once

#include "cli/output.h"
#include "core/util.h"
#include "psibridge/psibridge.h"
#include "tests/pressure.h"

#define DEMO_NEWS_MAX 16
#define DEMO_SAMPLES_MAX 2048

/* Times are from the neighbour's start on. */
struct demo_sample {
	uint64_t at_usec;
	uint64_t stall_usec; /* total since the start */
};

struct demo_news {
	uint64_t at_usec;
	enum psb_available available;
};

struct demo_run {
	bool bridge;
	uint64_t length_usec;
	uint64_t read_bytes; /* of the neighbour */
	uint64_t stall_usec;
	uint64_t first_stall_usec; /* USEC_NEVER: there was none */
	uint64_t first_low_usec;   /* when it was told. USEC_NEVER: it was not */
	uint64_t rss_before_bytes, rss_after_bytes;
	uint64_t collect_usec; /* how long the collection took; 0: there was none */
	unsigned news_count;
	struct demo_news news[DEMO_NEWS_MAX];
	unsigned sample_count;
	struct demo_sample samples[DEMO_SAMPLES_MAX];
};

struct demo {
	/* from the command line */
	bool simulate, in_scope;
	const char *host; /* path of the program */
	uint64_t limit_bytes, garbage_bytes, file_bytes;
	uint64_t length_usec; /* of each run */

	struct lab *lab; /* NULL: simulated */
	char why_simulated[2 * LAB_WHY_MAX];
	int file; /* from lab_data() */
	struct demo_run without, with;
	bool relieved, memory_halved, went_well; /* what it promises, and both */
};

/* It cannot be shown, and this is why: ends. */
_Noreturn void demo_failed(const char *format, ...) _printf_(1, 2);

/* ---- demo-lab.c -------------------------------------------------------------------------------- */

/* Is the tree of cgroups systemd's to give? */
bool demo_scope_wanted(void);
/* Starts this program anew in a scope of systemd, with --in-scope in front of `argv`. Returns only where it could not. */
int demo_scope_enter(char **argv, char *why);
/* The laboratory, below our own cgroup or beside it. */
int demo_lab_open(struct lab *lab, bool in_scope, char *why);

/* ---- demo-run.c -------------------------------------------------------------------------------- */

/* The result is in demo->with or demo->without. */
void demo_play(struct demo *demo, bool bridge);

/* ---- demo-plot.c ------------------------------------------------------------------------------- */

/* On standard error. To be called a few times a second while something goes on; `length_usec` is 0 while it is not known. `what` NULL:
 * it is over. */
void demo_progress(const char *what, uint64_t done_usec, uint64_t length_usec);

void demo_table(const struct output *output, const struct demo *demo);
/* Stalls over time. */
void demo_plot(const struct output *output, const struct demo *demo);
