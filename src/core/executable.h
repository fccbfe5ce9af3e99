/* SPDX-License-Identifier: MIT */
/*
 * executable.h - what kind of program is this? from the bytes of its ELF file
 *
 * `psibridge attach` has to know before it connects to one. The bytes are not trusted: every offset
 * in them is checked, nothing is followed twice, and what is invalid is left unknown, never an
 * error.
 *
 * A parsed executable points into the bytes, which must stay as long as it is used.
 */
#pragma once

#include "scan.h"
#include "util.h"

struct executable {
	bool is_elf; /* else nothing more is known of it */
	const uint8_t *bytes;
	size_t size;
	struct scan interpreter; /* the dynamic linker it asks for; nothing is left if it is static */
	bool wide, big;		 /* 64 bits; big-endian */
	uint16_t machine;	 /* EM_..., as in <elf.h> */
	uint64_t table_offset;	 /* of program headers */
	uint16_t table_entry, table_entries;
	uint64_t strings, strings_size; /* file offsets; 0: it has no dynamic section */
	uint64_t symbols, symbols_end, symbol_size;
	uint64_t dynamic, dynamic_size;
};

/* `size` may be 0. */
void executable_parse(const void *bytes, size_t size, struct executable *ret);

/* Is a dynamic symbol of that name defined in it? */
bool executable_defines(const struct executable *x, const char *symbol);

/* Does it need a library whose name begins so ("libmonosgen-2.0.so")? */
bool executable_needs(const struct executable *x, const char *library);

/* "x86-64", "arm64" ...; "an unknown machine". */
const char *executable_machine(const struct executable *x);

/* "glibc", "musl", or "" (static, or another one), by the name of the dynamic linker. */
const char *executable_libc(const struct executable *x);

/* What it has to do with .NET. */
enum executable_dotnet {
	DOTNET_NONE = 0,
	DOTNET_HOST,   /* `dotnet` itself, an app's own executable: finds the runtime elsewhere */
	DOTNET_SINGLE, /* single file, the runtime is inside: self-contained */
	DOTNET_AOT,    /* NativeAOT: compiled ahead of time; has no profiling interface */
};

enum executable_dotnet executable_dotnet(const struct executable *x);
