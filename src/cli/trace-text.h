/* SPDX-License-Identifier: MIT */
/*
 * trace-text.h - the text in a file or on standard input, unpacked where it begins like gzip or zstd
 */
#pragma once

#include "core/scan.h"

#define TRACE_TEXT_LINE_MAX 65536

struct trace_text;

/* `path` may be "-". Errors: -errno of open(2), -ENOMEM. */
int trace_text_open(struct trace_text **ret, const char *path);
struct trace_text *trace_text_close(struct trace_text *text);

/*
 * The next line, without its newline, good until the next call; *ret_whole: it had one. Returns: 1; 0: the end. Errors: -E2BIG: this line
 * is longer than TRACE_TEXT_LINE_MAX, the next call goes on behind it; -errno of read(2); -EBADMSG: what is packed is damaged or ends early. All
 * say why, and but for the first are the end.
 */
int trace_text_line(struct trace_text *text, struct scan *ret, bool *ret_whole,
		    const char **ret_why);

/* At its begin: is it JSON? An object begins with a string, which no line of metrics does. Nothing is taken. */
bool trace_text_is_json(struct trace_text *text);
/* Bytes instead of lines, as read(2); json_load_callback_t. */
size_t trace_text_read(void *buffer, size_t size, void *text);
/* Why reading ended early; NULL: it did not. */
const char *trace_text_why(const struct trace_text *text);
