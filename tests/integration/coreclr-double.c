/* SPDX-License-Identifier: MIT */
/*
 * coreclr-double HOOK SCENARIO: plays the runtime for libpsibridge-coreclr.so where the real one has no such moment at hand
 *
 * It loads the hook as CoreCLR does and hands it an ICorProfilerInfo whose ForceGC() answers what the scenario wants. Memory is
 * short when the scenario writes a byte into the FIFO $PSIBRIDGE_SOURCE.
 *
 * Exit status: 0 the scenario went as promised; 1 with a line on standard error; 2 wrong usage. What
 * the hook says on standard error is for the caller to judge.
 */
#include "runtimes/corprof.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_SEC 20
#define SLOTS (sizeof(ICorProfilerCallback11Vtbl) / sizeof(void *))

#define want(condition)                                                                    \
	do {                                                                               \
		if (!(condition)) {                                                        \
			fprintf(stderr, "coreclr-double: %d: %s\n", __LINE__, #condition); \
			exit(1);                                                           \
		}                                                                          \
	} while (0)

static const IID clsid = {
	0x9F1A4C50, 0x6B0E, 0x4C46, { 0x9C, 0x1D, 0x50, 0x53, 0x49, 0x2D, 0x42, 0x47 }
};
static const IID nobodys = { 0x12345678, 0x1234, 0x1234, { 1, 2, 3, 4, 5, 6, 7, 8 } };

static HRESULT (*get_class_object)(REFIID clsid, REFIID riid, void **ret);
static HRESULT (*can_unload)(void);
static int source = -1;

/* ---- the runtime's side ------------------------------------------------------------------------ */

static struct {
	ICorProfilerInfo info;
	atomic_uint refusals_left;
	HRESULT refusal; /* what it says instead of collecting, while refusals are left */
	int blocking;	 /* a collection does not end */
	sem_t asked, collected;
} clr;

static HRESULT info_query(ICorProfilerInfo *This, REFIID riid, void **ret)
{
	want(memcmp(riid, &IID_ICorProfilerInfo, sizeof(*riid)) == 0);
	*ret = This;
	return S_OK;
}

static ULONG info_count(ICorProfilerInfo *This)
{
	(void)This;
	return 1;
}

static HRESULT info_set_event_mask(ICorProfilerInfo *This, DWORD events)
{
	(void)This;
	want(events == 0);
	return S_OK;
}

static HRESULT info_force_gc(ICorProfilerInfo *This)
{
	(void)This;
	if (atomic_load(&clr.refusals_left) > 0) {
		atomic_fetch_sub(&clr.refusals_left, 1);
		sem_post(&clr.asked);
		return clr.refusal;
	}
	sem_post(&clr.collected);
	while (clr.blocking)
		pause();
	return S_OK;
}

static HRESULT info_not_asked_for(void)
{
	want(!"a slot of ICorProfilerInfo that the hook should not need");
	return E_FAIL;
}

static const ICorProfilerInfoVtbl info_vtbl = {
	.QueryInterface = info_query,
	.AddRef = info_count,
	.Release = info_count,
	.slots_3_to_15 = { [0 ... 12] = info_not_asked_for },
	.SetEventMask = info_set_event_mask,
	.slots_17_to_27 = { [0 ... 10] = info_not_asked_for },
	.ForceGC = info_force_gc,
};

/* ---- small things ------------------------------------------------------------------------------ */

static void low(void)
{
	want(write(source, "x", 1) == 1);
}

static int came(sem_t *event, unsigned sec)
{
	struct timespec until;
	int r;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += sec;
	while ((r = sem_timedwait(event, &until)) < 0 && errno == EINTR)
		;
	return r == 0;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static ICorProfilerCallback11 *make(void)
{
	IClassFactory *factory;
	void *object = NULL;

	want(get_class_object(&clsid, &IID_IClassFactory, &object) == S_OK && object);
	factory = object;
	/* What CoreCLR asks for first: version 2. */
	want(factory->lpVtbl->CreateInstance(factory, NULL, &profiler_callback_iids[1], &object) ==
	     S_OK);
	factory->lpVtbl->Release(factory);
	return object;
}

static ICorProfilerCallback11 *start(void)
{
	ICorProfilerCallback11 *profiler = make();

	want(profiler->lpVtbl->Initialize(profiler, (IUnknown *)&clr.info) == S_OK);
	return profiler;
}

/* ---- scenarios --------------------------------------------------------------------------------- */

static void interfaces(void)
{
	size_t i, n = sizeof(profiler_callback_iids) / sizeof(profiler_callback_iids[0]);
	void *object = &i, *again;
	ICorProfilerCallback11 *profiler;
	IClassFactory *factory;
	int32_t only = 0;

	want(get_class_object(&nobodys, &IID_IClassFactory, &object) == CLASS_E_CLASSNOTAVAILABLE);
	want(!object);
	want(get_class_object(&clsid, &nobodys, &object) == E_NOINTERFACE && !object);
	want(get_class_object(&clsid, &IID_IClassFactory, NULL) == E_POINTER);
	want(get_class_object(&clsid, &IID_IUnknown, &object) == S_OK && object);
	factory = object;
	want(factory->lpVtbl->CreateInstance(factory, (IUnknown *)&clr.info, &IID_IUnknown,
					     &object) == CLASS_E_NOAGGREGATION);
	want(!object);
	want(factory->lpVtbl->CreateInstance(factory, NULL, &nobodys, &object) == E_NOINTERFACE);
	want(!object);

	profiler = make();
	for (i = 0; i < n; i++) {
		want(profiler->lpVtbl->QueryInterface(profiler, &profiler_callback_iids[i],
						      &object) == S_OK);
		want(object == profiler);
	}
	want(profiler->lpVtbl->QueryInterface(profiler, &IID_IUnknown, &again) == S_OK);
	want(again == object);
	want(profiler->lpVtbl->QueryInterface(profiler, &nobodys, &again) == E_NOINTERFACE);
	want(!again);
	want(profiler->lpVtbl->QueryInterface(profiler, &IID_IUnknown, NULL) == E_POINTER);
	want(profiler->lpVtbl->AddRef(profiler) == n + 3);
	want(profiler->lpVtbl->LoadAsNotificationOnly(profiler, &only) == S_OK && only == 1);
	for (i = n + 2; i > 0; i--)
		want(profiler->lpVtbl->Release(profiler) == i);
	want(profiler->lpVtbl->Release(profiler) == 0);
	want(can_unload() == S_FALSE);
}

static void events(void)
{
	ICorProfilerCallback11 *profiler = start();
	profiler_slot slots[SLOTS];
	size_t i;

	memcpy(slots, profiler->lpVtbl, sizeof(slots));
	for (i = 0; i < SLOTS; i++)
		want(slots[i]);
	for (i = 5; i < 97; i++)
		if (i < 80 || i > 82)
			want(slots[i]() == S_OK);
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
	profiler->lpVtbl->Release(profiler);
}

static void attach_with(char *data, size_t size)
{
	ICorProfilerCallback11 *profiler = make();

	want(profiler->lpVtbl->InitializeForAttach(profiler, (IUnknown *)&clr.info, data,
						   (uint32_t)size) == S_OK);
	memset(data, 'x', size); /* it was only lent */
	want(profiler->lpVtbl->ProfilerAttachComplete(profiler) == S_OK);
	low();
	want(came(&clr.collected, PATIENCE_SEC));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

/* There is no end to what comes with the request. */
static void unterminated(void)
{
	char data[] = "PSIBRIDGE_LOG=info";

	attach_with(data, strlen(data));
}

static void too_much(void)
{
	static char data[4097] = "PSIBRIDGE_LOG=info";

	attach_with(data, sizeof(data));
}

/* A NUL each, and more of them than anybody needs. */
static void too_many(void)
{
	static char data[300];

	attach_with(data, sizeof(data));
}

/* Low comes before the collector is there; nothing is told, and the collection is made up for. */
static void early(void)
{
	ICorProfilerCallback11 *profiler;

	clr.refusal = CORPROF_E_NOT_YET_AVAILABLE;
	atomic_store(&clr.refusals_left, 5);
	profiler = start();
	low();
	want(came(&clr.collected, PATIENCE_SEC));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

/* A runtime that will not is asked again at the next Low, and told of once. */
static void refused(void)
{
	ICorProfilerCallback11 *profiler;

	clr.refusal = CORPROF_E_UNSUPPORTED_CALL_SEQUENCE;
	atomic_store(&clr.refusals_left, 2);
	profiler = start();
	low();
	want(came(&clr.asked, PATIENCE_SEC));
	/* How often it is told Low is the bridge's affair. */
	do
		low();
	while (!came(&clr.collected, 1));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

/* A child that ends as `end` wants. Returns how long it took. */
static double child_ends(void (*end)(void))
{
	double began = seconds();
	int status;
	pid_t pid = fork();

	want(pid >= 0);
	if (pid == 0) {
		end();
		exit(4);
	}
	want(waitpid(pid, &status, 0) == pid);
	want(WIFEXITED(status) && WEXITSTATUS(status) == 4);
	return seconds() - began;
}

static void in_a_collection(void)
{
	start();
	clr.blocking = 1;
	low();
	want(came(&clr.collected, PATIENCE_SEC));
}

/* Without Shutdown() exit(3) would not wait at all, and tear things down under a collection. */
static void exits(void)
{
	double took = child_ends(in_a_collection);

	want(took > 1 && took < 4);
}

static void in_a_child(void)
{
	ICorProfilerCallback11 *profiler = make();

	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

static void forks(void)
{
	ICorProfilerCallback11 *profiler = start();

	want(child_ends(in_a_child) < 1);
	low();
	want(came(&clr.collected, PATIENCE_SEC));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

static const struct {
	const char *name;
	void (*play)(void);
} scenarios[] = {
	{ "interfaces", interfaces }, { "events", events },	{ "unterminated", unterminated },
	{ "too-much", too_much },     { "too-many", too_many }, { "early", early },
	{ "refused", refused },	      { "exits", exits },	{ "forks", forks },
};

int main(int argc, char **argv)
{
	void *library = argc == 3 ? dlopen(argv[1], RTLD_LAZY) : NULL;
	const char *fifo = getenv("PSIBRIDGE_SOURCE");

	if (!library) {
		fprintf(stderr, "usage: coreclr-double HOOK SCENARIO (%s)\n", dlerror());
		return 2;
	}
	*(void **)&get_class_object = dlsym(library, "DllGetClassObject");
	*(void **)&can_unload = dlsym(library, "DllCanUnloadNow");
	want(get_class_object && can_unload);
	source = fifo ? open(fifo, O_RDWR | O_CLOEXEC) : -1;
	want(source >= 0);
	clr.info.lpVtbl = &info_vtbl;
	sem_init(&clr.asked, 0, 0);
	sem_init(&clr.collected, 0, 0);
	for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(scenarios[i].name, argv[2]) == 0) {
			scenarios[i].play();
			return 0;
		}
	}
	return 2;
}
