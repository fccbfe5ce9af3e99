/* SPDX-License-Identifier: MIT */
/*
 * fuzz-text.c - any bytes as what the kernel and people write: pressure, counters, base64, triggers
 */
#include "fuzz.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/average.h"
#include "cli/import.h"
#include "core/base64.h"
#include "core/duration.h"
#include "core/keyed.h"
#include "core/psi.h"
#include "core/replay.h"
#include "core/setting.h"

/* ---- psi -------------------------------------------------------------------------------------------- */

/*
 * Any bytes as memory.pressure. What is accepted, printed as the kernel prints it, is accepted again and means the same; what
 * is appended to it changes nothing; cut off in its second line it is refused. What is refused writes nothing.
 */
static size_t print(char *buf, const struct psi *psi)
{
	size_t n = 0;

	for (int full = 0; full <= 1; full++) {
		const struct psi_line *l = full ? &psi->full : &psi->some;

		n += (size_t)snprintf(
			buf + n, 2 * PSI_TEXT_MAX - n,
			"%s avg10=%u.%02u avg60=%u.%02u avg300=%u.%02u total=%" PRIu64 "\n",
			full ? "full" : "some", l->avg10_centi / 100, l->avg10_centi % 100,
			l->avg60_centi / 100, l->avg60_centi % 100, l->avg300_centi / 100,
			l->avg300_centi % 100, l->total_usec);
	}
	return n;
}

FUZZ_TARGET(psi)
{
	struct psi psi, again, before;
	char text[2 * PSI_TEXT_MAX], text_again[2 * PSI_TEXT_MAX];
	size_t n;
	int r;

	memset(&psi, 0x5a, sizeof(psi));
	before = psi;
	r = psi_parse((const char *)data, size, &psi);
	if (r < 0) {
		CHECK(r == -EBADMSG);
		CHECK(memcmp(&psi, &before, sizeof(psi)) == 0);
		return;
	}
	CHECK(r == 0);

	n = print(text, &psi);
	CHECK(n < PSI_TEXT_MAX);
	CHECK(psi_parse(text, n - 1, &again) == -EBADMSG);
	memcpy(text + n, "later 1\n", 8);
	CHECK(psi_parse(text, n + 8, &again) == 0);
	print(text_again, &again);
	CHECK(memcmp(text, text_again, n) == 0);
}

/* ---- keyed ------------------------------------------------------------------------------------------ */

/*
 * Any bytes as memory.events, memory.stat, /proc/meminfo or a limit. Two readers of one text agree: what memory_events_parse()
 * says of a key, keyed_get() says too, where the key is there once. Cutting a text off never changes a value, it only hides it.
 */
static void check_events(const char *text, size_t size)
{
	struct memory_events e, again;
	char buf[256];
	uint64_t value;
	int n;

	if (memory_events_parse(text, size, &e) < 0)
		return;
	n = snprintf(buf, sizeof(buf),
		     "low %" PRIu64 "\nhigh %" PRIu64 "\nmax %" PRIu64 "\noom %" PRIu64
		     "\noom_kill %" PRIu64 "\n",
		     e.low, e.high, e.max, e.oom, e.oom_kill);
	CHECK(memory_events_parse(buf, (size_t)n, &again) == 0);
	CHECK(memcmp(&e, &again, sizeof(e)) == 0);
	CHECK(keyed_get(buf, (size_t)n, "oom_kill", &value) == 0 && value == e.oom_kill);
	/* a text that passed as a whole has no bad line */
	CHECK(keyed_get(text, size, "no_such\nkey", &value) == -ENOENT);
}

static void check_cuts(const char *text, size_t size)
{
	static const char *const keys[] = { "inactive_file", "max", "MemTotal" };

	for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
		uint64_t whole = 1, part = 2;
		int r = keyed_get(text, size, keys[i], &whole);

		CHECK(r == 0 || r == -ENOENT || r == -EBADMSG);
		if (size > 0 && keyed_get(text, size - 1, keys[i], &part) == 0)
			CHECK(r == 0 && part == whole);
		r = meminfo_get(text, size, keys[i], &whole);
		CHECK(r == 0 || r == -ENOENT || r == -EBADMSG);
		if (size > 0 && meminfo_get(text, size - 1, keys[i], &part) == 0)
			CHECK(r == 0 && part == whole);
		if (r == 0)
			CHECK(whole % 1024 == 0);
	}
}

static void check_limit(const char *text, size_t size)
{
	uint64_t limit, again;
	char buf[32];
	int n;

	if (limit_parse(text, size, &limit) < 0)
		return;
	n = snprintf(buf, sizeof(buf), "%" PRIu64 "\n", limit);
	CHECK(limit_parse(buf, (size_t)n, &again) == 0 && again == limit);
	CHECK(limit_parse(buf, (size_t)n - 1, &again) == -EBADMSG);
}

FUZZ_TARGET(keyed)
{
	check_events((const char *)data, size);
	check_cuts((const char *)data, size);
	check_limit((const char *)data, size);
}

/* ---- base64 ----------------------------------------------------------------------------------------- */

/*
 * Any bytes as base64. What is accepted, encoded again, is the input without its white space: one sequence of bytes has one
 * text. One byte less of room is refused.
 */
/* `text` has room for it, and is not terminated. Returns its length. */
static size_t base64_encode(const uint8_t *bytes, size_t size, char *text)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 0;

	for (size_t i = 0; i < size; i += 3) {
		uint32_t bits = (uint32_t)bytes[i] << 16;

		bits |= i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0;
		bits |= i + 2 < size ? (uint32_t)bytes[i + 2] : 0;
		text[n++] = alphabet[bits >> 18];
		text[n++] = alphabet[bits >> 12 & 63];
		text[n++] = i + 1 < size ? alphabet[bits >> 6 & 63] : '=';
		text[n++] = i + 2 < size ? alphabet[bits & 63] : '=';
	}
	return n;
}

FUZZ_TARGET(base64)
{
	size_t decoded = 99, n, k = 0;
	uint8_t *bytes;
	char *text;
	int r;

	/* no more room than an input of this size can need, so that one byte too many is seen */
	bytes = malloc(size / 4 * 3 + 1);
	text = malloc(size + 4);
	if (!bytes || !text)
		abort();
	memset(bytes, 0x5a, size / 4 * 3 + 1);

	r = base64_decode((const char *)data, size, bytes, size / 4 * 3, &decoded);
	if (r < 0) {
		CHECK(r == -EINVAL && decoded == 99);
	} else {
		CHECK(r == 0 && decoded <= size / 4 * 3);
		CHECK(bytes[size / 4 * 3] == 0x5a);
		n = base64_encode(bytes, decoded, text);
		for (size_t i = 0; i < size; i++) {
			if (data[i] && strchr(" \t\n\r", data[i]))
				continue;
			CHECK(k < n && (uint8_t)text[k] == data[i]);
			k++;
		}
		CHECK(k == n);
		if (decoded > 0)
			CHECK(base64_decode(text, n, bytes, decoded - 1, &k) == -ENOSPC);
	}
	free(bytes);
	free(text);
}

/* ---- trigger ---------------------------------------------------------------------------------------- */

/*
 * Any bytes as a trigger, and as a duration. What is accepted obeys the rules of trigger.h, and written in either notation it
 * is accepted again and means the same, rescaled to other windows too. What is refused says why and writes nothing.
 */
static void check_round_trip(const struct trigger *t)
{
	char ours[TRIGGER_TEXT_MAX], kernel[TRIGGER_TEXT_MAX];
	size_t n = trigger_format(t, ours), m = trigger_format_kernel(t, kernel);
	struct trigger a, b;

	CHECK(n == strlen(ours) && m == strlen(kernel));
	/* with the NUL, as it goes to the kernel */
	CHECK(trigger_parse(ours, n, &a, NULL) == 0);
	CHECK(trigger_parse(kernel, m + 1, &b, NULL) == 0);
	CHECK(a.kind == t->kind && b.kind == t->kind);
	CHECK(a.threshold_usec == t->threshold_usec && b.threshold_usec == t->threshold_usec);
	CHECK(a.window_usec == t->window_usec && b.window_usec == t->window_usec);
}

static void check_duration(const char *text, size_t size)
{
	uint64_t usec = 12345, again;
	char buf[DURATION_TEXT_MAX];
	const char *why = NULL;
	int r = duration_parse(text, size, &usec, &why);

	if (r < 0) {
		CHECK(r == -EINVAL || r == -ERANGE);
		CHECK(why && *why);
		CHECK(usec == 12345);
		return;
	}
	CHECK(r == 0 && !why && usec <= DURATION_MAX_USEC);
	CHECK(duration_format(usec, buf) == strlen(buf));
	CHECK(strlen(buf) <= 22);
	CHECK(duration_parse(buf, strlen(buf), &again, NULL) == 0);
	CHECK(again == usec);
}

FUZZ_TARGET(trigger)
{
	static const uint64_t windows[] = { 100000, 333333, 500000, 2000000, 10000000 };
	struct trigger t, before;
	const char *why = NULL;
	int r;

	check_duration((const char *)data, size);

	memset(&t, 0x5a, sizeof(t));
	before = t;
	r = trigger_parse((const char *)data, size, &t, &why);
	if (r < 0) {
		CHECK(r == -EINVAL);
		CHECK(why && *why);
		CHECK(memcmp(&t, &before, sizeof(t)) == 0);
		return;
	}
	CHECK(r == 0 && !why && is_trigger(&t));
	check_round_trip(&t);
	for (size_t i = 0; i < ELEMENTSOF(windows); i++) {
		struct trigger scaled = trigger_rescale(&t, windows[i]);

		CHECK(is_trigger(&scaled) && scaled.window_usec == windows[i]);
		CHECK(scaled.threshold_usec <= t.threshold_usec);
		check_round_trip(&scaled);
	}
}

/* ---- trace ------------------------------------------------------------------------------------------ */

/* A line that was read, written and read again is the same. */
static void check_trace_line(const struct trace_sample *sample)
{
	struct trace_reader reader = { .lines = 0 };
	struct trace_sample again, wanted = *sample;
	static char text[TRACE_LINE_MAX];
	struct scan head = { text, trace_begin(0, text) }, line;
	size_t n;

	while (scan_field(&head, '\n', &line))
		CHECK(trace_read(&reader, line, &again, NULL) == 0);
	n = trace_format(sample, text);
	CHECK(n + 1 < TRACE_LINE_MAX);
	text[n++] = '/';
	CHECK(trace_read(&reader, (struct scan){ text, n }, &again, NULL) == 1);
	CHECK(scan_is(again.cgroup, "/"));
	CHECK(again.time_usec == wanted.time_usec && again.has_psi == wanted.has_psi);
	CHECK(!again.has_psi ||
	      (again.some_usec == wanted.some_usec && again.full_usec == wanted.full_usec));
	CHECK(again.used_bytes == wanted.used_bytes && again.told == wanted.told);
}

static void count_told(const struct replay_told *told, void *userdata)
{
	enum level *before = userdata;

	CHECK(told->earliest_usec <= told->at.time_usec && told->at.time_usec <= told->latest_usec);
	CHECK(told->at.told >= LEVEL_LOW && told->at.told <= LEVEL_HIGH);
	CHECK(told->at.told == LEVEL_LOW || told->at.told != *before);
	*before = told->at.told;
}

/* Any bytes as a trace, whoever wrote it, and what can be read of it through the policy. */
FUZZ_TARGET(trace)
{
	struct scan text = { (const char *)data, size }, line;
	static struct import import;
	struct average average = { .begun = false };
	struct average_worth worth = { .apart_usec = 0 };
	enum level level = LEVEL_HIGH;
	struct policy_options options;
	static struct replay replay;
	uint64_t time_usec = 0, total_usec = 0;

	memset(&import, 0, sizeof(import));
	settings_built_in(&options);
	options.forecast_usec = 2 * USEC_PER_SEC;
	replay_init(&replay, &options, size % 2, count_told, &level);
	while (scan_item(&text, '\n', &line)) {
		struct trace_sample sample;
		const char *why = NULL;
		int n = import_read(&import, line, &sample, &why);

		CHECK(n <= 1 && (n < 0) == (why != NULL));
		if (n <= 0)
			continue;
		CHECK(sample.cgroup.p[0] == '/' && sample.time_usec <= TRACE_LATEST_USEC);
		if (sample.form == TRACE_AVG10) {
			if (!average_add(&average, &worth, &sample))
				continue;
			CHECK(sample.some_usec >= total_usec &&
			      worth.least_usec <= worth.most_usec);
			total_usec = sample.some_usec;
		}
		check_trace_line(&sample);
		if (sample.time_usec < time_usec ||
		    sample.time_usec > time_usec + 600 * USEC_PER_SEC)
			continue; /* as psibridge replay; and a long gap takes long */
		time_usec = sample.time_usec;
		if (sample.event == EVENT_BEGIN) /* of another process, which knows nothing of it */
			level = 0;
		replay_feed(&replay, &sample);
	}
}
