/* SPDX-License-Identifier: MIT */
/*
 * test-bus.c - org.psibridge1: what is asked, what is announced, who may change what
 */
#include "bus-bench.h"

/* ---- asking ---------------------------------------------------------------------------------- */

static void properties_say_what_the_forest_says(void **state)
{
	static const struct {
		const char *name, *text;
	} words[] = {
		{ "Path", "system.slice/**" },
		{ "State", "watching" },
		{ "Why", "" },
		{ "Available", "low" },
		{ "Source", "psi-privileged" },
		{ "SourcePath", "/sys/fs/cgroup/memory.pressure" },
		{ "SourceWhy", "because" },
		{ "Trigger", "some 20000 2000000" },
		{ "EarlyTrigger", "some 20ms/2s" },
		{ "LowTrigger", "some 200ms/2s" },
		{ "CriticalTrigger", "full 100ms/2s" },
	};
	static const struct {
		const char *name;
		char type;
		uint64_t value;
	} numbers[] = {
		{ "Configured", 'b', 1 },
		{ "Critical", 'b', 1 },
		{ "Shadow", 'b', 1 },
		{ "Clients", 'u', 17 },
		{ "Rung", 'u', 2 },
		{ "RearmUSec", 't', 8192000 },
		{ "QuietUSec", 't', 4000000 },
		{ "CalmUSec", 't', 10000000 },
		{ "HighHeadroom", 'u', 25 },
		{ "Alarms", 't', 1 },
		{ "FalseAlarms", 't', 2 },
		{ "LostAlarms", 't', 3 },
		{ "Samples", 't', 4 },
		{ "Sweeps", 't', 5 },
		{ "LowCount", 't', 6 },
		{ "CriticalCount", 't', 7 },
		{ "NeutralCount", 't', 8 },
		{ "HighCount", 't', 9 },
		{ "BytesBack", 't', 1u << 30 },
		{ "Members", 't', 11 },
	};
	struct tree_view *view;

	all_up(state);
	fake_plant(3, "user.slice/**");
	view = fake_plant(7, "system.slice/**");
	view->available = PSB_LOW;
	view->critical = view->settings.shadow = true;
	view->clients = 17;
	view->settings.quiet_usec = 4000000;
	strcpy(view->source.why, "because");
	view->stats = (struct psb_stats){ .size = sizeof(view->stats),
					  .alarms = 1,
					  .false_alarms = 2,
					  .lost_alarms = 3,
					  .samples = 4,
					  .sweeps = 5,
					  .low = 6,
					  .critical = 7,
					  .neutral = 8,
					  .high = 9,
					  .bytes_back = 1u << 30,
					  .members = 11 };
	for (size_t i = 0; i < ELEMENTSOF(words); i++) {
		sd_bus_message *m = ask("/org/psibridge1/watch/7",
					"org.freedesktop.DBus.Properties", "Get", "ss", BUS_WATCH,
					words[i].name);
		const char *text = NULL;

		assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
		assert_string_equal(text, words[i].text);
		sd_bus_message_unref(m);
	}
	for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
		sd_bus_message *m = ask("/org/psibridge1/watch/7",
					"org.freedesktop.DBus.Properties", "Get", "ss", BUS_WATCH,
					numbers[i].name);
		char type[] = { numbers[i].type, '\0' };
		uint64_t wide = 0;
		uint32_t narrow = 0;

		assert_true(sd_bus_message_read(m, "v", type,
						numbers[i].type == 't' ? (void *)&wide
								       : (void *)&narrow) > 0);
		if (wide + narrow != numbers[i].value)
			fail_msg("%s is %llu", numbers[i].name,
				 (unsigned long long)(wide + narrow));
		sd_bus_message_unref(m);
	}
}

static void a_watch_that_failed_has_no_source(void **state)
{
	struct tree_view *view;
	sd_bus_message *m;
	const char *text;

	all_up(state);
	view = fake_plant(1, "a");
	view->state = TREE_FAILED;
	view->why = "no PSI here";
	view->stats.alarms = 99; /* rubbish: only those who watch have numbers */
	memset(&view->source, 0xaa, sizeof(view->source));
	m = ask(BUS_WATCHES "/1", "org.freedesktop.DBus.Properties", "GetAll", "s", BUS_WATCH);
	assert_null(sd_bus_message_get_error(m));
	sd_bus_message_unref(m);
	m = ask(BUS_WATCHES "/1", "org.freedesktop.DBus.Properties", "Get", "ss", BUS_WATCH, "Why");
	assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
	assert_string_equal(text, "no PSI here");
	sd_bus_message_unref(m);
	m = ask(BUS_WATCHES "/1", "org.freedesktop.DBus.Properties", "Get", "ss", BUS_WATCH,
		"Source");
	assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
	assert_string_equal(text, "");
	sd_bus_message_unref(m);
}

static void what_is_no_watch_is_no_object(void **state)
{
	static const char *const paths[] = { "/2",	    "/01", "/1/1",	 "/x",
					     "/4294967297", "/1x", "/4294967296" };

	all_up(state);
	fake_plant(1, "a");
	for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
		char path[64];

		snprintf(path, sizeof(path), BUS_WATCHES "%s", paths[i]);
		assert_string_equal(error_of(ask(path, "org.freedesktop.DBus.Properties", "Get",
						 "ss", BUS_WATCH, "Path"),
					     NULL),
				    SD_BUS_ERROR_UNKNOWN_OBJECT);
	}
}

static void lists_have_everything(void **state)
{
	const char *path, *object;
	sd_bus_message *m;
	uint32_t id, clients;
	int flag;

	all_up(state);
	fake_plant(4, "b/**");
	fake_plant(2, "a")->configured = false;
	fake.cgroups[0] = (struct psb_notification){ .cgroup = "/b/x",
						     .available = PSB_LOW,
						     .critical = 1 };
	fake.views[0].tree = 4;
	fake.views[0].clients = 3;
	fake.cgroups[1] = (struct psb_notification){ .cgroup = "/a", .available = PSB_NEUTRAL };
	fake.views[1].tree = 2;
	fake.cgroup_count = 2;

	m = ask(BUS_PATH, BUS_MANAGER, "ListWatches", NULL);
	assert_true(sd_bus_message_enter_container(m, 'a', "(uosb)") > 0);
	assert_true(sd_bus_message_read(m, "(uosb)", &id, &object, &path, &flag) > 0);
	assert_int_equal(id, 4); /* in the order of the configuration */
	assert_string_equal(object, BUS_WATCHES "/4");
	assert_string_equal(path, "b/**");
	assert_true(flag);
	assert_true(sd_bus_message_read(m, "(uosb)", &id, &object, &path, &flag) > 0);
	assert_int_equal(id, 2);
	assert_false(flag);
	assert_true(sd_bus_message_at_end(m, false) > 0);
	sd_bus_message_unref(m);

	m = ask(BUS_PATH, BUS_MANAGER, "ListCgroups", NULL);
	assert_true(sd_bus_message_enter_container(m, 'a', "(sosbu)") > 0);
	assert_true(sd_bus_message_read(m, "(sosbu)", &path, &object, &object, &flag, &clients) >
		    0);
	assert_string_equal(path, "/b/x");
	assert_string_equal(object, "low");
	assert_true(flag);
	assert_int_equal(clients, 3);
	assert_true(sd_bus_message_read(m, "(sosbu)", &path, &object, &object, &flag, &clients) >
		    0);
	assert_string_equal(object, "neutral");
	assert_true(sd_bus_message_at_end(m, false) > 0);
	sd_bus_message_unref(m);
}

static void the_manager_describes_the_daemon(void **state)
{
	char **files = NULL;
	sd_bus_message *m;
	const char *text;
	uint32_t n;

	all_up(state);
	house.d.server = (struct server *)&house; /* never looked into */
	fake.server.clients = 12;
	strcpy(house.d.config_error, "a.conf:3: Low: no");
	m = ask(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_MANAGER, "Version");
	assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
	assert_string_equal(text, psb_version());
	sd_bus_message_unref(m);
	m = ask(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_MANAGER, "Backend");
	assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
	assert_string_equal(text, *(const enum loop_backend *)*state == LOOP_URING ? "io_uring"
										   : "epoll");
	sd_bus_message_unref(m);
	m = ask(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_MANAGER, "Clients");
	assert_true(sd_bus_message_read(m, "v", "u", &n) > 0);
	assert_int_equal(n, 12);
	sd_bus_message_unref(m);
	m = ask(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_MANAGER,
		"ConfigurationError");
	assert_true(sd_bus_message_read(m, "v", "s", &text) > 0);
	assert_string_equal(text, "a.conf:3: Low: no");
	sd_bus_message_unref(m);
	m = ask(BUS_PATH, "org.freedesktop.DBus.Properties", "Get", "ss", BUS_MANAGER,
		"Configuration");
	assert_true(sd_bus_message_enter_container(m, 'v', "as") > 0);
	assert_true(sd_bus_message_read_strv(m, &files) >= 0);
	assert_string_equal(files[1], house.files[1]);
	assert_null(files[2]);
	for (size_t i = 0; files[i]; i++)
		free(files[i]);
	free(files);
	sd_bus_message_unref(m);
}

/* Every member that the bus shows, and no reader would find, would be a secret. */
static void the_manual_knows_every_member(void **state)
{
	static const char *const objects[] = { BUS_PATH, BUS_WATCHES, BUS_WATCHES "/1",
					       LOWMEM_PATH };
	static char page[65536];
	const char *srcdir = getenv("srcdir");
	char path[4096];
	unsigned members = 0;
	FILE *f;

	all_up(state);
	fake_plant(1, "a");
	snprintf(path, sizeof(path), "%s/src/daemon/org.psibridge1.5", srcdir ? srcdir : ".");
	f = fopen(path, "re");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	assert_true(fread(page, 1, sizeof(page) - 1, f) > 1000);
	fclose(f);
	for (size_t i = 0; i < ELEMENTSOF(objects); i++) {
		sd_bus_message *m = ask(objects[i], "org.freedesktop.DBus.Introspectable",
					"Introspect", NULL);
		const char *xml, *p;
		bool ours = false;

		assert_true(sd_bus_message_read(m, "s", &xml) > 0);
		for (p = xml; (p = strchr(p, '<')) != NULL; p++) {
			char kind[32] = "", name[64] = "";
			const char *quote = strstr(p, "name=\""), *end = strchr(p, '>');

			if (!quote || quote > end)
				continue;
			snprintf(kind, MIN(sizeof(kind), strcspn(p + 1, " ") + 1), "%s", p + 1);
			snprintf(name, MIN(sizeof(name), strcspn(quote + 6, "\"") + 1), "%s",
				 quote + 6);
			if (strcmp(kind, "interface") == 0)
				ours = strncmp(name, "org.freedesktop.DBus.", 21) != 0;
			else if (!ours ||
				 (strcmp(kind, "method") != 0 && strcmp(kind, "signal") != 0 &&
				  strcmp(kind, "property") != 0))
				continue;
			if (ours && !strstr(page, name))
				fail_msg("%s %s is not in org.psibridge1.5", kind, name);
			members += ours;
		}
		sd_bus_message_unref(m);
	}
	assert_true(members > 40);
}

/* ---- announcing ------------------------------------------------------------------------------ */

static void a_level_is_announced(void **state)
{
	all_up(state);
	fake_plant(5, "a/**");
	fake_tell_trees();
	SPIN(heard_line("WatchAdded 5 " BUS_WATCHES "/5"));
	fake_tell(5, "/a/b", PSB_LOW, true, PSB_REASON_STALL, 123);
	SPIN(heard_line("LevelChanged /a/b low 1 stall 123"));
	assert_non_null(heard_line("PropertiesChanged " BUS_WATCHES "/5 Available=low Critical"));
	fake_tell(5, "/a/b", PSB_NEUTRAL, false, PSB_REASON_CALM, 0);
	SPIN(heard_line("LevelChanged /a/b neutral 0 calm 0"));
	assert_non_null(heard_line("Available=neutral Critical"));
}

static void many_changes_become_one_signal(void **state)
{
	all_up(state);
	fake_plant(5, "a/**");
	fake_tell_trees();
	SPIN(heard_line("WatchAdded"));
	/* from here on within the pause that follows an emission */
	for (unsigned i = 0; i < 50; i++)
		fake_tell(5, "/a/b", i % 2 ? PSB_LOW : PSB_NEUTRAL, false, PSB_REASON_STALL, 1);
	fake_tell(5, "/a/b", PSB_HIGH, false, PSB_REASON_CALM, 0);
	fake_tell(5, "/a/c", PSB_LOW, false, PSB_REASON_STALL, 2);
	SPIN(heard_line("LevelChanged /a/c low 0 stall 2"));
	assert_int_equal(heard_lines("LevelChanged /a/b"), 1);
	assert_non_null(heard_line("LevelChanged /a/b high 0 calm 50"));
	assert_int_equal(heard_lines("PropertiesChanged"), 1);
}

static void between_two_emissions_is_a_pause(void **state)
{
	uint64_t emitted;

	all_up(state);
	fake_tell(5, "/a", PSB_LOW, false, PSB_REASON_STALL, 1);
	SPIN(heard_line("LevelChanged /a low"));
	emitted = house.d.bus->emitted_usec;
	fake_tell(5, "/a", PSB_HIGH, false, PSB_REASON_CALM, 1);
	assert_true(house.d.bus->emit.queued && house.d.bus->emit.deadline_usec >= emitted + 50000);
}

static void what_was_undone_is_not_mentioned(void **state)
{
	all_up(state);
	fake_plant(5, "a/**");
	fake_tell_trees();
	SPIN(heard_line("WatchAdded"));
	fake_tell(5, "/a/b", PSB_LOW, false, PSB_REASON_STALL, 1);
	fake_tell(5, "/a/b", PSB_HIGH, false, PSB_REASON_CALM, 0);
	SPIN(heard_line("LevelChanged /a/b high"));
	assert_int_equal(heard_lines("PropertiesChanged"), 0);
}

static void what_does_not_fit_is_counted(void **state)
{
	char cgroup[32], line[64];

	all_up(state);
	fake_plant(5, "a/**");
	fake_tell_trees();
	SPIN(heard_line("WatchAdded"));
	for (unsigned i = 0; i < BUS_LEVELS_MAX + 44; i++) {
		snprintf(cgroup, sizeof(cgroup), "/a/%u", i);
		fake_tell(5, cgroup, PSB_LOW, false, PSB_REASON_STALL, 1);
	}
	SPIN(heard_line("LevelsMissed 44"));
	assert_int_equal(heard_lines("LevelChanged"), BUS_LEVELS_MAX);
	snprintf(line, sizeof(line), "LevelChanged /a/%d low", BUS_LEVELS_MAX - 1);
	assert_non_null(heard_line(line));
	fake_tell(5, "/a/later", PSB_LOW, false, PSB_REASON_STALL, 1);
	SPIN(heard_line("/a/later"));
	assert_int_equal(heard_lines("LevelsMissed"), 1);
}

static void long_paths_do_not_overflow(void **state)
{
	char cgroup[CGPATH_MAX];

	all_up(state);
	fake_plant(5, "a/**");
	for (unsigned i = 0; i < 12; i++) { /* 12 times 4 KiB do not fit into 32 */
		memset(cgroup, 'x', sizeof(cgroup));
		cgroup[0] = '/';
		cgroup[1] = (char)('a' + i);
		cgroup[sizeof(cgroup) - 1] = '\0';
		fake_tell(5, cgroup, PSB_LOW, false, PSB_REASON_STALL, 1);
	}
	SPIN(heard_line("LevelsMissed 4"));
	assert_int_equal(heard_lines("LevelChanged"), 8);
}

static void watches_that_come_go_and_change_are_announced(void **state)
{
	all_up(state);
	fake_plant(9, "a/**");
	fake_plant(2, "b");
	fake_tell_trees();
	SPIN(heard_lines("WatchAdded") == 2);
	fake_fell(9);
	fake_plant(11, "c");
	fake_tree(2)->state = TREE_ABSENT;
	fake_tree(2)->why = "not there yet";
	fake_tree(2)->settings.low.threshold_usec++;
	fake_tell_trees();
	SPIN(heard_line("WatchRemoved 9 " BUS_WATCHES "/9"));
	SPIN(heard_line("WatchAdded 11 "));
	SPIN(heard_line("PropertiesChanged " BUS_WATCHES "/2"));
	assert_non_null(heard_line("State=absent Why"));
	assert_non_null(heard_line("LowTrigger"));
	assert_null(heard_line("Available"));
	heard_count = 0;
	fake.trees[2] = fake.trees[0]; /* found though it stands elsewhere now */
	fake.trees[0] = fake.trees[1];
	fake.trees[1] = fake.trees[2];
	fake_tell(2, "/b", PSB_LOW, false, PSB_REASON_STALL, 1);
	SPIN(heard_line("PropertiesChanged " BUS_WATCHES "/2 Available=low"));
}

static void a_new_configuration_is_announced(void **state)
{
	all_up(state);
	bus_config_changed(house.d.bus);
	SPIN(heard_line("PropertiesChanged " BUS_PATH " Configuration ConfigurationError"));
}

/* ---- who may do what ------------------------------------------------------------------------- */

static void root_may_simulate(void **state)
{
	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can show what root may do");
	assert_string_equal(
		error_of(ask(BUS_PATH, BUS_MANAGER, "Simulate", "ssb", "a//b", "low", 1), NULL),
		"");
	assert_int_equal(fake.simulated, 1);
	assert_string_equal(fake.simulated_cgroup, "/a/b");
	assert_int_equal(fake.simulated_available, PSB_LOW);
	assert_true(fake.simulated_critical);
	assert_int_equal(house.d.bus->errands, 0);
}

static void nonsense_is_not_simulated(void **state)
{
	static const struct {
		const char *cgroup, *available;
		int critical, result;
		const char *error, *text;
	} cases[] = {
		{ "a", "lowish", 0, 0, SD_BUS_ERROR_INVALID_ARGS,
		  "available is \"lowish\"; it is \"low\", \"neutral\" or \"high\"" },
		{ "a", "high", 1, 0, SD_BUS_ERROR_INVALID_ARGS, "only \"low\" can be critical" },
		{ "a/../b", "low", 0, 0, SD_BUS_ERROR_INVALID_ARGS, "a/../b" },
		{ "", "low", 0, 0, SD_BUS_ERROR_INVALID_ARGS, "cgroup" },
		{ "a", "low", 0, -ENOENT, BUS_NAME ".Error.NoSuchCgroup", "/a" },
		{ "a", "low", 0, -ENOMEM, SD_BUS_ERROR_NO_MEMORY, "" },
	};

	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can show what root may do");
	for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
		const char *text;

		fake.simulate_result = cases[i].result;
		fake.simulated = 0;
		assert_string_equal(
			error_of(ask(BUS_PATH, BUS_MANAGER, "Simulate", "ssb", cases[i].cgroup,
				     cases[i].available, cases[i].critical),
				 &text),
			cases[i].error);
		assert_non_null(strstr(text, cases[i].text));
		assert_int_equal(fake.simulated, cases[i].result != 0);
	}
}

/* The policy of this bus lets everybody do everything. */
static void others_may_read_but_not_change(void **state)
{
	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can become somebody else");
	house.client = sd_bus_close_unref(house.client);
	client_up(NOBODY);
	assert_string_equal(
		error_of(ask(BUS_PATH, BUS_MANAGER, "Simulate", "ssb", "a", "low", 0), NULL),
		SD_BUS_ERROR_ACCESS_DENIED);
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "Reload", NULL), NULL),
			    SD_BUS_ERROR_ACCESS_DENIED);
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "ListWatches", NULL), NULL), "");
	assert_int_equal(fake.simulated + fake.reloaded, 0);
}

static void who_leaves_before_it_is_known_who_he_was_changes_nothing(void **state)
{
	sd_bus_message *call;
	uint64_t queued;

	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can become somebody else");
	house.client = sd_bus_close_unref(house.client);
	client_up(NOBODY);
	assert_true(sd_bus_message_new_method_call(house.client, &call, BUS_NAME, BUS_PATH,
						   BUS_MANAGER, "Reload") >= 0);
	assert_true(sd_bus_send(house.client, call, NULL) >= 0);
	sd_bus_message_unref(call);
	assert_true(sd_bus_get_n_queued_write(house.client, &queued) >= 0);
	assert_int_equal(queued, 0);
	house.client = sd_bus_close_unref(house.client);
	client_up(0);
	/* an answer to what was asked later came behind whatever became of that */
	assert_string_equal(
		error_of(ask(BUS_PATH, BUS_MANAGER, "Simulate", "ssb", "a", "low", 0), NULL), "");
	assert_int_equal(fake.reloaded, 0);
	assert_int_equal(house.d.bus->errands, 0);
}

static void what_is_wrong_with_a_configuration_is_handed_to_who_reloads(void **state)
{
	const char *text;

	all_up(state);
	if (geteuid() != 0)
		SKIP("only root can show what root may do");
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "Reload", NULL), NULL), "");
	assert_int_equal(fake.reloaded, 1);
	fake.reload_result = -EINVAL;
	strcpy(fake.reload_error, "b.conf:7: Early: 100%s is no trigger");
	assert_string_equal(error_of(ask(BUS_PATH, BUS_MANAGER, "Reload", NULL), &text),
			    BUS_NAME ".Error.BadConfiguration");
	assert_string_equal(text, "b.conf:7: Early: 100%s is no trigger");
}

/* units/org.psibridge1.conf, on a bus that as the system's forbids what nobody allowed. */
static void the_policy_file_lets_everybody_read_and_root_change(void **state)
{
	static const struct {
		const char *interface, *member;
		bool reads;
	} calls[] = {
		{ "org.freedesktop.DBus.Introspectable", "Introspect", true },
		{ "org.freedesktop.DBus.Peer", "Ping", true },
		{ BUS_MANAGER, "ListWatches", true },
		{ BUS_MANAGER, "ListCgroups", true },
		{ BUS_MANAGER, "Reload", false },
	};
	static const uid_t users[] = { 0, NOBODY };
	const char *srcdir = getenv("srcdir");
	char cwd[2048], policy[4096];

	if (geteuid() != 0)
		SKIP("only root can show what root may do");
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	if (srcdir && srcdir[0] == '/')
		cwd[0] = '\0';
	snprintf(policy, sizeof(policy),
		 "<policy context=\"default\"><allow user=\"*\"/><deny own=\"*\"/>"
		 "<deny send_type=\"method_call\"/><allow send_type=\"signal\"/>"
		 "<allow send_requested_reply=\"true\" send_type=\"method_return\"/>"
		 "<allow send_requested_reply=\"true\" send_type=\"error\"/>"
		 "<allow receive_type=\"method_call\"/><allow receive_type=\"method_return\"/>"
		 "<allow receive_type=\"error\"/><allow receive_type=\"signal\"/>"
		 "<allow send_destination=\"org.freedesktop.DBus\"/></policy>"
		 "<include>%s/%s/units/org.psibridge1.conf</include>",
		 cwd, srcdir ? srcdir : ".");
	bus_policy = policy;
	all_up(state);
	for (size_t u = 0; u < ELEMENTSOF(users); u++) {
		house.client = sd_bus_close_unref(house.client);
		client_up(users[u]);
		for (size_t i = 0; i < ELEMENTSOF(calls); i++) {
			const char *error = error_of(
				ask(BUS_PATH, calls[i].interface, calls[i].member, NULL), NULL);

			if (strcmp(error, calls[i].reads || users[u] == 0
						  ? ""
						  : SD_BUS_ERROR_ACCESS_DENIED) != 0)
				fail_msg("uid %u, %s: \"%s\"", users[u], calls[i].member, error);
		}
		assert_int_equal(fake.reloaded, 1);
		if (users[u] != 0)
			assert_true(sd_bus_request_name(house.client, LOWMEM_NAME, 0) == -EACCES);
	}
}

int main(void)
{
	static const promise promises[] = {
		PROMISE(properties_say_what_the_forest_says),
		PROMISE(a_watch_that_failed_has_no_source),
		PROMISE(what_is_no_watch_is_no_object),
		PROMISE(lists_have_everything),
		PROMISE(the_manager_describes_the_daemon),
		PROMISE(the_manual_knows_every_member),
		PROMISE(a_level_is_announced),
		PROMISE(many_changes_become_one_signal),
		PROMISE(between_two_emissions_is_a_pause),
		PROMISE(what_was_undone_is_not_mentioned),
		PROMISE(what_does_not_fit_is_counted),
		PROMISE(long_paths_do_not_overflow),
		PROMISE(watches_that_come_go_and_change_are_announced),
		PROMISE(a_new_configuration_is_announced),
		PROMISE(root_may_simulate),
		PROMISE(nonsense_is_not_simulated),
		PROMISE(others_may_read_but_not_change),
		PROMISE(who_leaves_before_it_is_known_who_he_was_changes_nothing),
		PROMISE(what_is_wrong_with_a_configuration_is_handed_to_who_reloads),
		PROMISE(the_policy_file_lets_everybody_read_and_root_change),
	};

	return run_promises("bus", promises, ELEMENTSOF(promises));
}
