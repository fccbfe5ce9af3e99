/* SPDX-License-Identifier: MIT */
/*
 * bus-lowmem.c - org.freedesktop.LowMemoryMonitor
 *
 * The interface of the program of that name, which GLib's GMemoryMonitor (GMemoryMonitorDBus) and
 * Flatpak's portal listen to: one signal LowMemoryWarning(y level), 50, 100 or 255, the values of
 * GMemoryMonitorWarningLevel. There they mean low, medium and critical. We send 50 for Neutral, 100
 * for Low, 255 for Low and critical. The interface has no word for relief: whoever hears it frees
 * memory. So nothing is sent for High, nor for a Neutral that follows a Low. A Low that goes on is
 * sent again as often as the watch repeats it.
 *
 * It speaks of the whole machine, so it has a watch of its own on cgroup "/": on the root the
 * kernel keeps the pressure of everything in memory.pressure (psi_system, the same numbers as in
 * /proc/pressure/memory), and there the full ladder is to be had, with the machine's memory as its
 * limit; /proc/pressure/memory as a `source` would be a rung without one. It is taken only where no
 * cgroup2 is mounted. The watch is judged by [Defaults], is there only while the name is ours, and
 * Shadow=yes there silences it.
 *
 * Its callback is inline: it notes one byte and sets a timer.
 */
#include "daemon/bus-internal.h"

#include <errno.h>
#include <string.h>

enum { WARNING_LOW = 50, WARNING_MEDIUM = 100, WARNING_CRITICAL = 255 };

static void told(const struct psb_notification *n, void *userdata)
{
	struct bus *bus = userdata;
	bool was_low;

	if (n->kind != PSB_KIND_LEVEL || bus->lowmem.settings.shadow)
		return;
	was_low = bus->lowmem.was_low;
	bus->lowmem.was_low = n->available == PSB_LOW;
	switch (n->available) {
	case PSB_LOW:
		bus->lowmem.warning = n->critical ? WARNING_CRITICAL : WARNING_MEDIUM;
		break;
	case PSB_NEUTRAL:
		bus->lowmem.warning = was_low ? 0 : WARNING_LOW;
		break;
	case PSB_HIGH:
		bus->lowmem.warning = 0;
		break;
	}
	if (bus->lowmem.warning)
		bus_soon(bus);
}

static void drop(struct bus *bus)
{
	bus->lowmem.watch = psb_watch_unref(bus->lowmem.watch);
	bus->lowmem.warning = 0;
	bus->lowmem.was_low = false;
}

static int make(struct bus *bus, const struct settings *settings)
{
	char early[TRIGGER_TEXT_MAX], low[TRIGGER_TEXT_MAX], critical[TRIGGER_TEXT_MAX];
	char why[320] = "";
	struct psb_watch_options options = {
		.size = sizeof(options),
		.cgroup = "/",
		.early = early,
		.low = low,
		.critical = critical,
		.rearm_usec = settings->rearm_usec,
		.quiet_usec = settings->quiet_usec,
		.calm_usec = settings->calm_usec,
		.headroom_percent = settings->headroom_percent ? settings->headroom_percent
							       : PSB_HEADROOM_OFF,
		.error_text = why,
		.error_text_size = sizeof(why),
	};
	psb_watch *watch;
	int r;

	trigger_format(&settings->early, early);
	trigger_format(&settings->low, low);
	trigger_format(&settings->critical, critical);
	r = psb_watch_new(bus->daemon->bridge, &options, &watch);
	if (r == -ENOENT) {
		options.cgroup = NULL;
		options.source = "/proc/pressure/memory";
		r = psb_watch_new(bus->daemon->bridge, &options, &watch);
	}
	if (r >= 0) {
		r = psb_watch_add_callback(watch, told, bus, PSB_INLINE, NULL);
		if (r < 0)
			psb_watch_unref(watch);
	}
	if (r < 0) {
		journal_log(bus->daemon->journal, LOG_IS_WARNING, MESSAGE_WATCH_FAILED,
			    "D-Bus: " LOWMEM_NAME " stays silent: %s", why[0] ? why : strerror(-r));
		return r;
	}
	bus->lowmem.watch = watch;
	bus->lowmem.settings = *settings;
	return 0;
}

void bus_lowmem_update(struct bus *bus)
{
	const struct settings *settings = &bus->daemon->config->defaults;
	bool wanted = bus->with_lowmem && bus->names[BUS_NAME_LOWMEM].owned;

	if (bus->lowmem.watch && (!wanted || !settings_equal(settings, &bus->lowmem.settings)))
		drop(bus);
	if (wanted && !bus->lowmem.watch)
		(void)make(bus, settings);
}

void bus_lowmem_emit(struct bus *bus)
{
	uint8_t warning = bus->lowmem.warning;

	if (warning == 0 || !bus_takes(bus))
		return;
	bus->lowmem.warning = 0;
	(void)sd_bus_emit_signal(bus->sd, LOWMEM_PATH, LOWMEM_NAME, "LowMemoryWarning", "y",
				 warning);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_SIGNAL_WITH_ARGS("LowMemoryWarning", SD_BUS_ARGS("y", level), 0),
	SD_BUS_VTABLE_END,
};

int bus_lowmem_add(struct bus *bus, sd_bus *sd)
{
	return sd_bus_add_object_vtable(sd, NULL, LOWMEM_PATH, LOWMEM_NAME, vtable, bus);
}
