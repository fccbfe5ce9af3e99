/* SPDX-License-Identifier: MIT */
/*
 * demo-scope.c - a cgroup from systemd
 *
 * Where systemd is PID 1 on a unified host the tree is its own, and it may rearrange what others
 * make in it (systemd's CGROUP_DELEGATION.md). The clean way to a subtree of one's own is a scope
 * with Delegate=yes, for root from the system's manager and for everybody else from their own
 * (`--user`). It is also the only way for an ordinary user: a process may be moved only between
 * groups whose common ancestor one may write to, so the whole demo has to start inside of the
 * scope.
 *
 * systemd-run --scope makes the scope and then executes the command in its own place: same
 * process, same terminal, same signals. Whether it can do that is tried with `true` first, for
 * after a successful exec nobody is left to fall back.
 */
#include "demo/demo.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 64

bool demo_scope_wanted(void)
{
	/* sd_booted(3), and the unified hierarchy */
	return access("/run/systemd/system", F_OK) == 0 &&
	       access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

/* Runs `arguments`, and keeps the first line that it complains with. */
static int try_run(char *const *arguments, char *why)
{
	char text[DEMO_WHY_MAX / 2] = "";
	int fds[2], status;
	size_t size = 0;
	ssize_t n;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return demo_why(why, -errno, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		dup2(fds[1], STDOUT_FILENO);
		execvp(arguments[0], arguments);
		dprintf(STDERR_FILENO, "%s", strerror(errno));
		_exit(127);
	}
	close(fds[1]);
	while (pid > 0 && size < sizeof(text) - 1 &&
	       (n = read(fds[0], text + size, sizeof(text) - 1 - size)) > 0)
		size += (size_t)n;
	close(fds[0]);
	if (pid < 0)
		return demo_why(why, -EAGAIN, "fork: %s", strerror(errno));
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	text[strcspn(text, "\n")] = '\0';
	return WIFEXITED(status) && WEXITSTATUS(status) == 0
		       ? 0
		       : demo_why(why, -EACCES, "systemd-run%s: %s",
				  geteuid() == 0 ? "" : " --user", *text ? text : "failed");
}

/* execvp(3) wants words it could write to, so they are copies. */
struct command {
	char *words[WORDS_MAX + 1];
	size_t count;
	bool full;
};

static void add(struct command *command, const char *word)
{
	char *copy = command->count < WORDS_MAX ? strdup(word) : NULL;

	if (copy)
		command->words[command->count++] = copy;
	else
		command->full = true;
}

static void command_clear(struct command *command)
{
	while (command->count > 0)
		free(command->words[--command->count]);
	*command = (struct command){ 0 };
}

static void add_systemd_run(struct command *command)
{
	add(command, "systemd-run");
	if (geteuid() != 0)
		add(command, "--user");
	add(command, "--scope");
	add(command, "--quiet");
	add(command, "--collect");
	add(command, "--property=Delegate=yes");
}

int demo_scope_enter(char **argv, char *why)
{
	_cleanup_(command_clear) struct command command = { 0 };
	char self[DEMO_PATH_MAX], unit[64];
	ssize_t length;
	int r;

	add_systemd_run(&command);
	add(&command, "--");
	add(&command, "true");
	r = command.full ? demo_why(why, -ENOMEM, "out of memory") : try_run(command.words, why);
	if (r < 0)
		return r;
	length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (length < 0)
		return demo_why(why, -errno, "/proc/self/exe: %s", strerror(errno));
	self[length] = '\0';

	command_clear(&command);
	add_systemd_run(&command);
	snprintf(unit, sizeof(unit), "--unit=psibridge-demo-%d.scope", (int)getpid());
	add(&command, unit);
	add(&command, "--");
	add(&command, self);
	add(&command, "demo");
	add(&command, "--in-scope");
	for (size_t i = 1; argv[i]; i++)
		add(&command, argv[i]);
	if (command.full)
		return demo_why(why, -E2BIG, "too many arguments");
	execvp(command.words[0], command.words);
	return demo_why(why, -errno, "systemd-run: %s", strerror(errno));
}
