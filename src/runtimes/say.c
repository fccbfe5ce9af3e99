/* SPDX-License-Identifier: MIT */
/*
 * say.c - one line, one write(2)
 */
#include "runtimes/say.h"

#include <psibridge/psibridge.h>

#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* U+0080 to U+009F are two bytes in UTF-8; U+009B is ESC [. */
static int is_control(const char *at)
{
	unsigned char byte = (unsigned char)*at;

	return byte < ' ' || byte == 0x7f ||
	       ((byte & 0xe0) == 0x80 && (unsigned char)at[-1] == 0xc2);
}

void say_line(const char *name, const char *format, va_list args)
{
	char line[PIPE_BUF]; /* what a pipe takes in one piece */
	int head = snprintf(line, sizeof(line), "psibridge[%s]: ", name), n;

	n = vsnprintf(line + head, sizeof(line) - (size_t)head - 1, format, args);
	if (n < 0)
		return;
	n = head + n < (int)sizeof(line) - 2 ? head + n : (int)sizeof(line) - 2;
	for (int i = head; i < n; i++)
		if (is_control(line + i))
			line[i] = '?';
	line[n] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n + 1) < 0)
		return; /* where should that be said? */
}

const char *say_level(int available, int critical)
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
