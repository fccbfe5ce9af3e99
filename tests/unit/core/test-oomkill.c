/* SPDX-License-Identifier: MIT */
/*
 * test-oomkill.c - the kernel's words for a process that it killed (core/oomkill.h)
 *
 * The lines are of real kernels: 6.18 with the memory controller on v1, and 6.12.
 */
#include "../unit.h"
#include "core/oomkill.h"

#include <string.h>

#define VICTIM                                                                        \
	"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=" \
	"0,oom_memcg=/psb-kmsg-test,task_memcg=/psb-kmsg-test/a,task=python3,pid=14746,uid=0"

static bool line(struct oom_kill *kill, const char *text)
{
	return oom_kill_line(kill, text, strlen(text));
}

PROMISE(a_report_gives_the_task_its_cgroup_the_limit_and_its_numbers)
{
	struct oom_kill k = { 0 };

	assert_false(line(
		&k,
		"python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0"));
	assert_false(line(&k, "memory: usage 16384kB, limit 16400kB, failcnt 647"));
	assert_false(line(&k, "swap: usage 0kB, limit 9007199254740988kB, failcnt 0"));
	assert_false(line(
		&k,
		"[  14746]     0 14746    20526     5534     4032     1502         0    94208        0             0 python3"));
	assert_true(line(&k, VICTIM));
	assert_string_equal(k.cgroup, "/psb-kmsg-test/a");
	assert_string_equal(k.limit, "/psb-kmsg-test");
	assert_string_equal(k.task, "python3");
	assert_int_equal(k.pid, 14746);
	assert_int_equal(k.usage_bytes, 16384 * 1024);
	assert_int_equal(k.limit_bytes, 16400 * 1024);
	assert_false(line(
		&k,
		"Memory cgroup out of memory: Killed process 14746 (python3) total-vm:82104kB"));
}

PROMISE(without_a_limit_it_is_the_machine)
{
	struct oom_kill k = { .usage_bytes = 1, .limit_bytes = 1 };

	assert_true(line(
		&k,
		"oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/x.service,task=x,pid=7,uid=33"));
	assert_string_equal(k.limit, "");
	assert_string_equal(k.cgroup, "/system.slice/x.service");
	assert_int_equal(k.usage_bytes, 0);
	assert_int_equal(k.limit_bytes, 0);
}

PROMISE(names_may_hold_anything)
{
	struct oom_kill k = { 0 };

	assert_true(line(
		&k,
		"oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/a,b=c,task_memcg=/a,b=c/d\\x2de,task=x,pid=1,uid=0,pid=23,uid=0"));
	assert_string_equal(k.limit, "/a,b=c");
	assert_string_equal(k.cgroup, "/a,b=c/d\\x2de");
	assert_string_equal(k.task, "x,pid=1,uid=0");
	assert_int_equal(k.pid, 23);
}

PROMISE(half_a_line_changes_nothing)
{
	const struct oom_kill before = { .cgroup = "/x", .task = "y", .pid = 5 };

	for (size_t n = 0; n < strlen(VICTIM) - 1; n++) { /* "uid=" is enough */
		struct oom_kill k = before;

		if (oom_kill_line(&k, VICTIM, n))
			assert_true(n >= strlen(VICTIM) - strlen("0"));
		else
			assert_memory_equal(&k, &before, sizeof(k));
	}
}
