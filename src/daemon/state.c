/* SPDX-License-Identifier: MIT */
/*
 * state.c - a table in shared memory that outlives us
 *
 * An entry counts when its cookie is not 0, and the cookie is written last and cleared first: a process that was killed in
 * between leaves either no entry or a whole one. What was told is two bytes and a time, one after the other: killed between
 * them, the successor may take a Low for told that was not sent yet, or the other way round; both are mended by its first
 * sample.
 *
 * A page is taken by its first touch, and reading is touching: so nothing looks behind `used`. Nothing in it is trusted: the
 * descriptor comes from the manager, and an older psibridged may have written it.
 */
#include "daemon/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* "psbstat5": the last byte is the version, of struct policy_options, too */
#define STATES_MAGIC UINT64_C(0x3574617473627370)
#define SLOTS (1u << 20) /* as many as ClientsMax= may allow: what is not used takes no memory */

#ifndef SO_COOKIE
#define SO_COOKIE 57
#endif

struct states {
	uint64_t magic;
	uint32_t used; /* no entry behind this one was ever written */
	struct client_state entries[SLOTS];
	struct high_states highs;
};

static int map(int fd, struct states **ret)
{
	void *p = mmap(NULL, sizeof(**ret), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

int states_new(struct states **ret, int *ret_fd)
{
	int fd = memfd_create("psibridged-state", MFD_CLOEXEC | MFD_ALLOW_SEALING), r = 0;

	if (fd < 0)
		return -errno;
	/* sealed, so that it cannot be shrunk under our mapping, which would be SIGBUS */
	if (ftruncate(fd, (off_t)sizeof(**ret)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) < 0)
		r = -errno;
	if (r == 0)
		r = map(fd, ret);
	if (r < 0) {
		close(fd);
		return r;
	}
	(*ret)->magic = STATES_MAGIC;
	*ret_fd = fd;
	return 0;
}

int states_adopt(int fd, struct states **ret)
{
	int seals = fcntl(fd, F_GET_SEALS), r = -EBADMSG;
	struct states *l = NULL;
	struct stat st;

	if (seals >= 0 && (seals & F_SEAL_SHRINK) && fstat(fd, &st) == 0 &&
	    (uint64_t)st.st_size == sizeof(*l))
		r = map(fd, &l);
	close(fd);
	if (r < 0)
		return r;
	if (l->magic != STATES_MAGIC || l->used > SLOTS || l->highs.used > HIGHS_MAX) {
		states_free(l);
		return -EBADMSG;
	}
	for (uint32_t i = 0; i < l->used; i++)
		l->entries[i].connected = false;
	for (uint32_t i = 0; i < l->highs.used; i++) {
		l->highs.entries[i].look = 0;
		l->highs.entries[i].cgroup[STATE_PATH_MAX - 1] = '\0';
	}
	*ret = l;
	return 0;
}

struct states *states_free(struct states *l)
{
	if (l)
		munmap(l, sizeof(*l));
	return NULL;
}

struct high_states *states_highs(struct states *l)
{
	return &l->highs;
}

/* An earlier process's: our own code needs valid values. */
static void make_valid(struct client_state *e)
{
	e->cgroup[STATE_PATH_MAX - 1] = '\0';
	if (e->available < 1 || e->available > 3)
		e->available = 3;
	e->terms.early.kind &= 1;
	e->terms.low.kind &= 1;
	e->terms.critical.kind &= 1;
}

struct client_state *states_get(struct states *l, int socket_fd, bool *ret_known)
{
	struct client_state *e, *unused = NULL;
	uint64_t cookie;

	if (getsockopt(socket_fd, SOL_SOCKET, SO_COOKIE, &cookie, &(socklen_t){ sizeof(cookie) }) <
	    0)
		return NULL;
	for (e = l->entries; e < l->entries + l->used; e++) {
		if (e->cookie == cookie) {
			make_valid(e);
			e->connected = *ret_known = true;
			return e;
		}
		/* the lowest ones first, so that the pages in use stay few */
		if (!unused && e->cookie == 0)
			unused = e;
	}
	if (!unused && l->used == SLOTS)
		return NULL;
	if (!unused)
		unused = &l->entries[l->used++];
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
	for (uint32_t i = 0; i < l->used; i++)
		if (!l->entries[i].connected)
			states_remove(&l->entries[i]);
}
