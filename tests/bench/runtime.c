/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - the ways into a runtime, as people would write them: a command and an environment
 *
 * All is looked for in the build tree ($builddir, else the working directory): the
 * programs at its top, the hooks in hooks/, .NET programs where `dotnet build --artifacts-path
 * $builddir/dotnet` puts them, programs for Mono in dotnet/mono/.
 *
 * .NET reads DOTNET_ and CORECLR_ variables when it starts (docs of dotnet/runtime,
 * "profiling/Profiler Loading"). A notification profiler is one of any number, beside the one that
 * has the profiler's slot: "PATH={GUID}", each followed by a semicolon: .NET up to 10 drops the
 * last entry without one (fixed by dotnet/runtime#130584).
 */
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READY_USEC (90 * USEC_PER_SEC)
#define END_USEC (20 * USEC_PER_SEC)
#define GUID "{9F1A4C50-6B0E-4C46-9C1D-5053492D4247}"
#define ATTACH_USEC (20 * USEC_PER_SEC)

/* Told in the tables of the hooks; without it they say nothing of what they do. */
#define TALK "PSIBRIDGE_LOG=info"

#define CORECLR .runtime = "coreclr", .argv = { "dotnet", "APP" }

#define MONO .runtime = "mono", .argv = { "mono", "APP" }

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
	{ MONO, .name = "none" },
	{ MONO, .name = "profile hook", .bridge = true,
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

static char *why; /* what is not there */

/* "@" in a word becomes the build tree; what it leads to must be there. Returns: NULL: it is not. */
static const char *expand(const char *word)
{
	const char *at = strchr(word, '@'), *tree = getenv("builddir");
	char *text, *file;
	bool there;

	if (!at)
		return word;
	/* CORECLR_NOTIFICATION_PROFILERS: the path ends at the GUID */
	if (asprintf(&text, "%.*s%s/%s", (int)(at - word), word, tree ? tree : ".", at + 1) < 0 ||
	    asprintf(&file, "%s/%.*s", tree ? tree : ".", (int)strcspn(at + 1, "="), at + 1) < 0)
		bench_die("no memory");
	there = access(file, F_OK) == 0;
	if (!there &&
	    asprintf(&why, "this build has no %.*s", (int)strcspn(at + 1, "="), at + 1) < 0)
		bench_die("no memory");
	free(file);
	return there ? text : NULL;
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
	if (way->attach && !expand("@psibridge"))
		return why;
	if (way->needs && !expand(way->needs))
		return why;
	*ret_command = command;
	return NULL;
}

/* ---- programs ------------------------------------------------------------------------------------------- */

static bool attach(pid_t pid, unsigned row)
{
	char number[16];
	struct command command = { .argv = { expand("@psibridge"), "attach", number } };
	struct program *attach;
	bool done;

	snprintf(number, sizeof(number), "%d", (int)pid);
	attach = program_start(&lab, NULL, &command);
	done = program_end(attach, END_USEC);
	if (!done)
		row_fails(row, "psibridge attach: %.120s", program_fate(attach));
	program_free(attach);
	return done;
}

struct program *way_start(const struct way *way, const char *group, const struct command *command,
			  unsigned row)
{
	struct program *program = program_start(&lab, group, command);
	uint64_t until = lab_now_usec() + READY_USEC;
	bool ready = false, watches = !way->bridge;
	const char *line;

	while (!ready || !watches) {
		if (program_line(program, until, &line) <= 0) {
			row_fails(row, "%s; %.120s",
				  ready ? "the hook never said that it watches" : "never got ready",
				  program_fate(program));
			return program_free(program);
		}
		if (strncmp(line, "psibridge", 9) == 0 && strstr(line, "ready: "))
			watches = true;
		else if (strncmp(line, "ready", 5) == 0)
			ready = true;
		else
			continue;
		if (ready && !watches && way->attach && !attach(program_pid(program), row))
			return program_free(program);
	}
	return program;
}

void way_end(struct program *program, unsigned row)
{
	if (program && !program_end(program, END_USEC))
		row_fails(row, "no clean end; %.120s", program_fate(program));
	program_free(program);
}

/* ---- where they run --------------------------------------------------------------------------------------- */

void stage_open(struct stage *stage, const char *name, uint64_t limit_bytes, uint64_t high_bytes)
{
	char high[32];

	*stage = (struct stage){ .name = name };
	snprintf(stage->run, sizeof(stage->run), "%.50s/run", name);
	lab_make(&lab, name, 0);
	lab_delegate(&lab, name);
	lab_make(&lab, stage->run, limit_bytes);
	snprintf(high, sizeof(high), "%llu", (unsigned long long)high_bytes);
	if (high_bytes > 0)
		lab_write(lab_file(&lab, stage->run, "memory.high"), high);
	stage_begin(stage);
}

void stage_begin(struct stage *stage)
{
	stage->start_usec = lab_now_usec();
	stage->before_usec = lab_psi(&lab, stage->name).some_usec;
}

uint64_t stage_stall_usec(const struct stage *stage)
{
	return usec_sub(lab_psi(&lab, stage->name).some_usec, stage->before_usec);
}
