/* SPDX-License-Identifier: MIT */
/*
 * find-cgroup.h - the cgroups that a word means, on the command line or as the path of a watch
 */
#pragma once

#include "cli/control-client.h"
#include "core/cgpattern.h"

/* One, or those of a pattern. */
struct choice {
	struct cgpattern *pattern; /* NULL: */
	char path[CGPATH_MAX];
};

/* As people write it, with `mount` in front or not. Errors: of cgpattern_new(), cgpath_normalise(). */
int choice_make(const char *word, const char *mount, struct choice *ret, const char **ret_why);
void choice_done(struct choice *choice);
bool choice_has(const struct choice *choice, const char *cgroup);

/* Does a watch of this path or pattern, as psibridged has it, hear of that cgroup? */
bool choice_covers(const char *watch, const char *cgroup);

/*
 * `path` (normalised) becomes that of a cgroup that exists: itself; or, if it is one component, the
 * one cgroup of that name, wherever it is ("nginx.service"). `status` is psibridged's answer, which
 * may know cgroups that cannot be seen from here; it may be NULL. Errors: -ENOENT, and what is
 * similar was told.
 */
int find_cgroup(const char *verb, char *path, const json_t *status);

/* Our own, from /proc/self/cgroup, into buf[CGPATH_MAX]. Errors: of core/procfs.h, -errno. */
int find_own_cgroup(char *buf);
