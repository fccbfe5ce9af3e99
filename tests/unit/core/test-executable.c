/* SPDX-License-Identifier: MIT */
/*
 * test-executable.c - what kind of program is it (src/core/executable.h)
 *
 * Links executable.o alone. The files are made here, in all four shapes of ELF (32 and 64 bits,
 * either end first), so that nothing depends on what the machine has.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "../unit.h"
#include "core/executable.h"

#define FILE_SIZE 4096
#define ADDRESS 0x400000 /* of the file's first byte in memory */

enum {
	AT_INTERP = 0x300,
	AT_TEXT = 0x400,
	AT_STRINGS = 0x800,
	AT_SYMBOLS = 0xa00,
	AT_DYNAMIC = 0xc00,
	AT_DATA = 0xe00
};

struct file {
	uint8_t bytes[FILE_SIZE];
	bool wide, big;
	size_t strings, symbols, dynamics;
	unsigned segments;
};

static void put(struct file *f, size_t at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		f->bytes[at + i] = (uint8_t)(value >> 8 * (f->big ? size - 1 - i : i));
}

static void add_segment(struct file *f, uint32_t type, uint32_t flags, size_t offset, size_t size)
{
	size_t at = (f->wide ? 64 : 52) + f->segments++ * (f->wide ? 56 : 32);

	put(f, at, type, 4);
	if (f->wide) {
		put(f, at + 4, flags, 4);
		put(f, at + 8, offset, 8);
		put(f, at + 16, ADDRESS + offset, 8);
		put(f, at + 32, size, 8);
	} else {
		put(f, at + 4, offset, 4);
		put(f, at + 8, ADDRESS + offset, 4);
		put(f, at + 16, size, 4);
		put(f, at + 24, flags, 4);
	}
	put(f, f->wide ? 56 : 44, f->segments, 2);
}

static size_t add_string(struct file *f, const char *text)
{
	size_t at = f->strings;

	memcpy(f->bytes + AT_STRINGS + at, text, strlen(text) + 1);
	f->strings += strlen(text) + 1;
	return at;
}

static void add_dynamic(struct file *f, uint64_t tag, uint64_t value)
{
	unsigned word = f->wide ? 8 : 4;
	size_t at = AT_DYNAMIC + 2 * word * f->dynamics++;

	put(f, at, tag, word);
	put(f, at + word, value, word);
}

static void add_symbol(struct file *f, const char *name, uint16_t section)
{
	size_t size = f->wide ? 24 : 16, at = AT_SYMBOLS + size * f->symbols++;

	put(f, at, add_string(f, name), 4);
	put(f, at + (f->wide ? 6 : 14), section, 2);
}

/* A dynamically linked program that needs libc and defines nothing yet. */
static void begin(struct file *f, bool wide, bool big, uint16_t machine)
{
	memset(f, 0, sizeof(*f));
	f->wide = wide;
	f->big = big;
	memcpy(f->bytes, ELFMAG, SELFMAG);
	f->bytes[EI_CLASS] = wide ? ELFCLASS64 : ELFCLASS32;
	f->bytes[EI_DATA] = big ? ELFDATA2MSB : ELFDATA2LSB;
	put(f, 16, ET_DYN, 2);
	put(f, 18, machine, 2);
	put(f, wide ? 32 : 28, wide ? 64 : 52, wide ? 8 : 4);
	put(f, wide ? 54 : 42, wide ? 56 : 32, 2);
	strcpy((char *)f->bytes + AT_INTERP, "/lib64/ld-linux-x86-64.so.2");
	add_segment(f, PT_LOAD, PF_R | PF_X, 0, AT_DATA);
	add_segment(f, PT_LOAD, PF_R | PF_W, AT_DATA, FILE_SIZE - AT_DATA);
	add_segment(f, PT_INTERP, PF_R, AT_INTERP, 0x40);
	add_segment(f, PT_DYNAMIC, PF_R, AT_DYNAMIC, AT_DATA - AT_DYNAMIC);
	add_string(f, "");
	add_dynamic(f, DT_NEEDED, add_string(f, "libc.so.6"));
	add_dynamic(f, DT_STRTAB, ADDRESS + AT_STRINGS);
	add_dynamic(f, DT_STRSZ, AT_SYMBOLS - AT_STRINGS);
	add_dynamic(f, DT_SYMTAB, ADDRESS + AT_SYMBOLS);
	add_dynamic(f, DT_SYMENT, wide ? 24 : 16);
	add_symbol(f, "", SHN_UNDEF);
}

static struct executable parsed(const struct file *f)
{
	struct executable x;

	executable_parse(f->bytes, sizeof(f->bytes), &x);
	return x;
}

PROMISE(in_all_shapes_of_elf_symbols_and_libraries_are_found)
{
	for (int shape = 0; shape < 4; shape++) {
		struct executable x;
		struct file f;

		begin(&f, shape & 1, shape & 2, EM_PPC64);
		add_symbol(&f, "mono_main", 5);
		add_symbol(&f, "wanted_elsewhere", SHN_UNDEF);
		x = parsed(&f);
		assert_true(x.is_elf);
		assert_int_equal(x.wide, !!(shape & 1));
		assert_string_equal(executable_machine(&x), "ppc64");
		assert_string_equal(executable_libc(&x), "glibc");
		assert_true(executable_defines(&x, "mono_main"));
		assert_false(executable_defines(&x, "mono_mai"));
		assert_false(executable_defines(&x, "mono_main2"));
		assert_false(executable_defines(&x, "wanted_elsewhere"));
		assert_true(executable_needs(&x, "libc.so"));
		assert_false(executable_needs(&x, "libmonosgen-2.0.so"));
	}
}

PROMISE(what_is_static_has_no_libc)
{
	struct executable x;
	struct file f;

	begin(&f, true, false, EM_X86_64);
	put(&f, 64 + 2 * 56, PT_NOTE, 4);
	x = parsed(&f);
	assert_string_equal(executable_libc(&x), "");
}

PROMISE(musl_is_told_from_glibc)
{
	struct executable x;
	struct file f;

	begin(&f, true, false, EM_X86_64);
	strcpy((char *)f.bytes + AT_INTERP, "/lib/ld-musl-x86_64.so.1");
	x = parsed(&f);
	assert_string_equal(executable_libc(&x), "musl");
}

static enum executable_dotnet dotnet(const char *symbol, size_t host)
{
	struct executable x;
	struct file f;

	begin(&f, true, false, EM_X86_64);
	if (symbol)
		add_symbol(&f, symbol, 1);
	if (host)
		strcpy((char *)f.bytes + host, "hostfxr_main_startupinfo");
	x = parsed(&f);
	return executable_dotnet(&x);
}

PROMISE(every_kind_of_dotnet_is_told_from_the_others)
{
	assert_int_equal(dotnet(NULL, 0), DOTNET_NONE);
	assert_int_equal(dotnet(NULL, AT_TEXT), DOTNET_HOST);
	assert_int_equal(dotnet("DotNetRuntimeInfo", AT_TEXT), DOTNET_SINGLE);
	assert_int_equal(dotnet("DotNetRuntimeDebugHeader", 0), DOTNET_AOT);
	/* written at run time: a program that looks for it, as we do */
	assert_int_equal(dotnet(NULL, AT_DATA + 64), DOTNET_NONE);
}

/* Each byte of the tables in turn becomes 0xff, and the file ends at each place: nothing is read
 * outside of it (the sanitizers watch), and nothing is found that is not there. */
PROMISE(damage_is_harmless)
{
	struct file f;

	begin(&f, true, false, EM_X86_64);
	add_symbol(&f, "mono_main", 5);
	for (size_t i = 0; i < FILE_SIZE; i++) {
		uint8_t kept = f.bytes[i], *cut = malloc(i + 1);
		struct executable x;

		assert_non_null(cut);
		f.bytes[i] = 0xff;
		x = parsed(&f);
		assert_false(executable_defines(&x, "mono_jit_init"));
		assert_false(executable_needs(&x, "libmonosgen"));
		assert_int_equal(executable_dotnet(&x), DOTNET_NONE);
		f.bytes[i] = kept;
		memcpy(cut, f.bytes, i);
		executable_parse(cut, i, &x);
		executable_defines(&x, "mono_main");
		executable_needs(&x, "libmonosgen");
		assert_int_equal(executable_dotnet(&x), DOTNET_NONE);
		free(cut);
	}
}

PROMISE(nothing_at_all_is_nothing)
{
	struct executable x;

	executable_parse(NULL, 0, &x);
	assert_false(x.is_elf);
	assert_false(executable_defines(&x, "main"));
	assert_false(executable_needs(&x, "libc"));
	assert_int_equal(executable_dotnet(&x), DOTNET_NONE);
}
