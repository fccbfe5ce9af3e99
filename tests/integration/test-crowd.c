/* SPDX-License-Identifier: MIT */
/*
 * A thousand clients in a thousand cgroups, real stalls in ten of them: those ten are told and no
 * others, also when the daemon is restarted and killed in the middle; none is hung up on, none
 * told twice. With figures: delivery, memory a client. (At rest nothing wakes it: vm/guest-pressure.sh.)
 */
#include "daemon-bench.h"

#include <signal.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define CROWD 1000u
#define FEW 10u
#define STALLING 10u
#define REARM_USEC UINT64_C(8192000)

/* Nothing but real stalls in the crowd may wake it: no headroom, and the machine's own services are
 * not looked at. Times a test can wait for. */
#define CONFIGURATION                                                                   \
	"[Defaults]\nHighHeadroom=off\nQuiet=2s\nCalm=3s\n"                             \
	"[Watch system.slice/**]\nEnabled=no\n[Watch user.slice/**]\nEnabled=no\n"      \
	"[Watch machine.slice/**]\nEnabled=no\n[Watch kubepods.slice/**]\nEnabled=no\n" \
	"[Watch %s/**]\n"

static struct bench bench;

static struct client {
	int fd;
	uint64_t low_usec; /* when it was judged; 0: never */
	enum psb_available level;
	bool welcome_back;
} clients[CROWD];

static uint64_t delays[4096]; /* from judgement to client */
static unsigned delay_count;

static const char *group_of(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "g%u", i);
	return name;
}

/* Prints it, too. */
static long long rss_kb(unsigned count)
{
	long long kb = (long long)lab_proc_number(bench.service, "smaps_rollup", "Rss:");

	printf("# %u clients: RSS %lld kB, %lld threads\n", count, kb,
	       (long long)lab_proc_number(bench.service, "status", "Threads:"));
	return kb;
}

/* ---- the crowd ------------------------------------------------------------------------------------ */

/* In its own cgroup, and welcomed: then it was identified, and we may move on. */
static void join(unsigned i)
{
	struct wire_record r;
	int fd;

	lab_enter(&lab, group_of(i));
	fd = bench_connect(bench.notify);
	assert_int_equal(send(fd, "psibridge/1\n", 12, MSG_NOSIGNAL), 12);
	bench_expect(fd, PATIENCE_MS, WIRE_WELCOME, PSB_HIGH, &r);
	lab_enter(&lab, HOME);
	clients[i] = (struct client){ .fd = fd, .level = PSB_HIGH };
}

static void take(unsigned i)
{
	struct client *c = &clients[i];
	struct wire_record r;

	if (!bench_any_record(c->fd, PATIENCE_MS, &r))
		fail_msg("client %u was hung up on", i);
	if (r.kind == WIRE_WELCOME) {
		c->welcome_back = true;
		assert_int_equal(r.available, c->level);
	}
	if (r.kind != WIRE_LEVEL)
		return;
	if (r.available == PSB_LOW) {
		if (i >= STALLING)
			fail_msg("client %u was told Low, and nothing stalled there", i);
		if (c->level == PSB_LOW && !r.critical && r.time_usec < c->low_usec + REARM_USEC)
			fail_msg("client %u was told Low twice within %llu ms", i,
				 (unsigned long long)(r.time_usec - c->low_usec) / 1000);
		c->low_usec = r.time_usec;
	}
	c->level = (enum psb_available)r.available;
	if (delay_count < ELEMENTSOF(delays))
		delays[delay_count++] = lab_now_usec() - r.time_usec;
}

/* Take what comes until `condition` holds of so many, the first ones; false: it did not within `ms`. */
static bool listen_until(unsigned ms, bool (*condition)(const struct client *c), unsigned count)
{
	static struct pollfd polls[CROWD];
	uint64_t end = lab_now_usec() + (uint64_t)ms * 1000;
	unsigned good;

	do {
		for (unsigned i = 0; i < CROWD; i++)
			polls[i] = (struct pollfd){ .fd = clients[i].fd, .events = POLLIN };
		poll(polls, CROWD, 100);
		for (unsigned i = 0; i < CROWD; i++)
			if (polls[i].revents)
				take(i);
		for (good = 0; good < count && condition(&clients[good]); good++)
			;
	} while ((good < count || count == 0) && lab_now_usec() < end);
	return good == count;
}

static bool was_low(const struct client *c)
{
	return c->low_usec > 0;
}

static bool is_high(const struct client *c)
{
	return c->level == PSB_HIGH;
}

static bool is_back(const struct client *c)
{
	return c->welcome_back;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

/* ---- tests ---------------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	struct rlimit limit;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	no_lab = lab_open(&lab, "psb-crowd");
	if (no_lab)
		return 0;
	for (unsigned i = 0; i < CROWD; i++)
		lab_make(&lab, group_of(i), i < STALLING ? LAB_LIMIT : 0);
	bench_start(&bench, CONFIGURATION);
	return 0;
}

static int tear_down(void **state)
{
	if (!no_lab) {
		lab_kill_all();
		lab_enter(&lab, NULL);
		bench_stop(&bench);
	}
	return bench_close_lab(state);
}

PROMISE(a_client_costs_a_few_hundred_bytes_and_no_thread)
{
	long long few, each;

	bench_need_lab();
	for (unsigned i = 0; i < FEW; i++)
		join(i);
	few = rss_kb(FEW);
	for (unsigned i = FEW; i < CROWD; i++)
		join(i);
	each = (rss_kb(CROWD) - few) * 1024 / (CROWD - FEW);
	printf("# %lld bytes a client\n", each);
	assert_int_equal(bench_number(&bench, "clients", "records"), CROWD);
	assert_true(each < 1024 || SANITIZED); /* whose allocator keeps what is freed */
}

PROMISE(ten_stall_and_those_ten_are_told)
{
	pid_t pressers[STALLING];

	bench_need_lab();
	for (unsigned i = 0; i < STALLING; i++)
		pressers[i] = lab_press(&lab, group_of(i));
	assert_true(listen_until(PATIENCE_MS, was_low, STALLING));
	delay_count = 0; /* what was told while the others were made to stall was not read at once */

	/* in the middle of it */
	for (int i = 0; i < 2; i++) {
		for (unsigned c = 0; c < CROWD; c++)
			clients[c].welcome_back = false;
		bench_restart(&bench, i ? SIGKILL : SIGTERM);
		assert_true(listen_until(PATIENCE_MS, is_back, CROWD));
	}
	listen_until(9000, NULL, 0); /* longer than Rearm: a repeat is due, and only one */
	qsort(delays, delay_count, sizeof(*delays), by_value);
	printf("# %u records, from judgement to client p50 %llu us, p99 %llu us\n", delay_count,
	       (unsigned long long)delays[delay_count / 2],
	       (unsigned long long)delays[delay_count * 99 / 100]);
	for (unsigned i = 0; i < STALLING; i++)
		lab_kill(pressers[i]);
	assert_true(listen_until(PATIENCE_MS, is_high, CROWD));
	assert_int_equal(bench_number(&bench, "clients", "connected"), CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		close(clients[i].fd);
}

GROUP(set_up, tear_down)
