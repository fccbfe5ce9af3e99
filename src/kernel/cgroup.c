/* SPDX-License-Identifier: MIT */
/*
 * cgroup.c - discovery
 *
 * A hierarchy may be mounted any number of times: bound elsewhere, in parts, a host's beside a container's, hidden by
 * a later mount, or as the mount of a removed cgroup. The mount that counts is one in which our own cgroup's path
 * leads to our own cgroup: its root is in front of the path (cgmount_covers()), and the directory opens on that very
 * mount: statx(2) gives the id of what was opened (stx_mnt_id, Linux 5.8), mountinfo that of the line, and they
 * differ where anything lies over it. Of several, the one with the most of the hierarchy is taken.
 *
 * mountinfo is read line by line, for it may be long: 4,400 bind mounts are more than 1 MiB.
 */
#include "kernel/cgroup.h"

#include "core/procfs.h"
#include "kernel/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNITS_SEARCHED_MAX 100000 /* directories */

/* Does that descriptor lie on that mount? Yes where the kernel does not say (before 5.8). */
static bool is_on_mount(int fd, const struct cgmount *mount)
{
	struct statx st;

	if (mount->id == 0 || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &st) < 0 ||
	    !(st.stx_mask & STATX_MNT_ID))
		return true;
	return st.stx_mnt_id == mount->id;
}

static int open_below(const struct cgmount *mount, const char *path)
{
	char full[2 * CGPATH_MAX];
	int fd;

	snprintf(full, sizeof(full), "%s%s", mount->point, path);
	fd = open(full, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (!is_on_mount(fd, mount)) {
		close(fd);
		return -EXDEV;
	}
	return fd;
}

/* Is there `name` in it? Returns: 1, 0, or a negative errno that says nothing of the mount. */
static int has(const struct cgmount *mount, const char *path, const char *name)
{
	int fd = open_below(mount, path), r;

	if (fd < 0)
		return is_shortage(fd) ? fd : 0;
	r = faccessat(fd, name, F_OK, 0) == 0;
	close(fd);
	return r;
}

static int read_proc_cgroup(const char *proc, int64_t pid, char **ret, size_t *ret_size)
{
	char path[96];
	int r;

	if (pid == 0)
		snprintf(path, sizeof(path), "%.32s/self/cgroup", proc);
	else
		snprintf(path, sizeof(path), "%.32s/%lld/cgroup", proc, (long long)pid);
	r = file_read_all(AT_FDCWD, path, ret, ret_size);
	if (r != -ENOENT || pid == 0)
		return r;
	/* with hidepid=2 processes of other users are not in /proc */
	return kill((pid_t)pid, 0) == 0 || errno == EPERM ? -EACCES : -ESRCH;
}

/* ---- which mount ------------------------------------------------------------------------------ */

struct candidate {
	bool found;
	bool shows_own;
	struct cgmount mount;
};

struct choice {
	const char *controller; /* of v1; NULL: v2 */
	char own[CGPATH_MAX];	/* our cgroup; "": not known */
	struct candidate best;
};

static bool is_better(const struct candidate *a, const struct candidate *b)
{
	if (!b->found || a->shows_own != b->shows_own)
		return !b->found || a->shows_own;
	if (strlen(a->mount.root) != strlen(b->mount.root)) /* a shorter one shows more */
		return strlen(a->mount.root) < strlen(b->mount.root);
	if (a->mount.read_only != b->mount.read_only)
		return b->mount.read_only;
	return strlen(a->mount.point) < strlen(b->mount.point);
}

static int consider(struct choice *choice, struct candidate *c, const char *line, size_t size)
{
	char below[CGPATH_MAX];
	int r;

	if (!mountinfo_line(line, size, choice->controller, &c->mount))
		return 0;
	r = has(&c->mount, "/", "cgroup.procs"); /* which a removed cgroup has no more */
	if (r <= 0)
		return r;
	r = choice->own[0] && cgmount_covers(&c->mount, choice->own, below)
		    ? has(&c->mount, below, ".")
		    : 0;
	if (r < 0)
		return r;
	c->found = true;
	c->shows_own = r > 0;
	if (is_better(c, &choice->best))
		choice->best = *c;
	return 0;
}

static int choose(const char *proc, struct choice *v2, struct choice *v1, struct candidate *scratch)
{
	char path[64], *line = NULL;
	size_t capacity = 0;
	ssize_t n;
	FILE *f;
	int r = 0;

	snprintf(path, sizeof(path), "%.32s/self/mountinfo", proc);
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (r == 0 && (n = getline(&line, &capacity, f)) > 0 && line[n - 1] == '\n') {
		r = consider(v2, scratch, line, (size_t)n - 1);
		if (r == 0)
			r = consider(v1, scratch, line, (size_t)n - 1);
	}
	if (r == 0)
		r = ferror(f) ? -EIO : n > 0 ? -EBADMSG : !feof(f) ? -ENOMEM : 0;
	free(line);
	fclose(f);
	return r;
}

int cgroups_discover(const char *proc, struct cgroups *ret)
{
	struct choice *c = calloc(3, sizeof(*c)), *v2 = c, *v1 = c + 1;
	char *text = NULL;
	size_t size;
	int r;

	if (!c)
		return -ENOMEM;
	v1->controller = "memory";
	r = read_proc_cgroup(proc, 0, &text, &size);
	if (r == 0) {
		proc_cgroup_v2(text, size, v2->own);
		proc_cgroup_v1(text, size, v1->controller, v1->own);
		free(text);
	}
	/* without our own the rest can be chosen all the same */
	if (!is_shortage(r))
		r = choose(proc, v2, v1, &c[2].best);
	if (r == 0 && !v2->best.found && !v1->best.found)
		r = -ENOENT;
	if (r == 0) {
		ret->has_v2 = v2->best.found;
		ret->has_v1 = v1->best.found;
		ret->v2 = v2->best.mount;
		ret->v1 = v1->best.mount;
	}
	free(c);
	return r;
}

const char *cgroups_missing(const struct cgroups *cgroups)
{
	return cgroups->has_v1 ? "no cgroup2 hierarchy is mounted here (cgroup v1 only)"
			       : "no cgroup file system is mounted where it can be opened";
}

/* ---- which cgroup ----------------------------------------------------------------------------- */

/* `controller` as in proc_cgroup_v1(); NULL: v2. */
static int path_of_pid(const struct cgmount *mount, const char *controller, const char *proc,
		       int64_t pid, char *buf)
{
	char path[CGPATH_MAX], below[CGPATH_MAX], *text = NULL;
	size_t size;
	int r = read_proc_cgroup(proc, pid, &text, &size);

	if (r < 0)
		return r;
	r = controller ? proc_cgroup_v1(text, size, controller, path)
		       : proc_cgroup_v2(text, size, path);
	free(text);
	if (r < 0)
		return r;
	r = cgmount_covers(mount, path, below) ? has(mount, below, ".") : 0;
	if (r <= 0)
		return r < 0 ? r : -EXDEV;
	memcpy(buf, below, CGPATH_MAX);
	return 0;
}

int cgroup_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf)
{
	return cgroups->has_v2 ? path_of_pid(&cgroups->v2, NULL, proc, pid, buf) : -ENOENT;
}

int cgroup_v1_of_pid(const struct cgroups *cgroups, const char *proc, int64_t pid, char *buf)
{
	return cgroups->has_v1 ? path_of_pid(&cgroups->v1, "memory", proc, pid, buf) : -ENOENT;
}

int cgroup_open(const struct cgroups *cgroups, const char *path)
{
	return cgroups->has_v2 ? open_below(&cgroups->v2, path) : -ENOENT;
}

int cgroup_v1_open(const struct cgroups *cgroups, const char *path)
{
	return cgroups->has_v1 ? open_below(&cgroups->v1, path) : -ENOENT;
}

int cgroup_inode(const struct cgroups *cgroups, const char *path, uint64_t *ret)
{
	int dirfd = cgroup_open(cgroups, path), r;
	struct stat st;

	if (dirfd < 0)
		return dirfd;
	/* rmdir(2) takes cgroup.procs first, then memory.pressure, which waits for its triggers, and
	 * the directory last (css_clear_dir() in kernel/cgroup/cgroup.c) */
	r = fstat(dirfd, &st) < 0 || faccessat(dirfd, "cgroup.procs", F_OK, 0) < 0 ? -errno : 0;
	close(dirfd);
	if (r == 0)
		*ret = st.st_ino;
	return r;
}

struct unit_search {
	const char *unit;
	char path[2 *
		  CGPATH_MAX]; /* where it is now: the mount, and `mount` bytes later the cgroup */
	size_t mount;
	unsigned left;	/* directories that may still be read */
	unsigned depth; /* of what was found; UINT_MAX: nothing */
	char *found;
};

/* Looks through a directory whose path is `length` long. What was found lets only what is less deep
 * be better: so of all the one that comes first breadth first is left. */
static void search_below(struct unit_search *s, size_t length, unsigned depth)
{
	DIR *dir = opendir(s->path);
	struct dirent *entry;

	if (!dir) /* gone, or not readable */
		return;
	while (depth < s->depth && (entry = readdir(dir)) != NULL) {
		size_t n = strlen(entry->d_name) + 1;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
		    length + n - s->mount >= CGPATH_MAX)
			continue;
		snprintf(s->path + length, n + 1, "/%s", entry->d_name);
		if (strcmp(entry->d_name, s->unit) == 0) {
			s->depth = depth;
			memcpy(s->found, s->path + s->mount, length + n + 1 - s->mount);
		} else if (depth + 1 < s->depth && s->left > 0) {
			s->left--;
			search_below(s, length + n, depth + 1);
		}
		s->path[length] = '\0';
	}
	closedir(dir);
}

int cgroup_of_unit(const struct cgroups *cgroups, const char *unit, char *buf)
{
	struct unit_search s = {
		.unit = unit, .left = UNITS_SEARCHED_MAX, .depth = UINT_MAX, .found = buf
	};

	if (!cgroups->has_v2)
		return -ENOENT;
	if (!*unit || strchr(unit, '/') || unit[0] == '.' || !strchr(unit, '.'))
		return -EINVAL;
	s.mount = (size_t)snprintf(s.path, sizeof(s.path), "%s", cgroups->v2.point);
	search_below(&s, s.mount, 0);
	return s.depth < UINT_MAX ? 0 : -ENOENT;
}
