/* SPDX-License-Identifier: MIT */
/*
 * fuzz-executable.c - any bytes as a program
 *
 * What comes out points into what went in. What is found to be defined is there by name, what an
 * ELF file has to do with .NET needs an ELF file, and the same bytes are the same program.
 */
#include "fuzz.h"

#include <string.h>

#include "core/executable.h"

static void check_inside(struct scan s, const uint8_t *data, size_t size)
{
	const uint8_t *p = (const uint8_t *)s.p;

	if (s.left > 0)
		CHECK(p >= data && s.left <= size && (size_t)(p - data) <= size - s.left);
}

FUZZ_TARGET(executable)
{
	static const char *const names[] = { "DotNetRuntimeInfo", "mono_main", "" };
	struct executable x, again;

	executable_parse(data, size, &x);
	check_inside(x.interpreter, data, size);
	CHECK(*executable_machine(&x));
	executable_libc(&x);
	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		if (executable_defines(&x, names[i])) {
			CHECK(x.is_elf);
			CHECK(memmem(data, size, names[i], strlen(names[i]) + 1));
		}
	if (executable_needs(&x, "libmonosgen-2.0.so"))
		CHECK(memmem(data, size, "libmonosgen-2.0.so", 18));
	if (executable_dotnet(&x) != DOTNET_NONE)
		CHECK(x.is_elf);
	executable_parse(data, size, &again);
	CHECK(again.is_elf == x.is_elf && again.symbols == x.symbols);
	return 0;
}
