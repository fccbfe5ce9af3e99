/* SPDX-License-Identifier: MIT */
/*
 * stalls.c - stalls PERCENT LIMIT-MB FILE-MB: real pressure of a chosen share, for scripts
 *
 * Makes a cgroup with a limit and prints "group DIRECTORY [V1-DIRECTORY]", for processes that the caller puts there. At a line on
 * standard input a process in there begins to read a file that does not fit beside them, block by block in no order, and rests after
 * each, so that the group stalls PERCENT of the time. Ends with its standard input, and the cgroup and all in it too.
 */
#include "../pressure.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ADJUST_USEC UINT64_C(500000)

/* How many times as long as a read took to rest, for the group to stall so much: not every read stalls, and not everything that does
 * is a read. */
static double adjust(const struct lab *lab, double rest, double share)
{
	static uint64_t before, before_usec;
	uint64_t now_usec = lab_now_usec(), now;

	if (now_usec - before_usec < ADJUST_USEC)
		return rest;
	now = lab_psi(lab, "outer").some_usec;
	if (before_usec > 0)
		rest *= CLAMP((double)(now - before) / (double)(now_usec - before_usec) / share,
			      0.6, 1.5);
	before = now;
	before_usec = now_usec;
	return CLAMP(rest, 0.1, 100.0);
}

static _Noreturn void read_slowly(const struct lab *lab, int fd, uint64_t size, double share)
{
	static char block[LAB_BLOCK];
	uint64_t blocks = size / LAB_BLOCK, at = 0;
	double rest = 1 / share;

	for (;;) {
		uint64_t begun = lab_now_usec();

		at = (at * 6364136223846793005u + 1442695040888963407u);
		if (pread(fd, block, LAB_BLOCK, (off_t)((at >> 33) % blocks * LAB_BLOCK)) < 0)
			_exit(1);
		usleep((useconds_t)(rest * (double)(lab_now_usec() - begun)));
		rest = adjust(lab, rest, share);
	}
}

int main(int argc, char **argv)
{
	struct lab lab;
	const char *why;
	char line[16];
	int fd;

	if (argc != 4)
		return 2;
	why = lab_open(&lab, "psb-stalls");
	if (why) {
		printf("skip %s\n", why);
		return 77;
	}
	/* the outer one is looked at here: reading what a program listens to can swallow its alarms */
	lab_make(&lab, "outer", 0);
	lab_delegate(&lab, "outer");
	lab_make(&lab, "outer/run", strtoull(argv[2], NULL, 10) * LAB_MB);
	fd = lab_data(strtoull(argv[3], NULL, 10) * LAB_MB);
	lab_data_evict(fd);
	printf("group %s %s\n", lab_file(&lab, "outer/run", ""),
	       lab.v1 ? lab_v1_file(&lab, "outer/run", "") : "");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) && lab_fork(&lab, "outer/run") == 0)
		read_slowly(&lab, fd, strtoull(argv[3], NULL, 10) * LAB_MB, atoi(argv[1]) / 100.0);
	while (fgets(line, sizeof(line), stdin))
		;
	return lab_close(&lab) < 0;
}
