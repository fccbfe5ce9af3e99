/* SPDX-License-Identifier: MIT */
/*
 * tree.c - the walk and its table
 *
 * The walk is depth-first with one open directory at a time, however deep it goes: a directory is
 * read to its end, and what there is to come back to is kept in a list. A child costs open + pread +
 * close of its memory.pressure (18 us cold, measured), and is entered only when it grew since the
 * last sweep or was not known.
 *
 * Stalling means: since the anchor, which is at most one window of early old, it grew by half of
 * early's threshold, recently (window_recent()). Not since the last sweep: between sweeps that
 * follow one another fast no total grows by much. A total that is older than early's window, or of a
 * cgroup that was not known, says little unless avg10 confirms it: the sweep then is also a
 * baseline, and its caller sweeps once more.
 *
 * Kills follow memory.events in the same way: it counts those below, too.
 *
 * A pattern that ends in ** means the deepest: a cgroup is found only if no child of its stalls,
 * because its own `some` contains the children's; nor if that is not known yet of a child, which the
 * next sweep decides; nor if one was found stalling a window of early ago or less. A parent is read
 * before its child: what a sweep saw of the child alone, the next one sees of the parent alone.
 *
 * The table is sorted by inode; those that a sweep finds new stand behind, and are sorted in when it is over.
 */
#include "monitor/tree.h"

#include "core/window.h"
#include "kernel/file.h"
#include "kernel/loop.h"
#include "kernel/memory.h"
#include "kernel/pressure.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_MIN 64
#define SWEEPS_KEPT 64 /* an entry that was not seen for so long may go */

struct entry {
	uint64_t inode;
	uint64_t some_usec;	   /* when it was last looked at */
	uint64_t anchor_some_usec; /* growth is counted from here ... */
	uint32_t anchor_msec;	   /* ... for one window of early at most */
	uint32_t oom;
	uint32_t sweep; /* that saw it last */
	bool stalled;	/* when its anchor was moved */
};

struct tree {
	const struct cgroups *cgroups;
	const struct cgpattern *pattern;
	struct trigger early;
	struct entry *table;
	size_t capacity, count, sorted;
	size_t forget_at; /* a count at which those that are long gone go */
	uint32_t sweeps;
	uint64_t last_usec; /* time of the last sweep; 0: none */
	bool knows_all;	    /* what is not in the table was not there at the last sweep */
};

/* A cgroup that was judged. Some are kept, until what is below them was looked at. */
struct node {
	struct node *next;   /* what is done after it: its neighbours, then its parent */
	struct node *parent; /* NULL: the fixed part */
	struct tree_finding finding;
	bool grew, stalls, stalled_lately, killed;
	bool unsure; /* it grew, but since when is not known */
	bool match, descend;
	unsigned below; /* children that were found, may have to be in the next sweep, or have such
			   below them */
	size_t length;	/* of its path ... */
	char name[];	/* ... which ends in this */
};

struct walk {
	struct tree *tree;
	struct tree_sweep *sweep;
	uint64_t now;
	tree_found_fn *found;
	void *userdata;
	struct node *todo;
	tree_counts_fn *counts; /* NULL: what stalls */
	size_t start;		/* the length of the path that it begins with */
	char path[CGPATH_MAX];
};

int tree_new(const struct cgroups *cgroups, const struct cgpattern *pattern,
	     const struct trigger *early, struct tree **ret)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->cgroups = cgroups;
	t->pattern = pattern;
	t->early = *early;
	t->forget_at = TABLE_MIN;
	*ret = t;
	return 0;
}

struct tree *tree_free(struct tree *t)
{
	if (!t)
		return NULL;
	free(t->table);
	free(t);
	return NULL;
}

size_t tree_known(const struct tree *t)
{
	return t->count;
}

/* ---- the table ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b; /* their inodes */

	return (left > right) - (left < right);
}

static struct entry *find(const struct tree *t, uint64_t inode)
{
	return t->sorted > 0 ? bsearch(&inode, t->table, t->sorted, sizeof(*t->table), compare)
			     : NULL;
}

/* The entry of a cgroup, until the next call; *ret_new: it was not there, and its totals are 0. */
static int look_up(struct tree *t, uint64_t inode, bool *ret_new, struct entry **ret)
{
	struct entry *entry = find(t, inode);

	*ret_new = !entry;
	if (!entry && t->count == t->capacity) {
		size_t capacity = MAX(2 * t->capacity, (size_t)TABLE_MIN);
		struct entry *table = reallocarray(t->table, capacity, sizeof(*table));

		if (!table)
			return -ENOMEM;
		t->table = table;
		t->capacity = capacity;
	}
	if (!entry) {
		entry = &t->table[t->count++];
		*entry = (struct entry){ .inode = inode };
	}
	entry->sweep = t->sweeps;
	*ret = entry;
	return 0;
}

/* Those that were not seen lately: most of them are gone, but a subtree that did not grow is not entered. */
static void forget(struct tree *t)
{
	size_t kept = 0;

	for (size_t i = 0; i < t->count; i++)
		if (t->sweeps - t->table[i].sweep < SWEEPS_KEPT)
			t->table[kept++] = t->table[i];
	if (kept < t->count)
		t->knows_all = false;
	t->count = kept;
	t->forget_at = MAX(2 * kept, (size_t)TABLE_MIN);
}

static void sort(struct tree *t)
{
	if (t->sorted == t->count)
		return;
	if (t->count >= t->forget_at)
		forget(t);
	qsort(t->table, t->count, sizeof(*t->table), compare);
	t->sorted = t->count;
}

void tree_know_oom(struct tree *t, uint64_t inode, uint32_t oom)
{
	struct entry *entry = find(t, inode);

	if (entry)
		entry->oom = oom;
}

/* ---- one cgroup ------------------------------------------------------------------------------ */

static int open_file(int parent, const char *name, const char *file)
{
	char path[NAME_MAX + 32];

	snprintf(path, sizeof(path), "%.*s/%s", NAME_MAX, name, file);
	return file_open(parent, path);
}

/* Its oom count; 0 where there is none. */
static uint32_t read_oom(int parent, const char *name)
{
	struct memory_events events = { 0 };
	int fd = open_file(parent, name, "memory.events");

	if (fd < 0)
		return 0;
	if (memory_events_read(fd, &events) < 0)
		events = (struct memory_events){ 0 };
	close(fd);
	return (uint32_t)(events.oom + events.oom_kill);
}

static int read_pressure(int parent, const char *name, struct psi *ret)
{
	int fd = open_file(parent, name, "memory.pressure"), r;

	if (fd < 0)
		return fd;
	r = pressure_read(fd, ret);
	close(fd);
	return r;
}

static void move_anchor(struct entry *entry, uint64_t at_usec, uint64_t some_usec, bool stalled)
{
	entry->anchor_msec = (uint32_t)(at_usec / USEC_PER_MSEC);
	entry->anchor_some_usec = some_usec;
	entry->stalled = stalled;
}

static uint64_t anchor_age(const struct entry *entry, uint64_t now)
{
	return (uint32_t)((uint32_t)(now / USEC_PER_MSEC) - entry->anchor_msec) * USEC_PER_MSEC;
}

static void judge_stall(const struct walk *w, struct entry *entry, bool is_new, bool is_known,
			struct node *n)
{
	const struct tree *t = w->tree;
	struct tree_finding *f = &n->finding;
	uint64_t window = t->early.window_usec, total = f->psi.some.total_usec;
	uint64_t elapsed = anchor_age(entry, w->now), recent;

	if (is_new || elapsed > window) {
		/* not read in the last sweep: it had not grown until then */
		move_anchor(entry, t->last_usec, entry->some_usec, false);
		elapsed = usec_sub(w->now, t->last_usec);
	}
	if (!is_known) /* it grew since it was made, whenever that was */
		elapsed = USEC_NEVER;
	recent = window_recent(window, usec_sub(total, entry->anchor_some_usec), elapsed, 0,
			       f->psi.some.avg10_centi);
	f->baseline_usec = MAX(usec_sub(w->now, MIN(elapsed, window)), 1u);
	f->baseline_some_usec = total - recent;
	n->grew = total > entry->some_usec;
	n->unsure = n->grew && elapsed > window;
	n->stalls = n->grew && recent >= t->early.threshold_usec / 2;
	n->stalled_lately = entry->stalled;
	if (n->stalls || !is_known)
		move_anchor(entry, w->now, total, n->stalls);
	entry->some_usec = total;
}

/* A sweep that looks for stalls need not read the count: what was known is where its reader starts. */
static void judge_oom(const struct walk *w, int parent, const char *name, struct entry *entry,
		      bool is_known, struct node *n)
{
	struct tree_finding *f = &n->finding;
	bool look = w->sweep->look_for_oom;

	f->oom_known = is_known ? entry->oom : TREE_OOM_UNKNOWN;
	if (!is_known || look || w->sweep->survey)
		entry->oom = read_oom(parent, name);
	/* an old count of one that was not known is no news, unless it stalls now */
	if (look && !is_known && f->psi.some.avg10_centi > 0)
		f->oom_known = 0;
	n->killed = entry->oom > f->oom_known;
	n->grew = n->grew || n->killed;
}

static int judge(struct walk *w, int parent, const char *name, uint64_t inode, struct node *n)
{
	struct tree *t = w->tree;
	struct entry *entry;
	bool is_new, is_known;
	int r;

	n->finding.path = w->path;
	n->finding.inode = inode;
	if (w->counts) {
		n->grew = true;
		n->stalls = w->counts(w->userdata, w->path, inode);
		return 0;
	}
	r = read_pressure(parent, name, &n->finding.psi);
	if (r < 0)
		return r;
	r = look_up(t, inode, &is_new, &entry);
	if (r < 0)
		return r;
	w->sweep->seen++;
	is_known = t->last_usec > 0 && (!is_new || t->knows_all);
	judge_stall(w, entry, is_new, is_known, n);
	judge_oom(w, parent, name, entry, is_known, n);
	if (w->sweep->survey) {
		move_anchor(entry, w->now, entry->some_usec, false);
		n->grew = true;
		n->stalls = n->stalled_lately = n->unsure = n->killed = false;
	}
	w->sweep->baseline = w->sweep->baseline || n->unsure;
	return 0;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* Make the path that of a child of `parent`. Returns its length; 0: it is too long. */
static size_t set_path(struct walk *w, const struct node *parent, const char *name)
{
	size_t length = parent ? parent->length : w->start;
	size_t add = strlen(name), slash = length == 1 ? 0 : 1;

	if (length + slash + add >= sizeof(w->path))
		return 0;
	if (slash)
		w->path[length] = '/';
	memcpy(w->path + length + slash, name, add + 1);
	return length + slash + add;
}

/* A directory of cgroupfs has a link for each below it. */
static bool has_children(int dirfd, const char *name)
{
	struct stat st;

	return fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_nlink != 2;
}

static void count(const struct node *n)
{
	if (n->parent && (n->stalls || n->stalled_lately || n->unsure || n->killed || n->below > 0))
		n->parent->below++;
}

static int look_at_child(struct walk *w, int dirfd, const struct dirent *entry, struct node *parent)
{
	const struct cgpattern *pattern = w->tree->pattern;
	struct node n = { .parent = parent, .length = set_path(w, parent, entry->d_name) }, *kept;
	int r;

	n.match = n.length > 0 && cgpattern_match(pattern, w->path);
	n.descend = n.length > 0 && cgpattern_descend(pattern, w->path);
	if (!n.match && !n.descend)
		return 0;
	r = judge(w, dirfd, entry->d_name, entry->d_ino, &n);
	if (is_shortage(r))
		return r;
	if (r == -ENOENT ||
	    r == -EOPNOTSUPP) /* cgroup.pressure is 0 here; not so for those below */
		n.grew = true;
	else if (r < 0)
		return 0; /* gone meanwhile, or not readable */
	n.descend = n.descend && n.grew && has_children(dirfd, entry->d_name);
	n.match = n.match && (n.stalls || n.killed);
	if (!n.match && !n.descend) {
		count(&n);
		return 0;
	}
	kept = malloc(sizeof(*kept) + strlen(entry->d_name) + 1);
	if (!kept)
		return -ENOMEM;
	n.next = w->todo;
	*kept = n;
	strcpy(kept->name, entry->d_name);
	w->todo = kept;
	return 0;
}

/* The directory of the path that is set. `parent` is its node, NULL for the fixed part. */
static int look_below(struct walk *w, struct node *parent)
{
	int path_fd = cgroup_open(w->tree->cgroups, w->path), dirfd, r = 0;
	struct dirent *entry;
	DIR *dir;

	if (path_fd < 0)
		return path_fd;
	dirfd = openat(path_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	r = dirfd < 0 ? -errno : 0;
	close(path_fd);
	if (r < 0)
		return r;
	dir = fdopendir(dirfd);
	if (!dir) {
		r = -errno;
		close(dirfd);
		return r;
	}
	while (r == 0 && (entry = readdir(dir)) != NULL)
		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			r = look_at_child(w, dirfd, entry, parent);
	closedir(dir);
	return r;
}

/* All below it was looked at. */
static void finish(struct walk *w, const struct node *n)
{
	if (n->match && !(cgpattern_is_deep(w->tree->pattern) && n->below > 0)) {
		if (w->sweep)
			w->sweep->found++;
		w->found(w->userdata, &n->finding);
	}
	count(n);
}

static int walk(struct walk *w)
{
	int r = look_below(w, NULL);
	struct node *node;

	while ((node = w->todo) != NULL) {
		set_path(w, node->parent, node->name);
		if (r == 0 && node->descend) {
			node->descend = false;
			r = look_below(w, node);
			if (!is_shortage(r)) /* else it is gone, or not readable */
				r = 0;
			continue;
		}
		w->todo = node->next;
		if (r == 0)
			finish(w, node);
		free(node);
	}
	return r;
}

static struct walk *walk_new(struct tree *t, const char *from, tree_found_fn *found, void *userdata)
{
	struct walk *w = calloc(1, sizeof(*w));

	if (!w)
		return NULL;
	w->tree = t;
	w->found = found;
	w->userdata = userdata;
	w->start = (size_t)snprintf(w->path, sizeof(w->path), "%s",
				    from ? from : cgpattern_fixed(t->pattern));
	return w;
}

int tree_list(struct tree *t, const char *from, tree_counts_fn *counts, tree_found_fn *found,
	      void *userdata)
{
	struct walk *w = walk_new(t, from, found, userdata);
	int r;

	if (!w)
		return -ENOMEM;
	w->counts = counts;
	r = walk(w);
	free(w);
	return r;
}

int tree_sweep(struct tree *t, struct tree_sweep *sweep, uint64_t now, tree_found_fn *found,
	       void *userdata)
{
	struct walk *w = walk_new(t, NULL, found, userdata);
	int r;

	if (!w)
		return -ENOMEM;
	*sweep = (struct tree_sweep){ .look_for_oom = sweep->look_for_oom,
				      .survey = sweep->survey };
	w->sweep = sweep;
	w->now = now;
	t->sweeps++;
	r = walk(w);
	free(w);
	sort(t);
	if (r < 0 && sweep->seen == 0)
		return r;
	t->last_usec = now;
	if (sweep->survey && r == 0)
		t->knows_all = true;
	sweep->duration_usec = usec_sub(now_usec(), now);
	return r;
}
