/* SPDX-License-Identifier: MIT */
/*
 * tool.c - by the names under which they are started
 *
 * `dotnet FILE.dll` and `dotnet exec ... FILE.dll` run a program, `dotnet` with anything else is the SDK. What lies below
 * sdk/VERSION/ belongs to it; others come from packages, and are known by name. StartupHook.cs has the same list.
 */
#include "runtimes/tool.h"

#include <ctype.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const char *const names[] = {
	"csc",		 "vbc",	    "fsc",	"mcs",
	"VBCSCompiler",	 "MSBuild", "testhost", "vstest.console",
	"datacollector", "pwsh",
};

static const char *base_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), m = strlen(end);

	return n >= m && strcmp(text + n - m, end) == 0;
}

static int is_assembly(const char *path)
{
	return ends_with(path, ".dll") || ends_with(path, ".exe");
}

static int is_known(const char *path)
{
	const char *base = base_of(path), *sdk = strstr(path, "/sdk/");
	size_t n = strlen(base) - (is_assembly(base) ? 4 : 0);

	if (sdk && isdigit((unsigned char)sdk[5]))
		return 1;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strlen(names[i]) == n && strncmp(base, names[i], n) == 0)
			return 1;
	return 0;
}

int tool_is(const char *cmdline, size_t size)
{
	const char *end = cmdline + size, *at = cmdline, *base = base_of(cmdline);
	int dotnet = strcmp(base, "dotnet") == 0;

	if (!dotnet && strncmp(base, "mono", 4) != 0)
		return is_known(cmdline);
	at += strlen(at) + 1;
	/* a verb of the SDK's */
	if (dotnet && at < end && at[0] != '-' && strcmp(at, "exec") != 0 && !is_assembly(at))
		return 1;
	for (; at < end; at += strlen(at) + 1)
		if (is_assembly(at))
			return is_known(at);
	return dotnet;
}

int tool_is_self(void)
{
	char cmdline[4096 + 1];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, cmdline, sizeof(cmdline) - 1);

	if (fd >= 0)
		close(fd);
	cmdline[n > 0 ? n : 0] = '\0';
	return n > 0 && tool_is(cmdline, (size_t)n);
}
