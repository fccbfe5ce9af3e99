/* SPDX-License-Identifier: MIT */
/*
 * test-hook.c - what every hook does (src/runtimes/hook.h): when it collects, what it says, how it begins and ends
 *
 * The runtime is `fake`: its garbage is real memory, which collect() gives back, so that RSS is what it says. Its pressure
 * comes from a double of psibridged, so a level lasts until the test tells another one, and no clock takes part. What
 * the hook writes to stderr goes into a file, and tests wait for its lines.
 */
#include "../unit.h"
#include "../../sockets.h"
#include "../../threads.h"
#include "core/util.h"
#include "core/wire.h"
#include "runtimes/effect.h"
#include "runtimes/hook.h"
#include "runtimes/managed.h"

#include <limits.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define MSEC UINT64_C(1000)
#define MIB(n) ((size_t)(n) << 20)
#define PREFIX "psibridge[fake]: "

/* Polled, for what must happen; the time is for the day on which it does not. */
#define AWAIT(condition)                                              \
	do {                                                          \
		uint64_t until_usec = now_usec() + 20 * USEC_PER_SEC; \
		while (!(condition)) {                                \
			if (now_usec() > until_usec)                  \
				fail_msg("in:\n%s", said());          \
			usleep(500);                                  \
		}                                                     \
	} while (0)

/* ---- what is said -------------------------------------------------------------------------------- */

static int said_fd, real_stderr;
static size_t heard; /* up to there lines were waited for */

static const char *said(void)
{
	static char text[1 << 16];
	ssize_t n = pread(said_fd, text, sizeof(text) - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* The whole line that comes next and begins so; those before it are passed over. */
static const char *await_line(const char *begin)
{
	char text[200];
	const char *line;

	snprintf(text, sizeof(text), PREFIX "%s", begin);
	AWAIT((line = strstr(said() + heard, text)) && strchr(line, '\n'));
	heard = (size_t)(strchr(line, '\n') - said());
	return line + strlen(PREFIX);
}

static unsigned count_lines(const char *begin)
{
	unsigned n = 0;
	char text[200];

	snprintf(text, sizeof(text), PREFIX "%s", begin);
	for (const char *p = said(); (p = strstr(p, text)) != NULL; p++)
		n++;
	return n;
}

static void forget_lines(void)
{
	assert_int_equal(ftruncate(said_fd, 0), 0);
	heard = 0;
}

/* ---- the runtime --------------------------------------------------------------------------------- */

static struct {
	atomic_uint calls, inside, settled, steps;
	atomic_int held;   /* collect() does not return */
	atomic_int result; /* what it returns */
	unsigned work_usec, step_usec;
	void (*act)(void);
	pid_t tid; /* of who collects */
	void *garbage;
	size_t garbage_size;
	_Atomic uint64_t returned_usec;
} fake;

/* By raw calls, for a sanitizer would add to it. */
static void drop(void)
{
	if (fake.garbage)
		syscall(SYS_munmap, fake.garbage, fake.garbage_size);
	fake.garbage = NULL;
}

static void grow(size_t size)
{
	fake.garbage_size = size;
	fake.garbage = (void *)syscall(SYS_mmap, NULL, size, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	assert_ptr_not_equal(fake.garbage, MAP_FAILED);
}

static int fake_collect(const char **ret_why)
{
	int result;

	fake.tid = gettid();
	fake.inside++;
	fake.calls++;
	while (fake.held)
		usleep(500);
	usleep(fake.work_usec); /* the time it takes is what a test looks at */
	if (fake.act)
		fake.act();
	result = fake.result;
	if (result == 0)
		drop();
	if (result == -EPROTO)
		*ret_why = "it says why";
	fake.returned_usec = now_usec();
	fake.inside--;
	return result;
}

static int fake_settle(uint64_t unused, uint64_t *ret_next_usec)
{
	(void)unused;
	*ret_next_usec = fake.step_usec;
	return (unsigned)++fake.settled < fake.steps;
}

int __wrap_psb_registration_report(psb_registration *reg, uint64_t bytes, uint64_t usec);
static _Atomic uint64_t reported; /* bytes, to the library: -Wl,--wrap in tests/local.mk */
int __wrap_psb_registration_report(psb_registration *reg, uint64_t bytes, uint64_t usec)
{
	reported = reg && usec > 0 ? bytes : 0;
	return 0;
}

static const struct hook_runtime plain = { .name = "fake", .collect = fake_collect };
static const struct hook_runtime settling = { .name = "fake",
					      .collect = fake_collect,
					      .settle = fake_settle };

/* ---- the life of a case --------------------------------------------------------------------------- */

static const char *const variables[] = {
	"PSIBRIDGE",	   "PSIBRIDGE_COLLECT", "PSIBRIDGE_COLECT", "PSIBRIDGE_APART",
	"PSIBRIDGE_GROWN", "PSIBRIDGE_CGROUP",	"PSIBRIDGE_LOW",    "PSIBRIDGE_CRITICAL",
	"PSIBRIDGE_REARM", "PSIBRIDGE_QUIET",	"PSIBRIDGE_CALM",   "MEMORY_PRESSURE_WATCH",
};
static char directory[] = "/tmp/psibridge-hook.XXXXXX";
static int listener, peer;
static uint64_t limit_bytes; /* of what is told */
static unsigned descriptors;

/* Of the hook's, one is its loop's. */
static bool has_threads(void)
{
	return thread_named(0, "psb-", 0) != 0;
}

static void set_stage(void **state)
{
	char path[100];

	(void)state;
	memset(&fake, 0, sizeof(fake));
	for (size_t i = 0; i < ELEMENTSOF(variables); i++)
		unsetenv(variables[i]);
	setenv("PSIBRIDGE_LOG", "debug", 1);
	descriptors = descriptors_open();
	strcpy(strrchr(directory, '.') + 1, "XXXXXX");
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/psibridge", directory);
	assert_int_equal(mkdir(path, 0700), 0);
	strcat(path, "/notify");
	setenv("PSIBRIDGE_SOURCE", path, 1);
	listener = listen_here(path);
	said_fd = open(directory, O_TMPFILE | O_RDWR | O_APPEND | O_CLOEXEC, 0600);
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	assert_true(said_fd >= 0 && dup2(said_fd, STDERR_FILENO) >= 0);
	peer = -1;
	limit_bytes = 0;
	heard = 0;
}

static int clear_stage(void **state)
{
	char command[100];

	(void)state;
	fake.held = 0;
	hook_stop();
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(listener);
	if (peer >= 0)
		close(peer);
	drop();
	snprintf(command, sizeof(command), "rm -r %s", directory);
	if (system(command) != 0)
		return -1;
#if !defined(__SANITIZE_THREAD__) /* its symbolizer is a process with pipes */
	AWAIT(descriptors_open() == descriptors + 1);
#endif
	close(said_fd);
	return 0;
}

FIXTURE(set_stage, clear_stage)

static void tell_record(unsigned kind, enum psb_available available, bool critical)
{
	struct wire_record r = {
		.magic = WIRE_MAGIC,
		.size = WIRE_RECORD_SIZE,
		.kind = (uint16_t)kind,
		.available = (uint8_t)available,
		.critical = critical,
		.reason = PSB_REASON_STALL,
		.cause = critical ? PSB_CAUSE_MACHINE : PSB_CAUSE_UNKNOWN,
		.limit_bytes = limit_bytes,
	};

	assert_int_equal(send(peer, &r, sizeof(r), MSG_NOSIGNAL), sizeof(r));
}

static void tell(enum psb_available available)
{
	tell_record(WIRE_LEVEL, available, false);
}

/* A hook whose source is our psibridged, and has been told that memory is plentiful. */
static void start_with(const struct hook_runtime *runtime, const char *const *own)
{
	assert_int_equal(hook_start(runtime, own), 1);
	do { /* the end of an io_uring interrupts system calls of the thread that made it */
		peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	} while (peer < 0 && errno == EINTR);
	assert_true(peer >= 0);
	tell_record(WIRE_WELCOME, PSB_HIGH, false);
	if (strcmp(getenv("PSIBRIDGE_LOG"), "debug") == 0)
		await_line("ready: ");
}

static void start(const struct hook_runtime *runtime)
{
	start_with(runtime, NULL);
}

static void start_eager(const struct hook_runtime *runtime)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	setenv("PSIBRIDGE_GROWN", "0", 1);
	start(runtime);
}

/* ... and nothing of it is left. */
static void stop(void)
{
	uint64_t begin = now_usec();

	hook_stop();
	assert_true(now_usec() - begin < 2 * USEC_PER_SEC);
	AWAIT(!has_threads());
	if (peer >= 0)
		close(peer);
	peer = -1;
}

/* From High to Low and back; what a Low leads to is over when the High is told. */
static void press_once(void)
{
	tell(PSB_LOW);
	await_line("told Low (memory is short)");
	tell(PSB_HIGH);
	await_line("told High (memory is plentiful)");
	usleep(2 * MSEC); /* a start_eager()'s PSIBRIDGE_APART */
}

/* ---- worth it? ------------------------------------------------------------------------------------ */

/* PolicyTests.cs reads the same table. */
PROMISE(a_collection_is_worth_it_as_the_table_says)
{
	const uint64_t now = 7200 * USEC_PER_SEC, mib = MIB(1);
	char path[PATH_MAX], line[200], since[20], grown[20], anyway[20], answer[20];
	unsigned cases = 0, before, after, bytes, limit, apart;
	FILE *file;

	snprintf(path, sizeof(path), "%s/tests/unit/runtimes/worth.cases", getenv("srcdir"));
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, sizeof(line), file)) {
		struct effect effect = { 0 };
		struct effect_ask ask = { .now_usec = now };
		const char *why;

		if (line[0] == '#')
			continue;
		assert_int_equal(sscanf(line, "%19s %u %u %u %u %u %19s %19s %19s", since, &before,
					&after, &bytes, &limit, &apart, grown, anyway, answer),
				 9);
		if (since[0] != '-')
			effect.collected_usec = now - strtoul(since, NULL, 10) * USEC_PER_SEC;
		effect.before_bytes = before * mib;
		effect.after_bytes = after * mib;
		ask.bytes = bytes * mib;
		ask.limit_bytes = limit * mib;
		ask.apart_usec = apart * USEC_PER_SEC;
		ask.grown_bytes = grown[0] == 's' ? PSB_GROWN_SHARE
						  : strtoul(grown, NULL, 10) * mib;
		ask.anyway = anyway[0] == 'a';
		why = effect_why_not(&effect, &ask);
		why = !why ? "yes" : strstr(why, "long ago") ? "soon" : "little";
		if (strcmp(why, answer) != 0)
			fail_msg("%s", line);
		cases++;
	}
	fclose(file);
	assert_true(cases > 35);
}

PROMISE(a_low_makes_the_runtime_collect_and_what_went_back_is_told)
{
	unsigned a, b, c, d, msec;
	pid_t tid;
	char ready[200];

	start(&plain);
	snprintf(ready, sizeof(ready), "ready: rung 1, psibridged on %s, ",
		 getenv("PSIBRIDGE_SOURCE"));
	assert_int_equal(count_lines(ready), 1);
	grow(MIB(64));
	fake.work_usec = 30 * MSEC;
	tell(PSB_LOW);
	await_line("told Low (memory is short)");
	assert_int_equal(sscanf(await_line("collected: "), "collected: %u.%u -> %u.%u MiB, %u ms",
				&a, &b, &c, &d, &msec),
			 5);
	/* memory may go back a while after the collection: that is waited for */
	assert_true(now_usec() - fake.returned_usec >= 650 * MSEC);
	/* the kernel counts RSS in batches, and others allocate, too */
	assert_in_range(10 * a + b - 10 * c - d, 600, 680);
	assert_in_range(msec, 30, 5000);
	assert_in_range(reported, MIB(60), MIB(68));
	assert_int_equal(fake.calls, 1);
	/* never on the bridge's thread, and not one that gets the program's signals */
	tid = thread_named(0, "psb-hook", 0);
	assert_int_equal(fake.tid, tid);
	assert_true(thread_blocked(tid) & 1 << (SIGTERM - 1));
	assert_true(thread_blocked(tid) & 1 << (SIGCHLD - 1));
	stop();
}

/* With the settings' own figures; others are in start_eager(). */
PROMISE(a_low_that_is_not_worth_a_collection_is_told_why)
{
	start(&plain);
	press_once();
	await_line("collected: ");
	press_once();
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("kept: "), 1);
	assert_non_null(strstr(said(), " MiB, the last collection is not long ago\n"));
	stop();
}

/* Heaps are anonymous memory; that of files comes and goes by the kernel's choice. */
PROMISE(what_has_grown_is_anonymous_memory_and_a_share_of_the_limit)
{
	int fd = memfd_create("pages of a file", MFD_CLOEXEC);
	void *pages;

	setenv("PSIBRIDGE_APART", "1ms", 1);
	limit_bytes = MIB(200); /* 10 MiB are a 20th of it */
	start(&plain);
	press_once();
	assert_int_equal(ftruncate(fd, MIB(100)), 0);
	pages = mmap(NULL, MIB(100), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
	assert_ptr_not_equal(pages, MAP_FAILED);
	press_once();
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("kept: "), 1);
	assert_non_null(strstr(said(), " MiB, little has grown since the last collection\n"));
	grow(MIB(12));
	press_once();
	assert_int_equal(fake.calls, 2);
	assert_int_equal(munmap(pages, MIB(100)), 0);
	close(fd);
	stop();
}

PROMISE(at_critical_nothing_needs_to_have_grown)
{
	setenv("PSIBRIDGE_APART", "1ms", 1);
	start(&plain);
	press_once();
	press_once();
	assert_int_equal(fake.calls, 1);
	tell_record(WIRE_LEVEL, PSB_LOW, true);
	await_line("told Low, critical");
	tell(PSB_HIGH);
	await_line("told High");
	assert_int_equal(fake.calls, 2);
	stop();
}

PROMISE(what_the_runtime_refuses_is_told_once_and_asked_for_again)
{
	start(&plain);
	fake.result = -ECANCELED; /* it ends, and that is not our business */
	press_once();
	fake.result = -EAGAIN; /* it starts, and has nothing to collect */
	press_once();
	assert_int_equal(count_lines("the runtime did not collect: "), 0);
	fake.result = -EPROTO;
	press_once();
	press_once();
	assert_int_equal(count_lines("the runtime did not collect: it says why\n"), 1);
	assert_int_equal(count_lines("collected: "), 0);
	fake.result = 0; /* that was no collection, so the next one is not too soon */
	press_once();
	assert_int_equal(fake.calls, 5);
	await_line("collected: ");
	assert_int_equal(count_lines("the runtime did not collect: "), 1);
	stop();
}

PROMISE(while_it_settles_it_is_told_and_may_be_stopped)
{
	uint64_t begin;
	unsigned before;

	start_eager(&settling);
	fake.steps = 6;
	fake.step_usec = 100 * MSEC;
	tell(PSB_LOW);
	AWAIT(fake.settled == 6);
	fake.steps = UINT_MAX;
	tell(PSB_LOW); /* 20 times the length of the settling would keep it away for 10 s */
	begin = now_usec();
	AWAIT(fake.calls == 2);
	assert_true(now_usec() - begin < 5 * USEC_PER_SEC);
	tell(PSB_HIGH);
	await_line("told High");
	before = fake.settled;
	AWAIT((unsigned)fake.settled > before); /* it goes on: what was freed is still here */
	forget_lines();
	stop();
	assert_int_equal(count_lines("collected: "), 1); /* its effect is told all the same */
}

/* ---- what it is told to do ------------------------------------------------------------------------- */

PROMISE(collect_says_at_which_level)
{
	static const struct {
		const char *collect;
		unsigned calls;
	} table[] = { { "low", 2 }, { "critical", 1 }, { "off", 0 } };

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		fake.calls = 0;
		setenv("PSIBRIDGE_COLLECT", table[i].collect, 1);
		start_eager(&plain);
		press_once();
		tell_record(WIRE_LEVEL, PSB_LOW, true);
		await_line(
			"told Low, critical (memory is very short): the machine itself is short");
		tell(PSB_NEUTRAL);
		await_line("told Neutral");
		assert_int_equal(fake.calls, table[i].calls);
		stop();
	}
}

/* "ready", two levels, one refusal, one setting that makes no sense, "ended": each has its priority. */
PROMISE(it_says_as_much_as_it_is_told_to)
{
	static const struct {
		const char *log;
		unsigned lines;
	} table[] = {
		{ "off", 0 }, { "error", 1 }, { "warning", 2 }, { "info", 5 }, { "debug", 6 }
	};

	setenv("PSIBRIDGE_GROWN", "a lot", 1);
	fake.result = -EPERM;
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		forget_lines();
		fake.calls = 0;
		setenv("PSIBRIDGE_LOG", table[i].log, 1);
		start(&plain);
		tell(PSB_LOW);
		AWAIT(fake.calls == 1);
		tell(PSB_HIGH);
		if (table[i].lines > 2)
			await_line("told High");
		stop();
		assert_int_equal(count_lines(""), table[i].lines);
	}
	assert_int_equal(count_lines("the runtime did not collect: Operation not permitted\n"), 1);
	assert_int_equal(count_lines("PSIBRIDGE_GROWN=a lot: "), 1);
}

/* ---- beginning ------------------------------------------------------------------------------------ */

PROMISE(switched_off_it_is_not_there_and_says_nothing)
{
	setenv("PSIBRIDGE_LOW", "nonsense", 1);
	setenv("PSIBRIDGE", "off", 1);
	assert_int_equal(hook_start(&plain, NULL), 0);
	assert_false(has_threads());
	assert_int_equal(count_lines(""), 0);
}

PROMISE(nonsense_is_told_once_by_name_and_settings_of_its_own_count_first)
{
	const char *const own[] = { "PSIBRIDGE_COLLECT=low", NULL };
	static const char *const times[] = { "PSIBRIDGE_REARM", "PSIBRIDGE_QUIET", "PSIBRIDGE_CALM",
					     "PSIBRIDGE_APART", "PSIBRIDGE_LOW" };
	char large[1500] = "";

	setenv("PSIBRIDGE_COLLECT", "off", 1);
	setenv("PSIBRIDGE_CRITICAL", "often", 1);
	setenv("PSIBRIDGE_COLECT", "off", 1);
	start_with(&plain, own);
	press_once();
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("PSIBRIDGE_CRITICAL=often: "), 1);
	assert_int_equal(count_lines("PSIBRIDGE_COLECT: there is no such variable; did you mean "
				     "PSIBRIDGE_COLLECT?"),
			 1);
	assert_int_equal(count_lines("PSIBRIDGE"), 2);
	stop();

	/* What has no room is cut, in the middle of a line too. */
	memset(large, 'x', sizeof(large) - 1);
	for (size_t i = 0; i < ELEMENTSOF(times); i++)
		setenv(times[i], large, 1);
	forget_lines();
	start(&plain);
	assert_in_range(strlen(said()), 1000, 2000);
	stop();
}

/* Each in one line that says what and why. */
PROMISE(where_nothing_can_be_watched_it_says_why_and_ends)
{
	static const struct {
		const char *name, *text, *said;
	} table[] = {
		{ "PSIBRIDGE_BACKEND", "kqueue",
		  "cannot watch: PSIBRIDGE_BACKEND=kqueue: auto, uring or epoll was expected; "
		  "the program runs on without" },
		{ "PSIBRIDGE_CGROUP", "../x",
		  "cannot watch: cgroup \"../x\": \"..\" is not allowed in it; "
		  "the program runs on without" },
		/* whatever a path contains, a line is a line */
		{ "PSIBRIDGE_CGROUP", "a\nb\x1b[2J", "cannot watch: cgroup \"a?b?[2J\": " },
		{ "PSIBRIDGE_SOURCE", "/no/such/fifo", "cannot watch: " },
		{ "MEMORY_PRESSURE_WATCH", "/dev/null", "not watching: " },
	};
	const char *backend = getenv("PSIBRIDGE_BACKEND");
	char *kept = backend ? strdup(backend) : NULL;

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		forget_lines();
		unsetenv("PSIBRIDGE_SOURCE");
		setenv(table[i].name, table[i].text, 1);
		assert_int_equal(hook_start(&plain, NULL), 1);
		await_line(table[i].said);
		await_line("ended");
		assert_int_equal(count_lines(""), 2);
		stop();
		unsetenv(table[i].name);
		if (kept)
			setenv("PSIBRIDGE_BACKEND", kept, 1);
	}
	free(kept);
}

/* ---- ending --------------------------------------------------------------------------------------- */

/* At every moment of its start; descriptors are counted by the stage. */
PROMISE(it_may_be_stopped_while_it_starts)
{
	for (unsigned i = 1; i <= 60; i++) {
		assert_int_equal(hook_start(&plain, NULL), 1);
		usleep(i % 6 * 40);
		stop();
		assert_int_equal(count_lines("ended"), 1);
		forget_lines();
	}
}

/* A runtime that ends stops its threads, and those that collect too. */
PROMISE(a_collection_that_does_not_end_is_given_up_after_two_seconds)
{
	uint64_t begin;
	int unread = 1;

	start_eager(&plain);
	fake.held = 1;
	tell(PSB_LOW);
	AWAIT(fake.inside == 1);
	tell(PSB_LOW); /* which waits for it meanwhile */
	AWAIT(ioctl(peer, SIOCOUTQ, &unread) == 0 && unread == 0);
	begin = now_usec();
	hook_stop();
	assert_in_range(now_usec() - begin, 1900 * MSEC, 4 * USEC_PER_SEC);
	assert_int_equal(fake.inside, 1);
	begin = now_usec();
	hook_stop(); /* a runtime says more than once that it ends */
	assert_true(now_usec() - begin < USEC_PER_SEC);

	/* it comes back, after all */
	fake.held = 0;
	await_line("ended");
	AWAIT(!has_threads());
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("told "), 1);
}

static void stop_myself(void)
{
	uint64_t begin = now_usec();

	hook_stop();
	fake.settled = now_usec() - begin < USEC_PER_SEC;
}

/* A finalizer, say, that calls exit(3). */
PROMISE(it_may_be_stopped_inside_of_a_collection)
{
	start(&plain);
	fake.act = stop_myself;
	tell(PSB_LOW);
	await_line("ended");
	AWAIT(!has_threads());
	assert_int_equal(fake.settled, 1);
	assert_int_equal(fake.calls, 1);
}

PROMISE(a_stderr_that_is_not_read_delays_no_collection)
{
	static char full[1 << 16];
	int ends[2];

	start_eager(&plain);
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(ends[1], full, sizeof(full)) > 0)
		;
	assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* from now on a write waits */
	dup2(ends[1], STDERR_FILENO);
	signal(SIGPIPE, SIG_DFL); /* systemd starts us with it ignored */
	tell(PSB_LOW);
	AWAIT(fake.calls == 1);
	close(ends[0]); /* from now on each write is a SIGPIPE: a stderr that is gone hurts nothing */
	close(ends[1]);
	stop();
	dup2(said_fd, STDERR_FILENO);
}

/* ---- a managed policy in its place ---------------------------------------------------------------- */

static struct {
	const struct managed_table *_Atomic table;
	struct psb_settings settings;
	int early;	  /* so often it is too early */
	int late, absent; /* it joins after load() has returned, or never */
} guest;

static const struct managed_table *find_table(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	const struct managed_table *found = NULL;
	char line[300];

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps))
		if (strstr(line, "/memfd:" MANAGED_MAPPING " (deleted)\n"))
			found = (const struct managed_table *)(uintptr_t)strtoull(line, NULL, 16);
	fclose(maps);
	return found;
}

static int load_guest(int last, const char **ret_why)
{
	if (guest.early-- > 0 && !last)
		return -EAGAIN;
	*ret_why = "as told";
	guest.settings.size = sizeof(guest.settings);
	assert_null(guest.table); /* it is asked once */
	guest.table = find_table();
	return guest.absent ? -EOPNOTSUPP : guest.late ? 0 : guest.table->join(&guest.settings);
}

static const struct hook_runtime managed = { .name = "fake",
					     .collect = fake_collect,
					     .load = load_guest };

PROMISE(a_managed_policy_that_joins_is_told_and_collects_in_its_place)
{
	struct psb_settings again = { .size = sizeof(again) };
	int available = 0, critical = 0, reason = 0, cause = -1;

	memset(&guest, 0, sizeof(guest));
	guest.early = 1;
	setenv("PSIBRIDGE_COLLECT", "critical", 1);
	start_eager(&managed);
	await_line("the managed policy has taken over");
	assert_int_equal(guest.settings.collect, PSB_COLLECT_CRITICAL);
	assert_int_equal(guest.table->join(&again), -EALREADY);
	tell_record(WIRE_LEVEL, PSB_LOW, true);
	do
		assert_int_equal(guest.table->take(&available, &critical, &reason, &cause), 1);
	while (available != PSB_LOW);
	assert_int_equal(critical, 1);
	assert_int_equal(reason, PSB_REASON_STALL);
	assert_int_equal(cause, PSB_CAUSE_MACHINE);
	guest.table->report(MIB(7), 1000);
	assert_int_equal(reported, MIB(7));
	assert_int_equal(fake.calls, 0);

	/* it could not go on: the runtime collects as it likes */
	guest.table->leave(0);
	assert_int_equal(guest.table->take(&available, &critical, &reason, &cause), 0);
	tell(PSB_HIGH);
	await_line("told High");
	tell_record(WIRE_LEVEL, PSB_LOW, true);
	AWAIT(fake.calls == 1);
	stop();
	assert_int_equal(guest.table->join(&again), -ECANCELED);
}

PROMISE(one_that_joins_late_does_too_and_where_another_acts_all_is_silent)
{
	memset(&guest, 0, sizeof(guest));
	guest.late = 1;
	start_eager(&managed);
	AWAIT(guest.table);
	press_once(); /* which it answers itself */
	assert_int_equal(guest.table->join(&guest.settings), 0);
	await_line("the managed policy has taken over");
	guest.table->leave(1);
	await_line("ended");
	AWAIT(!has_threads());
	assert_int_equal(fake.calls, 1);
}

PROMISE(without_a_managed_policy_it_says_why_and_collects_itself)
{
	memset(&guest, 0, sizeof(guest));
	guest.absent = 1;
	start_eager(&managed);
	await_line("without the managed policy: as told");
	press_once();
	assert_int_equal(fake.calls, 1);
	assert_int_equal(count_lines("without"), 1);
	stop();
}

PROMISE(a_forked_child_only_forgets_and_the_parent_goes_on)
{
	int status;
	pid_t pid;

	start(&plain);
	pid = fork();
	if (pid == 0) {
		alarm(1);
		hook_stop();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	press_once();
	assert_int_equal(fake.calls, 1);
	stop();
}
