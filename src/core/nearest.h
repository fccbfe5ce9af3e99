/* SPDX-License-Identifier: MIT */
/*
 * nearest.h - which of some words a misspelt one stands for
 */
#pragma once

#include "util.h"

#define NEAREST_WORD_MAX 32

/*
 * The name that `word` differs from by the fewest edits (a letter wrong, missing, extra, or swapped
 * with its neighbour), two at most and fewer than half of the name. Upper and lower case are alike,
 * so a name in the wrong case has no edit at all. Of equally near ones the first. NULL: none is
 * near. Nothing longer than NEAREST_WORD_MAX is near anything.
 */
const char *nearest_word(const char *word, size_t size, const char *const *names, size_t count);
