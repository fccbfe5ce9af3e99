/* SPDX-License-Identifier: MIT */
/*
 * psibridge.h - tell a program when memory is short
 *
 * A bridge is one event loop, and carries watches. A watch listens to the memory pressure of one cgroup, or of
 * all cgroups under a pattern, and judges it: Low, Neutral or High memory available (Low available is high
 * memory load). Callbacks registered with a watch are called when that level changes.
 *
 *     psb_bridge *bridge;  psb_watch *watch;
 *     psb_bridge_new(NULL, &bridge);
 *     psb_watch_new(bridge, NULL, &watch);              // our own cgroup
 *     psb_watch_add_callback(watch, told, data, 0, NULL);
 *     psb_bridge_start(bridge);
 *
 * Conventions, true for every call unless it says otherwise:
 *  - Returns 0, or a negative errno; -EINVAL for a NULL that is not allowed, -ENOMEM, and after fork() -ECHILD
 *    go without saying. Outputs come last and are written only on success.
 *  - Times are microseconds of CLOCK_MONOTONIC (`_usec`); memory is in bytes (`_bytes`).
 *  - Calls may be made from any thread, also from inside a callback: no lock is held while one runs.
 *  - Structures start with `size`, which the caller sets to sizeof: they may grow at the end, and programs
 *    and libraries of different ages fit. Zero in any other member of options means its default; what the
 *    library does not know of them must be zero, or the answer is -E2BIG. What is filled for the program has
 *    what both know, then zeros, and in `size` how much the library filled. A `size` that has no room for
 *    itself is -EINVAL, one over 16 KiB (never set, that is) -E2BIG.
 *  - The library never prints, never exits, installs no signal handler and blocks signals only in its own
 *    threads. Once a watch is armed, watching it allocates nothing; that of a pattern allocates when one of
 *    its cgroups begins to stall, and nothing until that is over.
 *  - After fork() the child's handles are invalid: every call answers -ECHILD, and only the `_unref` calls
 *    may be made, which then free memory and descriptors and touch nothing else. In a child that returns from
 *    the callback it was forked in psb_bridge_dispatch() answers -ECHILD, and a thread of the library ends,
 *    with which the child is over (status 0).
 *  - pthread_cancel(3) interrupts psb_mailbox_take(), which may be called again from elsewhere; other calls
 *    that wait delay it. Asynchronous cancellation is not supported.
 *  - The library stays in memory after dlclose(3): threads of it may still be at their end.
 *
 * C99, and clean under C++. All of it is there since 0.1, unless a line says otherwise. What goes on around
 * a host (settings, diagnosis, a survey) is in <psibridge/tools.h>. See psibridge(3).
 */
#ifndef PSIBRIDGE_H
#define PSIBRIDGE_H

#include <stddef.h>
#include <stdint.h>

/* Around declarations: C names in C++, and exported though the library hides the rest. */
#ifdef __cplusplus
#define PSB_IN_CXX_(text) text
#else
#define PSB_IN_CXX_(text)
#endif
#define PSB_BEGIN_DECLARATIONS _Pragma("GCC visibility push(default)") PSB_IN_CXX_(extern "C" {)
#define PSB_END_DECLARATIONS PSB_IN_CXX_( \
	}) _Pragma("GCC visibility pop")

PSB_BEGIN_DECLARATIONS

#define PSB_VERSION_MAJOR 0
#define PSB_VERSION_MINOR 2
#define PSB_VERSION_PATCH 0

/** psb_version() - of the library at run time, such as "0.2.0" */
const char *psb_version(void);

typedef struct psb_bridge psb_bridge;
typedef struct psb_watch psb_watch;
typedef struct psb_registration psb_registration;

/* ---- levels -------------------------------------------------------------------------------- */

/** How much memory the program may count on, in the numbers of EMemoryAvailable (hosting.h). */
enum psb_available {
	PSB_LOW = 1,	 /* memory is short: give back what can be given back */
	PSB_NEUTRAL = 2, /* tasks wait for memory now and then, or little room is left */
	PSB_HIGH = 3,	 /* memory is plentiful: the resting state */
};

enum psb_reason {
	PSB_REASON_STALL = 1, /* tasks waited for memory longer than a threshold allows */
	PSB_REASON_REPEAT,    /* still Low, and the rearm time has passed */
	PSB_REASON_OOM,	      /* the kernel ran out of memory for this cgroup (memory.events) */
	PSB_REASON_SIGNAL,    /* a FIFO or socket source said so */
	PSB_REASON_HEADROOM,  /* no stalls, but less room to the limit than a High needs */
	PSB_REASON_CALM,      /* stalls stayed low for long enough */
	PSB_REASON_SIMULATED, /* psb_watch_simulate(), tools.h */
	PSB_REASON_PRESENT,   /* the present state, asked for with PSB_TELL_PRESENT */
	PSB_REASON_GONE,      /* the cgroup was removed */
	PSB_REASON_FORECAST,  /* no stalls yet, but at this growth the limit is soon reached */
};

/** Whose limit was reached, or whose pressure it is, as memory.events.local has it (v1: memory.failcnt). */
enum psb_cause {
	PSB_CAUSE_UNKNOWN = 0, /* nothing stalls, or there is nothing that would say it */
	PSB_CAUSE_OWN,	       /* the cgroup's own limit */
	PSB_CAUSE_ANCESTOR,    /* a limit above it, which it shares with others */
	PSB_CAUSE_DESCENDANT, /* only one below it, where nothing is gained by what others give back */
	PSB_CAUSE_MACHINE,    /* no limit: the kernel reclaims from all */
};

enum psb_kind {
	PSB_KIND_LEVEL = 1, /* memory available: always delivered */
	/* The cgroup was removed, and this is the last of it; never Low. The watch stays: the next cgroup of
	 * that path is watched as soon as it is made (of a watch of the process's own: the one in which the
	 * process is now), and a Neutral that was told here is followed by High or Low of that one. */
	PSB_KIND_GONE,
	PSB_KIND_SOURCE, /* the watch moved to another rung; only with PSB_TELL_SOURCE */
	PSB_KIND_EFFECT, /* what the last Low achieved is in psb_stats; only with PSB_TELL_EFFECT. Since 0.2 */
	/* Something was looked at. `reason` is PRESENT, unless that was told just before; memory in use is without
	 * inactive page cache, as it was last read. Only with PSB_TELL_SAMPLE. Since 0.2 */
	PSB_KIND_SAMPLE,
};

/** What a callback is told. Valid during the call only. */
struct psb_notification {
	size_t size; /* of the structure the library was built with */
	enum psb_kind kind;
	enum psb_available available;
	int critical; /* 1: Low, and whole tasks stall or the kernel killed one */
	enum psb_reason reason;
	const char *cgroup;  /* path under the cgroup2 mount, "/" is its root; never NULL */
	uint64_t time_usec;  /* when it was judged */
	uint64_t since_usec; /* when the stall that led here was first seen; 0 if there is none */
	uint64_t some_total_usec, full_total_usec; /* the kernel's counters then; 0 if unknown */
	uint64_t stall_usec; /* growth of some since the previous notification of this watch */
	unsigned some_avg10_centi; /* hundredths of a percent: 1234 is 12.34 % */
	uint64_t current_bytes; /* memory in use where the limit is, see psb_load; 0 if unknown */
	uint64_t limit_bytes;	/* effective limit, or that of `cause`; 0 if there is none */

	/* Low and Neutral: what the stall comes from. */
	enum psb_cause cause;
	int cause_is_high; /* 1: memory.high (MemoryHigh=) was reached, 0: memory.max */
	/* OWN, ANCESTOR: so many bytes at the front of `cgroup` are the path of the cgroup whose limit it is;
	 * 0: it has none here (v1, or not visible) */
	size_t cause_length;

	/* since 0.2; PSB_KIND_SAMPLE only: the event, in psibridged's own numbers; oom and oom_kill of memory.events */
	unsigned event, full_avg10_centi;
	uint64_t oom_events; /* or PSB_UNKNOWN */
};

/* ---- bridge -------------------------------------------------------------------------------- */

enum psb_backend {
	PSB_BACKEND_AUTO,  /* $PSIBRIDGE_BACKEND (auto, uring, epoll), else io_uring, else epoll */
	PSB_BACKEND_URING, /* io_uring or an error */
	PSB_BACKEND_EPOLL,
	PSB_BACKEND_NONE, /* psb_bridge_backend() only: neither can be had any more, watches sample */
};

/** Receives one line without newline. `priority` is syslog's: 3 error, 4 warning, 6 info, 7 debug. */
typedef void psb_log_fn(void *userdata, int priority, const char *message);

struct psb_bridge_options {
	size_t size;
	enum psb_backend backend;
	psb_log_fn *log; /* may be called from the library's threads; NULL: nothing is logged */
	void *log_userdata;
};

/** psb_bridge_new() - make a bridge; `options` may be NULL
 * Errors: -EINVAL (options, or nonsense in $PSIBRIDGE_BACKEND), -E2BIG, -EMFILE, -ENFILE; with
 * PSB_BACKEND_URING what io_uring_setup(2) said (-ENOSYS, -EPERM).
 */
int psb_bridge_new(const struct psb_bridge_options *options, psb_bridge **ret);

/** psb_bridge_unref() - give back the reference of psb_bridge_new(); NULL is allowed
 * A watch holds one, too. With the last one the thread is joined and every descriptor closed; from inside
 * a callback, of whichever bridge, that is done afterwards, and the log function may be called until then.
 * An io_uring may then interrupt one system call of the thread that called psb_bridge_new() (EINTR, or a
 * short write). Returns: NULL.
 */
psb_bridge *psb_bridge_unref(psb_bridge *bridge);

/** psb_bridge_start() - run the loop in a thread of the library, with all signals blocked
 * Errors: -EALREADY (started before), -EBUSY (psb_bridge_fd() was called), -EAGAIN (no thread).
 */
int psb_bridge_start(psb_bridge *bridge);

/** psb_bridge_fd() - the one descriptor to poll in a loop of yours (epoll, GLib, libuv, sd-event)
 * Readable (POLLIN) when psb_bridge_dispatch() has work, timers included; polled by level or by edge, also
 * in an epoll set that is polled. It is the bridge's, and so is a thread that waits for the kernel from then
 * on; callbacks come from psb_bridge_dispatch() alone. Returns: the descriptor, or -EBUSY
 * (psb_bridge_start() was called), -EAGAIN (no thread), -EMFILE, -ENFILE.
 */
int psb_bridge_fd(psb_bridge *bridge);

/** psb_bridge_dispatch() - do what is due, without blocking; always from the same thread
 * Returns: how many things were done. Errors: -EBUSY (the bridge has its own thread, or this is inside a
 * dispatch), -EXDEV (called from a second thread).
 */
int psb_bridge_dispatch(psb_bridge *bridge);

/** psb_bridge_backend() - what the bridge waits with now; PSB_BACKEND_AUTO for NULL
 * What fails while it runs (a seccomp filter that came later, a descriptor that was closed by mistake) is
 * replaced, with a warning in the log: io_uring by epoll, and epoll by timers on which the watches sample.
 * `ret_why`, if not NULL, gets why it is not io_uring ("" if it is), valid as long as the bridge.
 */
enum psb_backend psb_bridge_backend(psb_bridge *bridge, const char **ret_why);

/* ---- watch --------------------------------------------------------------------------------- */

#define PSB_HEADROOM_OFF 0xffffffffu /* headroom_percent: never look at headroom */
#define PSB_FORECAST_OFF UINT64_MAX  /* forecast_usec: never look at growth */

#define PSB_RUNG_PROTOCOL 1u   /* $MEMORY_PRESSURE_WATCH, or `source` */
#define PSB_RUNG_PRIVILEGED 2u /* PSI trigger with a short window, and memory.events */
#define PSB_RUNG_TRIGGER 3u    /* PSI trigger with n x 2 s, memory.events, a safety sample */
#define PSB_RUNG_EVENTS 4u     /* memory.events alone */
#define PSB_RUNG_SAMPLING 5u   /* memory.pressure read on a timer */
#define PSB_RUNG_MACHINE 6u    /* /proc/pressure/memory: the machine's pressure, not the cgroup's */
#define PSB_RUNG_MASK(rung) (1u << (rung))

/** What to watch and how to judge it. At most one of cgroup, pid, unit, source and pattern.
 * Triggers are "some|full THRESHOLD/WINDOW" with units ("some 200ms/2s") or the kernel's notation
 * in microseconds ("some 200000 2000000"); windows from 100 ms to 10 s. The kernel rings for `early`
 * alone: one that stalls could pass unnoticed on their way to `low` or `critical` is refused.
 */
struct psb_watch_options {
	size_t size;
	const char *cgroup; /* path under the cgroup2 mount, which may stand in front of it */
	int64_t pid;	    /* the cgroup of this process, as it is now */
	const char *unit;   /* systemd unit of this machine ("nginx.service") */
	const char *source; /* PSI file, FIFO or AF_UNIX stream socket, as in systemd's protocol */
	const void *source_write; /* to write to it first (a trigger); NULL: `early`, to a PSI file */
	size_t source_write_size;
	const char *pattern; /* "a.slice/b*": a star is a name or part of it, two stars any depth */
	unsigned rungs;	     /* PSB_RUNG_MASK() of the rungs that may be used; 0: all */

	const char *early;    /* NULL: "some 20ms/2s" */
	const char *low;      /* NULL: "some 200ms/2s" */
	const char *critical; /* NULL: "full 100ms/2s" */
	uint64_t rearm_usec; /* Low is repeated so often at most, see psb_registration_report(); 0: 8.192 s */
	uint64_t quiet_usec; /* Low ends after so long under half of low; 0: two windows of low */
	uint64_t calm_usec;  /* High comes after so long under early; 0: 10 s */
	unsigned headroom_percent; /* High needs this much of the limit free; 0: 25 */

	char *error_text; /* if not NULL: on failure, one line that says what was wrong and where */
	size_t error_text_size;

	int descendants; /* 1: what only a limit of a cgroup below caused is Low here, too; 0: it is Neutral */
	/* Low comes so long before a limit is reached, at the speed at which memory in use grows; 0: 2 s where
	 * no target is named (a process that watches itself), else off. Each limit is looked at every 0.1 to
	 * 10 s; without one it costs nothing */
	uint64_t forecast_usec;
};

/** psb_watch_new() - arm a watch; `options` may be NULL: the process's own cgroup, or what systemd's
 * $MEMORY_PRESSURE_WATCH names
 * The first rung of the ladder that works is taken; psb_watch_source() says which, psb_diagnose() why not a
 * better one. Variables that lead nowhere are a reason for the next rung; a `source` that is not there, or is
 * none, is an error. Where over 32 triggers of watches that were given up still wait to be closed, it closes
 * some itself first (9 to 20 ms each). What is removed later is waited for, see PSB_KIND_GONE.
 * Errors, in words in error_text: -EINVAL (member and value), -E2BIG (options of a newer program), -ENOENT (no
 * such cgroup or source, no cgroup2, or PSI is off), -ESRCH (no such process), -ENODATA (the protocol is switched
 * off with /dev/null, and no target was named), -ECONNREFUSED (no program listens on the socket) and -EBADMSG
 * (the variables are invalid) where no other rung is allowed, -ENODEV (the cgroup was removed meanwhile),
 * -ENAMETOOLONG, -EACCES, -EPERM, -EOPNOTSUPP, -EMFILE.
 */
int psb_watch_new(psb_bridge *bridge, const struct psb_watch_options *options, psb_watch **ret);

/** psb_watch_ref() - take one more reference. Returns: `watch`. */
psb_watch *psb_watch_ref(psb_watch *watch);
/** psb_watch_unref() - give a reference back; NULL is allowed. With the last one the watch ends, and all its
 * registrations as by psb_registration_remove(). Returns: NULL. */
psb_watch *psb_watch_unref(psb_watch *watch);

/* ---- callbacks ----------------------------------------------------------------------------- */

typedef void psb_callback_fn(const struct psb_notification *notification, void *userdata);

#define PSB_INLINE 1u	    /* call on the loop's thread: least delay, but a slow call delays all */
#define PSB_TELL_PRESENT 2u /* tell the present state first, as soon as the loop runs */
#define PSB_TELL_SOURCE 4u  /* also PSB_KIND_SOURCE */
#define PSB_TELL_EFFECT 8u  /* also PSB_KIND_EFFECT; with PSB_INLINE only */
#define PSB_TELL_SAMPLE 16u /* also PSB_KIND_SAMPLE; with PSB_INLINE only */

/** psb_watch_add_callback() - register `fn`; `ret` may be NULL, then it lives as long as the watch
 * Without PSB_INLINE each registration has its own thread, with all signals blocked and 256 KiB of stack (as
 * the bridge's, which makes inline calls), and one slot for each cgroup, in which the newest state wins: a call
 * that blocks delays no other, and what it missed is not told afterwards. A repeated Low comes no sooner than
 * 20 times the duration of the last call.
 * Errors: -EINVAL (fn is NULL, unknown flags, one that needs PSB_INLINE without it), -EAGAIN (no thread).
 */
int psb_watch_add_callback(psb_watch *watch, psb_callback_fn *fn, void *userdata, unsigned flags,
			   psb_registration **ret);

/** psb_registration_remove() - end and free a registration; NULL is allowed
 * When it returns, no call of it is running and none will come. From inside its own callback: no further call
 * will come, and it is freed when the callback returns. Errors: -EDEADLK: two callbacks, also of two bridges,
 * remove each other; this one will not be called again, and is freed when its running call returns.
 */
int psb_registration_remove(psb_registration *registration);

/** psb_registration_report() - say what was freed after a notification, and how long that took
 * Both are added up in psb_stats. Low is repeated less and less often (twice rearm_usec, four times, up to 16
 * times) to a program that gave nothing back three times in a row; a report of more than 0 bytes ends that as
 * what is measured does. It is for what cannot be measured: memory that is used again at once, page cache, what
 * is charged elsewhere. psibridged hears of it where it judges. The report of one that is removed already is dropped. Since 0.2.
 */
int psb_registration_report(psb_registration *registration, uint64_t bytes, uint64_t usec);

/* ---- mailboxes ----------------------------------------------------------------------------- */

/* Notifications without a call: a thread of the program takes them. For runtimes that allow no call from a
 * foreign thread, or none while they collect: a thread of theirs waits here, and the library never for them. */
typedef struct psb_mailbox psb_mailbox;
#define PSB_FOREVER UINT64_MAX

/** psb_mailbox_new() - be told what a callback would be told, at the next take
 * `flags`: PSB_TELL_PRESENT, PSB_TELL_SOURCE. It holds a reference on the watch. Errors: -EINVAL (flags).
 */
int psb_mailbox_new(psb_watch *watch, unsigned flags, psb_mailbox **ret);

/** psb_mailbox_take() - take what is there, or wait for it
 * ret->cgroup is valid until the next take, or until the mailbox is freed. What the program does after a take
 * with a `timeout_usec` over 0, until its next take, counts as the duration of its callback; after one of 0
 * nothing does: a program that polls is idle in between. Returns: 1 (taken), 0 (nothing came within
 * `timeout_usec`). Errors: -ECANCELED (closed), -EBUSY (another thread is in here).
 */
int psb_mailbox_take(psb_mailbox *mailbox, uint64_t timeout_usec, struct psb_notification *ret);

/** psb_mailbox_registration() - for psb_registration_report() alone; it ends with the mailbox. Since 0.2. */
psb_registration *psb_mailbox_registration(psb_mailbox *mailbox);

/** psb_mailbox_close() - every take, also one that waits now, returns -ECANCELED. */
int psb_mailbox_close(psb_mailbox *mailbox);
/** psb_mailbox_free() - close it, wait until no thread is in psb_mailbox_take(), and free it; NULL is allowed.
 * No thread may enter it any more: close first, and let that thread end. Returns: NULL. */
psb_mailbox *psb_mailbox_free(psb_mailbox *mailbox);

/* ---- questions ----------------------------------------------------------------------------- */

/** psb_watch_available() - the present level, of a pattern the lowest; `ret_critical` may be NULL. Reads memory. */
enum psb_available psb_watch_available(psb_watch *watch, int *ret_critical);

#define PSB_UNKNOWN UINT64_MAX /* where it says so: not known, which is not 0 */

/** Memory of the watched cgroup, or of the ancestor whose limit leaves the least; as kubelet counts it. */
struct psb_load {
	size_t size;
	uint64_t current_bytes;	    /* in use; 0 if unknown */
	uint64_t working_set_bytes; /* in use, less inactive page cache (inactive_file) */
	/* effective: the least of its own and all visible ancestors', a v1 limit, or the machine's memory, or PSB_UNKNOWN */
	uint64_t limit_bytes;
	uint64_t high_bytes;	  /* the least memory.high; 0: none is set */
	uint64_t available_bytes; /* limit less working set, or PSB_UNKNOWN */
	unsigned percent;	  /* working set in percent of the limit, 0 to 100; 0 if unknown */
	int machine;		  /* 1: no limit is set, this is the whole machine */
};

/** psb_watch_load() - read the load now.  Errors: -ENODEV (the cgroup is gone, the next not there yet), -EIO. */
int psb_watch_load(psb_watch *watch, struct psb_load *ret);

/** What a watch listens to. */
struct psb_source {
	size_t size;
	unsigned rung; /* PSB_RUNG_...; 0: nothing works now, and the ladder is tried again */
	/* "none", "psi-privileged", "psi", "events", "sampling", "machine", "psi-file", "fifo", "socket", "psibridged" */
	const char *name;
	const char *cgroup; /* as in psb_notification; valid as long as the watch */
	int events;	    /* 1: memory.events gives alarms too */
	char trigger[64]; /* what the kernel was asked for, in the kernel's notation; "" if nothing */
	char why[320];	  /* why the rung above was not taken; "" on the best one */
	char path[4096]; /* what is open */
};

/** psb_watch_source() - which rung of the ladder the watch is on. */
int psb_watch_source(psb_watch *watch, struct psb_source *ret);

/** Counters since the watch was made. */
struct psb_stats {
	size_t size;
	uint64_t alarms;       /* from the kernel */
	uint64_t false_alarms; /* ... and nothing had grown */
	uint64_t lost_alarms;  /* stalls that the kernel should have announced and did not */
	uint64_t samples;      /* reads of memory.pressure */
	uint64_t sweeps;       /* walks down a tree */
	uint64_t low, critical, neutral, high; /* notifications; critical is counted in low too */
	uint64_t callbacks, callback_usec;     /* calls made, and the time spent in them */
	uint64_t superseded;		  /* notifications that a newer one overtook in a mailbox */
	uint64_t bytes_back;		  /* given back after a Low, see `effects` */
	uint64_t members;		  /* cgroups of a pattern under observation now */
	uint64_t alarm_usec, sample_usec; /* when the last of each was (CLOCK_MONOTONIC); 0: none */
	/* From here on since 0.2. What Lows achieved, known 5 s after each: given back is what the cgroup held
	 * before, in memory and in swap but without page cache, less the least that it held within these 5 s;
	 * under 2 MiB, or 1 %, that is nothing. Where use cannot be read nothing is measured. */
	uint64_t effects; /* so many; a Low within those 5 s belongs to the one before. Of the last one: */
	uint64_t unanswered; /* in a row, and nothing was given back; 3: Low is repeated less often */
	uint64_t effect_usec;	  /* when that Low was told; 0: none was measured yet */
	uint64_t effect_bytes;	  /* given back */
	uint64_t first_back_usec; /* from the stall's beginning to the first byte, or PSB_UNKNOWN */
	uint64_t stall_before_usec, stall_after_usec; /* in 5 s before (or PSB_UNKNOWN) and after */
	uint64_t reported_bytes, reported_usec;	      /* sums of psb_registration_report() */
	uint64_t effect_reported_bytes; /* of the last effect: what was reported in these 5 s */
	/* How long tasks waited for memory, as far as samples saw it: growth of some. While it is not High it is sampled, at
	 * rest it is not. 0 where the levels come from a FIFO or a socket; of a pattern its root's */
	uint64_t stall_usec;
};

/** psb_watch_stats() - copy the counters. */
int psb_watch_stats(psb_watch *watch, struct psb_stats *ret);

PSB_END_DECLARATIONS
#endif
