/* SPDX-License-Identifier: MIT */
/*
 * fake-daemon.c - a control socket for psibridge(1) to speak with: the real control.c before a
 * table of cardboard
 *
 *     fake-daemon SOCKET            three watches that work, one that is absent, one that failed
 *     fake-daemon SOCKET --empty    nothing is watched
 *     fake-daemon SOCKET --blind    one watch, and it failed
 *     fake-daemon SOCKET --say TEXT not psibridged at all: says TEXT to whoever connects, and ends
 *                                   the connection
 *     fake-daemon SOCKET --mute     nor this one: it accepts nobody
 *
 * Prints "ready", then serves until its standard input ends. `psibridge simulate` changes the
 * levels of its cgroups. A reload is refused.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/epoll.h>

#include "control-stage.h"

static char main_file[] = "/etc/psibridge/psibridged.conf";
static char drop_in[] = "/etc/psibridge/psibridged.conf.d/web.conf";
static char *files[] = { main_file, drop_in, NULL }, *no_files[] = { NULL };

static int input_ended(_unused_ sd_event_source *source, _unused_ int fd, uint32_t events,
		       _unused_ void *userdata)
{
	return events & (EPOLLHUP | EPOLLERR) ? sd_event_exit(stage.daemon.event, 0) : 0;
}

static void furnish(void)
{
	stage.watches[0] = stage_watch(1, "system.slice/**", WATCH_WATCHING);
	stage.watches[0].clients = 3;
	stage.watches[0].stats.alarms = 41;
	stage.watches[0].stats.alarm_usec = now_usec() - 3 * USEC_PER_SEC;
	stage.watches[0].stats.low = 5;
	stage.watches[1] = stage_watch(2, "batch.slice/*", WATCH_WATCHING);
	stage.watches[1].source.rung = 3;
	stage.watches[1].source.name = "psi";
	strcpy(stage.watches[1].source.trigger, "some 20000 2000000");
	strcpy(stage.watches[1].source.why, "CAP_SYS_RESOURCE is missing");
	stage.watches[1].settings.shadow = true;
	stage.watches[2] = stage_watch(3, "kubepods.slice/**", WATCH_ABSENT);
	stage.watches[2].why = "there is no such cgroup yet";
	stage.watches[3] = stage_watch(4, "/broken", WATCH_FAILED);
	stage.watches[3].why = "memory.pressure: Permission denied";
	stage.watches[4] = stage_watch(5, "/guest", WATCH_WATCHING);
	stage.watches[4].configured = false;
	stage.watch_count = 5;

	stage.cgroup_count = 4;
	stage.cgroups = calloc(stage.cgroup_count, sizeof(*stage.cgroups));
	stage.cgroups[0] = stage_cgroup(1, "/system.slice/web.service", PSB_HIGH);
	stage.cgroups[0].present.current_bytes = UINT64_C(500) << 20;
	stage.cgroups[0].present.limit_bytes = UINT64_C(512) << 20;
	stage.cgroups[0].present.some_avg10_centi = 1234;
	stage.cgroups[0].clients = 2;
	stage.cgroups[1] = stage_cgroup(1, "/system.slice/db.service", PSB_HIGH);
	stage.cgroups[1].clients = 1;
	stage.cgroups[2] = stage_cgroup(2, "/batch.slice/night\033[31mly", PSB_HIGH);
	stage.cgroups[3] = stage_cgroup(1, "/", PSB_HIGH);
	for (size_t i = 0; i < stage.cgroup_count; i++)
		stage.cgroups[i].present.since_usec = now_usec();
	stage.server = (struct server_view){ .clients = 3,
					     .plain = 2,
					     .records = 1,
					     .accepted = 9,
					     .refused = 1,
					     .told = 17,
					     .replaced = 2 };
}

static int pretend(const char *path, const char *text)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO }, { .events = POLLIN } };

	if (listen_at(path, &fds[1].fd) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	while (poll(fds, text ? 2 : 1, -1) > 0 && !fds[0].revents) {
		int fd = accept(fds[1].fd, NULL, NULL);

		(void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
		close(fd);
	}
	return 0;
}

static void fail(void)
{
	stage.watches[0] = stage_watch(1, "/**", WATCH_FAILED);
	stage.watches[0].why = "PSI is switched off in this kernel; boot it with psi=1";
	stage.watch_count = 1;
}

static int serve(const char *path, const char *option)
{
	if (stage_open(path, option ? no_files : files) < 0)
		return 1;
	if (!option)
		furnish();
	else if (strcmp(option, "--blind") == 0)
		fail();
	stage.reload_result = -EINVAL;
	if (sd_event_add_io(stage.daemon.event, NULL, STDIN_FILENO, EPOLLIN | EPOLLET, input_ended,
			    NULL) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	sd_event_loop(stage.daemon.event);
	stage_close();
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[2], "--say") == 0)
		return pretend(argv[1], argv[3]);
	if (argc == 3 && strcmp(argv[2], "--mute") == 0)
		return pretend(argv[1], NULL);
	if (argc == 2 ||
	    (argc == 3 && (strcmp(argv[2], "--empty") == 0 || strcmp(argv[2], "--blind") == 0)))
		return serve(argv[1], argv[2]);
	return 2;
}
