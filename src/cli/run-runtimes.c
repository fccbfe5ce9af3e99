/* SPDX-License-Identifier: MIT */
/*
 * run-runtimes.c - the table of runtimes: whose program is it, which ways in are there
 *
 * A runtime is a row: how its programs are recognised, and its ways in, the best first. To add one
 * is to add a row. A way that is forbidden, or whose file is missing, is passed over with a note,
 * and the next one is taken; without any, the program runs as it is.
 *
 * .NET (dotnet/runtime, MIT: src/coreclr/vm/profilinghelper.cpp, clrconfignames.h;
 * docs/design/features/host-startup-hook.md):
 *   - notification: CORECLR_NOTIFICATION_PROFILERS is a list of PATH={GUID}, from .NET 6 on, and any
 *     number of them can be loaded. Each must end with ';', the last one too: without it runtimes up
 *     to .NET 10 ignore it (dotnet/runtime#126197). Variables that name the machine (_64, _ARM64)
 *     hide the plain one. It counts only with CORECLR_ENABLE_NOTIFICATION_PROFILERS=1.
 *   - profiler: CORECLR_ENABLE_PROFILING, _PROFILER and _PROFILER_PATH: there is one slot, and an
 *     agent that watches performance may have it.
 *   - DOTNET_EnableDiagnostics=0 and DOTNET_EnableDiagnostics_Profiler=0 forbid both.
 *   - startup-hook: DOTNET_STARTUP_HOOKS is a list of assemblies with ':' between them.
 *
 * Mono reads MONO_ENV_OPTIONS in mono_main(), so not where a host embeds it, and looks for
 * libmono-profiler-NAME.so in its own directory and where dlopen(3) does: LD_LIBRARY_PATH.
 *
 * A program of any other kind gets systemd's protocol (docs/MEMORY_PRESSURE.md there): whoever
 * understands it (sd-event, GLib, libpsibridge) reacts, all others ignore two variables.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/hooks.h"
#include "cli/run-protocol.h"
#include "cli/run.h"

void plan_note(struct plan *plan, const char *format, ...)
{
	va_list args;

	if (plan->n == NOTES_MAX)
		return;
	va_start(args, format);
	vsnprintf(plan->notes[plan->n++], NOTE_MAX, format, args);
	va_end(args);
}

static void say_what(struct plan *plan, const char *what)
{
	snprintf(plan->what, sizeof(plan->what), "%s", what);
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* ---- .NET ------------------------------------------------------------------------------------- */

static bool names_assembly(const char *word)
{
	struct scan s = scan_string(word);

	return scan_ends_with(s, ".dll") || scan_ends_with(s, ".exe");
}

/* What `dotnet` will do, from its arguments: options of the host with a value come in pairs. */
static void look_at_muxer(struct plan *plan)
{
	const char *word = plan->program.first;

	if (!plan->program.script)
		for (char **p = plan->program.argv + 1; (word = *p); p++) {
			if (word[0] != '-')
				break;
			if (p[1] && !strchr(word, '='))
				p++;
		}
	if (!word || !*word || word[0] == '-' || names_assembly(word) || strcmp(word, "exec") == 0)
		return;
	plan_note(
		plan,
		"\"dotnet %.100s\" is a command of the SDK: the SDK's own processes get the hook too",
		word);
}

static bool recognise_coreclr(struct plan *plan)
{
	switch (executable_dotnet(&plan->program.image)) {
	case DOTNET_MUXER:
		say_what(plan, "the .NET host (dotnet)");
		look_at_muxer(plan);
		return true;
	case DOTNET_APPHOST:
		say_what(plan, "a .NET app (apphost)");
		return true;
	case DOTNET_BUNDLE:
		say_what(plan, "a .NET app (single file, framework-dependent)");
		return true;
	case DOTNET_SINGLE:
		say_what(plan, "a .NET app (single file, self-contained)");
		return true;
	case DOTNET_NONE:
	case DOTNET_AOT:
		return false;
	}
	return false;
}

static bool recognise_aot(struct plan *plan)
{
	if (executable_dotnet(&plan->program.image) != DOTNET_AOT)
		return false;
	say_what(plan, "a .NET program compiled ahead of time (NativeAOT)");
	return true;
}

/* The variable that this machine's runtime reads: the first of these that is set, or the last. */
static const char *effective(const struct environment *e, const char *const *names)
{
	for (; names[1]; names++) {
		const char *value = environment_get(e, *names);

		if (value && *value)
			break;
	}
	return *names;
}

static const char *notification_list(const struct environment *e)
{
	static const char *const names[] = {
#if defined(__aarch64__)
		"CORECLR_NOTIFICATION_PROFILERS_ARM64",
#elif defined(__arm__)
		"CORECLR_NOTIFICATION_PROFILERS_ARM32",
#endif
#if __SIZEOF_POINTER__ == 8
		"CORECLR_NOTIFICATION_PROFILERS_64",
#else
		"CORECLR_NOTIFICATION_PROFILERS_32",
#endif
		"CORECLR_NOTIFICATION_PROFILERS",
		NULL,
	};

	return effective(e, names);
}

static const char *profiler_path(const struct environment *e)
{
	static const char *const names[] = {
#if defined(__aarch64__)
		"CORECLR_PROFILER_PATH_ARM64",
#elif defined(__arm__)
		"CORECLR_PROFILER_PATH_ARM32",
#endif
#if __SIZEOF_POINTER__ == 8
		"CORECLR_PROFILER_PATH_64",
#else
		"CORECLR_PROFILER_PATH_32",
#endif
		"CORECLR_PROFILER_PATH",
		NULL,
	};

	return effective(e, names);
}

static const char *profilers_forbidden(const struct environment *e)
{
	static const char *const names[][2] = {
		{ "DOTNET_EnableDiagnostics", "COMPlus_EnableDiagnostics" },
		{ "DOTNET_EnableDiagnostics_Profiler", "COMPlus_EnableDiagnostics_Profiler" },
	};

	for (size_t i = 0; i < ELEMENTSOF(names); i++) {
		int state = environment_switch(e, names[i][0]);

		if (state == 0)
			return i == 0 ? "DOTNET_EnableDiagnostics=0 forbids profilers"
				      : "DOTNET_EnableDiagnostics_Profiler=0 forbids profilers";
		if (state < 0 && environment_switch(e, names[i][1]) == 0)
			return i == 0 ? "COMPlus_EnableDiagnostics=0 forbids profilers"
				      : "COMPlus_EnableDiagnostics_Profiler=0 forbids profilers";
	}
	return NULL;
}

static bool notification_present(const struct environment *e)
{
	const char *list = environment_get(e, notification_list(e));

	return list && strcasestr(list, HOOK_GUID) &&
	       environment_switch(e, "CORECLR_ENABLE_NOTIFICATION_PROFILERS") == 1;
}

static const char *notification_forbidden(const struct environment *e)
{
	if (environment_switch(e, "CORECLR_ENABLE_NOTIFICATION_PROFILERS") == 0)
		return "CORECLR_ENABLE_NOTIFICATION_PROFILERS=0 forbids it";
	return profilers_forbidden(e);
}

static int notification_apply(struct plan *plan, const char *hook)
{
	struct environment *e = &plan->environment;
	const char *name = notification_list(e), *list = environment_get(e, name);
	char item[PATH_MAX + 64];
	int r;

	snprintf(item, sizeof(item), "%s=%s;", hook, HOOK_GUID);
	r = environment_set(e, "CORECLR_ENABLE_NOTIFICATION_PROFILERS", "1");
	if (r == 0 && !(list && strcasestr(list, HOOK_GUID)))
		r = environment_append(e, name, ';', item);
	return r;
}

static bool profiler_present(const struct environment *e)
{
	const char *guid = environment_get(e, "CORECLR_PROFILER");

	return guid && strcasecmp(guid, HOOK_GUID) == 0 &&
	       environment_switch(e, "CORECLR_ENABLE_PROFILING") == 1;
}

static const char *profiler_forbidden(const struct environment *e)
{
	if (environment_switch(e, "CORECLR_ENABLE_PROFILING") == 1)
		return "another profiler has the slot (CORECLR_ENABLE_PROFILING=1)";
	return profilers_forbidden(e);
}

/* The slot is free, so whatever is in the other two has no effect, and may be replaced. */
static int profiler_apply(struct plan *plan, const char *hook)
{
	struct environment *e = &plan->environment;
	int r = environment_set(e, "CORECLR_ENABLE_PROFILING", "1");

	if (r == 0)
		r = environment_set(e, "CORECLR_PROFILER", HOOK_GUID);
	return r == 0 ? environment_set(e, profiler_path(e), hook) : r;
}

static bool list_has_file(const char *list, char separator, const char *file)
{
	struct scan rest = list ? scan_string(list) : (struct scan){ NULL, 0 }, item;

	while (scan_item(&rest, separator, &item)) {
		struct scan name = item;

		while (scan_item(&item, '/', &name))
			continue;
		if (scan_is(name, file))
			return true;
	}
	return false;
}

static bool startup_present(const struct environment *e)
{
	return list_has_file(environment_get(e, "DOTNET_STARTUP_HOOKS"), ':', HOOK_STARTUP);
}

static int startup_apply(struct plan *plan, const char *hook)
{
	return environment_append(&plan->environment, "DOTNET_STARTUP_HOOKS", ':', hook);
}

/* ---- Mono ------------------------------------------------------------------------------------- */

static bool recognise_mono(struct plan *plan)
{
	const struct program *p = &plan->program;

	if (p->image.kind == EXECUTABLE_PE && p->image.managed) {
		say_what(plan, "a managed assembly, which binfmt_misc may give to Mono");
		return true;
	}
	if (!executable_defines(&p->image, "mono_main") &&
	    !(executable_needs(&p->image, "libmonosgen-2.0.so") &&
	      strncmp(base_name(p->image_path), "mono", 4) == 0))
		return false;
	say_what(plan, "Mono");
	return true;
}

static bool recognise_mono_host(struct plan *plan)
{
	if (!executable_needs(&plan->program.image, "libmonosgen-2.0.so"))
		return false;
	say_what(plan, "a program that embeds Mono");
	return true;
}

static bool mono_present(const struct environment *e)
{
	static const char option[] = "--profile=" HOOK_MONO_PROFILE;
	const char *options = environment_get(e, "MONO_ENV_OPTIONS");
	struct scan rest = options ? scan_string(options) : (struct scan){ NULL, 0 }, word;

	while (scan_item(&rest, ' ', &word))
		if (scan_word(&word, option) && (word.left == 0 || word.p[0] == ':'))
			return true;
	return false;
}

static int mono_apply(struct plan *plan, const char *hook)
{
	struct environment *e = &plan->environment;
	const char *libraries = environment_get(e, "LD_LIBRARY_PATH");
	struct scan rest = libraries ? scan_string(libraries) : (struct scan){ NULL, 0 }, item;
	char directory[PATH_MAX];
	bool there = false;
	int r;

	snprintf(directory, sizeof(directory), "%.*s", (int)(base_name(hook) - hook - 1), hook);
	while (scan_item(&rest, ':', &item))
		there = there || scan_is(item, directory);
	r = environment_append(e, "MONO_ENV_OPTIONS", ' ', "--profile=" HOOK_MONO_PROFILE);
	if (r == 0 && !there)
		r = environment_append(e, "LD_LIBRARY_PATH", ':', directory);
	return r;
}

/* ---- everything else -------------------------------------------------------------------------- */

static bool recognise_any(struct plan *plan)
{
	if (!plan->program.readable)
		say_what(plan, "a program that may be run, but not read");
	else if (plan->program.script)
		snprintf(plan->what, sizeof(plan->what), "a script for %.400s",
			 base_name(plan->program.image_path));
	else
		say_what(plan, "a program of no runtime that psibridge knows");
	return true;
}

static bool protocol_present(const struct environment *e)
{
	const char *watch = environment_get(e, "MEMORY_PRESSURE_WATCH");

	return watch && *watch;
}

static int protocol_apply(struct plan *plan, const char *unused)
{
	struct environment *e = &plan->environment;
	char path[PATH_MAX], why[PROTOCOL_WHY_MAX];
	int r = protocol_source(path, why);

	(void)unused;
	if (r < 0) {
		plan_note(plan, "%s: %s, so nothing is changed", plan->what, why);
		return 0;
	}
	r = environment_set(e, "MEMORY_PRESSURE_WATCH", path);
	if (r == 0)
		r = environment_set(e, "MEMORY_PRESSURE_WRITE", PROTOCOL_WRITE);
	if (r == 0)
		plan_note(plan,
			  "%s: it gets MEMORY_PRESSURE_WATCH, which helps if it understands that%s",
			  plan->what,
			  plan->program.script ? "; if it starts .NET, say --hook=notification"
					       : "");
	return r;
}

/* ---- the table -------------------------------------------------------------------------------- */

static const struct runtime runtimes[] = {
	{
		.id = "coreclr",
		.name = ".NET",
		.recognise = recognise_coreclr,
		.ways = {
			{ "notification", HOOK_CORECLR, notification_present,
			  notification_forbidden, notification_apply },
			{ "profiler", HOOK_CORECLR, profiler_present, profiler_forbidden,
			  profiler_apply },
			{ "startup-hook", HOOK_STARTUP, startup_present, NULL, startup_apply },
		},
	},
	{
		.id = "nativeaot",
		.name = "NativeAOT",
		.recognise = recognise_aot,
		.no_way = "it has no interface for a hook; the PsiBridge package, built into the program, does the same",
	},
	{
		.id = "mono",
		.name = "Mono",
		.recognise = recognise_mono,
		.ways = {
			{ "mono-profiler", HOOK_MONO, mono_present, NULL, mono_apply },
		},
	},
	{
		.id = "mono-embedded",
		.name = "embedded Mono",
		.recognise = recognise_mono_host,
		.no_way = "Mono reads no options there; psibridge-runtimes(7) says what the host can do",
	},
	/* the last row takes all */
	{
		.id = "unknown",
		.name = "unknown",
		.recognise = recognise_any,
		.ways = {
			{ "protocol", NULL, protocol_present, NULL, protocol_apply },
		},
	},
};

const struct way *runtimes_way(const char *name, const struct runtime **ret_runtime)
{
	for (size_t i = 0; i < ELEMENTSOF(runtimes); i++)
		for (size_t j = 0; j < WAYS_MAX && runtimes[i].ways[j].name; j++)
			if (strcmp(runtimes[i].ways[j].name, name) == 0) {
				*ret_runtime = &runtimes[i];
				return &runtimes[i].ways[j];
			}
	return NULL;
}

/* A hook is loaded into the program, or into what it starts: why can it not be? NULL: it can. */
static const char *cannot_load(const struct plan *plan, char *buf)
{
	const struct program *p = &plan->program;
	struct executable own = { 0 };
	const char *why = NULL;
	size_t size = 0;
	void *map = NULL;

	if (p->privileged)
		return "it gains rights when it starts (set-user-ID or the like), and may not be given a hook";
	if (p->cleared)
		return "its #! line clears the environment";
	if (p->image.kind != EXECUTABLE_ELF)
		return NULL;
	if (p->image.is_static)
		return "it is statically linked, and can load no hook";
	if (program_own(&own, &map, &size) == 0) {
		if (own.machine != p->image.machine || own.wide != p->image.wide) {
			snprintf(buf, NOTE_MAX, "it is made for %s, and the hook for %s",
				 executable_machine(&p->image), executable_machine(&own));
			why = buf;
		} else if (*executable_libc(&own) && *executable_libc(&p->image) &&
			   strcmp(executable_libc(&own), executable_libc(&p->image)) != 0) {
			snprintf(buf, NOTE_MAX, "it is linked with %s, and the hook with %s",
				 executable_libc(&p->image), executable_libc(&own));
			why = buf;
		}
		if (map)
			munmap(map, size);
	}
	return why;
}

/* 1: taken; 0: it is forbidden, or not there, and there is a note. */
static int try_way(struct plan *plan, const struct way *way)
{
	const char *why = way->forbidden ? way->forbidden(&plan->environment) : NULL;
	int r;

	if (way->file) {
		r = hooks_find(way->file, plan->hook);
		if (r < 0 && !why) {
			plan_note(plan, "%s: %s: %s", way->name,
				  r == -ENAMETOOLONG ? way->file : plan->hook, strerror(-r));
			return 0;
		}
		/* the lists have these between their items */
		if (!why && strpbrk(plan->hook, ":;="))
			why = "the path of the hook has one of : ; = in it";
	}
	if (why) {
		plan_note(plan, "%s: %s", way->name, why);
		return 0;
	}
	plan->way = way;
	r = way->apply(plan, plan->hook);
	return r < 0 ? r : 1;
}

int plan_make(struct plan *plan, const struct way *wanted, const struct runtime *wanted_of)
{
	const struct runtime *last = &runtimes[ELEMENTSOF(runtimes) - 1], *own = runtimes;
	char buf[NOTE_MAX];
	const char *why;
	int r = 0;

	while (!own->recognise(plan))
		own++;
	plan->runtime = own;
	/* somebody knows better what a program of no known kind will start; and the protocol is for
	 * all */
	if (wanted_of && wanted_of != own) {
		if (own != last && wanted_of != last)
			return -EINVAL;
		if (own == last)
			plan_note(plan, "%s; if it starts %s, that gets the hook", plan->what,
				  wanted_of->name);
		plan->runtime = wanted_of;
	}
	if (!plan->runtime->ways[0].name) {
		plan_note(plan, "%s: %s", plan->what, plan->runtime->no_way);
		return 0;
	}
	for (size_t i = 0; i < WAYS_MAX && plan->runtime->ways[i].name; i++)
		if (plan->runtime->ways[i].present(&plan->environment)) {
			plan->nested = true;
			plan->way = &plan->runtime->ways[i];
			return 0;
		}
	why = plan->runtime == last ? NULL : cannot_load(plan, buf);
	/* what an unknown program starts is another one */
	if (own == last && !plan->program.privileged && !plan->program.cleared)
		why = NULL;
	if (why) {
		plan_note(plan, "%s: %s", plan->what, why);
		return 0;
	}
	if (wanted)
		r = try_way(plan, wanted);
	for (size_t i = 0; r == 0 && i < WAYS_MAX && plan->runtime->ways[i].name; i++)
		if (&plan->runtime->ways[i] != wanted)
			r = try_way(plan, &plan->runtime->ways[i]);
	if (r == 0)
		plan->hook[0] = '\0';
	if (r == 0)
		plan_note(plan, "it runs without us");
	return r < 0 ? r : 0;
}
