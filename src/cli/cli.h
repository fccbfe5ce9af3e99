/* SPDX-License-Identifier: MIT */
/*
 * cli.h - what the verbs of psibridge(1) share
 *
 * One file a verb. A verb gets its own arguments (argv[0] is its name), prints results on stdout
 * and complaints on stderr, and returns the exit status.
 */
#pragma once

#include "psibridge/tools.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Exit statuses, documented in psibridge(1). */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1, /* it could not be done; doctor: no rung works */
	EXIT_USAGE = 2,	 /* the command line makes no sense */
	EXIT_GONE = 3,	 /* watch: the cgroup was removed */
	EXIT_LOW = 4,	 /* status: memory is short somewhere */
};

int verb_watch(int argc, char **argv);
int verb_doctor(int argc, char **argv);
int verb_status(int argc, char **argv);
int verb_top(int argc, char **argv);
int verb_simulate(int argc, char **argv);
int verb_set(int argc, char **argv);
int verb_diff(int argc, char **argv);
int verb_record(int argc, char **argv);
int verb_replay(int argc, char **argv);
int verb_tune(int argc, char **argv);
int verb_why(int argc, char **argv);
int verb_report(int argc, char **argv);
int verb_metrics(int argc, char **argv);
int verb_demo(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_attach(int argc, char **argv);
