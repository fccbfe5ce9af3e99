/* SPDX-License-Identifier: MIT */
/*
 * old-libc.c - what lets the package's libpsibridge.so run where glibc is as old as 2.28
 *
 * A library needs each symbol in the version that it was linked with. glibc 2.34 moved threads and dlsym() into libc.so.6 and gave
 * them a new version; they did not change, and the old one is still there. So all calls in the library go through functions of the same
 * name here, hidden by the symbol map, which ask for the old one. In glibc before 2.34 these are in libpthread.so.0 and libdl.so.2: a
 * runtime of .NET or Mono has both loaded. stat() and fstat() are functions since 2.33; before, they were macros of a kind. The kernel's
 * structure is the libc's on 64-bit machines.
 *
 * tests/structure/symbols.sh looks at what is really asked for.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __GLIBC__

#if defined(__x86_64__)
#define OLDEST "GLIBC_2.2.5"
#define SINCE_2_3_3 "GLIBC_2.3.3"
#define SINCE_2_7 "GLIBC_2.7"
#define SINCE_2_12 "GLIBC_2.12"
#elif defined(__aarch64__)
#define OLDEST "GLIBC_2.17"
#define SINCE_2_3_3 OLDEST
#define SINCE_2_7 OLDEST
#define SINCE_2_12 OLDEST
#endif

#ifdef OLDEST

/* `name`, in `version`, is called old_`name` here. */
#define OLD(version, type, name, parameters) \
	type old_##name parameters;          \
	type name parameters;                \
	__asm__(".symver old_" #name "," #name "@" version)

OLD(OLDEST, int, pthread_create,
    (pthread_t * ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg));
int pthread_create(pthread_t *ret, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
	return old_pthread_create(ret, attr, run, arg);
}

OLD(OLDEST, int, pthread_join, (pthread_t thread, void **ret));
int pthread_join(pthread_t thread, void **ret)
{
	return old_pthread_join(thread, ret);
}

OLD(OLDEST, int, pthread_detach, (pthread_t thread));
int pthread_detach(pthread_t thread)
{
	return old_pthread_detach(thread);
}

OLD(SINCE_2_12, int, pthread_setname_np, (pthread_t thread, const char *name));
int pthread_setname_np(pthread_t thread, const char *name)
{
	return old_pthread_setname_np(thread, name);
}

OLD(OLDEST, int, pthread_attr_setstacksize, (pthread_attr_t * attr, size_t size));
int pthread_attr_setstacksize(pthread_attr_t *attr, size_t size)
{
	return old_pthread_attr_setstacksize(attr, size);
}

OLD(SINCE_2_3_3, int, pthread_condattr_setclock, (pthread_condattr_t * attr, clockid_t clock));
int pthread_condattr_setclock(pthread_condattr_t *attr, clockid_t clock)
{
	return old_pthread_condattr_setclock(attr, clock);
}

OLD(OLDEST, int, pthread_sigmask, (int how, const sigset_t *set, sigset_t *ret));
int pthread_sigmask(int how, const sigset_t *set, sigset_t *ret)
{
	return old_pthread_sigmask(how, set, ret);
}

OLD(OLDEST, void *, dlsym, (void *handle, const char *name));
void *dlsym(void *handle, const char *name)
{
	return old_dlsym(handle, name);
}

/* pthread_cleanup_push() and pop() */
OLD(SINCE_2_3_3, void, __pthread_register_cancel, (__pthread_unwind_buf_t * buf));
void __pthread_register_cancel(__pthread_unwind_buf_t *buf)
{
	old___pthread_register_cancel(buf);
}

OLD(SINCE_2_3_3, void, __pthread_unregister_cancel, (__pthread_unwind_buf_t * buf));
void __pthread_unregister_cancel(__pthread_unwind_buf_t *buf)
{
	old___pthread_unregister_cancel(buf);
}

OLD(SINCE_2_3_3, void, __pthread_unwind_next, (__pthread_unwind_buf_t * buf));
void __pthread_unwind_next(__pthread_unwind_buf_t *buf)
{
	old___pthread_unwind_next(buf);
	__builtin_unreachable();
}

/* What strtol(3) and its kind are called where the headers are those of glibc 2.38: they know 0b1 there. */
#if __GLIBC_PREREQ(2, 38)
#define OLD_NUMBER(type, name)                                             \
	OLD(OLDEST, type, name, (const char *text, char **end, int base)); \
	type __isoc23_##name(const char *text, char **end, int base);      \
	type __isoc23_##name(const char *text, char **end, int base)       \
	{                                                                  \
		return old_##name(text, end, base);                        \
	}
OLD_NUMBER(long, strtol)
OLD_NUMBER(unsigned long, strtoul)
OLD_NUMBER(unsigned long long, strtoull)

OLD(SINCE_2_7, int, __isoc99_vsscanf, (const char *text, const char *format, va_list list));
int __isoc23_sscanf(const char *text, const char *format, ...);
int __isoc23_sscanf(const char *text, const char *format, ...)
{
	va_list list;

	va_start(list, format);
	int n = old___isoc99_vsscanf(text, format, list);
	va_end(list);
	return n;
}
#endif

int fstatat(int dirfd, const char *path, struct stat *ret, int flags)
{
	return (int)syscall(SYS_newfstatat, dirfd, path, ret, flags);
}

int stat(const char *path, struct stat *ret)
{
	return fstatat(AT_FDCWD, path, ret, 0);
}

int fstat(int fd, struct stat *ret)
{
	return (int)syscall(SYS_fstat, fd, ret);
}

#endif
#endif
