/* SPDX-License-Identifier: MIT */
/*
 * gmemorymonitor.c - a program that knows GLib and nothing of psibridge
 *
 * Prints the type that GLib chose for its GMemoryMonitor ("GMemoryMonitorDBus"), then each warning it gives ("100"), and ends
 * after three. GLib starts to listen when org.freedesktop.LowMemoryMonitor has an owner, and does not say when: "listening" is
 * printed as soon as the bus says that we have asked for its signals, for a test that must not send too early.
 */
#include <gio/gio.h>
#include <stdio.h>

#define _unused_ __attribute__((unused))

static int left = 3;

static void warned(_unused_ GMemoryMonitor *monitor, GMemoryMonitorWarningLevel level,
		   void *userdata)
{
	printf("%d\n", (int)level);
	if (--left == 0)
		g_main_loop_quit(userdata);
}

/* GMemoryMonitorDBus makes its proxy when the owner is seen, and a proxy is there when its match is. */
static void owner_seen(GDBusConnection *connection, const char *name, _unused_ const char *owner,
		       _unused_ void *userdata)
{
	GDBusProxy *proxy = g_dbus_proxy_new_sync(connection, G_DBUS_PROXY_FLAGS_NONE, NULL, name,
						  "/org/freedesktop/LowMemoryMonitor", name, NULL,
						  NULL);

	puts(proxy ? "listening" : "no proxy");
	g_clear_object(&proxy);
}

int main(void)
{
	GMainLoop *loop = g_main_loop_new(NULL, FALSE);
	GMemoryMonitor *monitor = g_memory_monitor_dup_default();

	setvbuf(stdout, NULL, _IOLBF, 0);
	puts(G_OBJECT_TYPE_NAME(monitor));
	g_signal_connect(monitor, "low-memory-warning", G_CALLBACK(warned), loop);
	g_bus_watch_name(G_BUS_TYPE_SYSTEM, "org.freedesktop.LowMemoryMonitor",
			 G_BUS_NAME_WATCHER_FLAGS_NONE, owner_seen, NULL, NULL, NULL);
	g_main_loop_run(loop);
	g_object_unref(monitor);
	g_main_loop_unref(loop);
	return 0;
}
