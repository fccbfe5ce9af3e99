/* SPDX-License-Identifier: MIT */
/*
 * score.h - what happened in a trace, and how well a setting would have told it
 *
 *     stalls   ....#.##..#...........................##########....    1 % of ten seconds and more: an episode
 *     Low          [---------]   [--]                  [---------]     spans, of a replay
 *                  ^ delay 0     ^ needless            ^ delay
 *
 * Of a needless Low no stall of 20 ms followed within ten seconds, and no limit was reached. A limit is reached where 95 % of it are in
 * use after it was under 90 %, and where the kernel counted an out-of-memory.
 */
#pragma once

#include "core/policy.h"
#include "core/trace.h"

#define SCORE_WINDOW_USEC (10 * USEC_PER_SEC)
#define SCORE_EPISODE_USEC (SCORE_WINDOW_USEC / 100)
#define SCORE_NOTHING_USEC (20 * USEC_PER_MSEC)
#define SCORE_FLAP_USEC (60 * USEC_PER_SEC)

/* How bad an episode was. */
enum severity {
	SEVERITY_NONE,	/* no episode */
	SEVERITY_LIGHT, /* some under 10 % in the worst ten seconds */
	SEVERITY_HEAVY,
	SEVERITY_LOST, /* full of 50 % and more there: nearly nothing was done; or out of memory */
	SEVERITIES,
};

struct episode {
	uint64_t begin_usec, end_usec; /* its first and its last stall */
	uint64_t worst_usec;	       /* when the ten seconds with most of it began */
	uint64_t worst_some_usec, worst_full_usec;
	enum severity severity;
};

struct facts {
	struct episode *episodes; /* in their order */
	size_t count;
	struct { /* when a limit was reached, or the kernel ran out of it */
		uint64_t at_usec;
		bool oom;
	} * limits;
	size_t limit_count;
	uint64_t some_usec; /* all of it */
	uint64_t usec;	    /* from the first sample to the last */
};

/* Of the samples of one cgroup, of which there is one at least. Errors: -ENOMEM. facts_done() afterwards, in any case. */
int facts_find(const struct trace_sample *samples, size_t count, struct facts *ret);
void facts_done(struct facts *facts);

/* Sums, over one trace or several. */
struct score {
	unsigned lows, criticals;    /* each that is told, repeats too */
	unsigned began[SEVERITIES];  /* times that Low began, by the episode it began in */
	unsigned needless, flaps;    /* of those; flaps: within a minute of the Low before */
	unsigned spoken[SEVERITIES]; /* episodes in which it was Low, by how bad they were ... */
	uint64_t delay_usec[SEVERITIES]; /* ... and how long after their begin, in all */
	uint64_t low_usec;
	uint64_t low_some_usec;	  /* stalled during Low */
	unsigned limits, unseen;  /* limits that were reached, and of these with no Low before */
	uint64_t lead_usec;	  /* the least time from Low to one of them */
	uint64_t worst_some_usec; /* of the worst episode of all ... */
	int64_t worst_lead_usec;  /* ... from Low to its worst ten seconds; INT64_MIN: no Low */
};

#define SCORE_INIT                                                    \
	{                                                             \
		.lead_usec = UINT64_MAX, .worst_lead_usec = INT64_MIN \
	}

/* What is judged: a setting of ours, through the policy, or a rule on avg10 as others have: over that for so long. */
struct candidate {
	struct policy_options options;
	unsigned avg10_percent; /* 0: `options` */
	uint64_t for_usec;
	enum psi_kind kind;
};

/* One pass through a trace is for so many, where one trigger of the kernel, but for its threshold, is for all of them. */
#define SCORE_TOGETHER_MAX 16
bool score_together(const struct candidate *a, const struct candidate *b, bool privileged);

struct scored {
	const struct candidate *candidate;
	struct score *score;
};

/* Adds to the scores what their candidates, which fit together, would have told. */
void score_add(const struct trace_sample *samples, size_t count, const struct facts *facts,
	       const struct scored *scored, size_t scored_count, bool privileged);
