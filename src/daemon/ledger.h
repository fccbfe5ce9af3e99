/* SPDX-License-Identifier: MIT */
/*
 * ledger.h - the state of each client, for the next process of the daemon
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

struct ledger;

/* Longer paths are not kept: such a client is identified anew by its credentials. */
#define LEDGER_PATH_MAX 232 /* with the NUL */

enum ledger_protocol { LEDGER_UNDECIDED, LEDGER_PLAIN, LEDGER_RECORDS };

struct ledger_entry {
	uint64_t cookie; /* 0: free. Written last, cleared first */
	uint64_t told_usec;
	uint64_t peer_hash; /* of the peer's own cgroup, for the limits */
	uid_t uid;
	pid_t pid;
	uint8_t protocol;	     /* enum ledger_protocol */
	uint8_t available, critical; /* as told last */
	uint8_t headroom;	     /* percent; 255: off; 0: the daemon's */
	struct {
		uint8_t kind;
		uint32_t threshold_usec, window_usec;
	} early, low, critical_trigger;
	uint64_t rearm_usec, quiet_usec, calm_usec;
	char cgroup[LEDGER_PATH_MAX]; /* ""; too long */
};

/* A new one for `slots` clients. Errors: -ENOMEM, -EMFILE, -errno of memfd_create(2). */
int ledger_new(unsigned slots, struct ledger **ret);
/* That of an earlier process; takes `fd` over in any case. Errors: -EBADMSG: not one of this version,
 * or damaged; -errno. */
int ledger_adopt(int fd, struct ledger **ret);
/* Enter all of `from`. Errors: -ENOSPC: not all had room. */
int ledger_copy(const struct ledger *from, struct ledger *to);
/* The table itself stays where its descriptor was stored. */
struct ledger *ledger_free(struct ledger *ledger);
DEFINE_CLEANUP(struct ledger *, ledger_free);

int ledger_fd(const struct ledger *ledger);
unsigned ledger_slots(const struct ledger *ledger);

/* A free entry for the socket, or NULL: full. */
struct ledger_entry *ledger_enter(struct ledger *ledger, uint64_t cookie);
struct ledger_entry *ledger_find(struct ledger *ledger, uint64_t cookie);
void ledger_leave(struct ledger *ledger, struct ledger_entry *entry);
/* Drop every entry that `keep` refuses: clients that went while no daemon ran. */
void ledger_prune(struct ledger *ledger, bool (*keep)(uint64_t cookie, void *userdata),
		  void *userdata);

void ledger_put_terms(struct ledger_entry *entry, const struct policy_options *terms);
void ledger_get_terms(const struct ledger_entry *entry, struct policy_options *ret);

/* SO_COOKIE. Errors: -errno. */
int socket_cookie(int fd, uint64_t *ret);
