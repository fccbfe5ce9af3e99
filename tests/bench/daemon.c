/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - a psibridged of the benchmark's own
 */
#include "daemon.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_MSEC 20000

static void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		bench_die("%s cannot be written", path);
	close(fd);
}

static _Noreturn void become(const char *dir)
{
	const char *builddir = getenv("builddir");
	char notify[96], control[96];

	snprintf(notify, sizeof(notify), "%s/notify", dir);
	snprintf(control, sizeof(control), "%s/control", dir);
	setenv("STATE_DIRECTORY", dir, 1);
	(void)!freopen("/dev/null", "w", stderr);
	execl(words("%s/psibridged", builddir ? builddir : "."), "psibridged", "--root", dir,
	      "--notify", notify, "--control", control, (char *)NULL);
	_exit(127);
}

void bench_daemon_start(struct bench_daemon *d, const char *configuration)
{
	char text[1024], control[96];

	snprintf(text, sizeof(text), "%s", configuration); /* which words() may have made */
	snprintf(d->dir, sizeof(d->dir), "/var/tmp/psb-bench-XXXXXX");
	if (!mkdtemp(d->dir))
		bench_die("%s cannot be made", d->dir);
	mkdir(words("%s/etc", d->dir), 0700);
	mkdir(words("%s/etc/psibridge", d->dir), 0700);
	put_file(words("%s/etc/psibridge/psibridged.conf", d->dir), text);
	d->pid = lab_fork(&lab, NULL);
	if (d->pid == 0)
		become(d->dir);
	snprintf(control, sizeof(control), "%s/control", d->dir);
	if (!LAB_WAIT(START_MSEC, access(control, F_OK) == 0 || !lab_alive(d->pid)) ||
	    !lab_alive(d->pid))
		bench_die("psibridged does not start");
}

void bench_daemon_stop(const struct bench_daemon *d)
{
	static const char *const names[] = { "etc/psibridge/psibridged.conf",
					     "etc/psibridge",
					     "etc",
					     "trace",
					     "notify",
					     "control",
					     "run/psibridge",
					     "run",
					     "" };

	lab_kill(d->pid);
	for (size_t i = 0; i < ELEMENTSOF(names); i++)
		remove(words("%s/%s", d->dir, names[i]));
}
