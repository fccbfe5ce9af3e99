/* SPDX-License-Identifier: MIT */
/*
 * run-protocol.c - psibridged's socket, or the own cgroup's memory.pressure
 *
 * A program that speaks the protocol opens what it is told and gives up if that fails: there is no
 * ladder. So both are tried here first, and what would fail is not passed on. The file is found as
 * it is for a watch of our own process, and a trigger is set on it for a moment.
 */
#include "cli/run-protocol.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "psibridge/psibridge.h"

#define DAEMON_SOCKET "/run/psibridge/notify"

static bool daemon_listens(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = DAEMON_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool listens = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

	if (fd >= 0)
		close(fd);
	return listens;
}

static int own_pressure(char *buf, char *why)
{
	struct psb_watch_options options = {
		.size = sizeof(options),
		.pid = getpid(),
		.rungs = PSB_RUNG_MASK(PSB_RUNG_PRIVILEGED) | PSB_RUNG_MASK(PSB_RUNG_TRIGGER),
		.error_text = why,
		.error_text_size = PROTOCOL_WHY_MAX,
	};
	struct psb_source source = { .size = sizeof(source) };
	psb_bridge *bridge = NULL;
	psb_watch *watch = NULL;
	int r = psb_bridge_new(NULL, &bridge);

	snprintf(why, PROTOCOL_WHY_MAX, "%s", strerror(-r));
	if (r == 0)
		r = psb_watch_new(bridge, &options, &watch);
	if (r == 0)
		r = psb_watch_source(watch, &source);
	if (r == 0)
		strcpy(buf, source.path);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	return r;
}

int protocol_source(bool own, char *buf, char *why)
{
	char own_why[PROTOCOL_WHY_MAX];
	int r;

	if (daemon_listens()) {
		strcpy(buf, DAEMON_SOCKET);
		return 0;
	}
	if (!own) {
		snprintf(why, PROTOCOL_WHY_MAX, "psibridged does not run here");
		return -ENOENT;
	}
	r = own_pressure(buf, own_why);
	if (r < 0)
		snprintf(
			why, PROTOCOL_WHY_MAX,
			"psibridged does not run here, and memory.pressure of the own cgroup cannot be used (%.200s)",
			own_why);
	return r;
}
