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

/* `all`: nothing was chosen and left out. Errors: of writing, -ENOMEM. */
int status_print(const struct output *output, bool all, const json_t *status);
