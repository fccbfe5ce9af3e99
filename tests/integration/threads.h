/* SPDX-License-Identifier: MIT */
/*
 * threads.h - the threads of a process, and what each used so far
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../pressure.h"

/* The thread of `pid` (0: this process) that has this name; 0: none. */
static inline pid_t thread_named(pid_t pid, const char *name)
{
	char path[64], line[32];
	struct dirent *entry;
	pid_t found = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)(pid > 0 ? pid : getpid()));
	tasks = opendir(path);
	while (tasks && found == 0 && (entry = readdir(tasks))) {
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/%.16s/comm", entry->d_name);
		comm = fopen(path, "re");
		if (comm && fgets(line, sizeof(line), comm) &&
		    strncmp(line, name, strlen(name)) == 0)
			found = (pid_t)strtol(entry->d_name, NULL, 10);
		if (comm)
			fclose(comm);
	}
	if (tasks)
		closedir(tasks);
	return found;
}

/* Voluntary context switches. */
static inline uint64_t thread_switches(pid_t tid)
{
	return lab_proc_number(tid, "status", "voluntary_ctxt_switches:");
}

static inline uint64_t thread_cpu_usec(pid_t tid)
{
	return lab_proc_number(tid, "schedstat", "") / 1000;
}
