/* SPDX-License-Identifier: MIT */
/*
 * test-survey.c - what every cgroup of a pattern has to say (src/library/survey.c)
 *
 * Numbers and shapes of trees come from plain files in the form of the kernel's; that the kernel
 * itself agrees is asked of real cgroups, where there may be some.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>

#include "../unit.h"
#include "../../pressure.h"
#include "../../skip.h"
#include "../fake-root.h"
#include "library/survey.h"

#define ROWS_MAX 64
#define MB (UINT64_C(1) << 20)

static struct rows {
	unsigned count;
	struct psb_survey_row row[ROWS_MAX];
	char cgroup[ROWS_MAX][128];
	char all[2048]; /* the paths, each with a blank behind it */
} got;

static void take(const struct psb_survey_row *row, void *userdata)
{
	struct rows *rows = userdata;
	size_t used = strlen(rows->all);

	assert_int_equal(row->size, sizeof(*row));
	if (rows->count < ROWS_MAX) {
		rows->row[rows->count] = *row;
		snprintf(rows->cgroup[rows->count], sizeof(rows->cgroup[0]), "%s", row->cgroup);
		snprintf(rows->all + used, sizeof(rows->all) - used, "%s ", row->cgroup);
	}
	rows->count++;
}

static int find(const char *cgroup)
{
	for (unsigned i = 0; i < MIN(got.count, (unsigned)ROWS_MAX); i++)
		if (strcmp(got.cgroup[i], cgroup) == 0)
			return (int)i;
	return -1;
}

static struct psb_survey_row *row_of(const char *cgroup)
{
	int i = find(cgroup);

	if (i < 0)
		fail_msg("%s is not among: %s", cgroup, got.all);
	return &got.row[i];
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

static int survey(const struct cgroups *c, const char *pattern)
{
	memset(&got, 0, sizeof(got));
	return survey_cgroups(c, pattern, take, &got);
}

PROMISE(every_number_comes_from_its_file)
{
	struct cgroups c = fake_v2("numbers");
	const struct psb_survey_row *row;

	fake_cgroup("numbers/a");
	fake_file("numbers/a", "memory.pressure",
		  "some avg10=1.02 avg60=3.04 avg300=5.06 total=7008\n"
		  "full avg10=9.10 avg60=11.12 avg300=13.14 total=1516\n");
	fake_file("numbers/a", "memory.current", "83886080\n");
	fake_file("numbers/a", "memory.stat", "anon 1\nfile 2\ninactive_file 31457280\nx 3\n");
	fake_file("numbers/a", "memory.max", "104857600\n");
	fake_file("numbers/a", "memory.high", "94371840\n");
	fake_file("numbers/a", "memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n");
	assert_int_equal(survey(&c, "a"), 0);
	assert_int_equal(got.count, 1);
	row = row_of("/a");
	assert_true(row->has_pressure);
	assert_int_equal(row->some_avg10_centi, 102);
	assert_int_equal(row->some_avg60_centi, 304);
	assert_int_equal(row->full_avg10_centi, 910);
	assert_int_equal(row->some_total_usec, 7008);
	assert_int_equal(row->full_total_usec, 1516);
	assert_int_equal(row->current_bytes, 80 * MB);
	assert_int_equal(row->working_set_bytes, 50 * MB);
	assert_int_equal(row->limit_bytes, 100 * MB);
	assert_int_equal(row->high_bytes, 90 * MB);
	assert_true(row->has_events);
	assert_int_equal(row->high_events, 2);
	assert_int_equal(row->max_events, 3);
	assert_int_equal(row->oom_events, 4);
	assert_int_equal(row->oom_kill_events, 5);
}

PROMISE(what_is_not_there_is_zero_and_says_so)
{
	struct cgroups c = fake_v2("bare");
	const struct psb_survey_row *row;

	fake_cgroup("bare/hybrid");		      /* the memory controller is on v1 */
	fake_file("bare/silent", "cgroup.procs", ""); /* cgroup.pressure is 0 */
	fake_file("bare/silent", "memory.current", "4096\n");
	fake_file("bare/silent", "memory.max", "max\n");
	fake_file("bare/torn", "cgroup.procs", "");
	fake_file("bare/torn", "memory.pressure", "some avg10=0.00\n");
	fake_file("bare/torn", "memory.events", "oom_kill 7"); /* no newline: cut off */
	assert_int_equal(survey(&c, "*"), 0);
	assert_int_equal(got.count, 3);

	row = row_of("/hybrid");
	assert_true(row->has_pressure);
	assert_false(row->has_events);
	assert_int_equal(row->current_bytes, 0);
	assert_int_equal(row->limit_bytes, 0);
	row = row_of("/silent");
	assert_false(row->has_pressure);
	assert_int_equal(row->current_bytes, 4096);
	assert_int_equal(row->working_set_bytes, 0); /* memory.stat is not there */
	assert_int_equal(row->limit_bytes, 0);
	row = row_of("/torn");
	assert_false(row->has_pressure);
	assert_false(row->has_events);
	assert_int_equal(row->oom_kill_events, 0);
}

PROMISE(a_removed_cgroup_is_left_out)
{
	struct cgroups c = fake_v2("gone");

	fake_cgroup("gone/stays");
	fake_file("gone/went", "memory.pressure", NO_PRESSURE); /* cgroup.procs is gone */
	assert_int_equal(survey(&c, "*"), 0);
	assert_string_equal(got.all, "/stays ");
}

PROMISE(patterns_choose)
{
	static const struct {
		const char *pattern, *expected; /* in any order of siblings, all of these */
		unsigned count;
	} table[] = {
		{ "/", "/", 1 },
		{ "a", "/a", 1 },
		{ "/a/b/", "/a/b", 1 },
		{ "*", "/a /d.service", 2 },
		{ "**", "/a /a/b /a/b/c /a/x.service /d.service", 5 },
		{ "a/*", "/a/b /a/x.service", 2 },
		{ "a/**", "/a/b /a/b/c /a/x.service", 3 },
		{ "**/*.service", "/a/x.service /d.service", 2 },
		{ "a/**/c", "/a/b/c", 1 },
		{ "d.service/**", "", 0 },
		{ "**/nobody", "", 0 },
	};
	struct cgroups c = fake_v2("shapes");

	fake_cgroup("shapes");
	fake_cgroup("shapes/a");
	fake_cgroup("shapes/a/b");
	fake_cgroup("shapes/a/b/c");
	fake_cgroup("shapes/a/x.service");
	fake_cgroup("shapes/d.service");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char *words = strdup(table[i].expected), *rest = NULL;

		assert_int_equal(survey(&c, table[i].pattern), 0);
		if (got.count != table[i].count)
			fail_msg("%s found: %s", table[i].pattern, got.all);
		for (char *word = strtok_r(words, " ", &rest); word;
		     word = strtok_r(NULL, " ", &rest))
			row_of(word);
		free(words);
	}
}

PROMISE(parents_come_before_their_children)
{
	struct cgroups c = fake_v2("shapes");

	assert_int_equal(survey(&c, "**"), 0);
	assert_true(find("/a") < find("/a/b"));
	assert_true(find("/a/b") < find("/a/b/c"));
	assert_true(find("/a") < find("/a/x.service"));
}

PROMISE(nonsense_is_refused)
{
	static const struct {
		const char *pattern;
		int error;
	} table[] = {
		{ "", -EINVAL },	 { "a/../b", -EINVAL },
		{ "a**", -EINVAL },	 { "**/a/**", -EINVAL },
		{ "../*", -EINVAL },	 { "nobody", -ENOENT },
		{ "nobody/*", -ENOENT }, { "d.service/cgroup.procs", -ENOENT },
	};
	struct cgroups c = fake_v2("shapes");
	char *longest = malloc(2 * CGPATH_MAX);

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		int r = survey(&c, table[i].pattern);

		if (r != table[i].error)
			fail_msg("\"%s\": %d instead of %d", table[i].pattern, r, table[i].error);
		assert_int_equal(got.count, 0);
	}
	memset(longest, 'a', 2 * CGPATH_MAX - 1);
	longest[2 * CGPATH_MAX - 1] = '\0';
	assert_int_equal(survey(&c, longest), -EINVAL);
	free(longest);
	assert_int_equal(psb_survey(NULL, take, &got), -EINVAL);
	assert_int_equal(psb_survey("/", NULL, NULL), -EINVAL);
}

PROMISE(a_link_out_of_the_tree_is_not_followed)
{
	struct cgroups c = fake_v2("linked");

	fake_cgroup("linked/a");
	fake_cgroup("elsewhere/b");
	if (symlink(fake_path("elsewhere"), fake_path("linked/out")) < 0)
		SKIP("no symbolic links here");
	assert_int_equal(survey(&c, "**"), 0);
	assert_string_equal(got.all, "/a ");
}

/* Three levels of ten, and one of a hundred levels. */
PROMISE(descriptors_grow_neither_with_depth_nor_with_cgroups)
{
	struct cgroups c = fake_v2("many");
	struct rlimit old, few;
	char deep[240] = "many";
	int lowest, next, r;

	for (unsigned i = 0; i < 100; i++) {
		strcat(deep, "/x");
		fake_cgroup(deep);
	}
	for (unsigned i = 0; i < 1000; i++) {
		char path[64];

		snprintf(path, sizeof(path), "many/a%u/b%u/c%u", i / 100, i / 10 % 10, i % 10);
		fake_cgroup(path);
	}
	lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
	next = open("/dev/null", O_RDONLY | O_CLOEXEC);
	close(lowest);
	close(next);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)next + 1; /* a directory and a file */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	r = survey(&c, "**/x");
	if (r == 0 && got.count != 100)
		r = -ENODATA;
	if (r == 0)
		r = survey(&c, "**/c*");
	few.rlim_cur = (rlim_t)next;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	if (r == 0 && got.count == 1000)
		r = survey(&c, "**/c*") == -EMFILE ? 0 : -EBADE; /* said, and not taken for gone */
	else
		r = r < 0 ? r : -ENODATA;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(r, 0);
	assert_int_equal(open("/dev/null", O_RDONLY | O_CLOEXEC),
			 lowest); /* nothing is left open */
	close(lowest);
}

/* ---- the kernel's ---------------------------------------------------------------------------- */

static struct lab lab;
static const char *no_lab;

static int real_survey(const char *pattern)
{
	memset(&got, 0, sizeof(got));
	return psb_survey(pattern, take, &got);
}

PROMISE(real_cgroups_are_found_with_their_stalls)
{
	struct lab_psi before, after;
	const struct psb_survey_row *row;
	char pattern[128];

	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "a", 0);
	lab_delegate(&lab, "a");
	lab_make(&lab, "a/quiet", 0);
	lab_make(&lab, "a/loud", LAB_LIMIT);
	pid_t pid = lab_press(&lab, "a/loud");

	assert_true(LAB_WAIT(20000, lab_psi(&lab, "a/loud").some_usec > 1000));
	snprintf(pattern, sizeof(pattern), "%s/**", lab.name);
	before = lab_psi(&lab, "a/loud");
	assert_int_equal(real_survey(pattern), 0);
	after = lab_psi(&lab, "a/loud");
	lab_kill(pid);
	assert_int_equal(got.count, 3);
	assert_string_equal(got.cgroup[0], lab_path(&lab, "a"));
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
}

PROMISE(what_comes_and_goes_meanwhile_is_no_error)
{
	if (no_lab)
		SKIP(no_lab);
	/* whatever this machine has, and whatever happens to it while other tests run */
	assert_int_equal(real_survey("**"), 0);
	assert_true(got.count >= 1);
	assert_int_equal(real_survey("/"), 0);
	assert_string_equal(got.all, "/ ");
	assert_true(got.row[0].some_total_usec >= got.row[0].full_total_usec);
}

PROMISE(a_path_with_the_mount_in_front_is_the_same)
{
	char path[256];

	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "b", 0);
	snprintf(path, sizeof(path), "%s%s", lab.mount, lab_path(&lab, "b"));
	assert_int_equal(real_survey(path), 0);
	assert_int_equal(got.count, 1);
	assert_string_equal(got.cgroup[0], lab_path(&lab, "b"));
	lab_remove(&lab, "b");
	assert_int_equal(real_survey(path), -ENOENT);
}

static int set_up(void **state)
{
	no_lab = lab_open(&lab, "survey");
	return fake_set_up(state);
}

static int tear_down(void **state)
{
	if (!no_lab)
		lab_close(&lab);
	return fake_tear_down(state);
}

GROUP(set_up, tear_down)
