/* SPDX-License-Identifier: MIT */
/*
 * oomkill.h - what the kernel's log says of a process that the OOM killer killed
 *
 *     memory: usage 16384kB, limit 16384kB, failcnt 597
 *     ...
 *     oom-kill:constraint=CONSTRAINT_MEMCG,...,oom_memcg=/a,task_memcg=/a/b,task=python3,pid=77,uid=0
 *
 * Source: mem_cgroup_print_oom_meminfo() and mem_cgroup_print_oom_context() in mm/memcontrol.c,
 * dump_oom_summary() in mm/oom_kill.c, since Linux 5.0. Where the whole machine was short there is
 * "global_oom" instead of oom_memcg=, and no first line.
 */
#pragma once

#include "core/cgpath.h"

#define OOM_TASK_MAX 16 /* TASK_COMM_LEN, with the NUL */

struct oom_kill {
	char cgroup[CGPATH_MAX]; /* the task's */
	char limit[CGPATH_MAX];	 /* whose limit it was; "": the machine's memory */
	char task[OOM_TASK_MAX];
	uint64_t pid;
	uint64_t usage_bytes, limit_bytes; /* of that limit; 0: not known */
};

/*
 * One line after the other. True: this one says that a process was killed, and `kill` is complete.
 * A line of another kind, or a malformed one, changes no more than the numbers.
 */
bool oom_kill_line(struct oom_kill *kill, const char *text, size_t size);
