/* SPDX-License-Identifier: MIT */
/*
 * latency.c - from a write to the callback: our loop, a bare one, and sd-event
 *
 *     main thread: send(2) one byte ----> AF_UNIX socket ----> contender's thread ----> the callback
 *                  t0 before it                                                         t1 in it
 *
 * Every contender has a connection and a thread of its own, and all are there all the time, so that all share the same process,
 * cgroup, machine and moment. Three runs:
 *
 *  counting  system calls of the contender's threads, in a traced child, one contender after the other.
 *  light     one byte each 25 to 26 ms, never before the last one was told. Turn by turn A B C D, B C D A, ...: what disturbs one
 *            disturbs all, and no contender gets two within 50 ms (contender.c). In each round the contender's median is divided
 *            by the bare loop's median of that round; the verdict is the median of these ratios.
 *  burst     10,000 bytes, one a send(2), as fast as the socket takes them. A stream coalesces: a contender that is busy finds
 *            several at once. Tracing would change how many. Therefore the reads are counted by the contenders themselves, and each
 *            costs the calls that the counting run found for one event.
 *
 * The writer does not wait for a wake-up by the callback (that would be a system call of the callback's): it sleeps and then looks.
 */
#include "contender.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BURST 10000
#define BURSTS 5
#define COUNT_EVENTS 50
#define GAP_USEC 75000
#define ROUNDS 20
#define TURNS 20 /* a round */
#define LOST_USEC (500 * USEC_PER_MSEC)
#define QUIET_USEC (100 * USEC_PER_MSEC) /* longer than psibridge does not listen */
#define P50_TOLERANCE 1.05 /* what the same contender differs from itself, from run to run */

enum { NAME, CALLS, BURST_CALLS, P50, RATIO, LOST, ROUND };
static const struct column columns[] = {
	[NAME] = { "contender", 0 },   [CALLS] = { "syscalls/event", 2 },
	[P50] = { "p50 us", 1 },       [BURST_CALLS] = { "/byte in a burst", 3 },
	[RATIO] = { "p50 / bare", 2 }, [LOST] = { "lost", 0 },
};

struct lane {
	struct contender contender;
	int connection;
	bool works;
	unsigned lost;
};

static struct lane lanes[CONTENDERS];
static char socket_path[64];
static int server = -1;

static int lane_start(struct lane *lane, enum contender_kind kind)
{
	struct stimulus stimulus = { .kind = STIMULUS_SOCKET, .path = socket_path, .each = true };
	int r = contender_start(kind, &stimulus, &lane->contender);

	if (r < 0)
		return r;
	lane->connection = server_accept(server);
	lane->works = true;
	return 0;
}

static void send_byte(struct lane *lane)
{
	if (send(lane->connection, "x", 1, MSG_NOSIGNAL) != 1)
		bench_die("%s went away: %s", contender_names[lane->contender.kind],
			  strerror(errno));
}

/* One byte, then `gap_usec`; longer if it has not been told by then. Returns: how long it took, us; NAN: it never came. */
static double one_event(struct lane *lane, uint64_t gap_usec)
{
	uint64_t start, told_at, waited = gap_usec, reads = contender_reads(&lane->contender);

	atomic_store(&lane->contender.told_nsec, 0);
	start = now_nsec();
	send_byte(lane);
	sleep_usec(gap_usec);
	while ((told_at = atomic_load_explicit(&lane->contender.told_nsec, memory_order_acquire)) ==
	       0) {
		if (waited > LOST_USEC) {
			/* after a call that took long psibridge does not repeat a Low at once: its rule, no loss */
			lane->lost += contender_reads(&lane->contender) == reads;
			return NAN;
		}
		sleep_usec(1000);
		waited += 1000;
	}
	return (double)(told_at - start) / 1000;
}

/* Returns: reads a byte. */
static double burst(struct lane *lane)
{
	uint64_t before, reads = contender_reads(&lane->contender);

	for (unsigned i = 0; i < BURST; i++)
		send_byte(lane);
	do {
		before = atomic_load(&lane->contender.calls);
		sleep_usec(QUIET_USEC);
	} while (atomic_load(&lane->contender.calls) != before);
	return (double)(contender_reads(&lane->contender) - reads) / BURST;
}

/* Of that many contenders, each has its turn after more than 50 ms; in no step with any timer. */
static uint64_t gap(unsigned contenders)
{
	static uint32_t seed = 1;

	seed = seed * 1664525 + 1013904223;
	return GAP_USEC / contenders + seed % 1000;
}

static int counted(void *userdata)
{
	struct lane *lane = userdata;
	int r = lane_start(lane, lane->contender.kind);

	if (r < 0)
		return r;
	one_event(lane, GAP_USEC);
	count_now(true);
	for (unsigned i = 0; i < COUNT_EVENTS; i++)
		one_event(lane, gap(1));
	count_now(false);
	return 0;
}

static void light_round(unsigned number)
{
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (unsigned i = 0; i < CONTENDERS; i++) {
			unsigned row = (i + turn + number) % CONTENDERS;
			double took = lanes[row].works ? one_event(&lanes[row], gap(3)) : NAN;

			put(row, P50, took);
			put(row, ROUND, took);
		}
	for (unsigned row = 0; row < CONTENDERS; row++)
		put(row, RATIO, median(row, ROUND) / median(BARE_EPOLL, ROUND));
	for (unsigned row = 0; row < CONTENDERS; row++)
		forget(row, ROUND);
}

static void start_all(void)
{
	for (unsigned i = 0; i < CONTENDERS; i++) {
		int calls;

		table_row("%s", contender_names[i]);
		lanes[i].contender.kind = (enum contender_kind)i;
		calls = count_syscalls(counted, &lanes[i]);
		if (calls < 0)
			row_fails(i, "system calls are not counted: %s", strerror(-calls));
		else
			put(i, CALLS, (double)calls / COUNT_EVENTS);
	}
	for (unsigned i = 0; i < CONTENDERS; i++)
		if (lane_start(&lanes[i], (enum contender_kind)i) < 0)
			row_fails(i, "%s", lanes[i].contender.why);
		else
			one_event(&lanes[i], GAP_USEC);
}

static void work(void)
{
	const struct lane *ours = &lanes[PSIBRIDGE_URING];
	unsigned rounds = bench_number(0, ROUNDS);

	snprintf(socket_path, sizeof(socket_path), "%s", scratch("socket"));
	server = server_new(socket_path);
	table_begin(columns, "From a write to the callback; light load: one byte each 25 ms");
	start_all();
	unlink(socket_path);
	for (unsigned i = 0; i < rounds; i++)
		light_round(i);
	for (unsigned i = 0; i < CONTENDERS; i++) {
		put(i, LOST, lanes[i].works ? lanes[i].lost : NAN);
		for (unsigned k = 0; lanes[i].works && k < BURSTS; k++)
			put(i, BURST_CALLS, burst(&lanes[i]) * median(i, CALLS));
	}
	table_print(
		"Good is: at most one call an event, a p50 no worse than that of a loop without any library,\n"
		"and in a burst far fewer calls than bytes, because what came meanwhile is taken at once.");
	if (!ours->works)
		return;
	/* the start of the count may see the end of a wait that began before it */
	bench_target(median(PSIBRIDGE_URING, CALLS) <= 1.0 + 2.0 / COUNT_EVENTS,
		     "%.2f system calls an event at light load (at most 1)",
		     median(PSIBRIDGE_URING, CALLS));
	bench_target(median(PSIBRIDGE_URING, BURST_CALLS) <= 0.5,
		     "%.3f system calls a byte in a burst (far fewer: at most 0.5)",
		     median(PSIBRIDGE_URING, BURST_CALLS));
	bench_target(median(PSIBRIDGE_URING, RATIO) <= P50_TOLERANCE,
		     "p50 is %.2f of the bare loop's (no worse; within %.2f counts as equal)",
		     median(PSIBRIDGE_URING, RATIO), P50_TOLERANCE);
	bench_promise(ours->lost == 0, "%u events lost", ours->lost);
}

const struct bench bench_latency = { "latency", "[ROUNDS]", false, work };
