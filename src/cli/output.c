/* SPDX-License-Identifier: MIT */
/*
 * output.c - what goes to standard output
 *
 * The API's times are of CLOCK_MONOTONIC. A wall-clock time is worked out from how long ago that
 * was, at the moment of printing: a clock that is set in between moves what is printed, as it does
 * in every log.
 */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <langinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "cli/wait.h"
#include "core/utf8.h"

#define WIDTH_DEFAULT 80
#define WIDTH_MIN 40
#define TEXT_MAX 8192 /* two paths, and words */

void output_init(struct output *ret)
{
	const char *no_colour = getenv("NO_COLOR"), *term = getenv("TERM");
	struct winsize size;
	bool terminal = isatty(STDOUT_FILENO);

	*ret = (struct output){
		.colour = terminal && (!no_colour || !*no_colour) &&
			  (!term || strcmp(term, "dumb") != 0),
		.utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0,
		.width = WIDTH_DEFAULT,
	};
	if (terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		ret->width = MAX(size.ws_col, WIDTH_MIN);
}

const char *output_paint(const struct output *output, enum paint paint)
{
	static const char *const sequences[] = {
		[PAINT_PLAIN] = "\033[m", [PAINT_GOOD] = "\033[32m", [PAINT_WARN] = "\033[33m",
		[PAINT_BAD] = "\033[31m", [PAINT_BOLD] = "\033[1m",  [PAINT_DIM] = "\033[2m",
	};

	return output->colour ? sequences[paint] : "";
}

enum paint output_level_paint(unsigned available)
{
	static const enum paint paints[] = {
		[PSB_LOW] = PAINT_BAD, [PSB_NEUTRAL] = PAINT_WARN, [PSB_HIGH] = PAINT_GOOD
	};

	return available < ELEMENTSOF(paints) ? paints[available] : PAINT_PLAIN;
}

_printf_(1, 0) static void put(const char *format, va_list args)
{
	char text[TEXT_MAX];

	vsnprintf(text, sizeof(text), format, args);
	utf8_hide_controls(text, strlen(text));
	fputs(text, stdout);
}

void output_painted(const struct output *output, enum paint paint, const char *format, ...)
{
	va_list args;

	fputs(output_paint(output, paint), stdout);
	va_start(args, format);
	put(format, args);
	va_end(args);
	fputs(output_paint(output, PAINT_PLAIN), stdout);
}

void output_text(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(format, args);
	va_end(args);
}

void output_line(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	put(format, args);
	va_end(args);
	putchar('\n');
}

const char *output_bar(const struct output *output, unsigned eighths)
{
	static const char *const blocks[] = { " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█" };
	static const char *const letters[] = { " ", ".", ":", "-", "=", "+", "*", "#", "@" };

	return (output->utf8 ? blocks : letters)[eighths];
}

/* Columns, near enough: one for each character that is not the middle of one. */
static unsigned columns(const char *text, size_t size)
{
	unsigned n = 0;

	for (size_t i = 0; i < size; i++)
		n += ((unsigned char)text[i] & 0xc0) != 0x80;
	return n;
}

void output_paragraph(const struct output *output, const char *first, unsigned indent,
		      const char *text)
{
	unsigned column = indent;
	bool fresh = true;

	fputs(first, stdout);
	while (*text) {
		size_t blanks = strspn(text, " "), size = strcspn(text + blanks, " ");
		unsigned wide = columns(text + blanks, size);

		text += blanks;
		if (!fresh && column + 1 + wide > output->width) {
			printf("\n%*s", (int)indent, "");
			column = indent;
		} else if (!fresh) {
			putchar(' ');
			column++;
		}
		output_text("%.*s", (int)size, text);
		column += wide;
		fresh = false;
		text += size;
	}
	putchar('\n');
}

int output_end(void)
{
	static int first;

	if (first == 0 && (fflush(stdout) == EOF || ferror(stdout)))
		first = errno > 0 ? -errno : -EIO;
	return first;
}

int output_end_line(void)
{
	putchar('\n');
	return output_end();
}

int output_json(json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	int r = -ENOMEM;

	if (text) {
		errno = 0;
		fputs(text, stdout);
		r = output_end_line();
	}
	free(text);
	json_decref(object);
	return r;
}

json_t *output_json_text(const char *text)
{
	size_t capacity = 3 * strlen(text) + 1;
	char *clean = malloc(capacity);
	json_t *string = NULL;

	if (clean) {
		utf8_replace(text, clean, capacity);
		string = json_string(clean);
	}
	free(clean);
	return string;
}

json_t *output_json_number(uint64_t number)
{
	return json_integer((json_int_t)MIN(number, (uint64_t)INT64_MAX));
}

uint64_t output_realtime(uint64_t monotonic_usec)
{
	uint64_t ago = usec_sub(now_usec(), monotonic_usec);
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return usec_sub((uint64_t)t.tv_sec * USEC_PER_SEC + (uint64_t)t.tv_nsec / NSEC_PER_USEC,
			ago);
}

const char *output_clock(uint64_t realtime_usec, char *buf)
{
	time_t seconds = (time_t)(realtime_usec / USEC_PER_SEC);
	struct tm tm;

	localtime_r(&seconds, &tm);
	snprintf(buf, OUTPUT_WORD_MAX, "%02d:%02d:%02d.%03u", tm.tm_hour, tm.tm_min, tm.tm_sec,
		 (unsigned)(realtime_usec % USEC_PER_SEC / USEC_PER_MSEC));
	return buf;
}

const char *output_time(uint64_t monotonic_usec, char *buf)
{
	return output_clock(output_realtime(monotonic_usec), buf);
}

const char *output_span(uint64_t usec, char *buf)
{
	uint64_t msec = (usec + USEC_PER_MSEC / 2) / USEC_PER_MSEC, tenths = msec / 100;
	uint64_t s = msec / 1000, minutes = s / 60, hours = minutes / 60;

	if (msec == 0 && usec > 0)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " us", usec);
	else if (msec < 1000)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " ms", msec);
	else if (s < 60 && tenths % 10 > 0)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 ".%" PRIu64 " s", s, tenths % 10);
	else if (s < 60)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " s", s);
	else if (hours == 0)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " min %" PRIu64 " s", minutes, s % 60);
	else if (hours < 24)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " h %" PRIu64 " min", hours,
			 minutes % 60);
	else
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " d %" PRIu64 " h", hours / 24,
			 hours % 24);
	return buf;
}

const char *output_size(uint64_t bytes, char *buf)
{
	static const char units[] = "KMGTPE";
	uint64_t tenths;
	size_t unit = 0;

	/* in tenths of a unit, cut off: "1.9 GiB" never looks like two */
	while (unit + 2 < sizeof(units) && bytes >> (10 * (unit + 2)) > 0)
		unit++;
	tenths = (bytes >> (10 * unit)) * 10 >> 10;
	if (tenths < 100 && unit > 1)
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 ".%" PRIu64 " %ciB", tenths / 10,
			 tenths % 10, units[unit]);
	else
		snprintf(buf, OUTPUT_WORD_MAX, "%" PRIu64 " %ciB", tenths / 10, units[unit]);
	return buf;
}

const char *output_memory(uint64_t current_bytes, uint64_t limit_bytes, const char *alone,
			  char *buf)
{
	char current[OUTPUT_WORD_MAX], limit[OUTPUT_WORD_MAX];
	bool is_known = current_bytes > 0;

	output_size(current_bytes, current);
	if (is_known && limit_bytes > 0)
		snprintf(buf, OUTPUT_MEMORY_MAX, "%s of %s", current,
			 output_size(limit_bytes, limit));
	else
		snprintf(buf, OUTPUT_MEMORY_MAX, "%s%.8s", is_known ? current : "",
			 is_known ? alone : "");
	return buf;
}

/* ---- a file -------------------------------------------------------------------------------------- */

/* It is on the disk then, for all to read. */
static int write_all(int fd, const char *text, size_t size)
{
	ssize_t n;

	for (; size > 0; text += n, size -= (size_t)n) {
		n = write(fd, text, size);
		if (n < 0)
			return -errno;
	}
	return fchmod(fd, 0644) < 0 || fsync(fd) < 0 ? -errno : 0;
}

int output_file(const char *path, const char *text, size_t size)
{
	const char *slash = strrchr(path, '/');
	char *temporary;
	int fd, r;

	if (asprintf(&temporary, "%.*s.%s.XXXXXX", slash ? (int)(slash - path) + 1 : 0, path,
		     slash ? slash + 1 : path) < 0)
		return -ENOMEM;
	fd = mkostemp(temporary, O_CLOEXEC);
	r = fd < 0 ? -errno : write_all(fd, text, size);
	if (r == 0 && rename(temporary, path) < 0)
		r = -errno;
	if (fd >= 0) {
		close(fd);
		if (r < 0)
			unlink(temporary);
	}
	free(temporary);
	return r;
}
