/* SPDX-License-Identifier: MIT */
/*
 * maps.c - what the process has mapped, from /proc/self/maps
 *
 *     55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1048602    /usr/bin/cat
 *
 * Lines are sorted by address. They are read character by character, because the name at the end,
 * which is not needed here, may be longer than any buffer (a path of 4095 bytes, with newlines as
 * \012). Source: proc(5), show_map_vma() in fs/proc/task_mmu.c.
 *
 * The answer is a snapshot; other threads map and unmap meanwhile.
 */
#include "kernel/maps.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum maps_field {
	MAPS_START,
	MAPS_END,
	MAPS_ACCESS,
	MAPS_OFFSET,
	MAPS_DEVICE,
	MAPS_INODE,
	MAPS_NAME
};

/* A line of which a part was read. */
struct maps_reader {
	enum maps_field field;
	struct mapping line;
};

/* True: `line` is complete but for its name, which is not needed. */
static bool maps_read(struct maps_reader *reader, char c)
{
	struct mapping *line = &reader->line;
	unsigned digit = c >= '0' && c <= '9'	? (unsigned)(c - '0')
			 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
						: 0;

	switch (reader->field) {
	case MAPS_START:
		if (c == '-')
			reader->field = MAPS_END;
		else
			line->start = line->start * 16 + digit;
		return false;
	case MAPS_END:
		if (c == ' ')
			reader->field = MAPS_ACCESS;
		else
			line->end = line->end * 16 + digit;
		return false;
	case MAPS_ACCESS:
		if (c == ' ')
			reader->field = MAPS_OFFSET;
		else
			line->access |= c == 'r'   ? PROT_READ
					: c == 'w' ? PROT_WRITE
					: c == 'x' ? PROT_EXEC
						   : 0;
		line->is_private = line->is_private || c == 'p';
		return false;
	case MAPS_OFFSET:
		if (c == ' ')
			reader->field = MAPS_DEVICE;
		return false;
	case MAPS_DEVICE: /* major:minor: the two together are only ever compared */
		if (c == ' ')
			reader->field = MAPS_INODE;
		else
			line->device = line->device << (c == ':' ? 32 : 4) | (c == ':' ? 0 : digit);
		return false;
	case MAPS_INODE:
		if (c != ' ' && c != '\n') {
			line->inode = line->inode * 10 + digit;
			return false;
		}
		reader->field = MAPS_NAME;
		return true;
	case MAPS_NAME:
		return false;
	}
	return false;
}

int maps_each(int fd, maps_fn *fn, void *userdata)
{
	struct maps_reader reader = { 0 };
	char buf[4096];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		at += n;
		for (ssize_t i = 0; i < n; i++) {
			if (maps_read(&reader, buf[i]) && !fn(&reader.line, userdata))
				return 0;
			if (buf[i] == '\n')
				reader = (struct maps_reader){ 0 };
		}
	}
	return n < 0 ? -errno : 0;
}
