/* SPDX-License-Identifier: MIT */
/*
 * trace-file.c - line by line; a damaged one costs only itself
 */
#include "cli/trace-file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"

#define SAID_MAX 3

struct reading {
	const char *verb, *name;
	struct trace_reader *reader;
	trace_sample_fn *fn;
	void *userdata;
	unsigned damaged;
};

static void damaged(struct reading *r, const char *why)
{
	if (r->damaged++ < SAID_MAX)
		complain(r->verb, "%s:%u: %s", r->name, r->reader->lines, why);
}

/* Errors: it makes no sense to go on. */
static int take(struct reading *r, struct scan line)
{
	struct trace_sample sample;
	const char *why = NULL;
	int n = trace_read(r->reader, line, &sample, &why);

	if (n > 0)
		why = r->fn(&sample, r->userdata);
	if (why)
		damaged(r, why);
	return r->reader->format == TRACE_OOMSTAT || r->reader->count > 0 ? 0 : MIN(n, 0);
}

static int read_all(struct reading *r, FILE *file)
{
	char *text = NULL;
	size_t room = 0;
	ssize_t n;
	int result = 0;

	errno = 0;
	while (result == 0 && (n = getline(&text, &room, file)) > 0) {
		struct scan line = { text, (size_t)n };

		if (text[n - 1] == '\n')
			line.left--;
		else if (r->reader->format == TRACE_OURS)
			break;
		result = take(r, line);
		errno = 0;
	}
	free(text);
	if (result == 0 && errno != 0) {
		result = -errno;
		complain(r->verb, "%s: %s", r->name, strerror(errno));
	}
	return result;
}

int trace_file_read(const char *verb, const char *path, trace_sample_fn *fn, void *userdata,
		    struct trace_reader *ret)
{
	bool is_stdin = strcmp(path, "-") == 0;
	struct reading r = { verb, is_stdin ? "standard input" : path, ret, fn, userdata, 0 };
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	int result;

	*ret = (struct trace_reader){ .lines = 0 };
	if (!file) {
		result = -errno;
		complain(verb, "%s: %s", path, strerror(errno));
		return result;
	}
	result = read_all(&r, file);
	if (!is_stdin)
		fclose(file);
	if (r.damaged > SAID_MAX)
		complain(verb, "%s: %u lines in all could not be read", r.name, r.damaged);
	if (result == 0 && ret->format == TRACE_UNDECIDED) {
		complain(verb, "%s: %s", r.name, ret->lines == 0 ? "it is empty" : trace_unknown);
		result = -EINVAL;
	}
	return result == 0 && r.damaged > 0 ? -EBADMSG : result;
}
