/* SPDX-License-Identifier: MIT */
/*
 * utf8.h - names of cgroups are bytes, what scripts and terminals want is UTF-8
 *
 * The kernel lets anybody put any byte but '/', NUL and newline into a cgroup's name. JSON and
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
 * Writes the C string `text` into buf[capacity], NUL-terminated, with U+FFFD for each byte that is
 * no part of a character. What does not fit is cut off, between characters. Returns the length.
 * 3 x strlen(text) + 1 bytes are always enough; `capacity` is at least 1.
 */
size_t utf8_replace(const char *text, char *buf, size_t capacity);
