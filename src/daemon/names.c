/* SPDX-License-Identifier: MIT */
/*
 * names.c - one table for all who name things to others
 */
#include "daemon/names.h"

#include <string.h>

const char *name_of_available(enum psb_available available)
{
	switch (available) {
	case PSB_LOW:
		return "low";
	case PSB_NEUTRAL:
		return "neutral";
	case PSB_HIGH:
		return "high";
	}
	return "unknown";
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

const char *name_of_reason(enum psb_reason reason)
{
	switch (reason) {
	case PSB_REASON_STALL:
		return "stall";
	case PSB_REASON_REPEAT:
		return "repeat";
	case PSB_REASON_OOM:
		return "oom";
	case PSB_REASON_SIGNAL:
		return "signal";
	case PSB_REASON_HEADROOM:
		return "headroom";
	case PSB_REASON_CALM:
		return "calm";
	case PSB_REASON_SIMULATED:
		return "simulated";
	case PSB_REASON_PRESENT:
		return "present";
	case PSB_REASON_GONE:
		return "gone";
	}
	return "unknown";
}

const char *name_of_state(enum tree_state state)
{
	switch (state) {
	case TREE_WATCHING:
		return "watching";
	case TREE_ABSENT:
		return "absent";
	case TREE_FAILED:
		return "failed";
	}
	return "unknown";
}
