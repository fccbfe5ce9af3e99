/* SPDX-License-Identifier: MIT */
/*
 * metrics-daemon.c - what psibridged says of itself and its watches, as metrics
 *
 * Each path stands once in a status, and once more in the shadow, so `watch` and `shadow` name a series. Except where its name was not
 * UTF-8: then psibridged put U+FFFD into it, two of them may look the same, and one series that is
 * there twice makes Prometheus refuse all the rest. They are left out.
 */
#include "cli/metrics.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "core/utf8.h"

static void put_value(const struct exposition *e, const char *name, enum family_type type,
		      const char *text, uint64_t value)
{
	family(e, name, type, text);
	fprintf(e->out, "%s%s %" PRIu64 "\n", name, type == COUNTER ? "_total" : "", value);
}

static void put_daemon(const struct exposition *e)
{
	const json_t *clients = json_object_get(e->status, "clients");
	const json_t *configuration = json_object_get(e->status, "configuration");
	uint64_t uptime = answer_number(e->status, "uptime_usec");

	family(e, "psibridge_build_info", GAUGE, "1; which psibridged answered is in the label.");
	fputs("psibridge_build_info{version=\"", e->out);
	label(e, answer_text(e->status, "version"));
	fputs("\"} 1\n", e->out);
	family(e, "psibridge_uptime_seconds", GAUGE, "How long psibridged has been running.");
	fprintf(e->out, "psibridge_uptime_seconds %" PRIu64 ".%06" PRIu64 "\n",
		uptime / USEC_PER_SEC, uptime % USEC_PER_SEC);
	put_value(e, "psibridge_configuration_refused", GAUGE,
		  "1: the last reload was refused, an older configuration is in use.",
		  *answer_text(configuration, "error") != '\0');
	family(e, "psibridge_clients", GAUGE,
	       "Connected clients: of systemd's protocol, and of libpsibridge.");
	fprintf(e->out,
		"psibridge_clients{kind=\"systemd\"} %" PRIu64
		"\npsibridge_clients{kind=\"libpsibridge\"} %" PRIu64 "\n",
		answer_number(clients, "plain"), answer_number(clients, "records"));
	put_value(e, "psibridge_clients_accepted", COUNTER, "Clients that were let in.",
		  answer_number(clients, "accepted"));
	put_value(e, "psibridge_clients_refused", COUNTER, "Clients that were turned away.",
		  answer_number(clients, "refused"));
	put_value(e, "psibridge_told", COUNTER, "Times that a client was told something.",
		  answer_number(clients, "told"));
	put_value(e, "psibridge_replaced", COUNTER,
		  "Repeats that a slow client lost to newer ones.",
		  answer_number(clients, "replaced"));
}

static bool is_wanted(const json_t *watch, const char *state)
{
	const char *path = answer_text(watch, "path");

	if (strstr(path, "\xef\xbf\xbd") || !utf8_is_printable(path))
		return false;
	return !state || strcmp(answer_text(watch, "state"), state) == 0;
}

/* The watches of one state, or all of them (NULL). */
#define EACH_WATCH(e, watch, state_)                                                             \
	for (size_t _i = 0; _i < json_array_size(json_object_get((e)->status, "watches")); _i++) \
		if ((watch = json_array_get(json_object_get((e)->status, "watches"), _i)) &&     \
		    is_wanted(watch, state_))

static void watch_sample(const struct exposition *e, const char *name, const json_t *watch,
			 const char *more, uint64_t value)
{
	fprintf(e->out, "%s{watch=\"", name);
	label(e, answer_text(watch, "path"));
	fprintf(e->out, "\"%s%s} %" PRIu64 "\n",
		answer_flag(watch, "shadow") ? ",shadow=\"yes\"" : "", more, value);
}

static void put_states(const struct exposition *e)
{
	static const char *const states[] = { "watching", "absent", "failed" };
	const json_t *watch;

	family(e, "psibridge_watch_state", GAUGE,
	       "1 for the state the watch is in: watching; absent, there is no such cgroup yet; "
	       "failed.");
	EACH_WATCH(e, watch, NULL)
	for (size_t i = 0; i < ELEMENTSOF(states); i++) {
		char more[32];

		snprintf(more, sizeof(more), ",state=\"%s\"", states[i]);
		watch_sample(e, "psibridge_watch_state", watch, more,
			     strcmp(answer_text(watch, "state"), states[i]) == 0);
	}
	family(e, "psibridge_watch_clients", GAUGE, "Clients that hear from it.");
	EACH_WATCH(e, watch, NULL)
	watch_sample(e, "psibridge_watch_clients", watch, "", answer_number(watch, "clients"));
	family(e, "psibridge_watch_rung", GAUGE,
	       "Which source it listens to, by its rung on the ladder; 1 is the best, 0 none.");
	EACH_WATCH(e, watch, "watching")
	watch_sample(e, "psibridge_watch_rung", watch, "",
		     answer_number(json_object_get(watch, "source"), "rung"));
}

static void put_counters(const struct exposition *e)
{
	static const struct {
		const char *name, *key, *text;
	} counters[] = {
		{ "psibridge_watch_alarms", "alarms", "Times that the kernel rang." },
		{ "psibridge_watch_false_alarms", "false_alarms",
		  "Times that the kernel rang, and nothing had grown." },
		{ "psibridge_watch_lost_alarms", "lost_alarms",
		  "Stalls that the kernel should have announced and did not." },
		{ "psibridge_watch_samples", "samples", "Reads of memory.pressure." },
		{ "psibridge_watch_sweeps", "sweeps", "Walks down the tree." },
		{ "psibridge_watch_critical", "critical", "Times that it was judged critical." },
		{ "psibridge_watch_given_back_bytes", "bytes_back",
		  "Memory that was in use less a second after a Low." },
	};
	static const char *const levels[] = { "low", "neutral", "high" };
	const json_t *watch;

	for (size_t i = 0; i < ELEMENTSOF(counters); i++) {
		char name[64];

		family(e, counters[i].name, COUNTER, counters[i].text);
		snprintf(name, sizeof(name), "%s_total", counters[i].name);
		EACH_WATCH(e, watch, "watching")
		watch_sample(e, name, watch, "",
			     answer_number(json_object_get(watch, "stats"), counters[i].key));
	}
	family(e, "psibridge_watch_notifications", COUNTER, "Levels that it judged anew.");
	EACH_WATCH(e, watch, "watching")
	for (size_t i = 0; i < ELEMENTSOF(levels); i++) {
		char more[32];

		snprintf(more, sizeof(more), ",available=\"%s\"", levels[i]);
		watch_sample(e, "psibridge_watch_notifications_total", watch, more,
			     answer_number(json_object_get(watch, "stats"), levels[i]));
	}
}

/* Of CLOCK_MONOTONIC, as the daemon gives it, the time that Prometheus wants. */
static uint64_t wall_usec(const struct exposition *e, uint64_t usec)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC -
	       usec_sub(answer_number(e->status, "time_usec"), usec);
}

/* A counter that stands still does not say whether there was nothing or nobody looked. */
static void put_times(const struct exposition *e)
{
	static const struct {
		const char *name, *key, *text;
	} times[] = {
		{ "psibridge_watch_last_alarm_timestamp_seconds", "alarm_usec",
		  "When the kernel rang last." },
		{ "psibridge_watch_last_sample_timestamp_seconds", "sample_usec",
		  "When memory.pressure was read last." },
	};
	const json_t *watch;

	for (size_t i = 0; i < ELEMENTSOF(times); i++) {
		family(e, times[i].name, GAUGE, times[i].text);
		EACH_WATCH(e, watch, "watching")
		{
			uint64_t at = answer_number(json_object_get(watch, "stats"), times[i].key);

			if (at > 0) /* before the first there is no such time */
				watch_sample(e, times[i].name, watch, "",
					     wall_usec(e, at) / USEC_PER_SEC);
		}
	}
}

/* Also of cgroups that are gone: for an hour. */
static void put_history(const struct exposition *e)
{
	static const struct {
		const char *name, *key, *text;
		bool seconds;
	} counters[] = {
		{ "psibridge_cgroup_low", "low", "Times that the cgroup became Low.", false },
		{ "psibridge_cgroup_low_seconds", "low_usec", "How long it was Low.", true },
		{ "psibridge_cgroup_oom_kills", "killed",
		  "Times that the kernel killed a process in it for want of memory.", false },
	};
	const json_t *history = json_object_get(e->status, "history");

	for (size_t c = 0; c < ELEMENTSOF(counters); c++) {
		family(e, counters[c].name, COUNTER, counters[c].text);
		for (size_t i = 0; i < json_array_size(history); i++) {
			const json_t *past = json_array_get(history, i);
			const char *path = answer_text(past, "cgroup");
			uint64_t value = answer_number(past, counters[c].key);

			if (strstr(path, "\xef\xbf\xbd") || !utf8_is_printable(path))
				continue;
			fprintf(e->out, "%s_total{id=\"", counters[c].name);
			label(e, path);
			if (counters[c].seconds)
				fprintf(e->out, "\"} %" PRIu64 ".%06" PRIu64 "\n",
					value / USEC_PER_SEC, value % USEC_PER_SEC);
			else
				fprintf(e->out, "\"} %" PRIu64 "\n", value);
		}
	}
}

void metrics_put_daemon(const struct exposition *e)
{
	put_daemon(e);
	put_states(e);
	put_counters(e);
	put_times(e);
	put_history(e);
}
