/* SPDX-License-Identifier: MIT */
/*
 * listener.c - a client of libpsibridge that says what it is told, and when
 *
 * For guest-*.sh: a host with nothing else in it, static, so that it runs in an empty container. Whom it listens to is up to
 * the environment ($MEMORY_PRESSURE_WATCH) and to what is possible, as for any program.
 *
 *     listener rung
 *         one line: which rung of the ladder this process gets for its own cgroup, and why no better one.
 *     listener load
 *         one line: "load PERCENT", what IHostMemoryManager::GetMemoryLoad says.
 *     listener SECONDS
 *
 *     source RUNG NAME CGROUP BACKEND         first, and whenever the watch moves
 *     effect BYTES FIRST_BACK STALL_BEFORE STALL_AFTER UNANSWERED     of the last Low, as in psb_stats
 *     told NOW JUDGED LEVEL CRITICAL REASON STALL CGROUP     times are CLOCK_MONOTONIC in microseconds, STALL too
 *
 * It lives in the cgroup that is short of memory, and its own waiting must not be measured: all of it is locked in memory, and
 * the thread that listens only takes the time. Another one writes, which may take as long as it likes.
 */
#include "../pressure.h"

#include "core/names.h"
#include <psibridge/hosting.h>

#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

static const char *backend(psb_bridge *bridge)
{
	return psb_bridge_backend(bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll";
}

static int say_rung(psb_watch *watch, psb_bridge *bridge)
{
	struct psb_source source = { .size = sizeof(source) };

	psb_watch_source(watch, &source);
	printf("%s rung %u (%s) cgroup %s, %s%s%s\n", backend(bridge), source.rung, source.name,
	       source.cgroup, source.path, source.why[0] ? ": " : "", source.why);
	return 0;
}

static int say_load(psb_watch *watch)
{
	IHostMemoryManager *manager;
	DWORD percent;
	SIZE_T available;

	if (psb_host_memory_manager_new(watch, &manager) < 0 ||
	    IHostMemoryManager_GetMemoryLoad(manager, &percent, &available) != S_OK)
		return 1;
	printf("load %u\n", (unsigned)percent);
	return 0;
}

static void say_source(psb_watch *watch, psb_bridge *bridge)
{
	struct psb_source source = { .size = sizeof(source) };

	psb_watch_source(watch, &source);
	printf("source %u %s %s %s\n", source.rung, source.name, source.cgroup, backend(bridge));
}

static void say_effect(psb_watch *watch)
{
	struct psb_stats s = { .size = sizeof(s) };

	psb_watch_stats(watch, &s);
	printf("effect %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %" PRIu64 "\n",
	       (int64_t)s.effect_bytes, (int64_t)s.first_back_usec, (int64_t)s.stall_before_usec,
	       (int64_t)s.stall_after_usec, s.unanswered);
}

#define NEWS_MAX 4096

/* Written once by the thread of the bridge, read once by main. */
struct news {
	uint64_t now_usec;
	struct psb_notification n;
	char cgroup[256];
};

static struct news news[NEWS_MAX];
static sem_t news_ready;

static void told(const struct psb_notification *n, void *userdata)
{
	static unsigned count;
	struct news *at = &news[count];

	(void)userdata;
	if (count == NEWS_MAX)
		return;
	at->now_usec = lab_now_usec();
	at->n = *n;
	snprintf(at->cgroup, sizeof(at->cgroup), "%s", n->cgroup);
	count++;
	sem_post(&news_ready);
}

static void say(const struct news *at, psb_watch *watch, psb_bridge *bridge)
{
	const struct psb_notification *n = &at->n;

	if (n->kind == PSB_KIND_SOURCE)
		say_source(watch, bridge);
	else if (n->kind == PSB_KIND_EFFECT)
		say_effect(watch);
	else
		printf("told %" PRIu64 " %" PRIu64 " %s %d %s %" PRIu64 " %s\n", at->now_usec,
		       n->time_usec, name_of_available(n->available), n->critical,
		       name_of_reason(n->reason), n->stall_usec, at->cgroup);
	fflush(stdout);
}

static void say_all_for(unsigned long seconds, psb_watch *watch, psb_bridge *bridge)
{
	struct timespec end;
	unsigned count = 0;

	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += (time_t)seconds;
	while (count < NEWS_MAX) {
		if (sem_timedwait(&news_ready, &end) == 0)
			say(&news[count++], watch, bridge);
		else if (errno != EINTR)
			return;
	}
}

int main(int argc, char **argv)
{
	static char line[4096];
	char error[320] = "";
	struct psb_watch_options options = { .size = sizeof(options),
					     .error_text = error,
					     .error_text_size = sizeof(error) };
	psb_bridge *bridge;
	psb_watch *watch;
	int r;

	if (argc != 2) {
		fputs("usage: listener rung|load|SECONDS\n", stderr);
		return 2;
	}
	sem_init(&news_ready, 0, 0);
	setvbuf(stdout, line, _IOFBF, sizeof(line));
	r = psb_bridge_new(NULL, &bridge);
	if (r < 0) {
		printf("no bridge: %s\n", strerror(-r));
		return 1;
	}
	r = psb_watch_new(bridge, &options, &watch);
	if (r < 0) {
		printf("no watch: %s\n", error);
		return 1;
	}
	if (strcmp(argv[1], "rung") == 0)
		return say_rung(watch, bridge);
	if (strcmp(argv[1], "load") == 0)
		return say_load(watch);
	say_source(watch, bridge);
	fflush(stdout);
	r = psb_watch_add_callback(watch, told, NULL,
				   PSB_INLINE | PSB_TELL_SOURCE | PSB_TELL_EFFECT, NULL);
	if (r == 0)
		r = psb_bridge_start(bridge);
	if (r < 0) {
		printf("no callback: %s\n", strerror(-r));
		return 1;
	}
	(void)!mlockall(MCL_CURRENT); /* where it may not, it is held up more often */
	say_all_for(strtoul(argv[1], NULL, 10), watch, bridge);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	return 0;
}
