/* SPDX-License-Identifier: MIT */
/*
 * bench-faults.c - what waiting costs when what one waits for is broken
 *
 * Each cell of the table is a process of its own: a contender, a fault, and some seconds. CPU time is that of all its
 * threads but the main one, which sleeps. The process's callbacks are counted too; in those seconds nobody has anything to tell.
 *
 *  cgroup removed        a trigger is armed, then the cgroup goes: POLLERR for ever
 *  peer closed           the other end of the socket is closed: EOF for ever
 *  no trigger written    the pressure file is polled and nothing was armed: POLLERR for ever
 *  FIFO writer gone      the last writer of the FIFO closes it: EOF and POLLHUP for ever
 *
 * Processes run two at a time at most, or as many as there are CPUs: those that spin would take each other's.
 */
#include "contender.h"
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SETTLE_USEC (300 * USEC_PER_MSEC)
#define BOUND_PERCENT 1.0

enum fault { CGROUP_REMOVED, PEER_CLOSED, NO_TRIGGER, WRITER_GONE };
#define FAULTS 4

static const char *const fault_names[] = {
	[CGROUP_REMOVED] = "cgroup removed",
	[PEER_CLOSED] = "peer closed",
	[NO_TRIGGER] = "no trigger written",
	[WRITER_GONE] = "FIFO writer gone",
};

/* In the order of the table. The mailbox thread has no part in a fault. */
static const enum contender_kind kinds[] = { PSIBRIDGE_URING, PSIBRIDGE_EPOLL, BARE_EPOLL,
					     SD_EVENT };

struct cell {
	pid_t pid;
	int error;
	char why[160];
	double percent, callbacks; /* a second */
	int ended;		   /* the loop gave up, and told its caller so */
	_Atomic uint64_t told;
};

static struct cell (*cells)[ELEMENTSOF(kinds)];
static unsigned seconds = 3;

static void told(void *userdata)
{
	struct cell *cell = userdata;

	atomic_fetch_add_explicit(&cell->told, 1, memory_order_relaxed);
}

static bool needs_cgroup(enum fault fault)
{
	return fault == CGROUP_REMOVED || fault == NO_TRIGGER;
}

static struct contender contender;

/* In a child: breaks it. Returns: 0, or why it could not even be started. */
static int break_it(enum fault fault, enum contender_kind kind, struct cell *cell)
{
	char path[LAB_PATH_MAX], cgroup[128], name[32];
	struct stimulus s = { .path = path };
	int server, fd, r;
	char said[128];

	snprintf(name, sizeof(name), "f%d-%d", (int)fault, (int)kind);
	snprintf(path, sizeof(path), "%s", scratch(name));
	snprintf(cgroup, sizeof(cgroup), "/%s/%s", lab.name, name);
	switch (fault) {
	case CGROUP_REMOVED:
	case NO_TRIGGER:
		lab_make(&lab, name, 0);
		snprintf(path, sizeof(path), "%s", lab_file(&lab, name, "memory.pressure"));
		s.kind = STIMULUS_PSI;
		if (fault == CGROUP_REMOVED) {
			s.trigger = true;
			s.cgroup = cgroup;
		}
		r = contender_start(kind, &s, told, cell, &contender);
		sleep_usec(SETTLE_USEC);
		if (fault == CGROUP_REMOVED)
			lab_remove(&lab, name);
		break;
	case PEER_CLOSED:
		server = server_new(path);
		s.kind = STIMULUS_SOCKET;
		r = contender_start(kind, &s, told, cell, &contender);
		if (r < 0)
			break;
		fd = server_accept(server);
		sleep_usec(SETTLE_USEC);
		/* what the client had to say; unread, it would turn the end into ECONNRESET */
		while (recv(fd, said, sizeof(said), MSG_DONTWAIT) > 0)
			;
		close(fd);
		close(server);
		unlink(path);
		break;
	case WRITER_GONE:
		if (mkfifo(path, 0600) < 0)
			bench_die("%s: %s", path, strerror(errno));
		s.kind = STIMULUS_FIFO;
		r = contender_start(kind, &s, told, cell, &contender);
		if (r < 0)
			break;
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 || write(fd, "x", 1) != 1)
			bench_die("%s: %s", path, strerror(errno));
		sleep_usec(SETTLE_USEC);
		close(fd);
		unlink(path);
		break;
	}
	if (r < 0)
		memcpy(cell->why, contender.why, sizeof(cell->why));
	return r;
}

static void run_cell(enum fault fault, enum contender_kind kind, struct cell *cell)
{
	uint64_t start;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	cell->error = break_it(fault, kind, cell);
	if (cell->error < 0)
		_exit(0);
	sleep_usec(SETTLE_USEC);
	cpu_begin();
	start = now_nsec();
	atomic_store(&cell->told, 0);
	sleep_usec(seconds * USEC_PER_SEC);
	cell->percent = cpu_percent();
	start = now_nsec() - start;
	cell->ended = atomic_load(&contender.ended);
	cell->callbacks = (double)atomic_load(&cell->told) * 1e9 / (double)start;
	_exit(0);
}

static void run_all(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), running = 0;
	int status;

	for (unsigned f = 0; f < FAULTS; f++)
		for (unsigned k = 0; k < ELEMENTSOF(kinds); k++) {
			struct cell *cell = &cells[f][k];

			if (needs_cgroup((enum fault)f) && no_lab) {
				cell->error = -EACCES;
				snprintf(cell->why, sizeof(cell->why), "%s: %.100s", fault_names[f],
					 no_lab);
				continue;
			}
			if (running >= MAX(cpus, 1)) {
				wait(&status);
				running--;
			}
			fflush(stdout);
			cell->error = -EIO; /* until it says otherwise */
			snprintf(cell->why, sizeof(cell->why), "%s: %s died", fault_names[f],
				 contender_name(kinds[k]));
			cell->pid = fork();
			if (cell->pid == 0) {
				cell->error = 0;
				run_cell((enum fault)f, kinds[k], cell);
			}
			running++;
		}
	while (wait(&status) > 0)
		;
}

static void print(void)
{
	static const struct column columns[] = {
		{ "fault", "CPU %, (callbacks a second)", 0 },
		{ "psibridge_uring", "psibridge-uring", 0 },
		{ "psibridge_epoll", "psibridge-epoll", 0 },
		{ "bare_epoll", "bare epoll", 0 },
		{ "sd_event", "sd-event", 0 },
	};
	double worst = -1;

	table_begin("faults", columns,
		    "Faults: CPU time of a program that waits for what is broken");
	for (unsigned f = 0; f < FAULTS; f++) {
		table_row();
		table_text("%s", fault_names[f]);
		for (unsigned k = 0; k < ELEMENTSOF(kinds); k++) {
			struct cell *cell = &cells[f][k];

			if (cell->error < 0) {
				table_numbers(NAN);
				table_note("%s", cell->why);
				continue;
			}
			if (cell->ended < 0)
				table_text("loop ended: %s", strerrorname_np(-cell->ended));
			else
				table_text("%.2f (%.0f)", cell->percent, cell->callbacks);
			if (contender_is_ours(kinds[k]))
				worst = MAX(worst, cell->percent);
		}
	}
	table_print();
	bench_say("Good is: nothing, and no callback. 100 is a core that spins.");
	if (worst >= 0)
		bench_target(worst <= BOUND_PERCENT,
			     "psibridge: %.2f %% CPU in the worst fault case (at most %.0f %%)",
			     worst, BOUND_PERCENT);
	else
		bench_say("SKIP  no fault could be made here");
}

static void work(void)
{
	cells = shared_new(sizeof(*cells) * FAULTS);
	scratch(""); /* made before the children, so ours to remove */
	run_all();
	print();
}

int main(int argc, char **argv)
{
	static const struct bench bench = { .name = "faults",
					    .usage = "[SECONDS]",
					    .numbers = &seconds,
					    .max_numbers = 1,
					    .lab = LAB_USED,
					    .work = work };

	return bench_main(&bench, argc, argv);
}
