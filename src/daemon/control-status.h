/* SPDX-License-Identifier: MIT */
/*
 * control-status.h - the answer to {"verb":"status"}, and texts that several clients share
 */
#pragma once

#include "daemon/daemon.h"

#include <jansson.h>

/*
 * What is sent: one object and a newline, as bytes that several clients may hold, for which a JSON string has all that is
 * needed. Takes over the reference. Errors: -ENOMEM.
 */
int text_of_json(json_t *object, json_t **ret);

/* A JSON string of any bytes; those that are not UTF-8 become U+FFFD. NULL: out of memory. */
json_t *json_of_bytes(const char *text);

/* Errors: -ENOMEM. */
int control_status(struct daemon *daemon, json_t **ret);
