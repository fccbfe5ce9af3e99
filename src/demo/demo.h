/* SPDX-License-Identifier: MIT */
/*
 * demo.h - what the files of `psibridge demo` share
 *
 *     demo.c         the story: options, both runs one after the other, what came of it
 *     demo-run.c     what a run gave; small things for all
 *     demo-scope.c   asks systemd for a cgroup that is ours, where systemd owns the tree
 *     demo-group.c   cgroups: makes them, limits them, removes them
 *     demo-actors.c  processes: the program with the garbage, and its neighbour
 *     demo-stage.c   one run: the file, the actors in their group, the samples
 *     demo-plot.c    the table and the plot
 *
 * Functions that can fail for many reasons also say it in words: why[DEMO_WHY_MAX] is one line,
 * written only on failure.
 */
#pragma once

#include <signal.h>
#include <stdint.h>
#include <sys/types.h>

#include "cli/output.h"
#include "core/util.h"
#include "psibridge/psibridge.h"

#define DEMO_WHY_MAX 512
#define DEMO_PATH_MAX 4200

/* Set by SIGINT, SIGTERM, SIGHUP; whoever waits looks at it and answers -EINTR. */
extern volatile sig_atomic_t demo_interrupted;

uint64_t demo_now_usec(void);
int demo_why(char *why, int error, const char *format, ...) _printf_(3, 4); /* returns `error` */

struct demo_options {
	bool json, simulate, in_scope;
	const char *host;     /* path of psibridge-luahost; NULL: the one that came with us */
	uint64_t limit_bytes; /* 0: what fits this machine */
	uint64_t length_usec; /* of each run */
};

/*
 * ---- what a run gave
 * -------------------------------------------------------------------------------
 */

#define DEMO_NEWS_MAX 16
#define DEMO_SAMPLES_MAX 2048

/* Times are from the neighbour's start on. */
struct demo_sample {
	uint64_t at_usec;
	uint64_t stall_usec; /* total since the start */
	uint64_t rss_bytes;  /* of the program */
};

struct demo_news {
	uint64_t at_usec;
	enum psb_available available;
};

struct demo_run {
	bool bridge;
	uint64_t length_usec;
	uint64_t read_bytes, file_bytes; /* what the neighbour read, and the file's size */
	uint64_t stall_usec;
	uint64_t first_stall_usec; /* USEC_NEVER: there was none */
	uint64_t rss_before_bytes, rss_after_bytes;
	uint64_t collect_usec; /* how long the collection took; 0: there was none */
	unsigned rung;
	char source[32], backend[16];
	unsigned news_count;
	struct demo_news news[DEMO_NEWS_MAX];
	unsigned sample_count;
	struct demo_sample samples[DEMO_SAMPLES_MAX];
};

uint64_t demo_passes_tenths(const struct demo_run *run);
/* When the first Low was told. USEC_NEVER: it was not. */
uint64_t demo_low_usec(const struct demo_run *run);

/*
 * ---- demo-scope.c
 * ----------------------------------------------------------------------------------
 */

/* Is the tree systemd's to give? */
bool demo_scope_wanted(void);
/*
 * Starts this program anew in a scope of systemd, with --in-scope in front of `argv`. Returns only
 * where it could not.
 */
int demo_scope_enter(char **argv, char *why);

/*
 * ---- demo-group.c
 * ----------------------------------------------------------------------------------
 */

/*
 * Two levels: the inner group is the actors', with the limit, and is made anew for each run. The
 * outer one is never watched by anybody, so its memory.pressure may be read at any time: reading
 * the inner one's could swallow an alarm of its watch (without CAP_SYS_RESOURCE). Its numbers are
 * the same, for nobody else lives there.
 */
struct demo_group;
int demo_group_new(bool in_scope, struct demo_group **ret, char *why);
/* Removes it, whatever is inside. NULL is allowed. Returns NULL. */
struct demo_group *demo_group_free(struct demo_group *group);
/* The inner group, fresh. */
int demo_group_renew(struct demo_group *group, uint64_t limit_bytes, char *why);
/* The calling process moves in. Safe between fork() and exec(). */
int demo_group_join(const struct demo_group *group);
/* Time stalled (`some`) since the outer group was made. */
int demo_group_stall(const struct demo_group *group, uint64_t *ret_usec);
/* Words for people: where it is. */
const char *demo_group_where(const struct demo_group *group);
DEFINE_CLEANUP(struct demo_group *, demo_group_free);

/*
 * ---- demo-actors.c
 * ---------------------------------------------------------------------------------
 */

struct demo_actors {
	const struct demo_group *group; /* NULL: they live where we do */
	pid_t host, readers[2];		/* 0: not there */
	int host_fd;			/* what the host says */
	int statm_fd;			/* of the host */
	bool ready;
	char line[512];
	size_t line_size;
	struct demo_shared *shared; /* with the readers */
};

int demo_actors_init(struct demo_actors *actors, const struct demo_group *group, char *why);
/* `fifo` NULL: the host's own cgroup is watched. */
int demo_actors_start_host(struct demo_actors *actors, const char *path, bool bridge,
			   const char *fifo, uint64_t garbage_bytes, char *why);
int demo_actors_start_readers(struct demo_actors *actors, int fd, uint64_t size, char *why);
/* Reads what the host says, for up to `timeout_usec`, into `run`; times become relative to
 * `start_usec`. Errors: -EINTR; -EPIPE: it or the neighbour has ended. */
int demo_actors_listen(struct demo_actors *actors, uint64_t timeout_usec, uint64_t start_usec,
		       struct demo_run *run, char *why);
uint64_t demo_actors_rss(const struct demo_actors *actors);
uint64_t demo_actors_read_bytes(const struct demo_actors *actors);
/* All end, by force if need be. */
void demo_actors_end(struct demo_actors *actors);

/*
 * ---- demo-stage.c
 * ----------------------------------------------------------------------------------
 */

/*
 * Called a few times a second while something goes on; `done_usec` of `length_usec`, 0 of 0 while
 * preparing.
 */
typedef void demo_progress_fn(void *userdata, const char *what, uint64_t done_usec,
			      uint64_t length_usec);

struct demo_stage {
	struct demo_group *group; /* NULL: simulated */
	const char *host;
	uint64_t limit_bytes, garbage_bytes, file_bytes, length_usec;
	int file; /* has no name any more; -1 where simulated */
	demo_progress_fn *progress;
	void *userdata;
};

/* `stage` has everything but the file. */
int demo_stage_prepare(struct demo_stage *stage, char *why);
int demo_stage_run(const struct demo_stage *stage, bool bridge, struct demo_run *ret, char *why);
void demo_stage_end(struct demo_stage *stage);

/*
 * ---- demo-plot.c
 * -----------------------------------------------------------------------------------
 */

void demo_table(const struct output *output, const struct demo_run *without,
		const struct demo_run *with, bool simulated);
/* Stalls over time, or where there is none to see (simulated) the program's memory. */
void demo_plot(const struct output *output, const struct demo_run *without,
	       const struct demo_run *with, bool simulated);
