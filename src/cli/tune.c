/* SPDX-License-Identifier: MIT */
/*
 * tune.c - psibridge tune: which setting would have done best on what was recorded?
 *
 *     traces --> series --> facts (score.h): episodes, limits
 *     a grid of settings, and those that others ship --> the policy, on each series --> a score each
 *     purpose: its criteria, one after the other, each leaves the best --> one recommendation
 *
 * A purpose says which episodes Low is wanted in (trim: all; shed: the heavy ones; restart: the lost ones) and what matters more, that
 * none is missed or that none is told in vain.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/trace-series.h"
#include "cli/tune.h"
#include "core/cgpath.h"
#include "core/setting.h"

static const char help[] =
	"psibridge tune - find the setting that would have done best on what was recorded\n"
	"\n"
	"Usage: psibridge tune [FILE...] [CGROUP] [OPTION...]\n"
	"\n"
	"FILE is a trace, as for \"psibridge replay\", or a directory of psibridged's; \"-\"\n"
	"is standard input. Without one it is what psibridged keeps:\n" TRACE_DIRECTORY
	". CGROUP is one of those in it; without one it is all.\n"
	"\n"
	"  --for PURPOSE        trim, shed or restart: what a Low is answered with [trim]\n"
	"  --at-most N/h        so many Lows an hour, or in all of less than an hour\n"
	"                                            [trim 60/h, shed 4/h, restart 1/h]\n"
	"  --before-limit TIME  Low so long before a limit is reached\n"
	"  --rung 2|3           as with a privileged trigger, or with one of 2 s  [2]\n"
	"  --json               one JSON object a line\n"
	"  --help\n"
	"\n"
	"Exit status: 0 a setting is recommended, 1 some of it or nothing could be read,\n"
	"or the traces don't bear it, 2 the command line makes no sense.\n"
	"\n"
	"Example: psibridge tune /shop.slice --for shed\n";

#define FILES_MAX 64

struct work {
	const struct trace_set *set;
	const struct tune_options *options;
	struct tune_result *result;
	struct facts *facts;  /* of each series */
	pthread_mutex_t lock; /* of `next` */
	size_t next;	      /* the first point that was not taken */
	atomic_size_t done;
};

/* ---- the grid -------------------------------------------------------------------------------------- */

/* What others ship, and where that stands. */
static const struct {
	const char *name, *trigger; /* NULL: avg10 of full over `percent` for `seconds` */
	unsigned percent, seconds;
} known[] = {
	{ "systemd", "some 200ms/2s", 0,
	  0 }, /* systemd: MemoryPressureThresholdSec=, systemd/systemd#26730 */
	{ "GLib", "some 70ms/2s", 0, 0 }, /* glib/gio/gmemorymonitorpsi.c */
	{ "Bun", "some 150ms/2s", 0, 0 }, /* oven-sh/bun#39654 */
	{ "MariaDB", "full 10ms/2s", 0,
	  0 }, /* storage/innobase/buf/buf0buf.cc, beside some 5s/10s */
	{ "lmkd medium", "some 70ms/1s", 0, 0 },    /* Android: ro.lmk.psi_partial_stall_ms */
	{ "lmkd critical", "full 700ms/1s", 0, 0 }, /* ro.lmk.psi_complete_stall_ms */
	/* chromiumos/platform2: resourced/src/memory/psi_monitor.rs */
	{ "ChromeOS", "some 200ms/1s", 0, 0 },
	{ "ChromeOS critical", "full 500ms/1s", 0, 0 },
	{ "systemd-oomd", NULL, 60, 30 }, /* oomd.conf(5) */
	{ "Fedora", NULL, 50, 20 },	  /* Changes/EnableSystemdOomd */
	{ "Talos 1.12", NULL, 12, 0 },	  /* OOMConfig: triggerExpression */
	{ "Talos 1.13", NULL, 75, 0 },
};

static const uint64_t windows_msec[] = { 500, 1000, 2000, 5000, 10000 };
static const unsigned shares_permille[] = { 10, 20, 35, 50, 75, 100, 200, 350, 500, 700 };
static const struct {
	const char *name;
	uint64_t quiet_usec, rearm_usec; /* 0: built in */
} paces[] = {
	{ "", 0, 0 },
	{ " q", 10 * USEC_PER_SEC, 0 },
	{ " r", 0, 60 * USEC_PER_SEC },
	{ " qr", 10 * USEC_PER_SEC, 60 * USEC_PER_SEC },
};

/* full, never under ours, and never under low: it is Low, too. */
static struct trigger critical_of(const struct trigger *low, unsigned permille)
{
	unsigned share = low->kind == PSI_FULL ? MIN(2 * permille, 900u) : permille;

	return (struct trigger){ PSI_FULL, low->window_usec * MAX(share, 50u) / 1000,
				 low->window_usec };
}

static void take_point(struct tune_point *p, enum psi_kind kind, uint64_t window_usec,
		       unsigned permille, unsigned pace)
{
	struct policy_options *o = &p->candidate.options;
	char trigger[TRIGGER_TEXT_MAX];

	settings_built_in(o);
	o->low = (struct trigger){ kind, window_usec * permille / 1000, window_usec };
	o->critical = critical_of(&o->low, permille);
	o->early = trigger_early_of(&o->low, &o->critical);
	if (paces[pace].quiet_usec > 0)
		o->quiet_usec = paces[pace].quiet_usec;
	if (paces[pace].rearm_usec > 0)
		o->rearm_usec = paces[pace].rearm_usec;
	trigger_format(&o->low, trigger);
	snprintf(p->name, sizeof(p->name), "%s%s", trigger, paces[pace].name);
	p->permille = permille;
	p->pace = pace;
	p->in_grid = true;
}

static void take_known(struct tune_point *p, size_t i)
{
	struct policy_options *o = &p->candidate.options;

	settings_built_in(o);
	if (known[i].trigger) {
		/* by itself: what they have is one trigger */
		(void)trigger_parse(known[i].trigger, strlen(known[i].trigger), &o->low, NULL);
		o->critical = (struct trigger){ PSI_FULL, 10 * USEC_PER_SEC, 10 * USEC_PER_SEC };
		o->early = trigger_early_of(&o->low, &o->critical);
		snprintf(p->name, sizeof(p->name), "%s", known[i].name);
		return;
	}
	p->candidate.kind = PSI_FULL;
	p->candidate.avg10_percent = known[i].percent;
	p->candidate.for_usec = known[i].seconds * USEC_PER_SEC;
	snprintf(p->name, sizeof(p->name), "%s", known[i].name);
}

static void make_points(struct tune_result *r)
{
	struct tune_point *p = r->points;

	for (unsigned pace = 0; pace < ELEMENTSOF(paces); pace++)
		for (enum psi_kind kind = PSI_SOME; kind <= PSI_FULL; kind++)
			for (size_t w = 0; w < ELEMENTSOF(windows_msec); w++)
				for (size_t s = 0; s < ELEMENTSOF(shares_permille); s++)
					take_point(p++, kind, windows_msec[w] * USEC_PER_MSEC,
						   shares_permille[s], pace);
	settings_built_in(&p->candidate.options);
	snprintf(p++->name, sizeof(p->name), "built in");
	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		take_known(p++, i);
	r->count = (size_t)(p - r->points);
	for (size_t i = 0; i < r->count; i++)
		r->points[i].score = (struct score)SCORE_INIT;
}

/* ---- scores ----------------------------------------------------------------------------------------- */

/* From points[begin] on, as many as fit together. */
static size_t group_at(const struct work *w, size_t begin)
{
	const struct tune_point *points = w->result->points;
	size_t end = begin + 1;

	while (end < w->result->count && end < begin + SCORE_TOGETHER_MAX &&
	       score_together(&points[begin].candidate, &points[end].candidate,
			      w->options->privileged))
		end++;
	return end - begin;
}

static void score_group(const struct work *w, size_t begin, size_t count)
{
	struct scored scored[SCORE_TOGETHER_MAX];
	const struct facts *facts = w->facts;

	for (size_t i = 0; i < count; i++) {
		struct tune_point *p = &w->result->points[begin + i];

		scored[i] = (struct scored){ &p->candidate, &p->score };
	}
	for (const struct trace_series *t = w->set->first; t; t = t->next)
		score_add(t->samples, t->count, facts++, scored, count, w->options->privileged);
}

static void *work(void *userdata)
{
	struct work *w = userdata;
	size_t begin, count, done;

	for (;;) {
		pthread_mutex_lock(&w->lock);
		begin = w->next;
		count = begin < w->result->count ? group_at(w, begin) : 0;
		w->next += count;
		pthread_mutex_unlock(&w->lock);
		if (count == 0)
			return NULL;
		score_group(w, begin, count);
		done = atomic_fetch_add(&w->done, count) + count;
		if (w->options->progress)
			fprintf(stderr, "\r\033[K%zu of %zu settings", done, w->result->count);
	}
}

/* On all CPUs; a thread that cannot be had is one less. */
static void score_all(struct work *w)
{
	pthread_t threads[63];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned count = 0;

	while ((long)count + 1 < cpus && count < ELEMENTSOF(threads) &&
	       pthread_create(&threads[count], NULL, work, w) == 0)
		count++;
	work(w);
	while (count > 0)
		pthread_join(threads[--count], NULL);
	if (w->options->progress)
		fputs("\r\033[K", stderr);
}

static int find_facts(struct work *w)
{
	struct tune_result *r = w->result;
	struct facts *f = w->facts;

	for (const struct trace_series *t = w->set->first; t; t = t->next, f++) {
		if (facts_find(t->samples, t->count, f) < 0)
			return -ENOMEM;
		for (size_t e = 0; e < f->count; e++)
			r->episodes[f->episodes[e].severity]++;
		r->limits += (unsigned)f->limit_count;
		r->some_usec += f->some_usec;
	}
	return 0;
}

int tune_traces(const struct trace_set *set, const struct tune_options *options,
		struct tune_result *ret)
{
	struct work w = {
		.set = set,
		.options = options,
		.result = ret,
		.facts = calloc(set->count, sizeof(*w.facts)),
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	int r = -ENOMEM;

	*ret = (struct tune_result){
		.points = calloc(TUNE_POINTS_MAX, sizeof(*ret->points)),
		.usec = set->usec,
		.series = set->count,
		.cgroup = set->count == 1 ? set->first->cgroup : NULL,
	};
	if (w.facts && ret->points)
		r = find_facts(&w);
	if (r == 0) {
		make_points(ret);
		score_all(&w);
		tune_choose(ret, options);
	}
	for (unsigned i = 0; w.facts && i < set->count; i++)
		facts_done(&w.facts[i]);
	free(w.facts);
	return r;
}

void tune_done(struct tune_result *result)
{
	free(result->points);
	*result = (struct tune_result){ .count = 0 };
}

/* ---- the command line ---------------------------------------------------------------------------------- */

static int take_rate(const struct args *args, const struct args_setting *setting)
{
	char *end;
	unsigned long rate = strtoul(args->value, &end, 10);

	if (end == args->value || args->value[0] == '-' || rate > 100000 ||
	    (*end && strcmp(end, "/h") != 0))
		return args_unexpected(args, "");
	*(unsigned *)setting->to = (unsigned)rate;
	return 0;
}

/* The last word, if it is no file, is a cgroup. */
static const char *take_cgroup(const char **files)
{
	const char **last = files;

	while (last[0] && last[1])
		last++;
	if (!*last || strcmp(*last, "-") == 0 || access(*last, F_OK) == 0)
		return NULL;
	return steal(*last);
}

static int refuse_default(const char *cgroup)
{
	int error = errno;

	if (!cgroup) {
		complain("tune", "a FILE is missing; psibridged keeps none here: %s: %s",
			 TRACE_DIRECTORY, strerror(error));
		return EXIT_USAGE;
	}
	complain("tune", "%s is no file; for a cgroup, what psibridged keeps is missing: %s: %s",
		 cgroup, TRACE_DIRECTORY, strerror(error));
	return EXIT_FAILED;
}

static int tune(const char *const *files, const char *cgroup, struct tune_options *options,
		bool json)
{
	struct trace_set set;
	struct tune_result result = { .best = NULL };
	struct output output;
	int r = trace_set_read("tune", files, cgroup, &set), n = 0;
	bool found = false;

	output_init(&output);
	options->progress = isatty(STDERR_FILENO);
	if (set.first) {
		n = tune_traces(&set, options, &result);
		if (n == 0)
			n = json ? tune_print_json(&result, options)
				 : tune_print(&result, options, &output);
		if (n < 0 && n != -EPIPE)
			complain("tune", "%s", strerror(-n));
		found = result.best;
	}
	tune_done(&result);
	trace_set_free(&set);
	return r == 0 && found && (n == 0 || n == -EPIPE) ? EXIT_OK : EXIT_FAILED;
}

int verb_tune(int argc, char **argv)
{
	struct tune_options options = { .at_most = UINT_MAX };
	const char *files[FILES_MAX + 1] = { NULL }, *cgroup, *why;
	char path[CGPATH_MAX];
	unsigned purpose = 0;
	uint64_t rung = PSB_RUNG_PRIVILEGED;
	bool json = false;
	struct args_setting settings[FILES_MAX + 6] = {
		ARGS_CHOICE("for", "trim, shed or restart", &purpose),
		ARGS_SETTING("at-most", "a number such as 4/h", take_rate, &options.at_most, 0, 0),
		ARGS_TIME("before-limit", "a time such as 5s", 1, 3600 * USEC_PER_SEC,
			  &options.before_limit_usec),
		ARGS_NUMBER("rung", "2 or 3", PSB_RUNG_PRIVILEGED, PSB_RUNG_TRIGGER, &rung),
		ARGS_FLAG("json", &json),
	};
	int status;

	for (unsigned i = 0; i < FILES_MAX; i++)
		settings[5 + i] = (struct args_setting)ARGS_A_WORD(&files[i]);
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	options.purpose = (enum tune_purpose)purpose;
	if (options.at_most == UINT_MAX)
		options.at_most = tune_at_most[purpose];
	options.privileged = rung == PSB_RUNG_PRIVILEGED;
	cgroup = take_cgroup(files);
	if (cgroup && cgpath_normalise(cgroup, NULL, path, &why) < 0) {
		complain("tune", "\"%s\": there is no such file, and as a cgroup: %s", cgroup, why);
		return EXIT_USAGE;
	}
	if (!files[0] && access(TRACE_DIRECTORY, F_OK) < 0)
		return refuse_default(cgroup);
	if (!files[0])
		files[0] = TRACE_DIRECTORY;
	return tune(files, cgroup ? path : NULL, &options, json);
}
