/* SPDX-License-Identifier: MIT */
/*
 * import.c - what others record, line by line
 *
 *     oomstat (earlyoom, contrib/oomstat)    " 3.4 |     3514     5942 |    5     0    2     0"
 *         seconds; MemAvailable and free swap in MiB; some and full, each as milliseconds stalled since the line before, and avg10
 *     psi2log (nohang)    "  0.00   0.00   0.00 ||   ... ||   0.12   0.03   0.01 |   0.02   0.00   0.00"
 *         avg10, 60, 300 of cpu, io and memory; or, --mode 2, "  0.1 |   0.0   0.0 |   1.2   0.3 | 2.002": percent of an interval, its
 *         seconds last; in a log with "2026-11-30 16:00:00,123: " before it
 *     memory.pressure    a time, and behind it, in lines of their own or in the same, "some avg10=..." and "full avg10=..."
 *     metrics            Prometheus's and OpenMetrics' text: NAME{LABEL="...",...} VALUE TIME
 *     a table            names of columns first, with commas, semicolons or tabs
 *
 * Nothing is kept of other cgroups than that of the line.
 */
#include "cli/import.h"

#include "core/psi.h"

#define PROLOGUE_MAX 64			      /* lines before a format is known */
#define DATED_USEC (100000000 * USEC_PER_SEC) /* 1973; what is less counts from a start */
#define PSI2LOG_INTERVAL_USEC (2 * USEC_PER_SEC)

const char import_unknown[] =
	"neither a trace of psibridge nor one that it can import (psibridge-trace(5))";
const char import_no_metrics[] =
	"neither node_pressure_memory_ nor container_pressure_memory_waiting_seconds_total is in it";

/* ---- times --------------------------------------------------------------------------------------- */

bool import_time(struct import *im, uint64_t stamp_usec, struct trace_sample *ret)
{
	if (!im->has_base) {
		im->has_base = true;
		im->base_usec = stamp_usec;
		im->reader.began_usec = stamp_usec < DATED_USEC ? 0 : stamp_usec;
	}
	if (stamp_usec < im->base_usec)
		return false;
	ret->time_usec = stamp_usec - im->base_usec;
	return true;
}

static int finish(struct import *im, uint64_t stamp_usec, struct trace_sample *ret,
		  const char **ret_why)
{
	if (import_time(im, stamp_usec, ret))
		return 1;
	return scan_refuse(-EINVAL, "its time is before that of the first line", ret_why);
}

/* ---- rows of numbers ------------------------------------------------------------------------------- */

/* `form`: n for a number, which is put into *values in thousandths, | for itself; blanks are free. All of the line. */
static bool scan_row(struct scan line, const char *form, uint64_t *values)
{
	for (; *form; form++) {
		scan_blanks(&line);
		if (*form == '|' ? !scan_word(&line, "|") : !trace_decimal(&line, 3, values++))
			return false;
	}
	scan_blanks(&line);
	return line.left == 0;
}

static int read_oomstat(struct import *im, struct scan line, struct trace_sample *ret,
			_unused_ const char **ret_why)
{
	struct trace_sample *t = &im->total;
	uint64_t v[7];

	if (!scan_row(line, "n|nn|nnnn", v) || MAX(v[3], v[5]) > TRACE_LATEST_USEC / 1000 ||
	    MAX(v[4], v[6]) > 100000 || v[0] > TRACE_LATEST_USEC / 1000)
		return TRACE_FOREIGN;
	t->time_usec = v[0] * USEC_PER_MSEC;
	t->has_psi = true;
	t->some_usec += v[3];
	t->full_usec += v[5];
	t->some_avg10_centi = (uint32_t)v[4] / 10;
	t->full_avg10_centi = (uint32_t)v[6] / 10;
	t->cgroup = scan_string("/");
	*ret = *t;
	return 1;
}

/* "Starting psi2log, target: /user.slice, mode: 1, interval: 2 sec, ..." */
static void read_psi2log_head(struct import *im, struct scan line)
{
	struct scan part;
	uint64_t usec;

	im->interval_usec = PSI2LOG_INTERVAL_USEC;
	while (scan_item(&line, ',', &part)) {
		if (scan_word(&part, " target: ") && !scan_copy(part, im->cgroup, CGPATH_MAX))
			im->cgroup[0] = '\0';
		if (scan_word(&part, " interval: ") && trace_decimal(&part, 6, &usec))
			im->interval_usec = MIN(usec, TRACE_LATEST_USEC);
	}
}

static int read_psi2log(struct import *im, struct scan line, struct trace_sample *ret,
			const char **ret_why)
{
	struct trace_sample *t = &im->total;
	struct scan rest = line;
	uint64_t v[15], stamp;
	bool has_stamp = stamp_scan(&rest, &stamp) && scan_word(&rest, ": ");

	if (has_stamp)
		line = rest;
	if (scan_word(&line, "Starting psi2log,")) {
		read_psi2log_head(im, line);
		return 0;
	}
	if (scan_row(line, "nnn||nnn|nnn||nnn|nnn", v) && MAX(v[9], v[12]) <= 100000) {
		t->form = TRACE_AVG10;
		t->has_psi = false;
		t->some_avg10_centi = (uint32_t)(v[9] / 10);
		t->full_avg10_centi = (uint32_t)(v[12] / 10);
		v[5] = (im->interval_usec ? im->interval_usec : PSI2LOG_INTERVAL_USEC) / 1000;
	} else if (scan_row(line, "n|nn|nn|n", v) && MAX(v[3], v[4]) <= 1000000 &&
		   v[5] <= TRACE_LATEST_USEC / 1000) {
		t->form = TRACE_TOTALS;
		t->has_psi = true;
		t->some_usec += (uint64_t)((unsigned __int128)v[3] * v[5] / 100);
		t->full_usec += (uint64_t)((unsigned __int128)v[4] * v[5] / 100);
	} else {
		return TRACE_FOREIGN;
	}
	if (!has_stamp)
		stamp = MIN(im->stamp_usec + v[5] * 1000, TRACE_LATEST_USEC);
	im->stamp_usec = stamp;
	*ret = *t;
	ret->cgroup = scan_string(im->cgroup[0] == '/' ? im->cgroup : "/");
	return finish(im, im->stamp_usec, ret, ret_why);
}

/* ---- memory.pressure ----------------------------------------------------------------------------- */

static int read_pressure(struct import *im, struct scan line, struct trace_sample *ret,
			 const char **ret_why)
{
	struct trace_sample *t = &im->total;
	struct psi_line psi;
	const char *kind;

	if (stamp_scan(&line, &im->stamp_usec)) {
		im->has_stamp = true;
		if (!scan_blanks(&line))
			return line.left == 0 ? 0 : TRACE_FOREIGN;
	}
	kind = line.left > 0 && line.p[0] == 's' ? "some" : "full";
	if (!psi_parse_line(line, kind, &psi))
		return TRACE_FOREIGN;
	if (!im->has_stamp)
		return scan_refuse(-EINVAL, "memory.pressure, but no time stands before it",
				   ret_why);
	if (kind[0] == 's') {
		*t = (struct trace_sample){ .has_psi = true,
					    .time_usec = im->stamp_usec,
					    .some_usec = psi.total_usec,
					    .some_avg10_centi = MIN(psi.avg10_centi, 10000u),
					    .cgroup = scan_string("/") };
		im->has_some = true;
		return 0;
	}
	if (!im->has_some)
		return scan_refuse(-EINVAL, "\"full\" without a line of \"some\" before it",
				   ret_why);
	im->has_some = false;
	*ret = *t;
	ret->full_usec = psi.total_usec;
	ret->full_avg10_centi = MIN(psi.avg10_centi, 10000u);
	return finish(im, t->time_usec, ret, ret_why);
}

/* ---- metrics ------------------------------------------------------------------------------------- */

bool import_metric(struct scan name, bool *ret_container, enum trace_form *ret)
{
	*ret_container = scan_word(&name, "container_");
	if ((!*ret_container && !scan_word(&name, "node_")) ||
	    !scan_word(&name, "pressure_memory_"))
		return false;
	*ret = scan_is(name, "stalled_seconds_total") ? TRACE_FULL_ALONE : TRACE_SOME_ALONE;
	return *ret == TRACE_FULL_ALONE || scan_is(name, "waiting_seconds_total");
}

/* What is between quotes, with what \ stands for, into buf[size]. False: there is no end, or no room. */
static bool scan_quoted(struct scan *s, char *buf, size_t size)
{
	size_t n = 0;

	for (; s->left > 0 && n < size; scan_skip(s, 1)) {
		if (scan_word(s, "\"")) {
			buf[n] = '\0';
			return true;
		}
		if (s->p[0] == '\\' && s->left > 1)
			scan_skip(s, 1);
		buf[n++] = s->p[0];
	}
	return false;
}

struct labels {
	char name[64], id[CGPATH_MAX], instance[256];
};

/* {name="value",...}; those of no use here may be of any length. */
static bool scan_labels(struct scan *s, struct labels *ret)
{
	char skipped[4096];
	struct scan name;

	if (!scan_word(s, "{"))
		return true;
	while (!scan_word(s, "}")) {
		bool ok;

		scan_blanks(s);
		if (!scan_field(s, '=', &name) || !scan_word(s, "\""))
			return false;
		if (scan_is(name, "__name__"))
			ok = scan_quoted(s, ret->name, sizeof(ret->name));
		else if (scan_is(name, "id"))
			ok = scan_quoted(s, ret->id, sizeof(ret->id));
		else if (scan_is(name, "instance"))
			ok = scan_quoted(s, ret->instance, sizeof(ret->instance));
		else
			ok = scan_quoted(s, skipped, sizeof(skipped));
		if (!ok)
			return false;
		scan_word(s, ",");
	}
	return true;
}

static struct scan scan_metric_name(struct scan *s)
{
	struct scan name = *s;

	name.left = 0;
	while (name.left < s->left && name.p[name.left] != '{' && name.p[name.left] != ' ')
		name.left++;
	scan_skip(s, name.left);
	return name;
}

static int read_metric(struct import *im, struct scan line, struct trace_sample *ret,
		       const char **ret_why)
{
	struct labels labels = { .name = "" };
	struct scan rest = line, name;
	uint64_t stamp, value;
	bool is_container;

	if (stamp_scan(&rest, &stamp) && rest.left == 0) {
		im->has_stamp = true;
		im->stamp_usec = stamp;
		return 0;
	}
	name = scan_metric_name(&line);
	if (im->reader.format == TRACE_UNDECIDED && (line.left == 0 || line.p[0] != '{'))
		return TRACE_FOREIGN;
	if (!scan_labels(&line, &labels))
		return TRACE_FOREIGN;
	if (name.left == 0)
		name = scan_string(labels.name);
	*ret = (struct trace_sample){ .has_psi = true };
	scan_blanks(&line);
	if (!import_metric(name, &is_container, &ret->form) || scan_word(&line, "NaN"))
		return 0;
	if (!trace_decimal(&line, 6, &value))
		return scan_refuse(-EINVAL, "a number was expected behind the metric", ret_why);
	if (!scan_blanks(&line) || !stamp_scan(&line, &ret->time_usec)) {
		if (!im->has_stamp)
			return scan_refuse(-EINVAL, "a metric, but without its time", ret_why);
		ret->time_usec = im->stamp_usec;
	}
	if (is_container && labels.id[0] != '/')
		return scan_refuse(-EINVAL, "without the label id, which is a cgroup's path",
				   ret_why);
	if (!im->has_base)
		memcpy(im->instance, labels.instance, sizeof(im->instance));
	im->has_base = true;
	if (strcmp(im->instance, labels.instance) != 0)
		return scan_refuse(-EINVAL, "of another instance than the first; left out",
				   ret_why);
	ret->some_usec = ret->full_usec = value;
	memcpy(im->cgroup, is_container ? labels.id : "/\0", is_container ? CGPATH_MAX : 2);
	ret->cgroup = scan_string(im->cgroup);
	return 1;
}

/* ---- tables -------------------------------------------------------------------------------------- */

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* In any case; of digits the bit changes nothing. */
static bool is_one_of(struct scan word, const char *words)
{
	struct scan all = scan_string(words), one;
	size_t i;

	while (scan_item(&all, ' ', &one)) {
		for (i = 0; one.left == word.left && i < word.left; i++)
			if ((word.p[i] | 0x20) != one.p[i])
				break;
		if (i > 0 && i == word.left)
			return true;
	}
	return false;
}

/* One of the words of `name`: some-total, "Some total" and some_total have two. */
static bool has_word(struct scan name, const char *words)
{
	struct scan word;

	while (name.left > 0) {
		word = (struct scan){ name.p, 0 };
		for (; name.left > 0 && is_letter(name.p[0]); scan_skip(&name, 1))
			word.left++;
		if (is_one_of(word, words))
			return true;
		scan_skip(&name, name.left > 0);
	}
	return false;
}

static uint64_t unit_of(struct scan name)
{
	if (has_word(name, "ms msec milliseconds"))
		return USEC_PER_MSEC;
	if (has_word(name, "s sec secs seconds"))
		return USEC_PER_SEC;
	return has_word(name, "total us usec microseconds") ? 1 : 0;
}

/* *ret_unit: of a total, in microseconds. What below calls "Mem Pressure" and "Mem Some Pressure" are avg10. */
static enum trace_column column_of(struct scan name, uint64_t *ret_unit)
{
	bool some = has_word(name, "some"), full = has_word(name, "full");
	bool pressure = has_word(name, "pressure");

	*ret_unit = unit_of(name);
	if (has_word(name, "cpu io i irq avg60 avg300"))
		return TRACE_COLUMNS;
	if (has_word(name, "path"))
		return TRACE_CGROUP;
	if (some || full || pressure) {
		if (has_word(name, "avg10") || (pressure && *ret_unit == 0))
			return some ? TRACE_SOME_AVG10 : TRACE_FULL_AVG10;
		return *ret_unit == 0 || (!some && !full) ? TRACE_COLUMNS
		       : some				  ? TRACE_SOME
							  : TRACE_FULL;
	}
	if (has_word(name, "cgroup"))
		return TRACE_CGROUP;
	return has_word(name, "time timestamp ts date datetime epoch") ? TRACE_TIME : TRACE_COLUMNS;
}

static bool scan_cell(struct scan *line, char separator, struct scan *ret)
{
	if (!scan_item(line, separator, ret))
		return false;
	if (ret->left > 1 && ret->p[0] == '"' && ret->p[ret->left - 1] == '"') {
		ret->left -= 2;
		ret->p++;
	}
	while (ret->left > 0 && ret->p[0] == ' ')
		scan_skip(ret, 1);
	return true;
}

static int read_names(struct import *im, struct scan line)
{
	struct trace_reader *r = &im->reader;
	unsigned seen = 0;
	struct scan name;

	r->separator = scan_has(line, '\t') ? '\t' : scan_has(line, ',') ? ',' : ';';
	for (r->count = 0; scan_cell(&line, r->separator, &name); r->count++) {
		if (r->count == ELEMENTSOF(r->columns))
			break;
		r->columns[r->count] = (uint8_t)column_of(name, &im->units[r->count]);
		seen |= 1u << r->columns[r->count];
	}
	if (line.left == 0 && seen & 1u << TRACE_TIME &&
	    seen & (1u << TRACE_SOME | 1u << TRACE_SOME_AVG10))
		return 0;
	r->count = 0;
	return TRACE_FOREIGN;
}

static bool take_total(struct scan cell, uint64_t unit, uint64_t *ret)
{
	unsigned digits = unit == USEC_PER_SEC ? 6 : unit == USEC_PER_MSEC ? 3 : 0;

	return trace_decimal(&cell, digits, ret) && cell.left == 0;
}

static bool take_average(struct scan cell, uint32_t *ret)
{
	uint64_t centi;

	if (!trace_decimal(&cell, 2, &centi) || centi > 10000)
		return false;
	*ret = (uint32_t)centi;
	scan_word(&cell, "%");
	return cell.left == 0;
}

static bool read_cell(struct scan cell, enum trace_column column, uint64_t unit,
		      struct trace_sample *s)
{
	if (cell.left == 0 || scan_is(cell, "-") || scan_is(cell, "?"))
		return column != TRACE_TIME;
	switch (column) {
	case TRACE_TIME:
		return stamp_scan(&cell, &s->time_usec) && cell.left == 0;
	case TRACE_SOME:
		s->has_psi = true;
		return take_total(cell, unit, &s->some_usec);
	case TRACE_FULL:
		return take_total(cell, unit, &s->full_usec);
	case TRACE_SOME_AVG10:
		return take_average(cell, &s->some_avg10_centi);
	case TRACE_FULL_AVG10:
		return take_average(cell, &s->full_avg10_centi);
	case TRACE_CGROUP:
		s->cgroup = cell;
		return cell.p[0] == '/';
	case TRACE_USED:
	case TRACE_LIMIT:
	case TRACE_OOM:
	case TRACE_EVENT:
	case TRACE_TOLD:
	case TRACE_REASON:
	case TRACE_CAUSE:
	case TRACE_COLUMNS:
		break;
	}
	return true;
}

static int read_table(struct import *im, struct scan line, struct trace_sample *ret,
		      const char **ret_why)
{
	const struct trace_reader *r = &im->reader;
	struct trace_sample s = { .cgroup = scan_string("/") };
	struct scan cell;

	if (r->count == 0)
		return read_names(im, line);
	for (unsigned i = 0; i < r->count; i++) {
		if (!scan_cell(&line, r->separator, &cell))
			return scan_refuse(-EINVAL, "fewer fields than columns", ret_why);
		if (!read_cell(cell, r->columns[i], im->units[i], &s))
			return scan_refuse(-EINVAL, "a field is not what its column's name says",
					   ret_why);
	}
	if (line.left > 0)
		return scan_refuse(-EINVAL, "more fields than columns", ret_why);
	s.form = s.has_psi ? TRACE_TOTALS : TRACE_AVG10;
	*ret = s;
	return finish(im, s.time_usec, ret, ret_why);
}

/* ---- all ------------------------------------------------------------------------------------------ */

static const struct form {
	int (*read)(struct import *, struct scan, struct trace_sample *, const char **);
	const char *expected; /* NULL: it has lines that say nothing */
} forms[] = {
	[TRACE_OOMSTAT] = { read_oomstat, NULL },
	[TRACE_PSI2LOG] = { read_psi2log, NULL },
	[TRACE_PRESSURE] = { read_pressure, "neither a time nor a line of memory.pressure" },
	[TRACE_METRICS] = { read_metric, "no line of metrics" },
	[TRACE_TABLE] = { read_table, NULL },
};

int import_read(struct import *im, struct scan line, struct trace_sample *ret, const char **ret_why)
{
	struct trace_reader *r = &im->reader;
	struct scan rest = line;
	int n;

	if (r->format == TRACE_UNDECIDED &&
	    (scan_word(&rest, "# HELP ") || scan_word(&rest, "# TYPE ")))
		r->format = TRACE_METRICS;
	n = trace_read(r, line, ret, ret_why);
	if (n != TRACE_FOREIGN)
		return n;
	if (scan_ends_with(line, "\r"))
		line.left--;
	for (enum trace_format f = TRACE_OOMSTAT; f <= TRACE_TABLE; f++) {
		if (r->format != TRACE_UNDECIDED && r->format != f)
			continue;
		n = forms[f].read(im, line, ret, ret_why);
		if (n == TRACE_FOREIGN)
			continue;
		r->format = f;
		return n;
	}
	if (r->format == TRACE_UNDECIDED && r->lines > PROLOGUE_MAX)
		return scan_refuse(-EINVAL, import_unknown, ret_why);
	return r->format == TRACE_UNDECIDED || !forms[r->format].expected
		       ? 0
		       : scan_refuse(-EINVAL, forms[r->format].expected, ret_why);
}
