/* SPDX-License-Identifier: MIT */
/*
 * test-import.c - what others record, line by line (src/cli/import.h), its times (stamp.h), and totals from avg10 (average.h)
 */
#include <inttypes.h>

#include "../unit.h"
#include "cli/average.h"
#include "cli/import.h"
#include "core/replay.h"
#include "core/setting.h"

#define P(kind, avg10, total) kind " avg10=" avg10 " avg60=0.00 avg300=0.00 total=" total "\n"
#define PSI(some, full) P("some", "1.50", some) P("full", "0.25", full)
#define WAITING "node_pressure_memory_waiting_seconds_total"
#define C_STALLED "container_pressure_memory_stalled_seconds_total"
#define NUMBERS " 0.00 0.00 0.00 "

/* "TIME SOME/FULL CGROUP" of each sample in milliseconds, with its averages after ~; errors as "line N: why". */
static char *read_text(const char *text)
{
	static const char *const forms[] = { "", "avg10 ", "some ", "full " };
	static char said[4096];
	static struct import import;
	struct scan s = scan_string(text), line;
	size_t n = 0;

	memset(&import, 0, sizeof(import));
	said[0] = '\0';
	while (scan_item(&s, '\n', &line)) {
		struct trace_sample t;
		const char *why = NULL;
		int r = import_read(&import, line, &t, &why);

		if (r == 0)
			continue;
		n += (size_t)snprintf(said + n, sizeof(said) - n, "%s", n ? ", " : "");
		if (r < 0)
			n += (size_t)snprintf(said + n, sizeof(said) - n, "line %u: %s",
					      import.reader.lines, why);
		else
			n += (size_t)snprintf(said + n, sizeof(said) - n,
					      "%s%" PRIu64 " %" PRIu64 "/%" PRIu64 "~%u/%u %.*s",
					      forms[t.form], t.time_usec / 1000, t.some_usec / 1000,
					      t.full_usec / 1000, t.some_avg10_centi,
					      t.full_avg10_centi, (int)t.cgroup.left, t.cgroup.p);
	}
	return said;
}

PROMISE(each_form_is_recognised_and_read)
{
	static const struct {
		const char *text, *said;
	} table[] = {
		/* ours, with tabs and as a spreadsheet has it */
		{ "# psibridge trace 1\ntime_s\tsome_us\tcgroup\n1\t2000\t/a\n",
		  "1000 2/0~0/0 /a" },
		{ "time_s,some_us,full_us\n1,2000,1000\n", "1000 2/1~0/0 /" },
		/* oomstat */
		{ "Time | MemAvail\n  -   -\n 0.1 | 1 2 | 5 1 2 0\n[...]\n 0.2 | 1 2 | 5 0 0 0\n",
		  "100 5/2~100/0 /, 200 10/2~0/0 /" },
		/* psi2log: --mode 1 by itself, in a log; --mode 2 */
		{ "Starting psi2log, target: /user.slice, mode: 1, interval: 2.0 sec, log file\n"
		  "avg10 avg60\n" NUMBERS "||" NUMBERS "|" NUMBERS
		  "|| 3.50 0.00 0.00 | 1.25 0.00 0.00\n" NUMBERS "||" NUMBERS "|" NUMBERS
		  "|| 3.00 0.00 0.00 | 1.00 0.00 0.00\n",
		  "avg10 0 0/0~350/125 /user.slice, avg10 2000 0/0~300/100 /user.slice" },
		{ "2026-11-30 16:00:00,500: Starting psi2log, target: SYSTEM_WIDE, mode: 2\n"
		  "2026-11-30 16:00:02,500:   0.0 |   0.0   0.0 |  50.0  10.0 | 2.0\n"
		  "2026-11-30 16:00:04,500: 100.0 |   0.0   0.0 |  10.0   0.0 | 2.0\n"
		  "100.0 | 0.0 0.0 | 10.0 0.0 | 1.0\n",
		  "0 1000/200~0/0 /, 2000 1200/200~0/0 /, 3000 1300/200~0/0 /" },
		/* memory.pressure: with a time before it, and with one on each line */
		{ "1764504000.25\n" PSI("1000000", "500000") "1764504001.25\n" PSI("1020000",
										   "510000"),
		  "0 1000/500~150/25 /, 1000 1020/510~150/25 /" },
		{ "Nov 30 16:00:00 " P("some", "0.00", "7000") "Nov 30 16:00:00 " P("full", "0.00",
										    "1000"),
		  "0 7/1~0/0 /" },
		{ PSI("1", "2"), "line 1: memory.pressure, but no time stands before it, "
				 "line 2: memory.pressure, but no time stands before it" },
		{ "10\n" P("full", "0.00", "2") P("some", "0.00", "1") "rubbish\n9\n" PSI("1", "2")
			  P("full", "0.00", "3"),
		  "line 2: \"full\" without a line of \"some\" before it, "
		  "line 4: neither a time nor a line of memory.pressure, 0 0/0~150/25 /, "
		  "line 8: \"full\" without a line of \"some\" before it" },
		/* metrics: of promtool tsdb dump-openmetrics, of dump, and scraped with date(1) before each */
		{ WAITING
		  "{instance=\"a:9100\",job=\"n\"} 1.5 1764504000.000\n" WAITING
		  "{instance=\"a:9100\"} 1.25e+06 1764504015.000\nother{x=\"}\"} 5 1764504000.000\n" WAITING
		  "{instance=\"b:9100\"} 2 1764504015.000\n# EOF\n",
		  "some 1764504000000 1500/1500~0/0 /, some 1764504015000 1250000000/1250000000~0/0 /, "
		  "line 4: of another instance than the first; left out" },
		{ "{__name__=\"" C_STALLED
		  "\", id=\"/a.slice/b\\\\x2d\\\"c\"} 2e-3 1764504000123\n",
		  "full 1764504000123 2/2~0/0 /a.slice/b\\x2d\"c" },
		{ "# HELP x y\n1764504000\n" WAITING " 3\n" WAITING " NaN\n" WAITING " x\n",
		  "some 1764504000000 3000/3000~0/0 /, line 5: a number was expected behind the metric" },
		{ "# TYPE x counter\n" WAITING " 3\n" C_STALLED "{pod=\"x\"} 1 5\nrubbish{\n",
		  "line 2: a metric, but without its time, "
		  "line 3: without the label id, which is a cgroup's path, line 4: no line of metrics" },
		/* tables */
		{ "Timestamp;CPU some total;Memory some (ms);memory.full_seconds;Cgroup\n"
		  "1764504000;9;1000;0.5;/a\n1764504001;9;\"1001.5\";0.5;/b\n1764504002;9;1;x;/b\n"
		  "1764504002;9;1;1;b\n1764504002;9;1\n1763;9;1;1;/b\n",
		  "0 1000/500~0/0 /a, 1000 1001/500~0/0 /b, "
		  "line 4: a field is not what its column's name says, "
		  "line 5: a field is not what its column's name says, line 6: fewer fields than columns, "
		  "line 7: its time is before that of the first line" },
		{ "Datetime,Full Path,Mem Some Pressure,Mem Pressure,I/O Pressure,Timestamp,\n"
		  "2026-11-30 16:00:00,/a,1.50%,0.25%,90%,1796054400,\n"
		  "2026-11-30 16:00:05,,?,0.25%,90%,1796054405,\n",
		  "avg10 0 0/0~150/25 /a, avg10 5000 0/0~0/25 /" },
		{ "time,psi_some_avg10,psi_some_total\n1,1.50,2000\n", "0 2/0~150/0 /" },
		{ "name,size\n1,2\n", "" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (strcmp(read_text(table[i].text), table[i].said) != 0)
			fail_msg("%s\ngave: %s\nnot:  %s", table[i].text, read_text(table[i].text),
				 table[i].said);
}

PROMISE(what_is_no_trace_is_refused_after_some_lines)
{
	char text[65 * 6 + 1], *said;

	for (size_t i = 0; i < 65; i++)
		memcpy(text + 6 * i, "prose\n", 7);
	said = read_text(text);
	assert_ptr_equal(strstr(said, "line 65: "), said);
	assert_string_equal(said + strlen("line 65: "), import_unknown);
}

PROMISE(times_are_understood_as_programs_write_them)
{
	static const struct {
		const char *text;
		double seconds; /* below 0: it is none */
		const char *left;
	} table[] = {
		{ "12.5 x", 12.5, " x" },
		{ "1764504000", 1764504000, "" },
		{ "1764504000123", 1764504000.123, "" },
		{ "1764504000123456", 1764504000.123456, "" },
		{ "1764504000123456789", 1764504000.123456, "" },
		{ "2025-11-30T12:00:00Z", 1764504000, "" },
		{ "2025-11-30 12:00:00,123: x", 1764504000.123, ": x" },
		{ "2025-11-30T13:00:00.5+01:00", 1764504000.5, "" },
		{ "2025-11-30T07:30:00-0430", 1764504000, "" },
		{ "2000-02-29 00:00:00 UTC", 951782400, "" },
		{ "00:01:05", 65, "" },
		{ "Mar  1 00:00:00 host", 68256000, " host" },
		{ "2025-13-30T12:00:00Z", -1, NULL },
		{ "2025-11-30", -1, NULL },
		{ "some", -1, NULL },
		{ "", -1, NULL },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		struct scan s = scan_string(table[i].text);
		uint64_t usec = 0;
		bool ok = stamp_scan(&s, &usec);

		if (ok != (table[i].seconds >= 0) ||
		    (ok && (!scan_is(s, table[i].left) ||
			    usec != (uint64_t)(table[i].seconds * 1e6 + 0.5))))
			fail_msg("%s gave %d, %" PRIu64, table[i].text, ok, usec);
	}
}

/* A stall as percent of each 2 s through the kernel's own arithmetic (calc_avgs(), in units of 1/2048 %), looked at every so often. */
static uint64_t averaged(uint64_t every_msec, struct average_worth *worth, uint64_t *ret_stalled)
{
	static const unsigned percent[] = { 0,	0,  100, 40, 0, 0, 7, 90, 90,
					    90, 90, 0,	 0,  0, 1, 0, 0,  0 };
	struct average average = { .begun = false };
	uint64_t average_2048 = 0, next = 0, some = 0;

	*ret_stalled = 0;
	for (unsigned i = 0; i < 4 * ELEMENTSOF(percent); i++) {
		unsigned now = i < 2 * ELEMENTSOF(percent) ? percent[i % ELEMENTSOF(percent)] : 0;

		for (; next <= i * 2000; next += every_msec) {
			struct trace_sample s = {
				.form = TRACE_AVG10,
				.time_usec = next * 1000,
				.some_avg10_centi = (uint32_t)(average_2048 * 100 / 2048),
			};

			if (average_add(&average, worth, &s))
				some = s.some_usec;
			if (every_msec <= 2000 && next == i * 2000)
				assert_in_range(some + 50000, *ret_stalled, *ret_stalled + 100000);
		}
		*ret_stalled += now * 20000;
		average_2048 = (average_2048 * 1677 + now * 2048 * 371) / 2048;
	}
	return some;
}

PROMISE(totals_come_back_from_averages_read_every_2_s_and_bounds_else)
{
	static const unsigned every[] = { 500, 1000, 2000, 6000, 10000 };

	for (size_t i = 0; i < ELEMENTSOF(every); i++) {
		struct average_worth worth = { .apart_usec = 0 };
		uint64_t stalled, some = averaged(every[i], &worth, &stalled);

		if (every[i] <= 2000 && (some < stalled / 100 * 99 || some > stalled / 100 * 101))
			fail_msg("every %u ms: %" PRIu64 " of %" PRIu64, every[i], some, stalled);
		if (worth.least_usec / 100 * 99 > stalled ||
		    worth.most_usec / 100 * 101 < stalled ||
		    worth.apart_usec != MAX(every[i], 2000u) * USEC_PER_MSEC)
			fail_msg("every %u ms: not from %" PRIu64 " to %" PRIu64 ": %" PRIu64,
				 every[i], worth.least_usec, worth.most_usec, stalled);
		assert_in_range(some, worth.least_usec / 100 * 98, worth.most_usec / 100 * 102);
	}
}

static void first_low(const struct replay_told *told, void *userdata)
{
	double *first = userdata;

	if (*first == 0 && told->at.told == LEVEL_LOW)
		*first = (double)told->at.time_usec / 1e6;
}

/* When a Low is told first; what a sliding window over the trace gives (tests/data/README.md), 0.15 s either way: the policy samples
 * when a threshold could be reached. */
PROMISE(public_traces_are_told_when_their_thresholds_are_passed)
{
	static const char *const low[] = { "some 70ms/2s", "some 200ms/2s", "full 700ms/1s" };
	static const struct {
		const char *name;
		double first[3]; /* 0: never */
	} table[] = {
		{ "overload", { 4.2, 4.4, 13.4 } },
		{ "loadshift", { 2.7, 3.1, 0 } },
		{ "ontheedge", { 2.3, 3.2, 0 } },
	};

	for (size_t i = 0; i < ELEMENTSOF(table) * ELEMENTSOF(low); i++) {
		const double wanted = table[i / 3].first[i % 3];
		static struct import import;
		struct policy_options options;
		struct trace_sample sample;
		struct replay replay;
		char path[4096], text[256];
		double told = 0;
		FILE *file;

		snprintf(path, sizeof(path), "%s/tests/data/earlyoom-%s.txt", getenv("srcdir"),
			 table[i / 3].name);
		file = fopen(path, "re");
		assert_non_null(file);
		settings_built_in(&options);
		assert_int_equal(trigger_parse("full 10s/10s", 12, &options.critical, NULL), 0);
		assert_int_equal(trigger_parse(low[i % 3], strlen(low[i % 3]), &options.low, NULL),
				 0);
		replay_init(&replay, &options, true, first_low, &told);
		memset(&import, 0, sizeof(import));
		while (fgets(text, sizeof(text), file)) {
			text[strcspn(text, "\n")] = '\0';
			if (import_read(&import, scan_string(text), &sample, NULL) > 0)
				replay_feed(&replay, &sample);
		}
		fclose(file);
		if (!told != !wanted || (wanted && (told < wanted - 0.16 || told > wanted + 0.16)))
			fail_msg("%s, %s: %f", table[i / 3].name, low[i % 3], told);
	}
}
