/* SPDX-License-Identifier: MIT */
/*
 * names.h - what levels, reasons and states are called in the journal, on D-Bus and on the control
 * socket: lower case, the same everywhere, never changed
 */
#pragma once

#include "daemon/forest.h"

const char *name_of_available(enum psb_available available); /* "low", "neutral", "high" */
const char *name_of_reason(enum psb_reason reason);	     /* "stall" ...; "unknown" */
const char *name_of_state(enum tree_state state);	     /* "watching", "absent", "failed" */

/* The other way round; false: there is no such level. */
bool available_of_name(const char *name, enum psb_available *ret);
