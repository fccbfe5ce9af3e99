/* SPDX-License-Identifier: MIT */
/*
 * attach.c - psibridge attach PID: a hook into a program that runs already
 *
 * The program is looked at, its runtime's diagnostics socket is found, and the runtime is asked to load the hook as a profiler, on a
 * thread of its own. Done means: it said so, and the kernel shows the hook in /proc/PID/maps. One that is there already is left
 * alone. After a time-out the runtime may still do it later; that is said. The hook in turn has the runtime load the managed policy,
 * which lies beside it; that is waited for, too.
 *
 * The target opens the hook itself: as its own user, below its own root, in its own mount namespace. If we find the same file there
 * under the same path, as that user, that path will do. Else it gets a copy: in its TMPDIR, or where else it may run code from, with
 * the right name at the end of its own, because /proc/PID/maps is how a second attach sees the first. Once the hook is mapped the
 * copy goes; what is mapped stays.
 *
 * That TMPDIR is the target's choice, and we may be root. So while anything is looked at, made or removed there we have the target's
 * user and group for files (setfsuid(2); that takes root's rights over files, too): whatever it lays in our way, links, mounts, a
 * name that is another one the next moment, we can do no more than it could have done itself. The copy is its own, and so is what
 * it loads. Where root has no number (a file system of a user namespace), only so can anything be made at all.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/attach.h"
#include "cli/cli.h"
#include "cli/hooks.h"
#include "cli/output.h"
#include "cli/wait.h"
#include "psibridge/psibridge.h"

#define AGAIN_USEC (30 * USEC_PER_MSEC) /* between looks at a program that is just starting */

static const char help[] =
	"psibridge attach - make a program that runs already give back memory when it is\n"
	"short\n"
	"\n"
	"Usage: psibridge attach [OPTION...] PID\n"
	"\n"
	"PID is a .NET program (.NET 5 and later; not NativeAOT), here or in a\n"
	"container. Its runtime is asked to load the hook; the program goes on\n"
	"meanwhile. It takes the user of the program, or root. What the hook does is\n"
	"configured by the environment the program was started with, and by --set.\n"
	"\n"
	"  --set NAME=VALUE     a setting, PSIBRIDGE_LOW='some 150ms/2s' say, that\n"
	"                       counts before the program's environment; again for each\n"
	"  --timeout TIME       how long the runtime may take to start and to answer;\n"
	"                       default 10s\n"
	"  --help\n"
	"\n"
	"Exit status: 0 attached, or it was already; 1 it could not be done, 2 the\n"
	"command line makes no sense.\n"
	"\n"
	"Example: psibridge attach $(pidof -s MyService)\n";

/* ---- the hook, as the target can open it ------------------------------------------------------- */

/* Ours: the hook, and the managed policy (-1: there is none). */
struct files {
	char path[PATH_MAX]; /* the hook's */
	int hook, managed;
};

/* The hook itself, or a copy. */
struct visible {
	char path[PATH_MAX];
	char managed[PATH_MAX]; /* the copy of that */
	int directory;		/* the copies'; -1: there are none */
};

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
	/* what lies there is the target's choice: a FIFO must not keep us waiting */
	int fd = target_open_path(t, hook, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	struct stat here, there;
	bool same = fd >= 0 && fstat(fd, &there) == 0 && fstat(from, &here) == 0 &&
		    here.st_dev == there.st_dev && here.st_ino == there.st_ino && !is_noexec(fd);

	if (fd >= 0)
		close(fd);
	return same;
}

static int copy_bytes(int from, int to)
{
	off_t at = 0;
	ssize_t n;

	do
		n = sendfile(to, from, &at, 1 << 20);
	while (n > 0);
	return n < 0 ? -errno : 0;
}

static void remove_copy(struct visible *v)
{
	if (v->directory < 0)
		return;
	unlinkat(v->directory, strrchr(v->path, '/') + 1, 0);
	unlinkat(v->directory, strrchr(v->managed, '/') + 1, 0);
	close(v->directory);
	v->directory = -1;
}

static int copy_file(int from, int directory, const char *path)
{
	int to = openat(directory, strrchr(path, '/') + 1,
			O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
	int r = to < 0 ? -errno : copy_bytes(from, to);

	if (to >= 0)
		close(to);
	return r;
}

static int copy_into(const struct target *t, const char *path, const struct files *files,
		     struct visible *v)
{
	int directory = target_open_path(t, path, O_RDONLY | O_DIRECTORY), r = -ENOEXEC;
	uint64_t number = 0;

	if (directory < 0)
		return directory;
	if (is_noexec(directory) || getrandom(&number, sizeof(number), 0) < 0) {
		close(directory);
		return r;
	}
	snprintf(v->path, sizeof(v->path), "%.4000s/psibridge-%016" PRIx64 "-" HOOK_CORECLR, path,
		 number);
	snprintf(v->managed, sizeof(v->managed), "%.4000s/psibridge-%016" PRIx64 "-" HOOK_STARTUP,
		 path, number);
	v->directory = directory;
	r = copy_file(files->hook, directory, v->path);
	if (r == 0 && files->managed >= 0)
		r = copy_file(files->managed, directory, v->managed);
	if (r < 0)
		remove_copy(v);
	return r;
}

/* As the target's user. Its TMPDIR may be full, or noexec, as docker's --tmpfs is. Errors: of its TMPDIR. */
static int make_visible(const struct target *t, const struct files *files, struct visible *v)
{
	const char *const directories[] = { t->tmpdir, "/tmp", "/var/tmp", "/run", "/dev/shm" };
	int first = 0;

	snprintf(v->path, sizeof(v->path), "%s", files->path);
	if (is_same_there(t, files->path, files->hook))
		return 0;
	/* the copy is for the target to read, whatever we mask */
	umask(022);
	for (size_t i = 0; i < ELEMENTSOF(directories); i++) {
		int r = copy_into(t, directories[i], files, v);

		if (r == 0)
			return 0;
		first = first ? first : r;
	}
	return first;
}

/* ---- loading it -------------------------------------------------------------------------------- */

static void refuse_setting(void *unused, int priority, const char *message)
{
	(void)unused;
	(void)priority;
	complain("attach", "--set %s", message);
}

/* In front of those before: of two for the same variable the hook takes the first, so the last one
 * counts. */
static int take_set(const struct args *args, const struct args_setting *setting)
{
	struct settings *s = setting->to;
	const char *text = args->value, *one[] = { text, NULL };
	struct psb_settings read = { .size = sizeof(read) };
	size_t size = strlen(text) + 1;

	psb_settings_read_from(one, PSB_SETTINGS_STRICT, refuse_setting, NULL, &read);
	if (read.refused > 0)
		return -EINVAL;
	if (s->n == SETTINGS_MAX || s->size + size > sizeof(s->bytes)) {
		complain("attach", "--set: more than %d settings, or %d bytes of them",
			 SETTINGS_MAX, SETTINGS_BYTES_MAX);
		return -EINVAL;
	}
	memmove(s->bytes + size, s->bytes, s->size);
	memcpy(s->bytes, text, size);
	s->size += size;
	s->n++;
	return 0;
}

static int report(const struct target *t, const char *sentence)
{
	output_line("%d (%s): %s", (int)t->pid, t->exe, sentence);
	return 0;
}

/* It is told by a mapping, and may not come: the program loads no start-up hooks, say. */
static void await_managed(struct target *t, uint64_t timeout_usec)
{
	uint64_t end = usec_add(now_usec(), timeout_usec);

	while (target_look_at_maps(t) == 0 && !t->has_managed && now_usec() < end)
		usleep(20 * USEC_PER_MSEC);
}

/* All signals wait while a copy of ours may lie about. */
static int load(struct target *t, const struct files *files, const struct settings *settings,
		uint64_t timeout_usec)
{
	struct visible visible = { .directory = -1 };
	sigset_t all, before;
	int r;

	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &before);
	become(t->uid, t->gid);
	r = make_visible(t, files, &visible);
	become(geteuid(), getegid());
	if (r < 0)
		refuse(t, "it cannot see %s, and no copy can be put where it could: %s: %s",
		       files->path, t->tmpdir, r == -ENOEXEC ? "mounted noexec" : strerror(-r));
	else
		r = runtime_attach_profiler(t, visible.path, settings, timeout_usec);
	if (r == 0 && files->managed >= 0)
		await_managed(t, timeout_usec / 2);
	become(t->uid, t->gid);
	remove_copy(&visible);
	become(geteuid(), getegid());
	sigprocmask(SIG_SETMASK, &before, NULL);
	return r;
}

static int load_hook(struct target *t, const struct settings *settings, uint64_t timeout_usec)
{
	struct files files = { .path = HOOK_CORECLR };
	char managed[PATH_MAX];
	int r = hooks_find(HOOK_CORECLR, files.path);

	files.hook = r < 0 ? -1 : open(files.path, O_RDONLY | O_CLOEXEC);
	if (files.hook < 0)
		return refuse(t, "%s: %s", files.path, strerror(r < 0 ? -r : errno));
	r = hooks_find(HOOK_STARTUP, managed);
	files.managed = r < 0 ? -1 : open(managed, O_RDONLY | O_CLOEXEC);
	r = load(t, &files, settings, timeout_usec);
	close(files.hook);
	if (files.managed >= 0)
		close(files.managed);
	if (r < 0)
		return r;
	if (target_look_at_maps(t) < 0)
		return refuse(t, "it ended meanwhile");
	if (!t->has_hook)
		return refuse(t, "its runtime says that the hook is loaded, and it is not: "
				 "see its standard error");
	return report(t, files.managed < 0 || t->has_managed
				 ? "has the hook now"
				 : "has the hook now, but not the managed policy; with "
				   "PSIBRIDGE_LOG=info it says why");
}

static int attach(struct target *t, const struct settings *settings, uint64_t timeout_usec)
{
	const char *forbidden = hooks_forbidden(t->environment, true);
	int r;

	if (t->has_hook && settings->n > 0)
		return refuse(t, "it has the hook already, which keeps the settings it has; "
				 "nothing was done");
	if (t->has_hook)
		return report(t, "has the hook already, nothing was done");
	if (forbidden)
		return refuse(t,
			      "it was started with %s=%s, which forbids to attach; start it "
			      "without, or by \"psibridge run --hook=startup-hook\"",
			      forbidden, hooks_variable(t->environment, forbidden));
	r = runtime_find(t, timeout_usec);
	return r < 0 ? r : load_hook(t, settings, timeout_usec);
}

static int attach_to(pid_t pid, const struct settings *settings, uint64_t timeout_usec)
{
	struct target target;
	int r = target_open(pid, usec_add(now_usec(), timeout_usec), &target);

	while (r == 0 && (r = target_look(&target)) == 0) {
		r = attach(&target, settings, timeout_usec);
		if (r != -EAGAIN)
			break;
		usleep(AGAIN_USEC);
		r = 0;
	}
	target_done(&target);
	return r;
}

int verb_attach(int argc, char **argv)
{
	struct settings settings = { 0 };
	uint64_t timeout_usec = 10 * USEC_PER_SEC, pid = 0;
	const struct args_setting options[] = {
		{ "set", "PSIBRIDGE_...=VALUE", take_set, &settings, 0, 0 },
		ARGS_TIME("timeout", "a time from 100ms to 10min, such as 10s,",
			  100 * USEC_PER_MSEC, 600 * USEC_PER_SEC, &timeout_usec),
		{ NULL, "a process id", args_take_number, &pid, 1, INT_MAX },
		ARGS_NO_MORE,
	};
	int r, status;

	if (!args_read(argc, argv, options, help, &status))
		return status;
	if (pid == 0) {
		complain("attach", "a process id is missing");
		return EXIT_USAGE;
	}
	r = attach_to((pid_t)pid, &settings, timeout_usec);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}
