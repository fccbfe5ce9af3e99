/* SPDX-License-Identifier: MIT */
/*
 * log.c - one line, one write(2), and no wait
 */
#include "runtimes/log.h"

#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

/* U+0080 to U+009F are two bytes in UTF-8; U+009B is ESC [. */
static int is_control(const char *at)
{
	unsigned char byte = (unsigned char)*at;

	return byte < ' ' || byte == 0x7f ||
	       ((byte & 0xe0) == 0x80 && (unsigned char)at[-1] == 0xc2);
}

void log_line(const struct log *log, int priority, const char *format, ...)
{
	char line[PIPE_BUF]; /* what a pipe takes in one piece */
	struct pollfd to = { .fd = STDERR_FILENO, .events = POLLOUT };
	va_list args;
	int head, n;

	if (priority > log->priority)
		return;
	head = snprintf(line, sizeof(line), "psibridge[%s]: ", log->name);
	va_start(args, format);
	n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	va_end(args);
	if (n < 0)
		return;
	n = head + n < (int)sizeof(line) - 2 ? head + n : (int)sizeof(line) - 2;
	for (int i = head; i < n; i++)
		if (is_control(line + i))
			line[i] = '?';
	line[n] = '\n';
	/* A pipe that is not emptied would stop who has to react; one that can be written to has room for PIPE_BUF bytes. */
	if (poll(&to, 1, 0) <= 0)
		return;
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
		return; /* where should that be said? */
}

void log_from_library(void *userdata, int priority, const char *message)
{
	log_line(userdata, priority, "%s", message);
}

void log_ready(const struct log *log, psb_bridge *bridge, psb_watch *watch)
{
	struct psb_source source = { .size = sizeof(source) };

	if (psb_watch_source(watch, &source) < 0)
		return;
	log_line(log, LOG_INFO, "ready: rung %u, %s on %s, %s", source.rung, source.name,
		 source.path[0] ? source.path : source.cgroup,
		 psb_bridge_backend(bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll");
	/* on this rung the stalls of others are told */
	if (source.rung == PSB_RUNG_MACHINE)
		log_line(log, LOG_INFO, "watching the whole machine, not this cgroup: %s",
			 source.why);
}

const char *log_level(int available, int critical)
{
	switch (available) {
	case PSB_LOW:
		return critical ? "Low, critical (memory is very short)" : "Low (memory is short)";
	case PSB_NEUTRAL:
		return "Neutral";
	case PSB_HIGH:
		return "High (memory is plentiful)";
	}
	return "a level that does not exist";
}
