/* SPDX-License-Identifier: MIT */
/*
 * clrhost-managed.c - find PsiBridge.dll, and who in there is told
 *
 * Three classes of it concern us; the first two are called by name and must not change their
 * signatures:
 *
 *     PsiBridge.ClrHost   clrhost.cs: the end of the program; a handler of the program's
 *     PsiBridge.Hosting   Hosting.cs: feeds MemoryPressure, and with it the policy, from a host
 *     MemoryPressure      what the program uses, if it does
 *
 * A program that uses PsiBridge brings its own PsiBridge.dll, and that one is taken (clr_method()):
 * otherwise the program would listen to one MemoryPressure and the host tell another.
 */
#include "runtimes/clrhost-managed.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "runtimes/clrhost-say.h"

#define HOSTING "PsiBridge.Hosting, PsiBridge"
#define CLRHOST "PsiBridge.ClrHost, PsiBridge"

/* Where the hooks are: as src/cli/hooks.c. */
static void find_file(char *ret_path, size_t size)
{
	const char *hooks = getenv("PSIBRIDGE_HOOKS");
	char self[PATH_MAX], *slash;
	ssize_t n;

	if (hooks && *hooks) {
		snprintf(ret_path, size, "%s/PsiBridge.dll", hooks);
		return;
	}
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	if (slash)
		*slash = '\0';
	/* libtool keeps what it will install one directory further down */
	slash = strrchr(self, '/');
	if (slash && strcmp(slash, "/.libs") == 0)
		*slash = '\0';
	snprintf(ret_path, size, "%s/hooks/PsiBridge.dll", self);
	if (access(ret_path, R_OK) < 0)
		snprintf(ret_path, size, "%s/PsiBridge.dll", PSIBRIDGE_HOOKDIR);
}

static int find_method(struct clr *clr, const char *file, const char *type, const char *method,
		       void **ret)
{
	int r = clr_method(clr, file, type, method, ret);

	if (r == -ENOENT)
		say(LOG_ERR, "%s: %s; the program runs without", file, strerror(ENOENT));
	else if (r == -ENOEXEC)
		say(LOG_ERR, "%s: not a .NET assembly; the program runs without", file);
	else if (r < 0)
		say(LOG_ERR,
		    "PsiBridge.dll (the program's own, or %s) is of another version: there is no %.*s.%s "
		    "that could be called; the program runs without",
		    file, (int)strcspn(type, ","), type, method);
	return r;
}

static int start_handler(struct clr *clr, const char *file, const char *type, const char *method,
			 struct managed *ret)
{
	int (*bind)(const char *type, const char *method);
	int r;

	r = find_method(clr, file, CLRHOST, "Bind", (void **)&bind);
	if (r == 0)
		r = find_method(clr, file, CLRHOST, "Told", (void **)&ret->told);
	if (r < 0)
		return r;
	r = bind(type, method);
	if (r < 0)
		say(LOG_ERR, "--callback %s::%s: %s; the program runs without", type, method,
		    r == -ENOENT   ? "there is no such type, or no such assembly"
		    : r == -EPROTO ? "the type has no such static method"
				   : "it is not a static void of one int");
	return r;
}

static int start_policy(struct clr *clr, const char *file, const struct managed_host *host,
			struct managed *ret)
{
	int (*start)(const struct managed_host *host);
	int r;

	r = find_method(clr, file, HOSTING, "Start", (void **)&start);
	if (r == 0)
		r = find_method(clr, file, HOSTING, "Told", (void **)&ret->told);
	if (r == 0)
		r = find_method(clr, file, HOSTING, "Stop", (void **)&ret->stop);
	if (r < 0)
		return r;
	r = start(host);
	if (r < 0)
		say(LOG_ERR, "PsiBridge.Hosting does not start (%d); the program runs without", r);
	return r;
}

int managed_start(struct clr *clr, const char *file, const char *type, const char *method,
		  const struct managed_host *host, struct managed *ret)
{
	int (*begin)(void (*ending)(void *), void (*threw)(void *, const char *), void *);
	struct managed managed = { .told = NULL };
	char installed[PATH_MAX + 32];
	int r;

	if (!file) {
		find_file(installed, sizeof(installed));
		file = installed;
	}
	r = find_method(clr, file, CLRHOST, "Begin", (void **)&begin);
	if (r < 0)
		return r;
	/* First: our handler of ProcessExit is to be called before all others. */
	r = begin(host->ending, host->threw, host->userdata);
	if (r < 0) {
		say(LOG_ERR, "PsiBridge.ClrHost does not begin (%d); the program runs without", r);
		return r;
	}
	r = type ? start_handler(clr, file, type, method, &managed)
		 : start_policy(clr, file, host, &managed);
	if (r == 0)
		*ret = managed;
	return r;
}
