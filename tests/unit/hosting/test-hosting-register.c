/* SPDX-License-Identifier: MIT */
/*
 * test-hosting-register.c - the hosting ABI: registering, replacing, from inside, after a fork, in
 * many threads
 *
 * Over fake-watch.c. The fixture's end looks for references that are left, and calls that came too late.
 */
#include "../unit.h"
#include "hosting-runtime.h"

#include <sys/wait.h>

#define REGISTER(f, callback) assert_int_equal(IMM_Register((f)->manager, callback), S_OK)

/* ---- registering ----------------------------------------------------------------------------- */

PROMISE(a_registration_holds_one_reference_until_null_or_another_ends_it)
{
	struct fixture *f = *state;
	const struct {
		struct runtime *next;
		unsigned a, b; /* references */
	} table[] = {
		{ NULL, 0, 0 }, { &f->a, 1, 0 }, { &f->a, 1, 0 }, { &f->b, 0, 1 }, { NULL, 0, 0 },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		unsigned a_calls = f->a.calls, b_calls = f->b.calls;

		REGISTER(f, table[i].next ? &table[i].next->interface : NULL);
		assert_int_equal(f->a.refs, table[i].a);
		assert_int_equal(f->b.refs, table[i].b);
		assert_int_equal(fake_watch_registrations(f->watch), table[i].a + table[i].b);
		tell(f, i % 2 ? PSB_HIGH : PSB_NEUTRAL);
		assert_int_equal(f->a.calls - a_calls, table[i].a);
		assert_int_equal(f->b.calls - b_calls, table[i].b);
	}
	REGISTER(f, &f->a.interface);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	f->manager = NULL;
	assert_int_equal(f->a.refs + fake_watch_registrations(f->watch), 0);
}

PROMISE(a_registration_that_fails_leaves_the_old_one_standing)
{
	struct fixture *f = *state;

	REGISTER(f, &f->a.interface);
	*f->bridge->context.alive = 0;
	assert_int_equal(IMM_Register(f->manager, &f->b.interface), E_UNEXPECTED);
	*f->bridge->context.alive = 1;
	assert_int_equal(f->b.refs, 0);
	tell(f, PSB_LOW);
	assert_int_equal(f->a.calls, 1);
}

struct registrar {
	IHostMemoryManager *manager;
	ICLRMemoryNotificationCallback *callback;
	HRESULT result;
	_Atomic int returned;
};

static void *register_on_thread(void *arg)
{
	struct registrar *r = arg;

	r->result = IMM_Register(r->manager, r->callback);
	r->returned = 1;
	return NULL;
}

/* Register a, and wait until it is in a call that lasts until open_up(). */
static void block_in_a(struct fixture *f)
{
	f->a.hook = block;
	REGISTER(f, &f->a.interface);
	fake_watch_send(f->watch, PSB_KIND_LEVEL, PSB_LOW);
	wait_until_entered(&f->a);
}

PROMISE(register_returns_when_the_replaced_call_is_over_and_not_before)
{
	struct fixture *f = *state;
	struct registrar r = { .manager = f->manager, .callback = &f->b.interface };
	pthread_t thread;

	block_in_a(f);
	f->b.hook = block;
	open_up(&f->b);
	assert_int_equal(pthread_create(&thread, NULL, register_on_thread, &r), 0);

	/* Level is Low, so b is told as soon as it stands: in spite of a, which still blocks. */
	while (f->b.calls == 0) {
		fake_watch_present(f->watch);
		usleep(100);
	}
	assert_int_equal(r.returned, 0);
	assert_int_equal(f->a.refs, 1);
	open_up(&f->a);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r.result, S_OK);
	assert_int_equal(f->a.finished, 1);
	assert_int_equal(f->a.refs, 0);
	f->a.closed = 1;
	tell(f, PSB_NEUTRAL);
}

PROMISE(a_callback_that_stays_stuck_is_given_up_and_released_when_it_returns)
{
	struct fixture *f = *state;

	hosting_patience_usec = 20 * USEC_PER_MSEC;
	block_in_a(f);
	assert_int_equal(IMM_Register(f->manager, &f->b.interface), HOST_E_TIMEOUT);
	f->a.closed = 1;
	assert_int_equal(f->a.refs, 1);
	fake_watch_send(f->watch, PSB_KIND_LEVEL, PSB_NEUTRAL);
	/* it does not stand in the way of the next one */
	REGISTER(f, NULL);
	REGISTER(f, &f->b.interface);
	open_up(&f->a);
	tell(f, PSB_LOW);
	assert_int_equal(f->b.last, eMemoryAvailableLow);
	assert_int_equal(f->a.calls, 1);
	assert_int_equal(f->a.refs, 0);
	assert_int_equal(fake_watch_registrations(f->watch), 1);
	/* nor in that of a manager that goes: the fixture waits for the end */
	f->b.hook = block;
	fake_watch_send(f->watch, PSB_KIND_LEVEL, PSB_LOW);
	wait_until_entered(&f->b);
	assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	f->manager = NULL;
	assert_int_equal(f->b.refs, 1);
	open_up(&f->b);
}

/* One slot, of which cgroup it ever speaks. */
PROMISE(a_process_that_moves_during_a_call_is_told_the_newest_level_afterwards)
{
	struct fixture *f = *state;

	block_in_a(f);
	for (unsigned i = 0; i < 5; i++) {
		fake_watch_move(f->watch);
		fake_watch_send(f->watch, PSB_KIND_LEVEL, i % 2 ? PSB_HIGH : PSB_NEUTRAL);
	}
	open_up(&f->a);
	fake_watch_settle(f->watch);
	assert_int_equal(f->a.calls, 2);
	assert_int_equal(f->a.last, eMemoryAvailableNeutral);
}

/* ---- from inside a call ---------------------------------------------------------------------- */

static void register_other(struct runtime *runtime)
{
	runtime->result = IMM_Register(runtime->manager, runtime->other);
	runtime->closed = 1;
}

PROMISE(a_callback_may_register_another_or_itself_or_none)
{
	struct fixture *f = *state;
	struct runtime *const others[] = { &f->b, &f->a, NULL };

	for (size_t i = 0; i < ELEMENTSOF(others); i++) {
		struct runtime *other = others[i];
		unsigned before = f->a.calls;
		/* Low is told to a new one at once: one that registers itself would never end. */
		bool low = other != &f->a;

		f->a.hook = register_other;
		f->a.manager = f->manager;
		f->a.other = other ? &other->interface : NULL;
		f->a.closed = 0;
		REGISTER(f, &f->a.interface);
		tell(f, low ? PSB_LOW : PSB_NEUTRAL);
		assert_int_equal(f->a.result, S_OK);
		assert_int_equal(f->a.refs, other == &f->a);
		f->a.closed = other != &f->a;
		f->a.hook = NULL;
		tell(f, low ? PSB_NEUTRAL : PSB_HIGH);
		assert_int_equal(f->a.calls, before + 1 + (other == &f->a));
		if (other)
			assert_int_equal(other->last,
					 low ? eMemoryAvailableNeutral : eMemoryAvailableHigh);
		assert_int_equal(fake_watch_registrations(f->watch), other != NULL);
		tell(f, PSB_HIGH);
		REGISTER(f, NULL);
	}
}

static void release_manager(struct runtime *runtime)
{
	runtime->result = (HRESULT)IHostMemoryManager_Release(runtime->manager);
	runtime->closed = 1;
	open_up(runtime);
	block(runtime);
}

PROMISE(a_callback_may_release_the_manager)
{
	struct fixture *f = *state;

	f->a.hook = release_manager;
	f->a.manager = f->manager;
	f->a.result = -1;
	REGISTER(f, &f->a.interface);
	f->manager = NULL;
	fake_watch_send(f->watch, PSB_KIND_LEVEL, PSB_LOW);
	psb_watch_unref(steal(f->watch)); /* the manager may now have the last reference */
	wait_until_entered(&f->a);
	assert_int_equal(f->a.calls, 1);
	assert_int_equal(f->a.result, 0);
}

/* Where both are in their calls each ends the other's manager's registration. */
static void unregister_other(struct runtime *runtime)
{
	struct runtime *other = runtime_of(runtime->other);

	sem_post(&runtime->entered);
	wait_until_entered(other);
	runtime->result = IMM_Register(runtime->manager, NULL);
}

/* That a registration of the library's own gets the same answer is in library/test-removal.c. */
PROMISE(two_callbacks_that_end_each_other_get_an_answer_and_do_not_hang)
{
	struct fixture *f = *state;
	IHostMemoryManager *second;

	assert_int_equal(psb_host_memory_manager_new(f->watch, &second), 0);
	f->a.hook = f->b.hook = unregister_other;
	f->a.other = &f->b.interface;
	f->b.other = &f->a.interface;
	f->a.manager = second;
	f->b.manager = f->manager;
	REGISTER(f, &f->a.interface);
	assert_int_equal(IMM_Register(second, &f->b.interface), S_OK);
	tell(f, PSB_LOW);
	/* Who came second is told; then its call ends, and the first one's wait too. */
	assert_true((f->a.result == HOST_E_DEADLOCK && f->b.result == S_OK) ||
		    (f->a.result == S_OK && f->b.result == HOST_E_DEADLOCK));
	assert_int_equal(f->a.refs + f->b.refs, 0);
	assert_int_equal(fake_watch_registrations(f->watch), 0);
	assert_int_equal(IHostMemoryManager_Release(second), 0);
}

/* ---- fork ------------------------------------------------------------------------------------ */

static int check_in_child(struct fixture *f)
{
	IHostMemoryManager *m = f->manager, *own;
	MEMORY_BASIC_INFORMATION info;
	IHostMalloc *heap;
	DWORD number;
	size_t size;
	void *p;
	const HRESULT results[] = {
		IHostMemoryManager_CreateMalloc(m, 0, &heap),
		IHostMemoryManager_VirtualAlloc(m, NULL, 1, MEM_RESERVE, PAGE_READWRITE,
						eTaskCritical, &p),
		IHostMemoryManager_VirtualFree(m, NULL, 0, MEM_RELEASE),
		IHostMemoryManager_VirtualQuery(m, NULL, &info, sizeof(info), &size),
		IHostMemoryManager_VirtualProtect(m, NULL, 1, PAGE_READONLY, &number),
		IHostMemoryManager_GetMemoryLoad(m, &number, &size),
		IMM_Register(m, &f->b.interface),
		IMM_Register(m, NULL),
		IHostMemoryManager_NeedsVirtualAddressSpace(m, NULL, 1),
		IHostMemoryManager_AcquiredVirtualAddressSpace(m, NULL, 1),
		IHostMemoryManager_ReleasedVirtualAddressSpace(m, NULL),
	};

	for (size_t i = 0; i < ELEMENTSOF(results); i++)
		if (results[i] != HOST_E_CLRNOTAVAILABLE)
			return 1 + (int)i;
	if (IHostMemoryManager_AddRef(m) != 2 || IHostMemoryManager_Release(m) != 1 ||
	    IHostMemoryManager_Release(m) != 0)
		return 51;
	/* The runtime was neither called nor released: its locks may be closed for ever. */
	if (f->a.refs != 1 || f->a.calls != 1 || f->b.refs != 0)
		return 52;
	/* its own works */
	if (psb_host_memory_manager_new(f->watch, &own) < 0 ||
	    IHostMemoryManager_VirtualAlloc(own, NULL, 1, MEM_COMMIT, PAGE_READWRITE, eTaskCritical,
					    &p) != S_OK)
		return 53;
	return 0;
}

PROMISE(in_a_forked_child_the_runtime_is_not_available_and_nothing_hangs)
{
	struct fixture *f = *state;
	int status;
	pid_t pid;

	block_in_a(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		alarm(10);
		_exit(check_in_child(f));
	}
	open_up(&f->a);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

/* ---- many threads ---------------------------------------------------------------------------- */

#define CYCLES 1000

/* What was told, to whomever, in the order of the calls. */
static struct {
	pthread_mutex_t lock;
	int last;
	unsigned turns;
} heard = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void hear(struct runtime *runtime)
{
	pthread_mutex_lock(&heard.lock);
	heard.turns += heard.last != runtime->last;
	heard.last = runtime->last;
	pthread_mutex_unlock(&heard.lock);
}

struct sender {
	psb_watch *watch;
	_Atomic int stop;
	unsigned sent;
};

static void *send_low_and_high(void *arg)
{
	struct sender *sender = arg;

	for (; !sender->stop; sender->sent++) {
		fake_watch_settle(sender->watch);
		fake_watch_send(sender->watch, PSB_KIND_LEVEL,
				sender->sent % 2 == 0 ? PSB_LOW : PSB_HIGH);
	}
	return NULL;
}

PROMISE(a_thousand_replacements_lose_nothing_and_tell_nothing_twice)
{
	struct fixture *f = *state;
	struct sender sender = { .watch = f->watch };
	struct runtime *runtimes = calloc(CYCLES, sizeof(*runtimes));
	pthread_t thread;

	heard.last = PSB_HIGH;
	heard.turns = 0;
	for (size_t i = 0; i < CYCLES; i++) {
		runtime_init(&runtimes[i]);
		runtimes[i].hook = hear;
	}
	REGISTER(f, &runtimes[0].interface);
	assert_int_equal(pthread_create(&thread, NULL, send_low_and_high, &sender), 0);
	for (size_t i = 1; i < CYCLES; i++) {
		REGISTER(f, &runtimes[i].interface);
		runtimes[i - 1].closed = 1;
		assert_int_equal(runtimes[i - 1].refs, 0);
		assert_int_equal(runtimes[i - 1].calls, runtimes[i - 1].finished);
	}
	sender.stop = 1;
	assert_int_equal(pthread_join(thread, NULL), 0);
	fake_watch_settle(f->watch);
	REGISTER(f, NULL);

	/* Low and High took turns, so each one sent must show as a turn of what was heard. */
	assert_true(sender.sent > 0);
	assert_int_equal(heard.turns, sender.sent);
	for (size_t i = 0; i < CYCLES; i++)
		assert_int_equal(runtimes[i].refs + (unsigned)runtimes[i].trespass, 0);
	free(runtimes);
}

static void *register_and_unregister(void *arg)
{
	struct registrar *r = arg;

	for (int i = 0; i < CYCLES / 4; i++)
		if (IMM_Register(r->manager, i % 3 == 2 ? NULL : r->callback) != S_OK)
			r->result = E_FAIL;
	return NULL;
}

PROMISE(two_registrars_at_once_leave_one_registration_and_no_reference)
{
	struct fixture *f = *state;
	struct sender sender = { .watch = f->watch };
	struct registrar r[2] = { { .manager = f->manager, .callback = &f->a.interface },
				  { .manager = f->manager, .callback = &f->b.interface } };
	pthread_t threads[2], thread;

	assert_int_equal(pthread_create(&thread, NULL, send_low_and_high, &sender), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, register_and_unregister, &r[i]),
				 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	sender.stop = 1;
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(r[0].result | r[1].result, S_OK);
	assert_true(fake_watch_registrations(f->watch) <= 1);
	assert_int_equal(f->a.refs + f->b.refs, fake_watch_registrations(f->watch));
}
