/* SPDX-License-Identifier: MIT */
/*
 * test-bus-life.c - buses that come late, die, hang, and give names to others; LowMemoryMonitor
 */
#include "bus-bench.h"

#include <sys/socket.h>
#include <sys/un.h>

static enum loop_backend backend_of(void **state)
{
	return *(const enum loop_backend *)*state;
}

static void need_a_bus(void)
{
	if (!have_dbus_daemon())
		SKIP("no dbus-daemon here");
}

/* Nothing is under way any more, no timer is set: only a descriptor may wake the loop. */
static void becomes_idle(void)
{
	const struct bus *bus = house.d.bus;

	SPIN(!bus->retry.queued && !bus->due.queued && !bus->emit.queued);
	SPIN(loop_dispatch(house.d.loop, 0) == 0);
	assert_false(bus->retry.queued || bus->due.queued || bus->emit.queued);
}

static int listen_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(bind(fd, (void *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

/* ---- coming and going ------------------------------------------------------------------------ */

static void without_a_bus_nothing_wakes_us(void **state)
{
	daemon_up(backend_of(state));
	SPIN(house.d.bus->told_away);
	becomes_idle();
	assert_int_equal(house.d.bus->state, BUS_AWAY);
	assert_true(door_is_open(&house.d.bus->door));
	fake_tell(1, "/a", PSB_LOW, false, PSB_REASON_STALL, 1);
	fake_tell_trees();
	bus_config_changed(house.d.bus);
	becomes_idle();
	assert_int_equal(fake.line_count, 1); /* "there is no bus" is said once */
	assert_int_equal(fake.priorities[0], LOG_IS_INFO);
}

static void a_bus_that_comes_later_is_found(void **state)
{
	need_a_bus();
	daemon_up(backend_of(state));
	SPIN(house.d.bus->told_away);
	becomes_idle();
	bus_start(); /* makes its directory too */
	SPIN(names_are_ours());
	assert_non_null(fake_line("connected"));
	SPIN(!loop_op_is_busy(&house.d.bus->door.op));
	becomes_idle();
}

static void a_bus_that_restarts_is_found_again(void **state)
{
	all_up(state);
	for (unsigned i = 0; i < 3; i++) {
		house.client = sd_bus_close_unref(house.client);
		bus_stop();
		SPIN(house.d.bus->state != BUS_READY);
		assert_null(house.d.bus->lowmem.watch);
		bus_start();
		SPIN(names_are_ours());
		client_up(geteuid());
		listen_for_signals();
		fake_tell(1, "/a", PSB_LOW, false, PSB_REASON_STALL, i);
		SPIN(heard_line("LevelChanged /a low"));
	}
}

/* A socket where nobody listens: what a bus that was killed leaves behind. */
static void a_dead_socket_is_not_asked_for_ever(void **state)
{
	need_a_bus();
	bus_start();
	bus_stop();
	daemon_up(backend_of(state));
	SPIN(house.d.bus->failures > 1);
	house.d.bus->failures = 100; /* as if time had passed */
	SPIN(!house.d.bus->retry.queued);
	becomes_idle();
	bus_start();
	SPIN(names_are_ours());
}

static void attempts_that_fail_come_slower_and_slower(void **state)
{
	char address[600];
	uint64_t delay = 0;

	/* nothing there that inotify could tell of */
	snprintf(address, sizeof(address), "unix:abstract=psibridge-nobody-%d", (int)getpid());
	daemon_up(backend_of(state));
	house.d.bus = bus_free(house.d.bus);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
	fake_reset();
	assert_int_equal(bus_new(&house.d, &house.d.bus), 0);
	for (unsigned i = 0; i < 14; i++) {
		struct bus *bus = house.d.bus;
		uint64_t was = delay;

		SPIN(bus->failures == i + 1);
		assert_true(bus->retry.queued);
		delay = bus->retry.deadline_usec - now_usec();
		assert_true(delay <= 60 * USEC_PER_SEC);
		assert_true(i < 2 || delay > was || delay > 59 * USEC_PER_SEC);
		loop_timer_set(house.d.loop, &bus->retry, now_usec()); /* no need to wait */
	}
	assert_true(delay > 59 * USEC_PER_SEC);
	assert_int_equal(fake.line_count, 1);
}

/* It takes the connection, and then nothing. */
static void a_bus_that_says_nothing_holds_nobody_up(void **state)
{
	int fd;

	fake_write("run/dbus/", "");
	fd = listen_at(bus_socket());
	daemon_up(backend_of(state));
	SPIN(house.d.bus->state == BUS_OPENING);
	for (unsigned i = 0; i < 20; i++)
		loop_turn(0);
	assert_int_equal(house.d.bus->state, BUS_OPENING);
	assert_true(house.d.bus->due.queued); /* sd-bus gives up some time */
	close(fd);			      /* and now it is gone: hung up on */
	SPIN(house.d.bus->state == BUS_AWAY);
	assert_true(house.d.bus->failures > 0);
}

static void a_bus_that_hangs_up_at_once_is_asked_slower_and_slower(void **state)
{
	int listener;

	fake_write("run/dbus/", "");
	listener = listen_at(bus_socket());
	daemon_up(backend_of(state));
	for (unsigned i = 0; i < 6; i++) {
		struct bus *bus = house.d.bus;
		uint64_t now;

		SPIN(bus->state == BUS_OPENING);
		close(accept(listener, NULL, NULL));
		SPIN(bus->state == BUS_AWAY);
		now = now_usec();
		assert_true(bus->retry.queued);
		assert_true(bus->retry.deadline_usec > now + (UINT64_C(50000) << i));
		loop_timer_set(house.d.loop, &bus->retry, now); /* no need to wait */
	}
	close(listener);
}

/* ---- a bus that does not read ---------------------------------------------------------------- */

static void a_bus_that_hangs_holds_nobody_up_and_gets_the_newest_state(void **state)
{
	char cgroup[64];
	uint64_t queued = 0;

	all_up(state);
	fake_plant(1, "a/**");
	fake_tell_trees();
	SPIN(heard_line("WatchAdded"));
	kill(bus_pid, SIGSTOP);
	/* long names fill the socket's buffer soon */
	for (unsigned round = 0; round < 400; round++) {
		house.d.bus->emitted_usec = 0; /* no pause */
		for (unsigned i = 0; i < 8; i++) {
			snprintf(cgroup, sizeof(cgroup), "/a/%u/%u/%040d", round, i, 0);
			fake_tell(1, cgroup, PSB_LOW, false, PSB_REASON_STALL, 1);
		}
		while (loop_dispatch(house.d.loop, 0) > 0)
			;
	}
	assert_true(sd_bus_get_n_queued_write(house.d.bus->sd, &queued) >= 0);
	assert_true(queued >= BUS_QUEUE_MAX);
	assert_true(queued <= 2 * BUS_QUEUE_MAX + 64);
	assert_false(bus_takes(house.d.bus));
	becomes_idle(); /* waits for room, does not look for it */
	fake_tell(1, "/a/1", PSB_NEUTRAL, true, PSB_REASON_CALM, 0);
	heard_not = "LevelChanged";
	kill(bus_pid, SIGCONT);
	SPIN(heard_line("LevelsMissed"));
	SPIN(heard_line("Available=neutral"));
	SPIN(!loop_op_is_busy(&house.d.bus->out)); /* with nothing to write nothing wakes us */
}

/* ---- names ----------------------------------------------------------------------------------- */

static void a_name_that_is_taken_is_noted_and_comes_to_us_when_it_is_free(void **state)
{
	sd_bus_message *answer = NULL, *signal = NULL;

	need_a_bus();
	bus_start();
	daemon_up(backend_of(state));
	house.config.bus = house.config.low_memory_monitor = false;
	SPIN(house.d.bus->state == BUS_OFF);
	client_up(geteuid());
	assert_true(sd_bus_call_method_async(house.client, NULL, "org.freedesktop.DBus", "/",
					     "org.freedesktop.DBus", "RequestName", answer_came,
					     &answer, "su", LOWMEM_NAME, 0) >= 0);
	SPIN(answer);
	sd_bus_message_unref(answer);
	house.config.bus = house.config.low_memory_monitor = true;
	bus_config_changed(house.d.bus);
	SPIN(fake_line(LOWMEM_NAME));
	assert_int_equal(fake.priorities[fake.line_count - 1], LOG_IS_NOTICE);
	assert_true(house.d.bus->names[BUS_NAME_OURS].owned);
	assert_false(house.d.bus->names[BUS_NAME_LOWMEM].owned);
	assert_null(house.d.bus->lowmem.watch);
	assert_int_equal(house.d.bus->state, BUS_READY);
	/* somebody else may say what he likes */
	assert_true(sd_bus_message_new_signal(house.client, &signal, "/org/freedesktop/DBus",
					      "org.freedesktop.DBus", "NameAcquired") >= 0);
	assert_true(sd_bus_message_append(signal, "s", LOWMEM_NAME) >= 0);
	assert_true(sd_bus_message_set_destination(signal, BUS_NAME) >= 0);
	assert_true(sd_bus_send(house.client, signal, NULL) >= 0);
	sd_bus_message_unref(signal);
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "ListWatches", NULL), NULL), "");
	assert_false(house.d.bus->names[BUS_NAME_LOWMEM].owned);
	house.client = sd_bus_close_unref(house.client);
	SPIN(names_are_ours());
	assert_non_null(house.d.bus->lowmem.watch);
}

static void a_name_that_is_refused_is_noted_and_the_rest_goes_on(void **state)
{
	need_a_bus();
	bus_policy = OPEN_POLICY
		"<policy context=\"mandatory\"><deny own=\"org.psibridge1\"/></policy>";
	bus_start();
	daemon_up(backend_of(state));
	SPIN(fake_line("we may not have the name org.psibridge1:"));
	SPIN(house.d.bus->names[BUS_NAME_LOWMEM].owned);
	assert_int_equal(house.d.bus->state, BUS_READY);
}

static void the_configuration_turns_either_off_and_on(void **state)
{
	all_up(state);
	house.config.low_memory_monitor = false;
	bus_config_changed(house.d.bus);
	SPIN(names_are_ours() && !house.d.bus->with_lowmem);
	assert_null(house.d.bus->lowmem.watch);
	house.config.bus = false;
	bus_config_changed(house.d.bus);
	SPIN(house.d.bus->state == BUS_OFF);
	assert_false(loop_op_is_busy(&house.d.bus->in));
	house.config.low_memory_monitor = true;
	bus_config_changed(house.d.bus);
	SPIN(names_are_ours());
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "ListWatches", NULL), NULL),
			    SD_BUS_ERROR_SERVICE_UNKNOWN);
}

static void turn_off(struct daemon *daemon)
{
	house.config.bus = house.config.low_memory_monitor = false;
	bus_config_changed(daemon->bus);
}

/* Reload() ends the connection it came by: after its answer. */
static void who_reloads_gets_an_answer_though_the_bus_is_turned_off(void **state)
{
	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can show what root may do");
	fake.on_reload = turn_off;
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "Reload", NULL), NULL), "");
	SPIN(house.d.bus->state == BUS_OFF);
}

/* ---- LowMemoryMonitor ------------------------------------------------------------------------ */

static void a_level_of_the_machine_becomes_a_warning(void **state)
{
	static const struct {
		enum psb_available available;
		int critical;
		const char *heard; /* NULL: nothing */
	} steps[] = {
		{ PSB_NEUTRAL, 0, "LowMemoryWarning " LOWMEM_PATH " 50" },
		{ PSB_LOW, 0, "LowMemoryWarning " LOWMEM_PATH " 100" },
		{ PSB_LOW, 1, "LowMemoryWarning " LOWMEM_PATH " 255" },
		{ PSB_NEUTRAL, 0, NULL }, /* better than it was */
		{ PSB_HIGH, 0, NULL },
		{ PSB_LOW, 1, "LowMemoryWarning " LOWMEM_PATH " 255" },
		{ PSB_HIGH, 0, NULL },
		{ PSB_NEUTRAL, 0, "LowMemoryWarning " LOWMEM_PATH " 50" },
	};

	all_up(state);
	if (!house.d.bus->lowmem.watch)
		SKIP("the machine's pressure cannot be watched here");
	for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
		heard_count = 0;
		assert_int_equal(psb_watch_simulate(house.d.bus->lowmem.watch, steps[i].available,
						    steps[i].critical),
				 0);
		SPIN(psb_watch_available(house.d.bus->lowmem.watch, NULL) == steps[i].available);
		/* behind it in the same emission, or in a later one */
		fake_tell(1, "/fence", PSB_LOW, false, PSB_REASON_STALL, i);
		if (steps[i].heard)
			SPIN(heard_line(steps[i].heard));
		SPIN(heard_line("/fence"));
		assert_int_equal(heard_lines("LowMemoryWarning"), steps[i].heard != NULL);
	}
}

static void simulating_the_root_warns_whole_machine(void **state)
{
	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can show what root may do");
	if (!house.d.bus->lowmem.watch)
		SKIP("the machine's pressure cannot be watched here");
	fake.simulate_result = -ENOENT; /* the forest has no watch on "/" */
	assert_string_equal(
		error_of(ask(BUS_PATH, BUS_MANAGER, "Simulate", "ssb", "/", "low", 1), NULL), "");
	SPIN(heard_line("LowMemoryWarning " LOWMEM_PATH " 255"));
}

static void in_shadow_nothing_is_sent_and_new_defaults_make_a_new_watch(void **state)
{
	psb_watch *was;

	all_up(state);
	was = house.d.bus->lowmem.watch;
	if (!was)
		SKIP("the machine's pressure cannot be watched here");
	bus_config_changed(house.d.bus);
	assert_ptr_equal(house.d.bus->lowmem.watch, was); /* nothing that concerns it */
	house.config.defaults.shadow = true;
	house.config.defaults.low.threshold_usec = 9000000;
	bus_config_changed(house.d.bus);
	assert_non_null(house.d.bus->lowmem.watch);
	assert_true(house.d.bus->lowmem.settings.shadow);
	assert_int_equal(psb_watch_simulate(house.d.bus->lowmem.watch, PSB_LOW, 1), 0);
	SPIN(psb_watch_available(house.d.bus->lowmem.watch, NULL) == PSB_LOW);
	fake_tell(1, "/fence", PSB_LOW, false, PSB_REASON_STALL, 1);
	SPIN(heard_line("/fence"));
	assert_int_equal(heard_lines("LowMemoryWarning"), 0);
}

/* ---- the door -------------------------------------------------------------------------------- */

static void the_path_of_a_bus_is_read_from_its_address(void **state)
{
	static const struct {
		const char *address, *path;
		int error;
	} cases[] = {
		{ "unix:path=/run/dbus/system_bus_socket", "/run/dbus/system_bus_socket", 0 },
		{ "unix:guid=00,path=/a,x=y", "/a", 0 },
		{ "unix:abstract=x;unix:path=/b;unix:path=/c", "/b", 0 },
		{ "unix:path=/a%20b%2fc%2C", "/a b/c,", 0 },
		{ "tcp:host=localhost,path=/x", NULL, -ENOENT },
		{ "unix:abstract=/x", NULL, -ENOENT },
		{ "unix:notpath=/x", NULL, -ENOENT },
		{ "", NULL, -ENOENT },
		{ ";;", NULL, -ENOENT },
		{ "unix:", NULL, -ENOENT },
		{ "unix:path=", NULL, -ENOENT },
		{ "unix:path=relative", NULL, -EINVAL },
		{ "unix:path=/", NULL, -EINVAL },
		{ "unix:path=/a%2", NULL, -EINVAL },
		{ "unix:path=/a%zz", NULL, -EINVAL },
		{ "unix:path=/a%00", NULL, -EINVAL },
		{ "unix:path=/0123456789012345678901234567890123456789012345678901234567890123456789"
		  "01234567890123456789012345678901234567",
		  NULL, -ENAMETOOLONG },
	};

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		char path[108] = "untouched";
		int r = door_path_of_address(cases[i].address, path);

		if (r != cases[i].error)
			fail_msg("%s: %d", cases[i].address, r);
		assert_string_equal(path, cases[i].path ? cases[i].path : "untouched");
	}
}

static unsigned openings;

static void count_opening(struct door *door)
{
	(void)door;
	openings++;
}

static bool door_is_gone;

static void note_release(struct door *door)
{
	(void)door;
	door_is_gone = true;
}

static void turns(struct loop *loop)
{
	for (unsigned i = 0; i < 20; i++)
		loop_dispatch(loop, 0);
}

static void a_door_follows_directories_that_come_and_go(void **state)
{
	struct loop_options options = { .backend = backend_of(state) };
	struct loop *loop;
	struct door door;

	if (loop_new(&options, &loop, NULL) < 0)
		SKIP("io_uring cannot be had here");
	openings = 0;
	door_is_gone = false;
	door_init(&door, loop, count_opening);
	assert_int_equal(door_open(&door, fake_path("a/b/socket")), 0);
	turns(loop);
	fake_write("x", "");
	fake_write("a/other", "");
	turns(loop);
	assert_int_equal(openings, 0);
	fake_write("a/b/socket2", "");
	turns(loop);
	assert_int_equal(openings, 0);
	fake_write("a/b/socket", "");
	turns(loop);
	assert_int_equal(openings, 1);
	/* all of it again, and at once this time */
	unlink(fake_path("a/b/socket"));
	unlink(fake_path("a/b/socket2"));
	rmdir(fake_path("a/b"));
	turns(loop);
	fake_write("a/b/socket", "");
	turns(loop);
	assert_int_equal(openings, 2);
	/* a directory that is moved away is not the one any more */
	assert_int_equal(rename(fake_path("a/b"), fake_path("a/c")), 0);
	turns(loop);
	fake_write("a/c/socket3", "");
	unlink(fake_path("a/c/socket"));
	fake_write("a/c/socket", "");
	turns(loop);
	assert_int_equal(openings, 2);
	fake_write("a/b/", "");
	turns(loop);
	fake_write("a/b/socket", "");
	turns(loop);
	assert_int_equal(openings, 3);
	door_close(&door, note_release);
	turns(loop);
	assert_true(door_is_gone);
	assert_false(door_is_open(&door));
	loop_free(loop);
}

int main(void)
{
	static const promise promises[] = {
		PROMISE(without_a_bus_nothing_wakes_us),
		PROMISE(a_bus_that_comes_later_is_found),
		PROMISE(a_bus_that_restarts_is_found_again),
		PROMISE(a_dead_socket_is_not_asked_for_ever),
		PROMISE(attempts_that_fail_come_slower_and_slower),
		PROMISE(a_bus_that_says_nothing_holds_nobody_up),
		PROMISE(a_bus_that_hangs_up_at_once_is_asked_slower_and_slower),
		PROMISE(a_bus_that_hangs_holds_nobody_up_and_gets_the_newest_state),
		PROMISE(a_name_that_is_taken_is_noted_and_comes_to_us_when_it_is_free),
		PROMISE(a_name_that_is_refused_is_noted_and_the_rest_goes_on),
		PROMISE(the_configuration_turns_either_off_and_on),
		PROMISE(who_reloads_gets_an_answer_though_the_bus_is_turned_off),
		PROMISE(a_level_of_the_machine_becomes_a_warning),
		PROMISE(simulating_the_root_warns_whole_machine),
		PROMISE(in_shadow_nothing_is_sent_and_new_defaults_make_a_new_watch),
		PROMISE(the_path_of_a_bus_is_read_from_its_address),
		PROMISE(a_door_follows_directories_that_come_and_go),
	};

	return run_promises("bus-life", promises, ELEMENTSOF(promises));
}
