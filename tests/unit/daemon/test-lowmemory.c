/* SPDX-License-Identifier: MIT */
/*
 * test-lowmemory.c - org.freedesktop.LowMemoryMonitor on buses that come late, die, hang, and give the
 * name to others (src/daemon/lowmemory.h)
 *
 * A private dbus-daemon, the parts of psibridged that lowmemory.c uses, and a client that asks who owns
 * the name and hears the warnings. All but the bus runs on one thread: SPIN() drives loop and client by
 * turns until a condition is true. Levels are simulated; what was logged is read from a file.
 */
#include "../unit.h"

#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "../../sockets.h"
#include "../fake-root.h"
#include "daemon/lowmemory.h"

#define NAME "org.freedesktop.LowMemoryMonitor"
#define BUS "org.freedesktop.DBus"
#define PATIENCE_USEC (20 * USEC_PER_SEC)

static struct bench {
	struct daemon d;
	struct config config;
	int real_stderr;
	pid_t bus;
	sd_bus *client;
	char heard[1024]; /* "50 100 " */
} b;

/* ---- a bus ----------------------------------------------------------------------------------- */

#define OPEN_POLICY                                                         \
	"<policy context=\"default\"><allow user=\"*\"/><allow own=\"*\"/>" \
	"<allow send_destination=\"*\" eavesdrop=\"true\"/>"                \
	"<allow eavesdrop=\"true\"/></policy>"
#define NOT_THE_NAME "<policy context=\"mandatory\"><deny own=\"" NAME "\"/></policy>"

/* In a directory that bus_start() makes. */
static const char *bus_socket(void)
{
	return fake_path("run/dbus/socket");
}

static void bus_start(const char *policy)
{
	char text[1024];
	int ready[2];

	if (system("dbus-daemon --version >/dev/null 2>&1") != 0)
		SKIP("no dbus-daemon here");
	snprintf(
		text, sizeof(text),
		"<busconfig><type>system</type><auth>EXTERNAL</auth><listen>unix:path=%s</listen>%s</busconfig>",
		bus_socket(), policy);
	fake_write("bus.conf", text);
	fake_write("run/dbus/", "");
	unlink(bus_socket());
	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	b.bus = fork();
	assert_true(b.bus >= 0);
	if (b.bus == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ready[1], STDOUT_FILENO);
		snprintf(text, sizeof(text), "--config-file=%s", fake_path("bus.conf"));
		execlp("dbus-daemon", "dbus-daemon", "--nofork", "--nopidfile", "--nosyslog",
		       "--print-address", text, NULL);
		_exit(127);
	}
	close(ready[1]);
	if (read(ready[0], text, sizeof(text)) <= 0)
		fail_msg("dbus-daemon did not start; is its configuration right?");
	close(ready[0]);
}

/* It leaves its socket behind. */
static void bus_stop(void)
{
	if (b.bus <= 0)
		return;
	kill(b.bus, SIGKILL);
	while (waitpid(b.bus, NULL, 0) < 0 && errno == EINTR)
		;
	b.bus = 0;
}

/* ---- the daemon ------------------------------------------------------------------------------ */

static int bridge_is_ready(_unused_ sd_event_source *source, _unused_ int fd,
			   _unused_ uint32_t events, _unused_ void *userdata)
{
	while (psb_bridge_dispatch(b.d.bridge) > 0)
		;
	return 0;
}

static void no_news(_unused_ const struct psb_notification *n, _unused_ void *userdata)
{
}

static void daemon_up(const char *address)
{
	struct table_options options = { .journal = b.d.journal,
					 .cgroups = &b.d.cgroups,
					 .news = no_news };

	assert_int_equal(sd_event_new(&b.d.event), 0);
	assert_int_equal(psb_bridge_new(NULL, &b.d.bridge), 0);
	b.config = (struct config){
		.defaults.policy = {
			/* the machine's own pressure, whatever else runs on it, stays below */
			.early = { PSI_SOME, 10000000, 10000000 },
			.low = { PSI_SOME, 10000000, 10000000 },
			.critical = { PSI_FULL, 10000000, 10000000 },
			.rearm_usec = 8192000,
			.calm_usec = 10000000,
		},
		.low_memory_monitor = true,
	};
	b.d.config = &b.config;
	assert_int_equal(cgroups_discover("/proc", &b.d.cgroups), 0);
	options.event = b.d.event;
	options.bridge = b.d.bridge;
	assert_int_equal(table_new(&options, &b.d.table), 0);
	assert_int_equal(table_apply(b.d.table, &b.config), 0);
	assert_true(sd_event_add_io(b.d.event, NULL, psb_bridge_fd(b.d.bridge), EPOLLIN,
				    bridge_is_ready, NULL) >= 0);
	setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
	assert_int_equal(lowmemory_new(&b.d, &b.d.lowmemory), 0);
}

/* At the address of bus_start(). */
static void daemon_up_here(void)
{
	char address[600];

	snprintf(address, sizeof(address), "unix:path=%s", bus_socket());
	daemon_up(address);
}

static void want(bool wanted)
{
	b.config.low_memory_monitor = wanted;
	lowmemory_config_changed(b.d.lowmemory);
}

/* The loop's callbacks within that time; the client does nothing. */
static unsigned wakeups(uint64_t usec)
{
	uint64_t end = now_usec() + usec;
	unsigned n = 0;

	for (uint64_t now; (now = now_usec()) < end;) {
		int r = sd_event_run(b.d.event, end - now);

		assert_true(r >= 0);
		n += r > 0;
	}
	return n;
}

static bool turn(void)
{
	assert_true(sd_event_run(b.d.event, 2000) >= 0);
	while (b.client && sd_bus_process(b.client, NULL) > 0)
		;
	return true;
}

#define SPIN(condition)                                             \
	do {                                                        \
		uint64_t _end = now_usec() + PATIENCE_USEC;         \
		while (turn() && !(condition))                      \
			if (now_usec() > _end)                      \
				fail_msg("waited for " #condition); \
	} while (0)

/* How many lines of the journal have `text` in them? */
static unsigned logged(const char *text)
{
	FILE *f = fopen(fake_path("journal"), "re");
	char line[1024];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

/* ---- a client -------------------------------------------------------------------------------- */

static int warned(sd_bus_message *m, _unused_ void *userdata, _unused_ sd_bus_error *error)
{
	size_t used = strlen(b.heard);
	uint8_t level;

	assert_string_equal(sd_bus_message_get_path(m), "/org/freedesktop/LowMemoryMonitor");
	assert_true(sd_bus_message_read(m, "y", &level) > 0);
	snprintf(b.heard + used, sizeof(b.heard) - used, "%u ", level);
	return 0;
}

/* Its calls wait for the bus, and for nothing else. */
static void client_up(void)
{
	b.heard[0] = '\0';
	assert_true(sd_bus_open_system(&b.client) >= 0);
	assert_true(sd_bus_match_signal(b.client, NULL, NULL, NULL, NAME, "LowMemoryWarning",
					warned, NULL) >= 0);
}

/* Does another connection than the client's own the name? */
static bool is_offered(void)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
	const char *owner, *own;

	assert_true(sd_bus_get_unique_name(b.client, &own) >= 0);
	return sd_bus_call_method(b.client, BUS, "/org/freedesktop/DBus", BUS, "GetNameOwner", NULL,
				  &answer, "s", NAME) >= 0 &&
	       sd_bus_message_read(answer, "s", &owner) > 0 && strcmp(owner, own) != 0;
}

static void client_up_and_offered(void)
{
	client_up();
	SPIN(is_offered());
}

static int simulate(enum psb_available available, bool critical)
{
	return table_simulate(b.d.table, "/", available, critical);
}

/* Not before it is offered. */
static void need_the_watch(void)
{
	struct watch_view watch;

	SPIN(table_watch(b.d.table, 0, &watch));
	if (watch.state != WATCH_WATCHING)
		SKIP("the machine's pressure cannot be watched here");
}

/* The usual: a bus, the daemon on it, a client that listens. */
static void all_up(void)
{
	bus_start(OPEN_POLICY);
	daemon_up_here();
	client_up_and_offered();
	need_the_watch();
}

static bool heard(const char *levels)
{
	return strcmp(b.heard, levels) == 0;
}

/* ---- coming and going ------------------------------------------------------------------------ */

/* In /sys others make no files in a directory on the way. */
PROMISE(without_a_bus_nothing_wakes_us)
{
	daemon_up("unix:path=/sys/psibridge-has-no-bus/socket");
	SPIN(logged("<6>D-Bus: there is no bus") == 1);
	lowmemory_config_changed(b.d.lowmemory);
	wakeups(50000); /* the rest of starting */
	assert_int_equal(wakeups(1000000), 0);
	assert_int_equal(logged("D-Bus"), 1);
	SPIN(simulate(PSB_LOW, false) == -ENODATA);
}

PROMISE(a_bus_that_comes_or_restarts_is_found)
{
	fake_write("run/dbus/", "");
	close(listen_here(bus_socket())); /* what a killed bus leaves */
	daemon_up_here();
	for (unsigned i = 1; i <= 3; i++) {
		SPIN(logged("<6>D-Bus: there is no bus") == i);
		SPIN(i > 1 || wakeups(300000) == 0);
		SPIN(simulate(PSB_LOW, false) == -ENODATA);
		bus_start(OPEN_POLICY);
		client_up_and_offered();
		SPIN(logged("<6>D-Bus: connected") == i);
		b.client = sd_bus_close_unref(b.client);
		bus_stop();
	}
}

/* It takes the connection, and then nothing; later it hangs. */
PROMISE(a_bus_that_says_nothing_holds_nobody_up)
{
	int listener;

	fake_write("run/dbus/", "");
	listener = listen_here(bus_socket());
	daemon_up_here();
	wakeups(300000);
	assert_int_equal(wakeups(1500000), 0);
	assert_int_equal(logged("D-Bus"), 0);
	close(listener); /* and hangs up */
	SPIN(logged("there is no bus") == 1);
	bus_start(OPEN_POLICY);
	client_up_and_offered();
	need_the_watch();
	kill(b.bus, SIGSTOP);
	assert_int_equal(simulate(PSB_LOW, true), 0);
	wakeups(100000);
	assert_in_range(wakeups(500000), 0, 20); /* the watch samples */
	kill(b.bus, SIGCONT);
	SPIN(heard("255 "));
}

/* ---- the name -------------------------------------------------------------------------------- */

PROMISE(a_name_that_is_taken_is_noted_and_comes_to_us_when_it_is_free)
{
	bus_start(OPEN_POLICY);
	daemon_up_here();
	want(false);
	client_up();
	assert_true(sd_bus_request_name(b.client, NAME, 0) >= 0);
	want(true);
	SPIN(logged("<5>D-Bus: another program owns the name " NAME) == 1);
	SPIN(simulate(PSB_LOW, false) == -ENODATA);

	b.client = sd_bus_close_unref(b.client);
	client_up_and_offered();
	need_the_watch();
}

PROMISE(a_name_that_is_refused_is_noted_once)
{
	bus_start(OPEN_POLICY NOT_THE_NAME);
	daemon_up_here();
	SPIN(logged("<5>D-Bus: the bus refuses us the name " NAME ": ") == 1);
	wakeups(100000); /* the rest of what connecting set off */
	assert_int_equal(wakeups(500000), 0);
	assert_int_equal(logged("D-Bus"), 1);
	SPIN(simulate(PSB_LOW, false) == -ENODATA);
}

/* ---- warnings -------------------------------------------------------------------------------- */

PROMISE(a_level_of_the_machine_becomes_a_warning_if_the_configuration_wants_it)
{
	static const struct {
		bool off;
		enum psb_available available;
		bool critical;
		const char *heard; /* now and before */
	} steps[] = {
		{ false, PSB_NEUTRAL, false, "50 " },
		{ false, PSB_LOW, false, "50 100 " },
		{ false, PSB_LOW, true, "50 100 255 " },
		{ false, PSB_NEUTRAL, false, "50 100 255 " }, /* better than it was */
		{ false, PSB_HIGH, false, "50 100 255 " },
		{ false, PSB_LOW, true, "50 100 255 255 " },
		{ false, PSB_HIGH, false, "50 100 255 255 " },
		{ true, PSB_LOW, false, "50 100 255 255 " },
		{ false, PSB_NEUTRAL, false, "50 100 255 255 50 " },
		{ true, PSB_LOW, false, "50 100 255 255 50 " },
	};

	all_up();
	for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
		if (i > 0 && steps[i].off != steps[i - 1].off) {
			want(!steps[i].off);
			SPIN(is_offered() == !steps[i].off);
		}
		SPIN(simulate(steps[i].available, steps[i].critical) ==
		     (steps[i].off ? -ENODATA : 0));
		SPIN(heard(steps[i].heard));
		wakeups(50000);
		is_offered(); /* the question comes behind what was sent */
		assert_true(heard(steps[i].heard));
	}
	bus_stop();
	wakeups(100000);
	assert_int_equal(wakeups(300000), 0);
	assert_int_equal(logged("D-Bus"), 0);
}

static void reload_with_shadow(bool shadow)
{
	b.config.defaults.shadow = shadow;
	assert_int_equal(table_apply(b.d.table, &b.config), 0);
	lowmemory_config_changed(b.d.lowmemory);
}

PROMISE(in_shadow_nothing_is_sent_and_out_of_it_what_was_kept_back)
{
	all_up();
	assert_int_equal(simulate(PSB_LOW, false), 0);
	SPIN(heard("100 "));
	/* a reload ends no Low, and what follows one stays relief */
	reload_with_shadow(false);
	assert_int_equal(simulate(PSB_NEUTRAL, false), 0);
	wakeups(50000);
	assert_true(is_offered() && heard("100 "));
	reload_with_shadow(true);
	assert_int_equal(simulate(PSB_LOW, true), 0);
	wakeups(50000);
	assert_true(is_offered() && heard("100 ")); /* the question comes behind what was sent */
	reload_with_shadow(false);
	SPIN(heard("100 255 "));
}

/* ---- running --------------------------------------------------------------------------------- */

static int set_up(void **state)
{
	int fd;

	memset(&b, 0, sizeof(b));
	if (fake_set_up(state) < 0)
		return -1;
	setenv("NOTIFY_SOCKET", "/none", 1); /* so the journal writes priorities */
	unsetenv("JOURNAL_STREAM");
	fd = open(fake_path("journal"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	b.real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	dup2(fd, STDERR_FILENO);
	close(fd);
	return journal_new(JOURNAL_SOCKET, &b.d.journal);
}

static int tear_down(void **state)
{
	b.client = sd_bus_close_unref(b.client);
	b.d.lowmemory = lowmemory_free(b.d.lowmemory);
	b.d.table = table_free(b.d.table);
	b.d.bridge = psb_bridge_unref(b.d.bridge);
	b.d.event = sd_event_unref(b.d.event);
	b.d.journal = journal_free(b.d.journal);
	bus_stop();
	unsetenv("NOTIFY_SOCKET");
	dup2(b.real_stderr, STDERR_FILENO);
	close(b.real_stderr);
	return fake_tear_down(state);
}

EACH(set_up, tear_down)
