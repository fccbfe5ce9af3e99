/* SPDX-License-Identifier: MIT */
/*
 * report-draw.c - pictures of a trace, by gnuplot
 *
 *     samples --> columns (the worst of each) --> numbers and data, each time before the same script --> gnuplot --> SVG, PNG
 *
 * Of each cgroup three panels share the axis of time: how much of the low trigger's window was stalled, what memory was in use, and
 * lanes of when what was told or passed. What matters is told apart by its height and its grey, too, not by its colour alone.
 *
 * Gnuplot runs commands that stand in its script, so nothing of a trace is in it but numbers, and names as put_text() makes them.
 */
#include "cli/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/args.h"
#include "core/utf8.h"

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

/* ---- a drawing ------------------------------------------------------------------------------------- */

struct drawing {
	const struct report_look *look;
	FILE *script;
	const struct report_section *section;
	uint64_t from_usec, to_usec;
	uint64_t clock_usec; /* what time 0 is on the axis; 0: it counts from there */
	double unit;	     /* of the axis, in microseconds */
	/* a line of straight pieces, thinned to the most of each column; -1: there is none */
	double *most;
	bool begun;
	uint64_t at_usec;
	double value;
};

static double x_of(const struct drawing *d, double usec)
{
	return (usec + (double)d->clock_usec) / d->unit;
}

/* Names are of others' choice: what ends a text, or makes gnuplot run something, is a '?', and so are control characters. */
static void put_text(const struct drawing *d, const char *name, const char *words)
{
	char text[240];

	utf8_hide_controls(text, utf8_replace(words, text, sizeof(text)));
	for (char *p = text; *p; p++)
		if (strchr("'\"`\\\n", *p))
			*p = '?';
	fprintf(d->script, "%s = '%s'\n", name, text);
}

/* ---- columns --------------------------------------------------------------------------------------- */

static void begin_line(struct drawing *d)
{
	for (unsigned i = 0; i < d->look->columns; i++)
		d->most[i] = -1;
	d->begun = false;
}

static unsigned column_of(const struct drawing *d, uint64_t at_usec)
{
	double i = (double)(at_usec - d->from_usec) * d->look->columns /
		   (double)(d->to_usec - d->from_usec);

	return MIN((unsigned)i, d->look->columns - 1);
}

static double column_at(const struct drawing *d, double i)
{
	return (double)d->from_usec + (double)(d->to_usec - d->from_usec) * i / d->look->columns;
}

static void line_to(struct drawing *d, uint64_t at_usec, double value)
{
	unsigned last = column_of(d, at_usec), i = d->begun ? column_of(d, d->at_usec) : last;

	for (; i < last; i++) {
		double edge = d->value + (value - d->value) *
						 (column_at(d, i + 1) - (double)d->at_usec) /
						 (double)(at_usec - d->at_usec);

		d->most[i] = MAX(d->most[i], edge);
		d->most[i + 1] = MAX(d->most[i + 1], edge);
	}
	d->most[last] = MAX(d->most[last], value);
	d->begun = true;
	d->at_usec = at_usec;
	d->value = value;
}

/* What the columns have, as a block of data. Returns: the most of all. */
static double put_line(const struct drawing *d, const char *name)
{
	double most = 0;

	fprintf(d->script, "$%s << END\n", name);
	for (unsigned i = 0; i < d->look->columns; i++) {
		if (d->most[i] >= 0)
			fprintf(d->script, "%.6f %.6g\n", x_of(d, column_at(d, i + 0.5)),
				d->most[i]);
		else
			fputc('\n', d->script);
		most = MAX(most, d->most[i]);
	}
	fputs("END\n", d->script);
	return most;
}

static int put_stall(struct drawing *d)
{
	struct trigger trigger = d->section->low;
	double window = (double)trigger.window_usec,
	       low = (double)trigger.threshold_usec / window * 100, most = low;

	for (enum psi_kind kind = PSI_SOME; kind <= PSI_FULL; kind++) {
		size_t count;
		struct trace_growth *points;

		trigger.kind = kind;
		points = trace_growth(d->section->series, &trigger, &count);
		if (!points)
			return -ENOMEM;
		begin_line(d);
		for (size_t i = 0; i < count; i++)
			line_to(d, points[i].at_usec,
				MIN((double)points[i].growth_usec / window * 100, 100));
		free(points);
		most = MAX(most, put_line(d, kind == PSI_SOME ? "some_stalled" : "full_stalled"));
	}
	fprintf(d->script, "window = %g\nthreshold = %.6f\nmost_stalled = %d\n", window / 1e6, low,
		most > 50 ? 100 : 50);
	return 0;
}

static void put_memory(struct drawing *d)
{
	const struct trace_series *s = d->section->series;
	bool large = d->section->most_bytes >> 32 > 0;
	double unit = large ? 1 << 30 : 1 << 20, limit = 0;

	fprintf(d->script, "memory = %.6g\nunit = '%s'\n",
		(double)d->section->most_bytes / unit * 1.08, large ? "GiB" : "MiB");
	for (unsigned k = 0; k < 2; k++) {
		begin_line(d);
		for (size_t i = 0; i < s->count; i++) {
			uint64_t bytes = k ? s->samples[i].limit_bytes : s->samples[i].used_bytes;

			if (bytes > 0)
				line_to(d, s->samples[i].time_usec, (double)bytes / unit);
			else
				d->begun = false;
		}
		limit = put_line(d, k ? "limit" : "in_use");
	}
	fprintf(d->script, "is_limited = %d\n", limit > 0);
}

#define MARGINS 6.2 /* letters left and right of a panel, as `prologue` has them */

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

	for (size_t i = 0; i < s->told.count; i++) {
		const struct trace_sample *t = &s->told.list[i];
		const struct report_span span = { t->time_usec, i + 1 < s->told.count
									? t[1].time_usec
									: d->to_usec };

		if (t->told == LEVEL_NEUTRAL)
			put_bar(d, span, base, 0.12, NEUTRAL);
		else if (t->told == LEVEL_LOW)
			put_bar(d, span, base, t->critical ? 0.42 : 0.27,
				t->critical ? CRITICAL : LOW);
	}
	for (size_t i = 0; i < s->told.count; i++) {
		const struct trace_sample *t = &s->told.list[i];

		if (t->told != LEVEL_LOW || (last > 0 && t->time_usec - last < gap))
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
	double least = (double)(d->to_usec - d->from_usec) / 1e6 * 5 /
		       ((double)d->look->width / d->look->font - MARGINS);

	for (size_t i = 0; i < ELEMENTSOF(steps); i++)
		if (steps[i] >= least)
			return steps[i];
	return least;
}

/* The names of times, under the last panel. */
static void put_times(const struct drawing *d)
{
	double step = step_of(d);

	fprintf(d->script, "step = %.6f\ntimes = '%s'\naxis = '%s'\n", step * 1e6 / d->unit,
		d->clock_usec == 0 ? ""
		: step < 60	   ? "%H:%M:%S"
		: step < 43200	   ? "%H:%M"
				   : "%d %b",
		d->unit > 3e9	? "hours"
		: d->unit > 3e7 ? "minutes"
				: "seconds");
}

static void put_lanes(const struct drawing *d)
{
	const struct report_section *s = d->section;
	char name[16];

	fprintf(d->script, "lanes = %u\narray lane[lanes]\n", s->beside_count + 1);
	put_text(d, "lane[1]", s->levels);
	for (unsigned i = 0; i < s->beside_count; i++) {
		snprintf(name, sizeof(name), "lane[%u]", i + 2);
		put_text(d, name, s->beside[i].label);
	}
	fputs("$bars << END\n", d->script);
	put_levels(d, s->beside_count);
	for (unsigned i = 0; i < s->beside_count; i++)
		put_beside(d, s->beside_count - 1.0 - i, &s->beside[i]);
	fputs("NaN NaN NaN NaN 0\nEND\n", d->script);
}

/* ---- the script ------------------------------------------------------------------------------------ */

/* Lengths are in those of a letter, from the top left. */
#define TITLE 2.4
#define HEADING 2.2
#define STALL 9.0
#define MEMORY 6.0
#define GAP 0.8
#define LANE 2.5
#define TIMES 4.0

/* Before the first section: a panel is `high`, below a heading of `head`. */
static const char prologue[] =
	"left = 4.2\n"
	"right = wide - 2\n"
	"x(letters) = 1.0 * letters / wide\n"
	"y(letters) = 1 - 1.0 * letters / tall\n"
	"say = \"set label words at screen x(from_left), screen y(down) left noenhanced textcolor rgb text\"\n"
	"panel = \"reset; set border 3 lc rgb text; set grid ytics lc rgb grid lt 1 lw 0.7;"
	" set tics nomirror out scale 0.4,0 textcolor rgb text; set xrange [begin:end]; set format x '';"
	" set lmargin at screen x(left); set rmargin at screen x(right);"
	" set tmargin at screen y(top + head); set bmargin at screen y(top + head + high);"
	" set key at screen x(right), screen y(top + head / 2) right center horizontal samplen 1.2 width -1 textcolor rgb text;"
	" from_left = 0.4; down = top + head / 2; eval say\"\n"
	"top = 0\n";

/* Of each section, behind its numbers and its data. */
static const char section[] =
	"words = 'stalled, % of '.gprintf('%g', window).' s'\n"
	"top = top + title_high; head = heading; high = stall_high; eval panel\n"
	"words = title; down = top - title_high / 2\n"
	"if (title_high > 0) { eval say.\" font ',14'\" }\n"
	"set yrange [0:most_stalled]\n"
	"set ytics 50\n"
	"plot $some_stalled with filledcurves y1=0 fc rgb some title 'some',"
	" $full_stalled with filledcurves y1=0 fc rgb full title 'full',"
	" threshold with lines dt (6,4) lc rgb text title 'Low'\n"
	"top = top + head + high\n"

	"if (memory > 0) {\n"
	"words = 'memory in use, '.unit; high = memory_high; eval panel\n"
	"set yrange [0:memory]\n"
	"plot $in_use with lines lw 1.6 lc rgb used title 'in use',"
	" for [i=1:is_limited] $limit with lines dt (6,4) lc rgb text title 'limit'\n"
	"top = top + head + high\n"
	"}\n"

	"words = ''; head = gap; high = lanes * lane_high; eval panel\n"
	"from_left = left\n"
	"do for [i=1:lanes] { words = lane[i]; down = top + gap + lane_high * (i - 0.75); eval say }\n"
	"set xtics step\n"
	"if (times eq '') { set format x '%g'; set xlabel axis textcolor rgb text offset 0,0.6 }\n"
	"if (times ne '') { set xtics time format times }\n"
	"set yrange [0:lanes]\n"
	"set ytics 1 format ''\n"
	"set border 1\n"
	"plot $bars using 1:3:1:2:3:4:5 with boxxyerror fs solid noborder lc rgb variable notitle, NaN notitle\n"
	"top = top + head + high + times_high\n";

/* Local time where it is known when the trace began, and that is of use. */
static void put_axis(struct drawing *d)
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
	fprintf(d->script, "begin = %.6f\nend = %.6f\n", x_of(d, (double)d->from_usec),
		x_of(d, (double)d->to_usec));
}

static double height_of(const struct report_section *s, double title)
{
	return title + HEADING + STALL + (s->most_bytes > 0 ? HEADING + MEMORY : 0) + GAP +
	       LANE * (s->beside_count + 1) + TIMES;
}

static void put_head(const struct drawing *d, const struct report_section *sections, unsigned count,
		     const char *drawn)
{
	const struct report_look *l = d->look;
	/* points, of which there are 72 to an inch, where a pixel is one of 96 */
	double size = l->form == REPORT_PNG ? l->font * 0.75 : l->font, height = 0;
	double title = l->form == REPORT_INLINE ? 0 : TITLE;

	for (enum ink i = 0; i < INKS; i++)
		fprintf(d->script, "%s = '#%06x'\n", inks[i].name, colour(i, l->dark));
	for (unsigned i = 0; i < count; i++)
		height += height_of(&sections[i], title);
	fprintf(d->script,
		"title_high = %g; heading = %g; stall_high = %g; memory_high = %g; gap = %g; lane_high = %g; times_high = %g\n"
		"wide = %.9g; tall = %.9g\n%s",
		title, HEADING, STALL, MEMORY, GAP, LANE, TIMES, (double)l->width / l->font, height,
		prologue);
	fprintf(d->script,
		"set terminal %s size %u,%.0f font 'sans-serif,%g'%s\nset output '%s'\nset multiplot\n",
		l->form == REPORT_PNG ? "pngcairo" : "svg dynamic", l->width, height * l->font,
		size, l->form == REPORT_INLINE ? "" : " background back", drawn);
}

static int put_script(struct drawing *d, const struct report_section *sections, unsigned count,
		      const char *drawn)
{
	put_head(d, sections, count, drawn);
	for (unsigned i = 0; i < count; i++) {
		d->section = &sections[i];
		put_axis(d);
		put_text(d, "title", d->section->title);
		if (put_stall(d) < 0)
			return -ENOMEM;
		put_memory(d);
		put_times(d);
		put_lanes(d);
		fputs(section, d->script);
	}
	fputs("unset multiplot\nunset output\n", d->script);
	return fflush(d->script) == EOF ? -errno : 0;
}

/* ---- gnuplot --------------------------------------------------------------------------------------- */

/* A file in memory that gnuplot, too, can open by its name. */
static FILE *scratch(char name[32])
{
	int fd = memfd_create("psibridge", 0);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w+");

	if (!file && fd >= 0)
		close(fd);
	snprintf(name, 32, "/dev/fd/%d", fd);
	return file;
}

/* What it complains of begins with the line at which it stopped; the last line says why. */
static int run_gnuplot(const char *script)
{
	char command[64], line[512], why[512] = "it did not say why";
	FILE *said;
	int status;

	snprintf(command, sizeof(command), "exec gnuplot -d %s 2>&1", script);
	said = popen(command, "re");
	while (said && fgets(line, sizeof(line), said))
		if (line[strspn(line, " \n")])
			snprintf(why, sizeof(why), "%.*s", (int)strcspn(line, "\n"), line);
	status = said ? pclose(said) : -1;
	if (status == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		complain(
			"report",
			"gnuplot: No such file or directory; it draws the pictures: install the package gnuplot-nox");
	else if (status > 0 && WIFSIGNALED(status))
		complain("report", "gnuplot was ended by signal %d", WTERMSIG(status));
	else
		complain("report", "gnuplot failed: %s", status < 0 ? strerror(errno) : why);
	return -EIO;
}

/* Without its prologue, and the shapes that it defines and does not use: their identifiers are the same in each. */
static void put_inline(const char *text, FILE *out)
{
	const char *box = strstr(text, "viewBox=\""), *defined = strstr(text, "</defs>");

	if (box && defined)
		fprintf(out, "<svg role=\"img\" %.*s\"><g>%s", (int)(strcspn(box + 9, "\"") + 9),
			box, defined + 7);
}

static void put_drawn(FILE *drawn, enum report_form form, FILE *out)
{
	char *text = NULL;
	size_t capacity = 0;
	ssize_t n;

	rewind(drawn);
	/* there is no NUL in an SVG */
	while ((n = getdelim(&text, &capacity, '\0', drawn)) > 0)
		if (form == REPORT_INLINE)
			put_inline(text, out);
		else
			fwrite(text, 1, (size_t)n, out);
	free(text);
}

int report_draw(const struct report_section *sections, unsigned count,
		const struct report_look *look, FILE *out)
{
	char script[32], name[32];
	struct drawing d = {
		.look = look,
		.script = scratch(script),
		.most = calloc(look->columns, sizeof(double)),
	};
	FILE *drawn = scratch(name);
	int r = d.script && drawn && d.most ? put_script(&d, sections, count, name) : -ENOMEM;

	if (r < 0)
		complain("report", "%s", strerror(-r));
	else
		r = run_gnuplot(script);
	if (r == 0)
		put_drawn(drawn, look->form, out);
	if (d.script)
		fclose(d.script);
	if (drawn)
		fclose(drawn);
	free(d.most);
	return r;
}
