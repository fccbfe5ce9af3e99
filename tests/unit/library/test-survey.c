/* SPDX-License-Identifier: MIT */
/*
 * test-survey.c - what every cgroup of a pattern has to say (src/library/survey.c)
 *
 * Numbers and shapes of trees come from plain files in the form of the kernel's; that the kernel
 * itself agrees is asked of real cgroups, where there may be some.
 */
#include <inttypes.h>

#include "../unit.h"
#include "../../pressure.h"
#include "../../threads.h"
#include "../fake-root.h"
#include "library/survey.h"

static struct rows {
	unsigned count;
	struct psb_survey_row row[64];
	char all[2048]; /* the paths, in order, each with a blank behind it */
} got;

static void take(const struct psb_survey_row *row, _unused_ void *userdata)
{
	size_t used = strlen(got.all);

	assert_int_equal(row->size, sizeof(*row));
	if (got.count < ELEMENTSOF(got.row)) {
		got.row[got.count] = *row;
		snprintf(got.all + used, sizeof(got.all) - used, "%s ", row->cgroup);
	}
	got.count++;
}

static const struct psb_survey_row *row_of(const char *cgroup)
{
	const char *at = got.all, *end;

	for (int i = 0; (end = strchr(at, ' ')); i++, at = end + 1)
		if (strlen(cgroup) == (size_t)(end - at) &&
		    strncmp(at, cgroup, strlen(cgroup)) == 0)
			return &got.row[i];
	fail_msg("%s is not among: %s", cgroup, got.all);
	return NULL;
}

static int survey(const struct cgroups *c, const char *pattern)
{
	memset(&got, 0, sizeof(got));
	return c ? survey_cgroups(c, pattern, take, NULL) : psb_survey(pattern, take, NULL);
}

/* ---- plain files ----------------------------------------------------------------------------- */

#define NO_PRESSURE                                        \
	"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" \
	"full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"

static void fake_cgroup(const char *cgroup)
{
	fake_file(cgroup, "cgroup.procs", "");
	fake_file(cgroup, "memory.pressure", NO_PRESSURE);
}

/* All numbers of it, as a text. */
static const char *numbers_of(const char *cgroup)
{
	const struct psb_survey_row *r = row_of(cgroup);
	static char text[300];

	snprintf(text, sizeof(text),
		 "%d %" PRIu64 " %" PRIu64 " %u %u %u, %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
		 ", %d %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,
		 r->has_pressure, r->some_total_usec, r->full_total_usec, r->some_avg10_centi,
		 r->full_avg10_centi, r->some_avg60_centi, r->current_bytes, r->working_set_bytes,
		 r->limit_bytes, r->high_bytes, r->has_events, r->max_events, r->high_events,
		 r->oom_events, r->oom_kill_events);
	return text;
}

PROMISE(every_number_comes_from_its_file_and_what_is_not_there_is_zero_and_says_so)
{
	struct cgroups c = fake_v2("numbers");

	fake_cgroup("numbers/a");
	fake_file("numbers/a", "memory.pressure",
		  "some avg10=1.02 avg60=3.04 avg300=5.06 total=7008\n"
		  "full avg10=9.10 avg60=11.12 avg300=13.14 total=1516\n");
	fake_file("numbers/a", "memory.current", "8000\n");
	fake_file("numbers/a", "memory.stat", "anon 1\nfile 2\ninactive_file 3000\nx 3\n");
	fake_file("numbers/a", "memory.max", "10000\n");
	fake_file("numbers/a", "memory.high", "9000\n");
	fake_file("numbers/a", "memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n");
	fake_cgroup("numbers/hybrid");			 /* the memory controller is on v1 */
	fake_file("numbers/silent", "cgroup.procs", ""); /* cgroup.pressure is 0 */
	fake_file("numbers/silent", "memory.current", "4096\n");
	fake_file("numbers/silent", "memory.max", "max\n");
	fake_file("numbers/torn", "cgroup.procs", "");
	fake_file("numbers/torn", "memory.pressure", "some avg10=0.00\n");
	fake_file("numbers/torn", "memory.events", "oom_kill 7");  /* no newline: cut off */
	fake_file("numbers/went", "memory.pressure", NO_PRESSURE); /* cgroup.procs is gone */
	assert_int_equal(survey(&c, "*"), 0);
	assert_int_equal(got.count, 4);
	assert_string_equal(numbers_of("/a"),
			    "1 7008 1516 102 910 304, 8000 5000 10000 9000, 1 3 2 4 5");
	assert_string_equal(numbers_of("/hybrid"), "1 0 0 0 0 0, 0 0 0 0, 0 0 0 0 0");
	assert_string_equal(numbers_of("/silent"), "0 0 0 0 0 0, 4096 0 0 0, 0 0 0 0 0");
	assert_string_equal(numbers_of("/torn"), "0 0 0 0 0 0, 0 0 0 0, 0 0 0 0 0");
}

/* Parents before their children; a link out of the tree is not followed. */
PROMISE(patterns_choose_and_nonsense_is_refused)
{
	static const struct {
		const char *pattern;
		int r;
		const char *expected; /* in any order of siblings, each with a blank behind it */
	} table[] = {
		{ "/", 0, "/ " },
		{ "a", 0, "/a " },
		{ "/a/b/", 0, "/a/b " },
		{ "*", 0, "/a /d.service " },
		{ "**", 0, "/a /a/b /a/b/c /a/x.service /d.service " },
		{ "a/**", 0, "/a/b /a/b/c /a/x.service " },
		{ "**/*.service", 0, "/a/x.service /d.service " },
		{ "a/**/c", 0, "/a/b/c " },
		{ "d.service/**", 0, "" },
		{ "", -EINVAL, "" },
		{ "a/../b", -EINVAL, "" },
		{ "a**", -EINVAL, "" },
		{ "nobody", -ENOENT, "" },
		{ "nobody/*", -ENOENT, "" },
		{ "d.service/cgroup.procs", -ENOENT, "" },
	};
	struct cgroups c = fake_v2("shapes");
	char longest[2 * CGPATH_MAX] = "";

	fake_cgroup("shapes");
	fake_cgroup("shapes/a/b/c");
	fake_cgroup("shapes/a/b");
	fake_cgroup("shapes/a");
	fake_cgroup("shapes/a/x.service");
	fake_cgroup("shapes/d.service");
	fake_cgroup("elsewhere/b");
	assert_int_equal(symlink(fake_path("elsewhere"), fake_path("shapes/out")), 0);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char words[100], *rest = words, *word;

		strcpy(words, table[i].expected);
		if (survey(&c, table[i].pattern) != table[i].r ||
		    strlen(got.all) != strlen(table[i].expected))
			fail_msg("%s found: %s", table[i].pattern, got.all);
		while ((word = strtok_r(NULL, " ", &rest)))
			row_of(word);
	}
	assert_int_equal(survey(&c, "**"), 0);
	assert_true(row_of("/a") < row_of("/a/b") && row_of("/a/b") < row_of("/a/b/c"));
	memset(longest, 'a', sizeof(longest) - 1);
	assert_int_equal(survey(&c, longest), -EINVAL);
}

/* With so many descriptors open that `more` are left. */
static int survey_with_few(const struct cgroups *c, const char *pattern, unsigned more)
{
	unsigned before = descriptors_open();
	int r;

	descriptors_allow(more);
	r = survey(c, pattern);
	descriptors_allow(DESCRIPTORS_ALL);
	assert_int_equal(descriptors_open(), before); /* nothing is left open */
	return r;
}

/* Three levels of ten, and one of a hundred levels: a directory, a cgroup and a file will do. */
PROMISE(descriptors_grow_neither_with_depth_nor_with_cgroups)
{
	struct cgroups c = fake_v2("many");
	char deep[240] = "many";

	for (unsigned i = 0; i < 100; i++) {
		strcat(deep, "/x");
		fake_cgroup(deep);
	}
	for (unsigned i = 0; i < 1000; i++) {
		char path[64];

		snprintf(path, sizeof(path), "many/a%u/b%u/c%u", i / 100, i / 10 % 10, i % 10);
		fake_cgroup(path);
	}
	assert_int_equal(survey_with_few(&c, "**/x", 3), 0);
	assert_int_equal(got.count, 100);
	assert_int_equal(survey_with_few(&c, "**/c*", 3), 0);
	assert_int_equal(got.count, 1000);
	assert_int_equal(survey_with_few(&c, "**/c*", 2), -EMFILE); /* and not taken for gone */
}

/* ---- the kernel's ---------------------------------------------------------------------------- */

static struct lab lab;

PROMISE(real_cgroups_are_found_with_their_stalls)
{
	const char *no_lab = lab_open(&lab, "survey");
	struct lab_psi before, after;
	const struct psb_survey_row *row;
	char pattern[256];
	pid_t pid;

	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "a", 0);
	lab_delegate(&lab, "a");
	lab_make(&lab, "a/quiet", 0);
	lab_make(&lab, "a/loud", LAB_LIMIT);
	pid = lab_press(&lab, "a/loud");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "a/loud").some_usec > 1000));
	/* with the mount in front it is the same */
	snprintf(pattern, sizeof(pattern), "%s/%s/**", lab.mount, lab.name);
	before = lab_psi(&lab, "a/loud");
	assert_int_equal(survey(NULL, pattern), 0);
	after = lab_psi(&lab, "a/loud");
	lab_kill(pid);
	assert_int_equal(got.count, 3);
	assert_ptr_equal(row_of(lab_path(&lab, "a")), &got.row[0]);
	assert_int_equal(row_of(lab_path(&lab, "a/quiet"))->some_total_usec, 0);
	row = row_of(lab_path(&lab, "a/loud"));
	assert_true(row->has_pressure);
	assert_in_range(row->some_total_usec, before.some_usec, after.some_usec);
	assert_in_range(row->full_total_usec, before.full_usec, after.full_usec);
	if (!lab.v1) {
		assert_int_equal(row->limit_bytes, LAB_LIMIT);
		assert_true(row->has_events);
		assert_true(row->current_bytes > 0);
	}
	/* whatever this machine has, and whatever happens to it while other tests run, is no error */
	assert_int_equal(survey(NULL, "**"), 0);
	assert_true(got.count >= 3);
	assert_int_equal(survey(NULL, "/"), 0);
	assert_string_equal(got.all, "/ ");
}

static int tear_down(void **state)
{
	lab_kill_all();
	lab_close(&lab);
	return fake_tear_down(state);
}

GROUP(fake_set_up, tear_down)
