/* SPDX-License-Identifier: MIT */
/*
 * lab.h - the lab of a test file (../pressure.h), of which each promise finds nothing and leaves nothing
 */
#pragma once

#include "../unit/unit.h"

#include "../skip.h"
#include "../pressure.h"

#include <stdio.h>
#include <string.h>

static struct lab lab;
static const char *no_lab;

/* Named as the file is. */
static inline int open_lab(void **state)
{
	char name[32];

	(void)state;
	snprintf(name, sizeof(name), "%s", strrchr(this_file.path, '/') + strlen("/test-"));
	*strchr(name, '.') = '\0';
	no_lab = lab_open(&lab, name);
	return 0;
}

static inline int close_lab(void **state)
{
	(void)state;
	lab_close(&lab);
	return 0;
}

GROUP(open_lab, close_lab)

static inline void need_lab(void **state)
{
	(void)state;
	if (no_lab)
		SKIP(no_lab);
}

static inline int clear_lab(void **state)
{
	(void)state;
	lab_kill_all();
	if (!no_lab)
		lab_clear(&lab);
	return 0;
}
