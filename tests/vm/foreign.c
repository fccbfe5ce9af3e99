/* SPDX-License-Identifier: MIT */
/*
 * foreign.c - programs that know nothing of psibridge, and are told all the same
 *
 * For guest-clients.sh. Each is the whole of what its library's manual says a program has to do. The libraries are the guest's:
 * sd_event_add_memory_pressure(3) came with systemd 254, and may not be there where this is built.
 *
 *     foreign sd-event     libsystemd, told through $MEMORY_PRESSURE_WATCH
 *     foreign glib         GMemoryMonitor, told through D-Bus
 *
 *     ready TIME           then, whenever told:
 *     told TIME LEVEL      CLOCK_MONOTONIC in microseconds; LEVEL is 0 where there is none
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void say(const char *what, int level)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	printf("%s %" PRIu64 " %d\n", what,
	       (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000, level);
	fflush(stdout);
}

static void *find(const char *library, const char *name)
{
	void *handle = dlopen(library, RTLD_NOW | RTLD_GLOBAL);
	void *symbol = handle ? dlsym(handle, name) : NULL;

	if (!symbol) {
		printf("not here: %s\n", dlerror());
		exit(77);
	}
	return symbol;
}

/* ---- libsystemd -------------------------------------------------------------------------------- */

struct sd_event;
struct sd_event_source;
typedef int sd_event_handler(struct sd_event_source *source, void *userdata);

static int sd_told(struct sd_event_source *source, void *userdata)
{
	(void)source;
	(void)userdata;
	say("told", 0);
	return 0;
}

static int run_sd_event(void)
{
	static const char library[] = "libsystemd.so.0";
	int (*get_default)(struct sd_event **) = find(library, "sd_event_default");
	int (*add)(struct sd_event *, struct sd_event_source **, sd_event_handler *,
		   void *) = find(library, "sd_event_add_memory_pressure");
	int (*loop)(struct sd_event *) = find(library, "sd_event_loop");
	struct sd_event *event = NULL;
	int r;

	r = get_default(&event);
	if (r >= 0)
		r = add(event, NULL, sd_told, NULL);
	if (r < 0) {
		printf("refused: %s\n", strerror(-r));
		return 1;
	}
	say("ready", 0);
	return loop(event) < 0;
}

/* ---- GLib -------------------------------------------------------------------------------------- */

static void glib_told(void *monitor, int level, void *userdata)
{
	(void)monitor;
	(void)userdata;
	say("told", level);
}

static int run_glib(void)
{
	void *(*dup_default)(void) = find("libgio-2.0.so.0", "g_memory_monitor_dup_default");
	unsigned long (*connect)(void *, const char *, void (*)(void *, int, void *), void *,
				 void *,
				 int) = find("libgobject-2.0.so.0", "g_signal_connect_data");
	void *(*loop_new)(void *, int) = find("libglib-2.0.so.0", "g_main_loop_new");
	void (*loop_run)(void *) = find("libglib-2.0.so.0", "g_main_loop_run");
	void *monitor = dup_default();

	if (!monitor) {
		printf("refused: no GMemoryMonitor\n");
		return 1;
	}
	connect(monitor, "low-memory-warning", glib_told, NULL, NULL, 0);
	say("ready", 0);
	loop_run(loop_new(NULL, 0));
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "sd-event"))
		return run_sd_event();
	if (argc == 2 && !strcmp(argv[1], "glib"))
		return run_glib();
	fputs("usage: foreign sd-event|glib\n", stderr);
	return 2;
}
