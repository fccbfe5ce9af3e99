/* SPDX-License-Identifier: MIT */
/*
 * daemon-stage.h - for tests with simulated levels: a daemon of its own for each, and the cgroups
 * a, a/below, b and shadow
 */
#pragma once

#include "daemon-bench.h"

static struct bench bench;
static int clients[64];
static size_t client_count;

#define CONFIGURATION           \
	"[Daemon]\n"            \
	"ClientsPerCgroup=20\n" \
	"[Defaults]\n"          \
	"HighHeadroom=off\n"    \
	"Quiet=1s\n"            \
	"Calm=2s\n"             \
	"[Watch %s/**]\n"

#define SUBSCRIBE "psibridge/1\n"

static inline int set_up(_unused_ void **state)
{
	static const char *const groups[] = { "a", "b", "a/below", "shadow", NULL };

	return bench_open_lab("psb-daemon", groups);
}

static inline void start(_unused_ void **state)
{
	bench_need_lab();
	bench_start(&bench, CONFIGURATION);
}

static inline int stop(_unused_ void **state)
{
	while (client_count > 0)
		close(clients[--client_count]);
	if (!no_lab)
		lab_enter(&lab, NULL);
	bench_stop(&bench);
	return 0;
}

/* It leaves at the end, or before. */
static inline int client(const char *group, const char *hello)
{
	assert_true(client_count < ELEMENTSOF(clients));
	return clients[client_count++] = bench_client(&bench, group, hello);
}

/* One that was welcomed: nothing is short. */
static inline int subscriber(const char *group)
{
	int fd = client(group, SUBSCRIBE);

	bench_expect(fd, 5000, WIRE_WELCOME, PSB_HIGH, NULL);
	return fd;
}

static inline void leave(int fd)
{
	size_t i = 0;

	while (clients[i] != fd)
		i++;
	clients[i] = clients[--client_count];
	close(fd);
}

GROUP(set_up, bench_close_lab)
FIXTURE(start, stop)
