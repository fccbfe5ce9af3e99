/* SPDX-License-Identifier: MIT */
/*
 * test-sizes.c - programs and libraries of different ages fit: each structure that begins with its
 * size, as an older and as a newer program has it
 *
 * A row a call. That no structure lacks a row is looked at by tests/structure/headers.sh.
 */
#include "library-bench.h"

#define MORE 64 /* a newer program's members */
#define UNTOUCHED 0xa5
#define NEVER_SET 0xa5a5a5a5a5a5a5a5u

static struct stage {
	psb_bridge *bridge;
	psb_watch *watch;
	psb_mailbox *mailbox;
	bool low;
} stage;

/* ---- what the program gives -------------------------------------------------------------------- */

static void ignore_finding(const struct psb_finding *finding, void *userdata)
{
	(void)finding;
	(void)userdata;
}

static int give_bridge_options(const void *options)
{
	psb_bridge *bridge = NULL;
	int r = psb_bridge_new(options, &bridge);

	assert_true((r == 0) == (bridge != NULL));
	psb_bridge_unref(bridge);
	return r;
}

static int give_watch_options(const void *options)
{
	psb_watch *watch = NULL;
	int r = psb_watch_new(stage.bridge, options, &watch);

	assert_true((r == 0) == (watch != NULL));
	psb_watch_unref(watch);
	return r;
}

static int give_diagnose_options(const void *options)
{
	return psb_diagnose(options, ignore_finding, NULL);
}

static const struct {
	const char *name;
	size_t size, text,
		text_size; /* of the structure; where error_text is in it, if it has one */
	int (*give)(const void *options);
} given[] = {
	{ "psb_bridge_options", sizeof(struct psb_bridge_options), 0, 0, give_bridge_options },
	{ "psb_watch_options", sizeof(struct psb_watch_options),
	  offsetof(struct psb_watch_options, error_text),
	  offsetof(struct psb_watch_options, error_text_size), give_watch_options },
	{ "psb_watch_options", sizeof(struct psb_watch_options),
	  offsetof(struct psb_watch_options, error_text),
	  offsetof(struct psb_watch_options, error_text_size), give_diagnose_options },
};

PROMISE(options_are_taken_whatever_their_age)
{
	stage.bridge = make_bridge(*state);
	make_fifo("fifo");
	setenv("MEMORY_PRESSURE_WATCH", in_directory("fifo"), 1); /* so zeros are good options */
	for (size_t i = 0; i < ELEMENTSOF(given); i++) {
		const size_t ours = given[i].size;
		char text[400] = "", *text_at = text;
		union {
			size_t size;
			unsigned char bytes[1024];
		} o;

		print_message("%s\n", given[i].name);
		assert_true(ours + MORE <= sizeof(o));
		/* older: what it does not have is whatever lies behind it */
		for (size_t size = sizeof(size_t); size <= ours; size += 8) {
			memset(&o, UNTOUCHED, sizeof(o));
			memset(&o, 0, size);
			o.size = size;
			assert_int_equal(given[i].give(&o), 0);
		}
		/* newer: zeros are defaults, anything else is a wish we cannot fulfil */
		for (size_t size = ours + 1; size <= ours + MORE; size += 21) {
			memset(&o, UNTOUCHED, sizeof(o));
			memset(&o, 0, size);
			o.size = size;
			assert_int_equal(given[i].give(&o), 0);
			o.bytes[size - 1] = 1;
			assert_int_equal(given[i].give(&o), -E2BIG);
			if (!given[i].text)
				continue;
			memcpy(o.bytes + given[i].text, &text_at, sizeof(text_at));
			memcpy(o.bytes + given[i].text_size, &(size_t){ sizeof(text) },
			       sizeof(size_t));
			text[0] = '\0';
			assert_int_equal(given[i].give(&o), -E2BIG);
			assert_non_null(strstr(text, "the program needs a newer version"));
		}
		for (o.size = 0; o.size < sizeof(size_t); o.size++)
			assert_int_equal(given[i].give(&o), -EINVAL);
		o.size = NEVER_SET;
		assert_int_equal(given[i].give(&o), -E2BIG);
	}
	psb_bridge_unref(stage.bridge);
}

/* ---- what the program is given ----------------------------------------------------------------- */

static int fill_notification(void *ret)
{
	int r = psb_mailbox_take(stage.mailbox, 0, ret);

	if (r != 0)
		return r < 0 ? r : 0;
	stage.low = !stage.low;
	psb_watch_simulate(stage.watch, stage.low ? PSB_LOW : PSB_HIGH, 0);
	r = psb_mailbox_take(stage.mailbox, PATIENCE_SEC * USEC_PER_SEC, ret);
	return r < 0 ? r : r == 1 ? 0 : -ETIMEDOUT;
}

static int fill_load(void *ret)
{
	return psb_watch_load(stage.watch, ret);
}

static int fill_source(void *ret)
{
	return psb_watch_source(stage.watch, ret);
}

static int fill_stats(void *ret)
{
	return psb_watch_stats(stage.watch, ret);
}

static int fill_settings(void *ret)
{
	size_t size;

	memcpy(&size, ret, sizeof(size));
	if (size >= offsetof(struct psb_settings, watch) + sizeof(void *) && size != NEVER_SET)
		((struct psb_settings *)ret)->watch = NULL;
	return psb_settings_read(NULL, NULL, ret);
}

static int fill_options(void *ret)
{
	struct psb_settings settings = { .size = sizeof(settings), .watch = ret };

	return psb_settings_read(NULL, NULL, &settings);
}

static const struct {
	const char *name;
	size_t size;
	int (*fill)(void *ret);
} filled[] = {
	{ "psb_notification", sizeof(struct psb_notification), fill_notification },
	{ "psb_load", sizeof(struct psb_load), fill_load },
	{ "psb_source", sizeof(struct psb_source), fill_source },
	{ "psb_stats", sizeof(struct psb_stats), fill_stats },
	{ "psb_settings", sizeof(struct psb_settings), fill_settings },
	{ "psb_watch_options", sizeof(struct psb_watch_options), fill_options },
};

static bool is_all(const unsigned char *bytes, size_t n, unsigned char value)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

BENCH(structures_are_filled_whatever_their_age)
{
	stage = (struct stage){ .bridge = b->bridge, .watch = b->watch };
	assert_int_equal(psb_mailbox_new(b->watch, 0, &stage.mailbox), 0);
	for (size_t i = 0; i < ELEMENTSOF(filled); i++) {
		const size_t ours = filled[i].size;
		static union {
			size_t size;
			unsigned char bytes[8192];
		} s;

		print_message("%s\n", filled[i].name);
		assert_true(ours + MORE < sizeof(s));
		for (size_t size = sizeof(size_t); size <= ours + MORE; size += 8) {
			size_t both = MIN(size, ours);

			memset(&s, UNTOUCHED, sizeof(s));
			s.size = size;
			assert_int_equal(filled[i].fill(&s), 0);
			assert_int_equal(s.size, both);
			for (size_t k = sizeof(size_t); k + 8 <= both; k += 8)
				assert_false(is_all(s.bytes + k, 8, UNTOUCHED));
			assert_true(is_all(s.bytes + both, size - both, 0));
			assert_true(is_all(s.bytes + size, sizeof(s) - size, UNTOUCHED));
			/* and what was filled once can be filled again */
			assert_int_equal(filled[i].fill(&s), 0);
			assert_int_equal(s.size, both);
		}
		memset(&s, UNTOUCHED, sizeof(s));
		for (s.size = 0; s.size < sizeof(size_t); s.size++)
			assert_int_equal(filled[i].fill(&s), -EINVAL);
		s.size = NEVER_SET;
		assert_int_equal(filled[i].fill(&s), -E2BIG);
		assert_true(is_all(s.bytes, sizeof(s), UNTOUCHED));
	}
	psb_mailbox_free(stage.mailbox);
}

/* ---- what callbacks are given ------------------------------------------------------------------ */

static void look_at_size(size_t size, size_t expected, void *userdata)
{
	assert_int_equal(size, expected);
	++*(unsigned *)userdata;
}

static void look_at_notification(const struct psb_notification *n, void *userdata)
{
	look_at_size(n->size, sizeof(*n), userdata);
}

static void look_at_finding(const struct psb_finding *finding, void *userdata)
{
	look_at_size(finding->size, sizeof(*finding), userdata);
}

static void look_at_row(const struct psb_survey_row *row, void *userdata)
{
	look_at_size(row->size, sizeof(*row), userdata);
}

PROMISE(callbacks_can_tell_how_much_the_library_filled)
{
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch = watch_fifo(bridge, LONG_USEC);
	unsigned told = 0, listed = 0, found = 0, rows = 0;

	assert_true(psb_bridge_fd(bridge) >= 0);
	assert_int_equal(psb_watch_add_callback(watch, look_at_notification, &told,
						PSB_INLINE | PSB_TELL_PRESENT, NULL),
			 0);
	for (int i = 0; i < 1000 && told == 0; i++) {
		assert_true(psb_bridge_dispatch(bridge) >= 0);
		usleep(1000);
	}
	assert_int_equal(psb_watch_list(watch, look_at_notification, &listed), 0);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	assert_int_equal(psb_diagnose(NULL, look_at_finding, &found), 0);
	assert_true(told == 1 && listed == 1 && found > 0);
	if (!cgroup2_mount()[0])
		SKIP("no cgroup2 is mounted");
	assert_int_equal(psb_survey("/", look_at_row, &rows), 0);
	assert_int_equal(rows, 1);
}
