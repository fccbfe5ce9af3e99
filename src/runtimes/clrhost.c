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
 * PsiBridge.Hosting (Hosting.cs) is the managed half. A program that uses PsiBridge brings its own PsiBridge.dll, and that
 * one is taken: otherwise the program would listen to one MemoryPressure and the host tell another.
 *
 * The end. When gone() has returned, nothing enters told() or get_load(), and a call of OnMemoryNotification() would answer
 * HOST_E_CLRNOTAVAILABLE. A call of told() that is running then is not waited for: it may be the one that ends the program
 * (Environment.Exit() in a handler), and any other goes on or is cut off as every background thread
 * is at the end of a .NET program. What it could still touch stays as it is until the process is gone.
 * The end is seen twice:
 *   - AppDomain.ProcessExit (Hosting.cs): Main returned, or Environment.Exit(). Its handlers run on
 *     the runtime's finalizer thread while the one that ends the program waits for them (EEShutDown
 *     in ceemain.cpp, dotnet/runtime), ours is the first, and managed code still works.
 *   - clr_run() returns: the runtime is already down. After Environment.Exit() it never returns.
 * Neither of them comes when the process is killed: an unhandled exception, Environment.FailFast(),
 * and SIGTERM, which .NET leaves to the program since version 10.
 *
 * Whatever is wrong with the bridge or with PsiBridge.dll is said, and the program runs without. Exit status: the program's.
 * 2: our own usage; 127: there is no .NET, or no such program; 126: it cannot be started.
 *
 * Messages are those of every hook (hook.h). PSIBRIDGE_LOG=debug adds a line for every notification.
 */
#include <errno.h>
#include <getopt.h>
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

#include "runtimes/clrhost-runtime.h"
#include "runtimes/host.h"
#include "runtimes/say.h"

#define HOSTING "PsiBridge.Hosting, PsiBridge"

/* PsiBridge.Hosting.HostInterface. */
struct interface {
	size_t size;
	int (*get_load)(void *userdata, uint32_t *ret_percent, uint64_t *ret_available_bytes);
	void *userdata;
	void (*ending)(void *userdata); /* AppDomain.ProcessExit */
	void (*threw)(void *userdata,
		      const char *exception); /* the method below, for the first time */
	const char *type, *method;	      /* a static void of one int, or NULL: the policy */
};

/* Static: a thread that hangs may look at it until the process is gone. */
static struct {
	struct host host;
	psb_code *code; /* NULL: the program sees to that itself, or it cannot be had */
	struct interface interface;
	void (*told)(int available, int critical); /* PsiBridge.Hosting.Told() */
	pthread_t thread;
	int has_thread;

	_Atomic int slot; /* the newest level that was not taken; 0: none */
	sem_t wake;
	pthread_mutex_t lock;
	_Atomic int gone;   /* changed under the lock */
	_Atomic int inside; /* our thread is in told(); changed under the lock */
} self = { .lock = PTHREAD_MUTEX_INITIALIZER };

static double now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* ---- told: libpsibridge's thread --------------------------------------------------------------- */

static HRESULT on_memory_notification(struct host *unused, EMemoryAvailable available)
{
	double start = now_usec();
	int inside = atomic_load(&self.inside);

	(void)unused;
	if (atomic_load(&self.gone))
		return HOST_E_CLRNOTAVAILABLE;
	atomic_store(&self.slot, (int)available);
	sem_post(&self.wake);
	say(LOG_DEBUG, "notified %s: handed over in %.2f us%s", say_level((int)available, 0),
	    now_usec() - start, inside ? ", managed code is busy" : "");
	return S_OK;
}

/* ---- tell: our thread -------------------------------------------------------------------------- */

/* Returns whether managed code may be entered, or, `inside` being 0, may be entered again. */
static int enter(int inside)
{
	int gone;

	pthread_mutex_lock(&self.lock);
	gone = self.gone;
	self.inside = inside && !gone;
	pthread_mutex_unlock(&self.lock);
	return !gone;
}

static void *tell(void *unused)
{
	int available, critical;

	(void)unused;
	do {
		while (sem_wait(&self.wake) < 0)
			; /* EINTR: the runtime's signal */
		available = atomic_exchange(&self.slot, 0);
		critical = 0;
		if (!enter(1))
			break;
		if (available == 0)
			continue;
		/* The ABI has no word for critical; the watch knows. */
		if (available == eMemoryAvailableLow)
			psb_watch_available(self.host.watch, &critical);
		say(LOG_INFO, "told %s", say_level(available, critical));
		if (self.code && available == eMemoryAvailableHigh)
			psb_code_unlock(self.code);
		else if (self.code) /* what managed code will run is needed while memory is short */
			psb_code_lock(self.code, NULL);
		self.told(available, critical);
	} while (enter(0));
	return NULL;
}

/* ---- what managed code calls ------------------------------------------------------------------- */

static int get_load(void *unused, uint32_t *ret_percent, uint64_t *ret_available_bytes)
{
	HRESULT result = HOST_E_CLRNOTAVAILABLE;
	size_t available = 0;

	(void)unused;
	pthread_mutex_lock(&self.lock);
	if (!self.gone)
		result = IHostMemoryManager_GetMemoryLoad(self.host.manager, ret_percent,
							  &available);
	pthread_mutex_unlock(&self.lock);
	*ret_available_bytes = available;
	return result == S_OK ? 0 : -EIO;
}

static void gone(void *unused)
{
	int before;

	(void)unused;
	pthread_mutex_lock(&self.lock);
	before = self.gone;
	self.gone = 1;
	pthread_mutex_unlock(&self.lock);
	if (before)
		return;
	/* Without the lock: this waits for a call of OnMemoryNotification() to end. */
	host_unlisten(&self.host);
	sem_post(&self.wake);
	if (self.has_thread)
		say(LOG_INFO, "ended");
}

static void threw(void *unused, const char *exception)
{
	(void)unused;
	say(LOG_WARNING, "the callback threw %s; that is told once", exception);
}

/* ---- start ------------------------------------------------------------------------------------- */

static void log_line(void *unused, int priority, const char *message)
{
	(void)unused;
	say(priority, "%s", message);
}

/* A negative errno: the program runs without us; it was said. 0: so it was wanted. 1: it runs. */
static int start_host(void)
{
	struct psb_watch_options watch = { .size = sizeof(watch) };
	struct psb_settings settings = { .size = sizeof(settings), .watch = &watch };
	struct psb_bridge_options options = { .size = sizeof(options), .log = log_line };
	char why[512] = "";
	int r;

	r = psb_settings_read(log_line, NULL, &settings);
	if (r < 0)
		return r;
	say_priority = settings.log_priority;
	if (!settings.enabled)
		return 0;
	watch.error_text = why;
	watch.error_text_size = sizeof(why);
	self.host.told = on_memory_notification;
	r = host_start(&self.host, &options, &watch);
	if (r < 0) {
		say(LOG_ERR, "memory cannot be watched: %s; the program runs without",
		    why[0] ? why : strerror(-r));
		return r;
	}
	if (psb_code_new(&self.code) < 0)
		self.code = NULL;
	return 1;
}

/* PsiBridge.dll lies with the hooks: as src/cli/hooks.c. */
static void find_managed(char *ret_path, size_t size)
{
	const char *hooks = getenv("PSIBRIDGE_HOOKS");
	char self_path[PATH_MAX], *slash;
	ssize_t n;

	if (hooks && *hooks) {
		snprintf(ret_path, size, "%s/PsiBridge.dll", hooks);
		return;
	}
	n = readlink("/proc/self/exe", self_path, sizeof(self_path) - 1);
	self_path[n > 0 ? n : 0] = '\0';
	slash = strrchr(self_path, '/');
	/* libtool keeps what it will install one directory further down */
	if (slash && slash - self_path > 6 && strncmp(slash - 6, "/.libs", 6) == 0)
		slash -= 6;
	snprintf(ret_path, size, "%.*s/hooks/PsiBridge.dll", (int)(slash ? slash - self_path : 0),
		 self_path);
	if (access(ret_path, R_OK) < 0)
		snprintf(ret_path, size, "%s/PsiBridge.dll", PSIBRIDGE_HOOKDIR);
}

/* The managed half is ready to be told. Errors, all said: the program runs without. */
static int start_managed(const char *type, const char *method)
{
	int (*start)(const struct interface *interface);
	char file[PATH_MAX + 32];
	int r;

	find_managed(file, sizeof(file));
	r = clr_method(file, HOSTING, "Start", (void **)&start);
	if (r == 0)
		r = clr_method(file, HOSTING, "Told", (void **)&self.told);
	if (r < 0)
		return r;
	self.interface = (struct interface){
		.size = sizeof(self.interface),
		.get_load = get_load,
		.ending = gone,
		.threw = threw,
		.type = type,
		.method = method,
	};
	r = start(&self.interface);
	if (r < 0 && type)
		say(LOG_ERR, "--callback %s::%s: %s; the program runs without", type, method,
		    r == -ENOENT   ? "there is no such type, or no such assembly"
		    : r == -EPROTO ? "the type has no such static method"
				   : "it is not a static void of one int");
	else if (r < 0)
		say(LOG_ERR, "PsiBridge.Hosting does not start (%d); the program runs without", r);
	return r;
}

/* The runtime is up. From here on it is told, or, on an error, which was said, never. */
static void start_telling(const char *type, const char *method)
{
	struct psb_source source = { .size = sizeof(source) };
	int r;

	if (start_managed(type, method) < 0)
		return;
	r = -pthread_create(&self.thread, NULL, tell, NULL);
	if (r < 0) {
		say(LOG_ERR, "no thread: %s; the program runs without", strerror(-r));
		return;
	}
	self.has_thread = 1;
	pthread_setname_np(self.thread, "psb-clrhost");
	if (host_listen(&self.host) != S_OK) {
		say(LOG_ERR, "the callback cannot be registered; the program runs without");
		return;
	}
	psb_watch_source(self.host.watch, &source);
	say(LOG_INFO, "ready: rung %u, %s on %s, %s", source.rung, source.name, source.cgroup,
	    psb_bridge_backend(self.host.bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll");
}

/* The program is over, or did not begin. In reverse. */
static void end(void)
{
	gone(NULL);
	/* Our thread is in a handler: what it uses has to stay. */
	if (self.inside)
		return;
	if (self.has_thread)
		pthread_join(self.thread, NULL);
	host_end(&self.host);
	psb_code_free(self.code);
}

static int usage(FILE *to, int status)
{
	fputs("usage: psibridge-clrhost [--callback METHOD] APP.dll [ARGUMENTS]\n"
	      "  runs a .NET program as `dotnet APP.dll` does, and tells it when memory is short:\n"
	      "  PsiBridge.dll then collects, unless the program is told itself\n"
	      "    --callback 'TYPE, ASSEMBLY::METHOD'  call this static void METHOD(int available)\n"
	      "                          of the program instead (1 Low, 2 Neutral, 3 High)\n"
	      "  exit status: the program's; 127 no .NET or no program, 126 it cannot be started\n"
	      "  environment: PSIBRIDGE_..., see psibridge-runtimes(7); DOTNET_ROOT\n",
	      to);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {
		{ "callback", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	char *type = NULL, *method = NULL;
	int option, r, status;

	/* "+": what comes after APP.dll is the program's. */
	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) >= 0) {
		if (option != 'c')
			return option == 'h' ? usage(stdout, 0) : usage(stderr, 2);
		type = optarg;
		method = strstr(type, "::");
		if (!method || method == type || method[2] == '\0') {
			say(LOG_ERR, "--callback %s: 'TYPE, ASSEMBLY::METHOD' was expected", type);
			return 2;
		}
		*method = '\0';
		method += 2;
	}
	if (optind == argc)
		return usage(stderr, 2);
	sem_init(&self.wake, 0, 0);

	r = clr_open(argc - optind, argv + optind);
	if (r < 0)
		return r == -ENOENT ? 127 : 126;
	if (start_host() > 0) {
		r = clr_start();
		if (r == 0 && self.code)
			psb_code_keep(self.code, clr_code());
		if (r == 0)
			start_telling(type, method);
	}
	/* A runtime that cannot be started says so again; one that is too old for us runs. */
	status = r == -ENOEXEC ? 126 : clr_run();
	end();
	return status;
}
