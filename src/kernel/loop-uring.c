/* SPDX-License-Identifier: MIT */
/*
 * loop-uring.c - the loop on io_uring; the only file that sees liburing
 *
 * Starting and cancelling only change the state of an op (loop-engine.h); requests are made when the loop waits.
 * So there is no full submission queue to report to a caller, a loop can be filled before it has a thread, and
 * all that callbacks start goes in with the next wait. A request carries the address of its op, which leaves the
 * kernel with its last completion (without F_MORE), never with that of its cancel.
 *
 * A multishot poll ends by itself for three reasons. Its completion did not fit into the queue
 * (IORING_FEAT_NODROP keeps that aside), or the wake-up came from a ring, by its eventfd (EPOLL_URING_WAKE in
 * io_poll_wake()): then it is armed again, and the present state is told once more. Or the file registered no
 * wait queue, which is a PSI file without a trigger (io_poll_add() in io_uring/poll.c completes it at once with
 * POLLERR): what ends so several times in a row is PARKED until it is cancelled, or it would spin.
 * (memory.events has POLLERR too, and stays armed.)
 *
 * A drain is one recv after the other, each submitted with the wait after the completion of the one before.
 * Nobody reads what it writes: all rings write to the same bytes, which stay when a ring ends.
 *
 * Closing a ring cancels what is in flight, but later, in a kernel thread; so uring_free() cancels and reaps
 * first, where it may: on the thread that owns the ring. It is made disabled (R_DISABLED), so that SINGLE_ISSUER
 * and DEFER_TASKRUN bind it to the thread that dispatches first. Before Linux 6.1, 6.0, 5.19 flags go one after
 * the other. Before 5.13, which IORING_FEAT_RSRC_TAGS tells, there is no multishot poll, and a one-shot that is
 * armed again would spin on a descriptor that stays ready: such a kernel gets epoll.
 *
 * Two ways to sleep:
 *  INSIDE   In io_uring_enter(2), which submits and waits in one: one system call a pass, with the deadline as its
 *           EXT_ARG timeout. Since 6.1.39 and 6.5 a thread that sleeps there counts as waiting for I/O: an idle
 *           loop gives its cgroup 100 % of io.pressure, and the machine a CPU in iowait (seen on 6.18;
 *           axboe/liburing issue 943). IORING_ENTER_NO_IOWAIT (6.15) turns that off, and is the condition.
 *           liburing knows it from 2.12 on, hence ring_enter() here, with those members of `struct io_uring` that
 *           liburing's own inline functions use, and which therefore are its ABI.
 *  OUTSIDE  io_uring_enter(2), then ppoll(2) on the ring's descriptor: two system calls a pass, the first even if
 *           there is nothing to submit: only it tells that the ring was closed, or io_uring forbidden meanwhile.
 *           The second is interrupted by the task work that completes a request, and restarted by the kernel;
 *           not with DEFER_TASKRUN, which makes completions only inside of the first.
 *
 * The ring's descriptor is not registered (io_uring_register_ring_fd): nothing was saved that could be measured,
 * and the table is the thread's, so that freeing a ring on another thread would remove another ring's entry.
 */
#include "kernel/loop-engine.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

/* Newer than the linux/io_uring.h of Debian 12; values of the kernel's ABI. */
#define ENTER_NO_IOWAIT (1u << 7)
#define FEAT_NO_IOWAIT (1u << 17)

/* Places in the SQ, and half of those in the CQ. */
#define ENTRIES 64

/* How long to wait for memory, or for a place in the CQ, before submitting again, and how often in a row before the
 * ring is given up. */
#define STUCK_USEC (10 * USEC_PER_MSEC)
#define STUCK_MAX 100
#define FREE_USEC (200 * USEC_PER_MSEC)

#define ENDS_MAX 8 /* of a poll, in a row */

/* What a request carries where it is not the address of an op. */
#define DATA_NONE UINT64_C(0) /* the result of a cancel */
#define DATA_WAKE UINT64_C(1) /* the poll on wake_fd */

enum sleeping { INSIDE, OUTSIDE };

struct uring {
	struct io_uring io;
	enum sleeping sleeping;
	bool enabled, wake_armed;
	unsigned stuck; /* waits in a row that the kernel refused for now */
};

static uint64_t data_of(const struct loop_op *op)
{
	return (uint64_t)(uintptr_t)op;
}

/* ---- submitting --------------------------------------------------------------------------- */

static bool is_overflowing(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->io.sq.kflags) & IORING_SQ_CQ_OVERFLOW;
}

/*
 * One io_uring_enter(2): what liburing's submit functions do, and NO_IOWAIT. Submits all SQEs, does
 * what was deferred, waits for `wait` completions at most for `timeout` (NULL: for ever).
 */
static int ring_enter(struct uring *u, unsigned wait, const struct timespec *timeout)
{
	struct io_uring_sq *sq = &u->io.sq;
	struct __kernel_timespec ts = { 0 };
	struct io_uring_getevents_arg arg = { .ts = (uint64_t)(uintptr_t)&ts };
	unsigned flags = IORING_ENTER_GETEVENTS;
	int r;

	sq->sqe_head = sq->sqe_tail;
	io_uring_smp_store_release(sq->ktail, sq->sqe_tail);

	if (u->sleeping == INSIDE && wait > 0)
		flags |= ENTER_NO_IOWAIT;
	if (wait > 0 && timeout) {
		flags |= IORING_ENTER_EXT_ARG;
		ts.tv_sec = timeout->tv_sec;
		ts.tv_nsec = timeout->tv_nsec;
	}

	r = io_uring_enter2((unsigned)u->io.ring_fd, io_uring_sq_ready(&u->io), wait, flags,
			    flags & IORING_ENTER_EXT_ARG ? (sigset_t *)&arg : NULL,
			    flags & IORING_ENTER_EXT_ARG ? sizeof(arg) : _NSIG / 8);
	return MIN(r, 0);
}

/* NULL: the kernel takes none now (no memory, completions to be reaped first). */
static struct io_uring_sqe *sqe_get(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->io);

	if (sqe)
		return sqe;
	(void)ring_enter(u, 0, NULL);
	return io_uring_get_sqe(&u->io);
}

static bool submit_poll(struct uring *u, int fd, unsigned events, uint64_t data)
{
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe)
		return false;
	io_uring_prep_poll_multishot(sqe, fd, events);
	io_uring_sqe_set_data64(sqe, data);
	return true;
}

static bool submit_op(struct uring *u, const struct loop_op *op)
{
	static char dropped[DRAIN_MAX];
	struct io_uring_sqe *sqe;

	if (!op->drains)
		return submit_poll(u, op->fd, op->events, data_of(op));
	sqe = sqe_get(u);
	if (!sqe)
		return false;
	io_uring_prep_recv(sqe, op->fd, dropped, sizeof(dropped), 0);
	io_uring_sqe_set_data64(sqe, data_of(op));
	return true;
}

static bool submit_cancel(struct uring *u, const struct loop_op *op)
{
	struct io_uring_sqe *sqe = sqe_get(u);

	if (!sqe)
		return false;
	io_uring_prep_cancel64(sqe, data_of(op), 0);
	io_uring_sqe_set_data64(sqe, DATA_NONE);
	return true;
}

/* Makes requests of all that is queued. False: the kernel does not take all of it now. */
static bool queued_submit(struct loop *loop)
{
	struct uring *u = loop->state;
	struct loop_op *op;

	if (!u->wake_armed)
		u->wake_armed = submit_poll(u, atomic_load(&loop->wake_fd), POLLIN, DATA_WAKE);

	while ((op = loop->ops[OP_CANCEL_QUEUED].first)) {
		if (!submit_cancel(u, op))
			return false;
		op_move(op, OP_CANCELLING);
	}
	while ((op = loop->ops[OP_QUEUED].first)) {
		if (!submit_op(u, op))
			return false;
		op_move(op, OP_ARMED);
	}
	return u->wake_armed;
}

static int uring_start(_unused_ struct loop *loop, struct loop_op *op)
{
	op_move(op, OP_QUEUED);
	return 0;
}

static void uring_cancel(_unused_ struct loop *loop, struct loop_op *op)
{
	bool outside = op->state == OP_QUEUED || op->state == OP_PARKED;

	op_move(op, outside ? OP_RELEASING : OP_CANCEL_QUEUED);
}

/* ---- waiting ------------------------------------------------------------------------------ */

static int ring_sleep(struct uring *u, const struct timespec *left)
{
	struct pollfd pollfd = { .fd = u->io.ring_fd, .events = POLLIN };
	bool look = left && left->tv_sec == 0 && left->tv_nsec == 0;
	bool ready = io_uring_cq_ready(&u->io) > 0;
	int r;

	if (ready && io_uring_sq_ready(&u->io) == 0)
		return 0;
	if (u->sleeping == INSIDE)
		return ring_enter(u, !look && !ready, left);

	r = ring_enter(u, 0, NULL);
	if (r < 0 || look || io_uring_cq_ready(&u->io) > 0)
		return r;
	if (ppoll(&pollfd, 1, left, NULL) < 0 && errno != EINTR)
		return errno == EINVAL ? ring_enter(u, 1, left) : -errno; /* RLIMIT_NOFILE is 0 */
	return is_overflowing(u) ? ring_enter(u, 0, NULL) : 0;
}

/* Some errors are none: nothing came, or the kernel cannot take SQEs now. */
static int wait_result(struct uring *u, int r)
{
	const struct timespec stuck = { .tv_nsec = (long)(STUCK_USEC * NSEC_PER_USEC) };

	if (r == -EAGAIN || r == -EBUSY || r == -ENOMEM) {
		/* No memory for a request, or completions to be reaped first: not at once again. */
		if (io_uring_cq_ready(&u->io) > 0)
			return 0;
		(void)ppoll(NULL, 0, &stuck, NULL);
		return ++u->stuck < STUCK_MAX ? 0 : r;
	}
	u->stuck = 0;
	return r >= 0 || r == -ETIME || r == -EINTR ? 0 : r;
}

static int uring_wait(struct loop *loop, uint64_t until_usec)
{
	struct uring *u = loop->state;
	struct timespec buf;
	int r;

	if (!u->enabled) {
		/* liburing 2.3 declares io_uring_enable_rings(), and does not export it. */
		r = io_uring_register((unsigned)u->io.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL,
				      0);
		if (r < 0)
			return r;
		u->enabled = true;
	}
	/* Requests that the kernel did not take need another pass soon. */
	if (!queued_submit(loop))
		until_usec = 0;
	return wait_result(u, ring_sleep(u, engine_timeout(until_usec, &buf)));
}

/* ---- completions -------------------------------------------------------------------------- */

static bool completion_take(struct uring *u, struct io_uring_cqe *ret)
{
	struct io_uring_cqe *cqe;

	/* Only if there is one: to peek into an empty CQ may cost a system call. */
	if (io_uring_cq_ready(&u->io) == 0 || io_uring_peek_cqe(&u->io, &cqe) < 0)
		return false;
	*ret = *cqe;
	io_uring_cqe_seen(&u->io, cqe);
	return true;
}

/* Whose it is; NULL: no op's. */
static struct loop_op *op_of(const struct io_uring_cqe *cqe)
{
	return cqe->user_data == DATA_WAKE ? NULL : (struct loop_op *)(uintptr_t)cqe->user_data;
}

static int op_completed(struct loop_op *op, int result, bool more)
{
	bool told_before;

	if (op->cancelling)
		return more ? 0 : engine_op_release(op);
	if (!more && (result < 0 || (result == 0 && op->drains))) {
		engine_op_done(op, result);
		return 1;
	}
	told_before = op->ends > 0;
	op->ends = !more && !op->drains && (result & POLLERR) ? op->ends + 1 : 0;
	if (!more)
		op_move(op, op->ends < ENDS_MAX ? OP_QUEUED : OP_PARKED);
	if (result <= 0 || (op->ends > 0 && told_before))
		return 0;
	op->done(op, result);
	return 1;
}

static int uring_complete(struct loop *loop)
{
	struct uring *u = loop->state;
	struct io_uring_cqe cqe;
	int calls = 0;

	for (unsigned n = io_uring_cq_ready(&u->io); n > 0 && completion_take(u, &cqe); n--) {
		struct loop_op *op = op_of(&cqe);
		bool more = cqe.flags & IORING_CQE_F_MORE;

		if (op)
			calls += op_completed(op, cqe.res, more);
		else if (cqe.user_data == DATA_WAKE)
			u->wake_armed = more;
	}
	return calls;
}

/* ---- making and freeing ------------------------------------------------------------------- */

/* Completions that are not delivered any more. */
static void drop_completions(struct uring *u)
{
	struct io_uring_cqe cqe;

	while (completion_take(u, &cqe))
		if (op_of(&cqe) && !(cqe.flags & IORING_CQE_F_MORE))
			engine_op_idle(op_of(&cqe));
}

/* Gets everything back that the kernel holds. */
static void cancel_all(struct loop *loop)
{
	struct uring *u = loop->state;
	uint64_t until_usec = now_usec() + FREE_USEC;
	struct timespec buf;
	struct loop_op *op;

	while ((op = loop->ops[OP_QUEUED].first))
		engine_op_idle(op);
	while ((op = loop->ops[OP_ARMED].first))
		op_move(op, OP_CANCEL_QUEUED);

	while ((loop->ops[OP_CANCEL_QUEUED].first || loop->ops[OP_CANCELLING].first) &&
	       now_usec() < until_usec) {
		queued_submit(loop);
		if (wait_result(u, ring_enter(u, 1, engine_timeout(until_usec, &buf))) < 0)
			break;
		drop_completions(u);
	}
}

/*
 * After an error the operations are another engine's: what the kernel still has of them ends with
 * the ring, soon and in a thread of the kernel's, and no completion of it is seen.
 *
 * The rings are not in a child's memory (MADV_DONTFORK), and something else may be mapped at
 * their addresses by now; so nothing is unmapped there. The ring lives on in the parent.
 */
static void uring_free(struct loop *loop, void *state, enum engine_end end)
{
	struct uring *u = state;

	if (end == ENGINE_IN_CHILD) {
		close(u->io.ring_fd);
		free(u);
		return;
	}
	if (end == ENGINE_FD_LOST)
		u->io.ring_fd = -1;
	if (end == ENGINE_ENDS) {
		if (loop->bound && pthread_equal(loop->waiter, pthread_self()))
			cancel_all(loop);
		drop_completions(u);
	}
	io_uring_queue_exit(&u->io);
	free(u);
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
static int ring_try(struct uring *u, const char **ret_why)
{
	struct io_uring_probe probe = { 0 };
	unsigned fd = (unsigned)u->io.ring_fd;
	int r;

	r = io_uring_enter2(fd, 0, 0, 0, NULL, 0);
	if (r < 0 && r != -EBADFD) {
		*ret_why = WHY_REFUSED("io_uring_enter(2)", r);
		return r;
	}
	r = io_uring_register(fd, IORING_REGISTER_PROBE, &probe, 0);
	if (r < 0)
		*ret_why = WHY_REFUSED("io_uring_register(2)", r);
	return MIN(r, 0);
}

static int ring_setup(struct uring *u, unsigned without)
{
	/* In the order of their kernels: 6.1, 6.0, 5.19, 5.10. */
	static const unsigned flags[] = {
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN,
		IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN,
		0,
	};
	const unsigned needed = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_RSRC_TAGS;
	unsigned first = without & LOOP_WITHOUT_DEFER_TASKRUN ? 1 : 0;
	int r = -EINVAL;

	for (unsigned i = first; i < ELEMENTSOF(flags); i++) {
		struct io_uring_params params = { .flags = flags[i] | IORING_SETUP_R_DISABLED };

		r = io_uring_queue_init_params(ENTRIES, &u->io, &params);
		if (r == -EINVAL)
			continue;
		if (r < 0)
			return r;

		if (without & LOOP_WITHOUT_NO_IOWAIT)
			params.features &= ~FEAT_NO_IOWAIT;
		u->sleeping = params.features & FEAT_NO_IOWAIT ? INSIDE : OUTSIDE;
		/* The first of the ladder is not for OUTSIDE. */
		if ((params.features & needed) == needed && (u->sleeping != OUTSIDE || i > 0))
			return 0;
		io_uring_queue_exit(&u->io);
		r = -EINVAL;
	}
	return r;
}

static const struct engine uring_engine = {
	.backend = LOOP_URING,
	.start = uring_start,
	.cancel = uring_cancel,
	.wait = uring_wait,
	.complete = uring_complete,
	.free = uring_free,
};

int uring_new(struct loop *loop, const struct loop_options *options)
{
	struct uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	r = ring_setup(u, options->without);
	if (r < 0) {
		loop->why = why_not(r);
		free(u);
		return r;
	}
	r = ring_try(u, &loop->why);
	if (r < 0) {
		io_uring_queue_exit(&u->io);
		free(u);
		return r;
	}
	/* Should it fail, a child merely inherits a mapping that it does not use. */
	(void)io_uring_ring_dontfork(&u->io);

	loop->engine = &uring_engine;
	loop->state = u;
	return 0;
}
