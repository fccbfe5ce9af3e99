/* SPDX-License-Identifier: MIT */
/*
 * executable.h - what kind of program is this? from the bytes of its file
 *
 * `psibridge run` has to know before it starts a program, `psibridge attach` before it talks to
 * one. The bytes may be anybody's: every offset in them is checked, nothing is followed twice, and
 * whatever makes no sense is a program about which less is known, never an error.
 *
 * A parsed executable points into the bytes, which must stay as long as it is used.
 */
#pragma once

#include "scan.h"
#include "util.h"

enum executable_kind {
	EXECUTABLE_OTHER = 0, /* a text without #!, data, nothing at all */
	EXECUTABLE_SCRIPT,    /* #! */
	EXECUTABLE_ELF,
	EXECUTABLE_PE, /* what Windows runs; with a CLR header it is managed code */
};

struct executable {
	enum executable_kind kind;
	const uint8_t *bytes;
	size_t size;
	/* script: its first line. The argument is all that follows the interpreter, as the kernel
	 * has it; nothing is left in it if there is none. For ELF: the dynamic linker it asks for. */
	struct scan interpreter, argument;
	/* ELF */
	bool is_program;       /* can be started; else an object, a core file */
	bool is_static;	       /* asks for no interpreter: the dynamic linker has no part in it */
	bool wide, big;	       /* 64 bits; big-endian */
	uint16_t machine;      /* EM_..., as in <elf.h> */
	uint64_t table_offset; /* of program headers */
	uint16_t table_entry, table_entries;
	uint64_t strings, strings_size; /* file offsets; 0: it has no dynamic section */
	uint64_t symbols, symbols_end, symbol_size;
	uint64_t dynamic, dynamic_size;
	/* PE */
	bool managed;
};

/* What the bytes are. `size` may be 0. */
void executable_parse(const void *bytes, size_t size, struct executable *ret);

/* ELF: is a dynamic symbol of that name defined in it? */
bool executable_defines(const struct executable *x, const char *symbol);

/* ELF: does it need a library whose name begins so ("libmonosgen-2.0.so")? */
bool executable_needs(const struct executable *x, const char *library);

/* ELF: are these bytes in what is loaded of it: in its writable data, or in all else? At most the
 * first 64 MiB of each are searched. NULL: no; else where. */
const uint8_t *executable_data(const struct executable *x, const void *bytes, size_t size);
const uint8_t *executable_text(const struct executable *x, const void *bytes, size_t size);

/* "x86-64", "arm64" ...; "an unknown machine". */
const char *executable_machine(const struct executable *x);

/* "glibc", "musl", or "" (static, or another one), by the name of the dynamic linker. */
const char *executable_libc(const struct executable *x);

/* What an ELF file has to do with .NET. */
enum executable_dotnet {
	DOTNET_NONE = 0,
	DOTNET_MUXER,	/* `dotnet` itself: starts any app */
	DOTNET_APPHOST, /* the executable beside app.dll; finds the framework elsewhere */
	DOTNET_BUNDLE,	/* the same with app.dll inside: single file, framework-dependent */
	DOTNET_SINGLE,	/* single file, the runtime too is inside: self-contained */
	DOTNET_AOT,	/* NativeAOT: compiled ahead of time; has no profiling interface */
};

enum executable_dotnet executable_dotnet(const struct executable *x);
