/* SPDX-License-Identifier: MIT */
/*
 * dotnet-ipc.h - have the .NET runtime of this process load an assembly
 *
 * A runtime can be asked so from outside, over its diagnostics socket; this asks from inside of the process. The assembly is
 * called as a start-up hook (StartupHook.Initialize()), on a thread of the runtime's, while the program runs. Not before the runtime
 * has loaded the program's own assembly: one that is still starting may crash (.NET 10: SIGSEGV inside of CallStartupHook(), 8 of 300
 * starts).
 */
#pragma once

#include <stdint.h>

/* Which .NET is it? `tmpdir`: where it keeps its socket. Waits for the answer, some seconds at most. Returns 8 and up: its major
 * version. Errors: -ETIMEDOUT, -EOPNOTSUPP (older than .NET 8), -ENOENT (there is no socket), and those of sockets. */
int dotnet_version(const char *tmpdir);

/* `path`: of the assembly, absolute. One that cannot be loaded ends the program: assembly.h. Waits for the answer. Returns 0:
 * Initialize() has run, or the program loads no start-up hooks. Errors: -ETIMEDOUT (it may still do it), -EPROTO (it refused), and
 * those of sockets. */
int dotnet_load(const char *tmpdir, const char *path);
