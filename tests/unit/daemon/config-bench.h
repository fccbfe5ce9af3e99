/* SPDX-License-Identifier: MIT */
/*
 * config-bench.h - configurations in a directory of the test's own
 *
 * Include it after cmocka.h.
 */
#pragma once

#include "daemon/config.h"
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

/* *ret_complaints is to be freed. */
static inline struct config *load(char **ret_complaints)
{
	size_t size;
	FILE *out = open_memstream(ret_complaints, &size);
	struct complaints complaints = { .say = note_line, .userdata = out };
	struct config *config = config_load(fake_root, NULL, &complaints);

	fclose(out);
	assert_int_equal(config == NULL, complaints.mistakes > 0);
	hide_root(*ret_complaints);
	return config;
}

static inline struct config *load_well(void)
{
	char *complaints;
	struct config *config = load(&complaints);

	assert_string_equal(complaints, "");
	free(complaints);
	return config;
}
