/* SPDX-License-Identifier: MIT */
/*
 * words.c - what the numbers of the API are called
 *
 * How soon pressure is noticed follows from what the kernel was asked for. A privileged trigger is
 * checked ten times a window and rings at the check after the threshold was passed; reading and
 * judging comes on top, so twice that is promised. An unprivileged one, whose window is n x 2 s,
 * is checked once a window. The library samples at most one low window apart where it has no
 * alarm, and every 10 s where it has no full trust in one (memory.events tells of limits, not of
 * stalls).
 */
#include "cli/words.h"

#include <stdio.h>
#include <string.h>

#include "core/duration.h"
#include "core/names.h"
#include "core/trigger.h"

static const struct words_level levels[] = {
	{ "Low", "Low (memory is short)", PSB_LOW, false },
	{ "Neutral", "Neutral (memory is tight)", PSB_NEUTRAL, false },
	{ "High", "High (memory is plentiful)", PSB_HIGH, false },
	{ "CRITICAL", "Low, CRITICAL (all tasks wait)", PSB_LOW, true },
};

const struct words_level *words_level(unsigned available, bool critical)
{
	static const struct words_level none = { .brief = "-", .sentence = "?" };

	for (size_t i = 0; i < ELEMENTSOF(levels); i++)
		if (levels[i].available == available &&
		    levels[i].critical == (critical && available == PSB_LOW))
			return &levels[i];
	return &none;
}

static const char *words_reason(enum psb_reason reason)
{
	static const char *const reasons[] = {
		[0] = "?",
		[PSB_REASON_STALL] = "tasks waited for memory",
		[PSB_REASON_REPEAT] = "tasks still wait for memory",
		[PSB_REASON_OOM] = "the kernel found no memory",
		[PSB_REASON_SIGNAL] = "the source said so",
		[PSB_REASON_HEADROOM] = "little room below the limit",
		[PSB_REASON_CALM] = "no more waiting",
		[PSB_REASON_SIMULATED] = "simulated",
		[PSB_REASON_PRESENT] = "as it is now",
		[PSB_REASON_GONE] = "the cgroup was removed",
		[PSB_REASON_FORECAST] = "the limit will be reached soon",
	};

	return reasons[(unsigned)reason < ELEMENTSOF(reasons) ? reason : 0];
}

const char *words_cause(const struct psb_notification *n, char *buf)
{
	const struct cause_view view = { n->cgroup,	   n->cause,	    n->reason,
					 n->cause_is_high, n->cause_length, n->limit_bytes,
					 n->since_usec };

	return *cause_format(&view, buf) ? buf : words_reason(n->reason);
}

const char *words_backend_id(enum psb_backend backend)
{
	return backend == PSB_BACKEND_URING   ? "io_uring"
	       : backend == PSB_BACKEND_EPOLL ? "epoll"
	       : backend == PSB_BACKEND_NONE  ? "timers"
					      : "?";
}

/* The window of the trigger that is armed; 0: none is. */
static uint64_t armed_window(const struct psb_source *source)
{
	struct trigger trigger;

	if (trigger_parse(source->trigger, strlen(source->trigger), &trigger, NULL) < 0)
		return 0;
	return trigger.window_usec;
}

/* Windows of n x 2 s are what the kernel allows to all users; psibridge asks for no other there. */
static int is_privileged(uint64_t window_usec)
{
	return window_usec % (2 * USEC_PER_SEC) != 0;
}

const char *words_how(const struct psb_source *source)
{
	static const char *const rungs[] = {
		[0] = "nothing, for no source works now",
		[PSB_RUNG_PRIVILEGED] = "a PSI trigger with a short window",
		[PSB_RUNG_TRIGGER] = "a PSI trigger of the kind that needs no privilege",
		[PSB_RUNG_EVENTS] = "memory.events, without a PSI trigger",
		[PSB_RUNG_SAMPLING] = "reading memory.pressure now and then",
		[PSB_RUNG_MACHINE] = "the whole machine's pressure, which is not this cgroup's",
	};
	unsigned rung = source->rung;

	if (strcmp(source->name, "fifo") == 0)
		return "the FIFO of systemd's protocol";
	if (strcmp(source->name, "socket") == 0)
		return "the socket of systemd's protocol";
	if (strcmp(source->name, "psibridged") == 0)
		return "psibridged, which watches this cgroup";
	if (rung == PSB_RUNG_PROTOCOL)
		rung = is_privileged(armed_window(source)) ? PSB_RUNG_PRIVILEGED : PSB_RUNG_TRIGGER;
	return rung < ELEMENTSOF(rungs) ? rungs[rung] : "?";
}

void words_soon(const struct psb_source *source, uint64_t low_window_usec, char *buf)
{
	uint64_t window = armed_window(source);
	char text[DURATION_TEXT_MAX];
	size_t digits;

	if (strcmp(source->name, "fifo") == 0 || strcmp(source->name, "socket") == 0) {
		snprintf(buf, WORDS_SOON_MAX, "as soon as its writer says so");
		return;
	}
	if (strcmp(source->name, "psibridged") == 0) {
		snprintf(buf, WORDS_SOON_MAX, "as soon as psibridged says so");
		return;
	}
	if (source->rung == PSB_RUNG_EVENTS) {
		snprintf(buf, WORDS_SOON_MAX,
			 "at once when the limit is hit, and within 10 s otherwise");
		return;
	}
	if (window == 0)
		window = low_window_usec;
	else if (is_privileged(window))
		window = window / 10 * 2;
	duration_format(window, text);
	digits = strspn(text, "0123456789.");
	snprintf(buf, WORDS_SOON_MAX, "within %.*s %s", (int)digits, text, text + digits);
}
