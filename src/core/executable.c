/* SPDX-License-Identifier: MIT */
/*
 * executable.c - the parts of ELF that are needed
 *
 * ELF (gabi, elf.h): the program headers say which parts of the file are loaded where, which
 * interpreter is asked for (PT_INTERP; none: static), and where the dynamic section is. That one
 * names string and symbol tables by *address*; an address becomes a file offset through the loaded
 * segment it lies in. Section headers are not looked at: strip may have taken them.
 *
 * The number of dynamic symbols is only in the hash tables. The symbol table ends before the next
 * table that the dynamic section names, or with its segment, and what lies between cannot be taken
 * for a symbol: a match needs the exact name in the string table.
 *
 * .NET (dotnet/runtime, MIT: src/native/corehost/apphost, src/coreclr/vm, nativeaot):
 *   - all hosts look for the function hostfxr_main_startupinfo, so they have its name;
 *   - a program that has the runtime inside exports DotNetRuntimeInfo for debuggers;
 *   - one compiled by NativeAOT exports DotNetRuntimeDebugHeader.
 * Checked with programs built by the SDK 10.0.
 */
#include "core/executable.h"

/* From the gabi and its supplements, with their names; core includes no system's <elf.h>. */
enum { EI_CLASS = 4, EI_DATA = 5, EI_NIDENT = 16, ELFCLASS32 = 1, ELFCLASS64 = 2, ELFDATA2MSB = 2 };
enum { PT_LOAD = 1, PT_DYNAMIC = 2, PT_INTERP = 3, PF_W = 2 };
enum {
	DT_NULL = 0,
	DT_NEEDED = 1,
	DT_HASH = 4,
	DT_STRTAB = 5,
	DT_SYMTAB = 6,
	DT_RELA = 7,
	DT_STRSZ = 10,
	DT_SYMENT = 11,
	DT_REL = 17,
	DT_JMPREL = 23,
	DT_GNU_HASH = 0x6ffffef5,
	DT_VERSYM = 0x6ffffff0,
	DT_VERDEF = 0x6ffffffc,
	DT_VERNEED = 0x6ffffffe
};
enum {
	EM_386 = 3,
	EM_MIPS = 8,
	EM_PPC64 = 21,
	EM_S390 = 22,
	EM_ARM = 40,
	EM_X86_64 = 62,
	EM_AARCH64 = 183,
	EM_RISCV = 243,
	EM_LOONGARCH = 258
};
#define ELFMAG "\177ELF"
#define SHN_UNDEF 0
#define PROGRAM_HEADER_SIZE(wide) ((wide) ? 56u : 32u)
#define SYMBOL_SIZE(wide) ((wide) ? 24u : 16u)

#define STRING_MAX 4096
#define SYMBOLS_MAX (UINT64_C(1) << 20)
#define DYNAMIC_MAX 4096
#define SEARCHED_MAX (UINT64_C(64) << 20)

/* ---- reading ---------------------------------------------------------------------------------- */

static bool inside(const struct executable *x, uint64_t at, uint64_t size)
{
	return at <= x->size && size <= x->size - at;
}

/* An unsigned number of `size` bytes. 0 where the file ends before it: callers take 0 for an empty
 * entry. */
static uint64_t number(const struct executable *x, uint64_t at, unsigned size)
{
	uint64_t value = 0;

	if (!inside(x, at, size))
		return 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)x->bytes[at + i] << 8 * (x->big ? size - 1 - i : i);
	return value;
}

/* A C string in the file. Nothing is left where it does not end. */
static struct scan string_at(const struct executable *x, uint64_t at, uint64_t max)
{
	const uint8_t *end;

	if (at >= x->size)
		return (struct scan){ NULL, 0 };
	max = MIN(max, x->size - at);
	end = memchr(x->bytes + at, '\0', max);
	if (!end)
		return (struct scan){ NULL, 0 };
	return (struct scan){ (const char *)x->bytes + at, (size_t)(end - (x->bytes + at)) };
}

static const uint8_t *find(const uint8_t *in, size_t in_size, const void *bytes, size_t size)
{
	const uint8_t *first = bytes, *at = in;

	if (size == 0 || in_size < size)
		return NULL;
	while ((at = memchr(at, *first, in_size - size + 1 - (size_t)(at - in)))) {
		if (memcmp(at, bytes, size) == 0)
			return at;
		at++;
		if ((size_t)(at - in) > in_size - size)
			break;
	}
	return NULL;
}

/* ---- ELF -------------------------------------------------------------------------------------- */

struct segment {
	uint32_t type, flags;
	uint64_t offset, address, size; /* in the file */
};

static struct segment segment(const struct executable *x, unsigned i)
{
	uint64_t at = x->table_offset + (uint64_t)i * x->table_entry;

	if (x->wide)
		return (struct segment){
			.type = (uint32_t)number(x, at, 4),
			.flags = (uint32_t)number(x, at + 4, 4),
			.offset = number(x, at + 8, 8),
			.address = number(x, at + 16, 8),
			.size = number(x, at + 32, 8),
		};
	return (struct segment){
		.type = (uint32_t)number(x, at, 4),
		.flags = (uint32_t)number(x, at + 24, 4),
		.offset = number(x, at + 4, 4),
		.address = number(x, at + 8, 4),
		.size = number(x, at + 16, 4),
	};
}

/* Where in the file an address is, and how much of its segment lies behind; false: nowhere. */
static bool file_offset(const struct executable *x, uint64_t address, uint64_t *ret_at,
			uint64_t *ret_left)
{
	for (unsigned i = 0; i < x->table_entries; i++) {
		struct segment s = segment(x, i);

		if (s.type != PT_LOAD || !inside(x, s.offset, s.size) || address < s.address ||
		    address - s.address >= s.size)
			continue;
		*ret_at = s.offset + (address - s.address);
		*ret_left = s.size - (address - s.address);
		return true;
	}
	return false;
}

static uint64_t dynamic_entry(const struct executable *x, uint64_t i, uint64_t *ret_value)
{
	unsigned word = x->wide ? 8 : 4;

	*ret_value = number(x, x->dynamic + (2 * i + 1) * word, word);
	return number(x, x->dynamic + 2 * i * word, word);
}

static uint64_t dynamic_entries(const struct executable *x)
{
	return MIN(x->dynamic_size / (x->wide ? 16 : 8), (uint64_t)DYNAMIC_MAX);
}

static void parse_dynamic(struct executable *x)
{
	uint64_t strings = 0, strings_size = 0, symbols = 0, symbol_size = 0, left, value;
	uint64_t end = UINT64_MAX;

	for (uint64_t i = 0, tag = 1; i < dynamic_entries(x) && tag != DT_NULL; i++) {
		tag = dynamic_entry(x, i, &value);
		if (tag == DT_STRTAB)
			strings = value;
		else if (tag == DT_STRSZ)
			strings_size = value;
		else if (tag == DT_SYMTAB)
			symbols = value;
		else if (tag == DT_SYMENT)
			symbol_size = value;
	}
	if (!strings || !symbols || !file_offset(x, strings, &x->strings, &left))
		return;
	x->strings_size = MIN(strings_size, left);
	if (symbol_size != SYMBOL_SIZE(x->wide) || !file_offset(x, symbols, &x->symbols, &left))
		return;
	for (uint64_t i = 0, tag = 1; i < dynamic_entries(x) && tag != DT_NULL; i++) {
		tag = dynamic_entry(x, i, &value);
		if ((tag == DT_STRTAB || tag == DT_HASH || tag == DT_GNU_HASH || tag == DT_VERSYM ||
		     tag == DT_VERNEED || tag == DT_VERDEF || tag == DT_RELA || tag == DT_REL ||
		     tag == DT_JMPREL) &&
		    value > symbols)
			end = MIN(end, value - symbols);
	}
	x->symbol_size = symbol_size;
	x->symbols_end = x->symbols + MIN(MIN(left, end), SYMBOLS_MAX * symbol_size);
}

static void parse_elf(struct executable *x)
{
	x->wide = x->bytes[EI_CLASS] == ELFCLASS64;
	x->big = x->bytes[EI_DATA] == ELFDATA2MSB;
	if (!x->wide && x->bytes[EI_CLASS] != ELFCLASS32)
		return;
	x->is_elf = true;
	x->machine = (uint16_t)number(x, 18, 2);
	x->table_offset = x->wide ? number(x, 32, 8) : number(x, 28, 4);
	x->table_entry = (uint16_t)number(x, x->wide ? 54 : 42, 2);
	x->table_entries = (uint16_t)number(x, x->wide ? 56 : 44, 2);
	if (x->table_entry < PROGRAM_HEADER_SIZE(x->wide) ||
	    !inside(x, x->table_offset, (uint64_t)x->table_entry * x->table_entries)) {
		x->table_entries = 0;
		return;
	}
	for (unsigned i = 0; i < x->table_entries; i++) {
		struct segment s = segment(x, i);

		if (!inside(x, s.offset, s.size))
			continue;
		if (s.type == PT_INTERP) {
			x->interpreter = string_at(x, s.offset, MIN(s.size, (uint64_t)STRING_MAX));
		} else if (s.type == PT_DYNAMIC) {
			x->dynamic = s.offset;
			x->dynamic_size = s.size;
		}
	}
	if (x->dynamic_size > 0)
		parse_dynamic(x);
}

static bool string_is(const struct executable *x, uint64_t offset, const char *name, bool whole)
{
	size_t size = strlen(name) + whole;

	return offset < x->strings_size && size <= x->strings_size - offset &&
	       inside(x, x->strings + offset, size) &&
	       memcmp(x->bytes + x->strings + offset, name, size) == 0;
}

bool executable_defines(const struct executable *x, const char *symbol)
{
	if (x->symbol_size == 0)
		return false;
	for (uint64_t at = x->symbols; at + x->symbol_size <= x->symbols_end; at += x->symbol_size)
		if (number(x, at + (x->wide ? 6 : 14), 2) != SHN_UNDEF &&
		    string_is(x, number(x, at, 4), symbol, true))
			return true;
	return false;
}

bool executable_needs(const struct executable *x, const char *library)
{
	uint64_t value;

	for (uint64_t i = 0, tag = 1; i < dynamic_entries(x) && tag != DT_NULL; i++) {
		tag = dynamic_entry(x, i, &value);
		if (tag == DT_NEEDED && string_is(x, value, library, false))
			return true;
	}
	return false;
}

/* In what is loaded and not writable, of which at most the first 64 MiB are searched. */
static const uint8_t *find_constant(const struct executable *x, const void *bytes, size_t size)
{
	for (unsigned i = 0; i < x->table_entries; i++) {
		struct segment s = segment(x, i);
		const uint8_t *at;

		if (s.type != PT_LOAD || s.flags & PF_W || !inside(x, s.offset, s.size))
			continue;
		at = find(x->bytes + s.offset, MIN(s.size, SEARCHED_MAX), bytes, size);
		if (at)
			return at;
	}
	return NULL;
}

const char *executable_machine(const struct executable *x)
{
	static const struct {
		uint16_t machine;
		const char *name;
	} names[] = {
		{ EM_X86_64, "x86-64" },    { EM_AARCH64, "arm64" }, { EM_386, "x86 (32-bit)" },
		{ EM_ARM, "arm (32-bit)" }, { EM_S390, "s390x" },    { EM_PPC64, "ppc64" },
		{ EM_RISCV, "riscv" },	    { EM_MIPS, "mips" },     { EM_LOONGARCH, "loongarch" },
	};

	if (x->machine == EM_X86_64 && !x->wide)
		return "x86-64 (x32)";
	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (names[i].machine == x->machine)
			return names[i].name;
	return "an unknown machine";
}

const char *executable_libc(const struct executable *x)
{
	struct scan rest = x->interpreter, name = { NULL, 0 };

	while (scan_item(&rest, '/', &name))
		continue;
	if (scan_word(&name, "ld-musl-"))
		return "musl";
	if (scan_word(&name, "ld-linux") || scan_word(&name, "ld64.so") ||
	    scan_word(&name, "ld.so"))
		return "glibc";
	return "";
}

enum executable_dotnet executable_dotnet(const struct executable *x)
{
	/* "hostfxr_main_startupinfo" less its first letter: else psibridge's own file would look like a host */
	static const char host[] = "ostfxr_main_startupinfo";
	const uint8_t *at;

	if (executable_defines(x, "DotNetRuntimeInfo"))
		return DOTNET_SINGLE;
	if (executable_defines(x, "DotNetRuntimeDebugHeader"))
		return DOTNET_AOT;
	at = find_constant(x, host, sizeof(host));
	return at && at > x->bytes && at[-1] == 'h' ? DOTNET_HOST : DOTNET_NONE;
}

void executable_parse(const void *bytes, size_t size, struct executable *ret)
{
	struct executable x = { .bytes = bytes, .size = size };

	if (size >= EI_NIDENT && memcmp(bytes, ELFMAG, 4) == 0)
		parse_elf(&x);
	*ret = x;
}
