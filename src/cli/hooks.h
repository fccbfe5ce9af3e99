/* SPDX-License-Identifier: MIT */
/*
 * hooks.h - where the hook files are
 *
 * In $PSIBRIDGE_HOOKS if that is set; else in the directory "hooks" beside this executable, if
 * there is one (a build tree); else where they were installed.
 */
#pragma once

#include <limits.h>

#include "core/util.h"

#define HOOK_CORECLR "libpsibridge-coreclr.so"
#define HOOK_STARTUP "PsiBridge.StartupHook.dll"
#define HOOK_MONO "libmono-profiler-psibridge.so"

/* What our profiler is called; src/runtimes/coreclr.c answers to it. */
#define HOOK_GUID "{9F1A4C50-6B0E-4C46-9C1D-5053492D4247}"
#define HOOK_MONO_PROFILE "psibridge"

/* What stands beside this executable in a build tree, into buf[PATH_MAX]. Errors: -1, -errno: nothing. */
int beside_us(const char *name, char *buf);

/* The directory, absolute, without a slash at the end, into buf[PATH_MAX]. Errors: -ENAMETOOLONG. */
int hooks_directory(char *buf);

/* The path of `file` into buf[PATH_MAX], also when it is not there: -ENOENT, -EACCES ... */
int hooks_find(const char *file, char *buf);

/* A variable of `environment` ("NAME=VALUE", a NUL behind each, and one more), or of our own (NULL).
 * NULL: not set, or empty, which all of these runtimes take for the same. */
const char *hooks_variable(const char *environment, const char *name);

/* The switch there that forbids .NET to load a profiler or, `attaching`, to be asked to; NULL: none. */
const char *hooks_forbidden(const char *environment, bool attaching);
