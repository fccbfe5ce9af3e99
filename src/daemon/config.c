/* SPDX-License-Identifier: MIT */
/*
 * config.c - from lines to what is in force, and back to lines
 *
 * A section is what was assigned to keys, each with its origin. What one does not say stands in its base:
 *
 *       candidate -> live watch of the same path -> [Defaults] -> built in <- [Daemon]
 *
 * A [Watch] with Shadow=yes is a candidate, another section than the one without. Shadow=yes may stand in any line, so a
 * section is first read as a whole, into a draft, and then merged with what earlier ones said. Bases are put together at
 * the end: where [Defaults] stands does not matter.
 */
#include "daemon/config.h"

#include "core/cgpattern.h"
#include "core/nearest.h"
#include "core/utf8.h"

#include <stdarg.h>
#include <stdlib.h>

enum key {
	/* in front: all of core/setting.h */
	KEY_EARLY = SETTING_EARLY,
	KEY_LOW = SETTING_LOW,
	KEY_CRITICAL = SETTING_CRITICAL,
	KEY_SHADOW = SETTING_COUNT,
	KEY_MEMORY_HIGH_AT,
	KEY_ENABLED,
	KEY_CLIENTS_MAX,
	KEY_CLIENTS_PER_CGROUP,
	KEY_CLIENTS_PER_UID,
	KEY_SERVE_OTHERS,
	KEY_LOW_MEMORY_MONITOR,
	KEY_TRACE,
	KEY_COUNT,
};

/* The first three are there once, in this order, in front of all watches. */
enum kind { BUILT_IN, DAEMON, DEFAULTS, WATCH, NO_SECTION, UNKNOWN };
static const char *const kind_names[] = { "", "Daemon", "Defaults", "Watch" };

struct assignment {
	bool assigned;	    /* not so, but with an origin: an empty value took it back */
	struct value value; /* zero: it was refused */
	struct origin origin;
};

struct section {
	enum kind kind;
	const char *path;	       /* WATCH: normalised; NULL: refused. Else "" */
	bool candidate, has_candidate; /* ... that is enabled */
	const struct section *base;
	struct origin origin, last; /* where it was first mentioned, and last */
	struct assignment keys[KEY_COUNT];
};

void config_say(struct complaints *c, bool mistake, struct origin where, const char *format, ...)
{
	char line[CGPATH_MAX + 1024], number[16] = "";
	va_list args;
	int n;

	if (where.line > 0)
		snprintf(number, sizeof(number), "%u:", where.line);
	n = snprintf(line, sizeof(line), "%.4000s:%s %s", where.file, number,
		     mistake ? "" : "warning: ");
	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - (size_t)n, format, args);
	va_end(args);
	utf8_hide_controls(line, strlen(line));
	if (mistake && c->mistakes++ == 0)
		snprintf(c->first, sizeof(c->first), "%.511s", line);
	if (c->say)
		c->say(c, line, mistake);
}

/* ---- keys ------------------------------------------------------------------------------------ */

struct key_row {
	const char *name, *built_in;
	enum value_form form;
	unsigned kinds; /* of section, a bit for each */
};

static struct key_row key_row(enum key key)
{
	enum { IN_DAEMON = 1 << DAEMON, IN_WATCH = 1 << WATCH, IN_BOTH = IN_WATCH | 1 << DEFAULTS };
	static const struct key_row rows[] = {
		[KEY_SHADOW] = { "Shadow", "no", FORM_BOOLEAN, IN_BOTH },
		[KEY_MEMORY_HIGH_AT] = { "MemoryHighAt", "off", FORM_PERCENT, IN_BOTH },
		[KEY_ENABLED] = { "Enabled", "yes", FORM_BOOLEAN, IN_WATCH },
		[KEY_CLIENTS_MAX] = { "ClientsMax", "16384", FORM_COUNT, IN_DAEMON },
		[KEY_CLIENTS_PER_CGROUP] = { "ClientsPerCgroup", "256", FORM_COUNT, IN_DAEMON },
		[KEY_CLIENTS_PER_UID] = { "ClientsPerUid", "2048", FORM_COUNT, IN_DAEMON },
		[KEY_SERVE_OTHERS] = { "ServeOthers", "yes", FORM_BOOLEAN, IN_DAEMON },
		[KEY_LOW_MEMORY_MONITOR] = { "LowMemoryMonitor", "yes", FORM_BOOLEAN, IN_DAEMON },
		[KEY_TRACE] = { "Trace", "64M", FORM_BOUND, IN_DAEMON },
	};
	const struct setting_row *setting;

	if (key >= KEY_SHADOW)
		return rows[key];
	setting = &setting_table[key];
	return (struct key_row){ setting->key, setting->built_in, setting->form, IN_BOTH };
}

static bool belongs(enum key key, const struct section *s)
{
	return key_row(key).kinds & 1u << s->kind;
}

/* ---- sections -------------------------------------------------------------------------------- */

static const struct assignment *effective(const struct section *s, enum key key)
{
	/* a watch that is taken away may have a candidate */
	while (!s->keys[key].assigned)
		s = key == KEY_ENABLED && s->candidate ? s->base->base : s->base;
	return &s->keys[key];
}

static uint64_t number(const struct section *s, enum key key)
{
	return effective(s, key)->value.number;
}

/* With both in the shadow one is enough. */
static bool is_replaced(const struct section *s)
{
	return s->has_candidate && number(s, KEY_SHADOW);
}

static struct section *find(const struct config *config, enum kind kind, const char *path,
			    bool candidate)
{
	for (size_t i = 0; i < config->section_count; i++) {
		struct section *s = config->sections[i];

		if (s->kind == kind && s->candidate == candidate && strcmp(s->path, path) == 0)
			return s;
	}
	return NULL;
}

/* The section that a draft is of, made if there is none. NULL: there cannot be, and that was said. */
static struct section *get(struct config *config, const struct section *draft,
			   struct complaints *complaints)
{
	bool candidate = draft->kind == WATCH && draft->keys[KEY_SHADOW].value.number;
	struct section *s = find(config, draft->kind, draft->path, candidate);

	if (s)
		return s;
	if (config->section_count == CONFIG_SECTIONS_MAX) {
		config_say(complaints, true, draft->origin,
			   "%d watches were expected at most; a pattern watches many cgroups",
			   CONFIG_WATCHES_MAX);
		return NULL;
	}
	s = calloc(1, sizeof(*s) + strlen(draft->path) + 1);
	if (!s) {
		config_say(complaints, true, draft->origin, "%s", strerror(ENOMEM));
		return NULL;
	}
	s->kind = draft->kind;
	s->path = strcpy((char *)(s + 1), draft->path);
	s->candidate = candidate;
	s->origin = draft->origin;
	s->base = config->sections[s->kind == WATCH ? DEFAULTS : BUILT_IN];
	return config->sections[config->section_count++] = s;
}

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	while (config->section_count > 0)
		free(config->sections[--config->section_count]);
	for (char **file = config->files; *file; file++)
		free(*file);
	free(config);
	return NULL;
}

struct config *config_new(struct complaints *complaints)
{
	static const char *const paths[] = { "",
					     "",
					     "",
					     "/system.slice/**",
					     "/user.slice/**",
					     "/machine.slice/**",
					     "/kubepods.slice/**" };
	struct section draft = { .origin.file = "psibridged.conf" };
	struct config *config = calloc(1, sizeof(*config));

	if (!config) {
		config_say(complaints, true, draft.origin, "%s", strerror(ENOMEM));
		return NULL;
	}
	config->files = config->file_list;
	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		struct section *s;

		draft.kind = MIN((enum kind)i, WATCH);
		draft.path = paths[i];
		s = get(config, &draft, complaints);
		if (!s)
			return config_free(config);
		s->origin.file = NULL;
	}
	for (enum key key = 0; key < KEY_COUNT; key++) {
		struct assignment *a = &config->sections[BUILT_IN]->keys[key];
		const struct key_row row = key_row(key);

		a->assigned = true;
		(void)value_parse(row.form, row.built_in, strlen(row.built_in), &a->value, NULL);
	}
	return config;
}

/* ---- lines ----------------------------------------------------------------------------------- */

struct reader {
	struct config *config;
	struct complaints *complaints;
	struct origin at;
	struct section draft; /* of the section that we are in */
	char path[CGPATH_MAX];
};

#define complain(r, ...) config_say((r)->complaints, true, (r)->at, __VA_ARGS__)
/* A text of the file in a complaint: printf("%.*s"). */
#define SHOWN(s) (int)MIN((s).left, (size_t)80), (s).p

static struct scan strip(struct scan s)
{
	while (s.left > 0 && strchr(" \t\r", s.p[s.left - 1]))
		s.left--;
	scan_blanks(&s);
	return s;
}

/* What another file said is meant to be changed. */
static void assign(struct reader *r, struct section *s, enum key key, const struct assignment *a)
{
	const struct assignment *before = &s->keys[key];

	if (before->assigned && a->assigned && before->origin.file == a->origin.file)
		config_say(r->complaints, false, a->origin,
			   "%s: line %u of this file says it for the same section; this one counts",
			   key_row(key).name, before->origin.line);
	s->keys[key] = *a;
}

static void end_section(struct reader *r)
{
	const struct section *draft = &r->draft;
	struct section *s = NULL;

	if (draft->kind <= WATCH && draft->path)
		s = get(r->config, draft, r->complaints);
	if (!s)
		return;
	if (s->last.file == draft->origin.file)
		config_say(r->complaints, false, draft->origin,
			   "line %u of this file begins the same section; both count",
			   s->last.line);
	s->last = draft->origin;
	for (enum key key = 0; key < KEY_COUNT; key++)
		if (draft->keys[key].origin.file)
			assign(r, s, key, &draft->keys[key]);
}

/* The mount's place depends on the machine (hybrid hierarchies), which a configuration should not. */
static int normalise(struct scan written, char *path, const char **ret_why)
{
	_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;
	char text[CGPATH_MAX];
	int r;

	if (!scan_copy(written, text, sizeof(text)))
		return scan_refuse(-EINVAL, "it is empty, longer than 4095 bytes, or has a NUL",
				   ret_why);
	if (scan_word(&written, "/sys/fs/cgroup"))
		return scan_refuse(-EINVAL, "paths begin below the cgroup2 mount: leave it away",
				   ret_why);
	r = cgpath_normalise(text, NULL, path, ret_why);
	/* --show-config would be another path */
	if (r == 0 && (path[1] == ' ' || path[strlen(path) - 1] == ' '))
		return scan_refuse(-EINVAL, "a blank begins or ends it", ret_why);
	if (r == 0 && strchr(path, '*'))
		r = cgpattern_new(path, NULL, &pattern, ret_why);
	return r;
}

int config_path(const char *written, char *path, const char **ret_why)
{
	*ret_why = strerror(ENOMEM);
	return normalise(strip(scan_string(written)), path, ret_why);
}

static void begin_section(struct reader *r, struct scan line)
{
	const char *why = strerror(ENOMEM);
	struct scan path = line;

	r->draft = (struct section){ .kind = UNKNOWN, .path = "", .origin = r->at };
	if (scan_is(line, "[Daemon]")) {
		r->draft.kind = DAEMON;
	} else if (scan_is(line, "[Defaults]")) {
		r->draft.kind = DEFAULTS;
	} else if (scan_ends_with(line, "]") && scan_word(&path, "[Watch ")) {
		r->draft.kind = WATCH;
		path.left--;
		r->draft.path = normalise(strip(path), r->path, &why) == 0 ? r->path : NULL;
		if (!r->draft.path)
			complain(
				r,
				"%.*s: %s; [Watch system.slice/*.service], for example, was expected",
				SHOWN(line), why);
	} else {
		complain(r, "%.*s: [Daemon], [Defaults] or [Watch PATTERN] was expected",
			 SHOWN(line));
	}
}

static void refuse_key(struct reader *r, struct scan name)
{
	const char *names[KEY_COUNT], *near;
	size_t count = 0;

	for (enum key key = 0; key < KEY_COUNT; key++)
		if (belongs(key, &r->draft))
			names[count++] = key_row(key).name;
	near = nearest_word(name.p, name.left, names, count);
	complain(r, "%.*s: there is no such key in [%s]; %s%s%s", SHOWN(name),
		 kind_names[r->draft.kind],
		 near ? "did you mean " : "psibridged.conf(5) lists them", near ? near : "",
		 near ? "?" : "");
}

static void take_key(struct reader *r, struct scan name, struct scan text)
{
	struct assignment a = { .assigned = text.left > 0, .origin = r->at };
	struct key_row row;
	enum key key = 0;
	const char *why;

	while (key < KEY_COUNT && !(belongs(key, &r->draft) && scan_is(name, key_row(key).name)))
		key++;
	if (key == KEY_COUNT) {
		refuse_key(r, name);
		return;
	}
	row = key_row(key);
	if (a.assigned && value_parse(row.form, text.p, text.left, &a.value, &why) < 0)
		complain(r, "%s: \"%.*s\": %s%s%s was expected", row.name, SHOWN(text), why,
			 *why ? "; " : "",
			 key < KEY_SHADOW ? setting_expected((enum setting)key)
					  : value_expected(row.form));
	assign(r, &r->draft, key, &a);
}

static void take_line(struct reader *r, struct scan line)
{
	struct scan rest = line, key;

	if (line.left == 0 || *line.p == '#' || *line.p == ';')
		return;
	if (*line.p == '[') {
		end_section(r);
		begin_section(r, line);
	} else if (!scan_field(&rest, '=', &key)) {
		complain(r, "%.*s: [SECTION], KEY=VALUE or a comment was expected", SHOWN(line));
	} else if (r->draft.kind == NO_SECTION) {
		complain(r, "%.*s: a section was expected in front of it", SHOWN(line));
	} else if (r->draft.kind != UNKNOWN) {
		take_key(r, strip(key), strip(rest));
	}
}

void config_read(struct config *config, const char *file, struct scan text,
		 struct complaints *complaints)
{
	struct reader r = { .config = config,
			    .complaints = complaints,
			    .at = { file, 0 },
			    .draft.kind = NO_SECTION };
	struct scan line;

	while (scan_item(&text, '\n', &line)) {
		r.at.line++;
		take_line(&r, strip(line));
	}
	end_section(&r);
}

/* The live watch that judges what `s` is about where that is not there; else [Defaults]. */
static const struct section *covering(const struct config *config, const struct section *s)
{
	const struct section *best = config->sections[DEFAULTS];

	for (size_t i = WATCH; i < config->section_count; i++) {
		const struct section *other = config->sections[i];

		if (other != s && !other->candidate && number(other, KEY_ENABLED) &&
		    cgpattern_covers(other->path, s->path) &&
		    (best->kind == DEFAULTS || cgpattern_is_more_specific(other->path, best->path)))
			best = other;
	}
	return best;
}

void config_read_set(struct config *config, const char *file, const struct config_set *set,
		     struct complaints *complaints)
{
	size_t count;

	config_read(config, file, scan_string(set->kept), complaints);
	count = config->section_count;
	config_read(config, file, scan_string(set->more), complaints);
	for (size_t i = count; i < config->section_count; i++) {
		struct section *s = config->sections[i];
		const struct section *before = covering(config, s);

		if (s->candidate && find(config, WATCH, s->path, false))
			continue; /* its base */
		for (enum key key = 0; key < KEY_COUNT; key++)
			if (!s->keys[key].origin.file && key != KEY_SHADOW && key != KEY_ENABLED &&
			    before->keys[key].assigned) {
				s->keys[key] = before->keys[key];
				s->keys[key].origin = s->origin;
			}
	}
}

/* ---- what is in force ------------------------------------------------------------------------ */

/* A contradiction of two keys is said where the more specific of them was written, and not again for every watch that has
 * both from [Defaults]. */
static void check(const struct section *s, enum key key, enum key other_key, struct complaints *c)
{
	const struct trigger *t = &effective(s, key)->value.trigger;
	const struct trigger *other = &effective(s, other_key)->value.trigger;
	enum key blamed = s->keys[key].assigned ? key : other_key;
	char why[300] = "Critical is under Low: every Low would be critical";
	bool wrong;

	if (!s->keys[blamed].assigned || t->window_usec == 0 || other->window_usec == 0)
		return;
	if (key == KEY_EARLY)
		wrong = trigger_check_early("Early", t, key_row(other_key).name, other, why,
					    sizeof(why)) < 0;
	else /* shares of time: with equal ones the windows say which comes first, and either is sound */
		wrong = t->kind == other->kind && t->threshold_usec * other->window_usec <
							  other->threshold_usec * t->window_usec;
	if (wrong)
		config_say(c, true, s->keys[blamed].origin, "%s: %s", key_row(blamed).name, why);
}

static void check_all(const struct section *s, struct complaints *complaints)
{
	check(s, KEY_EARLY, KEY_LOW, complaints);
	check(s, KEY_EARLY, KEY_CRITICAL, complaints);
	check(s, KEY_CRITICAL, KEY_LOW, complaints);
}

static struct settings settle(const struct section *s)
{
	struct settings settings = { .shadow = number(s, KEY_SHADOW) };

	for (enum setting setting = 0; setting < SETTING_COUNT; setting++)
		setting_put(&settings.policy, setting, &effective(s, (enum key)setting)->value);
	return settings;
}

struct config *config_finish(struct config *config, struct complaints *complaints)
{
	struct section *daemon = config->sections[DAEMON], *defaults = config->sections[DEFAULTS];

	for (size_t i = WATCH; i < config->section_count; i++) {
		struct section *s = config->sections[i];
		struct section *live = s->candidate ? find(config, WATCH, s->path, false) : NULL;

		if (!live)
			continue;
		s->base = live;
		live->has_candidate = number(s, KEY_ENABLED);
	}
	check_all(defaults, complaints);
	config->defaults = settle(defaults);
	for (size_t i = WATCH; i < config->section_count; i++) {
		const struct section *s = config->sections[i];
		bool enabled = number(s, KEY_ENABLED);

		if (enabled || s->has_candidate)
			check_all(s, complaints);
		if (enabled && !is_replaced(s))
			config->watches[config->watch_count++] = (struct config_watch){
				s->path,
				settle(s),
				number(s, KEY_SHADOW) ? 0 : (unsigned)number(s, KEY_MEMORY_HIGH_AT),
				s->origin,
			};
	}
	config->clients_max = (unsigned)number(daemon, KEY_CLIENTS_MAX);
	config->clients_per_cgroup = (unsigned)number(daemon, KEY_CLIENTS_PER_CGROUP);
	config->clients_per_uid = (unsigned)number(daemon, KEY_CLIENTS_PER_UID);
	config->serve_others = number(daemon, KEY_SERVE_OTHERS);
	config->low_memory_monitor = number(daemon, KEY_LOW_MEMORY_MONITOR);
	config->trace_bytes = number(daemon, KEY_TRACE);
	return complaints->mistakes > 0 ? config_free(config) : config;
}

bool settings_equal(const struct settings *a, const struct settings *b)
{
	return settings_are_equal(&a->policy, &b->policy) && a->shadow == b->shadow;
}

void settings_write(const struct policy_options *policy, struct settings_text *text,
		    struct psb_watch_options *ret)
{
	trigger_format(&policy->early, text->early);
	trigger_format(&policy->low, text->low);
	trigger_format(&policy->critical, text->critical);
	ret->early = text->early;
	ret->low = text->low;
	ret->critical = text->critical;
	ret->rearm_usec = policy->rearm_usec;
	ret->quiet_usec = policy->quiet_usec;
	ret->calm_usec = policy->calm_usec;
	ret->headroom_percent = policy->headroom_percent;
	ret->descendants = policy->descendants == DESCENDANTS_COUNT;
	ret->forecast_usec = policy->forecast_usec;
}

/* ---- back to lines --------------------------------------------------------------------------- */

static void put_origin(const struct origin *origin, FILE *out)
{
	if (origin->file)
		fprintf(out, "# from %s:%u\n", origin->file, origin->line);
	else
		fputs("# built in\n", out);
}

/* Into buf[CONFIG_SECTION_MAX]. */
static const char *name_of(const struct section *s, char *buf)
{
	snprintf(buf, CONFIG_SECTION_MAX, "[%s%s%s]", kind_names[s->kind],
		 s->kind == WATCH ? " " : "", s->path + (s->kind == WATCH && s->path[1]));
	return buf;
}

static void put_section(const struct section *s, FILE *out)
{
	char text[VALUE_TEXT_MAX], name[CONFIG_SECTION_MAX];

	fputc('\n', out);
	if (s->kind == WATCH)
		put_origin(&s->origin, out);
	fprintf(out, "%s\n", name_of(s, name));
	for (enum key key = 0; key < KEY_COUNT; key++) {
		const struct assignment *a = effective(s, key);

		if (!belongs(key, s))
			continue;
		/* [Defaults] says it; in the section itself it would make that a candidate */
		if (key == KEY_SHADOW && s->kind == WATCH && !s->candidate && a->value.number)
			continue;
		value_format(key_row(key).form, &a->value, text);
		put_origin(&a->origin, out);
		fprintf(out, "%s=%s\n", key_row(key).name, text);
	}
}

int config_show(const struct config *config, FILE *out)
{
	errno = 0;
	fprintf(out, "# What psibridged goes by.%s\n",
		config->files[0] ? "" : " No file was found.");
	for (char **file = config->files; *file; file++)
		fprintf(out, "# read: %s\n", *file);
	/* those that were taken away, too: a built-in one would be back */
	for (size_t i = DAEMON; i < config->section_count; i++)
		put_section(config->sections[i], out);
	if (fflush(out) != 0 || ferror(out))
		return errno > 0 ? -errno : -EIO;
	return 0;
}

static bool is_from(const struct origin *origin, const char *file)
{
	return file && origin->file && strcmp(origin->file, file) == 0;
}

static bool is_part(const struct config_part *part, const struct section *s,
		    const struct origin *origin)
{
	bool is_path = part->path && strcmp(s->path, part->path) == 0;

	return is_from(origin, part->all_of) ||
	       (is_path != part->but && is_from(origin, part->from));
}

void config_write(const struct config *config, const struct config_part *part, FILE *out)
{
	char text[VALUE_TEXT_MAX], name[CONFIG_SECTION_MAX];

	for (size_t i = DAEMON; i < config->section_count; i++) {
		const struct section *s = config->sections[i];
		bool begun = is_part(part, s, &s->origin);

		if (begun) /* without a key it watches, too */
			fprintf(out, "%s\n", name_of(s, name));
		for (enum key key = 0; key < KEY_COUNT; key++) {
			const struct assignment *a = &s->keys[key];

			if (!is_part(part, s, &a->origin))
				continue;
			if (!begun)
				fprintf(out, "%s\n", name_of(s, name));
			begun = true;
			value_format(key_row(key).form, &a->value, text);
			fprintf(out, "%s=%s\n", key_row(key).name, a->assigned ? text : "");
		}
	}
}

/* ---- two configurations ---------------------------------------------------------------------- */

struct compared {
	const struct section
		*sections[2]; /* the same section of both, or what is there in its place */
	struct config_difference difference;
	void (*fn)(const struct config_difference *difference, void *userdata);
	void *userdata;
};

static void compare_key(struct compared *c, enum key key)
{
	struct config_difference *d = &c->difference;
	bool is_said = !d->sides[0].is_there || !d->sides[1].is_there;

	for (unsigned i = 0; i < 2; i++) {
		const struct assignment *a = effective(c->sections[i], key);

		value_format(key_row(key).form, &a->value, d->sides[i].text);
		d->sides[i].origin = a->origin;
		is_said = is_said || c->sections[i]->keys[key].assigned;
	}
	d->key = key_row(key).name;
	if (is_said && strcmp(d->sides[0].text, d->sides[1].text) != 0)
		c->fn(d, c->userdata);
}

static void compare(struct compared *c, const struct section *s, const struct config *a,
		    const struct config *b)
{
	const struct config *const configs[] = { a, b };
	struct config_difference *d = &c->difference;

	name_of(s, d->section);
	if (s->candidate) /* two sections have that name */
		strcat(d->section, " Shadow=yes");
	d->key = NULL;
	for (unsigned i = 0; i < 2; i++) {
		c->sections[i] = find(configs[i], s->kind, s->path, s->candidate);
		d->sides[i].is_there = c->sections[i];
		if (!c->sections[i] && s->candidate)
			c->sections[i] = find(configs[i], WATCH, s->path, false);
		if (!c->sections[i])
			c->sections[i] = covering(configs[i], s);
	}
	if (!d->sides[0].is_there || !d->sides[1].is_there)
		c->fn(d, c->userdata);
	for (enum key key = 0; key < KEY_COUNT; key++)
		if (belongs(key, s))
			compare_key(c, key);
}

void config_diff(const struct config *a, const struct config *b,
		 void (*fn)(const struct config_difference *difference, void *userdata),
		 void *userdata)
{
	struct compared c = { .fn = fn, .userdata = userdata };

	for (size_t i = DAEMON; i < a->section_count; i++)
		compare(&c, a->sections[i], a, b);
	for (size_t i = DAEMON; i < b->section_count; i++) {
		const struct section *s = b->sections[i];

		if (!find(a, s->kind, s->path, s->candidate))
			compare(&c, s, a, b);
	}
}
