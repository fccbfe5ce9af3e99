/* SPDX-License-Identifier: MIT */
/*
 * clrhost.c - psibridge-clrhost: run a .NET program, and tell it when memory is short
 *
 * The example of a native program that embeds CoreCLR and speaks the memory part of the CLR hosting
 * ABI (psibridge-hosting(3)): we are the host, libpsibridge's IHostMemoryManager is the host's
 * memory manager, and since today's CLR has no use for one, we also stand in for the CLR and
 * register its ICLRMemoryNotificationCallback. What is told goes through three threads:
 *
 *     libpsibridge's thread          our thread                      threads of the runtime
 *     OnMemoryNotification():        waits for `wake`
 *       level -> `slot`, wake        takes what is in the slot
 *       returns                      told(level, critical)  ------>  PsiBridge: policy, handlers
 *
 * OnMemoryNotification() only hands over. The document wants it ("never block"), and it has to be
 * so: entering managed code waits until a collection is over, and the collection may be the one it
 * asked for. The slot holds the newest level; what our thread did not come to take is overtaken.
 *
 * Our thread is an ordinary native one. The runtime knows it from its first call on, but while it
 * waits out here no collection waits for it (it is in preemptive mode; Mono is different), so one
 * thread serves for ever. It blocks no signals: the runtime stops threads with one.
 *
 * `state` is that of the runtime, as OnMemoryNotification() has to know it:
 *
 *     ABSENT   until PsiBridge.dll is loaded and started: HOST_E_CLRNOTAVAILABLE. Then libpsibridge
 *              never calls that registration again (the document: the CLR is not loaded), so we
 *              register once more as soon as we are up, and are told the present level.
 *     UP       told() may be called.
 *     GONE     nothing managed is called any more: HOST_E_CLRNOTAVAILABLE, and unregistered.
 *
 * The lock makes one thing true: when host_gone() has returned, nobody enters told() or get_load().
 * A call of told() that is running then is not waited for: it may be the one that ends the program
 * (Environment.Exit() in a handler), and any other goes on or is cut off as every background thread
 * is at the end of a .NET program. What it could still touch stays as it is until the process is gone.
 * The end is seen twice:
 *   - AppDomain.ProcessExit (clrhost.cs): Main returned, or Environment.Exit(). Its handlers run on
 *     the runtime's finalizer thread while the one that ends the program waits for them (EEShutDown
 *     in ceemain.cpp, dotnet/runtime), ours is the first, and managed code still works.
 *   - clr_run() returns: the runtime is already down. After Environment.Exit() it never returns.
 * Neither of them comes when the process is killed: an unhandled exception, Environment.FailFast(),
 * and SIGTERM, which .NET leaves to the program since version 10.
 *
 * Start and end, in main(): the program is looked at; the bridge; the runtime; PsiBridge.dll; our
 * thread; then the program runs, on the thread of main(); and all in reverse. Whatever is wrong with
 * the bridge or with PsiBridge.dll is said, and the program runs without.
 *
 * Exit status: the program's. 2: our own usage; 127: there is no .NET, or no such program; 126: it
 * cannot be started.
 *
 * Messages are those of every hook (hook.h). PSIBRIDGE_LOG=debug adds a line for every notification,
 * and at the end how long OnMemoryNotification() took.
 */
#include <psibridge/hosting.h>
#include <psibridge/tools.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "runtimes/clrhost-managed.h"
#include "runtimes/clrhost-runtime.h"
#include "runtimes/clrhost-say.h"

#define SAMPLES 4096

enum state {
	ABSENT,
	UP,
	GONE,
};

struct samples {
	size_t n; /* taken; the last SAMPLES of them are kept */
	uint32_t nsec[SAMPLES];
};

struct host {
	ICLRMemoryNotificationCallback callback; /* first: its address is the host's too */
	struct clr *clr;
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *manager;
	psb_code *code; /* NULL: the program sees to that itself, or it cannot be had */
	struct managed_host interface;
	struct managed managed;
	pthread_t thread;
	int has_thread;

	_Atomic enum state state; /* changed under the lock */
	_Atomic int slot;	  /* the newest level nobody has taken; 0: none */
	sem_t wake;
	pthread_mutex_t lock;
	_Atomic int inside; /* our thread is in told(); changed under the lock */

	/* of OnMemoryNotification(), which is never called twice at a time */
	struct samples meanwhile, otherwise; /* while our thread was in managed code, or was not */
};

struct arguments {
	int bridge;
	const char *dotnet_root, *managed, *type, *method;
	int argc;
	char **argv; /* the program and what is its own */
};

static uint64_t now_nsec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

static const char *level_name(int available, int critical)
{
	switch (available) {
	case eMemoryAvailableLow:
		return critical ? "Low, critical" : "Low (memory is short)";
	case eMemoryAvailableNeutral:
		return "Neutral";
	case eMemoryAvailableHigh:
		return "High";
	}
	return "a level there is not";
}

/*
 * ---- told: libpsibridge's thread -----------------------------------------------------------------
 */

static void sample_add(struct samples *samples, uint64_t nsec)
{
	samples->nsec[samples->n++ % SAMPLES] = nsec < UINT32_MAX ? (uint32_t)nsec : UINT32_MAX;
}

static HRESULT host_on_memory_notification(ICLRMemoryNotificationCallback *This,
					   EMemoryAvailable available)
{
	struct host *host = (struct host *)This;
	uint64_t start = now_nsec();
	int inside = atomic_load(&host->inside);
	HRESULT result = HOST_E_CLRNOTAVAILABLE;

	if (atomic_load(&host->state) == UP) {
		atomic_store(&host->slot, (int)available);
		sem_post(&host->wake);
		result = S_OK;
	}
	sample_add(inside ? &host->meanwhile : &host->otherwise, now_nsec() - start);
	say(LOG_DEBUG, "notified %s: %s%s", level_name((int)available, 0),
	    result == S_OK ? "handed over" : "HOST_E_CLRNOTAVAILABLE",
	    inside ? ", managed code is busy" : "");
	return result;
}

static HRESULT host_query_interface(ICLRMemoryNotificationCallback *This, REFIID riid, void **ret)
{
	if (!ret)
		return E_POINTER;
	*ret = NULL;
	if (memcmp(riid, &IID_IUnknown, sizeof(*riid)) != 0 &&
	    memcmp(riid, &IID_ICLRMemoryNotificationCallback, sizeof(*riid)) != 0)
		return E_NOINTERFACE;
	*ret = This;
	return S_OK;
}

/* The object outlives its registration, so nothing is counted. The CLR's own did the same. */
static ULONG host_count(ICLRMemoryNotificationCallback *This)
{
	(void)This;
	return 1;
}

static const ICLRMemoryNotificationCallbackVtbl host_vtbl = {
	.QueryInterface = host_query_interface,
	.AddRef = host_count,
	.Release = host_count,
	.OnMemoryNotification = host_on_memory_notification,
};

/*
 * ---- tell: our thread ----------------------------------------------------------------------------
 */

/* Returns whether the thread goes on. */
static int host_tell(struct host *host, int available)
{
	int critical = 0, up;

	pthread_mutex_lock(&host->lock);
	up = host->state == UP;
	host->inside = up;
	pthread_mutex_unlock(&host->lock);
	if (!up)
		return 0;

	/* The ABI has no word for critical; the watch knows. */
	if (available == eMemoryAvailableLow)
		psb_watch_available(host->watch, &critical);
	say(LOG_INFO, "told %s", level_name(available, critical));
	if (host->code && available == eMemoryAvailableHigh)
		psb_code_unlock(host->code);
	else if (host->code) /* what managed code will run must not be taken while memory is short */
		psb_code_lock(host->code, NULL);
	host->managed.told(available, critical);

	pthread_mutex_lock(&host->lock);
	host->inside = 0;
	up = host->state == UP;
	pthread_mutex_unlock(&host->lock);
	return up;
}

static void *host_thread(void *userdata)
{
	struct host *host = userdata;
	int available;

	for (;;) {
		while (sem_wait(&host->wake) < 0)
			; /* EINTR: the runtime's signal */
		if (atomic_load(&host->state) == GONE)
			return NULL;
		available = atomic_exchange(&host->slot, 0);
		if (available != 0 && !host_tell(host, available))
			return NULL;
	}
}

/*
 * ---- what managed code calls -----------------------------------------------------------------------
 */

static int host_get_load(void *userdata, uint32_t *ret_percent, uint64_t *ret_available_bytes)
{
	struct host *host = userdata;
	DWORD percent;
	size_t available;
	HRESULT result = HOST_E_CLRNOTAVAILABLE;

	pthread_mutex_lock(&host->lock);
	if (host->state != GONE)
		result = IHostMemoryManager_GetMemoryLoad(host->manager, &percent, &available);
	pthread_mutex_unlock(&host->lock);
	if (result != S_OK)
		return -EIO;
	*ret_percent = percent;
	*ret_available_bytes = available;
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static void samples_say(struct samples *samples, const char *when)
{
	size_t n = samples->n < SAMPLES ? samples->n : SAMPLES;
	const uint32_t *nsec = samples->nsec;

	if (n == 0 || say_priority < LOG_DEBUG)
		return;
	qsort(samples->nsec, n, sizeof(*nsec), by_size);
	say(LOG_DEBUG,
	    "OnMemoryNotification, %s: %zu calls, min %.2f p50 %.2f p99 %.2f max %.2f us", when,
	    samples->n, nsec[0] / 1e3, nsec[n / 2] / 1e3, nsec[n * 99 / 100] / 1e3,
	    nsec[n - 1] / 1e3);
}

static void host_gone(struct host *host)
{
	enum state before;

	pthread_mutex_lock(&host->lock);
	before = host->state;
	host->state = GONE;
	pthread_mutex_unlock(&host->lock);
	if (before == GONE)
		return;
	/* Without the lock: this waits for a call of OnMemoryNotification() to end. */
	IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager, NULL);
	sem_post(&host->wake);
	if (before == ABSENT)
		return;
	samples_say(&host->meanwhile, "managed code busy");
	samples_say(&host->otherwise, "managed code idle");
	say(LOG_INFO, "ended");
}

/* AppDomain.ProcessExit: the last moment at which managed code can be called. */
static void host_ending(void *userdata)
{
	struct host *host = userdata;

	host_gone(host);
	if (host->managed.stop)
		host->managed.stop();
}

static void host_threw(void *unused, const char *exception)
{
	(void)unused;
	say(LOG_WARNING, "the callback threw %s; that is told once", exception);
}

/*
 * ---- start ---------------------------------------------------------------------------------------
 */

/* A negative errno: the program runs without us; it was said. 0: so it was wanted. 1: it runs. */
static int host_bridge(struct host *host)
{
	struct psb_watch_options watch = { .size = sizeof(watch) };
	struct psb_settings settings = { .size = sizeof(settings), .watch = &watch };
	struct psb_bridge_options options = { .size = sizeof(options), .log = say_line };
	char why[512] = "";
	int r;

	r = psb_settings_read(say_line, NULL, &settings);
	if (r < 0)
		return r;
	say_priority = settings.log_priority;
	if (!settings.enabled)
		return 0;
	r = psb_bridge_new(&options, &host->bridge);
	if (r < 0)
		goto failed;
	watch.error_text = why;
	watch.error_text_size = sizeof(why);
	r = psb_watch_new(host->bridge, &watch, &host->watch);
	if (r < 0)
		goto failed;
	r = psb_host_memory_manager_new(host->watch, &host->manager);
	if (r < 0)
		goto failed;
	if (psb_code_new(&host->code) < 0)
		host->code = NULL;
	/* The runtime is not there yet, as it was not when the CLR registered. */
	if (IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager, &host->callback) !=
	    S_OK) {
		r = -EIO;
		goto failed;
	}
	r = psb_bridge_start(host->bridge);
	if (r < 0)
		goto failed;
	return 1;

failed:
	say(LOG_ERR, "memory cannot be watched: %s; the program runs without",
	    why[0] ? why : strerror(-r));
	return r;
}

static void host_ready(const struct host *host)
{
	struct psb_source source = { .size = sizeof(source) };

	psb_watch_source(host->watch, &source);
	say(LOG_INFO, "ready: rung %u, %s on %s, %s", source.rung, source.name, source.cgroup,
	    psb_bridge_backend(host->bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll");
}

/* The runtime is up. From here on it is told, or, on an error, which was said, never. */
static int host_up(struct host *host, const struct arguments *arguments)
{
	int r;

	host->interface = (struct managed_host){
		.size = MANAGED_HOST_SIZE,
		.get_load = host_get_load,
		.userdata = host,
		.ending = host_ending,
		.threw = host_threw,
	};
	r = managed_start(host->clr, arguments->managed, arguments->type, arguments->method,
			  &host->interface, &host->managed);
	if (r < 0)
		return r;
	r = -pthread_create(&host->thread, NULL, host_thread, host);
	if (r < 0) {
		say(LOG_ERR, "no thread: %s; the program runs without", strerror(-r));
		return r;
	}
	host->has_thread = 1;
	pthread_setname_np(host->thread, "psb-clrhost");

	pthread_mutex_lock(&host->lock);
	host->state = UP;
	pthread_mutex_unlock(&host->lock);
	if (IHostMemoryManager_RegisterMemoryNotificationCallback(host->manager, &host->callback) !=
	    S_OK) {
		say(LOG_ERR, "the callback cannot be registered; the program runs without");
		return -EIO;
	}
	host_ready(host);
	return 0;
}

/* The program is over, or did not begin. In reverse. */
static void host_end(struct host *host)
{
	if (host->manager)
		host_gone(host);
	/* Our thread is in a handler: what it uses has to stay. */
	if (host->inside)
		return;
	if (host->has_thread)
		pthread_join(host->thread, NULL);
	if (host->manager)
		IHostMemoryManager_Release(host->manager);
	psb_watch_unref(host->watch);
	psb_bridge_unref(host->bridge);
	psb_code_free(host->code);
}

static void usage(FILE *to)
{
	fputs("usage: psibridge-clrhost [OPTIONS] APP.dll [ARGUMENTS]\n"
	      "  runs a .NET program as `dotnet APP.dll` does, and tells it when memory is short:\n"
	      "  PsiBridge.dll then collects, unless the program is told itself\n"
	      "    --callback 'TYPE, ASSEMBLY::METHOD'  call this static void METHOD(int available)\n"
	      "                          of the program instead (1 Low, 2 Neutral, 3 High)\n"
	      "    --managed FILE        this PsiBridge.dll instead of the installed one\n"
	      "    --dotnet-root DIR     the .NET in there instead of the installed one\n"
	      "    --no-bridge           only run the program\n"
	      "  exit status: the program's; 127 no .NET or no program, 126 it cannot be started\n"
	      "  environment: PSIBRIDGE_..., see psibridge-runtimes(7)\n",
	      to);
}

/* Returns 0 (go on), or the exit status plus one. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	static const struct option long_options[] = {
		{ "callback", required_argument, NULL, 'c' },
		{ "managed", required_argument, NULL, 'm' },
		{ "dotnet-root", required_argument, NULL, 'd' },
		{ "no-bridge", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char *colons;
	int option;

	/* "+": what comes after APP.dll is the program's. */
	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			colons = strstr(optarg, "::");
			if (!colons || colons == optarg || colons[2] == '\0') {
				say(LOG_ERR, "--callback %s: 'TYPE, ASSEMBLY::METHOD' was expected",
				    optarg);
				return 2 + 1;
			}
			*colons = '\0';
			ret->type = optarg;
			ret->method = colons + 2;
			break;
		case 'm':
			ret->managed = optarg;
			break;
		case 'd':
			ret->dotnet_root = optarg;
			break;
		case 'n':
			ret->bridge = 0;
			break;
		case 'h':
			usage(stdout);
			return 0 + 1;
		default:
			usage(stderr);
			return 2 + 1;
		}
	}
	if (optind == argc) {
		usage(stderr);
		return 2 + 1;
	}
	ret->argc = argc - optind;
	ret->argv = argv + optind;
	return 0;
}

int main(int argc, char **argv)
{
	/* Static: a thread that hangs may look at it until the process is gone. */
	static struct host host = {
		.callback = { &host_vtbl },
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct arguments arguments = { .bridge = 1 };
	int r, status;

	r = parse(argc, argv, &arguments);
	if (r > 0)
		return r - 1;
	sem_init(&host.wake, 0, 0);

	r = clr_new(arguments.argc, arguments.argv, arguments.dotnet_root, &host.clr);
	if (r < 0)
		return r == -ENOENT ? 127 : 126;
	if (arguments.bridge && host_bridge(&host) > 0) {
		r = clr_start(host.clr);
		if (r == 0 && host.code)
			psb_code_keep(host.code, clr_code());
		if (r == 0)
			host_up(&host, &arguments);
	}
	/* A runtime that cannot be started says so again; one that is too old for us runs. */
	status = r == -ENOEXEC ? 126 : clr_run(host.clr);
	host_end(&host);
	clr_free(host.clr);
	return status;
}
