/* SPDX-License-Identifier: MIT */
/*
 * test-facts.c - what psibridge relies on in the kernel, asked of this very kernel, without a line
 * of our own code
 *
 * Where a kernel is better than the code expects (no false first alarm), the case is skipped and
 * says so: then a detour of ours has become needless. Where it is worse, it fails.
 *
 * Triggers without CAP_SYS_RESOURCE are made by dropping it from the effective set of this thread
 * while the file is opened: the kernel looks at the credentials of the open.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lab.h"

FIXTURE(need_lab, clear_lab)

#define BOTH (POLLERR | POLLPRI)

/* Of this thread. Returns what was there. */
static uint32_t set_effective(uint32_t high_or_low, bool keep)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	uint32_t before;

	assert_int_equal(syscall(SYS_capget, &header, data), 0);
	before = data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective;
	if (keep)
		data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective = high_or_low;
	else
		data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	return before;
}

/* The armed descriptor, or -errno of the write. `size` 0: with the NUL. */
static int arm(const char *path, const char *trigger, size_t size, bool capable)
{
	uint32_t before = capable ? 0 : set_effective(0, false);
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK), r;

	if (!capable)
		set_effective(before, true);
	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	r = write(fd, trigger, size ? size : strlen(trigger) + 1) < 0 ? -errno : 0;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static int arm_group(const char *group, const char *trigger, bool capable)
{
	return arm(lab_file(&lab, group, "memory.pressure"), trigger, 0, capable);
}

static unsigned poll_for(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	assert_true(poll(&p, 1, ms) >= 0);
	return (unsigned)p.revents;
}

PROMISE(without_cap_sys_resource_a_window_is_a_multiple_of_2_s)
{
	static const struct {
		const char *trigger;
		int r;
	} table[] = {
		{ "some 200000 2000000", 0 },	   { "full 200000 2000000", 0 },
		{ "some 1 2000000", 0 },	   { "some 2000000 4000000", 0 },
		{ "some 100000 10000000", 0 },	   { "some 200000 1000000", -EINVAL },
		{ "some 200000 500000", -EINVAL }, { "some 200000 3000000", -EINVAL },
	};

	lab_make(&lab, "rule", 0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		int fd = arm_group("rule", table[i].trigger, false);

		if (fd < 0 ? fd != table[i].r : table[i].r != 0)
			fail_msg("%s: %d", table[i].trigger, fd);
		if (fd >= 0)
			close(fd);
	}
}

PROMISE(with_cap_sys_resource_any_window_will_do)
{
	int fd;

	if (!lab.privileged)
		SKIP("no CAP_SYS_RESOURCE");
	lab_make(&lab, "any", 0);
	fd = arm_group("any", "some 5000 500000", true);
	assert_true(fd >= 0);
	close(fd);
}

PROMISE(nonsense_is_refused_to_everybody)
{
	static const char *const table[] = {
		"some 0 2000000",
		"some 2000001 2000000",
		"some 100000 10000001",
		"SOME 200000 2000000",
		"half 200000 2000000",
		"some 200000",
		"some",
		"",
	};

	lab_make(&lab, "nonsense", 0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (arm_group("nonsense", table[i], lab.privileged) != -EINVAL)
			fail_msg("\"%s\" was not refused", table[i]);
}

PROMISE(one_descriptor_carries_one_trigger)
{
	static const char trigger[] = "some 200000 2000000";
	int fd;

	lab_make(&lab, "busy", 0);
	fd = arm_group("busy", trigger, false);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, trigger, sizeof(trigger)), -1);
	assert_int_equal(errno, EBUSY);
	close(fd);
}

/* So POLLERR never is pressure. */
PROMISE(without_a_trigger_a_poll_is_in_error_for_ever_and_with_one_it_waits)
{
	int fd;

	lab_make(&lab, "bare", 0);
	fd = open(lab_file(&lab, "bare", "memory.pressure"), O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(poll_for(fd, 0), BOTH);
	assert_int_equal(poll_for(fd, 0), BOTH);
	close(fd);
	fd = arm_group("bare", "some 200000 2000000", false);
	assert_int_equal(poll_for(fd, 0), 0);
	close(fd);
}

PROMISE(proc_pressure_overwrites_the_last_byte_it_is_given_and_a_cgroup_does_not)
{
	static const char trigger[] = "some 200000 2000000";
	int fd;

	lab_make(&lab, "byte", 0);
	fd = arm("/proc/pressure/memory", trigger, sizeof(trigger), false);
	assert_true(fd >= 0);
	close(fd);
	/* without the NUL it reads "some 200000 200000", and that window is no multiple of 2 s */
	fd = arm("/proc/pressure/memory", trigger, sizeof(trigger) - 1, false);
	assert_int_equal(fd, -EINVAL);
	fd = arm(lab_file(&lab, "byte", "memory.pressure"), trigger, sizeof(trigger) - 1, false);
	assert_true(fd >= 0);
	close(fd);
}

/* As long as nobody else keeps a CPU busy: `some` is an average over the CPUs that are not idle. */
PROMISE(what_a_child_stalls_its_parent_does_too)
{
	uint64_t child, parent;
	pid_t pid;

	lab_make(&lab, "child", LAB_LIMIT);
	child = lab_psi(&lab, "child").some_usec;
	parent = lab_psi(&lab, "").some_usec;
	pid = lab_press(&lab, "child");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "child").some_usec > child + 500000));
	lab_kill(pid);
	child = lab_psi(&lab, "child").some_usec - child;
	parent = lab_psi(&lab, "").some_usec - parent;
	print_message("# child %llu ms, parent %llu ms\n", (unsigned long long)child / 1000,
		      (unsigned long long)parent / 1000);
	assert_in_range(parent, child - child / 5, child + child / 5);
}

/* ... which is why the trigger of a tree must be far more sensitive than that of a cgroup. */
PROMISE(busy_neighbours_dilute_the_stall_of_a_child_at_its_parent_but_never_to_nothing)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t child, parent;
	pid_t pid, neighbours;

	if (cpus < 2)
		SKIP("one CPU only");
	lab_make(&lab, "staller", LAB_LIMIT);
	lab_make(&lab, "neighbour", 0);
	neighbours = lab_burn(&lab, "neighbour");
	pid = lab_press(&lab, "staller");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "staller").some_usec > 200000));
	child = lab_psi(&lab, "staller").some_usec;
	parent = lab_psi(&lab, "").some_usec;
	lab_sleep_ms(4000);
	child = lab_psi(&lab, "staller").some_usec - child;
	parent = lab_psi(&lab, "").some_usec - parent;
	lab_kill(pid);
	lab_kill(neighbours);
	print_message("# %ld CPUs: child %llu ms, parent %llu ms\n", cpus,
		      (unsigned long long)child / 1000, (unsigned long long)parent / 1000);
	assert_true(parent > 0);
	assert_true(parent < child - child / 5);
}

/*
 * The average over CPUs is weighted with whole jiffies, rounded down (collect_percpu_times()), so a
 * stall between two reads that are less than one apart weighs nothing, and is gone for everybody.
 * We read every 10 ms at most, and rarely.
 */
PROMISE(who_reads_faster_than_a_jiffy_makes_stalls_disappear)
{
	uint64_t seldom, often, end;
	pid_t pid;

	lab_make(&lab, "often", LAB_LIMIT);
	pid = lab_press(&lab, "often");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "").some_usec > 0 &&
					    lab_psi(&lab, "often").some_usec > 100000));
	seldom = lab_psi(&lab, "often").some_usec;
	lab_sleep_ms(2000);
	seldom = lab_psi(&lab, "often").some_usec - seldom;
	often = lab_psi(&lab, "often").some_usec;
	for (end = lab_now_usec() + 2000000; lab_now_usec() < end; usleep(200))
		(void)lab_psi(&lab, "often");
	often = lab_psi(&lab, "often").some_usec - often;
	lab_kill(pid);
	lab_remove(&lab, "often");
	print_message("# in 2 s %llu ms of stall, under a fast reader %llu ms\n",
		      (unsigned long long)seldom / 1000, (unsigned long long)often / 1000);
	assert_true(seldom > 50000);
	if (often > seldom / 4)
		SKIP("a fast reader does no harm here (a slow machine, short jiffies, or a better kernel)");
}

/* After a short stall, on a trigger whose threshold is 1 s. Returns: did it ring? */
static unsigned ring_at_first(uint64_t *ret_growth_usec)
{
	uint64_t before;
	unsigned rang;
	pid_t pid;
	int fd;

	lab_make(&lab, "first", LAB_LIMIT);
	pid = lab_press(&lab, "first");
	assert_true(LAB_WAIT(20000, lab_psi(&lab, "first").some_usec > 1200000));
	lab_kill(pid);
	lab_sleep_ms(2500);
	before = lab_psi(&lab, "first").some_usec;
	fd = arm_group("first", "some 1000000 2000000", false);
	assert_true(fd >= 0);
	pid = lab_press(&lab, "first");
	(void)LAB_WAIT(3000, lab_psi(&lab, "").some_usec > 0 &&
				     lab_psi(&lab, "first").some_usec > before + 5000);
	lab_kill(pid);
	rang = poll_for(fd, 5000);
	*ret_growth_usec = lab_psi(&lab, "first").some_usec - before;
	close(fd);
	lab_remove(&lab, "first");
	print_message("# %llu ms of stall: %s a threshold of 1000 ms\n",
		      (unsigned long long)*ret_growth_usec / 1000, rang ? "rang" : "did not ring");
	return rang;
}

/* The window is seeded from the wrong counter, so the first evaluation compares with all that ever
 * stalled. It is not made where the group is idle again by then: three chances. */
PROMISE(the_first_alarm_of_an_unprivileged_trigger_is_false)
{
	uint64_t growth = 0;
	unsigned rang = 0;

	for (int i = 0; i < 3 && !rang; i++)
		rang = ring_at_first(&growth);
	if (growth >= 1000000)
		SKIP("the stall was too long to tell (a slow machine)");
	if (!rang)
		SKIP("this kernel gives no false first alarm");
	assert_int_equal(rang, POLLPRI);
}

static atomic_bool reading;

static void *read_often(void *path)
{
	char text[256];
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	while (reading) {
		if (pread(fd, text, sizeof(text), 0) <= 0)
			break;
		lab_sleep_ms(100);
	}
	close(fd);
	return NULL;
}

/* How many of `bursts` isolated ones are heard. */
static unsigned count_heard(int fd, unsigned bursts)
{
	unsigned heard = 0;

	for (unsigned i = 0; i < bursts; i++) {
		uint64_t before = lab_psi(&lab, "").some_usec;
		pid_t pid = lab_press(&lab, "swallow");

		(void)LAB_WAIT(2000, lab_psi(&lab, "").some_usec > before + 150000);
		lab_kill(pid);
		heard += poll_for(fd, 4500) == POLLPRI;
		lab_sleep_ms(2500);
	}
	return heard;
}

PROMISE(a_reader_of_the_same_file_swallows_unprivileged_alarms)
{
	unsigned undisturbed, disturbed;
	char path[256];
	pthread_t reader;
	int fd;

	lab_make(&lab, "swallow", LAB_LIMIT);
	fd = arm_group("swallow", "some 20000 2000000", false);
	assert_true(fd >= 0);
	undisturbed = count_heard(fd, 4);
	snprintf(path, sizeof(path), "%s", lab_file(&lab, "swallow", "memory.pressure"));
	reading = true;
	assert_int_equal(pthread_create(&reader, NULL, read_often, path), 0);
	disturbed = count_heard(fd, 4);
	reading = false;
	pthread_join(reader, NULL);
	close(fd);
	lab_remove(&lab, "swallow");
	print_message("# of 4 bursts %u were heard, with a reader at 10 Hz %u\n", undisturbed,
		      disturbed);
	assert_true(undisturbed >= 3);
	if (disturbed >= undisturbed)
		SKIP("on this kernel a reader swallows no alarms");
}

PROMISE(removal_is_enodev_to_readers_and_an_error_to_pollers)
{
	static const char trigger[] = "some 200000 2000000";
	char text[256];
	int fd, armed, reader;

	lab_make(&lab, "dead", 0);
	reader = open(lab_file(&lab, "dead", "memory.pressure"), O_RDONLY | O_CLOEXEC);
	fd = open(lab_file(&lab, "dead", "memory.pressure"), O_RDWR | O_CLOEXEC);
	armed = arm_group("dead", trigger, false);
	assert_true(reader >= 0 && fd >= 0 && armed >= 0);
	assert_true(pread(reader, text, sizeof(text), 0) > 0);
	assert_int_equal(poll_for(armed, 0), 0);
	lab_remove(&lab, "dead");
	assert_int_equal(poll_for(armed, 1000), BOTH);
	assert_int_equal(poll_for(armed, 0), BOTH); /* and so it stays */
	assert_int_equal(pread(reader, text, sizeof(text), 0), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(write(fd, trigger, sizeof(trigger)), -1);
	assert_int_equal(errno, ENODEV);
	close(reader);
	close(fd);
	close(armed);
}

PROMISE(memory_events_rings_with_pollerr_and_is_ready_until_it_is_read)
{
	char text[512];
	pid_t pid;
	int fd;

	if (lab.v1)
		SKIP("no memory.events: needs unified cgroups");
	lab_make(&lab, "ring", LAB_LIMIT);
	fd = open(lab_file(&lab, "ring", "memory.events"), O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(pread(fd, text, sizeof(text), 0) > 0);
	assert_int_equal(poll_for(fd, 0), 0);
	pid = lab_press(&lab, "ring");
	assert_int_equal(poll_for(fd, 20000), BOTH); /* here that is no sign of death */
	lab_kill(pid);
	lab_sleep_ms(100);
	assert_int_equal(poll_for(fd, 0), BOTH);
	assert_true(pread(fd, text, sizeof(text), 0) > 0);
	assert_int_equal(poll_for(fd, 0), 0);
	close(fd);
}

PROMISE(a_privileged_alarm_comes_a_tenth_of_the_window_after_its_threshold)
{
	uint64_t before, start;
	unsigned rang;
	pid_t pid;
	int fd;

	if (!lab.privileged)
		SKIP("no CAP_SYS_RESOURCE");
	lab_make(&lab, "quick", LAB_LIMIT);
	fd = arm_group("quick", "some 5000 500000", true);
	assert_true(fd >= 0);
	before = lab_psi(&lab, "").some_usec;
	pid = lab_press(&lab, "quick");
	while (lab_psi(&lab, "").some_usec == before)
		lab_sleep_ms(10);
	start = lab_now_usec();
	rang = poll_for(fd, 5000);
	start = lab_now_usec() - start;
	lab_kill(pid);
	print_message("# %llu ms after the first stall\n", (unsigned long long)start / 1000);
	assert_int_equal(rang, POLLPRI);
	assert_true(start < 250000);
	close(fd);
}
