/* SPDX-License-Identifier: MIT */
/*
 * test-control.c - the control socket: what is refused, said and done, and clients that are slow, many, hostile or gone
 * (src/daemon/control.h)
 */
#include "control-clients.h"

#include <dirent.h>

/* ---- malformed requests ---------------------------------------------------------------------- */

static const struct {
	const char *line, *error, *words;
} malformed[] = {
	{ "", "EBADMSG", "not JSON" },
	{ " ", "EBADMSG", "not JSON" },
	{ "status", "EBADMSG", "not JSON" },
	{ "{", "EBADMSG", "not JSON" },
	{ "{\"verb\":\"status\"", "EBADMSG", "not JSON" },
	{ "{\"verb\":\"status\"}}", "EBADMSG", "not JSON" },
	{ "{\"verb\":\"status\"} {\"verb\":\"status\"}", "EBADMSG", "not JSON" },
	{ "{\"verb\":\"status\",\"verb\":\"reload\"}", "EBADMSG", "duplicate" },
	{ "{\"verb\":\"\xff\"}", "EBADMSG", "not JSON" },
	{ "{\"verb\":\"a\\u0000b\"}", "EBADMSG", "not JSON" },
	{ "\r", "EBADMSG", "not JSON" },
	{ "[]", "EBADMSG", "object" },
	{ "[\"status\"]", "EBADMSG", "object" },
	{ "\"status\"", "EBADMSG", NULL },
	{ "null", "EBADMSG", NULL },
	{ "{}", "EINVAL", "verb" },
	{ "{\"verb\":null}", "EINVAL", "verb" },
	{ "{\"verb\":1}", "EINVAL", "verb" },
	{ "{\"verb\":[\"status\"]}", "EINVAL", "verb" },
	{ "{\"verb\":\"\"}", "EOPNOTSUPP", "no such verb" },
	{ "{\"verb\":\"Status\"}", "EOPNOTSUPP", "Status" },
	{ "{\"verb\":\"statusx\"}", "EOPNOTSUPP", "statusx" },
	{ "{\"verb\":\"status\",\"cgroup\":\"/a\"}", "EINVAL", "cgroup" },
	{ "{\"verb\":\"reload\",\"x\":1}", "EINVAL", "x" },
	{ "{\"verb\":\"simulate\"}", "EINVAL", "cgroup" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a\"}", "EINVAL", "available" },
	{ "{\"verb\":\"simulate\",\"available\":\"low\"}", "EINVAL", "cgroup" },
	{ "{\"verb\":\"simulate\",\"cgroup\":1,\"available\":\"low\"}", "EINVAL", "cgroup" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a\",\"available\":1}", "EINVAL", "available" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a\",\"available\":\"critical\"}", "EINVAL",
	  "low, neutral or high" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a\",\"available\":\"low\",\"critical\":1}",
	  "EINVAL", "critical" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a\",\"available\":\"high\",\"critical\":true}",
	  "EINVAL", "only Low" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"\",\"available\":\"low\"}", "EINVAL", "empty" },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a/../b\",\"available\":\"low\"}", "EINVAL", ".." },
	{ "{\"verb\":\"simulate\",\"cgroup\":\"/a\\nb\",\"available\":\"low\"}", "EINVAL",
	  "newline" },
};

static void each_malformed_request_is_named_and_the_connection_stays(void **state)
{
	int fd = dial();

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	for (size_t i = 0; i < ELEMENTSOF(malformed); i++) {
		assert_refused(ask(fd, malformed[i].line), malformed[i].error, malformed[i].words);
		assert_string_equal(stage.simulated, "");
	}
	assert_int_equal(stage.times_reloaded, 0);
	assert_serves(fd);
	close(fd);
}

static void a_nul_byte_in_a_line_is_no_end(void **state)
{
	static const char line[] = "{\"verb\":\"status\"}\0{\"verb\":\"reload\"}\n";
	int fd = dial();

	(void)state;
	assert_int_equal(send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL), sizeof(line) - 1);
	assert_refused(hear_json(fd), "EBADMSG", "not JSON");
	assert_serves(fd);
	close(fd);
}

static void a_line_may_be_as_long_as_the_limit_and_no_longer(void **state)
{
	static const char request[] = "{\"verb\":\"status\"}";
	char line[3 * CONTROL_LINE_MAX];
	int fd = dial();

	(void)state;
	/* blanks behind the request; the newline counts */
	memset(line, ' ', sizeof(line));
	memcpy(line, request, strlen(request));
	line[CONTROL_LINE_MAX - 1] = '\n';
	line[CONTROL_LINE_MAX] = '\0';
	say(fd, line);
	json_decref(hear_json(fd));

	line[CONTROL_LINE_MAX - 1] = ' ';
	line[CONTROL_LINE_MAX] = '\n';
	line[CONTROL_LINE_MAX + 1] = '\0';
	say(fd, line);
	assert_refused(hear_json(fd), "EMSGSIZE", "4096");
	assert_serves(fd);

	/* what is behind the limit is not taken for a request of its own, and said once */
	memset(line, 'x', sizeof(line));
	strcpy(line + sizeof(line) - strlen(request) - 2, request);
	line[sizeof(line) - 2] = '\n';
	line[sizeof(line) - 1] = '\0';
	say(fd, line);
	assert_refused(hear_json(fd), "EMSGSIZE", NULL);
	assert_serves(fd);
	close(fd);
}

/* ---- what it says ---------------------------------------------------------------------------- */

static void status_says_everything(void **state)
{
	json_t *answer, *watch, *part;
	int fd = dial();

	(void)state;
	stage.watches[0] = stage_watch(7, "system.slice/*", WATCH_WATCHING);
	stage.watches[0].stats.alarms = 11;
	stage.watches[0].stats.members = 12;
	stage.watches[0].clients = 3;
	stage.watches[1] = stage_watch(8, "/b", WATCH_FAILED);
	stage.watches[1].why = "it was refused";
	stage.watches[1].configured = false;
	stage.watches[1].settings.shadow = true;
	stage.watch_count = 2;
	stage.cgroups = calloc(2, sizeof(*stage.cgroups));
	stage.cgroups[0] = stage_cgroup(7, "/system.slice/a.service", PSB_LOW);
	stage.cgroups[0].present.critical = 1;
	stage.cgroups[0].present.since_usec = 5;
	stage.cgroups[0].present.some_avg10_centi = 1234;
	stage.cgroups[0].present.current_bytes = 100;
	stage.cgroups[0].clients = 2;
	stage.cgroups[1] = stage_cgroup(7, "/system.slice/\xff\xc3\xa4.service", PSB_NEUTRAL);
	stage.cgroup_count = 2;
	stage.server = (struct server_view){ 1, 2, 3, 4, 5, 6, 7 };
	strcpy(stage.daemon.config_error, "x.conf:3: Low: nonsense");

	answer = ask(fd, "{\"verb\":\"status\"}");
	assert_string_equal(text_at(answer, "version"), psb_version());
	assert_true(number_at(answer, "time_usec") > 0);
	assert_true(number_at(answer, "uptime_usec") >= 0);
	part = json_object_get(answer, "configuration");
	assert_string_equal(text_at(part, "error"), "x.conf:3: Low: nonsense");
	assert_string_equal(json_string_value(json_array_get(json_object_get(part, "files"), 0)),
			    main_file);
	part = json_object_get(answer, "clients");
	assert_int_equal(number_at(part, "connected"), 1);
	assert_int_equal(number_at(part, "plain"), 2);
	assert_int_equal(number_at(part, "records"), 3);
	assert_int_equal(number_at(part, "accepted"), 4);
	assert_int_equal(number_at(part, "refused"), 5);
	assert_int_equal(number_at(part, "told"), 6);
	assert_int_equal(number_at(part, "replaced"), 7);
	assert_int_equal(number_at(part, "max"), 16384);

	assert_int_equal(json_array_size(json_object_get(answer, "watches")), 2);
	watch = json_array_get(json_object_get(answer, "watches"), 0);
	assert_int_equal(number_at(watch, "id"), 7);
	assert_string_equal(text_at(watch, "path"), "system.slice/*");
	assert_string_equal(text_at(watch, "state"), "watching");
	assert_int_equal(number_at(watch, "clients"), 3);
	part = json_object_get(watch, "settings");
	assert_string_equal(text_at(part, "low"), "some 200ms/2s");
	assert_string_equal(text_at(part, "critical"), "full 100ms/2s");
	part = json_object_get(watch, "source");
	assert_int_equal(number_at(part, "rung"), 2);
	assert_string_equal(text_at(part, "trigger"), "some 5000 500000");
	part = json_object_get(watch, "stats");
	assert_int_equal(number_at(part, "alarms"), 11);
	assert_int_equal(number_at(part, "members"), 12);
	watch = json_array_get(json_object_get(answer, "watches"), 1);
	assert_string_equal(text_at(watch, "state"), "failed");
	assert_string_equal(text_at(watch, "why"), "it was refused");
	assert_true(json_is_true(json_object_get(watch, "shadow")));
	assert_true(json_is_false(json_object_get(watch, "configured")));
	assert_null(json_object_get(watch, "source"));

	assert_int_equal(json_array_size(json_object_get(answer, "cgroups")), 2);
	part = json_array_get(json_object_get(answer, "cgroups"), 0);
	assert_string_equal(text_at(part, "cgroup"), "/system.slice/a.service");
	assert_string_equal(text_at(part, "available"), "low");
	assert_true(json_is_true(json_object_get(part, "critical")));
	assert_int_equal(number_at(part, "watch"), 7);
	assert_int_equal(number_at(part, "since_usec"), 5);
	assert_int_equal(number_at(part, "some_avg10_centi"), 1234);
	assert_int_equal(number_at(part, "current_bytes"), 100);
	assert_int_equal(number_at(part, "clients"), 2);
	part = json_array_get(json_object_get(answer, "cgroups"), 1);
	assert_string_equal(text_at(part, "cgroup"), "/system.slice/\xef\xbf\xbd\xc3\xa4.service");
	json_decref(answer);
	close(fd);
}

static void nothing_watched_is_an_answer_too(void **state)
{
	int fd = dial();
	json_t *answer = ask(fd, "{\"verb\":\"status\"}");

	(void)state;
	assert_int_equal(json_array_size(json_object_get(answer, "watches")), 0);
	assert_int_equal(json_array_size(json_object_get(answer, "cgroups")), 0);
	json_decref(answer);
	close(fd);
}

static void an_answer_of_a_megabyte_arrives_whole(void **state)
{
	json_t *answer;
	int fd = dial();

	(void)state;
	fill_cgroups(5000);
	answer = ask(fd, "{\"verb\":\"status\"}");
	assert_int_equal(json_array_size(json_object_get(answer, "cgroups")), 5000);
	json_decref(answer);
	close(fd);
}

static void a_status_is_not_made_for_each_who_asks(void **state)
{
	int a = dial(), b = dial();

	(void)state;
	fill_cgroups(1);
	assert_serves(a);
	stage.times_shown = 0;
	/* a burst, within the time for which one is kept; a slow machine may need a second one */
	for (int i = 0; i < 50; i++) {
		assert_serves(a);
		assert_serves(b);
	}
	assert_in_range(stage.times_shown, 0, 30);
	close(a);
	close(b);
}

/* ---- what it does ---------------------------------------------------------------------------- */

/* Not "nothing is short". */
static void a_daemon_that_hears_nothing_says_so(void **state)
{
	int fd;

	(void)state;
	fd = dial();
	stage.deaf = true;
	assert_refused(ask(fd, "{\"verb\":\"status\"}"), "EIO", "hears nothing from the kernel");
	stage.deaf = false;
	assert_serves(fd);
	close(fd);
}

static void simulate_reaches_the_table_and_shows_at_once(void **state)
{
	static const struct {
		const char *request, *path;
		enum psb_available available;
		bool critical;
	} table[] = {
		{ "{\"verb\":\"simulate\",\"cgroup\":\"/one\",\"available\":\"low\"}", "/one",
		  PSB_LOW, false },
		{ "{\"verb\":\"simulate\",\"cgroup\":\"one\",\"available\":\"neutral\"}", "/one",
		  PSB_NEUTRAL, false },
		{ "{\"critical\":true,\"available\":\"low\",\"cgroup\":\"/one/\",\"verb\":\"simulate\"}",
		  "/one", PSB_LOW, true },
		{ "{\"verb\":\"simulate\",\"cgroup\":\"/sys/fs/cgroup/one\",\"available\":\"high\",\"critical\":false}",
		  "/one", PSB_HIGH, false },
	};
	int fd;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	fd = dial();
	fill_cgroups(1);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		json_t *answer;

		assert_serves(fd);
		assert_ok(ask(fd, table[i].request));
		assert_string_equal(stage.simulated, table[i].path);
		assert_int_equal(stage.available, table[i].available);
		assert_int_equal(stage.critical, table[i].critical);
		answer = ask(fd, "{\"verb\":\"status\"}");
		assert_string_equal(
			text_at(json_array_get(json_object_get(answer, "cgroups"), 0), "available"),
			table[i].available == PSB_LOW	    ? "low"
			: table[i].available == PSB_NEUTRAL ? "neutral"
							    : "high");
		json_decref(answer);
	}
	close(fd);
}

static void what_the_table_says_is_handed_on(void **state)
{
	static const char request[] =
		"{\"verb\":\"simulate\",\"cgroup\":\"/x\",\"available\":\"low\"}";
	int fd;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	fd = dial();
	assert_refused(ask(fd, request), "ENOENT", "/x: there is no such cgroup");
	stage.simulate_result = -EINVAL;
	assert_refused(ask(fd, request), "EINVAL", "/x");
	stage.simulate_result = -ENOMEM;
	assert_refused(ask(fd, request), "ENOMEM", "/x");
	close(fd);
}

/* Which the table's watches need not cover: LowMemoryMonitor has one of its own. */
static void the_machine_is_simulated_where_only_the_low_memory_monitor_watches_it(void **state)
{
	static const char root[] = "{\"verb\":\"simulate\",\"cgroup\":\"/\",\"available\":\"low\"}",
			  other[] =
				  "{\"verb\":\"simulate\",\"cgroup\":\"/x\",\"available\":\"low\"}";
	int fd;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	fd = dial();
	stage.simulate_result = -ENODATA;
	assert_refused(ask(fd, root), "ENODATA", "/: no watch covers it");
	stage.lowmemory_result = 0;
	assert_ok(ask(fd, root));
	assert_refused(ask(fd, other), "ENODATA", "/x: no watch covers it");
	close(fd);
}

static void reload_says_what_is_wrong(void **state)
{
	int fd;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	fd = dial();
	assert_ok(ask(fd, "{\"verb\":\"reload\"}"));
	stage.reload_result = -EINVAL;
	strcpy(stage.daemon.config_error, "a.conf:1: Low: \xff no");
	assert_refused(ask(fd, "{\"verb\":\"reload\"}"), "EINVAL",
		       "a.conf:1: Low: \xef\xbf\xbd no");
	stage.reload_result = -ENOMEM;
	assert_refused(ask(fd, "{\"verb\":\"reload\"}"), "ENOMEM", NULL);
	assert_int_equal(stage.times_reloaded, 3);
	close(fd);
}

static void only_root_may_change_anything(void **state)
{
	int fd;

	(void)state;
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
	fd = dial_as(NOBODY);
	assert_refused(ask(fd, "{\"verb\":\"simulate\",\"cgroup\":\"/a\",\"available\":\"low\"}"),
		       "EACCES", "root");
	assert_refused(ask(fd, "{\"verb\":\"reload\"}"), "EACCES", "root");
	assert_serves(fd);
	assert_string_equal(stage.simulated, "");
	assert_int_equal(stage.times_reloaded, 0);
	close(fd);
}

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
		CASE(each_malformed_request_is_named_and_the_connection_stays),
		CASE(a_nul_byte_in_a_line_is_no_end),
		CASE(a_line_may_be_as_long_as_the_limit_and_no_longer),
		CASE(status_says_everything),
		CASE(nothing_watched_is_an_answer_too),
		CASE(an_answer_of_a_megabyte_arrives_whole),
		CASE(a_status_is_not_made_for_each_who_asks),
		CASE(a_daemon_that_hears_nothing_says_so),
		CASE(simulate_reaches_the_table_and_shows_at_once),
		CASE(what_the_table_says_is_handed_on),
		CASE(the_machine_is_simulated_where_only_the_low_memory_monitor_watches_it),
		CASE(reload_says_what_is_wrong),
		CASE(only_root_may_change_anything),
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

	return cmocka_run_group_tests_name("control", tests, set_up_all, tear_down_all);
}
