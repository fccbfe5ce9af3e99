/* SPDX-License-Identifier: MIT */
/*
 * names.c - one table for each kind of name
 */
#include "daemon/names.h"

#include "core/scan.h"

#include <string.h>

#define NAME_OF(names, value) \
	((unsigned)(value) < ELEMENTSOF(names) && names[value] ? names[value] : "unknown")

const char *name_of_available(enum psb_available available)
{
	static const char *const names[] = {
		[PSB_LOW] = "low", [PSB_NEUTRAL] = "neutral", [PSB_HIGH] = "high"
	};

	return NAME_OF(names, available);
}

const char *name_of_reason(enum psb_reason reason)
{
	static const char *const names[] = {
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

	return NAME_OF(names, reason);
}

bool available_of_name(const char *name, enum psb_available *ret)
{
	for (enum psb_available a = PSB_LOW; a <= PSB_HIGH; a++) {
		if (strcmp(name, name_of_available(a)) == 0) {
			*ret = a;
			return true;
		}
	}
	return false;
}

static bool is_of(struct scan name, const char *suffix)
{
	return scan_ends_with(name, suffix) && name.left > strlen(suffix);
}

static bool is_unit(struct scan name)
{
	static const char *const suffixes[] = { ".service", ".scope", ".socket", ".mount",
						".swap" };

	for (size_t i = 0; i < ELEMENTSOF(suffixes); i++)
		if (is_of(name, suffixes[i]))
			return true;
	return false;
}

/* Slices, then the unit below them; what is behind it is left in `path`. */
static struct scan take_unit(struct scan *path)
{
	struct scan name, slice = { "", 0 };

	while (scan_item(path, '/', &name)) {
		if (name.left > 1 &&
		    *name.p == '_') /* systemd's escape of names that look like kernel files */
			scan_skip(&name, 1);
		if (is_unit(name))
			return name;
		if (!is_of(name, ".slice"))
			break;
		slice = name;
	}
	return slice;
}

size_t unit_of_cgroup(const char *path, bool user, const char **ret)
{
	struct scan rest = scan_string(path + 1), unit = take_unit(&rest);

	if (user) {
		if (unit.left < 5 || memcmp(unit.p, "user@", 5) != 0)
			return 0;
		unit = take_unit(&rest);
	}
	*ret = unit.p;
	return unit.left;
}
