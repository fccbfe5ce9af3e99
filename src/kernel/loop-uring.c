/* SPDX-License-Identifier: MIT */
/*
 * loop-uring.c - the ring: how it is made, how requests are written and how to sleep; the only file
 * that sees liburing
 *
 * The ring is made disabled (R_DISABLED), so that SINGLE_ISSUER and DEFER_TASKRUN bind it to the
 * thread that dispatches first, not to the one that makes it. Before Linux 6.1, 6.0, 5.19 flags go
 * one after the other. Before 5.13 there is no multishot poll, and a one-shot that is armed again
 * and again would spin on a descriptor that stays ready: such a kernel gets epoll.
 * IORING_FEAT_RSRC_TAGS, which came with 5.13, tells.
 *
 * Two ways to sleep:
 *
 *  INSIDE   In io_uring_enter(2), which submits and waits in one: one system call a pass. The
 *           deadline is its EXT_ARG timeout: no SQE, nothing to move when timers move, nothing left
 *           behind. Compared with that, IORING_OP_TIMEOUT needs an SQE, mostly a second one to
 *           replace it, and ends with a CQE of its own. Since 6.1.39 and 6.5 a thread that sleeps
 *           there counts as waiting for I/O: an idle loop gives its cgroup 100 % of io.pressure,
 *           and the machine a CPU in iowait (seen on 6.18; axboe/liburing issue 943).
 *           IORING_ENTER_NO_IOWAIT (6.15) turns that off, and is the condition for INSIDE. liburing
 *           knows it from 2.12 on, hence ring_enter() here, with those members of `struct io_uring`
 *           that liburing's own inline functions use, and which therefore are its ABI.
 *  OUTSIDE  Without NO_IOWAIT: io_uring_enter(2), then ppoll(2) on the ring's descriptor. Two
 *           system calls a pass, the first even if there is nothing to submit: only it tells that
 *           the ring was closed, or that io_uring was forbidden meanwhile. The second is
 *           interrupted by the task work that completes a request, and restarted by the kernel.
 *           Without DEFER_TASKRUN then: with it completions are made only inside of the first.
 *
 * The ring's descriptor is not registered (io_uring_register_ring_fd): it saved nothing that could
 * be measured, and the table is the thread's, so that freeing a ring on another thread would remove
 * the entry of another ring.
 *
 * IORING_FEAT_NODROP: a CQE that does not fit is kept aside, and SQ_CQ_OVERFLOW is raised until an
 * io_uring_enter(2) could put all of those into the CQ. So it was up before or after one of the
 * last two calls whenever a CQE may be of such a time: overflow_look().
 */
#include "kernel/loop-engine.h"
#include "kernel/loop-uring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* Newer than the linux/io_uring.h of Debian 12; values of the kernel's ABI. */
#define ENTER_NO_IOWAIT (1u << 7)
#define FEAT_NO_IOWAIT (1u << 17)

#define ENTRIES_DEFAULT 64
#define ENTRIES_MAX 16384
#define SQ_MAX 256

/* How long to wait for memory, or for a place in the CQ, before submitting again. */
#define STUCK_USEC (10 * USEC_PER_MSEC)

/* ... and how often in a row before the ring is given up. */
#define STUCK_MAX 100

enum sleeping { INSIDE, OUTSIDE };

struct ring {
	struct io_uring io;
	enum sleeping sleeping;
	unsigned without;
	unsigned stuck;			/* waits in a row that the kernel refused for now */
	unsigned skip_success;		/* IOSQE_CQE_SKIP_SUCCESS or 0 */
	bool overflow, overflow_before; /* in this pass, in the one before */
};

/* ---- submitting --------------------------------------------------------------------------- */

static bool sq_flag(struct ring *ring, unsigned flags)
{
	return IO_URING_READ_ONCE(*ring->io.sq.kflags) & flags;
}

static void overflow_look(struct ring *ring)
{
	if (sq_flag(ring, IORING_SQ_CQ_OVERFLOW))
		ring->overflow = true;
}

/*
 * One io_uring_enter(2): what liburing's submit functions do, and NO_IOWAIT. Submits all SQEs, does
 * what was deferred, waits for `wait` completions at most for `timeout` (NULL: for ever).
 */
static int ring_enter(struct ring *ring, unsigned wait, const struct timespec *timeout)
{
	struct io_uring_sq *sq = &ring->io.sq;
	struct __kernel_timespec ts = { 0 };
	struct io_uring_getevents_arg arg = { .ts = (uint64_t)(uintptr_t)&ts };
	unsigned flags = IORING_ENTER_GETEVENTS;
	int r;

	sq->sqe_head = sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);

	if (ring->sleeping == INSIDE && wait > 0)
		flags |= ENTER_NO_IOWAIT;
	if (wait > 0 && timeout) {
		flags |= IORING_ENTER_EXT_ARG;
		ts.tv_sec = timeout->tv_sec;
		ts.tv_nsec = timeout->tv_nsec;
	}

	overflow_look(ring);
	r = io_uring_enter2((unsigned)ring->io.ring_fd, io_uring_sq_ready(&ring->io), wait, flags,
			    flags & IORING_ENTER_EXT_ARG ? (sigset_t *)&arg : NULL,
			    flags & IORING_ENTER_EXT_ARG ? sizeof(arg) : _NSIG / 8);
	overflow_look(ring);
	return MIN(r, 0);
}

static struct io_uring_sqe *sqe_get(struct ring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->io);

	if (sqe)
		return sqe;
	(void)ring_enter(ring, 0, NULL);
	return io_uring_get_sqe(&ring->io);
}

bool ring_poll(struct ring *ring, int fd, unsigned events, uint64_t data)
{
	struct io_uring_sqe *sqe = sqe_get(ring);

	if (!sqe)
		return false;
	io_uring_prep_poll_multishot(sqe, fd, events);
	io_uring_sqe_set_data64(sqe, data);
	return true;
}

bool ring_cancel(struct ring *ring, uint64_t target, uint64_t data)
{
	struct io_uring_sqe *sqe = sqe_get(ring);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, target, 0);
	io_uring_sqe_set_data64(sqe, data);
	sqe->flags |= (uint8_t)ring->skip_success;
	return true;
}

/* ---- waiting ------------------------------------------------------------------------------ */

static int wait_inside(struct ring *ring, const struct timespec *left, bool look)
{
	if (ring_ready(ring) > 0 && io_uring_sq_ready(&ring->io) == 0)
		return 0;
	return ring_enter(ring, look || ring_ready(ring) > 0 ? 0 : 1, left);
}

static int wait_outside(struct ring *ring, const struct timespec *left, bool look)
{
	struct pollfd pollfd = { .fd = ring->io.ring_fd, .events = POLLIN };
	int r;

	if (ring_ready(ring) > 0 && io_uring_sq_ready(&ring->io) == 0)
		return 0;
	r = ring_enter(ring, 0, NULL);
	if (r < 0 || look || ring_ready(ring) > 0)
		return r;

	if (ppoll(&pollfd, 1, left, NULL) < 0 && errno != EINTR)
		return errno == EINVAL ? ring_enter(ring, 1, left)
				       : -errno; /* RLIMIT_NOFILE is 0 */
	if (sq_flag(ring, IORING_SQ_CQ_OVERFLOW))
		return ring_enter(ring, 0, NULL);
	return 0;
}

/* Some errors are none: nothing came, or the kernel cannot take SQEs now. */
static int wait_result(struct ring *ring, int r)
{
	const struct timespec stuck = { .tv_nsec = (long)(STUCK_USEC * NSEC_PER_USEC) };

	if (r == -EAGAIN || r == -EBUSY || r == -ENOMEM) {
		/* No memory for a request, or completions to be reaped first: not at once again. */
		if (ring_ready(ring) > 0)
			return 0;
		(void)ppoll(NULL, 0, &stuck, NULL);
		return ++ring->stuck < STUCK_MAX ? 0 : r;
	}
	ring->stuck = 0;
	return r >= 0 || r == -ETIME || r == -EINTR ? 0 : r;
}

int ring_wait(struct ring *ring, uint64_t until_usec)
{
	struct timespec buf;
	const struct timespec *left = engine_timeout(until_usec, &buf);
	bool look = left && left->tv_sec == 0 && left->tv_nsec == 0;

	switch (ring->sleeping) {
	case INSIDE:
		return wait_result(ring, wait_inside(ring, left, look));
	case OUTSIDE:
		return wait_result(ring, wait_outside(ring, left, look));
	}
	return -EINVAL;
}

int ring_drain(struct ring *ring, uint64_t until_usec)
{
	struct timespec buf;

	return wait_result(ring, ring_enter(ring, 1, engine_timeout(until_usec, &buf)));
}

/* ---- completions -------------------------------------------------------------------------- */

unsigned ring_ready(const struct ring *ring)
{
	return io_uring_cq_ready(&ring->io);
}

bool ring_next(struct ring *ring, struct ring_completion *ret)
{
	struct io_uring_cqe *cqe;

	/* Only if there is one: to peek into an empty CQ may cost a system call. */
	if (ring_ready(ring) == 0 || io_uring_peek_cqe(&ring->io, &cqe) < 0)
		return false;
	*ret = (struct ring_completion){ .data = cqe->user_data,
					 .result = cqe->res,
					 .more = cqe->flags & IORING_CQE_F_MORE };
	io_uring_cqe_seen(&ring->io, cqe);
	return true;
}

bool ring_overflowed(struct ring *ring)
{
	overflow_look(ring);
	return ring->overflow || ring->overflow_before;
}

void ring_pass(struct ring *ring)
{
	overflow_look(ring);
	ring->overflow_before = ring->overflow;
	ring->overflow = false;
}

/* ---- making and freeing ------------------------------------------------------------------- */

int ring_enable(struct ring *ring)
{
	/* liburing 2.3 declares io_uring_enable_rings(), and does not export it. */
	int r = io_uring_register((unsigned)ring->io.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				  0);

	return MIN(r, 0);
}

struct ring *ring_free(struct ring *ring, bool lost)
{
	if (lost) /* another file's, or no file's */
		ring->io.ring_fd = -1;
	io_uring_queue_exit(&ring->io);
	free(ring);
	return NULL;
}

/*
 * The rings are not in the child's memory (MADV_DONTFORK), and something else may be mapped at
 * their addresses by now; so nothing is unmapped: no io_uring_queue_exit(). The ring lives on in
 * the parent.
 */
struct ring *ring_free_in_child(struct ring *ring)
{
	close(ring->io.ring_fd);
	free(ring);
	return NULL;
}

/* Which of the reasons for EPERM is it? */
static const char *why_forbidden(void)
{
	char value = '0';
	int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		(void)!read(fd, &value, 1);
		close(fd);
	}
	if (value == '1')
		return "io_uring is forbidden here: kernel.io_uring_disabled=1 leaves it to the group "
		       "kernel.io_uring_group and to CAP_SYS_ADMIN (EPERM)";
	if (value == '2')
		return "io_uring is forbidden here: kernel.io_uring_disabled=2 (EPERM)";
	return "io_uring is forbidden here: a seccomp filter, as container engines set one (EPERM)";
}

static const char *why_not(int error)
{
	switch (error) {
	case -ENOSYS:
		return "io_uring is not in this kernel, or a seccomp filter hides it (ENOSYS)";
	case -EPERM:
		return why_forbidden();
	case -EACCES:
		return "io_uring is forbidden here: a security module, such as SELinux (EACCES)";
	case -ENOMEM:
		return "io_uring got no memory; before Linux 5.12 it counts against RLIMIT_MEMLOCK (ENOMEM)";
	case -EINVAL:
		return "io_uring of this kernel is too old: it takes Linux 5.13 (EINVAL)";
	}
	return "io_uring_setup(2) failed for a reason that psibridge does not know";
}

#define REFUSED(call, error) \
	"io_uring_setup(2) is allowed here, but not " call ": a seccomp filter (" error ")"
#define WHY_REFUSED(call, r)                        \
	((r) == -EPERM	  ? REFUSED(call, "EPERM")  \
	 : (r) == -ENOSYS ? REFUSED(call, "ENOSYS") \
			  : "io_uring_setup(2) works here, but not " call)

/*
 * A filter can let io_uring_setup(2) through and refuse the other two calls, which would be found
 * out in a thread that has no caller. A disabled ring answers io_uring_enter(2) with EBADFD.
 */
static int ring_try(struct ring *ring, const char **ret_why)
{
	struct io_uring_probe probe = { 0 };
	unsigned fd = (unsigned)ring->io.ring_fd;
	int r;

	r = io_uring_enter2(fd, 0, 0, 0, NULL, 0);
	if (r < 0 && r != -EBADFD) {
		*ret_why = WHY_REFUSED("io_uring_enter(2)", r);
		return r;
	}
	r = io_uring_register(fd, IORING_REGISTER_PROBE, &probe, 0);
	if (r < 0) {
		*ret_why = WHY_REFUSED("io_uring_register(2)", r);
		return r;
	}
	return 0;
}

static int ring_setup(struct ring *ring, unsigned entries)
{
	/* In the order of their kernels: 6.1, 6.0, 5.19, 5.10. */
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
		0,
	};
	const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;
	unsigned first = ring->without & LOOP_WITHOUT_DEFER_TASKRUN ? 1 : 0;
	int r = -EINVAL;

	for (unsigned i = first; i < ELEMENTSOF(flags); i++) {
		struct io_uring_params params = {
			.flags = flags[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_CLAMP |
				 IORING_SETUP_CQSIZE,
			.cq_entries = 2 * entries,
		};

		r = io_uring_queue_init_params(MIN(entries, SQ_MAX), &ring->io, &params);
		if (r == -EINVAL)
			continue;
		if (r < 0)
			return r;

		if (ring->without & LOOP_WITHOUT_NO_IOWAIT)
			params.features &= ~FEAT_NO_IOWAIT;
		if (params.features & IORING_FEAT_CQE_SKIP)
			ring->skip_success = IOSQE_CQE_SKIP_SUCCESS;
		ring->sleeping = params.features & FEAT_NO_IOWAIT ? INSIDE : OUTSIDE;
		/* The first of the ladder is not for OUTSIDE. */
		if ((params.features & needed) == needed && (ring->sleeping != OUTSIDE || i > 0))
			return 0;
		io_uring_queue_exit(&ring->io);
		r = -EINVAL;
	}
	return r;
}

int ring_new(const struct loop_options *options, struct ring **ret, const char **ret_why)
{
	unsigned entries = options->entries ? MIN(options->entries, ENTRIES_MAX) : ENTRIES_DEFAULT;
	struct ring *ring;
	int r;

	ring = calloc(1, sizeof(*ring));
	if (!ring)
		return -ENOMEM;
	ring->without = options->without;

	r = ring_setup(ring, entries);
	if (r < 0) {
		*ret_why = why_not(r);
		free(ring);
		return r;
	}
	r = ring_try(ring, ret_why);
	if (r < 0) {
		ring_free(ring, false);
		return r;
	}
	/* Should it fail, a child merely inherits a mapping that it does not use. */
	(void)io_uring_ring_dontfork(&ring->io);

	*ret = ring;
	*ret_why = "";
	return 0;
}
