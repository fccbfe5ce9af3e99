/* SPDX-License-Identifier: MIT */
/*
 * slow-start.c - for LD_PRELOAD: the first thread takes 2 ms more for each mapping and each thread that it makes
 *
 * What else happens in a program that starts, on other threads, then finds it in each state on the way.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define MORE_USEC 2000

__attribute__((constructor)) static void begin(void)
{
	unsetenv("LD_PRELOAD"); /* for this process alone */
}

#define SLOW(result, name, parameters, arguments)                   \
	EXPORT result name parameters                               \
	{                                                           \
		result(*real) parameters = dlsym(RTLD_NEXT, #name); \
                                                                    \
		if (gettid() == getpid())                           \
			usleep(MORE_USEC);                          \
		return real arguments;                              \
	}

SLOW(void *, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
     (at, size, protection, flags, fd, offset))
SLOW(int, munmap, (void *at, size_t size), (at, size))
SLOW(int, mprotect, (void *at, size_t size, int protection), (at, size, protection))
SLOW(int, madvise, (void *at, size_t size, int advice), (at, size, advice))
SLOW(int, pthread_create,
     (pthread_t * ret, const pthread_attr_t *how, void *(*run)(void *), void *argument),
     (ret, how, run, argument))
SLOW(int, pthread_mutex_init, (pthread_mutex_t * m, const pthread_mutexattr_t *how), (m, how))
SLOW(int, pthread_cond_init, (pthread_cond_t * c, const pthread_condattr_t *how), (c, how))
