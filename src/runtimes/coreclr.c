/* SPDX-License-Identifier: MIT */
/*
 * coreclr.c - libpsibridge-coreclr.so: makes an unmodified .NET program collect when told
 *
 * For CoreCLR this is a profiler: a shared object that the runtime loads because the environment names it, or because it is asked
 * for over the diagnostics socket of a running process. It profiles nothing. It starts a hook (hook.h), and when the hook says so
 * calls ICorProfilerInfo::ForceGC(), a full, blocking collection.
 *
 *     the runtime's threads                               the hook's thread
 *     DllGetClassObject() -> factory -> profiler
 *     LoadAsNotificationOnly(): yes
 *     Initialize(), InitializeForAttach() -> hook_start() ...> told Low -> collect() -> ForceGC()
 *     Shutdown()                          -> hook_stop()  <... ended
 *
 * A request over the diagnostics socket may bring settings along: "PSIBRIDGE_LOW=...", a NUL behind each. They count before the
 * environment, which cannot be changed from outside any more.
 *
 * There is one profiler, which is never freed, and the file is linked with -z nodelete: a collection that does not come to its end
 * when the runtime does may still hold on to both. The second Initialize() of a process is refused.
 *
 * What of the runtime this stands on (dotnet/runtime, src/coreclr/vm and gc, .NET 10; MIT):
 *   - A process has one main profiler, which is often taken by a monitoring agent, and 32 notification-only ones, which change no
 *     code. One that answers LoadAsNotificationOnly() with yes becomes one of those however it was loaded; runtimes before .NET 6 do
 *     not ask. ForceGC() is open to them. (profilinghelper.cpp)
 *   - ForceGC() refuses threads that run managed code, and makes a thread of the runtime, in the background, out of the caller. It
 *     can be repeated there. It is not available until the collector is initialized, after Initialize(). (proftoeeinterfaceimpl.cpp)
 *   - A collection frees regions, but hands them to the kernel later: at any following collection, at most 160 KiB for each
 *     millisecond (up to 10 s) since it last did, and only after 100 ms. Regions that it would rather keep for the next allocations
 *     go after 20 full collections without use. With Server GC a timer of the runtime does what falls due. (gc.cpp: aged_region_p(),
 *     decide_on_decommit_strategy())
 *   - Shutdown() comes when the program returns from Main() or calls Exit(), before exit(3). After it, calls to ICorProfilerInfo are
 *     undefined. A crash, FailFast() and an unhandled exception end the process without it; a native exit(3) does too, and runs our
 *     destructor.
 *
 * Hence collect(), the collection, and settle(), which repeats ForceGC() until what was freed has gone back. A repetition walks no
 * garbage, only what is live. All together they may stop the program for 250 ms, or for as long as the first did; so a large live
 * heap is aged less, or not at all.
 */
#include "runtimes/corprof.h"
#include "runtimes/effect.h"
#include "runtimes/hook.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SETTINGS_MAX 32 /* that come with an attach request */
#define SETTINGS_BYTES_MAX 4096

/* Settling. */
#define AGE 20				/* collections after which a free region is not kept */
#define STEP_USEC UINT64_C(110000)	/* the runtime's 100 ms, and what clocks differ */
#define PAUSES_USEC UINT64_C(250000)	/* all repetitions together, or as long as the first */
#define SETTLE_USEC (2 * USEC_PER_SEC)	/* and all of it with the time between them */
#define WORTH_BYTES (UINT64_C(1) << 20) /* a step that gives back less was in vain, */
#define VAIN 2				/* and with so many in a row it is over */

static const struct log to_stderr = { "coreclr", LOG_WARNING };

static const IID our_clsid = {
	0x9F1A4C50, 0x6B0E, 0x4C46, { 0x9C, 0x1D, 0x50, 0x53, 0x49, 0x2D, 0x42, 0x47 }
};

static struct {
	atomic_uint references;
	atomic_int taken;		/* initialized, or about to be */
	profiler_object *info;		/* ICorProfilerInfo */
	char texts[SETTINGS_BYTES_MAX]; /* settings that came with the request, a NUL behind each; */
	const char *settings[SETTINGS_MAX + 1];

	/* the hook's thread */
	char why[64];
	struct {
		int aged, steps;	      /* so often, */
		int in_vain;		      /* the last of them for nothing */
		uint64_t budget_usec;	      /* of pauses that is left, and */
		uint64_t reserve_usec;	      /* what of it is not for ageing */
		uint64_t end_usec, last_usec; /* when it is over; the last pause */
		uint64_t rss_bytes;	      /* before the last step */
	} settling;
} self;

/* ---- collecting: the hook's thread ------------------------------------------------------------- */

static HRESULT force_gc(uint64_t *ret_took_usec)
{
	uint64_t start = now_usec();
	HRESULT result = ((profiler_force_gc *)self.info->slots[SLOT_FORCE_GC])(self.info);

	*ret_took_usec = now_usec() - start;
	return result;
}

static int collect(const char **ret_why)
{
	uint64_t took_usec, budget_usec;
	HRESULT result = force_gc(&took_usec);

	if (result == CORPROF_E_NOT_YET_AVAILABLE)
		return -EAGAIN;
	if (result == CORPROF_E_PROFILER_DETACHING)
		return -ECANCELED;
	if (FAILED(result)) {
		snprintf(self.why, sizeof(self.why), "ForceGC: 0x%08" PRIX32, (uint32_t)result);
		*ret_why = self.why;
		return -EPROTO;
	}
	budget_usec = took_usec > PAUSES_USEC ? took_usec : PAUSES_USEC;
	self.settling = (typeof(self.settling)){
		.budget_usec = budget_usec,
		/* At most one half for ageing: the other is for the steps that follow. */
		.reserve_usec = budget_usec / 2,
		.end_usec = now_usec() + SETTLE_USEC,
	};
	return 0;
}

/* Once more. Errors do not matter here: the collection was done. Returns whether it was done again. */
static int repeat(void)
{
	uint64_t took_usec, budget_usec = self.settling.budget_usec;

	if (FAILED(force_gc(&took_usec)))
		return 0;
	self.settling.last_usec = took_usec;
	self.settling.budget_usec -= took_usec < budget_usec ? took_usec : budget_usec;
	return 1;
}

static int may_step(void)
{
	return self.settling.in_vain < VAIN &&
	       self.settling.last_usec <= self.settling.budget_usec &&
	       now_usec() + STEP_USEC + self.settling.last_usec <= self.settling.end_usec;
}

/* First all of the ageing, without a pause, then the steps. */
static int settle(uint64_t rss_bytes, uint64_t *ret_next_usec)
{
	int ages = self.settling.aged < AGE &&
		   self.settling.budget_usec >=
			   self.settling.reserve_usec + self.settling.last_usec;
	int go;

	if (ages) {
		self.settling.aged++;
		*ret_next_usec = 0;
		go = repeat();
	} else {
		/* What the last step gave back is seen now; before the first there was none. */
		if (self.settling.steps++ > 0)
			self.settling.in_vain = rss_bytes + WORTH_BYTES <= self.settling.rss_bytes
							? 0
							: self.settling.in_vain + 1;
		self.settling.rss_bytes = rss_bytes;
		*ret_next_usec = STEP_USEC;
		go = may_step() && (self.settling.steps == 1 || repeat());
	}
	/* What the runtime and the program's native libraries have freed of malloc's. */
	if (!go)
		malloc_trim(0);
	return go;
}

/* The table of what the runtime gave us is in libcoreclr.so, or in the program that has it inside. */
static const void *runtime_code(void)
{
	return self.info->slots;
}

static const struct hook_runtime runtime = {
	.name = "coreclr",
	.collect = collect,
	.settle = settle,
	.code = runtime_code,
};

/* ---- the profiler: the runtime's threads ---------------------------------------------------------- */

static int same(REFIID a, const IID *b)
{
	return memcmp(a, b, sizeof(*b)) == 0;
}

/* exit(3) without the runtime's knowledge comes here, too: it would tear down what a collection works on. */
static void __attribute__((destructor)) profiler_stop(void)
{
	hook_stop();
}

/* `object`, if it has that interface: one of `iids`, or IUnknown. */
static HRESULT give(profiler_object *object, const IID *iids, size_t n, REFIID riid, void **ret)
{
	int found = same(riid, &IID_IUnknown);

	for (size_t i = 0; i < n; i++)
		found |= same(riid, &iids[i]);
	*ret = found ? object : NULL;
	return found ? S_OK : E_NOINTERFACE;
}

static HRESULT profiler_query(profiler_object *This, REFIID riid, void **ret)
{
	HRESULT result = give(This, profiler_callback_iids, 3, riid, ret);

	if (result == S_OK)
		atomic_fetch_add(&self.references, 1);
	return result;
}

static ULONG profiler_add_ref(profiler_object *This)
{
	(void)This;
	return atomic_fetch_add(&self.references, 1) + 1;
}

static ULONG profiler_release(profiler_object *This)
{
	ULONG left = atomic_fetch_sub(&self.references, 1) - 1;

	(void)This;
	if (left == 0)
		profiler_stop();
	return left;
}

/* Returns whether it is a list of settings, or nothing. What they say is judged by the hook. */
static int keep_settings(const char *data, size_t size)
{
	int good = size <= sizeof(self.texts) && (size == 0 || data[size - 1] == '\0');
	size_t n = 0;

	for (size_t at = 0; good && at < size && n < SETTINGS_MAX; at += strlen(data + at) + 1)
		self.settings[n++] = strcpy(self.texts + at, data + at);
	self.settings[n] = NULL;
	return good;
}

/* With self.taken. */
static HRESULT hook_in(IUnknown *unknown)
{
	void *info = NULL;
	HRESULT result = IUnknown_QueryInterface(unknown, &IID_ICorProfilerInfo, &info);
	int r;

	if (FAILED(result))
		return result;
	self.info = info;
	((profiler_set_event_mask *)self.info->slots[SLOT_SET_EVENT_MASK])(self.info,
									   COR_PRF_MONITOR_NONE);
	r = hook_start(&runtime, self.settings);
	if (r > 0)
		return S_OK;
	IUnknown_Release((IUnknown *)info);
	return r == 0 ? CORPROF_E_PROFILER_CANCEL_ACTIVATION : E_FAIL;
}

/* Whatever goes wrong is told and the program runs on: the runtime unloads a profiler that fails here. What it answers to a
 * request over the diagnostics socket is our result. */
static HRESULT profiler_initialize_for_attach(profiler_object *This, IUnknown *unknown, void *data,
					      uint32_t data_size)
{
	HRESULT result;

	(void)This;
	if (atomic_exchange(&self.taken, 1)) {
		log_line(&to_stderr, LOG_WARNING,
			 "asked for twice: this process has psibridge already");
		return CORPROF_E_PROFILER_ALREADY_ACTIVE;
	}
	if (!keep_settings(data, data ? data_size : 0))
		log_line(
			&to_stderr, LOG_WARNING,
			"the settings that came with the request cannot be read; the environment counts");
	result = hook_in(unknown);
	if (FAILED(result))
		atomic_store(&self.taken, 0);
	return result;
}

static HRESULT profiler_initialize(profiler_object *This, IUnknown *unknown)
{
	return profiler_initialize_for_attach(This, unknown, NULL, 0);
}

static HRESULT profiler_end(profiler_object *This)
{
	(void)This;
	profiler_stop();
	return S_OK;
}

static HRESULT profiler_notification_only(profiler_object *This, int32_t *ret)
{
	(void)This;
	*ret = 1;
	return S_OK;
}

/* In the slots of events that were not asked for, and so do not come. If one did: arguments are the caller's business in the calling
 * conventions of Linux, and it has no outputs that an S_OK would promise (JITInlining() and its like keep their defaults). */
static HRESULT profiler_ignore(void)
{
	return S_OK;
}

#define SLOT(function) ((profiler_slot)(function))

static const profiler_slot profiler_slots[PROFILER_CALLBACK_SLOTS] = {
	[SLOT_QUERY_INTERFACE] = SLOT(profiler_query),
	[SLOT_ADD_REF] = SLOT(profiler_add_ref),
	[SLOT_RELEASE] = SLOT(profiler_release),
	[SLOT_INITIALIZE] = SLOT(profiler_initialize),
	[SLOT_SHUTDOWN] = SLOT(profiler_end),
	[SLOT_SHUTDOWN + 1 ... 79] = SLOT(profiler_ignore),
	[SLOT_INITIALIZE_FOR_ATTACH] = SLOT(profiler_initialize_for_attach),
	[81] = SLOT(profiler_ignore),
	[SLOT_PROFILER_DETACH_SUCCEEDED] = SLOT(profiler_end),
	[83 ... 96] = SLOT(profiler_ignore),
	[SLOT_LOAD_AS_NOTIFICATION_ONLY] = SLOT(profiler_notification_only),
};

static profiler_object profiler = { profiler_slots };

/* ---- the factory, and what the runtime looks up --------------------------------------------------- */

static HRESULT query_factory(profiler_object *This, REFIID riid, void **ret)
{
	return give(This, &IID_IClassFactory, 1, riid, ret);
}

static ULONG count_factory(profiler_object *This)
{
	(void)This;
	return 1;
}

static HRESULT create(profiler_object *This, IUnknown *outer, REFIID riid, void **ret)
{
	(void)This;
	*ret = NULL;
	return outer ? CLASS_E_NOAGGREGATION : profiler_query(&profiler, riid, ret);
}

static const profiler_slot factory_slots[] = {
	[SLOT_QUERY_INTERFACE] = SLOT(query_factory), [SLOT_ADD_REF] = SLOT(count_factory),
	[SLOT_RELEASE] = SLOT(count_factory),	      [SLOT_CREATE_INSTANCE] = SLOT(create),
	[SLOT_LOCK_SERVER] = SLOT(profiler_ignore),
};

static profiler_object factory = { factory_slots };

__attribute__((visibility("default"))) HRESULT DllGetClassObject(REFIID clsid, REFIID riid,
								 void **ret);

HRESULT DllGetClassObject(REFIID clsid, REFIID riid, void **ret)
{
	*ret = NULL;
	if (!same(clsid, &our_clsid)) {
		log_line(&to_stderr, LOG_WARNING,
			 "not started: the runtime was given a wrong CLSID; "
			 "psibridge's is {9F1A4C50-6B0E-4C46-9C1D-5053492D4247}");
		return CLASS_E_CLASSNOTAVAILABLE;
	}
	return query_factory(&factory, riid, ret);
}
