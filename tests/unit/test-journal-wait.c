/* SPDX-License-Identifier: MIT */
/*
 * test-journal-wait.c - log lines: nobody waits for them, and what that costs (src/daemon/journal.h)
 */
#include "journald-double.h"

#include "../skip.h"
#include "count-malloc.h"

/* ---- nobody waits ------------------------------------------------------------------------------ */

/* Log numbered lines until more than the ring holds were logged. Returns how many. */
static int overfill(struct journal *j)
{
	const int n = 1500;

	for (int i = 0; i < n; i++)
		journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line %d %050d", i, 0);
	return n;
}

static void a_full_ring_makes_nobody_wait_and_losses_are_counted_and_told(void **state)
{
	struct journal *j = new_structured();
	int logged, written = 0, lost = -1, last = -1;

	(void)state;
	make_slow(true);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line first");
	JOURNALD_AWAIT(journald.sleeping);
	logged = overfill(j); /* that it returns, while the thread sleeps, is the promise */
	make_slow(false);
	journal_free(j);
	assert_string_equal(journald.messages[0], "MESSAGE=line first");
	for (int i = 1; i < journald.count; i++) {
		const char *text = journald.messages[i] + strlen("MESSAGE=");

		if (strncmp(text, "line ", 5) == 0) {
			/* in order, and none twice; the newest are those that were lost */
			assert_int_equal(atoi(text + 5), last + 1);
			last = atoi(text + 5);
			written++;
		} else {
			assert_int_equal(lost, -1);
			assert_non_null(strstr(text, "lines were lost here"));
			lost = atoi(text);
		}
	}
	assert_in_range(written, 500, logged - 1); /* 64 KiB of some 80 bytes each */
	assert_int_equal(written + lost, logged);
}

static void a_loss_is_told_where_the_gap_is(void **state)
{
	struct journal *j = new_structured();
	int gap = -1, gaps = 0;

	(void)state;
	make_slow(true);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line first");
	JOURNALD_AWAIT(journald.sleeping);
	overfill(j);
	make_slow(false);
	JOURNALD_AWAIT(journald.count > 1 &&
		       strstr(journald.messages[journald.count - 1], "lines were lost"));
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line after");
	journal_free(j);
	for (int i = 0; i < journald.count; i++)
		if (strstr(journald.messages[i], "lines were lost")) {
			gap = i;
			gaps++;
		}
	assert_int_equal(gaps, 1);
	assert_int_equal(gap, journald.count - 2);
	assert_string_equal(journald.messages[gap + 1], "MESSAGE=line after");
}

static void a_loss_is_told_in_front_of_the_first_line_that_finds_room_again(void **state)
{
	struct journal *j = new_structured();
	int gap = -1, gaps = 0;

	(void)state;
	make_slow(true);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line first");
	JOURNALD_AWAIT(journald.sleeping);
	overfill(j);
	make_slow_after(true, 100);
	JOURNALD_AWAIT(journald.sleeping && journald.count == 100);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line after");
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line last");
	make_slow(false);
	journal_free(j);
	for (int i = 0; i < journald.count; i++)
		if (strstr(journald.messages[i], "lines were lost")) {
			gap = i;
			gaps++;
		}
	assert_int_equal(gaps, 1);
	assert_int_equal(gap, journald.count - 3);
	assert_string_equal(journald.messages[gap + 1], "MESSAGE=line after");
	assert_string_equal(journald.messages[gap + 2], "MESSAGE=line last");
}

static void the_ring_goes_round_with_lines_of_all_lengths(void **state)
{
	struct journal *j = new_structured();
	char text[600], expected[640];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 1000; i++) {
		int length = (i * 131) % 500;

		journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%d %.*s", i, length, text);
		if (i % 40 == 39) /* never more than the ring holds */
			JOURNALD_AWAIT(journald.count == i + 1);
	}
	journal_free(j);
	assert_int_equal(journald.count, 1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(expected, sizeof(expected), "MESSAGE=%d %.*s", i, (i * 131) % 500, text);
		assert_string_equal(journald.messages[i], expected);
	}
}

static void what_is_left_is_written_at_the_end(void **state)
{
	struct journal *j = new_structured();

	(void)state;
	for (int i = 0; i < 100; i++)
		journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%d", i);
	journal_free(j);
	assert_int_equal(journald.count, 100);
}

static void a_journal_that_hangs_holds_the_end_up_for_a_second_and_no_longer(void **state)
{
	struct journal *j = new_structured();
	struct timespec before, after;
	double took;

	(void)state;
	make_slow(true);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "x");
	JOURNALD_AWAIT(journald.sleeping);
	clock_gettime(CLOCK_MONOTONIC, &before);
	journal_free(j);
	clock_gettime(CLOCK_MONOTONIC, &after);
	took = (double)(after.tv_sec - before.tv_sec) +
	       (double)(after.tv_nsec - before.tv_nsec) / 1e9;
	assert_true(took > 0.9 && took < 10);
	/* it comes back later, to a journal that is nobody's */
	make_slow(false);
	JOURNALD_AWAIT(journald.count == 1);
}

static void nothing_is_allocated_after_the_start(void **state)
{
	struct journal *j;

	(void)state;
	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
	j = new_structured();
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "first");
	JOURNALD_AWAIT(journald.count == 1);
	count_malloc_start();
	for (int i = 0; i < 20; i++) {
		journal_log(j, LOG_IS_INFO, MESSAGE_CONFIG_BAD, "line %d of %s", i, "many");
		journal_level(j, &low, true);
	}
	JOURNALD_AWAIT(journald.count == 41);
	count_malloc_stop();
	journal_free(j);
}

#define THREADS 4
#define LINES 100

static void *log_lines(void *arg)
{
	for (int i = 0; i < LINES; i++) {
		journal_log(arg, LOG_IS_INFO, MESSAGE_OTHER, "line %d", i);
		if (i % 10 == 0)
			journal_level(arg, &low, false);
	}
	return NULL;
}

static void any_thread_may_log(void **state)
{
	struct journal *j = new_structured();
	pthread_t threads[THREADS];
	int lines[LINES] = { 0 };

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_lines, j), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	journal_free(j);
	assert_int_equal(journald.count, THREADS * (LINES + LINES / 10));
	for (int i = 0; i < journald.count; i++)
		if (strncmp(journald.messages[i], "MESSAGE=line ", 13) == 0)
			lines[atoi(journald.messages[i] + 13)]++;
	for (int i = 0; i < LINES; i++)
		assert_int_equal(lines[i], THREADS);
}

static void no_journal_takes_every_line_and_forgets_it(void **state)
{
	(void)state;
	journal_log(NULL, LOG_IS_INFO, MESSAGE_OTHER, "x");
	journal_level(NULL, &low, false);
	assert_null(journal_free(NULL));
	assert_true(nothing_is_there());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_full_ring_makes_nobody_wait_and_losses_are_counted_and_told),
		TEST(a_loss_is_told_where_the_gap_is),
		TEST(a_loss_is_told_in_front_of_the_first_line_that_finds_room_again),
		TEST(the_ring_goes_round_with_lines_of_all_lengths),
		TEST(what_is_left_is_written_at_the_end),
		TEST(a_journal_that_hangs_holds_the_end_up_for_a_second_and_no_longer),
		TEST(nothing_is_allocated_after_the_start),
		TEST(any_thread_may_log),
		TEST(no_journal_takes_every_line_and_forgets_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
