/* SPDX-License-Identifier: MIT */
/*
 * tool.h - is this process one whose standard error is data to others?
 *
 * MSBuild takes a line on a compiler's standard error for an error, a shell's is its user's. `psibridge run -- dotnet build` brings
 * the hook into all of them, where it works, and says nothing.
 */
#pragma once

#include <stddef.h>

/* `cmdline` as in proc(5): a NUL behind each argument. Returns whether it is the .NET SDK, a compiler, a test host or a shell. */
int tool_is(const char *cmdline, size_t size);
/* This process. */
int tool_is_self(void);
