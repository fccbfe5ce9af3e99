/* SPDX-License-Identifier: MIT */
/*
 * hooks.c - where the hook files are
 *
 * The path goes into the environment of a program that may stand in another directory when it
 * reads it, so it is made absolute here. Symbolic links stay as they are: a path that an operator
 * wrote is the one to look for in /proc/PID/maps.
 */
#include "cli/hooks.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int beside_us(const char *name, char *buf)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return -errno;
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	/* libtool keeps what it will install one directory further down */
	slash = strrchr(self, '/');
	if (slash && strcmp(slash, "/.libs") == 0)
		*slash = '\0';
	return snprintf(buf, PATH_MAX, "%s/%s", self, name) < PATH_MAX ? access(buf, F_OK)
								       : -ENAMETOOLONG;
}

int hooks_directory(char *buf)
{
	const char *directory = getenv("PSIBRIDGE_HOOKS");
	char here[PATH_MAX] = "";
	int n;

	if (!directory || !*directory) {
		if (beside_us("hooks", buf) == 0)
			return 0;
		directory = PSIBRIDGE_HOOKDIR;
	}
	if (directory[0] != '/' && !getcwd(here, sizeof(here)))
		return -errno;
	n = snprintf(buf, PATH_MAX, "%s%s%s", here, *here ? "/" : "", directory);
	if (n >= PATH_MAX)
		return -ENAMETOOLONG;
	for (; n > 1 && buf[n - 1] == '/'; n--)
		buf[n - 1] = '\0';
	return 0;
}

int hooks_find(const char *file, char *buf)
{
	char directory[PATH_MAX];
	int r = hooks_directory(directory);

	if (r == 0 && snprintf(buf, PATH_MAX, "%s/%s", directory, file) >= PATH_MAX)
		r = -ENAMETOOLONG;
	if (r < 0)
		return r;
	return access(buf, R_OK) < 0 ? -errno : 0;
}

const char *hooks_variable(const char *environment, const char *name)
{
	const char *value = environment ? NULL : getenv(name);
	size_t n = strlen(name);

	for (const char *p = environment; p && *p && !value; p += strlen(p) + 1)
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			value = p + n + 1;
	return value && *value ? value : NULL;
}

const char *hooks_forbidden(const char *environment, bool attaching)
{
	/* the older name counts where the newer one is not set */
	static const char *const switches[][2] = {
		{ "DOTNET_EnableDiagnostics", "COMPlus_EnableDiagnostics" },
		{ "DOTNET_EnableDiagnostics_Profiler", "COMPlus_EnableDiagnostics_Profiler" },
		{ "DOTNET_EnableDiagnostics_IPC", "COMPlus_EnableDiagnostics_IPC" },
	};

	for (size_t i = 0; i < ELEMENTSOF(switches) - !attaching; i++) {
		bool is_old = !hooks_variable(environment, switches[i][0]);
		const char *value = hooks_variable(environment, switches[i][is_old]);
		char *end;

		/* .NET reads them as hexadecimal numbers */
		if (value && strtoul(value, &end, 16) == 0 && end != value)
			return switches[i][is_old];
	}
	return NULL;
}
