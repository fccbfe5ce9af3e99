/* SPDX-License-Identifier: MIT */
/*
 * A thousand clients in a thousand cgroups, real stalls in ten of them: those ten are told and no
 * others, also when the daemon is restarted and killed in the middle; nobody is hung up on, nobody
 * told twice. With figures: delivery, wake-ups at rest, memory a client.
 */
#include "../unit/unit.h"
#include "daemon-bench.h"
#include "../threads.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define CROWD 1000u
#define FEW 10u
#define STALLING 10u
#define PRESS_LIMIT LAB_LIMIT
#define REARM_USEC UINT64_C(8192000)

/* Nothing but real stalls in the crowd may wake it: no headroom, and the machine's own services are
 * not looked at. Times a test can wait for. */
#define CONFIGURATION                                                                   \
	"[Defaults]\nHighHeadroom=off\nQuiet=2s\nCalm=3s\n"                             \
	"[Watch system.slice/**]\nEnabled=no\n[Watch user.slice/**]\nEnabled=no\n"      \
	"[Watch machine.slice/**]\nEnabled=no\n[Watch kubepods.slice/**]\nEnabled=no\n" \
	"[Watch %s/**]\n"

static struct bench bench;
static int clients[CROWD];

static struct heard {
	uint64_t low_usec, last_low_usec; /* when it was judged */
	unsigned lows, critical, records;
	enum psb_available level;
	bool welcome_back, ended;
} heard[CROWD];

static uint64_t delays[4096];
static unsigned delay_count;

static const char *group_of(unsigned i)
{
	static char name[32];

	snprintf(name, sizeof(name), "g%u", i);
	return name;
}

/* ---- what /proc says of the daemon ---------------------------------------------------------------- */

/* How often any of its threads woke up: each time it went to sleep. */
static long long switches(pid_t pid)
{
	char path[64];
	long long sum = 0;
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	assert_non_null(dir);
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			sum += (long long)thread_switches(atoi(entry->d_name));
	closedir(dir);
	return sum;
}

/* A counter of the crowd's watch. */
static long long stats_of(const char *counter)
{
	json_t *answer = bench_ask(&bench, "{\"verb\":\"status\"}\n"), *watch;
	long long sum = 0;
	size_t i;

	json_array_foreach(json_object_get(answer, "watches"), i, watch) sum += json_integer_value(
		json_object_get(json_object_get(watch, "stats"), counter));
	json_decref(answer);
	return sum;
}

static long long rss_kb(void)
{
	return (long long)lab_proc_number(bench.service, "smaps_rollup", "Rss:");
}

/* ---- the crowd ------------------------------------------------------------------------------------ */

/* In its own cgroup, and welcomed: then it was identified, and we may move on. */
static int join(unsigned i)
{
	struct wire_record r;
	int fd;

	lab_enter(&lab, group_of(i));
	fd = bench_connect(bench.notify);
	assert_int_equal(send(fd, "psibridge/1\n", 12, MSG_NOSIGNAL), 12);
	bench_expect(fd, 20000, WIRE_WELCOME, PSB_HIGH, &r);
	lab_enter(&lab, HOME);
	heard[i].level = PSB_HIGH;
	return fd;
}

static void take(unsigned i, const struct wire_record *r)
{
	struct heard *h = &heard[i];
	uint64_t now = lab_now_usec();

	h->records++;
	switch (r->kind) {
	case WIRE_WELCOME:
		h->welcome_back = true;
		if (r->available != h->level)
			fail_msg("client %u was told level %d, and is welcomed back with %u", i,
				 h->level, r->available);
		break;
	case WIRE_LEVEL:
		if (r->available == PSB_LOW && h->level == PSB_LOW && !r->critical &&
		    r->time_usec < h->last_low_usec + REARM_USEC)
			fail_msg("client %u was told Low twice within %llu ms", i,
				 (unsigned long long)(r->time_usec - h->last_low_usec) / 1000);
		if (r->available == PSB_LOW) {
			h->lows++;
			h->last_low_usec = r->time_usec;
			if (h->low_usec == 0)
				h->low_usec = r->time_usec;
		}
		h->level = (enum psb_available)r->available;
		h->critical += r->critical;
		if (delay_count < sizeof(delays) / sizeof(*delays))
			delays[delay_count++] = now - r->time_usec;
		break;
	default:
		break;
	}
}

/* Take what comes until `condition` holds; false: it did not within `ms`. */
static bool listen_until(unsigned ms, bool (*condition)(void))
{
	static struct pollfd polls[CROWD];
	uint64_t end = lab_now_usec() + (uint64_t)ms * 1000;

	for (;;) {
		uint64_t now = lab_now_usec();
		int n;

		for (unsigned i = 0; i < CROWD; i++)
			polls[i] = (struct pollfd){ .fd = clients[i], .events = POLLIN };
		n = poll(polls, CROWD,
			 now >= end ? 0 : (int)(MIN(end - now, UINT64_C(100000)) / 1000 + 1));
		for (unsigned i = 0; i < CROWD && n > 0; i++) {
			struct wire_record r;

			if (!polls[i].revents)
				continue;
			if (!bench_record(clients[i], 1000, &r)) {
				heard[i].ended = true;
				fail_msg("client %u was hung up on", i);
			}
			take(i, &r);
		}
		if (condition && condition())
			return true;
		if (lab_now_usec() >= end)
			return !condition;
	}
}

static bool all_stalling_are_low(void)
{
	for (unsigned i = 0; i < STALLING; i++)
		if (heard[i].lows == 0)
			return false;
	return true;
}

static bool all_are_high(void)
{
	for (unsigned i = 0; i < CROWD; i++)
		if (heard[i].level != PSB_HIGH)
			return false;
	return true;
}

static bool all_are_back(void)
{
	for (unsigned i = 0; i < CROWD; i++)
		if (!heard[i].welcome_back)
			return false;
	return true;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void print_delays(const char *what)
{
	if (delay_count == 0)
		return;
	qsort(delays, delay_count, sizeof(*delays), by_value);
	printf("# %s: %u records, from judgement to client p50 %llu us, p99 %llu us, max %llu us\n",
	       what, delay_count, (unsigned long long)delays[delay_count / 2],
	       (unsigned long long)delays[delay_count * 99 / 100],
	       (unsigned long long)delays[delay_count - 1]);
	delay_count = 0;
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
		lab_make(&lab, group_of(i), i < STALLING ? PRESS_LIMIT : 0);
	bench_start(&bench, CONFIGURATION);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (no_lab)
		return 0;
	lab_kill_all();
	lab_enter(&lab, NULL);
	bench_stop(&bench);
	lab_close(&lab);
	return 0;
}

PROMISE(a_client_costs_a_few_hundred_bytes_and_no_thread)
{
	long long few, all;

	if (no_lab)
		SKIP(no_lab);
	for (unsigned i = 0; i < FEW; i++)
		clients[i] = join(i);
	few = rss_kb();
	printf("# %u clients: RSS %lld kB, %lld threads\n", FEW, few,
	       (long long)lab_proc_number(bench.service, "status", "Threads:"));
	for (unsigned i = FEW; i < CROWD; i++)
		clients[i] = join(i);
	all = rss_kb();
	printf("# %u clients: RSS %lld kB, %lld threads: %lld bytes a client\n", CROWD, all,
	       (long long)lab_proc_number(bench.service, "status", "Threads:"),
	       (all - few) * 1024 / (CROWD - FEW));
	assert_int_equal(bench_number(&bench, "clients", "records"), CROWD);
	if (!SANITIZED) /* whose allocator keeps what is freed */
		assert_true((all - few) * 1024 / (CROWD - FEW) < 1024);
}

PROMISE(at_rest_nothing_wakes_it)
{
	const unsigned seconds = 12;
	long long before, after, allowed, alarms, samples;

	if (no_lab)
		SKIP(no_lab);
	if (SANITIZED)
		SKIP("the sanitizer has threads of its own");
	lab_sleep_ms(2500); /* the last of what starting and connecting set off */
	alarms = stats_of("alarms");
	samples = stats_of("samples");
	lab_sleep_ms(2500); /* what all that set off */
	before = switches(bench.service);
	lab_sleep_ms(1000 * seconds);
	after = switches(bench.service);
	alarms = stats_of("alarms") - alarms;
	samples = stats_of("samples") - samples;
	/* without CAP_SYS_RESOURCE a watch takes its safety sample every 10 s, because alarms get
	 * lost there; each is three switches: the waiting thread hands over, and waits again */
	allowed = lab.privileged ? 0 : 3 * (1 + seconds / 10);
	printf("# at rest with %u clients: %lld context switches in %u s (allowed: %lld); the kernel rang %lld "
	       "times, %lld samples\n",
	       CROWD, after - before, seconds, allowed, alarms, samples);
	assert_true(after - before <= allowed);
}

PROMISE(ten_stall_and_those_ten_are_told)
{
	uint64_t begin, first = UINT64_MAX, last = 0;
	pid_t pressers[STALLING];

	if (no_lab)
		SKIP(no_lab);
	begin = lab_now_usec();
	for (unsigned i = 0; i < STALLING; i++)
		pressers[i] = lab_press(&lab, group_of(i));
	if (!listen_until(60000, all_stalling_are_low))
		fail_msg("not all of the stalling were told");
	for (unsigned i = 0; i < STALLING; i++) {
		first = MIN(first, heard[i].low_usec);
		last = MAX(last, heard[i].low_usec);
	}
	printf("# from the first pressure to Low: %llu ms to the first, %llu ms to the last of %u\n",
	       (unsigned long long)(first - begin) / 1000,
	       (unsigned long long)(last - begin) / 1000, STALLING);
	delay_count = 0; /* what was told while the others were made to stall was not read at once */

	/* in the middle of it */
	bench_restart(&bench, SIGUSR1);
	assert_true(listen_until(20000, all_are_back));
	listen_until(3000, NULL);
	for (unsigned i = 0; i < CROWD; i++)
		heard[i].welcome_back = false;
	bench_restart(&bench, SIGUSR2);
	assert_true(listen_until(20000, all_are_back));
	listen_until(9000, NULL); /* longer than Rearm: a repeat is due, and only one */
	print_delays("stalls, and a restart and a kill -9 in their middle");

	for (unsigned i = 0; i < STALLING; i++)
		lab_kill(pressers[i]);
	if (!listen_until(60000, all_are_high))
		fail_msg("not everybody was told that it is over");
	for (unsigned i = STALLING; i < CROWD; i++)
		if (heard[i].lows > 0 || heard[i].critical > 0)
			fail_msg("client %u was told Low, and nothing stalled there", i);
	assert_int_equal(bench_number(&bench, "clients", "connected"), CROWD);
	for (unsigned i = 0; i < CROWD; i++)
		close(clients[i]);
}

GROUP(set_up, tear_down)
