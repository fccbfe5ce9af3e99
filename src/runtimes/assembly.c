/* SPDX-License-Identifier: MIT */
/*
 * assembly.c - an assembly is a PE file; all of its sections are there, and it says what it is for
 */
#include "runtimes/assembly.h"
#include "runtimes/managed.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <uchar.h>

static const char framework[] = ".NETCoreApp,Version=v";   /* TargetFrameworkAttribute */
static const char16_t ours[] = u"/memfd:" MANAGED_MAPPING; /* what Hook.cs looks for */

/* Little-endian, as this is built for. 0 where the file ends before. */
static uint32_t number(const uint8_t *file, size_t size, size_t at, size_t n)
{
	uint32_t value = 0;

	if (at <= size && n <= size - at)
		memcpy(&value, file + at, n);
	return value;
}

/* Up to where its sections go; 0: it is no PE file. (Microsoft, "PE Format") */
static uint64_t pe_end(const uint8_t *file, size_t size)
{
	enum { SECTION = 40, RAW_SIZE = 16, RAW_AT = 20 };
	size_t pe = number(file, size, 0x3c, 4);
	size_t count = number(file, size, pe + 6, 2),
	       table = pe + 24 + number(file, size, pe + 20, 2);
	uint64_t end = table + count * SECTION;

	if (number(file, size, 0, 2) != 0x5a4d || number(file, size, pe, 4) != 0x4550)
		return 0;
	for (size_t i = 0, at = table; i < count; i++, at += SECTION) {
		uint64_t here = (uint64_t)number(file, size, at + RAW_AT, 4) +
				number(file, size, at + RAW_SIZE, 4);

		end = here > end ? here : end;
	}
	return end;
}

static const char *why_not(const uint8_t *file, size_t size, int major)
{
	uint64_t end = pe_end(file, size);
	const uint8_t *at = memmem(file, size, framework, sizeof(framework) - 1);

	if (end == 0)
		return "no assembly";
	if (end > size)
		return "cut off";
	if (!at || !memmem(file, size, ours, sizeof(ours) - sizeof(ours[0])))
		return "not ours, or of another version";
	/* behind the text something follows always: it is inside of a section */
	if (atoi((const char *)at + sizeof(framework) - 1) > major)
		return "made for a newer .NET than this";
	return NULL;
}

const char *assembly_why_not(int fd, int major)
{
	const char *why;
	struct stat st;
	void *file;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return "no assembly";
	file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		return "cannot be read";
	why = why_not(file, (size_t)st.st_size, major);
	munmap(file, (size_t)st.st_size);
	return why;
}
