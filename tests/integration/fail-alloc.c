/* SPDX-License-Identifier: MIT */
/*
 * fail-alloc.c - for LD_PRELOAD: the allocation number $FAIL_ALLOC of the process fails, once
 *
 * Then, or when there were fewer, the end of the process leaves a file $FAIL_ALLOC_DONE or none.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t size);

static atomic_ulong count, fails_at;

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("FAIL_ALLOC");

	count = 0;
	fails_at = at ? strtoul(at, NULL, 10) : 0;
	unsetenv("LD_PRELOAD"); /* for this process alone */
}

static int fails(void)
{
	const char *done;
	int fd;

	if (fails_at == 0 || ++count != fails_at)
		return 0;
	done = getenv("FAIL_ALLOC_DONE");
	fd = done ? open(done, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;
	if (fd >= 0) {
		void *trace[16];

		backtrace_symbols_fd(trace, backtrace(trace, 16), fd);
		close(fd);
	}
	errno = ENOMEM;
	return 1;
}

EXPORT void *malloc(size_t size)
{
	return fails() ? NULL : __libc_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size)
{
	return fails() ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t size)
{
	return fails() ? NULL : __libc_realloc(p, size);
}
