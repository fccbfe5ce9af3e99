/* SPDX-License-Identifier: MIT */
/*
 * metrics.h - what the files of `psibridge metrics` share
 *
 *     metrics.c          cgroups, the file, the verb
 *     metrics-daemon.c   what psibridged says of itself and its watches
 *     metrics-text.c     how it is written
 */
#pragma once

#include <stdio.h>

#include "cli/rows.h"

enum format { OPENMETRICS, PROMETHEUS };

struct exposition {
	FILE *out;	 /* memory: errors are looked for at the end */
	unsigned format; /* enum format */
	struct rows *rows;
	const json_t *status; /* NULL: psibridged is not there */
};

enum family_type { GAUGE, COUNTER };

/* The two lines before the samples of a family; a counter's name is given without "_total". */
void family(const struct exposition *e, const char *name, enum family_type type, const char *text);
/* The value of a label, without its quotes. */
void label(const struct exposition *e, const char *value);

/* With a status. */
void metrics_put_daemon(const struct exposition *e);
