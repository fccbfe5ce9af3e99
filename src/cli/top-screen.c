/* SPDX-License-Identifier: MIT */
/*
 * top-screen.c - the terminal of `psibridge top`
 *
 *     title         time, how many, how often, sorted by what
 *     psibridged    what it says, or why it says nothing
 *     heading
 *     rows ...
 *     remark        what reading these files does to others
 *     keys          or the filter that is being typed
 *
 * ncurses knows the terminal and writes what changed since the last frame. It gives the terminal
 * back at the end, and at SIGTSTP, for which it has a handler. SIGINT, SIGTERM, SIGHUP and SIGQUIT
 * end the loop in good order; SIGWINCH and SIGCONT (also after a SIGSTOP, when another program may
 * have used the terminal) draw anew. All these are read from a descriptor (wait.h).
 */
#include <curses.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cli/top.h"
#include "cli/wait.h"
#include "core/duration.h"
#include "core/utf8.h"

#define FRAME_LINES 5 /* all but the rows */
#define ESCAPE 27
#define ESCAPE_MSEC 25 /* within it, what follows an ESC belongs to it */

/* ---- the terminal ---------------------------------------------------------------------------- */

static int open_terminal(bool colour)
{
	const char *kind = getenv("TERM");

	if (kind && strcmp(kind, "dumb") == 0)
		return -ENOTSUP;
	/* a kind that this machine does not know is most likely one that understands xterm's */
	if (!newterm(NULL, stdout, stdin) && !newterm("xterm", stdout, stdin))
		return -ENOTSUP;
	cbreak();
	noecho();
	keypad(stdscr, true);
	nodelay(stdscr, true);
	set_escdelay(ESCAPE_MSEC);
	curs_set(0);
	if (colour && has_colors()) {
		start_color();
		use_default_colors();
		init_pair(PAINT_GOOD, COLOR_GREEN, -1);
		init_pair(PAINT_WARN, COLOR_YELLOW, -1);
		init_pair(PAINT_BAD, COLOR_RED, -1);
	}
	return 0;
}

static void follow_size(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0 &&
	    is_term_resized(size.ws_row, size.ws_col))
		resizeterm(size.ws_row, size.ws_col);
}

/* False: it is the end. */
static bool take_signals(int fd)
{
	struct signalfd_siginfo info;

	while (read(fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGCONT && info.ssi_signo != SIGWINCH)
			return false;
		if (info.ssi_signo == SIGCONT) {
			reset_prog_mode();
			clearok(stdscr, true);
		}
	}
	return true;
}

/* ---- a frame --------------------------------------------------------------------------------- */

static attr_t attribute(const struct top *top, enum paint paint)
{
	if (!top->output.colour || paint == PAINT_PLAIN)
		return A_NORMAL;
	return paint == PAINT_BOLD  ? A_BOLD
	       : paint == PAINT_DIM ? A_DIM
				    : (attr_t)COLOR_PAIR(paint);
}

/* What does not fit into the line is left out: that is what inserting does. */
static void put_text(const struct top *top, int y, enum paint paint, char *text)
{
	utf8_hide_controls(text, strlen(text));
	attrset((int)attribute(top, paint));
	mvinsstr(y, 0, text);
	attrset(A_NORMAL);
}

static void _printf_(4, 5)
	put_line(const struct top *top, int y, enum paint paint, const char *format, ...)
{
	char line[CONTROL_WHY_MAX + 64];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	put_text(top, y, paint, line);
}

static void put_title(const struct top *top)
{
	static const char *const sorts[] = { "some", "full", "memory", "name" };
	char pace[DURATION_TEXT_MAX];
	size_t count = top->rows.count;
	bool filtered = top->filter[0] != '\0';

	duration_format(top->pace_usec / USEC_PER_MSEC * USEC_PER_MSEC, pace);
	put_line(top, 0, PAINT_BOLD, "psibridge top: %zu cgroup%s, every %s, by %s%s%s%s%s%s",
		 count, count == 1 ? "" : "s", pace, sorts[top->sort],
		 top->reverse ? ", reversed" : "", top->paused ? ", PAUSED" : "",
		 filtered ? ", only with \"" : "", top->filter, filtered ? "\"" : "");
}

static void put_daemon(const struct top *top)
{
	size_t low = 0;

	for (size_t i = 0; i < top->rows.count; i++) {
		const struct row *row = &top->rows.all[i];

		low += row->judged && row->available == PSB_LOW;
	}
	if (top->trouble[0])
		put_line(top, 1, PAINT_BAD, "%s", top->trouble);
	else if (!top->has_daemon)
		put_line(top, 1, PAINT_DIM, "No levels: %s", top->why);
	else if (top->is_blind)
		put_line(top, 1, PAINT_BAD, "No levels: no watch of psibridged works");
	else if (low == 0)
		put_line(top, 1, PAINT_GOOD, "psibridged: memory is nowhere short");
	else
		put_line(top, 1, PAINT_BAD, "psibridged: memory is short in %zu cgroup%s", low,
			 low == 1 ? "" : "s");
}

/* A line of the table; `row` NULL: the heading. */
static void put_table(const struct top *top, const struct table *table, int y,
		      const struct row *row)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		return;
	if (row)
		table_row(table, out, row);
	else
		table_heading(table, out);
	if (fclose(out) == 0)
		put_text(top, y, row ? PAINT_PLAIN : PAINT_BOLD, text);
	free(text);
	if (row)
		mvchgat(y, (int)table_level_column(table), TABLE_LEVEL_COLUMNS, A_NORMAL,
			PAIR_NUMBER(attribute(top, output_level_paint(row->available))), NULL);
}

static void draw(struct top *top)
{
	struct output plain = { .utf8 = top->output.utf8 };
	struct table table;

	follow_size();
	table = table_for(&plain, (unsigned)COLS);
	top->page = LINES > FRAME_LINES ? (size_t)(LINES - FRAME_LINES) : 1;
	if (top->first + top->page > top->shown_count)
		top->first = top->shown_count > top->page ? top->shown_count - top->page : 0;
	erase();
	put_title(top);
	put_daemon(top);
	put_table(top, &table, 2, NULL);
	for (size_t i = 0; i < top->page && top->first + i < top->shown_count; i++)
		put_table(top, &table, 3 + (int)i, top->shown[top->first + i]);
	if (top->shown_count == 0 && !top->trouble[0])
		put_line(top, 3, PAINT_PLAIN, "no cgroup matches");
	if (LINES > FRAME_LINES)
		put_line(
			top, LINES - 2, PAINT_DIM,
			"Mind: reading these files can swallow other programs' unprivileged alarms");
	move(LINES - 1, 0);
	clrtoeol();
	if (top->typing)
		put_line(top, LINES - 1, PAINT_PLAIN, "Only with: %s_   (Enter: done, Esc: all)",
			 top->filter);
	else
		put_line(top, LINES - 1, PAINT_PLAIN,
			 "q quit  s some  f full  m memory  n name  r reverse  p pause  / filter  "
			 "arrows");
	refresh();
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void type(struct top *top, int key)
{
	size_t length = strlen(top->filter);

	if (key == '\n' || key == KEY_ENTER) {
		top->typing = false;
	} else if (key == ESCAPE) {
		top->typing = false;
		top->filter[0] = '\0';
	} else if (key == KEY_BACKSPACE || key == '\b' || key == 127) {
		/* a whole character */
		while (length > 0 && ((unsigned char)top->filter[--length] & 0xc0) == 0x80)
			;
		top->filter[length] = '\0';
	} else if (key >= ' ' && key < 256 && length + 1 < sizeof(top->filter)) {
		top->filter[length] = (char)key;
		top->filter[length + 1] = '\0';
	}
}

static void scroll_rows(struct top *top, int key)
{
	size_t last = top->shown_count > top->page ? top->shown_count - top->page : 0;
	size_t step = key == KEY_PPAGE || key == KEY_NPAGE ? top->page : 1;

	if (key == KEY_UP || key == KEY_PPAGE)
		top->first -= MIN(top->first, step);
	else if (key == KEY_DOWN || key == KEY_NPAGE)
		top->first = MIN(top->first + step, last);
	else if (key == KEY_HOME || key == KEY_END)
		top->first = key == KEY_HOME ? 0 : last;
}

/* False: it is the end. */
static bool press(struct top *top, int key)
{
	static const char sorts[] = { 's', 'f', 'm', 'n' };

	if (top->typing) {
		type(top, key);
		return true;
	}
	for (size_t i = 0; i < ELEMENTSOF(sorts); i++)
		if (key == sorts[i])
			top->sort = (unsigned)i;
	switch (key) {
	case 'q':
		return false;
	case 'r':
		top->reverse = !top->reverse;
		break;
	case 'p':
		top->paused = !top->paused;
		break;
	case '/':
		top->typing = true;
		top->filter[0] = '\0';
		break;
	default:
		scroll_rows(top, key);
	}
	return true;
}

/* All keys that are there. False: it is the end. */
static bool press_all(struct top *top)
{
	int key;

	while ((key = getch()) != ERR)
		if (!press(top, key))
			return false;
	return top_choose(top) == 0;
}

/* ---------------------------------------------------------------------------------------------- */

static int loop(struct top *top, int signal_fd)
{
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};
	uint64_t next = 0;

	for (;;) {
		/* a survey that fails is shown, and tried again: it may have been no descriptors */
		if (!top->paused && now_usec() >= next) {
			top_look(top);
			next = now_usec() + top->pace_usec;
		}
		draw(top);
		fds[0].revents = fds[1].revents = 0;
		if (poll(fds, ELEMENTSOF(fds), top->paused ? -1 : msec_until(next)) < 0 &&
		    errno != EINTR)
			return -errno;
		if (fds[0].revents && !take_signals(signal_fd))
			return 0;
		if (fds[1].revents && !press_all(top))
			return 0;
		if (fds[1].revents & (POLLHUP | POLLERR | POLLNVAL))
			return 0; /* the terminal is gone */
	}
}

int top_screen(struct top *top)
{
	static const int signals[] = { SIGHUP, SIGQUIT, SIGCONT, SIGWINCH, 0 };
	int r, fd;

	if (!isatty(STDOUT_FILENO) || !isatty(STDIN_FILENO))
		return -ENOTTY;
	/* before the screen: what is wrong from the start is said on stderr */
	r = top_look(top);
	if (r < 0)
		return r;
	fd = catch_signals(signals);
	if (fd < 0)
		return fd;
	r = open_terminal(top->output.colour);
	if (r == 0) {
		r = loop(top, fd);
		endwin();
	}
	close(fd);
	return r;
}
