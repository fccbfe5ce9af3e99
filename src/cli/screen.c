/* SPDX-License-Identifier: MIT */
/*
 * screen.c - raw mode, the alternate screen, and the way back
 *
 *     closed --open--> shown --SIGTSTP--> hidden, stopped --SIGCONT--> shown --close--> closed
 *
 * Ways out: the program's own; SIGINT, SIGTERM, SIGHUP and SIGQUIT, which are blocked and read from
 * a signalfd, so that the loop ends in good order; SIGTSTP, where the terminal is given back before
 * the process stops; exit(3) from anywhere, by atexit(3); and a crash (SIGSEGV, SIGABRT ...), where
 * the handler gives the terminal back and lets the signal do its work: write(2) and tcsetattr(3)
 * may be called there (signal-safety(7)). Nothing can be done about SIGKILL; after it `reset`
 * helps, and so does SIGSTOP's: whoever sends that and SIGCONT gets the screen drawn again.
 *
 * ISIG stays on, so the keys for these signals go on to work for the whole job, also with a shell
 * that has others than ^C and ^Z.
 */
#include "cli/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "core/util.h"

#define SHOW "\033[?1049h\033[?25l\033[?7l" /* alternate screen, no cursor, no wrapping */
#define HIDE "\033[?7h\033[?25h\033[?1049l"

static struct termios original;
static volatile sig_atomic_t shown;
static int signal_fd = -1;
static sigset_t signals;

static void put(const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(STDOUT_FILENO, text, size);

		if (n < 0 && errno != EINTR)
			return; /* the terminal is gone */
		if (n > 0) {
			text += n;
			size -= (size_t)n;
		}
	}
}

/* Async-signal-safe. */
static void hide(void)
{
	if (!shown)
		return;
	shown = 0;
	put(HIDE, strlen(HIDE));
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &original);
}

static int show(void)
{
	struct termios raw = original;

	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	raw.c_iflag &= ~(tcflag_t)(IXON);
	raw.c_cc[VMIN] = 0;
	raw.c_cc[VTIME] = 0;
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0)
		return -errno;
	shown = 1;
	put(SHOW, strlen(SHOW));
	return 0;
}

static void crashed(int number)
{
	hide();
	/* SA_RESETHAND: this time it does what it would have done */
	raise(number);
}

static void catch_crashes(void)
{
	static const int crashes[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS };
	struct sigaction action = { .sa_handler = crashed,
				    .sa_flags = (int)SA_RESETHAND | SA_NODEFER };

	for (size_t i = 0; i < ELEMENTSOF(crashes); i++)
		sigaction(crashes[i], &action, NULL);
}

int screen_open(int *ret_signal_fd)
{
	static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };
	int r;

	if (!isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &original) < 0)
		return -ENOTTY;
	sigemptyset(&signals);
	for (size_t i = 0; i < ELEMENTSOF(caught); i++)
		sigaddset(&signals, caught[i]);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signal_fd < 0)
		return -errno;
	catch_crashes();
	atexit(hide);
	r = show();
	if (r < 0) {
		screen_close();
		return r;
	}
	*ret_signal_fd = signal_fd;
	return 0;
}

void screen_close(void)
{
	hide();
	if (signal_fd >= 0)
		close(signal_fd);
	signal_fd = -1;
}

static void suspend(void)
{
	sigset_t stop;

	hide();
	sigemptyset(&stop);
	sigaddset(&stop, SIGTSTP);
	raise(SIGTSTP); /* blocked: it waits for the next line, and there the process stops */
	sigprocmask(SIG_UNBLOCK, &stop, NULL);
	sigprocmask(SIG_BLOCK, &stop, NULL);
	/* what woke us up is a SIGCONT, and that shows the screen again */
}

unsigned screen_signals(void)
{
	struct signalfd_siginfo info;
	unsigned happened = 0;

	while (read(signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
		switch ((int)info.ssi_signo) {
		case SIGTSTP:
			suspend();
			happened |= SCREEN_DRAW;
			break;
		case SIGCONT: /* after a SIGSTOP nobody hid the screen, and the shell was there */
			show();
			happened |= SCREEN_DRAW;
			break;
		case SIGWINCH:
			happened |= SCREEN_DRAW;
			break;
		default:
			happened |= SCREEN_END;
		}
	return happened;
}

void screen_size(unsigned *ret_columns, unsigned *ret_lines)
{
	struct winsize size = { 0 };

	ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
	*ret_columns = size.ws_col > 0 ? size.ws_col : 80;
	*ret_lines = size.ws_row > 0 ? size.ws_row : 24;
}

int screen_keys(int *keys, size_t capacity)
{
	struct pollfd fd = { .fd = STDIN_FILENO, .events = POLLIN };
	char bytes[64];
	ssize_t n = read(STDIN_FILENO, bytes, MIN(sizeof(bytes), capacity));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? 0 : -EPIPE;
	/* with VMIN 0 nothing is read as 0 bytes, and so is a terminal that hung up */
	if (n == 0)
		return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR)) ? -EPIPE : 0;
	return (int)screen_parse(bytes, (size_t)n, keys, capacity);
}

/* ESC [ or ESC O, then digits and semicolons, then a letter or ~. Returns its size. */
static size_t sequence(const char *p, size_t size, int *ret)
{
	static const struct {
		const char *text;
		int key;
	} known[] = {
		{ "A", KEY_UP },	 { "B", KEY_DOWN }, { "5~", KEY_PAGE_UP },
		{ "6~", KEY_PAGE_DOWN }, { "H", KEY_HOME }, { "F", KEY_END },
		{ "1~", KEY_HOME },	 { "4~", KEY_END }, { "7~", KEY_HOME },
		{ "8~", KEY_END },
	};
	size_t n = 2;

	*ret = KEY_UNKNOWN;
	while (n < size && (unsigned char)p[n] >= 0x20 && (unsigned char)p[n] < 0x40)
		n++;
	if (n == size)
		return n;
	n++;
	for (size_t i = 0; i < ELEMENTSOF(known); i++)
		if (n - 2 == strlen(known[i].text) && memcmp(p + 2, known[i].text, n - 2) == 0)
			*ret = known[i].key;
	return n;
}

size_t screen_parse(const char *bytes, size_t size, int *keys, size_t capacity)
{
	size_t count = 0;

	while (size > 0 && count < capacity) {
		size_t taken = 1;
		int key = (unsigned char)bytes[0];

		if (key == KEY_ESCAPE && size > 1 && (bytes[1] == '[' || bytes[1] == 'O'))
			taken = sequence(bytes, size, &key);
		else if (key == '\b')
			key = KEY_BACKSPACE;
		else if (key == '\r')
			key = '\n';
		keys[count++] = key;
		bytes += taken;
		size -= taken;
	}
	return count;
}
