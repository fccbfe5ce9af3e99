/* SPDX-License-Identifier: MIT */
/*
 * trace-json.h - what Prometheus's query_range and sadf -j say, as samples
 */
#pragma once

#include "cli/import.h"
#include "cli/trace-text.h"

#define TRACE_JSON_MAX (64 << 20)

/* `fn` returns 0, or an error that ends it. *ret_why is said of JSON that is damaged or foreign, and of more than TRACE_JSON_MAX bytes; it is
 * constant, or in buf[256]. Errors: -EINVAL, -errno of reading, and what fn() returned. */
int trace_json_read(struct trace_text *text, struct import *import,
		    int (*fn)(struct trace_sample *sample, void *userdata), void *userdata,
		    char *buf, const char **ret_why);
