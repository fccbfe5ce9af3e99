/* SPDX-License-Identifier: MIT */
/*
 * main.c - psibridged(8): options, what is inherited, and the order in which things begin and end
 *
 * The daemon has to work while memory is short, so it must not wait for a page: all that is mapped at the start is locked,
 * code of libraries included; later mappings are locked page by page as they are touched (whole, they would be the full
 * stacks of threads and room for the state of a million clients). What is allocated later comes from a heap that was touched
 * at the start and is never given back.
 */
#include "daemon/daemon.h"
#include "daemon/listen.h"
#include "daemon/state.h"
#include "kernel/file.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <linux/capability.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NOTIFY_PATH "/run/psibridge/notify"
#define CONTROL_PATH "/run/psibridge/control"
#define HEAP_BYTES (1 << 20)
#define PAUSE_SEC 30 /* between two starts with a wrong configuration */

enum { STATUS_OK = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_CONFIG = 78 /* EX_CONFIG */ };

static const char help[] =
	"psibridged - tells services and containers when memory is short\n"
	"\n"
	"Usage: psibridged [OPTION...]\n"
	"\n"
	"  --check-config   read the configuration, report every mistake, exit\n"
	"  --show-config    print all values and where each came from, exit\n"
	"  --root DIR       read the configuration below DIR\n"
	"  --notify PATH    listen here if no socket is inherited (" NOTIFY_PATH ")\n"
	"  --control PATH   listen here for psibridge(1) (" CONTROL_PATH ")\n"
	"  --help, --version\n"
	"\n"
	"Usually started by systemd: systemctl enable --now psibridged. The manual is\n"
	"psibridged(8), the configuration psibridged.conf(5).\n";

struct arguments {
	const char *root, *notify, *control;
	char look; /* 'k': --check-config, 's': --show-config; 0: serve */
};

/* Returns -1 to go on, or the exit status. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	static const struct option options[] = {
		{ "check-config", no_argument, NULL, 'k' },
		{ "show-config", no_argument, NULL, 's' },
		{ "root", required_argument, NULL, 'r' },
		{ "notify", required_argument, NULL, 'n' },
		{ "control", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};
	int c;

	*ret = (struct arguments){ "", NOTIFY_PATH, CONTROL_PATH, 0 };
	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 'k':
		case 's':
			ret->look = (char)c;
			break;
		case 'r':
			ret->root = strcmp(optarg, "/") == 0 ? "" : optarg;
			break;
		case 'n':
			ret->notify = optarg;
			break;
		case 'c':
			ret->control = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			return STATUS_OK;
		case 'v':
			printf("psibridged %s\n", psb_version());
			return STATUS_OK;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	fprintf(stderr, "psibridged: %s: no such option; see psibridged --help\n", argv[optind]);
	return STATUS_USAGE;
}

/* ---- the configuration alone ----------------------------------------------------------------------- */

/* The service has no right to read other users' files: check as it does. */
static void drop_override(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	if (syscall(SYS_capget, &header, data) < 0)
		return;
	data[0].effective &= ~(1u << CAP_DAC_OVERRIDE | 1u << CAP_DAC_READ_SEARCH);
	(void)syscall(SYS_capset, &header, data);
}

static void print(_unused_ const struct complaints *c, const char *line, _unused_ bool mistake)
{
	fprintf(stderr, "%s\n", line);
}

static int look_at_config(const struct arguments *a)
{
	struct complaints complaints = { .say = print };
	_cleanup_(config_freep) struct config *config = NULL;
	int r;

	drop_override();
	config = config_load(a->root, &complaints);
	if (!config)
		return STATUS_CONFIG;
	if (a->look == 's') {
		r = config_show(config, stdout);
	} else {
		config_warn_absent(config, &complaints);
		printf("%zu watch%s, no mistakes\n", config->watch_count,
		       config->watch_count == 1 ? "" : "es");
		r = fflush(stdout) == 0 ? 0 : -errno;
	}
	if (r < 0)
		fprintf(stderr, "psibridged: standard output: %s\n", strerror(-r));
	return r < 0 ? STATUS_FAILED : STATUS_OK;
}

/* ---- the process ----------------------------------------------------------------------------------- */

/*
 * With a client waiting at the socket systemd restarts the daemon at once: the limits of systemd.socket(5)
 * either close the socket for good (TriggerLimitBurst=) or begin anew with each start (PollLimitBurst=).
 */
static void wait_with_clients(struct manager *manager)
{
	const struct timespec pause = { .tv_sec = PAUSE_SEC };
	sigset_t set;

	sigprocmask(SIG_BLOCK, NULL, &set);
	if (manager_has_clients(manager))
		sigtimedwait(&set, NULL, &pause);
}

/* Memory that malloc() has and the kernel will not take back. */
static void reserve_heap(void)
{
	char *heap;

	mallopt(M_ARENA_MAX, 1);
	mallopt(M_MMAP_THRESHOLD, 1 << 30);
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
	heap = malloc(HEAP_BYTES);
	if (heap)
		explicit_bzero(heap, HEAP_BYTES); /* is not optimised away */
	free(heap);
}

static void raise_limits(struct journal *journal)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit limit;
	bool raised = setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0;

	reserve_heap();
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* under a finite limit a later mapping would not be late, but refused: there only what is mapped now is locked */
	if (mlockall(MCL_CURRENT) < 0 || !raised || mlockall(MCL_FUTURE | MCL_ONFAULT) < 0)
		journal_log(
			journal, LOG_IS_WARNING, MESSAGE_OTHER,
			"not all memory can be locked (%s): notifications may be late when memory "
			"is short; see LimitMEMLOCK= in systemd.exec(5)",
			strerror(errno));
}

static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* ---- sockets and states, inherited or of our own --------------------------------------------------- */

/* *ret_own: its file goes with us. */
static int listen_here(struct daemon *d, const char *path, int *ret_fd, const char **ret_own)
{
	int r = listen_at(path, ret_fd);

	if (r == 0)
		*ret_own = path;
	else
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_OTHER, "%s: %s", path,
			    r == -EADDRINUSE ? "another process listens there" : strerror(-r));
	return r;
}

static int get_states(struct daemon *d)
{
	int fd = manager_take(d->manager, "state"), r;

	if (fd >= 0 && states_adopt(fd, &d->states) == 0)
		return 0;
	if (fd >= 0)
		journal_log(d->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "the clients' state of the process before cannot be used: they are "
			    "identified anew");
	r = states_new(&d->states, &fd);
	if (r < 0) {
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_OTHER, "the clients' state: %s",
			    strerror(-r));
		return r;
	}
	(void)manager_try(d->manager, -1, "FDSTOREREMOVE=1\nFDNAME=state");
	(void)manager_try(d->manager, fd, "FDSTORE=1\nFDNAME=state");
	close(fd);
	return 0;
}

static int serve(struct daemon *d, const struct arguments *a)
{
	const char *own[2] = { NULL, NULL };
	int r = 0;

	raise_limits(d->journal);
	d->notify_fd = manager_take(d->manager, MANAGER_LISTENER);
	if (d->notify_fd < 0)
		r = listen_here(d, a->notify, &d->notify_fd, &own[0]);
	if (r == 0)
		r = listen_here(d, a->control, &d->control_fd, &own[1]);
	if (r == 0)
		r = get_states(d);
	if (r == 0) {
		r = daemon_run(d);
		daemon_end(d);
	}
	for (size_t i = 0; i < ELEMENTSOF(own); i++)
		if (own[i])
			unlink(own[i]);
	return r;
}

int main(int argc, char **argv)
{
	struct daemon d = { .notify_fd = -1, .control_fd = -1 };
	struct arguments a;
	int r = parse(argc, argv, &a), status = STATUS_FAILED;

	if (r >= 0)
		return r;
	if (a.look)
		return look_at_config(&a);

	d.root = a.root;
	block_signals(); /* before there are threads, which inherit it */
	r = journal_new(JOURNAL_SOCKET, &d.journal);
	if (r == 0)
		r = manager_new(&d.manager);
	if (r < 0) {
		fprintf(stderr, "psibridged: %s\n", strerror(-r));
	} else if (daemon_load_config(&d)) {
		status = serve(&d, &a) < 0 ? STATUS_FAILED : STATUS_OK;
	} else {
		wait_with_clients(d.manager);
		status = STATUS_CONFIG;
	}
	manager_free(d.manager);
	journal_free(d.journal);
	config_free(d.config);
	return status;
}
