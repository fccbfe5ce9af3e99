/* SPDX-License-Identifier: MIT */
/*
 * faults.c - what waiting costs when what one waits for is broken
 *
 * Each cell of the table is a process of its own: a contender, a fault, and some seconds. CPU time is that of all its
 * threads but the main one, which sleeps. In those seconds nobody has anything to tell.
 *
 *  cgroup removed        a trigger is armed, then the cgroup goes: POLLERR for ever
 *  peer closed           the other end of the socket is closed: EOF for ever
 *  no trigger written    the pressure file is polled and nothing was armed: POLLERR for ever
 *  FIFO writer gone      the last writer of the FIFO closes it: EOF and POLLHUP for ever
 */
#include "contender.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECONDS 3
#define SETTLE_USEC (300 * USEC_PER_MSEC)
#define BOUND_PERCENT 1.0

static const struct column columns[] = {
	{ "CPU %", 0 },	     { "psibridge-uring", 2 }, { "psibridge-epoll", 2 },
	{ "bare epoll", 2 }, { "sd-event", 2 },
};

static enum contender_kind kind; /* whose cell it is: column 1 + kind */
static struct contender contender;

static int break_cgroup(bool remove)
{
	char path[LAB_PATH_MAX], cgroup[128];
	struct stimulus s = { .kind = STIMULUS_PSI, .path = path, .trigger = remove };
	int r;

	lab_make(&lab, "fault", 0);
	snprintf(path, sizeof(path), "%s", lab_file(&lab, "fault", "memory.pressure"));
	snprintf(cgroup, sizeof(cgroup), "%s", lab_path(&lab, "fault"));
	if (remove)
		s.cgroup = cgroup;
	r = contender_start(kind, &s, &contender);
	sleep_usec(SETTLE_USEC);
	if (remove)
		lab_remove(&lab, "fault");
	return r;
}

static int remove_cgroup(void)
{
	return break_cgroup(true);
}

static int arm_nothing(void)
{
	return break_cgroup(false);
}

static int close_peer(void)
{
	struct stimulus s = { .kind = STIMULUS_SOCKET, .path = scratch("socket") };
	int server = server_new(s.path), r = contender_start(kind, &s, &contender), fd;
	char said[128];

	unlink(s.path);
	if (r < 0)
		return r;
	fd = server_accept(server);
	sleep_usec(SETTLE_USEC);
	/* what the client had to say; unread, it would turn the end into ECONNRESET */
	while (recv(fd, said, sizeof(said), MSG_DONTWAIT) > 0)
		;
	close(fd);
	close(server);
	return 0;
}

static int close_writer(void)
{
	struct stimulus s = { .kind = STIMULUS_FIFO, .path = scratch("fifo") };
	int fd, r = mkfifo(s.path, 0600) < 0 ? -errno : contender_start(kind, &s, &contender);

	if (r < 0)
		return r;
	fd = open(s.path, O_WRONLY | O_CLOEXEC);
	unlink(s.path);
	if (fd < 0 || write(fd, "x", 1) != 1)
		bench_die("%s: %s", s.path, strerror(errno));
	sleep_usec(SETTLE_USEC);
	close(fd);
	return 0;
}

static const struct fault {
	const char *name;
	int (*make)(void);
	bool needs_cgroup;
} faults[] = {
	{ "cgroup removed", remove_cgroup, true },
	{ "peer closed", close_peer, false },
	{ "no trigger written", arm_nothing, true },
	{ "FIFO writer gone", close_writer, false },
};

static void measure(unsigned row)
{
	if (faults[row].make() < 0) {
		row_fails(row, "%s", contender.why);
		return;
	}
	sleep_usec(SETTLE_USEC);
	cpu_begin();
	sleep_usec(bench_number(0, SECONDS) * USEC_PER_SEC);
	put(row, 1 + kind, cpu_percent());
	if (atomic_load(&contender.ended) < 0)
		row_fails(row, "the loop of %s ended: %s", contender_names[kind],
			  strerror(-atomic_load(&contender.ended)));
}

static void work(void)
{
	double worst = 0;

	table_begin(columns, "Faults: CPU time of a program that waits for what is broken");
	for (const struct fault *fault = faults; fault < faults + ELEMENTSOF(faults); fault++) {
		unsigned row = table_row("%s", fault->name);

		if (fault->needs_cgroup && no_lab) {
			row_fails(row, "%s", no_lab);
			continue;
		}
		for (kind = 0; kind < CONTENDERS; kind++) {
			in_child(measure, row);
			if (fault->make == arm_nothing)
				lab_remove(&lab, "fault");
		}
		for (unsigned k = PSIBRIDGE_URING; k <= PSIBRIDGE_EPOLL; k++)
			worst = fmax(worst, median(row, 1 + k));
	}
	table_print("Good is: nothing. 100 is a core that spins.");
	bench_target(worst <= BOUND_PERCENT,
		     "psibridge: %.2f %% CPU in the worst fault case (at most %.0f %%)", worst,
		     BOUND_PERCENT);
}

const struct bench bench_faults = { "faults", "[SECONDS]", false, work };
