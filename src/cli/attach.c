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
	struct ipc ipc;
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
	int r;

	if (a->json) {
		r = output_json(json_pack("{s:s, s:I, s:o, s:o}", "event", event, "pid",
					  (json_int_t)a->target.pid, "exe",
					  output_json_text(a->target.exe), "version",
					  output_json_text(a->ipc.version)));
	} else {
		errno = 0;
		printf("%d (", (int)a->target.pid);
		output_text(a->target.exe);
		printf("%s%s): %s", *a->ipc.version ? ", .NET " : "", a->ipc.version, sentence);
		r = output_end_line();
	}
	return r == 0 || r == -EPIPE ? EXIT_OK : EXIT_FAILED;
}

static int refuse(const struct attachment *a, const char *why)
{
	complain("attach", "%d: %s", (int)a->target.pid, why);
	return -EIO;
}

/* Signals that would end us are kept waiting while something of ours lies about. */
static int load(struct attachment *a, const char *hook, uint32_t *ret_hresult, char *why)
{
	struct visible visible;
	sigset_t ending, before;
	int r;

	sigemptyset(&ending);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGHUP);
	sigprocmask(SIG_BLOCK, &ending, &before);
	r = visible_make(&a->target, hook, &visible, why);
	if (r == 0) {
		r = ipc_attach_profiler(&a->ipc, visible.path, &a->settings, ret_hresult);
		if (r == -ETIMEDOUT)
			snprintf(
				why, ATTACH_WHY_MAX,
				"its runtime did not say in time whether it loaded the hook; it may still do so");
		else if (r == -EILSEQ)
			snprintf(why, ATTACH_WHY_MAX, "the path of the hook is not UTF-8: %.400s",
				 visible.path);
		else if (r == -ESTALE)
			snprintf(
				why, ATTACH_WHY_MAX,
				"another process is behind its diagnostics socket now; nothing was said to it");
		else if (r < 0)
			snprintf(why, ATTACH_WHY_MAX, "its runtime hung up: %s", strerror(-r));
		visible_done(&visible);
	}
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int load_hook(struct attachment *a)
{
	char hook[PATH_MAX], why[ATTACH_WHY_MAX], words[ATTACH_WHY_MAX];
	const char *known;
	uint32_t hresult;
	int r;

	r = hooks_find(HOOK_CORECLR, hook);
	if (r < 0) {
		snprintf(words, sizeof(words), "%.400s: %s",
			 r == -ENAMETOOLONG ? HOOK_CORECLR : hook, strerror(-r));
		return refuse(a, words);
	}
	r = load(a, hook, &hresult, why);
	if (r < 0)
		return refuse(a, why);
	if (hresult & UINT32_C(0x80000000)) {
		known = ipc_words(hresult);
		snprintf(words, sizeof(words), "%s (0x%08x)", known ? known : "the runtime refused",
			 (unsigned)hresult);
		return refuse(a, words);
	}
	r = target_look_again(&a->target);
	if (r < 0)
		return refuse(a, "it ended meanwhile");
	if (!a->target.has_hook)
		return refuse(
			a,
			"its runtime says that the hook is loaded, and it is not: see its standard error");
	return 0;
}

static int attach(struct attachment *a, uint64_t timeout_usec, bool dry_run)
{
	char why[ATTACH_WHY_MAX];
	const char *forbidden = target_forbids(&a->target);
	int r;

	if (a->target.has_hook && a->settings.n > 0) {
		refuse(a,
		       "it has the hook already, which keeps the settings it has; nothing was done");
		return EXIT_FAILED;
	}
	if (a->target.has_hook)
		return report(a, "already", "has the hook already, nothing was done");
	if (forbidden) {
		snprintf(
			why, sizeof(why),
			"it was started with %s, which forbids to attach; start it without, or by \"psibridge run --hook=startup-hook\"",
			forbidden);
		refuse(a, why);
		return EXIT_FAILED;
	}
	r = ipc_find(&a->target, timeout_usec, &a->ipc, why);
	if (r < 0) {
		refuse(a, why);
		return EXIT_FAILED;
	}
	if (dry_run)
		r = report(a, "plan", "its runtime answers, the hook would be attached");
	else if (load_hook(a) < 0)
		r = EXIT_FAILED;
	else
		r = report(a, "attached", "has the hook now");
	ipc_done(&a->ipc);
	return r;
}

static int take_pid(const struct args *args, const struct args_setting *setting)
{
	struct scan word = scan_string(args->value);
	uint64_t pid;

	if (scan_u64(&word, &pid) < 0 || word.left > 0 || pid == 0 || pid > INT_MAX) {
		complain("attach", "\"%s\": a process id was expected", args->value);
		return -EINVAL;
	}
	*(pid_t *)setting->to = (pid_t)pid;
	return 0;
}

int verb_attach(int argc, char **argv)
{
	struct attachment a = { .ipc = { .directory = -1 } };
	uint64_t timeout_usec = TIMEOUT_USEC;
	char why[ATTACH_WHY_MAX];
	bool dry_run = false;
	pid_t pid = 0;
	const struct args_setting settings[] = {
		{ "set", "PSIBRIDGE_...=VALUE", take_set, &a.settings, 0, 0 },
		ARGS_TIME("timeout", "a time from 100ms to 10min, such as 10s,",
			  100 * USEC_PER_MSEC, 600 * USEC_PER_SEC, &timeout_usec),
		ARGS_FLAG("dry-run", &dry_run),
		ARGS_FLAG("json", &a.json),
		{ NULL, NULL, take_pid, &pid, 0, 0 },
		ARGS_NO_MORE,
	};
	int r, status;

	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (pid == 0) {
		complain("attach", "a process id is missing");
		return EXIT_USAGE;
	}
	r = target_open(pid, &a.target, why);
	if (r < 0) {
		complain("attach", "%d: %s", (int)pid, why);
		return EXIT_FAILED;
	}
	r = attach(&a, timeout_usec, dry_run);
	target_done(&a.target);
	return r;
}
