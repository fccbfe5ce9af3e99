/* SPDX-License-Identifier: MIT */
/*
 * attach-file.c - a path of the hook that the target can open
 *
 * The target opens the hook itself: as its own user, below its own root, in its own mount
 * namespace. If we find the same file (device and inode) there under the same path, as that user,
 * that path will do. Else it gets a copy: in a new directory in its TMPDIR, with the right name in
 * it, because /proc/PID/maps is how a second attach sees the first. Once the hook is mapped the
 * copy is not needed any more, and goes; what is mapped stays.
 *
 * That TMPDIR is the target's choice, and we may be root. So while anything is looked at, made or
 * removed there we have the target's user and group for files (setfsuid(2); that takes root's rights
 * over files, too): whatever it lays in our way, links, mounts, a name that is another one the next
 * moment, we can do no more than it could have done itself. The copy is its own, and so is what it
 * loads. Where root has no number (a file system of a user namespace), only so can anything be made
 * at all. A file system without exec is passed over: nothing can be mapped from it to run.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/hooks.h"

/* For files: it cannot fail where it matters, for who may not do it is that user anyway. */
static void become(uid_t uid, gid_t gid)
{
	setgroups(0, NULL); /* root's are not the target's; we need them no more */
	setfsgid(gid);
	setfsuid(uid);
}

static bool is_noexec(int fd)
{
	struct statvfs vfs;

	return fstatvfs(fd, &vfs) == 0 && (vfs.f_flag & ST_NOEXEC);
}

static bool is_same_there(const struct target *t, const char *hook, int from)
{
	int fd = target_open_path(t, hook, O_RDONLY);
	struct stat here, there;
	bool same = fd >= 0 && fstat(fd, &there) == 0 && fstat(from, &here) == 0 &&
		    here.st_dev == there.st_dev && here.st_ino == there.st_ino && !is_noexec(fd);

	if (fd >= 0)
		close(fd);
	return same;
}

static int copy(int from, int to)
{
	off_t at = 0;
	ssize_t n;

	do
		n = sendfile(to, from, &at, 1 << 20);
	while (n > 0);
	return n < 0 ? -errno : 0;
}

static int copy_below(const struct target *t, const char *tmpdir, int from, struct visible *v)
{
	uint64_t number;
	int to, r;

	v->above = target_open_path(t, tmpdir, O_RDONLY | O_DIRECTORY);
	if (v->above < 0)
		return v->above;
	if (is_noexec(v->above))
		return -ENOEXEC;
	if (getrandom(&number, sizeof(number), 0) != (ssize_t)sizeof(number))
		return -EIO;
	snprintf(v->made, sizeof(v->made), "psibridge-%016" PRIx64, number);
	if (mkdirat(v->above, v->made, 0755) < 0) {
		v->made[0] = '\0';
		return -errno;
	}
	v->directory = openat(v->above, v->made, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (v->directory < 0)
		return -errno;
	to = openat(v->directory, HOOK_CORECLR,
		    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
	if (to < 0)
		return -errno;
	r = copy(from, to);
	close(to);
	if (r == 0 && snprintf(v->path, sizeof(v->path), "%s/%s/%s", tmpdir, v->made,
			       HOOK_CORECLR) >= (int)sizeof(v->path))
		r = -ENAMETOOLONG;
	return r;
}

/* As the target's user. */
static void remove_copy(struct visible *v)
{
	if (v->directory >= 0) {
		unlinkat(v->directory, HOOK_CORECLR, 0);
		close(v->directory);
	}
	if (v->above >= 0) {
		if (v->made[0])
			unlinkat(v->above, v->made, AT_REMOVEDIR);
		close(v->above);
	}
	*v = (struct visible){ .above = -1, .directory = -1 };
}

/* As the target's user. */
static int make_copy(struct target *target, int from, const char *hook, struct visible *v)
{
	const char *const directories[] = { target->tmpdir, "/tmp", "/var/tmp", "/run",
					    "/dev/shm" };
	int first = 0;

	for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
		int r = copy_below(target, directories[i], from, v);

		if (r == 0)
			return 0;
		remove_copy(v);
		first = first ? first : r;
	}
	return target_refuse(
		target, first,
		"it cannot see %.200s, and no copy can be put where it could: %.200s: %s", hook,
		target->tmpdir, first == -ENOEXEC ? "mounted noexec" : strerror(-first));
}

int visible_make(struct target *target, const char *hook, struct visible *ret)
{
	int from = open(hook, O_RDONLY | O_CLOEXEC), r = 0;

	*ret = (struct visible){ .above = -1, .directory = -1 };
	snprintf(ret->path, sizeof(ret->path), "%s", hook);
	if (from < 0)
		return target_refuse(target, -errno, "%.400s: %s", hook, strerror(errno));
	/* the copy is for the target to read, whatever we mask */
	umask(022);
	become(target->uid, target->gid);
	if (!is_same_there(target, hook, from))
		r = make_copy(target, from, hook, ret);
	become(geteuid(), getegid());
	close(from);
	return r;
}

void visible_done(const struct target *target, struct visible *visible)
{
	become(target->uid, target->gid);
	remove_copy(visible);
	become(geteuid(), getegid());
}
