/* SPDX-License-Identifier: MIT */
/*
 * run.c - psibridge run -- COMMAND...: start a program so that its runtime finds our hook
 *
 * The program is not looked at. What runtime it is, or which one a script starts in the end, only the runtime itself knows; so the
 * variables that each known runtime reads are set at once, from one table, and psibridge becomes COMMAND: same process, same
 * signals, same exit status. A program of another kind ignores them.
 *
 * A wrong guess must harm nothing. So what is set already stays: a list gets one more item, a variable with one value is never
 * replaced, and of a way that cannot have all its variables none is set. Left out unless asked for by --hook is what could keep a
 * program from running (a start-up hook stops .NET 7 and older) or take what others want (the one slot for profilers). Runtimes say
 * nothing of a hook that they cannot load, so what can be seen of that here is said here; the program runs all the same.
 *
 * .NET (dotnet/runtime, MIT: src/coreclr/vm/profilinghelper.cpp, clrconfignames.h; docs/design/features/host-startup-hook.md):
 *   - CORECLR_NOTIFICATION_PROFILERS is a list of PATH={GUID}, from .NET 6 on, and any number of them can be loaded. Each must end
 *     with ';', the last one too: without it runtimes up to .NET 10 ignore it (dotnet/runtime#126197). It counts only with
 *     CORECLR_ENABLE_NOTIFICATION_PROFILERS=1.
 *   - CORECLR_ENABLE_PROFILING, _PROFILER and _PROFILER_PATH are the one slot.
 *   - Variables that name the machine (_64, _ARM64) hide the plain one.
 *   - DOTNET_EnableDiagnostics=0 and DOTNET_EnableDiagnostics_Profiler=0 forbid both.
 *   - DOTNET_STARTUP_HOOKS is a list of assemblies with ':' between them.
 * Mono reads MONO_ENV_OPTIONS in mono_main(), so not where a host embeds it, and looks for libmono-profiler-NAME.so in its own
 * directory and where dlopen(3) does: LD_LIBRARY_PATH. MEMORY_PRESSURE_WATCH is systemd's protocol (docs/MEMORY_PRESSURE.md there);
 * hooks know it too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/hooks.h"
#include "cli/memory-high.h"
#include "cli/output.h"
#include "core/scan.h"

enum { EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

/* ---- the table ---------------------------------------------------------------------------------- */

#define ROWS_MAX 5
#define EACH_ROW(row, way) for (const struct row *row = (way)->rows; row->variable; row++)

/* base64 of "some 200000 2000000" and a NUL: sd-event's own default, and our "low". */
#define DAEMON_SOCKET "/run/psibridge/notify"
#define PROTOCOL_WRITE "c29tZSAyMDAwMDAgMjAwMDAwMAA="

struct way {
	const char *name;    /* --hook NAME */
	const char *runtime; /* one way into each is enough */
	const char *file;    /* the hook; NULL: the protocol, which needs none */
	bool asked_only;     /* by --hook */
	bool is_profiler;    /* which .NET can be told to refuse */
	struct row {
		const char *variable;
		char separator;	   /* of a list; 0: it has one value */
		const char *value; /* a '%' in front: the directory of the hooks */
		const char *mark;  /* what ends so is ours, by any path; NULL: only the value is */
		bool if_set;  /* hides the plain variable if it is set, and stays unset if not */
	} rows[ROWS_MAX + 1]; /* the first without a name ends them */
};

#define NOTIFICATION "%/" HOOK_CORECLR "=" HOOK_GUID ";"
#define PROFILER "%/" HOOK_CORECLR

static const struct way ways[] = {
	{ "notification", ".NET", HOOK_CORECLR, .is_profiler = true, .rows = {
		{ "CORECLR_ENABLE_NOTIFICATION_PROFILERS", .value = "1" },
		{ "CORECLR_NOTIFICATION_PROFILERS", .separator = ';', .value = NOTIFICATION, .mark = HOOK_GUID },
		{ "CORECLR_NOTIFICATION_PROFILERS_64", .separator = ';', .value = NOTIFICATION, .mark = HOOK_GUID, .if_set = true },
		{ "CORECLR_NOTIFICATION_PROFILERS_ARM64", .separator = ';', .value = NOTIFICATION, .mark = HOOK_GUID, .if_set = true },
	} },
	{ "profiler", ".NET", HOOK_CORECLR, .is_profiler = true, .asked_only = true, .rows = {
		{ "CORECLR_ENABLE_PROFILING", .value = "1" },
		{ "CORECLR_PROFILER", .value = HOOK_GUID, .mark = HOOK_GUID },
		{ "CORECLR_PROFILER_PATH", .value = PROFILER, .mark = "/" HOOK_CORECLR },
		{ "CORECLR_PROFILER_PATH_64", .value = PROFILER, .mark = "/" HOOK_CORECLR, .if_set = true },
		{ "CORECLR_PROFILER_PATH_ARM64", .value = PROFILER, .mark = "/" HOOK_CORECLR, .if_set = true },
	} },
	{ "startup-hook", ".NET", HOOK_STARTUP, .asked_only = true, .rows = {
		{ "DOTNET_STARTUP_HOOKS", .separator = ':', .value = "%/" HOOK_STARTUP, .mark = "/" HOOK_STARTUP },
	} },
	{ "mono-profiler", "Mono", HOOK_MONO, .rows = {
		{ "MONO_ENV_OPTIONS", .separator = ' ', .value = "--profile=" HOOK_MONO_PROFILE },
		{ "LD_LIBRARY_PATH", .separator = ':', .value = "%" },
	} },
	{ "protocol", "systemd's protocol", NULL, .rows = {
		{ "MEMORY_PRESSURE_WATCH", .value = DAEMON_SOCKET },
		{ "MEMORY_PRESSURE_WRITE", .value = PROTOCOL_WRITE },
	} },
};

/* As these stand there, with all that need not be asked for before them. */
#define WAY_NAMES "auto, notification, profiler, startup-hook, mono-profiler, protocol or none"

#define VALUE_MAX (PATH_MAX + 128)
#define NOTE_MAX 512

/* ---- what is there already -------------------------------------------------------------------- */

static const char *value_of(const struct row *row, const char *base, char buf[VALUE_MAX])
{
	bool in_base = row->value[0] == '%';

	snprintf(buf, VALUE_MAX, "%s%s", in_base ? base : "", row->value + in_base);
	return buf;
}

static bool is_ours(const struct row *row, struct scan item, const char *value)
{
	size_t n = row->mark ? strlen(row->mark) : 0;

	return scan_is(item, value) ||
	       (n > 0 && item.left >= n && strncasecmp(item.p + item.left - n, row->mark, n) == 0);
}

static bool has_ours(const struct row *row, const char *value)
{
	const char *old = hooks_variable(NULL, row->variable);
	struct scan rest, item;

	if (!old)
		return false;
	rest = scan_string(old);
	if (!row->separator)
		return is_ours(row, rest, value);
	while (scan_item(&rest, row->separator, &item))
		if (is_ours(row, item, value))
			return true;
	return false;
}

/* Is all of it in the environment? Of the protocol the first variable decides: for a socket there
 * may be nothing to write. */
static bool is_there(const struct way *way, const char *base)
{
	char value[VALUE_MAX];

	if (!way->file)
		return hooks_variable(NULL, way->rows[0].variable);
	EACH_ROW(row, way)
		if (!row->if_set && !has_ours(row, value_of(row, base, value)))
			return false;
	return true;
}

/* ---- one way ------------------------------------------------------------------------------------ */

/*
 * A program that speaks systemd's protocol opens what it is told and gives up if that fails: there is no
 * ladder. So the connection is tried here first.
 */
static bool daemon_listens(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = DAEMON_SOCKET };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool listens = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;

	if (fd >= 0)
		close(fd);
	return listens;
}

/* What stands against this way, in words, into note[NOTE_MAX]. Errors: -EALREADY (it, or another one into its runtime, is set
 * already), and any other. */
static int check(const struct way *way, const char *base, char *note)
{
	const char *forbids = way->is_profiler ? hooks_forbidden(NULL, false) : NULL;
	char path[PATH_MAX] = "", value[VALUE_MAX];
	int r;

	for (const struct way *w = ways; w < ways + ELEMENTSOF(ways); w++)
		if (strcmp(w->runtime, way->runtime) == 0 && is_there(w, base)) {
			snprintf(note, NOTE_MAX, "%s is set already", w == way ? "it" : w->name);
			return -EALREADY;
		}
	r = way->file ? hooks_find(way->file, path) : 0;
	if (forbids)
		snprintf(note, NOTE_MAX,
			 "%s=%.20s forbids profilers; \"--hook startup-hook\" does without",
			 forbids, getenv(forbids));
	else if (!way->file && !daemon_listens())
		snprintf(note, NOTE_MAX, "psibridged does not run here");
	else if (r < 0)
		snprintf(note, NOTE_MAX, "%.400s: %s", *path ? path : way->file, strerror(-r));
	else if (strpbrk(path, ":;="))
		snprintf(note, NOTE_MAX, "%.400s: a hook's path may have no : ; or = in it", path);
	EACH_ROW(row, way)
		if (!*note && !row->separator && hooks_variable(NULL, row->variable) &&
		    !has_ours(row, value_of(row, base, value)))
			snprintf(note, NOTE_MAX, "%s=%.200s is set, and stays", row->variable,
				 getenv(row->variable));
	return *note ? -EPERM : 0;
}

/* As a word for the shell. */
static void print_quoted(const char *text)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "%+,-./:=@_";

	const char *quote = text[strspn(text, plain)] ? "'" : "";

	fputs(quote, stdout);
	for (; *text; text++)
		if (*text == '\'')
			fputs("'\\''", stdout);
		else
			putchar(*text);
	fputs(quote, stdout);
}

static void set_row(const struct row *row, const char *base, bool dry_run)
{
	const char *old = hooks_variable(NULL, row->variable);
	char value[VALUE_MAX], between[2] = "", *text;

	value_of(row, base, value);
	if ((!old && row->if_set) || has_ours(row, value))
		return;
	/* in a list with ':' an empty item means something, and stays one */
	if (old && (row->separator == ':' || old[strlen(old) - 1] != row->separator))
		between[0] = row->separator;
	if (asprintf(&text, "%s%s%s", old ? old : "", between, value) < 0 ||
	    (!dry_run && setenv(row->variable, text, 1) < 0)) {
		complain("run", "%s: %s", row->variable, strerror(ENOMEM));
		return;
	}
	if (dry_run) {
		printf("%s=", row->variable);
		print_quoted(text);
		putchar('\n');
	}
	free(text);
}

/* Sets it or, in a dry run, prints it. That there is no source for the protocol concerns few
 * programs, and is no warning unless it was asked for. */
static void take(const struct way *way, bool asked, bool dry_run, int log_priority)
{
	char base[PATH_MAX] = "", note[NOTE_MAX] = "";
	int r, priority = LOG_INFO;

	hooks_directory(base);
	r = check(way, base, note);
	if (r < 0 && r != -EALREADY && (way->file || asked))
		priority = LOG_WARNING;
	if (dry_run) {
		output_line("# %s%s%s", way->name, r < 0 ? " is left out: " : "", note);
	} else if (log_priority >= priority) {
		complain("run", "%s is %s%s", way->name, r < 0 ? "left out: " : "set", note);
	}
	EACH_ROW(row, way)
		if (r == 0)
			set_row(row, base, dry_run);
}

/* One that cannot have it runs all the same. */
static void limit(unsigned percent, bool dry_run, int log_priority)
{
	char note[MEMORY_HIGH_NOTE_MAX];
	int r = memory_high_set(percent, dry_run, note);

	if (dry_run) {
		output_line("# memory.high: %s%s", r < 0 ? "left as it is: " : "", note);
	} else if (log_priority >= (r < 0 ? LOG_WARNING : LOG_INFO)) {
		complain("run", "memory.high is %s%s", r < 0 ? "left as it is: " : "", note);
	}
}

/* ---- becoming the program ----------------------------------------------------------------------- */

/* As env(1). */
static int become(char **argv)
{
	bool is_path = strchr(argv[0], '/');
	const char *why;
	int error;

	execvp(argv[0], argv);
	error = errno;
	why = strerror(error);
	if (error == ENOENT && is_path && access(argv[0], F_OK) == 0)
		why = "it is there, but what would run it is not: the interpreter in its #! line, or its dynamic linker";
	else if (error == ENOENT && !is_path)
		why = "command not found (or what would run it: the interpreter in its #! line, its dynamic linker)";
	complain("run", "%s: %s", argv[0], why);
	return error == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
}

/* ---- the command line --------------------------------------------------------------------------- */

static const char help[] =
	"psibridge run - start a program so that it gives back memory when it is short\n"
	"\n"
	"Usage: psibridge run [OPTION...] [--] COMMAND [ARGUMENT...]\n"
	"       psibridge run --dry-run [OPTION...]\n"
	"\n"
	"Sets what the runtimes of .NET and Mono read to load a hook, and systemd's\n"
	"protocol for all others, and becomes COMMAND. The program itself is neither\n"
	"looked at nor changed; one of another kind ignores the variables. What it\n"
	"starts inherits them. What is set already stays.\n"
	"\n"
	"  --hook WAY           auto, the default: notification, mono-profiler and\n"
	"                       protocol; or only one:\n"
	"                       notification: .NET 6 and later, beside any other profiler\n"
	"                       profiler: .NET, in the one slot for profilers\n"
	"                       startup-hook: .NET 8 and later (older ones do not start\n"
	"                       with it), with the policy of the PsiBridge package\n"
	"                       mono-profiler: Mono\n"
	"                       protocol: MEMORY_PRESSURE_WATCH and\n"
	"                       MEMORY_PRESSURE_WRITE, psibridged's socket\n"
	"                       none: nothing\n"
	"  --memory-high[=P]    where the program's cgroup has a memory.max, no\n"
	"                       memory.high and no other process: set memory.high to P\n"
	"                       percent of it, 90% by default, so that the kernel slows\n"
	"                       the program before it ends it\n"
	"  --dry-run            print what would be set, one VARIABLE=VALUE a line, and\n"
	"                       end\n"
	"  --help\n"
	"\n"
	"PSIBRIDGE=off in the environment runs the program as it is; with\n"
	"PSIBRIDGE_LOG=info a hook says \"ready\" on standard error when a runtime has\n"
	"loaded it. The other PSIBRIDGE_ variables are for the hook:\n"
	"psibridge-runtimes(7).\n"
	"\n"
	"Exit status: the program's; 126 it cannot be executed, 127 it was not found, 2\n"
	"the command line makes no sense. With --dry-run: 0.\n"
	"\n"
	"Example: psibridge run -- dotnet app.dll\n";

int verb_run(int argc, char **argv)
{
	struct psb_settings settings = { .size = sizeof(settings) };
	unsigned hook = 0 /* as in WAY_NAMES */, high = 0;
	char **command = NULL;
	bool dry_run = false;
	const struct args_setting options[] = {
		ARGS_CHOICE("hook", WAY_NAMES, &hook),
		ARGS_PERCENT_OR("memory-high", 90, &high),
		ARGS_FLAG("dry-run", &dry_run),
		ARGS_COMMAND(&command),
		ARGS_NO_MORE,
	};
	int status;

	if (!args_read(argc, argv, options, help, &status))
		return status;
	if (!command && !dry_run) {
		complain("run",
			 "a command is missing, such as \"psibridge run -- dotnet app.dll\"");
		return EXIT_USAGE;
	}
	if (psb_settings_read(NULL, NULL, &settings) < 0) {
		settings.enabled = 1;
		settings.log_priority = LOG_WARNING;
	}
	for (unsigned i = 0; settings.enabled && i < ELEMENTSOF(ways); i++)
		if (hook == 0 ? !ways[i].asked_only : hook == i + 1)
			take(&ways[i], hook > 0, dry_run, settings.log_priority);
	if (settings.enabled && high > 0)
		limit(high, dry_run, settings.log_priority);
	if (!dry_run)
		return become(command);
	return EXIT_OK;
}
