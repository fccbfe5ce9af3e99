/* SPDX-License-Identifier: MIT */
/*
 * tools.h - what programs around a host need: the hooks, the package for managed code, psibridge(1)
 *
 * The conventions are those of psibridge.h. All of it is there since 0.1.
 */
#ifndef PSIBRIDGE_TOOLS_H
#define PSIBRIDGE_TOOLS_H

#include <psibridge/psibridge.h>

PSB_BEGIN_DECLARATIONS

/* ---- what a service that tells others needs: psibridged is one --------------------------------- */

typedef void psb_beat_fn(void *userdata);

/** psb_bridge_beat() - have `fn` called once from the bridge's loop, `after_usec` from now
 * For a watchdog: a bridge whose loop hangs looks like one that has nothing to tell. There is one beat a
 * bridge, dropped when that ends: another call, also from `fn`, replaces one that is due. `fn` must not block.
 */
int psb_bridge_beat(psb_bridge *bridge, uint64_t after_usec, psb_beat_fn *fn, void *userdata);

/** psb_watch_simulate() - behave as if the source had reported `available`
 * It is told as usual and ends as usual: a simulated Low is over after the quiet time. Errors: -EINVAL,
 * -EOPNOTSUPP (a pattern: psb_watch_simulate_at()), -ENODEV (the cgroup is gone, the next not there yet).
 */
int psb_watch_simulate(psb_watch *watch, enum psb_available available, int critical);

#define PSB_UNTOLD 1u /* instead of told_usec: it was told before, long ago */

/** psb_watch_simulate_at() - the same for one cgroup, and so for patterns too
 * `cgroup` is a path as in psb_notification; NULL: the watch's own. For a pattern it must match. told_usec: 0, or when
 * another process told it (CLOCK_MONOTONIC). Then the level is only set, no callback is called, and it goes on from
 * there as if this watch had told it: so a process takes over from one that is gone, and its Low is repeated when it is
 * due, and followed by Neutral or High: at once, if it turns out that the cgroup cannot be measured. Errors: as
 * psb_watch_simulate(); -EINVAL (the pattern does not match, or the watch is another cgroup's; NULL for a pattern). That
 * a pattern's cgroup is gone is found out later, and then nothing is told.
 */
int psb_watch_simulate_at(psb_watch *watch, const char *cgroup, enum psb_available available,
			  int critical, uint64_t told_usec);

/** psb_watch_report_at() - psb_registration_report() of another process, in one cgroup
 * Only on the thread that dispatches the bridge. It is dropped where the cgroup is not under observation. Errors:
 * -EXDEV (another thread), -EINVAL as above. Since 0.2.
 */
int psb_watch_report_at(psb_watch *watch, const char *cgroup, uint64_t bytes, uint64_t usec);

typedef void psb_member_fn(const struct psb_notification *present, void *userdata);

/** psb_watch_list() - the present state of each cgroup under observation
 * For a pattern: those that are not at rest; all others are High. For any other watch: its one. One that was removed is
 * not listed. `reason` is PSB_REASON_PRESENT. To be called on the thread that dispatches the bridge, also from inside a
 * PSB_INLINE callback; `fn` may call anything but psb_watch_unref() of this watch. Memory in use is as of the last
 * notification; nothing is read and nothing allocated. Errors: -EXDEV (another thread).
 */
int psb_watch_list(psb_watch *watch, psb_member_fn *fn, void *userdata);

#define PSB_CAUSE_TEXT_MAX 320
/** psb_cause_text() - the cause in words, "shop.slice reached its MemoryHigh=80M", into
 * buf[PSB_CAUSE_TEXT_MAX]. Returns: its length; 0: it is not known, or over. Since 0.2. */
size_t psb_cause_text(const struct psb_notification *notification, char *buf);

/* ---- settings ------------------------------------------------------------------------------ */

/** When a hook collects. */
enum psb_collect {
	PSB_COLLECT_LOW = 0,	  /* at Low */
	PSB_COLLECT_CRITICAL = 1, /* at Low, critical */
	PSB_COLLECT_OFF = 2,	  /* never: it only tells */
};

/** What the environment says, PSIBRIDGE_... in the words of psibridged.conf(5). */
struct psb_settings {
	size_t size;
	struct psb_watch_options *watch; /* set by the caller, NULL or where these go: CGROUP,
					    SOURCE, EARLY, LOW, CRITICAL, REARM, QUIET, CALM,
					    HIGH_HEADROOM, FORECAST; strings are the environment's */
	int enabled;			 /* PSIBRIDGE=on|off: 0: hooks stay out of the way */
	int log_priority; /* PSIBRIDGE_LOG=off|error|warning|info|debug: what a hook prints on
				     stderr; -1: nothing. Default warning (4) */
	enum psb_collect collect; /* PSIBRIDGE_COLLECT=low|critical|off */
	unsigned refused;	  /* how many variables were invalid */
	uint64_t apart_usec;	  /* PSIBRIDGE_APART=5s: from one collection to the next */
	uint64_t grown_bytes;	  /* PSIBRIDGE_GROWN=50M: and only if so much has come back */
};

/* grown_bytes where nothing is said: a share of the limit. */
#define PSB_GROWN_SHARE UINT64_MAX

/** psb_settings_read() - read the PSIBRIDGE_ variables of the environment
 * An invalid one is told to `log` (if not NULL), a line each that names the variable, its value and what was expected;
 * then its default counts. So is one that looks like a misspelt setting ("PSIBRIDGE_LWO"). Never fails for what it
 * reads. `ret` and ret->watch each have their size. Errors: -EINVAL, -E2BIG (ret, its size, or that of ret->watch).
 */
int psb_settings_read(psb_log_fn *log, void *userdata, struct psb_settings *ret);

/* A flag of psb_settings_read_from(): refuse every name that is no setting, not only misspelt ones. */
#define PSB_SETTINGS_STRICT 1u

/** psb_settings_read_from() - as psb_settings_read(), from `environment` instead of the process's
 * "NAME=VALUE", with NULL behind the last; of two with the same name the first counts. The strings of the result are
 * in there. Errors: as there; -EINVAL (environment, flags).
 */
int psb_settings_read_from(const char *const *environment, unsigned flags, psb_log_fn *log,
			   void *userdata, struct psb_settings *ret);

/* ---- survey -------------------------------------------------------------------------------- */

/** One cgroup of a survey. Valid during the call only. */
struct psb_survey_row {
	size_t size;
	const char *cgroup;
	uint64_t some_total_usec, full_total_usec; /* tasks waited for memory: some, all of them */
	unsigned some_avg10_centi, full_avg10_centi, some_avg60_centi;
	uint64_t current_bytes, working_set_bytes; /* 0: unknown (no memory controller there) */
	uint64_t limit_bytes, high_bytes;	   /* its own memory.max and memory.high; 0: none */
	uint64_t max_events, high_events, oom_events, oom_kill_events; /* memory.events */
	int has_events;
	int has_pressure; /* 0: PSI is off, on this machine or in this cgroup (cgroup.pressure) */
};

typedef void psb_survey_fn(const struct psb_survey_row *row, void *userdata);

/** psb_survey() - read every cgroup that matches `pattern`, once; parents before their children
 * A pattern (stars), or a path, which is that cgroup alone. Needs no right but to read. Mind that reading a
 * memory.pressure can swallow an alarm of an unprivileged trigger on it, also one of another process. What vanishes
 * meanwhile is left out. Errors: -EINVAL (pattern), -ENOENT (no cgroup2, or no such fixed part), -EACCES, -EMFILE.
 */
int psb_survey(const char *pattern, psb_survey_fn *fn, void *userdata);

/* ---- code ---------------------------------------------------------------------------------- */

/* Over memory.high and without swap the kernel can only reclaim pages of files, and so the very code that would give
 * memory back: each page of it is read in, charged for, and reclaimed before it ran. For programs that collect on
 * notification: make this at the start, lock at the first Neutral or Low, unlock at High. */
typedef struct psb_code psb_code;

/** psb_code_new() - prepare for psb_code_lock(), which then opens and allocates nothing
 * Keeps the code of this library and of libc in memory from now on, as by psb_code_keep(). Errors: -EALREADY (the
 * program locks memory itself), -ENOENT or -EACCES (no /proc), -EMFILE.
 */
int psb_code_new(psb_code **ret);

/** psb_code_keep() - keep the file that `address` is mapped from in memory, for as long as `code` is
 * For the code that will collect: a function of the runtime's library. Page by page, as below. Returns: 0, or 1 (half
 * of RLIMIT_MEMLOCK has no room for it). Errors: -ENOENT (no file is mapped there), -ENOSPC (16 files are kept), -EIO.
 */
int psb_code_keep(psb_code *code, const void *address);

/** psb_code_lock() - keep what is mapped executable, and the rest of those files, in memory
 * Page by page as it is touched (MLOCK_ONFAULT); again for what was mapped since. It takes half of RLIMIT_MEMLOCK at
 * most, the rest is the program's; `ret_refused_bytes`, if not NULL, is what did not fit. Errors: -EIO.
 */
int psb_code_lock(psb_code *code, uint64_t *ret_refused_bytes);

/** psb_code_unlock() - undo that.  Errors: -EIO. */
int psb_code_unlock(psb_code *code);

/** psb_code_free() - unlock and free; NULL is allowed. Returns: NULL. */
psb_code *psb_code_free(psb_code *code);

/* ---- diagnosis ----------------------------------------------------------------------------- */

/** One line of what psb_diagnose() found. Valid during the call only. */
struct psb_finding {
	size_t size;
	unsigned rung;	/* 1 to 6 for a step of the ladder, 0 for everything else */
	const char *id; /* stable name for scripts: "psi-privileged", "memory-high", "backend" ... */
	int status;	/* 0 works, 1 works but could be better, 2 does not */
	int taken;	/* 1: the rung a watch would take */
	int error;	/* errno behind it, 0 if there is none */
	const char *what;   /* what was found, one sentence */
	const char *advice; /* what to do about it; "" if nothing */
};

typedef void psb_finding_fn(const struct psb_finding *finding, void *userdata);

/** psb_diagnose() - try every rung for `options`, one after the other, and tell what was found; armed triggers are given
 * up again. Errors: as psb_watch_new(), when the target itself is invalid. */
int psb_diagnose(const struct psb_watch_options *options, psb_finding_fn *fn, void *userdata);

PSB_END_DECLARATIONS
#endif
