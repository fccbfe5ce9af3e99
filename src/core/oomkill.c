/* SPDX-License-Identifier: MIT */
/*
 * oomkill.c - two kinds of line among those of an out-of-memory report
 *
 * Names in a path or of a task may hold anything, commas and equals signs as well: the fields
 * behind a path are looked for from the end.
 */
#include "core/oomkill.h"

#include "core/scan.h"

/* `text` up to the last `mark`, which and what is behind it goes to *ret_rest. */
static bool cut_last(struct scan *text, const char *mark, struct scan *ret_rest)
{
	size_t n = strlen(mark);

	for (size_t i = text->left; i-- > 0;) {
		struct scan rest = { text->p + i, text->left - i };

		if (rest.left >= n && scan_word(&rest, mark)) {
			*ret_rest = rest;
			text->left = i;
			return true;
		}
	}
	return false;
}

static bool take_kilobytes(struct scan *s, const char *name, uint64_t *ret)
{
	uint64_t value;

	if (!scan_word(s, name) || scan_u64(s, &value) < 0 || !scan_word(s, "kB") ||
	    value > UINT64_MAX / 1024)
		return false;
	*ret = value * 1024;
	return true;
}

static bool take_victim(struct oom_kill *kill, struct scan s)
{
	struct scan uid, pid, task, cgroup, limit;
	struct oom_kill k = { .usage_bytes = kill->usage_bytes, .limit_bytes = kill->limit_bytes };

	if (!cut_last(&s, ",uid=", &uid) || !cut_last(&s, ",pid=", &pid) ||
	    !scan_is_number(pid, 0, UINT64_MAX, &k.pid) || !cut_last(&s, ",task=", &task) ||
	    !cut_last(&s, ",task_memcg=", &cgroup))
		return false;
	if (!scan_copy(task, k.task, sizeof(k.task)) ||
	    !scan_copy(cgroup, k.cgroup, sizeof(k.cgroup)) || k.cgroup[0] != '/')
		return false;
	if (cut_last(&s, ",oom_memcg=", &limit)) {
		if (!scan_copy(limit, k.limit, sizeof(k.limit)) || k.limit[0] != '/')
			return false;
	} else if (scan_ends_with(s, ",global_oom")) {
		k.usage_bytes = k.limit_bytes = 0;
	} else {
		return false;
	}
	*kill = k;
	return true;
}

bool oom_kill_line(struct oom_kill *kill, const char *text, size_t size)
{
	struct scan s = { text, size };
	uint64_t usage, limit;

	if (scan_word(&s, "memory: usage ")) {
		if (take_kilobytes(&s, "", &usage) && take_kilobytes(&s, ", limit ", &limit)) {
			kill->usage_bytes = usage;
			kill->limit_bytes = limit;
		}
		return false;
	}
	return scan_word(&s, "oom-kill:") && take_victim(kill, s);
}
