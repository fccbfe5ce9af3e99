/* SPDX-License-Identifier: MIT */
/*
 * test-protocol.c - $MEMORY_PRESSURE_WATCH and $MEMORY_PRESSURE_WRITE, as systemd documents them
 */
#include "library-bench.h"

#include <sys/wait.h>

static psb_watch *watch_environment(psb_bridge *bridge, const char *watch, const char *write)
{
	struct psb_watch_options options = quick_options(NULL);
	psb_watch *ret = NULL;
	char text[320] = "";

	options.rungs = 0;
	options.error_text = text;
	options.error_text_size = sizeof(text);
	setenv("MEMORY_PRESSURE_WATCH", watch, 1);
	if (write)
		setenv("MEMORY_PRESSURE_WRITE", write, 1);
	else
		unsetenv("MEMORY_PRESSURE_WRITE");
	if (psb_watch_new(bridge, &options, &ret) < 0)
		print_message("# %s\n", text);
	return ret;
}

static void the_protocols_variables_are_followed_in_all_their_forms(void **state)
{
	psb_bridge *bridge = make_bridge(*state);
	const char *path;
	psb_watch *watch;
	char buf[64];
	int listener, peer;

	/* a FIFO; what WRITE says is for others, and is not written into it */
	path = in_directory("fifo");
	assert_true(mkfifo(path, 0600) == 0 || errno == EEXIST);
	watch = watch_environment(bridge, path, "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
	assert_non_null(watch);
	assert_string_equal(source_of(watch).name, "fifo");
	assert_string_equal(source_of(watch).path, path);
	psb_watch_unref(watch);

	/* a socket; the peer gets what WRITE says, decoded, with the NUL behind it */
	path = in_directory("socket");
	listener = listen_at(path);
	watch = watch_environment(bridge, path, "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
	assert_non_null(watch);
	peer = accept_soon(listener);
	assert_int_equal(recv(peer, buf, sizeof(buf), 0), 20);
	assert_memory_equal(buf, "some 200000 2000000", 20);
	assert_string_equal(source_of(watch).name, "socket");
	psb_watch_unref(watch);
	close(peer);
	close(listener);

	/* not set, or set to nothing: the own cgroup */
	if (can_watch_own_cgroup(bridge)) {
		watch = watch_environment(bridge, "", NULL);
		assert_non_null(watch);
		assert_true(source_of(watch).rung > PSB_RUNG_PROTOCOL);
		psb_watch_unref(watch);
	}
	psb_bridge_unref(bridge);
}

static void a_psi_file_of_the_protocol_is_armed(void **state)
{
	struct psb_watch_options options = quick_options("/proc/pressure/memory");
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch;
	int r = psb_watch_new(bridge, &options, &watch);

	if (r < 0) {
		psb_bridge_unref(bridge);
		SKIP("no trigger can be set on /proc/pressure/memory");
	}
	assert_string_equal(source_of(watch).name, "psi-file");
	assert_memory_equal(source_of(watch).trigger, "some ", 5);
	psb_watch_unref(watch);

	watch = watch_environment(bridge, "/proc/pressure/memory", "c29tZSAyMDAwMDAgMjAwMDAwMAA=");
	assert_non_null(watch);
	assert_int_equal(source_of(watch).rung, PSB_RUNG_PROTOCOL);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
}

static void a_target_that_was_named_wins_over_the_variables(void **state)
{
	struct psb_watch_options options = quick_options(in_directory("fifo"));
	psb_bridge *bridge = make_bridge(*state);
	psb_watch *watch;

	assert_true(mkfifo(options.source, 0600) == 0 || errno == EEXIST);
	setenv("MEMORY_PRESSURE_WATCH", "/dev/null", 1);
	assert_int_equal(psb_watch_new(bridge, &options, &watch), 0);
	assert_string_equal(source_of(watch).name, "fifo");
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
}

/* Variables that a child of a service inherited name the file of another cgroup. */
struct lines {
	unsigned n, inherited;
};

static void count_line(void *userdata, int priority, const char *message)
{
	struct lines *lines = userdata;

	lines->n++;
	lines->inherited += priority == 4 && strstr(message, "belongs to another unit") != NULL;
}

static void in_cgroup(const char *cgroup, const char *other_file, enum psb_backend backend)
{
	struct lines lines = { 0 };
	struct psb_bridge_options o = {
		.size = sizeof(o), .backend = backend, .log = count_line, .log_userdata = &lines
	};
	static struct psb_source source = { .size = sizeof(source) };
	char path[512];
	psb_bridge *bridge;
	psb_watch *watch;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.procs", cgroup);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		_exit(77);
	close(fd);
	setenv("MEMORY_PRESSURE_WATCH", other_file, 1);
	if (psb_bridge_new(&o, &bridge) < 0)
		_exit(77);
	if (psb_watch_new(bridge, NULL, &watch) < 0 || psb_watch_source(watch, &source) < 0)
		_exit(1);
	if (lines.inherited != 1 || source.rung == PSB_RUNG_PROTOCOL ||
	    !strstr(source.cgroup, "psb-test-watch-mine"))
		_exit(2);
	psb_watch_unref(watch);
	psb_bridge_unref(bridge);
	_exit(0);
}

static void variables_of_another_unit_are_ignored_and_that_is_logged(void **state)
{
	const struct variant *variant = *state;
	char mine[300], others[300], file[320];
	int status = -1;
	pid_t pid;

	snprintf(mine, sizeof(mine), "%.200s/psb-test-watch-mine-%d", cgroup2_mount(),
		 (int)getpid());
	snprintf(others, sizeof(others), "%.200s/psb-test-watch-other-%d", cgroup2_mount(),
		 (int)getpid());
	snprintf(file, sizeof(file), "%s/memory.pressure", others);
	if (!cgroup2_mount()[0] || mkdir(mine, 0755) < 0)
		SKIP("no cgroup can be made here");
	assert_int_equal(mkdir(others, 0755), 0);
	pid = fork();
	if (pid == 0)
		in_cgroup(mine, file, variant->backend);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	rmdir(mine);
	rmdir(others);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		SKIP("no process can be moved into a cgroup here");
	assert_int_equal(status, 0);
}

int main(void)
{
	static const struct promise protocol[] = {
		PROMISE(the_protocols_variables_are_followed_in_all_their_forms),
		PROMISE(a_psi_file_of_the_protocol_is_armed),
		PROMISE(a_target_that_was_named_wins_over_the_variables),
		PROMISE(variables_of_another_unit_are_ignored_and_that_is_logged),
	};

	return run_promises(protocol);
}
