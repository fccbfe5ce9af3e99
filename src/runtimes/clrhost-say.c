/* SPDX-License-Identifier: MIT */
/*
 * clrhost-say.c - one line, one write(2)
 *
 * Lines of several threads, and of a runtime that writes to stderr as well, must not mix. A line
 * that is too long is cut; one that nobody reads is lost.
 */
#include "runtimes/clrhost-say.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

int say_priority = LOG_WARNING;

void say(int priority, const char *format, ...)
{
	char line[PATH_MAX + 512] = "psibridge[clrhost]: ";
	size_t n = strlen(line);
	va_list arguments;

	if (priority > say_priority)
		return;
	va_start(arguments, format);
	vsnprintf(line + n, sizeof(line) - n - 1, format, arguments);
	va_end(arguments);
	n = strlen(line);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}

void say_line(void *unused, int priority, const char *message)
{
	(void)unused;
	say(priority, "%s", message);
}
