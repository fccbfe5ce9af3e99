/* SPDX-License-Identifier: MIT */
/*
 * test-journal.c - log messages: what is sent, where to, and what becomes of it where there is no room
 * (src/daemon/journal.h)
 *
 * journald is a datagram socket of the test, which receives, or does not, when the test says so.
 * stderr is a pipe of the test. A call that waits is ended by alarm(2), and the program with it.
 */
#include "../unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/journal.h"
#include "daemon/names.h"

#include "../../skip.h"
#include "../count-malloc.h"
#include "../fake-root.h"

#define PATIENCE_SEC 20
#define FIELDS_MAX 20
#define MANY 4000 /* messages: more than any queue or buffer here has room for */

static const struct psb_notification low = {
	.size = sizeof(low),
	.kind = PSB_KIND_LEVEL,
	.available = PSB_LOW,
	.reason = PSB_REASON_STALL,
	.cgroup = "/system.slice/a.service",
	.stall_usec = 213456,
	.some_avg10_centi = 1205,
	.current_bytes = UINT64_C(90) << 20,
	.limit_bytes = UINT64_C(100) << 20,
};

/* ---- journald ---------------------------------------------------------------------------------- */

static struct {
	char path[108];
	int fd; /* -1: it does not run */
	/* the last entry */
	char datagram[16384];
	int count;
	const char *key[FIELDS_MAX], *value[FIELDS_MAX];
} journald;

static void journald_start(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, journald.path);
	journald.fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_return_code(bind(journald.fd, (struct sockaddr *)&address, sizeof(address)), errno);
}

static void journald_stop(void)
{
	close(journald.fd);
	unlink(journald.path);
	journald.fd = -1;
}

/* The value of a field of the last entry, or NULL. */
static const char *field(const char *key)
{
	for (int i = 0; i < journald.count; i++)
		if (strcmp(journald.key[i], key) == 0)
			return journald.value[i];
	return NULL;
}

/* Cuts off one field of the native protocol. Returns what follows. */
static char *take_field(char *p, const char *end)
{
	size_t size = strcspn(p, "=\n");
	char *value = p + size + 1;

	assert_true(size > 0 && value < end && value[-1] == '=' && journald.count < FIELDS_MAX);
	size = strcspn(value, "\n");
	assert_true(size < (size_t)(end - value));
	value[-1] = value[size] = '\0';
	assert_null(field(p));
	journald.key[journald.count] = p;
	journald.value[journald.count++] = value;
	return value + size + 1;
}

/* False: there is no other entry. */
static bool receive(void)
{
	char *p = journald.datagram;
	ssize_t n = recv(journald.fd, p, sizeof(journald.datagram) - 1, MSG_TRUNC);
	const char *end = p + n;

	journald.count = 0;
	if (n < 0)
		return false;
	assert_in_range(n, 1, sizeof(journald.datagram) - 1);
	p[n] = '\0';
	while (p < end)
		p = take_field(p, end);
	return true;
}

static const char *or_none(const char *text)
{
	return text ? text : "(none)";
}

#define assert_field(key, value) assert_string_equal(or_none(field(key)), or_none(value))

/* The message of the next entry, or NULL. */
static const char *entry(void)
{
	return receive() ? field("MESSAGE") : NULL;
}

/* ---- stderr ------------------------------------------------------------------------------------ */

static int real_stderr = -1, out = -1; /* what is written to stderr is read from `out` */

/* Takes over `writing`; reads from another open file, or another end, than is written to. */
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
	snprintf(journald.path, sizeof(journald.path), "%s", fake_path("socket"));
	journald.count = 0;
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

/* stderr stays as its other users know it. */
static struct journal *new_journal(void)
{
	int flags = fcntl(STDERR_FILENO, F_GETFL);
	struct journal *j = NULL;

	assert_int_equal(journal_new(journald.path, &j), 0);
	assert_int_equal(fcntl(STDERR_FILENO, F_GETFL), flags);
	assert_int_equal(flags & O_NONBLOCK, 0);
	return j;
}

/* To which /proc gives no other open file. */
static struct journal *new_without_proc(void)
{
	struct rlimit limit, none = { 0 };
	struct journal *j;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none.rlim_max = limit.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	j = new_journal();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	return j;
}

static const char *stream(unsigned long long device, unsigned long long inode, const char *more)
{
	static char text[64];

	snprintf(text, sizeof(text), "%llu:%llu%s", device, inode, more);
	return text;
}

static struct journal *new_structured(void)
{
	struct stat st;

	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	setenv("JOURNAL_STREAM", stream(st.st_dev, st.st_ino, ""), 1);
	return new_journal();
}

/* ---- text -------------------------------------------------------------------------------------- */

PROMISE(the_priority_stands_in_front_under_a_manager_only)
{
	struct journal *j = new_journal();

	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%d watches, %s", 3, "ready");
	assert_string_equal(line(), "3 watches, ready");
	journal_free(j);
	setenv("NOTIFY_SOCKET", "/x", 1);
	j = new_journal();
	journal_log(j, LOG_IS_WARNING, MESSAGE_CONFIG_BAD, "bad");
	assert_string_equal(line(), "<4>bad");
	journal_free(j);
	assert_null(line());
	assert_false(receive());
}

static void assert_text_with(const char *journal_stream)
{
	struct journal *j;

	setenv("JOURNAL_STREAM", journal_stream, 1);
	j = new_journal();
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "text");
	assert_string_equal(line(), "text");
	journal_free(j);
}

PROMISE(a_stderr_that_was_sent_elsewhere_is_not_the_journal)
{
	static const char *const streams[] = { "1:2", "", "x", "1", "1:", ":" };
	struct stat st;

	for (size_t i = 0; i < ELEMENTSOF(streams); i++)
		assert_text_with(streams[i]);
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	assert_text_with(stream(st.st_dev, st.st_ino + 1, ""));
	assert_text_with(stream(st.st_dev + 1, st.st_ino, ""));
	assert_text_with(stream(st.st_dev, st.st_ino, ":3"));
	assert_text_with(stream(st.st_dev, st.st_ino, " "));
	assert_false(receive());
}

PROMISE(control_characters_and_newlines_cannot_forge_a_line)
{
	_cleanup_(journal_freep) struct journal *j = new_journal();
	struct psb_notification n = low;

	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "a\nb\tc\033[31md\177 \303\244");
	assert_string_equal(line(), "a?b?c?[31md? \303\244");
	n.cgroup = "/a\033b";
	journal_level(j, &n, false, NULL);
	assert_memory_equal(line(), "/a?b: ", 6);
}

PROMISE(a_text_is_cut_at_512_bytes_and_never_within_a_character)
{
	_cleanup_(journal_freep) struct journal *j = new_journal();
	char text[2048];

	memset(text, 'x', sizeof(text));
	text[512] = '\0';
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%s", text);
	assert_string_equal(line(), text);
	/* a euro sign, three bytes, in the way of the cut in two places; and just before it */
	for (size_t at = 506; at <= 508; at++) {
		size_t kept = at == 506 ? 509 : at;
		const char *cut;

		memset(text, 'x', sizeof(text));
		memcpy(text + at, "\342\202\254", 3);
		text[at == 507 ? 513 : 2047] = '\0';
		journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%s", text);
		cut = line();
		assert_memory_equal(cut, text, kept);
		assert_string_equal(cut + kept, "...");
	}
}

PROMISE(a_file_keeps_its_one_position)
{
	const char *path = fake_path("log");
	int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	struct journal *j;

	use_as_stderr(file, open(path, O_RDONLY | O_CLOEXEC));
	dprintf(STDERR_FILENO, "before\n");
	j = new_journal();
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "text");
	dprintf(STDERR_FILENO, "after\n");
	journal_free(j);
	assert_string_equal(line(), "before");
	assert_string_equal(line(), "text");
	assert_string_equal(line(), "after");
	assert_null(line());
}

/* ---- entries ----------------------------------------------------------------------------------- */

PROMISE(an_entry_is_one_datagram_with_fields)
{
	struct journal *j = new_structured();

	journal_level(j, &low, false, &(struct trigger){ PSI_SOME, 200000, 2000000 });
	assert_string_equal(entry(),
			    "/system.slice/a.service: memory is short (Low); waited 213 ms for it, "
			    "12.05 % of 10 s; 90 of 100 MiB in use");
	assert_field("PRIORITY", "5");
	assert_field("SYSLOG_IDENTIFIER", program_invocation_short_name);
	assert_field("PSIBRIDGE_CGROUP", "/system.slice/a.service");
	assert_field("PSIBRIDGE_AVAILABLE", "low");
	assert_field("PSIBRIDGE_CRITICAL", "0");
	assert_field("PSIBRIDGE_REASON", "stall");
	assert_field("PSIBRIDGE_STALL_USEC", "213456");
	assert_field("PSIBRIDGE_SHADOW", "0");
	assert_field("PSIBRIDGE_THRESHOLD", "some 200ms/2s");
	assert_field("PSIBRIDGE_CURRENT_BYTES", "94371840");
	assert_field("PSIBRIDGE_LIMIT_BYTES", "104857600");
	assert_field("OBJECT_SYSTEMD_UNIT", "a.service");
	assert_field("OBJECT_SYSTEMD_USER_UNIT", NULL);
	assert_int_equal(strlen(field("MESSAGE_ID")), 32);
	journal_log(j, LOG_IS_WARNING, MESSAGE_OTHER, "%d \303\244", 1);
	assert_string_equal(entry(), "1 \303\244");
	assert_field("PRIORITY", "4");
	assert_int_equal(journald.count, 3);
	/* a newline in a value begins no field */
	journal_cgroup(j, LOG_IS_INFO, MESSAGE_KILLED, "/a\nPRIORITY=0\n.service/c", "%s", "x");
	assert_string_equal(entry(), "/a?PRIORITY=0?.service/c: x");
	assert_field("PSIBRIDGE_CGROUP", "/a?PRIORITY=0?.service/c");
	assert_field("OBJECT_SYSTEMD_UNIT", "a?PRIORITY=0?.service");
	assert_field("PRIORITY", "6");
	journal_free(j);
	assert_false(receive());
	assert_null(line());
}

PROMISE(each_level_has_its_priority_and_its_words)
{
#define TOLD(kind_, available_, critical_, reason_)                                             \
	{                                                                                       \
		.kind = PSB_KIND_##kind_, .available = PSB_##available_, .critical = critical_, \
		.reason = PSB_REASON_##reason_, .cgroup = "/a"                                  \
	}
	static const struct {
		struct psb_notification n;
		const char *priority, *sentence;
	} rows[] = {
		{ TOLD(LEVEL, LOW, 0, REPEAT), "5", "memory is short (Low)" },
		{ TOLD(LEVEL, LOW, 0, SIGNAL), "5", "memory is short (Low)" },
		{ TOLD(LEVEL, LOW, 1, STALL), "4", "memory is very short (Low, critical)" },
		{ TOLD(LEVEL, LOW, 1, OOM), "4", "; the kernel found no memory for it" },
		{ TOLD(LEVEL, NEUTRAL, 0, HEADROOM), "6", "memory is getting scarce (Neutral)" },
		{ TOLD(LEVEL, NEUTRAL, 0, STALL), "6", "memory is getting scarce (Neutral)" },
		{ TOLD(LEVEL, NEUTRAL, 0, CALM), "6", "memory is no longer short (Neutral)" },
		{ TOLD(LEVEL, NEUTRAL, 0, SIMULATED), "6", "neither short nor plentiful" },
		{ TOLD(LEVEL, HIGH, 0, CALM), "6", "memory is plentiful (High)" },
		{ TOLD(LEVEL, HIGH, 0, SIMULATED), "6", "; simulated" },
		{ TOLD(LEVEL, HIGH, 0, PRESENT), "6", "memory is plentiful (High)" },
		{ TOLD(GONE, HIGH, 0, GONE), "6", "the cgroup was removed" },
	};
	_cleanup_(journal_freep) struct journal *j = new_structured();

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		const struct psb_notification *n = &rows[i].n;
		bool shadow = i % 2;

		journal_level(j, n, shadow, NULL);
		assert_non_null(strstr(entry(), rows[i].sentence));
		assert_field("PRIORITY", rows[i].priority);
		assert_field("PSIBRIDGE_AVAILABLE", name_of_available(n->available));
		assert_field("PSIBRIDGE_REASON", name_of_reason(n->reason));
		assert_field("PSIBRIDGE_CRITICAL", n->critical ? "1" : "0");
		assert_field("PSIBRIDGE_SHADOW", shadow ? "1" : "0");
		assert_int_equal(strstr(field("MESSAGE"), "no client was told") != NULL, shadow);
		assert_int_equal(field("MESSAGE_ID") != NULL, n->kind == PSB_KIND_LEVEL);
		/* no limit: nothing to compare */
		assert_null(strstr(field("MESSAGE"), "MiB in use"));
		assert_field("PSIBRIDGE_LIMIT_BYTES", NULL);
	}
}

/* As systemd finds them; journalctl -u asks for these fields. */
PROMISE(a_cgroup_is_said_of_its_unit)
{
	static const struct {
		const char *cgroup, *unit, *user_unit;
	} rows[] = {
		{ "/", NULL, NULL },
		{ "/a", NULL, NULL },
		{ "/system.slice", "system.slice", NULL },
		{ "/system.slice/a.service", "a.service", NULL },
		{ "/system.slice/system-getty.slice/getty@tty1.service/x/y.service",
		  "getty@tty1.service", NULL },
		{ "/init.scope", "init.scope", NULL },
		{ "/system.slice/_cgroup.service", "cgroup.service", NULL },
		{ "/user.slice/user-0.slice/session-1.scope", "session-1.scope", NULL },
		{ "/user.slice/user-0.slice/user@0.service/app.slice/b.service/c", "user@0.service",
		  "b.service" },
		{ "/user.slice/user-0.slice/user@0.service", "user@0.service", NULL },
		{ "/docker/0123", NULL, NULL },
		{ "/.service", NULL, NULL },
	};
	_cleanup_(journal_freep) struct journal *j = new_structured();

	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct psb_notification n = low;

		n.cgroup = rows[i].cgroup;
		journal_level(j, &n, false, NULL);
		assert_true(receive());
		assert_field("OBJECT_SYSTEMD_UNIT", rows[i].unit);
		assert_field("OBJECT_SYSTEMD_USER_UNIT", rows[i].user_unit);
		assert_field("PSIBRIDGE_THRESHOLD", NULL);
	}
}

/* Of everything the longest, in one datagram, with nothing left out. */
PROMISE(the_longest_entry_is_whole)
{
	static const char head[] = "/user.slice/user@0.service/";
	struct trigger threshold = { PSI_SOME, UINT64_MAX, UINT64_MAX };
	struct psb_notification n = low;
	_cleanup_(journal_freep) struct journal *j = new_structured();
	char cgroup[4096];
	const char *text;

	memset(cgroup, 'x', sizeof(cgroup));
	memcpy(cgroup, head, strlen(head));
	memcpy(cgroup + strlen(head) + 247, ".service/", 9);
	cgroup[4095] = '\0';
	n.cgroup = cgroup;
	n.critical = 1;
	n.reason = PSB_REASON_OOM;
	n.stall_usec = n.current_bytes = n.limit_bytes = UINT64_MAX;
	n.some_avg10_centi = UINT32_MAX;
	journal_level(j, &n, true, &threshold);
	text = entry();
	assert_in_range(strlen(text), 400, 512);
	assert_memory_equal(text, cgroup, 237);
	assert_memory_equal(text + 237, "...: memory is very short", 25);
	assert_string_equal(text + strlen(text) - 18, "no client was told");
	assert_field("PSIBRIDGE_CGROUP", cgroup);
	assert_int_equal(strlen(field("OBJECT_SYSTEMD_USER_UNIT")), 255);
	assert_int_equal(journald.count, 15);
}

PROMISE(every_message_id_is_another_and_has_a_text_in_the_catalog)
{
	static char catalog[65536], head[MESSAGE_KILLED + 1][64];
	const char *srcdir = getenv("srcdir"), *found;
	struct journal *j = new_structured();
	char path[1024];
	FILE *f;

	snprintf(path, sizeof(path), "%s/units/psibridge.catalog", srcdir ? srcdir : ".");
	f = fopen(path, "re");
	assert_non_null(f);
	catalog[fread(catalog, 1, sizeof(catalog) - 1, f)] = '\0';
	fclose(f);
	for (int m = MESSAGE_LOW; m <= MESSAGE_KILLED; m++) {
		journal_log(j, LOG_IS_INFO, (enum message)m, "x");
		assert_true(receive());
		assert_int_equal(strspn(or_none(field("MESSAGE_ID")), "0123456789abcdef"), 32);
		snprintf(head[m], sizeof(head[m]), "\n-- %s\nSubject: ", field("MESSAGE_ID"));
		for (int other = MESSAGE_LOW; other < m; other++)
			assert_string_not_equal(head[m], head[other]);
		found = strstr(catalog, head[m]);
		if (!found || strstr(found + 1, head[m]))
			fail_msg("%s is not in %s exactly once", field("MESSAGE_ID"), path);
	}
	journal_free(j);
}

/* ---- no room ----------------------------------------------------------------------------------- */

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

/* `next` is not called before all is logged: that it comes to that is the promise. */
static void assert_counts_and_says(struct journal *j, const char *(*next)(void))
{
	int lost;

	log_many(j);
	lost = count_lost(next);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "after");
	assert_says(next, lost);
	assert_string_equal(next(), "after");
	journal_free(j);
	assert_null(next());
}

PROMISE(a_journald_that_does_not_read_holds_nothing_up)
{
	assert_counts_and_says(new_structured(), entry);
	assert_null(line());
}

PROMISE(a_pipe_or_a_socket_that_is_full_neither)
{
	int ends[2];

	assert_counts_and_says(new_journal(), line);
	assert_counts_and_says(new_without_proc(), line);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	use_as_stderr(ends[1], ends[0]);
	assert_counts_and_says(new_journal(), line);
}

/* As terminals are: the rest of a line waits where its beginning found room. */
PROMISE(a_terminal_that_stands_still_neither)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	struct journal *j;
	const char *text;
	char rest[512];

	assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(slave >= 0);
	use_as_stderr(slave, master);
	j = new_journal();
	log_many(j);
	while (!journal_say_lost(j))
		if (read(out, rest, sizeof(rest)) <= 0)
			sched_yield();
	do
		text = line();
	while (!text || !strstr(text, " messages were lost here"));
	journal_free(j);
}

PROMISE(a_loss_is_said_when_asked_and_at_the_end)
{
	struct journal *j = new_structured();
	int lost;

	assert_true(journal_say_lost(j));
	log_many(j);
	assert_false(journal_say_lost(j));
	lost = count_lost(entry);
	assert_true(journal_say_lost(j));
	assert_says(entry, lost);
	assert_field("PRIORITY", "4");
	log_many(j);
	lost = count_lost(entry);
	journal_free(j);
	assert_says(entry, lost);
	assert_null(entry());
}

PROMISE(without_a_journald_entries_go_out_as_text)
{
	struct journal *j = new_structured();
	int lost;

	journald_stop();
	log_many(j);
	lost = count_lost(line);
	journald_start();
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "it is back");
	assert_says(entry, lost);
	assert_string_equal(entry(), "it is back");
	close(journald.fd); /* its file stays */
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "it died");
	assert_string_equal(line(), "it died");
	unlink(journald.path);
	journald_start();
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "there is another");
	assert_string_equal(entry(), "there is another");
	journal_free(j);
	assert_false(receive() || line());
}

PROMISE(a_reader_that_ended_ends_nothing)
{
	struct journal *j;

	close(out);
	out = -1;
	j = new_journal(); /* what /proc has now cannot be opened */
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "text");
	assert_false(journal_say_lost(j));
	journal_free(j);
}

/* ---- the caller -------------------------------------------------------------------------------- */

PROMISE(nothing_is_allocated_after_the_start)
{
	struct journal *j;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the sanitizer's allocator takes the place of ours");
	j = new_structured();
	count_malloc_start();
	for (int i = 0; i < 2; i++) { /* as entries; then, without a journald, as text */
		log_many(j);
		journal_level(j, &low, true, &(struct trigger){ PSI_SOME, 200000, 2000000 });
		journal_cgroup(j, LOG_IS_INFO, MESSAGE_KILLED, "/a", "%s", "x");
		while (receive() || line())
			;
		journal_log(j, LOG_IS_INFO, MESSAGE_CONFIG_BAD, "after");
		if (i == 0)
			journald_stop();
	}
	count_malloc_stop();
	journald_start();
	journal_free(j);
}

#define THREADS 4

static void *log_many_too(void *arg)
{
	log_many(arg);
	return NULL;
}

/* Of each message that was received, or is in a count of lost ones, one. */
static int receive_all(void)
{
	const char *text;
	int n = 0;

	while ((text = entry()) != NULL)
		n += strstr(text, "lost here") ? atoi(text) : 1;
	return n;
}

PROMISE(any_thread_may_log_and_each_message_arrives_or_is_counted)
{
	struct journal *j = new_structured();
	pthread_t threads[THREADS];
	int n = 0;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, log_many_too, j), 0);
	for (int i = 0; i < 2000; i++)
		n += receive_all();
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	n += receive_all();
	assert_true(journal_say_lost(j));
	journal_free(j);
	assert_int_equal(n + receive_all(), THREADS * MANY);
}

PROMISE(a_path_too_long_gives_no_journal_which_takes_every_message)
{
	struct journal *j = NULL;
	char path[109];

	memset(path, 'x', sizeof(path));
	path[108] = '\0';
	assert_int_equal(journal_new(path, &j), -ENAMETOOLONG);
	assert_null(j);
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "x");
	journal_cgroup(j, LOG_IS_INFO, MESSAGE_OTHER, "/a", "x");
	journal_level(j, &low, false, NULL);
	assert_true(journal_say_lost(j));
	assert_null(journal_free(j));
	assert_null(line());
}

EACH(set_up, tear_down)
