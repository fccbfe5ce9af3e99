/* SPDX-License-Identifier: MIT */
/*
 * names.h - names of levels, reasons and causes in the journal, JSON and the environment of programs: lower case, never changed; and
 * of units
 */
#pragma once

#include "policy.h"

/* By the numbers of policy.h, which are those of psibridge.h; "unknown". */
const char *name_of_available(unsigned available); /* "low", "neutral", "high" */
const char *name_of_reason(unsigned reason);	   /* "stall" ... */
unsigned available_of_name(const char *name);	   /* 0: there is no such level */
const char *name_of_cause(unsigned cause);	   /* "own" ... */

/* What psb_notification says of the cause. */
struct cause_view {
	const char *cgroup;
	unsigned cause, reason;
	bool is_high;
	size_t length;
	uint64_t limit_bytes;
	uint64_t since_usec; /* 0: no stall led there */
};

#define CAUSE_TEXT_MAX 320 /* as in tools.h */

/* In words, "shop.slice reached its MemoryHigh=80M", into buf[CAUSE_TEXT_MAX]; "": it is unknown, or over. Returns: buf. */
const char *cause_format(const struct cause_view *view, char *buf);

/*
 * The unit that a cgroup belongs to, as systemd names it (cg_path_get_unit(), cg_path_get_user_unit()
 * in its cgroup-util.c): the first component that is no slice, or the last slice; `user`: that of a
 * user's manager, within user@UID.service. A piece of `path`; its size, 0: none.
 */
size_t unit_of_cgroup(const char *path, bool user, const char **ret);
