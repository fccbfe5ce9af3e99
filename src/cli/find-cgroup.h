/* SPDX-License-Identifier: MIT */
/*
 * find-cgroup.h - the cgroup that a word on the command line means
 */
#pragma once

#include "cli/control-client.h"
#include "core/cgpath.h"

/*
 * `path` (normalised) becomes that of a cgroup that exists: itself; or, if it is one component, the
 * one cgroup of that name, wherever it is ("nginx.service"). `status` is psibridged's answer, which
 * may know cgroups that cannot be seen from here; it may be NULL. Errors: -ENOENT, and what is
 * similar was told.
 */
int find_cgroup(const char *verb, char *path, const json_t *status);
