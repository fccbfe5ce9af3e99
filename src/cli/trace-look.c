/* SPDX-License-Identifier: MIT */
/*
 * trace-look.c - what the samples of one cgroup say
 *
 * Between two samples what grew is taken as grown evenly. So the growth within a window that slides bends only where one of the window's
 * ends meets a sample.
 */
#include "cli/trace-look.h"

#include <stdlib.h>

#include "cli/grow.h"
#include "core/replay.h"

/* ---- what was told -------------------------------------------------------------------------------- */

static void add(struct trace_told *t, const struct trace_sample *at)
{
	void *list = grow(t->list, t->count, sizeof(*t->list));

	t->failed = t->failed || !list;
	if (!list)
		return;
	t->list = list;
	t->list[t->count++] = *at;
}

static void add_replayed(const struct replay_told *told, void *userdata)
{
	add(userdata, &told->at);
}

bool trace_has_told(const struct trace_series *series)
{
	for (size_t i = 0; i < series->count; i++)
		if (series->samples[i].told)
			return true;
	return false;
}

struct trace_told trace_told(const struct trace_series *series,
			     const struct policy_options *options, bool privileged)
{
	struct trace_told told = { .count = 0 };
	struct replay replay;

	if (options)
		replay_init(&replay, options, privileged, add_replayed, &told);
	for (size_t i = 0; i < series->count; i++) {
		if (options)
			replay_feed(&replay, &series->samples[i]);
		else if (series->samples[i].told)
			add(&told, &series->samples[i]);
	}
	return told;
}

/* ---- what was counted ------------------------------------------------------------------------------ */

struct trace_sample trace_at(const struct trace_series *s, uint64_t usec)
{
	size_t low = 0, high = s->count - 1;

	if (usec <= s->samples[0].time_usec || s->count == 1)
		return s->samples[0];
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (s->samples[middle].time_usec < usec)
			low = middle + 1;
		else
			high = middle;
	}
	return replay_between(&s->samples[high - 1], &s->samples[high],
			      MIN(usec, s->samples[high].time_usec));
}

uint64_t trace_grown(const struct trace_series *s, enum psi_kind kind, uint64_t from_usec,
		     uint64_t to_usec)
{
	struct trace_sample from = trace_at(s, from_usec), to = trace_at(s, to_usec);

	return usec_sub(trace_total(&to, kind), trace_total(&from, kind));
}

uint64_t trace_stalled(const struct trace_series *s, enum psi_kind kind)
{
	uint64_t usec = 0;

	for (size_t i = 1; i < s->count; i++)
		usec += usec_sub(trace_total(&s->samples[i], kind),
				 trace_total(&s->samples[i - 1], kind));
	return usec;
}

struct trace_growth *trace_growth(const struct trace_series *s, const struct trigger *trigger,
				  size_t *ret_count)
{
	struct trace_cursor end = { s->samples, s->count, 0 }, begin = end;
	struct trace_growth *list = calloc(2 * s->count, sizeof(*list));
	size_t next = 0, left = 0, count = 0; /* the next samples that the window's ends meet */

	while (list && next < s->count) {
		uint64_t leaves = s->samples[left].time_usec + trigger->window_usec;
		uint64_t at = MIN(s->samples[next].time_usec, leaves);
		uint64_t before = trace_total_at(&begin, trigger->kind,
						 usec_sub(at, trigger->window_usec));

		list[count].at_usec = at;
		list[count++].growth_usec = usec_sub(trace_total_at(&end, trigger->kind, at),
						     before);
		next += s->samples[next].time_usec == at;
		left += leaves == at;
	}
	*ret_count = count;
	return list;
}
