/* SPDX-License-Identifier: MIT */
/*
 * control-set.c - psibridge set and psibridge diff
 *
 * What was set at run time is a file like others, CONFIG_SET_FILE, but for who writes it:
 *
 *     what came from it, and the new lines --> all files are read, with that in its place --> a mistake: nothing changed
 *         --> it is written beside the old one --> the configuration is taken --> it replaces the old one
 *
 * So a reload, a restart and kill -9 find it there. It goes with /run. To save something for good is for the client, who
 * gets the text: the unit has no right to write to /etc.
 */
#include "daemon/control-set.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SAVED_DIRECTORY "/etc/psibridge/psibridged.conf.d/"
#define SAVED_NAME_MAX 200 /* NAME_MAX is 255 */

struct paths {
	char directory[FILENAME_MAX + 16], set[FILENAME_MAX + 16], fresh[FILENAME_MAX + 32];
	char saved[FILENAME_MAX + SAVED_NAME_MAX];
};

/* Two watches may share the name of a file: what is in it already is kept. */
static void find_paths(const struct daemon *d, const char *watch, struct paths *ret)
{
	char name[SAVED_NAME_MAX];

	snprintf(name, sizeof(name), "%s", watch[1] ? watch + 1 : "root");
	for (char *p = name; *p; p++)
		if (*p == '/')
			*p = '-';
		else if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._@",
				 *p))
			*p = '_';
	snprintf(ret->set, sizeof(ret->set), "%s" CONFIG_SET_FILE, d->root);
	snprintf(ret->fresh, sizeof(ret->fresh), "%s~", ret->set);
	snprintf(ret->directory, sizeof(ret->directory), "%s", ret->set);
	*strrchr(ret->directory, '/') = '\0';
	snprintf(ret->saved, sizeof(ret->saved), "%s" SAVED_DIRECTORY "zz-set-%s.conf", d->root,
		 name);
}

static void freep(char **text)
{
	free(*text);
}

/* NULL: no memory; the caller frees it. */
static char *lines_of(const struct config *config, const struct config_part *part)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	bool failed;

	if (!out)
		return NULL;
	config_write(config, part, out);
	failed = ferror(out);
	if (fclose(out) == 0 && !failed)
		return text;
	free(text);
	return NULL;
}

/* ---- differences --------------------------------------------------------------------------------- */

struct told {
	struct writer w;
	const char *names[2]; /* of the sides */
	struct journal *journal;
};

static void put_side(struct writer *w, const char *name, const struct config_side *side,
		     bool is_key)
{
	fprintf(w->out, ",\"%s\":", name);
	w->more = false;
	if (!side->is_there && !is_key) {
		writer_put(w, ":s", NULL);
		return;
	}
	writer_put(w, ":{ value:s file:s line:u }", is_key ? side->text : NULL, side->origin.file,
		   side->origin.line);
}

static void put_difference(const struct config_difference *d, void *userdata)
{
	struct told *told = userdata;

	writer_put(&told->w, ":{ section:s key:s", d->section, d->key);
	for (unsigned i = 0; i < 2; i++)
		put_side(&told->w, told->names[i], &d->sides[i], d->key);
	writer_put(&told->w, "}");
	if (d->key && told->journal)
		journal_log(told->journal, LOG_IS_INFO, MESSAGE_OTHER,
			    "psibridge set: %.500s %s: %s -> %s", d->section, d->key,
			    d->sides[0].text, d->sides[1].text);
}

static void note_mistake(const struct complaints *c, const char *line, bool mistake)
{
	if (mistake)
		writer_put(c->userdata, ":s", line);
}

struct text *control_diff(struct daemon *d)
{
	struct told told = { .names = { "configured", "running" } };
	struct complaints c = { .say = note_mistake, .userdata = &told.w };
	_cleanup_(config_freep) struct config *config = NULL;
	struct paths paths;

	if (!writer_begin(&told.w))
		return NULL;
	find_paths(d, "/", &paths);
	writer_put(&told.w, "{ set_file:s mistakes:[", paths.set);
	config = config_load(d->root, &(struct config_set){ "", "" }, &c);
	writer_put(&told.w, "] differences:[");
	if (config)
		config_diff(config, d->config, put_difference, &told);
	writer_put(&told.w, "] }");
	return writer_end(&told.w);
}

/* ---- set and reset ------------------------------------------------------------------------------- */

static int write_fresh(const struct paths *paths, const char *text)
{
	struct stat st;
	FILE *out;
	int r = 0;

	if (mkdir(paths->directory, 0755) < 0 && errno != EEXIST)
		return -errno;
	/* what can't be replaced is found before the configuration is taken */
	if (lstat(paths->set, &st) == 0 && S_ISDIR(st.st_mode))
		return -EISDIR;
	/* whatever is left there: a FIFO, too, would be waited for */
	unlink(paths->fresh);
	out = fopen(paths->fresh, "wxe");
	if (!out)
		return -errno;
	errno = EIO;
	if (fprintf(out, "# Written by psibridge set, and gone when the machine restarts.\n%s",
		    text) < 0 ||
	    fflush(out) != 0 || fchmod(fileno(out), 0644) < 0 || fsync(fileno(out)) < 0)
		r = -errno;
	fclose(out);
	if (r < 0)
		unlink(paths->fresh);
	return r;
}

/* The file becomes `text`, and the daemon goes by `config`, which it takes over. */
static int take(struct daemon *d, struct config *config, const struct paths *paths,
		const char *text)
{
	int r = write_fresh(paths, text);

	if (r < 0) {
		config_free(config);
		return r;
	}
	r = d->calls->take(d, config);
	if (r < 0)
		unlink(paths->fresh);
	else if (*text ? rename(paths->fresh, paths->set) < 0
		       : unlink(paths->set) < 0 && errno != ENOENT)
		r = -errno;
	if (!*text)
		unlink(paths->fresh);
	return r;
}

static struct text *failed(struct told *told, int error, const char *file)
{
	char words[FILENAME_MAX + 128];

	snprintf(words, sizeof(words), "%s: %s", file, strerror(-error));
	journal_log(told->journal, LOG_IS_ERROR, MESSAGE_OTHER, "psibridge set: not done: %s",
		    words);
	text_unref(writer_end(&told->w));
	return control_result(error, words);
}

/* Of `config` only the answer is made; then it is taken. */
static struct text *change(struct daemon *d, const char *watch, const struct paths *paths,
			   struct config *config)
{
	struct told told = { .names = { "old", "new" }, .journal = d->journal };
	struct config_part all = { .all_of = paths->set };
	struct config_part save = { .all_of = paths->saved, .from = paths->set, .path = watch };
	_cleanup_(freep) char *set = lines_of(config, &all);
	_cleanup_(freep) char *saved = lines_of(config, &save);
	int r;

	if (!set || !saved || !writer_begin(&told.w)) {
		config_free(config);
		return NULL;
	}
	writer_put(&told.w, "{ ok:b watch:s file:s saved:{ file:s text:s } changes:[", true,
		   watch + (watch[1] != '\0'), paths->set, paths->saved, saved);
	config_diff(d->config, config, put_difference, &told);
	writer_put(&told.w, "] }");
	r = take(d, config, paths, set);
	return r < 0 ? failed(&told, r, paths->set) : writer_end(&told.w);
}

/* NULL: no memory. */
static struct text *apply(struct daemon *d, const char *watch, const char *kept, const char *more)
{
	struct complaints c = { .say = NULL };
	struct config *config;
	struct paths paths;
	size_t n;

	find_paths(d, watch, &paths);
	config = config_load(d->root, &(struct config_set){ kept, more }, &c);
	if (config)
		return change(d, watch, &paths, config);
	/* what is wrong with what is set is no matter of a file */
	n = strlen(paths.set);
	if (strncmp(c.first, paths.set, n) == 0 && c.first[n] == ':')
		return control_result(-EINVAL, strchr(c.first + n, ' ') + 1);
	return control_result(-EINVAL, c.first);
}

struct text *control_set(struct daemon *d, const char *watch, const char *lines)
{
	char set[FILENAME_MAX + 16], path[CGPATH_MAX], words[2 * CGPATH_MAX];
	struct config_part all = { .all_of = set };
	struct config_part rest = { .from = set, .path = path, .but = true };
	_cleanup_(freep) char *before = NULL, *after = NULL;
	const char *why;
	int r = config_path(watch, path, &why);

	snprintf(words, sizeof(words), "\"%.500s\": %s", watch, why);
	if (r < 0)
		return control_result(r, words);
	snprintf(set, sizeof(set), "%s" CONFIG_SET_FILE, d->root);
	before = lines_of(d->config, &all);
	after = lines_of(d->config, &rest);
	if (!before || !after)
		return NULL;
	snprintf(words, sizeof(words), "[Watch %s]\n%s\n", path + (path[1] != '\0'),
		 lines ? lines : "");
	if (lines)
		return apply(d, path, before, *lines ? words : "");
	snprintf(words, sizeof(words), "%s: nothing of it was set at run time", path);
	return strcmp(before, after) == 0 ? control_result(-ENOENT, words)
					  : apply(d, path, after, "");
}
