/* SPDX-License-Identifier: MIT */
/*
 * names.h - names of levels and reasons in the journal, JSON and the environment of programs: lower case, never changed; and
 * of units
 */
#pragma once

#include "util.h"

/* By the numbers of policy.h, which are those of psibridge.h; "unknown". */
const char *name_of_available(unsigned available); /* "low", "neutral", "high" */
const char *name_of_reason(unsigned reason);	   /* "stall" ... */
unsigned available_of_name(const char *name);	   /* 0: there is no such level */

/*
 * The unit that a cgroup belongs to, as systemd names it (cg_path_get_unit(), cg_path_get_user_unit()
 * in its cgroup-util.c): the first component that is no slice, or the last slice; `user`: that of a
 * user's manager, within user@UID.service. A piece of `path`; its size, 0: none.
 */
size_t unit_of_cgroup(const char *path, bool user, const char **ret);
