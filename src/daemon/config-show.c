/* SPDX-License-Identifier: MIT */
/*
 * config-show.c - a configuration as text that gives the same configuration
 *
 * Every value that is in force stands there, also the built-in ones, each below a comment that says
 * where it came from: a watch's values from [Defaults] with the place in [Defaults]. A built-in
 * watch that was taken away must be shown as well, or the text would bring it back.
 */
#include "daemon/config-internal.h"

#include "core/utf8.h"

/* Names of files may hold anything but a slash; a newline would end the comment. */
static void put_file(const char *path, FILE *out)
{
	char shown[CGPATH_MAX];

	snprintf(shown, sizeof(shown), "%s", path);
	utf8_hide_controls(shown, strlen(shown));
	fputs(shown, out);
}

static void put_origin(const struct origin *origin, FILE *out)
{
	if (!origin->file) {
		fputs("# built in\n", out);
		return;
	}
	fputs("# from ", out);
	put_file(origin->file, out);
	fprintf(out, ":%u\n", origin->line);
}

static void put_key(const struct origins *o, const struct section *s, enum config_key key,
		    FILE *out)
{
	const struct assignment *a = config_effective(o, s, key);
	char text[VALUE_TEXT_MAX];

	/* [Defaults] says it; in the section itself it would make that a candidate */
	if (key == KEY_SHADOW && s->kind == SECTION_WATCH && !s->candidate && a->value.number)
		return;
	value_format(config_key(key).form, &a->value, text);
	put_origin(&a->origin, out);
	fprintf(out, "%s=%s\n", config_key(key).name, text);
}

static void put_section(const struct origins *o, const struct section *s, FILE *out)
{
	for (enum config_key key = 0; key < KEY_COUNT; key++)
		if (config_key_belongs(key, s->kind))
			put_key(o, s, key, out);
}

static void put_watch(const struct origins *o, const struct section *s, FILE *out)
{
	bool enabled = config_effective(o, s, KEY_ENABLED)->value.number;

	if ((!enabled && s->origin.file) || (enabled && config_is_replaced(o, s)))
		return;
	fputc('\n', out);
	put_origin(&s->origin, out);
	fprintf(out, "[Watch %s]\n", s->path[1] ? s->path + 1 : s->path);
	if (enabled)
		put_section(o, s, out);
	else
		put_key(o, s, KEY_ENABLED, out);
}

int config_show(const struct config *config, FILE *out)
{
	const struct origins *o = config->origins;

	errno = 0;
	fputs("# What psibridged goes by.", out);
	if (!config->files[0])
		fputs(" No file was found.", out);
	fputc('\n', out);
	for (char **file = config->files; *file; file++) {
		fputs("# read: ", out);
		put_file(*file, out);
		fputc('\n', out);
	}
	fputs("\n[Daemon]\n", out);
	put_section(o, &o->daemon, out);
	fputs("\n[Defaults]\n", out);
	put_section(o, &o->defaults, out);
	for (size_t i = 0; i < o->watch_count; i++)
		put_watch(o, o->watches[i], out);
	if (fflush(out) != 0 || ferror(out))
		return errno > 0 ? -errno : -EIO;
	return 0;
}
