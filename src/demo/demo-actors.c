/* SPDX-License-Identifier: MIT */
/*
 * demo-actors.c - the processes of a run
 *
 *     host      psibridge-luahost, with or without the bridge; talks through a pipe, in lines
 *     readers   two processes that read a file again and again: the neighbour. How much they have
 *               read stands in memory shared with us
 *
 * Each moves into the group itself, between fork() and the first thing it allocates, so that every
 * page of it is charged there. Each dies with us (PR_SET_PDEATHSIG), whatever kills us, and is in
 * a process group of its own, so that Ctrl-C reaches us alone and we can put things in order.
 *
 * The readers take the file's blocks in another order each time, without readahead, as a database
 * would: each block that is not in memory is then waited for, which is what "stalled for want of
 * memory" means. Once around is a pass.
 */
#include "demo/demo.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/args.h"
#include "core/scan.h"

#define BLOCK_BYTES ((size_t)256 << 10)
#define ENDING_MAX_USEC (5 * USEC_PER_SEC)
#define STUCK_MAX_USEC (20 * USEC_PER_SEC)

struct demo_shared {
	_Atomic uint64_t read_bytes;
};

int demo_actors_init(struct demo_actors *actors, const struct demo_group *group, char *why)
{
	void *shared = mmap(NULL, sizeof(struct demo_shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	*actors = (struct demo_actors){ .group = group, .host_fd = -1, .statm_fd = -1 };
	if (shared == MAP_FAILED)
		return demo_why(why, -errno, "mmap: %s", strerror(errno));
	actors->shared = shared;
	return 0;
}

/*
 * fork(), where the child goes on in the group, as a process that never heard of us. Returns 0 in
 * the child.
 */
static pid_t spawn(const struct demo_actors *actors)
{
	static const int ours[] = { SIGINT, SIGTERM, SIGHUP, SIGPIPE };
	pid_t parent = getpid(), pid = fork();
	int r;

	if (pid != 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	for (size_t i = 0; i < ELEMENTSOF(ours); i++)
		signal(ours[i], SIG_DFL);
	setpgid(0, 0);
	r = actors->group ? demo_group_join(actors->group) : 0;
	if (r < 0) {
		complain("demo", "%s: moving a process in: %s", demo_group_where(actors->group),
			 strerror(-r));
		_exit(1);
	}
	return 0;
}

int demo_actors_start_host(struct demo_actors *actors, const char *path, bool bridge,
			   const char *fifo, uint64_t garbage_bytes, char *why)
{
	char megabytes[32], statm[64];
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return demo_why(why, -errno, "pipe: %s", strerror(errno));
	snprintf(megabytes, sizeof(megabytes), "%u", (unsigned)(garbage_bytes >> 20));
	actors->host = spawn(actors);
	if (actors->host == 0) {
		dup2(fds[1], STDOUT_FILENO);
		/* Our own unit's, which would be watched in place of the group. */
		unsetenv("MEMORY_PRESSURE_WATCH");
		unsetenv("MEMORY_PRESSURE_WRITE");
		execl(path, path, "--garbage", megabytes,
		      bridge ? fifo ? "--source" : NULL : "--no-bridge", fifo, (char *)NULL);
		complain("demo", "%s: %s", path, strerror(errno));
		_exit(1);
	}
	close(fds[1]);
	actors->host_fd = fds[0];
	if (actors->host < 0) {
		actors->host = 0;
		return demo_why(why, -EAGAIN, "fork: %s", strerror(errno));
	}
	fcntl(actors->host_fd, F_SETFL, O_NONBLOCK);
	snprintf(statm, sizeof(statm), "/proc/%d/statm", (int)actors->host);
	actors->statm_fd = open(statm, O_RDONLY | O_CLOEXEC);
	return 0;
}

static void reader(struct demo_shared *shared, int fd, uint64_t size, uint64_t seed)
{
	static const uint64_t strides[] = { 7919, 7907, 7901, 7883, 7879, 7877, 7873, 7867 };
	uint64_t blocks = size / BLOCK_BYTES;
	char *block = malloc(BLOCK_BYTES);

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	for (uint64_t pass = seed;; pass++) {
		/* A prime that does not divide the number of blocks visits each of them once. */
		uint64_t stride = strides[pass % ELEMENTSOF(strides)];

		if (!block || blocks == 0 || blocks % stride == 0)
			_exit(1);
		for (uint64_t i = 0; i < blocks; i++) {
			uint64_t at = (i + pass) * stride % blocks * BLOCK_BYTES;
			ssize_t n = pread(fd, block, BLOCK_BYTES, (off_t)at);

			if (n < 0) {
				complain("demo", "reading the file: %s", strerror(errno));
				_exit(1);
			}
			atomic_fetch_add_explicit(&shared->read_bytes, (uint64_t)n,
						  memory_order_relaxed);
		}
	}
}

int demo_actors_start_readers(struct demo_actors *actors, int fd, uint64_t size, char *why)
{
	for (size_t i = 0; i < ELEMENTSOF(actors->readers); i++) {
		pid_t pid = spawn(actors);

		if (pid == 0)
			reader(actors->shared, fd, size, 3 * i);
		if (pid < 0)
			return demo_why(why, -EAGAIN, "fork: %s", strerror(errno));
		actors->readers[i] = pid;
	}
	return 0;
}

/*
 * ---- what the host says
 * ------------------------------------------------------------------------------
 */

/* The value of `key=` in a line of words. */
static bool field(struct scan line, const char *key, struct scan *ret)
{
	struct scan word, name;

	while (scan_item(&line, ' ', &word)) {
		if (scan_field(&word, '=', &name) && scan_is(name, key)) {
			*ret = word;
			return true;
		}
	}
	return false;
}

static uint64_t number(struct scan line, const char *key)
{
	struct scan value;
	uint64_t n;

	return field(line, key, &value) && scan_u64(&value, &n) == 0 ? n : 0;
}

static void text(struct scan line, const char *key, char *buf, size_t size)
{
	struct scan value;

	if (field(line, key, &value))
		snprintf(buf, size, "%.*s", (int)MIN(value.left, size), value.p);
}

static bool begins(struct scan line, const char *word)
{
	return line.left > strlen(word) && memcmp(line.p, word, strlen(word)) == 0;
}

static void said(struct demo_actors *actors, struct scan line, uint64_t start_usec,
		 struct demo_run *run)
{
	static const char *const levels[] = { "low", "neutral", "high" };
	struct scan level;

	if (begins(line, "ready ")) {
		actors->ready = true;
		run->rung = (unsigned)number(line, "rung");
		text(line, "source", run->source, sizeof(run->source));
		text(line, "bridge", run->backend, sizeof(run->backend));
	} else if (begins(line, "collected ")) {
		run->collect_usec = number(line, "took");
	} else if (begins(line, "told ") && field(line, "level", &level) &&
		   run->news_count < DEMO_NEWS_MAX) {
		for (size_t i = 0; i < ELEMENTSOF(levels); i++)
			if (scan_is(level, levels[i]))
				run->news[run->news_count++] = (struct demo_news){
					.at_usec = usec_sub(number(line, "at"), start_usec),
					.available = (enum psb_available)(PSB_LOW + i),
				};
	}
}

static void take_lines(struct demo_actors *actors, uint64_t start_usec, struct demo_run *run)
{
	struct scan left = { actors->line, actors->line_size }, line;

	while (scan_field(&left, '\n', &line))
		said(actors, line, start_usec, run);
	memmove(actors->line, left.p, left.left);
	actors->line_size = left.left;
}

/* How the host ended, in words. */
static int ended(struct demo_actors *actors, char *why)
{
	int status;

	if (waitpid(actors->host, &status, 0) != actors->host)
		status = 0;
	actors->host = 0;
	if (demo_interrupted)
		return -EINTR;
	if (WIFSIGNALED(status))
		return demo_why(why, -EPIPE, "the program was killed by signal %d%s",
				WTERMSIG(status),
				WTERMSIG(status) == SIGKILL ? " (out of memory?)" : "");
	return demo_why(why, -EPIPE, "the program ended with status %d", WEXITSTATUS(status));
}

int demo_actors_listen(struct demo_actors *actors, uint64_t timeout_usec, uint64_t start_usec,
		       struct demo_run *run, char *why)
{
	struct pollfd host = { .fd = actors->host_fd, .events = POLLIN };
	ssize_t n;

	poll(&host, 1, (int)(timeout_usec / USEC_PER_MSEC));
	if (demo_interrupted)
		return -EINTR;
	for (;;) {
		/* A line that is too long is none of ours. */
		if (actors->line_size == sizeof(actors->line))
			actors->line_size = 0;
		n = read(actors->host_fd, actors->line + actors->line_size,
			 sizeof(actors->line) - actors->line_size);
		if (n <= 0)
			break;
		actors->line_size += (size_t)n;
		take_lines(actors, start_usec, run);
	}
	if (n == 0)
		return ended(actors, why);
	for (size_t i = 0; i < ELEMENTSOF(actors->readers); i++) {
		if (actors->readers[i] == 0 || waitpid(actors->readers[i], NULL, WNOHANG) == 0)
			continue;
		actors->readers[i] = 0;
		return demo_why(why, -EPIPE, "the neighbour has ended");
	}
	return 0;
}

uint64_t demo_actors_rss(const struct demo_actors *actors)
{
	char buf[128];
	ssize_t n = actors->statm_fd < 0 ? -1 : pread(actors->statm_fd, buf, sizeof(buf), 0);
	struct scan s = { buf, n > 0 ? (size_t)n : 0 }, first;
	uint64_t pages;

	if (!scan_field(&s, ' ', &first) || scan_u64(&s, &pages) < 0)
		return 0;
	return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t demo_actors_read_bytes(const struct demo_actors *actors)
{
	return atomic_load_explicit(&actors->shared->read_bytes, memory_order_relaxed);
}

/*
 * ---- the end
 * ---------------------------------------------------------------------------------------
 */

static void end_one(pid_t *pid, int signal, uint64_t patience_usec)
{
	uint64_t until = demo_now_usec() + patience_usec;

	if (*pid <= 0)
		return;
	kill(*pid, signal);
	while (waitpid(*pid, NULL, WNOHANG) == 0) {
		uint64_t now = demo_now_usec();

		if (now >= until)
			kill(*pid, SIGKILL);
		/* A disk that does not answer. It dies when the disk does. */
		if (now >= until + STUCK_MAX_USEC)
			break;
		usleep(5 * 1000);
	}
	*pid = 0;
}

void demo_actors_end(struct demo_actors *actors)
{
	for (size_t i = 0; i < ELEMENTSOF(actors->readers); i++)
		end_one(&actors->readers[i], SIGKILL, 0);
	end_one(&actors->host, SIGTERM, ENDING_MAX_USEC);
	if (actors->host_fd >= 0)
		close(actors->host_fd);
	if (actors->statm_fd >= 0)
		close(actors->statm_fd);
	if (actors->shared)
		munmap(actors->shared, sizeof(*actors->shared));
	*actors = (struct demo_actors){ .host_fd = -1, .statm_fd = -1 };
}
