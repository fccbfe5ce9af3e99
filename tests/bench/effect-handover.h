/* SPDX-License-Identifier: MIT */
/*
 * effect-handover.h - how long the runtime keeps psibridge's thread
 */
#pragma once

#include "effect-ways.h"

/*
 * Runs the embedded host with a program whose collections take long, tells it Low again and again, and prints what the host measured: the
 * duration of OnMemoryNotification() while managed code is busy with the last one, and while it is idle. Prints the target too.
 */
void handover_measure(const char *allow_missing);
