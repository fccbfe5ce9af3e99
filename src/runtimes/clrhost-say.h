/* SPDX-License-Identifier: MIT */
/*
 * clrhost-say.h - the messages of psibridge-clrhost, in the form every hook has (hook.h)
 *
 * Lines on stderr that begin with "psibridge[clrhost]: ". PSIBRIDGE_LOG decides which of them, but
 * only once it was read: what keeps the program from starting is said before, and always.
 */
#pragma once

/* A priority of syslog, or -1: nothing. LOG_WARNING at first. */
extern int say_priority;

void say(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A psb_log_fn. */
void say_line(void *unused, int priority, const char *message);
