/* SPDX-License-Identifier: MIT */
/*
 * control-status.c - the whole state of the daemon as one line of JSON
 *
 * It is written as it is found, for as values of a JSON library ten thousand cgroups would be some ten megabytes.
 */
#include "daemon/control-status.h"

#include "core/utf8.h"
#include "daemon/history.h"
#include "daemon/memoryhigh.h"
#include "core/names.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- JSON ---------------------------------------------------------------------------------------- */

/* Bytes that are no UTF-8 become U+FFFD. NULL is null. */
static void put_string(FILE *out, const char *text)
{
	char clean[3 * CGPATH_MAX] = "";

	if (text)
		utf8_replace(text, clean, sizeof(clean));
	fputs(text ? "\"" : "null", out);
	for (const char *p = clean; *p; p++)
		if ((unsigned char)*p < ' ')
			fprintf(out, "\\u%04x", (unsigned)*p);
		else
			fprintf(out, *p == '"' || *p == '\\' ? "\\%c" : "%c", *p);
	fputs(text ? "\"" : "", out);
}

static void put_value(struct writer *w, char form, va_list *args)
{
	uint64_t number;

	switch (form) {
	case 's':
		put_string(w->out, va_arg(*args, const char *));
		break;
	case 'b':
		fputs(va_arg(*args, int) ? "true" : "false", w->out);
		break;
	case 'u':
		fprintf(w->out, "%u", va_arg(*args, unsigned));
		break;
	case 'n':
	case 'k':
		number = va_arg(*args, uint64_t);
		if (form == 'k' && number == PSB_UNKNOWN)
			fputs("null", w->out);
		else
			fprintf(w->out, "%lld", (long long)MIN(number, (uint64_t)INT64_MAX));
		break;
	default:
		putc(form, w->out);
	}
	w->more = form != '{' && form != '[';
}

void writer_put(struct writer *w, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	for (size_t name; *format; format += *format == ' ') {
		name = strcspn(format, ": ");
		if (format[name] == ':') {
			fputs(w->more ? "," : "", w->out);
			if (name > 0)
				fprintf(w->out, "\"%.*s\":", (int)name, format);
			format += name + 1;
		}
		put_value(w, *format++, &args);
	}
	va_end(args);
}

bool writer_begin(struct writer *w)
{
	*w = (struct writer){ .out = open_memstream(&w->data, &w->size) };
	return w->out;
}

struct text *writer_end(struct writer *w)
{
	struct text *text = malloc(sizeof(*text));
	bool failed = putc('\n', w->out) < 0 || ferror(w->out);

	if (fclose(w->out) != 0 || failed || !text) {
		free(w->data);
		free(text);
		return NULL;
	}
	*text = (struct text){ 1, w->data, w->size };
	return text;
}

struct text *text_ref(struct text *text)
{
	text->holders++;
	return text;
}

struct text *text_unref(struct text *text)
{
	if (text && --text->holders == 0) {
		free(text->data);
		free(text);
	}
	return NULL;
}

struct text *control_result(int error, const char *words)
{
	const char *name = strerrorname_np(-error);
	struct writer w;

	if (!writer_begin(&w))
		return NULL;
	if (error < 0)
		writer_put(&w, "{ error:s errno:s }", words, name ? name : "EIO");
	else
		writer_put(&w, "{ ok:b }", true);
	return writer_end(&w);
}

/* ---- status -------------------------------------------------------------------------------------- */

static void put_daemon(struct writer *w, struct daemon *d)
{
	const char *why = "";
	bool uring = psb_bridge_backend(d->bridge, &why) == PSB_BACKEND_URING;
	uint64_t now = now_usec();
	struct server_view v;

	server_view(d->server, &v);
	writer_put(w, "version:s pid:u backend:s backend_why:s uptime_usec:n time_usec:n",
		   psb_version(), (unsigned)getpid(), uring ? "uring" : "epoll", why ? why : "",
		   usec_sub(now, d->started_usec), now);
	writer_put(
		w,
		"clients:{ connected:u plain:u records:u accepted:n refused:n told:n replaced:n max:u } "
		"configuration:{ error:s files:[",
		v.clients, v.plain, v.records, v.accepted, v.refused, v.told, v.replaced,
		d->config->clients_max, d->config_error);
	for (char **file = d->config->files; file && *file; file++)
		writer_put(w, ":s", *file);
	writer_put(w, "] }");
}

static void put_works(struct writer *w, const struct psb_source *s, const struct psb_stats *n)
{
	writer_put(w, "source:{ rung:u name:s trigger:s events:b path:s why:s }", s->rung,
		   s->name ? s->name : "", s->trigger, s->events, s->path, s->why);
	writer_put(
		w,
		"stats:{ alarms:n false_alarms:n lost_alarms:n samples:n sweeps:n low:n critical:n "
		"neutral:n high:n callbacks:n callback_usec:n superseded:n bytes_back:n members:n "
		"alarm_usec:n sample_usec:n effects:n }",
		n->alarms, n->false_alarms, n->lost_alarms, n->samples, n->sweeps, n->low,
		n->critical, n->neutral, n->high, n->callbacks, n->callback_usec, n->superseded,
		n->bytes_back, n->members, n->alarm_usec, n->sample_usec, n->effects);
}

static void put_watch(struct writer *w, const struct watch_view *v,
		      const struct memoryhigh_view *high)
{
	static const char *const states[] = {
		[WATCH_WATCHING] = "watching", [WATCH_ABSENT] = "absent", [WATCH_FAILED] = "failed"
	};
	const struct policy_options *p = &v->settings.policy;
	bool works = v->state == WATCH_WATCHING;
	struct settings_text text;

	trigger_format(&p->early, text.early);
	trigger_format(&p->low, text.low);
	trigger_format(&p->critical, text.critical);
	writer_put(
		w,
		":{ id:u path:s configured:b state:s why:s available:s critical:b shadow:b clients:u "
		"thresholds:u settings:{ early:s low:s critical:s rearm_usec:n quiet_usec:n calm_usec:n "
		"headroom_percent:u descendants:b forecast_usec:n }",
		v->id, v->path, v->configured, states[v->state], v->why,
		works ? name_of_available(v->available) : NULL, v->critical, v->settings.shadow,
		v->clients, v->thresholds, text.early, text.low, text.critical, p->rearm_usec,
		p->quiet_usec, p->calm_usec,
		p->headroom_percent == HEADROOM_OFF ? 0u : p->headroom_percent,
		p->descendants == DESCENDANTS_COUNT,
		p->forecast_usec == FORECAST_OFF ? 0 : p->forecast_usec);
	if (works)
		put_works(w, &v->source, &v->stats);
	writer_put(w, "made_usec:n", v->made_usec);
	if (v->settings.shadow)
		writer_put(w,
			   "would_have_told:{ low:n critical:n neutral:n low_usec:n last_usec:n }",
			   v->stats.low, v->stats.critical, v->stats.neutral, v->low_usec,
			   v->low_last_usec);
	if (high->percent > 0)
		writer_put(w, "memory_high:{ percent:u set:u failed:u why:s }", high->percent,
			   high->set, high->failed, high->why);
	writer_put(w, "}");
}

static void put_cgroup(const struct cgroup_view *v, void *userdata)
{
	const struct psb_notification *n = v->present;
	char front[CGPATH_MAX], text[PSB_CAUSE_TEXT_MAX];

	(void)psb_cause_text(n, text);
	snprintf(front, sizeof(front), "%.*s", (int)n->cause_length, n->cgroup);
	writer_put(userdata,
		   ":{ cgroup:s watch:u available:s critical:b candidate:b since_usec:n "
		   "some_avg10_centi:u some_total_usec:n full_total_usec:n limit_bytes:n clients:u",
		   n->cgroup, v->watch, name_of_available(n->available), n->critical, v->candidate,
		   n->since_usec, n->some_avg10_centi, n->some_total_usec, n->full_total_usec,
		   n->limit_bytes, v->clients);
	writer_put(userdata, "cause:s cause_cgroup:s cause_text:s", name_of_cause(n->cause), front,
		   text);
	if (n->current_bytes > 0)
		writer_put(userdata, "current_bytes:n }", n->current_bytes);
	else
		writer_put(userdata, "current_bytes:s }", NULL);
}

static void put_past(struct writer *w, const struct past *p)
{
	writer_put(w, ":{ cgroup:s low:n low_usec:n killed:n", p->cgroup, p->low, p->low_usec,
		   p->killed);
	if (p->killed > 0)
		writer_put(
			w, "last:{ limit:s task:s pid:n usage_bytes:n limit_bytes:n time_usec:n }",
			p->limit, p->task, p->pid, p->usage_bytes, p->limit_bytes, p->killed_usec);
	writer_put(w, "effects:n bytes_back:n unanswered:n", p->effects, p->bytes_back,
		   p->unanswered);
	if (p->effects > 0)
		writer_put(w,
			   "effect:{ time_usec:n bytes_back:n reported_bytes:n first_back_usec:k "
			   "stall_before_usec:k stall_after_usec:k }",
			   p->effect_usec, p->effect_bytes, p->effect_reported_bytes,
			   p->first_back_usec, p->stall_before_usec, p->stall_after_usec);
	writer_put(w, "}");
}

struct text *control_status(struct daemon *d)
{
	struct memoryhigh_view high = { .why = "" };
	struct watch_view view;
	struct past past;
	struct writer w;

	if (!writer_begin(&w))
		return NULL;
	writer_put(&w, "{");
	put_daemon(&w, d);
	writer_put(&w, "watches:[");
	for (size_t i = 0; table_watch(d->table, i, &view); i++) {
		high.percent = 0;
		if (view.configured && !view.settings.shadow)
			memoryhigh_view(d->memoryhigh, view.path, &high);
		put_watch(&w, &view, &high);
	}
	writer_put(&w, "] cgroups:[");
	table_each_cgroup(d->table, put_cgroup, &w);
	writer_put(&w, "] history:[");
	for (size_t i = 0; history_get(d->history, i, now_usec(), &past); i++)
		put_past(&w, &past);
	writer_put(&w, "] }");
	return writer_end(&w);
}
