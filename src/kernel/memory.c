/* SPDX-License-Identifier: MIT */
/*
 * memory.c - load and limits from v2, v1 or /proc/meminfo
 *
 * On v1 the same numbers have other names, and hierarchical_memory_limit of memory.stat already is the
 * minimum over all ancestors, also those that are not visible here. /proc/meminfo is opened by path:
 * it is the last resort and allocates little.
 */
#include "kernel/memory.h"

#include "kernel/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* memory.stat of 6.x is some 1,700 bytes; v1's about as long with the totals at its end */
#define STAT_TEXT_MAX 8192
#define STAT_PAGE 4096
/* No limit on v1 is PAGE_COUNTER_MAX in bytes, a little under 2^63. */
#define V1_NO_LIMIT_BYTES (UINT64_C(1) << 62)

/*
 * /proc may be mounted without it (systemd's ProcSubset=pid), and lxcfs emulates it: what is missing
 * or invalid is unknown. Errors: only those that say nothing of the file.
 */
static int meminfo(const char *key, uint64_t *ret)
{
	char text[4096];
	size_t size;
	int r = file_read(AT_FDCWD, "/proc/meminfo", text, sizeof(text), &size);

	if (is_shortage(r))
		return r;
	if (r < 0 || meminfo_get(text, size, key, ret) < 0)
		*ret = MEMORY_UNKNOWN;
	return 0;
}

/* A file that is missing or invalid is no limit. Errors: as above. */
static int read_limit(int dirfd, const char *name, uint64_t *ret)
{
	char text[32];
	size_t size;
	int r = file_read(dirfd, name, text, sizeof(text), &size);

	if (is_shortage(r))
		return r;
	if (r < 0 || limit_parse(text, size, ret) < 0)
		*ret = UINT64_MAX;
	return 0;
}

/* memory.stat into text[STAT_TEXT_MAX]. It is one record of a seq_file, of which kernfs hands out a page a read: what is less
 * is its end. */
static int read_stat_text(int fd, char *text, size_t *ret_size)
{
	ssize_t n = STAT_PAGE;
	size_t size = 0;

	while (n >= STAT_PAGE && size < STAT_TEXT_MAX) {
		n = pread(fd, text + size, STAT_TEXT_MAX - size, (off_t)size);
		if (n < 0)
			return -errno;
		size += (size_t)n;
	}
	*ret_size = size;
	return 0;
}

static int read_stat(int fd, const char *key, uint64_t *ret)
{
	char text[STAT_TEXT_MAX];
	size_t size;
	int r = read_stat_text(fd, text, &size);

	return r < 0 ? r : keyed_get(text, size, key, ret);
}

static const struct names {
	const char *current, *max, *high, *inactive, *hits, *swap;
} v1_names = { "memory.usage_in_bytes", "memory.limit_in_bytes", NULL,
	       "total_inactive_file",	"memory.failcnt",	 NULL },
  v2_names = { "memory.current", "memory.max",		"memory.high",
	       "inactive_file",	 "memory.events.local", "memory.swap.current" };

struct memory_shared {
	struct memory_shared *next, **list;
	unsigned users;
	dev_t device;
	ino_t inode;
	int current_fd, stat_fd, hits_fd;
};

/* Returns: false: others use them. */
static bool leave(struct memory_shared *s)
{
	struct memory_shared **p = s->list;

	if (--s->users > 0)
		return false;
	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	free(s);
	return true;
}

static void close_level(struct memory_level *level)
{
	if (level->shared && !leave(level->shared))
		return;
	fd_close(&level->current_fd);
	fd_close(&level->stat_fd);
	fd_close(&level->hits_fd);
	fd_close(&level->swap_fd);
}

/* The files that say what it uses; both or none. */
static int open_use(struct memory_level *level, int dirfd, const struct names *names)
{
	int r = 0;

	level->current_fd = file_open(dirfd, names->current);
	level->stat_fd = file_open(dirfd, "memory.stat");
	if (level->current_fd >= 0 && level->stat_fd >= 0)
		return 0;
	if (is_shortage(level->current_fd))
		r = level->current_fd;
	else if (is_shortage(level->stat_fd))
		r = level->stat_fd;
	fd_close(&level->current_fd);
	fd_close(&level->stat_fd);
	return r;
}

/* Takes `level` over. */
static void add_level(struct memory *m, struct memory_level *level)
{
	unsigned greatest = 1;

	if (m->count < MEMORY_LEVELS_MAX) {
		m->levels[m->count++] = *level;
		return;
	}
	for (unsigned i = 2; i < m->count; i++)
		if (m->levels[i].limit_bytes > m->levels[greatest].limit_bytes)
			greatest = i;
	if (m->levels[greatest].limit_bytes > level->limit_bytes) {
		close_level(&m->levels[greatest]);
		m->levels[greatest] = *level;
	} else {
		close_level(level);
	}
}

/* Those of the cgroup itself, or of an ancestor. What is missing is -1. */
static int open_files_of(struct memory_level *level, bool own, int dirfd, const struct names *names)
{
	int r = own || level->limit_bytes != UINT64_MAX ? open_use(level, dirfd, names) : 0;

	level->hits_fd = file_open(dirfd, names->hits);
	if (own && names->swap)
		level->swap_fd = file_open(dirfd, names->swap);
	if (r == 0 && is_shortage(level->hits_fd))
		r = level->hits_fd;
	if (r == 0 && is_shortage(level->swap_fd))
		r = level->swap_fd;
	return r;
}

static bool is_readable(int fd)
{
	char byte;

	return fd >= 0 && pread(fd, &byte, 1, 0) >= 0;
}

/* The memory controller was not taken away meanwhile, nor given. */
static bool is_usable(const struct memory_shared *s, const struct memory_level *level)
{
	return is_readable(s->hits_fd) &&
	       (level->limit_bytes == UINT64_MAX || is_readable(s->current_fd));
}

static int share(struct memory *m, struct memory_level *level, int dirfd, const struct names *names)
{
	struct memory_shared *s;
	struct stat st;
	int r = fstat(dirfd, &st) < 0 ? -errno : 0;

	if (r < 0)
		return r;
	for (s = *m->shared; s; s = s->next)
		if (s->device == st.st_dev && s->inode == st.st_ino && is_usable(s, level))
			break;
	if (s) {
		level->current_fd = s->current_fd;
		level->stat_fd = s->stat_fd;
		level->hits_fd = s->hits_fd;
	} else {
		r = open_files_of(level, false, dirfd, names);
		s = r == 0 ? malloc(sizeof(*s)) : NULL;
		if (!s)
			return r < 0 ? r : -ENOMEM;
		*s = (struct memory_shared){
			.next = *m->shared,
			.list = m->shared,
			.device = st.st_dev,
			.inode = st.st_ino,
			.current_fd = level->current_fd,
			.stat_fd = level->stat_fd,
			.hits_fd = level->hits_fd,
		};
		*m->shared = s;
	}
	s->users++;
	level->shared = s;
	return 0;
}

static int open_level(struct memory *m, int dirfd, const struct names *names, size_t length)
{
	struct memory_level level = { .current_fd = -1,
				      .stat_fd = -1,
				      .hits_fd = -1,
				      .swap_fd = -1,
				      .high_bytes = UINT64_MAX,
				      .length = length };
	int r = read_limit(dirfd, names->max, &level.limit_bytes);

	if (r == 0 && names->high)
		r = read_limit(dirfd, names->high, &level.high_bytes);
	if (r < 0)
		return r;
	if (m->v1 && level.limit_bytes >= V1_NO_LIMIT_BYTES)
		level.limit_bytes = UINT64_MAX;
	level.limit_bytes = MIN(level.limit_bytes, level.high_bytes);
	m->high_bytes = MIN(m->high_bytes, level.high_bytes);
	m->limit_bytes = MIN(m->limit_bytes, level.limit_bytes);
	if (m->shared && m->count > 0)
		r = share(m, &level, dirfd, names);
	else
		r = open_files_of(&level, m->count == 0, dirfd, names);
	if (r == 0)
		add_level(m, &level);
	else
		close_level(&level);
	return r;
}

/* Where the memory controller is on v1, and limits of ancestors that are not visible here count, too. */
static int read_v1_limit(struct memory *m)
{
	uint64_t limit;
	int r = m->levels[0].stat_fd < 0
			? -ENOENT
			: read_stat(m->levels[0].stat_fd, "hierarchical_memory_limit", &limit);

	if (r == 0 && limit < MIN(m->limit_bytes, V1_NO_LIMIT_BYTES))
		m->limit_bytes = m->levels[0].limit_bytes = limit;
	return is_shortage(r) ? r : 0;
}

/* From the cgroup up to the mount's root, which in a container has limits, too. */
static int open_levels(struct memory *m, const char *of)
{
	char path[CGPATH_MAX];

	m->limit_bytes = m->high_bytes = UINT64_MAX;
	snprintf(path, sizeof(path), "%s", of);
	for (;;) {
		int dirfd = (m->v1 ? cgroup_v1_open : cgroup_open)(m->cgroups, path), r = dirfd;
		char *slash = strrchr(path, '/');

		if (dirfd >= 0) {
			r = open_level(m, dirfd, m->v1 ? &v1_names : &v2_names, strlen(path));
			close(dirfd);
		}
		if (is_shortage(r))
			return r;
		if (m->count ==
		    0) /* it is not there: then nothing is known of those above, either */
			return 0;
		if (path[1] == '\0')
			return m->v1 ? read_v1_limit(m) : 0;
		slash[slash == path] = '\0';
	}
}

static bool uses_are_known(const struct memory *m)
{
	for (unsigned i = 0; i < m->count; i++)
		if (m->levels[i].current_fd >= 0)
			return true;
	return false;
}

/* `m` has its paths and machine_bytes. */
static int open_files(struct memory *m)
{
	int r = 0;

	m->v1 = false;
	m->count = 0;
	m->limit_bytes = m->high_bytes = UINT64_MAX;
	if (m->v2_path)
		r = open_levels(m, m->v2_path);
	if (r == 0 && m->v1_path && !uses_are_known(m)) {
		memory_close(m);
		m->v1 = true;
		r = open_levels(m, m->v1_path);
	}
	if (r < 0)
		memory_close(m);
	return r;
}

int memory_open(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		const char *v1_path)
{
	return memory_open_shared(ret, cgroups, v2_path, v1_path, NULL);
}

int memory_open_shared(struct memory *ret, const struct cgroups *cgroups, const char *v2_path,
		       const char *v1_path, struct memory_shared **shared)
{
	struct memory m = {
		.cgroups = cgroups, .v2_path = v2_path, .v1_path = v1_path, .shared = shared
	};
	int r = meminfo("MemTotal", &m.machine_bytes);

	if (r < 0)
		return r;
	if (m.machine_bytes == 0)
		m.machine_bytes = MEMORY_UNKNOWN;
	r = open_files(&m);
	if (r == 0)
		*ret = m;
	return r;
}

int memory_refresh(struct memory *memory)
{
	struct memory m = *memory;
	int r;

	if (m.v2_path) {
		r = cgroup_open(m.cgroups, m.v2_path);
		if (r < 0)
			return is_shortage(r) ? r : -ENODEV;
		close(r);
	}
	r = open_files(&m);
	if (r < 0)
		return r;
	memory_close(memory);
	*memory = m;
	return 0;
}

void memory_close(struct memory *memory)
{
	while (memory->count > 0)
		close_level(&memory->levels[--memory->count]);
}

int memory_use_read(int fd, uint64_t *ret)
{
	char text[32];
	ssize_t n = pread(fd, text, sizeof(text), 0);

	return n < 0 ? -errno : limit_parse(text, (size_t)n, ret);
}

/* Can it bind? An unknown machine is greater than any limit, and none is not less than it. */
static bool is_limited(const struct memory *memory, const struct memory_level *level)
{
	return level->current_fd >= 0 && level->limit_bytes < memory->machine_bytes;
}

bool memory_has_limit(const struct memory *memory)
{
	for (unsigned i = 0; i < memory->count; i++)
		if (is_limited(memory, &memory->levels[i]))
			return true;
	return false;
}

void memory_read_use(const struct memory *memory, struct memory_use *ret)
{
	struct memory_use use = { 0 };
	uint64_t least = UINT64_MAX;

	for (unsigned i = 0; i < memory->count; i++) {
		const struct memory_level *level = &memory->levels[i];
		uint64_t current, left;

		if (level->current_fd < 0 || (i > 0 && !is_limited(memory, level)) ||
		    memory_use_read(level->current_fd, &current) < 0)
			continue;
		if (i == 0)
			use.current_bytes = current;
		left = usec_sub(level->limit_bytes, current);
		if (!is_limited(memory, level) || left >= least)
			continue;
		least = left;
		use.current_bytes = current;
		use.limit_bytes = level->limit_bytes;
	}
	*ret = use;
}

static int load_of_machine(const struct memory *memory, struct memory_load *load)
{
	uint64_t available;
	int r = meminfo("MemAvailable", &available);

	if (r < 0)
		return r;
	load->machine = true;
	load->level = NULL;
	load->limit_bytes = memory->machine_bytes;
	load->available_bytes = MEMORY_UNKNOWN;
	if (available == MEMORY_UNKNOWN || memory->machine_bytes == MEMORY_UNKNOWN)
		return 0;
	load->available_bytes = MIN(available, memory->machine_bytes);
	if (load->current_bytes == 0) { /* nothing of our own to count */
		load->current_bytes = memory->machine_bytes - load->available_bytes;
		load->working_set_bytes = load->current_bytes;
	}
	return 0;
}

static int read_level(const struct memory *memory, const struct memory_level *level,
		      struct memory_load *load)
{
	const struct names *names = memory->v1 ? &v1_names : &v2_names;
	uint64_t inactive;
	int r = memory_use_read(level->current_fd, &load->current_bytes);

	if (r == 0)
		r = read_stat(level->stat_fd, names->inactive, &inactive);
	if (r < 0)
		return r;
	load->working_set_bytes = usec_sub(load->current_bytes, inactive);
	load->limit_bytes = level->limit_bytes;
	load->available_bytes = usec_sub(level->limit_bytes, load->working_set_bytes);
	load->level = level;
	return 0;
}

int memory_read(const struct memory *memory, struct memory_load *ret)
{
	struct memory_load load = { .available_bytes = UINT64_MAX }, one = { 0 };
	bool found = false;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < memory->count; i++) {
		if (!is_limited(memory, &memory->levels[i]))
			continue;
		r = read_level(memory, &memory->levels[i], &one);
		if (r == 0 && (!found || one.available_bytes < load.available_bytes))
			load = one;
		found = true;
	}
	if (!found && memory->count > 0 && memory->levels[0].current_fd >= 0)
		r = read_level(memory, &memory->levels[0], &load);
	if (!found && r == 0)
		r = load_of_machine(memory, &load);
	if (r < 0)
		return r;
	load.high_bytes = memory->high_bytes;
	if (load.available_bytes != MEMORY_UNKNOWN && load.limit_bytes > 0)
		load.percent = (unsigned)((unsigned __int128)(load.limit_bytes -
							      load.available_bytes) *
					  100 / load.limit_bytes);
	*ret = load;
	return 0;
}

uint64_t memory_read_own(const struct memory *memory)
{
	uint64_t current;

	if (memory->count == 0 || memory->levels[0].current_fd < 0 ||
	    memory_use_read(memory->levels[0].current_fd, &current) < 0)
		return 0;
	return current;
}

/* What a key counts; 0 where there is none (v1 has no slab_reclaimable). */
static uint64_t counted(const char *text, size_t size, const char *key)
{
	uint64_t bytes;

	return keyed_get(text, size, key, &bytes) == 0 ? bytes : 0;
}

/* `ret_swapped`: as far as memory.stat says, which is on v1. */
static int read_kept(bool v1, const struct memory_level *l, uint64_t *ret_bytes,
		     uint64_t *ret_swapped)
{
	static const char *const v1_keys[] = { "total_inactive_file", "total_active_file", NULL };
	static const char *const v2_keys[] = { "inactive_file", "active_file", "slab_reclaimable",
					       NULL };
	char text[STAT_TEXT_MAX];
	uint64_t bytes;
	size_t size;
	int r = memory_use_read(l->current_fd, &bytes);

	if (r == 0)
		r = read_stat_text(l->stat_fd, text, &size);
	if (r < 0)
		return r;
	for (const char *const *key = v1 ? v1_keys : v2_keys; *key; key++)
		bytes = usec_sub(bytes, counted(text, size, *key));
	*ret_bytes = bytes;
	*ret_swapped = counted(text, size, "total_swap");
	return 0;
}

int memory_read_kept(const struct memory *memory, unsigned level, uint64_t *ret_bytes)
{
	const struct memory_level *l = &memory->levels[level];
	uint64_t unused;

	return is_limited(memory, l) ? read_kept(memory->v1, l, ret_bytes, &unused) : -ENOENT;
}

int memory_read_rough(const struct memory *memory, unsigned level, uint64_t *ret_bytes)
{
	const struct memory_level *l = &memory->levels[level];

	return is_limited(memory, l) ? memory_use_read(l->current_fd, ret_bytes) : -ENOENT;
}

int memory_read_held(const struct memory *memory, uint64_t *ret_bytes)
{
	const struct memory_level *own = memory->levels;
	uint64_t bytes, swapped;
	int r = memory->count > 0 && own->current_fd >= 0 ? 0 : -ENOENT;

	if (r == 0)
		r = read_kept(memory->v1, own, &bytes, &swapped);
	if (r < 0)
		return r;
	if (own->swap_fd >= 0)
		(void)memory_use_read(own->swap_fd, &swapped);
	*ret_bytes = bytes + swapped;
	return 0;
}

/* ---- one of very many -------------------------------------------------------------------------- */

#define NAME_SIZE (2 * CGPATH_MAX)

/* A file by its whole path, into buf[NAME_SIZE]: one open in place of two, for there are many. */
static const char *name_of(const struct cgroups *cgroups, const char *path, const char *file,
			   char *buf)
{
	const struct cgmount *mount = cgroups->has_v1 ? &cgroups->v1 : &cgroups->v2;

	snprintf(buf, NAME_SIZE, "%s%s/%s", mount->point, path, file);
	return buf;
}

static int open_of(const struct cgroups *cgroups, const char *path, const char *file)
{
	char name[NAME_SIZE];

	return file_open(AT_FDCWD, name_of(cgroups, path, file, name));
}

static const struct names *names_of(const struct cgroups *cgroups)
{
	return cgroups->has_v1 ? &v1_names : &v2_names;
}

int memory_limit_of(const struct cgroups *cgroups, const char *path, uint64_t *ret)
{
	const struct names *names = names_of(cgroups);
	uint64_t max, high = UINT64_MAX;
	char name[NAME_SIZE];
	int r = read_limit(AT_FDCWD, name_of(cgroups, path, names->max, name), &max);

	if (r == 0 && names->high)
		r = read_limit(AT_FDCWD, name_of(cgroups, path, names->high, name), &high);
	if (r == 0)
		*ret = MIN(max, high);
	return r;
}

int memory_file_open(const struct cgroups *cgroups, const char *path, enum memory_file file)
{
	const struct names *names = names_of(cgroups);

	return open_of(cgroups, path,
		       file == MEMORY_USE    ? names->current
		       : file == MEMORY_HITS ? names->hits
					     : "memory.memsw.failcnt");
}

int memory_kept_of(const struct cgroups *cgroups, const char *path, uint64_t *ret)
{
	struct memory_level level = { .current_fd = memory_file_open(cgroups, path, MEMORY_USE),
				      .stat_fd = open_of(cgroups, path, "memory.stat") };
	uint64_t unused;
	int r = MIN(level.current_fd, level.stat_fd);

	if (r >= 0)
		r = read_kept(cgroups->has_v1, &level, ret, &unused);
	fd_close(&level.current_fd);
	fd_close(&level.stat_fd);
	return r;
}

/* ---- whose limit ------------------------------------------------------------------------------ */

/* No count has grown in so short a time: that says nothing yet. */
#define FRESH_USEC (1 * USEC_PER_SEC)

static int read_hits(const struct memory *m, const struct memory_level *level,
		     struct memory_events *ret)
{
	if (level->hits_fd < 0)
		return -ENOENT;
	return m->v1 ? memory_use_read(level->hits_fd, &ret->max)
		     : memory_events_read(level->hits_fd, ret);
}

static uint64_t sum_of(const struct memory_events *hits)
{
	return hits->high + hits->max + hits->oom;
}

int memory_hits_read(const struct cgroups *cgroups, int fd, uint64_t *ret)
{
	struct memory_events hits = { 0 };
	int r = cgroups->has_v1 ? memory_use_read(fd, &hits.max) : memory_events_read(fd, &hits);

	*ret = sum_of(&hits);
	return r;
}

/* What was scanned of the cgroup and what is below it, for the machine and by those who wait. Kernels before 5.19 do
 * not say: 0. */
static void read_scans(const struct memory *m, uint64_t *ret_kswapd, uint64_t *ret_direct)
{
	char text[STAT_TEXT_MAX];
	size_t size;

	*ret_kswapd = *ret_direct = 0;
	if (m->v1 || m->count == 0 || m->levels[0].stat_fd < 0 ||
	    read_stat_text(m->levels[0].stat_fd, text, &size) < 0)
		return;
	(void)keyed_get(text, size, "pgscan_kswapd", ret_kswapd);
	(void)keyed_get(text, size, "pgscan_direct", ret_direct);
}

void memory_mark(struct memory *m, const struct memory_events *events, bool calm, uint64_t now)
{
	for (unsigned i = 0; i < m->count; i++)
		(void)read_hits(m, &m->levels[i], &m->levels[i].marked); /* else as before */
	read_scans(m, &m->marked_kswapd, &m->marked_direct);
	m->marked_below = events ? sum_of(events) : 0;
	m->settled_usec = calm ? now : now + FRESH_USEC;
}

static bool is_below(const struct memory *m, const struct memory_events *events)
{
	uint64_t kswapd, direct;

	if (!events || sum_of(events) <= m->marked_below)
		return false;
	read_scans(m, &kswapd, &direct);
	return kswapd == m->marked_kswapd ||
	       usec_sub(kswapd, m->marked_kswapd) < usec_sub(direct, m->marked_direct);
}

/* Within a 16th of its limit, which is where reclaim keeps what has reached it. */
static bool is_full(const struct memory *m, const struct memory_level *level)
{
	uint64_t current;

	return is_limited(m, level) && memory_use_read(level->current_fd, &current) == 0 &&
	       current >= level->limit_bytes - level->limit_bytes / 16;
}

static const struct memory_level *fullest(const struct memory *m)
{
	for (unsigned i = 0; i < m->count; i++)
		if (is_full(m, &m->levels[i]))
			return &m->levels[i];
	return NULL;
}

static void blame(const struct memory *m, const struct memory_level *level, bool is_high,
		  struct memory_cause *ret)
{
	ret->cause = level == m->levels ? CAUSE_OWN : CAUSE_ANCESTOR;
	ret->is_high = is_high;
	ret->limit_bytes = level->limit_bytes == UINT64_MAX ? 0 : level->limit_bytes;
	ret->length = m->v1 ? 0 : level->length;
	if (level->current_fd < 0 || memory_use_read(level->current_fd, &ret->current_bytes) < 0)
		ret->current_bytes = 0;
}

void memory_find_cause(const struct memory *m, const struct memory_events *events, uint64_t now,
		       struct memory_cause *ret)
{
	struct memory_cause found = { .cause = CAUSE_UNKNOWN };
	const struct memory_level *most = NULL;
	uint64_t hits = 0;
	bool is_high = false, knows_own = false;

	for (unsigned i = 0; i < m->count; i++) {
		const struct memory_level *level = &m->levels[i];
		struct memory_events is = level->marked;
		uint64_t more;

		if (read_hits(m, level, &is) < 0)
			continue;
		knows_own = knows_own || (i == 0 && !m->v1);
		more = usec_sub(sum_of(&is), sum_of(&level->marked));
		if (more <= hits)
			continue;
		most = level;
		hits = more;
		is_high = 2 * usec_sub(is.high, level->marked.high) > more;
	}
	if (!most && is_below(m, events)) {
		found.cause = CAUSE_DESCENDANT;
	} else if (!most && (now < m->settled_usec || m->v1)) {
		most = fullest(m);
		is_high = most && most->limit_bytes == most->high_bytes;
	} else if (!most && knows_own) {
		found.cause = CAUSE_MACHINE;
	}
	if (most)
		blame(m, most, is_high, &found);
	*ret = found;
}

void memory_cause_of_load(const struct memory *m, const struct memory_load *load,
			  struct memory_cause *ret)
{
	*ret = (struct memory_cause){ .cause = CAUSE_MACHINE };
	if (load->level)
		blame(m, load->level, load->level->limit_bytes == load->level->high_bytes, ret);
}

/* ---- memory.events ---------------------------------------------------------------------------- */

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
