/* SPDX-License-Identifier: MIT */
/*
 * control-status.h - answers of the control socket, as text that several clients may hold
 */
#pragma once

#include "daemon/daemon.h"

struct text {
	unsigned holders;
	char *data;
	size_t size;
};

struct text *text_ref(struct text *text);
/* Returns NULL; NULL is allowed. */
struct text *text_unref(struct text *text);

/* {"ok":true} where `error` is 0, else {"error":words,"errno":name}. NULL: out of memory. */
struct text *control_result(int error, const char *words);
/* The answer to {"verb":"status"}. NULL: out of memory. */
struct text *control_status(struct daemon *daemon);
