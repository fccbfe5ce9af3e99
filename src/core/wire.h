/* SPDX-License-Identifier: MIT */
/*
 * wire.h - the protocol of psibridged's notify socket
 *
 * A stream socket, one client a connection. What the client writes first chooses what it gets:
 *
 *   nothing at all          one byte ('L') per Low of its own cgroup: systemd's protocol
 *   "some 200000 2000000"   the same, and Low is judged by this PSI trigger. It may end with a NUL
 *                           or a newline, or with nothing, as systemd's clients write it
 *   "psibridge/1 KEY=VALUE ...\n"
 *                           records (below): the level, critical, load and stall. Keys, each once,
 *                           separated by one blank:
 *                             early=, low=, critical=   a trigger, some:200000:2000000
 *                             rearm=, quiet=, calm=     microseconds
 *                             headroom=                 percent, 1 to 99, or "off"
 *                             descendants=              yes or no
 *                             forecast=                 microseconds, or "off"
 *                             cgroup=                   the last one, up to the end of the line:
 *                                                       a path below the client's own cgroup
 *                                                       ("sub/x"), or from the root ("/a/b")
 *
 * After that nothing is read any more, but for one record REPORT for each Low that was sent as a
 * record, by a daemon whose WELCOME has `takes_reports`. The client keeps the connection open as
 * long as it wants notifications; which cgroup's they are is decided when it connects, by its
 * credentials.
 *
 * Records have one fixed size and the machine's own byte order: both ends are on one machine. The
 * first one is WELCOME with the present state (or REFUSED, and then the connection ends). BYE says
 * that the daemon stops, perhaps to be started again: the connection stays, and WELCOME says that
 * it is back. Bytes 'L' may stand before the first record, from before the line was read.
 */
#pragma once

#include "cgpath.h"
#include "setting.h"

#define WIRE_HELLO_MAX (CGPATH_MAX + 512) /* a line, with its newline */
#define WIRE_LOW 'L'

enum wire_hello_kind { WIRE_PLAIN, WIRE_TRIGGER, WIRE_SUBSCRIBE };

struct wire_hello {
	enum wire_hello_kind kind;
	struct policy_options terms; /* what the client asks for; zero is the daemon's own */
	const char *cgroup; /* into the parsed text, not normalised, not terminated; NULL: its own */
	size_t cgroup_size;
};

/*
 * `data` is all that came so far. Returns 0: complete; 1: complete as it stands, but what follows
 * could still belong to it (a trigger without its terminator). Errors: -EAGAIN: more is needed;
 * -EINVAL, -EPROTONOSUPPORT (another version of ours): then *ret_why says what is wrong, a constant
 * string.
 */
int wire_hello_parse(const char *data, size_t size, struct wire_hello *ret, const char **ret_why);

#define WIRE_LINE_MAX 352

/* Our line without a cgroup, with its newline, into buf[WIRE_LINE_MAX]; not terminated. Returns its length. */
size_t wire_hello_format(const struct policy_options *terms, char *buf);

enum wire_record_kind {
	WIRE_WELCOME = 1, /* the present state; again when the daemon was started anew */
	WIRE_LEVEL,	  /* memory available was judged anew */
	WIRE_GONE,	  /* the cgroup was removed; as in psb_notification */
	WIRE_BYE,	  /* the daemon stops; the connection stays */
	WIRE_REFUSED,	  /* `error` and `text` say why; the last one */
	WIRE_EFFECT, /* of the Low that was told at `time_usec`; 5 s later, and only in `effect`. Since 0.2 */
	WIRE_REPORT, /* from the client: what it says it freed, only in `report`. Since 0.2 */
};

#define WIRE_MAGIC 0x31627370u /* "psb1", read as bytes on a little-endian machine */
#define WIRE_RECORD_SIZE 192
#define WIRE_TEXT_MAX 112 /* with the NUL */

/* As in psb_stats. */
struct wire_effect {
	uint64_t bytes_back, first_back_usec, stall_before_usec, stall_after_usec, unanswered;
};

/* As in psb_registration_report(), since the last one. */
struct wire_report {
	uint64_t bytes, usec;
};

struct wire_record {
	uint32_t magic;
	uint16_t size; /* WIRE_RECORD_SIZE */
	uint16_t kind;
	uint8_t available; /* 1 to 3, enum level */
	uint8_t critical;
	uint8_t reason;			/* enum psb_reason */
	uint8_t cause;			/* enum psb_cause; 0 also of a daemon that does not say */
	uint32_t error;			/* REFUSED: an errno */
	uint64_t time_usec, since_usec; /* CLOCK_MONOTONIC, the same for all containers */
	uint64_t some_total_usec, full_total_usec, stall_usec;
	uint64_t current_bytes, limit_bytes;
	uint32_t some_avg10_centi;
	uint16_t cause_up; /* ANCESTOR: so many levels above the subscriber's cgroup; 0: not known */
	uint8_t cause_is_high; /* as in psb_notification */
	uint8_t takes_reports; /* the daemon that says this; 0 of one before 0.2 */
	union {
		char text[WIRE_TEXT_MAX]; /* REFUSED: why; else "" */
		struct wire_effect effect;
		struct wire_report report;
	};
};

/* Is it a record that this version understands? Errors: -EBADMSG (magic, size, a level or a kind
 * that does not exist, text without an end). Unknown kinds are for a newer client: -ENOTSUP, skip
 * them. */
int wire_record_check(const struct wire_record *record);
