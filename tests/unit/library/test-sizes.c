/* SPDX-License-Identifier: MIT */
/*
 * test-sizes.c - programs and libraries of different ages fit: each structure that begins with its size, as an older and as a newer
 * program has it
 *
 * A row a call. That no structure lacks a row is looked at by tests/structure/headers.sh.
 */
#include "library-bench.h"

#define MORE 64 /* a newer program's members */
#define UNTOUCHED 0xa5
#define NEVER_SET 0xa5a5a5a5a5a5a5a5u

static struct bench *bench;

/* What the program gives or has filled, of whatever age. */
static union {
	size_t size;
	struct psb_settings settings;
	struct psb_watch_options options;
	unsigned char bytes[8192];
} s;

static void ignore_finding(_unused_ const struct psb_finding *finding, _unused_ void *userdata)
{
}

/* ---- what the program gives -------------------------------------------------------------------- */

static int give_bridge_options(void)
{
	psb_bridge *bridge = NULL;
	int r = psb_bridge_new((void *)&s, &bridge);

	psb_bridge_unref(bridge);
	return r;
}

static int give_watch_options(void)
{
	int r = psb_watch_new(bench->bridge, &s.options, &bench->watch);

	psb_watch_unref(steal(bench->watch));
	return r;
}

static int give_diagnose_options(void)
{
	return psb_diagnose(&s.options, ignore_finding, NULL);
}

static const struct {
	const char *name;
	size_t size; /* of the structure */
	int (*give)(void);
	bool says_why; /* in error_text */
} given[] = {
	{ "psb_bridge_options", sizeof(struct psb_bridge_options), give_bridge_options, false },
	{ "psb_watch_options", sizeof(struct psb_watch_options), give_watch_options, true },
	{ "psb_watch_options", sizeof(struct psb_watch_options), give_diagnose_options, true },
};

PROMISE(options_are_taken_whatever_their_age)
{
	bench = bench_bare(state);
	setenv("MEMORY_PRESSURE_WATCH", make_fifo("fifo"), 1); /* so zeros are good options */
	for (size_t i = 0; i < ELEMENTSOF(given); i++) {
		print_message("%s\n", given[i].name);
		/* older: what it does not have is whatever lies behind it; newer: zeros are defaults, anything else is a wish we
		 * cannot fulfil */
		for (size_t size = sizeof(size_t); size <= given[i].size + MORE; size += 8) {
			char text[400] = "";

			memset(&s, UNTOUCHED, sizeof(s));
			memset(&s, 0, size);
			s.size = size;
			assert_int_equal(given[i].give(), 0);
			if (size <= given[i].size)
				continue;
			s.bytes[size - 1] = 1;
			assert_int_equal(given[i].give(), -E2BIG);
			if (!given[i].says_why)
				continue;
			s.options.error_text = text;
			s.options.error_text_size = sizeof(text);
			assert_int_equal(given[i].give(), -E2BIG);
			assert_non_null(strstr(text, "the program needs a newer version"));
		}
		for (s.size = 0; s.size < sizeof(size_t); s.size++)
			assert_int_equal(given[i].give(), -EINVAL);
		s.size = NEVER_SET;
		assert_int_equal(given[i].give(), -E2BIG);
	}
}

/* ---- what the program is given ----------------------------------------------------------------- */

static int fill_notification(void)
{
	static bool low;
	int r = psb_mailbox_take(bench->mailbox, 0, (void *)&s);

	if (r < 0)
		return r;
	low = !low;
	say(bench, low ? "L" : "H");
	r = psb_mailbox_take(bench->mailbox, PATIENCE_USEC, (void *)&s);
	return r == 1 ? 0 : r;
}

static int fill_load(void)
{
	return psb_watch_load(bench->watch, (void *)&s);
}

static int fill_source(void)
{
	return psb_watch_source(bench->watch, (void *)&s);
}

static int fill_stats(void)
{
	return psb_watch_stats(bench->watch, (void *)&s);
}

static int fill_settings(void)
{
	if (s.size > offsetof(struct psb_settings, watch) && s.size != NEVER_SET)
		s.settings.watch = NULL;
	return psb_settings_read(NULL, NULL, &s.settings);
}

static int fill_options(void)
{
	struct psb_settings settings = { .size = sizeof(settings), .watch = &s.options };

	return psb_settings_read(NULL, NULL, &settings);
}

static const struct {
	const char *name;
	size_t size;
	int (*fill)(void);
} filled[] = {
	{ "psb_notification", sizeof(struct psb_notification), fill_notification },
	{ "psb_load", sizeof(struct psb_load), fill_load },
	{ "psb_source", sizeof(struct psb_source), fill_source },
	{ "psb_stats", sizeof(struct psb_stats), fill_stats },
	{ "psb_settings", sizeof(struct psb_settings), fill_settings },
	{ "psb_watch_options", sizeof(struct psb_watch_options), fill_options },
};

static bool is_all(size_t from, size_t to, unsigned char value)
{
	while (from < to && s.bytes[from] == value)
		from++;
	return from == to;
}

BENCH(structures_are_filled_whatever_their_age)
{
	bench = b;
	assert_int_equal(psb_mailbox_new(b->watch, 0, &b->mailbox), 0);
	for (size_t i = 0; i < ELEMENTSOF(filled); i++) {
		print_message("%s\n", filled[i].name);
		for (size_t size = sizeof(size_t); size <= filled[i].size + MORE; size += 8) {
			size_t both = MIN(size, filled[i].size);

			memset(&s, UNTOUCHED, sizeof(s));
			s.size = size;
			assert_int_equal(filled[i].fill(), 0);
			assert_int_equal(s.size, both);
			for (size_t k = sizeof(size_t); k + 8 <= both; k += 8)
				assert_false(is_all(k, k + 8, UNTOUCHED));
			assert_true(is_all(both, size, 0));
			assert_true(is_all(size, sizeof(s), UNTOUCHED));
			/* and what was filled once can be filled again */
			assert_int_equal(filled[i].fill(), 0);
			assert_int_equal(s.size, both);
		}
		memset(&s, UNTOUCHED, sizeof(s));
		for (s.size = 0; s.size < sizeof(size_t); s.size++)
			assert_int_equal(filled[i].fill(), -EINVAL);
		s.size = NEVER_SET;
		assert_int_equal(filled[i].fill(), -E2BIG);
		assert_true(is_all(0, sizeof(s), UNTOUCHED));
	}
}

/* ---- what callbacks are given (struct psb_survey_row: test-survey.c; the list: test-members.c) ---- */

static void look_at_notification(const struct psb_notification *n, void *userdata)
{
	note_done(userdata, n->size == sizeof(*n));
}

static void look_at_finding(const struct psb_finding *finding, void *userdata)
{
	note_done(userdata, finding->size == sizeof(*finding));
}

BENCH(callbacks_can_tell_how_much_the_library_filled)
{
	assert_int_equal(psb_watch_add_callback(b->watch, look_at_notification, &b->rx,
						PSB_TELL_PRESENT, NULL),
			 0);
	AWAIT(&b->rx, b->rx.done == 1 && b->rx.result == 1);
	assert_int_equal(psb_diagnose(NULL, look_at_finding, &b->fence), 0);
	assert_int_equal(b->fence.result, 1);
}
