/* SPDX-License-Identifier: MIT */
/*
 * trace-file.h - a file with a trace, or standard input, from its first line to its last
 */
#pragma once

#include "core/trace.h"

/* Returns: why it makes no sense here, a constant string; NULL: it does. */
typedef const char *trace_sample_fn(const struct trace_sample *sample, void *userdata);

/*
 * All of `path` ("-": standard input), packed or not, ours or another's (psibridge-trace(5)). What is wrong is said as "psibridge VERB:
 * FILE:LINE: why", the first lines of many; the others are read. A last line without its newline is one that is being written, and left out.
 * *ret gets what the reader knows. Samples come as they stand in the file; of Prometheus, by time. Errors: -errno of open(2), read(2),
 * -EINVAL (no trace), -ENOTSUP (a later version), -EBADMSG (some of it could not be read, and all the rest was), -E2BIG, -ENOMEM. They are
 * printed.
 */
int trace_file_read(const char *verb, const char *path, trace_sample_fn *fn, void *userdata,
		    struct trace_reader *ret);
