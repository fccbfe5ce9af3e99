/* SPDX-License-Identifier: MIT */
/*
 * test-cgpath.c - the rules of cgroup paths (src/core/cgpath.h)
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "../unit.h"
#include "random.h"
#include "core/cgpath.h"

#define MOUNT "/sys/fs/cgroup"

PROMISE(what_people_write_becomes_one_form)
{
	static const struct {
		const char *text, *mount, *path;
	} table[] = {
		{ "/", NULL, "/" },
		{ ".", NULL, "/" },
		{ "//././/", NULL, "/" },
		{ "a", NULL, "/a" },
		{ "/a", NULL, "/a" },
		{ "/a/", NULL, "/a" },
		{ "a//b/./c/.", NULL, "/a/b/c" },
		{ "./a", NULL, "/a" },
		{ "system.slice/a.service", NULL, "/system.slice/a.service" },
		/* names that only look special */
		{ "...", NULL, "/..." },
		{ "..a/a..", NULL, "/..a/a.." },
		{ ".a", NULL, "/.a" },
		{ "a b/\\x2d/\xc3\xb6/:", NULL, "/a b/\\x2d/\xc3\xb6/:" },
		{ " ", NULL, "/ " },
		/* the mount is cut off */
		{ MOUNT, MOUNT, "/" },
		{ MOUNT "/", MOUNT, "/" },
		{ MOUNT "/a/b", MOUNT, "/a/b" },
		{ "//sys/./fs//cgroup/a", MOUNT, "/a" },
		{ MOUNT "/a", MOUNT "/", "/a" },
		{ MOUNT "/unified/a", MOUNT "/unified", "/a" },
		{ MOUNT MOUNT, MOUNT, MOUNT },
		{ "/a", "/", "/a" },
		/* ... only when it is there, whole, and the text begins with a slash */
		{ "/a", MOUNT, "/a" },
		{ "/sys/fs", MOUNT, "/sys/fs" },
		{ MOUNT "x/a", MOUNT, MOUNT "x/a" },
		{ "/sys/fs/cgrou/p", MOUNT, "/sys/fs/cgrou/p" },
		{ "sys/fs/cgroup/a", MOUNT, MOUNT "/a" },
		{ MOUNT "/a", NULL, MOUNT "/a" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char buf[CGPATH_MAX];

		assert_int_equal(cgpath_normalise(table[i].text, table[i].mount, buf, NULL), 0);
		assert_string_equal(buf, table[i].path);
	}
}

PROMISE(a_path_fills_the_buffer_and_no_more)
{
	static char text[3 * CGPATH_MAX];
	char buf[CGPATH_MAX + 1];
	const char *why = "";

	/* one long name, with a slash in front 4095 */
	memset(text, 'a', CGPATH_MAX - 2);
	buf[CGPATH_MAX] = 0x5a;
	assert_int_equal(cgpath_normalise(text, NULL, buf, &why), 0);
	assert_int_equal(strlen(buf), CGPATH_MAX - 1);
	text[CGPATH_MAX - 2] = 'a';
	assert_int_equal(cgpath_normalise(text, NULL, buf, &why), -ENAMETOOLONG);
	assert_string_equal(why, "it is longer than 4095 bytes");

	/* the same of many short names */
	for (size_t i = 0; i < CGPATH_MAX; i++)
		text[i] = i % 2 ? 'a' : '/';
	text[CGPATH_MAX - 2] = '\0';
	assert_int_equal(cgpath_normalise(text, NULL, buf, &why), 0);
	text[CGPATH_MAX - 2] = '/';
	assert_int_equal(cgpath_normalise(text, NULL, buf, &why), -ENAMETOOLONG);

	/* what is dropped does not count */
	memset(text, '/', sizeof(text) - 1);
	text[sizeof(text) - 2] = 'a';
	assert_int_equal(cgpath_normalise(text, NULL, buf, &why), 0);
	assert_string_equal(buf, "/a");
	assert_int_equal(buf[CGPATH_MAX], 0x5a);
}

/* All texts of up to seven characters out of these four. */
PROMISE(the_one_form_is_normalised_and_stays_as_it_is)
{
	static const char characters[] = "/.ab";
	char text[16], buf[CGPATH_MAX], again[CGPATH_MAX], slashed[CGPATH_MAX + 8];
	unsigned accepted = 0;

	for (unsigned i = 1; small_text(i, characters, text) <= 7; i++) {
		/* with a slash on either side, a component shows as text */
		snprintf(slashed, sizeof(slashed), "/%s/", text);
		if (cgpath_normalise(text, NULL, buf, NULL) != 0) {
			assert_non_null(strstr(slashed, "/../"));
			continue;
		}
		accepted++;
		assert_null(strstr(slashed, "/../"));
		assert_int_equal(buf[0], '/');
		snprintf(slashed, sizeof(slashed), "%s%s", buf, buf[1] ? "/" : "");
		assert_null(strstr(slashed, "//"));
		assert_null(strstr(slashed, "/./"));
		assert_int_equal(cgpath_normalise(buf, NULL, again, NULL), 0);
		assert_string_equal(buf, again);
	}
	assert_true(accepted > 10000);
}
