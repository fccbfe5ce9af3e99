/* SPDX-License-Identifier: MIT */
/*
 * code.c - psb_code: code that stays in memory: mlock2(2) for files that are mapped executable
 *
 * Where there is no swap, a cgroup over its memory.high has one kind of memory left that the kernel
 * can reclaim: pages of files, so also the code of a collector, this library and libc. A thread
 * that needs such a page reads it in again, is charged for it, and for that is put to sleep before
 * it gets to run it (mem_cgroup_handle_over_high(), mm/memcontrol.c). When it wakes, others have
 * reclaimed the page, and it begins anew. Seen on Linux 6.12, a .NET program and another one in one
 * cgroup: one page of libcoreclr.so was read in 60 times within 10 s; the collection that would
 * have helped took 12.6 s, and ended only when the other one had given up. With the code locked the
 * same collection took 1.9 s, and the stall of those 12 s was 0.6 s (tests/vm/guest-dotnet.sh).
 *
 * Locking takes code itself, and reading /proc/self/maps: begun when memory is short already, it took
 * seconds there. So what locks and what collects is kept for good (psb_code_keep()), and everything
 * else from the first sign on (psb_code_lock()) until it is over.
 *
 * MLOCK_ONFAULT keeps what is in memory now, and the rest page by page when it is touched: locking
 * itself reads nothing in. Of a file that is mapped executable everything that this process has
 * mapped privately is locked, for a collection also reads tables that lie beside the code (.NET:
 * the unwinding tables of .dll files that were compiled ahead of time). A file of which no part is
 * mapped executable is data, and may be huge: never locked.
 *
 * RLIMIT_MEMLOCK counts whole ranges, touched or not: 50 MB for a small .NET program with all it
 * maps. systemd allows 8 MiB (LimitMEMLOCK=), and any amount with CAP_IPC_LOCK. Half of the limit
 * stays for the program, which may want to lock its secrets; executable ranges go first. What does
 * not fit can be reclaimed, as it could before.
 *
 * Locks are the process's: a forked child has none (mlock(2)), and its handle is dead.
 */
#include "psibridge/tools.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/util.h"

#define FILES_MAX 1024
#define KEPT_MAX 16
#define CAP_IPC_LOCK_BIT 14 /* linux/capability.h */

/* A line of /proc/self/maps: [start, end), PROT_... of mmap(2), and its file; inode 0: none. */
struct mapping {
	uintptr_t start, end;
	int access;
	bool is_private;
	struct file {
		uint64_t device, inode;
	} file;
};

struct psb_code {
	pthread_mutex_t lock;
	pid_t pid;
	bool is_unlimited;
	FILE *maps;
	char maps_buffer[4096];
	size_t kept, found;
	struct file keeps[KEPT_MAX];
	struct file files[FILES_MAX]; /* with code, as they were found when it was locked last */
	uint64_t kept_bytes;
};

/* ---- what is mapped ----------------------------------------------------------------------------- */

/*
 *     55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1048602    /usr/bin/cat
 *
 * Source: proc(5), show_map_vma() in fs/proc/task_mmu.c. The name at the end is not needed, and may be
 * longer than the buffer.
 */
static bool parse_mapping(const char *text, struct mapping *ret)
{
	struct mapping m = { 0 };
	unsigned major, minor;
	char access[5];

	if (sscanf(text, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %x:%x %" SCNu64, &m.start, &m.end,
		   access, &major, &minor, &m.file.inode) != 6)
		return false;
	m.access = (access[0] == 'r' ? PROT_READ : 0) | (access[1] == 'w' ? PROT_WRITE : 0) |
		   (access[2] == 'x' ? PROT_EXEC : 0);
	m.is_private = access[3] == 'p';
	m.file.device = (uint64_t)major << 32 | minor;
	*ret = m;
	return true;
}

/* From the start of code->maps: every mapping of a file, in order of addresses, that may be locked at all; other threads map and
 * unmap meanwhile. Nothing is opened or allocated here. False: there is no other one, or it cannot be read. */
static bool next_mapping(struct psb_code *code, struct mapping *ret)
{
	char text[128], rest[128];
	bool found = false;

	while (!found && fgets(text, sizeof(text), code->maps)) {
		for (const char *end = text; !strchr(end, '\n'); end = rest)
			if (!fgets(rest, sizeof(rest), code->maps))
				break;
		found = parse_mapping(text, ret) && ret->is_private && ret->file.inode > 0 &&
			(ret->access & PROT_READ);
	}
	return found;
}

static int maps_error(const struct psb_code *code)
{
	return ferror(code->maps) ? -EIO : 0;
}

/* The ranges of a file lie side by side: look at the newest first. */
static bool is_among(const struct mapping *m, const struct file *files, size_t count)
{
	while (count-- > 0)
		if (files[count].inode == m->file.inode && files[count].device == m->file.device)
			return true;
	return false;
}

/* ---- locking ------------------------------------------------------------------------------------- */

/* A line of /proc/self/status; 0: it is not there. */
static uint64_t status_number(const char *name, int base)
{
	char text[4096] = "";
	const char *line;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	line = strstr(text, name);
	return line ? strtoull(line + strlen(name), NULL, base) : 0;
}

/* What may be locked beside that which is kept. */
static uint64_t room_in(const struct psb_code *code)
{
	struct rlimit limit;

	if (code->is_unlimited)
		return UINT64_MAX;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 0;
	return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX
					       : usec_sub(limit.rlim_cur / 2, code->kept_bytes);
}

static bool lock_mapping(const struct mapping *m, uint64_t *room)
{
	uint64_t size = m->end - m->start;

	if (size > *room || mlock2((void *)m->start, size, MLOCK_ONFAULT) < 0)
		return false;
	if (*room != UINT64_MAX)
		*room -= size;
	return true;
}

static void unlock_files(struct psb_code *code, const struct file *files, size_t count)
{
	struct mapping m;

	fseek(code->maps, 0, SEEK_SET);
	while (count > 0 && next_mapping(code, &m))
		if (is_among(&m, files, count) &&
		    (files == code->keeps || !is_among(&m, code->keeps, code->kept)))
			munlock((void *)m.start, m.end - m.start);
}

static void find_files(struct psb_code *code)
{
	struct mapping m;

	code->found = 0;
	fseek(code->maps, 0, SEEK_SET);
	while (code->found < FILES_MAX && next_mapping(code, &m))
		if ((m.access & PROT_EXEC) && !is_among(&m, code->files, code->found) &&
		    !is_among(&m, code->keeps, code->kept))
			code->files[code->found++] = m.file;
}

/* Of all files that were found, the ranges that are executable, or those that are not. Returns: bytes that were refused. */
static uint64_t lock_files(struct psb_code *code, bool executable, uint64_t *room)
{
	uint64_t refused = 0;
	struct mapping m;

	fseek(code->maps, 0, SEEK_SET);
	while (next_mapping(code, &m))
		if (executable == ((m.access & PROT_EXEC) != 0) &&
		    is_among(&m, code->files, code->found) && !lock_mapping(&m, room))
			refused += m.end - m.start;
	return refused;
}

/* All of the file, or nothing. Data that was written is the process's own memory by now. Returns 0, or 1: no room. */
static int keep_file(struct psb_code *code, struct file file)
{
	uint64_t room = room_in(code), kept = 0;
	bool fits = true;
	struct mapping m;

	fseek(code->maps, 0, SEEK_SET);
	while (fits && next_mapping(code, &m)) {
		if (!is_among(&m, &file, 1) || (m.access & PROT_WRITE))
			continue;
		fits = lock_mapping(&m, &room);
		kept += m.end - m.start;
	}
	if (!fits) {
		unlock_files(code, &file, 1);
		return 1;
	}
	code->keeps[code->kept++] = file;
	code->kept_bytes += kept;
	return maps_error(code);
}

static int keep(struct psb_code *code, uintptr_t address)
{
	struct mapping m;

	fseek(code->maps, 0, SEEK_SET);
	while (next_mapping(code, &m)) {
		if (address < m.start || address >= m.end)
			continue;
		if (is_among(&m, code->keeps, code->kept))
			return 0;
		return code->kept == KEPT_MAX ? -ENOSPC : keep_file(code, m.file);
	}
	return maps_error(code) < 0 ? -EIO : -ENOENT;
}

/* ---- the public functions ------------------------------------------------------------------------ */

/* Called first: with success, the lock is held. */
static int enter(struct psb_code *code)
{
	if (!code)
		return -EINVAL;
	if (code->pid != getpid())
		return -ECHILD;
	pthread_mutex_lock(&code->lock);
	clearerr(code->maps);
	return 0;
}

static int leave(struct psb_code *code, int r)
{
	pthread_mutex_unlock(&code->lock);
	return r;
}

int psb_code_new(psb_code **ret)
{
	struct psb_code *code;
	int r;

	if (!ret)
		return -EINVAL;
	if (status_number("\nVmLck:", 10) > 0)
		return -EALREADY;
	code = malloc(sizeof(*code));
	if (!code)
		return -ENOMEM;
	/* Written, so that the kernel gives the pages now; a plain memset() becomes a calloc(). */
	explicit_bzero(code, sizeof(*code));
	code->maps = fopen("/proc/self/maps", "re");
	if (!code->maps) {
		r = -errno;
		free(code);
		return r;
	}
	setvbuf(code->maps, code->maps_buffer, _IOFBF, sizeof(code->maps_buffer));
	pthread_mutex_init(&code->lock, NULL);
	code->pid = getpid();
	code->is_unlimited = status_number("\nCapEff:", 16) >> CAP_IPC_LOCK_BIT & 1;
	/* What locks, and what it calls. Without room for them it works later, or as well as it can. */
	(void)keep(code, (uintptr_t)psb_code_lock);
	(void)keep(code, (uintptr_t)pread);
	*ret = code;
	return 0;
}

int psb_code_keep(psb_code *code, const void *address)
{
	int r = address ? enter(code) : -EINVAL;

	return r < 0 ? r : leave(code, keep(code, (uintptr_t)address));
}

int psb_code_lock(psb_code *code, uint64_t *ret_refused_bytes)
{
	uint64_t room, refused;
	int r = enter(code);

	if (r < 0)
		return r;
	unlock_files(code, code->files, code->found);
	find_files(code);
	room = room_in(code);
	refused = lock_files(code, true, &room);
	refused += lock_files(code, false, &room);
	r = maps_error(code);
	if (r == 0 && ret_refused_bytes)
		*ret_refused_bytes = refused;
	return leave(code, r);
}

int psb_code_unlock(psb_code *code)
{
	int r = enter(code);

	if (r < 0)
		return r;
	unlock_files(code, code->files, code->found);
	r = maps_error(code);
	code->found = 0;
	return leave(code, r);
}

psb_code *psb_code_free(psb_code *code)
{
	if (!code)
		return NULL;
	if (code->pid == getpid()) { /* a child shares where the file of maps was read to */
		unlock_files(code, code->files, code->found);
		unlock_files(code, code->keeps, code->kept);
	}
	fclose(code->maps);
	pthread_mutex_destroy(&code->lock);
	free(code);
	return NULL;
}
