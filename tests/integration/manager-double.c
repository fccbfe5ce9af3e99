/* SPDX-License-Identifier: MIT */
/*
 * manager-double.c - a small service manager: what psibridged needs of systemd, without systemd
 *
 *     manager-double [-s PATH] [-w USEC] -- PROGRAM [ARGUMENT]...
 *
 *     -s PATH   listen on this stream socket and pass it on. It is there as long as the double, like that of a .socket unit
 *     -w USEC   WatchdogSec=: a service that says nothing for so long gets SIGABRT; 0: it may
 *
 * A service that dies is started again with the stored descriptors, but for those whose peer hung up; the double ends when one
 * ends with 0, or dies before it was READY. Signals to the double:
 *
 *     SIGUSR1   systemctl restart: SIGTERM, start again
 *     SIGUSR2   kill -9
 *     SIGTERM   systemctl stop; exit status 0 if the service's was
 *
 * On stdout is what happened, a line each, written at once: START PID, READY, WATCHDOG, WATCHDOG timeout, EXIT CODE, SIGNAL
 * NUMBER; the service's own output goes to stderr. Should the double die, the service is killed with it. What needs systemd
 * itself is in tests/vm/guest-daemon.sh.
 */
#include "core/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define STORE_MAX 65536
#define FIRST_FD 3

static struct {
	int fd;
	char name[24];
} store[STORE_MAX]; /* the listeners first */
static int stored, queue = -1;
static char queue_name[64];
static char **command;
static uint64_t watchdog_usec, watchdog_end; /* 0: none */
static pid_t service;
static int service_nice;
static bool ready, restarting, stopping;

/* Ends the program where `r` is -1. */
static int need(int r, const char *what)
{
	if (r >= 0)
		return r;
	perror(what);
	exit(2);
}

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/* ---- messages -------------------------------------------------------------------------------- */

static void keep(const char *name, int fd)
{
	need(stored < STORE_MAX ? 0 : -1, "store");
	store[stored].fd = fd;
	snprintf(store[stored++].name, sizeof(store[0].name), "%s", name);
}

/* Of that name; or, where it is NULL, with a peer that hung up. */
static void drop(const char *name)
{
	int kept = 0;

	for (int i = 0; i < stored; i++) {
		struct pollfd p = { .fd = store[i].fd };

		if (name ? strcmp(store[i].name, name) == 0
			 : poll(&p, 1, 0) == 1 && (p.revents & POLLHUP))
			close(store[i].fd);
		else
			store[kept++] = store[i];
	}
	stored = kept;
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
	ssize_t n = recvmsg(queue, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const char *name;
	int fd;

	if (n < 0)
		return false;
	text[n] = '\0';
	name = strstr(text, "FDNAME=");
	if (strcmp(text, "READY=1") == 0) {
		ready = true;
		puts("READY");
	} else if (strcmp(text, "WATCHDOG=1") == 0) {
		watchdog_end = watchdog_usec ? now_usec() + watchdog_usec : 0;
		puts("WATCHDOG");
	} else if (name && strncmp(text, "FDSTOREREMOVE=1", 15) == 0) {
		drop(name + 7);
	} else if (name && strncmp(text, "FDSTORE=1", 9) == 0 && CMSG_FIRSTHDR(&message)) {
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
		keep(name + 7, fd);
	}
	return true;
}

/* ---- the service ----------------------------------------------------------------------------- */

static void set_number(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	setenv(name, text, 1);
}

static _Noreturn void service_main(pid_t parent)
{
	char *names = NULL;
	size_t size;
	FILE *f = open_memstream(&names, &size);
	sigset_t none;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	setpriority(PRIO_PROCESS, 0, service_nice);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	/* out of the way first, for what goes to 3 may still be needed there */
	for (int i = 0; i < stored; i++) {
		store[i].fd = fcntl(store[i].fd, F_DUPFD_CLOEXEC, FIRST_FD + stored);
		fprintf(f, "%s%s", i ? ":" : "", store[i].name);
	}
	for (int i = 0; i < stored; i++)
		dup2(store[i].fd, FIRST_FD + i);
	fclose(f);
	setenv("LISTEN_FDNAMES", names, 1);
	set_number("LISTEN_FDS", (uint64_t)stored);
	set_number("LISTEN_PID", (uint64_t)getpid());
	setenv("NOTIFY_SOCKET", queue_name, 1);
	set_number("FDSTORE", STORE_MAX);
	if (watchdog_usec > 0)
		set_number("WATCHDOG_USEC", watchdog_usec);
	execvp(command[0], command);
	perror(command[0]);
	_exit(127);
}

static void start(void)
{
	pid_t self = getpid();

	drop(NULL);
	ready = restarting = false;
	service = need(fork(), "fork");
	if (service == 0)
		service_main(self);
	printf("START %d\n", (int)service);
	watchdog_end = watchdog_usec ? now_usec() + watchdog_usec : 0;
}

static void ended(void)
{
	int status;
	bool fine;

	if (waitpid(service, &status, WNOHANG) != service)
		return;
	while (receive()) /* what it said before it died counts still */
		;
	fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;
	printf("%s %d\n", WIFEXITED(status) ? "EXIT" : "SIGNAL",
	       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	if (stopping || (!restarting && (fine || !ready)))
		exit(fine ? 0 : 1); /* the sockets' files belong to the test */
	start();
}

static void signalled(unsigned signo)
{
	if (signo == SIGCHLD) {
		ended();
		return;
	}
	restarting = restarting || signo == SIGUSR1;
	stopping = stopping || signo == SIGTERM;
	kill(service, signo == SIGUSR2 ? SIGKILL : SIGTERM);
}

/* ---- start ----------------------------------------------------------------------------------- */

/* `name`: a path, or "@name" of the abstract namespace. */
static int bound_socket(const char *name, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	int fd = need(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), name);

	need(strlen(name) < sizeof(address.sun_path) ? 0 : -1, name);
	strcpy(address.sun_path, name);
	if (name[0] == '@')
		address.sun_path[0] = '\0';
	else
		unlink(name);
	need(bind(fd, (struct sockaddr *)&address, size), name);
	return fd;
}

static void add_listener(const char *path)
{
	int fd = bound_socket(path, SOCK_STREAM);

	need(chmod(path, 0666), path);
	need(listen(fd, SOMAXCONN), path);
	keep("psibridged.socket", fd);
}

static int signals_fd(void)
{
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigaddset(&mask, SIGUSR1);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	return need(signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd");
}

static _Noreturn void loop(int signals)
{
	struct pollfd p[] = { { .fd = queue, .events = POLLIN },
			      { .fd = signals, .events = POLLIN } };
	struct signalfd_siginfo info;

	for (;;) {
		uint64_t now = now_usec();
		int ms = -1;

		if (watchdog_end && now >= watchdog_end) {
			puts("WATCHDOG timeout");
			kill(service, SIGABRT);
			watchdog_end = 0;
		} else if (watchdog_end) {
			ms = (int)((watchdog_end - now) / USEC_PER_MSEC) + 1;
		}
		poll(p, ELEMENTSOF(p), ms);
		/* the queue is short, and where it is full the service tries again by time */
		while (receive())
			;
		while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
			signalled(info.ssi_signo);
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	int option, signals = signals_fd();

	setvbuf(stdout, NULL, _IOLBF, 0);
	signal(SIGPIPE, SIG_IGN);
	/* a thousand clients are a thousand descriptors here too */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	/* a busy machine does not keep a manager waiting: its queue has room for ten messages, and a thousand clients send one each */
	service_nice = getpriority(PRIO_PROCESS, 0);
	setpriority(PRIO_PROCESS, 0, -10);
	while ((option = getopt(argc, argv, "+s:w:")) != -1) {
		if (option == 's')
			add_listener(optarg);
		else if (option == 'w')
			watchdog_usec = strtoull(optarg, NULL, 10);
		else
			return 2;
	}
	command = argv + optind;
	snprintf(queue_name, sizeof(queue_name), "@psb-manager-double-%d", (int)getpid());
	queue = bound_socket(queue_name, SOCK_DGRAM);
	start();
	loop(signals);
}
