/* SPDX-License-Identifier: MIT */
/*
 * daemon-stage.h - for tests with simulated levels: a daemon of its own for each, and the cgroups
 * a, a/below, b and shadow
 */
#pragma once

#include "daemon-bench.h"

static struct bench bench;

#define CONFIGURATION           \
	"[Daemon]\n"            \
	"ClientsPerCgroup=20\n" \
	"[Defaults]\n"          \
	"HighHeadroom=off\n"    \
	"Quiet=1s\n"            \
	"Calm=2s\n"             \
	"[Watch %s/**]\n"

#define SUBSCRIBE "psibridge/1\n"

static inline int set_up(void **state)
{
	(void)state;
	no_lab = lab_open(&lab, "psb-daemon");
	if (no_lab)
		return 0;
	lab_make(&lab, "a", 0);
	lab_make(&lab, "b", 0);
	lab_make(&lab, "a/below", 0);
	lab_make(&lab, "shadow", 0);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	if (!no_lab) {
		lab_enter(&lab, NULL);
		lab_close(&lab);
	}
	return 0;
}

static inline int start(void **state)
{
	(void)state;
	if (no_lab)
		return 0;
	bench_start(&bench, CONFIGURATION);
	return 0;
}

static inline int stop(void **state)
{
	(void)state;
	if (!no_lab) {
		lab_enter(&lab, NULL);
		bench_stop(&bench);
	}
	return 0;
}

static inline int client(const char *group, const char *hello)
{
	if (no_lab)
		SKIP(no_lab);
	return bench_client(&bench, group, hello);
}

GROUP(set_up, tear_down)
EACH(start, stop)
