/* SPDX-License-Identifier: MIT */
/*
 * config-files.c - which files make the configuration, and in which order
 *
 * As systemd reads its own (systemd-system.conf(5), "Configuration directories and precedence"): of
 * the main file only the first that is found counts; drop-ins of all directories are put into one
 * row by their names, and of two with one name the first directory's counts. A file that is empty,
 * or a link to /dev/null, is found and sets nothing: an empty main file in /etc hides the one in
 * /usr/lib, an empty drop-in the ones of its name.
 *
 * A file that is there and cannot be read is an error: what it says might be what keeps a watch
 * off. Names that begin with a dot or do not end in ".conf" are no drop-ins, as editors leave them
 * behind.
 */
#include "daemon/config-internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/file.h"

#define MAIN_FILE "psibridge/psibridged.conf"
#define DROP_INS "psibridge/psibridged.conf.d"

static const char *const directories[] = { "/etc", "/run", "/usr/local/lib", "/usr/lib" };

struct drop_in {
	char *path;
	const char *name; /* the end of path */
	unsigned directory;
};

struct drop_ins {
	struct drop_in *items;
	size_t count;
};

static void free_drop_ins(struct drop_ins *d)
{
	for (size_t i = 0; i < d->count; i++)
		free(d->items[i].path);
	free(d->items);
}

static void complain_of_file(struct loader *l, const char *path, int error, const char *why)
{
	struct origin where = { path, 0 };

	if (!why && error == -EACCES && geteuid() == 0)
		why = "Permission denied: it is not root's, and psibridged, although it is root, "
		      "may not read what others keep to themselves (no CAP_DAC_OVERRIDE)";
	config_complain(l, &where, "%s", why ? why : strerror(-error));
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

static char *join(const char *root, const char *directory, const char *name)
{
	char *path;

	return asprintf(&path, "%s%s/%s", root, directory, name) < 0 ? NULL : path;
}

static int read_main_file(struct loader *l, const char *root)
{
	for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
		char *path = join(root, directories[i], MAIN_FILE);

		if (!path)
			return -ENOMEM;
		switch (look_at(l, path)) {
		case LOOK_ABSENT:
			free(path);
			break;
		case LOOK_EMPTY:
		case LOOK_REFUSED:
			free(path);
			return 0;
		case LOOK_FILE:
			return read_file(l, path);
		}
	}
	return 0;
}

/* ---- drop-ins -------------------------------------------------------------------------------- */

static int add_drop_in(struct drop_ins *d, const char *directory_path, const char *name,
		       unsigned directory)
{
	struct drop_in *items = realloc(d->items, (d->count + 1) * sizeof(*items));
	char *path;

	if (!items)
		return -ENOMEM;
	d->items = items;
	path = join(directory_path, "", name);
	if (!path)
		return -ENOMEM;
	items[d->count++] = (struct drop_in){ path, strrchr(path, '/') + 1, directory };
	return 0;
}

static int list_drop_ins(struct loader *l, const char *root, unsigned directory, struct drop_ins *d)
{
	char *path = join(root, directories[directory], DROP_INS);
	struct dirent *entry;
	DIR *dir = NULL;
	int r = path ? 0 : -ENOMEM;

	if (path) {
		dir = opendir(path);
		if (!dir && errno != ENOENT && errno != ENOTDIR)
			complain_of_file(l, path, -errno, NULL);
	}
	while (dir && r == 0) {
		errno = 0;
		entry = readdir(dir);
		if (!entry) {
			if (errno != 0)
				complain_of_file(l, path, -errno, NULL);
			break;
		}
		if (entry->d_name[0] != '.' && scan_ends_with(scan_string(entry->d_name), ".conf"))
			r = add_drop_in(d, path, entry->d_name, directory);
	}
	if (dir)
		closedir(dir);
	free(path);
	return r;
}

static int compare_drop_ins(const void *a, const void *b)
{
	const struct drop_in *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order != 0 ? order : (int)x->directory - (int)y->directory;
}

static int read_drop_ins(struct loader *l, struct drop_ins *d)
{
	int r = 0;

	if (d->count > 0)
		qsort(d->items, d->count, sizeof(*d->items), compare_drop_ins);
	for (size_t i = 0; i < d->count && r == 0; i++) {
		char *path;

		if (i > 0 && strcmp(d->items[i].name, d->items[i - 1].name) == 0)
			continue;
		if (look_at(l, d->items[i].path) != LOOK_FILE)
			continue;
		path = strdup(d->items[i].path);
		r = path ? read_file(l, path) : -ENOMEM;
	}
	return r;
}

/* Mistakes and errors of files are in the loader. Errors: -ENOMEM. */
static int read_files(struct loader *l, const char *root)
{
	struct drop_ins d = { NULL, 0 };
	int r = read_main_file(l, root);

	for (unsigned i = 0; i < ELEMENTSOF(directories) && r == 0; i++)
		r = list_drop_ins(l, root, i, &d);
	if (r == 0)
		r = read_drop_ins(l, &d);
	free_drop_ins(&d);
	return r;
}

int config_load(const char *root, FILE *complaints, struct config **ret)
{
	struct loader l;
	int r = config_begin(complaints, &l);

	if (r < 0)
		return r;
	r = read_files(&l, root);
	if (r < 0) {
		config_free(l.config);
		return r;
	}
	return config_finish(&l, ret);
}
