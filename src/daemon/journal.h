/* SPDX-License-Identifier: MIT */
/*
 * journal.h - log lines that never make the loop wait
 *
 * journald may be slow exactly when memory is short, and its socket blocks. So a line is put into a
 * ring of 64 KiB, and a thread of its own writes it: to the journal with structured fields where
 * $JOURNAL_STREAM says that stderr is the journal's, else to stderr as text with the syslog priority
 * in front ("<4>") if $NOTIFY_SOCKET is set, plain if not. A full ring loses the newest lines and
 * says how many as soon as there is room. No allocation after journal_new().
 */
#pragma once

#include "psibridge/psibridge.h"
#include "core/util.h"

#include <stdarg.h>

struct journal;

/* The kinds of message, each with a MESSAGE_ID and an entry in units/psibridge.catalog. */
enum message {
	MESSAGE_OTHER, /* no MESSAGE_ID */
	MESSAGE_LOW,
	MESSAGE_CRITICAL,
	MESSAGE_NEUTRAL,
	MESSAGE_HIGH,
	MESSAGE_WATCH_STARTED,
	MESSAGE_WATCH_FAILED,
	MESSAGE_WATCH_ABSENT,	/* the fixed part of its path does not exist yet, or was removed */
	MESSAGE_CONFIG_BAD,	/* a reload was refused; the old configuration stays */
	MESSAGE_CLIENT_REFUSED, /* not its cgroup, too many, or nonsense */
};

enum { LOG_IS_ERROR = 3, LOG_IS_WARNING = 4, LOG_IS_NOTICE = 5, LOG_IS_INFO = 6, LOG_IS_DEBUG = 7 };

/* To be called before manager_new(), which unsets $NOTIFY_SOCKET. Errors: -ENOMEM, -EAGAIN (no
 * thread). */
int journal_new(struct journal **ret);
/* Writes what is left, for a second at most. */
struct journal *journal_free(struct journal *journal);
DEFINE_CLEANUP(struct journal *, journal_free);

/* One line; cut at 512 bytes, control characters become '?'. Any thread. NULL: goes nowhere. */
void journal_log(struct journal *journal, int priority, enum message message, const char *format,
		 ...) _printf_(4, 5);

/* What a watch was told: fields PSIBRIDGE_CGROUP=, PSIBRIDGE_AVAILABLE=low|neutral|high,
 * PSIBRIDGE_CRITICAL=0|1, PSIBRIDGE_REASON=, PSIBRIDGE_STALL_USEC=, PSIBRIDGE_SHADOW=0|1 and a
 * sentence. Low is LOG_NOTICE, critical LOG_WARNING, Neutral and High LOG_INFO; so is GONE, without
 * a MESSAGE_ID. Any thread. */
void journal_level(struct journal *journal, const struct psb_notification *notification,
		   bool shadow);
