/* SPDX-License-Identifier: MIT */
/*
 * value.h - the text behind a key: psibridged.conf(5), and PSIBRIDGE_ variables
 *
 * Both places have the same words and the same rules, so there is one parser. A form says how a
 * value is written:
 *
 *   TRIGGER        some 200ms/2s
 *   TIME           8.192s             1 ms to 24 h: nothing is sampled faster than every 10 ms, and
 *                                     a watch that stays Low for longer than a day is forgotten
 *   TIME_OR_AUTO   4s, auto           auto is 0
 *   TIME_OR_OFF    2s, off            off is 0
 *   PERCENT        25%, 25, off       1 to 99; off is 0
 *   BOOLEAN        yes, no            the words of systemd.syntax(7), in any case
 *   COUNT          16384              1 to 1048576
 *   SIZE           50M, 1G, 0         bytes; K, M, G, T are powers of 1024
 *   BOUND          64M, no            of files; at least 1M, no is 0
 */
#pragma once

#include "trigger.h"

enum value_form {
	FORM_TRIGGER,
	FORM_TIME,
	FORM_TIME_OR_AUTO,
	FORM_TIME_OR_OFF,
	FORM_PERCENT,
	FORM_BOOLEAN,
	FORM_COUNT,
	FORM_SIZE,
	FORM_BOUND,
};

struct value {
	struct trigger trigger; /* FORM_TRIGGER */
	uint64_t number;	/* all others */
};

#define VALUE_TEXT_MAX TRIGGER_TEXT_MAX

/* What should stand there, to be followed by " was expected": "a time from 1ms to 24h, such as
 * 10s,". */
const char *value_expected(enum value_form form);

/* Errors: -EINVAL; *ret_why (may be NULL) says why, a constant string, or is "" when there is
 * nothing to add to what was expected. */
int value_parse(enum value_form form, const char *text, size_t size, struct value *ret,
		const char **ret_why);

/* A C string into buf[VALUE_TEXT_MAX] that value_parse() reads back as the same. */
void value_format(enum value_form form, const struct value *value, char *buf);
