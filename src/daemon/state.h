/* SPDX-License-Identifier: MIT */
/*
 * state.h - what the next process of the daemon must know of each client
 *
 * A table in a memfd that is mapped shared and kept in the manager's descriptor store, beside the
 * clients' sockets. It is written in place, without a system call, so it is up to date also after a
 * SIGKILL. A client is found in it again by the cookie that the kernel gives each socket
 * (SO_COOKIE), which no other socket gets until the machine is booted anew.
 *
 * A page of it takes memory only when it was used.
 */
#pragma once

#include "core/policy.h"

#include <sys/types.h>

struct states;

/* Longer paths are not kept: such a client is identified anew by its credentials. */
#define STATE_PATH_MAX 232 /* with the NUL */

enum client_protocol { PROTOCOL_UNDECIDED, PROTOCOL_PLAIN, PROTOCOL_RECORDS };

struct state_trigger {
	uint32_t threshold_usec, window_usec;
	uint8_t kind;
};

struct client_state {
	uint64_t cookie; /* 0: free. Written last, cleared first */
	uint64_t told_usec;
	uint64_t peer_hash; /* of the peer's own cgroup, for the limits */
	uid_t uid;
	pid_t pid;
	bool connected; /* to the present process */
	bool privileged;
	uint8_t protocol;	     /* enum client_protocol */
	uint8_t available, critical; /* as told last */
	uint8_t headroom;	     /* percent; 255: off; 0: the daemon's */
	uint8_t descendants;
	struct state_trigger thresholds[3]; /* early, low, critical */
	uint64_t rearm_usec, quiet_usec, calm_usec;
	char cgroup[STATE_PATH_MAX]; /* ""; too long */
};

/* A new one, with room for all that ClientsMax= may allow. Errors: -ENOMEM, -EMFILE, -errno of memfd_create(2). */
int states_new(struct states **ret);
/* That of an earlier process; takes `fd` over in any case. Errors: -EBADMSG: not one of this version,
 * or damaged; -errno. */
int states_adopt(int fd, struct states **ret);
/* The table itself stays where its descriptor was stored. */
struct states *states_free(struct states *states);
DEFINE_CLEANUP(struct states *, states_free);

int states_fd(const struct states *states);

/* The entry of that socket; *ret_known: an earlier process made it. NULL: full, or it is no socket. */
struct client_state *states_get(struct states *states, int socket_fd, bool *ret_known);
void states_remove(struct client_state *entry);
/* Drop the entries of earlier processes that states_get() did not find: clients that went while no daemon ran. */
void states_prune(struct states *states);

void state_put_terms(struct client_state *entry, const struct policy_options *terms);
void state_get_terms(const struct client_state *entry, struct policy_options *ret);
