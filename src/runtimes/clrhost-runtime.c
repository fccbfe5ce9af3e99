/* SPDX-License-Identifier: MIT */
/*
 * clrhost-runtime.c - find .NET, start it, get pointers to managed methods
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
 * What hostfxr says of bad input is good, and goes to the user line by line. Two cases it cannot see
 * as we can, and they are looked at before: without a runtimeconfig.json it takes the program for one that brings its
 * own runtime, and complains about a libhostpolicy.so; and a file that is no assembly is refused by
 * the runtime itself, hours of stack trace later.
 *
 * The runtime can be started before the program: hostfxr_get_runtime_delegate() on the context of a
 * command line does, and hostfxr_run_app() then runs the program in it. Since .NET 8 such a context
 * has hdt_load_assembly (hostfxr.cpp), which loads into the context the program's own assemblies are
 * in (AssemblyLoadContext.Default), and not into one of its own as
 * hdt_load_assembly_and_get_function_pointer does: a program that uses PsiBridge.dll itself and the
 * host must not have two of them.
 */
#include "runtimes/clrhost-runtime.h"

#include <coreclr_delegates.h>
#include <dlfcn.h>
#include <errno.h>
#include <hostfxr.h>
#include <limits.h>
#include <nethost.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "runtimes/say.h"

/* HRESULTs that mean something to us: corerror.xml in dotnet/runtime. */
#define NOT_FOUND 0x80070002u
#define BAD_IMAGE 0x8007000Bu

#define failed(error, ...) (say(LOG_ERR, __VA_ARGS__), (error))

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

int say_priority = LOG_WARNING;

void say(int priority, const char *format, ...)
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

int clr_open(int argc, char **argv)
{
	char self[PATH_MAX];
	struct hostfxr_initialize_parameters parameters = { .size = sizeof(parameters),
							    .host_path = self };
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	int r;

	self[n > 0 ? n : 0] = '\0';
	r = check_program(argv[0]);
	if (r == 0)
		r = load_hostfxr();
	if (r < 0)
		return r;
	clr.set_error_writer(write_error);
	if (clr.initialize(argc, (const char **)(uintptr_t)argv, &parameters, &clr.context) != 0)
		return failed(-ENOEXEC, "%s: cannot be started", argv[0]);
	return 0;
}

int clr_start(void)
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

const void *clr_code(void)
{
	void *library = dlopen("libcoreclr.so", RTLD_LAZY | RTLD_NOLOAD);
	const void *address = library ? dlsym(library, "coreclr_initialize") : NULL;

	if (library)
		dlclose(library); /* the count: the runtime never unloads it */
	return address;
}

int clr_method(const char *assembly, const char *type, const char *method, void **ret)
{
	unsigned result = (unsigned)clr.get_function_pointer(
		type, method, UNMANAGEDCALLERSONLY_METHOD, NULL, NULL, ret);
	char path[PATH_MAX];

	if (result == NOT_FOUND && realpath(assembly, path)) {
		result = (unsigned)clr.load_assembly(path, NULL, NULL);
		if (result == 0)
			result = (unsigned)clr.get_function_pointer(
				type, method, UNMANAGEDCALLERSONLY_METHOD, NULL, NULL, ret);
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
			"PsiBridge.dll (the program's own, or %s) is of another version: there is no %.*s.%s "
			"that could be called; the program runs without",
			assembly, (int)strcspn(type, ","), type, method);
	return 0;
}

int clr_run(void)
{
	return clr.run_app(clr.context);
}
