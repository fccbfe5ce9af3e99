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
 *
 * Processes run two at a time at most, or as many as there are CPUs: those that spin would take each other's.
 */
#include "contender.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 3
#define SETTLE_USEC (300 * USEC_PER_MSEC)
#define BOUND_PERCENT 1.0

enum fault { CGROUP_REMOVED, PEER_CLOSED, NO_TRIGGER, WRITER_GONE };
static const char *const fault_names[] = { "cgroup removed", "peer closed", "no trigger written",
					   "FIFO writer gone" };

/* A contender's cell. */
#define CPU(kind) (1 + (kind))
static const struct column columns[] = {
	{ "CPU %", 0 },	     { "psibridge-uring", 2 }, { "psibridge-epoll", 2 },
	{ "bare epoll", 2 }, { "sd-event", 2 },
};

static struct contender contender;

static void told(_unused_ void *userdata)
{
}

static bool needs_cgroup(enum fault fault)
{
	return fault == CGROUP_REMOVED || fault == NO_TRIGGER;
}

static int break_cgroup(enum contender_kind kind, const char *name, bool remove)
{
	char path[LAB_PATH_MAX], cgroup[128];
	struct stimulus s = { .kind = STIMULUS_PSI, .path = path, .trigger = remove };
	int r;

	lab_make(&lab, name, 0);
	snprintf(path, sizeof(path), "%s", lab_file(&lab, name, "memory.pressure"));
	snprintf(cgroup, sizeof(cgroup), "%s", lab_path(&lab, name));
	if (remove)
		s.cgroup = cgroup;
	r = contender_start(kind, &s, told, NULL, &contender);
	sleep_usec(SETTLE_USEC);
	if (remove)
		lab_remove(&lab, name);
	return r;
}

static int break_socket(enum contender_kind kind, const char *path)
{
	struct stimulus s = { .kind = STIMULUS_SOCKET, .path = path };
	int server = server_new(path), r = contender_start(kind, &s, told, NULL, &contender), fd;
	char said[128];

	if (r < 0)
		return r;
	fd = server_accept(server);
	sleep_usec(SETTLE_USEC);
	/* what the client had to say; unread, it would turn the end into ECONNRESET */
	while (recv(fd, said, sizeof(said), MSG_DONTWAIT) > 0)
		;
	close(fd);
	close(server);
	unlink(path);
	return 0;
}

static int break_fifo(enum contender_kind kind, const char *path)
{
	struct stimulus s = { .kind = STIMULUS_FIFO, .path = path };
	int fd, r;

	if (mkfifo(path, 0600) < 0)
		bench_die("%s: %s", path, strerror(errno));
	r = contender_start(kind, &s, told, NULL, &contender);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "x", 1) != 1)
		bench_die("%s: %s", path, strerror(errno));
	sleep_usec(SETTLE_USEC);
	close(fd);
	unlink(path);
	return 0;
}

static int break_it(enum fault fault, enum contender_kind kind)
{
	char path[128], name[32];

	snprintf(name, sizeof(name), "f%d-%d", (int)fault, (int)kind);
	snprintf(path, sizeof(path), "%s", scratch(name));
	if (needs_cgroup(fault))
		return break_cgroup(kind, name, fault == CGROUP_REMOVED);
	return fault == PEER_CLOSED ? break_socket(kind, path) : break_fifo(kind, path);
}

static _Noreturn void run_cell(enum fault fault, enum contender_kind kind)
{
	unsigned seconds = bench_number(0, SECONDS);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (break_it(fault, kind) < 0) {
		put_text(fault, CPU(kind), "—");
		row_fails(fault, "%s", contender.why);
		_exit(0);
	}
	sleep_usec(SETTLE_USEC);
	cpu_begin();
	sleep_usec(seconds * USEC_PER_SEC);
	put(fault, CPU(kind), cpu_percent());
	if (atomic_load(&contender.ended) < 0)
		row_fails(fault, "the loop of %s ended: %s", contender_names[kind],
			  strerror(-atomic_load(&contender.ended)));
	_exit(0);
}

/* Returns: how many processes died. */
static unsigned run_all(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN), running = 0;
	unsigned died = 0;
	int status;

	for (unsigned fault = 0; fault < ELEMENTSOF(fault_names); fault++) {
		table_row("%s", fault_names[fault]);
		if (needs_cgroup((enum fault)fault) && no_lab) {
			row_fails(fault, "%s", no_lab);
			continue;
		}
		for (unsigned kind = 0; kind < CONTENDERS; kind++) {
			if (running == MAX(cpus, 1)) {
				died += wait(&status) > 0 && status != 0;
				running--;
			}
			fflush(stdout);
			if (fork() == 0)
				run_cell((enum fault)fault, (enum contender_kind)kind);
			running++;
		}
	}
	while (wait(&status) > 0)
		died += status != 0;
	return died;
}

static void work(void)
{
	double worst = -1;
	unsigned died;

	table_begin(columns, "Faults: CPU time of a program that waits for what is broken");
	died = run_all();
	for (unsigned fault = 0; fault < ELEMENTSOF(fault_names); fault++)
		for (unsigned kind = 0; kind < CONTENDERS; kind++) {
			double cpu = median(fault, CPU(kind));

			if (kind <= PSIBRIDGE_EPOLL && !isnan(cpu))
				worst = MAX(worst, cpu);
		}
	table_print("Good is: nothing. 100 is a core that spins.");
	bench_promise(died == 0, "none of these programs died (%u did)", died);
	if (worst >= 0)
		bench_target(worst <= BOUND_PERCENT,
			     "psibridge: %.2f %% CPU in the worst fault case (at most %.0f %%)",
			     worst, BOUND_PERCENT);
}

const struct bench bench_faults = { "faults", "[SECONDS]", false, work };
