/* SPDX-License-Identifier: MIT */
/*
 * The trace that psibridged keeps of real pressure: replayed with the same settings it tells what was told, notification for
 * notification.
 */
#include "daemon-bench.h"

#include "core/names.h"
#include "core/trace.h"

#include <glob.h>

#define CONFIGURATION        \
	"[Defaults]\n"       \
	"HighHeadroom=off\n" \
	"Rearm=2s\n"         \
	"Quiet=1s\n"         \
	"Calm=2s\n"          \
	"[Watch %s/**]\n"
#define SETTINGS "--headroom off --rearm 2s --quiet 1s --calm 2s"
#define TOLD_MAX 256

struct told {
	char cgroup[128];
	const char *level;
	uint64_t time_usec, earliest_usec; /* no sooner than the line before */
};

static struct bench bench;
static struct told live[TOLD_MAX];
static size_t live_count;

static int set_up(_unused_ void **state)
{
	no_lab = lab_open(&lab, "psb-ring");
	if (!no_lab) {
		lab_make(&lab, "a", LAB_LIMIT);
		lab_make(&lab, "b", LAB_LIMIT);
	}
	return 0;
}

static void start(_unused_ void **state)
{
	bench_need_lab();
	bench_start(&bench, CONFIGURATION);
}

static int stop(_unused_ void **state)
{
	if (!no_lab)
		lab_kill_all();
	bench_stop(&bench);
	return 0;
}

GROUP(set_up, bench_close_lab)
FIXTURE(start, stop)

static bool is_low(const char *group)
{
	return strcmp(bench_level(&bench, group), "low") == 0;
}

static bool is_high(const char *group)
{
	const char *level = bench_level(&bench, group);

	return !*level || strcmp(level, "high") == 0;
}

/* One after the other and together, long enough for a Low to be repeated. */
static void make_pressure(void)
{
	pid_t a = lab_press(&lab, "a"), b;

	assert_true(LAB_WAIT(PATIENCE_MS, is_low("a")));
	b = lab_press(&lab, "b");
	assert_true(LAB_WAIT(PATIENCE_MS, is_low("b")));
	lab_sleep_ms(5000);
	lab_kill(a);
	assert_true(LAB_WAIT(PATIENCE_MS, is_high("a")));
	a = lab_press(&lab, "a");
	assert_true(LAB_WAIT(PATIENCE_MS, is_low("a")));
	lab_kill(a);
	lab_kill(b);
	assert_true(LAB_WAIT(PATIENCE_MS, is_high("a") && is_high("b")));
}

/* What was told, and the line before it of the same cgroup. */
static void read_live(const char *path)
{
	struct trace_reader reader = { .lines = 0 };
	struct {
		char cgroup[128];
		uint64_t time_usec;
	} last[8] = { 0 }, *l;
	struct trace_sample s;
	const char *why;
	char text[1024];
	FILE *f = fopen(path, "re");

	assert_non_null(f);
	live_count = 0;
	while (fgets(text, sizeof(text), f)) {
		struct scan line = { text, strlen(text) - 1 };

		if (trace_read(&reader, line, &s, &why) != 1)
			continue;
		for (l = last; *l->cgroup && !scan_is(s.cgroup, l->cgroup);)
			assert_true(++l < last + ELEMENTSOF(last));
		if (s.told) {
			struct told *t = &live[live_count++];

			assert_true(live_count < TOLD_MAX);
			scan_copy(s.cgroup, t->cgroup, sizeof(t->cgroup));
			t->level = s.critical ? "critical" : name_of_available(s.told);
			t->time_usec = s.time_usec;
			t->earliest_usec = l->time_usec;
		}
		scan_copy(s.cgroup, l->cgroup, sizeof(l->cgroup));
		l->time_usec = s.time_usec;
	}
	fclose(f);
}

/* The next one of that cgroup. */
static struct told *next_live(const char *cgroup)
{
	for (struct told *t = live; t < live + live_count; t++)
		if (t->level && strcmp(t->cgroup, cgroup) == 0)
			return t;
	return NULL;
}

static void compare(const char *path)
{
	const char *builddir = getenv("builddir");
	char command[1024], text[4096];
	unsigned compared = 0;
	FILE *f;

	snprintf(command, sizeof(command), "%s/psibridge replay '%s' --json --rung 3 " SETTINGS,
		 builddir ? builddir : ".", path);
	f = popen(command, "re");
	while (fgets(text, sizeof(text), f)) {
		json_t *said = json_loads(text, 0, NULL);
		const char *cgroup = json_string_value(json_object_get(said, "cgroup"));
		const char *level = json_string_value(json_object_get(said, "available"));
		uint64_t at = (uint64_t)json_integer_value(json_object_get(said, "time_usec"));
		struct told *t = cgroup ? next_live(cgroup) : NULL;

		if (json_is_true(json_object_get(said, "critical")))
			level = "critical";
		if (cgroup && (!t || strcmp(t->level, level) != 0 || at > t->time_usec ||
			       at < t->earliest_usec))
			fail_msg("replayed: %s %s at %ju; told: %s at %ju, not before %ju", cgroup,
				 level, (uintmax_t)at, t ? t->level : "nothing",
				 t ? (uintmax_t)t->time_usec : 0,
				 t ? (uintmax_t)t->earliest_usec : 0);
		if (t)
			t->level = NULL;
		compared += t != NULL;
		json_decref(said);
	}
	assert_int_equal(pclose(f), 0);
	if (compared < live_count)
		fail_msg("%u of %zu were told again", compared, live_count);
	assert_true(compared >= 9); /* Low, Neutral and High, three times */
}

PROMISE(replay_of_the_trace_tells_what_was_told)
{
	char pattern[160];
	glob_t files;

	make_pressure();
	assert_int_equal(bench_end_service(&bench, SIGTERM), 0);
	snprintf(pattern, sizeof(pattern), "%s/root/trace/*.trace", bench.dir);
	assert_int_equal(glob(pattern, 0, NULL, &files), 0);
	assert_int_equal(files.gl_pathc, 1);
	read_live(files.gl_pathv[0]);
	compare(files.gl_pathv[0]);
	globfree(&files);
	bench_start_service(&bench);
}
