/* SPDX-License-Identifier: MIT */
/*
 * main.c - psibridged(8): options, what is inherited, and the order in which things begin and end
 *
 * Memory. The daemon has to work while memory is short, so it must not wait for a page: all that is
 * mapped at the start is locked, code of libraries included; later mappings are locked page by page as
 * they are touched (whole, they would be the full stacks of threads and room for the state of a million clients).
 * Notifying allocates nothing; finding a cgroup that did not stall before does (a monitor, some
 * paths), from a heap that was touched at the start and is never given back.
 */
#include "daemon/daemon.h"
#include "daemon/state.h"
#include "daemon/listen.h"
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

struct arguments {
	const char *root, *notify, *control;
	bool check, show;
};

static void help(void)
{
	printf("psibridged - tells services and containers when memory is short\n"
	       "\n"
	       "Usage: psibridged [OPTION...]\n"
	       "\n"
	       "  --check-config   read the configuration, report every mistake, exit\n"
	       "  --show-config    print all values and where each came from, exit\n"
	       "  --root DIR       read the configuration below DIR\n"
	       "  --notify PATH    listen here if no socket is inherited (%s)\n"
	       "  --control PATH   the same for psibridge(1) (%s)\n"
	       "  --help, --version\n"
	       "\n"
	       "Usually started by systemd: systemctl enable --now psibridged. The manual is\n"
	       "psibridged(8), the configuration psibridged.conf(5).\n",
	       NOTIFY_PATH, CONTROL_PATH);
}

/* Returns -1 to go on, or the exit status. */
static int parse(int argc, char **argv, struct arguments *ret)
{
	struct arguments a = { .root = "", .notify = NOTIFY_PATH, .control = CONTROL_PATH };
	int check = 0, show = 0, c;
	const struct option options[] = {
		{ "check-config", no_argument, &check, 1 },
		{ "show-config", no_argument, &show, 1 },
		{ "root", required_argument, NULL, 'r' },
		{ "notify", required_argument, NULL, 'n' },
		{ "control", required_argument, NULL, 'c' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'v' },
		{ 0 },
	};

	while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
		switch (c) {
		case 0:
			break;
		case 'r':
			a.root = strcmp(optarg, "/") == 0 ? "" : optarg;
			break;
		case 'n':
			a.notify = optarg;
			break;
		case 'c':
			a.control = optarg;
			break;
		case 'h':
			help();
			return STATUS_OK;
		case 'v':
			printf("psibridged %s\n", psb_version());
			return STATUS_OK;
		default:
			fprintf(stderr, "psibridged --help lists the options\n");
			return STATUS_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr,
			"psibridged: \"%s\" is no option, and there are no other arguments\n",
			argv[optind]);
		return STATUS_USAGE;
	}
	a.check = check;
	a.show = show;
	*ret = a;
	return -1;
}

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
	struct config *config;
	int r;

	drop_override();
	r = config_load(a->root, &complaints, &config);
	if (r < 0) {
		if (r != -EINVAL)
			fprintf(stderr, "psibridged: the configuration: %s\n", strerror(-r));
		return STATUS_CONFIG;
	}
	if (!a->show)
		config_warn_absent(config, &complaints);
	r = a->show ? config_show(config, stdout) : 0;
	if (r == 0 && fflush(stdout) != 0)
		r = -errno;
	if (r < 0)
		fprintf(stderr, "psibridged: standard output: %s\n", strerror(-r));
	else if (!a->show)
		printf("%zu watch%s, no mistakes\n", config->watch_count,
		       config->watch_count == 1 ? "" : "es");
	config_free(config);
	return r < 0 ? STATUS_FAILED : STATUS_OK;
}

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
		memset(heap, 1, HEAP_BYTES);
	__asm__ volatile("" : : "r"(heap) : "memory"); /* not to be optimised away */
	free(heap);
}

static void raise_limits(struct journal *journal)
{
	struct rlimit limit;

	reserve_heap();
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	/* for want of either right the limit stays what it is */
	limit = (struct rlimit){ RLIM_INFINITY, RLIM_INFINITY };
	if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
		getrlimit(RLIMIT_MEMLOCK, &limit);
	/* under a finite limit a later mapping would not be late, but refused */
	if (mlockall(MCL_CURRENT) < 0 ||
	    (limit.rlim_cur == RLIM_INFINITY && mlockall(MCL_FUTURE | MCL_ONFAULT) < 0))
		journal_log(journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "memory cannot be locked (%s): notifications may be late when memory "
			    "is short; see LimitMEMLOCK= in systemd.exec(5)",
			    strerror(errno));
	else if (limit.rlim_cur != RLIM_INFINITY)
		journal_log(journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "only the memory in use now is locked: RLIMIT_MEMLOCK is %llu bytes",
			    (unsigned long long)limit.rlim_cur);
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

/* ---- sockets and states, inherited or of our own ------------------------------------------------ */

static bool is_recognised(const char *path)
{
	static const char end[] = "/psibridge/notify";
	size_t size = strlen(path);

	return size >= sizeof(end) - 1 && strcmp(path + size - (sizeof(end) - 1), end) == 0;
}

/* `owned` gets the path of each that is our own, so that its file goes with us. */
static int get_listeners(struct daemon *d, const struct arguments *a, const char *owned[2])
{
	const struct {
		const char *name, *path;
		int *fd;
	} own[2] = { { "notify", a->notify, &d->notify_fd },
		     { "control", a->control, &d->control_fd } };
	char name[32];
	int fd, r;

	while ((fd = manager_take(d->manager, INHERITED_LISTENER)) >= 0) {
		listen_name(fd, name, sizeof(name));
		for (size_t i = 0; i < ELEMENTSOF(own); i++)
			if (*own[i].fd < 0 && strcmp(name, own[i].name) == 0)
				*own[i].fd = steal_fd(&fd);
		fd_close(&fd);
	}
	if (d->notify_fd < 0 && !is_recognised(a->notify))
		journal_log(
			d->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			"%s: libpsibridge recognises the socket by \"/psibridge/notify\" at the "
			"end of its path; its programs will get bytes here, not levels",
			a->notify);
	for (size_t i = 0; i < ELEMENTSOF(own); i++) {
		if (*own[i].fd >= 0)
			continue;
		r = listen_at(own[i].path, own[i].fd);
		if (r < 0) {
			journal_log(d->journal, LOG_IS_ERROR, MESSAGE_OTHER, "%s: %s", own[i].path,
				    r == -EADDRINUSE ? "another process listens there"
						     : strerror(-r));
			return r;
		}
		owned[i] = own[i].path;
	}
	return 0;
}

static int get_states(struct daemon *d)
{
	int fd, r;

	while (!d->states && (fd = manager_take(d->manager, INHERITED_STATE)) >= 0) {
		r = states_adopt(fd, &d->states);
		if (r < 0)
			journal_log(d->journal, LOG_IS_WARNING, MESSAGE_OTHER,
				    "the clients' state of the process before is not used (%s): "
				    "they are identified anew",
				    strerror(-r));
	}
	if (d->states)
		return 0;
	r = states_new(&d->states);
	if (r < 0) {
		journal_log(d->journal, LOG_IS_ERROR, MESSAGE_OTHER, "the clients' state: %s",
			    strerror(-r));
		return r;
	}
	manager_forget(d->manager, "state");
	manager_forget(d->manager, "ledger"); /* of psibridged 0.1 */
	r = manager_store(d->manager, "state", states_fd(d->states));
	if (r < 0)
		journal_log(d->journal, LOG_IS_WARNING, MESSAGE_OTHER,
			    "their state could not be stored (%s): after a crash clients will be "
			    "identified anew",
			    strerror(-r));
	return 0;
}

static int serve(struct daemon *d, const struct arguments *a)
{
	const char *owned[2] = { NULL, NULL };
	int r;

	raise_limits(d->journal);
	r = get_listeners(d, a, owned);
	if (r == 0)
		r = get_states(d);
	if (r == 0) {
		r = daemon_run(d);
		daemon_end(d);
	}
	for (size_t i = 0; i < ELEMENTSOF(owned); i++)
		if (owned[i])
			unlink(owned[i]);
	return r;
}

int main(int argc, char **argv)
{
	struct daemon d = { .notify_fd = -1, .control_fd = -1 };
	struct arguments a;
	int r = parse(argc, argv, &a), status = STATUS_FAILED;

	if (r >= 0)
		return r;
	if (a.check || a.show)
		return look_at_config(&a);

	d.root = a.root;
	block_signals(); /* before there are threads, which inherit it */
	r = journal_new(JOURNAL_SOCKET, &d.journal);
	if (r == 0)
		r = manager_new(&d.manager);
	if (r < 0)
		fprintf(stderr, "psibridged: %s\n", strerror(-r));
	else if (daemon_load_config(&d) == 0)
		status = serve(&d, &a) < 0 ? STATUS_FAILED : STATUS_OK;
	else {
		wait_with_clients(d.manager);
		status = STATUS_CONFIG;
	}
	manager_free(d.manager);
	journal_free(d.journal);
	config_free(d.config);
	return status;
}
