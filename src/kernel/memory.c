/* SPDX-License-Identifier: MIT */
/*
 * memory.c - load and limits from v2, v1 or /proc/meminfo
 *
 * memory.current and memory.stat are those of the cgroup itself. On v1 the same numbers are
 * memory.usage_in_bytes, total_inactive_file and hierarchical_memory_limit of memory.stat (which
 * already is the minimum over all ancestors). /proc/meminfo is read through a path: it is the last
 * resort and allocates little.
 */
#include "kernel/memory.h"

#include "kernel/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* memory.stat of 6.x is some 1,700 bytes; v1's about as long with the totals at its end */
#define STAT_TEXT_MAX 8192
/* No limit on v1 is PAGE_COUNTER_MAX in bytes, a little under 2^63. */
#define V1_NO_LIMIT_BYTES (UINT64_C(1) << 62)

static uint64_t meminfo(const char *key)
{
	char text[4096];
	uint64_t bytes;
	size_t size;

	if (file_read(AT_FDCWD, "/proc/meminfo", text, sizeof(text), &size) < 0 ||
	    meminfo_get(text, size, key, &bytes) < 0)
		return 0;
	return bytes;
}

static uint64_t read_limit(int dirfd, const char *name)
{
	char text[32];
	uint64_t bytes;
	size_t size;

	if (file_read(dirfd, name, text, sizeof(text), &size) < 0 ||
	    limit_parse(text, size, &bytes) < 0)
		return UINT64_MAX;
	return bytes;
}

static int read_stat(int fd, const char *key, uint64_t *ret)
{
	char text[STAT_TEXT_MAX];
	size_t size;
	int r = file_pread(fd, text, sizeof(text), &size);

	return r < 0 ? r : keyed_get(text, size, key, ret);
}

void memory_read_limits(struct memory *memory, const struct cgroups *cgroups, const char *v2_path)
{
	char path[CGPATH_MAX];

	memory->limit_bytes = memory->high_bytes = UINT64_MAX;
	if (memory->v1) {
		uint64_t limit;

		if (read_stat(memory->stat_fd, "hierarchical_memory_limit", &limit) == 0 &&
		    limit < V1_NO_LIMIT_BYTES)
			memory->limit_bytes = limit;
		return;
	}
	if (!v2_path)
		return;
	snprintf(path, sizeof(path), "%s", v2_path);
	for (;;) { /* from the cgroup up to the mount's root, which in a container has limits too */
		int dirfd = cgroup_open(cgroups, path);
		char *slash = strrchr(path, '/');

		if (dirfd >= 0) {
			uint64_t high = read_limit(dirfd, "memory.high");
			uint64_t max = read_limit(dirfd, "memory.max");

			close(dirfd);
			memory->high_bytes = MIN(memory->high_bytes, high);
			memory->limit_bytes = MIN(memory->limit_bytes, MIN(high, max));
		}
		if (path[1] == '\0')
			break;
		slash[slash == path] = '\0';
	}
}

int memory_open(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		const char *v1_path)
{
	struct memory m = { .current_fd = -1, .stat_fd = -1, .machine_bytes = meminfo("MemTotal") };
	int dirfd = v2_path ? cgroup_open(cgroups, v2_path) : -ENOENT;

	if (dirfd >= 0) {
		m.current_fd = file_open(dirfd, "memory.current");
		m.stat_fd = file_open(dirfd, "memory.stat");
		close(dirfd);
	}
	if (m.current_fd < 0 && v1_path && (dirfd = cgroup_v1_open(cgroups, v1_path)) >= 0) {
		fd_close(&m.stat_fd);
		m.v1 = true;
		m.current_fd = file_open(dirfd, "memory.usage_in_bytes");
		m.stat_fd = file_open(dirfd, "memory.stat");
		close(dirfd);
	}
	if (m.current_fd == -EMFILE || m.current_fd == -ENFILE || m.stat_fd == -EMFILE ||
	    m.stat_fd == -ENFILE) {
		int r = m.current_fd < 0 ? m.current_fd : m.stat_fd;

		memory_close(&m);
		return r;
	}
	if (m.current_fd < 0 || m.stat_fd < 0) {
		memory_close(&m);
		m.v1 = false;
	}
	memory_read_limits(&m, cgroups, v2_path);
	*ret = m;
	return 0;
}

void memory_close(struct memory *memory)
{
	fd_close(&memory->current_fd);
	fd_close(&memory->stat_fd);
}

static int read_current(const struct memory *memory, uint64_t *ret)
{
	char text[32];
	ssize_t n = pread(memory->current_fd, text, sizeof(text), 0);

	return n < 0 ? -errno : limit_parse(text, (size_t)n, ret);
}

uint64_t memory_read_current(const struct memory *memory)
{
	uint64_t current;

	return memory->current_fd >= 0 && read_current(memory, &current) == 0 ? current : 0;
}

static void load_of_machine(const struct memory *memory, struct memory_load *load)
{
	uint64_t available = MIN(meminfo("MemAvailable"), memory->machine_bytes);

	load->machine = true;
	load->limit_bytes = memory->machine_bytes;
	load->available_bytes = available;
	if (load->current_bytes == 0) { /* nothing of our own to count */
		load->current_bytes = memory->machine_bytes - available;
		load->working_set_bytes = load->current_bytes;
	}
}

bool memory_has_limit(const struct memory *memory)
{
	return memory->limit_bytes < memory->machine_bytes && memory->current_fd >= 0;
}

int memory_read(const struct memory *memory, struct memory_load *ret)
{
	struct memory_load load = { .high_bytes = memory->high_bytes };
	uint64_t used;

	if (memory->current_fd >= 0) {
		uint64_t inactive;
		int r = read_current(memory, &load.current_bytes);

		if (r < 0)
			return r;
		r = read_stat(memory->stat_fd, memory->v1 ? "total_inactive_file" : "inactive_file",
			      &inactive);
		if (r < 0)
			return r;
		load.working_set_bytes = usec_sub(load.current_bytes, inactive);
	}
	if (!memory_has_limit(memory)) {
		load_of_machine(memory, &load);
		used = load.limit_bytes - load.available_bytes;
	} else {
		load.limit_bytes = memory->limit_bytes;
		load.available_bytes = usec_sub(load.limit_bytes, load.working_set_bytes);
		used = MIN(load.working_set_bytes, load.limit_bytes);
	}
	load.percent = load.limit_bytes == 0
			       ? 0
			       : (unsigned)((unsigned __int128)used * 100 / load.limit_bytes);
	*ret = load;
	return 0;
}

int memory_events_read(int fd, struct memory_events *ret)
{
	char text[512];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	return n < 0 ? -errno : memory_events_parse(text, (size_t)n, ret);
}

int memory_events_open(int dirfd, int *ret_fd)
{
	struct memory_events events;
	int fd = file_open(dirfd, "memory.events"), r;

	if (fd < 0)
		return fd;
	r = memory_events_read(fd, &events);
	if (r < 0) {
		close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}
