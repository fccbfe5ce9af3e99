/* SPDX-License-Identifier: MIT */
/*
 * effect-ways.c - the ways into a runtime, as people would write them: a command and an environment
 *
 * All is looked for in the build tree ($builddir, else two directories above this program): the
 * programs at its top, the hooks in hooks/, .NET programs where `dotnet build --artifacts-path
 * $builddir/dotnet` puts them, programs for Mono in dotnet/mono/.
 *
 * .NET reads DOTNET_ and CORECLR_ variables when it starts (docs of dotnet/runtime,
 * "profiling/Profiler Loading"). A notification profiler is one of any number, beside the one that
 * has the profiler's slot: "PATH={GUID}", each followed by a semicolon: .NET up to 10 drops the
 * last entry without one (fixed by dotnet/runtime#130584).
 */
#include "effect-ways.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAY_PATH 600
#define READY_USEC (90 * USEC_PER_SEC)
#define GUID "{9F1A4C50-6B0E-4C46-9C1D-5053492D4247}"
#define ATTACH_USEC (20 * USEC_PER_SEC)

const char *allow_missing;

/* Told in the tables of the hooks; without it they say nothing of what they do. */
#define TALK "PSIBRIDGE_LOG=info"

#define CORECLR .runtime = "coreclr", .argv = { "dotnet", "APP" }

static const struct way ways[] = {
	{ CORECLR, .name = "none" },
	{ .runtime = "coreclr",
	  .name = "embedded",
	  .bridge = true,
	  .argv = { "@psibridge-clrhost", "APP" },
	  .env = { TALK, "PSIBRIDGE_HOOKS=@hooks" } },
	{ CORECLR, .name = "profiler", .bridge = true,
	  .env = { TALK, "CORECLR_ENABLE_PROFILING=1", "CORECLR_PROFILER=" GUID,
		   "CORECLR_PROFILER_PATH=@hooks/libpsibridge-coreclr.so" } },
	{ CORECLR, .name = "notification profiler", .bridge = true,
	  .env = { TALK, "CORECLR_ENABLE_NOTIFICATION_PROFILERS=1",
		   "CORECLR_NOTIFICATION_PROFILERS=@hooks/libpsibridge-coreclr.so=" GUID ";" } },
	{ CORECLR, .name = "start-up hook", .bridge = true,
	  .env = { TALK, "DOTNET_STARTUP_HOOKS=@hooks/PsiBridge.StartupHook.dll" } },
	{ CORECLR, .name = "attach", .bridge = true, .attach = true, .env = { TALK },
	  .needs = "@hooks/libpsibridge-coreclr.so" },
	{ .runtime = "coreclr",
	  .name = "managed library",
	  .bridge = true,
	  .own_app = true,
	  .argv = { "dotnet", "@dotnet/bin/ManagedGarbage/release/managed-garbage.dll" },
	  .env = { TALK } },
	{ .runtime = "mono", .name = "none", .argv = { "mono", "APP" } },
	{ .runtime = "mono",
	  .name = "profile hook",
	  .bridge = true,
	  .argv = { "mono", "APP" },
	  .env = { TALK, "MONO_ENV_OPTIONS=--profile=psibridge", "LD_LIBRARY_PATH=@hooks" },
	  .needs = "@hooks/libmono-profiler-psibridge.so" },
};

const struct way *way_at(const char *runtime, unsigned n)
{
	for (unsigned i = 0; i < ELEMENTSOF(ways); i++)
		if (strcmp(ways[i].runtime, runtime) == 0 && n-- == 0)
			return &ways[i];
	return NULL;
}

const struct way *way_named(const char *runtime, const char *name)
{
	for (unsigned i = 0; i < ELEMENTSOF(ways); i++)
		if (strcmp(ways[i].runtime, runtime) == 0 && strcmp(ways[i].name, name) == 0)
			return &ways[i];
	bench_die("no way \"%s\" into %s", name, runtime);
}

/* ---- where things are ----------------------------------------------------------------------------------- */

static const char *build_tree(void)
{
	static char path[WAY_PATH];
	const char *given = getenv("builddir");
	ssize_t n;

	if (path[0])
		return path;
	if (given && *given) {
		snprintf(path, sizeof(path), "%s", given);
		return path;
	}
	n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	path[MAX(n, 0)] = '\0';
	for (int up = 0; up < 3; up++) {
		char *slash = strrchr(path, '/');

		if (slash)
			*slash = '\0';
	}
	return path;
}

static bool in_path(const char *program)
{
	const char *dir = getenv("PATH");
	char path[WAY_PATH];

	while (dir && *dir) {
		size_t length = strcspn(dir, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)MIN(length, (size_t)500), dir,
			 program);
		if (access(path, X_OK) == 0)
			return true;
		dir += length + (dir[length] == ':');
	}
	return false;
}

static const char *why; /* of the last thing that is not there */

static void _printf_(1, 2) say_why(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	why = vasprintf(&text, format, args) < 0 ? "no memory" : text;
	va_end(args);
}

/* "@" in a word becomes the build tree; what it leads to must be there. Returns: NULL: it is not. */
static const char *expand(const char *word)
{
	const char *at = strchr(word, '@'), *equals;
	char file[WAY_PATH], *text;

	if (!at)
		return word;
	if (asprintf(&text, "%.*s%s/%s", (int)(at - word), word, build_tree(), at + 1) < 0)
		bench_die("no memory");
	snprintf(file, sizeof(file), "%s", text + (at - word));
	/* CORECLR_NOTIFICATION_PROFILERS: the path ends at the GUID */
	equals = strchr(file, '=');
	if (equals)
		file[equals - file] = '\0';
	if (access(file, F_OK) == 0)
		return text;
	say_why("this build has no %.*s", (int)strcspn(at + 1, "="), at + 1);
	return NULL;
}

static const char *expand_app(const struct way *way, const char *app)
{
	const char *name = strchr(app, '/') + 1;
	char word[256];

	if (strcmp(way->runtime, "mono") == 0)
		snprintf(word, sizeof(word), "@dotnet/mono/%s.exe", name);
	else
		snprintf(word, sizeof(word), "@dotnet/bin/%.*s/release/%s.dll",
			 (int)(name - app - 1), app, name);
	return expand(word);
}

const char *way_command(const struct way *way, const char *app, const char *const *args,
			struct command *ret_command)
{
	struct command command = { .argv = { NULL } };
	unsigned n = 0;

	for (unsigned i = 0; i < ELEMENTSOF(way->argv) && way->argv[i]; i++) {
		bool is_app = strcmp(way->argv[i], "APP") == 0;

		command.argv[n] = is_app ? expand_app(way, app) : expand(way->argv[i]);
		if (!command.argv[n++])
			return why;
	}
	for (unsigned i = 0; args[i]; i++) {
		if (n == COMMAND_ARGS_MAX - 1)
			bench_die("too many arguments");
		command.argv[n++] = args[i];
	}
	for (unsigned i = 0; i < ELEMENTSOF(way->env) && way->env[i]; i++) {
		command.env[i] = expand(way->env[i]);
		if (!command.env[i])
			return why;
	}
	if (!strchr(command.argv[0], '/') && !in_path(command.argv[0])) {
		say_why("there is no %s on this machine", command.argv[0]);
		return why;
	}
	if (way->attach && !expand("@psibridge"))
		return why;
	if (way->needs && !expand(way->needs))
		return why;
	*ret_command = command;
	return NULL;
}

struct program *way_start(const char *group, const struct command *command)
{
	struct program *program = program_start(&lab, group, command);

	if (!program)
		bench_die("%s: %s", command->argv[0], strerror(errno));
	return program;
}

static bool attach(pid_t pid, char ret[WAY_WHY_MAX])
{
	char number[16];
	struct command command = { .argv = { expand("@psibridge"), "attach", number } };
	struct program *attach;
	bool done;

	snprintf(number, sizeof(number), "%d", (int)pid);
	attach = way_start(NULL, &command);
	done = program_end(attach, ATTACH_USEC);
	if (!done)
		snprintf(ret, WAY_WHY_MAX, "psibridge attach: %.150s", program_fate(attach));
	program_free(attach);
	return done;
}

bool way_ready(const struct way *way, struct program *program, char ret[WAY_WHY_MAX])
{
	uint64_t until;
	const char *line;

	if (program_await(program, "ready", READY_USEC, NULL) <= 0) {
		snprintf(ret, WAY_WHY_MAX, "never got ready; %.150s", program_fate(program));
		return false;
	}
	if (way->attach && !attach(program_pid(program), ret))
		return false;
	until = lab_now_usec() + READY_USEC;
	while (way->bridge && !program_told(program, "ready: "))
		if (program_line(program, until, &line) <= 0) {
			snprintf(ret, WAY_WHY_MAX, "the hook never said that it watches");
			return false;
		}
	return true;
}

bool way_is_missing(const char *name, const char *missing)
{
	if (missing && allow_missing)
		bench_say("SKIP  %s: %s", name, missing);
	else if (missing)
		bench_missing("%s: %s", name, missing);
	return missing;
}
