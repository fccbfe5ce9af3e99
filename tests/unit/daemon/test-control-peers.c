/* SPDX-License-Identifier: MIT */
/*
 * test-control-peers.c - clients of the control socket that are slow, many, hostile or gone
 * (src/daemon/control.h)
 */
#include "control-clients.h"

#include <dirent.h>

/* ---- half lines, floods, silence ------------------------------------------------------------- */

static void a_request_may_come_byte_by_byte(void **state)
{
	static const char request[] = "{\"verb\":\"status\"}\n";
	int fd = dial();

	(void)state;
	for (const char *p = request; *p; p++) {
		char byte[2] = { *p, '\0' };

		say(fd, byte);
		turn();
	}
	json_decref(hear_json(fd));
	close(fd);
}

static void half_a_request_at_the_end_is_none(void **state)
{
	int fd;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	fd = dial();
	say(fd, "{\"verb\":\"reload\"}"); /* as it stands it would be one, but who knows */
	shutdown(fd, SHUT_WR);
	assert_null(hear(fd));
	assert_int_equal(stage.times_reloaded, 0);
	close(fd);
}

static void who_ends_its_side_still_gets_its_answers(void **state)
{
	int fd = dial();

	(void)state;
	say(fd, "{\"verb\":\"status\"}\n{\"verb\":\"x\"}\n");
	shutdown(fd, SHUT_WR);
	json_decref(hear_json(fd));
	assert_refused(hear_json(fd), "EOPNOTSUPP", NULL);
	assert_null(hear(fd));
	close(fd);
}

static void many_requests_at_once_are_answered_in_order(void **state)
{
	char text[4096] = "", words[16];
	int fd = dial();

	(void)state;
	for (int i = 0; i < 100; i++) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used, "{\"verb\":\"v%d\"}\n", i);
	}
	say(fd, text);
	for (int i = 0; i < 100; i++) {
		snprintf(words, sizeof(words), "\"v%d\"", i);
		assert_refused(hear_json(fd), "EOPNOTSUPP", words);
	}
	close(fd);
}

/* Asks until its socket takes no more and the server does not read either. Bytes it could send. */
static size_t flood(int fd)
{
	char text[4096];
	size_t sent = 0;

	for (size_t i = 0; i + 18 <= sizeof(text); i += 18)
		memcpy(text + i, "{\"verb\":\"status\"}\n", 18);
	for (int idle = 0; idle < 20; idle++) {
		ssize_t n = send(fd, text, sizeof(text) / 18 * 18, MSG_NOSIGNAL);

		if (n > 0) {
			sent += (size_t)n;
			idle = 0;
		}
		turn();
	}
	return sent;
}

static void who_asks_and_never_reads_harms_nobody_and_is_closed(void **state)
{
	int bad = dial(), good = dial(), size = 4096;
	uint64_t end;

	(void)state;
	control_set_patience(stage.daemon.control, PATIENCE_USEC, PATIENCE_USEC);
	setsockopt(bad, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	fill_cgroups(200);
	/* some tens of kilobytes lie in sockets, the rest stays with it */
	assert_in_range(flood(bad), 1, 4 << 20);
	assert_serves(good);
	close(bad);

	bad = dial();
	control_set_patience(stage.daemon.control, SHORT_USEC, PATIENCE_USEC);
	flood(bad);
	end = now_usec() + PATIENCE_USEC;
	while (send(bad, "x", 1, MSG_NOSIGNAL) >= 0 || errno == EAGAIN) {
		assert_true(now_usec() < end);
		turn();
	}
	assert_serves(good);
	close(bad);
	close(good);
}

static void who_asks_nothing_is_closed(void **state)
{
	int fd;

	(void)state;
	control_set_patience(stage.daemon.control, PATIENCE_USEC, SHORT_USEC);
	fd = dial();
	assert_null(hear(fd));
	close(fd);

	/* nor does half a line help, however slowly it grows */
	fd = dial();
	for (uint64_t end = now_usec() + PATIENCE_USEC; send(fd, " ", 1, MSG_NOSIGNAL) == 1;) {
		assert_true(now_usec() < end);
		turn();
	}
	close(fd);

	/* who was answered may ask again */
	control_set_patience(stage.daemon.control, SHORT_USEC, PATIENCE_USEC);
	fd = dial();
	assert_serves(fd);
	for (uint64_t end = now_usec() + 2 * SHORT_USEC; now_usec() < end;)
		turn();
	assert_serves(fd);
	close(fd);
}

/* ---- how many -------------------------------------------------------------------------------- */

static void assert_turned_away(int fd, const char *words)
{
	json_t *answer = hear_json(fd);

	assert_refused(answer, "EUSERS", words);
	assert_null(hear(fd));
	close(fd);
}

static void connections_have_limits_and_root_has_places_kept(void **state)
{
	int fds[CONTROL_CLIENTS_MAX], n = 0;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	for (uid_t uid = NOBODY; n < CONTROL_CLIENTS_NOT_ROOT; uid--) {
		for (int i = 0; i < CONTROL_CLIENTS_PER_UID; i++)
			assert_serves(fds[n++] = dial_as(uid));
		assert_turned_away(dial_as(uid),
				   n < CONTROL_CLIENTS_NOT_ROOT ? "of this user" : "");
	}
	assert_turned_away(dial_as(1), "too many connections");
	while (n < CONTROL_CLIENTS_MAX)
		assert_serves(fds[n++] = dial());
	assert_turned_away(dial(), "too many connections");

	close(fds[0]);
	turn();
	assert_turned_away(dial_as(NOBODY - 1), "of this user");
	assert_serves(fds[0] = dial_as(NOBODY));
	for (int i = 0; i < n; i++)
		close(fds[i]);
}

static unsigned open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void thousands_come_and_go_and_leave_nothing(void **state)
{
	unsigned before;

	(void)state;
	turn();
	before = open_descriptors();
	for (int i = 0; i < 10000; i++) {
		int fd = dial();

		if (i % 3 == 0)
			say(fd, "{\"verb\":");
		if (i % 3 == 1)
			say(fd, "{\"verb\":\"x\"}\n");
		if (i % 4 != 0)
			turn();
		close(fd);
		if (i % 16 == 0)
			turn();
	}
	for (int i = 0; i < 100 && open_descriptors() > before; i++)
		turn();
	assert_int_equal(open_descriptors(), before);
	before = (unsigned)dial();
	assert_serves((int)before);
	close((int)before);
}

static void it_ends_whatever_its_clients_are_doing(void **state)
{
	int silent, half, unread;

	(void)state;
	fill_cgroups(1);
	silent = dial();
	half = dial();
	unread = dial();
	say(half, "{\"verb");
	flood(unread);
	turn();
	stage.daemon.control = control_free(stage.daemon.control);
	assert_null(hear(silent));
	assert_null(hear(half));
	close(silent);
	close(half);
	close(unread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_request_may_come_byte_by_byte),
		CASE(half_a_request_at_the_end_is_none),
		CASE(who_ends_its_side_still_gets_its_answers),
		CASE(many_requests_at_once_are_answered_in_order),
		CASE(who_asks_and_never_reads_harms_nobody_and_is_closed),
		CASE(who_asks_nothing_is_closed),
		CASE(connections_have_limits_and_root_has_places_kept),
		CASE(thousands_come_and_go_and_leave_nothing),
		CASE(it_ends_whatever_its_clients_are_doing),
	};

	return cmocka_run_group_tests_name("control-peers", tests, set_up_all, tear_down_all);
}
