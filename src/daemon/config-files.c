/* SPDX-License-Identifier: MIT */
/*
 * config-files.c - which files make the configuration, and in which order: psibridged.conf(5), "Which files are read"
 *
 * A file that is there and cannot be read is an error: what it says might be what keeps a watch
 * off. Names that begin with a dot or do not end in ".conf" are no drop-ins, as editors leave them
 * behind.
 */
#include "daemon/config-internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/file.h"

#define MAIN_FILE "psibridge/psibridged.conf"
#define DROP_INS "psibridge/psibridged.conf.d"

static const char *const directories[] = { "/etc", "/run", "/usr/local/lib", "/usr/lib" };

static void complain_of_file(struct loader *l, const char *path, int error, const char *why)
{
	struct origin where = { path, 0 };

	if (!why && error == -EACCES && geteuid() == 0)
		why = "Permission denied: it is not root's, and psibridged, although it is root, "
		      "may not read what others keep to themselves (no CAP_DAC_OVERRIDE)";
	config_say(l->complaints, true, &where, "%s", why ? why : strerror(-error));
	if (l->error == 0)
		l->error = error;
}

/* ---- one file -------------------------------------------------------------------------------- */

enum look { LOOK_ABSENT, LOOK_EMPTY, LOOK_FILE, LOOK_REFUSED };

static enum look look_at(struct loader *l, const char *path)
{
	struct stat st, link;

	if (stat(path, &st) < 0) {
		int error = -errno;

		if (error != -ENOENT && error != -ENOTDIR) {
			complain_of_file(l, path, error, NULL);
			return LOOK_REFUSED;
		}
		if (lstat(path, &link) < 0)
			return LOOK_ABSENT;
		complain_of_file(l, path, error, "it is a link to a file that does not exist");
		return LOOK_REFUSED;
	}
	if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
		return LOOK_EMPTY;
	if (S_ISREG(st.st_mode))
		return st.st_size == 0 ? LOOK_EMPTY : LOOK_FILE;
	/* opening anything else might wait, or do something */
	complain_of_file(l, path, -EINVAL, "it is not a regular file");
	return LOOK_REFUSED;
}

/* The configuration keeps `path`. */
static int remember(struct config *config, char *path)
{
	size_t count = 0;
	char **files;

	while (config->files[count])
		count++;
	files = realloc(config->files, (count + 2) * sizeof(*files));
	if (!files)
		return -ENOMEM;
	files[count] = path;
	files[count + 1] = NULL;
	config->files = files;
	return 0;
}

/* Takes `path` over in any case. */
static int read_file(struct loader *l, char *path)
{
	char *text;
	size_t size;
	int r;

	r = remember(l->config, path);
	if (r < 0) {
		free(path);
		return r;
	}
	r = file_read_all(AT_FDCWD, path, &text, &size);
	if (r == -ENOMEM)
		return r;
	if (r < 0) {
		complain_of_file(l, path, r, r == -EFBIG ? "it is bigger than 1 MiB" : NULL);
		return 0;
	}
	r = config_parse(l, path, text, size);
	free(text);
	return r;
}

/* The first file of a name counts, and the others are hidden. Takes `path` over. True: it is there. */
static int take_file(struct loader *l, char *path, bool *ret_there)
{
	enum look look = path ? look_at(l, path) : LOOK_ABSENT;

	*ret_there = look != LOOK_ABSENT;
	if (look == LOOK_FILE)
		return read_file(l, path);
	free(path);
	return path ? 0 : -ENOMEM;
}

static char *join(const char *root, unsigned directory, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s/%s", root, directories[directory], name) < 0 ? NULL : path;
}

static int read_main_file(struct loader *l, const char *root)
{
	bool there = false;
	int r = 0;

	for (unsigned i = 0; i < ELEMENTSOF(directories) && r == 0 && !there; i++)
		r = take_file(l, join(root, i, MAIN_FILE), &there);
	return r;
}

/* ---- drop-ins -------------------------------------------------------------------------------- */

static int is_drop_in(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && scan_ends_with(scan_string(entry->d_name), ".conf");
}

struct listing {
	struct dirent **entries;
	int count;
};

static int list_drop_ins(struct loader *l, const char *root, unsigned directory,
			 struct listing *ret)
{
	char *path = join(root, directory, DROP_INS);
	int r = 0;

	if (!path)
		return -ENOMEM;
	ret->count = scandir(path, &ret->entries, is_drop_in, NULL);
	if (ret->count < 0 && errno == ENOMEM)
		r = -ENOMEM;
	else if (ret->count < 0 && errno != ENOENT && errno != ENOTDIR)
		complain_of_file(l, path, -errno, NULL);
	free(path);
	return r;
}

/* The name behind `last`, and the first directory that has it; NULL: there is no more. */
static const char *next_name(const struct listing *listings, const char *last,
			     unsigned *ret_directory)
{
	const char *next = NULL;

	for (unsigned i = 0; i < ELEMENTSOF(directories); i++)
		for (int k = 0; k < listings[i].count; k++) {
			const char *name = listings[i].entries[k]->d_name;

			if (strcmp(name, last) > 0 && (!next || strcmp(name, next) < 0)) {
				next = name;
				*ret_directory = i;
			}
		}
	return next;
}

static int read_drop_ins(struct loader *l, const char *root)
{
	struct listing listings[ELEMENTSOF(directories)] = { 0 };
	char path[sizeof(DROP_INS) + 1 + NAME_MAX];
	const char *name = "";
	unsigned directory = 0;
	bool there;
	int r = 0;

	for (unsigned i = 0; i < ELEMENTSOF(directories) && r == 0; i++)
		r = list_drop_ins(l, root, i, &listings[i]);
	while (r == 0 && (name = next_name(listings, name, &directory))) {
		snprintf(path, sizeof(path), DROP_INS "/%s", name);
		r = take_file(l, join(root, directory, path), &there);
	}
	for (unsigned i = 0; i < ELEMENTSOF(directories); i++) {
		while (listings[i].count > 0)
			free(listings[i].entries[--listings[i].count]);
		free(listings[i].entries);
	}
	return r;
}

int config_load(const char *root, struct complaints *complaints, struct config **ret)
{
	struct loader l;
	int r = config_begin(complaints, &l);

	if (r < 0)
		return r;
	/* mistakes and errors of files are in the loader */
	r = read_main_file(&l, root);
	if (r == 0)
		r = read_drop_ins(&l, root);
	if (r < 0) {
		config_free(l.config);
		return r;
	}
	return config_finish(&l, ret);
}
