/* SPDX-License-Identifier: MIT */
/*
 * fault-host.c - a host for faults.sh: does it still hear, and does its Low end, whatever failed?
 *
 *     fault-host thread|fd FIFO|cgroup
 *
 * Two episodes: a level is made Low (through a FIFO here, or simulated on the process's own cgroup),
 * heard by an inline callback, by one with a thread and by a mailbox, and ends by itself.
 *
 * Exit status: 0 it worked, 1 the library refused, with an error that is printed, 3 it is deaf, or a
 * Low stayed.
 */
#include "core/util.h"
#include "kernel/loop.h"
#include "psibridge/psibridge.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATIENCE_USEC \
	(12 * USEC_PER_SEC) /* a source that was lost is tried again after 1, 2, 4 s */

enum { INLINE, THREAD, MAILBOX, HEARERS };
static const char *const names[] = { "inline", "thread", "mailbox" };
static atomic_int last[HEARERS];
static psb_bridge *bridge;
static psb_watch *watch;
static psb_mailbox *mailbox;
static int fifo = -1, bridge_fd = -1;

static void refused(const char *what, int error)
{
	fprintf(stderr, "fault-host: %s: %s\n", what, strerror(-error));
	exit(1);
}

static void heard(const struct psb_notification *n, void *userdata)
{
	if (n->kind == PSB_KIND_LEVEL)
		atomic_store((atomic_int *)userdata, (int)n->available);
}

static void say(void *unused, int priority, const char *message)
{
	(void)unused;
	fprintf(stderr, "<%d>%s\n", priority, message);
}

/* Errors that are gone the next time are no concern of this program. */
static void press(void)
{
	if (fifo < 0)
		psb_watch_simulate(watch, PSB_LOW, 0);
	else if (write(fifo, "x", 1) < 0 && errno == EPIPE)
		fprintf(stderr, "fault-host: nobody reads the FIFO\n");
}

static void turn(void)
{
	struct psb_notification n = { .size = sizeof(n) };
	struct pollfd p = { .fd = bridge_fd, .events = POLLIN };
	int r;

	poll(&p, bridge_fd >= 0, 20);
	r = bridge_fd < 0 ? 0 : psb_bridge_dispatch(bridge);
	if (r < 0)
		refused("psb_bridge_dispatch()", r);
	if (psb_mailbox_take(mailbox, 0, &n) > 0)
		heard(&n, &last[MAILBOX]);
}

static bool all(bool low)
{
	for (int i = 0; i < HEARERS; i++)
		if ((atomic_load(&last[i]) == PSB_LOW) != low)
			return false;
	return true;
}

static void episode(int number)
{
	uint64_t until = now_usec() + PATIENCE_USEC;

	while (!all(true) && now_usec() < until) {
		press();
		turn();
	}
	for (int i = 0; i < HEARERS; i++)
		if (atomic_load(&last[i]) != PSB_LOW) {
			fprintf(stderr, "FAULT: episode %d: %s is deaf\n", number, names[i]);
			exit(3);
		}
	for (until = now_usec() + PATIENCE_USEC; !all(false) && now_usec() < until;)
		turn();
	for (int i = 0; i < HEARERS; i++)
		if (atomic_load(&last[i]) == PSB_LOW) {
			fprintf(stderr, "FAULT: episode %d: for %s Low stays\n", number, names[i]);
			exit(3);
		}
}

int main(int argc, char **argv)
{
	bool thread = argc > 1 && strcmp(argv[1], "thread") == 0;
	struct psb_bridge_options b = { .size = sizeof(b), .log = say };
	char why[320] = "";
	struct psb_watch_options o = {
		.size = sizeof(o),
		.early = "some 10s/10s", /* whatever else runs here */
		.low = "some 10s/10s",
		.critical = "full 10s/10s",
		.rearm_usec = 1,
		.quiet_usec = 100 * USEC_PER_MSEC,
		.calm_usec = 200 * USEC_PER_MSEC,
		.headroom_percent = PSB_HEADROOM_OFF,
		.error_text = why,
		.error_text_size = sizeof(why),
	};
	int r;

	if (argc > 2 && strcmp(argv[2], "cgroup") != 0)
		o.source = argv[2];
	r = psb_bridge_new(&b, &bridge);
	if (r < 0)
		refused("psb_bridge_new()", r);
	r = psb_watch_new(bridge, &o, &watch);
	if (r < 0)
		refused(why[0] ? why : "psb_watch_new()", r);
	r = psb_watch_add_callback(watch, heard, &last[INLINE], PSB_INLINE, NULL);
	if (r == 0)
		r = psb_watch_add_callback(watch, heard, &last[THREAD], 0, NULL);
	if (r < 0)
		refused("psb_watch_add_callback()", r);
	r = psb_mailbox_new(watch, 0, &mailbox);
	if (r < 0)
		refused("psb_mailbox_new()", r);
	if (o.source) { /* both ends: it has a reader, whoever else comes and goes */
		fifo = open(o.source, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (fifo < 0)
			refused(o.source, -errno);
	}
	r = thread ? psb_bridge_start(bridge) : psb_bridge_fd(bridge);
	if (r < 0)
		refused("the loop", r);
	bridge_fd = thread ? -1 : r;
	episode(1);
	episode(2);
	psb_mailbox_free(mailbox);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	close(fifo);
	return 0;
}
