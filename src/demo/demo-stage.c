/* SPDX-License-Identifier: MIT */
/*
 * demo-stage.c - one run of the demo
 *
 *     evict the file, make the group anew -> start the host -> "ready" -> the neighbour: time 0
 *       -> sample every 50 ms, listen to the host -> the length is over: the numbers stand
 *       -> with the bridge, where High is still to come: wait a little for it -> end all
 *
 * The file must not be in memory when a run begins: pages that are charged to another group
 * already cost this one nothing and make no pressure. And it must be on a disk: on a tmpfs it *is*
 * memory. It has no name, so it is gone when we are.
 *
 * Without a group (simulated) there is no limit, so no neighbour either: what the kernel would
 * have said comes through a FIFO, at 2 s. From there on everything is real: the callback, the
 * collection, what goes back.
 */
#include "demo/demo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define SAMPLE_USEC (50 * USEC_PER_MSEC)
#define READY_MAX_USEC (90 * USEC_PER_SEC)
#define SETTLE_MAX_USEC (12 * USEC_PER_SEC)
#define TELL_USEC (2 * USEC_PER_SEC)
#define CHUNK_BYTES ((size_t)1 << 20)

/*
 * ---- the file
 * --------------------------------------------------------------------------------------
 */

/* A nameless file in `dir`. Errors: -EMEDIUMTYPE: that is no disk. */
static int open_nameless(const char *dir)
{
	char path[DEMO_PATH_MAX];
	struct statfs fs;
	int fd;

	if (statfs(dir, &fs) < 0)
		return -errno;
	if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
		return -EMEDIUMTYPE;
	if (snprintf(path, sizeof(path), "%s/psibridge-demo.XXXXXX", dir) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	if (fd < 0)
		return -errno;
	unlink(path);
	return fd;
}

/* Noise: file systems that compress would keep a file of zeros in a page. */
static int fill(int fd, const struct demo_stage *stage)
{
	uint64_t *chunk = malloc(CHUNK_BYTES), x = UINT64_C(0x9e3779b97f4a7c15);
	int r = chunk ? 0 : -ENOMEM;

	for (uint64_t done = 0; r == 0 && done < stage->file_bytes; done += CHUNK_BYTES) {
		for (size_t i = 0; i < CHUNK_BYTES / sizeof(*chunk); i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			chunk[i] = x;
		}
		for (size_t written = 0; r == 0 && written < CHUNK_BYTES;) {
			ssize_t n = write(fd, (char *)chunk + written, CHUNK_BYTES - written);

			if (n < 0)
				r = errno == EINTR && !demo_interrupted ? 0 : -errno;
			else
				written += (size_t)n;
		}
		/* As we go: a disk may be slow, and Ctrl-C should not have to wait for all of it. */
		if (r == 0 && done % (16 * CHUNK_BYTES) == 0 && fdatasync(fd) < 0)
			r = -errno;
		if (demo_interrupted)
			r = -EINTR;
		stage->progress(stage->userdata, "writing a file", 0, 0);
	}
	free(chunk);
	return r;
}

int demo_stage_prepare(struct demo_stage *stage, char *why)
{
	const char *dirs[] = { getenv("TMPDIR"), "/var/tmp", "/tmp", "." };
	char tried[DEMO_WHY_MAX] = "";

	stage->file = -1;
	if (!stage->group)
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(dirs); i++) {
		size_t used = strlen(tried);
		int fd, r;

		if (!dirs[i] || !*dirs[i])
			continue;
		fd = open_nameless(dirs[i]);
		r = fd < 0 ? fd : fill(fd, stage);
		if (r == 0) {
			stage->file = fd;
			return 0;
		}
		if (fd >= 0)
			close(fd);
		if (r == -EINTR)
			return r;
		snprintf(tried + used, sizeof(tried) - used, "%s%.64s: %s", used ? ", " : "",
			 dirs[i], r == -EMEDIUMTYPE ? "not on a disk" : strerror(-r));
	}
	return demo_why(why, -ENOSPC, "nowhere to put a file of %u MiB (%s)",
			(unsigned)(stage->file_bytes >> 20), tried);
}

void demo_stage_end(struct demo_stage *stage)
{
	if (stage->file >= 0)
		close(stage->file);
	stage->file = -1;
}

/*
 * ---- simulated
 * -------------------------------------------------------------------------------------
 */

struct fifo {
	char dir[DEMO_PATH_MAX - 8], path[DEMO_PATH_MAX];
	int fd;
	bool told;
};

static int fifo_make(struct fifo *fifo, char *why)
{
	const char *tmp = getenv("TMPDIR");

	*fifo = (struct fifo){ .fd = -1 };
	snprintf(fifo->dir, sizeof(fifo->dir), "%.4000s/psibridge-demo.XXXXXX",
		 tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(fifo->dir)) {
		int r = -errno;

		demo_why(why, r, "%.200s: %s", fifo->dir, strerror(-r));
		fifo->dir[0] = '\0';
		return r;
	}
	snprintf(fifo->path, sizeof(fifo->path), "%s/fifo", fifo->dir);
	if (mkfifo(fifo->path, 0600) == 0)
		/* For both: it can be opened before there is a reader, and there need be none. */
		fifo->fd = open(fifo->path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (fifo->fd < 0)
		return demo_why(why, -errno, "%.200s: %s", fifo->path, strerror(errno));
	return 0;
}

/* Once the host has opened it, its name has served. */
static void fifo_unname(struct fifo *fifo)
{
	if (fifo->path[0])
		unlink(fifo->path);
	if (fifo->dir[0])
		rmdir(fifo->dir);
	fifo->path[0] = fifo->dir[0] = '\0';
}

static int fifo_tell(struct fifo *fifo, char *why)
{
	if (fifo->fd < 0 || fifo->told)
		return 0;
	fifo->told = true;
	return write(fifo->fd, "!", 1) == 1 ? 0
					    : demo_why(why, -errno, "fifo: %s", strerror(errno));
}

static void fifo_end(struct fifo *fifo)
{
	fifo_unname(fifo);
	if (fifo->fd >= 0)
		close(fifo->fd);
	fifo->fd = -1;
}

/*
 * ---- a run
 * -----------------------------------------------------------------------------------------
 */

struct running {
	const struct demo_stage *stage;
	struct demo_run *run;
	struct demo_actors actors;
	struct fifo fifo;
	uint64_t start_usec, start_stall_usec;
	const char *what;
};

static int wait_ready(struct running *r, char *why)
{
	uint64_t until = demo_now_usec() + READY_MAX_USEC;

	while (!r->actors.ready) {
		int error = demo_actors_listen(&r->actors, SAMPLE_USEC, 0, r->run, why);

		if (error < 0)
			return error;
		if (demo_now_usec() > until)
			return demo_why(why, -ETIMEDOUT, "the program did not get ready in %u s",
					(unsigned)(READY_MAX_USEC / USEC_PER_SEC));
		r->stage->progress(r->stage->userdata, "filling the program with garbage", 0, 0);
	}
	return 0;
}

static int sample(struct running *r, char *why)
{
	struct demo_run *run = r->run;
	struct demo_sample now = { .rss_bytes = demo_actors_rss(&r->actors) };
	uint64_t stall = 0;
	int error;

	if (r->stage->group) {
		error = demo_group_stall(r->stage->group, &stall);
		if (error < 0)
			return demo_why(why, error, "%s/memory.pressure: %s",
					demo_group_where(r->stage->group), strerror(-error));
	}
	now.at_usec = demo_now_usec() - r->start_usec;
	now.stall_usec = usec_sub(stall, r->start_stall_usec);
	if (now.stall_usec > 0 && run->first_stall_usec == USEC_NEVER)
		run->first_stall_usec = now.at_usec;
	if (run->sample_count < DEMO_SAMPLES_MAX)
		run->samples[run->sample_count++] = now;
	run->stall_usec = now.stall_usec;
	run->rss_after_bytes = now.rss_bytes;
	run->read_bytes = demo_actors_read_bytes(&r->actors);
	run->length_usec = now.at_usec;
	return 0;
}

static int watch_it(struct running *r, char *why)
{
	const struct demo_stage *stage = r->stage;

	for (uint64_t next = r->start_usec + SAMPLE_USEC;; next += SAMPLE_USEC) {
		uint64_t now = demo_now_usec(), done;
		int error;

		do {
			error = demo_actors_listen(&r->actors, usec_sub(next, now) + USEC_PER_MSEC,
						   r->start_usec, r->run, why);
			now = demo_now_usec();
		} while (error == 0 && now < next);
		if (error == 0)
			error = sample(r, why);
		if (error < 0)
			return error;
		done = now - r->start_usec;
		if (done >= TELL_USEC)
			error = fifo_tell(&r->fifo, why);
		if (error < 0 || done >= stage->length_usec)
			return error;
		stage->progress(stage->userdata, r->what, done, stage->length_usec);
	}
}

/* The numbers stand; only the news may still grow. */
static int wait_for_high(struct running *r, char *why)
{
	const struct demo_run *run = r->run;
	uint64_t until = demo_now_usec() + SETTLE_MAX_USEC;
	int error = 0;

	while (error == 0 && run->bridge && demo_low_usec(run) != USEC_NEVER &&
	       run->news[run->news_count - 1].available != PSB_HIGH && demo_now_usec() < until) {
		error = demo_actors_listen(&r->actors, SAMPLE_USEC, r->start_usec, r->run, why);
		r->stage->progress(r->stage->userdata, "waiting for High", 0, 0);
	}
	return error;
}

static int play(struct running *r, char *why)
{
	const struct demo_stage *stage = r->stage;
	bool fifo = !stage->group && r->run->bridge;
	int error;

	error = stage->group ? demo_group_renew(stage->group, stage->limit_bytes, why) : 0;
	if (error == 0)
		error = demo_actors_init(&r->actors, stage->group, why);
	if (error == 0 && fifo)
		error = fifo_make(&r->fifo, why);
	if (error == 0)
		error = demo_actors_start_host(&r->actors, stage->host, r->run->bridge,
					       fifo ? r->fifo.path : NULL, stage->garbage_bytes,
					       why);
	if (error == 0)
		error = wait_ready(r, why);
	fifo_unname(&r->fifo);
	if (error == 0 && stage->group)
		error = demo_group_stall(stage->group, &r->start_stall_usec);
	if (error == 0 && stage->group)
		error = demo_actors_start_readers(&r->actors, stage->file, stage->file_bytes, why);
	if (error < 0)
		return error;

	r->start_usec = demo_now_usec();
	r->run->rss_before_bytes = demo_actors_rss(&r->actors);
	error = watch_it(r, why);
	return error < 0 ? error : wait_for_high(r, why);
}

int demo_stage_run(const struct demo_stage *stage, bool bridge, struct demo_run *ret, char *why)
{
	struct running r = {
		.stage = stage,
		.run = ret,
		.actors = { .host_fd = -1, .statm_fd = -1 },
		.fifo = { .fd = -1 },
		.what = bridge ? "with psibridge" : "without psibridge",
	};
	int error;

	*ret = (struct demo_run){ .bridge = bridge,
				  .first_stall_usec = USEC_NEVER,
				  .file_bytes = stage->file_bytes };
	if (stage->file >= 0) {
		fdatasync(stage->file);
		posix_fadvise(stage->file, 0, 0, POSIX_FADV_DONTNEED);
	}
	error = play(&r, why);
	demo_actors_end(&r.actors);
	fifo_end(&r.fifo);
	return error;
}
