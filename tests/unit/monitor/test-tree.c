/* SPDX-License-Identifier: MIT */
/*
 * test-tree.c - a sweep finds exactly the cgroups that stall (src/monitor/tree.h)
 *
 * The tree is one of plain files in the kernel's form, so that who stalls, and since when, is
 * exact; tests/integration/test-pattern.c does it with real stalls.
 */
#include <errno.h>
#include <sys/resource.h>

#include "../unit.h"
#include "core/cgpattern.h"
#include "../fake-root.h"
#include "monitor/tree.h"

#define SEC USEC_PER_SEC
#define MSEC USEC_PER_MSEC

static const struct trigger early = { PSI_SOME, 20 * MSEC, 2 * SEC };

static struct cgroups cgroups;
static struct cgpattern *pattern;
static struct tree *tree;
static uint64_t now;
static struct tree_sweep last;

/* ---- what was found --------------------------------------------------------------------------- */

static struct {
	char path[256];
	struct tree_finding finding;
} found[300];
static unsigned found_count;

static void note(void *userdata, const struct tree_finding *finding)
{
	assert_ptr_equal(userdata, &found);
	assert_true(found_count < ELEMENTSOF(found));
	snprintf(found[found_count].path, sizeof(found[0].path), "%s", finding->path);
	found[found_count++].finding = *finding;
}

/* The findings' paths, sorted, with a blank behind each. */
static const char *sweep_with(bool oom)
{
	static char text[sizeof(found)];
	const char *previous = "";

	found_count = 0;
	last = (struct tree_sweep){ .look_for_oom = oom };
	assert_int_equal(tree_sweep(tree, &last, now, note, &found), 0);
	assert_int_equal(last.found, found_count);
	text[0] = '\0';
	for (unsigned i = 0; i < found_count; i++) {
		const char *next = NULL;

		for (unsigned j = 0; j < found_count; j++)
			if (strcmp(found[j].path, previous) > 0 &&
			    (!next || strcmp(found[j].path, next) < 0))
				next = found[j].path;
		if (!next)
			break;
		strcat(text, next);
		strcat(text, " ");
		previous = next;
	}
	return text;
}

static const char *sweep(void)
{
	return sweep_with(false);
}

/* That long after the one before. */
static void sweeps(uint64_t usec, const char *expected)
{
	now += usec;
	assert_string_equal(sweep(), expected);
}

static void survey(void)
{
	found_count = 0;
	last = (struct tree_sweep){ .survey = true };
	assert_int_equal(tree_sweep(tree, &last, now, note, &found), 0);
	assert_int_equal(found_count, 0);
	assert_false(last.baseline);
}

/* ---- a tree of files -------------------------------------------------------------------------- */

static void set(const char *path, uint64_t some_usec, unsigned avg10)
{
	char directory[300], text[256];

	snprintf(directory, sizeof(directory), "cg/%s", path);
	snprintf(
		text, sizeof(text),
		"some avg10=%u.00 avg60=0.00 avg300=0.00 total=%llu\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		avg10, (unsigned long long)some_usec);
	fake_file(directory, "memory.pressure", text);
}

static void set_each(uint64_t some_usec, const char *const *paths)
{
	for (; *paths; paths++)
		set(*paths, some_usec, 0);
}

#define SET(some_usec, ...) set_each(some_usec, (const char *const[]){ __VA_ARGS__, NULL })

static void removes(const char *path)
{
	char name[300];

	snprintf(name, sizeof(name), "cg/%s/memory.pressure", path);
	assert_int_equal(unlink(fake_path(name)), 0);
	snprintf(name, sizeof(name), "cg/%s", path);
	assert_int_equal(rmdir(fake_path(name)), 0);
}

static void set_oom(const char *path, unsigned oom)
{
	char name[256], text[128];

	snprintf(name, sizeof(name), "cg/%s/memory.events", path);
	snprintf(text, sizeof(text), "low 0\nhigh 0\nmax 0\noom %u\noom_kill 0\n", oom);
	fake_write(name, text);
}

static void grow_tree(const char *text)
{
	tree_free(tree);
	cgpattern_free(pattern);
	assert_int_equal(cgpattern_new(text, NULL, &pattern, NULL), 0);
	assert_int_equal(tree_new(&cgroups, pattern, &early, &tree), 0);
}

static void begin(void **state)
{
	assert_int_equal(fake_set_up(state), 0);
	cgroups = fake_v2("cg");
	now = 1000 * SEC;
}

static int end(void **state)
{
	tree = tree_free(tree);
	pattern = cgpattern_free(pattern);
	return fake_tear_down(state);
}

FIXTURE(begin, end)

/* ---- the promises -------------------------------------------------------------------------------
 */

PROMISE(of_two_hundred_exactly_the_stalling_ones_are_found)
{
	char name[64];

	for (unsigned i = 0; i < 200; i++) {
		snprintf(name, sizeof(name), "t/c%03u", i);
		set(name, i * SEC, 0); /* what they stalled once says nothing */
	}
	grow_tree("t/*");
	assert_string_equal(sweep(), "");
	assert_true(last.baseline); /* sweep again */
	assert_int_equal(last.seen, 200);
	assert_int_equal(tree_known(tree), 200);

	sweeps(SEC, "");
	assert_false(last.baseline);

	set("t/c007", 7 * SEC + 10 * MSEC, 0);	     /* half of early: found */
	set("t/c100", 100 * SEC + 10 * MSEC - 1, 0); /* less: not */
	set("t/c150", 150 * SEC + 1 * SEC, 0);
	sweeps(SEC, "/t/c007 /t/c150 ");
	for (unsigned i = 0; i < found_count; i++) {
		assert_int_equal(found[i].finding.baseline_usec, now - 2 * SEC);
		assert_true(found[i].finding.baseline_some_usec == 7 * SEC ||
			    found[i].finding.baseline_some_usec == 150 * SEC);
	}

	/* who was found is not found again for the same stall */
	set("t/c007", 7 * SEC + 21 * MSEC, 0);
	sweeps(100 * MSEC, "/t/c007 ");
	set("t/c007", 7 * SEC + 22 * MSEC, 0);
	sweeps(100 * MSEC, "");
	assert_int_equal(last.seen, 200);
	/* nor is anybody for what came before a survey */
	set("t/c007", 7 * SEC + 29 * MSEC, 0);
	survey();
	set("t/c007", 7 * SEC + 32 * MSEC, 0);
	sweeps(100 * MSEC, "");
}

/* Each of these sweeps sees little growth, all of them together see enough. */
PROMISE(a_steady_stall_is_found_however_often_one_sweeps)
{
	static const unsigned every_ms[] = { 50, 250, 700, 1000, 1900 };

	for (size_t i = 0; i < ELEMENTSOF(every_ms); i++) {
		uint64_t total = 0, start;
		const char *who = "";

		SET(total, "t/steady", "t/calm");
		grow_tree("t/*");
		survey();
		for (start = now; *who == '\0' && now - start <= 2 * SEC;) {
			now += every_ms[i] * MSEC;
			total += every_ms[i] * MSEC / 100; /* 1 % is what early allows */
			set("t/steady", total, 0);
			set("t/calm", total / 3, 0);
			who = sweep();
		}
		assert_string_equal(who, "/t/steady ");
	}
}

/* Long after the last sweep growth may be old; the kernel's own average tells. */
PROMISE(growth_that_may_be_old_counts_as_far_as_avg10_vouches_for_it)
{
	SET(0, "t/old", "t/new");
	grow_tree("t/*");
	sweep();
	set("t/old", 100 * MSEC, 0);
	set("t/new", 100 * MSEC, 9);
	sweeps(3600 * SEC, "/t/new ");
	assert_true(last.baseline);
	now += 100 * MSEC;
	set("t/old", 120 * MSEC, 0);
	assert_string_equal(sweep(), "/t/old ");
	assert_false(last.baseline);
}

PROMISE(two_stars_name_the_deepest_and_its_parents_only_where_no_child_stalls)
{
	SET(0, "d/a", "d/a/b", "d/a/b/leaf", "d/a/b/other", "d/c", "d/c/e");
	grow_tree("d/**");
	survey();
	now += SEC;
	SET(50 * MSEC, "d/a", "d/a/b", "d/a/b/leaf");
	set("d/c", 50 * MSEC, 0); /* itself, not its child */
	assert_string_equal(sweep(), "/d/a/b/leaf /d/c ");
}

/* The kernel counts on while a sweep reads: a parent is read before its child. */
PROMISE(a_parent_is_not_named_for_what_was_told_of_its_child)
{
	SET(0, "d/a", "d/a/leaf");
	grow_tree("d/**");
	survey();
	now += SEC;
	set("d/a", 9 * MSEC, 0);
	set("d/a/leaf", 10 * MSEC, 0);
	assert_string_equal(sweep(), "/d/a/leaf ");
	now += SEC / 2;
	SET(13 * MSEC, "d/a", "d/a/leaf");
	assert_string_equal(sweep(), "");
	now += 3 * SEC; /* the child is well since then */
	sweep();
	now += SEC;
	set("d/a", 60 * MSEC, 0);
	assert_string_equal(sweep(), "/d/a ");
}

/* It and what is above it. */
static void set_all(const char *leaf, uint64_t some_usec)
{
	char path[240];

	for (const char *end = leaf; (end = strchr(end + 1, '/')) != NULL;) {
		snprintf(path, sizeof(path), "%.*s", (int)(end - leaf), leaf);
		set(path, some_usec, 0);
	}
	set(leaf, some_usec, 0);
}

PROMISE(a_leaf_is_found_however_deep_it_is_and_with_few_descriptors)
{
	struct rlimit all, few = { 16, 16 };
	char path[232] = "deep", leaf[240];

	for (unsigned i = 0; i < 100; i++)
		strcat(path, "/x");
	snprintf(leaf, sizeof(leaf), "%s/leaf", path);
	getrlimit(RLIMIT_NOFILE, &all);
	few.rlim_max = all.rlim_max;
	for (unsigned i = 0; i < 2; i++) {
		grow_tree(i == 0 ? "deep/**" : "deep/x/**/leaf");
		set_all(leaf, 0);
		survey();
		now += SEC;
		set_all(leaf, 50 * MSEC);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		sweep();
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &all), 0);
		assert_int_equal(found_count, 1);
		assert_string_equal(found[0].path + 1, leaf);
	}
}

/* Without a survey the leaf is not known when its parents stall: they are not blamed for it, the
 * next sweep tells. */
PROMISE(a_parent_is_not_named_while_a_child_of_it_cannot_be_told)
{
	SET(0, "d/a", "d/a/leaf");
	grow_tree("d/**");
	sweep();
	now += SEC;
	SET(50 * MSEC, "d/a", "d/a/leaf");
	assert_string_equal(sweep(), "");
	assert_true(last.baseline);
	now += 50 * MSEC;
	SET(100 * MSEC, "d/a", "d/a/leaf");
	assert_string_equal(sweep(), "/d/a/leaf ");
}

PROMISE(what_did_not_grow_is_not_entered_and_what_a_pattern_excludes_is_not_read)
{
	SET(0, "p/x", "p/x/y", "p/other", "p/x/y/z");
	grow_tree("p/x*/*");
	sweep();
	assert_int_equal(last.seen, 1); /* x itself did not grow since it was born */
	SET(50 * MSEC, "p/x", "p/x/y", "p/other");
	now += SEC;
	sweep();
	now += SEC;
	SET(100 * MSEC, "p/x", "p/x/y", "p/x/y/z");
	assert_string_equal(sweep(), "/p/x/y ");
	assert_int_equal(last.seen, 2);
	now += SEC;
	sweep();
	assert_int_equal(last.seen, 1);
}

PROMISE(the_born_are_found_and_the_removed_are_no_error)
{
	set("t/a", 0, 0);
	grow_tree("t/*");
	sweep();
	now += SEC;
	sweep();
	SET(500 * MSEC, "t/born", "t/grew-before");
	sweeps(100 * MSEC, ""); /* since when, is not known; so once more: */
	assert_true(last.baseline);
	now += 100 * MSEC;
	set("t/born", 550 * MSEC, 0);
	set("t/grew-before", 501 * MSEC, 0);
	assert_string_equal(sweep(), "/t/born ");
	/* who was not there at a survey was born since then, and so was its stall */
	survey();
	set("t/later", 30 * MSEC, 0);
	sweeps(500 * MSEC, "/t/later ");
	assert_int_equal(found[0].finding.baseline_usec, now - 500 * MSEC);
	assert_int_equal(found[0].finding.baseline_some_usec, 0);
	removes("t/later");
	removes("t/born");
	removes("t/grew-before");
	sweeps(SEC, "");
	assert_int_equal(last.seen, 1);

	removes("t/a");
	assert_int_equal(rmdir(fake_path("cg/t")), 0);
	assert_int_equal(tree_sweep(tree, &last, now, note, &found), -ENOENT);
}

/* With cgroup.pressure 0 a cgroup has no memory.pressure, but those below it have theirs. */
PROMISE(one_without_a_pressure_file_hides_nobody_below_it)
{
	fake_write("cg/h/mute/", "");
	set("h/mute/child", 0, 0);
	grow_tree("h/**");
	sweep();
	now += SEC;
	sweep();
	now += SEC;
	set("h/mute/child", 50 * MSEC, 0);
	assert_string_equal(sweep(), "/h/mute/child ");
}

/* The sweep for the stall may come after the kill and before the one that looks for it: what is made
 * for the stall has to see that the count grew. */
PROMISE(a_kill_in_a_stall_is_counted_from_what_was_known)
{
	set("k/stalls", 0, 0);
	set_oom("k/stalls", 3);
	grow_tree("k/*");
	survey();
	now += SEC;
	set("k/stalls", 500 * MSEC, 9);
	set_oom("k/stalls", 4);
	assert_string_equal(sweep(), "/k/stalls ");
	assert_int_equal(found[0].finding.oom_known, 3);
	tree_know_oom(tree, found[0].finding.inode, 4);
	now += SEC;
	set("k/stalls", 900 * MSEC, 9);
	assert_string_equal(sweep(), "/k/stalls ");
	assert_int_equal(found[0].finding.oom_known, 4);

	/* of one that was not known none is news, in this sweep and in the next that looks for them */
	grow_tree("k/*");
	assert_string_equal(sweep(), "/k/stalls ");
	assert_int_equal(found[0].finding.oom_known, TREE_OOM_UNKNOWN);
	now += SEC;
	set("k/stalls", 901 * MSEC, 0);
	sweep_with(true);
	assert_int_equal(found_count == 0 || found[0].finding.oom_known == 4, true);
}

PROMISE(an_oom_is_found_though_next_to_nothing_stalled)
{
	SET(0, "t/killed", "t/quiet");
	set_oom("t/killed", 3);
	set_oom("t/quiet", 5);
	grow_tree("t/*");
	set("t/killed/below", 0, 0);
	set_oom("t/killed/below", 7);
	survey();
	now += SEC;
	SET(2 * MSEC, "t/killed", "t/quiet");
	set_oom("t/killed", 4);
	assert_string_equal(sweep(), ""); /* only where it is asked for */
	SET(3 * MSEC, "t/killed", "t/quiet");
	assert_string_equal(sweep_with(true), "/t/killed ");
	assert_int_equal(found[0].finding.oom_known, 3);
	set("t/killed", 4 * MSEC, 0);
	assert_string_equal(sweep_with(true), "");

	/* the stall came before, and the sweep that took it in was too early for the kill */
	now += 60 * SEC;
	sweep();
	set("t/killed", 5 * MSEC, 0);
	sweep();
	set_oom("t/killed", 5);
	now += 100 * MSEC;
	assert_string_equal(sweep_with(true), "/t/killed ");
	/* one that is born and killed between two sweeps */
	set("t/born", 1 * MSEC, 0);
	set_oom("t/born", 1);
	assert_string_equal(sweep_with(true), "/t/born ");
	/* without a survey, kills of long ago are no news, unless it stalls now */
	grow_tree("t/*");
	sweep();
	set("t/killed", 6 * MSEC, 9);
	set_oom("t/new", 1);
	set("t/new", 1 * MSEC, 0);
	set_oom("t/stalls", 1);
	set("t/stalls", 1 * MSEC, 9);
	assert_string_equal(sweep_with(true), "/t/stalls ");
	/* where nothing stalled at all: memory.events counts what is below */
	grow_tree("t/**");
	survey();
	set_oom("t/killed", 6);
	set_oom("t/killed/below", 8);
	assert_string_equal(sweep_with(true), "/t/killed/below ");
}

PROMISE(the_table_forgets_those_that_are_long_gone)
{
	char name[64];

	set("t/stays", 0, 0);
	grow_tree("t/*");
	for (unsigned i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "t/job%u", i);
		set(name, 0, 0);
		sweep();
		now += SEC;
		/* the same as a new one: a file system may give the inode out again, a kernfs does
		 * not */
		snprintf(name, sizeof(name), "cg/t/job%u", i);
		assert_int_equal(rename(fake_path(name), fake_path("keep")), 0);
		snprintf(name, sizeof(name), "kept%u", i);
		assert_int_equal(rename(fake_path("keep"), fake_path(name)), 0);
	}
	/* 64 sweeps are remembered, and the table grows by halves */
	assert_in_range(tree_known(tree), 1, 400);
	set("t/stays", 50 * MSEC, 0);
	assert_string_equal(sweep(), "/t/stays ");
}
