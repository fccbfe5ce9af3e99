/* SPDX-License-Identifier: MIT */
/*
 * psi.h - the text of memory.pressure
 *
 *     some avg10=0.00 avg60=0.00 avg300=0.00 total=0
 *     full avg10=0.00 avg60=0.00 avg300=0.00 total=0
 *
 * Source: kernel, Documentation/accounting/psi.rst and psi_show() in kernel/sched/psi.c. Both
 * lines are wanted, in this order: memory.pressure has always had both (cpu.pressure of some
 * kernels lacks `full`, irq.pressure lacks `some`; they are refused). With every number at its
 * longest the file is shorter than PSI_TEXT_MAX.
 */
#pragma once

#include "scan.h"

#define PSI_TEXT_MAX 256

struct psi_line {
	uint32_t avg10_centi, avg60_centi, avg300_centi; /* hundredths of a percent */
	uint64_t total_usec;
};

struct psi {
	struct psi_line some, full;
};

/* One line, without its newline; `kind` is "some" or "full". */
bool psi_parse_line(struct scan line, const char *kind, struct psi_line *ret);

/*
 * Errors: -EBADMSG: not such a text, cut off before the end of its second line, or a number that
 * does not fit. What a later kernel may append, fields to a line or lines to the file, is skipped.
 */
int psi_parse(const char *text, size_t size, struct psi *ret);
