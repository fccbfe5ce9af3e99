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
 * A pattern that ends in ** means the deepest: a cgroup is found only if no child of its stalls,
 * because its own `some` contains the children's; nor if that is not known yet of a child, which the
 * next sweep decides; nor if one was found stalling a window of early ago or less. A parent is read
 * before its child: what a sweep saw of the child alone, the next one sees of the parent alone.
 *
 * The table is open addressing on the inode, doubled at 3/4, and rebuilt from what the last full
 * sweep saw when it would grow: removed cgroups leave it then.
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TABLE_MIN 64 /* a power of two */
#define GROWN_LATELY_SEC 3
#define SWEEPS_KEPT 64 /* an entry that was not seen for so long may go */

struct entry {
	uint64_t inode;		   /* 0: free; kernfs starts at 1 */
	uint64_t some_usec;	   /* when it was last looked at */
	uint64_t anchor_some_usec; /* growth is counted from here ... */
	uint32_t anchor_msec;	   /* ... for one window of early at most */
	uint32_t oom;
	uint32_t sweep;	    /* that saw it last */
	uint32_t grown_sec; /* when it was last found to have grown */
	bool stalled;	    /* when its anchor was moved */
};

struct tree {
	const struct cgroups *cgroups;
	const struct cgpattern *pattern;
	struct trigger early;
	struct entry *table;
	size_t capacity, count;
	uint32_t sweeps;
	uint64_t last_usec; /* time of the last sweep; 0: none */
	bool knows_all;	    /* what is not in the table was not there at the last sweep */
};

struct walk {
	struct tree *tree;
	struct tree_sweep *sweep;
	uint64_t now;
	tree_found_fn *found;
	void *userdata;
	struct node *todo;
	char path[CGPATH_MAX];
};

int tree_new(const struct cgroups *cgroups, const struct cgpattern *pattern,
	     const struct trigger *early, struct tree **ret)
{
	struct tree *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->table = calloc(TABLE_MIN, sizeof(*t->table));
	if (!t->table) {
		free(t);
		return -ENOMEM;
	}
	t->capacity = TABLE_MIN;
	t->cgroups = cgroups;
	t->pattern = pattern;
	t->early = *early;
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

static struct entry *probe(struct entry *table, size_t capacity, uint64_t inode)
{
	size_t i = (size_t)(inode * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (capacity - 1);

	while (table[i].inode != 0 && table[i].inode != inode)
		i = (i + 1) & (capacity - 1);
	return &table[i];
}

/* Seen lately; a subtree that did not grow is not entered, so that not being seen means little at
 * first. */
static bool is_recent(const struct tree *t, const struct entry *entry)
{
	return entry->inode != 0 && t->sweeps - entry->sweep < SWEEPS_KEPT;
}

static int make_room(struct tree *t)
{
	size_t capacity = TABLE_MIN, count = 0;
	struct entry *table;

	if ((t->count + 1) * 4 <= t->capacity * 3)
		return 0;
	for (size_t i = 0; i < t->capacity; i++)
		count += is_recent(t, &t->table[i]);
	while (capacity < count * 2 + 2)
		capacity *= 2;
	table = calloc(capacity, sizeof(*table));
	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < t->capacity; i++)
		if (is_recent(t, &t->table[i]))
			*probe(table, capacity, t->table[i].inode) = t->table[i];
	if (count < t->count) /* most of them are gone, but an idle subtree is not seen either */
		t->knows_all = false;
	free(t->table);
	t->table = table;
	t->capacity = capacity;
	t->count = count;
	return 0;
}

/* The entry of a cgroup; *ret_new: it was not there, and its totals are 0. */
static int look_up(struct tree *t, uint64_t inode, bool *ret_new, struct entry **ret)
{
	struct entry *entry;
	int r = make_room(t);

	if (r < 0)
		return r;
	entry = probe(t->table, t->capacity, inode);
	*ret_new = entry->inode == 0;
	if (*ret_new) {
		entry->inode = inode;
		t->count++;
	}
	entry->sweep = t->sweeps;
	*ret = entry;
	return 0;
}

void tree_know_oom(struct tree *t, uint64_t inode, uint32_t oom)
{
	struct entry *entry = probe(t->table, t->capacity, inode);

	if (entry->inode == inode)
		entry->oom = oom;
}

/* ---- one cgroup ------------------------------------------------------------------------------ */

/* Its oom count; 0 where there is none. */
static uint32_t read_oom(int parent, const char *name)
{
	char path[NAME_MAX + 32];
	struct memory_events events;
	int fd = -1;
	int r;

	snprintf(path, sizeof(path), "%.*s/memory.events", NAME_MAX, name);
	fd = file_open(parent, path);
	if (fd < 0)
		return 0;
	r = memory_events_read(fd, &events);
	close(fd);
	return r < 0 ? 0 : (uint32_t)(events.oom + events.oom_kill);
}

static int read_pressure(int parent, const char *name, struct psi *ret)
{
	char path[NAME_MAX + 32];
	int fd, r;

	snprintf(path, sizeof(path), "%.*s/memory.pressure", NAME_MAX, name);
	fd = file_open(parent, path);
	if (fd < 0)
		return fd;
	r = pressure_read(fd, ret);
	close(fd);
	return r;
}

struct verdict {
	bool grew, stalls, stalled_lately;
	bool unsure; /* it grew, but since when is not known */
	bool killed;
	struct tree_finding finding;
};

static void move_anchor(struct entry *entry, uint64_t at_usec, uint64_t some_usec)
{
	entry->anchor_msec = (uint32_t)(at_usec / USEC_PER_MSEC);
	entry->anchor_some_usec = some_usec;
}

static uint64_t anchor_age(const struct entry *entry, uint64_t now)
{
	return (uint32_t)((uint32_t)(now / USEC_PER_MSEC) - entry->anchor_msec) * USEC_PER_MSEC;
}

/* A sweep that looks for stalls need not read the count: what was known is where its reader starts. */
static void judge_oom(struct walk *w, int parent, const char *name, struct entry *entry,
		      bool is_known, struct verdict *v)
{
	/* the stall that came with a kill may have been taken in by the sweep before */
	bool look = w->sweep->look_for_oom &&
		    (uint32_t)(w->now / USEC_PER_SEC) - entry->grown_sec <= GROWN_LATELY_SEC;

	v->finding.oom_known = is_known ? entry->oom : TREE_OOM_UNKNOWN;
	if (is_known && !look && !w->sweep->survey)
		return;
	entry->oom = read_oom(parent, name);
	if (!look)
		return;
	/* an old count of one that was not known is no news, unless it stalls now */
	if (!is_known && v->finding.psi.some.avg10_centi > 0)
		v->finding.oom_known = 0;
	v->killed = entry->oom > v->finding.oom_known;
	v->grew = true;
}

static int judge_child(struct walk *w, int parent, const char *name, uint64_t inode,
		       struct verdict *ret)
{
	struct tree *t = w->tree;
	struct verdict v = { .finding = { .path = w->path, .inode = inode } };
	struct entry *entry;
	uint64_t growth, recent, elapsed;
	bool is_new, is_known;
	int r = read_pressure(parent, name, &v.finding.psi);

	if (r < 0)
		return r;
	r = look_up(t, inode, &is_new, &entry);
	if (r < 0)
		return r;
	w->sweep->seen++;

	uint64_t total = v.finding.psi.some.total_usec;

	v.grew = total > entry->some_usec;
	is_known = t->last_usec > 0 && (!is_new || t->knows_all);
	elapsed = anchor_age(entry, w->now);
	if (is_new || elapsed > t->early.window_usec) {
		/* not read in the last sweep: it had not grown until then */
		move_anchor(entry, t->last_usec, entry->some_usec);
		entry->stalled = false;
		elapsed = usec_sub(w->now, t->last_usec);
	}
	if (!is_known) /* it grew since it was made, whenever that was */
		elapsed = USEC_NEVER;
	growth = usec_sub(total, entry->anchor_some_usec);
	recent = window_recent(t->early.window_usec, growth, elapsed, 0,
			       v.finding.psi.some.avg10_centi);
	v.unsure = v.grew && elapsed > t->early.window_usec;
	v.stalls = v.grew && recent >= t->early.threshold_usec / 2;
	v.finding.baseline_usec = MAX(usec_sub(w->now, MIN(elapsed, t->early.window_usec)), 1u);
	v.finding.baseline_some_usec = total - recent;
	v.stalled_lately = entry->stalled;
	if (v.stalls || !is_known) {
		move_anchor(entry, w->now, total);
		entry->stalled = v.stalls;
	}
	if (v.unsure)
		w->sweep->baseline = true;
	if (v.grew)
		entry->grown_sec = (uint32_t)(w->now / USEC_PER_SEC);
	judge_oom(w, parent, name, entry, is_known, &v);
	entry->some_usec = total;
	if (w->sweep->survey) {
		move_anchor(entry, w->now, total);
		entry->stalled = false;
		v.grew = true;
		v.stalls = v.stalled_lately = v.unsure = v.killed = false;
	}
	*ret = v;
	return 0;
}

/* ---- the walk ------------------------------------------------------------------------------- */

/* A cgroup that was judged, and waits for what is below it. */
struct node {
	struct node *next;   /* what is done after it: its neighbours, then its parent */
	struct node *parent; /* NULL: the fixed part */
	struct verdict verdict;
	bool match, descend;
	unsigned below; /* children that were found, may have to be in the next sweep, or have such
			   below them */
	size_t length;	/* of its path ... */
	char name[];	/* ... which ends in this */
};

/* Make the path that of a child of `parent`. Returns its length; 0: it is too long. */
static size_t set_path(struct walk *w, const struct node *parent, const char *name)
{
	size_t length = parent ? parent->length : strlen(cgpattern_fixed(w->tree->pattern));
	size_t add = strlen(name), slash = length == 1 ? 0 : 1;

	if (length + slash + add >= sizeof(w->path))
		return 0;
	if (slash)
		w->path[length] = '/';
	memcpy(w->path + length + slash, name, add + 1);
	return length + slash + add;
}

static void count(struct node *parent, const struct verdict *v, unsigned below)
{
	if (parent && (v->stalls || v->stalled_lately || v->unsure || v->killed || below > 0))
		parent->below++;
}

static int look_at_child(struct walk *w, int dirfd, const struct dirent *entry, struct node *parent)
{
	const struct cgpattern *pattern = w->tree->pattern;
	size_t length = set_path(w, parent, entry->d_name);
	bool match = length > 0 && cgpattern_match(pattern, w->path);
	bool descend = length > 0 && cgpattern_descend(pattern, w->path);
	struct node *node;
	struct verdict v;
	int r;

	if (!match && !descend)
		return 0;
	r = judge_child(w, dirfd, entry->d_name, entry->d_ino, &v);
	if (is_shortage(r))
		return r;
	if (r == -ENOENT ||
	    r == -EOPNOTSUPP) /* cgroup.pressure is 0 here; not so for those below */
		v = (struct verdict){ .grew = true };
	else if (r < 0)
		return 0; /* gone meanwhile, or not readable */
	descend = descend && v.grew;
	match = match && (v.stalls || v.killed);
	if (!match && !descend) {
		count(parent, &v, 0);
		return 0;
	}
	node = malloc(sizeof(*node) + strlen(entry->d_name) + 1);
	if (!node)
		return -ENOMEM;
	*node = (struct node){ .next = w->todo,
			       .parent = parent,
			       .verdict = v,
			       .match = match,
			       .descend = descend,
			       .length = length };
	strcpy(node->name, entry->d_name);
	w->todo = node;
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
static void finish(struct walk *w, const struct node *node)
{
	if (node->match && !(cgpattern_is_deep(w->tree->pattern) && node->below > 0)) {
		w->sweep->found++;
		w->found(w->userdata, &node->verdict.finding);
	}
	count(node->parent, &node->verdict, node->below);
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

int tree_sweep(struct tree *t, struct tree_sweep *sweep, uint64_t now, tree_found_fn *found,
	       void *userdata)
{
	struct walk *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	*sweep = (struct tree_sweep){ .look_for_oom = sweep->look_for_oom,
				      .survey = sweep->survey };
	w->tree = t;
	w->sweep = sweep;
	w->now = now;
	w->found = found;
	w->userdata = userdata;
	snprintf(w->path, sizeof(w->path), "%s", cgpattern_fixed(t->pattern));
	t->sweeps++;

	r = walk(w);
	free(w);
	if (r < 0 && sweep->seen == 0)
		return r;
	t->last_usec = now;
	if (sweep->survey && r == 0)
		t->knows_all = true;
	sweep->duration_usec = usec_sub(now_usec(), now);
	return r;
}
