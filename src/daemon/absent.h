/* SPDX-License-Identifier: MIT */
/*
 * absent.h - watches of a configuration whose cgroup does not exist now
 *
 * That is no mistake: it may be made later. But a watch with a misspelt path waits for ever.
 */
#pragma once

#include "daemon/config.h"

/* One line for each watch that a file names, with what was probably meant. Looks at all cgroups of
 * this machine, which takes its time. */
void absent_warn(const struct config *config, FILE *out);
