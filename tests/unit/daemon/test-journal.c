/* SPDX-License-Identifier: MIT */
/*
 * test-journal.c - log messages: what is sent, where to, and what becomes of it where there is no room
 * (src/daemon/journal.h)
 *
 * journald is a datagram socket of the test, which receives, or does not, when the test says so.
 * stderr is a pipe of the test. A call that waits is ended by alarm(2), and the program with it.
 */
#include "../unit.h"

#include <signal.h>
#include <sys/stat.h>

#include "daemon/journal.h"
#include "core/names.h"

#include "../count-malloc.h"
#include "../../sockets.h"
#include "../fake-root.h"

#define PATIENCE_SEC 20
#define MANY 4000 /* messages: more than any queue or buffer here has room for */

/* ---- journald, and stderr ------------------------------------------------------------------------ */

static int journald = -1;
static int real_stderr = -1, out = -1; /* what is written to stderr is read from `out` */

static void journald_start(void)
{
	unlink(fake_path("socket"));
	journald = socket_at(fake_path("socket"), SOCK_DGRAM | SOCK_NONBLOCK, bind);
}

static void journald_stop(void)
{
	close(journald);
	unlink(fake_path("socket"));
}

static char id[33]; /* that entry() found */

/* The next entry, but for the identifier, which is the same in all, and the id, which goes to `id`; or NULL. */
static const char *entry(void)
{
	static char datagram[16384], kept[16384];
	ssize_t n = recv(journald, datagram, sizeof(datagram) - 1, MSG_TRUNC);
	char identifier[100];

	if (n < 0)
		return NULL;
	assert_in_range(n, 1, sizeof(datagram) - 1);
	datagram[n] = '\0';
	snprintf(identifier, sizeof(identifier), "SYSLOG_IDENTIFIER=%s",
		 program_invocation_short_name);
	assert_non_null(strstr(datagram, identifier));
	id[0] = kept[0] = '\0';
	for (char *field = strtok(datagram, "\n"); field; field = strtok(NULL, "\n")) {
		if (strncmp(field, "MESSAGE_ID=", 11) == 0)
			snprintf(id, sizeof(id), "%s", field + 11);
		else if (strcmp(field, identifier) != 0)
			strcat(strcat(kept, field), "\n");
	}
	return kept;
}

/* The text of the next entry, or NULL. */
static const char *message(void)
{
	const char *fields = entry();
	char *text = fields ? strstr(fields, "\nMESSAGE=") : NULL;

	if (text)
		text[strlen(text) - 1] = '\0';
	return text ? text + strlen("\nMESSAGE=") : NULL;
}

/* The next line, without its end, or NULL. */
static const char *line(void)
{
	static char text[1024];

	for (size_t n = 0; n < sizeof(text); n++) {
		if (read(out, text + n, 1) != 1)
			return NULL;
		if (text[n] == '\n') {
			text[n] = '\0';
			return text;
		}
	}
	return NULL;
}

/* Takes both over. */
static void use_as_stderr(int writing, int reading)
{
	dup2(writing, STDERR_FILENO);
	close(writing);
	if (out >= 0)
		close(out);
	out = reading;
	fcntl(out, F_SETFL, O_NONBLOCK);
}

static int set_up(void **state)
{
	int ends[2];

	alarm(PATIENCE_SEC);
	signal(SIGPIPE, SIG_IGN);
	if (fake_set_up(state) < 0 || pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	real_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	use_as_stderr(ends[1], ends[0]);
	unsetenv("NOTIFY_SOCKET");
	unsetenv("JOURNAL_STREAM");
	journald_start();
	return 0;
}

static int tear_down(void **state)
{
	dup2(real_stderr, STDERR_FILENO);
	close(real_stderr);
	close(out);
	out = -1;
	journald_stop();
	alarm(0);
	return fake_tear_down(state);
}

/* stderr stays as its other users know it. */
static struct journal *new_journal(void)
{
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	struct journal *j = NULL;

	assert_int_equal(journal_new(fake_path("socket"), &j), 0);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL), flags);
	assert_int_equal(flags & O_NONBLOCK, 0);
	return j;
}

static void say(struct journal *j, const char *text)
{
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%s", text);
}

/* $JOURNAL_STREAM is that of stderr, with so much added. */
static struct journal *new_with_stream(uintmax_t device, uintmax_t inode, const char *more)
{
	char text[64];
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	snprintf(text, sizeof(text), "%ju:%ju%s", st.st_dev + device, st.st_ino + inode, more);
	setenv("JOURNAL_STREAM", text, 1);
	return new_journal();
}

static struct journal *new_structured(void)
{
	return new_with_stream(0, 0, "");
}

/* ---- what is sent -------------------------------------------------------------------------------- */

#define X100                                                 \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" \
	"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define X500 X100 X100 X100 X100 X100
#define EURO "\342\202\254"

PROMISE(a_text_is_one_line_of_whole_characters_with_the_priority_under_a_manager_only)
{
	static const struct {
		const char *manager, *text, *line;
	} rows[] = {
		{ NULL, "3 watches, ready", "3 watches, ready" },
		{ "/x", "bad", "<4>bad" },
		{ NULL, "a\nb\tc\033[31md\177 \303\244", "a?b?c?[31md? \303\244" },
		{ NULL, X500 "xxxxxxxxxxxx", X500 "xxxxxxxxxxxx" },
		{ NULL, X500 "xxxxxx" EURO X100, X500 "xxxxxx" EURO "..." },
		{ NULL, X500 "xxxxxxx" EURO "xxx", X500 "xxxxxxx..." },
		{ NULL, X500 "xxxxxxxx" EURO X100, X500 "xxxxxxxx..." },
	};

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct journal *j;

		if (rows[i].manager)
			setenv("NOTIFY_SOCKET", rows[i].manager, 1);
		j = new_journal();
		journal_log(j, LOG_IS_WARNING, MESSAGE_CONFIG_BAD, "%s", rows[i].text);
		assert_string_equal(line(), rows[i].line);
		journal_free(j);
		assert_null(line());
		assert_null(entry());
		unsetenv("NOTIFY_SOCKET");
	}
}

PROMISE(a_stderr_that_was_sent_elsewhere_is_not_the_journal_and_a_file_keeps_its_one_position)
{
	static const struct {
		uintmax_t device, inode;
		const char *more;
	} rows[] = { { 0, 1, "" }, { 1, 0, "" }, { 0, 0, ":3" }, { 0, 0, " " } };
	const char *path = fake_path("log");
	int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	use_as_stderr(file, open(path, O_RDONLY | O_CLOEXEC));
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct journal *j;

		dprintf(STDERR_FILENO, "before\n");
		j = new_with_stream(rows[i].device, rows[i].inode, rows[i].more);
		say(j, "text");
		dprintf(STDERR_FILENO, "after\n");
		journal_free(j);
		assert_string_equal(line(), "before");
		assert_string_equal(line(), "text");
		assert_string_equal(line(), "after");
	}
	assert_false(line() || entry());
}

PROMISE(each_level_is_one_datagram_with_its_priority_its_words_and_all_fields)
{
	static const struct {
		enum psb_available available;
		enum psb_reason reason;
		int critical, shadow, priority;
		enum message message;
		const char *words;
	} rows[] = {
		{ PSB_LOW, PSB_REASON_SIGNAL, 0, 0, 5, MESSAGE_LOW, "memory is short (Low)" },
		{ PSB_LOW, PSB_REASON_OOM, 1, 0, 4, MESSAGE_CRITICAL,
		  "memory is very short (Low, critical); the kernel found no memory for it" },
		{ PSB_LOW, PSB_REASON_FORECAST, 0, 0, 5, MESSAGE_LOW,
		  "memory is short (Low); at this growth its limit is soon reached" },
		{ PSB_NEUTRAL, PSB_REASON_STALL, 0, 1, 6, MESSAGE_NEUTRAL,
		  "memory is getting scarce (Neutral); in shadow, no client was told" },
		{ PSB_NEUTRAL, PSB_REASON_CALM, 0, 0, 6, MESSAGE_NEUTRAL,
		  "memory is no longer short (Neutral)" },
		{ PSB_NEUTRAL, PSB_REASON_SIMULATED, 0, 0, 6, MESSAGE_NEUTRAL,
		  "memory is neither short nor plentiful (Neutral); simulated" },
		{ PSB_HIGH, PSB_REASON_PRESENT, 0, 0, 6, MESSAGE_HIGH,
		  "memory is plentiful (High)" },
	};
	_cleanup_(journal_freep) struct journal *j = new_structured();
	char expected[1024], level_id[33];

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct psb_notification n = { .kind = PSB_KIND_LEVEL,
					      .available = rows[i].available,
					      .critical = rows[i].critical,
					      .reason = rows[i].reason,
					      .cgroup = "/a" };

		snprintf(expected, sizeof(expected),
			 "PRIORITY=%d\nPSIBRIDGE_CGROUP=/a\nPSIBRIDGE_AVAILABLE=%s\n"
			 "PSIBRIDGE_CRITICAL=%d\nPSIBRIDGE_REASON=%s\nPSIBRIDGE_STALL_USEC=0\n"
			 "PSIBRIDGE_SHADOW=%d\nMESSAGE=/a: %s\n",
			 rows[i].priority, name_of_available(n.available), n.critical,
			 name_of_reason(n.reason), rows[i].shadow, rows[i].words);
		journal_level(j, &n, rows[i].shadow, NULL);
		assert_string_equal(entry(), expected);
		strcpy(level_id, id);
		journal_log(j, LOG_IS_INFO, rows[i].message, "x");
		assert_non_null(entry());
		assert_string_equal(level_id, id);
	}
}

PROMISE(whose_limit_it_was_is_in_the_sentence_and_in_fields)
{
	static const struct {
		enum psb_reason reason;
		enum psb_cause cause;
		size_t length;
		int is_high;
		uint64_t limit_bytes;
		const char *words; /* behind the level */
		const char *cgroup;
	} rows[] = {
		{ PSB_REASON_STALL, PSB_CAUSE_OWN, 15, 1, 80 << 20,
		  ": cart.x reached its MemoryHigh=80M", "/a.slice/cart.x" },
		{ PSB_REASON_REPEAT, PSB_CAUSE_ANCESTOR, 8, 0, 1 << 30,
		  ": a.slice reached its MemoryMax=1G", "/a.slice" },
		{ PSB_REASON_STALL, PSB_CAUSE_ANCESTOR, 1, 0, 0, ": / reached its MemoryMax", "/" },
		{ PSB_REASON_FORECAST, PSB_CAUSE_OWN, 15, 0, 80 << 20,
		  ": cart.x will soon reach its MemoryMax=80M", "/a.slice/cart.x" },
		{ PSB_REASON_HEADROOM, PSB_CAUSE_ANCESTOR, 0, 0, 0,
		  ": a cgroup above it is near its limit", NULL },
		{ PSB_REASON_STALL, PSB_CAUSE_OWN, 0, 0, 48 << 20, ": it reached its limit of 48M",
		  NULL },
		{ PSB_REASON_STALL, PSB_CAUSE_DESCENDANT, 0, 0, 0,
		  ": a cgroup below it reached its own limit", NULL },
		{ PSB_REASON_STALL, PSB_CAUSE_MACHINE, 0, 0, 0,
		  ": the machine itself is short of memory", NULL },
		{ PSB_REASON_STALL, PSB_CAUSE_UNKNOWN, 0, 0, 0, "", NULL },
	};
	_cleanup_(journal_freep) struct journal *j = new_structured();
	char message[256], field[256];

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		const struct psb_notification n = { .kind = PSB_KIND_LEVEL,
						    .available = PSB_LOW,
						    .reason = rows[i].reason,
						    .cgroup = "/a.slice/cart.x",
						    .cause = rows[i].cause,
						    .cause_is_high = rows[i].is_high,
						    .cause_length = rows[i].length,
						    .limit_bytes = rows[i].limit_bytes };
		const char *text;

		journal_level(j, &n, false, NULL);
		text = entry();
		snprintf(message, sizeof(message), "memory is short (Low)%s%s", rows[i].words,
			 rows[i].limit_bytes ? ";" : "\n");
		snprintf(field, sizeof(field), "PSIBRIDGE_CAUSE_CGROUP=%s\n",
			 rows[i].cgroup ? rows[i].cgroup : "");
		if (!strstr(text, message))
			fail_msg("%s: %s", message, text);
		assert_int_equal(strstr(text, field) != NULL, rows[i].cgroup != NULL);
		assert_int_equal(strstr(text, "PSIBRIDGE_CAUSE=") != NULL,
				 rows[i].cause != PSB_CAUSE_UNKNOWN);
	}
}

PROMISE(numbers_are_there_where_they_are_known_and_nothing_else)
{
	struct psb_notification n = { .kind = PSB_KIND_GONE,
				      .available = PSB_LOW,
				      .reason = PSB_REASON_STALL,
				      .cgroup = "/a",
				      .stall_usec = 213456,
				      .some_avg10_centi = 1205,
				      .current_bytes = UINT64_C(90) << 20,
				      .limit_bytes = UINT64_C(100) << 20 };
	_cleanup_(journal_freep) struct journal *j = new_structured();

	journal_level(j, &n, false, &(struct trigger){ PSI_SOME, 200000, 2000000 });
	assert_string_equal(
		entry(),
		"PRIORITY=6\nPSIBRIDGE_CGROUP=/a\nPSIBRIDGE_AVAILABLE=low\nPSIBRIDGE_CRITICAL=0\n"
		"PSIBRIDGE_REASON=stall\nPSIBRIDGE_STALL_USEC=213456\nPSIBRIDGE_SHADOW=0\n"
		"PSIBRIDGE_THRESHOLD=some 200ms/2s\nPSIBRIDGE_CURRENT_BYTES=94371840\n"
		"PSIBRIDGE_LIMIT_BYTES=104857600\nMESSAGE=/a: the cgroup was removed; "
		"waited 213 ms for it, 12.05 % of 10 s; 90 of 100 MiB in use\n");
	assert_string_equal(id, "");
	journal_log(j, LOG_IS_WARNING, MESSAGE_OTHER, "%d\n\303\244", 1);
	assert_string_equal(entry(), "PRIORITY=4\nMESSAGE=1?\303\244\n");
	assert_false(entry() || line());
}

PROMISE(what_a_low_achieved_is_said_and_how_often_it_is_repeated_where_that_changes)
{
	static const struct {
		uint64_t bytes, reported, first, stall_before, unanswered, before;
		const char *fields, *words;
	} rows[] = {
		{ 40 << 20, 7, 65432, 208000, 0, 2,
		  "PSIBRIDGE_STALL_BEFORE_USEC=208000\nPSIBRIDGE_STALL_AFTER_USEC=41999\n"
		  "PSIBRIDGE_FIRST_BACK_USEC=65432\n",
		  "gave back 40 MiB after Low, the first of it 65 ms after the stall began; waited 208 ms "
		  "in the 5 s before, 41 ms in those after" },
		{ 0, 0, PSB_UNKNOWN, PSB_UNKNOWN, 2, 1, "PSIBRIDGE_STALL_AFTER_USEC=41999\n",
		  "gave nothing back after Low" },
		{ 0, 0, PSB_UNKNOWN, PSB_UNKNOWN, 3, 2, "PSIBRIDGE_STALL_AFTER_USEC=41999\n",
		  "gave nothing back after Low; told 3 times, gave nothing back: Low is repeated after "
		  "16.384s" },
		{ 0, 0, PSB_UNKNOWN, PSB_UNKNOWN, 7, 6, "PSIBRIDGE_STALL_AFTER_USEC=41999\n",
		  "gave nothing back after Low" },
		{ 2 << 20, 0, PSB_UNKNOWN, PSB_UNKNOWN, 0, 3, "PSIBRIDGE_STALL_AFTER_USEC=41999\n",
		  "gave back 2 MiB after Low; Low is repeated after 8.192s again" },
		{ 0, 3 << 20, PSB_UNKNOWN, PSB_UNKNOWN, 0, 3, "PSIBRIDGE_STALL_AFTER_USEC=41999\n",
		  "gave nothing back after Low that can be measured; 3 MiB, it says; Low is repeated "
		  "after 8.192s again" },
	};
	_cleanup_(journal_freep) struct journal *j = new_structured();
	char expected[1024];

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct psb_stats stats = { .effect_bytes = rows[i].bytes,
					   .effect_reported_bytes = rows[i].reported,
					   .first_back_usec = rows[i].first,
					   .stall_before_usec = rows[i].stall_before,
					   .stall_after_usec = 41999,
					   .unanswered = rows[i].unanswered };

		snprintf(
			expected, sizeof(expected),
			"PRIORITY=6\nPSIBRIDGE_CGROUP=/a\nPSIBRIDGE_BYTES_BACK=%llu\n"
			"PSIBRIDGE_REPORTED_BYTES=%llu\nPSIBRIDGE_UNANSWERED=%llu\n%sMESSAGE=/a: %s\n",
			(unsigned long long)rows[i].bytes, (unsigned long long)rows[i].reported,
			(unsigned long long)rows[i].unanswered, rows[i].fields, rows[i].words);
		journal_effect(j, "/a", &stats, rows[i].before, 8192 * USEC_PER_MSEC);
		assert_string_equal(entry(), expected);
	}
}

/* As systemd finds them; journalctl -u asks for these fields. */
PROMISE(a_cgroup_is_said_of_its_unit)
{
#define UNIT(name) "OBJECT_SYSTEMD_UNIT=" name "\n"
	static const struct {
		const char *cgroup, *fields;
	} rows[] = {
		{ "/", "" },
		{ "/a", "" },
		{ "/.service", "" },
		{ "/docker/0123", "" },
		{ "/system.slice", UNIT("system.slice") },
		{ "/system.slice/a-b.slice/getty@tty1.service/x/y.service",
		  UNIT("getty@tty1.service") },
		{ "/init.scope", UNIT("init.scope") },
		{ "/system.slice/_cgroup.service", UNIT("cgroup.service") },
		{ "/user.slice/user-0.slice/session-1.scope", UNIT("session-1.scope") },
		{ "/user.slice/user-0.slice/user@0.service", UNIT("user@0.service") },
		{ "/user.slice/user-0.slice/user@0.service/app.slice/b.service/c",
		  UNIT("user@0.service") "OBJECT_SYSTEMD_USER_UNIT=b.service\n" },
	};
	_cleanup_(journal_freep) struct journal *j = new_structured();
	char expected[512];

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		journal_cgroup(j, LOG_IS_INFO, MESSAGE_OTHER, rows[i].cgroup, "%s", "x");
		snprintf(expected, sizeof(expected),
			 "PRIORITY=6\nPSIBRIDGE_CGROUP=%s\n%sMESSAGE=%s: x\n", rows[i].cgroup,
			 rows[i].fields, rows[i].cgroup);
		assert_string_equal(entry(), expected);
	}
}

/* In one datagram, with nothing left out. */
PROMISE(the_longest_entry_is_whole)
{
	static const char head[] = "/user.slice/user@0.service/";
	struct trigger threshold = { PSI_SOME, UINT64_MAX, UINT64_MAX };
	char cgroup[4096];
	struct psb_notification n = { .kind = PSB_KIND_LEVEL,
				      .available = PSB_LOW,
				      .critical = 1,
				      .reason = PSB_REASON_OOM,
				      .cgroup = cgroup,
				      .stall_usec = UINT64_MAX,
				      .some_avg10_centi = UINT32_MAX,
				      .current_bytes = UINT64_MAX,
				      .limit_bytes = UINT64_MAX };
	_cleanup_(journal_freep) struct journal *j = new_structured();
	const char *text;

	memset(cgroup, 'x', sizeof(cgroup));
	memcpy(cgroup, head, strlen(head));
	memcpy(cgroup + strlen(head) + 247, ".service/", 9);
	cgroup[4095] = '\0';
	journal_level(j, &n, true, &threshold);
	text = entry();
	assert_non_null(strstr(text, cgroup));
	assert_non_null(strstr(text, "xxx.service\nPSIBRIDGE_AVAILABLE="));
	assert_non_null(strstr(text, "xxx...: memory is very short (Low, critical); "));
	assert_string_equal(text + strlen(text) - 19, "no client was told\n");
}

PROMISE(every_message_id_is_another_and_has_a_text_in_the_catalog)
{
	static char catalog[65536], ids[MESSAGE_EFFECT + 1][33];
	const char *srcdir = getenv("srcdir"), *found;
	_cleanup_(journal_freep) struct journal *j = new_structured();
	char path[1024], head[64];
	FILE *f;

	snprintf(path, sizeof(path), "%s/units/psibridge.catalog", srcdir ? srcdir : ".");
	f = fopen(path, "re");
	assert_non_null(f);
	catalog[fread(catalog, 1, sizeof(catalog) - 1, f)] = '\0';
	fclose(f);
	for (int m = MESSAGE_LOW; m <= MESSAGE_EFFECT; m++) {
		journal_log(j, LOG_IS_INFO, (enum message)m, "x");
		assert_non_null(entry());
		assert_int_equal(strspn(id, "0123456789abcdef"), 32);
		for (int other = MESSAGE_LOW; other < m; other++)
			assert_string_not_equal(id, ids[other]);
		strcpy(ids[m], id);
		snprintf(head, sizeof(head), "\n-- %s\nSubject: ", id);
		found = strstr(catalog, head);
		if (!found || strstr(found + 1, head))
			fail_msg("message %d is not in %s exactly once", m, path);
	}
}

/* ---- no room ------------------------------------------------------------------------------------- */

static void log_many(struct journal *j)
{
	for (int i = 0; i < MANY; i++)
		journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "line %d %050d", i, 0);
}

/* What got through is the oldest, in order. Returns how many did not. */
static int count_lost(const char *(*next)(void))
{
	const char *text;
	int n = 0;

	while ((text = next()) != NULL) {
		assert_memory_equal(text, "line ", 5);
		assert_int_equal(atoi(text + 5), n++);
	}
	assert_in_range(n, 1, MANY - 1);
	return MANY - n;
}

static void assert_says(const char *(*next)(void), int lost)
{
	char expected[80];

	snprintf(expected, sizeof(expected), "%d messages were lost here: there was no room", lost);
	assert_string_equal(next(), expected);
}

/* `next` is not called before all is logged: that it comes to that is the promise. The loss is said with the next message,
 * when asked, and at the end. */
static void assert_counts_and_says(struct journal *j, const char *(*next)(void))
{
	int lost;

	log_many(j);
	lost = count_lost(next);
	say(j, "after");
	assert_says(next, lost);
	assert_string_equal(next(), "after");
	log_many(j);
	assert_false(journal_say_lost(j));
	lost = count_lost(next);
	assert_true(journal_say_lost(j));
	assert_says(next, lost);
	log_many(j);
	lost = count_lost(next);
	journal_free(j);
	assert_says(next, lost);
	assert_null(next());
}

PROMISE(a_journald_a_pipe_or_a_socket_that_is_not_read_holds_nothing_up)
{
	int ends[2];

	assert_counts_and_says(new_structured(), message);
	assert_null(line());
	unsetenv("JOURNAL_STREAM");
	assert_counts_and_says(new_journal(), line);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	use_as_stderr(ends[1], ends[0]);
	assert_counts_and_says(new_journal(), line);
}

PROMISE(without_a_journald_entries_go_out_as_text)
{
	struct journal *j = new_structured();
	int lost;

	journald_stop();
	log_many(j);
	lost = count_lost(line);
	journald_start();
	say(j, "it is back");
	assert_says(message, lost);
	assert_string_equal(message(), "it is back");
	close(journald); /* its file stays */
	say(j, "it died");
	assert_string_equal(line(), "it died");
	journald_start();
	journal_free(j);
	assert_false(entry() || line());
}

PROMISE(a_reader_that_ended_ends_nothing)
{
	struct journal *j;

	close(out);
	out = -1;
	j = new_journal(); /* what /proc has now cannot be opened */
	say(j, "text");
	assert_false(journal_say_lost(j));
	journal_free(j);
}

/* ---- the caller ---------------------------------------------------------------------------------- */

PROMISE(nothing_is_allocated_after_the_start)
{
	struct psb_notification n = { .available = PSB_LOW, .cgroup = "/a" };
	struct journal *j;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
	j = new_structured();
	count_malloc_start();
	log_many(j); /* as entries; then, without a journald, as text */
	journal_level(j, &n, true, &(struct trigger){ PSI_SOME, 200000, 2000000 });
	journald_stop();
	log_many(j);
	count_malloc_stop();
	journald_start();
	journal_free(j);
}

PROMISE(no_journal_takes_every_message)
{
	struct journal *j = NULL;

	assert_int_equal(journal_new(X500, &j), -ENAMETOOLONG);
	assert_null(j);
	say(j, "x");
	journal_level(j, &(struct psb_notification){ .cgroup = "/a" }, false, NULL);
	assert_true(journal_say_lost(j));
}

EACH(set_up, tear_down)
