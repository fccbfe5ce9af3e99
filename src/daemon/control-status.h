/* SPDX-License-Identifier: MIT */
/*
 * control-status.h - the answer to {"verb":"status"}, and texts that several clients share
 */
#pragma once

#include "daemon/daemon.h"

#include <jansson.h>

/* A text that several may hold. */
struct text {
	unsigned references;
	size_t size;
	char *data;
};

struct text *text_ref(struct text *text);
struct text *text_unref(struct text *text); /* NULL is allowed; returns NULL */
DEFINE_CLEANUP(struct text *, text_unref);

/* One object and a newline; takes over the reference. Errors: -ENOMEM. */
int text_of_json(json_t *object, struct text **ret);

/* A JSON string of any bytes; those that are not UTF-8 become U+FFFD. NULL: out of memory. */
json_t *json_of_bytes(const char *text);

/* Errors: -ENOMEM. */
int control_status(struct daemon *daemon, struct text **ret);
