/* SPDX-License-Identifier: MIT */
/*
 * attach-file.c - a path of the hook that the target can open
 *
 * The target opens the hook itself: as its own user, below its own root, in its own mount
 * namespace. If the same file (device and inode) is there under the same path, and all may read it,
 * that path will do. Else it gets a copy: in a new directory in its TMPDIR, with the right name in
 * it, because /proc/PID/maps is how a second attach sees the first. Once the hook is mapped the
 * copy is not needed any more, and goes; what is mapped stays.
 *
 * That TMPDIR is the target's choice, and we may be root. So while anything is made or removed there
 * we have the target's user and group for files (setfsuid(2); that takes root's rights over files,
 * too): whatever it lays in our way, links, mounts, a name that is another one the next moment, we
 * can do no more than it could have done itself. The copy is its own, and so is what it loads.
 * Where root has no number (a file system of a user namespace), only so can anything be made at all.
 * A file system without exec is passed over: nothing can be mapped from it to run.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/attach.h"

#define TRIES 8

static bool allows(const struct stat *st, uid_t uid, mode_t owner, mode_t others)
{
	return uid == 0 || (st->st_mode & (st->st_uid == uid ? owner : others));
}

/* May `uid` walk down to `path` and read it? Groups are not looked at: then it is copied for
 * nothing, at worst. */
static bool is_readable(const char *path, uid_t uid)
{
	char above[PATH_MAX];
	struct stat st;

	if (stat(path, &st) < 0 || !allows(&st, uid, S_IRUSR, S_IROTH))
		return false;
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(above, sizeof(above), "%.*s", (int)(slash - path), path);
		if (stat(above, &st) < 0 || !allows(&st, uid, S_IXUSR, S_IXOTH))
			return false;
	}
	return true;
}

static bool is_noexec(int fd)
{
	struct statvfs vfs;

	return fstatvfs(fd, &vfs) == 0 && (vfs.f_flag & ST_NOEXEC);
}

static bool is_same_there(const struct target *t, const char *hook)
{
	int fd = target_open_path(t, hook, O_PATH);
	struct stat here, there;
	bool same = fd >= 0 && fstat(fd, &there) == 0 && stat(hook, &here) == 0 &&
		    here.st_dev == there.st_dev && here.st_ino == there.st_ino && !is_noexec(fd);

	if (fd >= 0)
		close(fd);
	return same;
}

static int copy(int from, int to)
{
	char buf[65536];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0; done < n;) {
			ssize_t m = write(to, buf + done, (size_t)(n - done));

			if (m < 0)
				return -errno;
			done += m;
		}
	return n < 0 ? -errno : 0;
}

static int copy_hook(int from, int directory, const char *name)
{
	int to, r;

	to = openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = to < 0 ? -errno : copy(from, to);
	/* for the target, whoever it is; the umask is ours and has no say */
	if (r == 0 && fchmod(to, 0444) < 0)
		r = -errno;
	if (to >= 0)
		close(to);
	return r;
}

static int make_directory(struct visible *v)
{
	int r = -EEXIST;

	for (unsigned i = 0; i < TRIES && r == -EEXIST; i++) {
		uint64_t number;

		if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
			return -EIO;
		snprintf(v->made, sizeof(v->made), "psibridge-%016" PRIx64, number);
		r = mkdirat(v->above, v->made, 0700) < 0 ? -errno : 0;
	}
	if (r < 0) {
		v->made[0] = '\0';
		return r;
	}
	v->directory = openat(v->above, v->made, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (v->directory < 0 || fchmod(v->directory, 0755) < 0)
		return -errno;
	return 0;
}

/* For files: it cannot fail where it matters, for who may not do it is that user anyway. */
static void become(uid_t uid, gid_t gid)
{
	setfsgid(gid);
	setfsuid(uid);
}

static void visible_remove(struct visible *visible)
{
	if (visible->directory >= 0) {
		if (visible->file[0])
			unlinkat(visible->directory, visible->file, 0);
		close(visible->directory);
	}
	if (visible->above >= 0) {
		if (visible->made[0])
			unlinkat(visible->above, visible->made, AT_REMOVEDIR);
		close(visible->above);
	}
	*visible = (struct visible){ .above = -1, .directory = -1 };
}

/* `from` is open already: the target may not be able to read the hook. */
static int copy_below(const struct target *t, const char *tmpdir, int from, const char *hook,
		      struct visible *ret)
{
	struct visible v = { .uid = t->uid, .gid = t->gid, .above = -1, .directory = -1 };
	int r = 0;

	v.above = target_open_path(t, tmpdir, O_RDONLY | O_DIRECTORY);
	if (v.above < 0)
		return v.above;
	if (is_noexec(v.above))
		r = -ENOEXEC;
	if (r == 0)
		r = make_directory(&v);
	if (r == 0) {
		snprintf(v.file, sizeof(v.file), "%s", strrchr(hook, '/') + 1);
		r = copy_hook(from, v.directory, v.file);
	}
	if (r == 0 && snprintf(v.path, sizeof(v.path), "%s/%s/%s", tmpdir, v.made, v.file) >=
			      (int)sizeof(v.path))
		r = -ENAMETOOLONG;
	if (r < 0) {
		visible_remove(&v);
		return r;
	}
	*ret = v;
	return 0;
}

int visible_make(const struct target *target, const char *hook, struct visible *ret, char *why)
{
	const char *const directories[] = { target_tmpdir(target), "/tmp", "/var/tmp", "/run",
					    "/dev/shm" };
	int first = 0, from, r = -ENOENT;
	char real[PATH_MAX];

	/* the way to where a symbolic link leads has to be open too */
	if (is_same_there(target, hook) && is_readable(hook, target->uid) && realpath(hook, real) &&
	    is_readable(real, target->uid)) {
		*ret = (struct visible){
			.uid = geteuid(), .gid = getegid(), .above = -1, .directory = -1
		};
		snprintf(ret->path, sizeof(ret->path), "%s", hook);
		return 0;
	}
	from = open(hook, O_RDONLY | O_CLOEXEC);
	if (from < 0) {
		first = -errno;
		snprintf(why, ATTACH_WHY_MAX, "%s: %s", hook, strerror(-first));
		return first;
	}
	become(target->uid, target->gid);
	for (size_t i = 0; i < ELEMENTSOF(directories) && r < 0; i++) {
		r = lseek(from, 0, SEEK_SET) < 0
			    ? -errno
			    : copy_below(target, directories[i], from, hook, ret);
		if (first == 0)
			first = r;
	}
	become(geteuid(), getegid());
	close(from);
	if (r == 0)
		return 0;
	snprintf(why, ATTACH_WHY_MAX,
		 "it cannot see %s, and no copy can be put where it could: %s: %s", hook,
		 directories[0], first == -ENOEXEC ? "mounted noexec" : strerror(-first));
	return first;
}

void visible_done(struct visible *visible)
{
	become(visible->uid, visible->gid);
	visible_remove(visible);
	become(geteuid(), getegid());
}
