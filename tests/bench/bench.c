/* SPDX-License-Identifier: MIT */
/*
 * bench.c - the frame of the benchmarks
 *
 *     bench [--runtime=coreclr|mono] [--way=NAME] NAME... [NUMBER...]
 *
 * A table lies in memory that is shared, so a process that measures writes into its cells itself.
 */
#include "bench.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COLUMNS 16
#define ROWS 48
#define TEXT 64
#define VALUES 8192

struct lab lab;
const char *no_lab, *wanted_runtime, *wanted_way;
unsigned bench_number_count;

static unsigned numbers[8];
static const char *bench_name = "bench";
static bool broken;

unsigned bench_number(unsigned i, unsigned otherwise)
{
	return i < bench_number_count ? numbers[i] : otherwise;
}

static uint64_t clock_nsec(clockid_t clock)
{
	struct timespec ts = { 0 };

	clock_gettime(clock, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

uint64_t now_nsec(void)
{
	return clock_nsec(CLOCK_MONOTONIC);
}

void sleep_usec(uint64_t usec)
{
	struct timespec ts = { .tv_sec = (time_t)(usec / USEC_PER_SEC),
			       .tv_nsec = (long)(usec % USEC_PER_SEC * NSEC_PER_USEC) };

	while (nanosleep(&ts, &ts) < 0 && errno == EINTR)
		;
}

/* ---- what is said ------------------------------------------------------------------------------- */

const char *words(const char *format, ...)
{
	static char text[1024];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return text;
}

void bench_die_of(const char *why)
{
	fprintf(stderr, "%s: %s\n", bench_name, why);
	exit(2);
}

void lab_failed(const char *message)
{
	bench_die_of(message);
}

void bench_target_of(bool met, const char *what)
{
	printf("%s  %s\n", met ? "PASS" : "MISS", what);
}

void bench_promise_of(bool kept, const char *what)
{
	broken |= !kept;
	printf("%s  %s\n", kept ? "PASS" : "FAIL", what);
}

/* ---- processes, files --------------------------------------------------------------------------- */

const char *scratch(const char *name)
{
	static char path[64];

	snprintf(path, sizeof(path), "/tmp/psibridge-bench.%d.%s", (int)getpid(), name);
	return path;
}

void in_child(void (*fn)(unsigned row), unsigned row)
{
	int status = -1;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		fn(row);
		_exit(0);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
		return;
	bench_promise(false, "%s: the measuring process died (status %d)", row_name(row), status);
	exit(1);
}

/* ---- the table ---------------------------------------------------------------------------------- */

static struct table {
	char title[200];
	const struct column *columns;
	unsigned width, rows;
	char failures[ROWS][200];
	struct cell {
		char text[TEXT];
		unsigned count;
		double values[VALUES];
	} cells[ROWS][COLUMNS];
} * t;

void table_new(const struct column *columns, unsigned width, const char *title)
{
	if (t)
		munmap(t, sizeof(*t));
	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (t == MAP_FAILED)
		bench_die("mmap: %s", strerror(errno));
	t->columns = columns;
	t->width = width;
	snprintf(t->title, sizeof(t->title), "%s", title);
}

unsigned table_row_of(const char *name)
{
	if (t->rows == ROWS)
		bench_die("too many rows");
	put_text_of(t->rows, 0, name);
	return t->rows++;
}

const char *row_name(unsigned row)
{
	return t->cells[row][0].text;
}

void put_values(unsigned row, unsigned column, const double *values, size_t count)
{
	for (size_t i = 0; i < count; i++, column++) {
		struct cell *cell = &t->cells[row][column];

		if (!isnan(values[i]) && cell->count < VALUES)
			cell->values[cell->count++] = values[i];
	}
}

void put_text_of(unsigned row, unsigned column, const char *text)
{
	snprintf(t->cells[row][column].text, TEXT, "%s", text);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double percentile(unsigned row, unsigned column, double percent)
{
	struct cell *cell = &t->cells[row][column];

	if (cell->count == 0)
		return NAN;
	qsort(cell->values, cell->count, sizeof(double), compare);
	return cell->values[(size_t)(percent / 100 * (cell->count - 1) + 0.5)];
}

double median(unsigned row, unsigned column)
{
	return percentile(row, column, 50);
}

unsigned value_count(unsigned row, unsigned column)
{
	return t->cells[row][column].count;
}

void forget(unsigned row, unsigned column)
{
	t->cells[row][column].count = 0;
}

void row_fails_of(unsigned row, const char *why)
{
	if (!row_failure(row))
		snprintf(t->failures[row], sizeof(t->failures[row]), "%s", why);
}

const char *row_failure(unsigned row)
{
	return t->failures[row][0] ? t->failures[row] : NULL;
}

/* Row 0 is the heading. */
static const char *text_of(unsigned row, unsigned column)
{
	struct cell *cell;

	if (row == 0)
		return t->columns[column].title;
	cell = &t->cells[row - 1][column];
	if (cell->count > 0 && !cell->text[0])
		snprintf(cell->text, TEXT, "%.*f", t->columns[column].decimals,
			 median(row - 1, column));
	return cell->text[0] ? cell->text : "-";
}

void table_print(const char *what_is_good)
{
	int widths[COLUMNS] = { 0 };

	for (unsigned row = 0; row <= t->rows; row++)
		for (unsigned i = 0; i < t->width; i++)
			widths[i] = MAX(widths[i], (int)strlen(text_of(row, i)));
	printf("\n%s\n", t->title);
	for (unsigned row = 0; row <= t->rows; row++)
		for (unsigned i = 0; i < t->width; i++) {
			const char *text = text_of(row, i), *end = i == t->width - 1 ? "\n" : "  ";
			int pad = widths[i] - (int)strlen(text);

			printf("%*s%s%*s%s", i ? pad : 0, "", text, i ? 0 : pad, "", end);
		}
	for (unsigned row = 0; row < t->rows; row++)
		if (row_failure(row))
			printf("- %s: %s\n", row_name(row), row_failure(row));
	puts(what_is_good);
}

/* ---- a watch ------------------------------------------------------------------------------------ */

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

int watch_start(struct watched *ret, enum psb_backend backend, struct psb_watch_options options,
		psb_callback_fn *told, void *userdata)
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
		r = psb_watch_add_callback(ret->watch, told, userdata, PSB_INLINE, NULL);
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

/* ---- main --------------------------------------------------------------------------------------- */

static const struct bench *const benches[] = { &bench_latency, &bench_faults,	&bench_tree,
					       &bench_cost,    &bench_effect,	&bench_load,
					       &bench_survive, &bench_needless, &bench_again,
					       &bench_ring,    &bench_shapes };

/* What a figure depends on. */
static void say_machine(void)
{
	bool unified = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
	struct utsname machine;
	double load = 0;

	uname(&machine);
	getloadavg(&load, 1);
	printf("%s %s, %ld CPUs, load %.2f, %s cgroups\n", machine.sysname, machine.release,
	       sysconf(_SC_NPROCESSORS_ONLN), load, unified ? "unified" : "hybrid");
}

static _Noreturn void measure(const struct bench *bench)
{
	bench_name = bench->name;
	no_lab = lab_open(&lab, "bench");
	if (!no_lab)
		printf("\n%s: triggers %s CAP_SYS_RESOURCE\n", bench_name,
		       lab.privileged ? "with" : "without");
	if (no_lab && bench->needs_lab)
		printf("\nSKIP  %s: no real pressure can be made here: %s\n", bench_name, no_lab);
	else
		bench->work();
	lab_close(&lab);
	exit(broken);
}

static int run(const struct bench *bench)
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		measure(bench);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		bench_die("fork: %s", strerror(errno));
	if (WIFEXITED(status))
		return MIN(WEXITSTATUS(status), 2);
	fprintf(stderr, "bench: %s was killed by signal %d\n", bench->name, WTERMSIG(status));
	return 2;
}

static _Noreturn void usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: bench [--runtime=coreclr|mono] [--way=NAME] NAME... [NUMBER...]\n"
		"  --way=NAME  effect: this way into the runtime alone, beside none; survive: this one\n");
	for (unsigned i = 0; i < ELEMENTSOF(benches); i++)
		fprintf(status ? stderr : stdout, "  %-8s %s\n", benches[i]->name,
			benches[i]->usage);
	exit(status);
}

static const struct bench *find(const char *name)
{
	for (unsigned i = 0; i < ELEMENTSOF(benches); i++)
		if (strcmp(name, benches[i]->name) == 0)
			return benches[i];
	return NULL;
}

static void take_number(const char *text)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || value == 0 || value > 1000000 ||
	    bench_number_count == ELEMENTSOF(numbers))
		usage(2);
	numbers[bench_number_count++] = (unsigned)value;
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "runtime", required_argument, NULL, 'r' },
						 { "way", required_argument, NULL, 'w' },
						 { "help", no_argument, NULL, 'h' },
						 { 0 } };
	const struct bench *wanted[ELEMENTSOF(benches)];
	unsigned count = 0;
	int option, status = 0;

	while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
		if (option == 'r')
			wanted_runtime = optarg;
		else if (option == 'w')
			wanted_way = optarg;
		else
			usage(option == 'h' ? 0 : 2);
	while (optind < argc && count < ELEMENTSOF(wanted) && find(argv[optind]))
		wanted[count++] = find(argv[optind++]);
	while (optind < argc)
		take_number(argv[optind++]);
	if (count == 0)
		usage(2);
	/* forked children must not print what waits in our buffer */
	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	say_machine();
	for (unsigned i = 0; i < count; i++) {
		int r = run(wanted[i]);

		status = MAX(status, r);
	}
	return status;
}
