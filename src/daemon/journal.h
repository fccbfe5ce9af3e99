/* SPDX-License-Identifier: MIT */
/*
 * journal.h - log messages: entries of the journal, or lines on stderr; sending one never waits
 *
 * Where $JOURNAL_STREAM says that stderr is the journal's, a message is one datagram with fields for journald. Otherwise, and
 * where there is no journald to take it, it is one line on stderr: "<4>text" with the syslog priority if $NOTIFY_SOCKET is
 * set, as a manager reads it, else just the text.
 *
 * A message that there is no room for is lost, and counted: "3 messages were lost here" is said in front of the next one that
 * gets through. No call waits (for a disk it does, where stderr is a file), and none allocates after journal_new().
 *
 * A text has at most 512 bytes: a longer one is cut between two characters and ends in "...". Control characters become '?'.
 * A cgroup in a text is cut at 240 bytes; in its field it is whole.
 *
 * Any thread may call all functions but journal_new() and journal_free(), also with NULL, then they do nothing.
 */
#pragma once

#include "psibridge/psibridge.h"
#include "core/trigger.h"

struct journal;

/* Where journald listens. */
#define JOURNAL_SOCKET "/run/systemd/journal/socket"

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
	MESSAGE_CLIENT_REFUSED, /* not its cgroup, too many, or invalid */
	MESSAGE_KILLED,		/* the kernel's OOM killer killed a process */
	MESSAGE_EFFECT,		/* what the last Low achieved is known */
};

enum { LOG_IS_ERROR = 3, LOG_IS_WARNING = 4, LOG_IS_NOTICE = 5, LOG_IS_INFO = 6, LOG_IS_DEBUG = 7 };

/* Looks at stderr and the two variables once. `socket_path`, JOURNAL_SOCKET but for tests, need not exist, now or at any
 * other time. SIGPIPE must be ignored: a pipe's reader may end. Errors: -ENOMEM, -ENAMETOOLONG, -errno of socket(2). */
int journal_new(const char *socket_path, struct journal **ret);
/* Tries once to say what was lost. Returns NULL. */
struct journal *journal_free(struct journal *journal);
DEFINE_CLEANUP(struct journal *, journal_free);

/* One message. `priority` is LOG_IS_*. One about `cgroup` (its path, any length; NULL: none) has that in front of the text, and
 * the fields PSIBRIDGE_CGROUP=, and OBJECT_SYSTEMD_UNIT= and OBJECT_SYSTEMD_USER_UNIT= (by which `journalctl -u` finds it;
 * where there is such a unit). */
void journal_cgroup(struct journal *journal, int priority, enum message message, const char *cgroup,
		    const char *format, ...) _printf_(5, 6);
#define journal_log(journal, priority, message, ...) \
	journal_cgroup(journal, priority, message, NULL, __VA_ARGS__)

/*
 * What a watch was told: a sentence, the fields of journal_cgroup(), PSIBRIDGE_AVAILABLE=low|neutral|high,
 * PSIBRIDGE_CRITICAL=0|1, PSIBRIDGE_REASON=, PSIBRIDGE_CAUSE= (names.h), PSIBRIDGE_CAUSE_CGROUP= (its path, where it has one),
 * PSIBRIDGE_STALL_USEC=, PSIBRIDGE_THRESHOLD= (`threshold`, the trigger that leads to that level, if not NULL), PSIBRIDGE_CURRENT_BYTES= and PSIBRIDGE_LIMIT_BYTES= (where they are known) and
 * PSIBRIDGE_SHADOW=0|1. Low is LOG_IS_NOTICE, critical LOG_IS_WARNING, Neutral and High LOG_IS_INFO; so is the kind GONE,
 * without a MESSAGE_ID.
 */
void journal_level(struct journal *journal, const struct psb_notification *notification,
		   bool shadow, const struct trigger *threshold);

/*
 * What the last Low of `cgroup` achieved, as in psb_stats: a sentence, LOG_IS_INFO, with the fields of journal_cgroup(),
 * PSIBRIDGE_BYTES_BACK=, PSIBRIDGE_UNANSWERED=, PSIBRIDGE_STALL_BEFORE_USEC=, PSIBRIDGE_STALL_AFTER_USEC= and
 * PSIBRIDGE_FIRST_BACK_USEC= (where they are known). How often Low is repeated is said where that changes: `before` is how
 * many Lows in a row were unanswered until then.
 */
void journal_effect(struct journal *journal, const char *cgroup, const struct psb_stats *stats,
		    uint64_t before, uint64_t rearm_usec);

/* Says how many messages were lost, if any. False: some were, and there is no room now. */
bool journal_say_lost(struct journal *journal);
