/* SPDX-License-Identifier: MIT */
/*
 * trace.c - lines of a trace
 */
#include "trace.h"

#include "names.h"

#include <inttypes.h>
#include <stdio.h>

#define MAGIC "# psibridge trace "
#define EXPONENT_MAX 99

static const char *const columns[TRACE_COLUMNS] = {
	[TRACE_TIME] = "time_s",	   [TRACE_SOME] = "some_us",
	[TRACE_FULL] = "full_us",	   [TRACE_SOME_AVG10] = "some_avg10",
	[TRACE_FULL_AVG10] = "full_avg10", [TRACE_USED] = "used_kib",
	[TRACE_LIMIT] = "limit_kib",	   [TRACE_OOM] = "oom",
	[TRACE_EVENT] = "event",	   [TRACE_TOLD] = "told",
	[TRACE_REASON] = "reason",	   [TRACE_CAUSE] = "cause",
	[TRACE_CGROUP] = "cgroup",
};

static const char *const event_names[EVENTS] = { "-",	   "begin", "tick", "alarm",
						 "events", "gave",  "kept" };

static const char *name_of_event(unsigned event)
{
	return event_names[event];
}

static bool scan_exponent(struct scan *s, int *ret)
{
	bool less;
	uint64_t value;

	if (!scan_word(s, "e") && !scan_word(s, "E"))
		return true;
	less = scan_word(s, "-");
	if (!less)
		scan_word(s, "+");
	if (scan_u64(s, &value) < 0 || value > EXPONENT_MAX)
		return false;
	*ret += less ? -(int)value : (int)value;
	return true;
}

bool trace_decimal(struct scan *s, unsigned digits, uint64_t *ret)
{
	int exponent = (int)digits;
	struct scan rest = *s;
	uint64_t value = 0;
	bool point = false;
	unsigned digit;
	size_t n = 0;

	for (; n < s->left; n++) {
		digit = (unsigned char)s->p[n] - (unsigned)'0';
		if (digit > 9) {
			if (s->p[n] != '.' || n == 0 || point)
				break;
			point = true;
		} else if (value <= (UINT64_MAX - 9) / 10) {
			value = value * 10 + digit;
			exponent -= point;
		} else {
			exponent += !point;
		}
	}
	scan_skip(&rest, n);
	if (n == 0 || !scan_exponent(&rest, &exponent))
		return false;
	for (; exponent > 0 && value > 0; exponent--) {
		if (value > UINT64_MAX / 10)
			return false;
		value *= 10;
	}
	for (; exponent < 0 && value > 0; exponent++)
		value /= 10;
	*ret = value;
	*s = rest;
	return true;
}

/* ---- reading ------------------------------------------------------------------------------------- */

static int read_comment(struct trace_reader *r, struct scan line, const char **ret_why)
{
	uint64_t version;

	while (scan_ends_with(line, ",")) /* as a spreadsheet fills a row */
		line.left--;
	if (r->lines == 1 && scan_word(&line, MAGIC)) {
		if (scan_u64(&line, &version) < 0 || line.left > 0)
			return scan_refuse(-EINVAL,
					   "a version was expected behind \"# psibridge trace\"",
					   ret_why);
		if (version != TRACE_VERSION)
			return scan_refuse(
				-ENOTSUP,
				"a trace of a later version; this program reads version 1",
				ret_why);
		r->format = TRACE_OURS;
	} else if (scan_word(&line, "# began ")) {
		(void)trace_decimal(&line, 6, &r->began_usec);
	}
	return 0;
}

static enum trace_column column_of(struct scan name)
{
	enum trace_column c = 0;

	while (c < TRACE_COLUMNS && !scan_is(name, columns[c]))
		c++;
	return c;
}

static bool read_names(struct trace_reader *r, struct scan line)
{
	unsigned seen = 0, count;
	struct scan name;

	r->separator = scan_has(line, '\t') ? '\t' : ',';
	for (count = 0; scan_item(&line, r->separator, &name); count++) {
		if (count == ELEMENTSOF(r->columns))
			return false;
		r->columns[count] = (uint8_t)column_of(name);
		seen |= 1u << r->columns[count];
	}
	if (!(seen & 1u << TRACE_TIME) || !(seen & 1u << TRACE_SOME))
		return false;
	r->count = count;
	return true;
}

/* By its name; the numbers of levels, reasons and causes begin with 0 or 1. */
static bool find_name(struct scan field, const char *(*name_of)(unsigned), unsigned last,
		      unsigned *ret)
{
	for (unsigned i = 0; i <= last; i++)
		if (scan_is(field, name_of(i))) {
			*ret = i;
			return true;
		}
	return false;
}

static bool read_told(struct scan word, struct trace_sample *s)
{
	unsigned level = LEVEL_LOW;

	s->critical = scan_is(word, "critical");
	if (!s->critical && !find_name(word, name_of_available, LEVEL_HIGH, &level))
		return false;
	s->told = (enum level)level;
	return level > 0;
}

static bool read_avg10(struct scan *s, uint32_t *ret)
{
	uint64_t centi;

	if (!trace_decimal(s, 2, &centi) || centi > 10000)
		return false;
	*ret = (uint32_t)centi;
	return true;
}

static bool read_kib(struct scan *s, uint64_t *ret)
{
	uint64_t kib;

	if (scan_u64(s, &kib) < 0 || kib > UINT64_MAX / 1024)
		return false;
	*ret = kib * 1024;
	return true;
}

static bool read_cgroup(struct scan word, struct trace_sample *s)
{
	s->cgroup = word;
	return word.left > 0 && word.p[0] == '/';
}

static bool read_word(enum trace_column column, struct scan word, struct trace_sample *s)
{
	unsigned number = 0;
	bool ok = true;

	if (column == TRACE_EVENT) {
		ok = find_name(word, name_of_event, EVENTS - 1, &number);
		s->event = (enum trace_event)number;
	} else if (column == TRACE_TOLD) {
		ok = read_told(word, s);
	} else if (column == TRACE_REASON) {
		ok = find_name(word, name_of_reason, REASON_FORECAST, &number);
		s->reason = (enum reason)number;
	} else if (column == TRACE_CAUSE) {
		ok = find_name(word, name_of_cause, CAUSE_MACHINE, &number);
		s->cause = (enum cause)number;
	} else if (column == TRACE_CGROUP) {
		ok = read_cgroup(word, s);
	}
	return ok;
}

/* Off the front of the line; what is a number ends where its digits do. */
static bool read_field(enum trace_column column, struct scan *line, char separator,
		       struct trace_sample *s)
{
	struct scan word;

	if (line->p[0] == '-' && (line->left == 1 || line->p[1] == separator)) {
		scan_skip(line, 1);
		return column != TRACE_TIME;
	}
	switch (column) {
	case TRACE_TIME:
		return trace_decimal(line, 6, &s->time_usec) && s->time_usec <= TRACE_LATEST_USEC;
	case TRACE_SOME:
		s->has_psi = true;
		return scan_u64(line, &s->some_usec) == 0;
	case TRACE_FULL:
		return scan_u64(line, &s->full_usec) == 0;
	case TRACE_SOME_AVG10:
		return read_avg10(line, &s->some_avg10_centi);
	case TRACE_FULL_AVG10:
		return read_avg10(line, &s->full_avg10_centi);
	case TRACE_USED:
		return read_kib(line, &s->used_bytes);
	case TRACE_LIMIT:
		return read_kib(line, &s->limit_bytes);
	case TRACE_OOM:
		s->has_oom = true;
		return scan_u64(line, &s->oom) == 0;
	case TRACE_EVENT:
	case TRACE_TOLD:
	case TRACE_REASON:
	case TRACE_CAUSE:
	case TRACE_CGROUP:
	case TRACE_COLUMNS:
		break;
	}
	word = *line;
	if (scan_field(line, separator, &word)) /* which stays for what is behind it */
		*line = (struct scan){ line->p - 1, line->left + 1 };
	else
		scan_skip(line, line->left);
	return read_word(column, word, s);
}

/* The last: a spreadsheet quotes what has a comma in it. */
static bool read_rest(struct scan *line, struct trace_sample *s)
{
	struct scan rest = *line;

	scan_skip(line, line->left);
	if (rest.left > 1 && rest.p[0] == '"' && scan_ends_with(rest, "\"")) {
		rest.left--;
		scan_skip(&rest, 1);
	}
	return scan_is(rest, "-") || read_cgroup(rest, s);
}

static int read_line(const struct trace_reader *r, struct scan line, struct trace_sample *ret,
		     const char **ret_why)
{
	struct trace_sample s = { .cgroup = scan_string("/") };

	for (unsigned i = 0; i < r->count; i++) {
		enum trace_column column = r->columns[i];
		bool rest = i + 1 == r->count && column == TRACE_CGROUP;

		if (line.left == 0 && !rest)
			return scan_refuse(-EINVAL, "fewer fields than columns", ret_why);
		if (!(rest ? read_rest(&line, &s) : read_field(column, &line, r->separator, &s)) ||
		    (line.left > 0 && line.p[0] != r->separator))
			return scan_refuse(-EINVAL,
					   column == TRACE_CGROUP
						   ? "cgroup: a path from / was expected"
						   : "a field is not what its column's name says",
					   ret_why);
		scan_skip(&line, line.left > 0);
	}
	if (line.left > 0)
		return scan_refuse(-EINVAL, "more fields than columns", ret_why);
	*ret = s;
	return 1;
}

int trace_read(struct trace_reader *r, struct scan line, struct trace_sample *ret,
	       const char **ret_why)
{
	r->lines++;
	if (scan_ends_with(line, "\r"))
		line.left--;
	if (scan_has(line, '\0'))
		return scan_refuse(-EINVAL, "it is not text: there is a NUL in it", ret_why);
	if (line.left == 0)
		return 0;
	if (line.p[0] == '#')
		return read_comment(r, line, ret_why);
	if (r->format == TRACE_OURS && r->count > 0)
		return read_line(r, line, ret, ret_why);
	if (r->format <= TRACE_OURS && read_names(r, line)) {
		r->format = TRACE_OURS;
		return 0;
	}
	if (r->format != TRACE_OURS)
		return TRACE_FOREIGN;
	return scan_refuse(
		-EINVAL,
		"the names of the columns were expected: time_s, some_us and others, with tabs between them",
		ret_why);
}

uint64_t trace_total_at(struct trace_cursor *c, enum psi_kind kind, uint64_t time)
{
	const struct trace_sample *a, *b;
	uint64_t from, to;

	while (c->at + 1 < c->count && c->samples[c->at + 1].time_usec <= time)
		c->at++;
	a = &c->samples[c->at];
	from = trace_total(a, kind);
	if (c->at + 1 == c->count || time <= a->time_usec)
		return from;
	b = a + 1;
	to = trace_total(b, kind);
	if (to < from) /* another cgroup of that name */
		return to;
	return from + (uint64_t)((double)(to - from) * (double)(time - a->time_usec) /
				 (double)(b->time_usec - a->time_usec));
}

/* ---- writing ------------------------------------------------------------------------------------- */

static bool is_much(uint64_t a, uint64_t b)
{
	return MAX(a, b) - MIN(a, b) > MAX(a, b) / 100;
}

static bool is_news(const struct trace_sample *a, const struct trace_sample *b)
{
	return a->has_psi != b->has_psi || trace_has_grown(a, b) ||
	       a->limit_bytes != b->limit_bytes || is_much(a->used_bytes, b->used_bytes) ||
	       b->told || b->event == EVENT_BEGIN || b->event >= EVENT_GAVE;
}

unsigned trace_take(struct trace_last *t, const struct trace_sample *sample,
		    struct trace_sample *lines)
{
	unsigned count = 0;
	bool settles;

	if (!t->begun || trace_has_grown(&t->seen, sample))
		t->grown_usec = sample->time_usec;
	settles = sample->event != EVENT_NONE &&
		  sample->time_usec - t->grown_usec <= TRACE_SETTLE_USEC;
	if (!t->begun || settles || is_news(&t->written, sample)) {
		if (t->begun && t->seen.time_usec > t->written.time_usec &&
		    sample->event != EVENT_BEGIN)
			lines[count++] = t->seen;
		lines[count++] = *sample;
		t->written = *sample;
	}
	t->seen = *sample;
	t->begun = true;
	return count;
}

size_t trace_begin(uint64_t began_usec, char *buf)
{
	int n = snprintf(buf, TRACE_LINE_MAX, MAGIC "%d\n# began %" PRIu64 ".%06" PRIu64 "\n",
			 TRACE_VERSION, began_usec / USEC_PER_SEC, began_usec % USEC_PER_SEC);

	for (enum trace_column c = 0; c < TRACE_COLUMNS; c++)
		n += snprintf(buf + n, TRACE_LINE_MAX - (size_t)n, "%s%c", columns[c],
			      c + 1 < TRACE_COLUMNS ? '\t' : '\n');
	return (size_t)n;
}

/* By hand: psibridged writes a thousand lines a second, and printf(3) takes most of a microsecond for one number. */
static char *put_number(char *p, uint64_t number, unsigned digits, char end)
{
	char text[20];
	unsigned n = 0;

	do
		text[n++] = (char)('0' + number % 10);
	while ((number /= 10) > 0 || n < digits);
	while (n > 0)
		*p++ = text[--n];
	*p++ = end;
	return p;
}

static char *put_word(char *p, const char *word)
{
	size_t size = strlen(word);

	memcpy(p, word, size);
	p[size] = '\t';
	return p + size + 1;
}

static char *put_centi(char *p, uint32_t centi)
{
	return put_number(put_number(p, centi / 100, 1, '.'), centi % 100, 2, '\t');
}

static char *put_kib(char *p, uint64_t bytes)
{
	return bytes > 0 ? put_number(p, bytes / 1024, 1, '\t') : put_word(p, "-");
}

size_t trace_format(const struct trace_sample *s, char *buf)
{
	char *p = put_number(buf, s->time_usec / USEC_PER_SEC, 1, '.');

	p = put_number(p, s->time_usec % USEC_PER_SEC, 6, '\t');
	if (s->has_psi) {
		p = put_number(p, s->some_usec, 1, '\t');
		p = put_number(p, s->full_usec, 1, '\t');
		p = put_centi(p, s->some_avg10_centi);
		p = put_centi(p, s->full_avg10_centi);
	} else {
		p = put_word(p, "-\t-\t-\t-");
	}
	p = put_kib(put_kib(p, s->used_bytes), s->limit_bytes);
	p = s->has_oom ? put_number(p, s->oom, 1, '\t') : put_word(p, "-");
	p = put_word(p, event_names[s->event]);
	p = put_word(p, !s->told ? "-" : s->critical ? "critical" : name_of_available(s->told));
	p = put_word(p, s->told ? name_of_reason(s->reason) : "-");
	p = put_word(p, s->told ? name_of_cause(s->cause) : "-");
	return (size_t)(p - buf);
}
