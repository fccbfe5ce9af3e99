/* SPDX-License-Identifier: MIT */
/*
 * bench.c - the frame of a benchmark
 *
 * CPU time of a thread is read from its CPU clock, in nanoseconds, where /proc counts in ticks of 10 ms. The clock of a thread
 * that is not ours to call pthread_getcpuclockid(3) for (the library's) is made from its id; the layout is the
 * kernel's ABI: (~tid << 3) | 4 (a thread's) | 2 (CPUCLOCK_SCHED), see include/linux/posix-timers.h.
 */
#include "bench.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS 16
#define ROWS 40
#define CELL 64
#define NOTE 160

struct lab lab;
const char *no_lab;
int bench_numbers;

static const char *bench_name;
static bool as_json, broken, incomplete;

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

/* ---- what is said ------------------------------------------------------------------------------- */

static void complain(const char *format, va_list args)
{
	fprintf(stderr, "%s: ", bench_name);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
}

void bench_die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	complain(format, args);
	va_end(args);
	exit(2);
}

void lab_failed(const char *message)
{
	bench_die("%s", message);
}

void bench_missing(const char *format, ...)
{
	va_list args;

	incomplete = true;
	va_start(args, format);
	complain(format, args);
	va_end(args);
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

static void judge(bool met, const char *missed, const char *format, va_list args)
{
	char text[256];

	vsnprintf(text, sizeof(text), format, args);
	if (!as_json) {
		printf("%s  %s\n", met ? "PASS" : missed, text);
		return;
	}
	printf("{\"bench\":\"%s\",\"target\":", bench_name);
	json_string(text);
	printf(",\"met\":%s}\n", met ? "true" : "false");
}

void bench_target(bool met, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	judge(met, "MISS", format, args);
	va_end(args);
}

void bench_promise(bool kept, const char *format, ...)
{
	va_list args;

	broken |= !kept;
	va_start(args, format);
	judge(kept, "FAIL", format, args);
	va_end(args);
}

/* ---- main --------------------------------------------------------------------------------------- */

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

static bool take_option(const struct bench *bench, const char *argument)
{
	for (unsigned i = 0; i < ELEMENTSOF(bench->options) && bench->options[i].name; i++) {
		size_t length = strlen(bench->options[i].name);
		const char *end = argument + 2 + length;

		if (strncmp(argument, "--", 2) != 0 ||
		    strncmp(argument + 2, bench->options[i].name, length) != 0 ||
		    (*end != '\0' && *end != '='))
			continue;
		*bench->options[i].value = *end ? end + 1 : "";
		return true;
	}
	return false;
}

static void parse(const struct bench *bench, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			as_json = true;
		} else if (strcmp(argv[i], "--help") == 0) {
			printf("usage: %s [--json] %s\n%s"
			       "Exit status: 0, 1 something is broken, 2 something could not run.\n",
			       bench->name, bench->usage, bench->help ? bench->help : "");
			exit(0);
		} else if (take_option(bench, argv[i])) {
			continue;
		} else if (bench_numbers < bench->max_numbers &&
			   parse_number(argv[i], &bench->numbers[bench_numbers])) {
			bench_numbers++;
		} else {
			fprintf(stderr, "usage: %s [--json] %s\n", bench->name, bench->usage);
			exit(2);
		}
	}
}

int bench_main(const struct bench *bench, int argc, char **argv)
{
	bench_name = bench->name;
	/* forked children must not print what waits in our buffer */
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	parse(bench, argc, argv);
	if (bench->lab != LAB_UNUSED)
		no_lab = lab_open(&lab, "bench");
	if (no_lab && bench->lab == LAB_NEEDED)
		bench_say("\nSKIP  %s: no real pressure can be made here: %s", bench_name, no_lab);
	else
		bench->work();
	if (bench->lab != LAB_UNUSED)
		lab_close(&lab);
	fflush(stdout);
	return incomplete ? 2 : broken;
}

void *shared_new(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	return p;
}

static char directory[] = "/tmp/psibridge-bench.XXXXXX";
static pid_t directory_of;

static void remove_directory(void)
{
	DIR *dir = getpid() == directory_of ? opendir(directory) : NULL;
	struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(directory);
}

const char *scratch(const char *name)
{
	static char path[sizeof(directory) + 64];

	if (!directory_of) {
		if (!mkdtemp(directory))
			bench_die("%s: %s", directory, strerror(errno));
		directory_of = getpid();
		atexit(remove_directory);
	}
	snprintf(path, sizeof(path), "%s/%s", directory, name);
	return path;
}

void in_child(void (*fn)(void *userdata), void *userdata)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fn(userdata);
		_exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
		bench_die("the measuring process died (status %d)", pid < 0 ? -errno : status);
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
		return NAN;
	qsort(s->values, s->count, sizeof(*s->values), compare);
	return s->values[(size_t)(percent / 100 * (double)(s->count - 1) + 0.5)];
}

double median(struct series *s)
{
	return series_percentile(s, 50);
}

/* ---- the table ---------------------------------------------------------------------------------- */

struct cell {
	char text[CELL]; /* "": a dash */
	bool number;
};

static struct table {
	const char *name; /* in JSON */
	char title[200];
	const struct column *columns;
	unsigned width, rows, cells, note_count;
	struct cell row[ROWS][COLUMNS];
	char notes[ROWS][NOTE];
} t;

void table_new(const char *name, const struct column *columns, unsigned width, const char *title,
	       ...)
{
	va_list args;

	t = (struct table){ .name = name, .columns = columns, .width = width };
	va_start(args, title);
	vsnprintf(t.title, sizeof(t.title), title, args);
	va_end(args);
}

void table_row(void)
{
	if (t.rows == ROWS)
		bench_die("table %s has too many rows", t.name);
	t.rows++;
	t.cells = 0;
}

static struct cell *next_cell(void)
{
	if (t.cells == t.width)
		bench_die("table %s: too many cells in row %u", t.name, t.rows);
	return &t.row[t.rows - 1][t.cells++];
}

void table_text(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(next_cell()->text, CELL, format, args);
	va_end(args);
}

void table_put(const double *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int decimals = t.columns[t.cells].decimals;
		struct cell *cell = next_cell();

		cell->number = !isnan(numbers[i]);
		if (cell->number)
			snprintf(cell->text, CELL, "%.*f", decimals, numbers[i]);
	}
}

void table_note(const char *format, ...)
{
	char note[NOTE];
	va_list args;

	va_start(args, format);
	vsnprintf(note, sizeof(note), format, args);
	va_end(args);
	for (unsigned i = 0; i < t.note_count; i++)
		if (strcmp(t.notes[i], note) == 0)
			return;
	if (t.note_count < ROWS)
		strcpy(t.notes[t.note_count++], note);
}

static void print_json(void)
{
	for (unsigned row = 0; row < t.rows; row++) {
		printf("{\"bench\":\"%s\",\"table\":\"%s\"", bench_name, t.name);
		for (unsigned i = 0; i < t.width; i++) {
			const struct cell *cell = &t.row[row][i];

			printf(",\"%s\":", t.columns[i].key);
			if (cell->text[0] && !cell->number)
				json_string(cell->text);
			else
				fputs(cell->text[0] ? cell->text : "null", stdout);
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

/* The heading, if `row` is the last but one before 0. */
static const char *text_of(unsigned row, unsigned column)
{
	if (row == 0)
		return t.columns[column].title;
	return t.row[row - 1][column].text[0] ? t.row[row - 1][column].text : "—";
}

void table_print(void)
{
	int widths[COLUMNS] = { 0 };

	if (as_json) {
		print_json();
		return;
	}
	for (unsigned row = 0; row <= t.rows; row++)
		for (unsigned i = 0; i < t.width; i++)
			widths[i] = MAX(widths[i], columns_of(text_of(row, i)));
	printf("\n%s\n", t.title);
	for (unsigned row = 0; row <= t.rows; row++)
		for (unsigned i = 0; i < t.width; i++) {
			const char *text = text_of(row, i), *end = i == t.width - 1 ? "\n" : "  ";
			int pad = widths[i] - columns_of(text);

			printf("%*s%s%*s%s", i ? pad : 0, "", text, i ? 0 : pad, "", end);
		}
	for (unsigned i = 0; i < t.note_count; i++)
		printf("— %s\n", t.notes[i]);
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

static uint64_t clock_nsec(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts); /* a thread that ended has none: 0 */
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t cpu_of_thread_nsec(pid_t tid)
{
	return clock_nsec((clockid_t)((~(unsigned)tid << 3) | 6));
}

static uint64_t begun_nsec, begun_cpu;

static uint64_t cpu_of_others(void)
{
	uint64_t own = clock_nsec(CLOCK_THREAD_CPUTIME_ID);

	/* in this order it is a little too much, and never less than nothing */
	return clock_nsec(CLOCK_PROCESS_CPUTIME_ID) - own;
}

void cpu_begin(void)
{
	begun_cpu = cpu_of_others();
	begun_nsec = now_nsec();
}

double cpu_percent(void)
{
	/* two looks may differ by a microsecond in either direction */
	return 100.0 * (double)usec_sub(cpu_of_others(), begun_cpu) /
	       (double)(now_nsec() - begun_nsec);
}

/* ---- a watch ------------------------------------------------------------------------------------ */

int watch_start(struct watched *ret, enum psb_backend backend, struct psb_watch_options options,
		psb_callback_fn *told, void *userdata, unsigned flags)
{
	struct psb_bridge_options bridge_options = { .size = sizeof(bridge_options),
						     .backend = backend };
	int r;

	*ret = (struct watched){ .why = "no loop" };
	options.size = sizeof(options);
	options.error_text = ret->why;
	options.error_text_size = sizeof(ret->why);
	r = psb_bridge_new(&bridge_options, &ret->bridge);
	if (r == 0)
		r = psb_watch_new(ret->bridge, &options, &ret->watch);
	if (r == 0)
		r = psb_watch_add_callback(ret->watch, told, userdata, flags, NULL);
	if (r == 0)
		r = psb_bridge_start(ret->bridge);
	return r;
}

struct psb_stats watch_stats(const struct watched *watched)
{
	struct psb_stats stats = { .size = sizeof(stats) };

	psb_watch_stats(watched->watch, &stats);
	return stats;
}
