/* SPDX-License-Identifier: MIT */
/* The table that outlives the daemon: what one process writes the next one reads, and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../unit.h"
#include "daemon/state.h"

static struct states *fresh(void)
{
	struct states *l;

	assert_int_equal(states_new(&l), 0);
	return l;
}

/* What the manager hands to the next process. */
static int stored(const struct states *l)
{
	int fd = fcntl(states_fd(l), F_DUPFD_CLOEXEC, 3);

	assert_true(fd >= 0);
	return fd;
}

PROMISE(the_next_process_finds_what_this_one_wrote)
{
	struct states *l = fresh(), *next;
	struct client_state *e;
	int fd, status;
	pid_t pid;

	fd = stored(l);
	pid = fork(); /* a writer that is killed, without any farewell */
	if (pid == 0) {
		e = states_add(l, 7);
		strcpy(e->cgroup, "/a/b");
		e->protocol = PROTOCOL_RECORDS;
		e->available = 1;
		e->critical = 1;
		e->told_usec = 42;
		raise(SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	states_free(l);
	assert_int_equal(states_adopt(fd, &next), 0);
	e = states_find(next, 7);
	assert_non_null(e);
	assert_string_equal(e->cgroup, "/a/b");
	assert_int_equal(e->protocol, PROTOCOL_RECORDS);
	assert_int_equal(e->available, 1);
	assert_int_equal(e->critical, 1);
	assert_int_equal(e->told_usec, 42);
	assert_null(states_find(next, 8));
	assert_null(states_find(next, 0));
	states_free(next);
}

static void assert_same(const struct trigger *a, const struct trigger *b)
{
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->threshold_usec, b->threshold_usec);
	assert_int_equal(a->window_usec, b->window_usec);
}

PROMISE(terms_come_back_as_they_were)
{
	static const struct policy_options rows[] = {
		{ .rearm_usec = 0 },
		{ .low = { PSI_SOME, 200000, 2000000 } },
		{ .early = { PSI_FULL, 1, 10000000 },
		  .critical = { PSI_FULL, 10000000, 10000000 },
		  .rearm_usec = 86400000000,
		  .quiet_usec = 1,
		  .calm_usec = UINT64_MAX,
		  .headroom_percent = 99 },
		{ .headroom_percent = 1 },
		{ .headroom_percent = HEADROOM_OFF },
	};
	_cleanup_(states_freep) struct states *l = fresh();
	struct client_state *e = states_add(l, 1);

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct policy_options t;

		memset(&t, 0xa5, sizeof(t));
		state_put_terms(e, &rows[i]);
		state_get_terms(e, &t);
		assert_same(&t.early, &rows[i].early);
		assert_same(&t.low, &rows[i].low);
		assert_same(&t.critical, &rows[i].critical);
		assert_int_equal(t.rearm_usec, rows[i].rearm_usec);
		assert_int_equal(t.quiet_usec, rows[i].quiet_usec);
		assert_int_equal(t.calm_usec, rows[i].calm_usec);
		assert_int_equal(t.headroom_percent, rows[i].headroom_percent);
	}
}

PROMISE(a_place_that_is_left_is_taken_again)
{
	_cleanup_(states_freep) struct states *l = fresh();
	struct client_state *second;

	assert_non_null(states_add(l, 1));
	second = states_add(l, 2);
	assert_non_null(states_add(l, 3));
	second->available = 1;
	strcpy(second->cgroup, "/old");
	states_remove(l, second);
	assert_null(states_find(l, 2));
	assert_ptr_equal(states_add(l, 4), second);
	assert_string_equal(second->cgroup, "");
	assert_int_equal(second->available, 3);
	states_remove(l, NULL);
}

static bool is_even(uint64_t cookie, _unused_ void *userdata)
{
	return cookie % 2 == 0;
}

PROMISE(who_went_meanwhile_is_pruned)
{
	_cleanup_(states_freep) struct states *l = fresh();

	for (uint64_t i = 1; i <= 4; i++)
		assert_non_null(states_add(l, i));
	states_prune(l, is_even, NULL);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(states_find(l, i) != NULL, i % 2 == 0);
}

PROMISE(memory_is_taken_for_those_who_are_there_not_for_those_who_could_be)
{
	_cleanup_(states_freep) struct states *l = fresh();
	struct stat st;

	for (uint64_t i = 1; i <= 10; i++)
		assert_non_null(states_add(l, i));
	assert_null(states_find(l, 11));
	states_prune(l, is_even, NULL);
	assert_int_equal(fstat(states_fd(l), &st), 0);
	assert_true(st.st_size > 100000 * (off_t)sizeof(struct client_state));
	assert_true(st.st_blocks * 512 <= 16384);
}

PROMISE(whatever_else_the_manager_kept_is_refused)
{
	struct states *l = fresh(), *ret = NULL;
	char text[4096] = "no states at all";
	int fd, pipe_fd[2];
	size_t offset;

	/* no memfd, no seals, too short */
	assert_int_equal(pipe(pipe_fd), 0);
	assert_int_equal(states_adopt(pipe_fd[0], &ret), -EBADMSG);
	assert_int_equal(fcntl(pipe_fd[0], F_GETFD), -1); /* taken over all the same */
	close(pipe_fd[1]);
	fd = memfd_create("unsealed", MFD_CLOEXEC);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	assert_int_equal(states_adopt(fd, &ret), -EBADMSG);
	fd = memfd_create("empty", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(states_adopt(fd, &ret), -EBADMSG);

	/* any damage in what describes it: magic, version, size of an entry, used */
	for (offset = 0; offset < 20; offset += 4) {
		uint32_t right, wrong = 0xfffffff1u;

		fd = stored(l);
		assert_int_equal(pread(fd, &right, 4, (off_t)offset), 4);
		assert_int_equal(pwrite(fd, &wrong, 4, (off_t)offset), 4);
		assert_int_equal(states_adopt(fd, &ret), -EBADMSG);
		assert_int_equal(pwrite(states_fd(l), &right, 4, (off_t)offset), 4);
	}
	assert_int_equal(states_adopt(stored(l), &ret), 0);
	states_free(ret);
	states_free(l);
}

PROMISE(nonsense_in_an_entry_is_made_harmless)
{
	struct states *l = fresh(), *next;
	struct client_state *e = states_add(l, 5);

	e->available = 77;
	memset(e->cgroup, 'x', sizeof(e->cgroup));
	assert_int_equal(states_adopt(stored(l), &next), 0);
	e = states_find(next, 5);
	assert_int_equal(e->available, 3);
	assert_int_equal(strlen(e->cgroup), STATE_PATH_MAX - 1);
	states_free(next);
	states_free(l);
}

PROMISE(each_socket_has_a_cookie_of_its_own_that_stays)
{
	uint64_t a, again, b;
	int pair[2], copy;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	copy = dup(pair[0]);
	assert_int_equal(socket_cookie(pair[0], &a), 0);
	assert_int_equal(socket_cookie(copy, &again), 0);
	assert_int_equal(socket_cookie(pair[1], &b), 0);
	assert_int_equal(a, again);
	assert_int_not_equal(a, b);
	assert_int_not_equal(a, 0);
	assert_int_equal(socket_cookie(-1, &a), -EBADF);
	close(copy);
	close(pair[0]);
	close(pair[1]);
}
