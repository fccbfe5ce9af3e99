/* SPDX-License-Identifier: MIT */
/*
 * bench.c - numbers, tables, verdicts, CPU time
 *
 * CPU time of a thread is read from its CPU clock, in nanoseconds, where /proc counts in ticks of 10 ms. The clock of a thread
 * that is not ours to call pthread_getcpuclockid(3) for (the library's) is made from its id; the layout is the
 * kernel's ABI: (~tid << 3) | 4 (a thread's) | 2 (CPUCLOCK_SCHED), see include/linux/posix-timers.h.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const char *bench_name;
static bool as_json, missed, incomplete;

static struct option {
	const char *name, **value;
} options[8];
static unsigned option_count;
static const char *help = "";

uint64_t now_nsec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void sleep_usec(uint64_t usec)
{
	struct timespec ts = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
			       .tv_nsec = (long)(usec % USEC_PER_SEC * NSEC_PER_USEC) };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "%s: ", bench_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	exit(2);
}

static bool parse_number(const char *text, unsigned *ret)
{
	unsigned long value;
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || *end || value == 0 || value > 1000000)
		return false;
	*ret = (unsigned)value;
	return true;
}

void bench_option(const char *name, const char **ret)
{
	if (option_count == ELEMENTSOF(options))
		bench_die("too many options");
	options[option_count++] = (struct option){ name, ret };
}

void bench_help(const char *text)
{
	help = text;
}

static bool take_option(const char *argument)
{
	if (strncmp(argument, "--", 2) != 0)
		return false;
	for (unsigned i = 0; i < option_count; i++) {
		size_t length = strlen(options[i].name);

		if (strncmp(argument + 2, options[i].name, length) != 0)
			continue;
		argument += 2 + length;
		if (*argument != '\0' && *argument != '=')
			return false;
		*options[i].value = *argument ? argument + 1 : "";
		return true;
	}
	return false;
}

int bench_start(const char *name, const char *usage, int argc, char **argv, unsigned *numbers,
		int max_numbers)
{
	int count = 0;

	bench_name = name;
	/* forked children must not print what waits in our buffer */
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			as_json = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			printf("usage: %s [--json] %s\n%s", name, usage, help);
			exit(0);
		} else if (take_option(argv[i])) {
			continue;
		} else if (count >= max_numbers || !parse_number(argv[i], &numbers[count])) {
			fprintf(stderr, "usage: %s [--json] %s\n", name, usage);
			exit(2);
		} else {
			count++;
		}
	}
	return count;
}

void bench_missing(const char *format, ...)
{
	va_list args;

	incomplete = true;
	va_start(args, format);
	fprintf(stderr, "%s: ", bench_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
}

int bench_end(void)
{
	fflush(stdout);
	return incomplete ? 2 : missed ? 1 : 0;
}

/* ---- numbers ------------------------------------------------------------------------------------ */

void series_add(struct series *s, double value)
{
	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 256;
		s->values = realloc(s->values, s->room * sizeof(*s->values));
		if (!s->values)
			bench_die("no memory");
	}
	s->values[s->count++] = value;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double series_percentile(struct series *s, double percent)
{
	if (s->count == 0)
		return 0;
	qsort(s->values, s->count, sizeof(*s->values), compare);
	return s->values[(size_t)(percent / 100 * (double)(s->count - 1) + 0.5)];
}

void series_clear(struct series *s)
{
	free(s->values);
	*s = (struct series){ 0 };
}

/* ---- tables ------------------------------------------------------------------------------------- */

void table_begin(struct table *t, const char *name, const char *title, const struct column *columns,
		 unsigned width)
{
	memset(t, 0, sizeof(*t));
	t->name = name;
	t->title = title;
	t->columns = columns;
	t->width = MIN(width, (unsigned)TABLE_COLUMNS);
}

void table_row(struct table *t)
{
	if (t->rows == TABLE_ROWS)
		bench_die("table %s has too many rows", t->name);
	t->rows++;
	t->cells = 0;
}

static char *next_cell(struct table *t, bool number)
{
	if (t->cells == t->width)
		bench_die("table %s: too many cells in row %u", t->name, t->rows);
	t->number[t->rows - 1][t->cells] = number;
	return t->text[t->rows - 1][t->cells++];
}

void cell_text(struct table *t, const char *format, ...)
{
	char *cell = next_cell(t, false);
	va_list args;

	va_start(args, format);
	vsnprintf(cell, sizeof(t->text[0][0]), format, args);
	va_end(args);
}

void cell_number(struct table *t, double value, int decimals)
{
	snprintf(next_cell(t, true), sizeof(t->text[0][0]), "%.*f", decimals, value);
}

void cell_none(struct table *t)
{
	cell_text(t, "—");
}

void table_note(struct table *t, const char *format, ...)
{
	char note[sizeof(t->notes[0])];
	va_list args;

	va_start(args, format);
	vsnprintf(note, sizeof(note), format, args);
	va_end(args);
	for (unsigned i = 0; i < t->note_count; i++)
		if (strcmp(t->notes[i], note) == 0)
			return;
	if (t->note_count < TABLE_ROWS)
		memcpy(t->notes[t->note_count++], note, sizeof(note));
}

static void json_string(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			putchar('\\');
		if ((unsigned char)*text >= ' ')
			putchar(*text);
	}
	putchar('"');
}

static void print_json(const struct table *t)
{
	for (unsigned row = 0; row < t->rows; row++) {
		printf("{\"bench\":\"%s\",\"table\":\"%s\"", bench_name, t->name);
		for (unsigned i = 0; i < t->width; i++) {
			const char *cell = t->text[row][i];

			printf(",\"%s\":", t->columns[i].key);
			if (t->number[row][i])
				fputs(cell, stdout);
			else if (!*cell || strcmp(cell, "—") == 0)
				fputs("null", stdout);
			else
				json_string(cell);
		}
		puts("}");
	}
}

/* Columns on a terminal: bytes, less those that continue a UTF-8 sequence. */
static int columns_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_cell(const char *text, int width, bool left, bool last)
{
	int pad = width - columns_of(text);

	printf("%*s%s%*s", left ? 0 : pad, "", text, left && !last ? pad : 0, "");
	if (!last)
		fputs("  ", stdout);
}

void table_print(struct table *t)
{
	int widths[TABLE_COLUMNS];

	if (as_json) {
		print_json(t);
		return;
	}
	for (unsigned i = 0; i < t->width; i++) {
		widths[i] = columns_of(t->columns[i].title);
		for (unsigned row = 0; row < t->rows; row++)
			widths[i] = MAX(widths[i], columns_of(t->text[row][i]));
	}
	printf("\n%s\n", t->title);
	for (unsigned i = 0; i < t->width; i++)
		print_cell(t->columns[i].title, widths[i], i == 0, i == t->width - 1);
	putchar('\n');
	for (unsigned row = 0; row < t->rows; row++) {
		for (unsigned i = 0; i < t->width; i++)
			print_cell(t->text[row][i], widths[i], i == 0, i == t->width - 1);
		putchar('\n');
	}
	for (unsigned i = 0; i < t->note_count; i++)
		printf("— %s\n", t->notes[i]);
}

void bench_say(const char *format, ...)
{
	va_list args;

	if (as_json)
		return;
	va_start(args, format);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

void bench_target(bool met, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	missed = missed || !met;
	if (as_json) {
		printf("{\"bench\":\"%s\",\"target\":", bench_name);
		json_string(text);
		printf(",\"met\":%s}\n", met ? "true" : "false");
	} else {
		printf("%s  %s\n", met ? "PASS" : "MISS", text);
	}
}

/* ---- threads and CPU time ----------------------------------------------------------------------- */

unsigned threads_list(pid_t *tids)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	unsigned n = 0;

	if (!dir)
		bench_die("/proc/self/task: %s", strerror(errno));
	while ((entry = readdir(dir)) && n < THREADS_MAX)
		if (entry->d_name[0] != '.')
			tids[n++] = (pid_t)strtol(entry->d_name, NULL, 10);
	closedir(dir);
	return n;
}

static uint64_t cpu_clock_nsec(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts); /* a thread that ended has none: 0 */
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t cpu_of_thread_nsec(pid_t tid)
{
	return cpu_clock_nsec((clockid_t)((~(unsigned)tid << 3) | 6));
}

uint64_t cpu_of_process_nsec(void)
{
	return cpu_clock_nsec(CLOCK_PROCESS_CPUTIME_ID);
}

uint64_t cpu_of_others_nsec(void)
{
	uint64_t own = cpu_clock_nsec(CLOCK_THREAD_CPUTIME_ID);

	/* in this order it is a little too much, and never less than nothing */
	return cpu_of_process_nsec() - own;
}

void *shared_new(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	return p;
}
