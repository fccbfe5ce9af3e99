/* SPDX-License-Identifier: MIT */
/*
 * duration.c - a length of time as text
 *
 * DIGITS [. DIGITS] UNIT is a whole number of microseconds, or it is refused: nothing is ever rounded.
 *
 * The fraction is worked out from its last digit to its first, as 0.d1 d2 d3 of a unit of U microseconds is
 * (d1*U + (d2*U + d3*U/10)/10)/10. If the whole sum comes out even, so does every step of this: take
 * F = d1..dk as a number and s = its last j digits; F*U divides by 10^k, F and s differ by a multiple of 10^j,
 * so s*U divides by 10^j. Hence a remainder anywhere means "not whole", and digits may be any number.
 */
#include "duration.h"

#include <inttypes.h>
#include <stdio.h>

#include "scan.h"

/* The biggest first: among texts of one length duration_format() takes the first. */
static const struct unit {
	const char *name;
	uint64_t usec;
} units[] = {
	{ "h", 3600 * USEC_PER_SEC },
	{ "min", 60 * USEC_PER_SEC },
	{ "s", USEC_PER_SEC },
	{ "ms", USEC_PER_MSEC },
	{ "us", 1 },
};

static const struct unit *unit_find(struct scan name)
{
	for (size_t i = 0; i < ELEMENTSOF(units); i++)
		if (scan_is(name, units[i].name))
			return &units[i];
	return NULL;
}

static struct scan take_digits(struct scan *s)
{
	struct scan digits = *s;
	unsigned ignored;

	while (scan_digit(s, &ignored))
		;
	digits.left -= s->left;
	return digits;
}

static bool is_zero(struct scan digits)
{
	for (size_t i = 0; i < digits.left; i++)
		if (digits.p[i] != '0')
			return false;
	return true;
}

/* False: it does not come out in whole microseconds. */
static bool fraction_usec(struct scan digits, uint64_t unit_usec, uint64_t *ret_usec)
{
	uint64_t usec = 0;

	for (size_t i = digits.left; i > 0; i--) {
		usec += (uint64_t)(digits.p[i - 1] - '0') * unit_usec;
		if (usec % 10 != 0)
			return false;
		usec /= 10;
	}
	*ret_usec = usec;
	return true;
}

int duration_parse(const char *text, size_t size, uint64_t *ret_usec, const char **ret_why)
{
	struct scan s = { text, size }, whole, fraction = { NULL, 0 };
	uint64_t number, usec = 0;
	const struct unit *unit;

	whole = take_digits(&s);
	if (whole.left == 0)
		return scan_refuse(-EINVAL, "it does not begin with a digit", ret_why);
	if (scan_word(&s, ".")) {
		fraction = take_digits(&s);
		if (fraction.left == 0)
			return scan_refuse(-EINVAL, "no digit follows the point", ret_why);
	}
	if (s.left == 0) {
		if (!is_zero(whole) || !is_zero(fraction))
			return scan_refuse(-EINVAL, "the unit is missing (us, ms, s, min or h)",
					   ret_why);
		*ret_usec = 0;
		return 0;
	}
	unit = unit_find(s);
	if (!unit)
		return scan_refuse(-EINVAL, "the unit is none of us, ms, s, min and h", ret_why);
	if (!fraction_usec(fraction, unit->usec, &usec))
		return scan_refuse(-EINVAL, "it is not a whole number of microseconds", ret_why);
	if (scan_u64(&whole, &number) < 0 || number > (DURATION_MAX_USEC - usec) / unit->usec)
		return scan_refuse(-ERANGE, "it is longer than 2^63 microseconds", ret_why);
	*ret_usec = number * unit->usec + usec;
	return 0;
}

/* Returns 0 when `unit` gives no exact text of sensible length, or one that begins with 0. */
static size_t format_in(uint64_t usec, const struct unit *unit, char *buf)
{
	uint64_t rest = usec % unit->usec;
	size_t n, name_length = strlen(unit->name);

	if (usec < unit->usec)
		return 0;
	n = (size_t)snprintf(buf, DURATION_TEXT_MAX, "%" PRIu64, usec / unit->usec);
	if (rest > 0)
		buf[n++] = '.';
	while (rest > 0 && n < DURATION_TEXT_MAX - sizeof("min")) {
		rest *= 10;
		buf[n++] = (char)('0' + rest / unit->usec);
		rest %= unit->usec;
	}
	if (rest > 0)
		return 0;
	memcpy(buf + n, unit->name, name_length + 1);
	return n + name_length;
}

size_t duration_format(uint64_t usec, char *buf)
{
	char candidate[DURATION_TEXT_MAX];
	size_t best = 0;

	if (usec == 0) {
		memcpy(buf, "0", 2);
		return 1;
	}
	for (size_t i = 0; i < ELEMENTSOF(units); i++) {
		size_t n = format_in(usec, &units[i], candidate);

		if (n > 0 && (best == 0 || n < best)) {
			memcpy(buf, candidate, n + 1);
			best = n;
		}
	}
	return best;
}
