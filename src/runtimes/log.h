/* SPDX-License-Identifier: MIT */
/*
 * log.h - what hooks and hosts print: one line on stderr, "psibridge[NAME]: ...", in the words that psibridge-runtimes(7) has
 */
#pragma once

#include <psibridge/psibridge.h>

#include <syslog.h>

struct log {
	const char *name; /* "coreclr" */
	int priority;	  /* syslog's; what is less urgent is not printed. -1: nothing is */
};

/* In one write(2): lines of several threads, and of a runtime that writes to stderr as well, must not mix. What a path
 * contains makes no second line. A line that is too long is cut; one that cannot be written, or only by waiting, is lost. */
void log_line(const struct log *log, int priority, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* A psb_log_fn, whose userdata is a struct log. */
void log_from_library(void *userdata, int priority, const char *message);

/* "ready: ..." */
void log_ready(const struct log *log, psb_bridge *bridge, psb_watch *watch);

/* "Low, critical (memory is very short)". `available` as in both interfaces: 1 to 3. */
const char *log_level(int available, int critical);
