/* SPDX-License-Identifier: MIT */
/*
 * output.h - what goes to standard output: text, colour, JSON, times and sizes
 *
 * What goes on for long ends its lines by output_end_line(), so a reader at the other end of a pipe sees them at once, and an error
 * is the verb's to act upon. All else just prints: main() looks whether all was written. Errors of writing are returned as -errno;
 * -EPIPE says that there is no reader any more.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/util.h"
#include "psibridge/psibridge.h"

struct output {
	bool colour;	/* a terminal, no $NO_COLOR, and not TERM=dumb */
	bool utf8;	/* the locale says so */
	unsigned width; /* of the terminal; 80 elsewhere */
};

enum paint { PAINT_PLAIN, PAINT_GOOD, PAINT_WARN, PAINT_BAD, PAINT_BOLD, PAINT_DIM };

void output_init(struct output *ret);

/* The escape sequence to begin `paint` with, "" without colour. PAINT_PLAIN ends any other. */
const char *output_paint(const struct output *output, enum paint paint);
/* Text within a line, in that colour. Some of it may be from elsewhere (cgroup names are anybody's
 * choice): control characters become '?'. */
void output_painted(const struct output *output, enum paint paint, const char *format, ...)
	_printf_(3, 4);
void output_text(const char *format, ...) _printf_(1, 2); /* in none */
void output_line(const char *format, ...) _printf_(1, 2); /* and a newline behind it */
/* Of enum psb_available; 0 is plain. */
enum paint output_level_paint(unsigned available);

/* A bar of so many eighths of a line. */
const char *output_bar(const struct output *output, unsigned eighths);

/*
 * A paragraph: `first` starts its first line, `indent` blanks every other one. Words longer than
 * a line stay whole, so that paths can be copied. `first` takes up `indent` columns.
 */
void output_paragraph(const struct output *output, const char *first, unsigned indent,
		      const char *text);

/* The end of a line. Errors: -EPIPE, -errno of write(2). */
int output_end_line(void);

/* One object on one line; takes over the reference. Errors: as above, -ENOMEM. */
int output_json(json_t *object);

/* A JSON string; bytes that are not UTF-8 become U+FFFD. NULL: out of memory. */
json_t *output_json_text(const char *text);
json_t *output_json_number(uint64_t number);

#define OUTPUT_WORD_MAX 32

/* Into buf[OUTPUT_WORD_MAX], which is returned. */
/* "14:03:07.123", local time, of a moment since the Epoch; of one of CLOCK_MONOTONIC */
const char *output_clock(uint64_t realtime_usec, char *buf);
const char *output_time(uint64_t monotonic_usec, char *buf);
/* "312 ms", "4.1 s", "3 min 5 s", "7 h 12 min", "3 d 4 h" */
const char *output_span(uint64_t usec, char *buf);
const char *output_size(uint64_t bytes, char *buf); /* "498 MiB", "1.5 GiB", rounded */

/* A moment of CLOCK_MONOTONIC in microseconds since the Epoch. */
uint64_t output_realtime(uint64_t monotonic_usec);

/* Memory in use with its limit, each 0: unknown: "498 MiB of 512 MiB", "498 MiB" + `alone`, "", into
 * buf[OUTPUT_MEMORY_MAX], which is returned. */
#define OUTPUT_MEMORY_MAX (2 * OUTPUT_WORD_MAX + 8)
const char *output_memory(uint64_t current_bytes, uint64_t limit_bytes, const char *alone,
			  char *buf);

/* A file becomes `text`, in one step and for all to read: whatever fails, it is there as it was or as a whole. Errors:
 * -errno. */
int output_file(const char *path, const char *text, size_t size);

/* The end of a text whose lines were not looked at. `errno` was 0 before. Errors: as above, the first of all. */
int output_end(void);
