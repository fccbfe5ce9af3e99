/* SPDX-License-Identifier: MIT */
/*
 * mono.c - unmodified Mono programs give back memory when it is short
 *
 * libmono-profiler-psibridge.so. Mono loads it when MONO_ENV_OPTIONS or the command line says
 * --profile=psibridge, from where dlopen(3) finds it (LD_LIBRARY_PATH), and calls
 * mono_profiler_init_psibridge(). To Mono it is a profiler that profiles nothing: it asks for no event
 * that happens while a program computes, and switches no instrumentation on, so the code Mono makes is
 * the same as without it.
 *
 *     mono                        this file                hook.c                    monogc.c
 *     loads the profiler      ->  init
 *     runtime initialized     ->  up()     hook_start() -> its thread: told Low  ->  visits, collects
 *     shutdown begins         ->  down()   hook_stop()
 *
 * What is the same for all runtimes is hook.h, and how to collect in Mono is monogc.c. A program that
 * calls fork(2) and goes on without exec(2) has no Mono in the child, and so nothing of ours.
 */
#include "hook.h"
#include "monogc.h"

#include <string.h>
#include <syslog.h>

#define NAME "mono"

/* What Mono looks up and calls. */
__attribute__((visibility("default"))) void mono_profiler_init_psibridge(const char *description);

static struct hook *hook;

static int collect(int critical, void *unused)
{
	(void)critical;
	(void)unused;
	return monogc_collect();
}

static const struct hook_runtime runtime = {
	.name = NAME,
	.collect = collect,
	.code = monogc_code,
};

static void up(void)
{
	hook_start(&runtime, NULL, NULL, &hook);
}

static void down(void)
{
	hook = hook_stop(hook);
}

/* `description` is what stands behind --profile=, "psibridge" or "psibridge:something". */
void mono_profiler_init_psibridge(const char *description)
{
	static int loaded; /* --profile=psibridge may stand there twice */
	const char *options = description ? strchr(description, ':') : NULL;
	const char *missing;

	if (loaded)
		return;
	loaded = 1;
	if (monogc_open(up, down, &missing) < 0) {
		hook_log(NULL, NAME, LOG_ERR, "this Mono has no %s(); the program runs on without",
			 missing);
		return;
	}
	if (options)
		hook_log(NULL, NAME, LOG_WARNING,
			 "--profile=%s: \"%s\" is ignored, there are no options here; "
			 "the variables PSIBRIDGE_... are read, see psibridge-runtimes(7)",
			 description, options + 1);
}
