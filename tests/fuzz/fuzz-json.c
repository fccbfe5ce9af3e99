/* SPDX-License-Identifier: MIT */
/*
 * fuzz-json.c - any bytes as a file of another program: packed or not, JSON or lines
 *
 * Each sample obeys the rules of trace.h, joined ones come in the order of their times, and what is refused says why.
 */
#include "fuzz.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/trace-join.h"
#include "cli/trace-json.h"

struct taken {
	struct import import;
	struct trace_join join;
	uint64_t last_usec;
};

static int take(struct trace_sample *s, void *userdata)
{
	struct taken *t = userdata;
	int r;

	CHECK(s->has_psi && s->cgroup.left > 0 && s->cgroup.p[0] == '/');
	CHECK(s->time_usec <= TRACE_LATEST_USEC);
	r = trace_join_add(&t->join, s, t->import.reader.lines);
	CHECK(r == 0 || r == 1);
	return 0;
}

static void take_joined(const struct trace_sample *s, _unused_ unsigned line, void *userdata)
{
	struct taken *t = userdata;

	CHECK(s->has_psi && s->cgroup.left > 0 && s->cgroup.p[0] == '/');
	CHECK(s->time_usec >= t->last_usec && s->time_usec <= TRACE_LATEST_USEC);
	t->last_usec = s->time_usec;
}

static void read_lines(struct trace_text *text)
{
	const char *why = NULL;
	struct scan line;
	bool whole;
	int r;

	while ((r = trace_text_line(text, &line, &whole, &why)) > 0 || r == -E2BIG)
		CHECK(r < 0 || line.left <= TRACE_TEXT_LINE_MAX);
	CHECK(r == 0 || why);
}

FUZZ_TARGET(json)
{
	static struct taken taken;
	char path[64], buf[256];
	const char *why = NULL;
	struct trace_text *text;
	uint64_t began;
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	CHECK(fd >= 0 && write(fd, data, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	CHECK(trace_text_open(&text, path) == 0);
	memset(&taken, 0, sizeof(taken));
	if (!trace_text_is_json(text))
		read_lines(text);
	else if (trace_json_read(text, &taken.import, take, &taken, buf, &why) < 0)
		CHECK(why && *why);
	trace_join_all(&taken.join, take_joined, &taken, &began);
	trace_join_free(&taken.join);
	trace_text_close(text);
	close(fd);
}
