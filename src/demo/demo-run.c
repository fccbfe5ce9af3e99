/* SPDX-License-Identifier: MIT */
/*
 * demo-run.c - one run of the demo
 *
 *     evict the file, make the group anew -> start the program -> "ready" -> the neighbour: time 0
 *       -> sample every 50 ms, listen to the program -> the length is over: the numbers stand
 *       -> with the bridge, where High is still to come: wait a little for it -> end all
 *
 * The program (psibridge-luahost, which talks in lines: tests/program.h) and the neighbour's two readers are in the group "run" of the
 * laboratory, which has the limit and is made anew for each run. The stall is read one level above, where nothing else is: reading
 * the memory.pressure that the program watches could swallow an alarm of its watch (without CAP_SYS_RESOURCE).
 *
 * Without a laboratory (simulated) there is no limit, so no neighbour either: what the kernel would have said comes through a pipe,
 * at 2 s. From there on everything is real: the callback, the collection, what goes back.
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

static void start_program(struct running *r)
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
			demo_failed("pipe: %s", strerror(errno));
		snprintf(source, sizeof(source), "/proc/self/fd/%d", r->fifo[0]);
		command.argv[3] = "--source";
		command.argv[4] = source;
	}
	r->program = program_start(demo->lab, demo->lab ? INNER : NULL, &command);
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

static void listen_until(struct running *r, uint64_t until_usec)
{
	const char *line;
	int n;

	while ((n = program_line(r->program, until_usec, &line)) > 0)
		take_line(r, line);
	if (n < 0)
		demo_failed("the program %s%s", program_fate(r->program),
			    program_was_killed(r->program) ? " (out of memory?)" : "");
	if (r->neighbour && !lab_readers_alive(r->neighbour))
		demo_failed("the neighbour has ended");
}

/* ---- a run ------------------------------------------------------------------------------------- */

static void renew_group(const struct demo *demo)
{
	char high[32];

	lab_data_evict(demo->file);
	lab_remove(demo->lab, INNER);
	lab_make(demo->lab, INNER, demo->limit_bytes);
	snprintf(high, sizeof(high), "%" PRIu64, demo->limit_bytes / 16 * 15);
	if (!demo->lab->v1)
		lab_write(lab_file(demo->lab, INNER, "memory.high"), high);
}

static void wait_ready(struct running *r)
{
	uint64_t until = lab_now_usec() + READY_MAX_USEC;

	while (!r->ready) {
		listen_until(r, lab_now_usec() + SAMPLE_USEC);
		if (lab_now_usec() > until)
			demo_failed("the program did not get ready in %u s",
				    (unsigned)(READY_MAX_USEC / USEC_PER_SEC));
		demo_progress("filling the program with garbage", 0, 0);
	}
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
	run->read_bytes = r->neighbour ? lab_readers_bytes(r->neighbour) : 0;
}

static void watch_it(struct running *r)
{
	const char *what = r->run->bridge ? "with psibridge" : "without psibridge";
	bool told = r->fifo[1] < 0;

	for (uint64_t next = r->start_usec + SAMPLE_USEC, done = 0; done < r->demo->length_usec;
	     next += SAMPLE_USEC) {
		listen_until(r, next);
		sample(r);
		done = lab_now_usec() - r->start_usec;
		if (!told && done >= TELL_USEC)
			told = write(r->fifo[1], "!", 1) == 1;
		demo_progress(what, done, r->demo->length_usec);
	}
}

/* The numbers stand; only the news may still grow. */
static void wait_for_high(struct running *r)
{
	const struct demo_run *run = r->run;
	uint64_t until = lab_now_usec() + SETTLE_MAX_USEC;

	while (run->first_low_usec != USEC_NEVER &&
	       run->news[run->news_count - 1].available != PSB_HIGH && lab_now_usec() < until) {
		listen_until(r, lab_now_usec() + SAMPLE_USEC);
		demo_progress("waiting for High", 0, 0);
	}
}

void demo_play(struct demo *demo, bool bridge)
{
	struct demo_run *run = bridge ? &demo->with : &demo->without;
	struct running r = { .demo = demo, .run = run, .fifo = { -1, -1 } };

	*run = (struct demo_run){ .bridge = bridge,
				  .first_stall_usec = USEC_NEVER,
				  .first_low_usec = USEC_NEVER };
	if (demo->lab)
		renew_group(demo);
	start_program(&r);
	wait_ready(&r);
	if (demo->lab) {
		r.start_stall_usec = lab_psi(demo->lab, "").some_usec;
		r.neighbour = lab_readers_start(demo->lab, INNER, demo->file, READERS, 0);
	}
	r.start_usec = lab_now_usec();
	run->rss_before_bytes = program_rss(r.program);
	watch_it(&r);
	wait_for_high(&r);
	end_all(&r);
}
