/* SPDX-License-Identifier: MIT */
/*
 * state.c - a table in shared memory that outlives us
 *
 * An entry counts when its cookie is not 0, and the cookie is written last and cleared first: a process
 * that was killed in between leaves either no entry or a whole one. What was told is two bytes and a time,
 * one after the other: killed between them, the successor may take a Low for told that was not sent yet,
 * or the other way round; both are mended by its first sample.
 *
 * A page is taken by its first touch, and reading is touching: so nothing looks behind `used`. Nothing in
 * it is trusted: the descriptor comes from the manager, and an older psibridged may have written it.
 */
#include "daemon/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATES_MAGIC UINT64_C(0x3374617473627370) /* "psbstat3": the last byte is the version */
#define SLOTS (1u << 20) /* as many as ClientsMax= may allow: what is not used takes no memory */
#define HEADROOM_IS_OFF 255u

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

struct table {
	uint64_t magic;
	uint32_t used; /* no entry behind this one was ever written */
	uint32_t padding[13];
	struct client_state entries[SLOTS];
};

struct states {
	int fd;
	struct table *table;
};

/* Takes the descriptor over. */
static int map(int fd, struct states **ret)
{
	struct states *l = calloc(1, sizeof(*l));
	void *p = MAP_FAILED;
	int r = -ENOMEM;

	if (l) {
		p = mmap(NULL, sizeof(struct table), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		r = -errno;
	}
	if (p == MAP_FAILED) {
		close(fd);
		free(l);
		return r;
	}
	*l = (struct states){ fd, p };
	*ret = l;
	return 0;
}

int states_new(struct states **ret)
{
	int fd = memfd_create("psibridged-state", MFD_CLOEXEC | MFD_ALLOW_SEALING), r;

	if (fd < 0)
		return -errno;
	/* sealed, so that it cannot be shrunk under our mapping, which would be SIGBUS */
	if (ftruncate(fd, (off_t)sizeof(struct table)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	r = map(fd, ret);
	if (r == 0)
		(*ret)->table->magic = STATES_MAGIC;
	return r;
}

int states_adopt(int fd, struct states **ret)
{
	_cleanup_(states_freep) struct states *l = NULL;
	int seals = fcntl(fd, F_GET_SEALS), r;
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
	    (uint64_t)st.st_size != sizeof(struct table)) {
		close(fd);
		return -EBADMSG;
	}
	r = map(fd, &l);
	if (r < 0)
		return r;
	if (l->table->magic != STATES_MAGIC || l->table->used > SLOTS)
		return -EBADMSG;
	for (uint32_t i = 0; i < l->table->used; i++)
		l->table->entries[i].connected = false;
	*ret = steal(l);
	return 0;
}

struct states *states_free(struct states *l)
{
	if (!l)
		return NULL;
	munmap(l->table, sizeof(struct table));
	close(l->fd);
	free(l);
	return NULL;
}

int states_fd(const struct states *l)
{
	return l->fd;
}

/* An earlier process's: our own code needs valid values. */
static void make_valid(struct client_state *e)
{
	e->cgroup[STATE_PATH_MAX - 1] = '\0';
	if (e->available < 1 || e->available > 3)
		e->available = 3;
	for (size_t i = 0; i < ELEMENTSOF(e->thresholds); i++)
		e->thresholds[i].kind &= 1;
}

struct client_state *states_get(struct states *l, int socket_fd, bool *ret_known)
{
	struct client_state *entries = l->table->entries, *unused = NULL;
	socklen_t size = sizeof(uint64_t);
	uint64_t cookie;

	if (getsockopt(socket_fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0)
		return NULL;
	for (uint32_t i = 0; i < l->table->used; i++) {
		if (entries[i].cookie == cookie) {
			make_valid(&entries[i]);
			entries[i].connected = *ret_known = true;
			return &entries[i];
		}
		/* the lowest ones first, so that the pages in use stay few */
		if (!unused && entries[i].cookie == 0)
			unused = &entries[i];
	}
	if (!unused && l->table->used == SLOTS)
		return NULL;
	if (!unused)
		unused = &entries[l->table->used++];
	*unused = (struct client_state){ .connected = true, .available = 3 };
	__atomic_store_n(&unused->cookie, cookie, __ATOMIC_RELEASE);
	*ret_known = false;
	return unused;
}

void states_remove(struct client_state *e)
{
	__atomic_store_n(&e->cookie, 0, __ATOMIC_RELEASE);
}

void states_prune(struct states *l)
{
	for (uint32_t i = 0; i < l->table->used; i++)
		if (!l->table->entries[i].connected)
			states_remove(&l->table->entries[i]);
}

/* ---- terms, packed ----------------------------------------------------------------------------- */

static struct state_trigger pack(const struct trigger *t)
{
	return (struct state_trigger){ (uint32_t)t->threshold_usec, (uint32_t)t->window_usec,
				       (uint8_t)t->kind };
}

static struct trigger unpack(const struct state_trigger *t)
{
	return (struct trigger){ (enum psi_kind)t->kind, t->threshold_usec, t->window_usec };
}

void state_put_terms(struct client_state *e, const struct policy_options *t)
{
	e->thresholds[0] = pack(&t->early);
	e->thresholds[1] = pack(&t->low);
	e->thresholds[2] = pack(&t->critical);
	e->rearm_usec = t->rearm_usec;
	e->quiet_usec = t->quiet_usec;
	e->calm_usec = t->calm_usec;
	e->headroom = t->headroom_percent == HEADROOM_OFF ? HEADROOM_IS_OFF
							  : (uint8_t)t->headroom_percent;
	e->descendants = (uint8_t)t->descendants;
}

void state_get_terms(const struct client_state *e, struct policy_options *ret)
{
	*ret = (struct policy_options){
		.early = unpack(&e->thresholds[0]),
		.low = unpack(&e->thresholds[1]),
		.critical = unpack(&e->thresholds[2]),
		.rearm_usec = e->rearm_usec,
		.quiet_usec = e->quiet_usec,
		.calm_usec = e->calm_usec,
		.headroom_percent = e->headroom == HEADROOM_IS_OFF ? HEADROOM_OFF : e->headroom,
		.descendants = e->descendants,
	};
}
