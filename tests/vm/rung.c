/* SPDX-License-Identifier: MIT */
/*
 * rung.c - one line: which rung of the ladder this process gets for its own cgroup, and why no
 * better one
 *
 * For guest-*.sh, which runs it where few programs can: in a container without anything else in it,
 * as nobody.
 */
#include <psibridge/psibridge.h>

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	char error[320] = "";
	struct psb_watch_options options = { .size = sizeof(options),
					     .error_text = error,
					     .error_text_size = sizeof(error) };
	struct psb_source source = { .size = sizeof(source) };
	psb_bridge *bridge;
	psb_watch *watch;
	int r;

	if (argc > 1)
		options.cgroup = argv[1];
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
	psb_watch_source(watch, &source);
	printf("%s rung %u (%s) cgroup %s, %s%s%s\n",
	       psb_bridge_backend(bridge, NULL) == PSB_BACKEND_URING ? "io_uring" : "epoll",
	       source.rung, source.name, source.cgroup, source.path, source.why[0] ? ": " : "",
	       source.why);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	return 0;
}
