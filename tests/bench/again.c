/* SPDX-License-Identifier: MIT */
/*
 * again.c - a setting that psibridge tune recommends, put to work on the same load again: does it do what it promised?
 *
 * The load: a file that is larger than the group's limit is read at random places, in bursts of 4 s to 9 s, as fast as can be or
 * at a pace. Once it is recorded (psibridge record), and psibridge tune says what its recommendation would have told; then it runs
 * again under a watch with that setting.
 */
#include "bench.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/duration.h"

#define GROUP "again"
#define REST_USEC \
	(30 *     \
	 USEC_PER_SEC) /* each burst is over for any setting of the grid: Quiet is 20 s at most */

static const struct {
	unsigned seconds;
	uint64_t pace_usec; /* 0: as fast as can be */
} bursts[] = { { 6, 0 }, { 4, 2000 }, { 9, 0 }, { 5, 4000 } };

static int data;

static void load(unsigned rounds)
{
	for (unsigned i = 0; i < rounds * ELEMENTSOF(bursts); i++) {
		unsigned burst = i % ELEMENTSOF(bursts);
		struct lab_readers *readers = lab_readers_start(&lab, GROUP, data, 2,
								bursts[burst].pace_usec);

		sleep_usec(bursts[burst].seconds * USEC_PER_SEC);
		lab_readers_free(readers);
		sleep_usec(REST_USEC);
	}
}

/* ---- what is promised ----------------------------------------------------------------------------------- */

struct promise {
	char early[64], low[64], critical[64];
	uint64_t rearm_usec, quiet_usec;
	double lows, low_sec;
};

/* The value of a key in JSON that is ours, behind `from`. */
static void take_text(const char *from, const char *key, char *buf, size_t size)
{
	const char *p = from ? strstr(from, words("\"%s\":\"", key)) : NULL;

	if (!p)
		bench_die("psibridge tune recommended nothing: no %s", key);
	p += strlen(key) + 4;
	snprintf(buf, size, "%.*s", (int)strcspn(p, "\""), p);
}

/* 0: the built-in time. */
static uint64_t take_time(const char *from, const char *key)
{
	char text[64];
	uint64_t usec;

	take_text(from, key, text, sizeof(text));
	return duration_parse(text, strlen(text), &usec, NULL) == 0 ? usec : 0;
}

static double take_number(const char *from, const char *key)
{
	const char *p = from ? strstr(from, words("\"%s\":", key)) : NULL;

	return p ? strtod(p + strlen(key) + 3, NULL) : NAN;
}

static FILE *run(const char *command)
{
	FILE *out = popen(command, "re");

	if (!out)
		bench_die("%s: %s", command, strerror(errno));
	return out;
}

static struct promise ask(const char *trace, const char *purpose)
{
	static char line[1 << 16];
	struct promise p;
	FILE *out = run(words("./psibridge tune %s --for %s --rung %d --json", trace, purpose,
			      lab.privileged ? 2 : 3));
	const char *best = NULL;

	while (fgets(line, sizeof(line), out))
		if (strstr(line, "\"event\":\"recommendation\""))
			best = strstr(line, "\"best\":");
	pclose(out);
	take_text(best ? line : NULL, "Low", p.low, sizeof(p.low));
	take_text(line, "Critical", p.critical, sizeof(p.critical));
	take_text(line, "Early", p.early, sizeof(p.early));
	p.rearm_usec = take_time(line, "Rearm");
	p.quiet_usec = take_time(line, "Quiet");
	p.lows = take_number(best, "low");
	p.low_sec = take_number(best, "low_usec") / 1e6;
	return p;
}

/* ---- what is done ----------------------------------------------------------------------------------------- */

static struct done {
	unsigned lows;
	uint64_t low_since_usec, low_usec;
} done;

static void told(const struct psb_notification *n, _unused_ void *userdata)
{
	bool is_low = n->available == PSB_LOW;

	done.lows += is_low;
	if (is_low && done.low_since_usec == 0) {
		done.low_since_usec = n->time_usec;
	} else if (!is_low && done.low_since_usec > 0) {
		done.low_usec += n->time_usec - done.low_since_usec;
		done.low_since_usec = 0;
	}
}

enum { NAME, LOWS, IN_LOW };
static const struct column columns[] = {
	[NAME] = { "", 0 }, [LOWS] = { "Lows", 0 }, [IN_LOW] = { "s in Low", 1 }
};

static bool is_near(double a, double b)
{
	return a <= b * 1.2 && b <= a * 1.2;
}

static void work(void)
{
	unsigned rounds = bench_number(0, 1);
	char trace[128];
	struct watched watched;
	struct promise p;
	pid_t recorder;
	int r;

	data = data_new(2 * LAB_LIMIT);
	lab_make(&lab, GROUP, LAB_LIMIT);
	snprintf(trace, sizeof(trace), "%s", scratch("trace"));
	fflush(stdout);
	recorder = fork();
	if (recorder == 0) {
		execl("./psibridge", "psibridge", "record", lab_path(&lab, GROUP), "--output",
		      trace, NULL);
		_exit(127);
	}
	load(rounds);
	kill(recorder, SIGTERM);
	waitpid(recorder, &r, 0);
	p = ask(trace, "trim");
	unlink(trace);

	r = watch_start(&watched, PSB_BACKEND_AUTO,
			(struct psb_watch_options){ .cgroup = lab_path(&lab, GROUP),
						    .early = p.early,
						    .low = p.low,
						    .critical = p.critical,
						    .rearm_usec = p.rearm_usec,
						    .quiet_usec = p.quiet_usec },
			told, NULL);
	if (r < 0)
		bench_die("%s: %s", watched.why, strerror(-r));
	load(rounds);
	psb_watch_unref(watched.watch);
	psb_bridge_unref(watched.bridge); /* nothing is told any more: the trace ended there, too */
	if (done.low_since_usec > 0)
		done.low_usec += lab_now_usec() - done.low_since_usec;

	table_begin(columns, "What psibridge tune recommends (%s), and what it does", p.low);
	put(table_row("promised"), LOWS, p.lows, p.low_sec);
	put(table_row("done"), LOWS, done.lows, (double)done.low_usec / 1e6);
	table_print("");
	bench_target(is_near(p.lows, done.lows), "as many Lows, within 20 %%");
	bench_target(is_near(p.low_sec, (double)done.low_usec / 1e6),
		     "as long in Low, within 20 %%");
}

const struct bench bench_again = {
	"again", "[ROUNDS]: does what psibridge tune recommends do what it promised? (1)", true,
	work
};
