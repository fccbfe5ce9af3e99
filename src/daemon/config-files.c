/* SPDX-License-Identifier: MIT */
/*
 * config-files.c - which files make the configuration, and in which order: psibridged.conf(5), "Which files are read"
 *
 * All that are there are put into one list, sorted by name; the main file, whose name does not matter, comes first. Of one
 * name the first directory's counts. An empty file, or /dev/null, is read like any other and says nothing: so it masks.
 * What was set at run time is read last.
 */
#include "daemon/config.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "kernel/file.h"

#define MAIN_FILE "psibridge/psibridged.conf"

/* "" of a main file */
static const char *name_of(const char *path)
{
	const char *name = strrchr(path, '/') + 1;

	return memcmp(name - strlen(".d/"), ".d/", strlen(".d/")) == 0 ? name : "";
}

/* False: there is no room for it, which was said. */
static bool put_file(struct config *config, size_t at, const char *path,
		     struct complaints *complaints)
{
	char **files = config->files, *copy;
	size_t count = 0;

	while (files[count])
		count++;
	copy = count < CONFIG_FILES_MAX ? strdup(path) : NULL;
	if (!copy) {
		config_say(complaints, true, (struct origin){ path, 0 },
			   "there is no memory for it, or more than %d files", CONFIG_FILES_MAX);
		return false;
	}
	at = MIN(at, count);
	memmove(files + at + 1, files + at, (count - at) * sizeof(*files));
	files[at] = copy;
	return true;
}

static void insert(struct config *config, const char *path, struct complaints *complaints)
{
	char **files = config->files;
	size_t at = 0;
	int order = 1;

	while (files[at] && (order = strcmp(name_of(files[at]), name_of(path))) < 0)
		at++;
	if (order != 0)
		put_file(config, at, path, complaints);
}

/* What begins with a dot, or ends otherwise, was left behind by an editor or a package manager. */
static int is_drop_in(const struct dirent *entry)
{
	return entry->d_name[0] != '.' && scan_ends_with(scan_string(entry->d_name), ".conf");
}

static void list_directory(struct config *config, const char *root, const char *directory,
			   struct complaints *complaints)
{
	char path[PATH_MAX + NAME_MAX];
	struct dirent **entries;
	int count;

	snprintf(path, sizeof(path), "%s%s/" MAIN_FILE, root, directory);
	/* a link that leads nowhere is a file that cannot be read */
	if (faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		insert(config, path, complaints);
	strcat(path, ".d");
	count = scandir(path, &entries, is_drop_in, NULL);
	if (count < 0 && errno != ENOENT && errno != ENOTDIR)
		config_say(complaints, true, (struct origin){ path, 0 }, "%s", strerror(errno));
	for (int i = 0; i < count; i++) {
		snprintf(path, sizeof(path), "%s%s/" MAIN_FILE ".d/%s", root, directory,
			 entries[i]->d_name);
		insert(config, path, complaints);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}

static void read_file(struct config *config, const char *path, struct complaints *complaints)
{
	size_t size;
	char *text;
	int r = file_read_all(AT_FDCWD, path, &text, &size);

	if (r < 0) {
		config_say(complaints, true, (struct origin){ path, 0 }, "%s",
			   r == -EFBIG ? "it is bigger than 1 MiB" : strerror(-r));
		return;
	}
	config_read(config, path, (struct scan){ text, size }, complaints);
	free(text);
}

static void read_set(struct config *config, const char *root, const struct config_set *set,
		     struct complaints *complaints)
{
	char path[PATH_MAX];
	size_t last;

	snprintf(path, sizeof(path), "%s" CONFIG_SET_FILE, root);
	if (set ? !*set->kept && !*set->more
		: faccessat(AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
		return;
	if (!put_file(config, CONFIG_FILES_MAX, path, complaints))
		return;
	for (last = 0; config->files[last + 1];)
		last++;
	if (set)
		config_read_set(config, config->files[last], set, complaints);
	else
		read_file(config, config->files[last], complaints);
}

struct config *config_load(const char *root, const struct config_set *set,
			   struct complaints *complaints)
{
	static const char *const directories[] = { "/etc", "/run", "/usr/local/lib", "/usr/lib" };
	struct config *config = config_new(complaints);

	for (size_t i = 0; i < ELEMENTSOF(directories) && config; i++)
		list_directory(config, root, directories[i], complaints);
	for (char **file = config ? config->files : NULL; file && *file; file++)
		read_file(config, *file, complaints);
	if (config)
		read_set(config, root, set, complaints);
	return config ? config_finish(config, complaints) : NULL;
}
