/* SPDX-License-Identifier: MIT */
/*
 * replay.c - psibridge replay FILE: what would have been told?
 *
 * Each cgroup of the trace has a replay of its own (core/replay.h). Those that were never told anything cost a line in the summary.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/target-options.h"
#include "cli/trace-file.h"
#include "cli/words.h"
#include "core/names.h"
#include "core/replay.h"

static const char help[] =
	"psibridge replay - say what psibridge would have told of what a trace has\n"
	"recorded\n"
	"\n"
	"Usage: psibridge replay FILE [CGROUP] [OPTION...]\n"
	"\n"
	"FILE is a trace of \"psibridge record\", or of others: memory.pressure with\n"
	"times, CSV, Prometheus, sadf -j, oomstat, psi2log, below (psibridge-trace(5)).\n"
	"It may be packed with gzip or zstd; \"-\" is standard input. CGROUP is one of\n"
	"those in it; without one it is all.\n"
	"\n"
	"  --rung 2|3           as with a privileged trigger, or with one of 2 s  [2]\n"
	"  --json               one JSON object a line\n"
	"  --help\n"
	"\n" THRESHOLD_HELP "\n"
	"Exit status: 0 all was read, 1 some of it or nothing could be read, 2 the\n"
	"command line makes no sense.\n"
	"\n"
	"Example: psibridge replay friday.trace --low \"some 70ms/2s\"\n";

#define BUCKETS 1024u
#define CGROUPS_MAX 65536 /* 230 MB */

struct one {
	struct one *next; /* of those with the same hash */
	struct replay replay;
	struct session *session;
	unsigned lows, criticals, neutrals, highs;
	uint64_t low_since_usec, low_usec; /* time in Low so far */
	char cgroup[];
};

struct session {
	struct output output;
	const char *only; /* NULL: all */
	bool json, privileged;
	struct policy_options options;
	struct trace_reader reader;
	struct one *cgroups[BUCKETS], *latest; /* lines of one cgroup follow one another */
	unsigned count;
	uint64_t first_usec, last_usec;
	bool any;
	int printed; /* of the last line */
};

/* ---- what is told -------------------------------------------------------------------------------- */

static void take_time(struct one *o, const struct trace_sample *at)
{
	o->lows += at->told == LEVEL_LOW;
	o->criticals += at->told == LEVEL_LOW && at->critical;
	o->neutrals += at->told == LEVEL_NEUTRAL;
	o->highs += at->told == LEVEL_HIGH;
	if (at->told == LEVEL_LOW && o->low_since_usec == 0)
		o->low_since_usec = at->time_usec + 1;
	if (at->told != LEVEL_LOW && o->low_since_usec > 0) {
		o->low_usec += at->time_usec + 1 - o->low_since_usec;
		o->low_since_usec = 0;
	}
}

static int print_json(const struct one *o, const struct replay_told *t)
{
	return output_json(
		json_pack("{s:s, s:o, s:o, s:o, s:o, s:s, s:b, s:s, s:o, s:o, s:o, s:s}", "event",
			  "notification", "time_usec", output_json_number(t->at.time_usec),
			  "earliest_usec", output_json_number(t->earliest_usec), "latest_usec",
			  output_json_number(t->latest_usec), "cgroup", output_json_text(o->cgroup),
			  "available", name_of_available(t->at.told), "critical", t->at.critical,
			  "reason", name_of_reason(t->at.reason), "some_total_usec",
			  output_json_number(t->at.some_usec), "full_total_usec",
			  output_json_number(t->at.full_usec), "stall_usec",
			  output_json_number(t->stall_usec), "cause", name_of_cause(t->at.cause)));
}

static int print(const struct session *s, const struct one *o, const struct replay_told *t)
{
	char cause[CAUSE_TEXT_MAX], stall[OUTPUT_WORD_MAX];
	const struct psb_notification n = {
		.cgroup = o->cgroup,
		.available = (enum psb_available)t->at.told,
		.reason = (enum psb_reason)t->at.reason,
	};

	errno = 0;
	if (t->earliest_usec < t->at.time_usec)
		printf("%.3f to ", (double)t->earliest_usec / (double)USEC_PER_SEC);
	printf("%9.3f s  ", (double)t->latest_usec / (double)USEC_PER_SEC);
	output_painted(&s->output, output_level_paint(t->at.told), "%-30s",
		       words_level(t->at.told, t->at.critical)->sentence);
	output_text("  %-27s  %9s stalled", words_cause(&n, cause),
		    output_span(t->stall_usec, stall));
	if (!s->only && (s->reader.format == TRACE_OURS || strcmp(o->cgroup, "/") != 0))
		output_text("  %s", o->cgroup);
	return output_end_line();
}

static void told(const struct replay_told *t, void *userdata)
{
	struct one *o = userdata;
	struct session *s = o->session;

	take_time(o, &t->at);
	if (s->printed == 0)
		s->printed = s->json ? print_json(o, t) : print(s, o, t);
}

/* ---- lines --------------------------------------------------------------------------------------- */

#define EACH_CGROUP(o, s)                                        \
	for (unsigned bucket_ = 0; bucket_ < BUCKETS; bucket_++) \
		for (struct one *o = (s)->cgroups[bucket_]; o; o = o->next)

static struct one *find(struct session *s, struct scan cgroup)
{
	struct one **at = &s->cgroups[scan_hash(cgroup) % BUCKETS], *o;

	for (; (o = *at); at = &o->next)
		if (scan_is(cgroup, o->cgroup))
			return o;
	if (s->count == CGROUPS_MAX)
		return NULL;
	s->count++;
	o = calloc(1, sizeof(*o) + cgroup.left + 1);
	if (!o) {
		s->printed = -ENOMEM;
		return NULL;
	}
	memcpy(o->cgroup, cgroup.p, cgroup.left);
	o->session = s;
	replay_init(&o->replay, &s->options, s->privileged, told, o);
	*at = o;
	return o;
}

static const char *take_sample(const struct trace_sample *sample, void *userdata)
{
	struct session *s = userdata;
	struct one *o;

	if ((s->only && !scan_is(sample->cgroup, s->only)) || s->printed < 0)
		return NULL;
	o = s->latest && scan_is(sample->cgroup, s->latest->cgroup) ? s->latest
								    : find(s, sample->cgroup);
	if (!o)
		return s->printed < 0 ? NULL : "of more than 65536 cgroups; name one";
	s->latest = o;
	if (o->replay.begun && sample->time_usec < o->replay.last.time_usec)
		return "its time is before that of the cgroup's line before; left out";
	if (!s->any || sample->time_usec < s->first_usec)
		s->first_usec = sample->time_usec;
	s->any = true;
	s->last_usec = MAX(s->last_usec, sample->time_usec);
	replay_feed(&o->replay, sample);
	return NULL;
}

/* A cgroup of which there were no more lines did not change until the end. */
static void take_end(struct session *s)
{
	EACH_CGROUP(o, s)
	{
		struct trace_sample last = o->replay.last;

		last.time_usec = s->last_usec;
		last.told = 0;
		last.event = EVENT_NONE;
		replay_feed(&o->replay, &last);
	}
}

/* ---- the end ------------------------------------------------------------------------------------- */

static int summarise(struct session *s)
{
	unsigned lows = 0, criticals = 0, neutrals = 0, highs = 0, cgroups = 0, gaps = 0;
	uint64_t low_usec = 0;
	char span[OUTPUT_WORD_MAX], low[OUTPUT_WORD_MAX];

	EACH_CGROUP(o, s)
	{
		cgroups++;
		lows += o->lows;
		criticals += o->criticals;
		neutrals += o->neutrals;
		highs += o->highs;
		gaps += o->replay.gaps;
		low_usec += o->low_usec;
		if (o->low_since_usec > 0)
			low_usec += s->last_usec + 1 - o->low_since_usec;
	}
	if (s->json)
		return output_json(json_pack(
			"{s:s, s:o, s:i, s:i, s:i, s:i, s:i, s:o, s:i}", "event", "summary",
			"duration_usec", output_json_number(s->last_usec - s->first_usec),
			"cgroups", (int)cgroups, "low", (int)lows, "critical", (int)criticals,
			"neutral", (int)neutrals, "high", (int)highs, "low_usec",
			output_json_number(low_usec), "gaps", (int)gaps));
	errno = 0;
	printf("Replayed %s of %u cgroup%s: Low %u (critical %u), Neutral %u, High %u; %s in Low.",
	       output_span(s->last_usec - s->first_usec, span), cgroups, cgroups == 1 ? "" : "s",
	       lows, criticals, neutrals, highs, output_span(low_usec, low));
	if (gaps > 0)
		printf(" Between samples another Low may be hidden, %u time%s.", gaps,
		       gaps == 1 ? "" : "s");
	return output_end_line();
}

static void free_all(struct session *s)
{
	for (unsigned i = 0; i < BUCKETS; i++)
		for (struct one *o = s->cgroups[i], *next; o; o = next) {
			next = o->next;
			free(o);
		}
}

static int replay(struct session *s, const char *file)
{
	int r = trace_file_read("replay", file, take_sample, s, &s->reader);

	take_end(s);
	if (s->printed == 0 && s->any)
		s->printed = summarise(s);
	else if (s->printed == 0 && r == 0) {
		complain("replay", s->only ? "%s: no line is about %s" : "%s: there is no line",
			 file, s->only);
		r = -ENOENT;
	}
	if (s->printed < 0 && s->printed != -EPIPE)
		complain("replay", "%s", strerror(-s->printed));
	free_all(s);
	return r == 0 && (s->printed == 0 || s->printed == -EPIPE) ? EXIT_OK : EXIT_FAILED;
}

/* ---- the command line ------------------------------------------------------------------------------ */

int verb_replay(int argc, char **argv)
{
	static struct session s;
	const char *file = NULL;
	uint64_t rung = PSB_RUNG_PRIVILEGED;
	struct args_setting settings[SETTING_COUNT + 5] = {
		ARGS_FLAG("json", &s.json),
		ARGS_NUMBER("rung", "2 or 3", PSB_RUNG_PRIVILEGED, PSB_RUNG_TRIGGER, &rung),
		ARGS_A_WORD(&file),
		ARGS_SETTING(NULL, NULL, policy_take_cgroup, &s.only, 0, 0),
		ARGS_NO_MORE,
	};
	int status;

	/* options stand before words */
	memmove(settings + SETTING_COUNT, settings, 5 * sizeof(*settings));
	policy_settings(settings, &s.options);
	output_init(&s.output);
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	if (!file) {
		complain("replay", "a FILE is missing; \"-\" is standard input");
		return EXIT_USAGE;
	}
	if (!policy_settings_fit("replay", &s.options))
		return EXIT_USAGE;
	s.privileged = rung == PSB_RUNG_PRIVILEGED;
	return replay(&s, file);
}
