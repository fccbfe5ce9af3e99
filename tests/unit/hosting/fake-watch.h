/* SPDX-License-Identifier: MIT */
/*
 * fake-watch.h - a psb_watch that a test speaks for
 *
 * Links in the place of the library's watch.c. Registrations, their threads and their removal are the library's; what is to
 * be told, the test says.
 */
#pragma once

#include "psibridge/psibridge.h"

#ifdef __cplusplus
extern "C" {
#endif

psb_watch *fake_watch_new(void);

/* Into every mailbox, over what is in there. A LEVEL or GONE becomes the present level. */
void fake_watch_send(psb_watch *watch, enum psb_kind kind, enum psb_available available);
/* Wait until no mailbox is full and no callback runs. */
void fake_watch_settle(psb_watch *watch);
/* Both in one step: nothing that was sent before is overtaken. */
void fake_watch_send_settled(psb_watch *watch, enum psb_available available);
/* The level changes, and nobody is told. */
void fake_watch_set_present(psb_watch *watch, enum psb_available available);

/* The next psb_watch_add_callback() answers this error. */
void fake_watch_fail_add(psb_watch *watch, int error);
/* What psb_watch_load() answers. */
void fake_watch_set_load(psb_watch *watch, int error, const struct psb_load *load);

/* Wait until every watch is freed: all references were given back, all threads have ended. -1: that
 * did not come true within 10 s. */
int fake_watches_wait(void);
unsigned fake_watch_registrations(psb_watch *watch);

#ifdef __cplusplus
}
#endif
