/* SPDX-License-Identifier: MIT */
/*
 * attach.c - psibridge attach PID: a hook into a program that runs already
 *
 * The program is looked at, its runtime's diagnostics socket is found, and the runtime is asked to
 * load the hook as a profiler. Nothing is written into its memory and no thread of it is
 * stopped: it is the runtime that does it, on a thread of its own.
 *
 * Done means: the runtime said so, and the kernel shows the hook in /proc/PID/maps. One that is
 * there already is left alone, so attaching twice is attaching once. After a time-out the runtime
 * may still do it later; that is said.
 *
 * While a copy of the hook lies in the target's TMPDIR, SIGINT, SIGTERM and SIGHUP wait.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/attach.h"
#include "cli/cli.h"
#include "cli/hooks.h"
#include "cli/output.h"
#include "psibridge/psibridge.h"

#define TIMEOUT_USEC (10 * USEC_PER_SEC)

static const char help[] =
	"psibridge attach - make a program that runs already give back memory when it is short\n"
	"\n"
	"Usage: psibridge attach [OPTION...] PID\n"
	"\n"
	"PID is a .NET program (.NET 5 and later; not NativeAOT), here or in a container. Its runtime is\n"
	"asked to load the hook; the program goes on meanwhile. It takes the user of the program, or\n"
	"root. What the hook does is configured by the environment the program was started with, and\n"
	"by --set.\n"
	"\n"
	"  --set NAME=VALUE     a setting, PSIBRIDGE_LOW='some 150ms/2s' say, that counts before the\n"
	"                       program's environment; again for each\n"
	"  --timeout TIME       how long the runtime may take to answer; default 10s\n"
	"  --dry-run            find the program's runtime, and end\n"
	"  --json               print an object instead of a sentence\n"
	"  --help\n"
	"\n"
	"Exit status: 0 attached, or it was already; 1 it could not be done, 2 the command line makes\n"
	"no sense.\n"
	"\n"
	"Example: psibridge attach $(pidof -s MyService)\n";

struct attachment {
	struct target target;
	struct runtime_socket runtime;
	struct settings settings;
	bool json;
};

static void refuse_setting(void *unused, int priority, const char *message)
{
	(void)unused;
	(void)priority;
	complain("attach", "--set %s", message);
}

/* Of two for the same variable the last one counts. */
static int take_set(const struct args *args, const struct args_setting *setting)
{
	struct settings *settings = setting->to;
	const char *text = args->value;
	const char *one[] = { text, NULL };
	struct psb_settings read = { .size = sizeof(read) };
	size_t name = strcspn(text, "=") + 1, i;

	psb_settings_read_from(one, PSB_SETTINGS_STRICT, refuse_setting, NULL, &read);
	if (read.refused > 0)
		return -EINVAL;
	for (i = 0; i < settings->n && strncmp(settings->texts[i], text, name) != 0; i++)
		;
	if (i < settings->n)
		settings->bytes -= strlen(settings->texts[i]) + 1;
	if (i == SETTINGS_MAX || settings->bytes + strlen(text) + 1 > SETTINGS_BYTES_MAX) {
		complain("attach", "--set: more than %d settings, or %d bytes of them",
			 SETTINGS_MAX, SETTINGS_BYTES_MAX);
		return -EINVAL;
	}
	settings->texts[i] = text;
	settings->n = MAX(settings->n, i + 1);
	settings->bytes += strlen(text) + 1;
	return 0;
}

static int report(const struct attachment *a, const char *event, const char *sentence)
{
	const char *version = a->runtime.version;
	int r;

	if (a->json) {
		r = output_json(json_pack("{s:s, s:I, s:o, s:o}", "event", event, "pid",
					  (json_int_t)a->target.pid, "exe",
					  output_json_text(a->target.exe), "version",
					  output_json_text(version)));
	} else {
		errno = 0;
		printf("%d (", (int)a->target.pid);
		output_text(a->target.exe);
		printf("%s%s): %s", *version ? ", .NET " : "", version, sentence);
		r = output_end_line();
	}
	return r == -EPIPE ? 0 : r;
}

/* Of runtime_attach_profiler(). */
static int refuse_attach(struct target *t, int error, const char *path)
{
	if (error == -ETIMEDOUT)
		return target_refuse(
			t, error,
			"its runtime did not say in time whether it loaded the hook; it may still do so");
	if (error == -EILSEQ)
		return target_refuse(t, error, "the path of the hook is not UTF-8: %.400s", path);
	if (error == -ESTALE)
		return target_refuse(
			t, error,
			"another process is behind its diagnostics socket now; nothing was said to it");
	return target_refuse(t, error, "its runtime hung up: %s", strerror(-error));
}

/* Signals that would end us are kept waiting while something of ours lies about. */
static int load(struct attachment *a, const char *hook, uint32_t *ret_hresult)
{
	struct visible visible;
	sigset_t ending, before;
	int r;

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, &before);
	r = visible_make(&a->target, hook, &visible);
	if (r == 0) {
		r = runtime_attach_profiler(&a->runtime, visible.path, &a->settings, ret_hresult);
		if (r < 0)
			refuse_attach(&a->target, r, visible.path);
	}
	visible_done(&a->target, &visible);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int load_hook(struct attachment *a)
{
	char hook[PATH_MAX] = HOOK_CORECLR;
	struct target *t = &a->target;
	uint32_t hresult;
	int r = hooks_find(HOOK_CORECLR, hook);

	if (r < 0)
		return target_refuse(t, r, "%.400s: %s", hook, strerror(-r));
	r = load(a, hook, &hresult);
	if (r < 0)
		return r;
	if (hresult & UINT32_C(0x80000000))
		return target_refuse(t, -EIO, "%s (0x%08x)", runtime_words(hresult),
				     (unsigned)hresult);
	if (target_look_again(t) < 0)
		return target_refuse(t, -ESRCH, "it ended meanwhile");
	if (!t->has_hook)
		return target_refuse(
			t, -EIO,
			"its runtime says that the hook is loaded, and it is not: see its standard error");
	return report(a, "attached", "has the hook now");
}

static int attach(struct attachment *a, pid_t pid, uint64_t timeout_usec, bool dry_run)
{
	struct target *t = &a->target;
	const char *forbidden;
	int r = target_open(pid, t);

	if (r < 0)
		return r;
	if (t->has_hook && a->settings.n > 0)
		return target_refuse(
			t, -EALREADY,
			"it has the hook already, which keeps the settings it has; nothing was done");
	if (t->has_hook)
		return report(a, "already", "has the hook already, nothing was done");
	forbidden = target_forbids(t);
	if (forbidden)
		return target_refuse(
			t, -EPERM,
			"it was started with DOTNET_%s=0, which forbids to attach; start it without, or by \"psibridge run --hook=startup-hook\"",
			forbidden);
	r = runtime_find(t, timeout_usec, &a->runtime);
	if (r == 0)
		r = dry_run ? report(a, "plan", "its runtime answers, the hook would be attached")
			    : load_hook(a);
	return r;
}

int verb_attach(int argc, char **argv)
{
	struct attachment a = { .runtime = { .directory = -1 } };
	uint64_t timeout_usec = TIMEOUT_USEC;
	bool dry_run = false;
	uint64_t pid = 0;
	const struct args_setting settings[] = {
		{ "set", "PSIBRIDGE_...=VALUE", take_set, &a.settings, 0, 0 },
		ARGS_TIME("timeout", "a time from 100ms to 10min, such as 10s,",
			  100 * USEC_PER_MSEC, 600 * USEC_PER_SEC, &timeout_usec),
		ARGS_FLAG("dry-run", &dry_run),
		ARGS_FLAG("json", &a.json),
		{ NULL, "a process id", args_take_number, &pid, 1, INT_MAX },
		ARGS_NO_MORE,
	};
	int r, status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (pid == 0) {
		complain("attach", "a process id is missing");
		return EXIT_USAGE;
	}
	r = attach(&a, (pid_t)pid, timeout_usec, dry_run);
	if (r < 0)
		complain("attach", "%d: %s", (int)pid,
			 a.target.why[0] ? a.target.why : strerror(-r));
	runtime_done(&a.runtime);
	target_done(&a.target);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}
