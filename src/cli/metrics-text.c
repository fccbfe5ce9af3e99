/* SPDX-License-Identifier: MIT */
/*
 * metrics-text.c - the notation of OpenMetrics and of Prometheus
 */
#include "cli/metrics.h"

void family(const struct exposition *e, const char *name, enum family_type type, const char *text)
{
	/* `name` is without the "_total" that every sample of a counter has */
	const char *suffix = e->format == PROMETHEUS && type == COUNTER ? "_total" : "";

	fprintf(e->out, "# TYPE %s%s %s\n# HELP %s%s %s\n", name, suffix,
		type == COUNTER ? "counter" : "gauge", name, suffix, text);
}

void label(const struct exposition *e, const char *value)
{
	for (; *value; value++) {
		if (*value == '\\' || *value == '"')
			putc('\\', e->out);
		if (*value == '\n')
			fputs("\\n", e->out);
		else
			putc(*value, e->out);
	}
}
