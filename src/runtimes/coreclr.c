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
 *     go after 20 collections without use, those of large objects after 20 full ones. With Server GC a timer of the runtime does what
 *     falls due. (gc.cpp: aged_region_p(), decide_on_decommit_strategy())
 *   - Shutdown() comes when the program returns from Main() or calls Exit(), before exit(3). After it, calls to ICorProfilerInfo are
 *     undefined. A crash, FailFast() and an unhandled exception end the process without it; a native exit(3) does too, and runs our
 *     destructor.
 *
 * So ForceGC() is what is left where nothing better can be had, and settle() repeats it until what was freed has gone back. A
 * repetition walks no garbage, only what is live; all together they may stop the program for 250 ms, or for as long as the first did.
 * What is better is a managed policy, which compacts: PsiBridge.StartupHook.dll, beside this file. load() has our own runtime load
 * it (dotnet-ipc.h), once the program's first assembly is there: until then we are told of those that are loaded, or after an
 * attach ask for them, and of nothing afterwards. Where the runtime is older than .NET 8, its diagnostics are off, or the program
 * has no start-up hooks (trimmed, System.StartupHookProvider.IsSupported=false), it cannot be had. No child of the program hears of
 * it.
 */
#include "runtimes/assembly.h"
#include "runtimes/corprof.h"
#include "runtimes/dotnet-ipc.h"
#include "runtimes/effect.h"
#include "runtimes/hook.h"
#include "runtimes/managed.h"
#include "runtimes/tool.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTINGS_MAX 32 /* that come with an attach request */
#define SETTINGS_BYTES_MAX 4096

/* Settling: more collections than those after which a free region is not kept, */
#define STEPS 24
#define STEP_USEC UINT64_C(110000)   /* the runtime's 100 ms, and what clocks differ */
#define PAUSES_USEC UINT64_C(250000) /* all repetitions together, or as long as the first */

#define LOAD_USEC \
	USEC_PER_SEC /* a program that starts is not slowed down, one that ends soon needs nothing */
#define STARTED 2    /* assemblies: the runtime's own, and the program's */
#define HOOK_NAME "libpsibridge-coreclr.so"
#define MANAGED_NAME "PsiBridge.StartupHook.dll"

static struct log to_stderr = { "coreclr", LOG_WARNING };

static const IID our_clsid = {
	0x9F1A4C50, 0x6B0E, 0x4C46, { 0x9C, 0x1D, 0x50, 0x53, 0x49, 0x2D, 0x42, 0x47 }
};

static struct {
	atomic_uint references;
	atomic_int taken;		/* initialized, or about to be */
	atomic_uint assemblies;		/* that were loaded */
	int attached;			/* it was not told of all of them */
	profiler_object *info;		/* ICorProfilerInfo3 */
	char texts[SETTINGS_BYTES_MAX]; /* settings that came with the request, a NUL behind each; */
	const char *settings[SETTINGS_MAX + 1];

	/* the hook's thread */
	char why[128];
	int steps;	      /* that are left, */
	uint64_t budget_usec; /* and of pauses */
	char tmpdir[PATH_MAX];
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
	uint64_t took_usec;
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
	self.steps = STEPS;
	self.budget_usec = took_usec > PAUSES_USEC ? took_usec : PAUSES_USEC;
	return 0;
}

/* Errors do not matter here: the collection was done. */
static int settle(uint64_t unused, uint64_t *ret_next_usec)
{
	uint64_t took_usec = 0;
	int go = self.steps-- > 0 && SUCCEEDED(force_gc(&took_usec)) &&
		 took_usec < self.budget_usec;

	(void)unused;
	self.budget_usec -= took_usec;
	*ret_next_usec = STEP_USEC;
	/* What the runtime and the program's native libraries have freed of malloc's. */
	if (!go)
		malloc_trim(0);
	return go;
}

/* ---- the managed policy: the hook's thread --------------------------------------------------------- */

/* The assembly lies beside us, also where it is a copy, with something in front of its name, or we have another name. */
static int beside_us(char path[PATH_MAX])
{
	Dl_info us;
	size_t n;

	if (!dladdr(&self, &us) || !us.dli_fname || us.dli_fname[0] != '/')
		return -ENOENT;
	n = strlen(us.dli_fname);
	if (n >= strlen(HOOK_NAME) && strcmp(us.dli_fname + n - strlen(HOOK_NAME), HOOK_NAME) == 0)
		n -= strlen(HOOK_NAME);
	else
		n = (size_t)(strrchr(us.dli_fname, '/') + 1 - us.dli_fname);
	return snprintf(path, PATH_MAX, "%.*s" MANAGED_NAME, (int)n, us.dli_fname) < PATH_MAX
		       ? 0
		       : -ENAMETOOLONG;
}

/* Errors: those of the file; the runtime's; -ENOEXEC. */
static int load_file(const char *path, int major, const char **ret_why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r;
	char name[32];

	if (fd < 0)
		return -errno;
	*ret_why = assembly_why_not(fd, major);
	/* as it is open here, it is there, whatever becomes of its name */
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	r = *ret_why ? -ENOEXEC : access(name, R_OK) < 0 ? -errno : dotnet_load(self.tmpdir, name);
	/* asked for just before Main(), it is opened later, by a thread of the program's: a file under another one's number ends that */
	if (managed_joined() || (r < 0 && r != -ETIMEDOUT))
		close(fd);
	return r;
}

/* A module is an assembly, but for old ones of several files. */
static unsigned count_modules(void)
{
	profiler_object *list;
	ULONG n = 0;

	if (FAILED(((profiler_enum_modules *)self.info->slots[SLOT_ENUM_MODULES])(self.info,
										  &list)))
		return 0;
	(void)((profiler_get_count *)list->slots[SLOT_GET_COUNT])(list, &n);
	IUnknown_Release((IUnknown *)list);
	return n;
}

/* It may have been attached to in its first moments. */
static int has_started(void)
{
	if (self.attached && self.assemblies < STARTED)
		self.assemblies = count_modules();
	return self.assemblies >= STARTED;
}

static int load(int last, const char **ret_why)
{
	int started = has_started();
	const char *why = NULL;
	char path[PATH_MAX];
	const char *hooks = getenv("DOTNET_STARTUP_HOOKS");
	int r;

	if (!started && !last)
		return -EAGAIN;
	r = started ? beside_us(path) : -EBUSY;
	/* One that was there first and has not joined is of another version: a second one of its name could not be loaded. */
	if (r == 0 && hooks && strstr(hooks, "PsiBridge.StartupHook")) {
		why = "there is one by DOTNET_STARTUP_HOOKS";
		r = -EEXIST;
	}
	if (r == 0) {
		r = dotnet_version(self.tmpdir);
		if (r == -ENOENT)
			why = "the runtime has no diagnostics socket in TMPDIR";
	}
	if (r > 0)
		r = load_file(path, r, &why);
	if (r == -EOPNOTSUPP)
		why = "the runtime is older than .NET 8";
	if (r == -EBUSY)
		why = "the program has not started";
	if (r < 0) {
		snprintf(self.why, sizeof(self.why), MANAGED_NAME ": %s", why ? why : strerror(-r));
		*ret_why = self.why;
	}
	return r;
}

/* The table of what the runtime gave us is in libcoreclr.so, or in the program that has it inside. */
static const void *runtime_code(void)
{
	return self.info->slots;
}

static struct hook_runtime runtime = {
	.name = "coreclr",
	.collect = collect,
	.settle = settle,
	.load = load,
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

static void set_events(DWORD events)
{
	((profiler_set_event_mask *)self.info->slots[SLOT_SET_EVENT_MASK])(self.info, events);
}

/* With self.taken. */
static HRESULT hook_in(IUnknown *unknown)
{
	const char *tmpdir = getenv("TMPDIR");
	void *info = NULL;
	HRESULT result = IUnknown_QueryInterface(unknown, &IID_ICorProfilerInfo3, &info);
	int r;

	if (FAILED(result))
		return result;
	self.info = info;
	snprintf(self.tmpdir, sizeof(self.tmpdir), "%s", tmpdir && *tmpdir ? tmpdir : "/tmp");
	set_events(self.attached ? COR_PRF_MONITOR_NONE : COR_PRF_MONITOR_ASSEMBLY_LOADS);
	r = hook_start(&runtime, self.settings);
	if (r > 0)
		return S_OK;
	IUnknown_Release((IUnknown *)info);
	return r == 0 ? CORPROF_E_PROFILER_CANCEL_ACTIVATION : E_FAIL;
}

/* Whatever goes wrong is told and the program runs on: the runtime unloads a profiler that fails here. What it answers to a
 * request over the diagnostics socket is our result. */
static HRESULT initialize(IUnknown *unknown, const void *data, uint32_t data_size, int attached)
{
	HRESULT result;

	if (atomic_exchange(&self.taken, 1)) {
		log_line(&to_stderr, LOG_WARNING,
			 "asked for twice: this process has psibridge already");
		return CORPROF_E_PROFILER_ALREADY_ACTIVE;
	}
	if (!keep_settings(data, data ? data_size : 0))
		log_line(
			&to_stderr, LOG_WARNING,
			"the settings that came with the request cannot be read; the environment counts");
	self.assemblies = 0;
	self.attached = attached;
	result = hook_in(unknown);
	if (FAILED(result))
		atomic_store(&self.taken, 0);
	return result;
}

static HRESULT profiler_initialize_for_attach(profiler_object *This, IUnknown *unknown, void *data,
					      uint32_t data_size)
{
	(void)This;
	return initialize(unknown, data, data_size, 1);
}

static HRESULT profiler_initialize(profiler_object *This, IUnknown *unknown)
{
	(void)This;
	runtime.load_after_usec = LOAD_USEC;
	return initialize(unknown, NULL, 0, 0);
}

/* The only event that is asked for, and not for long. */
static HRESULT profiler_assembly_loaded(profiler_object *This, uintptr_t assembly, HRESULT status)
{
	(void)This;
	(void)assembly;
	(void)status;
	if (atomic_fetch_add(&self.assemblies, 1) + 1 == STARTED)
		set_events(COR_PRF_MONITOR_NONE);
	return S_OK;
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
	[SLOT_SHUTDOWN + 1 ... SLOT_ASSEMBLY_LOAD_FINISHED - 1] = SLOT(profiler_ignore),
	[SLOT_ASSEMBLY_LOAD_FINISHED] = SLOT(profiler_assembly_loaded),
	[SLOT_ASSEMBLY_LOAD_FINISHED + 1 ... 79] = SLOT(profiler_ignore),
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
	if (tool_is_self())
		to_stderr.priority = -1;
	if (!same(clsid, &our_clsid)) {
		log_line(&to_stderr, LOG_WARNING,
			 "not started: the runtime was given a wrong CLSID; "
			 "psibridge's is {9F1A4C50-6B0E-4C46-9C1D-5053492D4247}");
		return CLASS_E_CLASSNOTAVAILABLE;
	}
	return query_factory(&factory, riid, ret);
}
