/* SPDX-License-Identifier: MIT */
/*
 * test-effect.c - whose limit a Low came from, and what it achieved: a program beside readers of a file that is larger than what is
 * left. Whose limit else it may be: vm/guest-cause.sh; one that frees nothing: vm/guest-effect.sh.
 *
 * The program watches its own cgroup, as a host does, so that natively its use is read where the memory controller is.
 */
#include <sys/mman.h>

#include "fixture.h"

#define GARBAGE (40 * LAB_MB)

/* Shared with the program. */
static struct outcome {
	bool frees;   /* what it holds, at the first Low */
	bool reports; /* says that it freed something, which it did not */
	unsigned lows;
	enum psb_cause cause; /* of the first one */
	uint64_t limit_bytes;
	_Atomic unsigned effects;
	struct psb_stats stats;
} * program;

static void *garbage;

static void told(const struct psb_notification *n, void *userdata)
{
	psb_registration **registration = userdata;

	if (n->kind == PSB_KIND_EFFECT) {
		program->stats.size = sizeof(program->stats);
		psb_watch_stats(f.watch, &program->stats);
		program->effects++;
	}
	if (n->kind != PSB_KIND_LEVEL || n->available != PSB_LOW)
		return;
	if (program->lows++ == 0) {
		program->cause = n->cause;
		program->limit_bytes = n->limit_bytes;
	}
	if (program->frees)
		munmap(garbage, GARBAGE);
	if (program->reports)
		psb_registration_report(*registration, 12345, 678);
}

static _Noreturn void run_program(void)
{
	struct psb_watch_options o = { .size = sizeof(o), .headroom_percent = PSB_HEADROOM_OFF };
	static psb_registration *registration;

	o.rungs = ~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL);
	garbage = mmap(NULL, GARBAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (garbage == MAP_FAILED || psb_bridge_new(NULL, &f.bridge) < 0 ||
	    psb_watch_new(f.bridge, &o, &f.watch) < 0 ||
	    psb_watch_add_callback(f.watch, told, &registration, PSB_INLINE | PSB_TELL_EFFECT,
				   &registration) < 0 ||
	    psb_bridge_start(f.bridge) < 0)
		_exit(2);
	for (;;)
		pause();
}

/* Until the effect of its first Low is known. */
static struct psb_stats effect_of(struct outcome what)
{
	pid_t host, reader;
	struct psb_stats s;

	program = mmap(NULL, sizeof(*program), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		       -1, 0);
	assert_ptr_not_equal(program, MAP_FAILED);
	*program = what;
	lab_make(&lab, "program", GARBAGE + LAB_LIMIT);
	host = lab_fork(&lab, "program");
	assert_true(host >= 0);
	if (host == 0)
		run_program();
	lab_sleep_ms(500);
	reader = lab_press(&lab, "program");
	assert_true(LAB_WAIT(30000, program->effects > 0));
	lab_kill(reader);
	lab_kill(host);
	s = program->stats;
	/* v1 says it only of a level that is full at the moment */
	if (!lab.v1 || program->cause != PSB_CAUSE_UNKNOWN) {
		assert_int_equal(program->cause, PSB_CAUSE_OWN);
		assert_int_equal(program->limit_bytes, GARBAGE + LAB_LIMIT);
	}
	munmap(program, sizeof(*program));
	return s;
}

PROMISE(what_a_program_frees_at_low_is_measured)
{
	struct psb_stats s = effect_of((struct outcome){ .frees = true });

	assert_int_equal(s.effects, 1);
	assert_int_equal(s.unanswered, 0);
	/* less what the readers have filled again before use was read; all of it: tests/vm/guest-effect.sh */
	assert_in_range(s.effect_bytes, GARBAGE / 4, GARBAGE * 11 / 10);
	assert_int_equal(s.bytes_back, s.effect_bytes);
	/* it is freed inside the call, and the first look comes 50 ms later */
	assert_in_range(s.first_back_usec, 1, 4000000);
	assert_in_range(s.stall_before_usec, 90000, 5000000);
	assert_in_range(s.stall_after_usec, 0, 5000000);
	assert_in_range(s.stall_usec, s.stall_before_usec + s.stall_after_usec, 60000000);
}

PROMISE(a_program_that_says_so_gave_something_back)
{
	struct psb_stats s = effect_of((struct outcome){ .reports = true });

	assert_int_equal(s.effects, 1);
	assert_int_equal(s.unanswered, 0);
	/* at each Low: it may be critical as well */
	assert_true(s.reported_usec > 0 && s.reported_usec % 678 == 0);
	assert_int_equal(s.reported_bytes, s.reported_usec / 678 * 12345);
}
