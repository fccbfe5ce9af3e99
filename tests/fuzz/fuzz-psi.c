/* SPDX-License-Identifier: MIT */
/*
 * fuzz-psi.c - any bytes as memory.pressure
 *
 * What is accepted, printed as the kernel prints it, is accepted again and means the same; what
 * is appended to it changes nothing; cut off in its second line it is refused. What is refused
 * writes nothing.
 */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/psi.h"

static bool line_equal(const struct psi_line *a, const struct psi_line *b)
{
	return a->avg10_centi == b->avg10_centi && a->avg60_centi == b->avg60_centi &&
	       a->avg300_centi == b->avg300_centi && a->total_usec == b->total_usec;
}

static size_t print_line(char *buf, size_t size, const char *kind, const struct psi_line *l)
{
	return (size_t)snprintf(
		buf, size, "%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%" PRIu64 "\n",
		kind, l->avg10_centi / 100, l->avg10_centi % 100, l->avg60_centi / 100,
		l->avg60_centi % 100, l->avg300_centi / 100, l->avg300_centi % 100, l->total_usec);
}

FUZZ_TARGET(psi)
{
	struct psi psi, again, before;
	char text[2 * PSI_TEXT_MAX];
	size_t n;
	int r;

	memset(&psi, 0x5a, sizeof(psi));
	before = psi;
	r = psi_parse((const char *)data, size, &psi);
	if (r < 0) {
		CHECK(r == -EBADMSG);
		CHECK(memcmp(&psi, &before, sizeof(psi)) == 0);
		return 0;
	}
	CHECK(r == 0);

	n = print_line(text, sizeof(text), "some", &psi.some);
	n += print_line(text + n, sizeof(text) - n, "full", &psi.full);
	CHECK(n < PSI_TEXT_MAX);
	CHECK(psi_parse(text, n, &again) == 0);
	CHECK(line_equal(&psi.some, &again.some) && line_equal(&psi.full, &again.full));
	CHECK(psi_parse(text, n - 1, &again) == -EBADMSG);
	memcpy(text + n, "later 1\n", 8);
	CHECK(psi_parse(text, n + 8, &again) == 0);
	CHECK(line_equal(&psi.some, &again.some) && line_equal(&psi.full, &again.full));
	return 0;
}
