/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - the ways into a runtime, as people would write them: a command and an environment
 *
 * All is looked for in the build tree ($builddir, else the working directory): the programs at its top, the hooks in hooks/, .NET
 * programs where `dotnet build --artifacts-path $builddir/dotnet` puts them, programs for Mono in dotnet/mono/.
 */
#include "runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READY_USEC (90 * USEC_PER_SEC)
#define END_USEC (20 * USEC_PER_SEC)
#define ATTACH_USEC (20 * USEC_PER_SEC)

#define CORECLR "coreclr", .needs = "@hooks/libpsibridge-coreclr.so"
#define RUN(hook) "@psibridge", "run", "--hook", hook, "--"

static const struct way ways[] = {
	{ "coreclr", "none", .argv = { "dotnet", "APP" } },
	{ "coreclr", "embedded", { "@psibridge-clrhost", "APP" }, .bridge = true },
	{ CORECLR, .name = "profiler", .argv = { RUN("profiler"), "dotnet", "APP" },
	  .bridge = true },
	{ CORECLR, .name = "notification profiler",
	  .argv = { RUN("notification"), "dotnet", "APP" }, .bridge = true },
	{ "coreclr",
	  "start-up hook",
	  { RUN("startup-hook"), "dotnet", "APP" },
	  .needs = "@hooks/PsiBridge.StartupHook.dll",
	  .bridge = true },
	{ CORECLR, .name = "attach", .argv = { "dotnet", "APP" }, .bridge = true, .attach = true },
	{ "coreclr",
	  "managed library",
	  { "dotnet", "@dotnet/bin/ManagedGarbage/release/managed-garbage.dll" },
	  .bridge = true,
	  .own_app = true },
	{ "mono", "none", .argv = { "mono", "APP" } },
	{ "mono",
	  "profile hook",
	  { RUN("mono-profiler"), "mono", "APP" },
	  .needs = "@hooks/libmono-profiler-psibridge.so",
	  .bridge = true },
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

static char *copy(const char *text)
{
	char *copied = strdup(text);

	if (!copied)
		bench_die("no memory");
	return copied;
}

static const char *tree(void)
{
	const char *builddir = getenv("builddir");

	return builddir ? builddir : ".";
}

const char *in_tree(const char *name)
{
	return copy(words("%s/%s", tree(), name));
}

/* "@x" becomes x in the build tree, which must be there, or *why says so. */
static const char *expand(const char *word, const char **why)
{
	char *path;

	if (word[0] != '@')
		return word;
	path = copy(words("%s/%s", tree(), word + 1));
	if (access(path, F_OK) < 0)
		*why = copy(words("this build has no %s", word + 1));
	return path;
}

/* "Garbage/garbage" */
static const char *expand_app(const struct way *way, const char *app, const char **why)
{
	const char *name = strchr(app, '/') + 1;
	char word[256];

	if (strcmp(way->runtime, "mono") == 0)
		snprintf(word, sizeof(word), "@dotnet/mono/%s.exe", name);
	else
		snprintf(word, sizeof(word), "@dotnet/bin/%.*s/release/%s.dll",
			 (int)(name - app - 1), app, name);
	return expand(word, why);
}

const char *way_command(const struct way *way, const char *app, const char *const *args,
			struct command *ret_command)
{
	struct command command = { .argv = { NULL } };
	const char *why = NULL;
	unsigned n = 0;

	for (; n < ELEMENTSOF(way->argv) && way->argv[n]; n++)
		command.argv[n] = strcmp(way->argv[n], "APP") == 0 ? expand_app(way, app, &why)
								   : expand(way->argv[n], &why);
	for (; *args && n < COMMAND_ARGS_MAX - 1; args++)
		command.argv[n++] = *args;
	if (way->needs)
		expand(way->needs, &why);
	if (way->bridge) {
		/* without it a hook says nothing of what it does */
		command.env[0] = "PSIBRIDGE_LOG=info";
		command.env[1] = copy(words("PSIBRIDGE_HOOKS=%s/hooks", tree()));
	}
	*ret_command = command;
	return why;
}

/* ---- programs ------------------------------------------------------------------------------------------- */

static bool attach(pid_t pid, unsigned row)
{
	char number[16];
	struct command command = { .argv = { in_tree("psibridge"), "attach", number } };
	struct program *attach;
	bool done;

	snprintf(number, sizeof(number), "%d", (int)pid);
	attach = program_start(&lab, NULL, &command);
	done = program_end(attach, ATTACH_USEC);
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
