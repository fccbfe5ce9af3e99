/* SPDX-License-Identifier: MIT */
/*
 * ahead.h - which limits of a pattern's cgroups will be reached
 *
 * A monitor looks ahead at its own limits. For the cgroups of a pattern that rest there is no monitor, only this: one list of
 * those that have a limit, one timer of the caller's for all of them, and one descriptor each while there are plenty. What
 * has no limit costs nothing between walks.
 *
 * A walk finds limits, new and changed ones: every 10 s, and with very many cgroups less often, for it may cost a 4,000th of
 * a core. Each limit is looked at as core/forecast.h says; looks that are not urgent come together.
 */
#pragma once

#include "monitor/tree.h"

struct ahead;

/* The limit that a cgroup, which matches, or one above it (its path is `length` long) has is reached in that time. */
typedef void ahead_fn(void *userdata, const char *path, size_t length, uint64_t left_usec);

/* `forecast_usec`: what is reached later is not told. The rest stays as long as this. Errors: -ENOMEM. */
int ahead_new(const struct cgroups *cgroups, const struct cgpattern *pattern, struct tree *tree,
	      uint64_t forecast_usec, struct ahead **ret);
struct ahead *ahead_free(struct ahead *ahead);

/* Look at what is due. A limit is told for those cgroups that use an eighth of it: they can give back, and are eight at most.
 * Returns: when to call it again. */
uint64_t ahead_sweep(struct ahead *ahead, uint64_t now_usec, ahead_fn *fn, void *userdata);

/* The cgroup was told Low: because of a forecast, or because it stalls. */
void ahead_told(struct ahead *ahead, const char *path, bool foretold);
