/* SPDX-License-Identifier: MIT */
/*
 * test-ring.c - the files of Trace=, and their bound (src/daemon/ring.h)
 *
 * ring_free() writes what there is, so each process() is one of the daemon, and no clock is waited for. Real pressure, and what is told
 * of it: tests/integration/test-ring.c.
 */
#include <glob.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../unit.h"
#include "../fake-root.h"
#include "core/trace.h"
#include "daemon/ring.h"

#define MIB (UINT64_C(1) << 20)
#define LINES 350 /* less than a buffer has room for */

static sd_event *event;
static struct journal *journal;
static int real_stderr;
static char directory[128];
static uint64_t stalled; /* so far, 1 us a line */
static bool mounted;
static _Atomic time_t clock_ahead_sec;

/* The C library's for all that is linked into this program. */
int clock_gettime(clockid_t clock, struct timespec *t)
{
	int r = (int)syscall(SYS_clock_gettime, clock, t);

	if (clock == CLOCK_REALTIME)
		t->tv_sec += clock_ahead_sec;
	return r;
}

static int set_up(void **state)
{
	int fd;

	if (fake_set_up(state) < 0 || sd_event_new(&event) < 0)
		return -1;
	snprintf(directory, sizeof(directory), "%s/trace", fake_root);
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	fd = open(fake_path("said"), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(fd, STDERR_FILENO);
	close(fd);
	stalled = 1;
	return journal_new("/nonexistent", &journal);
}

static int tear_down(void **state)
{
	journal = journal_free(journal);
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	event = sd_event_unref(event);
	if (mounted)
		umount(directory);
	mounted = false;
	clock_ahead_sec = 0;
	return fake_tear_down(state);
}

EACH(set_up, tear_down)

/* How often the journal has it. */
static unsigned said(const char *words)
{
	char line[1024];
	unsigned count = 0;
	FILE *f = fopen(fake_path("said"), "re");

	while (fgets(line, sizeof(line), f))
		count += strstr(line, words) != NULL;
	fclose(f);
	return count;
}

static struct ring *begin(uint64_t bound)
{
	struct ring *ring;

	assert_int_equal(ring_new(event, journal, directory, &ring), 0);
	ring_apply(ring, bound);
	return ring;
}

static void take(struct ring *ring, const char *cgroup, enum psb_reason reason)
{
	const struct psb_notification n = {
		.kind = PSB_KIND_SAMPLE,
		.available = PSB_LOW,
		.reason = reason,
		.cgroup = cgroup,
		.time_usec = now_usec(),
		.some_total_usec = ++stalled,
		.event = EVENT_TICK,
		.oom_events = PSB_UNKNOWN,
	};

	ring_take(ring, &n);
}

static void take_many(struct ring *ring)
{
	char cgroup[100] = "/a";

	memset(cgroup + 2, 'x', sizeof(cgroup) - 3);
	for (unsigned i = 0; i < LINES; i++)
		take(ring, cgroup, PSB_REASON_PRESENT);
}

static void process(uint64_t bound)
{
	struct ring *ring = begin(bound);

	take_many(ring);
	ring_free(ring);
}

/* ---- what is there then -------------------------------------------------------------------------- */

static struct found {
	uint64_t bytes, first, last; /* counters */
	size_t files, samples, torn;
	struct trace_sample b[4]; /* of /b in the last file */
	size_t b_count;
} found;

static void read_file(const char *path)
{
	struct trace_reader reader = { .lines = 0 };
	struct trace_sample s;
	char text[1024];
	FILE *f = fopen(path, "re");

	if (!f)
		return;
	found.b_count = 0;
	while (fgets(text, sizeof(text), f)) {
		size_t size = strlen(text);

		found.torn += text[size - 1] != '\n';
		if (text[size - 1] != '\n' ||
		    trace_read(&reader, (struct scan){ text, size - 1 }, &s, NULL) != 1)
			continue;
		found.first = found.first ? found.first : s.some_usec;
		found.last = MAX(found.last, s.some_usec);
		found.samples++;
		if (scan_is(s.cgroup, "/b"))
			found.b[found.b_count++ % ELEMENTSOF(found.b)] = s;
	}
	assert_int_equal(reader.format, TRACE_OURS);
	fclose(f);
}

static void look(void)
{
	struct stat st;
	char pattern[160];
	glob_t files;

	found = (struct found){ 0 };
	snprintf(pattern, sizeof(pattern), "%s/*", directory);
	if (glob(pattern, 0, NULL, &files) != 0)
		return;
	found.files = files.gl_pathc;
	for (size_t i = 0; i < files.gl_pathc; i++) {
		if (stat(files.gl_pathv[i], &st) < 0) /* just removed */
			continue;
		found.bytes += (uint64_t)st.st_size;
		if (st.st_size > 0 && strstr(files.gl_pathv[i], ".trace"))
			read_file(files.gl_pathv[i]);
	}
	globfree(&files);
}

/* The thread has it now. */
#define AWAIT(condition)                   \
	do {                               \
		sd_event_run(event, 1000); \
		look();                    \
	} while (!(condition))

/* ---- promises ------------------------------------------------------------------------------------ */

PROMISE(the_sum_never_passes_the_bound_and_the_oldest_goes)
{
	for (unsigned i = 0; i < 30; i++) {
		process(MIB);
		look();
		assert_true(found.bytes <= MIB);
		assert_true(found.bytes > MIB / 8 * 7 || found.first == 2); /* and it is used */
		assert_int_equal(found.last, stalled);
	}
	assert_true(found.first > 2);
}

PROMISE(one_process_begins_a_new_file_with_each_eighth)
{
	struct ring *ring = begin(MIB);

	for (unsigned i = 0; i < 30; i++) {
		take_many(ring);
		take(ring, "/b", PSB_REASON_STALL);
		AWAIT(found.last == stalled); /* or lines would be lost */
		assert_true(found.bytes <= MIB);
	}
	assert_in_range(found.files, 8, 16);
	ring_free(ring);
	assert_int_equal(said("trace"), 0);
}

PROMISE(a_lowered_bound_counts_at_once)
{
	struct ring *ring;

	for (unsigned i = 0; i < 60; i++)
		process(3 * MIB);
	look();
	assert_true(found.bytes > 2 * MIB);
	ring = begin(2 * MIB); /* a restart */
	AWAIT(found.bytes <= 2 * MIB);
	ring_apply(ring, MIB); /* a reload */
	AWAIT(found.bytes <= MIB);
	assert_true(found.bytes > MIB / 2);
	ring_free(ring);
}

/* Without the loop, which has no turn here. */
PROMISE(what_is_told_after_a_rest_is_written_at_once)
{
	struct ring *ring = begin(MIB);

	usleep(300000);
	take(ring, "/a", PSB_REASON_STALL);
	for (unsigned i = 0; i < 5000 && (i == 0 || found.samples == 0); i++) {
		usleep(1000);
		look();
	}
	assert_int_equal(found.samples, 1);
	ring_free(ring);
}

/* Its own files of before the clock was set back are no more of the future than the one that it writes. */
PROMISE(with_a_clock_set_back_the_oldest_still_goes_first)
{
	struct ring *ring;

	clock_ahead_sec = 86400;
	ring = begin(MIB);
	for (unsigned i = 0; i < 40; i++) {
		take_many(ring);
		take(ring, "/b", PSB_REASON_STALL);
		AWAIT(found.last == stalled);
		clock_ahead_sec = i < 10 ? 86400 : 0;
	}
	assert_true(found.first > 2);
	assert_true(found.last - found.first < found.samples); /* no gap */
	ring_free(ring);
}

/* Nor does what was taken until then go. */
PROMISE(with_no_what_is_there_stays)
{
	struct ring *ring;

	process(MIB);
	for (unsigned i = 0; i < 2; i++) {
		ring = begin(MIB);
		take(ring, "/b", PSB_REASON_PRESENT);
		ring_apply(ring, 0);
		if (i == 1)
			AWAIT(found.last == stalled); /* the timer's */
		take(ring, "/c", PSB_REASON_PRESENT);
		ring_free(ring);
		look();
		assert_int_equal(found.samples, LINES + i + 1);
		assert_int_equal(found.last, stalled - 1);
	}
}

PROMISE(what_was_killed_costs_what_was_not_told)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct ring *ring;

		sd_event_new(&event);
		ring = begin(MIB);
		take_many(ring);
		take(ring, "/a", PSB_REASON_STALL);
		AWAIT(found.samples > LINES);
		take_many(ring);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	look();
	assert_int_equal(found.samples, LINES + 1);
	stalled = found.last;
	process(MIB);
	look();
	assert_int_equal(found.samples, 2 * LINES + 1);
	assert_int_equal(found.files, 2);
}

/* Which then says what it stood at when the file before ended, but not once more what was told. */
PROMISE(a_file_has_the_line_before_of_each_cgroup)
{
	struct ring *ring = begin(MIB);
	uint64_t first;

	take(ring, "/b", PSB_REASON_STALL);
	first = stalled;
	for (found.files = 1; found.files == 1;) {
		take_many(ring);
		AWAIT(found.last == stalled);
	}
	assert_int_equal(found.b_count, 0);
	take(ring, "/b", PSB_REASON_STALL);
	AWAIT(found.last == stalled);
	assert_int_equal(found.b_count, 2);
	assert_int_equal(found.b[0].some_usec, first);
	assert_int_equal(found.b[0].told, 0);
	assert_int_equal(found.b[1].told, LEVEL_LOW);
	ring_free(ring);
}

PROMISE(a_full_disk_is_told_once_and_nothing_written_is_lost)
{
	static const char zeros[4096];
	struct ring *ring;
	size_t before;
	int fd;

	assert_int_equal(mkdir(directory, 0755), 0);
	if (mount("none", directory, "tmpfs", 0, "size=128k") < 0)
		SKIP("only root can mount a small file system");
	mounted = true;
	process(MIB);
	look();
	before = found.samples;
	assert_int_equal(before, LINES);
	fd = open(fake_path("trace/other"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) == sizeof(zeros))
		;
	/* room for a part of what is written next */
	assert_int_equal(ftruncate(fd, lseek(fd, 0, SEEK_CUR) - 2 * (off_t)sizeof(zeros)), 0);
	close(fd);
	ring = begin(MIB);
	for (unsigned i = 0; i < 3; i++) { /* more than both buffers have room for */
		take_many(ring);
		take(ring, "/a", PSB_REASON_STALL);
	}
	while (said("cannot be written") == 0)
		sd_event_run(event, UINT64_MAX);
	look();
	assert_true(found.samples >= before); /* a few lines may have found room */
	assert_int_equal(found.torn, 0);
	assert_int_equal(unlink(fake_path("trace/other")), 0);
	while (said("is written again") == 0)
		sd_event_run(event, UINT64_MAX);
	ring_free(ring);
	look();
	assert_true(found.samples > before);
	assert_int_equal(found.torn, 0);
	assert_int_equal(said("cannot be written"), 1);
}

PROMISE(one_that_is_removed_is_begun_anew)
{
	struct ring *ring = begin(MIB);
	glob_t files;
	char pattern[160];

	take(ring, "/a", PSB_REASON_STALL);
	AWAIT(found.samples > 0);
	snprintf(pattern, sizeof(pattern), "%s/*", directory);
	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	unlink(files.gl_pathv[0]);
	globfree(&files);
	assert_int_equal(rmdir(directory), 0);
	take(ring, "/a", PSB_REASON_STALL);
	ring_free(ring);
	look();
	assert_int_equal(found.files, 1);
	assert_true(found.samples >= 1);
}

PROMISE(without_a_directory_or_with_no_nothing_is_kept)
{
	struct ring *ring;

	assert_int_equal(ring_new(event, journal, NULL, &ring), 0);
	for (unsigned i = 0; i < 2; i++)
		ring_apply(ring, MIB);
	take(ring, "/a", PSB_REASON_STALL);
	ring_free(ring);
	assert_int_equal(said("no trace is kept: there is no STATE_DIRECTORY"), 1);
	process(0);
	look();
	assert_int_equal(found.files, 0);
	ring = begin(MIB); /* and at rest nothing is written */
	ring_free(ring);
	look();
	assert_int_equal(found.files, 0);
}
