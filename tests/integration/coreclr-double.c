/* SPDX-License-Identifier: MIT */
/*
 * coreclr-double HOOK SCENARIO: plays the runtime for libpsibridge-coreclr.so
 *
 * It loads the hook as CoreCLR does (dlopen, DllGetClassObject, the factory, CreateInstance,
 * LoadAsNotificationOnly, Initialize) and hands it an ICorProfilerInfo whose ForceGC() does
 * what the scenario wants: what a real runtime does only rarely, or only in one bad moment. Memory
 * is short when the scenario writes a byte into the FIFO $PSIBRIDGE_SOURCE.
 *
 * Exit status: 0 the scenario went as promised; 1 with a line on standard error; 2 wrong usage. What
 * the hook says on standard error is for the caller to judge.
 *
 * "beat FIFO MSEC" as arguments: a byte into FIFO every MSEC milliseconds until killed.
 */
#include "runtimes/corprof.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
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

static void *library;
static HRESULT (*get_class_object)(REFIID clsid, REFIID riid, void **ret);
static int source = -1;

/* ---- the runtime's side ------------------------------------------------------------------------ */

static struct {
	ICorProfilerInfo info;
	atomic_int references;
	atomic_uint masks_set, collections, refusals_left;
	atomic_uint refusal; /* what it says instead of collecting, while refusals are left */
	atomic_int blocking; /* a collection does not end before `release` */
	atomic_int thread;
	sem_t began, ended, release;
	char thread_name[16];
	sigset_t blocked;
} clr;

static HRESULT info_query(ICorProfilerInfo *This, REFIID riid, void **ret)
{
	want(memcmp(riid, &IID_ICorProfilerInfo, sizeof(*riid)) == 0);
	atomic_fetch_add(&clr.references, 1);
	*ret = This;
	return S_OK;
}

static ULONG info_add_ref(ICorProfilerInfo *This)
{
	(void)This;
	return (ULONG)atomic_fetch_add(&clr.references, 1) + 1;
}

static ULONG info_release(ICorProfilerInfo *This)
{
	(void)This;
	return (ULONG)atomic_fetch_sub(&clr.references, 1) - 1;
}

static HRESULT info_set_event_mask(ICorProfilerInfo *This, DWORD events)
{
	(void)This;
	want(events == 0);
	atomic_fetch_add(&clr.masks_set, 1);
	return S_OK;
}

static HRESULT info_force_gc(ICorProfilerInfo *This)
{
	int thread = (int)syscall(SYS_gettid), before = atomic_exchange(&clr.thread, thread);

	(void)This;
	want(before == 0 || before == thread);
	if (atomic_load(&clr.refusals_left) > 0) {
		atomic_fetch_sub(&clr.refusals_left, 1);
		sem_post(&clr.ended);
		return (HRESULT)atomic_load(&clr.refusal);
	}
	pthread_getname_np(pthread_self(), clr.thread_name, sizeof(clr.thread_name));
	pthread_sigmask(SIG_BLOCK, NULL, &clr.blocked);
	atomic_fetch_add(&clr.collections, 1);
	sem_post(&clr.began);
	if (atomic_load(&clr.blocking))
		sem_wait(&clr.release);
	sem_post(&clr.ended);
	return S_OK;
}

static HRESULT info_not_asked_for(void)
{
	want(!"a slot of ICorProfilerInfo that the hook should not need");
	return E_FAIL;
}

static const ICorProfilerInfoVtbl info_vtbl = {
	.QueryInterface = info_query,
	.AddRef = info_add_ref,
	.Release = info_release,
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
	ICorProfilerCallback11 *profiler;
	void *object = NULL;

	want(get_class_object(&clsid, &IID_IClassFactory, &object) == S_OK && object);
	factory = object;
	/* What CoreCLR asks for first: version 2. */
	want(factory->lpVtbl->CreateInstance(factory, NULL, &profiler_callback_iids[1], &object) ==
	     S_OK);
	factory->lpVtbl->Release(factory);
	profiler = object;
	return profiler;
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
}

static void events(void)
{
	ICorProfilerCallback11 *profiler = start();
	profiler_slot slots[SLOTS];
	size_t i;

	memcpy(slots, profiler->lpVtbl, sizeof(slots));
	want(atomic_load(&clr.masks_set) == 1);
	for (i = 0; i < SLOTS; i++)
		want(slots[i]);
	for (i = 5; i < 97; i++)
		if (i < 80 || i > 82)
			want(slots[i]() == S_OK);
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
	profiler->lpVtbl->Release(profiler);
}

static void attach_with(const char *data, size_t size)
{
	ICorProfilerCallback11 *profiler = make();
	char *copy = malloc(size);

	want(copy);
	memcpy(copy, data, size);
	want(profiler->lpVtbl->InitializeForAttach(profiler, (IUnknown *)&clr.info, copy,
						   (uint32_t)size) == S_OK);
	memset(copy, 'x', size); /* it was only lent */
	free(copy);
	want(profiler->lpVtbl->ProfilerAttachComplete(profiler) == S_OK);
	low();
	want(came(&clr.ended, PATIENCE_SEC));
	want(strcmp(clr.thread_name, "psb-hook") == 0);
	want(sigismember(&clr.blocked, SIGTERM) == 1 && sigismember(&clr.blocked, SIGCHLD) == 1);
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

/* Settings come with the request to attach. The environment says warning. */
static void settings(void)
{
	static const char data[] = "PSIBRIDGE_LOG=info\0PSIBRIDGE_LWO=1\0PSIBRIDGE_LOG=off";

	attach_with(data, sizeof(data));
}

/* There is no end to what comes with it. */
static void unterminated(void)
{
	attach_with("PSIBRIDGE_LOG=info", strlen("PSIBRIDGE_LOG=info"));
}

static void too_much(void)
{
	static char data[4097] = "PSIBRIDGE_LOG=info";

	attach_with(data, sizeof(data));
}

/* A NUL each, and more of them than anybody needs. */
static void too_many(void)
{
	static const char data[300];

	attach_with(data, sizeof(data));
}

/* Low comes before the collector is there; nothing is told, and the collection is made up for. */
static void early(void)
{
	ICorProfilerCallback11 *profiler;

	atomic_store(&clr.refusal, (unsigned)CORPROF_E_NOT_YET_AVAILABLE);
	atomic_store(&clr.refusals_left, 5);
	profiler = start();
	low();
	want(came(&clr.began, PATIENCE_SEC));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

/* A runtime that will not is asked again at the next Low, and told of once. */
static void refused(void)
{
	ICorProfilerCallback11 *profiler;

	atomic_store(&clr.refusal, (unsigned)CORPROF_E_UNSUPPORTED_CALL_SEQUENCE);
	atomic_store(&clr.refusals_left, 2);
	profiler = start();
	low();
	want(came(&clr.ended, PATIENCE_SEC));
	/* How often it is told Low is the bridge's affair. */
	do
		low();
	while (!came(&clr.began, 1));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

static void shutdown_interrupts(void)
{
	ICorProfilerCallback11 *profiler = start();
	double began;
	int i;

	low();
	/* The first, the twenty that make free memory old, and now it waits for what they did. */
	for (i = 0; i < 21; i++)
		want(came(&clr.ended, PATIENCE_SEC));
	began = seconds();
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
	want(seconds() - began < 1);
	want(atomic_load(&clr.collections) == 21);
}

/* Without it exit(3) would not wait at all, and tear things down under a collection. */
static void exits(void)
{
	double began = seconds();
	int status;
	pid_t pid = fork();

	want(pid >= 0);
	if (pid == 0) {
		start();
		atomic_store(&clr.blocking, 1);
		low();
		want(came(&clr.began, PATIENCE_SEC));
		exit(4);
	}
	want(waitpid(pid, &status, 0) == pid);
	want(WIFEXITED(status) && WEXITSTATUS(status) == 4);
	want(seconds() - began > 1 && seconds() - began < 4);
}

static void twice(void)
{
	ICorProfilerCallback11 *first = start(), *second = make();

	want(second->lpVtbl->Initialize(second, (IUnknown *)&clr.info) ==
	     CORPROF_E_PROFILER_ALREADY_ACTIVE);
	want(second->lpVtbl->Release(second) == 0);
	want(atomic_load(&clr.references) == 1);
	low();
	want(came(&clr.ended, PATIENCE_SEC));
	want(first->lpVtbl->Shutdown(first) == S_OK);
}

/* PSIBRIDGE=off: as if it had never been there. */
static void off(void)
{
	ICorProfilerCallback11 *profiler = make();

	want(profiler->lpVtbl->Initialize(profiler, (IUnknown *)&clr.info) ==
	     CORPROF_E_PROFILER_CANCEL_ACTIVATION);
	want(profiler->lpVtbl->Release(profiler) == 0);
	want(atomic_load(&clr.references) == 0);
	want(access("/proc/self/task", F_OK) == 0 && !clr.thread);
	unsetenv("PSIBRIDGE");
	profiler = start();
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

static void forks(void)
{
	ICorProfilerCallback11 *profiler = start();
	double began = seconds();
	int status;
	pid_t pid = fork();

	want(pid >= 0);
	if (pid == 0) {
		want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
		exit(3);
	}
	want(waitpid(pid, &status, 0) == pid);
	want(WIFEXITED(status) && WEXITSTATUS(status) == 3 && seconds() - began < 1);
	low();
	want(came(&clr.ended, PATIENCE_SEC));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

static void unloads(void)
{
	HRESULT (*can_unload)(void);
	ICorProfilerCallback11 *profiler = start();

	*(void **)&can_unload = dlsym(library, "DllCanUnloadNow");
	want(can_unload && can_unload() == S_FALSE);
	want(dlclose(library) == 0);
	low();
	want(came(&clr.ended, PATIENCE_SEC));
	want(profiler->lpVtbl->Shutdown(profiler) == S_OK);
}

static const struct {
	const char *name;
	void (*play)(void);
} scenarios[] = {
	{ "interfaces", interfaces },
	{ "events", events },
	{ "settings", settings },
	{ "unterminated", unterminated },
	{ "too-much", too_much },
	{ "too-many", too_many },
	{ "early", early },
	{ "refused", refused },
	{ "shutdown-interrupts", shutdown_interrupts },
	{ "exits", exits },
	{ "twice", twice },
	{ "off", off },
	{ "forks", forks },
	{ "unloads", unloads },
};

static void beat(const char *fifo, unsigned msec)
{
	struct timespec pause = { .tv_nsec = (long)msec * 1000000 };
	int fd = open(fifo, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	want(fd >= 0 && msec < 1000);
	for (;;) {
		if (write(fd, "x", 1) < 0)
			want(errno == EAGAIN);
		nanosleep(&pause, NULL);
	}
}

int main(int argc, char **argv)
{
	const char *fifo = getenv("PSIBRIDGE_SOURCE");
	size_t i;

	if (argc == 4 && strcmp(argv[1], "beat") == 0)
		beat(argv[2], (unsigned)atoi(argv[3]));
	for (i = 0; argc == 3 && i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (strcmp(scenarios[i].name, argv[2]) != 0)
			continue;
		library = dlopen(argv[1], RTLD_LAZY);
		if (!library)
			fprintf(stderr, "coreclr-double: %s\n", dlerror());
		want(library);
		*(void **)&get_class_object = dlsym(library, "DllGetClassObject");
		want(get_class_object);
		source = fifo ? open(fifo, O_RDWR | O_CLOEXEC) : -1;
		want(source >= 0);
		clr.info.lpVtbl = &info_vtbl;
		sem_init(&clr.began, 0, 0);
		sem_init(&clr.ended, 0, 0);
		sem_init(&clr.release, 0, 0);
		scenarios[i].play();
		return 0;
	}
	fprintf(stderr, "usage: coreclr-double HOOK SCENARIO | beat FIFO MSEC\n");
	return 2;
}
