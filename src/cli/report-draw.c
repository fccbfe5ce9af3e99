/* SPDX-License-Identifier: MIT */
/*
 * report-draw.c - pictures of a trace, by gnuplot
 *
 *     samples --> columns (the worst of each) --> a script with its data in it --> gnuplot --> SVG, PNG
 *
 * Of each cgroup three panels share the axis of time: how much of the low trigger's window was stalled, what memory was in use, and
 * lanes of when what was told or passed. What matters is told apart by its height and its grey, too, not by its colour alone.
 *
 * Gnuplot runs commands that stand in its script, so nothing of a trace is in it but numbers, and a name as put_words() makes it.
 */
#include "cli/report.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "core/replay.h"
#include "core/utf8.h"

extern char **environ;

/* ---- colours --------------------------------------------------------------------------------------- */

enum ink { TEXT, GRID, SOME, FULL, USED, NEUTRAL, LOW, CRITICAL, BESIDE, BACK, INKS };

/* Apart in grey as well. The script has them as variables of these names, and so has the page. */
static const struct {
	const char *name;
	unsigned light, dark;
} inks[INKS] = {
	[TEXT] = { "text", 0x1d2228, 0xdde1e6 },
	[GRID] = { "grid", 0xd5d9de, 0x3a4149 },
	[SOME] = { "some", 0x8fbce0, 0x41729c },
	[FULL] = { "full", 0x7d1d12, 0xf2a08e },
	[USED] = { "used", 0x53824e, 0x8cc285 },
	[NEUTRAL] = { "neutral", 0xcfb258, 0x8a7430 },
	[LOW] = { "low", 0xd9822b, 0xd9822b },
	[CRITICAL] = { "critical", 0x9c1f1f, 0xff9d8a },
	[BESIDE] = { "beside", 0x5a6b7b, 0x9fb0c0 },
	[BACK] = { "back", 0xffffff, 0x15181c },
};

static unsigned colour(enum ink ink, bool dark)
{
	return dark ? inks[ink].dark : inks[ink].light;
}

static void put_variables(bool dark, FILE *out)
{
	fputs(":root{", out);
	for (enum ink i = 0; i < INKS; i++)
		fprintf(out, "--%s:#%06x;", inks[i].name, colour(i, dark));
	fputs("}", out);
}

/* Gnuplot writes a colour in two ways. */
void report_css(FILE *out)
{
	static const char *const attributes[] = { "fill", "stroke" };

	put_variables(false, out);
	fputs("@media screen and (prefers-color-scheme:dark){", out);
	put_variables(true, out);
	fputs("}", out);
	for (unsigned i = 0; i < 2u * INKS; i++) {
		const char *attribute = attributes[i % 2];
		unsigned rgb = inks[i / 2].light, r = rgb >> 16, g = rgb >> 8 & 255, b = rgb & 255;

		fprintf(out, "[%s=\"rgb(%u,%u,%u)\"],[%s=\"rgb(%3u, %3u, %3u)\"]{%s:var(--%s)}",
			attribute, r, g, b, attribute, r, g, b, attribute, inks[i / 2].name);
	}
}

/* ---- columns --------------------------------------------------------------------------------------- */

struct column {
	bool any;
	double least, most;
};

/* A line of straight pieces, thinned to the least and the most of each column. */
struct columns {
	uint64_t from_usec, length_usec;
	unsigned count;
	struct column *all;
	bool begun;
	uint64_t at_usec;
	double value;
};

static void take_value(struct columns *c, unsigned i, double value)
{
	struct column *column = &c->all[i];

	column->least = column->any ? MIN(column->least, value) : value;
	column->most = column->any ? MAX(column->most, value) : value;
	column->any = true;
}

static unsigned column_of(const struct columns *c, uint64_t at_usec)
{
	double i = (double)(at_usec - c->from_usec) * c->count / (double)c->length_usec;

	return MIN((unsigned)i, c->count - 1);
}

static double column_at(const struct columns *c, unsigned i)
{
	return (double)c->from_usec + (double)c->length_usec * i / c->count;
}

static void line_to(struct columns *c, uint64_t at_usec, double value)
{
	unsigned last = column_of(c, at_usec), i = c->begun ? column_of(c, c->at_usec) : last;

	for (; i < last; i++) {
		double edge = c->value + (value - c->value) *
						 (column_at(c, i + 1) - (double)c->at_usec) /
						 (double)(at_usec - c->at_usec);

		take_value(c, i, edge);
		take_value(c, i + 1, edge);
	}
	take_value(c, last, value);
	c->begun = true;
	c->at_usec = at_usec;
	c->value = value;
}

/* ---- growth ---------------------------------------------------------------------------------------- */

static uint64_t total_at(const struct trace_series *s, size_t next, enum psi_kind kind,
			 uint64_t at_usec)
{
	const struct trace_sample *b = &s->samples[next];
	struct trace_sample at = replay_between(next > 0 ? b - 1 : b, b, at_usec);

	return kind == PSI_FULL ? at.full_usec : at.some_usec;
}

void report_growth(const struct trace_series *s, const struct trigger *trigger,
		   report_growth_fn *fn, void *userdata)
{
	const uint64_t window = trigger->window_usec, first = s->samples[0].time_usec;
	size_t head = 0, tail = 0; /* the next lines at the window's ends */

	while (head < s->count) {
		uint64_t leaves = s->samples[tail].time_usec + window;
		uint64_t at = MIN(s->samples[head].time_usec, leaves);
		uint64_t from = MAX(usec_sub(at, window), first);

		fn(at,
		   usec_sub(total_at(s, head, trigger->kind, at),
			    total_at(s, tail, trigger->kind, from)),
		   userdata);
		head += s->samples[head].time_usec == at;
		tail += leaves == at;
	}
}

/* ---- panels ---------------------------------------------------------------------------------------- */

/* Lengths are in those of a letter, from the top left. */
#define TITLE 2.4
#define HEADING 2.2
#define STALL 9
#define MEMORY 6
#define GAP 0.8
#define LANE 2.5
#define TIMES 4
#define LEFT 4.2
#define RIGHT 2

struct drawing {
	const struct report_look *look;
	FILE *script;
	const struct report_section *section;
	double width, height, top;
	uint64_t from_usec, to_usec;
	uint64_t clock_usec; /* what time 0 is on the axis; 0: it counts from there */
	double unit;	     /* of the axis, in microseconds */
	struct columns columns;
};

static double x_of(const struct drawing *d, double usec)
{
	return (usec + (double)d->clock_usec) / d->unit;
}

/* Names are of others' choice: what ends a text, or makes gnuplot run something, is a '?', and so are control characters. */
static void put_words(const struct drawing *d, double x, double y, const char *more,
		      const char *words)
{
	char text[240];

	utf8_hide_controls(text, utf8_replace(words, text, sizeof(text)));
	for (char *p = text; *p; p++)
		if (strchr("'\"`\\\n", *p))
			*p = '?';
	fprintf(d->script,
		"set label '%s' at screen %.5f, screen %.5f left noenhanced textcolor rgb text %s\n",
		text, x / d->width, 1 - y / d->height, more);
}

/* What is drawn next is this high, below its heading. */
static void begin_panel(struct drawing *d, double height, const char *heading)
{
	double head = *heading ? HEADING : GAP;

	fprintf(d->script,
		"reset\nset border 3 lc rgb text\nset tics nomirror out scale 0.4,0 textcolor rgb text\n"
		"set grid ytics lc rgb grid lt 1 lw 0.7\nset xrange [%.6f:%.6f]\nset format x ''\n"
		"set lmargin at screen %.5f\nset rmargin at screen %.5f\n"
		"set tmargin at screen %.5f\nset bmargin at screen %.5f\n"
		"set key at screen %.5f, screen %.5f right center horizontal samplen 1.2 width -1 textcolor rgb text\n",
		x_of(d, (double)d->from_usec), x_of(d, (double)d->to_usec), LEFT / d->width,
		1 - RIGHT / d->width, 1 - (d->top + head) / d->height,
		1 - (d->top + head + height) / d->height, 1 - RIGHT / d->width,
		1 - (d->top + head / 2) / d->height);
	put_words(d, 0.4, d->top + head / 2, "", heading);
	d->top += head + height;
}

static void begin_columns(struct drawing *d)
{
	memset(d->columns.all, 0, d->columns.count * sizeof(*d->columns.all));
	d->columns.begun = false;
}

/* What the columns have, as a block of data. Returns: the most of all. */
static double put_columns(struct drawing *d, const char *name)
{
	const struct columns *c = &d->columns;
	double most = 0;

	fprintf(d->script, "$%s << END\n", name);
	for (unsigned i = 0; i < c->count; i++) {
		if (c->all[i].any)
			fprintf(d->script, "%.6f %.6g %.6g",
				x_of(d, (column_at(c, i) + column_at(c, i + 1)) / 2),
				c->all[i].least, c->all[i].most);
		fputc('\n', d->script);
		most = MAX(most, c->all[i].most);
	}
	fputs("END\n", d->script);
	return most;
}

struct shares {
	struct columns *columns;
	double window;
};

static void take_share(uint64_t at_usec, uint64_t growth_usec, void *userdata)
{
	struct shares *s = userdata;

	line_to(s->columns, at_usec, MIN((double)growth_usec / s->window * 100, 100));
}

static void draw_stall(struct drawing *d)
{
	struct trigger trigger = d->section->low;
	struct shares shares = { &d->columns, (double)trigger.window_usec };
	double low = (double)trigger.threshold_usec / shares.window * 100,
	       title = d->top + TITLE / 2, most = low;
	char text[80];

	if (d->look->form != REPORT_INLINE)
		d->top += TITLE;
	snprintf(text, sizeof(text), "stalled, %% of %g s", shares.window / 1e6);
	begin_panel(d, STALL, text);
	if (d->look->form != REPORT_INLINE)
		put_words(d, 0.4, title, "font ',14'", d->section->title);
	for (enum psi_kind kind = PSI_SOME; kind <= PSI_FULL; kind++) {
		trigger.kind = kind;
		begin_columns(d);
		report_growth(d->section->series, &trigger, take_share, &shares);
		most = MAX(most, put_columns(d, kind == PSI_SOME ? "some" : "full"));
	}
	fprintf(d->script,
		"set yrange [0:%u]\nset ytics 50\n"
		"plot $some using 1:3 with filledcurves y1=0 fc rgb some title 'some', "
		"$full using 1:3 with filledcurves y1=0 fc rgb full title 'full', "
		"%.6f with lines dt (6,4) lc rgb text title 'Low'\n",
		most > 50 ? 100 : 50, low);
}

/* Bytes of each sample, where they are known; `offset` says which. Returns: the most. */
static double put_bytes(struct drawing *d, const char *name, size_t offset, double unit)
{
	const struct trace_series *s = d->section->series;
	const uint64_t *bytes;

	begin_columns(d);
	for (size_t i = 0; i < s->count; i++) {
		bytes = (const uint64_t *)(const void *)((const char *)&s->samples[i] + offset);
		if (*bytes > 0)
			line_to(&d->columns, s->samples[i].time_usec, (double)*bytes / unit);
		else
			d->columns.begun = false;
	}
	return put_columns(d, name);
}

static void draw_memory(struct drawing *d)
{
	bool large = d->section->most_bytes >> 32 > 0;
	double unit = large ? 1 << 30 : 1 << 20, limit;

	if (d->section->most_bytes == 0)
		return;
	begin_panel(d, MEMORY, large ? "memory in use, GiB" : "memory in use, MiB");
	(void)put_bytes(d, "used", offsetof(struct trace_sample, used_bytes), unit);
	limit = put_bytes(d, "limit", offsetof(struct trace_sample, limit_bytes), unit);
	fprintf(d->script,
		"set yrange [0:%.6g]\nplot $used using 1:2:3 with filledcurves fc rgb used notitle, "
		"$used using 1:3 with lines lw 1.6 lc rgb used title 'in use'%s\n",
		(double)d->section->most_bytes / unit * 1.08,
		limit > 0 ? ", $limit using 1:3 with lines dt (6,4) lc rgb text title 'limit'"
			  : "");
}

/* ---- lanes ----------------------------------------------------------------------------------------- */

/* From one time to another, so high, and at least so wide that it can be seen. */
static void put_bar(const struct drawing *d, struct report_span span, double base, double height,
		    enum ink ink)
{
	double least = (double)(d->to_usec - d->from_usec) * 1.2 / d->look->width;
	double to = MAX((double)span.to_usec, (double)span.from_usec + least);

	fprintf(d->script, "%.6f %.6f %.3f %.3f %u\n", x_of(d, (double)span.from_usec),
		x_of(d, MIN(to, (double)d->to_usec)), base, base + height,
		colour(ink, d->look->dark));
}

/* The higher, the shorter is memory. A line upwards is a Low that was told. */
static void put_levels(const struct drawing *d, double base)
{
	const struct report_section *s = d->section;
	uint64_t gap = (d->to_usec - d->from_usec) / d->look->width * 3, last = 0;

	for (size_t i = 0; i < s->told_count; i++) {
		const struct report_told *t = &s->told[i];
		const struct report_span span = { t->time_usec, i + 1 < s->told_count
									? t[1].time_usec
									: d->to_usec };

		if (t->level == LEVEL_NEUTRAL)
			put_bar(d, span, base, 0.12, NEUTRAL);
		else if (t->level == LEVEL_LOW)
			put_bar(d, span, base, t->critical ? 0.42 : 0.27,
				t->critical ? CRITICAL : LOW);
	}
	for (size_t i = 0; i < s->told_count; i++) {
		const struct report_told *t = &s->told[i];

		if (t->level != LEVEL_LOW || (last > 0 && t->time_usec - last < gap))
			continue;
		last = t->time_usec;
		put_bar(d, (struct report_span){ last, last }, base, 0.5, TEXT);
	}
}

static void put_beside(const struct drawing *d, double base, const struct report_beside *b)
{
	uint64_t gap = (d->to_usec - d->from_usec) / d->look->width;

	for (size_t i = 0; i < b->count; i++) {
		struct report_span bar = b->spans[i];

		while (i + 1 < b->count && b->spans[i + 1].from_usec <= bar.to_usec + gap)
			bar.to_usec = b->spans[++i].to_usec;
		put_bar(d, bar, base, 0.27, BESIDE);
	}
}

/* The least round step, in seconds, at which the names of times do not touch. */
static double step_of(const struct drawing *d)
{
	static const unsigned steps[] = { 1,   2,    5,	   10,	 20,   30,    60,    120,   300,
					  600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400 };
	double least = (double)(d->to_usec - d->from_usec) / 1e6 * 5 / (d->width - LEFT - RIGHT);

	for (size_t i = 0; i < ELEMENTSOF(steps); i++)
		if (steps[i] >= least)
			return steps[i];
	return least;
}

/* The names of times, under the last panel. */
static void put_times(const struct drawing *d)
{
	double step = step_of(d);

	fprintf(d->script, "set xtics %.6f\n", step * 1e6 / d->unit);
	if (d->clock_usec == 0)
		fprintf(d->script,
			"set format x '%%g'\nset xlabel '%s' textcolor rgb text offset 0,0.6\n",
			d->unit > 3e9	? "hours"
			: d->unit > 3e7 ? "minutes"
					: "seconds");
	else
		fprintf(d->script, "set xtics time format '%s'\n",
			step < 60      ? "%H:%M:%S"
			: step < 43200 ? "%H:%M"
				       : "%d %b");
}

static void draw_lanes(struct drawing *d)
{
	const struct report_section *s = d->section;
	unsigned lanes = s->beside_count + 1;
	double top = d->top + GAP;

	begin_panel(d, LANE * lanes, "");
	put_times(d);
	for (unsigned i = 0; i < lanes; i++)
		put_words(d, LEFT, top + LANE * (i + 0.25), "",
			  i > 0 ? s->beside[i - 1].label : s->levels);
	fputs("$bars << END\n", d->script);
	put_levels(d, lanes - 1);
	for (unsigned i = 0; i < s->beside_count; i++)
		put_beside(d, lanes - 2.0 - i, &s->beside[i]);
	fprintf(d->script,
		"NaN NaN NaN NaN 0\nEND\nset yrange [0:%u]\nset ytics 1 format ''\nset border 1\n"
		"plot $bars using 1:3:1:2:3:4:5 with boxxyerror fs solid noborder lc rgb variable notitle, NaN notitle\n",
		lanes);
}

/* ---- a picture ------------------------------------------------------------------------------------- */

/* Local time where it is known when the trace began, and that is of use. */
static void begin_axis(struct drawing *d)
{
	const struct trace_series *s = d->section->series;
	time_t began = (time_t)(s->began_usec / USEC_PER_SEC);
	uint64_t span;
	struct tm tm;

	d->from_usec = s->samples[0].time_usec;
	d->to_usec = MAX(s->samples[s->count - 1].time_usec, d->from_usec + USEC_PER_MSEC);
	span = (d->to_usec - d->from_usec) / USEC_PER_SEC;
	d->clock_usec = 0;
	d->unit = span <= 300 ? 1e6 : span <= 4 * 3600 ? 60e6 : 3600e6;
	if (s->began_usec > 0 && d->to_usec >= 60 * USEC_PER_SEC && localtime_r(&began, &tm)) {
		d->clock_usec = s->began_usec + (uint64_t)(tm.tm_gmtoff * 1000000);
		d->unit = 1e6;
	}
	d->columns.from_usec = d->from_usec;
	d->columns.length_usec = d->to_usec - d->from_usec;
}

static double height_of(const struct report_section *s, const struct report_look *look)
{
	return (look->form == REPORT_INLINE ? 0 : TITLE) + HEADING + STALL +
	       (s->most_bytes > 0 ? HEADING + MEMORY : 0) + GAP + LANE * (s->beside_count + 1) +
	       TIMES;
}

static void put_script(struct drawing *d, const struct report_section *const *sections,
		       unsigned count)
{
	const struct report_look *l = d->look;
	/* points, of which there are 72 to an inch, where a pixel is one of 96 */
	double size = l->form == REPORT_PNG ? l->font * 0.75 : l->font, bottom = 0;

	for (enum ink i = 0; i < INKS; i++)
		fprintf(d->script, "%s = '#%06x'\n", inks[i].name, colour(i, l->dark));
	for (unsigned i = 0; i < count; i++)
		d->height += height_of(sections[i], l);
	fprintf(d->script, "set terminal %s size %u,%.0f font 'sans-serif,%g'%s\nset multiplot\n",
		l->form == REPORT_PNG ? "pngcairo" : "svg dynamic", l->width, d->height * l->font,
		size, l->form == REPORT_INLINE ? "" : " background back");
	for (unsigned i = 0; i < count; i++) {
		d->section = sections[i];
		bottom += height_of(sections[i], l);
		begin_axis(d);
		draw_stall(d);
		draw_memory(d);
		draw_lanes(d);
		d->top = bottom;
	}
	fputs("unset multiplot\n", d->script);
}

/* ---- gnuplot --------------------------------------------------------------------------------------- */

static const char *content(int fd, size_t *ret_size)
{
	off_t size = lseek(fd, 0, SEEK_END);
	void *text = size > 0 ? mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0)
			      : MAP_FAILED;

	*ret_size = text == MAP_FAILED ? 0 : (size_t)size;
	return text == MAP_FAILED ? NULL : text;
}

/* What it complains of begins with the line at which it stopped; the last line says why. */
static int failed(int status, int errors)
{
	size_t size;
	const char *text = content(errors, &size), *line;

	while (size > 0 && (text[size - 1] == '\n' || text[size - 1] == ' '))
		size--;
	line = size > 0 ? memrchr(text, '\n', size) : NULL;
	line = line ? line + 1 : text;
	if (WIFSIGNALED(status))
		complain("report", "gnuplot was ended by signal %d", WTERMSIG(status));
	else
		complain("report", "gnuplot failed: %.*s", (int)(size > 0 ? text + size - line : 0),
			 size > 0 ? line : "");
	return -EIO;
}

/* All three are files in memory: whoever writes first waits for nobody. */
static int run_gnuplot(int script, int out, int errors)
{
	char *const argv[] = { (char[]){ "gnuplot" }, (char[]){ "-d" }, NULL };
	posix_spawn_file_actions_t actions;
	int status, r = posix_spawn_file_actions_init(&actions);
	pid_t pid;

	if (r != 0)
		return -r;
	(void)posix_spawn_file_actions_adddup2(&actions, script, STDIN_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, errors, STDERR_FILENO);
	r = posix_spawnp(&pid, "gnuplot", &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (r != 0) {
		complain("report", "gnuplot: %s%s", strerror(r),
			 r == ENOENT ? "; it draws the pictures: install the package gnuplot-nox"
				     : "");
		return -r;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return status == 0 ? 0 : failed(status, errors);
}

/* What is left behind `mark` of a text; NULL: it is not in it. */
static const char *behind(const char *text, const char *end, const char *mark)
{
	const char *found = text ? memmem(text, (size_t)(end - text), mark, strlen(mark)) : NULL;

	return found ? found + strlen(mark) : NULL;
}

/* Without its prologue, and the shapes that it defines and does not use: their identifiers are the same in each. */
static void put_inline(const char *text, size_t size, FILE *out)
{
	const char *end = text + size, *box = behind(text, end, "viewBox=\""),
		   *p = behind(box, end, "</defs>");

	if (p)
		fprintf(out, "<svg role=\"img\" viewBox=\"%.*s\"><g>%.*s", (int)strcspn(box, "\""),
			box, (int)(end - p), p);
}

static void put_drawn(int fd, const struct report_look *look, FILE *out)
{
	size_t size;
	const char *text = content(fd, &size);

	if (look->form == REPORT_INLINE)
		put_inline(text, size, out);
	else if (size > 0)
		fwrite(text, 1, size, out);
}

/* A file in memory. */
static FILE *scratch(const char *name)
{
	int fd = memfd_create(name, MFD_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");

	if (!file && fd >= 0)
		close(fd);
	return file;
}

int report_draw(const struct report_section *const *sections, unsigned count,
		const struct report_look *look, FILE *out)
{
	struct drawing d = {
		.look = look,
		.script = scratch("script"),
		.width = (double)look->width / look->font,
		.columns = { .count = look->columns,
			     .all = calloc(look->columns, sizeof(struct column)) },
	};
	FILE *files[] = { d.script, scratch("drawn"), scratch("errors") };
	int r = -ENOMEM;

	if (files[0] && files[1] && files[2] && d.columns.all) {
		put_script(&d, sections, count);
		r = fflush(d.script) == EOF || lseek(fileno(d.script), 0, SEEK_SET) < 0 ? -errno
											: 0;
	}
	if (r < 0)
		complain("report", "%s", strerror(-r));
	else
		r = run_gnuplot(fileno(files[0]), fileno(files[1]), fileno(files[2]));
	if (r == 0)
		put_drawn(fileno(files[1]), look, out);
	for (unsigned i = 0; i < ELEMENTSOF(files); i++)
		if (files[i])
			fclose(files[i]);
	free(d.columns.all);
	return r;
}
