/* SPDX-License-Identifier: MIT */
/*
 * base64.h - RFC 4648, strict, for $MEMORY_PRESSURE_WRITE
 *
 * White space between characters is skipped (systemd's documentation allows it in unit files), the
 * padding must be there and the bits behind it zero: one sequence of bytes has one text.
 */
#pragma once

#include "util.h"

/*
 * Decodes into buf, which holds `capacity` bytes and is undefined after an error. An empty text is
 * no bytes. Errors: -EINVAL: not base64; -ENOSPC: it is, and does not fit.
 */
int base64_decode(const char *text, size_t size, void *buf, size_t capacity, size_t *ret_size);
