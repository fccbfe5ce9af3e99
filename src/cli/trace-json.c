/* SPDX-License-Identifier: MIT */
/*
 * trace-json.c - Prometheus: {"data": {"result": [SERIES...]}}, or promtool's [SERIES...]; a series is {"metric": {"__name__": "...", "id":
 * "/..."}, "values": [[1764504000.0, "12.5"], ...]}
 *
 * sadf (json_print_psi_stats() in sysstat's json_stats.c): {"sysstat": {"hosts": [{"statistics": [{"timestamp": {"date": "2026-11-30", "time":
 * "16:00:01", "interval": 60}, "psi": {"psi-mem": {"some_avg10": 0.00, ..., "some_avg": 1.25, "full_avg": 0.10}}}, ...]}]}}; some_avg is the
 * percent of the interval that ends then.
 */
#include "cli/trace-json.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

typedef int sample_fn(struct trace_sample *sample, void *userdata);

struct input {
	struct trace_text *text;
	size_t size;
};

static size_t take_bytes(void *buffer, size_t size, void *userdata)
{
	struct input *in = userdata;
	size_t n = trace_text_read(buffer, size, in->text);

	in->size += n == (size_t)-1 ? 0 : n;
	return in->size > TRACE_JSON_MAX ? (size_t)-1 : n;
}

/* ---- Prometheus ---------------------------------------------------------------------------------- */

static int read_values(const json_t *values, struct trace_sample *s, sample_fn *fn, void *userdata,
		       const char **ret_why)
{
	size_t i;
	const json_t *pair;

	json_array_foreach(values, i, pair)
	{
		const json_t *time = json_array_get(pair, 0);
		const char *text = json_string_value(json_array_get(pair, 1));
		struct scan value = scan_string(text ? text : "");
		double seconds = json_number_value(time);
		int r;

		if (scan_is(value, "NaN"))
			continue;
		if (!(seconds >= 0 && seconds < 1e11) || !json_is_number(time) ||
		    !trace_decimal(&value, 6, &s->some_usec) || value.left > 0)
			return scan_refuse(-EINVAL,
					   "\"values\": [[TIME, \"NUMBER\"], ...] was expected",
					   ret_why);
		s->full_usec = s->some_usec;
		s->time_usec = (uint64_t)(seconds * (double)USEC_PER_MSEC + 0.5) * USEC_PER_MSEC;
		r = fn(s, userdata);
		if (r < 0)
			return r;
	}
	return 0;
}

static int read_series(const json_t *result, sample_fn *fn, void *userdata, const char **ret_why)
{
	const char *first = NULL;
	bool any = false;
	size_t i;
	const json_t *series;

	json_array_foreach(result, i, series)
	{
		const json_t *metric = json_object_get(series, "metric");
		const char *name = json_string_value(json_object_get(metric, "__name__"));
		const char *id = json_string_value(json_object_get(metric, "id"));
		const char *instance = json_string_value(json_object_get(metric, "instance"));
		struct trace_sample s = { .has_psi = true };
		bool is_container;
		int r;

		if (!name || !import_metric(scan_string(name), &is_container, &s.form))
			continue;
		if (is_container && (!id || id[0] != '/'))
			return scan_refuse(
				-EINVAL, "a series without the label id, a cgroup's path", ret_why);
		instance = instance ? instance : "";
		if (any && strcmp(first, instance) != 0)
			return scan_refuse(-EINVAL, "series of several instances: ask for one",
					   ret_why);
		first = instance;
		any = true;
		s.cgroup = scan_string(is_container ? id : "/");
		r = read_values(json_object_get(series, "values"), &s, fn, userdata, ret_why);
		if (r < 0)
			return r;
	}
	return any ? 0 : scan_refuse(-EINVAL, import_no_metrics, ret_why);
}

/* ---- sadf ---------------------------------------------------------------------------------------- */

static bool stamp_of(const json_t *at, uint64_t *ret_usec, uint64_t *ret_interval_usec)
{
	const char *date = json_string_value(json_object_get(at, "date"));
	const char *clock = json_string_value(json_object_get(at, "time"));
	double interval = json_number_value(json_object_get(at, "interval"));
	char text[64];
	struct scan s;

	if (!date || !clock || !(interval >= 0 && interval < 1e9))
		return false;
	snprintf(text, sizeof(text), "%s %s", date, clock);
	s = scan_string(text);
	*ret_interval_usec = (uint64_t)(interval * (double)USEC_PER_SEC);
	return stamp_scan(&s, ret_usec) && s.left == 0 && *ret_usec > *ret_interval_usec;
}

static uint64_t stall_of(const json_t *percent, uint64_t interval_usec)
{
	double value = json_number_value(percent);

	return value > 0 && value <= 200 ? (uint64_t)(value / 100 * (double)interval_usec) : 0;
}

static int read_sadf(const json_t *statistics, struct import *import, sample_fn *fn, void *userdata,
		     const char **ret_why)
{
	struct trace_sample s = { .has_psi = true, .cgroup = scan_string("/") };
	size_t i;
	const json_t *one;
	bool any = false;

	json_array_foreach(statistics, i, one)
	{
		const json_t *psi = json_object_get(json_object_get(one, "psi"), "psi-mem");
		uint64_t stamp, interval;
		int r = 0;

		if (!psi)
			continue;
		if (!stamp_of(json_object_get(one, "timestamp"), &stamp, &interval))
			return scan_refuse(-EINVAL,
					   "a timestamp with date, time and interval was expected",
					   ret_why);
		if (!any && import_time(import, stamp - interval, &s))
			r = fn(&s, userdata);
		any = true;
		s.some_usec += stall_of(json_object_get(psi, "some_avg"), interval);
		s.full_usec += stall_of(json_object_get(psi, "full_avg"), interval);
		if (r == 0 && import_time(import, stamp, &s))
			r = fn(&s, userdata);
		if (r < 0)
			return r;
	}
	return any ? 0
		   : scan_refuse(-EINVAL, "there is no \"psi-mem\" in it; sadf -j -- -q MEM has it",
				 ret_why);
}

/* ---- all ----------------------------------------------------------------------------------------- */

static int read_root(const json_t *root, struct import *import, sample_fn *fn, void *userdata,
		     const char **ret_why)
{
	const json_t *result = json_is_array(root)
				       ? root
				       : json_object_get(json_object_get(root, "data"), "result");
	const json_t *hosts = json_object_get(json_object_get(root, "sysstat"), "hosts");

	if (result)
		return read_series(result, fn, userdata, ret_why);
	if (json_array_size(hosts) > 1)
		return scan_refuse(-EINVAL, "statistics of several hosts: one is expected",
				   ret_why);
	if (hosts)
		return read_sadf(json_object_get(json_array_get(hosts, 0), "statistics"), import,
				 fn, userdata, ret_why);
	return scan_refuse(-EINVAL, "JSON, but neither of Prometheus's query_range nor of sadf",
			   ret_why);
}

int trace_json_read(struct trace_text *text, struct import *import, sample_fn *fn, void *userdata,
		    char *buf, const char **ret_why)
{
	struct input in = { text, 0 };
	json_error_t error;
	json_t *root = json_load_callback(take_bytes, &in, 0, &error);
	int r = -EINVAL;

	import->reader.format = TRACE_JSON;
	*ret_why = buf;
	if (root)
		r = read_root(root, import, fn, userdata, ret_why);
	else if (in.size > TRACE_JSON_MAX)
		r = scan_refuse(-EINVAL, "more than 64 MiB of JSON; OpenMetrics may be longer",
				ret_why);
	else if (trace_text_why(text))
		r = scan_refuse(-EINVAL, trace_text_why(text), ret_why);
	else
		snprintf(buf, 256, "line %d: %s", error.line, error.text);
	json_decref(root);
	return r;
}
