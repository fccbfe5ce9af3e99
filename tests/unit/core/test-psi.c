/* SPDX-License-Identifier: MIT */
/*
 * test-psi.c - the text of memory.pressure (src/core/psi.h)
 */
#include <errno.h>
#include <string.h>

#include "../unit.h"
#include "core/psi.h"

#define SOME "some avg10=1.23 avg60=0.05 avg300=100.00 total=123456789\n"
#define FULL "full avg10=0.00 avg60=12.34 avg300=7.10 total=42\n"

static int parse(const char *text, struct psi *ret)
{
	return psi_parse(text, strlen(text), ret);
}

PROMISE(every_number_lands_in_its_place)
{
	struct psi psi;

	assert_int_equal(parse(SOME FULL, &psi), 0);
	assert_int_equal(psi.some.avg10_centi, 123);
	assert_int_equal(psi.some.avg60_centi, 5);
	assert_int_equal(psi.some.avg300_centi, 10000);
	assert_int_equal(psi.some.total_usec, 123456789);
	assert_int_equal(psi.full.avg10_centi, 0);
	assert_int_equal(psi.full.avg60_centi, 1234);
	assert_int_equal(psi.full.avg300_centi, 710);
	assert_int_equal(psi.full.total_usec, 42);
}

PROMISE(the_biggest_numbers_fit_into_the_buffer_and_the_types)
{
	static const char text[] =
		"some avg10=42949671.99 avg60=0.00 avg300=0.00 total=18446744073709551615\n"
		"full avg10=42949671.99 avg60=42949671.99 avg300=42949671.99 "
		"total=18446744073709551615\n";
	struct psi psi;

	assert_true(sizeof(text) <= PSI_TEXT_MAX);
	assert_int_equal(parse(text, &psi), 0);
	assert_int_equal(psi.some.avg10_centi, UINT64_C(4294967199));
	assert_true(psi.some.total_usec == UINT64_MAX);
	assert_int_equal(psi.full.avg300_centi, UINT64_C(4294967199));
	assert_true(psi.full.total_usec == UINT64_MAX);
}

PROMISE(what_later_kernels_append_is_skipped)
{
	static const char *const texts[] = {
		SOME FULL "more avg10=0.00 total=1\n",
		SOME FULL "cut off he",
		("some avg10=0.00 avg60=0.00 avg300=0.00 total=7 avg900=0.00\n" FULL),
	};
	struct psi psi;

	for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
		assert_int_equal(parse(texts[i], &psi), 0);
		assert_int_equal(psi.full.total_usec, 42);
	}
	assert_int_equal(psi.some.total_usec, 7);
}

/* total=123456789 cut to total=1234 would look like a counter that ran backwards. */
PROMISE(a_text_cut_off_anywhere_is_refused)
{
	static const char text[] = SOME FULL;
	struct psi psi;

	for (size_t n = 0; n < sizeof(text) - 1; n++)
		assert_int_equal(psi_parse(text, n, &psi), -EBADMSG);
	assert_int_equal(psi_parse(text, sizeof(text) - 1, &psi), 0);
}
