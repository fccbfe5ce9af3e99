/* SPDX-License-Identifier: MIT */
/*
 * stalls.h - pressure that can be set, in the laboratory (../pressure.h)
 */
#pragma once

#include "bench.h"

/* What these cannot do ends the program with status 2. */

/* As lab_data() and lab_readers_start(), which see. */
int data_new(uint64_t size);
struct lab_readers *neighbour_start(const char *group, int fd, unsigned count, uint64_t pace_usec);

/* ---- pressure ------------------------------------------------------------------------------------- */

enum pressure_kind {
	PRESSURE_REFAULT, /* reads a file twice the limit, round and round: what it reads was just thrown out. Tasks stall */
	PRESSURE_CLEAN, /* reads an endless hole once: the limit is hit all the time, nobody needs what is thrown out */
};

struct pressure;

/* Makes the group `name` with a limit of `limit_bytes`, and a process in it that waits. */
struct pressure *pressure_new(const char *name, enum pressure_kind kind, uint64_t limit_bytes);
/* From here on it works for `busy_usec` of each 100 ms; 0: it waits again. */
void pressure_set(struct pressure *pressure, unsigned busy_usec);
void pressure_free(struct pressure *pressure);

/* ---- a stage ------------------------------------------------------------------------------------------ */

/*
 * A group "NAME" to look at and "NAME/run" in it, for the actors. They are two because reading memory.pressure can swallow an alarm
 * of an unprivileged trigger on the same file (facts): we read the outer one's, psibridge arms the inner one's.
 */
struct stage {
	const char *name;
	char run[64];
	uint64_t start_usec;
	struct lab_psi before;
};

/* Makes both anew. The limit is the inner one's; 0: none. `high_bytes` of 0: no memory.high. */
void stage_open(struct stage *stage, const char *name, uint64_t limit_bytes, uint64_t high_bytes);
/* From here time and stall count. */
void stage_begin(struct stage *stage);
struct lab_psi stage_stall(const struct stage *stage);
void stage_close(struct stage *stage);
