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
 * Three libraries stand between a native program and CoreCLR (docs/design/features/native-hosting.md
 * and host-components.md in dotnet/runtime):
 *
 *     nethost      linked into us; it only knows where hostfxr is (get_hostfxr_path)
 *     hostfxr      <dotnet>/host/fxr/VERSION: reads APP.runtimeconfig.json, chooses frameworks
 *     hostpolicy   of the chosen framework: reads the deps.json, loads libcoreclr.so
 *
 * nethost is the one that is not part of an installed runtime, so its static library is linked in: a
 * psibridge-clrhost built with an SDK runs where there is only a runtime, and of any version. It is
 * C++, so is hostfxr, and so libstdc++.so is there wherever .NET is.
 *
 * What hostfxr says of bad input is good, and goes to the user line by line. Two cases are looked at before: without a
 * runtimeconfig.json it takes the program for one that brings its own runtime, and complains about a libhostpolicy.so; and a
 * file that is no assembly is refused by the runtime itself, with a stack trace.
 *
 * The runtime can be started before the program: hostfxr_get_runtime_delegate() on the context of a
 * command line does, and hostfxr_run_app() then runs the program in it. Since .NET 8 such a context
 * has hdt_load_assembly (hostfxr.cpp), which loads into the context the program's own assemblies are
 * in (AssemblyLoadContext.Default), and not into one of its own as
 * hdt_load_assembly_and_get_function_pointer does: a program that uses PsiBridge.dll itself and the
 * host must not have two of them.
 *
 * The end. When gone() has returned, nothing enters told() or get_load(), and a call of OnMemoryNotification() would answer
 * HOST_E_CLRNOTAVAILABLE. A call of told() that is running then is not waited for: it may be the one that ends the program
 * (Environment.Exit() in a handler), and any other goes on or is cut off as every background thread
 * is at the end of a .NET program. What it could still touch stays as it is until the process is gone.
 * The end is seen twice:
 *   - AppDomain.ProcessExit (Hosting.cs): Main returned, or Environment.Exit(). Its handlers run on
 *     the runtime's finalizer thread while the one that ends the program waits for them (EEShutDown
 *     in ceemain.cpp, dotnet/runtime), ours is the first, and managed code still works.
 *   - hostfxr_run_app() returns: the runtime is already down. After Environment.Exit() it never returns.
 * Neither of them comes when the process is killed: an unhandled exception, Environment.FailFast(),
 * and SIGTERM, which .NET leaves to the program since version 10.
 *
 * Whatever is wrong with the bridge or with PsiBridge.dll is said, and the program runs without. Exit status: the program's.
 * 2: our own usage; 127: there is no .NET, or no such program; 126: it cannot be started.
 *
 * Messages are those of every hook (hook.h). PSIBRIDGE_LOG=debug adds a line for every notification.
 */
#include "runtimes/host.h"
#include "runtimes/say.h"

#include <coreclr_delegates.h>
#include <dlfcn.h>
#include <errno.h>
#include <getopt.h>
#include <hostfxr.h>
#include <limits.h>
#include <nethost.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#define HOSTING "PsiBridge.Hosting, PsiBridge"
/* HRESULTs that mean something to us: corerror.xml in dotnet/runtime. */
#define NOT_FOUND 0x80070002u
#define BAD_IMAGE 0x8007000Bu

#define failed(error, ...) (say(LOG_ERR, __VA_ARGS__), (error))

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

static struct {
	void *library; /* libhostfxr.so: it never unloads what it loaded, and so stays too */
	hostfxr_initialize_for_dotnet_command_line_fn initialize;
	hostfxr_get_runtime_delegate_fn get_delegate;
	hostfxr_run_app_fn run_app;
	hostfxr_set_error_writer_fn set_error_writer;
	hostfxr_handle context;
	load_assembly_fn load_assembly;
	get_function_pointer_fn get_function_pointer;
} clr;

static int say_priority = LOG_WARNING;

static void __attribute__((format(printf, 2, 3))) say(int priority, const char *format, ...)
{
	va_list args;

	if (priority > say_priority)
		return;
	va_start(args, format);
	say_line("clrhost", format, args);
	va_end(args);
}

/* hostfxr's messages have several lines, some of them empty. */
static void write_error(const char *message)
{
	while (*message) {
		int n = (int)strcspn(message, "\n");

		if (n > 0)
			say(LOG_ERR, "%.*s", n, message);
		message += n + (message[n] == '\n');
	}
}

/* ---- the program ------------------------------------------------------------------------------- */

/* Is this a PE file with a CLI header? ECMA-335, II.25. */
static int is_assembly(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned char bytes[4096];
	size_t n, pe, directories;

	if (!file)
		return 0;
	n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	if (n < 64 || bytes[0] != 'M' || bytes[1] != 'Z')
		return 0;
	pe = bytes[60] | (size_t)bytes[61] << 8;
	if (pe + 24 + 2 > n || memcmp(bytes + pe, "PE\0\0", 4) != 0)
		return 0;
	/* The optional header has two sizes; the fifteenth data directory is the CLI header's. */
	directories = pe + 24 + (bytes[pe + 24] == 0x0b && bytes[pe + 25] == 2 ? 112 : 96);
	return directories + 15 * 8 <= n &&
	       memcmp(bytes + directories + 14 * 8, "\0\0\0\0", 4) != 0;
}

static int check_program(const char *app)
{
	char config[PATH_MAX];
	size_t stem = strlen(app);
	struct stat st;

	if (stat(app, &st) < 0)
		return failed(-ENOENT, "%s: %s", app, strerror(errno));
	if (!S_ISREG(st.st_mode) || !is_assembly(app))
		return failed(-ENOEXEC, "%s: not a .NET assembly; APP.dll was expected", app);
	if (stem > 4 &&
	    (strcmp(app + stem - 4, ".dll") == 0 || strcmp(app + stem - 4, ".exe") == 0))
		stem -= 4;
	snprintf(config, sizeof(config), "%.*s.runtimeconfig.json", (int)stem, app);
	if (access(config, R_OK) < 0)
		return failed(
			-ENOEXEC,
			"%s: %s; it says which .NET the program wants, and `dotnet build` makes it",
			config, strerror(errno));
	return 0;
}

/* ---- hostfxr ----------------------------------------------------------------------------------- */

/* Where `dotnet` on $PATH really is. nethost does not look there. */
static int root_on_path(char *ret_root)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX], *slash;

	while (path && *path) {
		size_t n = strcspn(path, ":");

		if (n > 0 &&
		    snprintf(file, sizeof(file), "%.*s/dotnet", (int)n, path) < (int)sizeof(file) &&
		    access(file, X_OK) == 0 && realpath(file, ret_root)) {
			slash = strrchr(ret_root, '/');
			*slash = '\0';
			return 1;
		}
		path += n + (path[n] == ':');
	}
	return 0;
}

static int find_hostfxr(const char *root, char *ret_path)
{
	struct get_hostfxr_parameters where = { .size = sizeof(where), .dotnet_root = root };
	size_t n = PATH_MAX;

	return get_hostfxr_path(ret_path, &n, &where) == 0;
}

static int load_hostfxr(void)
{
	char path[PATH_MAX], root[PATH_MAX];
	const char *variable = getenv("DOTNET_ROOT");

	/* A $DOTNET_ROOT with nothing in it is a mistake that is to be heard of. */
	if (!find_hostfxr(NULL, path) &&
	    (variable || !root_on_path(root) || !find_hostfxr(root, path)))
		return failed(-ENOENT, "no .NET was found%s%s%s; is a runtime installed?",
			      variable ? " (DOTNET_ROOT is " : "", variable ? variable : "",
			      variable ? ")" : "");
	clr.library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!clr.library)
		return failed(-ENOENT, "%s", dlerror());
#define RESOLVE(member, name) (*(void **)&clr.member = dlsym(clr.library, name))
	if (!RESOLVE(initialize, "hostfxr_initialize_for_dotnet_command_line") ||
	    !RESOLVE(get_delegate, "hostfxr_get_runtime_delegate") ||
	    !RESOLVE(run_app, "hostfxr_run_app") ||
	    !RESOLVE(set_error_writer, "hostfxr_set_error_writer"))
		return failed(-ENOENT, "%s is too old: .NET 8 or later is needed", path);
#undef RESOLVE
	return 0;
}

/* Finds .NET and reads what the program needs. Errors, all said: -ENOENT (no .NET, no such program), -ENOEXEC. */
static int clr_open(int argc, char **argv)
{
	char exe[PATH_MAX];
	struct hostfxr_initialize_parameters parameters = {
		.size = sizeof(parameters),
		.host_path = realpath("/proc/self/exe", exe),
	};
	int r = check_program(argv[0]);

	if (r == 0)
		r = load_hostfxr();
	if (r < 0)
		return r;
	clr.set_error_writer(write_error);
	if (clr.initialize(argc, (const char **)(uintptr_t)argv, &parameters, &clr.context) != 0)
		return failed(-ENOEXEC, "%s: cannot be started", argv[0]);
	return 0;
}

/* The runtime runs, the program does not. Errors, said: -ENOEXEC (it does not start), -EOPNOTSUPP (.NET before 8). */
static int clr_start(void)
{
	int result = clr.get_delegate(clr.context, hdt_get_function_pointer,
				      (void **)&clr.get_function_pointer);

	if (result != 0)
		return failed(-ENOEXEC, "the runtime does not start (0x%08x)", (unsigned)result);
	result = clr.get_delegate(clr.context, hdt_load_assembly, (void **)&clr.load_assembly);
	if (result != 0)
		return failed(
			-EOPNOTSUPP,
			"this .NET is too old to load an assembly for its host (0x%08x); .NET 8 can",
			(unsigned)result);
	return 0;
}

/* An address in libcoreclr.so, which clr_start() loaded; NULL: it is not there under that name. */
static const void *clr_code(void)
{
	void *library = dlopen("libcoreclr.so", RTLD_LAZY | RTLD_NOLOAD);
	const void *address = library ? dlsym(library, "coreclr_initialize") : NULL;

	if (library)
		dlclose(library); /* the count: the runtime never unloads it */
	return address;
}

/* A method of PsiBridge.Hosting, which is looked for among the program's own assemblies and only then in the file
 * `assembly`, which is loaded as if it were one of them. Errors, all said. */
static int clr_method(const char *assembly, const char *method, void **ret)
{
	char path[PATH_MAX];
	unsigned result;

	for (int loaded = 0;; loaded = 1) {
		result = (unsigned)clr.get_function_pointer(
			HOSTING, method, UNMANAGEDCALLERSONLY_METHOD, NULL, NULL, ret);
		if (result != NOT_FOUND || loaded || !realpath(assembly, path))
			break;
		result = (unsigned)clr.load_assembly(path, NULL, NULL);
		if (result != 0)
			break;
	}
	if (result == NOT_FOUND)
		return failed(-ENOENT, "%s: %s; the program runs without", assembly,
			      strerror(ENOENT));
	if (result == BAD_IMAGE)
		return failed(-ENOEXEC, "%s: not a .NET assembly; the program runs without",
			      assembly);
	if (result != 0)
		return failed(
			-ENOSYS,
			"PsiBridge.dll (the program's own, or %s) is of another version: there is no "
			"PsiBridge.Hosting.%s that could be called; the program runs without",
			assembly, method);
	return 0;
}

/* ---- told: libpsibridge's thread -------------------------------------------------------------- */

static double now_usec(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

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
		if (available == eMemoryAvailableHigh)
			psb_code_unlock(self.code);
		else /* what managed code will run is needed while memory is short */
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
	psb_code_new(&self.code);
	return 1;
}

/* The managed half is ready to be told. Errors, all said: the program runs without. */
static int start_managed(const char *type, const char *method)
{
	int (*start)(const struct interface *interface);
	const char *hooks = getenv("PSIBRIDGE_HOOKS");
	char file[PATH_MAX];
	int r;

	snprintf(file, sizeof(file), "%s/PsiBridge.dll",
		 hooks && *hooks ? hooks : PSIBRIDGE_HOOKDIR);
	r = clr_method(file, "Start", (void **)&start);
	if (r == 0)
		r = clr_method(file, "Told", (void **)&self.told);
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
		if (r == 0) {
			psb_code_keep(self.code, clr_code());
			start_telling(type, method);
		}
	}
	/* A runtime that cannot be started says so again; one that is too old for us runs. */
	status = r == -ENOEXEC ? 126 : clr.run_app(clr.context);
	end();
	return status;
}
