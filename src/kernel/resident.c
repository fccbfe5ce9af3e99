/* SPDX-License-Identifier: MIT */
/*
 * resident.c - mlock2(2) for files that are mapped executable
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
 * seconds there. So what locks and what collects is kept for good (resident_keep()), and everything
 * else from the first sign on (resident_lock()) until it is over.
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
 */
#include "kernel/resident.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define RANGES_MAX 2048
#define FILES_MAX 1024
#define KEPT_MAX 16
#define CAP_IPC_LOCK_BIT 14 /* linux/capability.h */

/* A line of /proc/self/maps: [start, end), PROT_... of mmap(2), and its file: device and inode, or 0. */
struct mapping {
	uintptr_t start, end;
	int access;
	bool is_private;
	uint64_t device, inode;
};

struct range {
	uintptr_t start, end;
};

struct code_file {
	uint64_t device, inode;
};

struct resident {
	FILE *maps;
	char maps_buffer[4096];
	size_t kept;
	struct code_file keeps[KEPT_MAX];
	uint64_t kept_bytes;
	size_t locked;
	struct range ranges[RANGES_MAX];

	/* while resident_lock() runs */
	size_t files;
	struct code_file code[FILES_MAX];
	bool executable_now; /* this pass takes the executable ranges, the next one the others */
	uint64_t room_bytes, refused_bytes;
};

/* ---- what is mapped ----------------------------------------------------------------------------- */

/*
 *     55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1048602    /usr/bin/cat
 *
 * Source: proc(5), show_map_vma() in fs/proc/task_mmu.c. The name at the end is not needed, and may be
 * longer than the buffer: what does not begin a line is skipped.
 */
static bool read_line(const char *text, struct mapping *ret)
{
	struct mapping m = { 0 };
	unsigned major, minor;
	char access[5];

	if (sscanf(text, "%" SCNxPTR "-%" SCNxPTR " %4s %*x %x:%x %" SCNu64, &m.start, &m.end,
		   access, &major, &minor, &m.inode) != 6)
		return false;
	m.access = (access[0] == 'r' ? PROT_READ : 0) | (access[1] == 'w' ? PROT_WRITE : 0) |
		   (access[2] == 'x' ? PROT_EXEC : 0);
	m.is_private = access[3] == 'p';
	m.device = (uint64_t)major << 32 | minor;
	*ret = m;
	return true;
}

/* Every mapping in order of addresses, until `fn` does not return 0, and then what that is; other threads map
 * and unmap meanwhile. Nothing is opened or allocated here. Errors: -EIO. */
typedef int maps_fn(const struct mapping *mapping, void *userdata);
static int maps_each(const struct resident *resident, maps_fn *fn, void *userdata)
{
	struct mapping mapping;
	bool begins = true; /* a line */
	char text[128];
	int r = 0;

	rewind(resident->maps);
	while (r == 0 && fgets(text, sizeof(text), resident->maps)) {
		if (begins && read_line(text, &mapping))
			r = fn(&mapping, userdata);
		begins = strchr(text, '\n') != NULL;
	}
	return ferror(resident->maps) ? -EIO : r;
}

/* ---- what may be locked ------------------------------------------------------------------------ */

struct status {
	uint64_t locked_kb, capabilities;
};

/* "VmLck:\t       0 kB", "CapEff:\t000001ffffffffff" */
static uint64_t field(const char *text, const char *name, int base)
{
	const char *line = strstr(text, name);

	return line ? strtoull(line + strlen(name), NULL, base) : 0;
}

static struct status read_status(void)
{
	struct status status = { 0 };
	char text[4096];
	ssize_t n;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return status;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return status;
	text[n] = '\0';
	status.locked_kb = field(text, "\nVmLck:", 10);
	status.capabilities = field(text, "\nCapEff:", 16);
	return status;
}

static uint64_t room(void)
{
	struct rlimit limit;

	if (read_status().capabilities >> CAP_IPC_LOCK_BIT & 1)
		return UINT64_MAX;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		return 0;
	return limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur / 2;
}

/* ---- locking ------------------------------------------------------------------------------------- */

/* The ranges of a file lie side by side: look at the newest first. */
static bool is_among(const struct mapping *mapping, const struct code_file *files, size_t count)
{
	while (count-- > 0)
		if (files[count].inode == mapping->inode && files[count].device == mapping->device)
			return true;
	return false;
}

static bool is_kept(const struct resident *resident, const struct mapping *mapping)
{
	return is_among(mapping, resident->keeps, resident->kept);
}

/* What may be locked at all. Data that was written is the process's own memory by now. */
static bool is_lockable(const struct mapping *mapping)
{
	return (mapping->access & PROT_READ) && mapping->is_private && mapping->inode;
}

static int note_code(const struct mapping *mapping, void *userdata)
{
	struct resident *resident = userdata;

	if ((mapping->access & PROT_EXEC) && mapping->is_private && mapping->inode &&
	    resident->files < FILES_MAX && !is_among(mapping, resident->code, resident->files))
		resident->code[resident->files++] = (struct code_file){ mapping->device,
									mapping->inode };
	return 0;
}

static int lock_one(const struct mapping *mapping, void *userdata)
{
	struct resident *resident = userdata;
	uint64_t size = mapping->end - mapping->start;
	bool executable = mapping->access & PROT_EXEC;

	if (!is_lockable(mapping) || executable != resident->executable_now ||
	    !is_among(mapping, resident->code, resident->files) || is_kept(resident, mapping))
		return 0;
	if (resident->locked < RANGES_MAX && size <= resident->room_bytes) {
		if (mlock2((void *)mapping->start, size, MLOCK_ONFAULT) == 0) {
			resident->ranges[resident->locked++] = (struct range){ mapping->start,
									       mapping->end };
			if (resident->room_bytes != UINT64_MAX)
				resident->room_bytes -= size;
			return 0;
		}
		if (errno == ENOSYS)
			return -ENOSYS;
	}
	/* ENOMEM, EPERM: the limit; or it was unmapped meanwhile, and needs no lock */
	resident->refused_bytes += size;
	return 0;
}

int resident_lock(struct resident *resident, uint64_t *ret_refused_bytes)
{
	uint64_t most = room();
	int r;

	resident_unlock(resident); /* what was unmapped meanwhile is forgotten */
	resident->files = 0;
	resident->refused_bytes = 0;
	resident->room_bytes = most == UINT64_MAX ? most : most - MIN(most, resident->kept_bytes);
	r = maps_each(resident, note_code, resident);
	for (int pass = 0; r == 0 && pass < 2; pass++) {
		resident->executable_now = pass == 0;
		r = maps_each(resident, lock_one, resident);
	}
	if (r < 0)
		return r;
	*ret_refused_bytes = resident->refused_bytes;
	return 0;
}

void resident_unlock(struct resident *resident)
{
	for (size_t i = 0; i < resident->locked; i++)
		munlock((void *)resident->ranges[i].start,
			resident->ranges[i].end - resident->ranges[i].start);
	resident->locked = 0;
}

/* ---- keeping -------------------------------------------------------------------------------------- */

struct keeper {
	struct resident *resident;
	uintptr_t address;
	bool refused;
	struct mapping found;
};

static int find_address(const struct mapping *mapping, void *userdata)
{
	struct keeper *keeper = userdata;

	if (keeper->address < mapping->start || keeper->address >= mapping->end)
		return 0;
	keeper->found = *mapping;
	return 1;
}

static int keep_one(const struct mapping *mapping, void *userdata)
{
	struct keeper *keeper = userdata;
	struct resident *resident = keeper->resident;
	uint64_t size = mapping->end - mapping->start;

	if (mapping->inode != keeper->found.inode || mapping->device != keeper->found.device ||
	    !is_lockable(mapping) || (mapping->access & PROT_WRITE))
		return 0;
	if (resident->room_bytes < resident->kept_bytes + size ||
	    mlock2((void *)mapping->start, size, MLOCK_ONFAULT) < 0)
		keeper->refused = true;
	else
		resident->kept_bytes += size;
	return 0;
}

int resident_keep(struct resident *resident, const void *address)
{
	struct keeper keeper = { .resident = resident, .address = (uintptr_t)address };

	if (maps_each(resident, find_address, &keeper) < 0)
		return -EIO;
	if (keeper.found.inode == 0)
		return -ENOENT;
	if (is_kept(resident, &keeper.found))
		return 0;
	if (resident->kept == KEPT_MAX)
		return -ENOSPC;
	resident->room_bytes = room();
	if (maps_each(resident, keep_one, &keeper) < 0)
		return -EIO;
	/* A part may stay locked: resident_lock() adds the rest. */
	if (keeper.refused)
		return 1;
	resident->keeps[resident->kept++] = (struct code_file){ keeper.found.device,
								keeper.found.inode };
	return 0;
}

static int unkeep_one(const struct mapping *mapping, void *userdata)
{
	if (is_kept(userdata, mapping))
		munlock((void *)mapping->start, mapping->end - mapping->start);
	return 0;
}

/* ---- life ---------------------------------------------------------------------------------------- */

int resident_new(struct resident **ret)
{
	struct resident *resident;
	int r;

	if (read_status().locked_kb > 0)
		return -EALREADY;
	resident = malloc(sizeof(*resident));
	if (!resident)
		return -ENOMEM;
	/* Written, so that the kernel gives the pages now; a plain memset() becomes a calloc(). */
	explicit_bzero(resident, sizeof(*resident));
	resident->maps = fopen("/proc/self/maps", "re");
	if (!resident->maps) {
		r = -errno;
		free(resident);
		return r;
	}
	setvbuf(resident->maps, resident->maps_buffer, _IOFBF, sizeof(resident->maps_buffer));
	*ret = resident;
	return 0;
}

struct resident *resident_free(struct resident *resident)
{
	if (!resident)
		return NULL;
	resident_unlock(resident);
	maps_each(resident, unkeep_one, resident);
	fclose(resident->maps);
	free(resident);
	return NULL;
}
