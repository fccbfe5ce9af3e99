/* SPDX-License-Identifier: MIT */
/*
 * threads.h - the threads of a process, what /proc says of each, and descriptors
 */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <unistd.h>

/* The number behind the first `word` that begins a line; 0: there is none. */
static inline uint64_t proc_number(const char *path, const char *word, int base)
{
	FILE *file = fopen(path, "re");
	uint64_t number = 0;
	char line[256];

	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, word, strlen(word)) == 0) {
			number = strtoull(line + strlen(word), NULL, base);
			break;
		}
	if (file)
		fclose(file);
	return number;
}

static inline uint64_t thread_number(pid_t tid, const char *file, const char *word, int base)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%.20s", (int)tid, file);
	return proc_number(path, word, base);
}

/* The thread of `pid` (0: this process) whose name begins so, the first behind `after` (0: of all); 0: there is none. */
static inline pid_t thread_named(pid_t pid, const char *name, pid_t after)
{
	char path[64], line[32];
	struct dirent *entry;
	pid_t found = 0;
	DIR *tasks;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)(pid > 0 ? pid : getpid()));
	tasks = opendir(path);
	while (tasks && (entry = readdir(tasks))) {
		pid_t tid = (pid_t)strtol(entry->d_name, NULL, 10);
		FILE *comm;

		snprintf(path, sizeof(path), "/proc/%d/comm", (int)tid);
		comm = tid > after && (found == 0 || tid < found) ? fopen(path, "re") : NULL;
		if (comm && fgets(line, sizeof(line), comm) &&
		    strncmp(line, name, strlen(name)) == 0)
			found = tid;
		if (comm)
			fclose(comm);
	}
	if (tasks)
		closedir(tasks);
	return found;
}

/* That this process has open, and one for the question. */
static inline unsigned descriptors_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

#define DESCRIPTORS_ALL UINT_MAX /* as many as at first */

/* From now on this process can open so many more. */
static inline void descriptors_allow(unsigned more)
{
	static rlim_t all;
	struct rlimit limit;
	int next;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		abort();
	if (all == 0)
		all = limit.rlim_cur;
	limit.rlim_cur = all;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (more == DESCRIPTORS_ALL)
		return;
	next = open("/", O_PATH | O_CLOEXEC);
	close(next);
	limit.rlim_cur = (rlim_t)next + more;
	if (next < 0 || setrlimit(RLIMIT_NOFILE, &limit) < 0)
		abort();
}

/* Voluntary context switches. */
static inline uint64_t thread_switches(pid_t tid)
{
	return thread_number(tid, "status", "voluntary_ctxt_switches:", 10);
}

static inline uint64_t thread_cpu_usec(pid_t tid)
{
	return thread_number(tid, "schedstat", "", 10) / 1000;
}

/* A bit for each signal. */
static inline uint64_t thread_blocked(pid_t tid)
{
	return thread_number(tid, "status", "SigBlk:", 16);
}
