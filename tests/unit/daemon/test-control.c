/* SPDX-License-Identifier: MIT */
/*
 * test-control.c - the language of the control socket: what is refused, said and done
 * (src/daemon/control.h)
 */
#include "control-clients.h"

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
	};

	return cmocka_run_group_tests_name("control", tests, set_up_all, tear_down_all);
}
