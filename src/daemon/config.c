/* SPDX-License-Identifier: MIT */
/*
 * config.c - a configuration as a whole: built in, then files, then what follows from both
 *
 * Three layers of assignments, each found again later (struct origins), so that config_show() can
 * say where a value came from:
 *
 *   [Watch X]  >  [Defaults]  >  built in          and for the daemon   [Daemon]  >  built in
 *
 * A [Watch X] with Shadow=yes is a candidate, another section than the [Watch X] without, from which
 * it has what it does not say itself.
 *
 * The built-in watches are sections that stand before all files. A file can change one by naming
 * it, and take it away with Enabled=no; so a file that says nothing changes nothing. Only when all
 * files are read, the layers are put together: where [Defaults] stands does not matter.
 *
 * What must fit together: Early and the others (trigger_check_early()). And a critical threshold
 * that is under the low one of the same kind would make every Low critical.
 */
#include "daemon/config-internal.h"

#include "core/utf8.h"

#include <stdarg.h>
#include <stdlib.h>

/* ---- keys ------------------------------------------------------------------------------------ */

#define BIT(kind) (1u << (kind))
#define JUDGING (BIT(SECTION_DEFAULTS) | BIT(SECTION_WATCH))

/* Built-in values go through the parser of user input, so they obey its rules. */
struct key_row config_key(enum config_key key)
{
	static const struct key_row rows[KEY_COUNT] = {
#define ROW(name, built_in, form, sections) { name, built_in, form, sections, NULL }
		[KEY_SHADOW] = ROW("Shadow", "no", FORM_BOOLEAN, JUDGING),
		[KEY_ENABLED] = ROW("Enabled", "yes", FORM_BOOLEAN, BIT(SECTION_WATCH)),
		[KEY_CLIENTS_MAX] = ROW("ClientsMax", "16384", FORM_COUNT, BIT(SECTION_DAEMON)),
		[KEY_CLIENTS_PER_CGROUP] = ROW("ClientsPerCgroup", "256", FORM_COUNT,
					       BIT(SECTION_DAEMON)),
		[KEY_CLIENTS_PER_UID] = ROW("ClientsPerUid", "2048", FORM_COUNT,
					    BIT(SECTION_DAEMON)),
		[KEY_SERVE_OTHERS] = ROW("ServeOthers", "yes", FORM_BOOLEAN, BIT(SECTION_DAEMON)),
		[KEY_LOW_MEMORY_MONITOR] = ROW("LowMemoryMonitor", "yes", FORM_BOOLEAN,
					       BIT(SECTION_DAEMON)),
#undef ROW
	};
	const struct setting_row *setting;
	struct key_row row;

	if ((unsigned)key < SETTING_COUNT) {
		setting = &setting_table[key];
		return (struct key_row){ setting->key, setting->built_in, setting->form, JUDGING,
					 setting_expected((enum setting)key) };
	}
	row = rows[key];
	row.expected = value_expected(row.form);
	return row;
}

bool config_key_belongs(enum config_key key, enum section_kind kind)
{
	return config_key(key).sections & BIT(kind);
}

void config_say(struct complaints *c, bool mistake, const struct origin *where, const char *format,
		...)
{
	char line[CGPATH_MAX + 1024];
	size_t n = (size_t)snprintf(line, CGPATH_MAX, "%s:", where->file);
	va_list args;

	n = MIN(n, (size_t)CGPATH_MAX - 1);
	if (where->line > 0)
		n += (size_t)snprintf(line + n, sizeof(line) - n, "%u:", where->line);
	n += (size_t)snprintf(line + n, sizeof(line) - n, mistake ? " " : " warning: ");
	va_start(args, format);
	vsnprintf(line + n, sizeof(line) - n, format, args);
	va_end(args);
	utf8_hide_controls(line, strlen(line));
	c->mistakes += mistake;
	c->say(c, line, mistake);
}

/* ---- layers ---------------------------------------------------------------------------------- */

static const char *const built_in_watches[] = {
	"/system.slice/**",
	"/user.slice/**",
	"/machine.slice/**",
	"/kubepods.slice/**",
};

static struct section *section_free(struct section *section)
{
	if (section)
		free(section->path);
	free(section);
	return NULL;
}
DEFINE_CLEANUP(struct section *, section_free);

struct config *config_free(struct config *config)
{
	if (!config)
		return NULL;
	for (size_t i = 0; config->origins && i < config->origins->watch_count; i++)
		section_free(config->origins->watches[i]);
	for (size_t i = 0; config->files && config->files[i]; i++)
		free(config->files[i]);
	free(config->origins);
	free(config->watches);
	free(config->files);
	free(config);
	return NULL;
}

static struct section *find_watch(const struct origins *o, const char *path, bool candidate)
{
	for (size_t i = 0; i < o->watch_count; i++)
		if (o->watches[i]->candidate == candidate && strcmp(o->watches[i]->path, path) == 0)
			return o->watches[i];
	return NULL;
}

int config_watch_section(struct loader *loader, const char *path, bool candidate,
			 const struct origin *origin, struct section **ret)
{
	_cleanup_(section_freep) struct section *section = NULL;
	struct origins *o = loader->origins;

	*ret = find_watch(o, path, candidate);
	if (*ret)
		return 0;
	if (o->watch_count == CONFIG_WATCHES_MAX)
		return -EUSERS;
	section = calloc(1, sizeof(*section));
	if (!section)
		return -ENOMEM;
	section->kind = SECTION_WATCH;
	section->candidate = candidate;
	section->origin = *origin;
	section->path = strdup(path);
	if (!section->path)
		return -ENOMEM;
	*ret = o->watches[o->watch_count++] = steal(section);
	return 0;
}

int config_begin(struct complaints *complaints, struct loader *ret)
{
	_cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));
	struct loader l = { .complaints = complaints, .config = config };
	static const struct origin built_in = { NULL, 0 };
	struct section *ignored;
	int r;

	if (!config)
		return -ENOMEM;
	config->files = calloc(1, sizeof(*config->files));
	config->origins = calloc(1, sizeof(*config->origins));
	if (!config->files || !config->origins)
		return -ENOMEM;
	l.origins = config->origins;
	l.origins->daemon.kind = SECTION_DAEMON;
	l.origins->defaults.kind = SECTION_DEFAULTS;
	for (enum config_key key = 0; key < KEY_COUNT; key++) {
		const struct key_row row = config_key(key);

		(void)value_parse(row.form, row.built_in, strlen(row.built_in),
				  &l.origins->built_in[key].value, NULL);
	}
	for (size_t i = 0; i < ELEMENTSOF(built_in_watches); i++) {
		r = config_watch_section(&l, built_in_watches[i], false, &built_in, &ignored);
		if (r < 0)
			return r;
	}
	steal(config);
	*ret = l;
	return 0;
}

const struct assignment *config_effective(const struct origins *origins,
					  const struct section *section, enum config_key key)
{
	const struct section *beside = NULL;

	if (section->keys[key].assigned)
		return &section->keys[key];
	if (section->candidate && key != KEY_ENABLED)
		beside = find_watch(origins, section->path, false);
	if (beside && beside->keys[key].assigned)
		return &beside->keys[key];
	if (section->kind == SECTION_WATCH && origins->defaults.keys[key].assigned)
		return &origins->defaults.keys[key];
	return &origins->built_in[key];
}

static uint64_t number(const struct origins *o, const struct section *s, enum config_key key)
{
	return config_effective(o, s, key)->value.number;
}

static struct settings settle(const struct origins *o, const struct section *s)
{
	struct settings settings = { .shadow = number(o, s, KEY_SHADOW) };

	for (enum setting setting = 0; setting < SETTING_COUNT; setting++)
		setting_put(&settings.policy, setting,
			    &config_effective(o, s, (enum config_key)setting)->value);
	return settings;
}

/* ---- what must fit together ------------------------------------------------------------------ */

/*
 * Two keys contradict each other. It is said once: where the more specific of the two was written,
 * and not again for every watch that has both from [Defaults].
 */
static const struct origin *blame(const struct section *s, enum config_key a, enum config_key b,
				  enum config_key *ret)
{
	*ret = s->keys[a].assigned ? a : b;
	return s->keys[*ret].assigned ? &s->keys[*ret].origin : NULL;
}

static void check_early(struct loader *l, const struct section *s, enum config_key other_key)
{
	const struct assignment *early = config_effective(l->origins, s, KEY_EARLY);
	const struct assignment *other = config_effective(l->origins, s, other_key);
	const struct origin *where;
	enum config_key key;
	char why[300];

	where = blame(s, KEY_EARLY, other_key, &key);
	if (where && !early->refused && !other->refused &&
	    trigger_check_early("Early", &early->value.trigger, config_key(other_key).name,
				&other->value.trigger, why, sizeof(why)) < 0)
		config_say(l->complaints, true, where, "%s: %s", config_key(key).name, why);
}

static void check_critical(struct loader *l, const struct section *s)
{
	const struct assignment *low = config_effective(l->origins, s, KEY_LOW);
	const struct assignment *critical = config_effective(l->origins, s, KEY_CRITICAL);
	char low_text[TRIGGER_TEXT_MAX], critical_text[TRIGGER_TEXT_MAX];
	const struct trigger *t = &low->value.trigger, *c = &critical->value.trigger;
	const struct origin *where;
	enum config_key key;

	where = blame(s, KEY_CRITICAL, KEY_LOW, &key);
	if (!where || low->refused || critical->refused || t->kind != c->kind)
		return;
	/* shares of time: with equal ones the windows say which comes first, and either is sound */
	if (c->threshold_usec * t->window_usec >= t->threshold_usec * c->window_usec)
		return;
	trigger_format(t, low_text);
	trigger_format(c, critical_text);
	config_say(l->complaints, true, where,
		   "%s: Critical \"%s\" is under Low \"%s\", so every Low would be critical; "
		   "Critical over Low was expected",
		   config_key(key).name, critical_text, low_text);
}

static void check(struct loader *l, const struct section *s)
{
	check_early(l, s, KEY_LOW);
	check_early(l, s, KEY_CRITICAL);
	check_critical(l, s);
}

/* ---- the whole ------------------------------------------------------------------------------- */

bool config_is_replaced(const struct origins *o, const struct section *s)
{
	const struct section *candidate = s->candidate ? NULL : find_watch(o, s->path, true);

	return candidate && number(o, candidate, KEY_ENABLED) && number(o, s, KEY_SHADOW);
}

static int settle_watches(struct loader *l, struct config *c)
{
	const struct origins *o = l->origins;

	c->watches = calloc(o->watch_count, sizeof(*c->watches));
	if (!c->watches)
		return -ENOMEM;
	for (size_t i = 0; i < o->watch_count; i++) {
		const struct section *s = o->watches[i];
		struct config_watch *w = &c->watches[c->watch_count];

		if (!number(o, s, KEY_ENABLED))
			continue;
		check(l, s);
		if (config_is_replaced(o, s))
			continue;
		w->path = s->path;
		w->settings = settle(o, s);
		c->watch_count++;
	}
	return 0;
}

int config_finish(struct loader *loader, struct config **ret)
{
	_cleanup_(config_freep) struct config *c = steal(loader->config);
	const struct origins *o = loader->origins;
	int r;

	check(loader, &o->defaults);
	r = settle_watches(loader, c);
	if (r < 0)
		return r;
	if (loader->error < 0)
		return loader->error;
	if (loader->complaints->mistakes > 0)
		return -EINVAL;
	c->defaults = settle(o, &o->defaults);
	c->clients_max = (unsigned)number(o, &o->daemon, KEY_CLIENTS_MAX);
	c->clients_per_cgroup = (unsigned)number(o, &o->daemon, KEY_CLIENTS_PER_CGROUP);
	c->clients_per_uid = (unsigned)number(o, &o->daemon, KEY_CLIENTS_PER_UID);
	c->serve_others = number(o, &o->daemon, KEY_SERVE_OTHERS);
	c->low_memory_monitor = number(o, &o->daemon, KEY_LOW_MEMORY_MONITOR);
	*ret = steal(c);
	return 0;
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
}
