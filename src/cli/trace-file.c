/* SPDX-License-Identifier: MIT */
/*
 * trace-file.c - text (trace-text) --> lines (import), or JSON (trace-json) --> samples (trace-join); a damaged line costs only
 * itself
 */
#include "cli/trace-file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/output.h"
#include "cli/trace-join.h"
#include "cli/trace-json.h"
#include "cli/trace-text.h"

#define SAID_MAX 3
/* avg10 gives the stall back if it is read every 2 s; a little more is a timer's. */
#define APART_USEC (2500 * USEC_PER_MSEC)
#define LEAP_USEC (366 * 86400 * USEC_PER_SEC)

struct reading {
	const char *verb, *name;
	struct import import;
	struct trace_reader *reader; /* the caller's */
	struct trace_join join;
	trace_sample_fn *fn;
	void *userdata;
	unsigned damaged;
	uint64_t newest_usec; /* 0: nothing was read */
	uint64_t leapt_usec;  /* of the line before, if it was taken for damaged */
};

static void damaged(struct reading *r, unsigned line, const char *why)
{
	if (r->damaged++ >= SAID_MAX)
		return;
	if (line > 0)
		complain(r->verb, "%s:%u: %s", r->name, line, why);
	else
		complain(r->verb, "%s: %s", r->name, why);
}

/* A time more than a year behind all before: one damaged line. With it all others would be out of order, and a day of what may have been
 * in between be gone through for each setting. Two of them in a row are meant. */
static bool leaps(struct reading *r, uint64_t usec)
{
	bool leaps = r->newest_usec > 0 && usec > r->newest_usec + LEAP_USEC &&
		     (r->leapt_usec == 0 || usec < r->leapt_usec);

	r->leapt_usec = leaps ? usec : 0;
	if (!leaps)
		r->newest_usec = MAX(r->newest_usec, usec + 1);
	return leaps;
}

static void give(const struct trace_sample *sample, unsigned line, void *userdata)
{
	struct reading *r = userdata;
	const char *why;

	*r->reader = r->import.reader;
	why = leaps(r, sample->time_usec)
		      ? "its time is more than a year after the line before; left out"
		      : r->fn(sample, r->userdata);
	if (why)
		damaged(r, line, why);
}

/* Errors, which are the end, are printed. */
static int take_sample(struct trace_sample *sample, void *userdata)
{
	struct reading *r = userdata;
	unsigned line = r->import.reader.lines;
	int n = trace_join_add(&r->join, sample, line);

	if (n > 0)
		give(sample, line, r);
	else if (n < 0)
		complain(r->verb, "%s: %s", r->name,
			 n == -E2BIG ? "more than 8000000 samples" : strerror(-n));
	return MIN(n, 0);
}

static bool is_known(const struct trace_reader *r)
{
	return r->format == TRACE_OURS ? r->count > 0 : r->format != TRACE_UNDECIDED;
}

/* Errors: it makes no sense to go on. */
static int take_line(struct reading *r, struct scan line)
{
	struct trace_sample sample;
	const char *why = NULL;
	int n = import_read(&r->import, line, &sample, &why);

	if (n > 0)
		return take_sample(&sample, r);
	if (why)
		damaged(r, r->import.reader.lines, why);
	return is_known(&r->import.reader) ? 0 : n;
}

static int read_lines(struct reading *r, struct trace_text *text)
{
	struct trace_reader *reader = &r->import.reader;
	const char *why = NULL;
	struct scan line;
	bool whole;
	int n, result = 0;

	while (result == 0 && (n = trace_text_line(text, &line, &whole, &why)) != 0) {
		if (n == -E2BIG) {
			damaged(r, ++reader->lines, why);
			result = is_known(reader) ? 0 : -EINVAL;
		} else if (n < 0) {
			if (reader->lines > 0)
				complain(r->verb, "%s:%u: %s", r->name, reader->lines + 1, why);
			else
				complain(r->verb, "%s: %s", r->name, why);
			result = n;
		} else if (whole || !is_known(reader) || reader->format == TRACE_OOMSTAT) {
			result = take_line(r, line);
		}
	}
	return result;
}

static int read_json(struct reading *r, struct trace_text *text)
{
	char buf[256];
	const char *why = NULL;
	int n = trace_json_read(text, &r->import, take_sample, r, buf, &why);

	if (why && n < 0)
		complain(r->verb, "%s: %s", r->name, why);
	return n;
}

/* What all of it is worth, where the numbers can't show it. */
static void say_worth(const struct reading *r)
{
	const struct average_worth *w = &r->join.worth;
	char apart[OUTPUT_WORD_MAX], least[OUTPUT_WORD_MAX], most[OUTPUT_WORD_MAX];

	if (w->apart_usec > APART_USEC)
		complain(
			r->verb,
			"%s: only avg10 is in it, up to %s apart: tasks waited %s to %s; what is told is an estimate",
			r->name, output_span(w->apart_usec, apart),
			output_span(w->least_usec, least), output_span(w->most_usec, most));
}

static int read_all(struct reading *r, struct trace_text *text)
{
	struct trace_reader *reader = &r->import.reader;
	int result = trace_text_is_json(text) ? read_json(r, text) : read_lines(r, text);

	trace_join_all(&r->join, give, r, &reader->began_usec);
	if (r->damaged > SAID_MAX)
		complain(r->verb, "%s: %u lines in all could not be read", r->name, r->damaged);
	if (result == 0 && reader->format == TRACE_UNDECIDED) {
		complain(r->verb, "%s: %s", r->name,
			 reader->lines == 0 ? "it is empty" : import_unknown);
		result = -EINVAL;
	} else if (result == 0 && reader->format == TRACE_METRICS && r->join.count == 0) {
		complain(r->verb, "%s: %s", r->name, import_no_metrics);
		result = -EINVAL;
	}
	say_worth(r);
	return result == 0 && r->damaged > 0 ? -EBADMSG : result;
}

int trace_file_read(const char *verb, const char *path, trace_sample_fn *fn, void *userdata,
		    struct trace_reader *ret)
{
	struct reading r = {
		.verb = verb, .name = path, .reader = ret, .fn = fn, .userdata = userdata
	};
	struct trace_text *text;
	int result = trace_text_open(&text, path);

	if (strcmp(path, "-") == 0)
		r.name = "standard input";
	if (result < 0) {
		complain(verb, "%s: %s", path, strerror(-result));
	} else {
		result = read_all(&r, text);
		trace_join_free(&r.join);
		trace_text_close(text);
	}
	*ret = r.import.reader;
	return result;
}
