/* SPDX-License-Identifier: MIT */
/*
 * run.c - psibridge run -- CMD...: start a program with the right hook
 *
 * We look at the program (run-program.c), find its row in the table of runtimes (run-runtimes.c),
 * change the environment and become the program by exec(2): it has our process id, our signals are
 * its signals and its exit status is ours. Nothing of psibridge stays but what its hook does.
 *
 * Nothing that goes wrong with a hook keeps a program from running: it is said in a line on
 * standard error (unless PSIBRIDGE_LOG is below warning), and the program runs without us. A
 * command line that makes no sense is refused before anything runs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/run.h"

#define SHELL "/bin/sh"
#define WARNING 4 /* syslog's */

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

enum { OPTION_HOOK = ARGS_HELP + 1, OPTION_DRY_RUN, OPTION_JSON };

static const struct args_option own_table[] = {
	{ "hook", "auto, notification, profiler, startup-hook, mono-profiler, protocol or none",
	  OPTION_HOOK },
	{ "dry-run", NULL, OPTION_DRY_RUN },
	{ "json", NULL, OPTION_JSON },
	{ NULL, NULL, 0 },
};

static const char help[] =
	"psibridge run - start a program so that it gives back memory when it is short\n"
	"\n"
	"Usage: psibridge run [OPTION...] [--] COMMAND [ARGUMENT...]\n"
	"\n"
	"Looks at the program (.NET, Mono, NativeAOT or none of them), puts the hook of its runtime into\n"
	"its environment, and becomes it. The program itself is not changed. What it starts inherits the\n"
	"hook. A program of no known runtime gets the variables of systemd's protocol.\n"
	"\n"
	"  --hook WAY           auto: the best that works, the default\n"
	"                       notification: .NET 6 and later, beside any other profiler\n"
	"                       profiler: .NET, in the one slot for profilers\n"
	"                       startup-hook: .NET, with the policy of the PsiBridge package\n"
	"                       mono-profiler: Mono\n"
	"                       protocol: MEMORY_PRESSURE_WATCH and MEMORY_PRESSURE_WRITE\n"
	"                       none: nothing\n"
	"                       A way into a runtime that the program itself is not of (a shell\n"
	"                       script, say) is for what it starts.\n"
	"  --dry-run            print what would be set, one VARIABLE=VALUE a line, and end\n"
	"  --json               with --dry-run: one JSON object\n"
	"  --help\n"
	"\n"
	"PSIBRIDGE=off in the environment runs the program as it is; the other PSIBRIDGE_ variables\n"
	"are for the hook: psibridge-runtimes(7).\n"
	"\n"
	"Exit status: the program's; 126 it cannot be executed, 127 it was not found, 2 the command\n"
	"line makes no sense. With --dry-run: 0.\n"
	"\n"
	"Example: psibridge run -- dotnet app.dll\n";

static const char *chosen(const struct plan *plan)
{
	return plan->way ? plan->way->name : "none";
}

static int print_text(const struct plan *plan)
{
	const struct environment *e = &plan->environment;

	fputs("# ", stdout);
	output_text(plan->program.path);
	fputs(": ", stdout);
	output_text(plan->what);
	printf(plan->nested ? "; %s is set already" : "; %s", chosen(plan));
	putchar('\n');
	for (size_t i = 0; i < plan->n; i++) {
		fputs("# ", stdout);
		output_text(plan->notes[i]);
		putchar('\n');
	}
	for (size_t i = 0; i < e->n; i++) {
		char *quoted = malloc(4 * strlen(e->changes[i].value) + 3);

		if (!quoted)
			return -ENOMEM;
		environment_quote(e->changes[i].value, quoted);
		printf("%s=%s\n", e->changes[i].name, quoted);
		free(quoted);
	}
	return fflush(stdout) == EOF ? -errno : 0;
}

static int print_json(const struct plan *plan)
{
	const struct environment *e = &plan->environment;
	json_t *variables = json_object(), *notes = json_array();

	for (size_t i = 0; i < e->n; i++)
		json_object_set_new(variables, e->changes[i].name,
				    output_json_text(e->changes[i].value));
	for (size_t i = 0; i < plan->n; i++)
		json_array_append_new(notes, output_json_text(plan->notes[i]));
	return output_json(json_pack(
		"{s:s, s:o, s:o, s:s, s:s, s:b, s:o, s:o}", "event", "plan", "path",
		output_json_text(plan->program.path), "what", output_json_text(plan->what),
		"runtime", plan->runtime ? plan->runtime->id : "unknown", "hook", chosen(plan),
		"already", plan->nested, "variables", variables, "notes", notes));
}

static int cannot_run(const char *command, int error)
{
	complain("run", "%s: %s", command,
		 error == -ENOENT && !strchr(command, '/') ? "command not found"
							   : strerror(-error));
	return error == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

/* Returns only if it fails. */
static int become(const struct plan *plan)
{
	const struct environment *e = &plan->environment;
	char **argv = plan->program.argv, **with_shell, path[PATH_MAX], shell[] = SHELL;
	size_t n = 0;
	int error;

	for (size_t i = 0; i < e->n; i++)
		if (setenv(e->changes[i].name, e->changes[i].value, 1) < 0)
			return cannot_run(argv[0], -errno);
	fflush(stdout);
	strcpy(path, plan->program.path);
	execv(path, argv);
	error = -errno;
	/* a text without #!: POSIX wants execvp() to hand it to the shell */
	if (error != -ENOEXEC || !plan->program.script)
		return cannot_run(argv[0], error);
	while (argv[n])
		n++;
	with_shell = calloc(n + 2, sizeof(*with_shell));
	if (!with_shell)
		return cannot_run(argv[0], -ENOMEM);
	with_shell[0] = shell;
	with_shell[1] = path;
	for (size_t i = 1; i < n; i++)
		with_shell[i + 1] = argv[i];
	execv(SHELL, with_shell);
	error = -errno;
	free(with_shell);
	return cannot_run(argv[0], error);
}

static int run(struct plan *plan, const struct way *wanted, const struct runtime *wanted_of,
	       bool none, bool dry_run, bool json)
{
	struct psb_settings settings = { .size = sizeof(settings) };
	int r;

	r = psb_settings_read(NULL, NULL, &settings);
	if (r < 0) {
		settings.enabled = 1;
		settings.log_priority = WARNING;
	}
	if (none || !settings.enabled) {
		snprintf(plan->what, sizeof(plan->what), "not looked at (%s)",
			 none ? "--hook=none" : "PSIBRIDGE=off");
		r = 0;
	} else {
		r = plan_make(plan, wanted, wanted_of);
	}
	if (r == -EINVAL) {
		complain("run", "--hook \"%s\": that is a way into %s, and %s is %s", wanted->name,
			 wanted_of->name, plan->program.argv[0], plan->what);
		return EXIT_USAGE;
	}
	if (r < 0) {
		environment_done(&plan->environment);
		plan_note(plan, "%s: it runs without us", strerror(-r));
	}
	if (dry_run) {
		r = json ? print_json(plan) : print_text(plan);
		return r == 0 || r == -EPIPE ? EXIT_OK : EXIT_FAILED;
	}
	if (settings.log_priority >= WARNING)
		for (size_t i = 0; i < plan->n; i++)
			complain("run", "%s: %s", plan->program.argv[0], plan->notes[i]);
	return become(plan);
}

int verb_run(int argc, char **argv)
{
	struct args args = ARGS_INIT(argc, argv, own_table, NULL);
	bool dry_run = false, json = false, none = false;
	const struct runtime *wanted_of = NULL;
	const struct way *wanted = NULL;
	struct plan *plan;
	int id, r;

	args.words = 1;
	while ((id = args_next(&args)) != ARGS_END && id != ARGS_WORD) {
		if (id < 0)
			return EXIT_USAGE;
		if (id == ARGS_HELP) {
			fputs(help, stdout);
			return EXIT_OK;
		}
		if (id == OPTION_DRY_RUN)
			dry_run = true;
		else if (id == OPTION_JSON)
			json = true;
		else if (id == OPTION_HOOK) {
			none = strcmp(args.value, "none") == 0;
			wanted = runtimes_way(args.value, &wanted_of);
			if (!wanted && !none && strcmp(args.value, "auto") != 0) {
				args_refuse(&args, "auto, notification, profiler, startup-hook, "
						   "mono-profiler, protocol or none was expected");
				return EXIT_USAGE;
			}
			if (!wanted)
				wanted_of = NULL;
		}
	}
	if (id == ARGS_END) {
		complain("run",
			 "a command is missing, such as \"psibridge run -- dotnet app.dll\"");
		return EXIT_USAGE;
	}
	if (json && !dry_run) {
		complain("run", "--json goes with --dry-run");
		return EXIT_USAGE;
	}
	plan = calloc(1, sizeof(*plan));
	if (!plan)
		return cannot_run(args.value, -ENOMEM);
	r = program_find(argv + args.at - 1, &plan->program);
	if (r < 0) {
		r = cannot_run(args.value, r);
	} else {
		r = run(plan, wanted, wanted_of, none, dry_run, json);
		environment_done(&plan->environment);
		program_done(&plan->program);
	}
	free(plan);
	return r;
}
