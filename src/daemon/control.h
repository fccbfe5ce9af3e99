/* SPDX-License-Identifier: MIT */
/*
 * control.h - the control socket, for psibridge(1): one JSON object a line, each way
 *
 * /run/psibridge/control, a stream socket. Any peer may ask for "status"; "simulate" and "reload" are
 * for root. It is not to be bound into containers: status names every cgroup.
 *
 *   {"verb":"status"}
 *   {"verb":"simulate","cgroup":"/a/b","available":"low"|"neutral"|"high","critical":false}
 *   {"verb":"reload"}
 *
 * "critical" may be missing; "/" is the machine, which org.freedesktop.LowMemoryMonitor is about, too.
 * Answers: {"error":"in words","errno":"EACCES"}; {"ok":true}; or for
 * status:
 *
 *   {"version":"0.2.0","pid":1,"backend":"uring","backend_why":"","uptime_usec":0,"time_usec":0,
 *    "configuration":{"files":["..."],"error":""},
 *    "clients":{"connected":0,"plain":0,"records":0,"accepted":0,"refused":0,"told":0,
 *               "replaced":0,"max":16384},
 *    "watches":[{"id":1,"path":"system.slice/..","configured":true,"state":"watching",
 *                "why":"","available":"high","critical":false,"shadow":false,"clients":0,"thresholds":1,
 *                "settings":{"early":"some 20ms/2s","low":"...","critical":"...","rearm_usec":0,
 *                            "quiet_usec":0,"calm_usec":0,"headroom_percent":25},
 *                "source":{"rung":2,"name":"psi-privileged","trigger":"...","events":true,
 *                          "path":"...","why":""},
 *                "stats":{"alarms":0, ... every member of psb_stats by its name}}],
 *    "cgroups":[{"cgroup":"/a","watch":1,"available":"low","critical":false,
 *                "candidate":false,"since_usec":0,"some_avg10_centi":0,"some_total_usec":0,"full_total_usec":0,
 *                "current_bytes":0,"limit_bytes":0,"clients":0}]}
 *
 * "state" is watching, absent or failed; the latter two have no source and no stats. Times are
 * CLOCK_MONOTONIC; "time_usec" is when the answer was made. Making one takes the loop's time, so it
 * is given again to requests soon after: within 100 ms, or 20 times as long as it took to make.
 * Where the loop that listens to the kernel hangs, there is no status but an error.
 * Bytes of a cgroup's name that are not UTF-8 become U+FFFD.
 *
 * A line of more than 4 KiB, no JSON, an unknown verb: an error, and the connection stays. Requests
 * are answered in their order, the next is not read before the answer was taken; one that does not
 * take its answer within 10 s is closed, one that asks nothing for a minute too. At most
 * CONTROL_CLIENTS_MAX connections, some of them kept for root, and CONTROL_CLIENTS_PER_UID for any
 * other user; one too many is told so and closed.
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
DEFINE_CLEANUP(struct control *, control_free);

/* How long a client may take to read an answer, and to ask. For tests, which cannot wait. */
void control_set_patience(struct control *control, uint64_t answer_usec, uint64_t ask_usec);
