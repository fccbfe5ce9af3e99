/* SPDX-License-Identifier: MIT */
/*
 * names.c - one table for each kind of name
 */
#include "daemon/names.h"

#include "core/scan.h"

#include <string.h>

static const char *const levels[] = {
	[PSB_LOW] = "low", [PSB_NEUTRAL] = "neutral", [PSB_HIGH] = "high"
};

static const char *const reasons[] = {
	[PSB_REASON_STALL] = "stall",
	[PSB_REASON_REPEAT] = "repeat",
	[PSB_REASON_OOM] = "oom",
	[PSB_REASON_SIGNAL] = "signal",
	[PSB_REASON_HEADROOM] = "headroom",
	[PSB_REASON_CALM] = "calm",
	[PSB_REASON_SIMULATED] = "simulated",
	[PSB_REASON_PRESENT] = "present",
	[PSB_REASON_GONE] = "gone",
};

const char *name_of_available(enum psb_available available)
{
	return available >= PSB_LOW && available <= PSB_HIGH ? levels[available] : "unknown";
}

const char *name_of_reason(enum psb_reason reason)
{
	return reason >= PSB_REASON_STALL && reason <= PSB_REASON_GONE ? reasons[reason]
								       : "unknown";
}

bool available_of_name(const char *name, enum psb_available *ret)
{
	for (enum psb_available a = PSB_LOW; a <= PSB_HIGH; a++)
		if (strcmp(name, levels[a]) == 0) {
			*ret = a;
			return true;
		}
	return false;
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
