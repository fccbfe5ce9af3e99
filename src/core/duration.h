/* SPDX-License-Identifier: MIT */
/*
 * duration.h - a length of time as text: "200ms", "2s", "8.192s", "1min", "500us"
 *
 * A unit is needed (0 needs none), a fraction must come out in whole microseconds, nothing may
 * surround it. Units: us, ms, s, min, h.
 */
#pragma once

#include "util.h"

#define DURATION_TEXT_MAX 32
#define DURATION_MAX_USEC ((uint64_t)INT64_MAX) /* 292,000 years: fits wherever a time is kept */

/*
 * Errors: -EINVAL: no number, no or unknown unit, a fraction of a microsecond; -ERANGE: more than
 * DURATION_MAX_USEC. Then *ret_why, if not NULL, says so in words: a constant string.
 */
int duration_parse(const char *text, size_t size, uint64_t *ret_usec, const char **ret_why);

/*
 * Writes the shortest exact form that has a digit other than 0 before its point ("200ms" and not
 * "0.2s"; of two as short the one in the bigger unit: "8.192s"), as a C string into
 * buf[DURATION_TEXT_MAX]. Returns its length without the NUL. What duration_parse() accepts comes
 * back as the same number.
 */
size_t duration_format(uint64_t usec, char *buf);
