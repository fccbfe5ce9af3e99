/* SPDX-License-Identifier: MIT */
/*
 * monohost.c - psibridge-monohost: run a Mono program, and tell it when memory is short
 *
 * The example of a native program that embeds Mono and speaks the memory part of the CLR hosting ABI
 * (psibridge-hosting(3)): we are the host, libpsibridge's IHostMemoryManager is its memory manager,
 * and since Mono has no use for one, we also stand in for the runtime and register its
 * ICLRMemoryNotificationCallback. What is told goes through three threads:
 *
 *     libpsibridge's thread       our thread, not attached           a visitor (monogc.c)
 *     OnMemoryNotification():     waits for `wake`
 *       level -> `slot`, wake     takes what is in the slot
 *       returns                   Low: worth it? or a callback:  ->  attaches, collects or calls
 *                                 waits                              the program, detaches, ends
 *
 * That our thread is not attached is the point: Mono waits for every attached thread that is in
 * native code before it collects, and ours sleeps there nearly always. Who attaches a thread and
 * keeps it stalls the program (allocation fell from 750 to 6 MB/s).
 *
 * OnMemoryNotification() only hands over, for the document says "never block". The slot holds the
 * newest level; what our thread did not come to take is overtaken. `state` is the runtime's:
 *
 *     ABSENT   until mono_jit_init() is done: HOST_E_CLRNOTAVAILABLE. Then libpsibridge never calls
 *              that registration again (the document: the runtime is not loaded), so we register once
 *              more as soon as it is up, and are told the present level.
 *     UP       visits are made.
 *     GONE     the runtime ends, in whatever way: HOST_E_CLRNOTAVAILABLE.
 *
 * GONE comes from the runtime (monogc_open()), for Environment.Exit() does not return to main():
 * it ends the runtime, then calls exit(). By then our thread is out of Mono, and stays out.
 *
 * Whatever is wrong with the bridge or with --callback is said, and the program runs without. Exit
 * status: the program's; 2: our own usage; 127: there is no such program; 126: Mono cannot load it.
 * Messages are those of every hook (hook.h), and PSIBRIDGE_LOG=debug adds a line for every notification.
 */
#include "monogc.h"

#include <psibridge/hosting.h>
#include <psibridge/psibridge.h>

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <mono/jit/jit.h>
#include <mono/metadata/assembly.h>
#include <mono/metadata/debug-helpers.h>
#include <mono/metadata/environment.h>
#include <mono/metadata/mono-config.h>

#define USEC_PER_SEC UINT64_C(1000000)
#define PATIENCE_SEC 2
#define GROWN_PERCENT 20 /* of what the last collection gave back */

enum state {
	ABSENT,
	UP,
	GONE,
};

struct host {
	ICLRMemoryNotificationCallback callback; /* first: its address is the host's too */
	psb_bridge *bridge;
	psb_watch *watch;
	IHostMemoryManager *manager;
	enum psb_collect collect;
	uint64_t apart_usec, grown_bytes;
	pthread_t thread;

	_Atomic enum state state;
	_Atomic int slot; /* the newest level nobody has taken; 0: none */
	sem_t wake, out;  /* there is something for our thread; it is out of Mono for good */

	/* of our thread */
	MonoMethod *method;				    /* --callback; NULL: collect */
	int level;					    /* what the visitor tells it */
	uint64_t collected_usec, before_bytes, after_bytes; /* the last collection */
};

static const ICLRMemoryNotificationCallbackVtbl host_vtbl;

/* Static: one runtime a process, and events of its life come without a pointer. */
static struct host host = { .callback = { &host_vtbl } };
static __thread int visiting; /* this is a visitor, in a method of the program */
static int log_priority = LOG_WARNING;

/* One write(2), so that lines of two threads do not mix. */
__attribute__((format(printf, 2, 3))) static void say(int priority, const char *format, ...)
{
	char line[PATH_MAX + 512];
	int n = snprintf(line, sizeof(line), "psibridge[monohost]: ");
	va_list arguments;

	if (priority > log_priority)
		return;
	va_start(arguments, format);
	vsnprintf(line + n, sizeof(line) - (size_t)n - 1, format, arguments);
	va_end(arguments);
	n = (int)strlen(line);
	line[n++] = '\n';
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return; /* nobody reads it */
}

static void say_library(void *unused, int priority, const char *message)
{
	(void)unused;
	say(priority, "%s", message);
}

static const char *level_name(int available)
{
	switch (available) {
	case eMemoryAvailableLow:
		return "Low (memory is short)";
	case eMemoryAvailableNeutral:
		return "Neutral";
	case eMemoryAvailableHigh:
		return "High (memory is plentiful)";
	}
	return "a level there is not";
}

/*
 * ---- told: libpsibridge's thread -----------------------------------------------------------------
 */

static HRESULT host_on_memory_notification(ICLRMemoryNotificationCallback *This,
					   EMemoryAvailable available)
{
	HRESULT result = HOST_E_CLRNOTAVAILABLE;

	(void)This;
	if (atomic_load(&host.state) == UP) {
		atomic_store(&host.slot, (int)available);
		sem_post(&host.wake);
		result = S_OK;
	}
	say(LOG_DEBUG, "notified %s: %s", level_name((int)available),
	    result == S_OK ? "handed over" : "HOST_E_CLRNOTAVAILABLE");
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
 * ---- react: our thread, and its visitors -----------------------------------------------------------
 */

static uint64_t now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t rss_bytes(void)
{
	FILE *statm = fopen("/proc/self/statm", "re");
	uint64_t pages = 0;

	if (!statm)
		return 0;
	if (fscanf(statm, "%*u %" SCNu64, &pages) != 1)
		pages = 0;
	fclose(statm);
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Walking a heap touches memory, which is just what is scarce. */
static int worth_it(uint64_t now, uint64_t rss)
{
	uint64_t freed, needed;

	if (host.collected_usec == 0)
		return 1;
	if (now - host.collected_usec < host.apart_usec)
		return 0;
	if (host.grown_bytes == 0)
		return 1;
	freed = host.before_bytes > host.after_bytes ? host.before_bytes - host.after_bytes : 0;
	needed = freed / 100 * GROWN_PERCENT;
	if (needed < host.grown_bytes)
		needed = host.grown_bytes;
	return rss >= host.after_bytes + needed;
}

static void collect(void)
{
	uint64_t start = now_usec(), rss = rss_bytes();
	int critical;

	/* The ABI has no word for critical; the watch knows. */
	psb_watch_available(host.watch, &critical);
	if (host.collect == PSB_COLLECT_OFF || (host.collect == PSB_COLLECT_CRITICAL && !critical))
		return;
	if (!worth_it(start, rss)) {
		say(LOG_INFO, "kept: %.1f MiB, little has grown since the last collection",
		    (double)rss / (1 << 20));
		return;
	}
	if (monogc_collect() < 0)
		return;
	host.collected_usec = now_usec();
	host.before_bytes = rss;
	host.after_bytes = rss_bytes();
	say(LOG_INFO, "collected: %.1f -> %.1f MiB, %" PRIu64 " ms",
	    (double)host.before_bytes / (1 << 20), (double)host.after_bytes / (1 << 20),
	    (host.collected_usec - start) / 1000);
}

/* The visitor: a thread of Mono for as long as the program's method runs. */
static void tell_program(void *unused)
{
	void *arguments[] = { &host.level };
	MonoObject *exception = NULL;

	(void)unused;
	visiting = 1;
	mono_runtime_invoke(host.method, NULL, arguments, &exception);
	if (exception)
		say(LOG_WARNING, "the callback threw %s; it will be called again",
		    mono_class_get_name(mono_object_get_class(exception)));
}

static void *host_thread(void *unused)
{
	(void)unused;
	for (;;) {
		while (sem_wait(&host.wake) < 0)
			;
		if (atomic_load(&host.state) == GONE)
			break;
		host.level = atomic_exchange(&host.slot, 0);
		if (host.level == 0)
			continue; /* it came with the one before */
		say(LOG_INFO, "told %s", level_name(host.level));
		if (host.method)
			monogc_visit(tell_program, NULL);
		else if (host.level == eMemoryAvailableLow)
			collect();
	}
	sem_post(&host.out);
	return NULL;
}

/* Signals are for the program's threads; a visitor lets in what Mono needs. */
static int host_start_thread(void)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&host.thread, NULL, host_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

/*
 * ---- start -------------------------------------------------------------------------------------------
 */

static int host_register(void)
{
	HRESULT result = IHostMemoryManager_RegisterMemoryNotificationCallback(host.manager,
									       &host.callback);

	return result == S_OK ? 0 : -EIO;
}

/* 1: there is a bridge. 0: there shall be none. A negative errno: the program runs without; it was said. */
static int host_bridge(void)
{
	struct psb_settings settings = { .size = sizeof(settings) };
	struct psb_bridge_options options = { .size = sizeof(options), .log = say_library };
	char why[512] = "";
	int r;

	r = psb_settings_read(say_library, NULL, &settings);
	if (r < 0)
		return r;
	log_priority = settings.log_priority;
	host.collect = settings.collect;
	host.apart_usec = settings.apart_usec;
	host.grown_bytes = settings.grown_bytes;
	if (!settings.enabled)
		return 0;

	settings.watch.error_text = why;
	settings.watch.error_text_size = sizeof(why);
	r = psb_bridge_new(&options, &host.bridge);
	if (r == 0)
		r = psb_watch_new(host.bridge, &settings.watch, &host.watch);
	if (r == 0)
		r = psb_host_memory_manager_new(host.watch, &host.manager);
	/* Mono is not there yet, as the CLR was not when it registered. */
	if (r == 0)
		r = host_register();
	if (r == 0)
		r = psb_bridge_start(host.bridge);
	if (r < 0) {
		say(LOG_ERR, "memory cannot be watched: %s; the program runs without",
		    why[0] ? why : strerror(-r));
		return r;
	}
	return 1;
}

/* Returns 0, or a negative errno; it was said. */
static int host_method(MonoAssembly *assembly, const char *name)
{
	MonoImage *image = mono_assembly_get_image(assembly);
	MonoMethodDesc *description;
	char full[512];

	snprintf(full, sizeof(full), "%s(int)", name);
	description = mono_method_desc_new(full, 1);
	if (description) {
		host.method = mono_method_desc_search_in_image(description, image);
		mono_method_desc_free(description);
	}
	if (host.method && mono_signature_is_instance(mono_method_signature(host.method)))
		host.method = NULL;
	if (!host.method) {
		say(LOG_ERR,
		    "--callback %s: %s has no such static method of one int; the program runs without",
		    name, mono_image_get_filename(image));
		return -ENOENT;
	}
	return 0;
}

/* The runtime is up, and the program loaded: from here on it is told. */
static int host_up(MonoAssembly *assembly, const char *callback)
{
	struct psb_source source = { .size = sizeof(source) };
	int r = 0;

	if (callback)
		r = host_method(assembly, callback);
	if (r < 0)
		return r;
	r = host_start_thread();
	if (r == 0) {
		atomic_store(&host.state, UP);
		r = host_register();
	}
	if (r < 0) {
		say(LOG_ERR, "nothing can be told: %s; the program runs without", strerror(-r));
		return r;
	}
	psb_watch_source(host.watch, &source);
	say(LOG_INFO, "ready: rung %u, %s on %s, %s", source.rung, source.name,
	    source.path[0] ? source.path : source.cgroup,
	    psb_bridge_backend(host.bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll");
	return 0;
}

/*
 * ---- end ---------------------------------------------------------------------------------------------
 */

/* The runtime ends. Called by it, on the thread that ends it, which may be our visitor. */
static void host_down(void)
{
	struct timespec until;

	if (atomic_exchange(&host.state, GONE) != UP)
		return;
	sem_post(&host.wake);
	if (visiting)
		return;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_SEC;
	while (sem_timedwait(&host.out, &until) < 0)
		if (errno == ETIMEDOUT)
			return; /* a callback of the program hangs */
	pthread_join(host.thread, NULL);
	say(LOG_INFO, "ended");
}

/* The program is over, and its runtime too: what Low comes now is answered CLRNOTAVAILABLE. */
static void host_end(void)
{
	if (host.manager) {
		IHostMemoryManager_RegisterMemoryNotificationCallback(host.manager, NULL);
		IHostMemoryManager_Release(host.manager);
	}
	psb_watch_unref(host.watch);
	psb_bridge_unref(host.bridge);
}

static void usage(FILE *to)
{
	fputs("usage: psibridge-monohost [OPTIONS] APP.exe [ARGUMENTS]\n"
	      "  runs a program as `mono APP.exe` does, and collects when memory is short\n"
	      "    --callback 'NAMESPACE.TYPE:METHOD'  call this static void METHOD(int available) of the\n"
	      "                   program instead (1 Low, 2 Neutral, 3 High)\n"
	      "    --no-bridge    only run the program\n"
	      "  exit status: the program's; 127 there is no such program, 126 Mono cannot load it\n"
	      "  environment: PSIBRIDGE_..., see psibridge-runtimes(7)\n",
	      to);
}

struct arguments {
	int bridge;
	const char *callback;
	int argc;
	char **argv; /* the program and what is its own */
};

/* Returns 0 (go on), or the exit status plus one. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	static const struct option long_options[] = {
		{ "callback", required_argument, NULL, 'c' },
		{ "no-bridge", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	/* "+": what comes after APP.exe is the program's. */
	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) >= 0) {
		switch (option) {
		case 'c':
			if (!strchr(optarg, ':') || strchr(optarg, '(')) {
				say(LOG_ERR, "--callback %s: 'NAMESPACE.TYPE:METHOD' was expected",
				    optarg);
				return 2 + 1;
			}
			ret->callback = optarg;
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
	struct arguments arguments = { .bridge = 1 };
	MonoAssembly *assembly;
	const char *missing;
	MonoDomain *domain;
	int r, bridged, status;

	r = parse(argc, argv, &arguments);
	if (r > 0)
		return r - 1;
	if (access(arguments.argv[0], R_OK) < 0) {
		say(LOG_ERR, "%s: %s", arguments.argv[0], strerror(errno));
		return 127;
	}
	sem_init(&host.wake, 0, 0);
	sem_init(&host.out, 0, 0);

	bridged = arguments.bridge && host_bridge() > 0;
	if (bridged && monogc_open(NULL, host_down, &missing) < 0) {
		say(LOG_ERR, "this Mono has no %s(); the program runs without", missing);
		bridged = 0;
	}
	mono_config_parse(NULL);
	domain = mono_jit_init(arguments.argv[0]);
	assembly = mono_domain_assembly_open(domain, arguments.argv[0]);
	if (assembly) {
		if (bridged)
			host_up(assembly, arguments.callback);
		status = mono_jit_exec(domain, assembly, arguments.argc, arguments.argv);
	} else {
		say(LOG_ERR, "%s: Mono cannot load it", arguments.argv[0]);
		status = 126;
	}
	mono_jit_cleanup(domain);
	host_end();
	return status;
}
