/* SPDX-License-Identifier: MIT */
/*
 * diagnose.c - psb_diagnose(): the whole ladder, and what else decides how early and how surely
 * pressure is told
 *
 * Nothing here is guessed from versions: each rung is tried and given up again. Beside the ladder
 * known causes of trouble are looked for: a memory.max without memory.high (no task stalls until it
 * is too late), variables inherited from another unit, a read-only mount, a hybrid hierarchy.
 */
#include "monitor/psibridged.h"
#include "library/watch.h"

#include "core/names.h"
#include "core/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORKS, COULD_BE_BETTER, DOES_NOT_WORK };

struct report {
	psb_finding_fn *fn;
	void *userdata;
	struct target target;
	unsigned taken; /* the first rung that works; 0: none yet */
	bool read_only; /* rung 2 failed for it, and */
	const char *read_only_advice;
};

static void find(struct report *r, unsigned rung, const char *id, int status, int error,
		 const char *what, const char *advice)
{
	struct psb_finding f = {
		.size = sizeof(f),
		.rung = rung,
		.id = id,
		.status = status,
		.taken = rung > 0 && rung == r->taken,
		.error = error,
		.what = what,
		.advice = advice,
	};

	r->fn(&f, r->userdata);
}

/* ---- the ladder ------------------------------------------------------------------------------- */

static const char *const rung_id[RUNG_MAX + 1] = {
	"", "protocol", "psi-privileged", "psi", "events", "sampling", "machine",
};

static const char *const rung_good[RUNG_MAX + 1] = {
	"",
	"the pressure source that was named (MEMORY_PRESSURE_WATCH, or by the caller) works",
	"a PSI trigger with a short window works: an alarm comes within a tenth of a second",
	"a PSI trigger with a window of 2 s works: an alarm takes up to 2 s, and up to 10 s if another program that reads the same file swallows it",
	"memory.events can be listened to: an alarm comes when the limit is hit; stalls before that are noticed within 10 s",
	"memory.pressure can be read: without an alarm it is sampled on a timer, which wakes the program up now and then",
	"/proc/pressure/memory works, but that is the whole machine's pressure and not this cgroup's",
};

static const char good_records[] =
	"psibridged listens on the socket that was named, and answers: it watches this cgroup, and tells levels as soon as it judges them";

#define ASK_USEC (1 * USEC_PER_SEC)

/* Ask the socket at `path`. Returns: 0: psibridged, and it would serve us; 1: it is not psibridged's,
 * or no process listens; else an error, and why[WHY_MAX] is what psibridged says. */
static int ask(const struct target *t, const char *path, char *why)
{
	struct policy_options terms;
	struct wire_record record;
	int r;

	psibridged_terms(t, &terms);
	r = psibridged_ask(path, &terms, ASK_USEC, &record);
	if (r == -ETIMEDOUT)
		snprintf(why, WHY_MAX, "psibridged at %.180s does not answer", path);
	else if (r == -ECONNRESET || r == -EPIPE)
		snprintf(why, WHY_MAX, "psibridged at %.180s hung up", path);
	else if (r == -EBADMSG || r == -ENOTSUP)
		snprintf(why, WHY_MAX, "what psibridged at %.180s sent makes no sense", path);
	else if (r < 0)
		return 1;
	if (r < 0)
		return r;
	if (record.kind != WIRE_REFUSED)
		return 0;
	snprintf(why, WHY_MAX, "psibridged at %.180s refuses: %.112s", path,
		 record.text[0] ? record.text : strerror((int)record.error));
	utf8_hide_controls(why, strlen(why));
	return record.error > 0 && record.error < 4096 ? -(int)record.error : -EACCES;
}

/* The ladder knows that there is a socket, not what is answered: as ask(). */
static int ask_named(struct report *r, char *why)
{
	enum stream_kind stream;

	if (target_look_at_stream(&r->target, &stream, why) < 0 || stream != STREAM_SOCKET)
		return 1;
	return ask(&r->target, r->target.stream_path, why);
}

/* A ladder_report_fn; the best rung comes first. */
static void tell_rung(void *userdata, unsigned rung, int error, const char *why, const char *advice)
{
	struct report *r = userdata;
	const char *what = error == 0 ? rung_good[rung] : why;
	int status = rung <= 2 ? WORKS : COULD_BE_BETTER;
	char answer[WHY_MAX];

	if (rung == 1 && error == 0) {
		int asked = ask_named(r, answer);

		error = MAX(0, -asked);
		what = asked < 0 ? answer : asked == 0 ? good_records : what;
	}
	if (rung == 2 && error == EROFS) {
		r->read_only = true;
		r->read_only_advice = advice;
	}
	if (error == 0 && r->taken == 0)
		r->taken = rung;
	else if (error != 0) /* ENODATA: not set, or not asked for */
		status = error == ENODATA ? COULD_BE_BETTER : DOES_NOT_WORK;
	if (error != 0 && r->taken != 0)
		advice = "";
	find(r, rung, rung_id[rung], status, error, what, advice);
}

/* ---- psibridged --------------------------------------------------------------------------------- */

/* A psibridged that was not named: would it be better than the rung taken? */
static void tell_psibridged(struct report *r)
{
	bool best = r->taken == 2;
	char why[WHY_MAX];
	int error;

	if (r->target.has_stream || !r->target.own || access(PSIBRIDGED_SOCKET, F_OK) < 0)
		return;
	error = ask(&r->target, PSIBRIDGED_SOCKET, why);
	if (error > 0)
		find(r, 0, "psibridged", COULD_BE_BETTER, 0,
		     "there is a socket at " PSIBRIDGED_SOCKET
		     ", but psibridged cannot be reached on it",
		     "See whether psibridged runs (systemctl status psibridged).");
	else if (error < 0)
		find(r, 0, "psibridged", COULD_BE_BETTER, -error, why, "");
	else
		find(r, 0, "psibridged", best ? WORKS : COULD_BE_BETTER, 0,
		     "psibridged listens at " PSIBRIDGED_SOCKET ", and would watch this cgroup",
		     best ? ""
			  : "Let it: set MEMORY_PRESSURE_WATCH=" PSIBRIDGED_SOCKET
			    " (systemd: MemoryPressureWatch=skip, and Environment=).");
}

/* ---- everything else -------------------------------------------------------------------------- */

static void tell_cgroup(struct report *r)
{
	const struct target *t = &r->target;
	const char *why, *advice;
	char what[2 * CGPATH_MAX + 128];

	if (!t->has_cgroup) {
		why = target_no_cgroup(t, &advice);
		find(r, 0, "cgroup", DOES_NOT_WORK, ENOENT, why, advice);
		return;
	}
	snprintf(what, sizeof(what), "the cgroup is %s, under %s", t->cgroup, t->cgroups.v2.point);
	find(r, 0, "cgroup", WORKS, 0, what, "");
	if (t->cgroups.has_v1)
		find(r, 0, "hybrid", COULD_BE_BETTER, 0,
		     "a hybrid hierarchy: the memory controller is on cgroup v1, so limits come from there, and there is no memory.events and no memory.high",
		     "Boot with systemd.unified_cgroup_hierarchy=1.");
}

static void say_load(const struct memory *memory, const struct memory_load *load, char *what,
		     size_t size)
{
	const char *path = memory->v1 ? memory->v1_path : memory->v2_path;
	unsigned long long limit = load->limit_bytes >> 20, use = load->working_set_bytes >> 20;
	size_t length = load->level ? load->level->length : 0;
	bool other = load->level && path[length] != '\0';

	if (!load->machine)
		snprintf(
			what, size,
			"the effective limit is %s%.*s%s%llu MiB, of which %llu MiB (%u %%) are in use%s",
			other ? "that of " : "", other ? (int)length : 0, other ? path : "",
			other ? ", " : "", limit, use, load->percent, other ? " there" : "");
	else if (load->limit_bytes == MEMORY_UNKNOWN)
		snprintf(
			what, size,
			"no limit is set, and how much memory the machine has is unknown: /proc/meminfo does not say");
	else if (load->available_bytes == MEMORY_UNKNOWN)
		snprintf(
			what, size,
			"no limit is set: only the machine's memory ends, %llu MiB; how much of it is in use is unknown: /proc/meminfo does not say",
			limit);
	else
		snprintf(
			what, size,
			"no limit is set: only the machine's memory ends, %llu MiB, of which %u %% are in use",
			limit, load->percent);
}

static void tell_limits(struct report *r)
{
	const struct target *t = &r->target;
	struct memory memory = { .count = 0 };
	struct memory_load load;
	char what[CGPATH_MAX + 256];
	int error = memory_open(&memory, &t->cgroups, t->has_cgroup ? t->cgroup : NULL,
				t->v1_cgroup[0] ? t->v1_cgroup : NULL);

	if (error == 0)
		error = memory_read(&memory, &load);
	if (error == 0)
		say_load(&memory, &load, what, sizeof(what));
	else
		snprintf(what, sizeof(what), "memory in use and its limit cannot be read: %s",
			 strerror(-error));
	find(r, 0, "limit", error == 0 ? WORKS : COULD_BE_BETTER, -error, what, "");
	if (error == 0 && !load.machine && !memory.v1 && load.high_bytes == UINT64_MAX)
		find(r, 0, "memory-high", COULD_BE_BETTER, 0,
		     "memory.max is set and memory.high is not: nothing stalls until the limit is hit, so pressure comes late, and the OOM killer soon after",
		     "Set memory.high to about 90 % of memory.max (systemd: MemoryHigh=).");
	memory_close(&memory);
}

static void tell_backend(struct report *r)
{
	psb_bridge *bridge;
	const char *why;
	int error = psb_bridge_new(NULL, &bridge);

	if (error < 0) {
		find(r, 0, "backend", DOES_NOT_WORK, -error, "no event loop can be made",
		     "PSIBRIDGE_BACKEND takes auto, uring or epoll.");
		return;
	}
	if (psb_bridge_backend(bridge, &why) == PSB_BACKEND_URING)
		find(r, 0, "backend", WORKS, 0, "events are waited for with io_uring", "");
	else
		find(r, 0, "backend", COULD_BE_BETTER, 0,
		     *why ? why : "events are waited for with epoll, as asked for",
		     "epoll does the same with a system call more for each event; nothing needs to be done.");
	psb_bridge_unref(bridge);
}

int psb_diagnose(const struct psb_watch_options *options, psb_finding_fn *fn, void *userdata)
{
	char why[WHY_MAX] = "", ladder_why[WHY_MAX];
	struct psb_watch_options o;
	struct policy_options policy;
	struct report *r;
	int error = fn ? watch_options_take(options, &o) : -EINVAL;

	if (error < 0)
		return error;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->fn = fn;
	r->userdata = userdata;
	error = watch_options_resolve(&o, &policy, &r->target, why);
	if (error < 0) {
		watch_explain(&o, why, error);
		free(r);
		return error;
	}
	tell_cgroup(r);
	if (r->target.foreign_unit)
		find(r, 0, "inherited", COULD_BE_BETTER, 0, why,
		     "Start the program as a service of its own, or unset MEMORY_PRESSURE_WATCH.");
	ladder_climb(&r->target, &policy.early, o.rungs ? o.rungs : ~0u, true, tell_rung, r, NULL,
		     ladder_why);
	/* a file that was named, as on rung 1, may be writable nevertheless */
	if (r->target.cgroups.v2.read_only && r->taken != 1 && r->read_only)
		find(r, 0, "cgroup-read-only", COULD_BE_BETTER, EROFS,
		     "the cgroup file system is mounted read-only, as in most containers: no trigger can be set from in here",
		     r->read_only_advice);
	tell_psibridged(r);
	tell_limits(r);
	tell_backend(r);
	free(r);
	return 0;
}

/* ---- words ------------------------------------------------------------------------------------ */

_Static_assert(PSB_CAUSE_TEXT_MAX == CAUSE_TEXT_MAX, "names.h writes it");

size_t psb_cause_text(const struct psb_notification *n, char *buf)
{
	const struct cause_view view = { n->cgroup,	   n->cause,	    n->reason,
					 n->cause_is_high, n->cause_length, n->limit_bytes,
					 n->since_usec };

	return strlen(cause_format(&view, buf));
}
