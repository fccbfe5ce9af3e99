/* SPDX-License-Identifier: MIT */
/*
 * names.c - one table for each kind of name
 */
#include "names.h"
#include "policy.h"
#include "scan.h"

#include <string.h>

static const char *const levels[] = {
	[LEVEL_LOW] = "low", [LEVEL_NEUTRAL] = "neutral", [LEVEL_HIGH] = "high"
};

static const char *const reasons[] = {
	[REASON_STALL] = "stall",	  [REASON_REPEAT] = "repeat",	  [REASON_OOM] = "oom",
	[REASON_SIGNAL] = "signal",	  [REASON_HEADROOM] = "headroom", [REASON_CALM] = "calm",
	[REASON_SIMULATED] = "simulated", [REASON_PRESENT] = "present",	  [REASON_GONE] = "gone",
};

const char *name_of_available(unsigned available)
{
	return available >= LEVEL_LOW && available <= LEVEL_HIGH ? levels[available] : "unknown";
}

const char *name_of_reason(unsigned reason)
{
	return reason >= REASON_STALL && reason <= REASON_GONE ? reasons[reason] : "unknown";
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
