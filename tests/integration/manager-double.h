/* SPDX-License-Identifier: MIT */
/*
 * manager-double.h - run a service under the double of a service manager (manager-double.c) from a C test
 *
 *     struct manager_double d;
 *     char *options[] = { "-s", socket_path, "--", program, "--option", NULL };
 *     assert_true(double_start(&d, options));
 *     assert_true(double_await(&d, "READY", 5000));
 *     double_signal(&d, SIGUSR1);                       // systemctl restart
 *     assert_true(double_await(&d, "START", 5000));
 *     assert_int_equal(double_stop(&d), 0);             // systemctl stop: the exit status
 *
 * The program is $builddir/tests/integration/manager-double, or $PSB_MANAGER_DOUBLE.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DOUBLE_OPTIONS_MAX 64

struct manager_double {
	pid_t pid;
	int out;
	size_t size; /* of what is in text */
	char text[65536];
	char line[8192]; /* the one that the last double_await() found */
};

static inline uint64_t double_now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* `options` ends with NULL. False: it could not be started, errno says why. */
static inline bool double_start(struct manager_double *d, char *const *options)
{
	const char *named = getenv("PSB_MANAGER_DOUBLE"), *builddir = getenv("builddir");
	char *argv[DOUBLE_OPTIONS_MAX] = { NULL };
	char program[512];
	int out[2];

	snprintf(program, sizeof(program), "%s/tests/integration/manager-double",
		 builddir ? builddir : ".");
	if (named)
		snprintf(program, sizeof(program), "%s", named);
	argv[0] = program;
	for (int i = 0; options[i] && i < DOUBLE_OPTIONS_MAX - 2; i++)
		argv[i + 1] = options[i];
	d->size = 0;
	if (access(program, X_OK) < 0 || pipe2(out, O_CLOEXEC) < 0)
		return false;
	d->pid = fork();
	if (d->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDOUT_FILENO);
		execv(program, argv);
		_exit(127);
	}
	close(out[1]);
	d->out = out[0];
	return d->pid > 0;
}

/* Take the first whole line. False: there is none yet. */
static inline bool double_take_line(struct manager_double *d)
{
	char *end = memchr(d->text, '\n', d->size);
	size_t n;

	if (!end)
		return false;
	n = (size_t)(end - d->text);
	snprintf(d->line, sizeof(d->line), "%.*s", (int)n, d->text);
	memmove(d->text, end + 1, d->size - n - 1);
	d->size -= n + 1;
	return true;
}

/*
 * Read on until a line begins with `prefix`; it is in d->line then, and those before it are
 * forgotten. False: none came within `ms`, or the double ended.
 */
static inline bool double_await(struct manager_double *d, const char *prefix, unsigned ms)
{
	uint64_t end = double_now_ms() + ms;

	for (;;) {
		struct pollfd poll_fd = { .fd = d->out, .events = POLLIN };
		uint64_t now = double_now_ms();
		ssize_t n;

		while (double_take_line(d))
			if (strncmp(d->line, prefix, strlen(prefix)) == 0)
				return true;
		if (now >= end || poll(&poll_fd, 1, (int)(end - now)) == 0)
			break;
		n = read(d->out, d->text + d->size, sizeof(d->text) - d->size);
		if (n == 0 || (n < 0 && errno != EINTR))
			break;
		d->size += n > 0 ? (size_t)n : 0;
	}
	fprintf(stderr, "manager-double: no line \"%s...\"\n", prefix);
	return false;
}

/* The service's pid, after double_await(d, "START"). */
static inline pid_t double_service(const struct manager_double *d)
{
	return strncmp(d->line, "START ", 6) == 0 ? (pid_t)strtol(d->line + 6, NULL, 10) : 0;
}

static inline void double_signal(const struct manager_double *d, int number)
{
	kill(d->pid, number);
}

/* Waits for its end: the exit status, or -1 if a signal killed it. */
static inline int double_wait(struct manager_double *d)
{
	int status;

	/* it may have more to say than a pipe holds */
	for (ssize_t n = 1; n > 0 || (n < 0 && errno == EINTR);)
		n = read(d->out, d->text, sizeof(d->text));
	while (waitpid(d->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(d->out);
	d->pid = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* systemctl stop. */
static inline int double_stop(struct manager_double *d)
{
	double_signal(d, SIGTERM);
	return double_wait(d);
}
