/* SPDX-License-Identifier: MIT */
/*
 * mono-wait.c - a runtime that takes its time to come and to go
 *
 * Preloaded into psibridge-monohost by test-mono.sh: mono_jit_init() begins only when the FIFO that
 * $MONO_WAIT_INIT names is opened for writing, and mono_jit_cleanup() returns only when that of
 * $MONO_WAIT_CLEANUP is. So the test decides what is told before the runtime is there, and what
 * after it is gone.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void *mono_jit_init(const char *file);
void mono_jit_cleanup(void *domain);

static void wait_for(const char *variable)
{
	const char *fifo = getenv(variable);
	int fd = fifo ? open(fifo, O_RDONLY | O_CLOEXEC) : -1;

	if (fd >= 0)
		close(fd);
}

void *mono_jit_init(const char *file)
{
	void *(*next)(const char *) = (void *(*)(const char *))dlsym(RTLD_NEXT, "mono_jit_init");

	wait_for("MONO_WAIT_INIT");
	return next(file);
}

void mono_jit_cleanup(void *domain)
{
	void (*next)(void *) = (void (*)(void *))dlsym(RTLD_NEXT, "mono_jit_cleanup");

	next(domain);
	wait_for("MONO_WAIT_CLEANUP");
}
