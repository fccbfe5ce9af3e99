/* SPDX-License-Identifier: MIT */
/*
 * test-members.c - the cgroups of a pattern: which are under observation (psb_watch_list()), levels that are simulated, or were told
 * by another process (psb_watch_simulate_at()), their slots in a mailbox, and a fixed part that goes and comes again
 *
 * The cgroups are real and empty, "/LAB/trunk/c0" and so on: nothing stalls in them, so all that is told is simulated, or follows
 * from it. Levels are letters as in library-bench.h; a small one was told by another process, long ago.
 */
#include <ctype.h>

#include "library-bench.h"
#include "../../pressure.h"
#include "../count-malloc.h"

/* longer than any thread is late, or a Neutral is overtaken */
#define QUIET_USEC (500 * USEC_PER_MSEC)
#define MANY 5

static struct lab lab;

/* Of cgroup `i`: its group in the lab, its path, and that with the mount in front. */
static const char *group_of(unsigned i)
{
	static char groups[MANY][24];

	snprintf(groups[i], sizeof(groups[i]), "trunk/c%u", i);
	return groups[i];
}

static const char *cgroup(unsigned i)
{
	return lab_path(&lab, group_of(i));
}

static const char *in_mount(unsigned i)
{
	return lab_file(&lab, group_of(i), "");
}

static void make_trunk(unsigned many)
{
	lab_make(&lab, "trunk", 0);
	for (unsigned i = 0; i < many; i++)
		lab_make(&lab, group_of(i), 0);
}

static void remove_trunk(void)
{
	lab_remove(&lab, "trunk");
}

static void close_lab(void)
{
	lab_close(&lab);
}

/* A bridge that is not driven yet, and a watch of the trunk's `many` cgroups. */
static struct bench *watch_all(void **state, unsigned many, uint64_t quiet_usec)
{
	struct psb_watch_options options = quick_options(NULL);
	const char *no_lab = lab.mount ? NULL : lab_open(&lab, "pattern");
	struct bench *b;

	if (no_lab)
		SKIP(no_lab);
	end_more = close_lab;
	make_trunk(many);
	b = bench_bare(state);
	options.pattern = lab_path(&lab, "trunk/*");
	options.rungs = 0;
	options.quiet_usec = quiet_usec;
	options.calm_usec = 2 * quiet_usec;
	arm(b, &options);
	return b;
}

/* ... whose bridge runs, and which is listened to. */
static struct bench *hear_all(void **state, unsigned many, uint64_t quiet_usec)
{
	struct bench *b = watch_all(state, many, quiet_usec);

	run(b);
	listen_to(b, &b->rx);
	return b;
}

static void simulate_at(struct bench *b, const char *path, char level)
{
	static const char levels[] = "?LNH";
	char upper = (char)toupper(level);
	bool critical = upper == 'C';
	const char *at = strchr(levels, critical ? 'L' : upper);

	assert_int_equal(psb_watch_simulate_at(b->watch, path, (enum psb_available)(at - levels),
					       critical, level == upper ? 0 : PSB_UNTOLD),
			 0);
}

static void simulate(struct bench *b, unsigned i, char level)
{
	simulate_at(b, cgroup(i), level);
}

/* ---- which are under observation ------------------------------------------------------------------ */

/* Dispatch a foreign bridge until `condition`. */
#define DISPATCH_UNTIL(b, condition)                                \
	AWAIT_SEEN(({                                               \
		assert_true(psb_bridge_dispatch((b)->bridge) >= 0); \
		condition;                                          \
	}))

struct list {
	unsigned count;
	char cgroup[MANY][64];
	struct psb_notification present[MANY];
	struct bench *ends; /* all but c2 and the first that is listed, when that is */
};

static void note_member(const struct psb_notification *present, void *userdata)
{
	struct list *list = userdata;
	char *path = list->cgroup[list->count];

	assert_true(list->count < MANY);
	assert_int_equal(present->size, sizeof(*present));
	assert_int_equal(present->reason, PSB_REASON_PRESENT);
	list->present[list->count++] = *present;
	snprintf(path, sizeof(list->cgroup[0]), "%s", present->cgroup);
	if (list->ends && list->count == 1) {
		for (unsigned i = 0; i < MANY; i++)
			if (i != 2)
				simulate(list->ends, i, 'h');
		DISPATCH_UNTIL(list->ends, stats_of(list->ends).members == 1);
	}
	assert_string_equal(path, present->cgroup); /* still valid, whatever was done */
}

/* A letter for each cgroup; '-' if it is not listed. */
static const char *listed(struct bench *b, struct bench *ends)
{
	static char text[MANY + 1];
	struct list list = { .ends = ends };
	unsigned found = 0;

	assert_int_equal(psb_watch_list(b->watch, note_member, &list), 0);
	for (unsigned i = 0; i < MANY; i++) {
		text[i] = '-';
		for (unsigned k = 0; k < list.count; k++)
			if (strcmp(list.cgroup[k], cgroup(i)) == 0) {
				text[i] = letter(&list.present[k]);
				found++;
			}
	}
	assert_int_equal(found, list.count); /* each once, and no other */
	return text;
}

PROMISE(the_list_names_each_cgroup_that_is_not_at_rest_once)
{
	struct bench *b = watch_all(state, MANY, LONG_USEC);
	uint64_t samples;

	assert_true(psb_bridge_fd(b->bridge) >= 0);
	assert_string_equal(listed(b, NULL), "-----"); /* nobody has dispatched yet */
	for (unsigned i = 0; i < 4; i++)
		simulate(b, i, "lhnL"[i]);
	DISPATCH_UNTIL(b, stats_of(b).members == 3);
	samples = stats_of(b).samples;
	assert_string_equal(listed(b, NULL), "L-NL-");
	assert_int_equal(stats_of(b).samples, samples); /* nothing was read for it */
}

PROMISE(the_counters_of_all_are_added_up)
{
	struct bench *b = watch_all(state, 3, LONG_USEC);

	assert_true(psb_bridge_fd(b->bridge) >= 0);
	simulate(b, 0, 'C');
	simulate(b, 1, 'L');
	simulate(b, 1, 'N');
	simulate(b, 2, 'C');
	DISPATCH_UNTIL(b, stats_of(b).neutral == 1 && stats_of(b).critical == 2);
	assert_int_equal(stats_of(b).low, 3);
	assert_int_equal(stats_of(b).members, 3);
	assert_true(stats_of(b).sample_usec > 0);
}

PROMISE(who_is_told_the_list_may_dispatch)
{
	struct bench *b = watch_all(state, MANY, LONG_USEC);
	unsigned lows = 0;

	for (unsigned i = 0; i < MANY; i++)
		simulate(b, i, 'l');
	DISPATCH_UNTIL(b, stats_of(b).members == MANY);
	for (const char *text = listed(b, b); *text; text++)
		lows += *text == 'L';
	assert_int_equal(lows, 2); /* the first, and the one that is left */
	assert_string_equal(listed(b, NULL), "--L--");
}

static void *list_elsewhere(void *arg)
{
	struct bench *b = arg;
	struct list list = { .count = 0 };

	note_done(&b->fence, psb_watch_list(b->watch, note_member, &list));
	return NULL;
}

static int list_on_a_thread(struct bench *b)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, list_elsewhere, b), 0);
	pthread_join(thread, NULL);
	return READ(&b->fence, result);
}

static void list_inside(struct receiver *rx, const struct psb_notification *n)
{
	struct list list = { .count = 0 };
	int r = psb_watch_list(rx->watch, note_member, &list);

	if (r == 0)
		r = list.count == 1 && strcmp(list.cgroup[0], n->cgroup) == 0 &&
		    list.present[0].available == n->available &&
		    list.present[0].some_total_usec == n->some_total_usec &&
		    list.present[0].current_bytes == n->current_bytes;
	note_done(rx, r);
}

PROMISE(the_list_is_for_the_thread_that_dispatches)
{
	struct bench *b = watch_all(state, 1, LONG_USEC);
	struct list list = { .count = 0 };

	assert_int_equal(list_on_a_thread(b), 0); /* nobody dispatches yet */
	run(b);
	assert_int_equal(psb_watch_list(b->watch, note_member, &list), -EXDEV);
	b->rx.act = list_inside;
	listen_with(b, &b->rx, PSB_INLINE);
	simulate(b, 0, 'L');
	AWAIT(&b->rx, b->rx.done == 1);
	assert_int_equal(READ(&b->rx, result), 1);
	bench_free(b);
	remove_trunk();

	b = watch_all(state, 1, LONG_USEC);
	assert_true(psb_bridge_dispatch(b->bridge) >= 0);
	assert_int_equal(list_on_a_thread(b), -EXDEV);
	assert_string_equal(listed(b, NULL), "-----");
}

PROMISE(a_single_cgroup_is_a_list_of_one)
{
	struct bench *b = bench_at_rest(state);

	for (enum psb_available level = PSB_HIGH; level >= PSB_LOW; level--) {
		struct list list = { .count = 0 };

		assert_int_equal(psb_watch_simulate(b->watch, level, 0), 0);
		DISPATCH_UNTIL(b, psb_watch_available(b->watch, NULL) == level);
		assert_int_equal(psb_watch_list(b->watch, note_member, &list), 0);
		assert_int_equal(list.count, 1);
		assert_int_equal(list.present[0].available, level);
		assert_string_equal(list.cgroup[0], source_of(b->watch).cgroup);
	}
}

/* ---- levels of single cgroups of a pattern --------------------------------------------------------- */

INLINE_TOO(a_simulated_level_is_told_of_its_cgroup_and_ends_as_usual)
{
	struct bench *b = hear_all(state, 2, QUIET_USEC);

	simulate(b, 1, 'C');
	hear(&b->rx, "CNH");
	assert_received(b, 0, PSB_REASON_SIMULATED);
	assert_received(b, 1, PSB_REASON_CALM);
	assert_string_equal(b->rx.cgroup, cgroup(1));
	AWAIT_SEEN(stats_of(b).members == 0);
	assert_int_equal(psb_watch_available(b->watch, NULL), PSB_HIGH);
}

/* The level of a pattern is the lowest of its cgroups. What is told next shows that nothing before it was. */
PROMISE(simulations_of_one_cgroup_make_one_member)
{
	static const struct {
		unsigned cgroup;
		char level;
		const char *told;
		unsigned members;
		enum psb_available lowest;
	} steps[] = {
		{ 0, 'N', "N", 1, PSB_NEUTRAL }, { 0, 'L', "L", 1, PSB_LOW },
		{ 1, 'N', "N", 2, PSB_LOW },	 { 0, 'H', "H", 1, PSB_NEUTRAL },
		{ 0, 'H', "", 1, PSB_NEUTRAL },	 { 0, 'h', "", 1, PSB_NEUTRAL },
		{ 1, 'L', "L", 1, PSB_LOW },	 { 1, 'h', "", 0, PSB_HIGH },
		{ 0, 'L', "L", 1, PSB_LOW },
	};
	struct bench *b = hear_all(state, 2, LONG_USEC);

	for (unsigned i = 0; i < ELEMENTSOF(steps); i++) {
		simulate(b, steps[i].cgroup, steps[i].level);
		hear(&b->rx, steps[i].told);
		AWAIT_SEEN(stats_of(b).members == steps[i].members &&
			   psb_watch_available(b->watch, NULL) == steps[i].lowest);
	}
	simulate_at(b, in_mount(0), 'N'); /* the mount may stand in front */
	hear(&b->rx, "N");
}

INLINE_TOO(an_untold_low_is_not_told_but_its_end_is)
{
	struct bench *b = hear_all(state, 1, QUIET_USEC);
	uint64_t begin = now_usec();
	int critical;

	simulate(b, 0, 'c');
	AWAIT_SEEN(psb_watch_available(b->watch, &critical) == PSB_LOW);
	assert_int_equal(critical, 1);
	hear(&b->rx, "NH");
	assert_received(b, 0, PSB_REASON_CALM);
	assert_true(received(&b->rx, 0).time_usec >= begin + QUIET_USEC); /* it runs from there */
	assert_int_equal(stats_of(b).low, 0);
	AWAIT_SEEN(stats_of(b).members == 0);
}

/* Its clients were told Low, and wait for an end that nothing else would bring. */
INLINE_TOO(an_untold_low_that_cannot_be_taken_over_ends_at_once)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);

	simulate(b, 0, 'L'); /* it runs */
	simulate(b, 0, 'H');
	hear_last(&b->rx, 'H');
	AWAIT_SEEN(stats_of(b).members == 0);
	descriptors_allow(0);
	simulate(b, 0, 'l');
	AWAIT_FOR(&b->rx, b->rx.calls > b->rx.heard, PATIENCE_USEC);
	descriptors_allow(DESCRIPTORS_ALL);
	hear(&b->rx, "H");
	assert_string_equal(b->rx.cgroup, cgroup(0));
	await_log(b, "no level can be set");
}

PROMISE(of_a_cgroup_that_is_gone_nothing_is_told_but_a_line_is_logged)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);

	simulate(b, 1, 'L');
	simulate(b, 1, 'l');
	simulate(b, 0, 'L');
	hear(&b->rx, "L");
	assert_string_equal(b->rx.cgroup, cgroup(0));
	await_log(b, "no level can be set");
	assert_int_equal(stats_of(b).members, 1);
}

static void list_others(struct receiver *rx, const struct psb_notification *n)
{
	struct list list = { .count = 0 };
	int r = psb_watch_list(rx->watch, note_member, &list);

	note_done(rx, r < 0 ? r : list.count == 1 && strcmp(list.cgroup[0], n->cgroup) != 0);
}

/* It leaves, but is not freed yet. A sample, which finds out, is taken before Quiet ends. */
PROMISE(the_end_of_one_that_was_taken_over_is_told_and_it_is_listed_no_more)
{
	struct bench *b = hear_all(state, 2, 2 * USEC_PER_SEC);

	simulate(b, 0, 'n');
	simulate(b, 1, 'l');
	AWAIT_SEEN(psb_watch_available(b->watch, NULL) == PSB_LOW);
	b->fence.act = list_others;
	listen_with(b, &b->fence, PSB_INLINE);
	assert_int_equal(rmdir(in_mount(1)), 0);
	hear(&b->fence, "G");
	assert_int_equal(received(&b->fence, 0).available, PSB_NEUTRAL);
	assert_int_equal(READ(&b->fence, result), 1);
}

/* The old one was not sampled since. */
PROMISE(a_cgroup_that_was_made_anew_is_another_one)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);

	simulate(b, 0, 'N');
	hear(&b->rx, "N");
	assert_int_equal(rmdir(in_mount(0)), 0);
	assert_int_equal(mkdir(in_mount(0), 0755), 0);
	simulate(b, 0, 'L');
	AWAIT_SEEN(stats_of(b).members == 1 && psb_watch_available(b->watch, NULL) == PSB_LOW);
	hear_last(&b->rx, 'L'); /* the old one's end came before, or not at all */
}

PROMISE(what_makes_no_sense_is_refused)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);
	const struct {
		const char *cgroup;
		int available, critical;
	} bad[] = {
		{ NULL, PSB_LOW, 0 },
		{ lab_path(&lab, "trunk"), PSB_LOW, 0 },
		{ lab_path(&lab, "trunk/c0/below"), PSB_LOW, 0 },
		{ lab_path(&lab, "trunk/../x"), PSB_LOW, 0 },
		{ "/", PSB_LOW, 0 },
		{ "", PSB_LOW, 0 },
		{ cgroup(0), 0, 0 },
		{ cgroup(0), 4, 0 },
		{ cgroup(0), PSB_NEUTRAL, 1 },
	};

	for (size_t i = 0; i < ELEMENTSOF(bad); i++)
		assert_int_equal(psb_watch_simulate_at(b->watch, bad[i].cgroup,
						       (enum psb_available)bad[i].available,
						       bad[i].critical, 0),
				 -EINVAL);
	assert_int_equal(psb_watch_simulate(b->watch, PSB_LOW, 0), -EOPNOTSUPP);
	assert_int_equal(psb_watch_simulate(b->watch, (enum psb_available)0, 0), -EINVAL);
	hear(&b->rx, "");
}

/* ---- in a mailbox ---------------------------------------------------------------------------------- */

static struct bench *take_all(void **state, unsigned many, uint64_t quiet_usec)
{
	struct bench *b = watch_all(state, many, quiet_usec);

	run(b);
	listen_with(b, &b->fence, PSB_INLINE); /* is told when the mailbox is filled */
	assert_int_equal(psb_mailbox_new(b->watch, 0, &b->mailbox), 0);
	return b;
}

static struct psb_notification take(struct bench *b, unsigned i, char level)
{
	struct psb_notification n = { .size = sizeof(n) };

	assert_int_equal(psb_mailbox_take(b->mailbox, PATIENCE_USEC, &n), 1);
	assert_string_equal(n.cgroup, cgroup(i));
	assert_int_equal(letter(&n), level);
	return n;
}

PROMISE(each_cgroup_has_a_slot_of_its_own)
{
	struct bench *b = take_all(state, 3, LONG_USEC);
	struct psb_notification n = { .size = sizeof(n) };

	simulate(b, 0, 'L');
	simulate(b, 1, 'N');
	simulate(b, 2, 'L');
	simulate(b, 0, 'N');
	hear(&b->fence, "LNLN");
	for (unsigned i = 0; i < 3; i++) /* the oldest slot first */
		take(b, i, "NNL"[i]);
	assert_int_equal(psb_mailbox_take(b->mailbox, 0, &n), 0);
}

/* Also when it was removed meanwhile, and nobody else remembers it. Address sanitizer looks on. */
PROMISE(the_cgroups_name_is_valid_until_the_next_take)
{
	struct bench *b = take_all(state, 2, QUIET_USEC);
	struct psb_notification n, gone;

	simulate(b, 0, 'L');
	n = take(b, 0, 'L');
	assert_int_equal(rmdir(in_mount(0)), 0);
	hear_last(&b->fence, 'G');
	AWAIT_SEEN(stats_of(b).members == 0);
	assert_string_equal(n.cgroup, cgroup(0));
	gone = take(b, 0, 'G');
	assert_int_not_equal(gone.available, PSB_LOW);
	simulate(b, 1, 'L');
	hear_last(&b->fence, 'L');
	assert_string_equal(gone.cgroup, cgroup(0));
	take(b, 1, 'L');
	simulate(b, 1, 'N'); /* what nobody takes is freed with it */
	hear(&b->fence, "N");
}

/* A member comes with its Low, and goes with its High: only what is allocated meanwhile counts. */
PROMISE(it_is_told_on_without_an_allocation)
{
	struct psb_notification n = { .size = sizeof(n) };
	struct bench *b;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
	b = take_all(state, 2, USEC_PER_SEC / 2);
	for (unsigned i = 0; i < 2; i++) {
		simulate(b, i, 'L');
		take(b, i, 'L');
	}
	hear(&b->fence, "LL");
	count_malloc_start();
	for (unsigned high = 0; high < 2; high += n.available == PSB_HIGH)
		assert_int_equal(psb_mailbox_take(b->mailbox, PATIENCE_USEC, &n), 1);
	AWAIT(&b->fence, b->fence.calls == 6);
	atomic_store(&count_malloc_on, false);
	assert_int_equal(atomic_load(&count_malloc_allocations), 0);
}

/* ---- levels of a single cgroup --------------------------------------------------------------------- */

/* Also of a call that runs just then: else the end of the Low would seem to be known already. */
INLINE_TOO(the_end_of_an_untold_low_is_heard_by_those_that_were_told_the_same_before)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));

	options.calm_usec = LONG_USEC;
	for (int runs = 0; runs < (((struct variant *)*state)->flags ? 1 : 2); runs++) {
		struct bench *b = bench_with(state, &options, 0);
		int critical;

		hold(&b->rx, runs);
		say_and_hear(b, &b->rx, "N");
		simulate_at(b, NULL, 'c');
		AWAIT_SEEN(psb_watch_available(b->watch, &critical) == PSB_LOW);
		assert_int_equal(critical, 1);
		hold(&b->rx, false);
		hear(&b->rx, "N");
		assert_received(b, 1, PSB_REASON_CALM);
		bench_free(b);
	}
}

BENCH(a_single_cgroup_may_be_named_or_not)
{
	listen_to(b, &b->rx);
	simulate_at(b, source_of(b->watch).cgroup, 'L');
	hear(&b->rx, "L");
	simulate_at(b, NULL, 'N');
	hear(&b->rx, "N");
}

/* ---- the fixed part ------------------------------------------------------------------------------- */

PROMISE(a_fixed_part_that_returns_is_found_at_once_and_waiting_costs_nothing)
{
	struct bench *b = hear_all(state, 1, LONG_USEC);
	uint64_t samples = 0, born;
	bool quiet = false;
	pid_t loop;

	AWAIT_SEEN(stats_of(b).samples > 0);
	remove_trunk();
	await_log(b, "waiting for the next");
	loop = thread_named(0, "psb-loop", 0);
	/* some of these may see the end of the old trunk, or a lock that was waited for */
	for (unsigned i = 0; i < 20 && !quiet; i++) {
		uint64_t switches = thread_switches(loop);

		samples = stats_of(b).samples;
		usleep(500000);
		quiet = thread_switches(loop) == switches;
	}
	assert_true(quiet);
	assert_int_equal(stats_of(b).samples, samples);
	make_trunk(1);
	born = now_usec();
	AWAIT_SEEN(stats_of(b).samples > samples); /* its first look is a sample */
	assert_true(now_usec() - born < 500 * USEC_PER_MSEC);
	simulate(b, 0, 'L');
	hear(&b->rx, "L");
}

PROMISE(a_watch_may_end_while_it_waits_for_its_fixed_part)
{
	for (unsigned found = 0; found < 2; found++) {
		struct bench *b = hear_all(state, 1, LONG_USEC);

		remove_trunk();
		await_log(b, "waiting for the next");
		if (found) /* while it ends */
			make_trunk(0);
		bench_free(b);
		remove_trunk();
	}
}
