/* SPDX-License-Identifier: MIT */
/* The table that outlives the daemon: what one process writes the next one reads, and nothing else. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../unit.h"
#include "core/setting.h"
#include "daemon/state.h"

static int sockets[10];
static struct states *l;
static int table_fd; /* what the manager has */

static int set_up(_unused_ void **state)
{
	for (size_t i = 0; i < ELEMENTSOF(sockets); i += 2)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets + i) < 0)
			return -1;
	return states_new(&l, &table_fd);
}

static int tear_down(_unused_ void **state)
{
	l = states_free(l);
	close(table_fd);
	for (size_t i = 0; i < ELEMENTSOF(sockets); i++)
		close(sockets[i]);
	return 0;
}

static struct client_state *get(int socket, bool is_known)
{
	bool known = !is_known;
	struct client_state *e = states_get(l, socket, &known);

	assert_non_null(e);
	assert_int_equal(known, is_known);
	return e;
}

/* What the manager hands to the next process. */
static int stored(void)
{
	int fd = fcntl(table_fd, F_DUPFD_CLOEXEC, 3);

	assert_true(fd >= 0);
	return fd;
}

static void next_process(void)
{
	states_free(l);
	assert_int_equal(states_adopt(stored(), &l), 0);
}

static const struct policy_options terms = { .low = { PSI_FULL, 3, 20000000 },
					     .headroom_percent = 99 };

PROMISE(the_next_process_finds_what_a_killed_one_wrote)
{
	int copy = dup(sockets[0]), status;
	struct client_state *e;
	pid_t pid = fork();

	if (pid == 0) {
		e = get(sockets[0], false);
		assert_int_equal(e->available, 3);
		strcpy(e->cgroup, "/a/b");
		e->available = 1;
		e->terms = terms;
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WTERMSIG(status), SIGKILL);
	next_process();
	e = get(copy, true);
	assert_string_equal(e->cgroup, "/a/b");
	assert_int_equal(e->available, 1);
	assert_true(settings_are_equal(&e->terms, &terms));
	get(sockets[1], false);
	assert_null(states_get(l, -1, &(bool){ false }));
	close(copy);
}

PROMISE(entries_of_clients_that_went_are_used_again_and_memory_is_taken_for_no_others)
{
	struct client_state *e[4];
	struct stat st;

	for (int i = 0; i < 4; i++)
		e[i] = get(sockets[i], false);
	strcpy(e[1]->cgroup, "/old");
	states_remove(e[1]);
	assert_ptr_equal(get(sockets[4], false), e[1]);
	assert_string_equal(e[1]->cgroup, "");
	next_process();
	get(sockets[2], true);
	states_prune(l);
	get(sockets[2], true);
	for (int i = 0; i < 2; i++)
		get(sockets[i], false);
	assert_int_equal(fstat(table_fd, &st), 0);
	assert_true(st.st_size > 1000000 * (off_t)sizeof(struct client_state));
	assert_true(st.st_blocks * 512 <= 8192);
}

static void assert_refused(int fd)
{
	struct states *ret = NULL;

	assert_int_equal(states_adopt(fd, &ret), -EBADMSG);
	assert_null(ret);
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken over all the same */
}

PROMISE(what_else_the_manager_kept_is_refused_and_nonsense_in_an_entry_made_harmless)
{
	static const off_t damaged[] = { 0, 4, 7, 8 }; /* magic, version, how many are used */
	struct client_state *e = get(sockets[0], false);
	int empty = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int unsealed = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat st;

	assert_refused(dup(STDERR_FILENO));
	assert_int_equal(fcntl(empty, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_refused(empty);
	assert_int_equal(fstat(table_fd, &st), 0);
	assert_int_equal(ftruncate(unsealed, st.st_size), 0);
	assert_int_equal(pwrite(unsealed, "psbstat5", 8, 0), 8);
	assert_refused(unsealed);
	for (size_t i = 0; i < ELEMENTSOF(damaged); i++) {
		uint32_t right, wrong = 0xfffffff1u;

		assert_int_equal(pread(table_fd, &right, 4, damaged[i]), 4);
		assert_int_equal(pwrite(table_fd, &wrong, 4, damaged[i]), 4);
		assert_refused(stored());
		assert_int_equal(pwrite(table_fd, &right, 4, damaged[i]), 4);
	}
	e->available = 77;
	e->terms.low.kind = (enum psi_kind)2;
	memset(e->cgroup, 'x', sizeof(e->cgroup));
	next_process();
	e = get(sockets[0], true);
	assert_int_equal(e->available, 3);
	assert_int_equal(e->terms.low.kind, PSI_SOME);
	assert_int_equal(strlen(e->cgroup), STATE_PATH_MAX - 1);
}

EACH(set_up, tear_down)
