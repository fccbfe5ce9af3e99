/* SPDX-License-Identifier: MIT */
/*
 * status-print.c - the screen of `psibridge status`
 *
 * One sentence on top says what matters. Then what is short (the worst first, and of those the one
 * that has been so for longest), then the watches, the clients and the configuration. What would
 * only be noise is counted instead of listed: Neutral cgroups beyond the tenth, and watches that
 * were made for clients and do well.
 */
#include "cli/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/words.h"

#define NEUTRAL_MAX 10

/* ---- words ----------------------------------------------------------------------------------- */

/* "42 s", "3 min 5 s", "7 h 12 min", "3 d 4 h" */
static void long_span(uint64_t usec, char *buf)
{
	uint64_t s = usec / USEC_PER_SEC, minutes = s / 60, hours = minutes / 60;

	if (s < 60)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " s", s);
	else if (minutes < 60)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " min %" PRIu64 " s", minutes, s % 60);
	else if (hours < 24)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " h %" PRIu64 " min", hours,
			 minutes % 60);
	else
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " d %" PRIu64 " h", hours / 24,
			 hours % 24);
}

static const char *plural(uint64_t n)
{
	return n == 1 ? "" : "s";
}

static void heading(const struct output *output, const char *text)
{
	putchar('\n');
	output_painted(output, PAINT_BOLD, "%s", text);
	putchar('\n');
}

/* `before`, how many, and what of: "; 1 client", "; 2 clients"; nothing of 0. */
static void print_count(const char *before, uint64_t n, const char *what)
{
	if (n > 0)
		printf("%s%" PRIu64 " %s%s", before, n, what, plural(n));
}

/* ---- what is short --------------------------------------------------------------------------- */

struct shown {
	const json_t *cgroup;
	enum psb_available available;
	bool critical, candidate;
	uint64_t since_usec;
};

static int worse_first(const void *a, const void *b)
{
	const struct shown *x = a, *y = b;

	if (x->candidate != y->candidate)
		return x->candidate ? 1 : -1;
	if (x->available != y->available)
		return x->available < y->available ? -1 : 1;
	if (x->critical != y->critical)
		return x->critical ? -1 : 1;
	if (x->since_usec != y->since_usec)
		return x->since_usec < y->since_usec ? -1 : 1;
	return strcmp(answer_text(x->cgroup, "cgroup"), answer_text(y->cgroup, "cgroup"));
}

static const json_t *find_watch(const json_t *status, uint64_t id)
{
	const json_t *watch;

	EACH_ANSWER(watch, status, "watches")
		if (answer_number(watch, "id") == id)
			return watch;
	return NULL;
}

static void print_short(const struct output *output, const json_t *status, const struct shown *s)
{
	const json_t *watch = find_watch(status, answer_number(s->cgroup, "watch"));
	uint64_t current = answer_number(s->cgroup, "current_bytes");
	uint64_t avg10 = answer_number(s->cgroup, "some_avg10_centi");
	char at[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX], memory[OUTPUT_MEMORY_MAX];

	output_painted(output, output_level_paint(s->available), "  %s",
		       words_level(s->available, s->critical)->sentence);
	output_painted(output, PAINT_BOLD, "  %s", answer_text(s->cgroup, "cgroup"));
	fputs("\n      ", stdout);
	if (s->since_usec > 0) {
		output_time(s->since_usec, at);
		long_span(usec_sub(answer_number(status, "time_usec"), s->since_usec), span);
		printf("since %.8s (%s), ", at, span);
	}
	printf("stalls %" PRIu64 ".%02" PRIu64 " %% of the time%s%s", avg10 / 100, avg10 % 100,
	       current > 0 ? ", uses " : "",
	       output_memory(current, answer_number(s->cgroup, "limit_bytes"), "", memory));
	print_count(", ", answer_number(s->cgroup, "clients"), "client");
	puts(watch && answer_flag(watch, "shadow") ? ", in shadow: no client is told" : "");
}

static void print_all_short(const struct output *output, const json_t *status,
			    const struct shown *shown, size_t count)
{
	const char *title = NULL, *before;
	size_t neutral = 0;

	for (size_t i = 0; i < count; i++) {
		before = title;
		title = shown[i].candidate		? "What candidates in the shadow make of it"
			: shown[i].available == PSB_LOW ? "Short of memory"
							: "Tight, but not short";
		if (title != before)
			heading(output, title);
		neutral += shown[i].available == PSB_NEUTRAL;
		if (neutral <= NEUTRAL_MAX)
			print_short(output, status, &shown[i]);
	}
	if (neutral > NEUTRAL_MAX)
		printf("  and %zu more that are Neutral; --json lists all\n",
		       neutral - NEUTRAL_MAX);
}

static void print_kill(const json_t *status, const json_t *cgroup)
{
	const json_t *k = json_object_get(cgroup, "last");
	uint64_t usage = answer_number(k, "usage_bytes"), at_usec = answer_number(k, "time_usec");
	const char *path = answer_text(cgroup, "cgroup"), *limit = answer_text(k, "limit");
	char at[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX], used[OUTPUT_WORD_MAX],
		most[OUTPUT_WORD_MAX];

	output_time(at_usec, at);
	long_span(usec_sub(answer_number(status, "time_usec"), at_usec), span);
	output_size(usage, used);
	output_size(answer_number(k, "limit_bytes"), most);
	output_text("  %s", path);
	printf("\n      at %.8s (%s ago): ", at, span);
	output_text("%s (process %" PRIu64 ")", answer_text(k, "task"), answer_number(k, "pid"));
	if (usage > 0)
		printf(", %s of %s in use", used, most);
	if (strcmp(limit, path) != 0)
		output_text("%s%s",
			    *limit ? ", by the limit of " : ", by the machine's end of memory",
			    limit);
	if (answer_number(cgroup, "killed") > 1)
		print_count("; ", answer_number(cgroup, "killed"), "time");
	putchar('\n');
}

/* By the kernel, and maybe gone since. */
static void print_killed(const struct output *output, const json_t *status)
{
	const json_t *cgroup;
	bool begun = false;

	EACH_ANSWER(cgroup, status, "history") {
		if (answer_number(cgroup, "killed") == 0)
			continue;
		if (!begun)
			heading(output, "Killed by the kernel for want of memory");
		begun = true;
		print_kill(status, cgroup);
	}
}

/* The first line: who speaks, and the answer to the question. */
static void print_verdict(const struct output *output, bool all, const json_t *status,
			  const struct shown *shown, size_t count)
{
	char up[OUTPUT_WORD_MAX];
	size_t low = 0, critical = 0;

	while (count > 0 && shown[count - 1].candidate)
		count--;
	for (size_t i = 0; i < count; i++) {
		low += shown[i].available == PSB_LOW;
		critical += shown[i].available == PSB_LOW && shown[i].critical;
	}
	if (low > 0)
		output_painted(output, PAINT_BAD, "Memory is short in %zu cgroup%s%s.", low,
			       plural(low),
			       critical == 0	? ""
			       : critical < low ? ", in some of them critically"
						: ", critically");
	else if (count > 0)
		output_painted(output, PAINT_WARN,
			       "Memory is tight in %zu cgroup%s, short in none.", count,
			       plural(count));
	else if (control_is_blind(status))
		output_painted(output, PAINT_BAD, "Nothing is known of memory: no watch works.");
	else
		output_painted(output, PAINT_GOOD, "Memory is nowhere short%s.",
			       all ? "" : " there");
	long_span(answer_number(status, "uptime_usec"), up);
	output_text(" psibridged %s (pid %" PRIu64 ") has been up for %s.",
		    answer_text(status, "version"), answer_number(status, "pid"), up);
	putchar('\n');
}

/* ---- the watches ----------------------------------------------------------------------------- */

static void print_how(const struct output *output, const json_t *watch)
{
	const json_t *from = json_object_get(watch, "source");
	struct psb_source source = {
		.size = sizeof(source),
		.rung = (unsigned)answer_number(from, "rung"),
		.name = answer_text(from, "name"),
		.cgroup = "",
	};

	snprintf(source.trigger, sizeof(source.trigger), "%.63s", answer_text(from, "trigger"));
	output_painted(output, output_level_paint(answer_level(watch)), "%-7s",
		       words_level(answer_level(watch), false)->brief);
	printf("  rung %u: %s", source.rung, words_how(&source));
}

static bool is_watching(const json_t *watch)
{
	return strcmp(answer_text(watch, "state"), "watching") == 0;
}

static void print_watch(const struct output *output, const json_t *watch)
{
	bool failed = strcmp(answer_text(watch, "state"), "failed") == 0;

	output_text("  %s", answer_text(watch, "path"));
	fputs("\n      ", stdout);
	if (is_watching(watch)) {
		print_how(output, watch);
	} else {
		output_painted(output, failed ? PAINT_BAD : PAINT_DIM, "%s",
			       failed ? "FAILED" : "absent");
		output_text(": %s", answer_text(watch, "why"));
	}
	print_count("; ", answer_number(watch, "clients"), "client");
	printf("%s%s\n", answer_flag(watch, "shadow") ? "; in shadow: no client is told" : "",
	       answer_flag(watch, "configured") ? "" : "; made for its clients");
}

/* Why rungs are not better, each reason once. */
static void print_reasons(const struct output *output, const json_t *status)
{
	const char *told[4];
	const json_t *watch;
	size_t count = 0;

	EACH_ANSWER(watch, status, "watches") {
		const json_t *source = json_object_get(watch, "source");
		const char *why = answer_text(source, "why");
		bool known = !*why;
		char first[64];

		for (size_t j = 0; j < count && !known; j++)
			known = strcmp(told[j], why) == 0;
		if (known || count == ELEMENTSOF(told))
			continue;
		told[count++] = why;
		snprintf(first, sizeof(first),
			 "  Rung %u and no better: ", (unsigned)answer_number(source, "rung"));
		output_paragraph(output, first, (unsigned)strlen(first), why);
	}
	if (count > 0)
		puts("  \"psibridge doctor\", run as the daemon is, says how to get a better one.");
}

static void print_watches(const struct output *output, bool all, const json_t *status)
{
	size_t own = 0, shown = 0;
	const json_t *watch;

	heading(output, "Watches");
	EACH_ANSWER(watch, status, "watches") {
		if (all && !answer_flag(watch, "configured") && is_watching(watch)) {
			own++;
			continue;
		}
		print_watch(output, watch);
		shown++;
	}
	if (own > 0)
		printf("  %zu more, made for clients that no configured watch covers\n", own);
	if (own == 0 && shown == 0)
		puts(all ? "  none: nothing is configured, and no client came"
			 : "  none covers it");
	print_reasons(output, status);
}

/* ---- clients and configuration --------------------------------------------------------------- */

static void print_clients(const struct output *output, const json_t *status)
{
	const json_t *c = json_object_get(status, "clients");
	uint64_t refused = answer_number(c, "refused"), told = answer_number(c, "told");

	heading(output, "Clients");
	printf("  %" PRIu64 " connected of at most %" PRIu64 " (%" PRIu64
	       " of systemd's protocol, %" PRIu64 " of libpsibridge)\n",
	       answer_number(c, "connected"), answer_number(c, "max"), answer_number(c, "plain"),
	       answer_number(c, "records"));
	printf("  told %" PRIu64 " time%s", told, plural(told));
	if (answer_number(c, "replaced") > 0)
		printf(", %" PRIu64 " repeats overtaken because a client was slow",
		       answer_number(c, "replaced"));
	if (refused > 0)
		output_painted(output, PAINT_WARN,
			       "; %" PRIu64 " client%s refused (the journal says why)", refused,
			       plural(refused));
	putchar('\n');
}

static void print_configuration(const struct output *output, const json_t *status)
{
	const json_t *c = json_object_get(status, "configuration");
	const json_t *files = json_object_get(c, "files"), *file;

	heading(output, "Configuration");
	if (*answer_text(c, "error")) {
		output_painted(output, PAINT_BAD,
			       "  The last reload was refused, the older configuration stays:");
		putchar('\n');
		output_paragraph(output, "      ", 6, answer_text(c, "error"));
	}
	EACH_ANSWER(file, c, "files") {
		output_text("  %s", json_is_string(file) ? json_string_value(file) : "?");
		putchar('\n');
	}
	if (json_array_size(files) == 0)
		puts("  the built-in one: there is no file");
	if (*answer_text(status, "backend_why"))
		output_paragraph(output, "  It runs on epoll: ", 20,
				 answer_text(status, "backend_why"));
	if (strcmp(answer_text(status, "version"), psb_version()) != 0)
		printf("  This is psibridge %s: psibridged was not restarted since the update.\n",
		       psb_version());
}

int status_print(const struct output *output, bool all, const json_t *status)
{
	const json_t *cgroups = json_object_get(status, "cgroups"), *cgroup;
	struct shown *shown = calloc(json_array_size(cgroups) + 1, sizeof(*shown));
	size_t count = 0;

	if (!shown)
		return -ENOMEM;
	EACH_ANSWER(cgroup, status, "cgroups") {
		if (answer_level(cgroup) == PSB_HIGH)
			continue;
		shown[count++] = (struct shown){
			.cgroup = cgroup,
			.available = answer_level(cgroup),
			.critical = answer_flag(cgroup, "critical"),
			.candidate = answer_flag(cgroup, "candidate"),
			.since_usec = answer_number(cgroup, "since_usec"),
		};
	}
	qsort(shown, count, sizeof(*shown), worse_first);
	errno = 0;
	print_verdict(output, all, status, shown, count);
	print_all_short(output, status, shown, count);
	free(shown);
	print_killed(output, status);
	print_watches(output, all, status);
	if (all) {
		print_clients(output, status);
		print_configuration(output, status);
	}
	return output_end();
}
