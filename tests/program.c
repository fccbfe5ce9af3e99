/* SPDX-License-Identifier: MIT */
/*
 * program.c - a program in a group: started, listened to, ended
 *
 * It dies with us (PR_SET_PDEATHSIG). It may outlive the end of its output, and its output it (children hold the pipe): only waitpid()
 * says what became of it.
 */
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 4096
#define LAST_BYTES 160

struct program {
	pid_t pid;
	int in, out;
	bool ended, eof;
	int status;
	char buffer[LINE_BYTES];
	size_t used, taken;
	char last[LAST_BYTES], fate[LAST_BYTES + 64];
};

/* What would load another hook, tell a runtime to behave differently, or name our own unit's pressure. */
static const char *const not_inherited[] = {
	"MEMORY_PRESSURE_WATCH",
	"MEMORY_PRESSURE_WRITE",
	"CORECLR_ENABLE_PROFILING",
	"CORECLR_PROFILER",
	"CORECLR_PROFILER_PATH",
	"CORECLR_ENABLE_NOTIFICATION_PROFILERS",
	"CORECLR_NOTIFICATION_PROFILERS",
	"DOTNET_STARTUP_HOOKS",
	"DOTNET_GCConserveMemory",
	"DOTNET_GCHeapHardLimit",
	"DOTNET_gcServer",
	"MONO_ENV_OPTIONS",
};

static _Noreturn void become(const struct command *command, int in, int out)
{
	for (unsigned i = 0; i < ELEMENTSOF(not_inherited); i++)
		unsetenv(not_inherited[i]);
	for (unsigned i = 0; i < COMMAND_ENV_MAX && command->env[i]; i++) {
		const char *equals = strchr(command->env[i], '=');
		char name[128];

		snprintf(name, sizeof(name), "%.*s", (int)(equals - command->env[i]),
			 command->env[i]);
		setenv(name, equals + 1, 1);
	}
	dup2(in, STDIN_FILENO);
	dup2(out, STDOUT_FILENO);
	dup2(out, STDERR_FILENO);
	/* execvp() wants an array it may write to, for reasons of 1989, and does not */
	execvp(command->argv[0], (char *const *)(uintptr_t)command->argv);
	fprintf(stderr, "%s: %s\n", command->argv[0], strerror(errno));
	_exit(127);
}

struct program *program_start(const struct lab *lab, const char *group,
			      const struct command *command)
{
	struct program *p = calloc(1, sizeof(*p));
	int in[2], out[2];

	fflush(stdout);
	if (!p || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		lab_failed("a program: out of memory or descriptors");
	p->pid = lab_fork(lab, group);
	if (p->pid < 0)
		lab_failed("a program: no process can be made for it");
	if (p->pid == 0)
		become(command, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	p->in = in[1];
	p->out = out[0];
	fcntl(p->out, F_SETFL, O_NONBLOCK);
	return p;
}

pid_t program_pid(const struct program *p)
{
	return p->pid;
}

bool program_ended(struct program *p)
{
	if (!p->ended && waitpid(p->pid, &p->status, WNOHANG) == p->pid)
		p->ended = true;
	return p->ended;
}

/* ---- what it says ------------------------------------------------------------------------------------- */

/* A line that is complete, from the buffer. */
static const char *take_line(struct program *p)
{
	char *newline, *line;

	memmove(p->buffer, p->buffer + p->taken, p->used - p->taken);
	p->used -= p->taken;
	p->taken = 0;
	newline = memchr(p->buffer, '\n', p->used);
	if (!newline && p->used == sizeof(p->buffer))
		newline = p->buffer + p->used - 1;
	if (!newline)
		return NULL;
	*newline = '\0';
	line = p->buffer;
	p->taken = (size_t)(newline - p->buffer) + 1;
	if (*line)
		snprintf(p->last, sizeof(p->last), "%.*s", LAST_BYTES - 1, line);
	return line;
}

static void take_bytes(struct program *p)
{
	ssize_t n = read(p->out, p->buffer + p->used, sizeof(p->buffer) - p->used);

	if (n > 0)
		p->used += (size_t)n;
	else if (n == 0)
		p->eof = true;
}

int program_line(struct program *p, uint64_t until_usec, const char **ret)
{
	for (;;) {
		struct pollfd out = { .fd = p->eof ? -1 : p->out, .events = POLLIN };
		const char *line = take_line(p);
		uint64_t now = lab_now_usec();
		bool ended;

		if (line) {
			*ret = line;
			return 1;
		}
		/* asked before the pipe is: what it said last is in there by then */
		ended = program_ended(p);
		if (poll(&out, 1, 0) > 0) {
			take_bytes(p);
			continue;
		}
		if (ended)
			return -EPIPE;
		if (now >= until_usec)
			return 0;
		/* an end without a word wakes nobody */
		poll(&out, 1, (int)MIN((until_usec - now) / 1000 + 1, (uint64_t)100));
	}
}

int program_await(struct program *p, const char *begin, uint64_t timeout_usec, const char **ret)
{
	uint64_t until = lab_now_usec() + timeout_usec;
	const char *line;
	int r;

	while ((r = program_line(p, until, &line)) > 0)
		if (strncmp(line, begin, strlen(begin)) == 0) {
			if (ret)
				*ret = line;
			return 1;
		}
	return r;
}

bool program_say(struct program *p, const char *line)
{
	size_t length = strlen(line);

	return write(p->in, line, length) == (ssize_t)length && write(p->in, "\n", 1) == 1;
}

double line_number(const char *line, const char *key)
{
	size_t length = strlen(key);
	const char *at = line;

	while ((at = strstr(at, key))) {
		if ((at == line || at[-1] == ' ') && at[length] == '=')
			return strtod(at + length + 1, NULL);
		at += length;
	}
	return 0;
}

uint64_t program_rss(const struct program *p)
{
	return lab_proc_number(p->pid, "status", "VmRSS:") << 10;
}

/* ---- its end ---------------------------------------------------------------------------------------------- */

bool program_was_killed(struct program *p)
{
	return program_ended(p) && WIFSIGNALED(p->status) && WTERMSIG(p->status) == SIGKILL;
}

const char *program_fate(struct program *p)
{
	p->fate[0] = '\0';
	if (!program_ended(p))
		return p->fate;
	if (WIFSIGNALED(p->status))
		snprintf(p->fate, sizeof(p->fate), "was killed by signal %d", WTERMSIG(p->status));
	else
		snprintf(p->fate, sizeof(p->fate), "ended with status %d%s%s",
			 WEXITSTATUS(p->status), p->last[0] ? ": " : "", p->last);
	return p->fate;
}

static void end_now(struct program *p)
{
	if (program_ended(p))
		return;
	kill(p->pid, SIGKILL);
	waitpid(p->pid, &p->status, 0);
	p->ended = true;
}

bool program_end(struct program *p, uint64_t patience_usec)
{
	uint64_t until = lab_now_usec() + patience_usec;
	const char *line;

	if (p->in >= 0)
		close(p->in);
	p->in = -1;
	while (program_line(p, until, &line) > 0)
		;
	end_now(p);
	return WIFEXITED(p->status) && WEXITSTATUS(p->status) == 0;
}

struct program *program_free(struct program *p)
{
	if (!p)
		return NULL;
	end_now(p);
	if (p->in >= 0)
		close(p->in);
	close(p->out);
	free(p);
	return NULL;
}
