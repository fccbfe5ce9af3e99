/* SPDX-License-Identifier: MIT */
/*
 * stamp.c - times of the day, of the calendar and since the Epoch
 */
#include "cli/stamp.h"

#include "core/trace.h"

#define SECONDS_MAX UINT64_C(100000000000)

static bool scan_two(struct scan *s, unsigned *ret)
{
	struct scan rest = *s;
	unsigned tens, ones;

	if (!scan_digit(&rest, &tens) || !scan_digit(&rest, &ones))
		return false;
	*ret = tens * 10 + ones;
	*s = rest;
	return true;
}

static bool scan_clock(struct scan *s, uint64_t *ret_usec)
{
	struct scan rest = *s;
	unsigned hours, minutes, seconds, digit;
	uint64_t unit = USEC_PER_SEC;

	if (!scan_two(&rest, &hours) || !scan_word(&rest, ":") || !scan_two(&rest, &minutes) ||
	    !scan_word(&rest, ":") || !scan_two(&rest, &seconds))
		return false;
	*ret_usec = (hours * 3600 + minutes * 60 + seconds) * USEC_PER_SEC;
	if (scan_word(&rest, ".") || scan_word(&rest, ","))
		while (scan_digit(&rest, &digit))
			*ret_usec += (unit /= 10) * digit;
	*s = rest;
	return true;
}

/* Since 1970, of the Gregorian calendar; months count from March, so that a leap day is a year's last. */
static uint64_t days_of(unsigned year, unsigned month, unsigned day)
{
	unsigned y = year - (month < 3), m = (month + 9) % 12;

	return y * UINT64_C(365) + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 719469;
}

static bool scan_day(struct scan *s, uint64_t *ret_days)
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct scan rest = *s;
	unsigned century, year, month, day;
	uint64_t number;

	if (scan_two(&rest, &century) && scan_two(&rest, &year) && scan_word(&rest, "-") &&
	    scan_two(&rest, &month) && scan_word(&rest, "-") && scan_two(&rest, &day)) {
		year += century * 100;
		if (!scan_word(&rest, "T") && !scan_blanks(&rest))
			return false;
	} else {
		/* a year with a 29th of February, from which only differences count */
		rest = *s;
		year = 1972;
		for (month = 1; month <= 12; month++)
			if (s->left > 3 && memcmp(s->p, months + 3 * (month - 1), 3) == 0)
				break;
		if (month > 12)
			return false;
		scan_skip(&rest, 3);
		if (!scan_blanks(&rest) || scan_u64(&rest, &number) < 0 || !scan_blanks(&rest))
			return false;
		day = (unsigned)MIN(number, UINT64_C(99));
	}
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > 31)
		return false;
	*ret_days = days_of(year, month, day);
	*s = rest;
	return true;
}

static void scan_zone(struct scan *s, uint64_t *usec)
{
	struct scan rest = *s;
	bool east = scan_word(&rest, "+");
	unsigned hours, minutes;
	uint64_t off;

	if (scan_word(s, "Z") || scan_word(s, " UTC"))
		return;
	if ((!east && !scan_word(&rest, "-")) || !scan_two(&rest, &hours))
		return;
	scan_word(&rest, ":");
	if (!scan_two(&rest, &minutes))
		return;
	off = (hours * 60 + minutes) * 60 * USEC_PER_SEC;
	*usec = east ? usec_sub(*usec, off) : *usec + off;
	*s = rest;
}

bool stamp_scan(struct scan *s, uint64_t *ret_usec)
{
	struct scan rest = *s, whole = *s;
	uint64_t days = 0, usec, number;
	bool dated = scan_day(&rest, &days);
	unsigned digits;

	if (scan_clock(&rest, &usec)) {
		usec += days * 86400 * USEC_PER_SEC;
		if (dated)
			scan_zone(&rest, &usec);
	} else {
		rest = *s;
		if (dated || scan_u64(&whole, &number) < 0)
			return false;
		/* seconds, milli-, micro- or nanoseconds: no record is of the year 5138 */
		digits = number < SECONDS_MAX ? 6 : number < SECONDS_MAX * 1000 ? 3 : 0;
		if (!trace_decimal(&rest, digits, &usec))
			return false;
		if (number >= SECONDS_MAX * 1000000)
			usec /= 1000;
		if (rest.left > 0 && strchr("-:/", rest.p[0]))
			return false; /* of a date that is none */
	}
	if (usec > TRACE_LATEST_USEC)
		return false;
	*ret_usec = usec;
	*s = rest;
	return true;
}
