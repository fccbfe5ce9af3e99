/* SPDX-License-Identifier: MIT */
/*
 * bus-internal.h - what the files of bus.h share
 *
 *   bus.c          the connection: its life, its deadlines, and when to emit
 *   bus-door.c     wait until there is a socket to connect to
 *   bus-objects.c  org.psibridge1.Manager, org.psibridge1.Watch: what is asked, and who may ask
 *   bus-news.c     ... and what changed since it was last said
 *   bus-lowmem.c   org.freedesktop.LowMemoryMonitor
 */
#pragma once

#include "daemon/bus.h"

#include <systemd/sd-bus.h>

#define BUS_NAME "org.psibridge1"
#define BUS_PATH "/org/psibridge1"
#define BUS_MANAGER BUS_NAME ".Manager"
#define BUS_WATCH BUS_NAME ".Watch"
#define BUS_WATCHES BUS_PATH "/watch"
#define BUS_WATCH_PATH_MAX (sizeof(BUS_WATCHES) + 12)
#define LOWMEM_NAME "org.freedesktop.LowMemoryMonitor"
#define LOWMEM_PATH "/org/freedesktop/LowMemoryMonitor"

#define BUS_PACE_USEC (50 * USEC_PER_MSEC) /* between two emissions */
#define BUS_QUEUE_MAX 256  /* messages that the bus did not take yet: then we say nothing more */
#define BUS_ERRANDS_MAX 64 /* calls whose sender we are asking the bus about */
#define BUS_LEVELS_MAX 256 /* cgroups with news between two emissions */
#define BUS_LEVELS_TEXT (32 * 1024)

/* ---- bus-door.c ------------------------------------------------------------------------------ */

/*
 * Listens for `path` to be made, wherever on the way to it directories are missing. Embedded.
 */
struct door {
	struct loop *loop;
	void (*opened)(struct door *door);   /* something of that name was just made */
	void (*released)(struct door *door); /* after door_close() */
	char path[108];			     /* sun_path of a socket */
	size_t parent, next; /* lengths of what is watched, and of that with the next name */
	int inotify_fd, wd;
	bool closing;
	struct loop_op op;
};

void door_init(struct door *door, struct loop *loop, void (*opened)(struct door *door));
/* Errors: -EBUSY (it is closing), what inotify says. */
int door_open(struct door *door, const char *path);
/* `released` follows, perhaps from within the call. A door that is not open is released at once. */
void door_close(struct door *door, void (*released)(struct door *door));
static inline bool door_is_open(const struct door *door)
{
	return door->inotify_fd >= 0 && !door->closing;
}

/* The path of the first unix:path= in a D-Bus address, unescaped. Errors: -ENOENT: there is none,
 * -EINVAL, -ENAMETOOLONG. */
int door_path_of_address(const char *address, char ret[static 108]);

/* ---- bus-news.c ------------------------------------------------------------------------------ */

/* What was last said about a tree. */
struct bus_tree {
	unsigned id;
	size_t index; /* where forest_tree() had it */
	bool dirty;
	bool critical;
	enum psb_available available;
	uint64_t settings_hash, source_hash;
};

/* What is to be said about a cgroup. */
struct bus_level {
	uint32_t hash, text; /* of its path; where that stands in level_text */
	enum psb_available available;
	bool critical;
	enum psb_reason reason;
	uint64_t stall_usec;
};

/* ---- bus-lowmem.c ---------------------------------------------------------------------------- */

/* While the name is ours there is a watch of the machine. */
struct lowmem {
	psb_watch *watch;
	struct settings settings; /* it was made with */
	bool was_low;		  /* the level before */
	uint8_t warning;	  /* to be sent; 0: none */
};

/* ---- bus.c ----------------------------------------------------------------------------------- */

enum bus_state {
	BUS_OFF,     /* the configuration does not want it */
	BUS_AWAY,    /* not connected: a door is open, or a retry is due */
	BUS_OPENING, /* connected; authentication and Hello are under way */
	BUS_READY,
	BUS_CLOSING, /* waits for the loop to let go of the socket */
};

enum bus_name_index { BUS_NAME_OURS, BUS_NAME_LOWMEM, BUS_NAMES };

struct bus_name {
	struct bus *bus;
	const char *name;
	bool owned;
};

struct bus {
	struct daemon *daemon;
	enum bus_state state;
	bool freed, inside;		/* bus_free() was called; sd_bus_process() runs */
	bool with_manager, with_lowmem; /* what this connection was made for */
	char *address;
	sd_bus *sd;
	int fd; /* a duplicate of its socket: sd-bus closes its own when it likes */
	struct loop_op in, out;
	unsigned held;			    /* by the loop: operations that are not released yet */
	struct loop_timer due, retry, emit; /* sd-bus's deadline; connect; say what is new */
	uint64_t ready_usec, emitted_usec;
	unsigned failures;
	bool told_away; /* the journal knows that there is no bus */
	struct door door;
	char door_path[108];
	struct bus_name names[BUS_NAMES];
	unsigned errands;
	struct lowmem lowmem;

	/* bus-news.c */
	struct bus_tree *trees; /* by id */
	size_t tree_count;
	bool trees_changed, any_dirty, config_changed;
	struct bus_level levels[BUS_LEVELS_MAX];
	unsigned level_count, level_text_used, levels_missed;
	char level_text[BUS_LEVELS_TEXT];

	struct tree_view view; /* the tree that a property is asked of */
};

/* There is something to say: soon. */
void bus_soon(struct bus *bus);
/* Does the bus take what we write? */
bool bus_takes(const struct bus *bus);

int bus_objects_add(struct bus *bus, sd_bus *sd);
void bus_watch_path(unsigned id, char ret[static BUS_WATCH_PATH_MAX]);
/* Into bus->view, wherever it is. *index, if not NULL, is a hint, and is corrected. */
bool bus_tree_view(struct bus *bus, unsigned id, size_t *index);

forest_news_fn bus_news;
/* A new connection: what is now is where changes are counted from. */
void bus_news_reset(struct bus *bus);
void bus_news_emit(struct bus *bus);

int bus_lowmem_add(struct bus *bus, sd_bus *sd);
/* Have a watch, or none, as the name and the configuration say. */
void bus_lowmem_update(struct bus *bus);
void bus_lowmem_emit(struct bus *bus);
