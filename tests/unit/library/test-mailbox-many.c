/* SPDX-License-Identifier: MIT */
/*
 * test-mailbox-many.c - the mailbox of a pattern, whose cgroups come and go
 */
#include "pattern-bench.h"
#include "mailbox-bench.h"

PROMISE(of_a_pattern_each_cgroup_has_a_slot_of_its_own)
{
	psb_mailbox *mailbox;
	struct psb_notification n;
	struct bench *b = hear_all(state, 3, LONG_USEC);

	listen_with(b, &b->fence, PSB_INLINE);
	mailbox = open_mailbox(b, 0);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	simulate_at(b, numbered(1), PSB_NEUTRAL, 0);
	simulate_at(b, numbered(2), PSB_LOW, 0);
	simulate_at(b, numbered(0), PSB_NEUTRAL, 0);
	AWAIT(&b->fence, b->fence.calls == 4);
	for (unsigned i = 0; i < 3; i++) { /* the oldest slot first */
		n = taken(mailbox);
		assert_string_equal(n.cgroup, numbered(i));
		assert_int_equal(n.available, i == 2 ? PSB_LOW : PSB_NEUTRAL);
	}
	assert_empty(mailbox);
	psb_mailbox_free(mailbox);
}

/* Also when it was removed meanwhile, and nobody else remembers it. Address sanitizer looks on. */
PROMISE(the_cgroups_name_is_valid_until_the_next_take)
{
	struct psb_notification n, gone;
	psb_mailbox *mailbox;
	struct bench *b = hear_all(state, 2, QUIET_USEC);

	listen_with(b, &b->fence, PSB_INLINE);
	mailbox = open_mailbox(b, 0);
	simulate_at(b, numbered(0), PSB_LOW, 0);
	n = taken(mailbox);
	assert_int_equal(rmdir(in_mount(numbered(0))), 0);
	AWAIT(&b->fence,
	      b->fence.calls > 1 && b->fence.heard[b->fence.calls - 1].kind == PSB_KIND_GONE);
	AWAIT_SEEN(stats_of(b).members == 0);
	assert_string_equal(n.cgroup, numbered(0));
	gone = taken(mailbox);
	assert_int_equal(gone.kind, PSB_KIND_GONE);
	assert_int_not_equal(gone.available, PSB_LOW);
	assert_string_equal(gone.cgroup, numbered(0));
	simulate_at(b, numbered(1), PSB_LOW, 0);
	AWAIT(&b->fence, last_is(&b->fence, PSB_LOW));
	assert_string_equal(gone.cgroup, numbered(0));
	assert_string_equal(taken(mailbox).cgroup, numbered(1));
	simulate_at(b, numbered(1), PSB_NEUTRAL, 0); /* what nobody takes is freed with it */
	AWAIT(&b->fence, last_is(&b->fence, PSB_NEUTRAL));
	psb_mailbox_free(mailbox);
}
