/* SPDX-License-Identifier: MIT */
/*
 * state.h - the state of each client, for the next process of the daemon
 *
 * A table in a memfd that is mapped shared and kept in the manager's descriptor store, beside the
 * clients' sockets. It is written in place, without a system call, so it is up to date also after a
 * SIGKILL. A client is found in it again by the cookie that the kernel gives each socket
 * (SO_COOKIE), which no other socket gets until the machine is booted anew.
 *
 * A page of it takes memory only when it was used.
 */
#pragma once

#include "core/wire.h"

#include <sys/types.h>

struct states;

/* Longer paths are not kept: such a client is identified anew by its credentials. */
#define STATE_PATH_MAX 232 /* with the NUL */

enum client_protocol { PROTOCOL_UNDECIDED, PROTOCOL_PLAIN, PROTOCOL_RECORDS };

struct client_state {
	uint64_t cookie; /* 0: free. Written last, cleared first */
	uint64_t told_usec;
	uint64_t peer_hash; /* of the peer's own cgroup, for the limits */
	uid_t uid;
	pid_t pid;
	uint8_t protocol;	     /* enum client_protocol */
	uint8_t available, critical; /* as told last */
	uint8_t headroom;	     /* percent; 255: off; 0: the daemon's */
	struct {
		uint8_t kind;
		uint32_t threshold_usec, window_usec;
	} early, low, critical_trigger;
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

/* A free entry for the socket, or NULL: full. */
struct client_state *states_add(struct states *states, uint64_t cookie);
struct client_state *states_find(struct states *states, uint64_t cookie);
void states_remove(struct states *states, struct client_state *entry);
/* Drop every entry that `keep` refuses: clients that went while no daemon ran. */
void states_prune(struct states *states, bool (*keep)(uint64_t cookie, void *userdata),
		  void *userdata);

void state_put_terms(struct client_state *entry, const struct policy_options *terms);
void state_get_terms(const struct client_state *entry, struct policy_options *ret);

/* SO_COOKIE. Errors: -errno. */
int socket_cookie(int fd, uint64_t *ret);
