/* SPDX-License-Identifier: MIT */
/*
 * test-memoryhigh.c - which memory.high is written, and that it is taken back (src/daemon/memoryhigh.h)
 *
 * Cgroups are plain files. Each memoryhigh_apply() is a look, so no clock is waited for; the timer, a real cgroup and systemd
 * are in tests/vm/guest-memoryhigh.sh.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "../unit.h"
#include "../fake-root.h"
#include "daemon/memoryhigh.h"

#define A "cg/s/a/memory."
#define SET "603979776\n" /* 90 % of: */
#define MAX_640M "671088640\n"

static struct cgroups cgroups;
static struct states *states;
static int states_fd; /* what the manager has */
static sd_event *event;
static struct memoryhigh *high;
static struct config config;

static bool judges(_unused_ void *userdata, const char *cgroup, const char *path)
{
	return strcmp(path, "/s/**") == 0 && strcmp(cgroup, "/s/other") != 0;
}

static void start(void)
{
	const struct memoryhigh_options options = {
		.event = event,
		.cgroups = &cgroups,
		.states = states_highs(states),
		.judges = judges,
	};

	assert_int_equal(memoryhigh_new(&options, &high), 0);
}

static int set_up(void **state)
{
	if (fake_set_up(state) < 0 || sd_event_new(&event) < 0 ||
	    states_new(&states, &states_fd) < 0)
		return -1;
	cgroups = fake_v2("cg");
	start();
	return 0;
}

static int tear_down(void **state)
{
	high = memoryhigh_free(high);
	states = states_free(states);
	close(states_fd);
	event = sd_event_unref(event);
	return fake_tear_down(state);
}

EACH(set_up, tear_down)

/* The next look, with MemoryHighAt=PERCENT. */
static struct memoryhigh_view look(unsigned percent)
{
	struct memoryhigh_view view;

	config.watch_count = 1;
	config.watches[0] = (struct config_watch){ .path = "/s/**", .memory_high_at = percent };
	memoryhigh_apply(high, &config);
	memoryhigh_view(high, "/s/**", &view);
	assert_int_equal(view.percent, percent);
	return view;
}

static void assert_reads(const char *path, const char *text)
{
	char found[64] = "";
	FILE *f = fopen(fake_path(path), "re");

	assert_non_null(f);
	found[fread(found, 1, sizeof(found) - 1, f)] = '\0';
	fclose(f);
	assert_string_equal(found, text);
}

static void one_that_was_set(void)
{
	fake_write(A "max", MAX_640M);
	fake_write(A "high", "max\n");
	for (int i = 0; i < 2; i++)
		assert_int_equal(look(90).set, 1);
	assert_reads(A "high", SET);
}

PROMISE(who_has_a_maximum_and_nothing_else_gets_a_share_of_it)
{
	static const struct {
		const char *directory, *max, *high, *result;
		unsigned percent;
	} table[] = {
		{ "cg/s/a", MAX_640M, "max\n", SET, 90 },
		{ "cg/s/a/b/c", "100000000\n", "max\n", "89997312\n", 90 }, /* whole pages */
		{ "cg/s/a", "9223372036854771712\n", "max\n", "9131138316486221824\n", 99 },
		{ "cg/s/own", MAX_640M, "4096\n", "4096\n", 90 },
		{ "cg/s/unlimited", "max\n", "max\n", "max\n", 90 },
		{ "cg/s/tiny", "4096\n", "max\n", "max\n", 90 }, /* 0 would stop it */
		{ "cg/s/other", MAX_640M, "max\n", "max\n", 90 },
		{ "cg/beside", MAX_640M, "max\n", "max\n", 90 },
		{ "cg/s/a", MAX_640M, "max\n", "max\n", 0 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char path[64];

		fake_file(table[i].directory, "memory.max", table[i].max);
		fake_file(table[i].directory, "memory.high", table[i].high);
		look(table[i].percent);
		snprintf(path, sizeof(path), "%s/memory.high", table[i].directory);
		assert_reads(path, table[i].result);
		look(0);
		assert_reads(path, table[i].high);
		assert_int_equal(nftw(fake_path("cg/s"), fake_remove, 16, FTW_DEPTH | FTW_PHYS) < 0,
				 i == 7);
	}
	fake_write("cg/s/no-controller/", "");
	assert_int_equal(look(90).set, 0);
	cgroups.has_v1 = true;
	assert_string_equal(look(90).why, "/: the memory controller is on cgroup v1, which has no "
					  "memory.high");
}

PROMISE(a_maximum_that_changes_is_followed_and_what_its_owner_writes_stays)
{
	one_that_was_set();
	fake_write(A "max", "1048576\n");
	look(90);
	assert_reads(A "high", "942080\n");
	look(50);
	assert_reads(A "high", "524288\n");
	fake_write(A "high", "max\n"); /* as systemd does */
	look(50);
	assert_reads(A "high", "524288\n");
	fake_write(A "high", "12288\n");
	assert_int_equal(look(50).set, 0);
	look(0);
	assert_reads(A "high", "12288\n");
	fake_write(A "high", "524288\n"); /* by chance what it was: it is not ours any more */
	look(0);
	assert_reads(A "high", "524288\n");
	fake_write(A "high", "max\n");
	fake_write(A "max", MAX_640M);
	look(90);
	fake_write(A "max", "max\n");
	look(90);
	assert_reads(A "high", "max\n");
}

PROMISE(the_end_takes_back_all_of_it_but_not_from_the_next_cgroup_of_that_path)
{
	one_that_was_set();
	fake_write("cg/s/gone/memory.max", MAX_640M);
	fake_write("cg/s/gone/memory.high", "max\n");
	fake_write("cg/s/next/memory.max", MAX_640M);
	fake_write("cg/s/next/memory.high", "max\n");
	assert_int_equal(look(90).set, 3);
	assert_int_equal(rename(fake_path("cg/s/gone"), fake_path("cg/gone")), 0);
	assert_int_equal(rename(fake_path("cg/s/next"), fake_path("cg/next")), 0);
	fake_write("cg/s/next/memory.high", SET);
	high = memoryhigh_free(high);
	assert_reads(A "high", "max\n");
	assert_reads("cg/s/next/memory.high", SET);
}

/* One of them it keeps, one it takes back. */
PROMISE(the_next_process_takes_over_what_a_killed_one_set)
{
	int status;
	pid_t pid;

	high = memoryhigh_free(high);
	pid = fork();
	if (pid == 0) {
		sd_event_new(&event); /* one of the parent's is refused */
		start();
		one_that_was_set();
		fake_write("cg/s/b/memory.max", MAX_640M);
		fake_write("cg/s/b/memory.high", "max\n");
		look(90);
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	states_free(states);
	assert_int_equal(states_adopt(dup(states_fd), &states), 0);
	start();
	assert_reads(A "high", SET);
	fake_write("cg/s/b/memory.max", "max\n");
	assert_int_equal(look(90).set, 1);
	assert_reads(A "high", SET);
	assert_reads("cg/s/b/memory.high", "max\n");
	look(0);
	assert_reads(A "high", "max\n");
}

PROMISE(one_that_cannot_be_written_is_told)
{
	int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct memoryhigh_view view;
	char link[64];

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	assert_int_equal(write(fd, "max\n", 4), 4);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK), 0);
	fake_write(A "max", MAX_640M);
	assert_int_equal(symlink(link, fake_path(A "high")), 0);
	view = look(90);
	assert_int_equal(view.set, 0);
	assert_int_equal(view.failed, 1);
	assert_string_equal(view.why, "/s/a: Operation not permitted");
	assert_string_equal(look(0).why, "");
	close(fd);
}

/* There a thread writes, for the kernel may make it reclaim. */
PROMISE(who_uses_more_already_gets_it_too)
{
	struct stat st = { .st_size = 0 };

	fake_write(A "current", MAX_640M);
	fake_write(A "max", MAX_640M);
	fake_write(A "high", "max\n");
	look(90);
	while (st.st_size < (off_t)strlen(SET))
		assert_int_equal(stat(fake_path(A "high"), &st), 0);
	assert_int_equal(look(90).set, 1);
	assert_reads(A "high", SET);
	high = memoryhigh_free(high);
	assert_reads(A "high", "max\n");
}
