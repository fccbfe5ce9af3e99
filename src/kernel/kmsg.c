/* SPDX-License-Identifier: MIT */
/*
 * kmsg.c - /dev/kmsg: one record a read(2)
 *
 *     6,420,5256666400,-;oom-kill:constraint=...
 *      SUBSYSTEM=...                                  (lines that start with a blank)
 *
 * In front are priority and facility (as in syslog(3)), a number, a time and a flag. What a program
 * wrote has another facility than the kernel's 0, and is left out. In the text a byte that cannot be
 * printed, and a backslash, is \xHH. EPIPE: the oldest records were overwritten before they were
 * read; the next read goes on behind the gap. Source: Documentation/ABI/testing/dev-kmsg.
 */
#include "kernel/kmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_MAX 8192 /* a record that does not fit is EINVAL; none is longer */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. Returns the new size. */
static size_t unescape(char *text, size_t size)
{
	size_t out = 0;

	for (size_t i = 0; i < size; i++) {
		if (text[i] == '\\' && size - i >= 4 && text[i + 1] == 'x' &&
		    hex(text[i + 2]) >= 0 && hex(text[i + 3]) >= 0) {
			text[out++] = (char)(hex(text[i + 2]) << 4 | hex(text[i + 3]));
			i += 3;
		} else {
			text[out++] = text[i];
		}
	}
	return out;
}

static void take_record(char *record, size_t size, kmsg_fn *fn, void *userdata)
{
	char *text = memchr(record, ';', size), *end;
	unsigned long priority = strtoul(record, NULL, 10); /* ends at a comma */

	if (!text || priority >> 3 != 0)
		return;
	text++;
	size -= (size_t)(text - record);
	end = memchr(text, '\n', size);
	if (end)
		size = (size_t)(end - text);
	fn(text, unescape(text, size), userdata);
}

int kmsg_read(int fd, kmsg_fn *fn, void *userdata)
{
	char record[RECORD_MAX];
	ssize_t n;

	do {
		n = read(fd, record, sizeof(record));
		if (n > 0)
			take_record(record, (size_t)n, fn, userdata);
	} while (n > 0 || (n < 0 && (errno == EPIPE || errno == EINTR)));
	return n < 0 && errno != EAGAIN ? -errno : 0;
}

int kmsg_open(int fd)
{
	int r;

	if (fd < 0)
		fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (lseek(fd, 0, SEEK_END) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}
