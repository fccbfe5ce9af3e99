/* SPDX-License-Identifier: MIT */
/*
 * status.h - what the files of `psibridge status` share
 *
 *     status.c         options, which cgroups are wanted, asking once and again, what changed
 *     status-print.c   the screen
 */
#pragma once

#include "cli/control-client.h"
#include "cli/output.h"
#include "core/cgpattern.h"

/* Which cgroups are of interest: all, one and what is below it, or those of a pattern. */
struct choice {
	bool all;
	struct cgpattern *pattern; /* NULL: */
	char path[CGPATH_MAX];
};

bool choice_takes(const struct choice *choice, const char *path);
/* A watch that covers what was chosen, or has news of it. */
bool choice_takes_watch(const struct choice *choice, const json_t *status, const json_t *watch);

/* Errors: of writing. */
int status_print(const struct output *output, const struct choice *choice, const json_t *status);
