/* SPDX-License-Identifier: MIT */
/*
 * test-resident.c - code stays in memory while it shall, and not longer
 *
 * What the kernel did is read from /proc/self/smaps ("lo" among the VmFlags of a mapping) and
 * VmLck. Each test is a child of its own: locks belong to a process, and so do its limits.
 */
#include <dlfcn.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../unit.h"
#include "psibridge/tools.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

#define MUST(condition)                                                                 \
	do {                                                                            \
		if (!(condition)) {                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			_exit(1);                                                       \
		}                                                                       \
	} while (0)

/* Of all mappings: how many kB are locked, and how many of executable files are not. */
struct locked {
	unsigned long locked_kb, unlocked_code_kb, locked_data_kb;
};

static struct locked read_locked(void)
{
	char line[1024], mode[8] = "", name[512] = "";
	FILE *f = fopen("/proc/self/smaps", "re");
	struct locked locked = { 0 };
	unsigned long size_kb = 0;

	MUST(f);
	while (fgets(line, sizeof(line), f)) {
		bool is_locked = strstr(line, " lo") != NULL, is_file = name[0] == '/';

		if (strchr(line, '-') < strchr(line, ' ') && strchr(line, '-')) {
			name[0] = '\0'; /* the first line of a mapping: address, mode ... */
			sscanf(line, "%*s %7s %*s %*s %*s %511s", mode, name);
		} else if (sscanf(line, "Size: %lu", &size_kb) != 1 &&
			   strncmp(line, "VmFlags:", 8) == 0) {
			locked.locked_kb += is_locked ? size_kb : 0;
			if (is_file && mode[2] == 'x' && !is_locked)
				locked.unlocked_code_kb += size_kb;
			if (is_locked && (!is_file || strstr(name, "psb-resident")))
				locked.locked_data_kb += size_kb;
		}
	}
	fclose(f);
	return locked;
}

/* Somebody whom the limit counts for. */
static void become_nobody(rlim_t limit)
{
	struct rlimit r = { limit, limit };

	MUST(setrlimit(RLIMIT_MEMLOCK, &r) == 0);
	if (geteuid() == 0)
		MUST(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
		     setresuid(65534, 65534, 65534) == 0);
}

static int may_lock_all(void)
{
	struct rlimit r;

	return geteuid() == 0 || (getrlimit(RLIMIT_MEMLOCK, &r) == 0 && r.rlim_cur >= 64 << 20);
}

static void in_child(void (*keep)(void), bool locks_all)
{
	pid_t pid;
	int status;

	if (locks_all && !may_lock_all())
		SKIP("RLIMIT_MEMLOCK is too low to lock everything, and not root");
	if (SANITIZED)
		SKIP("the sanitizer makes munlock(2) do nothing");
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		keep();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

#define IN_CHILD(name, locks_all)                     \
	static void name##_in_child(void);            \
	PROMISE(name)                                 \
	{                                             \
		in_child(name##_in_child, locks_all); \
	}                                             \
	static void name##_in_child(void)

/* A file and memory that are no code. */
static void map_data(void)
{
	char path[] = "/tmp/psb-resident.XXXXXX";
	int fd = mkstemp(path);

	MUST(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	unlink(path);
	MUST(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE, fd, 0) != MAP_FAILED);
	MUST(mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
	     MAP_FAILED);
}

IN_CHILD(all_code_and_nothing_else_is_locked_and_unlocked_but_what_is_kept, true)
{
	const void *maths = dlsym(dlopen("libm.so.6", RTLD_NOW), "cos");
	unsigned long kept_kb;
	uint64_t refused = 7;
	psb_code *code;

	map_data();
	MUST(read_locked().locked_kb == 0);
	MUST(psb_code_new(&code) == 0);
	kept_kb = read_locked().locked_kb;
	MUST(kept_kb > 1000);		      /* libc, where our own code is */
	MUST(psb_code_lock(code, NULL) == 0); /* what is kept while all is locked stays, too */
	MUST(maths && psb_code_keep(code, maths) == 0);
	MUST(psb_code_unlock(code) == 0);
	MUST(read_locked().locked_kb > kept_kb);
	kept_kb = read_locked().locked_kb;
	MUST(psb_code_keep(code, maths) == 0); /* again */
	for (int i = 0; i < 2; i++) {	       /* again, too */
		MUST(psb_code_lock(code, &refused) == 0);
		MUST(refused == 0);
		MUST(read_locked().locked_kb > kept_kb);
		MUST(read_locked().unlocked_code_kb == 0);
		MUST(read_locked().locked_data_kb == 0);
	}
	MUST(psb_code_unlock(code) == 0);
	MUST(read_locked().locked_kb == kept_kb);
	MUST(psb_code_keep(code, &kept_kb) == -ENOENT); /* the stack */
	MUST(psb_code_keep(code, (const void *)8) == -ENOENT);
	MUST(psb_code_lock(code, NULL) == 0);
	MUST(!psb_code_free(code));
	MUST(read_locked().locked_kb == 0);
}

IN_CHILD(half_of_the_limit_stays_for_the_program, false)
{
	uint64_t refused = 0;
	psb_code *code;

	become_nobody(2048 << 10);
	MUST(psb_code_new(&code) == 0);
	MUST(psb_code_lock(code, &refused) == 0);
	MUST(read_locked().locked_kb > 0 && read_locked().locked_kb <= 1024);
	MUST(refused > 0);
}

IN_CHILD(without_any_right_all_of_it_is_told_as_refused, false)
{
	uint64_t refused = 0;
	psb_code *code;

	become_nobody(0);
	MUST(psb_code_new(&code) == 0);
	MUST(psb_code_lock(code, &refused) == 0);
	MUST(refused > 1 << 20 && read_locked().locked_kb == 0);
	MUST(psb_code_unlock(code) == 0);
}

IN_CHILD(a_program_that_locks_memory_itself_is_left_alone, false)
{
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	psb_code *code = NULL;

	MUST(page != MAP_FAILED);
	if (mlock(page, 4096) < 0)
		_exit(0);
	MUST(psb_code_new(&code) == -EALREADY);
	MUST(!code);
}

IN_CHILD(a_childs_handle_is_dead, false)
{
	psb_code *code;
	int status;
	pid_t pid;

	MUST(psb_code_new(&code) == 0);
	pid = fork();
	if (pid == 0)
		_exit(psb_code_lock(code, NULL) == -ECHILD && psb_code_unlock(code) == -ECHILD ? 0
											       : 1);
	MUST(waitpid(pid, &status, 0) == pid && status == 0);
	MUST(!psb_code_free(code));
}
