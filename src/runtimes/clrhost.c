/* SPDX-License-Identifier: MIT */
/*
 * clrhost.c - psibridge-clrhost: run a .NET program, and tell it when memory is short
 *
 * The example of a native program that embeds CoreCLR and speaks the memory part of the CLR hosting ABI (psibridge-hosting(3)). Since
 * today's CLR has no use for a memory manager, we also stand in for the CLR and register its callback (host.h).
 *
 *     libpsibridge's thread          our thread                      threads of the runtime
 *     OnMemoryNotification():        waits for `changed`
 *       level -> `slot`              takes what is in the slot
 *       returns                      told(level, critical)  ------>  PsiBridge: policy, handlers
 *
 * OnMemoryNotification() only hands over: entering managed code waits until a collection is over, and the collection may be the one
 * it asked for. Our thread is a native one, for which no collection waits while it is out here. It blocks no signals: the runtime
 * stops threads with one.
 *
 * PsiBridge.Hosting (Hosting.cs) is the managed half. A program that uses PsiBridge brings its own PsiBridge.dll, and that
 * one is taken: otherwise the program would listen to one MemoryPressure and the host tell another.
 *
 * How a native program gets at CoreCLR (docs/design/features/native-hosting.md in dotnet/runtime): nethost, linked in because no
 * installed runtime has it, knows where hostfxr is; hostfxr loads the runtime that APP.runtimeconfig.json names and runs the program.
 * hostfxr_get_runtime_delegate() starts the runtime before that, and hdt_load_assembly (since .NET 8) loads into the context of the
 * program's own assemblies.
 *
 * The end. When gone() has returned, managed code is not entered any more. A call of told() that is running then is not waited for:
 * it may be the one that ends the program (Environment.Exit() in a handler). So nothing here is ever freed. The end is seen twice:
 *   - AppDomain.ProcessExit (Hosting.cs): Main returned, or Environment.Exit(). Its handlers, of which ours is the first, run while
 *     managed code still works: the one that ends the program waits for them (EEShutDown in ceemain.cpp).
 *   - hostfxr_run_app() returns: the runtime is already down. After Environment.Exit() it never returns.
 * Neither comes when the process is killed: an unhandled exception, FailFast(), and SIGTERM since .NET 10.
 */
#include "runtimes/effect.h"
#include "runtimes/host.h"
#include "runtimes/log.h"

#include <coreclr_delegates.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <hostfxr.h>
#include <limits.h>
#include <nethost.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOSTING "PsiBridge.Hosting, PsiBridge"
#define NO_PROGRAM 127 /* exit status: there is no .NET, or no such program */
#define NOT_STARTED 126
/* HRESULTs that mean something to us: corerror.xml in dotnet/runtime. */
#define NOT_FOUND 0x80070002u
#define BAD_IMAGE 0x8007000Bu

static struct log to_stderr = { "clrhost", LOG_WARNING };

#define failed(status, ...) (log_line(&to_stderr, LOG_ERR, __VA_ARGS__), (status))
#define without(format, ...) \
	log_line(&to_stderr, LOG_ERR, format "; the program runs without", __VA_ARGS__)

/* PsiBridge.Hosting.HostInterface. */
struct interface {
	size_t size;
	int (*get_load)(uint32_t *ret_percent, uint64_t *ret_available_bytes);
	void (*ending)(void);	   /* AppDomain.ProcessExit */
	const char *type, *method; /* a static void of one int, or NULL: the policy */
};

static struct {
	struct host host;
	psb_code *code; /* NULL: the program sees to that itself, or it cannot be had */
	struct interface interface;
	void (*told)(int available, int critical); /* PsiBridge.Hosting.Told() */

	pthread_mutex_t lock;
	pthread_cond_t changed;
	int slot;   /* the newest level that was not taken; 0: none */
	int inside; /* our thread is in told() */
	_Atomic int gone;
} self = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static struct {
	hostfxr_initialize_for_dotnet_command_line_fn initialize;
	hostfxr_get_runtime_delegate_fn get_delegate;
	hostfxr_run_app_fn run_app;
	hostfxr_handle context;
	load_assembly_fn load_assembly;
	get_function_pointer_fn get_function_pointer;
} clr;

/* ---- the program: what is wrong is said, and the exit status returned -------------------------------- */

/* What begins like a PE file (ECMA-335, II.25) the runtime looks at. */
static int is_assembly(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char begin[2];
	ssize_t n = read(fd, begin, sizeof(begin));

	close(fd);
	return n == 2 && begin[0] == 'M' && begin[1] == 'Z';
}

static int find_hostfxr(const char *root, char *ret_path)
{
	struct get_hostfxr_parameters where = { .size = sizeof(where), .dotnet_root = root };
	size_t n = PATH_MAX;

	return get_hostfxr_path(ret_path, &n, &where) == 0;
}

/* Where `dotnet` on $PATH really is. nethost does not look there. */
static int find_hostfxr_on_path(char *ret_path)
{
	char file[PATH_MAX], root[PATH_MAX];
	int n;

	for (const char *path = getenv("PATH"); path && *path; path += n + (path[n] == ':')) {
		n = (int)strcspn(path, ":");
		snprintf(file, sizeof(file), "%.*s/dotnet", n, path);
		if (access(file, X_OK) == 0 && realpath(file, root)) {
			*strrchr(root, '/') = '\0';
			return find_hostfxr(root, ret_path);
		}
	}
	return 0;
}

static int load_hostfxr(void)
{
	const char *variable = getenv("DOTNET_ROOT");
	char path[PATH_MAX];
	void *library;

	/* A $DOTNET_ROOT with nothing in it is a mistake that is to be heard of. */
	if (!find_hostfxr(NULL, path) && (variable || !find_hostfxr_on_path(path)))
		return failed(NO_PROGRAM, "no .NET was found%s%s%s; is a runtime installed?",
			      variable ? " (DOTNET_ROOT is " : "", variable ? variable : "",
			      variable ? ")" : "");
	library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
	if (!library)
		return failed(NO_PROGRAM, "%s", dlerror());
#define RESOLVE(member, name) (*(void **)&clr.member = dlsym(library, name))
	if (!RESOLVE(initialize, "hostfxr_initialize_for_dotnet_command_line") ||
	    !RESOLVE(get_delegate, "hostfxr_get_runtime_delegate") ||
	    !RESOLVE(run_app, "hostfxr_run_app"))
		return failed(NO_PROGRAM, "%s is too old: .NET 8 or later is needed", path);
#undef RESOLVE
	return 0;
}

/* Finds .NET and reads what the program needs; hostfxr says what is missing. */
static int clr_open(int argc, char **argv)
{
	char exe[PATH_MAX];
	struct hostfxr_initialize_parameters parameters = {
		.size = sizeof(parameters),
		.host_path = realpath("/proc/self/exe", exe),
	};
	int status;

	if (access(argv[0], F_OK) < 0)
		return failed(NO_PROGRAM, "%s: %s", argv[0], strerror(errno));
	if (!is_assembly(argv[0]))
		return failed(NOT_STARTED, "%s: not a .NET assembly; APP.dll was expected",
			      argv[0]);
	status = load_hostfxr();
	if (status == 0 &&
	    clr.initialize(argc, (const char **)(uintptr_t)argv, &parameters, &clr.context) != 0)
		status = failed(NOT_STARTED, "%s: cannot be started", argv[0]);
	return status;
}

/* ---- told: libpsibridge's thread -------------------------------------------------------------- */

static HRESULT on_memory_notification(struct host *unused, EMemoryAvailable available)
{
	uint64_t start = now_usec();
	int inside;

	(void)unused;
	if (self.gone)
		return HOST_E_CLRNOTAVAILABLE;
	pthread_mutex_lock(&self.lock);
	self.slot = (int)available;
	inside = self.inside;
	pthread_cond_signal(&self.changed);
	pthread_mutex_unlock(&self.lock);
	log_line(&to_stderr, LOG_DEBUG, "notified %s: handed over in %u us%s",
		 log_level((int)available, 0), (unsigned)(now_usec() - start),
		 inside ? ", managed code is busy" : "");
	return S_OK;
}

/* ---- tell: our thread -------------------------------------------------------------------------- */

static void *tell(void *unused)
{
	int available, critical;

	(void)unused;
	for (;;) {
		pthread_mutex_lock(&self.lock);
		self.inside = 0;
		while (!self.slot && !self.gone)
			pthread_cond_wait(&self.changed, &self.lock);
		available = self.slot;
		self.slot = 0;
		self.inside = 1;
		pthread_mutex_unlock(&self.lock);
		if (self.gone)
			return NULL;
		critical = 0;
		/* The ABI has no word for critical; the watch knows. */
		if (available == eMemoryAvailableLow)
			psb_watch_available(self.host.watch, &critical);
		log_line(&to_stderr, LOG_INFO, "told %s", log_level(available, critical));
		if (available == eMemoryAvailableHigh)
			psb_code_unlock(self.code);
		else /* what managed code will run is needed while memory is short */
			psb_code_lock(self.code, NULL);
		self.told(available, critical);
	}
}

/* ---- what managed code calls ------------------------------------------------------------------- */

static int get_load(uint32_t *ret_percent, uint64_t *ret_available_bytes)
{
	size_t available = 0;
	HRESULT result = IHostMemoryManager_GetMemoryLoad(self.host.manager, ret_percent,
							  &available);

	*ret_available_bytes = available;
	return result == S_OK ? 0 : -EIO;
}

static void gone(void)
{
	int before;

	pthread_mutex_lock(&self.lock);
	before = atomic_exchange(&self.gone, 1);
	pthread_cond_signal(&self.changed);
	pthread_mutex_unlock(&self.lock);
	if (before)
		return;
	/* Without the lock: this waits for a call of OnMemoryNotification() to end. */
	host_register(&self.host, NULL);
	log_line(&to_stderr, LOG_INFO, "ended");
}

/* ---- start: what is wrong is said, and the program runs without ---------------------------------------- */

/* Returns whether there is something to tell. */
static int start_host(void)
{
	struct psb_watch_options watch = { .size = sizeof(watch) };
	struct psb_settings settings = { .size = sizeof(settings), .watch = &watch };
	struct psb_bridge_options options = { .size = sizeof(options),
					      .log = log_from_library,
					      .log_userdata = &to_stderr };
	int r = psb_settings_read(log_from_library, &to_stderr, &settings);

	if (r < 0 || !settings.enabled)
		return 0;
	to_stderr.priority = settings.log_priority;
	self.host.told = on_memory_notification;
	r = host_start(&self.host, &options, &watch);
	if (r < 0)
		without("memory cannot be watched: %s", self.host.why);
	return r == 0;
}

/* A method of PsiBridge.Hosting, which is looked for among the program's own assemblies and only then in `assembly`, a
 * path. Returns: 0 or the HRESULT. */
static unsigned find_method(const char *assembly, const char *method, void *ret)
{
	char path[PATH_MAX];
	unsigned result = (unsigned)clr.get_function_pointer(
		HOSTING, method, UNMANAGEDCALLERSONLY_METHOD, NULL, NULL, ret);

	if (result != NOT_FOUND || !realpath(assembly, path))
		return result;
	result = (unsigned)clr.load_assembly(path, NULL, NULL);
	return result ? result
		      : (unsigned)clr.get_function_pointer(
				HOSTING, method, UNMANAGEDCALLERSONLY_METHOD, NULL, NULL, ret);
}

/* Returns whether it can be told. */
static int start_managed(const char *type, const char *method)
{
	int (*start)(const struct interface *interface) = NULL;
	const char *hooks = getenv("PSIBRIDGE_HOOKS");
	char file[PATH_MAX];
	unsigned result;
	int r = 0;

	snprintf(file, sizeof(file), "%s/PsiBridge.dll",
		 hooks && *hooks ? hooks : PSIBRIDGE_HOOKDIR);
	result = find_method(file, "Start", &start);
	if (result == 0)
		result = find_method(file, "Told", &self.told);
	if (result) {
		without("%s: %s", file,
			result == NOT_FOUND ? strerror(ENOENT)
			: result == BAD_IMAGE
				? "not a .NET assembly"
				: "this, or the program's own, is of another version: no "
				  "PsiBridge.Hosting.Start or Told can be called");
		return 0;
	}
	self.interface = (struct interface){ sizeof(self.interface), get_load, gone, type, method };
	r = start(&self.interface);
	if (r < 0 && type)
		without("--callback %s::%s: there is no such static void of one int", type, method);
	else if (r < 0)
		without("PsiBridge.Hosting does not start (%d)", r);
	return r == 0;
}

/* The runtime runs, the program does not. Returns 0, or the exit status: a runtime that does not start. */
static int start(const char *type, const char *method)
{
	pthread_t thread;
	void *library;
	int r = clr.get_delegate(clr.context, hdt_get_function_pointer,
				 (void **)&clr.get_function_pointer);

	if (r)
		return failed(NOT_STARTED, "the runtime does not start (0x%08x)", (unsigned)r);
	r = clr.get_delegate(clr.context, hdt_load_assembly, (void **)&clr.load_assembly);
	if (r) {
		without("this .NET cannot load an assembly for its host (0x%08x); .NET 8 can",
			(unsigned)r);
		return 0;
	}
	library = dlopen("libcoreclr.so", RTLD_LAZY | RTLD_NOLOAD);
	if (library && psb_code_new(&self.code) == 0)
		psb_code_keep(self.code, dlsym(library, "coreclr_initialize"));
	if (!start_managed(type, method))
		return 0;
	r = pthread_create(&thread, NULL, tell, NULL);
	if (r == 0 && host_register(&self.host, &self.host.callback) == S_OK)
		log_ready(&to_stderr, self.host.bridge, self.host.watch);
	else
		without("the callback is not registered: %s", r ? strerror(r) : "refused");
	return 0;
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
	int option, status;

	/* "+": what comes after APP.dll is the program's. */
	while ((option = getopt_long(argc, argv, "+", long_options, NULL)) >= 0) {
		if (option != 'c')
			return option == 'h' ? usage(stdout, 0) : usage(stderr, 2);
		type = optarg;
		method = strstr(type, "::");
		if (!method || method == type || method[2] == '\0')
			return failed(2, "--callback %s: 'TYPE, ASSEMBLY::METHOD' was expected",
				      type);
		*method = '\0';
		method += 2;
	}
	if (optind == argc)
		return usage(stderr, 2);

	status = clr_open(argc - optind, argv + optind);
	if (status == 0 && start_host())
		status = start(type, method);
	if (status == 0)
		status = clr.run_app(clr.context);
	gone();
	return status;
}
