/* SPDX-License-Identifier: MIT */
/*
 * fault-host.c - a host for test-faults.sh: does it still hear, and does its Low end, whatever failed?
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
#include "psibridge/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A source that was lost is tried again after 1, 2, 4 s. */
#define PATIENCE_USEC (12 * USEC_PER_SEC)

enum { INLINE, THREAD, MAILBOX, HEARERS };
static const char *const names[] = { "inline", "thread", "mailbox" };
static atomic_int last[HEARERS];
static psb_bridge *bridge;
static psb_watch *watch;
static psb_mailbox *mailbox;
static int fifo = -1, bridge_fd = -1;

static void must(const char *what, int r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "fault-host: %s: %s\n", what, strerror(-r));
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

	poll(&p, bridge_fd >= 0, 20);
	if (bridge_fd >= 0)
		must("psb_bridge_dispatch()", psb_bridge_dispatch(bridge));
	if (psb_mailbox_take(mailbox, 0, &n) > 0)
		heard(&n, &last[MAILBOX]);
}

/* Until all are Low, or none is. */
static void play(int number, bool low)
{
	uint64_t until = now_usec() + PATIENCE_USEC;

	for (int i = 0; i < HEARERS; i++)
		while ((atomic_load(&last[i]) == PSB_LOW) != low) {
			if (now_usec() > until) {
				fprintf(stderr, "FAULT: episode %d: %s %s\n", number, names[i],
					low ? "is deaf" : "stays Low");
				exit(3);
			}
			if (low)
				press();
			turn();
		}
}

int main(int argc, char **argv)
{
	bool thread = argc > 1 && strcmp(argv[1], "thread") == 0;
	struct psb_bridge_options b = { .size = sizeof(b), .log = say };
	char why[320] = "psb_watch_new()";
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

	if (argc > 2 && strcmp(argv[2], "cgroup") != 0)
		o.source = argv[2];
	must("psb_bridge_new()", psb_bridge_new(&b, &bridge));
	must(why, psb_watch_new(bridge, &o, &watch));
	for (int i = INLINE; i <= THREAD; i++)
		must("psb_watch_add_callback()",
		     psb_watch_add_callback(watch, heard, &last[i], i == INLINE ? PSB_INLINE : 0,
					    NULL));
	must("psb_mailbox_new()", psb_mailbox_new(watch, 0, &mailbox));
	if (o.source) { /* both ends: it has a reader, whoever else comes and goes */
		fifo = open(o.source, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		must(o.source, fifo < 0 ? -errno : 0);
	}
	if (!thread)
		bridge_fd = psb_bridge_fd(bridge);
	must("the loop", thread ? psb_bridge_start(bridge) : bridge_fd);
	for (int i = 1; i <= 2; i++) {
		play(i, true);
		play(i, false);
	}
	psb_mailbox_free(mailbox);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	close(fifo);
	return 0;
}
