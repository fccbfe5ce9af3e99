/* SPDX-License-Identifier: MIT */
/*
 * manager-double.c - a small service manager: what psibridged needs of systemd, without systemd
 *
 *     manager-double [OPTIONS] -- PROGRAM [ARGUMENT]...
 *
 *     -s PATH   listen on this stream socket and pass it on (several are allowed). It is there as
 *               long as the double, like that of a .socket unit
 *     -w USEC   WatchdogSec=: a service that says nothing for so long gets SIGABRT; 0: it may
 *
 * It starts PROGRAM with $LISTEN_FDS and its kin, and does what systemd would:
 *
 *     service ends with 0         the double ends, with 0
 *     service dies otherwise      it is started again, with the stored descriptors; after 5 starts
 *                                 that did not come to READY the double ends, with 1
 *     SIGUSR1 to the double       systemctl restart: SIGTERM, SIGKILL after 10 s, start again
 *     SIGUSR2                     kill -9: SIGKILL to the service, which is started again
 *     SIGTERM                     systemctl stop: the same as a restart without the start; the
 *                                 store is given up; exit status 0 if the service's was
 *
 * Stored descriptors are kept by name, and dropped when the peer hangs up. What needs systemd itself (reload, what it does
 * with a descriptor that it has) is in tests/vm/guest-daemon.sh.
 *
 * On stdout is what happened, a line each, written at once; the service's own output goes to the
 * double's stderr. Lines: START PID LISTENERS STORED, READY, STOPPING, WATCHDOG, WATCHDOG timeout, EXIT CODE, SIGNAL NUMBER.
 *
 * daemon-bench.h drives it. Should the double die, the service is killed with it.
 */
#include "core/util.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define LISTENERS_MAX 16
#define STARTS_MAX 5
#define KILL_AFTER_USEC (10 * USEC_PER_SEC)
#define FIRST_FD 3
#define LISTENER_NAME "psibridged.socket"

struct stored {
	TAILQ_ENTRY(stored) list;
	int fd;
	char name[64];
	sd_event_source *source;
};

enum goal { GOAL_RUN, GOAL_RESTART, GOAL_STOP };

static struct {
	char **command;
	const char *listener_path[LISTENERS_MAX];
	int listener[LISTENERS_MAX];
	unsigned listeners, store_size;
	TAILQ_HEAD(, stored) store;
	char notify_name[108];
	int notify_fd;
	uint64_t watchdog_usec;
	sd_event *event;
	sd_event_source *watchdog, *patience; /* timers; NULL: not set */
	pid_t service;
	int nice; /* of the service */
	enum goal goal;
	unsigned starts; /* since the last READY */
} d = { .store = TAILQ_HEAD_INITIALIZER(d.store) };

/* Ends the program where `r` is an error. */
static void need(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "manager-double: %s: %s\n", what, strerror(r == -1 ? errno : -r));
	exit(2);
}

static void say(const char *format, ...) _printf_(1, 2);
static void say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
}

/* ---- the store ------------------------------------------------------------------------------- */

static void drop(struct stored *s)
{
	TAILQ_REMOVE(&d.store, s, list);
	d.store_size--;
	sd_event_source_disable_unref(s->source);
	close(s->fd);
	free(s);
}

static int hung_up(_unused_ sd_event_source *source, _unused_ int fd, _unused_ uint32_t events,
		   void *userdata)
{
	drop(userdata);
	return 0;
}

static void store(const char *name, int fd)
{
	struct stored *s = calloc(1, sizeof(*s));
	int r;

	need(s ? 0 : -ENOMEM, "store");
	s->fd = fd;
	snprintf(s->name, sizeof(s->name), "%s", name);
	TAILQ_INSERT_TAIL(&d.store, s, list);
	d.store_size++;
	/* asked for nothing, a hang-up is told all the same. A memfd cannot be polled, nor hang up */
	r = sd_event_add_io(d.event, &s->source, fd, 0, hung_up, s);
	if (r != -EPERM)
		need(r, "epoll");
	if (r >= 0) /* before a new process is started with it */
		sd_event_source_set_priority(s->source, SD_EVENT_PRIORITY_IMPORTANT);
}

static void forget(const char *name)
{
	struct stored *next;

	for (struct stored *s = TAILQ_FIRST(&d.store); s; s = next) {
		next = TAILQ_NEXT(s, list);
		if (strcmp(s->name, name) == 0)
			drop(s);
	}
}

/* ---- messages -------------------------------------------------------------------------------- */

static int kill_it(_unused_ sd_event_source *timer, _unused_ uint64_t usec, void *userdata)
{
	if (userdata)
		say("WATCHDOG timeout");
	return kill(d.service, userdata ? SIGABRT : SIGKILL);
}

static void set_timer(sd_event_source **timer, uint64_t usec, void *userdata)
{
	*timer = sd_event_source_disable_unref(*timer);
	if (usec > 0)
		need(sd_event_add_time_relative(d.event, timer, CLOCK_MONOTONIC, usec, 1, kill_it,
						userdata),
		     "timer");
}

static void take_message(char *text, int fd)
{
	const char *name = strstr(text, "FDNAME=");

	name = name ? name + strlen("FDNAME=") : "stored";
	if (strncmp(text, "READY=1", 7) == 0) {
		d.starts = 0;
		say("READY");
	} else if (strncmp(text, "STOPPING=1", 10) == 0) {
		say("STOPPING");
	} else if (strncmp(text, "WATCHDOG=1", 10) == 0) {
		set_timer(&d.watchdog, d.watchdog_usec, &d);
		say("WATCHDOG");
	} else if (strncmp(text, "FDSTOREREMOVE=1", 15) == 0) {
		forget(name);
	} else if (strncmp(text, "FDSTORE=1", 9) == 0 && fd >= 0) {
		store(name, fd);
		return;
	}
	if (fd >= 0)
		close(fd);
}

/* One. False: none is there. */
static bool receive(void)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	char text[8192];
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(d.notify_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;
	int fd = -1;

	if (n < 0)
		return false;
	text[n] = '\0';
	c = CMSG_FIRSTHDR(&message);
	if (c && c->cmsg_type == SCM_RIGHTS)
		memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	take_message(text, fd);
	return true;
}

static int notified(_unused_ sd_event_source *source, _unused_ int fd, _unused_ uint32_t events,
		    _unused_ void *userdata)
{
	while (receive()) /* the queue is short, and where it is full the service tries again by time */
		;
	return 0;
}

/* ---- the service ----------------------------------------------------------------------------- */

static void set_number(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	setenv(name, text, 1);
}

static void pass_descriptors(void)
{
	int count = (int)(d.listeners + d.store_size), i = 0,
	    *fds = calloc((size_t)count, sizeof(int));
	char *names = NULL;
	struct stored *s;
	size_t size;
	FILE *f = open_memstream(&names, &size);

	for (unsigned k = 0; k < d.listeners; k++) {
		fds[i++] = d.listener[k];
		fprintf(f, LISTENER_NAME ":");
	}
	TAILQ_FOREACH(s, &d.store, list)
	{
		fds[i++] = s->fd;
		fprintf(f, "%s:", s->name);
	}
	fclose(f);
	/* out of the way first, for what goes to 3 may still be needed there */
	for (i = 0; i < count; i++)
		fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, FIRST_FD + count);
	for (i = 0; i < count; i++)
		if (dup2(fds[i], FIRST_FD + i) < 0)
			_exit(125);
	if (count == 0)
		return;
	names[size - 1] = '\0';
	set_number("LISTEN_PID", (uint64_t)getpid());
	set_number("LISTEN_FDS", (uint64_t)count);
	setenv("LISTEN_FDNAMES", names, 1);
}

static _Noreturn void service_main(pid_t parent)
{
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	setpriority(PRIO_PROCESS, 0, d.nice);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	setenv("NOTIFY_SOCKET", d.notify_name, 1);
	set_number("FDSTORE", 65536);
	if (d.watchdog_usec > 0) {
		set_number("WATCHDOG_USEC", d.watchdog_usec);
		set_number("WATCHDOG_PID", (uint64_t)getpid());
	}
	pass_descriptors();
	execvp(d.command[0], d.command);
	fprintf(stderr, "manager-double: %s: %s\n", d.command[0], strerror(errno));
	_exit(127);
}

static int ended(sd_event_source *source, const siginfo_t *info, void *userdata);

static void service_start(void)
{
	pid_t self = getpid();

	d.goal = GOAL_RUN;
	d.starts++;
	d.service = fork();
	need(d.service, "fork");
	if (d.service == 0)
		service_main(self);
	say("START %d %u %u", (int)d.service, d.listeners, d.store_size);
	set_timer(&d.watchdog, d.watchdog_usec, &d);
	need(sd_event_add_child(d.event, NULL, d.service, WEXITED, ended, NULL), "waitid");
}

static int ended(_unused_ sd_event_source *source, const siginfo_t *info, _unused_ void *userdata)
{
	bool fine = info->si_code == CLD_EXITED && info->si_status == 0;

	while (receive()) /* what it said before it died counts still */
		;
	set_timer(&d.watchdog, 0, NULL);
	set_timer(&d.patience, 0, NULL);
	say("%s %d", info->si_code == CLD_EXITED ? "EXIT" : "SIGNAL", info->si_status);
	if (d.goal == GOAL_STOP || (d.goal == GOAL_RUN && (fine || d.starts >= STARTS_MAX)))
		return sd_event_exit(d.event, fine ? 0 : 1);
	service_start();
	return 0;
}

static int signalled(_unused_ sd_event_source *source, const struct signalfd_siginfo *info,
		     _unused_ void *userdata)
{
	bool at_once = info->ssi_signo == SIGUSR2;

	if (d.goal == GOAL_RUN && !at_once)
		set_timer(&d.patience, KILL_AFTER_USEC, NULL);
	if (d.goal == GOAL_RUN || info->ssi_signo == SIGTERM)
		d.goal = info->ssi_signo == SIGTERM ? GOAL_STOP : GOAL_RESTART;
	kill(d.service, at_once ? SIGKILL : SIGTERM);
	return 0;
}

/* ---- start and end --------------------------------------------------------------------------- */

static int bound_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	need(strlen(path) < sizeof(address.sun_path) ? fd : -ENAMETOOLONG, path);
	strcpy(address.sun_path, path);
	unlink(path);
	need(bind(fd, (struct sockaddr *)&address, sizeof(address)), path);
	need(chmod(path, 0666), path);
	need(listen(fd, SOMAXCONN), path);
	return fd;
}

static void open_notify_socket(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int n = snprintf(d.notify_name, sizeof(d.notify_name), "@psb-manager-double-%d",
			 (int)getpid());

	memcpy(address.sun_path + 1, d.notify_name + 1, (size_t)n - 1);
	d.notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	need(bind(d.notify_fd, (struct sockaddr *)&address,
		  (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)),
	     "NOTIFY_SOCKET");
	need(sd_event_add_io(d.event, NULL, d.notify_fd, EPOLLIN, notified, NULL), "NOTIFY_SOCKET");
}

static void open_all(void)
{
	static const int signals[] = { SIGUSR1, SIGUSR2, SIGTERM };
	struct rlimit files;
	sigset_t mask;

	/* a thousand clients are a thousand descriptors here too */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* a busy machine does not keep a manager waiting: its queue has room for ten messages, and a thousand clients send one each */
	d.nice = getpriority(PRIO_PROCESS, 0);
	setpriority(PRIO_PROCESS, 0, -10);
	signal(SIGPIPE, SIG_IGN);
	need(sd_event_new(&d.event), "sd-event");
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		sigaddset(&mask, signals[i]);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		need(sd_event_add_signal(d.event, NULL, signals[i], signalled, NULL), "signal");
	open_notify_socket();
	for (unsigned i = 0; i < d.listeners; i++)
		d.listener[i] = bound_socket(d.listener_path[i]);
}

int main(int argc, char **argv)
{
	int option, result;

	while ((option = getopt(argc, argv, "+s:w:")) != -1) {
		if (option == 's' && d.listeners < LISTENERS_MAX)
			d.listener_path[d.listeners++] = optarg;
		else if (option == 'w')
			d.watchdog_usec = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	if (optind == argc)
		return 2;
	d.command = argv + optind;
	open_all();
	service_start();
	result = sd_event_loop(d.event);
	need(result, "the loop");
	while (!TAILQ_EMPTY(&d.store))
		drop(TAILQ_FIRST(&d.store));
	for (unsigned i = 0; i < d.listeners; i++)
		unlink(d.listener_path[i]);
	sd_event_unref(d.event);
	return result;
}
