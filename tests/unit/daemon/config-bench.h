/* SPDX-License-Identifier: MIT */
/*
 * config-bench.h - configurations in a directory of the test's own
 *
 * Include it after cmocka.h.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config-internal.h"
#include "../fake-root.h"

#define MAIN "etc/psibridge/psibridged.conf"

/* The fake root becomes "ROOT", in place. */
static inline void hide_root(char *text)
{
	size_t length = strlen(fake_root);

	for (char *p = text; (p = strstr(p, fake_root)) != NULL; p += 4) {
		memcpy(p, "ROOT", 4);
		memmove(p + 4, p + length, strlen(p + length) + 1);
	}
}

static inline void note_line(const struct complaints *c, const char *line, _unused_ bool mistake)
{
	fprintf(c->userdata, "%s\n", line);
}

/* *ret_complaints (may be NULL) is to be freed. */
static inline int load(struct config **ret, char **ret_complaints)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	struct complaints complaints = { .say = note_line, .userdata = out };
	int r = config_load(fake_root, &complaints, ret);

	fclose(out);
	hide_root(text);
	if (ret_complaints)
		*ret_complaints = text;
	else
		free(text);
	return r;
}

static inline struct config *load_well(void)
{
	struct config *config = NULL;
	char *complaints;
	int r = load(&config, &complaints);

	if (r != 0 || *complaints)
		fail_msg("%d: %s", r, complaints);
	free(complaints);
	return config;
}

/* The same, of a main file with that text. */
static inline struct config *load_text(const char *text)
{
	fake_write(MAIN, text);
	return load_well();
}

static inline char *show(const struct config *config)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(config_show(config, out), 0);
	fclose(out);
	return text;
}

static inline void assert_same(const struct config *a, const struct config *b)
{
	assert_true(settings_equal(&a->defaults, &b->defaults));
	assert_int_equal(a->clients_max, b->clients_max);
	assert_int_equal(a->clients_per_cgroup, b->clients_per_cgroup);
	assert_int_equal(a->clients_per_uid, b->clients_per_uid);
	assert_int_equal(a->serve_others, b->serve_others);
	assert_int_equal(a->low_memory_monitor, b->low_memory_monitor);
	assert_int_equal(a->watch_count, b->watch_count);
	for (size_t i = 0; i < a->watch_count; i++) {
		assert_string_equal(a->watches[i].path, b->watches[i].path);
		assert_true(settings_equal(&a->watches[i].settings, &b->watches[i].settings));
	}
}

/* What it is shown as, read as the only file, gives the same. Leaves that file behind. */
static inline void check_reload(const struct config *config)
{
	_cleanup_(config_freep) struct config *again = NULL;
	const char *dir = fake_path(MAIN ".d");
	char *text = show(config);

	nftw(dir, fake_remove, 16, FTW_DEPTH | FTW_PHYS);
	fake_write(MAIN, text);
	free(text);
	again = load_well();
	assert_same(again, config);
}
