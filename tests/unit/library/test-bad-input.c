/* SPDX-License-Identifier: MIT */
/*
 * test-bad-input.c - a named error at the place where it is wrong, and nothing lost
 *
 * Each row is asked of psb_watch_new() and psb_diagnose(), which must agree on the errno and on the words. One of each kind: what
 * else a target, a trigger or thresholds can have wrong is asserted in tests/unit/monitor/test-target.c and tests/unit/core/test-parsers.c.
 */
#include "library-bench.h"

#define TEXT_MAX 400

#define ROW(e, words, ...)                                        \
	{                                                         \
		.error = e, .text = words, .options = {           \
			.size = sizeof(struct psb_watch_options), \
			__VA_ARGS__                               \
		}                                                 \
	}

static const struct row {
	int error;
	const char *text; /* it begins so where a trigger's own words follow */
	struct psb_watch_options options;
} rows[] = {
	ROW(-EINVAL, "a pattern excludes cgroup, pid, unit and source", .pattern = "a/*", .pid = 1),
	ROW(-EINVAL, "cgroup \"a?b\": a newline is not allowed in it", .cgroup = "a\nb"),
	ROW(-ESRCH, "pid 99999999999: there is no such process", .pid = 99999999999),
	ROW(-EINVAL, "source_write is NULL, source_write_size is 5",
	    .source = "/proc/pressure/memory", .source_write_size = 5),
	ROW(-EINVAL, "source_write without source", .source_write = "x", .source_write_size = 1),
	ROW(-EINVAL, "pattern \"a/../*\": \"..\" is not allowed in it", .pattern = "a/../*"),
	ROW(-ENOENT, "cgroup /no/such: there is no such cgroup", .pattern = "no/such/**"),
	ROW(-EINVAL, "early \"\": ", .early = ""),
	ROW(-EINVAL, "low \"some 3s/2s\": ", .low = "some 3s/2s"),
	ROW(-EINVAL, "critical \"FULL 200ms/2s\": ", .critical = "FULL 200ms/2s"),
	ROW(-EINVAL,
	    "early \"some 20ms/2s\" is over low \"some 10ms/2s\", which stalls could reach "
	    "unnoticed; early of at most \"some 10ms/2s\" was expected",
	    .low = "some 10ms/2s"),
	ROW(-EINVAL, "headroom_percent 100: 1 to 99 was expected", .headroom_percent = 100),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .rearm_usec = UINT64_MAX),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .quiet_usec = UINT64_MAX),
	ROW(-EINVAL, "rearm, quiet and calm: a day at most", .calm_usec = UINT64_MAX),
	ROW(-EINVAL, "forecast: a day at most", .forecast_usec = UINT64_MAX - 1),
	ROW(-EINVAL, "rungs 0x1: none of them is PSB_RUNG_MASK() of a rung", .rungs = 1),
};

static void ignore_finding(_unused_ const struct psb_finding *finding, _unused_ void *userdata)
{
}

static void ignore_row(_unused_ const struct psb_survey_row *row, _unused_ void *userdata)
{
}

static void check_row(struct bench *b, const struct row *row)
{
	struct psb_watch_options options = row->options;
	char text[TEXT_MAX] = "untouched", again[TEXT_MAX] = "untouched";
	size_t n = strlen(row->text);
	int r, d;

	options.error_text = text;
	options.error_text_size = sizeof(text);
	r = psb_watch_new(b->bridge, &options, &b->watch);
	options.error_text = again;
	d = psb_diagnose(&options, ignore_finding, NULL);
	if (row->text[n - 1] != ' ')
		n = sizeof(text);
	if (r != row->error || d != r || b->watch || strncmp(text, row->text, n) != 0 ||
	    strcmp(text, again) != 0)
		fail_msg("%d (wanted %d), \"%s\" (wanted \"%s\"), diagnosis %d \"%s\"", r,
			 row->error, text, row->text, d, again);
}

/* And after any of them the bridge is as good as new. */
PROMISE(every_mistake_is_named_where_it_was_made)
{
	bool has_cgroup2 = psb_survey("/", ignore_row, NULL) == 0;
	struct bench *b = bench_bare(state);

	for (size_t i = 0; i < ELEMENTSOF(rows); i++)
		if (has_cgroup2 ||
		    (!rows[i].options.cgroup && !rows[i].options.pid && !rows[i].options.pattern))
			check_row(b, &rows[i]);
	b->watch = watch_fifo(b->bridge, LONG_USEC);
	run(b);
	listen_to(b, &b->rx);
	say_and_hear(b, &b->rx, "L");
}

PROMISE(the_words_fit_where_they_are_put)
{
	struct psb_watch_options options = { .size = sizeof(options), .headroom_percent = 100 };
	struct bench *b = bench_bare(state);
	char text[12];

	memset(text, '#', sizeof(text));
	options.error_text = text;
	options.error_text_size = 9;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -EINVAL);
	assert_string_equal(text, "headroom");
	assert_int_equal(text[9], '#');
	options.error_text_size = 0;
	text[0] = '#';
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -EINVAL);
	assert_int_equal(text[0], '#');
	options.error_text = NULL;
	options.error_text_size = 100;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -EINVAL);
}

/* Nobody listens, and nothing else is allowed: the arming error is returned, in words too. */
PROMISE(a_source_that_refuses_is_an_error_where_no_other_is_allowed)
{
	struct psb_watch_options options = quick_options(fake_path("refuses"));
	struct bench *b = bench_bare(state);
	char text[TEXT_MAX];

	close(listen_at(options.source));
	options.error_text = text;
	options.error_text_size = sizeof(text);
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -ECONNREFUSED);
	assert_non_null(strstr(text, "/refuses: no process listens there"));
	/* and without any source that rung has nothing to offer */
	options.source = NULL;
	assert_int_equal(psb_watch_new(b->bridge, &options, &b->watch), -ENODATA);
}

/* Every function, and none of them writes. */
BENCH(null_and_nonsense_are_refused_or_are_nothing)
{
	struct psb_bridge_options options = { .size = sizeof(options),
					      .backend = (enum psb_backend)7 };
	struct psb_notification n = { .size = sizeof(n) };
	struct psb_stats stats = { .size = sizeof(stats) };
	struct psb_load load = { .size = sizeof(load) };
	void *const untouched = (void *)1;
	psb_bridge *bridge = untouched;
	psb_registration *registration = untouched;
	psb_mailbox *mailbox = untouched;
	const char *why = NULL;
	const struct {
		const char *what;
		int result;
	} refused[] = {
#define IS(call) { #call, call }
		IS(psb_bridge_new(&options, &bridge)),
		IS(psb_bridge_new(&options, NULL)),
		IS(psb_bridge_start(NULL)),
		IS(psb_bridge_fd(NULL)),
		IS(psb_bridge_dispatch(NULL)),
		IS(psb_bridge_beat(b->bridge, 0, NULL, NULL)),
		IS(psb_watch_new(NULL, NULL, NULL)),
		IS(psb_watch_add_callback(NULL, receive, NULL, 0, &registration)),
		IS(psb_watch_add_callback(b->watch, NULL, NULL, 0, &registration)),
		IS(psb_watch_add_callback(b->watch, receive, NULL, 16, &registration)),
		IS(psb_watch_add_callback(b->watch, receive, NULL, PSB_TELL_EFFECT, &registration)),
		IS(psb_registration_report(NULL, 1, 1)),
		IS(psb_watch_simulate(b->watch, (enum psb_available)0, 0)),
		IS(psb_watch_simulate(b->watch, (enum psb_available)4, 0)),
		IS(psb_watch_simulate(b->watch, PSB_HIGH, 1)),
		IS(psb_watch_simulate_at(NULL, "/a", PSB_LOW, 0, 0)),
		IS(psb_watch_simulate_at(b->watch, "/somebody/else", PSB_LOW, 0, 0)),
		IS(psb_watch_report_at(NULL, "/a", 1, 1)),
		IS(psb_watch_report_at(b->watch, "/somebody/else", 1, 1)),
		IS(psb_watch_stats(NULL, &stats)),
		IS(psb_watch_stats(b->watch, NULL)),
		IS(psb_watch_source(b->watch, NULL)),
		IS(psb_watch_load(NULL, &load)),
		IS(psb_watch_list(NULL, receive, NULL)),
		IS(psb_watch_list(b->watch, NULL, NULL)),
		IS(psb_mailbox_new(NULL, 0, &mailbox)),
		IS(psb_mailbox_new(b->watch, 0, NULL)),
		IS(psb_mailbox_new(b->watch, PSB_INLINE, &mailbox)),
		IS(psb_mailbox_new(b->watch, PSB_TELL_EFFECT, &mailbox)),
		IS(psb_mailbox_new(b->watch, 16, &mailbox)),
		IS(psb_mailbox_take(NULL, 0, &n)),
		IS(psb_mailbox_close(NULL)),
		IS(psb_survey(NULL, ignore_row, NULL)),
		IS(psb_survey("/", NULL, NULL)),
		IS(psb_code_new(NULL)),
		IS(psb_code_lock(NULL, NULL)),
		IS(psb_code_unlock(NULL)),
	};

	for (size_t i = 0; i < ELEMENTSOF(refused); i++)
		if (refused[i].result != -EINVAL)
			fail_msg("%s: %d", refused[i].what, refused[i].result);
	assert_ptr_equal(bridge, untouched);
	assert_ptr_equal(registration, untouched);
	assert_ptr_equal(mailbox, untouched);
	assert_int_equal(psb_mailbox_new(b->watch, 0, &b->mailbox), 0);
	assert_int_equal(psb_mailbox_take(b->mailbox, 0, NULL), -EINVAL);
	assert_null(psb_bridge_unref(NULL));
	assert_null(psb_watch_unref(NULL));
	assert_null(psb_watch_ref(NULL));
	assert_null(psb_mailbox_free(NULL));
	assert_null(psb_mailbox_registration(NULL));
	assert_null(psb_code_free(NULL));
	assert_int_equal(psb_registration_remove(NULL), 0);
	assert_int_equal(psb_bridge_backend(NULL, &why), PSB_BACKEND_AUTO);
	assert_string_equal(why, "");
	assert_string_equal(psb_version(), "0.2.0");
}
