/* SPDX-License-Identifier: MIT */
/*
 * clrhost-managed.h - PsiBridge.dll, as psibridge-clrhost sees it
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtimes/clrhost-runtime.h"

/* What managed code may call of us. The first three members are what PsiBridge.Hosting gets. */
struct managed_host {
	size_t size; /* of those three */
	int (*get_load)(void *userdata, uint32_t *ret_percent, uint64_t *ret_available_bytes);
	void *userdata;
	void (*ending)(void *userdata); /* AppDomain.ProcessExit, on the finalizer's thread */
	void (*threw)(void *userdata, const char *exception);
};

#define MANAGED_HOST_SIZE offsetof(struct managed_host, ending)

/* What we call of it, from any thread, but not from two at a time. */
struct managed {
	void (*told)(int available, int critical);
	void (*stop)(void); /* NULL: there is nothing to stop */
};

/*
 * Loads PsiBridge.dll (`file`, or NULL: the installed one) unless the program has its own, and
 * prepares who is told: the static method `method` of `type` ("Type, Assembly"), or, if `type` is
 * NULL, PsiBridge's policy. `host` must stay.
 *
 * Errors, all said: -ENOENT (no such file, type or assembly), -ENOEXEC (not an assembly), -ENOSYS
 * (another version), -EPROTO (no such method), -EINVAL (not such a method), or what PsiBridge
 * answers.
 */
int managed_start(struct clr *clr, const char *file, const char *type, const char *method,
		  const struct managed_host *host, struct managed *ret);
