/* SPDX-License-Identifier: MIT */
/*
 * assembly.h - may this file be named to the runtime?
 *
 * A runtime that is asked to load a start-up hook and cannot ends the program (.NET 10: the exception of
 * StartupHookProvider.CallStartupHook() is unhandled). So what is no assembly, is cut off, is not ours, or is for a newer runtime
 * is not named to it.
 */
#pragma once

/* `major`: of the runtime that is to load it. Returns NULL: it may be, or why not. */
const char *assembly_why_not(int fd, int major);
