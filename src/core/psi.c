/* SPDX-License-Identifier: MIT */
/*
 * psi.c - the text of memory.pressure
 *
 * "%s avg10=%lu.%02lu avg60=%lu.%02lu avg300=%lu.%02lu total=%llu\n" (psi_show(), kernel/sched/psi.c): a
 * percentage has exactly two decimals, and is kept as hundredths. A line counts only with its newline: one
 * that was cut off inside `total=` would give a smaller total, and the stall computed from it would be
 * enormous. All is checked exactly, since a $MEMORY_PRESSURE_WATCH may name any file, but for what a later
 * kernel may append.
 */
#include "psi.h"

static bool take_avg(struct scan *s, const char *name, uint32_t *ret_centi)
{
	uint64_t whole;
	unsigned tenths, hundredths;

	if (!scan_word(s, name) || scan_u64(s, &whole) < 0)
		return false;
	if (!scan_word(s, ".") || !scan_digit(s, &tenths) || !scan_digit(s, &hundredths))
		return false;
	if (whole > (UINT32_MAX - 99) / 100)
		return false;
	*ret_centi = (uint32_t)whole * 100 + tenths * 10 + hundredths;
	return true;
}

bool psi_parse_line(struct scan line, const char *kind, struct psi_line *ret)
{
	if (!scan_word(&line, kind) || !take_avg(&line, " avg10=", &ret->avg10_centi) ||
	    !take_avg(&line, " avg60=", &ret->avg60_centi) ||
	    !take_avg(&line, " avg300=", &ret->avg300_centi))
		return false;
	if (!scan_word(&line, " total=") || scan_u64(&line, &ret->total_usec) < 0)
		return false;
	return line.left == 0 || *line.p == ' ';
}

int psi_parse(const char *text, size_t size, struct psi *ret)
{
	struct scan s = { text, size }, some, full;
	struct psi psi;

	if (!scan_field(&s, '\n', &some) || !psi_parse_line(some, "some", &psi.some) ||
	    !scan_field(&s, '\n', &full) || !psi_parse_line(full, "full", &psi.full))
		return -EBADMSG;
	*ret = psi;
	return 0;
}
