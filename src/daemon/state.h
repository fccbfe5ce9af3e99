/* SPDX-License-Identifier: MIT */
/*
 * state.h - what the next process of the daemon must know: of each client, and which memory.high is ours
 *
 * A table in a memfd that is mapped shared and kept in the manager's descriptor store, beside the clients' sockets. It is
 * written in place, without a system call, so it is up to date also after a SIGKILL. A client is found in it again by the
 * cookie that the kernel gives each socket (SO_COOKIE), which no other socket gets until the machine is booted anew.
 *
 * A page of it takes memory only when it was used.
 */
#pragma once

#include "core/policy.h"

#include <sys/types.h>

struct states;

/* Longer paths are not kept: such a client is identified anew by its credentials. */
#define STATE_PATH_MAX 208 /* with the NUL; a container's in Kubernetes has 194 */

enum client_protocol { PROTOCOL_UNDECIDED, PROTOCOL_PLAIN, PROTOCOL_RECORDS };

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
	struct policy_options terms; /* that it brought */
	char cgroup[STATE_PATH_MAX]; /* "": too long */
};

/* A memory.high that was "max" and that we wrote (memoryhigh.h). */
struct high_state {
	uint64_t inode;	    /* of the cgroup; 0: free. Written last, cleared first */
	uint64_t set_bytes; /* what we wrote, or were about to */
	uint64_t look;	    /* the present process found it in place then; 0: it did not yet */
	char cgroup[STATE_PATH_MAX];
};

#define HIGHS_MAX 4096

struct high_states {
	uint32_t used; /* no entry behind this one was ever written */
	struct high_state entries[HIGHS_MAX];
};

/* A new one, with room for all that ClientsMax= may allow, and the descriptor that is to be stored and closed. Errors:
 * -ENOMEM, -EMFILE, -errno of memfd_create(2). */
int states_new(struct states **ret, int *ret_fd);
/* That of an earlier process; takes `fd` over in any case. Errors: -EBADMSG: not one of this version, or damaged;
 * -errno of mmap(2). */
int states_adopt(int fd, struct states **ret);
/* The table itself stays where its descriptor was stored. */
struct states *states_free(struct states *states);

struct high_states *states_highs(struct states *states);

/* The entry of that socket; *ret_known: an earlier process made it. NULL: full, or it is no socket. */
struct client_state *states_get(struct states *states, int socket_fd, bool *ret_known);
void states_remove(struct client_state *entry);
/* Drop the entries of earlier processes that states_get() did not find: clients that went while no daemon ran. */
void states_prune(struct states *states);
