/* SPDX-License-Identifier: MIT */
/*
 * test-facts.c - what psibridge relies on in the kernel, asked of this very kernel, without a line
 * of our own code
 *
 * What our own code would show at once is asked there: removal (test-lost.c), a stall that is diluted at the parent (test-pattern.c),
 * how soon a privileged alarm comes, what stalled before, and alarms that a reader of the same file swallows (test-pressure.c).
 *
 * Triggers without CAP_SYS_RESOURCE are made by dropping it from the effective set of this thread
 * while the file is opened: the kernel looks at the credentials of the open.
 */
#include <linux/capability.h>
#include <poll.h>
#include <sys/syscall.h>

#include "fixture.h"

#define BOTH (POLLERR | POLLPRI)
#define TRIGGER "some 200000 2000000"

/* For this thread, or as before. */
static void drop_sys_resource(bool drop)
{
	static struct __user_cap_data_struct before[2];
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (drop)
		assert_int_equal(syscall(SYS_capget, &header, before), 0);
	memcpy(data, before, sizeof(data));
	if (drop)
		data[CAP_TO_INDEX(CAP_SYS_RESOURCE)].effective &= ~CAP_TO_MASK(CAP_SYS_RESOURCE);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
}

/* The armed descriptor, or -errno of the write. */
static int arm_file(const char *path, const char *trigger, size_t size, bool capable)
{
	int fd, r;

	if (!capable)
		drop_sys_resource(true);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (!capable)
		drop_sys_resource(false);
	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	r = write(fd, trigger, size) < 0 ? -errno : 0;
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static int arm(const char *group, const char *trigger, bool capable)
{
	return arm_file(lab_file(&lab, group, "memory.pressure"), trigger, strlen(trigger) + 1,
			capable);
}

static unsigned poll_for(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLPRI };

	assert_true(poll(&p, 1, ms) >= 0);
	return (unsigned)p.revents;
}

PROMISE(what_a_trigger_may_say)
{
	static const struct {
		const char *trigger;
		int r, r_capable;
	} table[] = {
		/* without CAP_SYS_RESOURCE a window is a multiple of 2 s */
		{ "some 200000 2000000", 0, 0 },
		{ "full 200000 2000000", 0, 0 },
		{ "some 1 2000000", 0, 0 },
		{ "some 2000000 4000000", 0, 0 },
		{ "some 100000 10000000", 0, 0 },
		{ "some 200000 1000000", -EINVAL, 0 },
		{ "some 5000 500000", -EINVAL, 0 },
		{ "some 200000 3000000", -EINVAL, 0 },
		/* nonsense */
		{ "some 0 2000000", -EINVAL, -EINVAL },
		{ "some 2000001 2000000", -EINVAL, -EINVAL },
		{ "some 100000 10000001", -EINVAL, -EINVAL },
		{ "SOME 200000 2000000", -EINVAL, -EINVAL },
		{ "half 200000 2000000", -EINVAL, -EINVAL },
		{ "some 200000", -EINVAL, -EINVAL },
		{ "some", -EINVAL, -EINVAL },
		{ "", -EINVAL, -EINVAL },
	};

	lab_make(&lab, "rule", 0);
	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		for (int capable = 0; capable <= lab.privileged; capable++) {
			int fd = arm("rule", table[i].trigger, capable);

			if (MIN(fd, 0) != (capable ? table[i].r_capable : table[i].r))
				fail_msg("\"%s\", %d: %d", table[i].trigger, capable, fd);
			if (fd < 0)
				continue;
			/* one descriptor carries one trigger */
			assert_int_equal(write(fd, TRIGGER, sizeof(TRIGGER)), -1);
			assert_int_equal(errno, EBUSY);
			close(fd);
		}
}

PROMISE(proc_pressure_overwrites_the_last_byte_it_is_given_and_a_cgroup_does_not)
{
	int fd;

	lab_make(&lab, "byte", 0);
	fd = arm_file("/proc/pressure/memory", TRIGGER, sizeof(TRIGGER), false);
	assert_true(fd >= 0);
	close(fd);
	/* without the NUL it reads "some 200000 200000", and that window is no multiple of 2 s */
	fd = arm_file("/proc/pressure/memory", TRIGGER, sizeof(TRIGGER) - 1, false);
	assert_int_equal(fd, -EINVAL);
	fd = arm_file(lab_file(&lab, "byte", "memory.pressure"), TRIGGER, sizeof(TRIGGER) - 1,
		      false);
	assert_true(fd >= 0);
	close(fd);
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
	lab_sleep_ms(100); /* and stays so */
	assert_int_equal(poll_for(fd, 0), BOTH);
	assert_true(pread(fd, text, sizeof(text), 0) > 0);
	assert_int_equal(poll_for(fd, 0), 0);
	close(fd);
}
