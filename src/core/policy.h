/* SPDX-License-Identifier: MIT */
/*
 * policy.h - from samples to levels
 *
 * One pure function: (state, event, sample, now) -> (state, at most one notification, next
 * deadline). It reads no clock and makes no call; its caller samples when it is told to, and
 * listens to the kernel's alarms when it is told to.
 *
 *              over early                  over low
 *     HIGH ------------------> NEUTRAL ------------------> LOW   <-- a step may skip NEUTRAL
 *      ^                        |   ^                       |
 *      |  Calm under early,     |   |   Quiet under low/2   |
 *      +----- and headroom -----+   +-----------------------+
 *
 * Promises, held by tests/unit/core/test-policy.c and proved for small windows by test-policy-model.c:
 *  - Low is always followed by Neutral or High once stalls end.
 *  - Never two equal notifications in a row within Rearm, which is longer for whoever gives nothing back. A turn
 *    to critical is told at once.
 *  - No notification without a reason.
 *  - What only a limit below caused is Neutral, never Low: a parent can give back what it likes, its
 *    child's limit stays full.
 *  - From High and Neutral Low comes where the limit is reached within Forecast, but not within Rearm
 *    of the Low before.
 *  - There is a deadline whenever the level is not High. While High and calm there is none, and so
 *    no wake-up.
 */
#pragma once

#include "trigger.h"
#include "window.h"

/* EMemoryAvailable of the CLR hosting API, and enum psb_available. */
enum level { LEVEL_LOW = 1, LEVEL_NEUTRAL = 2, LEVEL_HIGH = 3 };

/* The same numbers as enum psb_reason. The policy gives those up to calm. */
enum reason {
	REASON_STALL = 1,
	REASON_REPEAT,
	REASON_OOM,
	REASON_SIGNAL,
	REASON_HEADROOM,
	REASON_CALM,
	REASON_SIMULATED,
	REASON_PRESENT,
	REASON_GONE,
	REASON_FORECAST,
};

/* Whose limit, or whose pressure, a stall is; the same numbers as enum psb_cause. */
enum cause {
	CAUSE_UNKNOWN,
	CAUSE_OWN,
	CAUSE_ANCESTOR,
	CAUSE_DESCENDANT,
	CAUSE_MACHINE,
};

struct policy_options {
	struct trigger early, low, critical;
	uint64_t rearm_usec; /* at least so long between two equal Lows */
	uint64_t quiet_usec; /* 0: two windows of low */
	uint64_t calm_usec;
	unsigned headroom_percent; /* 0, HEADROOM_OFF: never look */
	unsigned descendants; /* DESCENDANTS_COUNT: what only a limit below caused may be Low, too */
	uint64_t forecast_usec; /* Low so long before the limit is reached; 0, FORECAST_OFF: never */
};

#define DESCENDANTS_COUNT 1u
#define DESCENDANTS_APART 2u

#define HEADROOM_OFF 0xffffffffu /* PSB_HEADROOM_OFF */
#define FORECAST_OFF UINT64_MAX	 /* PSB_FORECAST_OFF */

/* test-policy-model.c proves the promises for a scaled-down clock, and sets these itself. */
#ifndef POLICY_PACE_MIN_USEC
/* Sampling never is faster than this ... */
#define POLICY_PACE_MIN_USEC (20 * USEC_PER_MSEC)
/* ... and, while Neutral or Low for longer than POLICY_FAST_USEC, not faster than this: what goes on for so
 * long is known, and a sample costs some 70 us with all that wakes up for it (tests/bench: cost).
 * Bounds a watch to 0.1 % of a core. */
#define POLICY_PACE_STEADY_USEC (100 * USEC_PER_MSEC)
#define POLICY_FAST_USEC (1 * USEC_PER_SEC)
/* Except once, after memory.events rang: the kernel rings at most every 10 ms, so the next news of
 * a fast out-of-memory is due then. */
#define POLICY_PACE_EVENTS_USEC (10 * USEC_PER_MSEC)
/* Neutral without stalls: sampled less and less often, from this ... */
#define POLICY_PACE_IDLE_USEC (1 * USEC_PER_SEC)
/* ... down to this. */
#define POLICY_PACE_MAX_USEC (60 * USEC_PER_SEC)
/* An alarm of memory.events that was false is listened to again later each time, down to this. */
#define POLICY_MUTE_MIN_USEC (100 * USEC_PER_MSEC)
#define POLICY_MUTE_MAX_USEC (10 * USEC_PER_SEC)
/* After so many Lows in a row that gave nothing back a repeat is due after twice Rearm, then after four
 * times, up to this. */
#define POLICY_UNANSWERED_MAX 3
#define POLICY_REARM_FACTOR_MAX 16u
#endif

enum policy_event {
	POLICY_TICK,   /* the deadline has come, or a safety sample */
	POLICY_ALARM,  /* the PSI trigger rang */
	POLICY_EVENTS, /* memory.events rang */
	POLICY_SIGNAL, /* the source judged: sample.signal */
};

enum headroom { HEADROOM_UNKNOWN, HEADROOM_SHORT, HEADROOM_ENOUGH };

struct policy_sample {
	bool has_psi; /* some_usec, full_usec are `total=` */
	uint64_t some_usec, full_usec;
	uint32_t some_avg10_centi, full_avg10_centi;
	bool has_oom; /* oom is oom + oom_kill of memory.events */
	uint64_t oom;
	enum headroom headroom; /* UNKNOWN: not read. No limit at all is ENOUGH */
	bool has_cause;		/* cause was looked for */
	enum cause cause;
	/* POLICY_SIGNAL only */
	enum level signal;
	bool signal_critical;
	enum reason signal_reason; /* REASON_SIGNAL or REASON_SIMULATED */
	uint64_t left_usec; /* until the limit is reached (forecast.h); 0: not known, or never */
};

struct policy_verdict {
	bool tell; /* then, what: */
	enum level level;
	bool critical;
	enum reason reason;
	uint64_t since_usec; /* when the stall that led here was first seen, 0: there is none */

	uint64_t deadline_usec; /* sample again then; USEC_NEVER: only alarms */
	bool listen;		/* listen to memory.events until then? (to the trigger: always) */
	bool want_headroom; /* step again at once: same event, same sample, and its headroom (what
			       leaves the level as it is if it can't be read) */
	bool want_cause;    /* the same, with has_cause and cause */
};

enum threshold { THRESHOLD_EARLY, THRESHOLD_LOW, THRESHOLD_CRITICAL, THRESHOLDS };

/* The state. Private to policy.c, open to its tests; plain data that may be copied and compared. */
struct policy {
	struct policy_options options;
	struct window windows[THRESHOLDS];
	/* Which of these a threshold has: thresholds of one kind over one length have one. */
	uint8_t window_of[THRESHOLDS];
	enum level level;
	bool told_critical;	      /* since the level became Low, or at the last repeat */
	uint64_t told_usec;	      /* the last Low, 0: none */
	uint64_t above_half_low_usec; /* last time at half of low or over; Low ends Quiet after it */
	uint64_t early_usec;	      /* last time over early; Neutral ends Calm after it */
	uint64_t alarm_usec;	      /* HIGH: sampling since this alarm; 0: at rest */
	uint64_t since_usec;
	uint64_t events_muted_until_usec; /* HIGH: memory.events is not listened to before */
	uint64_t fast_until_usec;	  /* until then the pace may be the fastest */
	uint64_t pace_usec;		  /* the probe's and idle Neutral's growing step */
	unsigned false_alarms;		  /* in a row */
	bool has_oom;
	uint64_t oom;
	bool started;
	unsigned unanswered; /* Lows in a row after which nothing was given back */
};

static inline const struct window *policy_window(const struct policy *policy, enum threshold of)
{
	return &policy->windows[policy->window_of[of]];
}

/* Options are taken as they are, but for quiet_usec and HEADROOM_OFF. */
void policy_init(struct policy *policy, const struct policy_options *options);

/* The next sample is a baseline again; the level stays. For a source that was replaced by another. */
void policy_forget(struct policy *policy);

/*
 * The level is this, and was just notified by another process: Rearm, Quiet and Calm run from here.
 * State that a higher level has no use for is cleared. The next step, which is due at once, gives
 * the deadline.
 */
void policy_resume(struct policy *policy, enum level level, bool critical, uint64_t now_usec);

/*
 * What the last Low achieved, as soon as that is known: something was given back, or nothing was. To whoever
 * gives nothing back Low is repeated less and less often. Given back is anything at all, and ends that at
 * once; so does High, for the next shortage is another one. A Low that follows Neutral or High is news and
 * told at once all the same, and what is critical is told, and repeated, as ever.
 */
void policy_effect(struct policy *policy, bool gave);

/* So many times Rearm lie between two Lows after so many unanswered ones. */
static inline unsigned policy_rearm_factor(unsigned unanswered)
{
	return unanswered < POLICY_UNANSWERED_MAX
		       ? 1
		       : MIN(2u << MIN(unanswered - POLICY_UNANSWERED_MAX, 8u),
			     POLICY_REARM_FACTOR_MAX);
}

/* `now_usec` > 0 and never goes back. The first step takes the sample as the baseline. */
void policy_step(struct policy *policy, enum policy_event event, const struct policy_sample *sample,
		 uint64_t now_usec, struct policy_verdict *ret);
