/* SPDX-License-Identifier: MIT */
/*
 * stamp.h - a time as programs write it into their records
 *
 * Seconds since the Epoch or since a start, or milli-, micro- or nanoseconds, by their size; ISO 8601, with T or blanks ("2026-11-30
 * 16:00:00,123", "2026-11-30T16:00:00.5+01:00"); what ts(1) writes ("Nov 30 16:00:00", "00:00:07"). Without a zone it is UTC, and without
 * a year only differences count.
 */
#pragma once

#include "core/scan.h"

/* Off the front. False: there is none. */
bool stamp_scan(struct scan *s, uint64_t *ret_usec);
