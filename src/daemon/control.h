/* SPDX-License-Identifier: MIT */
/*
 * control.h - the control socket, for psibridge(1): one line with a JSON object in, one out
 *
 * /run/psibridge/control, a stream socket. Any peer may ask for "status"; all else is for root. It is not to be bound into containers: status names every cgroup.
 *
 *   {"verb":"status"}
 *   {"verb":"simulate","cgroup":"/a/b","available":"low"|"neutral"|"high","critical":false}
 *   {"verb":"reload"}
 *   {"verb":"set","cgroup":"/a/b","lines":"Low=some 400ms/2s\nRearm=30s"}
 *   {"verb":"reset","cgroup":"/a/b"}
 *   {"verb":"diff"}
 *
 * "critical" may be missing; "/" is the machine, which org.freedesktop.LowMemoryMonitor is about, too. What is set is
 * lines of [Watch CGROUP], which may be a pattern, until the machine restarts; reset takes all of them back. Both read all
 * files anew, as reload does.
 * Answers: {"error":"in words","errno":"EACCES"}; {"ok":true}; or for status, set, reset and diff an object whose members
 * are those in control-status.c and control-set.c. There a watch is "watching", "absent" or "failed"; the latter two have no source, no stats and no
 * level. Times are CLOCK_MONOTONIC; "time_usec" is when the answer was made. Making one takes the loop's time, so it
 * is given again to requests soon after: within 100 ms, or 20 times as long as it took to make.
 * Where the loop that listens to the kernel hangs, there is no status but an error.
 *
 * A line has at most 4 KiB. A connection ends with its answer, and without one after 10 s. Root may have any number of them,
 * all others together CONTROL_CLIENTS_MAX, and one user CONTROL_CLIENTS_PER_UID; one too many is told so.
 */
#pragma once

#include "daemon/daemon.h"

#define CONTROL_LINE_MAX 4096 /* with its newline */
#define CONTROL_CLIENTS_MAX 24
#define CONTROL_CLIENTS_PER_UID 8
#define CONTROL_PATIENCE_USEC (10 * USEC_PER_SEC) /* tests cannot wait so long */

/* Takes the listening descriptor over, also on failure. Errors: -ENOMEM, as sd_event_add_io(3). */
int control_new(struct daemon *daemon, int listen_fd, uint64_t patience_usec, struct control **ret);
/* Ends all connections. */
struct control *control_free(struct control *control);
