/* SPDX-License-Identifier: MIT */
/*
 * test-trace.c - lines of traces (src/core/trace.h), and a trace through the policy (src/core/replay.h)
 *
 * A trace is a text here as in a file: what is told of it is compared as text, too.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "random.h"
#include "core/names.h"
#include "core/replay.h"
#include "core/setting.h"

#define HEAD "# psibridge trace 1\ntime_s\tsome_us\tfull_us\tcgroup\n"

/* ---- lines --------------------------------------------------------------------------------------- */

PROMISE(a_line_is_read_or_refused_with_a_reason)
{
	static const struct {
		const char *text;
		int samples; /* or the error of the last line */
		const char *why;
	} table[] = {
		{ "", 0, "" },
		{ "# psibridge trace 1\n", 0, "" },
		{ HEAD, 0, "" },
		{ HEAD "0\t0\t0\t/a\n1.5\t10\t2\t/a\n", 2, "" },
		{ HEAD "# a comment\n\n0\t0\t0\t/a\r\n", 1, "" },
		{ HEAD "0\t-\t-\t/\n", 1, "" },
		{ HEAD "0\t0\t0\t/a\tb c\n", 1, "" },
		{ "# psibridge trace 1\nfuture\tsome_us\ttime_s\nx y\t5\t1\n", 1, "" },
		{ "# psibridge trace 2\n", -ENOTSUP,
		  "a trace of a later version; this program reads version 1" },
		{ "# psibridge trace one\n", -EINVAL,
		  "a version was expected behind \"# psibridge trace\"" },
		{ "# psibridge trace 1\n0\t0\t0\t/a\n", -EINVAL,
		  "the names of the columns were expected: time_s, some_us and others, with tabs between them" },
		{ "# psibridge trace 1\ntime_s\tfull_us\n", -EINVAL,
		  "the names of the columns were expected: time_s, some_us and others, with tabs between them" },
		{ "# psibridge trace 1\ncgroup\ttime_s\tsome_us\n/a\t0\t0\n", 1, "" },
		{ "# psibridge trace 1,,\ntime_s,some_us,cgroup\n0,0,/a\n1,0,\"/a,b\"\n", 2, "" },
		{ "time_s,some_us,used_kib\n1e-1,0,5\n", 1, "" },
		{ HEAD "0\t0\n", -EINVAL, "fewer fields than columns" },
		{ "# psibridge trace 1\ntime_s\tsome_us\n0\t0\t0\n", -EINVAL,
		  "more fields than columns" },
		{ HEAD "-\t0\t0\t/a\n", -EINVAL, "a field is not what its column's name says" },
		{ HEAD "0\t-5\t0\t/a\n", -EINVAL, "a field is not what its column's name says" },
		{ HEAD "0\t0\t99999999999999999999\t/a\n", -EINVAL,
		  "a field is not what its column's name says" },
		{ HEAD "0\t0\t0\ta\n", -EINVAL, "cgroup: a path from / was expected" },
		{ HEAD "99999999999999\t0\t0\t/\n", -EINVAL,
		  "a field is not what its column's name says" },
		{ "time_s,some\n", TRACE_FOREIGN, "" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct scan text = scan_string(table[i].text), line;
		struct trace_reader reader = { .lines = 0 };
		struct trace_sample sample;
		const char *why = "";
		int n = 0, samples = 0;

		while (n >= 0 && scan_field(&text, '\n', &line)) {
			n = trace_read(&reader, line, &sample, &why);
			samples += n == 1;
		}
		if ((n < 0 || n == TRACE_FOREIGN ? n : samples) != table[i].samples ||
		    strcmp(why, table[i].why) != 0)
			fail_msg("%s gave %d, %d, %s", table[i].text, n, samples, why);
	}
}

PROMISE(what_is_no_text_is_refused)
{
	struct trace_reader reader = { .lines = 0 };
	struct trace_sample sample;
	const char *why = "";

	assert_int_equal(trace_read(&reader, (struct scan){ "a\0b", 3 }, &sample, &why), -EINVAL);
	assert_string_equal(why, "it is not text: there is a NUL in it");
}

/* Any sample, its line, and that read again. */
PROMISE(what_is_written_is_read_again)
{
	static const struct trace_sample samples[] = {
		{ .time_usec = 0 },
		{ .time_usec = 86400 * USEC_PER_SEC + 1,
		  .has_psi = true,
		  .some_usec = UINT64_MAX,
		  .full_usec = 7,
		  .some_avg10_centi = 10000,
		  .full_avg10_centi = 105,
		  .used_bytes = 4096,
		  .limit_bytes = UINT64_C(1) << 50,
		  .has_oom = true,
		  .oom = 3,
		  .event = EVENT_KEPT,
		  .told = LEVEL_LOW,
		  .critical = true,
		  .reason = REASON_FORECAST,
		  .cause = CAUSE_MACHINE },
		{ .has_psi = true,
		  .told = LEVEL_HIGH,
		  .reason = REASON_CALM,
		  .cause = CAUSE_UNKNOWN },
	};
	char text[TRACE_LINE_MAX + sizeof("/a b")];
	struct trace_reader reader = { .lines = 0 };
	struct trace_sample again;
	struct scan head = { text, trace_begin(UINT64_C(1764504000123456), text) }, line;

	while (scan_field(&head, '\n', &line))
		assert_int_equal(trace_read(&reader, line, &again, NULL), 0);
	assert_int_equal(reader.began_usec, UINT64_C(1764504000123456));
	for (size_t i = 0; i < ELEMENTSOF(samples); i++) {
		size_t n = trace_format(&samples[i], text);
		struct trace_sample wanted = samples[i];

		memcpy(text + n, "/a b", 4);
		memset(&again, 0, sizeof(again));
		assert_int_equal(trace_read(&reader, (struct scan){ text, n + 4 }, &again, NULL),
				 1);
		assert_true(scan_is(again.cgroup, "/a b"));
		wanted.cgroup = again.cgroup;
		assert_memory_equal(&again, &wanted, sizeof(wanted));
	}
}

/* ---- replay -------------------------------------------------------------------------------------- */

static char said[4096];

static void tell(const struct replay_told *t, _unused_ void *userdata)
{
	size_t n = strlen(said);

	n += (size_t)snprintf(said + n, sizeof(said) - n, "%s%.1f", n ? ", " : "",
			      (double)t->earliest_usec / (double)USEC_PER_SEC);
	if (t->earliest_usec < t->latest_usec)
		n += (size_t)snprintf(said + n, sizeof(said) - n, "-%.1f?",
				      (double)t->latest_usec / (double)USEC_PER_SEC);
	snprintf(said + n, sizeof(said) - n, " %s%s %s", name_of_available(t->at.told),
		 t->at.critical ? "!" : "", name_of_reason(t->at.reason));
}

static struct replay replay;
static struct policy_options options;

static void feed(double seconds, double some_ms, double full_ms)
{
	const struct trace_sample s = {
		.time_usec = (uint64_t)(seconds * (double)USEC_PER_SEC),
		.has_psi = true,
		.some_usec = (uint64_t)(some_ms * (double)USEC_PER_MSEC),
		.full_usec = (uint64_t)(full_ms * (double)USEC_PER_MSEC),
	};

	replay_feed(&replay, &s);
}

static void begin(bool privileged)
{
	said[0] = '\0';
	replay_init(&replay, &options, privileged, tell, NULL);
}

static void set_up(_unused_ void **state)
{
	settings_built_in(&options);
	begin(true);
}

FIXTURE(set_up, NULL)

PROMISE(a_privileged_trigger_speaks_at_once_and_another_after_2_s)
{
	static const struct {
		bool privileged;
		const char *said;
	} table[] = {
		{ true, "10.1 neutral stall, 10.4 low stall, 17.8 neutral calm, 23.8 high calm" },
		{ false, "12.0 low stall, 17.8 neutral calm, 23.8 high calm" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		begin(table[i].privileged);
		feed(0, 0, 0);
		feed(10, 0, 0);
		feed(12, 1000, 0);
		feed(60, 1000, 0);
		assert_string_equal(said, table[i].said);
	}
}

PROMISE(a_stall_inside_a_gap_is_told_with_the_times_between_which_it_was)
{
	feed(0, 0, 0);
	feed(10, 2000, 0);
	assert_string_equal(said,
			    "0.0-10.0? neutral stall, 0.0-10.0? low stall, 0.0-10.0? low repeat");
	assert_int_equal(replay.gaps, 0);
}

PROMISE(a_gap_that_may_hide_a_low_is_counted)
{
	static const struct {
		double some_ms, full_ms;
		unsigned gaps;
	} table[] = { { 199, 99, 0 }, { 200, 0, 1 }, { 199, 100, 1 } };

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		begin(true);
		feed(0, 0, 0);
		feed(60, table[i].some_ms, table[i].full_ms);
		assert_null(strstr(said, "low"));
		assert_int_equal(replay.gaps, table[i].gaps);
	}
}

PROMISE(of_a_gap_of_a_thousand_years_two_hours_are_gone_through)
{
	begin(false);
	feed(0, 0, 0);
	feed(1e10, 0, 0);
	feed(1e10 + 2, 1000, 0);
	feed(2e10, 1000, 0);
	feed(3e10, 1e10, 0);
	assert_string_equal(
		said,
		"10000000002.0 low stall, 10000000007.8 neutral calm, 10000000013.8 high calm");
}

PROMISE(a_kill_is_critical_though_nothing_stalled)
{
	struct trace_sample s = { .time_usec = USEC_PER_SEC, .has_psi = true, .has_oom = true };

	replay_feed(&replay, &s);
	s.time_usec = 2 * USEC_PER_SEC;
	s.oom = 1;
	replay_feed(&replay, &s);
	assert_string_equal(said, "2.0 low! oom");
}

PROMISE(counters_that_begin_anew_are_another_cgroup_and_no_stall)
{
	feed(0, 5000, 0);
	feed(1, 4000, 0);
	feed(2, 4000, 0);
	assert_string_equal(said, "");
}

PROMISE(high_waits_for_headroom_where_use_and_limit_are_known)
{
	struct trace_sample s = {
		.time_usec = 0, .has_psi = true, .used_bytes = 90, .limit_bytes = 100
	};

	replay_feed(&replay, &s);
	s.time_usec = 60 * USEC_PER_SEC;
	replay_feed(&replay, &s);
	s.used_bytes = 50;
	s.time_usec = 120 * USEC_PER_SEC;
	replay_feed(&replay, &s);
	s.time_usec = 240 * USEC_PER_SEC;
	replay_feed(&replay, &s);
	assert_non_null(strstr(said, "0.0 neutral headroom, "));
	assert_non_null(strstr(said, " high calm"));
}

PROMISE(a_limit_that_will_be_reached_is_foretold)
{
	struct trace_sample s = { .has_psi = true, .limit_bytes = 1000 << 20 };

	options.forecast_usec = 2 * USEC_PER_SEC;
	begin(true);
	for (unsigned i = 0; i <= 100; i++) { /* 10 MiB each tenth of a second */
		s.time_usec = i * 100 * USEC_PER_MSEC;
		s.used_bytes = (uint64_t)(i * 10 + 1) << 20;
		replay_feed(&replay, &s);
	}
	assert_string_equal(said, "8.1 low forecast");
}

/* One of psibridged's each second: half of it stalled, so there is a Low, which is repeated. */
static void look(unsigned second, enum trace_event event)
{
	const struct trace_sample s = {
		.time_usec = second * USEC_PER_SEC,
		.has_psi = true,
		.some_usec = second * 500 * USEC_PER_MSEC,
		.event = event,
	};

	replay_feed(&replay, &s);
}

PROMISE(what_psibridged_looked_at_is_looked_at_then_and_not_in_between)
{
	options.rearm_usec = 2 * USEC_PER_SEC;
	begin(true);
	look(0, EVENT_BEGIN);
	for (unsigned i = 1; i < 6; i++)
		look(i, i == 1 ? EVENT_ALARM : EVENT_TICK);
	assert_string_equal(said, "1.0 low stall, 3.0 low repeat, 5.0 low repeat");
	for (unsigned i = 0; i < 3; i++)
		look(6, EVENT_KEPT); /* from then on it is repeated after twice Rearm */
	for (unsigned i = 7; i < 12; i++)
		look(i, EVENT_TICK);
	assert_non_null(strstr(said, " 5.0 low repeat, 9.0 low repeat"));
	look(12, EVENT_GAVE);
	look(12, EVENT_TICK);
	look(100, EVENT_BEGIN); /* another process, which knows nothing of it */
	look(101, EVENT_ALARM);
	assert_non_null(strstr(said, ", 12.0 low repeat, 101.0 low stall"));
}

#define TOGETHER 8

/* A hash of all that a replay tells. */
static void take_hash(const struct replay_told *t, void *userdata)
{
	const uint64_t said_now[] = { t->at.time_usec, t->at.told,	 t->at.critical,
				      t->at.reason,    t->earliest_usec, t->latest_usec,
				      t->stall_usec,   t->since_usec };
	uint64_t *hash = userdata;

	*hash = *hash * 31 + scan_hash((struct scan){ (const char *)said_now, sizeof(said_now) });
}

/* Rests, stalls of all sizes, gaps, kills, and counters that begin anew. */
static void change(struct trace_sample *s)
{
	static const uint64_t gaps_msec[] = { 20, 100, 100, 100, 100, 1000, 30000 };
	uint64_t gap = 1 + draw(gaps_msec[draw(ELEMENTSOF(gaps_msec))] * USEC_PER_MSEC);
	uint64_t stall = draw(3) ? gap / (1 + draw(200)) : 0;

	s->time_usec += gap;
	s->some_usec += stall;
	s->full_usec += draw(2) ? stall / (1 + draw(4)) : 0;
	s->oom += draw(500) == 0;
	if (draw(200) == 0)
		s->time_usec += draw(100000 * USEC_PER_SEC);
	if (draw(1000) == 0)
		s->some_usec = s->full_usec = draw(2);
}

/* Those that are fed together share what the kernel's trigger looks at. */
PROMISE(replays_that_are_fed_together_tell_what_each_tells_alone)
{
	static const unsigned windows_msec[] = { 100, 500, 1234, 2000, 10000 };
	static struct replay together[TOGETHER], alone[TOGETHER];
	unsigned spoke = 0;

	for (unsigned run = 0; run < 15; run++) {
		struct trace_sample s = { .has_psi = true, .has_oom = true };
		uint64_t hashes[2][TOGETHER] = { { 0 } };
		uint64_t window = windows_msec[draw(ELEMENTSOF(windows_msec))] * USEC_PER_MSEC;
		enum psi_kind kind = draw(2) ? PSI_FULL : PSI_SOME;

		for (unsigned i = 0; i < TOGETHER; i++) {
			struct policy_options o = options;

			o.low = (struct trigger){ kind, 1 + draw(window / 2), window };
			o.critical = (struct trigger){ PSI_FULL, 1 + draw(window), window };
			o.early = trigger_early_of(&o.low, &o.critical);
			o.rearm_usec = 1 + draw(20 * USEC_PER_SEC);
			replay_init(&together[i], &o, run % 2, take_hash, &hashes[0][i]);
			replay_init(&alone[i], &o, run % 2, take_hash, &hashes[1][i]);
			together[i].samples_only = alone[i].samples_only = true;
		}
		for (unsigned n = 0; n < 1000; n++) {
			replay_feed_all(together, TOGETHER, &s);
			for (unsigned i = 0; i < TOGETHER; i++)
				replay_feed(&alone[i], &s);
			for (unsigned i = 0; i < TOGETHER; i++)
				if (hashes[0][i] != hashes[1][i])
					fail_msg("run %u, sample %u, setting %u", run, n, i);
			change(&s);
		}
		for (unsigned i = 0; i < TOGETHER; i++)
			spoke += hashes[0][i] != 0;
	}
	assert_in_range(spoke, 15 * TOGETHER / 2, 15 * TOGETHER);
}

static struct replay_told heard;
static size_t heard_count;

static void hear(const struct replay_told *t, _unused_ void *userdata)
{
	heard = *t;
	heard_count++;
}

/* Traces of tests/data/record-traces.sh. What was told is told again with its line, no sooner than the line before, and nothing else is. */
PROMISE(recorded_pressure_is_told_as_it_was)
{
	static const struct {
		const char *name;
		size_t told;
		bool privileged;
	} table[] = {
		{ "real-page-cache", 7, false },    { "real-forks", 6, false },
		{ "real-web", 0, false },	    { "real-anonymous", 4, true },
		{ "real-dotnet", 20, true },	    { "real-dotnet-hook", 5, true },
		{ "real-anonymous-zram", 4, true },
	};

	options.rearm_usec = 4 * USEC_PER_SEC;
	options.calm_usec = 2 * USEC_PER_SEC;
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct trace_reader reader = { .lines = 0 };
		struct trace_sample s;
		char path[4096], text[256];
		size_t told = 0;
		FILE *file;

		snprintf(path, sizeof(path), "%s/tests/data/%s.trace", getenv("srcdir"),
			 table[i].name);
		file = fopen(path, "re");
		assert_non_null(file);
		replay_init(&replay, &options, table[i].privileged, hear, NULL);
		heard_count = 0;
		while (fgets(text, sizeof(text), file)) {
			uint64_t before = replay.last.time_usec;

			text[strcspn(text, "\n")] = '\0';
			if (trace_read(&reader, scan_string(text), &s, NULL) != 1)
				continue;
			replay_feed(&replay, &s);
			told += s.told > 0;
			if (heard_count != told || (s.told && (heard.at.told != s.told ||
							       heard.at.critical != s.critical ||
							       heard.at.time_usec < before)))
				fail_msg("%s:%u: %s", table[i].name, reader.lines, text);
		}
		fclose(file);
		assert_int_equal(told, table[i].told);
	}
}
