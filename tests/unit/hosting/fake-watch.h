/* SPDX-License-Identifier: MIT */
/*
 * fake-watch.h - a psb_watch that a test speaks for
 *
 * Registrations, their threads and their removal are the library's; what is to be told, the test says.
 */
#pragma once

#include "psibridge/psibridge.h"

#ifdef __cplusplus
extern "C" {
#endif

/* It has a reference on the bridge, on which nothing else may be. */
psb_watch *fake_watch_new(psb_bridge *bridge);

/* Into every mailbox, over what is in there. A LEVEL or GONE becomes the present level. */
void fake_watch_send(psb_watch *watch, enum psb_kind kind, enum psb_available available);
/* Tell those that registered since the present level. */
void fake_watch_present(psb_watch *watch);
/* ... and wait until no mailbox is full and no callback runs. */
void fake_watch_settle(psb_watch *watch);
/* The level changes, and nobody is told. */
void fake_watch_set_present(psb_watch *watch, enum psb_available available);
/* Its process was moved to another cgroup. */
void fake_watch_move(psb_watch *watch);

unsigned fake_watch_registrations(psb_watch *watch);

/* Wait until every watch is freed: all references were given back, all threads have ended. Gives the
 * bridge back. -1: that did not come true within 10 s. */
int fake_watches_end(psb_bridge *bridge);

#ifdef __cplusplus
}
#endif
