/* SPDX-License-Identifier: MIT */
/*
 * keyed.c - numbers from kernel files of keys and values
 *
 * Lines of a key and a value, as the kernel prints them; the newline says that the value is complete.
 *   memory.events   "low %lu\nhigh %lu\nmax %lu\noom %lu\noom_kill %lu\n" (mm/memcontrol.c);
 *                   oom_kill since 4.13, and later kernels append oom_group_kill and more
 *   memory.stat     "anon %llu\n...", some fifty lines, about 1.5 kB
 *   /proc/meminfo   "MemTotal:       16316412 kB\n" (fs/proc/meminfo.c), kB means 1024; HugePages_* are
 *                   numbers of pages and have no unit
 *   memory.max      a number of bytes or "max"; on v1 a big number where there is no limit
 */
#include "keyed.h"

#include "scan.h"

/* One `KEY VALUE` without its newline. */
static bool split(struct scan line, struct scan *ret_key, struct scan *ret_value)
{
	struct scan key;

	if (!scan_field(&line, ' ', &key) || key.left == 0 || line.left == 0)
		return false;
	*ret_key = key;
	*ret_value = line;
	return true;
}

int memory_events_parse(const char *text, size_t size, struct memory_events *ret)
{
	struct scan s = { text, size }, line, key, value;
	struct memory_events events = { 0 };
	const struct {
		const char *key;
		uint64_t *count;
	} known[] = {
		{ "low", &events.low }, { "high", &events.high },	  { "max", &events.max },
		{ "oom", &events.oom }, { "oom_kill", &events.oom_kill },
	};

	if (size == 0)
		return -EBADMSG;
	while (s.left > 0) {
		if (!scan_field(&s, '\n', &line) || !split(line, &key, &value))
			return -EBADMSG;
		for (size_t i = 0; i < ELEMENTSOF(known); i++)
			if (scan_is(key, known[i].key) &&
			    !scan_is_number(value, 0, UINT64_MAX, known[i].count))
				return -EBADMSG;
	}
	*ret = events;
	return 0;
}

int keyed_get(const char *text, size_t size, const char *key, uint64_t *ret)
{
	struct scan s = { text, size }, line, name, value;

	while (scan_field(&s, '\n', &line)) {
		if (!split(line, &name, &value))
			return -EBADMSG;
		if (scan_is(name, key))
			return scan_is_number(value, 0, UINT64_MAX, ret) ? 0 : -EBADMSG;
	}
	return -ENOENT;
}

int meminfo_get(const char *text, size_t size, const char *key, uint64_t *ret_bytes)
{
	struct scan s = { text, size }, line, name;
	uint64_t kb;

	while (scan_field(&s, '\n', &line)) {
		if (!scan_field(&line, ':', &name) || name.left == 0)
			return -EBADMSG;
		if (!scan_is(name, key))
			continue;
		scan_blanks(&line);
		if (scan_u64(&line, &kb) < 0 || !scan_is(line, " kB") || kb > UINT64_MAX / 1024)
			return -EBADMSG;
		*ret_bytes = kb * 1024;
		return 0;
	}
	return -ENOENT;
}

int limit_parse(const char *text, size_t size, uint64_t *ret_bytes)
{
	struct scan s = { text, size }, line;

	if (!scan_field(&s, '\n', &line) || s.left > 0)
		return -EBADMSG;
	if (scan_is(line, "max")) {
		*ret_bytes = UINT64_MAX;
		return 0;
	}
	return scan_is_number(line, 0, UINT64_MAX, ret_bytes) ? 0 : -EBADMSG;
}
