/* SPDX-License-Identifier: MIT */
/*
 * say.h - what hooks and hosts print: one line on stderr, "psibridge[NAME]: ...", in the words that psibridge-runtimes(7) has
 */
#pragma once

#include <stdarg.h>

/* In one write(2): lines of several threads, and of a runtime that writes to stderr as well, must not mix. What a path
 * contains makes no second line. A line that is too long is cut, one that cannot be written is lost. */
void say_line(const char *name, const char *format, va_list args)
	__attribute__((format(printf, 2, 0)));

/* "Low, critical (memory is very short)". `available` as in both interfaces: 1 to 3. */
const char *say_level(int available, int critical);
