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
#include <sys/stat.h>
#include <unistd.h>

static int join(const char *directory, const char *file, char *buf)
{
	int n = snprintf(buf, PATH_MAX, "%s/%s", directory, file);

	return n < 0 || n >= PATH_MAX ? -ENAMETOOLONG : 0;
}

static int make_absolute(const char *directory, char *buf)
{
	char here[PATH_MAX];
	size_t n;
	int r;

	if (directory[0] == '/')
		r = snprintf(buf, PATH_MAX, "%s", directory) >= PATH_MAX ? -ENAMETOOLONG : 0;
	else
		r = getcwd(here, sizeof(here)) ? join(here, directory, buf) : -errno;
	if (r < 0)
		return r;
	for (n = strlen(buf); n > 1 && buf[n - 1] == '/'; n--)
		buf[n - 1] = '\0';
	return 0;
}

int hooks_directory(char *buf)
{
	const char *named = getenv("PSIBRIDGE_HOOKS");
	char self[PATH_MAX], *slash;
	struct stat st;
	ssize_t n;

	if (named && *named)
		return make_absolute(named, buf);
	n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			/* libtool keeps what it will install one directory further down */
			slash = strrchr(self, '/');
			if (slash && strcmp(slash, "/.libs") == 0)
				*slash = '\0';
			if (join(self, "hooks", buf) == 0 && stat(buf, &st) == 0 &&
			    S_ISDIR(st.st_mode))
				return 0;
		}
	}
	return make_absolute(PSIBRIDGE_HOOKDIR, buf);
}

int hooks_find(const char *file, char *buf)
{
	char directory[PATH_MAX];
	int r = hooks_directory(directory);

	if (r == 0)
		r = join(directory, file, buf);
	if (r < 0)
		return r;
	return access(buf, R_OK) < 0 ? -errno : 0;
}
