/* SPDX-License-Identifier: MIT */
/*
 * control-status.h - answers of the control socket, as text that several clients may hold
 */
#pragma once

#include "daemon/daemon.h"

struct text {
	unsigned holders;
	char *data;
	size_t size;
};

struct text *text_ref(struct text *text);
/* Returns NULL; NULL is allowed. */
struct text *text_unref(struct text *text);

struct writer {
	FILE *out;
	char *data;
	size_t size;
	bool more; /* a comma comes before what follows */
};

/* False: out of memory. */
bool writer_begin(struct writer *writer);
/*
 * Words, with a blank between them. NAME:x is a member whose value is the next argument: s a text, b yes or no, u an
 * unsigned, n a uint64_t (a reader's integers end at 2^63), k one that may be PSB_UNKNOWN, which is null. NAME:{ and
 * NAME:[ begin an object or a list, in which names are empty, and } and ] end it.
 */
void writer_put(struct writer *writer, const char *format, ...);
/* A line of it. NULL: out of memory. */
struct text *writer_end(struct writer *writer);

/* {"ok":true} where `error` is 0, else {"error":words,"errno":name}. NULL: out of memory. */
struct text *control_result(int error, const char *words);
/* The answer to {"verb":"status"}. NULL: out of memory. */
struct text *control_status(struct daemon *daemon);
