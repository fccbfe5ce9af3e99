/* SPDX-License-Identifier: MIT */
/*
 * names.h - names of levels and reasons in journal and control socket: lower case, never changed
 */
#pragma once

#include "core/util.h"
#include "psibridge/psibridge.h"

const char *name_of_available(enum psb_available available); /* "low", "neutral", "high" */
const char *name_of_reason(enum psb_reason reason);	     /* "stall" ...; "unknown" */

/*
 * The unit that a cgroup belongs to, as systemd names it (cg_path_get_unit(), cg_path_get_user_unit()
 * in its cgroup-util.c): the first component that is no slice, or the last slice; `user`: that of a
 * user's manager, within user@UID.service. A piece of `path`; its size, 0: none.
 */
size_t unit_of_cgroup(const char *path, bool user, const char **ret);

/* The other way round; false: there is no such level. */
bool available_of_name(const char *name, enum psb_available *ret);
