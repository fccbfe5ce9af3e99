/* SPDX-License-Identifier: MIT */
/*
 * demo-run.c - one run of the demo
 *
 *     evict the file, make the group anew -> start the program -> "ready" -> the neighbour: time 0
 *       -> sample every 50 ms, listen to the program -> the length is over: the numbers stand
 *       -> with the bridge, where High is still to come: wait a little for it -> end all
 *
 *     program     psibridge-luahost, with or without the bridge; talks in lines (tests/program.h)
 *     neighbour   two processes that read a file again and again (lab_readers_start())
 *
 * Both are in the group "run" of the laboratory, which has the limit and is made anew for each run.
 * The stall is read one level above, where nothing else is: reading the memory.pressure that the
 * program watches could swallow an alarm of its watch (without CAP_SYS_RESOURCE).
 *
 * Without a laboratory (simulated) there is no limit, so no neighbour either: what the kernel would
 * have said comes through a FIFO, at 2 s. From there on everything is real: the callback, the
 * collection, what goes back.
 */
#include "demo/demo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/names.h"
#include "tests/program.h"

#define INNER "run"
#define READERS 2
#define SAMPLE_USEC (50 * USEC_PER_MSEC)
#define READY_MAX_USEC (90 * USEC_PER_SEC)
#define SETTLE_MAX_USEC (12 * USEC_PER_SEC)
#define TELL_USEC (2 * USEC_PER_SEC)

struct running {
	const struct demo *demo;
	struct demo_run *run;
	struct program *program;
	int fifo[2]; /* its source, and what writes to it; -1: that is its cgroup */
	bool ready;
	struct lab_readers *neighbour;
	uint64_t start_usec, start_stall_usec;
};

/* ---- the actors -------------------------------------------------------------------------------- */

static int start_program(struct running *r, char *why)
{
	const struct demo *demo = r->demo;
	char source[64], megabytes[32];
	struct command command = { .argv = { demo->host, "--garbage", megabytes } };

	snprintf(megabytes, sizeof(megabytes), "%u", (unsigned)(demo->garbage_bytes >> 20));
	if (!r->run->bridge) {
		command.argv[3] = "--no-bridge";
	} else if (!demo->lab) {
		/* for the program to inherit */
		if (pipe(r->fifo) < 0)
			return lab_why(why, -errno, "pipe: %s", strerror(errno));
		snprintf(source, sizeof(source), "/proc/self/fd/%d", r->fifo[0]);
		command.argv[3] = "--source";
		command.argv[4] = source;
	}
	r->program = program_start(demo->lab, demo->lab ? INNER : NULL, &command);
	return r->program ? 0 : lab_why(why, -errno, "starting the program: %s", strerror(errno));
}

static void end_all(struct running *r)
{
	lab_readers_free(r->neighbour);
	program_free(r->program);
	for (size_t i = 0; i < ELEMENTSOF(r->fifo); i++)
		if (r->fifo[i] >= 0)
			close(r->fifo[i]);
}

/* ---- what the program says --------------------------------------------------------------------- */

static void take_level(struct running *r, uint64_t at_usec, const char *level)
{
	unsigned available = available_of_name(level);
	struct demo_run *run = r->run;

	at_usec = usec_sub(at_usec, r->start_usec);
	if (available > 0 && run->news_count < DEMO_NEWS_MAX)
		run->news[run->news_count++] = (struct demo_news){ at_usec,
								   (enum psb_available)available };
	if (available == PSB_LOW)
		run->first_low_usec = MIN(run->first_low_usec, at_usec);
}

static void take_line(struct running *r, const char *line)
{
	char level[16];
	uint64_t at;

	if (strncmp(line, "ready ", 6) == 0)
		r->ready = true;
	else if (sscanf(line, "told at=%" SCNu64 " level=%15s", &at, level) == 2)
		take_level(r, at, level);
	else
		sscanf(line, "collected at=%*s before=%*s after=%*s took=%" SCNu64,
		       &r->run->collect_usec);
}

/* Errors: -EPIPE: it or the neighbour has ended. */
static int listen_until(struct running *r, uint64_t until_usec, char *why)
{
	const char *line;
	int n;

	while ((n = program_line(r->program, until_usec, &line)) > 0)
		take_line(r, line);
	if (n < 0)
		return lab_why(why, n, "the program %s%s", program_fate(r->program),
			       program_was_killed(r->program) ? " (out of memory?)" : "");
	if (r->neighbour && !lab_readers_alive(r->neighbour))
		return lab_why(why, -EPIPE, "the neighbour has ended");
	return 0;
}

/* ---- a run ------------------------------------------------------------------------------------- */

static int renew_group(const struct demo *demo, char *why)
{
	char high[32];
	int r;

	lab_data_evict(demo->file);
	r = lab_try_remove(demo->lab, INNER);
	if (r == 0)
		r = lab_try_make(demo->lab, INNER, demo->limit_bytes);
	snprintf(high, sizeof(high), "%" PRIu64, demo->limit_bytes / 16 * 15);
	if (r == 0 && !demo->lab->v1)
		r = lab_try_write(lab_file(demo->lab, INNER, "memory.high"), high);
	return r < 0 ? lab_why(why, r, "making %s: %s", lab_file(demo->lab, INNER, ""),
			       strerror(-r))
		     : 0;
}

static int wait_ready(struct running *r, char *why)
{
	uint64_t until = lab_now_usec() + READY_MAX_USEC;

	while (!r->ready) {
		int error = listen_until(r, lab_now_usec() + SAMPLE_USEC, why);

		if (error < 0)
			return error;
		if (lab_now_usec() > until)
			return lab_why(why, -ETIMEDOUT, "the program did not get ready in %u s",
				       (unsigned)(READY_MAX_USEC / USEC_PER_SEC));
		demo_progress("filling the program with garbage", 0, 0);
	}
	return 0;
}

static int start_neighbour(struct running *r, char *why)
{
	const struct demo *demo = r->demo;

	if (!demo->lab)
		return 0;
	r->start_stall_usec = lab_psi(demo->lab, "").some_usec;
	r->neighbour = lab_readers_start(demo->lab, INNER, demo->file, READERS, 0);
	return r->neighbour ? 0
			    : lab_why(why, -errno, "starting the neighbour: %s", strerror(errno));
}

static void sample(struct running *r)
{
	struct demo_run *run = r->run;
	uint64_t stall = r->demo->lab ? lab_psi(r->demo->lab, "").some_usec : 0;
	struct demo_sample now = { .at_usec = lab_now_usec() - r->start_usec,
				   .stall_usec = usec_sub(stall, r->start_stall_usec) };

	if (now.stall_usec > 0 && run->first_stall_usec == USEC_NEVER)
		run->first_stall_usec = now.at_usec;
	if (run->sample_count < DEMO_SAMPLES_MAX)
		run->samples[run->sample_count++] = now;
	run->stall_usec = now.stall_usec;
	run->rss_after_bytes = program_rss(r->program);
	run->length_usec = now.at_usec;
	if (!r->neighbour)
		return;
	run->read_bytes = lab_readers_bytes(r->neighbour);
	run->passes_tenths = run->read_bytes * 10 / r->demo->file_bytes;
}

static int watch_it(struct running *r, char *why)
{
	const char *what = r->run->bridge ? "with psibridge" : "without psibridge";
	bool told = r->fifo[1] < 0;

	for (uint64_t next = r->start_usec + SAMPLE_USEC;; next += SAMPLE_USEC) {
		int error = listen_until(r, next, why);
		uint64_t done;

		if (error < 0)
			return error;
		sample(r);
		done = lab_now_usec() - r->start_usec;
		if (!told && done >= TELL_USEC)
			told = write(r->fifo[1], "!", 1) == 1;
		if (done >= r->demo->length_usec)
			return 0;
		demo_progress(what, done, r->demo->length_usec);
	}
}

/* The numbers stand; only the news may still grow. */
static int wait_for_high(struct running *r, char *why)
{
	const struct demo_run *run = r->run;
	uint64_t until = lab_now_usec() + SETTLE_MAX_USEC;
	int error = 0;

	while (error == 0 && run->first_low_usec != USEC_NEVER &&
	       run->news[run->news_count - 1].available != PSB_HIGH && lab_now_usec() < until) {
		error = listen_until(r, lab_now_usec() + SAMPLE_USEC, why);
		demo_progress("waiting for High", 0, 0);
	}
	return error;
}

int demo_play(struct demo *demo, bool bridge, char *why)
{
	struct demo_run *run = bridge ? &demo->with : &demo->without;
	struct running r = { .demo = demo, .run = run, .fifo = { -1, -1 } };
	int error;

	*run = (struct demo_run){ .bridge = bridge,
				  .first_stall_usec = USEC_NEVER,
				  .first_low_usec = USEC_NEVER };
	error = demo->lab ? renew_group(demo, why) : 0;
	if (error == 0)
		error = start_program(&r, why);
	if (error == 0)
		error = wait_ready(&r, why);
	if (error == 0)
		error = start_neighbour(&r, why);
	r.start_usec = lab_now_usec();
	run->rss_before_bytes = r.program ? program_rss(r.program) : 0;
	if (error == 0)
		error = watch_it(&r, why);
	if (error == 0)
		error = wait_for_high(&r, why);
	end_all(&r);
	return error;
}
