/* SPDX-License-Identifier: MIT */
/*
 * ladder.h - choosing the source of a watch: the first rung that works
 *
 *   1  the file, FIFO or socket of systemd's protocol
 *   2  PSI trigger with a short window (CAP_SYS_RESOURCE), and memory.events
 *   3  PSI trigger with a window of 2 s, and memory.events
 *   4  memory.events alone, sampling memory.pressure when it moves
 *   5  sampling memory.pressure on a timer
 *   6  the machine's /proc/pressure/memory
 *
 * Each rung that was tried is reported with its error and advice, in words.
 */
#pragma once

#include "core/trigger.h"
#include "monitor/target.h"

enum source_kind {
	SOURCE_NONE, /* rung 0: no source works now */
	SOURCE_FIFO,
	SOURCE_SOCKET,
	SOURCE_RECORDS,	   /* rung 1: the socket is psibridged's, which sends whole levels */
	SOURCE_PSI_FILE,   /* rung 1: a trigger on a file that was named */
	SOURCE_PRIVILEGED, /* rung 2 */
	SOURCE_TRIGGER,	   /* rung 3 */
	SOURCE_EVENTS,	   /* rung 4 */
	SOURCE_SAMPLING,   /* rung 5 */
	SOURCE_MACHINE,	   /* rung 6, with or without a trigger */
};

/* Stable names: "none", "fifo", "socket", "psibridged", "psi-file", "psi-privileged", "psi", "events",
 * "sampling", "machine". */
const char *source_kind_name(enum source_kind kind);

#define RUNG_MAX 6

struct source {
	enum source_kind kind;
	unsigned rung;
	int sample_fd;	/* memory.pressure; -1: cannot be sampled */
	int trigger_fd; /* the armed trigger; -1: none */
	int events_fd;	/* memory.events; -1: none */
	int stream_fd;	/* FIFO or connected socket; -1: none */
	int keep_fd;	/* our own writer on a FIFO, so that it never reports a hang-up */
	struct trigger armed;
	bool privileged;
	char path[CGPATH_MAX];
	char why[WHY_MAX]; /* why the last better rung was not taken; "" on the best */
};

#define SOURCE_INIT                                                                                \
	{                                                                                          \
		.sample_fd = -1, .trigger_fd = -1, .events_fd = -1, .stream_fd = -1, .keep_fd = -1 \
	}

/* `error` is 0 where the rung works. `advice` is what would help, a constant, or "". */
typedef void ladder_report_fn(void *userdata, unsigned rung, int error, const char *why,
			      const char *advice);

/*
 * Try the rungs in `mask` (bit n: rung n) from the best down. `early` is what must not pass
 * unnoticed. `report` may be NULL. With `all`, go on after the first success and keep nothing
 * (diagnosis): then the result is the first error or 0. Errors: of the best rung that applies to
 * this target.
 */
int ladder_climb(const struct target *target, const struct trigger *early, unsigned mask, bool all,
		 ladder_report_fn *report, void *userdata, struct source *ret, char *why);

/* Everything in it that is open goes to the closer. */
struct closer;
void source_close(struct source *source, struct closer *closer);
