/* SPDX-License-Identifier: MIT */
/*
 * test-protocol.c - $MEMORY_PRESSURE_WATCH and $MEMORY_PRESSURE_WRITE, as systemd documents them
 */
#include "library-bench.h"
#include "../../pressure.h"

#include <sys/wait.h>

static psb_watch *watch_environment(psb_bridge *bridge, const char *watch, const char *write)
{
	struct psb_watch_options options = quick_options(NULL);
	psb_watch *ret = NULL;
	char text[320] = "";

	options.rungs = 0;
	options.quiet_usec =
		LONG_USEC; /* a Low that ends before a busy machine tells it is told by nobody */
	options.error_text = text;
	options.error_text_size = sizeof(text);
	setenv("MEMORY_PRESSURE_WATCH", watch, 1);
	if (write)
		setenv("MEMORY_PRESSURE_WRITE", write, 1);
	else
		unsetenv("MEMORY_PRESSURE_WRITE");
	if (psb_watch_new(bridge, &options, &ret) < 0)
		print_message("# %s\n", text);
	return ret;
}

PROMISE(the_protocols_variables_are_followed_in_all_their_forms)
{
	psb_bridge *bridge = make_bridge(*state);
	const char *path;
	psb_watch *watch;
	char buf[64];
	int listener, peer;

	/* a FIFO; what WRITE says is for others, and is not written into it */
	path = in_directory("fifo");
	make_fifo("fifo");
	watch = watch_environment(bridge, path, "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
	assert_non_null(watch);
	assert_string_equal(source_of(watch).name, "fifo");
	assert_string_equal(source_of(watch).path, path);
	psb_watch_unref(watch);

	/* a socket; the peer gets what WRITE says, decoded, with the NUL behind it */
	path = in_directory("socket");
	listener = listen_at(path);
	watch = watch_environment(bridge, path, "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
	assert_non_null(watch);
	peer = accept_soon(listener);
	assert_int_equal(recv(peer, buf, sizeof(buf), 0), 20);
	assert_memory_equal(buf, "some 200000 2000000", 20);
	assert_string_equal(source_of(watch).name, "socket");
	psb_watch_unref(watch);
	close(peer);
	close(listener);

	/* not set, or set to nothing: the own cgroup */
	if (can_watch_own_cgroup(bridge, ~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL))) {
		watch = watch_environment(bridge, "", NULL);
		assert_non_null(watch);
		assert_true(source_of(watch).rung > PSB_RUNG_PROTOCOL);
		psb_watch_unref(watch);
	}
	psb_bridge_unref(bridge);
}

static bool was_told(const struct receiver *rx, enum psb_available level)
{
	for (int i = 0; i < RECEIVED_MAX; i++)
		if (rx->received[i].available == level)
			return true;
	return false;
}

/* psibridged starts later than we do, or a FIFO is made by what is to write to it. */
PROMISE(what_a_variable_names_is_listened_to_when_it_appears)
{
	struct bench *b;

	need_another_rung(state);
	unlink(in_directory("later"));
	b = bench_bare(state);
	b->bridge = make_bridge(b->variant);
	b->watch = watch_environment(b->bridge, in_directory("later"), NULL);
	assert_non_null(b->watch);
	assert_true(source_of(b->watch).rung > PSB_RUNG_PROTOCOL);
	assert_non_null(strstr(source_of(b->watch).why, "later: No such file"));
	listen_with(b, &b->rx, PSB_TELL_SOURCE | PSB_INLINE);
	assert_int_equal(psb_bridge_start(b->bridge), 0);
	make_fifo("later");
	/* looked for after 1 s */
	AWAIT_SEEN(strcmp(source_of(b->watch).name, "fifo") == 0);
	b->peer = open_fifo("later");
	assert_int_equal(write(b->peer, "\1", 1), 1);
	/* our own cgroup may have been, or be, short of memory really */
	AWAIT(&b->rx, was_told(&b->rx, PSB_LOW));
}

/* Writes a byte as often as it can, until it is ended. */
static pid_t flood(const char *fifo, int fd)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (fifo)
		fd = open(fifo, O_WRONLY | O_CLOEXEC);
	while (write(fd, "\1", 1) == 1)
		;
	_exit(1);
}

static _Atomic(clockid_t) loop_clock;

static void find_loop_clock(struct receiver *rx, const struct psb_notification *n)
{
	clockid_t clock;

	(void)rx;
	(void)n;
	pthread_getcpuclockid(pthread_self(), &clock);
	loop_clock = clock;
}

/*
 * Returns: the CPU time that the loop's thread takes in 4 s of it. A loop that follows a flood takes
 * 97 % of it, ours 0.03 to 0.05 %, ten times as much where the machine is emulated.
 */
static uint64_t cost_of_a_flood(psb_bridge *bridge, const char *path, bool is_socket)
{
	struct psb_watch_options options = { .size = sizeof(options), .source = path };
	int listener = is_socket ? listen_at(path) : -1, peer = -1;
	psb_watch *watch;
	uint64_t cpu;
	struct receiver rx;
	pid_t pid;

	receiver_init(&rx);
	rx.act = find_loop_clock;
	assert_int_equal(psb_watch_new(bridge, &options, &watch), 0);
	assert_int_equal(psb_watch_add_callback(watch, receive, &rx, PSB_INLINE, NULL), 0);
	if (is_socket)
		peer = accept_soon(listener);
	psb_bridge_start(bridge);
	pid = flood(is_socket ? NULL : path, peer);
	close(peer);
	AWAIT(&rx, rx.calls > 0);
	usleep(2 * USEC_PER_SEC); /* its beginning is dearer */
	cpu = clock_usec(loop_clock);
	usleep(4 * USEC_PER_SEC);
	cpu = clock_usec(loop_clock) - cpu;
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(rx.received[(rx.calls - 1) % RECEIVED_MAX].available, PSB_LOW);
	psb_watch_unref(watch);
	close(listener);
	return cpu;
}

PROMISE(a_flood_costs_no_hundredth_of_a_core_and_is_low_throughout)
{
	psb_bridge *bridge = make_bridge(*state);
	char *fifo = strdup(in_directory("flood")), *address = strdup(in_directory("flood-socket"));

	assert_true(mkfifo(fifo, 0600) == 0 || errno == EEXIST);
	assert_in_range(cost_of_a_flood(bridge, fifo, false), 0, 4 * USEC_PER_SEC / 100);
	assert_in_range(cost_of_a_flood(bridge, address, true), 0, 4 * USEC_PER_SEC / 100);
	psb_bridge_unref(bridge);
	free(fifo);
	free(address);
}

PROMISE(a_fifo_that_is_made_anew_is_heard_again)
{
	struct psb_watch_options options = quick_options(in_directory("anew"));
	struct bench *b;

	/* a Low that ends before a busy machine tells it is told by nobody */
	options.quiet_usec = LONG_USEC;
	unlink(options.source);
	make_fifo("anew");
	b = bench_with(state, &options, PSB_TELL_SOURCE);
	unlink(options.source);
	make_fifo("anew");
	AWAIT(&b->rx, b->rx.calls > 0); /* noticed within 10 s */
	assert_string_equal(source_of(b->watch).name, "fifo");
	assert_string_equal(source_of(b->watch).why, "");
	b->peer = open_fifo("anew");
	assert_int_equal(write(b->peer, "\1", 1), 1);
	AWAIT(&b->rx, b->rx.calls > 1 && b->rx.received[1].available == PSB_LOW);
}

PROMISE(a_psi_file_of_the_protocol_is_armed)
{
	struct psb_watch_options options = quick_options("/proc/pressure/memory");
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch;
	int r = psb_watch_new(bridge, &options, &watch);

	if (r < 0) {
		psb_bridge_unref(bridge);
		SKIP("no trigger can be set on /proc/pressure/memory");
	}
	assert_string_equal(source_of(watch).name, "psi-file");
	assert_memory_equal(source_of(watch).trigger, "some ", 5);
	psb_watch_unref(watch);

	watch = watch_environment(bridge, "/proc/pressure/memory", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
	assert_non_null(watch);
	assert_int_equal(source_of(watch).rung, PSB_RUNG_PROTOCOL);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
}

PROMISE(a_target_that_was_named_wins_over_the_variables)
{
	struct psb_watch_options options = quick_options(make_fifo("fifo"));
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch;

	setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1);
	assert_int_equal(psb_watch_new(bridge, &options, &watch), 0);
	assert_string_equal(source_of(watch).name, "fifo");
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
}

/* Variables that a child of a service inherited name the file of another cgroup. */
struct lines {
	unsigned inherited;
};

static void count_line(void *userdata, int priority, const char *message)
{
	struct lines *lines = userdata;

	lines->inherited += priority == 4 && strstr(message, "belongs to another unit") != NULL;
}

/* This process itself, not a child of it: a thread sanitizer loses track of threads that are made after a fork. */
PROMISE(variables_of_another_unit_are_ignored_and_that_is_logged)
{
	const struct variant *variant = *state;
	struct lines lines = { 0 };
	struct psb_bridge_options o = { .size = sizeof(o),
					.backend = variant->backend,
					.log = count_line,
					.log_userdata = &lines };
	static struct psb_source source = { .size = sizeof(source) };
	const char *no_lab;
	psb_bridge *bridge;
	psb_watch *watch;
	struct lab lab;
	bool is_mine;

	no_lab = lab_open(&lab, "watch");
	if (no_lab)
		SKIP(no_lab);
	lab_make(&lab, "mine", 0);
	lab_make(&lab, "other", 0);
	lab_enter(&lab, "mine");
	setenv("MEMORY_PRESSURE_WATCH", lab_file(&lab, "other", "memory.pressure"), 1);
	assert_int_equal(psb_bridge_new(&o, &bridge), 0);
	assert_int_equal(psb_watch_new(bridge, NULL, &watch), 0);
	assert_int_equal(psb_watch_source(watch, &source), 0);
	is_mine = strstr(source.cgroup, "/mine"); /* the watch's */
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	lab_enter(&lab, NULL);
	lab_close(&lab);
	assert_int_equal(lines.inherited, 1);
	assert_true(source.rung != PSB_RUNG_PROTOCOL);
	assert_true(is_mine);
}
