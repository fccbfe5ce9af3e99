/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - names of cgroups are bytes, what scripts and terminals want is UTF-8
 *
 * The kernel allows any byte but '/', NUL and newline in a cgroup's name. JSON and
 * OpenMetrics are UTF-8, so what is not becomes U+FFFD there.
 */
#pragma once

#include "util.h"

/* Bytes of the character that `text` begins with, 1 to 4; 0: it is not well-formed UTF-8 (also
 * overlong forms, surrogates, beyond U+10FFFF, cut off), or nothing is left. */
size_t utf8_character(const char *text, size_t size);

/* Is all of the C string `text` well-formed? */
bool utf8_is_valid(const char *text);

/*
 * How many bytes of `text` to look at next, at least 1 where anything is left; is it a control
 * character? U+0080 to U+009F are some too: to many terminals U+009B, or the bare byte, is an ESC [.
 */
size_t utf8_next(const char *text, size_t size, bool *ret_control);

/* Is it well-formed, and without control characters? */
bool utf8_is_printable(const char *text);

/* Each byte of a control character in text[size] becomes '?': no name begins a new line, or
 * controls a terminal. */
void utf8_hide_controls(char *text, size_t size);

/*
 * Writes the C string `text` into buf[capacity], NUL-terminated, with U+FFFD for each byte that is
 * no part of a character. What does not fit is cut off, between characters. Returns the length.
 * 3 x strlen(text) + 1 bytes are always enough; `capacity` is at least 1.
 */
size_t utf8_replace(const char *text, char *buf, size_t capacity);
