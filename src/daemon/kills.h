/* SPDX-License-Identifier: MIT */
/*
 * kills.h - log processes that the OOM killer killed, with the last numbers of their cgroup
 *
 * The cgroup of a service that was killed is gone before anything could read its files. The kernel's
 * log names it.
 */
#pragma once

#include "daemon/daemon.h"

struct kills;

/* What a watch covers goes to the journal and to daemon->history. Errors: -ENOMEM. Where the kernel's
 * log cannot be read that is logged, and no kill is. */
int kills_new(struct daemon *daemon, struct kills **ret);
struct kills *kills_free(struct kills *kills);
