/* SPDX-License-Identifier: MIT */
/*
 * doctor.c - psibridge doctor: how soon is pressure noticed here, why not sooner, what to do
 *
 * psb_diagnose() tries every rung and tells its findings, which are kept, as the objects that --json
 * prints, until all are there: the verdict stands first and follows from them. Then a watch is made with the same options and given
 * up, so that the verdict speaks of what a program would really get (which trigger, which window).
 *
 * A target that makes sense and cannot be watched (no such cgroup, switched off by systemd) is a
 * verdict too.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/output.h"
#include "cli/target-options.h"
#include "cli/words.h"

#define VERDICT_MAX 1024

static const char help[] =
	"psibridge doctor - how soon is memory pressure noticed here, and how could it\n"
	"be sooner?\n"
	"\n"
	"Tries every rung of the ladder, best first, and says what works, why the rest\n"
	"does not, and what to do about it. Run it as the user, and in the container or\n"
	"service, that the program in question runs in.\n"
	"\n"
	"Usage: psibridge doctor [--cgroup PATH | --unit NAME | --pid N | --source PATH |\n"
	"                         --pattern PATTERN] [OPTION...]\n"
	"\n"
	"  --json               one JSON object: the verdict and all findings\n"
	"  --help\n"
	"\n" TARGET_HELP "\n"
	"Exit status: 0 some rung works, 1 none does, 2 the command line makes no sense.\n";

struct diagnosis {
	struct target_options target;
	json_t *findings;
	bool out_of_memory;
	char verdict[VERDICT_MAX], advice[VERDICT_MAX];
	int error;	      /* of psb_diagnose() */
	unsigned rung;	      /* taken; 0: none works */
	struct probed probed; /* its rung is 0: no watch could be made */
};

/* By the status of a finding. */
static const struct mark {
	const char *id, *utf8, *ascii;
	enum paint paint;
} marks[] = {
	{ "works", "✓", "+", PAINT_GOOD },
	{ "could-be-better", "!", "!", PAINT_WARN },
	{ "does-not-work", "✗", "x", PAINT_BAD },
};

static json_t *error_json(int error)
{
	const char *name = error != 0 ? strerrorname_np(error) : NULL;

	return name ? json_string(name) : json_null();
}

static void collect(const struct psb_finding *f, void *userdata)
{
	struct diagnosis *d = userdata;

	if (f->taken)
		d->rung = f->rung;
	if (json_array_append_new(
		    d->findings,
		    json_pack("{s:i, s:s, s:s, s:b, s:o, s:o, s:o}", "rung", (int)f->rung, "id",
			      f->id, "status", marks[CLAMP(f->status, 0, 2)].id, "taken", f->taken,
			      "error", error_json(f->error), "what", output_json_text(f->what),
			      "advice", output_json_text(f->advice))) < 0)
		d->out_of_memory = true;
}

/* ---- the verdict ---------------------------------------------------------------------------- */

/* The source that a watch gets; `source.rung` stays 0 if there is no watch to be had. */
static int try_watch(struct diagnosis *d)
{
	struct psb_watch_options options = d->target.watch;

	/* a psibridged that refuses is found out only after it was taken */
	if (d->rung > PSB_RUNG_PROTOCOL)
		options.rungs = (options.rungs ? options.rungs : ~0u) &
				~PSB_RUNG_MASK(PSB_RUNG_PROTOCOL);
	return target_probe(&options, &d->probed);
}

/* "/a.slice/b.service", with who that is where the person did not say so himself. */
static void name_target(const struct diagnosis *d, char *buf, size_t size)
{
	const char *path = *d->probed.cgroup ? d->probed.cgroup : "the cgroup",
		   *open = *d->probed.cgroup ? "(" : "", *close = *d->probed.cgroup ? ")" : "";

	if (d->target.watch.pid != 0)
		snprintf(buf, size, "%s %sof process %s%s", path, open, d->target.target_value,
			 close);
	else if (d->target.watch.unit)
		snprintf(buf, size, "%s", d->target.watch.unit);
	else if (d->target.target)
		snprintf(buf, size, "%.512s", d->target.target_value);
	else
		snprintf(buf, size, "%s %sof this process%s", path, open, close);
}

static void judge(struct diagnosis *d)
{
	char soon[WORDS_SOON_MAX], what[600];

	if (d->error < 0) {
		snprintf(d->verdict, sizeof(d->verdict), "No pressure will be noticed: %s.",
			 target_options_error(&d->target, d->error));
		if (d->error == -ENODATA || !d->target.target)
			snprintf(d->advice, sizeof(d->advice),
				 "Name a target (--cgroup, --unit), or unset MEMORY_PRESSURE_WATCH "
				 "(systemd: MemoryPressureWatch=auto).");
		return;
	}
	if (d->rung > 0)
		d->error = try_watch(d);
	name_target(d, what, sizeof(what));
	if (d->rung == 0 || d->error < 0) {
		snprintf(d->verdict, sizeof(d->verdict), "Pressure in %s will not be noticed: %s.",
			 what,
			 d->rung == 0 ? "no rung of the ladder works here"
				      : target_options_error(&d->target, d->error));
		d->rung = 0;
		return;
	}
	words_soon(&d->probed.source, d->target.low_window_usec, soon);
	if (d->probed.source.rung == PSB_RUNG_MACHINE) {
		snprintf(
			d->verdict, sizeof(d->verdict),
			"Pressure in %s cannot be told from that of the whole machine, which will be noticed %s (rung 6 of 6).",
			what, soon);
		return;
	}
	snprintf(d->verdict, sizeof(d->verdict),
		 "Pressure in %s will be noticed %s (rung %u of 6: %s).", what, soon,
		 d->probed.source.rung, words_how(&d->probed.source));
}

/* ---- for people ----------------------------------------------------------------------------- */

static struct mark mark_of(const json_t *finding)
{
	const char *status = answer_text(finding, "status");
	size_t i = 0;

	/* it was not asked for, so it is no fault */
	if (answer_number(finding, "rung") > 0 &&
	    strcmp(answer_text(finding, "error"), "ENODATA") == 0)
		return (struct mark){ status, "-", "-", PAINT_DIM };
	while (strcmp(marks[i].id, status) != 0)
		i++;
	return marks[i];
}

#define INDENT 4u
#define INDENT_RUNG 6u

static void print_advice(const struct output *o, unsigned indent, const char *advice)
{
	char first[64];

	if (!*advice)
		return;
	snprintf(first, sizeof(first), "%*s%s%s%s ", (int)indent, "", output_paint(o, PAINT_BOLD),
		 o->utf8 ? "→" : "->", output_paint(o, PAINT_PLAIN));
	output_paragraph(o, first, indent + (o->utf8 ? 2 : 3), advice);
}

/* `dim`: a rung that would be tried only if a better one did not work. */
static void print_finding(const struct output *o, const json_t *finding, bool dim)
{
	unsigned rung = (unsigned)answer_number(finding, "rung");
	struct mark mark = mark_of(finding);
	char first[64], number[16] = "", text[1024];

	if (rung > 0)
		snprintf(number, sizeof(number), " %u", rung);
	snprintf(first, sizeof(first), "  %s%s%s%s ", output_paint(o, dim ? PAINT_DIM : mark.paint),
		 o->utf8 ? mark.utf8 : mark.ascii, dim ? "" : output_paint(o, PAINT_PLAIN), number);
	snprintf(text, sizeof(text), "%s%s", answer_flag(finding, "taken") ? "taken: " : "",
		 answer_text(finding, "what"));
	output_paragraph(o, first, rung > 0 ? INDENT_RUNG : INDENT, text);
	if (dim)
		fputs(output_paint(o, PAINT_PLAIN), stdout);
}

static const char *const titles[] = { "The ladder: the first rung that works is taken", "Also" };

/* `also`: what is no step of the ladder. */
static void print_group(const struct output *o, const struct diagnosis *d, bool also)
{
	const char *advised = "";
	const json_t *finding;
	bool any = false;
	size_t i;

	json_array_foreach(d->findings, i, finding)
	{
		const char *advice = answer_text(finding, "advice");
		unsigned rung = (unsigned)answer_number(finding, "rung");

		if (also != (rung == 0))
			continue;
		if (!any) {
			putchar('\n');
			output_painted(o, PAINT_BOLD, "%s", titles[also]);
			putchar('\n');
		}
		any = true;
		print_finding(o, finding, rung > d->rung && d->rung > 0);
		/* the same advice twice in a row is noise */
		if (strcmp(advice, advised) != 0)
			print_advice(o, rung > 0 ? INDENT_RUNG : INDENT, advice);
		advised = advice;
	}
}

static void print(const struct diagnosis *d)
{
	struct output o;

	output_init(&o);
	fputs(output_paint(&o, d->rung > 0 ? PAINT_BOLD : PAINT_BAD), stdout);
	output_paragraph(&o, "", 0, d->verdict);
	fputs(output_paint(&o, PAINT_PLAIN), stdout);
	print_advice(&o, 2, d->advice);
	print_group(&o, d, false);
	print_group(&o, d, true);
}

/* ---- for scripts ---------------------------------------------------------------------------- */

static void print_json(const struct diagnosis *d)
{
	output_json(json_pack("{s:o, s:o, s:b, s:i, s:o, s:s, s:s, s:o}", "verdict",
			      output_json_text(d->verdict), "advice", output_json_text(d->advice),
			      "works", d->rung > 0, "rung", (int)d->probed.source.rung, "error",
			      error_json(-d->error), "source",
			      d->probed.source.name ? d->probed.source.name : "", "trigger",
			      d->probed.source.trigger, "findings", json_incref(d->findings)));
}

static int examine(struct diagnosis *d, bool json)
{
	d->error = psb_diagnose(&d->target.watch, collect, d);
	if (d->out_of_memory || d->error == -ENOMEM) {
		complain("doctor", "out of memory");
		return EXIT_FAILED;
	}
	if (d->error < 0 && target_options_status(&d->target, d->error) == EXIT_USAGE) {
		complain("doctor", "%s", target_options_error(&d->target, d->error));
		return EXIT_USAGE;
	}
	judge(d);
	(json ? print_json : print)(d);
	return d->rung > 0 ? EXIT_OK : EXIT_FAILED;
}

int verb_doctor(int argc, char **argv)
{
	struct diagnosis d = { 0 };
	bool json = false;
	const struct args_setting settings[] = {
		ARGS_FLAG("json", &json),
		TARGET_SETTINGS(&d.target),
		ARGS_NO_MORE,
	};
	int status;

	target_options_init(&d.target);
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	d.findings = json_array();
	status = examine(&d, json);
	json_decref(d.findings);
	return status;
}
