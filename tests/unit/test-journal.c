/* SPDX-License-Identifier: MIT */
/*
 * test-journal.c - log lines: what is written, and where to (src/daemon/journal.h)
 */
#include "journald-double.h"

/* ---- text -------------------------------------------------------------------------------------- */

static void by_hand_a_line_is_just_a_line(void **state)
{
	struct journal *j = new_journal();

	(void)state;
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%d watches, %s", 3, "ready");
	assert_string_equal(line(), "3 watches, ready");
	journal_free(j);
	assert_true(nothing_is_there());
}

static void under_a_manager_the_priority_stands_in_front(void **state)
{
	struct journal *j;

	(void)state;
	setenv("NOTIFY_SOCKET", "/x", 1);
	j = new_journal();
	journal_log(j, LOG_IS_WARNING, MESSAGE_CONFIG_BAD, "bad");
	assert_string_equal(line(), "<4>bad");
	journal_log(j, LOG_IS_DEBUG, MESSAGE_OTHER, "fine");
	assert_string_equal(line(), "<7>fine");
	journal_free(j);
}

static const char *stream(unsigned long long device, unsigned long long inode, const char *more)
{
	static char text[64];

	snprintf(text, sizeof(text), "%llu:%llu%s", device, inode, more);
	return text;
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

static void a_stderr_that_was_sent_elsewhere_is_not_the_journal(void **state)
{
	static const char *const streams[] = { "1:2", "", "x", "1", "1:", ":" };
	unsigned long long device, inode;
	struct stat st;

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(streams); i++)
		assert_text_with(streams[i]);
	assert_int_equal(fstat(STDERR_FILENO, &st), 0);
	device = st.st_dev;
	inode = st.st_ino;
	assert_text_with(stream(device, inode + 1, ""));
	assert_text_with(stream(device + 1, inode, ""));
	assert_text_with(stream(device, inode, ":3"));
	assert_text_with(stream(device, inode, " "));
	assert_int_equal(journald.count, 0);
}

static void control_characters_and_newlines_cannot_forge_a_line(void **state)
{
	struct journal *j = new_journal();
	struct psb_notification n = low;

	(void)state;
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "a\nb\tc\033[31md\177 \303\244");
	assert_string_equal(line(), "a?b?c?[31md? \303\244");
	n.cgroup = "/a\033b";
	journal_level(j, &n, false);
	assert_memory_equal(line(), "/a?b: ", 6);
	journal_free(j);
}

static void a_line_is_cut_at_512_bytes_and_never_within_a_character(void **state)
{
	struct journal *j = new_journal();
	char text[2048];

	(void)state;
	memset(text, 'x', sizeof(text));
	text[512] = '\0';
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%s", text);
	assert_string_equal(line(), text);
	text[512] = 'x';
	text[513] = '\0';
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%s", text);
	assert_int_equal(strlen(line()), 512);
	/* a euro sign, three bytes, in the way of the cut in two places; and just before it */
	for (size_t at = 509; at <= 511; at++) {
		memset(text, 'x', sizeof(text));
		memcpy(text + at, "\342\202\254", 3);
		text[600] = '\0';
		journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "%s", text);
		assert_int_equal(strlen(line()), at == 509 ? 512 : at);
	}
	journal_free(j);
}

static void the_longest_sentence_fits_and_keeps_its_end(void **state)
{
	struct psb_notification n = low;
	struct journal *j = new_journal();
	char cgroup[4096];
	const char *text;

	(void)state;
	memset(cgroup, 'x', sizeof(cgroup));
	cgroup[0] = '/';
	cgroup[4095] = '\0';
	n.cgroup = cgroup;
	n.critical = 1;
	n.reason = PSB_REASON_OOM;
	n.stall_usec = n.current_bytes = n.limit_bytes = UINT64_MAX;
	n.some_avg10_centi = UINT32_MAX;
	journal_level(j, &n, true);
	text = line();
	assert_true(strlen(text) <= 512);
	assert_string_equal(text + strlen(text) - 10, "y was told");
	journal_free(j);
}

/* ---- structured -------------------------------------------------------------------------------- */

static void a_level_has_a_sentence_and_fields(void **state)
{
	struct journal *j = new_structured();

	(void)state;
	journal_level(j, &low, false);
	journal_free(j);
	assert_int_equal(journald.count, 1);
	assert_string_equal(field("MESSAGE"),
			    "/system.slice/a.service: memory is short (Low); waited 213 ms for it, "
			    "12.05 % of 10 s; 90 of 100 MB in use");
	assert_string_equal(field("PRIORITY"), "5");
	assert_string_equal(field("PSIBRIDGE_CGROUP"), "/system.slice/a.service");
	assert_string_equal(field("PSIBRIDGE_AVAILABLE"), "low");
	assert_string_equal(field("PSIBRIDGE_CRITICAL"), "0");
	assert_string_equal(field("PSIBRIDGE_REASON"), "stall");
	assert_string_equal(field("PSIBRIDGE_STALL_USEC"), "213456");
	assert_string_equal(field("PSIBRIDGE_SHADOW"), "0");
	assert_int_equal(strlen(field("MESSAGE_ID")), 32);
	assert_true(nothing_is_there());
}

static void each_level_has_its_priority_and_its_words(void **state)
{
	static const struct {
		enum psb_kind kind;
		enum psb_available available;
		int critical;
		enum psb_reason reason;
		bool shadow;
		const char *priority, *available_word, *reason_word, *sentence;
		bool has_id;
	} rows[] = {
		{ PSB_KIND_LEVEL, PSB_LOW, 0, PSB_REASON_REPEAT, false, "5", "low", "repeat",
		  "memory is short", true },
		{ PSB_KIND_LEVEL, PSB_LOW, 1, PSB_REASON_OOM, false, "4", "low", "oom",
		  "the kernel found no memory", true },
		{ PSB_KIND_LEVEL, PSB_NEUTRAL, 0, PSB_REASON_HEADROOM, false, "6", "neutral",
		  "headroom", "Neutral", true },
		{ PSB_KIND_LEVEL, PSB_HIGH, 0, PSB_REASON_CALM, false, "6", "high", "calm",
		  "plentiful", true },
		{ PSB_KIND_LEVEL, PSB_HIGH, 0, PSB_REASON_SIMULATED, true, "6", "high", "simulated",
		  "nobody was told", true },
		{ PSB_KIND_LEVEL, PSB_LOW, 0, PSB_REASON_SIGNAL, false, "5", "low", "signal",
		  "memory is short", true },
		{ PSB_KIND_LEVEL, PSB_HIGH, 0, PSB_REASON_PRESENT, false, "6", "high", "present",
		  "plentiful", true },
		{ PSB_KIND_GONE, PSB_HIGH, 0, PSB_REASON_GONE, false, "6", "high", "gone",
		  "was removed", false },
		{ PSB_KIND_SOURCE, PSB_HIGH, 0, PSB_REASON_PRESENT, false, "6", "high", "present",
		  "another way", false },
	};
	struct journal *j = new_structured();

	(void)state;
	for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
		struct psb_notification n = { .kind = rows[i].kind,
					      .available = rows[i].available,
					      .critical = rows[i].critical,
					      .reason = rows[i].reason,
					      .cgroup = "/a" };

		journal_level(j, &n, rows[i].shadow);
		JOURNALD_AWAIT(journald.count == (int)i + 1);
		assert_string_equal(field("PRIORITY"), rows[i].priority);
		assert_string_equal(field("PSIBRIDGE_AVAILABLE"), rows[i].available_word);
		assert_string_equal(field("PSIBRIDGE_REASON"), rows[i].reason_word);
		assert_string_equal(field("PSIBRIDGE_CRITICAL"), rows[i].critical ? "1" : "0");
		assert_string_equal(field("PSIBRIDGE_SHADOW"), rows[i].shadow ? "1" : "0");
		assert_non_null(strstr(field("MESSAGE"), rows[i].sentence));
		assert_int_equal(field("MESSAGE_ID") != NULL, rows[i].has_id);
		assert_null(
			strstr(field("MESSAGE"), "MB in use")); /* no limit: nothing to compare */
	}
	journal_free(j);
}

static void the_longest_cgroup_is_whole_in_its_field(void **state)
{
	struct journal *j = new_structured();
	struct psb_notification n = low;
	char cgroup[4096];

	(void)state;
	memset(cgroup, 'x', sizeof(cgroup));
	cgroup[0] = '/';
	cgroup[4095] = '\0';
	n.cgroup = cgroup;
	journal_level(j, &n, false);
	journal_free(j);
	assert_string_equal(field("PSIBRIDGE_CGROUP"), cgroup);
}

static void where_the_journal_refuses_a_line_goes_out_as_text(void **state)
{
	struct journal *j = new_structured();

	(void)state;
	journald.result = -EPIPE;
	journal_log(j, LOG_IS_INFO, MESSAGE_OTHER, "text");
	assert_string_equal(line(), "text");
	journal_free(j);
}

/* ---- the catalog ------------------------------------------------------------------------------- */

/* Entries of the file that begin with "-- ID"; *ret_text is what follows that line. */
static unsigned catalog_entries(const char *catalog, const char *id, const char **ret_text)
{
	char head[64];
	unsigned n = 0;

	snprintf(head, sizeof(head), "-- %.32s\n", id);
	for (const char *p = catalog; (p = strstr(p, head)) != NULL; p++)
		if (p == catalog || p[-1] == '\n') {
			n++;
			*ret_text = p + strlen(head);
		}
	return n;
}

static void every_message_id_is_another_and_has_a_text_in_the_catalog(void **state)
{
	const char *srcdir = getenv("srcdir"), *text = "";
	static char catalog[65536], path[1024];
	char ids[MESSAGE_CLIENT_REFUSED + 1][40] = { "" };
	struct journal *j = new_structured();
	FILE *f;

	(void)state;
	snprintf(path, sizeof(path), "%s/units/psibridge.catalog", srcdir ? srcdir : ".");
	f = fopen(path, "re");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	catalog[fread(catalog, 1, sizeof(catalog) - 1, f)] = '\0';
	fclose(f);
	for (int m = MESSAGE_OTHER; m <= MESSAGE_CLIENT_REFUSED; m++) {
		journal_log(j, LOG_IS_INFO, (enum message)m, "x");
		JOURNALD_AWAIT(journald.count == m + 1);
		if (m == MESSAGE_OTHER) {
			assert_null(field("MESSAGE_ID"));
			continue;
		}
		assert_non_null(field("MESSAGE_ID"));
		snprintf(ids[m], sizeof(ids[m]), "%s", field("MESSAGE_ID"));
		assert_int_equal(strspn(ids[m], "0123456789abcdef"), 32);
		for (int other = 1; other < m; other++)
			assert_string_not_equal(ids[m], ids[other]);
		if (catalog_entries(catalog, ids[m], &text) != 1)
			fail_msg("%s is not in %s exactly once", ids[m], path);
		assert_memory_equal(text, "Subject: ", 9);
	}
	journal_free(j);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(by_hand_a_line_is_just_a_line),
		TEST(under_a_manager_the_priority_stands_in_front),
		TEST(a_stderr_that_was_sent_elsewhere_is_not_the_journal),
		TEST(control_characters_and_newlines_cannot_forge_a_line),
		TEST(a_line_is_cut_at_512_bytes_and_never_within_a_character),
		TEST(the_longest_sentence_fits_and_keeps_its_end),
		TEST(a_level_has_a_sentence_and_fields),
		TEST(each_level_has_its_priority_and_its_words),
		TEST(the_longest_cgroup_is_whole_in_its_field),
		TEST(where_the_journal_refuses_a_line_goes_out_as_text),
		TEST(every_message_id_is_another_and_has_a_text_in_the_catalog),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
