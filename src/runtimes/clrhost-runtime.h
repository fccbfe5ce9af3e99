/* SPDX-License-Identifier: MIT */
/*
 * clrhost-runtime.h - CoreCLR inside this process, through the host libraries of .NET
 *
 * One for a process: .NET can be started once, and not again after it ended. The calls are made by one thread, in this
 * order. What goes wrong is said, in lines for people; the returned error is for decisions.
 */
#pragma once

/* One line on stderr if the priority (syslog's) is let through. */
extern int say_priority;
void say(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * Finds .NET ($DOTNET_ROOT, or what the installation registered, or where `dotnet` on $PATH is) and reads what the program
 * needs. `argv` is its .dll and its arguments.
 * Errors: -ENOENT (no .NET, no such program), -ENOEXEC (it cannot be started: no runtimeconfig.json,
 * no framework of that version, not managed).
 */
int clr_open(int argc, char **argv);

/* The runtime runs, the program does not. Errors: -ENOEXEC (it does not start), -EOPNOTSUPP (.NET before 8). */
int clr_start(void);

/* An address in libcoreclr.so, which clr_start() loaded; NULL: it is not there under that name. */
const void *clr_code(void);

/*
 * A static method marked UnmanagedCallersOnly of `type` ("Namespace.Type, Assembly"), which is looked for among the program's
 * own assemblies and only then in the file `assembly`, which is loaded as if it were one of them.
 * Errors: -ENOENT (neither has that assembly), -ENOEXEC (the file is none), -ENOSYS (it is of another version).
 */
int clr_method(const char *assembly, const char *type, const char *method, void **ret);

/* The program, from Main to its end. Returns its exit code; not at all if it ends by Environment.Exit(). */
int clr_run(void);
