/* SPDX-License-Identifier: MIT */
/*
 * hosting-runtime.h - a runtime that listens, a watch and a manager: what the tests of hosting.c need
 */
#pragma once

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "fake-watch.h"
#include "library/watch.h"
#include "psibridge/hosting.h"

extern uint64_t
	hosting_patience_usec; /* hosting.c: how long Register and the last Release wait for a call that is running */

#define IMM_Register IHostMemoryManager_RegisterMemoryNotificationCallback

/* ---- a runtime that listens ------------------------------------------------------------------ */

struct runtime {
	ICLRMemoryNotificationCallback interface;
	_Atomic unsigned refs;
	_Atomic unsigned calls, finished, released_inside;
	_Atomic int last;
	_Atomic int closed;   /* may not be called any more */
	_Atomic int trespass; /* was called all the same */
	HRESULT answer;
	void (*hook)(struct runtime *runtime);
	/* for hooks */
	IHostMemoryManager *manager;
	ICLRMemoryNotificationCallback *other;
	HRESULT result;
	sem_t entered, open; /* block() */
};

static inline struct runtime *runtime_of(ICLRMemoryNotificationCallback *interface)
{
	return CONTAINER_OF(interface, struct runtime, interface);
}

static inline ULONG runtime_add_ref(ICLRMemoryNotificationCallback *This)
{
	return ++runtime_of(This)->refs;
}

static inline ULONG runtime_release(ICLRMemoryNotificationCallback *This)
{
	return --runtime_of(This)->refs;
}

static inline HRESULT runtime_told(ICLRMemoryNotificationCallback *This, EMemoryAvailable available)
{
	struct runtime *runtime = runtime_of(This);

	if (runtime->closed)
		runtime->trespass = 1;
	runtime->last = (int)available;
	runtime->calls++;
	if (runtime->hook)
		runtime->hook(runtime);
	if (runtime->refs == 0)
		runtime->released_inside = 1;
	runtime->finished++;
	return runtime->answer;
}

/* It is asked for no interface. */
static const ICLRMemoryNotificationCallbackVtbl runtime_vtbl = {
	.AddRef = runtime_add_ref,
	.Release = runtime_release,
	.OnMemoryNotification = runtime_told,
};

static inline void runtime_init(struct runtime *runtime)
{
	memset(runtime, 0, sizeof(*runtime));
	runtime->interface.lpVtbl = &runtime_vtbl;
	sem_init(&runtime->entered, 0, 0);
	sem_init(&runtime->open, 0, 0);
}

/* Passed once, it stays open. */
static inline void pass(sem_t *gate)
{
	while (sem_wait(gate) < 0)
		;
	sem_post(gate);
}

/* A hook: wait until the test opens. */
static inline void block(struct runtime *runtime)
{
	sem_post(&runtime->entered);
	pass(&runtime->open);
}

static inline void wait_until_entered(struct runtime *runtime)
{
	pass(&runtime->entered);
}

static inline void open_up(struct runtime *runtime)
{
	sem_post(&runtime->open);
}

/* ---- what every test has --------------------------------------------------------------------- */

struct fixture {
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *manager;
	struct runtime a, b;
};

static inline int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	alarm(120); /* instead of a hang */
	hosting_patience_usec = 10 * USEC_PER_SEC;
	assert_int_equal(psb_bridge_new(NULL, &f->bridge), 0);
	f->watch = fake_watch_new(f->bridge);
	assert_int_equal(psb_host_memory_manager_new(f->watch, &f->manager), 0);
	runtime_init(&f->a);
	runtime_init(&f->b);
	*state = f;
	return 0;
}

static inline int teardown(void **state)
{
	struct fixture *f = *state;

	if (f->manager)
		assert_int_equal(IHostMemoryManager_Release(f->manager), 0);
	psb_watch_unref(f->watch);
	assert_int_equal(fake_watches_end(f->bridge), 0);
	assert_int_equal(f->a.refs, 0);
	assert_int_equal(f->b.refs, 0);
	assert_int_equal(f->a.released_inside | f->b.released_inside, 0);
	assert_int_equal(f->a.trespass | f->b.trespass, 0);
	free(f);
	return 0;
}

EACH(setup, teardown)

static inline void tell(struct fixture *f, enum psb_available available)
{
	fake_watch_settle(f->watch);
	fake_watch_send(f->watch, PSB_KIND_LEVEL, available);
	fake_watch_settle(f->watch);
}
