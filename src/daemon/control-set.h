/* SPDX-License-Identifier: MIT */
/*
 * control-set.h - settings at run time, and what runs beside what is configured
 */
#pragma once

#include "daemon/control-status.h"

/* The answers to {"verb":"set"}, with its `lines`; `lines` NULL: to {"verb":"reset"}. NULL: out of memory. */
struct text *control_set(struct daemon *daemon, const char *watch, const char *lines);
/* The answer to {"verb":"diff"}. */
struct text *control_diff(struct daemon *daemon);
