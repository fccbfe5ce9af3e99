/* SPDX-License-Identifier: MIT */
/*
 * screen.h - a terminal of one's own, given back on every way out
 *
 * One screen a program. Between screen_open() and screen_close() the terminal shows its alternate
 * screen without a cursor, and sends keys one by one.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Keys that are no character; characters are themselves. */
enum key {
	KEY_ESCAPE = 27,
	KEY_BACKSPACE = 127,
	KEY_UP = 256,
	KEY_DOWN,
	KEY_PAGE_UP,
	KEY_PAGE_DOWN,
	KEY_HOME,
	KEY_END,
	KEY_UNKNOWN,
};

/*
 * Errors: -ENOTTY: standard input or output is no terminal; -errno. *ret_signal_fd is readable
 * when screen_signals() has something to say; it belongs to the screen.
 */
int screen_open(int *ret_signal_fd);
void screen_close(void);

/* What happened. Stopping and going on (SIGTSTP, SIGCONT) is done within. */
#define SCREEN_DRAW 1u /* another size, or back from the background */
#define SCREEN_END 2u  /* SIGINT, SIGTERM, SIGHUP, SIGQUIT */
unsigned screen_signals(void);

/* At least 1 each. */
void screen_size(unsigned *ret_columns, unsigned *ret_lines);

/* Keys that were pressed, `capacity` of them at most. Errors: -EPIPE: the terminal is gone. */
int screen_keys(int *keys, size_t capacity);

/* The keys in `bytes`; an escape sequence that is cut off is KEY_UNKNOWN, a lone ESC is one. */
size_t screen_parse(const char *bytes, size_t size, int *keys, size_t capacity);
