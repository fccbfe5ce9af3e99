/* SPDX-License-Identifier: MIT */
/*
 * status.c - psibridge status: what psibridged knows, for a person who was just woken up
 *
 *     ask --> choose (a cgroup or a pattern) --> print
 *
 * One sentence on top says what matters. Then what is short (the worst first, and of those the one
 * that has been so for longest), then the watches, the clients and the configuration. What would
 * only be noise is counted instead of listed: Neutral cgroups beyond the tenth, and watches that
 * were made for clients and do well.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/control-client.h"
#include "cli/find-cgroup.h"
#include "cli/output.h"
#include "cli/words.h"
#include "core/policy.h"

static const char help[] =
	"psibridge status - is memory short now, where, and is psibridged well?\n"
	"\n"
	"Usage: psibridge status [CGROUP | UNIT | PATTERN] [OPTION...]\n"
	"\n"
	"  --json               print an object\n" CONTROL_HELP "  --help\n"
	"\n"
	"With a CGROUP or PATTERN only that, what lies below it, and the watches that\n"
	"cover it. A UNIT, such as nginx.service, stands for its cgroup.\n"
	"\n"
	"Exit status: 0 memory is nowhere short, 1 psibridged cannot be asked, none of\n"
	"its watches works, or there is no such cgroup, 2 the command line makes no\n"
	"sense, 4 memory is short somewhere (Low; what a candidate in the shadow makes\n"
	"of it does not count).\n"
	"\n"
	"Example: psibridge status 'system.slice/*.service'\n";

#define MOUNT "/sys/fs/cgroup" /* people paste paths with it in front */
#define NEUTRAL_MAX 10

/* ---- the choice ------------------------------------------------------------------------------ */

static bool is_text_of(const struct choice *choice, const json_t *watch)
{
	return choice->pattern &&
	       strcmp(answer_text(watch, "path"), cgpattern_text(choice->pattern) + 1) == 0;
}

/* What was chosen must exist; a unit's name becomes the path of its cgroup. Errors: -ENOENT; it was
 * told. */
static int choice_find(struct choice *choice, const json_t *status)
{
	const json_t *watch;
	char fixed[CGPATH_MAX];

	if (!choice->pattern)
		return find_cgroup("status", choice->path, status);
	/* a watch waits for that to come, and says so */
	EACH_ANSWER(watch, status, "watches")
		if (is_text_of(choice, watch))
			return 0;
	snprintf(fixed, sizeof(fixed), "%s", cgpattern_fixed(choice->pattern));
	return find_cgroup("status", fixed, status);
}

static bool takes(const struct choice *choice, const json_t *cgroup)
{
	size_t n = strcmp(choice->path, "/") == 0 ? 0 : strlen(choice->path);
	const char *path = answer_text(cgroup, "cgroup");

	if (choice->pattern)
		return choice_has(choice, path);
	return strncmp(path, choice->path, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* A watch that covers what was chosen, or has news of it. */
static bool takes_watch(const struct choice *choice, const json_t *status, const json_t *watch)
{
	const json_t *cgroup;

	if (is_text_of(choice, watch) ||
	    (!choice->pattern && choice_covers(answer_text(watch, "path"), choice->path)))
		return true;
	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_number(cgroup, "watch") == answer_number(watch, "id") &&
		    takes(choice, cgroup))
			return true;
	return false;
}

/* From here on a status has only what was chosen. */
static void leave_out(const struct choice *choice, json_t *status)
{
	static const char *const lists[] = { "watches", "cgroups", "history" };

	for (size_t j = 0; j < ELEMENTSOF(lists); j++) {
		json_t *list = json_object_get(status, lists[j]);

		for (size_t i = json_array_size(list); i-- > 0;) {
			const json_t *item = json_array_get(list, i);

			if (!(j == 0 ? takes_watch(choice, status, item) : takes(choice, item)))
				json_array_remove(list, i);
		}
	}
}

/* ---- words ----------------------------------------------------------------------------------- */

/* In whole seconds, at most. */
static const char *long_span(uint64_t usec, char *buf)
{
	return usec < USEC_PER_SEC ? "0 s" : output_span(usec - usec % USEC_PER_SEC, buf);
}

/* How long that was before the answer. */
static const char *ago(const json_t *status, uint64_t usec, char *buf)
{
	return long_span(usec_sub(answer_number(status, "time_usec"), usec), buf);
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

/* Of two cgroups that are Low or Neutral. */
static int worse_first(const void *a, const void *b)
{
	const json_t *x = *(const json_t *const *)a, *y = *(const json_t *const *)b;
	const int orders[] = {
		answer_flag(x, "candidate") - answer_flag(y, "candidate"),
		(int)answer_level(x) - (int)answer_level(y),
		answer_flag(y, "critical") - answer_flag(x, "critical"),
		answer_number(x, "since_usec") < answer_number(y, "since_usec")
			? -1
			: answer_number(x, "since_usec") > answer_number(y, "since_usec"),
	};

	for (size_t i = 0; i < ELEMENTSOF(orders); i++)
		if (orders[i] != 0)
			return orders[i];
	return strcmp(answer_text(x, "cgroup"), answer_text(y, "cgroup"));
}

static const json_t *find_watch(const json_t *status, uint64_t id)
{
	const json_t *watch;

	EACH_ANSWER(watch, status, "watches")
		if (answer_number(watch, "id") == id)
			return watch;
	return NULL;
}

/* Of a time that may be unknown: whether it is not. */
static bool take_span(const json_t *effect, const char *key, char *buf)
{
	output_span(answer_number(effect, key), buf);
	return json_is_integer(json_object_get(effect, key));
}

/* What its clients made of the Lows that they were told. */
static void print_effect(const json_t *status, const char *path)
{
	const json_t *past;

	EACH_ANSWER(past, status, "history") {
		const json_t *effect = json_object_get(past, "effect");
		uint64_t unanswered = answer_number(past, "unanswered");
		uint64_t measured = answer_number(effect, "bytes_back");
		uint64_t reported = answer_number(effect, "reported_bytes");
		char size[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX], after[OUTPUT_WORD_MAX];

		if (!effect || strcmp(answer_text(past, "cgroup"), path) != 0)
			continue;
		fputs("\n      ", stdout);
		if (unanswered > 0)
			printf("told %" PRIu64 " time%s, gave nothing back%s", unanswered,
			       plural(unanswered),
			       unanswered < POLICY_UNANSWERED_MAX ? "" : ": it is told less often");
		else if (measured == 0 && reported > 0)
			printf("gave back %s after the last Low, it says",
			       output_size(reported, size));
		else
			printf("gave back %s after the last Low", output_size(measured, size));
		if (take_span(effect, "first_back_usec", span))
			printf(", %s after the stall began", span);
		if (take_span(effect, "stall_before_usec", span) &&
		    take_span(effect, "stall_after_usec", after))
			printf("; %s stalled in the 5 s before that Low, %s in those after", span,
			       after);
	}
}

static void print_short(const struct output *output, const json_t *status, const json_t *cgroup)
{
	const json_t *watch = find_watch(status, answer_number(cgroup, "watch"));
	uint64_t since_usec = answer_number(cgroup, "since_usec");
	uint64_t current = answer_number(cgroup, "current_bytes");
	uint64_t avg10 = answer_number(cgroup, "some_avg10_centi");
	char at[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX], memory[OUTPUT_MEMORY_MAX];

	output_painted(
		output, output_level_paint(answer_level(cgroup)), "  %s",
		words_level(answer_level(cgroup), answer_flag(cgroup, "critical"))->sentence);
	output_painted(output, PAINT_BOLD, "  %s", answer_text(cgroup, "cgroup"));
	fputs("\n      ", stdout);
	if (since_usec > 0)
		printf("since %.8s (%s), ", output_time(since_usec, at),
		       ago(status, since_usec, span));
	printf("stalls %" PRIu64 ".%02" PRIu64 " %% of the time%s%s", avg10 / 100, avg10 % 100,
	       current > 0 ? ", uses " : "",
	       output_memory(current, answer_number(cgroup, "limit_bytes"), "", memory));
	if (*answer_text(cgroup, "cause_text"))
		output_text("; %s", answer_text(cgroup, "cause_text"));
	print_count(", ", answer_number(cgroup, "clients"), "client");
	if (watch && answer_flag(watch, "shadow"))
		fputs(", in shadow", stdout);
	else
		print_effect(status, answer_text(cgroup, "cgroup"));
	putchar('\n');
}

static void print_all_short(const struct output *output, const json_t *status,
			    const json_t *const *shown, size_t count)
{
	const char *title = NULL, *before;
	size_t neutral = 0;

	for (size_t i = 0; i < count; i++) {
		bool is_low = answer_level(shown[i]) == PSB_LOW;

		before = title;
		title = answer_flag(shown[i], "candidate")
				? "What candidates in the shadow make of it"
			: is_low ? "Short of memory"
				 : "Tight, but not short";
		if (title != before)
			heading(output, title);
		neutral += !is_low;
		if (neutral <= NEUTRAL_MAX)
			print_short(output, status, shown[i]);
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

	output_text("  %s", path);
	printf("\n      at %.8s (%s ago): ", output_time(at_usec, at), ago(status, at_usec, span));
	output_text("%s (process %" PRIu64 ")", answer_text(k, "task"), answer_number(k, "pid"));
	if (usage > 0)
		printf(", %s of %s in use", output_size(usage, used),
		       output_size(answer_number(k, "limit_bytes"), most));
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
			  const json_t *const *shown, size_t count)
{
	char up[OUTPUT_WORD_MAX];
	size_t low = 0, critical = 0;

	while (count > 0 && answer_flag(shown[count - 1], "candidate"))
		count--;
	for (size_t i = 0; i < count && answer_level(shown[i]) == PSB_LOW; i++) {
		low++;
		critical += answer_flag(shown[i], "critical");
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
	output_line(" psibridged %s (pid %" PRIu64 ") has been up for %s.",
		    answer_text(status, "version"), answer_number(status, "pid"),
		    long_span(answer_number(status, "uptime_usec"), up));
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

/* MemoryHighAt=, which says nothing where it is off. */
static void print_memory_high(const struct output *output, const json_t *high)
{
	uint64_t set = answer_number(high, "set"), failed = answer_number(high, "failed");

	printf("      MemoryHigh is %" PRIu64 " %% of MemoryMax in %" PRIu64 " cgroup%s",
	       answer_number(high, "percent"), set, plural(set));
	if (failed > 0)
		output_painted(output, PAINT_BAD, "; not in %" PRIu64 ": %s", failed,
			       answer_text(high, "why"));
	putchar('\n');
}

/* "Low 3 times (1 critical) and Neutral 5 times", as it is counted in `from`. */
static int format_told(const json_t *from, char *buf, size_t size)
{
	uint64_t low = answer_number(from, "low"), critical = answer_number(from, "critical"),
		 neutral = answer_number(from, "neutral");
	char of_them[48] = "";

	if (critical > 0)
		snprintf(of_them, sizeof(of_them), " (%" PRIu64 " critical)", critical);
	return snprintf(buf, size, "Low %" PRIu64 " time%s%s and Neutral %" PRIu64 " time%s", low,
			plural(low), of_them, neutral, plural(neutral));
}

/* The live watch of the same path, or else what is known of that cgroup. */
static int format_live(const json_t *status, const char *path, char *buf, size_t size)
{
	const json_t *item;
	char span[OUTPUT_WORD_MAX];
	int n;

	EACH_ANSWER(item, status, "watches") {
		if (answer_flag(item, "shadow") || strcmp(answer_text(item, "path"), path) != 0)
			continue;
		n = snprintf(buf, size, "; the live one told ");
		return n + format_told(json_object_get(item, "stats"), buf + n, size - (size_t)n);
	}
	EACH_ANSWER(item, status, "history")
		if (strcmp(answer_text(item, "cgroup"), path) == 0)
			return snprintf(
				buf, size, "; live, it became Low %" PRIu64 " time%s, for %s",
				answer_number(item, "low"), plural(answer_number(item, "low")),
				output_span(answer_number(item, "low_usec"), span));
	return 0;
}

/* What one in the shadow would have told, beside what was. */
static void print_would(const struct output *output, const json_t *status, const json_t *watch)
{
	const json_t *would = json_object_get(watch, "would_have_told");
	uint64_t last = answer_number(would, "last_usec");
	char text[512], span[OUTPUT_WORD_MAX], low[OUTPUT_WORD_MAX], at[OUTPUT_WORD_MAX];
	int n;

	n = snprintf(text, sizeof(text), "in shadow: no client is told; it would have told ");
	n += format_told(would, text + n, sizeof(text) - (size_t)n);
	n += snprintf(text + n, sizeof(text) - (size_t)n, " in %s",
		      ago(status, answer_number(watch, "made_usec"), span));
	if (last > 0)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      ", Low last at %.8s, and was Low for %s", output_time(last, at),
			      output_span(answer_number(would, "low_usec"), low));
	format_live(status, answer_text(watch, "path"), text + n, sizeof(text) - (size_t)n);
	output_paragraph(output, "      ", 6, text);
}

static void print_watch(const struct output *output, const json_t *status, const json_t *watch)
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
	puts(answer_flag(watch, "configured") ? "" : "; made for its clients");
	if (answer_flag(watch, "shadow"))
		print_would(output, status, watch);
	if (json_object_get(watch, "memory_high"))
		print_memory_high(output, json_object_get(watch, "memory_high"));
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
		print_watch(output, status, watch);
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
		output_line("  %s", json_is_string(file) ? json_string_value(file) : "?");
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

/* `all`: nothing was chosen and left out. */
static void status_print(const struct output *output, bool all, const json_t *status)
{
	const json_t *cgroups = json_object_get(status, "cgroups"), *cgroup;
	const json_t **shown = calloc(json_array_size(cgroups) + 1, sizeof(*shown));
	size_t count = 0;

	if (!shown) {
		complain("status", "%s", strerror(ENOMEM));
		return;
	}
	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_level(cgroup) != PSB_HIGH)
			shown[count++] = cgroup;
	qsort(shown, count, sizeof(*shown), worse_first);
	print_verdict(output, all, status, shown, count);
	print_all_short(output, status, shown, count);
	free(shown);
	print_killed(output, status);
	print_watches(output, all, status);
	if (all) {
		print_clients(output, status);
		print_configuration(output, status);
	}
}

/* ---------------------------------------------------------------------------------------------- */

/* Is memory short somewhere? */
static bool is_low(const json_t *status)
{
	const json_t *cgroup;

	EACH_ANSWER(cgroup, status, "cgroups")
		if (answer_level(cgroup) == PSB_LOW && !answer_flag(cgroup, "candidate"))
			return true;
	return false;
}

/* `choice` NULL: all. */
static int status(const char *control, struct choice *choice, bool json)
{
	char why[CONTROL_WHY_MAX];
	json_t *answer = NULL;
	struct output output;
	int r = control_ask_status(control, CONTROL_TIMEOUT_USEC, &answer, why);
	int exit_status = EXIT_FAILED;

	if (r < 0)
		complain("status", "%s", why);
	else if (!choice || choice_find(choice, answer) == 0) {
		if (choice)
			leave_out(choice, answer);
		exit_status = is_low(answer)		 ? EXIT_LOW
			      : control_is_blind(answer) ? EXIT_FAILED
							 : EXIT_OK;
		output_init(&output);
		if (json)
			output_json(json_incref(answer));
		else
			status_print(&output, !choice, answer);
	}
	json_decref(answer);
	return exit_status;
}

int verb_status(int argc, char **argv)
{
	const char *control = NULL, *word = NULL, *why;
	bool json = false;
	const struct args_setting settings[] = {
		CONTROL_SETTING(&control),
		ARGS_FLAG("json", &json),
		ARGS_A_WORD(&word),
		ARGS_NO_MORE,
	};
	struct choice choice = { 0 };
	int exit_status;

	if (!args_read(argc, argv, settings, help, &exit_status))
		return exit_status;
	if (word && choice_make(word, MOUNT, &choice, &why) < 0) {
		complain("status", "\"%s\": %s", word, why);
		return EXIT_USAGE;
	}
	exit_status = status(control, word ? &choice : NULL, json);
	choice_done(&choice);
	return exit_status;
}
