/* SPDX-License-Identifier: MIT */
/*
 * test-control.c - the control socket: what is refused, said and done, and clients that are slow, many, hostile or gone
 * (src/daemon/control.h)
 *
 * Clients and server share one thread: a client writes what its socket takes, then the loop is
 * turned until something is there to read. Time passes only where patience is set short.
 */
#include "../unit.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>

#include "../../skip.h"
#include "../fake-root.h"
#include "control-stage.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC) /* for what must happen */
#define SHORT_USEC (20 * USEC_PER_MSEC)
#define NOBODY 65534
#define MAIN_FILE "/etc/psibridge/psibridged.conf"
#define STATUS "{\"verb\":\"status\"}"
#define RELOAD "{\"verb\":\"reload\"}"

static char main_file[] = MAIN_FILE, *files[] = { main_file, NULL };
static const char *socket_path;

/* ---- clients --------------------------------------------------------------------------------- */

static void turn(void)
{
	assert_true(sd_event_run(stage.daemon.event, USEC_PER_MSEC) >= 0);
}

static int dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void need_root(void)
{
	if (geteuid() != 0)
		SKIP("needs root, to be somebody else too");
}

/* The kernel notes who it is when the connection is made. */
static int dial_as(uid_t uid)
{
	int fd;

	need_root();
	assert_int_equal(seteuid(uid), 0);
	fd = dial();
	assert_int_equal(seteuid(0), 0);
	return fd;
}

/* JSON with ' in place of " */
static const char *quoted(const char *text)
{
	static char buf[4 * CONTROL_LINE_MAX];

	assert_true(strlen(text) < sizeof(buf));
	strcpy(buf, text);
	for (char *p = buf; (p = strchr(p, '\'')) != NULL;)
		*p = '"';
	return buf;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, quoted(text), strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* The next line, without its newline; NULL: the connection ended. The caller frees. */
static char *hear(int fd)
{
	uint64_t end = now_usec() + PATIENCE_USEC;
	size_t size = 0, capacity = 256;
	char *line = malloc(capacity);

	while (now_usec() < end) {
		ssize_t n = recv(fd, line + size, 1, 0);

		if (n < 0 && errno == EAGAIN) {
			turn();
			continue;
		}
		if (n <= 0) {
			free(line);
			return NULL;
		}
		if (line[size] == '\n') {
			line[size] = '\0';
			return line;
		}
		if (++size == capacity)
			line = realloc(line, capacity *= 2);
	}
	fail_msg("no answer");
	return NULL;
}

static json_t *hear_json(int fd)
{
	char *line = hear(fd);
	json_t *answer;

	assert_non_null(line);
	answer = json_loads(line, 0, NULL);
	if (!answer)
		fail_msg("not JSON: %s", line);
	free(line);
	return answer;
}

static json_t *ask(int fd, const char *request)
{
	say(fd, request);
	say(fd, "\n");
	return hear_json(fd);
}

static const char *text_at(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text)
		fail_msg("no %s", key);
	return text;
}

static json_int_t number_at(json_t *object, const char *key)
{
	json_t *number = json_object_get(object, key);

	if (!json_is_integer(number))
		fail_msg("no %s", key);
	return json_integer_value(number);
}

static void assert_refused(json_t *answer, const char *error, const char *words)
{
	if (strcmp(text_at(answer, "errno"), error) != 0 ||
	    (words && !strstr(text_at(answer, "error"), words)))
		fail_msg("%s, %s instead of %s, %s", text_at(answer, "errno"),
			 text_at(answer, "error"), error, words);
	assert_null(json_object_get(answer, "ok"));
	json_decref(answer);
}

static void assert_ok(json_t *answer)
{
	if (!json_is_true(json_object_get(answer, "ok")))
		fail_msg("refused: %s", text_at(answer, "error"));
	json_decref(answer);
}

/* What `expected` has; null: it is not there. */
static void has(json_t *actual, json_t *expected, const char *name)
{
	json_t *item;
	const char *key;
	size_t i;

	if (json_is_object(expected)) {
		json_object_foreach(expected, key, item)
			has(json_object_get(actual, key), item, key);
	} else if (json_is_array(expected)) {
		assert_int_equal(json_array_size(actual), json_array_size(expected));
		json_array_foreach(expected, i, item) has(json_array_get(actual, i), item, name);
	} else if (json_is_null(expected) ? actual != NULL : !json_equal(actual, expected)) {
		fail_msg("%s is another", name);
	}
}

/* Frees the answer, as those above. */
static void assert_has(json_t *actual, const char *expected)
{
	json_t *json = json_loads(quoted(expected), 0, NULL);

	assert_non_null(json);
	has(actual, json, "");
	json_decref(json);
	json_decref(actual);
}

static void assert_serves(int fd)
{
	json_t *answer = ask(fd, STATUS);

	assert_int_equal(number_at(answer, "pid"), getpid());
	json_decref(answer);
}

/* ---- the stage ------------------------------------------------------------------------------- */

/* In place of those that were there. A single one is "/one". */
static void fill_cgroups(unsigned count)
{
	static char names[5000][32];

	assert_true(count <= ELEMENTSOF(names));
	free(stage.cgroups);
	stage.cgroups = calloc(count, sizeof(*stage.cgroups));
	stage.cgroup_count = count;
	for (unsigned i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "/some.slice/%u.service", i);
		stage.cgroups[i] = stage_cgroup(1, count == 1 ? "/one" : names[i], PSB_LOW);
	}
}

static int set_up_all(void **state)
{
	if (fake_set_up(state) < 0 || chmod(fake_root, 0755) < 0)
		return -1;
	socket_path = strdup(fake_path("control"));
	return 0;
}

static int tear_down_all(void **state)
{
	free((char *)(uintptr_t)socket_path);
	return fake_tear_down(state);
}

static int set_up(_unused_ void **state)
{
	return stage_open(socket_path, files);
}

static int tear_down(_unused_ void **state)
{
	stage_close();
	return 0;
}

/* ---- malformed requests ---------------------------------------------------------------------- */

static const struct {
	const char *line, *error, *words;
} malformed[] = {
	{ "", "EBADMSG", "not JSON" },
	{ " ", "EBADMSG", "not JSON" },
	{ "status", "EBADMSG", "not JSON" },
	{ "{", "EBADMSG", "not JSON" },
	{ "{'verb':'status'", "EBADMSG", "not JSON" },
	{ STATUS "}", "EBADMSG", "not JSON" },
	{ STATUS " " STATUS, "EBADMSG", "not JSON" },
	{ "{'verb':'status','verb':'reload'}", "EBADMSG", "duplicate" },
	{ "{'verb':'\xff'}", "EBADMSG", "not JSON" },
	{ "{'verb':'a\\u0000b'}", "EBADMSG", "not JSON" },
	{ "\r", "EBADMSG", "not JSON" },
	{ "[]", "EBADMSG", "object" },
	{ "['status']", "EBADMSG", "object" },
	{ "'status'", "EBADMSG", NULL },
	{ "null", "EBADMSG", NULL },
	{ "{}", "EINVAL", "verb" },
	{ "{'verb':null}", "EINVAL", "verb" },
	{ "{'verb':1}", "EINVAL", "verb" },
	{ "{'verb':['status']}", "EINVAL", "verb" },
	{ "{'verb':''}", "EOPNOTSUPP", "no such verb" },
	{ "{'verb':'Status'}", "EOPNOTSUPP", "Status" },
	{ "{'verb':'statusx'}", "EOPNOTSUPP", "statusx" },
	{ "{'verb':'status','cgroup':'/a'}", "EINVAL", "cgroup" },
	{ "{'verb':'reload','x':1}", "EINVAL", "x" },
	{ "{'verb':'simulate'}", "EINVAL", "cgroup" },
	{ "{'verb':'simulate','cgroup':'/a'}", "EINVAL", "available" },
	{ "{'verb':'simulate','available':'low'}", "EINVAL", "cgroup" },
	{ "{'verb':'simulate','cgroup':1,'available':'low'}", "EINVAL", "cgroup" },
	{ "{'verb':'simulate','cgroup':'/a','available':1}", "EINVAL", "available" },
	{ "{'verb':'simulate','cgroup':'/a','available':'critical'}", "EINVAL",
	  "low, neutral or high" },
	{ "{'verb':'simulate','cgroup':'/a','available':'low','critical':1}", "EINVAL",
	  "critical" },
	{ "{'verb':'simulate','cgroup':'/a','available':'high','critical':true}", "EINVAL",
	  "only Low" },
	{ "{'verb':'simulate','cgroup':'','available':'low'}", "EINVAL", "empty" },
	{ "{'verb':'simulate','cgroup':'/a/../b','available':'low'}", "EINVAL", ".." },
	{ "{'verb':'simulate','cgroup':'/a\\nb','available':'low'}", "EINVAL", "newline" },
};

PROMISE(each_malformed_request_is_named_and_the_connection_stays)
{
	int fd = dial();

	need_root();
	for (size_t i = 0; i < ELEMENTSOF(malformed); i++) {
		assert_refused(ask(fd, malformed[i].line), malformed[i].error, malformed[i].words);
		assert_string_equal(stage.simulated, "");
	}
	assert_int_equal(stage.times_reloaded, 0);
	assert_serves(fd);
	close(fd);
}

PROMISE(a_nul_byte_in_a_line_is_no_end)
{
	static const char line[] = STATUS "\0" RELOAD "\n";
	int fd = dial();

	assert_int_equal(send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL), sizeof(line) - 1);
	assert_refused(hear_json(fd), "EBADMSG", "not JSON");
	assert_serves(fd);
	close(fd);
}

PROMISE(a_line_may_be_as_long_as_the_limit_and_no_longer)
{
	static const char request[] = STATUS;
	char line[3 * CONTROL_LINE_MAX];
	int fd = dial();

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

PROMISE(status_says_everything)
{
	json_t *answer;
	int fd = dial();

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

	answer = ask(fd, STATUS);
	assert_string_equal(text_at(answer, "version"), psb_version());
	assert_true(number_at(answer, "time_usec") > 0);
	assert_true(number_at(answer, "uptime_usec") >= 0);
	assert_has(answer,
		   "{'configuration':{'error':'x.conf:3: Low: nonsense','files':['" MAIN_FILE "']},"
		   "'clients':{'connected':1,'plain':2,'records':3,'accepted':4,'refused':5,"
		   "'told':6,'replaced':7,'max':16384},"
		   "'watches':[{'id':7,'path':'system.slice/*','state':'watching','clients':3,"
		   "'settings':{'low':'some 200ms/2s','critical':'full 100ms/2s'},"
		   "'source':{'rung':2,'trigger':'some 5000 500000'},"
		   "'stats':{'alarms':11,'members':12}},"
		   "{'state':'failed','why':'it was refused','shadow':true,'configured':false,"
		   "'source':null}],"
		   "'cgroups':[{'cgroup':'/system.slice/a.service','available':'low',"
		   "'critical':true,'watch':7,'since_usec':5,'some_avg10_centi':1234,"
		   "'current_bytes':100,'clients':2},"
		   "{'cgroup':'/system.slice/\xef\xbf\xbd\xc3\xa4.service'}]}");
	close(fd);
}

PROMISE(nothing_watched_is_an_answer_too)
{
	int fd = dial();

	assert_has(ask(fd, STATUS), "{'watches':[],'cgroups':[]}");
	close(fd);
}

PROMISE(an_answer_of_a_megabyte_arrives_whole)
{
	json_t *answer;
	int fd = dial();

	fill_cgroups(5000);
	answer = ask(fd, STATUS);
	assert_int_equal(json_array_size(json_object_get(answer, "cgroups")), 5000);
	json_decref(answer);
	close(fd);
}

PROMISE(a_status_is_not_made_for_each_who_asks)
{
	int a = dial(), b = dial();

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
PROMISE(a_daemon_that_hears_nothing_says_so)
{
	int fd = dial();

	stage.deaf = true;
	assert_refused(ask(fd, STATUS), "EIO", "hears nothing from the kernel");
	stage.deaf = false;
	assert_serves(fd);
	close(fd);
}

PROMISE(simulate_reaches_the_table_and_shows_at_once)
{
	static const struct {
		const char *request, *shown;
	} table[] = {
		{ "{'verb':'simulate','cgroup':'/one','available':'low'}",
		  "{'cgroups':[{'available':'low','critical':false}]}" },
		{ "{'verb':'simulate','cgroup':'one','available':'neutral'}",
		  "{'cgroups':[{'available':'neutral','critical':false}]}" },
		{ "{'critical':true,'available':'low','cgroup':'/one/','verb':'simulate'}",
		  "{'cgroups':[{'available':'low','critical':true}]}" },
		{ "{'verb':'simulate','cgroup':'/sys/fs/cgroup/one','available':'high','critical':false}",
		  "{'cgroups':[{'available':'high','critical':false}]}" },
	};
	int fd = dial_as(0);

	fill_cgroups(1);
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		assert_serves(fd);
		assert_ok(ask(fd, table[i].request));
		assert_string_equal(stage.simulated, "/one");
		assert_has(ask(fd, STATUS), table[i].shown);
	}
	close(fd);
}

PROMISE(what_the_table_says_is_handed_on)
{
	static const char request[] = "{'verb':'simulate','cgroup':'/x','available':'low'}";
	int fd = dial_as(0);

	assert_refused(ask(fd, request), "ENOENT", "/x: there is no such cgroup");
	stage.simulate_result = -EINVAL;
	assert_refused(ask(fd, request), "EINVAL", "/x");
	stage.simulate_result = -ENOMEM;
	assert_refused(ask(fd, request), "ENOMEM", "/x");
	close(fd);
}

/* Which the table's watches need not cover: LowMemoryMonitor has one of its own. */
PROMISE(the_machine_is_simulated_where_only_the_low_memory_monitor_watches_it)
{
	static const char root[] = "{'verb':'simulate','cgroup':'/','available':'low'}",
			  other[] = "{'verb':'simulate','cgroup':'/x','available':'low'}";
	int fd = dial_as(0);

	stage.simulate_result = -ENODATA;
	assert_refused(ask(fd, root), "ENODATA", "/: no watch covers it");
	stage.lowmemory_result = 0;
	assert_ok(ask(fd, root));
	assert_refused(ask(fd, other), "ENODATA", "/x: no watch covers it");
	close(fd);
}

PROMISE(reload_says_what_is_wrong)
{
	int fd = dial_as(0);

	assert_ok(ask(fd, RELOAD));
	stage.reload_result = -EINVAL;
	strcpy(stage.daemon.config_error, "a.conf:1: Low: \xff no");
	assert_refused(ask(fd, RELOAD), "EINVAL", "a.conf:1: Low: \xef\xbf\xbd no");
	stage.reload_result = -ENOMEM;
	assert_refused(ask(fd, RELOAD), "ENOMEM", NULL);
	assert_int_equal(stage.times_reloaded, 3);
	close(fd);
}

PROMISE(only_root_may_change_anything)
{
	int fd;

	need_root();
	fd = dial_as(NOBODY);
	assert_refused(ask(fd, "{'verb':'simulate','cgroup':'/a','available':'low'}"), "EACCES",
		       "root");
	assert_refused(ask(fd, RELOAD), "EACCES", "root");
	assert_serves(fd);
	assert_string_equal(stage.simulated, "");
	assert_int_equal(stage.times_reloaded, 0);
	close(fd);
}

/* ---- half lines, floods, silence ------------------------------------------------------------- */

PROMISE(a_request_may_come_byte_by_byte)
{
	static const char request[] = STATUS "\n";
	int fd = dial();

	for (const char *p = request; *p; p++) {
		char byte[2] = { *p, '\0' };

		say(fd, byte);
		turn();
	}
	json_decref(hear_json(fd));
	close(fd);
}

PROMISE(half_a_request_at_the_end_is_none)
{
	int fd = dial_as(0);

	say(fd, RELOAD); /* as it stands it would be one, but who knows */
	shutdown(fd, SHUT_WR);
	assert_null(hear(fd));
	assert_int_equal(stage.times_reloaded, 0);
	close(fd);
}

PROMISE(who_ends_its_side_still_gets_its_answers)
{
	int fd = dial();

	say(fd, STATUS "\n{'verb':'x'}\n");
	shutdown(fd, SHUT_WR);
	json_decref(hear_json(fd));
	assert_refused(hear_json(fd), "EOPNOTSUPP", NULL);
	assert_null(hear(fd));
	close(fd);
}

PROMISE(many_requests_at_once_are_answered_in_order)
{
	char text[4096] = "", words[16];
	int fd = dial();

	for (int i = 0; i < 100; i++) {
		size_t used = strlen(text);

		snprintf(text + used, sizeof(text) - used, "{'verb':'v%d'}\n", i);
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
		memcpy(text + i, STATUS "\n", 18);
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

PROMISE(who_asks_and_never_reads_harms_nobody_and_is_closed)
{
	int bad = dial(), good = dial(), size = 4096;
	uint64_t end;

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

PROMISE(who_asks_nothing_is_closed)
{
	int fd;

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

PROMISE(connections_have_limits_and_root_has_places_kept)
{
	int fds[CONTROL_CLIENTS_MAX], n = 0;

	need_root();
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

PROMISE(thousands_come_and_go_and_leave_nothing)
{
	unsigned before;

	turn();
	before = open_descriptors();
	for (int i = 0; i < 10000; i++) {
		int fd = dial();

		if (i % 3 == 0)
			say(fd, "{'verb':");
		if (i % 3 == 1)
			say(fd, "{'verb':'x'}\n");
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

PROMISE(it_ends_whatever_its_clients_are_doing)
{
	int silent, half, unread;

	fill_cgroups(1);
	silent = dial();
	half = dial();
	unread = dial();
	say(half, "{'verb");
	flood(unread);
	turn();
	stage.daemon.control = control_free(stage.daemon.control);
	assert_null(hear(silent));
	assert_null(hear(half));
	close(silent);
	close(half);
	close(unread);
}

GROUP(set_up_all, tear_down_all)
EACH(set_up, tear_down)
