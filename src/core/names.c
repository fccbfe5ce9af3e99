/* SPDX-License-Identifier: MIT */
/*
 * names.c - one table for each kind of name
 */
#include "names.h"
#include "scan.h"
#include "value.h"

#include <stdio.h>
#include <string.h>

static const char *const levels[] = {
	[LEVEL_LOW] = "low", [LEVEL_NEUTRAL] = "neutral", [LEVEL_HIGH] = "high"
};

static const char *const reasons[] = {
	[REASON_STALL] = "stall",	  [REASON_REPEAT] = "repeat",	  [REASON_OOM] = "oom",
	[REASON_SIGNAL] = "signal",	  [REASON_HEADROOM] = "headroom", [REASON_CALM] = "calm",
	[REASON_SIMULATED] = "simulated", [REASON_PRESENT] = "present",	  [REASON_GONE] = "gone",
	[REASON_FORECAST] = "forecast",
};

const char *name_of_available(unsigned available)
{
	return available >= LEVEL_LOW && available <= LEVEL_HIGH ? levels[available] : "unknown";
}

const char *name_of_reason(unsigned reason)
{
	return reason >= REASON_STALL && reason <= REASON_FORECAST ? reasons[reason] : "unknown";
}

const char *name_of_cause(unsigned cause)
{
	static const char *const causes[] = {
		[CAUSE_UNKNOWN] = "unknown",   [CAUSE_OWN] = "own",
		[CAUSE_ANCESTOR] = "ancestor", [CAUSE_DESCENDANT] = "descendant",
		[CAUSE_MACHINE] = "machine",
	};

	return causes[cause < ELEMENTSOF(causes) ? cause : CAUSE_UNKNOWN];
}

/* The last component of the front of the path; "/" is its own. */
static struct scan name_of_front(const char *path, size_t length)
{
	size_t begin = length;

	while (begin > 1 && path[begin - 1] != '/')
		begin--;
	return (struct scan){ path + (length > 1 ? begin : 0),
			      length > 1 ? length - begin : length };
}

/* Present, and no stall led there: it was foretold, and may never reach it. */
static const char *verb_of(const struct cause_view *v)
{
	bool foretold = v->reason == REASON_PRESENT && v->since_usec == 0;

	return foretold || v->reason == REASON_HEADROOM ? "is near"
	       : v->reason == REASON_FORECAST		? "will soon reach"
							: "reached";
}

static void format_limit(const struct cause_view *v, char *buf)
{
	struct scan name = name_of_front(v->cgroup, v->length);
	const char *key = v->is_high ? "MemoryHigh" : "MemoryMax";
	const char *verb = verb_of(v);
	struct value limit = { .number = v->limit_bytes };
	char size[VALUE_TEXT_MAX];

	value_format(FORM_SIZE, &limit, size);
	if (v->length == 0)
		snprintf(buf, CAUSE_TEXT_MAX, "%s %s its limit%s%s",
			 v->cause == CAUSE_OWN ? "it" : "a cgroup above it", verb,
			 v->limit_bytes ? " of " : "", v->limit_bytes ? size : "");
	else
		snprintf(buf, CAUSE_TEXT_MAX, "%.*s %s its %s%s%s", (int)name.left, name.p, verb,
			 key, v->limit_bytes ? "=" : "", v->limit_bytes ? size : "");
}

const char *cause_format(const struct cause_view *v, char *buf)
{
	buf[0] = '\0';
	if (v->reason == REASON_CALM || v->reason == REASON_GONE)
		return buf;
	switch ((enum cause)v->cause) {
	case CAUSE_UNKNOWN:
		break;
	case CAUSE_OWN:
	case CAUSE_ANCESTOR:
		format_limit(v, buf);
		break;
	case CAUSE_DESCENDANT:
		snprintf(buf, CAUSE_TEXT_MAX, "a cgroup below it %s its own limit", verb_of(v));
		break;
	case CAUSE_MACHINE:
		snprintf(buf, CAUSE_TEXT_MAX, "the machine itself is short of memory");
		break;
	}
	return buf;
}

unsigned available_of_name(const char *name)
{
	unsigned level = LEVEL_HIGH;

	while (level > 0 && strcmp(name, name_of_available(level)) != 0)
		level--;
	return level;
}

/* Slices, then the unit below them; what is behind it is left in `path`. */
static struct scan take_unit(struct scan *path)
{
	static const char *const suffixes[] = { ".slice",  ".service", ".scope",
						".socket", ".mount",   ".swap" };
	struct scan name, slice = { "", 0 };

	while (scan_item(path, '/', &name)) {
		size_t i = 0;

		/* systemd's escape of names that look like kernel files */
		if (name.left > 1 && *name.p == '_')
			scan_skip(&name, 1);
		while (i < ELEMENTSOF(suffixes) &&
		       !(scan_ends_with(name, suffixes[i]) && name.left > strlen(suffixes[i])))
			i++;
		if (i > 0)
			return i < ELEMENTSOF(suffixes) ? name : slice;
		slice = name;
	}
	return slice;
}

size_t unit_of_cgroup(const char *path, bool user, const char **ret)
{
	struct scan rest = scan_string(path), unit;

	scan_word(&rest, "/");
	unit = take_unit(&rest);
	if (user)
		unit = scan_word(&unit, "user@") ? take_unit(&rest) : (struct scan){ "", 0 };
	*ret = unit.p;
	return unit.left;
}
