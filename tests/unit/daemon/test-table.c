/* SPDX-License-Identifier: MIT */
/*
 * Who hears whom: the most specific watch, thresholds of one's own, what is below one, and what
 * becomes of all that when the configuration changes. On real cgroups; levels are simulated.
 */
#include <poll.h>
#include <sys/stat.h>

#include "../unit.h"
#include "../../pressure.h"
#include "../count-malloc.h"
#include "config-bench.h"
#include "daemon/table.h"

static struct lab lab;
static const char *no_lab;

struct listener {
	struct subscriber subscriber;
	struct policy_options terms;
	unsigned told, effects;
	struct psb_notification last;
	char cgroup[128];
};

/* What is said of the cgroup "tight", and what is shown of it. */
struct said {
	unsigned low, effects, rows, rows_low, candidates, candidates_low;
};

static struct stage {
	sd_event *event;
	psb_bridge *bridge;
	struct cgroups cgroups;
	struct config *config;
	struct table *table;
	struct said said;
	unsigned news; /* ever */
	struct listener *joined[32];
	size_t count;
} s;

static void notify(struct subscriber *subscriber, const struct psb_notification *n)
{
	struct listener *l = CONTAINER_OF(subscriber, struct listener, subscriber);

	l->told++;
	l->last = *n;
	snprintf(l->cgroup, sizeof(l->cgroup), "%s", n->cgroup);
	l->last.cgroup = l->cgroup;
}

/* All that is due, in both loops. */
static void turn(void)
{
	struct pollfd p = { .fd = psb_bridge_fd(s.bridge), .events = POLLIN };

	for (int i = 0; i < 50; i++) {
		while (psb_bridge_dispatch(s.bridge) > 0 || sd_event_run(s.event, 0) > 0)
			;
		if (poll(&p, 1, 2) == 0 && sd_event_run(s.event, 0) == 0)
			break;
	}
}

#define TURN_UNTIL(ms, condition) LAB_WAIT(ms, (turn(), (condition)))

/* %s stands for the lab's name. */
static int configure(const char *format)
{
	struct config *config;
	char text[1024];
	int r;

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof(text), format, lab.name, lab.name, lab.name, lab.name);
#pragma GCC diagnostic pop
	fake_write(MAIN, text);
	config = load_well();
	r = table_apply(s.table, config);
	config_free(s.config);
	s.config = config;
	turn();
	return r;
}

static bool is_tight(const char *cgroup)
{
	return strcmp(cgroup, lab_path(&lab, "tight")) == 0;
}

static void note_news(const struct psb_notification *n, _unused_ void *userdata)
{
	s.news++;
	if (n && is_tight(n->cgroup))
		s.said.low += n->available == PSB_LOW;
}

/* 5 s after a Low, if the test is still there. */
static void count_effect(const char *cgroup, _unused_ const struct psb_stats *stats,
			 _unused_ uint64_t rearm_usec, _unused_ void *userdata)
{
	s.said.effects += is_tight(cgroup);
}

/* A client is told once. */
static void note_effect(struct subscriber *subscriber, _unused_ const struct psb_stats *stats)
{
	CONTAINER_OF(subscriber, struct listener, subscriber)->effects++;
}

static void start(void **state)
{
	struct table_options o = { .cgroups = &s.cgroups,
				   .news = note_news,
				   .effect = count_effect };

	if (no_lab)
		SKIP(no_lab);
	assert_int_equal(fake_set_up(state), 0);
	assert_int_equal(cgroups_discover("/proc", &s.cgroups), 0);
	assert_int_equal(sd_event_new(&s.event), 0);
	assert_int_equal(psb_bridge_new(NULL, &s.bridge), 0);
	o.event = s.event;
	o.bridge = s.bridge;
	assert_int_equal(table_new(&o, &s.table), 0);
}

static int stop(void **state)
{
	if (no_lab)
		return 0;
	lab_kill_all(); /* those of a test that failed */
	while (s.count > 0)
		unsubscribe(&s.joined[--s.count]->subscriber);
	s.table = table_free(s.table);
	turn();
	s.bridge = psb_bridge_unref(s.bridge);
	s.event = sd_event_unref(s.event);
	s.config = config_free(s.config);
	return fake_tear_down(state);
}

static int set_up(_unused_ void **state)
{
	static const char *const groups[] = { "a", "a/x", "a/y", "b" };

	no_lab = lab_open(&lab, "psb-table");
	if (no_lab)
		return 0;
	for (size_t i = 0; i < ELEMENTSOF(groups); i++)
		lab_make(&lab, groups[i], 0);
	lab_make(&lab, "tight", LAB_LIMIT);
	return 0;
}

static int tear_down(_unused_ void **state)
{
	lab_close(&lab);
	return 0;
}

/* Listeners are static, and leave at the end. */
static int try_subscribe(struct listener *l, const char *group)
{
	const char *why;

	assert_true(s.count < ELEMENTSOF(s.joined));
	s.joined[s.count++] = l;
	l->subscriber.notify = notify;
	l->subscriber.effect = note_effect;
	l->subscriber.terms = &l->terms;
	return subscribe(s.table, &l->subscriber, lab_path(&lab, group), &why);
}

static void join(struct listener *l, const char *group)
{
	assert_int_equal(try_subscribe(l, group), 0);
	turn();
}

static void simulate(const char *group, enum psb_available available)
{
	unsigned before = s.news;

	assert_int_equal(table_simulate(s.table, lab_path(&lab, group), available, false), 0);
	/* the bridge's own thread may be late to make its descriptor readable */
	assert_true(TURN_UNTIL(5000, s.news > before));
}

#define LOW_AT(usec)                                     \
	{                                                \
		.terms.low = { PSI_SOME, usec, 2000000 } \
	}

/* Of the watch with that path or pattern, in the lab if it does not begin with a slash; false: there is none. */
static bool view_of(const char *path, struct watch_view *ret)
{
	const char *full = path[0] == '/' ? path : lab_path(&lab, path);

	for (size_t i = 0; table_watch(s.table, i, ret); i++)
		if (strcmp(ret->path, full) == 0 || strcmp(ret->path, full + 1) == 0)
			return true;
	return false;
}

#define PATIENT "[Defaults]\nHighHeadroom=off\nQuiet=300ms\nCalm=300ms\n"

/* ---- who hears whom ------------------------------------------------------------------------------ */

static void note_row(const struct cgroup_view *view, _unused_ void *userdata)
{
	bool low = view->present->available == PSB_LOW;

	if (!is_tight(view->present->cgroup))
		return;
	s.said.rows += !view->candidate;
	s.said.rows_low += !view->candidate && low;
	s.said.candidates += view->candidate;
	s.said.candidates_low += view->candidate && low;
}

static void look(void)
{
	turn();
	s.said = (struct said){ .low = s.said.low };
	table_each_cgroup(s.table, note_row, NULL);
}

#define STRICT PATIENT "Rearm=1s\n[Watch %s/**]\n"
/* Not in the seconds for which anything stalls here. (Half of Low is enough for one that began elsewhere to go on.) */
#define LOOSE "[Watch %s/tight]\nEarly=full 9999ms/10s\nLow=full 10s/10s\nCritical=full 10s/10s\n"
#define SHADOW "Shadow=yes\n"

/* Under real pressure that the one calls Low and the other does not. */
static const struct {
	const char *configuration;
	bool is_low;			     /* for clients, in the news and as it is shown */
	unsigned candidates, candidates_low; /* as it is shown */
} judging[] = {
	{ STRICT, true, 0, 0 },
	{ STRICT LOOSE, false, 0, 0 },
	{ STRICT LOOSE SHADOW, true, 1, 0 },
	{ STRICT SHADOW LOOSE, false, 1, 1 },
};

static bool is_judged(size_t i)
{
	look();
	return (s.said.low > 0) == judging[i].is_low && s.said.rows == 1 &&
	       s.said.rows_low == judging[i].is_low && s.said.candidates == judging[i].candidates &&
	       s.said.candidates_low == judging[i].candidates_low;
}

PROMISE(the_most_specific_live_watch_alone_judges_a_cgroup_and_candidates_run_beside_it)
{
	struct watch_view before, after;
	static struct listener client;
	uint64_t stalled;
	pid_t pid;

	assert_int_equal(configure(STRICT), 0);
	join(&client, "tight");
	for (size_t i = 0; i < ELEMENTSOF(judging); i++) {
		assert_int_equal(configure(judging[i].configuration), 0);
		assert_int_equal(
			table_judges(s.table, lab_path(&lab, "tight"), s.config->watches[4].path),
			judging[i].is_low);
		assert_true(view_of("**", &before));
		s.said.low = client.told = 0;
		stalled = lab_psi(&lab, "tight").some_usec;
		pid = lab_press(&lab, "tight");
		/* more than twice what is Low; where others have the CPUs that takes long */
		assert_true(LAB_WAIT(40000, lab_psi(&lab, "tight").some_usec > stalled + 500000 &&
						    is_judged(i)));
		lab_kill(pid);
		assert_int_equal(client.told > 0, judging[i].is_low);
		assert_true(view_of("**", &after));
		if (!judging[i].is_low && !judging[i].candidates)
			assert_int_equal(after.stats.low, before.stats.low);
		assert_true(
			TURN_UNTIL(10000, (look(), s.said.rows_low + s.said.candidates_low == 0)));
		assert_true(
			TURN_UNTIL(10000, client.told == 0 || client.last.available == PSB_HIGH));
	}
}

PROMISE(a_cgroup_hears_itself_and_what_is_below_it_and_no_neighbour)
{
	static struct listener a, x, b, late, own;
	struct psb_notification n;

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	join(&a, "a");
	join(&x, "a/x");
	join(&b, "b");
	simulate("a/x", PSB_LOW);
	join(&late, "a");
	join(&own, "a/x");
	subscriber_present(&late.subscriber, &n);
	assert_int_equal(n.available, PSB_LOW);
	subscriber_present(&own.subscriber, &n);
	assert_int_equal(n.available, PSB_LOW);
	assert_int_equal(late.told + own.told, 0);
	assert_int_equal(x.told, 1);
	assert_int_equal(a.told, 1);
	assert_int_equal(b.told, 0);
	assert_string_equal(a.cgroup, lab_path(&lab, "a"));
	/* a second one below, too: a is as Low as before, and was told a moment ago */
	simulate("a/y", PSB_LOW);
	assert_int_equal(a.told, 1);
	assert_int_equal(x.told, 1);
	/* nor does it help that its own level is better */
	simulate("a", PSB_NEUTRAL);
	assert_int_equal(a.told, 1);
	/* it is over for a when it is over for both */
	assert_true(TURN_UNTIL(10000, a.last.available == PSB_HIGH));
	assert_int_equal(x.last.available, PSB_HIGH);
	assert_int_equal(b.told, 0);
}

PROMISE(low_is_repeated_above_when_it_is_due)
{
	static struct listener a;

	assert_int_equal(configure("[Defaults]\nHighHeadroom=off\nRearm=1ms\n[Watch %s/**]\n"), 0);
	join(&a, "a");
	simulate("a/x", PSB_LOW);
	simulate("a/y", PSB_LOW);
	assert_true(a.told >= 2 && a.last.available == PSB_LOW);
}

PROMISE(nothing_is_allocated_between_the_notification_and_the_last_subscriber)
{
	static struct listener many[20];
	struct watch_view before, after;
	unsigned tries = 0;
	bool neutral;

	if (COUNT_MALLOC_SANITIZED)
		SKIP("the allocator is the sanitizer's");
	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	for (size_t i = 0; i < ELEMENTSOF(many); i++)
		join(&many[i], i % 2 ? "a" : "a/x");
	do {
		assert_true(view_of("**", &before));
		simulate("a/x", PSB_LOW); /* from here on the cgroup is under observation */
		count_malloc_start();
		neutral = TURN_UNTIL(10000, many[1].last.available == PSB_NEUTRAL);
		atomic_store(&count_malloc_on, false); /* resting, its monitor is freed */
		assert_true(neutral);
		assert_true(view_of("**", &after));
		/* a walk of the tree allocates: an alarm of the stalls of the test before may come late */
	} while (after.stats.sweeps != before.stats.sweeps && ++tries < 10);
	count_malloc_stop();
	for (size_t i = 0; i < ELEMENTSOF(many); i++) {
		assert_true(many[i].told >= 2);
	}
}

/* Whose limit a Low of the cgroup "/s/t/u" came from, and what it is from there and from above. */
static const struct {
	const char *path;
	enum psb_cause cause;
	size_t length;
	bool descendants;
	/* then: */
	char level;
	enum psb_cause seen;
	size_t seen_length;
} seen[] = {
	{ "/s/t/u", PSB_CAUSE_OWN, 6, false, 'C', PSB_CAUSE_OWN, 6 },
	{ "/s/t", PSB_CAUSE_OWN, 6, false, 'N', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s/t", PSB_CAUSE_OWN, 6, true, 'C', PSB_CAUSE_DESCENDANT, 0 },
	{ "/", PSB_CAUSE_OWN, 6, false, 'N', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s/t/u", PSB_CAUSE_OWN, 0, false, 'C', PSB_CAUSE_OWN, 0 }, /* v1 */
	{ "/s/t", PSB_CAUSE_OWN, 0, false, 'N', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s/t/u", PSB_CAUSE_ANCESTOR, 4, false, 'C', PSB_CAUSE_ANCESTOR, 4 },
	{ "/s/t", PSB_CAUSE_ANCESTOR, 4, false, 'C', PSB_CAUSE_OWN, 4 },
	{ "/s", PSB_CAUSE_ANCESTOR, 4, false, 'N', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s", PSB_CAUSE_ANCESTOR, 4, true, 'C', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s/t", PSB_CAUSE_ANCESTOR, 2, false, 'C', PSB_CAUSE_ANCESTOR, 2 },
	{ "/s/t", PSB_CAUSE_ANCESTOR, 0, false, 'C', PSB_CAUSE_ANCESTOR, 0 }, /* v1: which one? */
	/* that of the cgroup itself was judged with its own Descendants=yes */
	{ "/s/t/u", PSB_CAUSE_DESCENDANT, 0, false, 'C', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s/t", PSB_CAUSE_DESCENDANT, 0, false, 'N', PSB_CAUSE_DESCENDANT, 0 },
	{ "/s/t", PSB_CAUSE_MACHINE, 0, false, 'C', PSB_CAUSE_MACHINE, 0 },
	{ "/s/t", PSB_CAUSE_UNKNOWN, 0, false, 'C', PSB_CAUSE_UNKNOWN, 0 },
};

PROMISE(what_only_a_limit_below_caused_is_neutral_above_it)
{
	for (size_t i = 0; i < ELEMENTSOF(seen); i++)
		for (int from = PSB_LOW; from <= PSB_HIGH; from++) {
			bool low = seen[i].level == 'C' && from == PSB_LOW;
			struct psb_notification n = { .available = (enum psb_available)from,
						      .critical = from == PSB_LOW,
						      .cgroup = "/s/t/u",
						      .cause = seen[i].cause,
						      .cause_length = seen[i].length };

			table_see_from(seen[i].path, seen[i].descendants, &n);
			if ((int)n.available != (low ? PSB_LOW : MAX(from, PSB_NEUTRAL)) ||
			    n.critical != low || n.cause != seen[i].seen ||
			    n.cause_length != seen[i].seen_length)
				fail_msg("row %zu, level %d: %d, critical %d, cause %d, %zu", i,
					 from, n.available, n.critical, n.cause, n.cause_length);
		}
}

/* ---- terms of one's own -------------------------------------------------------------------------- */

static unsigned thresholds(void)
{
	struct watch_view view;

	assert_true(view_of("**", &view));
	return view.thresholds;
}

PROMISE(equal_terms_share_a_watch_and_its_last_client_takes_it_away)
{
	static struct listener own = LOW_AT(100000), same = LOW_AT(100000), none,
			       like_the_watch = LOW_AT(200000);

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	join(&none, "a");
	join(&like_the_watch, "a");
	assert_int_equal(thresholds(), 1);
	join(&own, "a");
	join(&same, "b");
	assert_int_equal(thresholds(), 2);
	unsubscribe(&own.subscriber);
	turn();
	assert_int_equal(thresholds(), 2);
	unsubscribe(&same.subscriber);
	turn();
	assert_int_equal(thresholds(), 1);
}

PROMISE(one_low_has_one_effect_whatever_terms_its_clients_brought)
{
	static struct listener own = LOW_AT(100000), other = LOW_AT(50000);

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	join(&own, "tight");
	join(&other, "tight");
	s.said.effects = 0;
	simulate("tight", PSB_LOW);
	assert_true(TURN_UNTIL(10000, own.effects + other.effects == 2));
	TURN_UNTIL(1000, s.said.effects > 1);
	assert_int_equal(s.said.effects, 1);
}

/* What is said alone is completed so that it fits; what contradicts is refused, with the words that
 * the configuration gets. */
PROMISE(terms_that_no_alarm_leads_to_are_refused)
{
	static struct listener seldom = LOW_AT(2000000), over = LOW_AT(100000);
	const char *why = NULL;

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	join(&seldom, "a"); /* a tenth of 2 s is more than critical needs */
	over.terms.early = (struct trigger){ PSI_SOME, 100001, 2000000 };
	over.subscriber.terms = &over.terms;
	assert_int_equal(subscribe(s.table, &over.subscriber, lab_path(&lab, "a"), &why), -EINVAL);
	assert_string_equal(why, "early \"some 100001us/2s\" is over low \"some 100ms/2s\", which "
				 "stalls could reach unnoticed; early of at most \"some 100ms/2s\" "
				 "was expected");
}

PROMISE(of_too_many_different_terms_the_watch_has_its_own)
{
	static struct listener l[9];

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	for (unsigned i = 0; i < ELEMENTSOF(l); i++) {
		l[i] = (struct listener)LOW_AT(50000 + i);
		join(&l[i], "a");
		assert_int_equal(thresholds(), MIN(i + 2, 8));
	}
	simulate("a", PSB_LOW);
	assert_int_equal(l[8].told, 1);
}

/* ---- everybody else ------------------------------------------------------------------------------ */

PROMISE(whom_no_watch_covers_gets_one_by_the_defaults_of_today_that_goes_with_the_last)
{
	static struct listener a, b = LOW_AT(100000);
	struct watch_view view;

	assert_int_equal(configure(PATIENT), 0);
	join(&a, "a");
	join(&b, "b");
	assert_true(view_of("**", &view) && !view.configured && view.clients == 2);
	assert_int_equal(configure(PATIENT "Low=some 300ms/2s\n"), 0);
	assert_true(view_of("**", &view) && view.clients == 2);
	assert_int_equal(view.settings.policy.low.threshold_usec, 300000);
	simulate("a", PSB_LOW);
	assert_int_equal(a.told, 1);
	assert_int_equal(b.told, 0);
	assert_int_equal(configure(PATIENT "Low=some 300ms/2s\n[Watch %s/**]\n"), 0);
	assert_true(view_of("**", &view) && view.configured && view.clients == 2);
	assert_int_equal(configure(PATIENT), 0);
	unsubscribe(&a.subscriber);
	unsubscribe(&b.subscriber);
	turn();
	assert_false(view_of("**", &view));
	assert_int_equal(configure(PATIENT "[Daemon]\nServeOthers=no\n"), 0);
	assert_int_equal(try_subscribe(&a, "a"), -ENOENT);
	assert_int_equal(try_subscribe(&a, "nowhere"), -ENOENT);
}

/* ---- another configuration ----------------------------------------------------------------------- */

PROMISE(subscribers_move_and_their_level_goes_on)
{
	static struct listener a, own = LOW_AT(100000);

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	join(&a, "a");
	join(&own, "a");
	simulate("a", PSB_LOW);
	/* its own watch now, with other thresholds; then none at all */
	assert_int_equal(configure(PATIENT "Low=some 300ms/2s\n[Watch %s/**]\n[Watch %s/a]\n"), 0);
	assert_int_equal(configure(PATIENT), 0);
	assert_int_equal(a.told, 1); /* none is told twice */
	assert_int_equal(own.told, 1);
	assert_true(TURN_UNTIL(10000, a.last.available == PSB_HIGH));
	assert_true(TURN_UNTIL(10000, own.last.available == PSB_HIGH));
}

static bool is_watching(const char *path)
{
	struct watch_view view;

	turn();
	return view_of(path, &view) && view.state == WATCH_WATCHING;
}

/* What is queued for a watch that waits no more is of no interest to another, which waits in the same directory. The first
 * removal is heard in the turn in which the watch of in/x/y is to be tried; that comes before the second. */
PROMISE(of_watches_that_wait_in_one_directory_one_may_find_its_cgroup)
{
	static const char *const groups[] = { "in", "in/x", "in/z0", "in/z1", "in/z2" };

	alarm(60); /* ends a loop that never returns */
	for (size_t i = 0; i < ELEMENTSOF(groups); i++)
		lab_make(&lab, groups[i], 0);
	configure("[Watch %s/in/later]\n[Watch %s/in/x/y]\n");
	lab_make(&lab, "in/x/y", 0);
	assert_true(sd_event_run(s.event, USEC_PER_SEC) > 0);
	for (size_t i = 2; i < ELEMENTSOF(groups); i++)
		lab_remove(&lab, groups[i]);
	lab_sleep_ms(2); /* timers are exact to 1 ms */
	assert_true(LAB_WAIT(5000, is_watching("in/x/y")));
	assert_false(is_watching("in/later"));
	lab_make(&lab, "in/later", 0);
	assert_true(LAB_WAIT(5000, is_watching("in/later")));
	configure("");
	lab_remove(&lab, "in");
	alarm(0);
}

PROMISE(what_did_not_change_keeps_its_watch)
{
	struct watch_view before, after;

	assert_int_equal(configure(PATIENT "[Watch %s/**]\n"), 0);
	simulate("a", PSB_NEUTRAL);
	assert_true(view_of("**", &before) && before.stats.neutral > 0);
	assert_int_equal(configure(PATIENT "[Watch %s/**]\n[Watch %s/b]\n"), 0);
	assert_true(view_of("**", &after) && after.id == before.id);
	assert_true(after.stats.neutral >= before.stats.neutral);
	assert_int_equal(configure(PATIENT "Rearm=1s\n[Watch %s/**]\n"), 0);
	assert_true(view_of("**", &after) && after.stats.neutral == 0);
}

GROUP(set_up, tear_down)
FIXTURE(start, stop)
