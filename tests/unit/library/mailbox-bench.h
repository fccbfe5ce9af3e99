/* SPDX-License-Identifier: MIT */
/*
 * mailbox-bench.h - opening a mailbox of a bench (library-bench.h), and looking into it
 */
#pragma once

#include "library-bench.h"

#define PATIENCE_USEC (PATIENCE_SEC * USEC_PER_SEC)

static inline psb_mailbox *open_mailbox(struct bench *b, unsigned flags)
{
	psb_mailbox *mailbox = NULL;

	assert_int_equal(psb_mailbox_new(b->watch, flags, &mailbox), 0);
	assert_non_null(mailbox);
	return mailbox;
}

/* What comes within the patience of a test. */
static inline struct psb_notification taken(psb_mailbox *mailbox)
{
	struct psb_notification n = { .size = sizeof(n) };

	assert_int_equal(psb_mailbox_take(mailbox, PATIENCE_USEC, &n), 1);
	return n;
}

static inline void assert_empty(psb_mailbox *mailbox)
{
	struct psb_notification n = { .size = sizeof(n), .available = PSB_NEUTRAL };

	assert_int_equal(psb_mailbox_take(mailbox, 0, &n), 0);
	assert_int_equal(n.available, PSB_NEUTRAL); /* nothing was written */
}
