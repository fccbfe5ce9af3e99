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

static size_t print(char *buf, const struct psi *psi)
{
	size_t n = 0;

	for (int full = 0; full <= 1; full++) {
		const struct psi_line *l = full ? &psi->full : &psi->some;

		n += (size_t)snprintf(
			buf + n, 2 * PSI_TEXT_MAX - n,
			"%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%" PRIu64 "\n",
			full ? "full" : "some", l->avg10_centi / 100, l->avg10_centi % 100,
			l->avg60_centi / 100, l->avg60_centi % 100, l->avg300_centi / 100,
			l->avg300_centi % 100, l->total_usec);
	}
	return n;
}

FUZZ_TARGET(psi)
{
	struct psi psi, again, before;
	char text[2 * PSI_TEXT_MAX], text_again[2 * PSI_TEXT_MAX];
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

	n = print(text, &psi);
	CHECK(n < PSI_TEXT_MAX);
	CHECK(psi_parse(text, n - 1, &again) == -EBADMSG);
	memcpy(text + n, "later 1\n", 8);
	CHECK(psi_parse(text, n + 8, &again) == 0);
	print(text_again, &again);
	CHECK(memcmp(text, text_again, n) == 0);
	return 0;
}
