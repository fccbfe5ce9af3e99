/* SPDX-License-Identifier: MIT */
/*
 * test-signals.c - what the library's threads take from the host: no signal, and little memory
 *
 * That handlers stay as they are is seen in tests/structure/symbols.sh: nothing of the library could change one. As its threads
 * block all signals, they arrive in the host's.
 */
#include "library-bench.h"
#include "../../threads.h"

#include <signal.h>
#include <sys/mman.h>

/* 9 and 19 cannot be blocked; 32 and 33 are glibc's own, which it does not let anybody block. */
static const uint64_t every_signal = ~(UINT64_C(1) << (SIGKILL - 1) | UINT64_C(1) << (SIGSTOP - 1) |
				       UINT64_C(3) << (32 - 1));

static uint64_t mask_now(void)
{
	return thread_blocked((pid_t)syscall(SYS_gettid));
}

static void look_at_mask(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	note_done(rx, (mask_now() & every_signal) == every_signal);
}

INLINE_TOO(every_signal_is_blocked_in_the_librarys_threads_and_none_in_the_hosts)
{
	uint64_t mask = mask_now();
	struct bench *b = bench_new(state);
	unsigned ours = 0;

	b->rx.act = look_at_mask;
	listen_to(b, &b->rx);
	say_and_hear(b, &b->rx, "L");
	assert_int_equal(b->rx.result, 1); /* seen from inside */
	for (pid_t tid = 0; (tid = thread_named(0, "psb-", tid)) != 0; ours++)
		assert_int_equal(thread_blocked(tid) & every_signal, every_signal);
	assert_int_equal(ours, b->variant->flags ? 1 : 2);
	assert_int_equal(mask_now(), mask);
}

/* A peer that closes before it has read what it was to be written. */
PROMISE(a_broken_pipe_kills_nobody)
{
	struct psb_watch_options options = quick_options(fake_path("socket"));
	struct bench *b = bench_bare(state);

	b->listener = listen_at(options.source);
	options.source_write = "some 200000 2000000";
	options.source_write_size = 20;
	for (int i = 0; i < 200; i++) {
		arm(b, &options);
		close(accept4(b->listener, NULL, NULL, SOCK_CLOEXEC));
		psb_watch_unref(steal(b->watch));
	}
	run(b);
}

/* glibc takes it out of each stack. */
static __thread volatile char much_tls[512 << 10];

static void use_much_stack(struct receiver *rx, _unused_ const struct psb_notification *n)
{
	volatile char much[200 << 10];

	for (size_t i = 0; i < sizeof(much); i += 4096)
		much[i] = much_tls[i] = 1;
	note_done(rx, much[0]);
}

static uint64_t locked_bytes(void)
{
	return thread_number(getpid(), "status", "VmLck:", 10) << 10;
}

/* Here each of the four stacks includes much_tls. */
PROMISE(a_host_that_locked_its_memory_pays_little_for_our_threads)
{
	struct receiver receivers[3] = { { .calls = 0 } };
	struct bench *b = bench_at_rest(state);
	uint64_t before = locked_bytes();

	if (mlockall(MCL_FUTURE) < 0)
		SKIP("memory may not be locked here");
	for (size_t i = 0; i < ELEMENTSOF(receivers); i++) {
		receivers[i].act = use_much_stack;
		listen_with(b, &receivers[i], i == 0 ? PSB_INLINE : 0);
	}
	run(b);
	say(b, "L");
	for (size_t i = 0; i < ELEMENTSOF(receivers); i++)
		hear(&receivers[i], "L");
	assert_in_range(locked_bytes() - before, 0, (6 << 20) - 1);
	munlockall();
	bench_free(b); /* while they are there */
}
