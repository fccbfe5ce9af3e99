/* SPDX-License-Identifier: MIT */
/*
 * fake-root.h - a directory that looks like /proc and cgroup mounts, for tests of what reads them
 *
 * The kernel's own files are only text to their readers, so plain files will do; what only the
 * kernel can do (ENODEV, rings) is in tests/integration.
 */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/cgroup.h"

static char fake_root[64];

static inline int fake_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline int fake_set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(fake_root, sizeof(fake_root), "%.40s/psb-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	return mkdtemp(fake_root) ? 0 : -1;
}

static inline int fake_tear_down(void **state)
{
	(void)state;
	return nftw(fake_root, fake_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* What mountinfo calls the mount that it all lies on. */
static inline unsigned fake_mount_id(void)
{
	struct statx st;

	if (statx(AT_FDCWD, fake_root, 0, STATX_MNT_ID, &st) < 0)
		abort();
	return (unsigned)st.stx_mnt_id;
}

/* `path` below the fake root; valid until 8 calls later. */
static inline const char *fake_path(const char *path)
{
	static char buf[8][512];
	static unsigned next;
	char *p = buf[next++ % 8];

	snprintf(p, sizeof(buf[0]), "%s/%s", fake_root, path);
	return p;
}

/* Makes the directories above it too. A path that ends in a slash is a directory. */
static inline void fake_write(const char *path, const char *text)
{
	char full[512];
	FILE *f;

	snprintf(full, sizeof(full), "%s/%s", fake_root, path);
	for (char *p = full + strlen(fake_root) + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		mkdir(full, 0755);
		*p = '/';
	}
	if (full[strlen(full) - 1] == '/')
		return;
	f = fopen(full, "we");
	if (!f || fputs(text, f) < 0 || fclose(f) != 0)
		abort();
}

static inline void fake_file(const char *directory, const char *file, const char *text)
{
	char path[400];

	snprintf(path, sizeof(path), "%s/%s", directory, file);
	fake_write(path, text);
}

/* As if cgroup2 were mounted there. */
static inline struct cgroups fake_v2(const char *point)
{
	struct cgroups c = { .has_v2 = true };

	snprintf(c.v2.point, sizeof(c.v2.point), "%s", fake_path(point));
	strcpy(c.v2.root, "/");
	return c;
}
