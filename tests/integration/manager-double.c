/* SPDX-License-Identifier: MIT */
/*
 * manager-double.c - a small service manager: what psibridged needs of systemd, without systemd
 *
 *     manager-double [OPTIONS] -- PROGRAM [ARGUMENT]...
 *
 *     -s PATH   listen on this stream socket and pass it on (several are allowed). It is there as
 *               long as the double, like that of a .socket unit
 *     -w USEC   WatchdogSec=: a service that says nothing for so long gets SIGABRT
 *
 * It starts PROGRAM with $LISTEN_FDS and its kin, and does what systemd would:
 *
 *     service ends with 0         the double ends, with 0
 *     service dies otherwise      it is started again, with the stored descriptors; after 5 starts
 *                                 that did not come to READY the double ends, with 1
 *     SIGHUP to the double        reload: SIGHUP to the service
 *     SIGUSR1                     systemctl restart: SIGTERM, SIGKILL after 10 s, start again
 *     SIGUSR2                     kill -9: SIGKILL to the service, which is started again
 *     SIGTERM, SIGINT             systemctl stop: the same as a restart without the start; the
 *                                 store is given up; exit status 0 if the service's was
 *
 * Stored descriptors are kept as systemd keeps them: by name, none twice, dropped when the peer
 * hangs up (manager-store.h). Of the messages only those of the service's own process count.
 *
 * On stdout is what happened, a line each, written at once; the service's own output goes to the
 * double's stderr. Lines:
 *
 *     START PID LISTENERS STORED       it was started, with so many descriptors
 *     READY | RELOADING | STOPPING | STATUS=text
 *     RELOADING early                  MONOTONIC_USEC is missing, or before the request
 *     FDSTORE NAME COUNT stored        COUNT are in the store now, of any name
 *     FDSTORE NAME COUNT duplicate | nothing             and it was not stored
 *     FDSTOREREMOVE NAME COUNT
 *     HANGUP NAME COUNT                a stored descriptor's peer hung up
 *     EXIT CODE | SIGNAL NUMBER        the service ended
 *     WATCHDOG | WATCHDOG timeout
 *     IGNORED text                     a line that it does not know, or a message of others
 *     GIVEUP
 *
 * manager-double.h drives it from a C test. Should the double die, the service is killed with it.
 */
#include "core/util.h"
#include "manager-store.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
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

#define LISTENERS_MAX 16
#define STARTS_MAX 5
#define KILL_AFTER_USEC (10 * USEC_PER_SEC)
#define FDS_A_MESSAGE 253 /* SCM_MAX_FD */
#define FIRST_FD 3
#define LISTENER_NAME "psibridged.socket"

enum goal { GOAL_RUN, GOAL_RESTART, GOAL_STOP };

static struct {
	char **command;
	const char *listener_path[LISTENERS_MAX];
	int listener[LISTENERS_MAX];
	int listeners;
	char notify_name[108];
	uint64_t watchdog_usec;

	int notify_fd, signal_fd;

	pid_t service; /* 0: none */
	enum goal goal;
	unsigned starts; /* since the last READY */
	uint64_t alive_usec, kill_usec, reload_usec;
	sigset_t old_mask;
} d = { .notify_fd = -1, .signal_fd = -1 };

static void die(const char *what) __attribute__((noreturn));
static void die(const char *what)
{
	fprintf(stderr, "manager-double: %s: %s\n", what, strerror(errno));
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

static uint64_t now_usec(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * USEC_PER_SEC + (uint64_t)now.tv_nsec / NSEC_PER_USEC;
}

/* ---- messages -------------------------------------------------------------------------------- */

static const char *value_of(const char *line, const char *key)
{
	size_t n = strlen(key);

	return strncmp(line, key, n) == 0 && line[n] == '=' ? line + n + 1 : NULL;
}

struct message {
	bool store, remove, ready, reloading;
	uint64_t monotonic_usec;
	const char *name;
};

static void take_line(char *line, struct message *m)
{
	const char *value;

	if (strcmp(line, "READY=1") == 0) {
		m->ready = true;
	} else if (strcmp(line, "RELOADING=1") == 0) {
		m->reloading = true;
	} else if (strcmp(line, "STOPPING=1") == 0) {
		say("STOPPING");
	} else if (strcmp(line, "WATCHDOG=1") == 0) {
		d.alive_usec = now_usec();
		say("WATCHDOG");
	} else if (strcmp(line, "FDSTORE=1") == 0) {
		m->store = true;
	} else if (strcmp(line, "FDSTOREREMOVE=1") == 0) {
		m->remove = true;
	} else if ((value = value_of(line, "FDNAME")) != NULL) {
		m->name = value;
	} else if ((value = value_of(line, "MONOTONIC_USEC")) != NULL) {
		m->monotonic_usec = strtoull(value, NULL, 10);
	} else if (value_of(line, "STATUS")) {
		say("%s", line);
	} else {
		say("IGNORED %s", line);
	}
}

static void take_message(char *text, int *fds, size_t count)
{
	struct message m = { .name = "stored" };

	for (char *line = text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = '\0';
		take_line(line, &m);
	}
	if (m.ready) {
		d.starts = 0;
		say("READY");
	}
	if (m.reloading) {
		bool early = m.monotonic_usec == 0 || m.monotonic_usec < d.reload_usec;

		say(early ? "RELOADING early" : "RELOADING");
	}
	if (m.remove) {
		store_remove(m.name);
		say("FDSTOREREMOVE %s %zu", m.name, store_count());
	}
	if (m.store && count == 0)
		say("FDSTORE %s %zu nothing", m.name, store_count());
	for (size_t i = 0; i < count; i++) {
		const char *result = "nothing";

		if (m.store)
			result = store_add(m.name, fds[i]);
		else
			close(fds[i]);
		say("FDSTORE %s %zu %s", m.name, store_count(), result);
	}
}

/* One. False: none is there. */
static bool receive(void)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(struct ucred)) +
			   CMSG_SPACE(FDS_A_MESSAGE * sizeof(int))];
	} control;
	char text[8192];
	int fds[FDS_A_MESSAGE];
	size_t count = 0;
	struct ucred from = { 0 };
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr message = { .msg_iov = &iov,
				  .msg_iovlen = 1,
				  .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(d.notify_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return false;
	text[n] = '\0';
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(&from, CMSG_DATA(c), sizeof(from));
		} else if (c->cmsg_type == SCM_RIGHTS) {
			count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
			memcpy(fds, CMSG_DATA(c), count * sizeof(int));
		}
	}
	if (from.pid == d.service && d.service > 0) {
		take_message(text, fds, count);
		return true;
	}
	say("IGNORED message of %d", (int)from.pid);
	for (size_t i = 0; i < count; i++)
		close(fds[i]);
	return true;
}

/* ---- the service ----------------------------------------------------------------------------- */

static void set_number(const char *name, uint64_t value)
{
	char text[32];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	setenv(name, text, 1);
}

static int fd_to_pass(size_t index)
{
	size_t listeners = (size_t)d.listeners;

	return index < listeners ? d.listener[index] : store_get(index - listeners)->fd;
}

static void pass_descriptors(void)
{
	size_t count = (size_t)d.listeners + store_count();
	int above = FIRST_FD + (int)count, *moved = calloc(count + 1, sizeof(*moved));
	char *names = NULL;
	size_t size;
	FILE *f = open_memstream(&names, &size);

	if (!moved || !f)
		_exit(125);
	/* out of the way first, for what goes to 3 may still be needed there */
	for (size_t i = 0; i < count; i++) {
		moved[i] = fcntl(fd_to_pass(i), F_DUPFD_CLOEXEC, above);
		if (moved[i] < 0)
			_exit(125);
		fprintf(f, "%s%s", i ? ":" : "",
			i < (size_t)d.listeners ? LISTENER_NAME
						: store_get(i - (size_t)d.listeners)->name);
	}
	for (size_t i = 0; i < count; i++)
		if (dup2(moved[i], FIRST_FD + (int)i) < 0)
			_exit(125);
	fclose(f);
	if (count == 0)
		return;
	set_number("LISTEN_PID", (uint64_t)getpid());
	set_number("LISTEN_FDS", count);
	setenv("LISTEN_FDNAMES", names, 1);
}

static void service_main(pid_t parent) __attribute__((noreturn));
static void service_main(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(125);
	sigprocmask(SIG_SETMASK, &d.old_mask, NULL);
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

static void say_hang_up(const char *name)
{
	say("HANGUP %s %zu", name, store_count());
}

static void service_start(void)
{
	pid_t self = getpid();

	store_hang_ups(say_hang_up);
	d.goal = GOAL_RUN;
	d.kill_usec = USEC_NEVER;
	d.alive_usec = now_usec();
	d.starts++;
	d.service = fork();
	if (d.service < 0)
		die("fork");
	if (d.service == 0)
		service_main(self);
	say("START %d %d %zu", (int)d.service, d.listeners, store_count());
}

/* Never to pid 0, which would be everybody around us. */
static void service_signal(int number)
{
	if (d.service > 0)
		kill(d.service, number);
}

static void service_stop(enum goal goal)
{
	d.goal = goal;
	if (d.kill_usec == USEC_NEVER) {
		service_signal(SIGTERM);
		d.kill_usec = now_usec() + KILL_AFTER_USEC;
	}
}

/* Returns the double's exit status, or -1: go on. */
static int service_ended(int status)
{
	bool fine = WIFEXITED(status) && WEXITSTATUS(status) == 0;

	/* what it said before it died counts still */
	while (receive())
		;
	d.service = 0;
	if (WIFEXITED(status))
		say("EXIT %d", WEXITSTATUS(status));
	else
		say("SIGNAL %d", WTERMSIG(status));
	if (d.goal == GOAL_STOP || (d.goal == GOAL_RUN && fine))
		return fine ? 0 : 1;
	if (d.goal == GOAL_RUN && d.starts >= STARTS_MAX) {
		say("GIVEUP");
		return 1;
	}
	service_start();
	return -1;
}

static int take_signals(void)
{
	struct signalfd_siginfo info;
	int status, result = -1;

	while (read(d.signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch ((int)info.ssi_signo) {
		case SIGHUP:
			d.reload_usec = now_usec();
			service_signal(SIGHUP);
			break;
		case SIGUSR1:
			if (d.goal == GOAL_RUN)
				service_stop(GOAL_RESTART);
			break;
		case SIGUSR2:
			service_signal(SIGKILL);
			if (d.goal == GOAL_RUN)
				d.goal = GOAL_RESTART;
			break;
		case SIGTERM:
		case SIGINT:
			service_stop(GOAL_STOP);
			break;
		case SIGCHLD:
			while (result < 0 && d.service > 0 &&
			       waitpid(d.service, &status, WNOHANG) == d.service)
				result = service_ended(status);
			break;
		}
	}
	return result;
}

static void check_time(uint64_t now)
{
	if (now >= d.kill_usec) {
		service_signal(SIGKILL);
		d.kill_usec = USEC_NEVER;
	}
	if (d.watchdog_usec > 0 && d.service > 0 && now >= d.alive_usec + d.watchdog_usec) {
		say("WATCHDOG timeout");
		service_signal(SIGABRT);
		d.alive_usec = now;
	}
}

static int until_due(uint64_t now)
{
	uint64_t due = d.kill_usec;

	if (d.watchdog_usec > 0)
		due = MIN(due, d.alive_usec + d.watchdog_usec);
	return due == USEC_NEVER ? -1 : (int)(usec_sub(due, now) / USEC_PER_MSEC) + 1;
}

static int run(void)
{
	int result = -1;

	service_start();
	while (result < 0) {
		struct pollfd fds[] = { { .fd = d.notify_fd, .events = POLLIN },
					{ .fd = d.signal_fd, .events = POLLIN },
					{ .fd = store_poll_fd(), .events = POLLIN } };

		if (poll(fds, ELEMENTSOF(fds), until_due(now_usec())) < 0 && errno != EINTR)
			die("poll");
		/* in this order: what a service says before it ends is heard first */
		if (fds[0].revents)
			receive();
		if (fds[2].revents)
			store_hang_ups(say_hang_up);
		if (fds[1].revents)
			result = take_signals();
		check_time(now_usec());
	}
	return result;
}

/* ---- start and end --------------------------------------------------------------------------- */

static int bound_socket(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (strlen(path) >= sizeof(address.sun_path)) {
		errno = ENAMETOOLONG;
		die(path);
	}
	strcpy(address.sun_path, path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path);
	if (chmod(path, 0666) < 0)
		die(path);
	if (listen(fd, SOMAXCONN) < 0)
		die(path);
	return fd;
}

static int abstract_socket(char *name, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int n = snprintf(name, size, "@psb-manager-double-%d", (int)getpid());

	memcpy(address.sun_path + 1, name + 1, (size_t)n - 1);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address,
			   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n)) < 0)
		die("NOTIFY_SOCKET");
	return fd;
}

static void open_notify_socket(void)
{
	int on = 1;

	d.notify_fd = abstract_socket(d.notify_name, sizeof(d.notify_name));
	if (setsockopt(d.notify_fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		die("SO_PASSCRED");
}

static void open_all(void)
{
	static const int signals[] = { SIGHUP, SIGUSR1, SIGUSR2, SIGTERM, SIGINT, SIGCHLD };
	struct rlimit files;
	sigset_t mask;

	/* a thousand clients are a thousand descriptors here too */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	sigemptyset(&mask);
	for (size_t i = 0; i < ELEMENTSOF(signals); i++)
		sigaddset(&mask, signals[i]);
	sigprocmask(SIG_BLOCK, &mask, &d.old_mask);
	/* tests start us with all kinds of masks; the service begins with none, as under systemd */
	sigemptyset(&d.old_mask);
	signal(SIGPIPE, SIG_IGN);
	d.signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (d.signal_fd < 0)
		die("signalfd");
	store_open();
	open_notify_socket();
	for (int i = 0; i < d.listeners; i++)
		d.listener[i] = bound_socket(d.listener_path[i]);
}

static void close_all(void)
{
	store_close();
	for (int i = 0; i < d.listeners; i++) {
		close(d.listener[i]);
		unlink(d.listener_path[i]);
	}
	close(d.notify_fd);
	close(d.signal_fd);
}

static void usage(void) __attribute__((noreturn));
static void usage(void)
{
	fputs("usage: manager-double [-s PATH]... [-w USEC] -- PROGRAM [ARGUMENT]...\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	int option, result;

	while ((option = getopt(argc, argv, "+s:w:")) != -1) {
		switch (option) {
		case 's':
			if (d.listeners == LISTENERS_MAX)
				usage();
			d.listener_path[d.listeners++] = optarg;
			break;
		case 'w':
			d.watchdog_usec = strtoull(optarg, NULL, 10);
			break;
		default:
			usage();
		}
	}
	if (optind == argc)
		usage();
	d.command = argv + optind;
	open_all();
	result = run();
	close_all();
	return result;
}
