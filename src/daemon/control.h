/* SPDX-License-Identifier: MIT */
/*
 * control.h - the control socket, for psibridge(1): one line with a JSON object in, one out
 *
 * /run/psibridge/control, a stream socket. Any peer may ask for "status"; "simulate" and "reload" are
 * for root. It is not to be bound into containers: status names every cgroup.
 *
 *   {"verb":"status"}
 *   {"verb":"simulate","cgroup":"/a/b","available":"low"|"neutral"|"high","critical":false}
 *   {"verb":"reload"}
 *
 * "critical" may be missing; "/" is the machine, which org.freedesktop.LowMemoryMonitor is about, too.
 * Answers: {"error":"in words","errno":"EACCES"}; {"ok":true}; or for status an object whose members are those in
 * control-status.c. There a watch is "watching", "absent" or "failed"; the latter two have no source, no stats and no
 * level. Times are CLOCK_MONOTONIC; "time_usec" is when the answer was made. Making one takes the loop's time, so it
 * is given again to requests soon after: within 100 ms, or 20 times as long as it took to make.
 * Where the loop that listens to the kernel hangs, there is no status but an error.
 *
 * A line has at most 4 KiB. A connection ends with its answer, and without one after 10 s. There are at most
 * CONTROL_CLIENTS_MAX, some of them kept for root, and CONTROL_CLIENTS_PER_UID for any other user; one too many is told so.
 */
#pragma once

#include "daemon/daemon.h"

#define CONTROL_LINE_MAX 4096 /* with its newline */
#define CONTROL_CLIENTS_MAX 32
#define CONTROL_CLIENTS_NOT_ROOT 24
#define CONTROL_CLIENTS_PER_UID 8

/* Takes the listening descriptor over, also on failure. Errors: -ENOMEM, as sd_event_add_io(3). */
int control_new(struct daemon *daemon, int listen_fd, struct control **ret);
/* Ends all connections. */
struct control *control_free(struct control *control);

/* For tests, which cannot wait so long. */
void control_set_patience(struct control *control, uint64_t usec);
