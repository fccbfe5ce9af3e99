/* SPDX-License-Identifier: MIT */
/*
 * context.c - the log of monitor_context
 */
#include "monitor/context.h"

#include "core/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void context_log(const struct monitor_context *context, int priority, const char *format, ...)
{
	char line[512];
	va_list args;

	if (!context->log)
		return;
	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	/* a cgroup's name must not begin a new line */
	utf8_hide_controls(line, strlen(line));
	context->log(context->log_userdata, priority, line);
}
