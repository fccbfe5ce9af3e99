/* SPDX-License-Identifier: MIT */
/*
 * words.h - what the numbers of the API are called, for people. Names for scripts, which do not change: core/names.h
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "psibridge/psibridge.h"

/* The levels as people say them: "critical" is Low with a flag. */
struct words_level {
	const char *brief, *sentence; /* "Low", "Low (memory is short)" */
	enum psb_available available;
	bool critical;
};

/* Of enum psb_available; 0, of what is not watched, is "?" and "-". */
const struct words_level *words_level(unsigned available, bool critical);
/* Whose limit was reached, into buf[CAUSE_TEXT_MAX], or, where that is not known or not the point, why. */
const char *words_cause(const struct psb_notification *notification, char *buf);
const char *words_backend_id(enum psb_backend backend);

/* How the source of a watch notices pressure: "a PSI trigger with a short window". */
const char *words_how(const struct psb_source *source);

#define WORDS_SOON_MAX 128
/*
 * How soon it does, as the end of "Pressure will be noticed ...". `low_window_usec` is the window
 * of the low threshold, which bounds the pace of sampling.
 */
void words_soon(const struct psb_source *source, uint64_t low_window_usec, char *buf);
