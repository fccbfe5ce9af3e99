/* SPDX-License-Identifier: MIT */
/*
 * state.c - a table in shared memory that outlives us
 *
 * Layout: a header, then the entries. An entry counts when its cookie is not 0, and the cookie is
 * written last and cleared first: a process that was killed in between leaves either no entry or a whole
 * one. What was told is two bytes and a time, written one after the other: killed between them, the
 * successor may take a Low for told that was not sent yet, or the other way round; both are mended
 * by its first sample.
 *
 * A page is taken by its first touch, and reading is touching: so nothing looks behind `used`.
 *
 * Nothing in it is trusted: the descriptor comes from the manager, and an older version of psibridged
 * may have written it.
 */
#include "daemon/state.h"

#include "kernel/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATES_MAGIC UINT64_C(0x6574617473627370) /* "psbstate" */
#define STATES_VERSION 2
#define SLOTS (1u << 20) /* as many as ClientsMax= may allow: what is not used takes no memory */
#define SIZE (sizeof(struct header) + SLOTS * sizeof(struct client_state))

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

struct header {
	uint64_t magic;
	uint32_t version, entry_size;
	uint32_t used; /* no entry behind this one was ever written */
	uint32_t padding[11];
};

struct states {
	int fd;
	struct header *header;
	struct client_state *entries;
	unsigned hint; /* all before it are taken */
};

/* Takes the descriptor over. */
static int map(int fd, struct states **ret)
{
	struct states *l = calloc(1, sizeof(*l));
	void *p;

	if (!l) {
		close(fd);
		return -ENOMEM;
	}
	l->fd = fd;
	p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		int r = -errno;

		close(fd);
		free(l);
		return r;
	}
	l->header = p;
	l->entries = (struct client_state *)(l->header + 1);
	*ret = l;
	return 0;
}

int states_new(struct states **ret)
{
	struct states *l = NULL;
	int fd, r;

	fd = memfd_create("psibridged-state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)SIZE) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	/* so that it cannot be shrunk under our mapping, which would be SIGBUS */
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
	r = map(fd, &l);
	if (r < 0)
		return r;
	*l->header = (struct header){
		.magic = STATES_MAGIC,
		.version = STATES_VERSION,
		.entry_size = sizeof(struct client_state),
	};
	*ret = l;
	return 0;
}

int states_adopt(int fd, struct states **ret)
{
	struct header h;
	struct stat st;
	int r = -EBADMSG, seals = fcntl(fd, F_GET_SEALS);

	if (fstat(fd, &st) < 0 || pread(fd, &h, sizeof(h), 0) != (ssize_t)sizeof(h) || seals < 0 ||
	    !(seals & F_SEAL_SHRINK))
		goto bad;
	if (h.magic != STATES_MAGIC || h.version != STATES_VERSION ||
	    h.entry_size != sizeof(struct client_state) || h.used > SLOTS ||
	    (uint64_t)st.st_size != SIZE)
		goto bad;
	return map(fd, ret);
bad:
	close(fd);
	return r;
}

struct states *states_free(struct states *l)
{
	if (!l)
		return NULL;
	munmap(l->header, SIZE);
	close(l->fd);
	free(l);
	return NULL;
}

int states_fd(const struct states *l)
{
	return l->fd;
}

struct client_state *states_add(struct states *l, uint64_t cookie)
{
	for (unsigned i = l->hint; i < SLOTS; i++) {
		struct client_state *e = &l->entries[i];

		if (i < l->header->used && e->cookie != 0)
			continue;
		l->hint = i + 1;
		l->header->used = MAX(l->header->used, i + 1);
		memset(e, 0, sizeof(*e));
		e->available = 3;
		__atomic_store_n(&e->cookie, cookie, __ATOMIC_RELEASE);
		return e;
	}
	return NULL;
}

struct client_state *states_find(struct states *l, uint64_t cookie)
{
	struct client_state *e;

	if (cookie == 0)
		return NULL;
	for (e = l->entries; e < l->entries + l->header->used; e++) {
		if (e->cookie != cookie)
			continue;
		/* not trusted: our own code needs valid values */
		e->cgroup[STATE_PATH_MAX - 1] = '\0';
		if (e->available < 1 || e->available > 3)
			e->available = 3;
		return e;
	}
	return NULL;
}

void states_remove(struct states *l, struct client_state *e)
{
	if (!e)
		return;
	__atomic_store_n(&e->cookie, 0, __ATOMIC_RELEASE);
	/* the lowest ones first, so that the pages in use stay few */
	l->hint = MIN(l->hint, (unsigned)(e - l->entries));
}

void states_prune(struct states *l, bool (*keep)(uint64_t cookie, void *userdata), void *userdata)
{
	for (struct client_state *e = l->entries; e < l->entries + l->header->used; e++)
		if (e->cookie != 0 && !keep(e->cookie, userdata))
			states_remove(l, e);
}

/* ---- terms, packed ----------------------------------------------------------------------------- */

#define HEADROOM_IS_OFF 255u

#define PACK(to, from)                                                 \
	do {                                                           \
		(to).kind = (uint8_t)(from).kind;                      \
		(to).threshold_usec = (uint32_t)(from).threshold_usec; \
		(to).window_usec = (uint32_t)(from).window_usec;       \
	} while (0)

#define UNPACK(from)                                                                \
	((struct trigger){ (enum psi_kind)((from).kind & 1), (from).threshold_usec, \
			   (from).window_usec })

void state_put_terms(struct client_state *e, const struct policy_options *t)
{
	PACK(e->early, t->early);
	PACK(e->low, t->low);
	PACK(e->critical_trigger, t->critical);
	e->rearm_usec = t->rearm_usec;
	e->quiet_usec = t->quiet_usec;
	e->calm_usec = t->calm_usec;
	e->headroom = t->headroom_percent == HEADROOM_OFF ? HEADROOM_IS_OFF
							  : (uint8_t)t->headroom_percent;
}

void state_get_terms(const struct client_state *e, struct policy_options *ret)
{
	*ret = (struct policy_options){
		.early = UNPACK(e->early),
		.low = UNPACK(e->low),
		.critical = UNPACK(e->critical_trigger),
		.rearm_usec = e->rearm_usec,
		.quiet_usec = e->quiet_usec,
		.calm_usec = e->calm_usec,
		.headroom_percent = e->headroom == HEADROOM_IS_OFF ? HEADROOM_OFF : e->headroom,
	};
}

int socket_cookie(int fd, uint64_t *ret)
{
	uint64_t cookie = 0;
	socklen_t size = sizeof(cookie);

	if (getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0)
		return -errno;
	*ret = cookie;
	return 0;
}
