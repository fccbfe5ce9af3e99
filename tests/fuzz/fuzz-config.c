/* SPDX-License-Identifier: MIT */
/*
 * fuzz-config.c - any bytes as psibridged.conf
 *
 * What is accepted obeys the rules of config.h, and shown and read again it is the same. What is refused is complained of, in
 * lines that can be printed and name file and line. Two files come out of one input, split at its first form feed: the main
 * one and a drop-in.
 */
#include "fuzz.h"

#include <string.h>

#include "core/cgpattern.h"
#include "daemon/config.h"

static void check_settings(const struct policy_options *s)
{
	CHECK(is_trigger(&s->early) && is_trigger(&s->low) && is_trigger(&s->critical));
	CHECK(s->early.threshold_usec <=
	      trigger_rescale(&s->low, s->early.window_usec).threshold_usec);
	CHECK(s->early.kind == PSI_SOME || s->low.kind == PSI_FULL);
	CHECK(s->rearm_usec >= 1000 && s->calm_usec >= 1000);
	CHECK(s->quiet_usec == 0 || s->quiet_usec >= 1000);
	CHECK(s->headroom_percent <= 99 || s->headroom_percent == HEADROOM_OFF);
}

static void check_watches(const struct config *c)
{
	CHECK(c->watch_count <= CONFIG_WATCHES_MAX);
	for (size_t i = 0; i < c->watch_count; i++) {
		const struct config_watch *w = &c->watches[i];
		_cleanup_(cgpattern_freep) struct cgpattern *pattern = NULL;
		char path[CGPATH_MAX];

		check_settings(&w->settings.policy);
		CHECK(cgpath_normalise(w->path, NULL, path, NULL) == 0);
		CHECK(strcmp(path, w->path) == 0);
		if (strchr(path, '*'))
			CHECK(cgpattern_new(path, NULL, &pattern, NULL) == 0);
		for (size_t j = 0; j < i; j++)
			CHECK(strcmp(c->watches[j].path, path) != 0 ||
			      c->watches[j].settings.shadow != w->settings.shadow);
	}
}

static void check_same(const struct config *a, const struct config *b)
{
	CHECK(settings_equal(&a->defaults, &b->defaults));
	CHECK(a->clients_max == b->clients_max && a->clients_per_uid == b->clients_per_uid);
	CHECK(a->clients_per_cgroup == b->clients_per_cgroup);
	CHECK(a->serve_others == b->serve_others && a->low_memory_monitor == b->low_memory_monitor);
	CHECK(a->watch_count == b->watch_count);
	for (size_t i = 0; i < a->watch_count; i++) {
		CHECK(strcmp(a->watches[i].path, b->watches[i].path) == 0);
		CHECK(settings_equal(&a->watches[i].settings, &b->watches[i].settings));
		CHECK(a->watches[i].memory_high_at == b->watches[i].memory_high_at);
	}
}

static void check_line(const struct complaints *c, const char *text, bool mistake)
{
	size_t length = strlen(text);

	CHECK(!mistake || c->mistakes > 0);
	CHECK(length > strlen("main:1: ") && length < 1024);
	CHECK(memcmp(text, "main:", 5) == 0 || memcmp(text, "drop:", 5) == 0 ||
	      memcmp(text, "set_:", 5) == 0);
	CHECK(text[5] >= '1' && text[5] <= '9');
	for (size_t i = 0; i < length; i++)
		CHECK((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
}

/* Ends with the configuration, or NULL and complaints. */
static struct config *read_two(struct scan main, struct scan drop_in)
{
	struct complaints complaints = { .say = check_line };
	struct config *config = config_new(&complaints);

	CHECK(config);
	config_read(config, "main", main, &complaints);
	config_read(config, "drop", drop_in, &complaints);
	config = config_finish(config, &complaints);
	CHECK((complaints.mistakes == 0) == (config != NULL));
	return config;
}

FUZZ_TARGET(config)
{
	struct scan text = { (const char *)data, size }, main = text;
	_cleanup_(config_freep) struct config *c = NULL, *again = NULL;
	char *shown = NULL;
	size_t shown_size;
	FILE *out;

	if (scan_field(&text, '\f', &main))
		c = read_two(main, text);
	else
		c = read_two(text, (struct scan){ NULL, 0 });
	if (!c)
		return;
	check_settings(&c->defaults.policy);
	check_watches(c);
	out = open_memstream(&shown, &shown_size);
	CHECK(out && config_show(c, out) == 0);
	CHECK(fclose(out) == 0);
	again = read_two(scan_string(shown), (struct scan){ NULL, 0 });
	free(shown);
	CHECK(again);
	check_same(c, again);
}

/* ---- set ---------------------------------------------------------------------------------------------- */

/* `drop` NULL: there is none. */
static struct config *read_with_set(struct scan main, const char *drop,
				    const struct config_set *set)
{
	struct complaints complaints = { .say = check_line };
	struct config *config = config_new(&complaints);

	CHECK(config);
	config_read(config, "main", main, &complaints);
	if (drop)
		config_read(config, "drop", scan_string(drop), &complaints);
	config_read_set(config, "set_", set, &complaints);
	return config_finish(config, &complaints);
}

static char *written(const struct config *config, const struct config_part *part)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	CHECK(out);
	config_write(config, part, out);
	CHECK(fclose(out) == 0);
	return text;
}

static void count_difference(const struct config_difference *d, void *userdata)
{
	(void)d;
	++*(unsigned *)userdata;
}

/* What is in force is the same, whatever the order of the watches is. */
static void check_nothing_differs(const struct config *a, const struct config *b)
{
	unsigned count = 0;

	CHECK(b);
	config_diff(a, b, count_difference, &count);
	CHECK(count == 0);
}

/*
 * Any bytes as what was set, as a cgroup, and as what is set now, behind a configuration file, each up to a form feed. What is taken is the
 * same when the daemon reads its own file again, and when it is saved as a drop-in.
 */
static void check_set(struct scan main, const struct config_set *set, const char *path)
{
	static const struct config_part all = { .all_of = "set_" };
	const struct config_part saved = { .all_of = "drop", .from = "set_", .path = path };
	const struct config_part rest = { .from = "set_", .path = path, .but = true };
	_cleanup_(config_freep) struct config *c = read_with_set(main, NULL, set);
	_cleanup_(config_freep) struct config *again = NULL, *kept = NULL;
	char *text, *drop, *others;

	if (!c)
		return;
	text = written(c, &all);
	again = read_with_set(main, NULL, &(struct config_set){ text, "" });
	check_nothing_differs(c, again);
	drop = written(c, &saved);
	others = written(c, &rest);
	kept = read_with_set(main, drop, &(struct config_set){ others, "" });
	check_nothing_differs(c, kept);
	free(text);
	free(drop);
	free(others);
}

FUZZ_TARGET(set)
{
	struct scan text = { (const char *)data, size }, main, kept, cgroup;
	char path[CGPATH_MAX], *kept_text, *more, word[CGPATH_MAX];
	const char *why = NULL;

	if (!scan_field(&text, '\f', &main) || !scan_field(&text, '\f', &kept) ||
	    !scan_field(&text, '\f', &cgroup) || !scan_copy(cgroup, word, sizeof(word)))
		return;
	if (config_path(word, path, &why) < 0) {
		CHECK(why && *why);
		return;
	}
	kept_text = strndup(kept.p, kept.left);
	CHECK(kept_text);
	/* as control_set() does */
	CHECK(asprintf(&more, "[Watch %s]\n%.*s\n", path + (path[1] != '\0'), (int)text.left,
		       text.p) > 0);
	check_set(main, &(struct config_set){ kept_text, more }, path);
	free(kept_text);
	free(more);
}
