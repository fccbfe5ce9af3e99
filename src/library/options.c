/* SPDX-License-Identifier: MIT */
/*
 * options.c - from psb_watch_options to what the layers below want
 */
#include "library/sized.h"
#include "library/watch.h"

#include "core/cgpattern.h"
#include "core/setting.h"
#include "core/utf8.h"

#include <stdio.h>
#include <string.h>

_Static_assert(PSB_HEADROOM_OFF == HEADROOM_OFF, "the public name of it");
_Static_assert(PSB_FORECAST_OFF == FORECAST_OFF, "the public name of it");

/* Of a process that watches itself. */
#define OWN_FORECAST_USEC (2 * USEC_PER_SEC)

void watch_explain(const struct psb_watch_options *o, const char *why, int error)
{
	if (!o->error_text || o->error_text_size == 0)
		return;
	snprintf(o->error_text, o->error_text_size, "%s", why[0] ? why : strerror(-error));
	utf8_hide_controls(o->error_text, strlen(o->error_text));
}

int watch_options_take(const struct psb_watch_options *theirs, struct psb_watch_options *ret)
{
	struct psb_watch_options o = { 0 };
	char why[WHY_MAX];
	int r = theirs ? sized_take(&o, sizeof(o), theirs) : 0;

	if (r == -E2BIG && theirs->size <= SIZED_MAX) {
		snprintf(
			why, sizeof(why),
			"options: of %zu bytes libpsibridge %s knows %zu, and behind them something is set: "
			"the program needs a newer version",
			theirs->size, PACKAGE_VERSION, sizeof(o));
		watch_explain(&o, why, r);
	}
	if (r == 0)
		*ret = o;
	return r;
}

static int put_trigger(struct policy_options *asked, enum setting setting, const char *text,
		       char *why)
{
	struct value value = { .number = 0 };
	const char *wrong;

	if (!text)
		return 0;
	if (trigger_parse(text, strlen(text), &value.trigger, &wrong) < 0) {
		snprintf(why, WHY_MAX, "%s \"%.100s\": %s", setting_table[setting].word, text,
			 wrong);
		return -EINVAL;
	}
	setting_put(asked, setting, &value);
	return 0;
}

/* What needs no parsing. */
static int check(const struct psb_watch_options *o, char *why)
{
	if (o->rungs && !(o->rungs & (PSB_RUNG_MASK(RUNG_MAX + 1) - 2)))
		snprintf(why, WHY_MAX, "rungs 0x%x: none of them is PSB_RUNG_MASK() of a rung",
			 o->rungs);
	else if (!o->source_write && o->source_write_size > 0)
		snprintf(why, WHY_MAX, "source_write is NULL, source_write_size is %zu",
			 o->source_write_size);
	else if (o->source_write_size > 0 && !o->source)
		snprintf(why, WHY_MAX, "source_write without source");
	else if (o->headroom_percent > 99 && o->headroom_percent != PSB_HEADROOM_OFF)
		snprintf(why, WHY_MAX, "headroom_percent %u: 1 to 99 was expected",
			 o->headroom_percent);
	else if (MAX(o->rearm_usec, MAX(o->quiet_usec, o->calm_usec)) > 86400 * USEC_PER_SEC)
		snprintf(why, WHY_MAX, "rearm, quiet and calm: a day at most");
	else if (o->forecast_usec > 86400 * USEC_PER_SEC && o->forecast_usec != PSB_FORECAST_OFF)
		snprintf(why, WHY_MAX, "forecast: a day at most");
	else if (o->pattern && (o->cgroup || o->pid != 0 || o->unit || o->source))
		snprintf(why, WHY_MAX, "a pattern excludes cgroup, pid, unit and source");
	else
		return 0;
	return -EINVAL;
}

/* What holds: what the caller asked for, over what is built in. */
static int resolve_policy(const struct psb_watch_options *o, struct policy_options *ret_asked,
			  struct policy_options *ret, char *why)
{
	int r;

	*ret_asked = (struct policy_options){
		.rearm_usec = o->rearm_usec,
		.quiet_usec = o->quiet_usec,
		.calm_usec = o->calm_usec,
		.headroom_percent = o->headroom_percent,
		.descendants = o->descendants ? DESCENDANTS_COUNT : 0,
		.forecast_usec = o->forecast_usec,
	};
	r = put_trigger(ret_asked, SETTING_EARLY, o->early, why);
	if (r == 0)
		r = put_trigger(ret_asked, SETTING_LOW, o->low, why);
	if (r == 0)
		r = put_trigger(ret_asked, SETTING_CRITICAL, o->critical, why);
	if (r < 0)
		return r;
	settings_built_in(ret);
	if (!o->cgroup && !o->pid && !o->unit && !o->source && !o->pattern)
		ret->forecast_usec = OWN_FORECAST_USEC;
	settings_over(ret, ret_asked);
	r = trigger_check_early("early", &ret->early, "low", &ret->low, why, WHY_MAX);
	if (r == 0)
		r = trigger_check_early("early", &ret->early, "critical", &ret->critical, why,
					WHY_MAX);
	return r;
}

/* What a pattern begins with, into buf[CGPATH_MAX]: the mount may stand in front, as in front of any cgroup. */
static int find_fixed(const char *text, char *buf, char *why)
{
	struct cgpattern *pattern;
	const char *wrong;
	int r = cgpattern_new(text, NULL, &pattern, &wrong);

	if (r < 0) {
		snprintf(why, WHY_MAX, "pattern \"%.150s\": %s", text, wrong);
		return r;
	}
	snprintf(buf, CGPATH_MAX, "%s", cgpattern_fixed(pattern));
	cgpattern_free(pattern);
	return 0;
}

int watch_options_resolve(const struct psb_watch_options *o, struct policy_options *ret,
			  struct target *ret_target, char *why)
{
	struct target_request q = {
		.proc = "/proc",
		.cgroup = o->cgroup,
		.pid = o->pid,
		.unit = o->unit,
		.source = o->source,
		.source_write = o->source_write,
		.source_write_size = o->source_write_size,
	};
	struct policy_options asked;
	char fixed[CGPATH_MAX];
	int r;

	why[0] = '\0';
	r = check(o, why);
	if (r == 0)
		r = resolve_policy(o, &asked, ret, why);
	if (r == 0 && o->pattern) {
		r = find_fixed(o->pattern, fixed, why);
		q.cgroup = fixed;
	}
	if (r == 0)
		r = target_resolve(&q, ret_target, why);
	if (r == 0 && !o->pattern)
		ret_target->terms = asked;
	return r;
}
