/* SPDX-License-Identifier: MIT */
/*
 * bench-latency.c - from a write to the callback: our loop, a bare one, and sd-event
 *
 *     main thread: send(2) one byte ----> AF_UNIX socket ----> contender's thread ----> the callback
 *                  t0 before it                                                         t1 in it
 *
 * Every contender has a connection and a thread of its own, and all are there all the time, so that all share the
 * same process, cgroup, machine and moment. Three runs:
 *
 *  counting  system calls of the contender's threads, in a traced child (count.h), one contender after the other.
 *  light     one byte each 25 to 26 ms, never before the last one was told. Turn by turn A B C D E, B C D E A, ...: what
 *            disturbs one disturbs all, and psibridge, which does not listen for 50 ms after a byte, is listening again. In each round the contender's median is divided by the bare loop's median of that
 *            round; the verdict is the median of these ratios.
 *  burst     10,000 bytes, one a send(2), as fast as the socket takes them. A stream coalesces: a contender that is busy
 *            finds several at once. Tracing would slow the writer and the reader and so change how many. Therefore
 *            the reads are counted by the contenders themselves, and each costs the calls that the counting run found for
 *            one event.
 *
 * The writer does not wait for a wake-up by the callback (that would be a system call of the callback's): it sleeps and
 * then looks.
 */
#include "contender.h"
#include "count.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BURST 10000
#define COUNT_EVENTS 50
#define GAP_USEC 75000
#define TURNS 20 /* a round */
#define LOST_USEC (500 * USEC_PER_MSEC)
#define QUIET_USEC (100 * USEC_PER_MSEC) /* longer than psibridge does not listen */
#define P50_TOLERANCE 1.05 /* what the same contender differs from itself, from run to run */

struct lane {
	struct contender contender;
	int connection;
	bool works;
	_Atomic uint64_t told_nsec; /* the last callback */
	_Atomic uint64_t callbacks;
	unsigned lost, withheld;
	struct series latency, round, ratio; /* usec */
	struct series burst_reads, burst_cpu, burst_usec;
	/* from the counting run */
	struct counts counts;
	bool counted;
};

static struct lane lanes[CONTENDERS];
static char socket_path[64];
static unsigned rounds = 40;
static int server = -1;

static void told(void *userdata)
{
	struct lane *lane = userdata;

	atomic_store_explicit(&lane->told_nsec, now_nsec(), memory_order_release);
	atomic_fetch_add_explicit(&lane->callbacks, 1, memory_order_relaxed);
}

static int lane_start(struct lane *lane, enum contender_kind kind)
{
	struct stimulus stimulus = { .each = true, .kind = STIMULUS_SOCKET, .path = socket_path };
	int r = contender_start(kind, &stimulus, told, lane, &lane->contender);

	if (r < 0)
		return r;
	lane->connection = server_accept(server);
	lane->works = true;
	return 0;
}

static void send_byte(struct lane *lane)
{
	if (send(lane->connection, "x", 1, MSG_NOSIGNAL) != 1)
		bench_die("%s went away: %s", contender_name(lane->contender.kind),
			  strerror(errno));
}

/* One byte, then `gap_usec`; longer if it has not been told by then. Returns: how long it took, 0: it never came. */
static uint64_t one_event(struct lane *lane, uint64_t gap_usec)
{
	uint64_t start, told_at, waited = gap_usec, reads = contender_reads(&lane->contender);

	atomic_store(&lane->told_nsec, 0);
	start = now_nsec();
	send_byte(lane);
	sleep_usec(gap_usec);
	while ((told_at = atomic_load_explicit(&lane->told_nsec, memory_order_acquire)) == 0) {
		if (waited > LOST_USEC) {
			/* after a call that took long psibridge does not repeat a Low at once: its rule, no loss */
			if (contender_reads(&lane->contender) > reads)
				lane->withheld++;
			else
				lane->lost++;
			return 0;
		}
		sleep_usec(1000);
		waited += 1000;
	}
	return told_at - start;
}

/* Returns: when the last callback was. */
static uint64_t burst(struct lane *lane)
{
	uint64_t before;

	for (unsigned i = 0; i < BURST; i++)
		send_byte(lane);
	do {
		before = atomic_load(&lane->callbacks);
		sleep_usec(QUIET_USEC);
	} while (atomic_load(&lane->callbacks) != before);
	return atomic_load(&lane->told_nsec);
}

/* Of that many contenders, each has its turn after more than 50 ms; in no step with any timer. */
static uint64_t gap(unsigned contenders)
{
	static uint32_t seed = 1;

	seed = seed * 1664525 + 1013904223;
	return GAP_USEC / contenders + seed % 1000;
}

/* ---- the runs --------------------------------------------------------------------------------------- */

static int counted(void *userdata)
{
	struct lane *lane = userdata;
	int r = lane_start(lane, lane->contender.kind);

	if (r < 0)
		return r;
	one_event(lane, GAP_USEC);
	count_phase(1);
	for (unsigned i = 0; i < COUNT_EVENTS; i++)
		one_event(lane, gap(1));
	count_phase(2);
	return 0;
}

static void count_all(void)
{
	for (unsigned i = 0; i < CONTENDERS; i++) {
		lanes[i].contender.kind = (enum contender_kind)i;
		lanes[i].counted = count_syscalls(counted, &lanes[i], &lanes[i].counts) == 0;
	}
}

static void light_round(unsigned number, bool warm_up)
{
	double bare;

	for (unsigned turn = 0; turn < TURNS; turn++)
		for (unsigned i = 0; i < CONTENDERS; i++) {
			struct lane *lane = &lanes[(i + turn + number) % CONTENDERS];
			uint64_t took = lane->works ? one_event(lane, gap(3)) : 1;

			if (took > 0 && lane->works && !warm_up)
				series_add(&lane->round, (double)took / 1000);
		}

	bare = median(&lanes[BARE_EPOLL].round);
	for (unsigned i = 0; i < CONTENDERS; i++) {
		struct lane *lane = &lanes[i];

		if (lane->round.count > 0)
			series_add(&lane->ratio, median(&lane->round) / bare);
		for (size_t k = 0; k < lane->round.count; k++)
			series_add(&lane->latency, lane->round.values[k]);
		lane->round.count = 0;
	}
}

static void burst_round(void)
{
	for (unsigned i = 0; i < CONTENDERS; i++) {
		struct lane *lane = &lanes[i];
		uint64_t reads = contender_reads(&lane->contender), cpu, start;

		if (!lane->works)
			continue;
		cpu = contender_cpu_nsec(&lane->contender);
		start = now_nsec();
		series_add(&lane->burst_usec, (double)(burst(lane) - start) / 1000);
		series_add(&lane->burst_reads,
			   (double)(contender_reads(&lane->contender) - reads) / BURST);
		series_add(&lane->burst_cpu,
			   (double)(contender_cpu_nsec(&lane->contender) - cpu) / BURST);
	}
}

/* ---- what came out ---------------------------------------------------------------------------------- */

static double calls_an_event(const struct lane *lane)
{
	return lane->counted ? lane->counts.calls[1] / (double)COUNT_EVENTS : NAN;
}

static void print_light(void)
{
	static const struct column columns[] = {
		{ "contender", "contender", 0 },
		{ "syscalls_per_event", "syscalls/event", 2 },
		{ "p50_usec", "p50 us", 1 },
		{ "p99_usec", "p99 us", 1 },
		{ "ratio_to_bare", "p50 / bare", 2 },
		{ "events", "events", 0 },
		{ "lost", "lost", 0 },
		{ "withheld", "withheld", 0 },
		{ "calls", "which calls", 0 },
	};

	table_begin("light", columns, "Light load: one byte each 25 ms, from write to callback");
	for (unsigned i = 0; i < CONTENDERS; i++) {
		struct lane *lane = &lanes[i];
		char which[64] = "";

		table_row();
		table_text("%s", contender_name((enum contender_kind)i));
		table_numbers(calls_an_event(lane), median(&lane->latency),
			      series_percentile(&lane->latency, 99), median(&lane->ratio),
			      lane->works ? (double)lane->latency.count : NAN,
			      lane->works ? lane->lost : NAN, lane->works ? lane->withheld : NAN);
		if (!lane->works)
			table_note("%s", lane->contender.why);
		if (lane->counted)
			count_format(&lane->counts, 1, COUNT_EVENTS, which, sizeof(which));
		table_text("%s", which);
	}
	table_print();
	bench_say(
		"Good is: at most one call an event, and a p50 no worse than that of a loop without any library.");
}

static double calls_in_burst(struct lane *lane)
{
	return median(&lane->burst_reads) * calls_an_event(lane);
}

static void print_burst(void)
{
	static const struct column columns[] = {
		{ "contender", "contender", 0 },
		{ "reads_per_byte", "reads/byte", 3 },
		{ "syscalls_per_byte", "syscalls/byte", 3 },
		{ "cpu_nsec_per_byte", "CPU ns/byte", 0 },
		{ "usec", "until told us", 0 },
	};

	table_begin("burst", columns, "Burst: 10,000 bytes, one a write, as fast as they go");
	for (unsigned i = 0; i < CONTENDERS; i++) {
		struct lane *lane = &lanes[i];

		table_row();
		table_text("%s", contender_name((enum contender_kind)i));
		/* a mailbox is not written to at each read */
		table_numbers(median(&lane->burst_reads),
			      i != PSIBRIDGE_URING_THREAD ? calls_in_burst(lane) : NAN,
			      median(&lane->burst_cpu), median(&lane->burst_usec));
		if (!lane->works)
			table_note("%s", lane->contender.why);
	}
	table_print();
	bench_say(
		"Good is: far fewer calls than bytes, because what came meanwhile is taken at once.");
}

static void print_targets(void)
{
	struct lane *lane = &lanes[PSIBRIDGE_URING];
	const char *name = contender_name(PSIBRIDGE_URING);
	double light = calls_an_event(lane), many = calls_in_burst(lane),
	       ratio = median(&lane->ratio);

	if (!lane->works) {
		bench_say("SKIP  %s", lane->contender.why);
		return;
	}
	if (lane->counted) {
		/* the start of a phase may see the end of a wait that began before it */
		bench_target(light <= 1.0 + 2.0 / COUNT_EVENTS,
			     "%s: %.2f system calls an event at light load (at most 1)", name,
			     light);
		bench_target(many <= 0.5,
			     "%s: %.3f system calls a byte in a burst (far fewer: at most 0.5)",
			     name, many);
	} else {
		bench_say("SKIP  system calls: ptrace(2) is not allowed here");
	}
	bench_target(ratio <= P50_TOLERANCE,
		     "%s: p50 is %.2f of the bare loop's (no worse; within %.2f counts as equal)",
		     name, ratio, P50_TOLERANCE);
	bench_promise(lane->lost == 0, "%s: %u events lost", name, lane->lost);
}

static void work(void)
{
	snprintf(socket_path, sizeof(socket_path), "%s", scratch("socket"));
	server = server_new(socket_path);
	count_all();
	for (unsigned i = 0; i < CONTENDERS; i++)
		lane_start(&lanes[i], (enum contender_kind)i);
	light_round(0, true);
	for (unsigned i = 0; i < rounds; i++)
		light_round(i, false);
	for (unsigned i = 0; i < 5; i++)
		burst_round();
	print_light();
	print_burst();
	print_targets();
}

int main(int argc, char **argv)
{
	static const struct bench bench = { .name = "latency",
					    .usage = "[ROUNDS]",
					    .numbers = &rounds,
					    .max_numbers = 1,
					    .work = work };

	return bench_main(&bench, argc, argv);
}
