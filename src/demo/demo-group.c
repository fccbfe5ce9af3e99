/* SPDX-License-Identifier: MIT */
/*
 * demo-group.c - the cgroups of the demo
 *
 *     unified   BASE/psibridge-demo-PID        outer: sampled
 *               BASE/psibridge-demo-PID/run    inner: the actors; memory.high, memory.max, no swap
 *     hybrid    the same two on v2 for pressure, and once more on v1 memory for the limit: PSI
 *               follows the v2 membership even where the memory controller is on v1
 *
 * BASE. In a scope that systemd delegated to us it is the scope, after we moved into a leaf
 * ("control"): a v2 group with processes cannot hand controllers to children (cgroups(7), "no
 * internal processes"). Otherwise it is our own group where that is possible (always on v1 and for
 * plain v2 groups; on a unified host only the root may have both processes and controllers), else
 * the one above it, where the memory controller is on already. A controller that was switched on
 * for us is switched off again.
 *
 * Removing: whatever is in there is killed, then rmdir, and again until it is gone (a process that
 * is about to die may still be listed). A demo that was itself killed leaves empty groups behind
 * (its children die with it, PR_SET_PDEATHSIG); the next one knows them by the dead process in
 * their name. Only empty ones are removed: in another PID namespace "dead" proves nothing.
 *
 * Swap is off in there: idle garbage is what the kernel would swap out first, and the demo is
 * about a container without swap.
 */
#include "demo/demo.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/args.h"
#include "core/procfs.h"
#include "core/psi.h"
#include "core/scan.h"

#define PREFIX "psibridge-demo-"
#define INNER "run"
#define TEXT_MAX (256 * 1024)
#define GONE_MAX_USEC (10 * USEC_PER_SEC)

enum { V2, V1, TREES };

struct demo_group {
	bool hybrid;
	char outer[TREES][DEMO_PATH_MAX]; /* "" until made */
	char enabled[DEMO_PATH_MAX]; /* cgroup.subtree_control into which we wrote +memory; "": none */
	char control[DEMO_PATH_MAX]; /* the leaf we moved into; "": none */
	int pressure;
};

/*
 * ---- small files
 * -----------------------------------------------------------------------------------
 */

static int path_join(char *buf, const char *a, const char *b)
{
	int n = snprintf(buf, DEMO_PATH_MAX, "%s%s%s", strcmp(a, "/") == 0 ? "" : a,
			 *b == '/' || !*b ? "" : "/", strcmp(b, "/") == 0 ? "" : b);

	return n < DEMO_PATH_MAX ? 0 : -ENAMETOOLONG;
}

static int write_file(const char *dir, const char *name, const char *text)
{
	char path[DEMO_PATH_MAX];
	int fd, r;

	r = path_join(path, dir, name);
	if (r < 0)
		return r;
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	r = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

static int write_number(const char *dir, const char *name, uint64_t number)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, number);
	return write_file(dir, name, text);
}

static void scrap(char **text)
{
	free(*text);
}

/* The caller frees *ret, which ends in NUL. */
static int read_file(const char *dir, const char *name, char **ret, size_t *ret_size)
{
	char path[DEMO_PATH_MAX], *text;
	size_t size = 0;
	ssize_t n = 0;
	int fd, r;

	r = path_join(path, dir, name);
	if (r < 0)
		return r;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	text = malloc(TEXT_MAX + 1);
	while (text && size < TEXT_MAX && (n = read(fd, text + size, TEXT_MAX - size)) > 0)
		size += (size_t)n;
	r = !text ? -ENOMEM : n < 0 ? -errno : size == TEXT_MAX ? -EFBIG : 0;
	close(fd);
	if (r < 0) {
		free(text);
		return r;
	}
	text[size] = '\0';
	*ret = text;
	*ret_size = size;
	return 0;
}

static bool exists(const char *dir, const char *name)
{
	char path[DEMO_PATH_MAX];

	return path_join(path, dir, name) == 0 && access(path, F_OK) == 0;
}

/*
 * ---- removing
 * --------------------------------------------------------------------------------------
 */

static void kill_members(const char *dir)
{
	struct scan left, line;
	char *text = NULL;
	uint64_t pid;
	size_t size;

	write_file(dir, "cgroup.kill", "1"); /* since 5.14; catches forks too */
	if (read_file(dir, "cgroup.procs", &text, &size) < 0)
		return;
	left = (struct scan){ text, size };
	while (scan_item(&left, '\n', &line))
		if (scan_u64(&line, &pid) == 0 && pid > 0 && (pid_t)pid != getpid())
			kill((pid_t)pid, SIGKILL);
	free(text);
}

static int remove_group(const char *dir)
{
	uint64_t until = demo_now_usec() + GONE_MAX_USEC;

	for (;;) {
		int r = rmdir(dir) == 0 || errno == ENOENT ? 0 : -errno;

		if (r != -EBUSY || demo_now_usec() > until)
			return r;
		kill_members(dir);
		usleep(20 * 1000);
	}
}

static int remove_inner(const struct demo_group *group)
{
	char path[DEMO_PATH_MAX];
	int result = 0;

	for (int tree = 0; tree < TREES; tree++) {
		int r = 0;

		if (!group->outer[tree][0])
			continue;
		r = path_join(path, group->outer[tree], INNER);
		if (r == 0)
			r = remove_group(path);
		if (r < 0)
			result = r;
	}
	return result;
}

struct demo_group *demo_group_free(struct demo_group *group)
{
	if (!group)
		return NULL;
	remove_inner(group);
	for (int tree = 0; tree < TREES; tree++) {
		int r = group->outer[tree][0] ? remove_group(group->outer[tree]) : 0;

		if (r < 0)
			complain("demo", "%s: could not be removed: %s", group->outer[tree],
				 strerror(-r));
	}
	if (group->enabled[0])
		write_file(group->enabled, "cgroup.subtree_control", "-memory");
	if (group->pressure >= 0)
		close(group->pressure);
	free(group);
	return NULL;
}

/* Whose demo a directory was; 0: it is none. */
static pid_t demo_of(const char *name)
{
	struct scan s = scan_string(name);
	uint64_t pid;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return 0;
	scan_skip(&s, strlen(PREFIX));
	return scan_u64(&s, &pid) == 0 && s.left == 0 && pid <= INT32_MAX ? (pid_t)pid : 0;
}

static void remove_stale(const char *base)
{
	char outer[DEMO_PATH_MAX], inner[DEMO_PATH_MAX];
	DIR *dir = opendir(base);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		pid_t pid = demo_of(entry->d_name);

		if (pid == 0 || (kill(pid, 0) == 0 || errno != ESRCH) ||
		    path_join(outer, base, entry->d_name) < 0 || path_join(inner, outer, INNER) < 0)
			continue;
		rmdir(inner);
		rmdir(outer);
	}
	if (dir)
		closedir(dir);
}

/*
 * ---- making
 * ----------------------------------------------------------------------------------------
 */

/*
 * The directory of our own group in a hierarchy (of v1's `controller`; NULL: v2), where most of it
 * is mounted. Errors: -ENOENT: it is not mounted where our group can be seen.
 */
static int own_group(const char *controller, char *buf)
{
	_cleanup_(scrap) char *groups = NULL;
	_cleanup_(scrap) char *line = NULL;
	char own[CGPATH_MAX], below[CGPATH_MAX], path[DEMO_PATH_MAX];
	struct cgmount mount;
	size_t size, capacity = 0, most = 0;
	ssize_t n;
	FILE *f;
	int r;

	r = read_file("/proc/self", "cgroup", &groups, &size);
	if (r == 0)
		r = controller ? proc_cgroup_v1(groups, size, controller, own)
			       : proc_cgroup_v2(groups, size, own);
	if (r < 0)
		return r;
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -errno;
	while ((n = getline(&line, &capacity, f)) > 0) {
		if (!mountinfo_line(line, (size_t)n - 1, controller, &mount) ||
		    !cgmount_covers(&mount, own, below) || strlen(below) < most ||
		    path_join(path, mount.point, below) < 0 || !exists(path, "cgroup.procs"))
			continue;
		strcpy(buf, path);
		most = strlen(below);
	}
	fclose(f);
	return most > 0 ? 0 : -ENOENT;
}

/* One of our directories below `base`. */
static int make_outer(struct demo_group *group, int tree, const char *base, char *why)
{
	char path[DEMO_PATH_MAX], name[64];
	int r;

	remove_stale(base);
	snprintf(name, sizeof(name), PREFIX "%d", (int)getpid());
	r = path_join(path, base, name);
	if (r == 0 && mkdir(path, 0755) < 0)
		r = -errno;
	if (r < 0)
		return demo_why(why, r, "mkdir %s/%s: %s", base, name, strerror(-r));
	memcpy(group->outer[tree], path, sizeof(path));
	return 0;
}

static void drop_outer(struct demo_group *group, int tree)
{
	rmdir(group->outer[tree]);
	group->outer[tree][0] = '\0';
}

/* Unified: below `base`, with the memory controller. */
static int make_unified(struct demo_group *group, const char *base, char *why)
{
	int r;

	r = make_outer(group, V2, base, why);
	if (r < 0)
		return r;
	if (!exists(group->outer[V2], "memory.max")) {
		r = write_file(base, "cgroup.subtree_control", "+memory");
		if (r < 0) {
			drop_outer(group, V2);
			return demo_why(why, r, "+memory to %s/cgroup.subtree_control: %s%s", base,
					strerror(-r),
					r == -EBUSY ? " (it has processes of its own)" : "");
		}
		snprintf(group->enabled, sizeof(group->enabled), "%s", base);
	}
	r = write_file(group->outer[V2], "cgroup.subtree_control", "+memory");
	if (r < 0) {
		demo_why(why, r, "+memory to %s/cgroup.subtree_control: %s", group->outer[V2],
			 strerror(-r));
		drop_outer(group, V2);
	}
	return r;
}

/* What systemd delegated is ours to arrange. */
static int move_to_leaf(struct demo_group *group, const char *scope, char *why)
{
	int r;

	r = path_join(group->control, scope, "control");
	if (r == 0 && mkdir(group->control, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0)
		r = write_file(group->control, "cgroup.procs", "0");
	return r < 0 ? demo_why(why, r, "moving to %s/control: %s", scope, strerror(-r)) : 0;
}

static int make_groups(struct demo_group *group, bool in_scope, char *why)
{
	char base[DEMO_PATH_MAX], base_v1[DEMO_PATH_MAX];
	char below[DEMO_WHY_MAX], beside[DEMO_WHY_MAX];
	char *slash;
	int r;

	r = own_group(NULL, base);
	if (r < 0)
		return demo_why(why, r, "our own cgroup2 group cannot be seen: %s", strerror(-r));
	group->hybrid = own_group("memory", base_v1) == 0;
	if (group->hybrid) {
		r = make_outer(group, V2, base, why);
		return r < 0 ? r : make_outer(group, V1, base_v1, why);
	}

	if (in_scope) {
		r = move_to_leaf(group, base, why);
		return r < 0 ? r : make_unified(group, base, why);
	}
	r = make_unified(group, base, below);
	if (r == 0)
		return 0;
	slash = strrchr(base, '/');
	*slash = '\0';
	if (!exists(base, "cgroup.procs")) /* ours was all that is mounted */
		return demo_why(why, r, "%s", below);
	r = make_unified(group, base, beside);
	return r < 0 ? demo_why(why, r, "%.240s; %.240s", below, beside) : 0;
}

int demo_group_new(bool in_scope, struct demo_group **ret, char *why)
{
	_cleanup_(demo_group_freep) struct demo_group *group = calloc(1, sizeof(*group));
	char path[DEMO_PATH_MAX];
	int r;

	if (!group)
		return demo_why(why, -ENOMEM, "out of memory");
	group->pressure = -1;
	r = make_groups(group, in_scope, why);
	if (r < 0)
		return r;
	r = path_join(path, group->outer[V2], "memory.pressure");
	if (r == 0) {
		group->pressure = open(path, O_RDONLY | O_CLOEXEC);
		r = group->pressure < 0 ? -errno : demo_group_stall(group, &(uint64_t){ 0 });
	}
	if (r < 0)
		return demo_why(
			why, r, "%s: %s%s", path, strerror(-r),
			r == -EOPNOTSUPP || access("/proc/pressure", F_OK) < 0
				? " (this kernel counts no pressure: PSI is not built in, or not switched on by psi=1)"
				: "");
	*ret = steal(group);
	return 0;
}

int demo_group_renew(struct demo_group *group, uint64_t limit_bytes, char *why)
{
	const char *limited = group->outer[group->hybrid ? V1 : V2];
	char path[DEMO_PATH_MAX];
	int r;

	r = remove_inner(group);
	if (r < 0)
		return demo_why(why, r, "%s/" INNER ": could not be removed: %s", group->outer[V2],
				strerror(-r));
	for (int tree = 0; tree < TREES; tree++) {
		if (!group->outer[tree][0])
			continue;
		r = path_join(path, group->outer[tree], INNER);
		if (r == 0 && mkdir(path, 0755) < 0)
			r = -errno;
		if (r < 0)
			return demo_why(why, r, "mkdir %s: %s", path, strerror(-r));
	}
	r = path_join(path, limited, INNER);
	if (r == 0 && group->hybrid) {
		r = write_number(path, "memory.limit_in_bytes", limit_bytes);
		/* The first is only there with swap accounting; then the second does well enough. */
		write_number(path, "memory.memsw.limit_in_bytes", limit_bytes);
		write_number(path, "memory.swappiness", 0);
	} else if (r == 0) {
		r = write_number(path, "memory.max", limit_bytes);
		if (r == 0)
			r = write_number(path, "memory.high", limit_bytes / 16 * 15);
		write_number(path, "memory.swap.max", 0);
	}
	return r < 0 ? demo_why(why, r, "%s: setting the limit: %s", path, strerror(-r)) : 0;
}

int demo_group_join(const struct demo_group *group)
{
	for (int tree = 0; tree < TREES; tree++) {
		int r = group->outer[tree][0]
				? write_file(group->outer[tree], INNER "/cgroup.procs", "0")
				: 0;

		if (r < 0)
			return r;
	}
	return 0;
}

int demo_group_stall(const struct demo_group *group, uint64_t *ret_usec)
{
	char text[PSI_TEXT_MAX];
	ssize_t n = pread(group->pressure, text, sizeof(text), 0);
	struct psi psi;
	int r;

	if (n < 0)
		return -errno;
	r = psi_parse(text, (size_t)n, &psi);
	if (r < 0)
		return r;
	*ret_usec = psi.some.total_usec;
	return 0;
}

const char *demo_group_where(const struct demo_group *group)
{
	return group->outer[V2];
}
