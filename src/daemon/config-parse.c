/* SPDX-License-Identifier: MIT */
/*
 * config-parse.c - the lines of one file, to assignments in sections
 *
 *   line      blanks around it mean nothing; empty, or with # or ; in front: a comment
 *   [SECTION] nothing may follow; [Daemon], [Defaults], [Watch PATTERN]
 *   KEY=VALUE no continuation, no comment behind it
 *
 * A section that is wrong still has its keys looked at, as far as it is clear what they should be:
 * those of a [Watch] with a bad pattern go into a section that is thrown away.
 *
 * Shadow=yes makes a [Watch] another section than the one without, and may stand in any of its lines: they are looked
 * through for it first.
 */
#include "daemon/config-internal.h"

#include "core/cgpattern.h"
#include "core/nearest.h"

#define PART_MIN 4   /* so many letters of a key say which one is meant */
#define SHOWN_MAX 80 /* of the file's text, in a complaint */

struct reader {
	struct loader *loader;
	struct origin at;
	struct scan rest;	 /* behind the line */
	struct section *section; /* that the lines belong to; NULL: before the first header */
	struct section nowhere;	 /* for a [Watch] that cannot be */
	bool section_unknown;
};

#define complain(r, ...) config_say((r)->loader->complaints, true, &(r)->at, __VA_ARGS__)

/* What stands for a text of the file in a complaint: printf("%.*s%s"). */
#define SHOWN(s) (int)MIN((s).left, (size_t)SHOWN_MAX), (s).p, (s).left > SHOWN_MAX ? "..." : ""

static const char *const section_names[] = {
	[SECTION_DAEMON] = "Daemon",
	[SECTION_DEFAULTS] = "Defaults",
	[SECTION_WATCH] = "Watch",
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static struct scan strip(struct scan s)
{
	while (s.left > 0 && (is_blank(s.p[s.left - 1]) || s.p[s.left - 1] == '\r'))
		s.left--;
	scan_blanks(&s);
	return s;
}

static const unsigned char *find_control(struct scan s)
{
	for (size_t i = 0; i < s.left; i++)
		if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return (const unsigned char *)s.p + i;
	return NULL;
}

/* ---- sections -------------------------------------------------------------------------------- */

/*
 * A path must come back as it is from "[Watch PATH]", and the mount's place depends on the machine
 * (hybrid hierarchies), which a configuration file should not.
 */
static const char *judge_path(struct scan written, const char *path)
{
	struct scan s = scan_string(path);

	if (scan_word(&written, "/sys/fs/cgroup") && (written.left == 0 || *written.p == '/'))
		return "paths begin below the cgroup2 mount: leave it away";
	if (is_blank(s.p[s.left - 1]) || (s.left > 1 && is_blank(s.p[1])))
		return "a blank begins or ends it";
	if (scan_has(s, '\t'))
		return "a tab is not allowed in it";
	return NULL;
}

static int normalise_pattern(const char *text, char *path, const char **ret_why)
{
	_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;
	int r = cgpath_normalise(text, NULL, path, ret_why);

	if (r < 0 || !strchr(path, '*'))
		return r;
	return cgpattern_new(path, NULL, &pattern, ret_why);
}

static void enter(struct reader *r, struct section *section)
{
	if (section->last.file == r->at.file)
		config_say(r->loader->complaints, false, &r->at,
			   "[%s%s%s%s]: line %u of this file has this section; both count",
			   section_names[section->kind], section->path ? " " : "",
			   section->path ? section->path + (section->path[1] != '\0') : "",
			   section->candidate ? " with Shadow=yes" : "", section->last.line);
	section->last = r->at;
	r->section = section;
}

/* Is the section that begins here a candidate? */
static bool is_candidate(struct scan rest)
{
	struct value shadow = { .number = 0 };
	struct scan line, key;

	while (scan_item(&rest, '\n', &line)) {
		line = strip(line);
		if (line.left > 0 && *line.p == '[')
			break;
		if (!scan_field(&line, '=', &key) ||
		    !scan_is(strip(key), config_key(KEY_SHADOW).name))
			continue;
		line = strip(line);
		shadow.number = 0;
		(void)value_parse(FORM_BOOLEAN, line.p, line.left, &shadow, NULL);
	}
	return shadow.number;
}

static int take_watch(struct reader *r, struct scan written)
{
	char text[CGPATH_MAX + 1], path[CGPATH_MAX];
	struct section *section;
	const char *why = NULL;
	int error;

	r->nowhere = (struct section){ .kind = SECTION_WATCH };
	r->section = &r->nowhere;
	if (written.left == 0) {
		complain(r, "[Watch]: which? [Watch PATTERN] was expected, such as "
			    "[Watch system.slice/*.service]");
		return 0;
	}
	memcpy(text, written.p, MIN(written.left, sizeof(text) - 1));
	text[MIN(written.left, sizeof(text) - 1)] = '\0';
	if (written.left >= sizeof(text))
		why = "it is longer than 4095 bytes";
	if (!why) {
		error = normalise_pattern(text, path, &why);
		if (error == -ENOMEM)
			return error;
		if (error == 0)
			why = judge_path(written, path);
	}
	if (why) {
		complain(r,
			 "[Watch %.*s%s]: %s; the path of a cgroup or a pattern was expected, "
			 "such as system.slice/*.service",
			 SHOWN(written), why);
		return 0;
	}
	error = config_watch_section(r->loader, path, is_candidate(r->rest), &r->at, &section);
	if (error == 0)
		enter(r, section);
	if (error != -EUSERS)
		return error;
	complain(r,
		 "[Watch %.*s%s]: %u watches were expected at most; a pattern watches many cgroups",
		 SHOWN(scan_string(path + 1)), (unsigned)CONFIG_WATCHES_MAX);
	return 0;
}

static void refuse_section(struct reader *r, struct scan name, struct scan word)
{
	const char *near = nearest_word(word.p, word.left, section_names,
					ELEMENTSOF(section_names));

	r->section_unknown = true;
	if (near)
		complain(r, "[%.*s%s]: there is no such section; did you mean [%s%s]?", SHOWN(name),
			 near, strcmp(near, "Watch") == 0 ? " PATTERN" : "");
	else
		complain(r,
			 "[%.*s%s]: there is no such section; [Daemon], [Defaults] or "
			 "[Watch PATTERN] was expected",
			 SHOWN(name));
}

static int take_section(struct reader *r, struct scan line)
{
	struct scan name = line, word;

	r->section_unknown = false;
	if (!scan_ends_with(line, "]")) {
		r->section_unknown = true;
		complain(r, "%.*s%s: a section ends its line with \"]\"", SHOWN(line));
		return 0;
	}
	name.left--;
	scan_skip(&name, 1);
	name = strip(name);
	word = name;
	while (name.left > 0 && !is_blank(*name.p))
		scan_skip(&name, 1);
	word.left -= name.left;
	name = strip(name);
	if (scan_is(word, "Watch"))
		return take_watch(r, name);
	if (scan_is(word, "Daemon") && name.left == 0)
		enter(r, &r->loader->origins->daemon);
	else if (scan_is(word, "Defaults") && name.left == 0)
		enter(r, &r->loader->origins->defaults);
	else
		refuse_section(r, (struct scan){ word.p, (size_t)(name.p + name.left - word.p) },
			       word);
	return 0;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void refuse_key(struct reader *r, struct scan name)
{
	const char *names[KEY_COUNT], *near, *where;
	size_t count = 0;

	for (enum config_key key = 0; key < KEY_COUNT; key++) {
		if (!config_key_belongs(key, r->section->kind)) {
			if (!scan_is(name, config_key(key).name))
				continue;
			where = "[Watch]";
			if (config_key_belongs(key, SECTION_DAEMON))
				where = "[Daemon]";
			else if (config_key_belongs(key, SECTION_DEFAULTS))
				where = "[Defaults] or [Watch]";
			complain(r, "%s: this key belongs to %s, not to [%s]", config_key(key).name,
				 where, section_names[r->section->kind]);
			return;
		}
		names[count++] = config_key(key).name;
	}
	near = nearest_word(name.p, name.left, names, count);
	for (size_t i = 0; i < count && !near; i++) /* Headroom, HighHead */
		if (name.left >= PART_MIN && memmem(names[i], strlen(names[i]), name.p, name.left))
			near = names[i];
	if (near)
		complain(r, "%.*s%s: there is no such key in [%s]; did you mean %s?", SHOWN(name),
			 section_names[r->section->kind], near);
	else
		complain(r, "%.*s%s: there is no such key in [%s]; psibridged.conf(5) lists them",
			 SHOWN(name), section_names[r->section->kind]);
}

/* What a value seems to mean that is not understood, in place of the parser's words; NULL: these. */
static const char *guess(enum config_key key, struct scan value)
{
	if (value.left >= 2 && (*value.p == '"' || *value.p == '\'') &&
	    value.p[value.left - 1] == *value.p)
		return "values are written without quotes";
	if (config_key(key).form == FORM_TRIGGER && scan_ends_with(value, "%"))
		return "a share of the time is written as a stall within a window: 10% is some 200ms/2s";
	return NULL;
}

static void assign(struct reader *r, enum config_key key, struct scan value)
{
	struct assignment *a = &r->section->keys[key], before = *a;
	const char *why;

	*a = (struct assignment){ .assigned = value.left > 0, .origin = r->at };
	if (!a->assigned)
		return;
	/* what another file said is meant to be changed */
	if (before.assigned && before.origin.file == r->at.file)
		config_say(r->loader->complaints, false, &r->at,
			   "%s: line %u of this file says it for the same section; this one counts",
			   config_key(key).name, before.origin.line);
	a->refused = value_parse(config_key(key).form, value.p, value.left, &a->value, &why) < 0;
	if (a->refused && guess(key, value))
		why = guess(key, value);
	if (a->refused)
		complain(r, "%s: \"%.*s%s\": %s%s%s was expected", config_key(key).name,
			 SHOWN(value), why, *why ? "; " : "", config_key(key).expected);
}

static void take_key(struct reader *r, struct scan name, struct scan value)
{
	if (r->section_unknown)
		return;
	if (!r->section) {
		complain(r,
			 "%.*s%s: it stands before the first section; [Daemon], [Defaults] or "
			 "[Watch PATTERN] was expected",
			 SHOWN(name));
		return;
	}
	for (enum config_key key = 0; key < KEY_COUNT; key++)
		if (config_key_belongs(key, r->section->kind) &&
		    scan_is(name, config_key(key).name)) {
			assign(r, key, value);
			return;
		}
	refuse_key(r, name);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* A line that could be understood in another way is refused. */
static void take_assignment(struct reader *r, struct scan line)
{
	struct scan key, value = line;

	for (size_t i = 1; i < line.left; i++) {
		if (is_blank(line.p[i - 1]) && (line.p[i] == ';' || line.p[i] == '#')) {
			complain(r, "%.*s%s: a comment must have a line of its own", SHOWN(line));
			return;
		}
	}
	if (scan_ends_with(line, "\\"))
		complain(r, "%.*s%s: a line cannot be continued on the next one", SHOWN(line));
	else if (!scan_field(&value, '=', &key) || scan_has(key, ':'))
		complain(r, "%.*s%s: [SECTION], KEY=VALUE or a comment was expected", SHOWN(line));
	else if (strip(key).left == 0)
		complain(r, "%.*s%s: the key in front of \"=\" is missing", SHOWN(line));
	else
		take_key(r, strip(key), strip(value));
}

static int take_line(struct reader *r, struct scan line)
{
	const unsigned char *control = find_control(line);
	bool is_section = line.left > 0 && *line.p == '[';

	if (line.left == 0 || *line.p == '#' || *line.p == ';')
		return 0;
	if (!control && is_section)
		return take_section(r, line);
	if (!control) {
		take_assignment(r, line);
		return 0;
	}
	complain(r, "%.*s%s: the control character 0x%02x is not allowed", SHOWN(line), *control);
	r->section_unknown = r->section_unknown || is_section;
	return 0;
}

int config_parse(struct loader *loader, const char *file, const char *text, size_t size)
{
	struct reader r = { .loader = loader, .at = { .file = file }, .rest = { text, size } };
	struct scan line;
	int error = 0;

	while (error == 0 && scan_item(&r.rest, '\n', &line)) {
		if (r.at.line++ == 0)
			scan_word(&line, "\xef\xbb\xbf");
		error = take_line(&r, strip(line));
	}
	return error;
}
