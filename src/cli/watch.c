/* SPDX-License-Identifier: MIT */
/*
 * watch.c - psibridge watch: a line for every notification
 *
 * One thread and one poll(2) over three descriptors: the bridge's, a signalfd for SIGINT and
 * SIGTERM, and standard output, only to hear that its reader went. The callback is inline, so it
 * runs inside psb_bridge_dispatch() and may print.
 *
 *     armed --(notification, source)*--> end: count | duration | signal | gone | reader
 *
 * The callback cannot stop the loop; it notes the end in `session` and the loop looks after each
 * dispatch. After the end nothing more is printed but the summary, so --count 3 prints three, also
 * when a dispatch brings more.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/output.h"
#include "cli/target-options.h"
#include "cli/wait.h"
#include "cli/words.h"
#include "core/cgpath.h"
#include "core/duration.h"
#include "core/names.h"

static const char help[] =
	"psibridge watch - print a line whenever the judgement of memory changes\n"
	"\n"
	"Usage: psibridge watch [--cgroup PATH | --unit NAME | --pid N | --source PATH |\n"
	"                        --pattern PATTERN] [OPTION...]\n"
	"\n"
	"Output:\n"
	"  --json               one JSON object a line\n"
	"  --count N            end after N notifications\n"
	"  --duration TIME      end after that time\n"
	"  --help\n"
	"\n" TARGET_HELP "\n"
	"Times are written with a unit: 500us, 200ms, 10s, 5min, 1h. Exit status: 0\n"
	"ended as asked, 1 cannot watch, 2 the command line makes no sense, 3 the cgroup\n"
	"was removed.\n"
	"\n"
	"Example: psibridge watch --unit nginx --low \"some 100ms/1s\"\n";

enum end { RUNNING, END_COUNT, END_DURATION, END_SIGNAL, END_GONE, END_READER, END_FAILED };

static const char *const end_id[] = {
	"", "count", "duration", "signal", "gone", "reader", "failed"
};

struct session {
	struct output output;
	struct target_options target;
	bool json;
	uint64_t count;		/* 0: no limit */
	uint64_t duration_usec; /* USEC_NEVER: no limit */

	psb_bridge *bridge;
	psb_watch *watch;
	uint64_t started_usec, notifications;
	enum end end;
};

/* `r` is what printing a line returned. */
static void printed(struct session *s, int r)
{
	if (r == 0 || s->end == END_READER || s->end == END_FAILED)
		return;
	s->end = r == -EPIPE ? END_READER : END_FAILED;
	if (r != -EPIPE)
		complain("watch", "standard output: %s", strerror(-r));
}

/* ---- notifications -------------------------------------------------------------------------- */

/* Memory in use: 0 is unknown. */
static json_t *use_json(uint64_t bytes)
{
	return bytes > 0 ? output_json_number(bytes) : json_null();
}

static json_t *known_json(uint64_t usec)
{
	return usec != PSB_UNKNOWN ? output_json_number(usec) : json_null();
}

static int print_notification_json(const struct psb_notification *n)
{
	char front[CGPATH_MAX];
	json_t *cause;

	snprintf(front, sizeof(front), "%.*s", (int)n->cause_length, n->cgroup);
	cause = front[0] ? output_json_text(front) : json_null();
	return output_json(json_pack(
		"{s:s, s:I, s:I, s:o, s:s, s:b, s:s, s:I, s:I, s:I, s:I, s:i, s:o, s:I, s:s, s:o}",
		"event", n->kind == PSB_KIND_GONE ? "gone" : "notification", "time_usec",
		n->time_usec, "realtime_usec", output_realtime(n->time_usec), "cgroup",
		output_json_text(n->cgroup), "available", name_of_available(n->available),
		"critical", n->critical, "reason", name_of_reason(n->reason), "since_usec",
		n->since_usec, "some_total_usec", n->some_total_usec, "full_total_usec",
		n->full_total_usec, "stall_usec", n->stall_usec, "some_avg10_centi",
		(int)n->some_avg10_centi, "current_bytes", use_json(n->current_bytes),
		"limit_bytes", n->limit_bytes, "cause", name_of_cause(n->cause), "cause_cgroup",
		cause));
}

static int print_notification(struct session *s, const struct psb_notification *n)
{
	char when[OUTPUT_WORD_MAX], stall[OUTPUT_WORD_MAX], memory[OUTPUT_MEMORY_MAX];
	char cause[CAUSE_TEXT_MAX];
	bool gone = n->kind == PSB_KIND_GONE;

	errno = 0;
	printf("%s  ", output_time(n->time_usec, when));
	output_painted(&s->output, gone ? PAINT_DIM : output_level_paint(n->available), "%-30s",
		       gone ? "Gone" : words_level(n->available, n->critical)->sentence);
	output_text("  %-27s  %9s stalled  %s", words_cause(n, cause),
		    output_span(n->stall_usec, stall),
		    output_memory(n->current_bytes, n->limit_bytes, " in use", memory));
	if (s->target.watch.pattern)
		output_text("  %s", n->cgroup);
	return output_end_line();
}

/* What the last Low achieved. */
static int print_effect_json(const struct psb_notification *n, const struct psb_stats *st)
{
	return output_json(json_pack(
		"{s:s, s:I, s:I, s:o, s:I, s:I, s:o, s:o, s:o, s:I}", "event", "effect",
		"time_usec", n->time_usec, "realtime_usec", output_realtime(n->time_usec), "cgroup",
		output_json_text(n->cgroup), "low_usec", st->effect_usec, "bytes_back",
		st->effect_bytes, "first_back_usec", known_json(st->first_back_usec),
		"stall_before_usec", known_json(st->stall_before_usec), "stall_after_usec",
		known_json(st->stall_after_usec), "unanswered", st->unanswered));
}

static int print_effect(struct session *s, const struct psb_notification *n,
			const struct psb_stats *st)
{
	char when[OUTPUT_WORD_MAX], size[OUTPUT_WORD_MAX], span[OUTPUT_WORD_MAX],
		after[OUTPUT_WORD_MAX];
	bool gave = st->effect_bytes > 0;

	errno = 0;
	printf("%s  ", output_time(n->time_usec, when));
	output_painted(&s->output, PAINT_DIM, "%s%s", gave ? "Gave back " : "Gave nothing back",
		       gave ? output_size(st->effect_bytes, size) : "");
	if (st->first_back_usec != PSB_UNKNOWN)
		printf(", %s after the stall began", output_span(st->first_back_usec, span));
	if (st->stall_before_usec != PSB_UNKNOWN && st->stall_after_usec != PSB_UNKNOWN)
		printf("; %s stalled in the 5 s before that Low, %s in those after",
		       output_span(st->stall_before_usec, span),
		       output_span(st->stall_after_usec, after));
	if (s->target.watch.pattern)
		output_text("  %s", n->cgroup);
	return output_end_line();
}

static void tell_effect(struct session *s, const struct psb_notification *n)
{
	struct psb_stats st = { .size = sizeof(st) };

	if (psb_watch_stats(s->watch, &st) == 0)
		printed(s, s->json ? print_effect_json(n, &st) : print_effect(s, n, &st));
}

/* ---- the source ----------------------------------------------------------------------------- */

static int print_source_json(struct session *s, const char *event, const struct psb_source *source)
{
	const char *why_not_uring;
	struct psb_load load = { .size = sizeof(load) };
	enum psb_backend backend = psb_bridge_backend(s->bridge, &why_not_uring);
	int critical;
	enum psb_available available = psb_watch_available(s->watch, &critical);
	json_t *object;
	int r;

	r = psb_watch_load(s->watch, &load);
	object = json_pack(
		"{s:s, s:I, s:I, s:s, s:i, s:s, s:o, s:o, s:s, s:b, s:o, s:o, s:s, s:b, s:o, s:o}",
		"event", event, "time_usec", now_usec(), "realtime_usec",
		output_realtime(now_usec()), "source", source->name, "rung", (int)source->rung,
		"backend", words_backend_id(backend), "cgroup", output_json_text(source->cgroup),
		"path", output_json_text(source->path), "trigger", source->trigger, "events",
		source->events, "why", output_json_text(source->why), "backend_why",
		output_json_text(why_not_uring), "available", name_of_available(available),
		"critical", critical, "current_bytes", use_json(load.current_bytes), "limit_bytes",
		r < 0 ? json_null() : output_json_number(load.machine ? 0 : load.limit_bytes));
	if (object && s->target.watch.pattern)
		json_object_set_new(object, "pattern", output_json_text(s->target.watch.pattern));
	return output_json(object);
}

static int print_source(struct session *s, const char *begin, const struct psb_source *source)
{
	const char *pattern = s->target.watch.pattern;
	char soon[WORDS_SOON_MAX], memory[OUTPUT_MEMORY_MAX];
	struct psb_load load = { .size = sizeof(load) };

	words_soon(source, s->target.low_window_usec, soon);
	errno = 0;
	output_text("%s%s%s", begin, pattern ? "all of " : "",
		    pattern				? pattern
		    : source->rung == PSB_RUNG_PROTOCOL ? source->path
							: source->cgroup);
	if (psb_watch_load(s->watch, &load) == 0 && !load.machine)
		output_text(" (%s)",
			    output_memory(load.current_bytes, load.limit_bytes, " in use", memory));
	if (source->rung == 0)
		output_text(". Pressure will not be noticed until a source works again: %s",
			    source->why);
	else
		output_text(". Pressure will be noticed %s, by %s (rung %u of 6%s).", soon,
			    words_how(source), source->rung,
			    source->why[0] ? "; \"psibridge doctor\" says how to get a better one"
					   : "");
	return output_end_line();
}

static void tell_source(struct session *s, bool armed)
{
	struct psb_source source = { .size = sizeof(source) };
	int r = psb_watch_source(s->watch, &source);

	if (r < 0)
		return;
	if (s->json)
		r = print_source_json(s, armed ? "armed" : "source", &source);
	else
		r = print_source(s, armed ? "Watching " : "Now watching ", &source);
	printed(s, r);
}

static void told(const struct psb_notification *n, void *userdata)
{
	struct session *s = userdata;

	if (s->end != RUNNING)
		return;
	if (n->kind == PSB_KIND_SOURCE) {
		tell_source(s, false);
		return;
	}
	if (n->kind == PSB_KIND_EFFECT) {
		tell_effect(s, n);
		return;
	}
	printed(s, s->json ? print_notification_json(n) : print_notification(s, n));
	if (s->end != RUNNING)
		return;
	/* one of a pattern's cgroups may go: the pattern stays */
	if (n->kind == PSB_KIND_GONE && !s->target.watch.pattern)
		s->end = END_GONE;
	else if (n->kind == PSB_KIND_LEVEL && ++s->notifications == s->count)
		s->end = END_COUNT;
}

/* ---- the end -------------------------------------------------------------------------------- */

static int print_summary_json(const struct session *s, uint64_t usec, const struct psb_stats *st)
{
	return output_json(json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		"event", "summary", "end", end_id[s->end], "duration_usec", usec, "notifications",
		s->notifications, "low", st->low, "critical", st->critical, "neutral", st->neutral,
		"high", st->high, "alarms", st->alarms, "false_alarms", st->false_alarms,
		"lost_alarms", st->lost_alarms, "samples", st->samples, "sweeps", st->sweeps,
		"bytes_back", st->bytes_back, "members", st->members));
}

static void summarise(struct session *s)
{
	struct psb_stats st = { .size = sizeof(st) };
	uint64_t usec = now_usec() - s->started_usec;
	char span[OUTPUT_WORD_MAX];

	if (s->end == END_READER || s->end == END_FAILED || psb_watch_stats(s->watch, &st) < 0)
		return;
	if (s->json) {
		printed(s, print_summary_json(s, usec, &st));
		return;
	}
	errno = 0;
	printf("Watched for %s: Low %" PRIu64 " (critical %" PRIu64 "), Neutral %" PRIu64
	       ", High %" PRIu64 "; %" PRIu64 " alarms (%" PRIu64 " false, %" PRIu64
	       " lost), %" PRIu64 " samples.",
	       output_span(usec, span), st.low, st.critical, st.neutral, st.high, st.alarms,
	       st.false_alarms, st.lost_alarms, st.samples);
	printed(s, output_end_line());
}

static int timeout_msec(const struct session *s)
{
	return msec_until(usec_add(s->started_usec, s->duration_usec));
}

static void run(struct session *s, int bridge_fd, int signal_fd)
{
	struct pollfd fds[] = {
		{ .fd = bridge_fd, .events = POLLIN },
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = STDOUT_FILENO, .events = 0 },
	};

	while (s->end == RUNNING) {
		int timeout = timeout_msec(s), r;

		r = poll(fds, ELEMENTSOF(fds), timeout);
		if (r < 0 && errno != EINTR) {
			s->end = END_FAILED;
			complain("watch", "poll: %s", strerror(errno));
			return;
		}
		if (r > 0 && (fds[2].revents & (POLLERR | POLLHUP))) {
			s->end = END_READER;
			return;
		}
		/* news that is there already comes before the end */
		r = psb_bridge_dispatch(s->bridge);
		if (r < 0) {
			s->end = END_FAILED;
			complain("watch", "the event loop failed: %s", strerror(-r));
			return;
		}
		if (s->end != RUNNING)
			return;
		if (fds[1].revents & POLLIN)
			s->end = END_SIGNAL;
		else if (timeout_msec(s) == 0)
			s->end = END_DURATION;
	}
}

/* ---- the beginning -------------------------------------------------------------------------- */

static void log_line(void *userdata, int priority, const char *message)
{
	(void)userdata;
	if (priority <= 4)
		complain("watch", "%s", message);
}

static int arm(struct session *s)
{
	struct psb_bridge_options options = { .size = sizeof(options), .log = log_line };
	int fd, r = psb_bridge_new(&options, &s->bridge);

	if (r < 0) {
		complain("watch", "no event loop can be made: %s%s", strerror(-r),
			 r == -EINVAL ? "; PSIBRIDGE_BACKEND takes auto, uring or epoll" : "");
		return r;
	}
	fd = psb_bridge_fd(s->bridge);
	if (fd < 0) {
		complain("watch", "no event loop can be made: %s", strerror(-fd));
		return fd;
	}
	r = psb_watch_new(s->bridge, &s->target.watch, &s->watch);
	if (r < 0) {
		complain("watch", "%s", target_options_error(&s->target, r));
		return r;
	}
	r = psb_watch_add_callback(s->watch, told, s,
				   PSB_INLINE | PSB_TELL_SOURCE | PSB_TELL_EFFECT, NULL);
	if (r < 0) {
		complain("watch", "%s", strerror(-r));
		return r;
	}
	return fd;
}

static int watch(struct session *s)
{
	int bridge_fd, signal_fd, status = EXIT_OK;

	signal_fd = catch_signals(NULL);
	if (signal_fd < 0) {
		complain("watch", "signalfd: %s", strerror(-signal_fd));
		return EXIT_FAILED;
	}

	bridge_fd = arm(s);
	if (bridge_fd < 0) {
		status = s->bridge && !s->watch ? target_options_status(&s->target, bridge_fd)
						: EXIT_FAILED;
	} else {
		s->started_usec = now_usec();
		tell_source(s, true);
		run(s, bridge_fd, signal_fd);
		summarise(s);
		if (s->end == END_GONE)
			status = EXIT_GONE;
		else if (s->end == END_FAILED)
			status = EXIT_FAILED;
	}
	psb_watch_unref(s->watch);
	psb_bridge_unref(s->bridge);
	close(signal_fd);
	return status;
}

int verb_watch(int argc, char **argv)
{
	struct session s = { .duration_usec = USEC_NEVER };
	const struct args_setting settings[] = {
		ARGS_FLAG("json", &s.json),
		ARGS_NUMBER("count", "a number from 1 on", 1, INT64_MAX, &s.count),
		ARGS_TIME("duration", "a time such as 30s", 0, DURATION_MAX_USEC, &s.duration_usec),
		TARGET_SETTINGS(&s.target),
		ARGS_NO_MORE,
	};
	int status;

	target_options_init(&s.target);
	output_init(&s.output);
	if (!args_read(argc, argv, settings, help, &status))
		return status;
	return watch(&s);
}
