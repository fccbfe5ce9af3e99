/* SPDX-License-Identifier: MIT */
/*
 * test-watch.c - sources of systemd's protocol: what they say is told, without an allocation; their ends; floods; many watches
 *
 * Which target and which kind of source the variables mean is asserted in tests/unit/monitor/test-target.c.
 */
#include <sys/wait.h>

#include "library-bench.h"
#include "../../pressure.h"
#include "../count-malloc.h"

#define TRIGGER "some 200000 2000000"
#define TRIGGER_BASE64 "c29tZSAyMDAwMDAgMjAwMDAwMAA=" /* with its NUL */

static uint64_t cpu_usec(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * USEC_PER_SEC + (uint64_t)ts.tv_nsec / NSEC_PER_USEC;
}

/* What the process computed during a glance, in percent of one processor. */
static unsigned busy_percent(void)
{
	uint64_t cpu = cpu_usec(CLOCK_PROCESS_CPUTIME_ID), wall = now_usec();

	usleep(150 * 1000);
	return (unsigned)((cpu_usec(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 100 / (now_usec() - wall));
}

#define IDLE_PERCENT 20 /* sanitizers included; a spin is 50 and more */

/* The end of an io_uring interrupts system calls of the thread that made it. */
static void write_all(int fd, size_t size)
{
	static const char bytes[100000];

	while (size > 0) {
		ssize_t n = write(fd, bytes, MIN(size, sizeof(bytes)));

		assert_true(n > 0 || errno == EINTR);
		size -= n > 0 ? (size_t)n : 0;
	}
}

/* A FIFO or a socket of that name, whose other end is there when connect_peer() returns. */
static struct psb_watch_options options_of(bool is_socket, int *ret_listener)
{
	*ret_listener = is_socket ? listen_at(fake_path("socket")) : -1;
	return quick_options(is_socket ? fake_path("socket") : make_fifo("fifo"));
}

static void connect_peer(struct bench *b, int listener)
{
	b->listener = listener;
	b->peer = listener >= 0 ? accept_soon(listener) : open_fifo("fifo");
}

static void lose_peer(struct bench *b)
{
	if (b->listener >= 0)
		close(b->listener);
	close(b->peer);
	b->listener = b->peer = -1;
}

/* ---- what they say ------------------------------------------------------------------------------- */

/* More than a pipe holds: it must be emptied. */
PROMISE(a_burst_of_100000_bytes_is_one_low_with_its_end_and_the_next_writer_is_heard)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	struct bench *b;

	/* all of it comes before Low ends, however late our turns are; inline, or Neutral may be overtaken */
	options.quiet_usec = USEC_PER_SEC;
	options.calm_usec = 2 * USEC_PER_SEC;
	b = bench_with(state, &options, PSB_INLINE);
	for (unsigned i = 0; i < 2; i++) {
		b->peer = open_fifo("fifo");
		assert_int_equal(fcntl(b->peer, F_SETFL, 0), 0);
		write_all(b->peer, i == 0 ? 100000 : 1);
		AWAIT(&b->rx, b->rx.calls > b->rx.heard);
		lose_peer(b);
		hear(&b->rx, "LNH");
		assert_received(b, 3 * i, PSB_REASON_SIGNAL);
		assert_received(b, 3 * i + 1, PSB_REASON_CALM);
	}
	assert_true(received(&b->rx, 1).time_usec - received(&b->rx, 0).time_usec >=
		    options.quiet_usec);
	assert_true(busy_percent() < IDLE_PERCENT); /* though its writer went */
	assert_int_equal(stats_of(b).callbacks, 6);
	assert_true(stats_of(b).alarms >= 2);
}

PROMISE(each_byte_of_a_socket_is_heard_and_what_was_to_be_written_arrives)
{
	struct psb_watch_options options = quick_options(NULL);
	int listener = listen_at(fake_path("socket"));
	struct bench *b;
	char buf[64];

	options.quiet_usec = options.calm_usec = LONG_USEC;
	options.rearm_usec = 1;
	setenv("MEMORY_PRESSURE_WATCH", fake_path("socket"), 1);
	setenv("MEMORY_PRESSURE_WRITE", TRIGGER_BASE64, 1);
	b = bench_with(state, &options, PSB_INLINE);
	connect_peer(b, listener);
	assert_int_equal(recv_soon(b->peer, buf, sizeof(buf)), sizeof(TRIGGER));
	assert_memory_equal(buf, TRIGGER, sizeof(TRIGGER));
	for (unsigned i = 1; i <= 3; i++) {
		write_all(b->peer, 1);
		/* an inline call that takes microseconds may swallow a repeat that comes within 20 times that */
		AWAIT_SEEN(stats_of(b).low >= i);
	}
	assert_received(b, 0, PSB_REASON_SIGNAL);
	assert_string_equal(source_of(b->watch).name, "socket");
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	assert_string_equal(source_of(b->watch).path, fake_path("socket"));
	b->watch = psb_watch_unref(b->watch);
	assert_int_equal(recv_soon(b->peer, buf, sizeof(buf)), 0); /* and the end is an end */
}

/* ---- their ends ---------------------------------------------------------------------------------- */

/* psibridged starts later than we do, or a FIFO is made by what is to write to it. */
PROMISE(a_source_that_was_away_is_heard_when_it_is_there)
{
	enum { FIFO_ANEW, PEER_BACK, SOCKET_LATER, FIFO_LATER, WAYS };

	for (int way = 0; way < WAYS; way++) {
		bool is_socket = way == PEER_BACK || way == SOCKET_LATER,
		     is_later = way >= SOCKET_LATER;
		const char *name = is_socket ? "socket" : "fifo";
		struct psb_watch_options options = quick_options(is_later ? NULL : fake_path(name));
		int listener = -1;
		struct bench *b;

		unlink(fake_path(name));
		if (is_later) {
			need_another_rung(state);
			setenv("MEMORY_PRESSURE_WATCH", fake_path(name), 1);
			be_deaf(&options);
		}
		if (is_socket)
			listener = listen_at(fake_path(name));
		else if (way == FIFO_ANEW)
			make_fifo(name);
		if (way == SOCKET_LATER)
			close(listener); /* its file stays */
		/* a Low that ends before a busy machine tells it is told to nobody */
		options.quiet_usec = LONG_USEC;
		b = bench_with(state, &options, PSB_TELL_SOURCE | PSB_INLINE);
		assert_int_equal(source_of(b->watch).rung > PSB_RUNG_PROTOCOL, is_later);
		if (is_later)
			assert_non_null(strstr(source_of(b->watch).why, name));
		if (way == PEER_BACK) {
			connect_peer(b, listener);
			lose_peer(b);
			assert_true(busy_percent() < IDLE_PERCENT);
		}
		if (is_socket) {
			connect_peer(b, listen_at(fake_path(name)));
		} else {
			unlink(fake_path(name));
			make_fifo(name);
		}
		hear(&b->rx, "S"); /* within 10 s; the end of a file is no pressure */
		assert_string_equal(source_of(b->watch).name, name);
		assert_string_equal(source_of(b->watch).why, "");
		if (!is_socket)
			connect_peer(b, -1);
		write_all(b->peer, 1);
		hear(&b->rx, "L");
		bench_free(b);
	}
}

PROMISE(while_the_peer_is_away_the_own_ladder_is_watched_if_that_is_allowed)
{
	int listener;
	struct psb_watch_options options = options_of(true, &listener);
	struct bench *b;

	need_another_rung(state);
	be_deaf(&options);
	b = bench_with(state, &options, PSB_TELL_SOURCE);
	connect_peer(b, listener);
	write_all(b->peer, 1);
	AWAIT(&b->rx, b->rx.calls > 0);
	lose_peer(b);
	/* a Low of when it broke does not stay */
	AWAIT(&b->rx, source_of(b->watch).rung != PSB_RUNG_PROTOCOL && last_is(&b->rx, 'H'));
	connect_peer(b, listen_at(options.source));
	hear_last(&b->rx, 'S');
	assert_int_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
}

/* Driven by us, so that the loop finds both at once. */
PROMISE(a_watch_may_be_given_up_while_its_peer_closes)
{
	for (int i = 0; i < 10; i++) {
		int listener;
		struct psb_watch_options options = options_of(true, &listener);
		struct bench *b = bench_bare(state);

		if (i % 2)
			be_deaf(&options);
		arm(b, &options);
		connect_peer(b, listener);
		while (psb_bridge_dispatch(b->bridge) > 0)
			;
		b->watch = psb_watch_unref(b->watch);
		lose_peer(b);
		for (int k = 0; k < 10; k++)
			assert_true(psb_bridge_dispatch(b->bridge) >= 0);
		bench_free(b);
	}
}

/* ---- without an allocation --------------------------------------------------------------------- */

/*
 * The library must work best when memory is worst: malloc and its kin are counted from when the loop has run and each callback was
 * called once until a Low and its end were told. (psb_watch_simulate() allocates, on the caller's thread.)
 */
static void skip_if_sanitized(void)
{
	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
}

/* What is taken next; in the mailbox that a callback on a thread of its own (rx) and one inline (fence) are beside. */
static enum psb_available take(struct bench *b)
{
	struct psb_notification n = { .size = sizeof(n) };

	assert_int_equal(psb_mailbox_take(b->mailbox, PATIENCE_USEC, &n), 1);
	return n.available;
}

/* Each has had its first. */
static void begin_to_hear(struct bench *b)
{
	listen_with(b, &b->fence, PSB_TELL_PRESENT | PSB_INLINE);
	assert_int_equal(psb_mailbox_new(b->watch, PSB_TELL_PRESENT, &b->mailbox), 0);
	assert_int_equal(take(b), PSB_HIGH);
	hear(&b->rx, "H");
	hear(&b->fence, "H");
}

static void await_end_of_low(struct bench *b)
{
	AWAIT(&b->rx, last_is(&b->rx, 'H'));
	AWAIT(&b->fence, last_is(&b->fence, 'H'));
}

PROMISE(a_source_is_heard_without_an_allocation)
{
	skip_if_sanitized();
	for (int is_socket = 0; is_socket < 2; is_socket++) {
		int listener;
		struct psb_watch_options options = options_of(is_socket, &listener);
		struct bench *b;

		/* longer than any thread is late, or what it is about to take is overtaken */
		options.quiet_usec = USEC_PER_SEC / 2;
		options.calm_usec = USEC_PER_SEC;
		options.rearm_usec = 1;
		b = bench_with(state, &options, PSB_TELL_PRESENT);
		connect_peer(b, listener);
		begin_to_hear(b);
		count_malloc_start();
		for (int i = 0; i < 100; i++)
			write_all(b->peer, 1);
		AWAIT(&b->rx, last_is(&b->rx, 'L'));
		while (take(b) != PSB_NEUTRAL)
			;
		await_end_of_low(b);
		write_all(b->peer, 1); /* overtakes the High */
		AWAIT(&b->fence, last_is(&b->fence, 'L'));
		assert_int_equal(take(b), PSB_LOW);
		await_end_of_low(b);
		count_malloc_stop();
		bench_free(b);
	}
}

static struct lab lab;

static void end_lab(void)
{
	lab_kill_all();
	lab_close(&lab);
}

static void need_lab(void)
{
	const char *no_lab = lab_open(&lab, "watch");

	if (no_lab)
		SKIP(no_lab);
	end_more = end_lab;
}

PROMISE(real_pressure_is_told_without_an_allocation)
{
	struct psb_watch_options options = quick_options(NULL);
	struct bench *b;
	pid_t pid;

	skip_if_sanitized();
	need_lab();
	lab_make(&lab, "a", LAB_LIMIT);
	options.cgroup = lab_path(&lab, "a");
	options.rungs = 0;
	options.early = "some 2ms/1s";
	options.low = "some 5ms/1s";
	options.critical = "full 900ms/1s";
	b = bench_with(state, &options, PSB_TELL_PRESENT);
	begin_to_hear(b);
	pid = lab_press(&lab, "a");
	count_malloc_start();
	if (!AWAIT_FOR(&b->rx, last_is(&b->rx, 'L'), PATIENCE_USEC))
		SKIP("this machine's disk and memory make no pressure");
	lab_kill(pid);
	await_end_of_low(b);
	count_malloc_stop();
	assert_true(stats_of(b).alarms > 0);
	assert_true(stats_of(b).samples > 3);
}

/* ---- a flood ----------------------------------------------------------------------------------- */

/* Writes a byte as often as it can, until it is ended. */
static pid_t flood(int fd)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	fcntl(fd, F_SETFL, 0);
	while (write(fd, "\1", 1) == 1)
		;
	_exit(1);
}

static _Atomic(clockid_t) loop_clock;

static void find_loop_clock(_unused_ struct receiver *rx, _unused_ const struct psb_notification *n)
{
	clockid_t clock;

	pthread_getcpuclockid(pthread_self(), &clock);
	loop_clock = clock;
}

static bool is_emulated(void)
{
	const char *stage = getenv("PSIBRIDGE_STAGE");

	return stage && strcmp(stage, "vm") == 0;
}

/* A loop that follows a flood takes 97 % of its core, ours 0.03 to 0.05 %, ten times as much where the machine is emulated, and 1.2 % was
 * seen there with both CPUs of the host taken: three hundredths are enough to tell it from one that follows. */
PROMISE(a_flood_costs_no_hundredth_of_a_core_and_is_low_throughout)
{
	for (int is_socket = 0; is_socket < 2; is_socket++) {
		int listener;
		const char *source = options_of(is_socket, &listener).source;
		struct psb_watch_options options = { .size = sizeof(options), .source = source };
		struct bench *b = bench_bare(state);
		uint64_t cpu, alarms;
		pid_t pid;

		b->rx.act = find_loop_clock;
		arm(b, &options);
		listen_with(b, &b->rx, PSB_INLINE);
		connect_peer(b, listener);
		run(b);
		pid = flood(b->peer);
		AWAIT(&b->rx, b->rx.calls > 0);
		usleep(2 * USEC_PER_SEC); /* its beginning is dearer */
		cpu = cpu_usec(loop_clock);
		alarms = stats_of(b).alarms;
		usleep(2 * USEC_PER_SEC);
		cpu = cpu_usec(loop_clock) - cpu;
		alarms = stats_of(b).alarms - alarms;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		assert_true(last_is(&b->rx, 'L'));
		assert_in_range(alarms, 1, 8);
		if (!is_emulated()) /* what others of the host do counts as a guest's CPU time */
			assert_in_range(cpu, 0, 2 * USEC_PER_SEC / 100);
		bench_free(b);
	}
}

/* ---- questions, and many ---------------------------------------------------------------------------- */

/* This process itself, not a child of it: a thread sanitizer loses track of threads that are made after a fork. */
PROMISE(variables_of_another_unit_are_ignored_and_that_is_logged)
{
	struct bench *b = bench_bare(state);
	bool is_mine;

	need_lab();
	lab_make(&lab, "mine", 0);
	lab_make(&lab, "other", 0);
	lab_enter(&lab, "mine");
	setenv("MEMORY_PRESSURE_WATCH", lab_file(&lab, "other", "memory.pressure"), 1);
	arm(b, NULL);
	is_mine = strstr(source_of(b->watch).cgroup, "/mine");
	lab_enter(&lab, NULL);
	assert_true(is_mine);
	assert_int_not_equal(source_of(b->watch).rung, PSB_RUNG_PROTOCOL);
	await_log(b, "belongs to another unit");
}

#define TRIGGERS (PSB_RUNG_MASK(PSB_RUNG_PRIVILEGED) | PSB_RUNG_MASK(PSB_RUNG_TRIGGER))

/* Closing a PSI trigger takes 9 to 20 ms, so descriptors last only if making watches waits for it. */
PROMISE(watches_made_and_given_up_without_end_leave_descriptors)
{
	struct psb_watch_options options = { .size = sizeof(options) };

	need_rungs(state, TRIGGERS);
	be_deaf(&options);
	options.rungs = TRIGGERS;
	for (int driven = 0; driven < 3; driven++) { /* by nobody yet, a thread, us: who are busy */
		struct bench *b = bench_bare(state);
		int r = 0;

		if (driven > 0)
			r = driven == 1 ? psb_bridge_start(b->bridge) : psb_bridge_fd(b->bridge);
		descriptors_allow(70);
		for (unsigned i = 0; i < 80 && r >= 0; i++) {
			r = psb_watch_new(b->bridge, &options, &b->watch);
			b->watch = psb_watch_unref(b->watch);
		}
		descriptors_allow(DESCRIPTORS_ALL);
		assert_true(r >= 0);
		bench_free(b);
	}
}
