/* SPDX-License-Identifier: MIT */
/*
 * foreign.c - a program that knows libsystemd and nothing of psibridge, and is told all the same
 *
 * For guest-*.sh: the whole of what sd-event's manual says a program has to do; what it is told comes through
 * $MEMORY_PRESSURE_WATCH. The library is the guest's: sd_event_add_memory_pressure(3) came with systemd 254, and may not be there
 * where this is built. (GLib's GMemoryMonitor: tests/integration/gmemorymonitor.c.)
 *
 *     ready TIME
 *     told TIME            whenever told; CLOCK_MONOTONIC in microseconds
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void say(const char *what)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	printf("%s %" PRIu64 "\n", what,
	       (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000);
	fflush(stdout);
}

static void *find(const char *name)
{
	static void *library;
	void *symbol;

	library = library ? library : dlopen("libsystemd.so.0", RTLD_NOW);
	symbol = library ? dlsym(library, name) : NULL;
	if (!symbol) {
		printf("not here: %s\n", dlerror());
		exit(77);
	}
	return symbol;
}

struct sd_event;
struct sd_event_source;
typedef int sd_event_handler(struct sd_event_source *source, void *userdata);

static int told(struct sd_event_source *source, void *userdata)
{
	(void)source;
	(void)userdata;
	say("told");
	return 0;
}

int main(void)
{
	int (*get_default)(struct sd_event **) = find("sd_event_default");
	int (*add)(struct sd_event *, struct sd_event_source **, sd_event_handler *,
		   void *) = find("sd_event_add_memory_pressure");
	int (*loop)(struct sd_event *) = find("sd_event_loop");
	struct sd_event *event = NULL;
	int r;

	r = get_default(&event);
	if (r >= 0)
		r = add(event, NULL, told, NULL);
	if (r < 0) {
		printf("refused: %s\n", strerror(-r));
		return 1;
	}
	say("ready");
	return loop(event) < 0;
}
