/* SPDX-License-Identifier: MIT */
/*
 * clrhost-runtime.h - CoreCLR inside this process, through the host libraries of .NET
 *
 * One for a process: .NET can be started once, and not again after it ended. The calls are made by
 * one thread, in this order:
 *
 *     clr_new()     finds .NET, reads what the program needs, loads nothing of it yet
 *     clr_start()   the runtime runs, the program does not
 *     clr_method()  any number of times: pointers to managed methods
 *     clr_run()     the program, from Main to its end, and with it that of the runtime
 *     clr_free()
 *
 * What goes wrong is said, in lines for people; the returned error is for decisions.
 */
#pragma once

struct clr;

/*
 * `argv` is the program's .dll and its arguments, `dotnet_root` where .NET is installed, or NULL:
 * $DOTNET_ROOT, or what the installation registered, or where `dotnet` on $PATH is.
 * Errors: -ENOENT (no .NET, no such program), -ENOEXEC (it cannot be started: no runtimeconfig.json,
 * no framework of that version, not managed), -ENOMEM.
 */
int clr_new(int argc, char **argv, const char *dotnet_root, struct clr **ret);

/* Errors: -ENOEXEC (the runtime does not start), -EOPNOTSUPP (.NET before 8). */
int clr_start(struct clr *clr);

/* An address in libcoreclr.so, which clr_start() loaded; NULL: it is not there under that name. */
const void *clr_code(void);

/*
 * A static method marked UnmanagedCallersOnly. Its type ("Namespace.Type, Assembly") is looked for
 * among the program's own assemblies, and only then in the file `assembly`, which is loaded as if it
 * were one of them. Nothing is said. Errors: -ENOENT (neither has that assembly), -ENOEXEC (the file
 * is no assembly), -ENOSYS (the assembly is there, type or method are not), -EINVAL (the method is
 * not marked), -EIO (anything else).
 */
int clr_method(struct clr *clr, const char *assembly, const char *type, const char *method,
	       void **ret);

/* Returns the program's exit code. Does not return at all if it ends by Environment.Exit(). */
int clr_run(struct clr *clr);

/* Returns NULL; NULL is allowed. */
struct clr *clr_free(struct clr *clr);
