/* SPDX-License-Identifier: MIT */
/*
 * cgwalk.h - every cgroup of a pattern, once
 *
 * What is open at any moment is one directory and one cgroup in it, however deep it goes.
 */
#pragma once

#include "kernel/cgroup.h"

/* `dirfd` is an O_PATH descriptor of its directory. An error ends the walk. */
typedef int cgwalk_fn(int dirfd, const char *path, void *userdata);

/* `pattern` may be a path, which is visited alone. Errors: -ENOENT (its fixed part is not there), -EINVAL, -ENOMEM, -EMFILE,
 * -ENFILE, and that of `visit`. What vanishes meanwhile is left out. */
int cgwalk(const struct cgroups *cgroups, const char *pattern, cgwalk_fn *visit, void *userdata);
