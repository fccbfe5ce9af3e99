/* SPDX-License-Identifier: MIT */
/*
 * test-control.c - the control socket: what is refused, said and done, and clients that are slow, many, hostile or gone
 * (src/daemon/control.h)
 *
 * The socket and its loop are real; what control.c asks of the rest of the daemon is a table below. Clients and server
 * share one thread: a client writes what its socket takes, then the loop is turned until something is there to read.
 */
#include "../unit.h"

#include <jansson.h>
#include <sys/stat.h>

#include "../../sockets.h"
#include "../fake-root.h"
#include "daemon/control.h"
#include "daemon/history.h"
#include "daemon/listen.h"
#include "daemon/memoryhigh.h"

#define PATIENCE_USEC (20 * USEC_PER_SEC) /* for what must happen */
#define SHORT_USEC (20 * USEC_PER_MSEC)
#define NOBODY 65534
#define STATUS "{\"verb\":\"status\"}\n"
#define RELOAD "{\"verb\":\"reload\"}\n"

static struct stage {
	struct daemon daemon;
	struct config config;
	struct watch_view watches[2];
	size_t watch_count, cgroup_count;
	struct psb_notification cgroups[5000];
	struct past past;
	int result; /* of what is asked to be done */
	bool deaf;
	unsigned times_shown, times_reloaded, times_simulated;
} stage;

/* ---- what control.c asks of the daemon ----------------------------------------------------------- */

bool history_get(_unused_ struct history *history, size_t index, _unused_ uint64_t now_usec,
		 struct past *ret)
{
	*ret = stage.past;
	return index == 0 && stage.past.cgroup;
}

bool table_watch(_unused_ struct table *table, size_t index, struct watch_view *ret)
{
	if (index < stage.watch_count)
		*ret = stage.watches[index];
	return index < stage.watch_count;
}

void table_each_cgroup(_unused_ struct table *table,
		       void (*fn)(const struct cgroup_view *view, void *userdata), void *userdata)
{
	stage.times_shown++;
	for (size_t i = 0; i < stage.cgroup_count; i++)
		fn(&(struct cgroup_view){ .present = &stage.cgroups[i], .watch = 7, .clients = 2 },
		   userdata);
}

/* It is always about the one cgroup, "/one". */
int table_simulate(_unused_ struct table *table, const char *cgroup, enum psb_available available,
		   bool critical)
{
	stage.times_simulated++;
	if (stage.result < 0 || strcmp(cgroup, "/one") != 0)
		return stage.result < 0 ? stage.result : -ENOENT;
	stage.cgroups[0].available = available;
	stage.cgroups[0].critical = critical;
	return 0;
}

void server_view(_unused_ const struct server *server, struct server_view *ret)
{
	*ret = (struct server_view){ 1, 2, 3, 4, 5, 6, 7 };
}

void memoryhigh_view(_unused_ const struct memoryhigh *high, _unused_ const char *path,
		     struct memoryhigh_view *ret)
{
	*ret = (struct memoryhigh_view){ 90, 2, 1, "/x: why" };
}

static bool bridge_answers(_unused_ struct daemon *daemon)
{
	return !stage.deaf;
}

static int reload(_unused_ struct daemon *daemon)
{
	stage.times_reloaded++;
	return stage.result;
}

static int take(struct daemon *daemon, struct config *config)
{
	if (stage.result < 0) {
		config_free(config);
		return stage.result;
	}
	config_free(daemon->config);
	daemon->config = config;
	return 0;
}

static const struct daemon_calls calls = { .reload = reload,
					   .take = take,
					   .bridge_answers = bridge_answers };

static int begin_with(uint64_t patience_usec)
{
	static char file[] = "/etc/psibridge/psibridged.conf", *files[] = { file, NULL };
	int fd;

	memset(&stage, 0, sizeof(stage));
	stage.config = (struct config){ .files = files, .clients_max = 16384 };
	stage.daemon = (struct daemon){ .calls = &calls,
					.config = &stage.config,
					.root = fake_root };
	strcpy(stage.daemon.cgroups.v2.point, "/sys/fs/cgroup");
	stage.watches[0] = (struct watch_view){
		.id = 7, .path = "system.slice/*", .state = WATCH_WATCHING, .why = "", .clients = 3
	};
	return fake_set_up(NULL) < 0 || chmod(fake_root, 0755) < 0 ||
	       sd_event_new(&stage.daemon.event) < 0 ||
	       psb_bridge_new(NULL, &stage.daemon.bridge) < 0 ||
	       (fd = listen_at(fake_path("control"))) < 0 ||
	       control_new(&stage.daemon, fd, patience_usec, &stage.daemon.control) < 0;
}

static int begin(_unused_ void **state)
{
	return begin_with(CONTROL_PATIENCE_USEC);
}

static int end(void **state)
{
	control_free(stage.daemon.control);
	psb_bridge_unref(stage.daemon.bridge);
	sd_event_unref(stage.daemon.event);
	return fake_tear_down(state);
}

static void fill_cgroups(size_t count)
{
	static char names[ELEMENTSOF(stage.cgroups)][32];

	stage.cgroup_count = count;
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "/some.slice/%zu.service", i);
		stage.cgroups[i] = (struct psb_notification){ .available = PSB_LOW,
							      .cgroup = i ? names[i] : "/one" };
	}
}

/* ---- clients ------------------------------------------------------------------------------------- */

static void turn(void)
{
	assert_true(sd_event_run(stage.daemon.event, USEC_PER_MSEC) >= 0);
}

static int dial(void)
{
	return socket_at(fake_path("control"), SOCK_STREAM | SOCK_NONBLOCK, connect);
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

	assert_int_equal(seteuid(uid), 0);
	fd = dial();
	assert_int_equal(seteuid(0), 0);
	return fd;
}

/* JSON with ' in place of " */
static const char *quoted(const char *text)
{
	static char buf[2 * CONTROL_LINE_MAX];

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

/* All up to the end of the connection, which is closed: a line of JSON, or "". Valid until the next. */
static const char *hear(int fd)
{
	static char text[4 << 20];
	uint64_t until = now_usec() + PATIENCE_USEC;
	size_t size = 0;
	json_t *json;
	ssize_t n;

	while ((n = recv(fd, text + size, sizeof(text) - size, 0)) > 0 ||
	       (n < 0 && errno == EAGAIN)) {
		assert_true(now_usec() < until);
		size += (size_t)MAX(n, (ssize_t)0);
		turn();
	}
	close(fd);
	text[size] = '\0';
	json = json_loads(text, 0, NULL);
	if (size > 0 && (!json || text[size - 1] != '\n'))
		fail_msg("no line of JSON: %s", text);
	json_decref(json);
	return text;
}

static const char *ask(int fd, const char *request)
{
	say(fd, request);
	return hear(fd);
}

static void assert_says(const char *answer, const char *part)
{
	if (!strstr(answer, quoted(part)))
		fail_msg("%s is not in %s", quoted(part), answer);
}

static void assert_refused(const char *answer, const char *error, const char *words)
{
	char name[64];

	snprintf(name, sizeof(name), "'errno':'%s'}\n", error);
	assert_says(answer, name);
	assert_says(answer, words);
}

#define OK "{'ok':true}\n"

static void assert_serves(void)
{
	assert_says(ask(dial(), STATUS), "{'version':'" PACKAGE_VERSION "'");
}

/* ---- requests and answers ------------------------------------------------------------------------ */

#define SIMULATE "{'verb':'simulate','cgroup':"
#define LOW ",'available':'low'}\n"

#define ROW(request, error, says)          \
	{                                  \
		request, error, says, 0, 0 \
	}

static const struct exchange {
	const char *request;
	const char *error, *says; /* error NULL: it is done, and the next status says that */
	int result;		  /* of table and configuration */
	uid_t uid;
} exchanges[] = {
	ROW("\n", "EBADMSG", "not JSON"),
	ROW("{'verb':'status'\n", "EBADMSG", "not JSON"),
	ROW("{'verb':'status'} {'verb':'status'}\n", "EBADMSG", "not JSON"),
	ROW("{'verb':'status','verb':'reload'}\n", "EBADMSG", "duplicate"),
	ROW("{'verb':'\xff'}\n", "EBADMSG", "not JSON"),
	ROW("{'verb':'a\\u0000b'}\n", "EBADMSG", "not JSON"),
	ROW("['status']\n", "EINVAL", "object"),
	ROW("{}\n", "EINVAL", "verb"),
	ROW("{'verb':1}\n", "EINVAL", "string"),
	ROW("{'verb':'Status'}\n", "EOPNOTSUPP", "Status"),
	ROW("{'verb':'status','cgroup':'/a'}\n", "EINVAL", "cgroup"),
	ROW("{'verb':'reload','x':1}\n", "EINVAL", "x"),
	ROW(SIMULATE "'/a'}\n", "EINVAL", "available"),
	ROW(SIMULATE "1" LOW, "EINVAL", "string"),
	ROW(SIMULATE "'/a','available':'critical'}\n", "EINVAL", "low, neutral or high"),
	ROW(SIMULATE "'/a','critical':1" LOW, "EINVAL", "true or false"),
	ROW(SIMULATE "'/a','available':'high','critical':true}\n", "EINVAL", "only Low"),
	ROW(SIMULATE "'/a/../b'" LOW, "EINVAL", ".."),
	/* only root may change anything */
	{ SIMULATE "'/one'" LOW, "EACCES", "root", .uid = NOBODY },
	{ RELOAD, "EACCES", "root", .uid = NOBODY },
	{ "{'verb':'set','cgroup':'/a','lines':''}\n", "EACCES", "root", .uid = NOBODY },
	{ "{'verb':'reset','cgroup':'/a'}\n", "EACCES", "root", .uid = NOBODY },
	{ "{'verb':'diff'}\n", "EACCES", "root", .uid = NOBODY },
	ROW("{'verb':'set','cgroup':'/a'}\n", "EINVAL", "lines"),
	ROW("{'verb':'set','cgroup':'/sys/fs/cgroup/a','lines':''}\n", "EINVAL", "leave it away"),
	{ STATUS, "", "'version'", .uid = NOBODY },
	ROW(SIMULATE "'/one'" LOW, NULL, "'available':'low','critical':false"),
	ROW(SIMULATE "'one','available':'neutral'}\n", NULL,
	    "'available':'neutral','critical':false"),
	ROW(SIMULATE "'/one/','critical':true" LOW, NULL, "'available':'low','critical':true"),
	ROW(SIMULATE "'/sys/fs/cgroup/one','available':'high'}\n", NULL, "'available':'high'"),
	ROW(SIMULATE "'/x'" LOW, "ENOENT", "/x: there is no such cgroup"),
	{ SIMULATE "'/x'" LOW, "EINVAL", "/x", .result = -EINVAL },
	{ SIMULATE "'/x'" LOW, "ENODATA", "/x: no watch covers it", .result = -ENODATA },
	ROW(RELOAD, NULL, "'error':'a.conf:1: \xef\xbf\xbd no'"),
	{ RELOAD, "EINVAL", "a.conf:1: \xef\xbf\xbd no", .result = -EINVAL },
	{ RELOAD, "ENOMEM", "memory", .result = -ENOMEM },
};

PROMISE(each_request_gets_its_answer)
{
	need_root();
	fill_cgroups(1);
	strcpy(stage.daemon.config_error, "a.conf:1: \xff no");
	for (size_t i = 0; i < ELEMENTSOF(exchanges); i++) {
		const struct exchange *x = &exchanges[i];
		const char *answer;
		char error[64];

		stage.result = x->result;
		assert_serves();
		answer = ask(dial_as(x->uid), x->request);
		snprintf(error, sizeof(error), "'errno':'%s'}\n", x->error);
		assert_says(answer, x->error ? *x->error ? error : "" : OK);
		assert_says(x->error ? answer : ask(dial(), STATUS), x->says);
	}
	assert_int_equal(stage.times_reloaded, 3);
	assert_int_equal(stage.times_simulated, 7);
}

PROMISE(a_line_may_be_as_long_as_the_limit_and_no_longer)
{
	char line[CONTROL_LINE_MAX + 2];

	/* blanks behind the request; the newline counts */
	memset(line, ' ', sizeof(line));
	memcpy(line, STATUS, strlen(STATUS) - 1);
	strcpy(line + CONTROL_LINE_MAX - 1, "\n");
	assert_says(ask(dial(), line), "version");
	strcpy(line + CONTROL_LINE_MAX - 1, " \n");
	assert_refused(ask(dial(), line), "EMSGSIZE", "4096");
}

/* Of a watch that works and of one that does not, and of a cgroup of either kind. */
PROMISE(status_says_everything)
{
	static char killed[] = "/a\"b\\", limit[] = "";

	stage.watches[0].settings.policy = (struct policy_options){
		.early = { PSI_SOME, 20000, 2000000 },
		.low = { PSI_SOME, 200000, 2000000 },
		.critical = { PSI_FULL, 100000, 2000000 },
		.rearm_usec = 1,
		.quiet_usec = 2,
		.calm_usec = 3,
		.headroom_percent = 25,
		.forecast_usec = 4,
	};
	stage.watches[0].source = (struct psb_source){ .rung = 2,
						       .name = "psi",
						       .trigger = "some 5 5",
						       .path = "/p",
						       .why = "w",
						       .events = 1 };
	stage.watches[0].stats = (struct psb_stats){ 0,	 1,  2,	 3,  4,	 5,  6,	 7,  8, 9,
						     10, 11, 12, 13, 14, 15, 16, 17, 0, 0,
						     0,	 0,  0,	 0,  0,	 0,  0,	 0 };
	stage.watches[0].available = PSB_NEUTRAL;
	stage.watches[0].configured = true;
	stage.watches[1] = (struct watch_view){ .id = 8,
						.path = "/b",
						.state = WATCH_FAILED,
						.why = "it was refused",
						.critical = true,
						.thresholds = 2,
						.configured = true,
						.settings = stage.watches[0].settings };
	stage.watches[0].made_usec = 18;
	stage.watches[1].made_usec = 19;
	stage.watches[1].low_usec = 20;
	stage.watches[1].low_last_usec = 21;
	stage.watches[1].stats = stage.watches[0].stats;
	stage.watches[1].settings.shadow = true;
	stage.watches[1].settings.policy.headroom_percent = HEADROOM_OFF;
	stage.watches[1].settings.policy.descendants = DESCENDANTS_COUNT;
	stage.watches[1].settings.policy.forecast_usec = FORECAST_OFF;
	stage.watch_count = 2;
	fill_cgroups(2);
	stage.cgroups[0] = (struct psb_notification){ .available = PSB_LOW,
						      .critical = 1,
						      .cgroup = "/\xff\xc3\xa4\x01",
						      .since_usec = 5,
						      .some_avg10_centi = 1234,
						      .some_total_usec = 6,
						      .full_total_usec = UINT64_MAX,
						      .current_bytes = 100,
						      .limit_bytes = 80 << 20,
						      .cause = PSB_CAUSE_ANCESTOR,
						      .cause_is_high = 1,
						      .cause_length = 2 };
	stage.past = (struct past){ .cgroup = killed,
				    .low = 1,
				    .low_usec = 2,
				    .killed = 3,
				    .limit = limit,
				    .task = "task",
				    .pid = 4,
				    .usage_bytes = 5,
				    .limit_bytes = 6,
				    .killed_usec = 7,
				    .effects = 1,
				    .bytes_back = 8,
				    .unanswered = 3,
				    .effect_usec = 9,
				    .effect_bytes = 10,
				    .effect_reported_bytes = 12,
				    .first_back_usec = PSB_UNKNOWN,
				    .stall_before_usec = 11,
				    .stall_after_usec = PSB_UNKNOWN };
	/* foretold: there is no stall, and the limit may never be reached */
	stage.cgroups[1].cause = PSB_CAUSE_OWN;
	stage.cgroups[1].reason = PSB_REASON_PRESENT;
	stage.cgroups[1].limit_bytes = 64 << 20;
	strcpy(stage.daemon.config_error, "x.conf:3: Low: nonsense");
	assert_says(
		ask(dial(), STATUS),
		"'clients':{'connected':1,'plain':2,'records':3,'accepted':4,'refused':5,'told':6,"
		"'replaced':7,'max':16384},'configuration':{'error':'x.conf:3: Low: nonsense','files':"
		"['/etc/psibridge/psibridged.conf']},"
		"'watches':[{'id':7,'path':'system.slice/*','configured':true,'state':'watching','why'"
		":'','available':'neutral','critical':false,'shadow':false,'clients':3,'thresholds':0,"
		"'settings':{'early':'some 20ms/2s','low':'some 200ms/2s','critical':'full 100ms/2s',"
		"'rearm_usec':1,'quiet_usec':2,'calm_usec':3,'headroom_percent':25,'descendants':false,"
		"'forecast_usec':4},"
		"'source':{'rung':2,'name':'psi','trigger':'some 5 5','events':true,'path':'/p',"
		"'why':'w'},'stats':{'alarms':1,'false_alarms':2,'lost_alarms':3,'samples':4,"
		"'sweeps':5,'low':6,'critical':7,'neutral':8,'high':9,'callbacks':10,"
		"'callback_usec':11,'superseded':12,'bytes_back':13,'members':14,'alarm_usec':15,"
		"'sample_usec':16,'effects':17},'made_usec':18,"
		"'memory_high':{'percent':90,'set':2,'failed':1,'why':'/x: why'}},"
		"{'id':8,'path':'/b','configured':true,'state':'failed','why':'it was refused',"
		"'available':null,'critical':true,'shadow':true,'clients':0,'thresholds':2,'settings':"
		"{'early':'some 20ms/2s','low':'some 200ms/2s','critical':'full 100ms/2s',"
		"'rearm_usec':1,'quiet_usec':2,'calm_usec':3,'headroom_percent':0,'descendants':true,"
		"'forecast_usec':0},'made_usec':19,'would_have_told':{'low':6,'critical':7,'neutral':8,"
		"'low_usec':20,'last_usec':21}}],"
		"'cgroups':[{'cgroup':'/\xef\xbf\xbd\xc3\xa4\\u0001','watch':7,'available':'low',"
		"'critical':true,'candidate':false,'since_usec':5,'some_avg10_centi':1234,"
		"'some_total_usec':6,'full_total_usec':9223372036854775807,'limit_bytes':83886080,"
		"'clients':2,'cause':'ancestor','cause_cgroup':'/\xef\xbf\xbd','cause_text':"
		"'\xef\xbf\xbd reached its MemoryHigh=80M','current_bytes':100},"
		"{'cgroup':'/some.slice/1.service','watch':7,'available':'low','critical':false,"
		"'candidate':false,'since_usec':0,'some_avg10_centi':0,'some_total_usec':0,"
		"'full_total_usec':0,'limit_bytes':67108864,'clients':2,'cause':'own','cause_cgroup':'',"
		"'cause_text':'it is near its limit of 64M','current_bytes':null}],"
		"'history':[{'cgroup':'/a\\'b\\\\','low':1,'low_usec':2,'killed':3,'last':{'limit':'',"
		"'task':'task','pid':4,'usage_bytes':5,'limit_bytes':6,'time_usec':7},'effects':1,"
		"'bytes_back':8,'unanswered':3,'effect':{'time_usec':9,'bytes_back':10,"
		"'reported_bytes':12,'first_back_usec':null,'stall_before_usec':11,'stall_after_usec':null}}]}\n");
}

PROMISE(an_answer_of_a_megabyte_arrives_whole_and_is_not_made_for_each_who_asks)
{
	assert_says(ask(dial(), STATUS), "'watches':[],'cgroups':[],'history':[]}\n");
	/* a burst, within the time for which one is kept; a slow machine may need a second one */
	for (int i = 0; i < 100; i++)
		assert_serves();
	assert_in_range(stage.times_shown, 1, 30);
	fill_cgroups(ELEMENTSOF(stage.cgroups));
	/* until another one is made */
	while (strlen(ask(dial(), STATUS)) < 1000000)
		;
	assert_says(ask(dial(), STATUS), "/some.slice/4999.service");
}

/* Not "nothing is short". */
PROMISE(a_daemon_that_hears_nothing_says_so)
{
	stage.deaf = true;
	assert_refused(ask(dial(), STATUS), "EIO", "hears nothing from the kernel");
	stage.deaf = false;
	assert_serves();
}

/* ---- settings at run time -------------------------------------------------------------------------- */

static void assert_set_file(const char *expected)
{
	char text[512] = "";
	FILE *f = fopen(fake_path(&CONFIG_SET_FILE[1]), "re");

	assert_int_equal(f == NULL, expected == NULL);
	if (!f)
		return;
	(void)!fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	assert_string_equal(strchr(text, '\n') + 1, expected);
}

#define SET(lines) "{'verb':'set','cgroup':'a/b','lines':'" lines "'}\n"
#define RESET "{'verb':'reset','cgroup':'/a/b'}\n"
#define DIFF "{'verb':'diff'}\n"
#define NONE "'mistakes':[],'differences':[]}\n"

/* In their order: each on what those before left. */
PROMISE(what_is_set_is_checked_as_a_whole_kept_and_taken_back)
{
	static const char low[] = "[Watch a/b]\nLow=some 400ms/2s\nRearm=20s\n";
	static const struct {
		const char *file; /* becomes this, unless it is NULL */
		const char *request, *error, *says, *set;
		int result; /* of going by it */
	} table[] = {
		{ "[Watch a/*]\nRearm=20s\n", DIFF, NULL, "{'section':'[Watch a/*]','key':'Rearm',",
		  NULL, 0 },
		{ NULL, SET(""), NULL, "'changes':[{", NULL, 0 },
		{ NULL, DIFF, NULL, NONE, NULL, 0 },
		{ NULL, RESET, "ENOENT", "/a/b: nothing of it was set at run time", NULL, 0 },
		{ NULL, SET("Low=many"), "EINVAL", "{'error':'Low: \\'many\\': it begins", NULL,
		  0 },
		{ NULL, SET("Lo=many"), "EINVAL",
		  "{'error':'Lo: there is no such key in [Watch]; did you mean Low?'", NULL, 0 },
		{ NULL, SET("Low=some 10ms/2s"), "EINVAL",
		  "{'error':'Low: Early \\'some 20ms/2s\\' is over Low \\'some 10ms/2s\\'", NULL,
		  0 },
		{ NULL, SET("Low=some 400ms/2s"), "ENOMEM", "memory", NULL, -ENOMEM },
		{ NULL, SET("Low=some 400ms/2s"), NULL,
		  "zz-set-a-b.conf','text':'[Watch a/b]\\u000aLow=some 400ms/2s\\u000aRearm=20s\\u000a'},"
		  "'changes':[{'section':'[Watch a/b]','key':null,'old':null,"
		  "'new':{'value':null,'file':null,'line':0}},{'section':'[Watch a/b]','key':'Low',"
		  "'old':{'value':'some 200ms/2s','file':null,'line':0},"
		  "'new':{'value':'some 400ms/2s','file':'",
		  low, 0 },
		{ NULL, DIFF, NULL, "'key':'Low','configured':{'value':'some 200ms/2s',", low, 0 },
		{ NULL, SET("Early=some 1s/2s"), "EINVAL", "{'error':'Early: Early", low, 0 },
		{ NULL, SET(""), NULL, "'changes':[]}", low, 0 },
		{ "[Watch a/*]\nRearm=soon\n", SET("Calm=5s"), "EINVAL",
		  "psibridged.conf:2: Rearm: ", low, 0 },
		{ NULL, DIFF, NULL, "psibridged.conf:2: Rearm: ", low, 0 },
		{ "", SET("Calm=5s\\nShadow=yes"), NULL,
		  "'[Watch a/b] Shadow=yes','key':'Calm','old':{'value':'10s'",
		  "[Watch a/b]\nLow=some 400ms/2s\nRearm=20s\n[Watch a/b]\nCalm=5s\nShadow=yes\n",
		  0 },
		{ NULL, "{'verb':'set','cgroup':'c','lines':'Calm=6s'}\n", NULL, "[Watch c]",
		  "[Watch a/b]\nLow=some 400ms/2s\nRearm=20s\n[Watch a/b]\nCalm=5s\nShadow=yes\n"
		  "[Watch c]\nCalm=6s\n",
		  0 },
		{ NULL, RESET, NULL,
		  "'key':null,'old':{'value':null,'file':null,'line':0},'new':null}",
		  "[Watch c]\nCalm=6s\n", 0 },
		{ NULL, "{'verb':'reset','cgroup':'c'}\n", NULL, "'changes':[{", NULL, 0 },
		{ NULL, DIFF, NULL, NONE, NULL, 0 },
	};
	struct complaints complaints = { .say = NULL };

	need_root();
	stage.daemon.config = config_load(fake_root, NULL, &complaints);
	assert_refused(ask(dial(), SET("Calm=5s")), "ENOENT",
		       "/run/psibridge/set.conf: No such file");
	fake_write("run/", "");
	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		const char *answer;

		if (table[i].file)
			fake_write("etc/psibridge/psibridged.conf", table[i].file);
		stage.result = table[i].result;
		answer = ask(dial(), table[i].request);
		if (table[i].error)
			assert_refused(answer, table[i].error, table[i].says);
		else
			assert_says(answer, table[i].says);
		assert_set_file(table[i].set);
	}
	assert_int_equal(access(fake_path(&CONFIG_SET_FILE "~"[1]), F_OK), -1);
	config_free(stage.daemon.config);
}

/* ---- half lines, silence, crowds ----------------------------------------------------------------- */

/* Its side may be closed behind it, and not in the middle. */
PROMISE(a_request_ends_with_its_newline)
{
	int fd = dial();

	need_root();
	for (const char *p = RELOAD; *p; p++) {
		assert_int_equal(stage.times_reloaded, 0);
		say(fd, (char[]){ *p, '\0' });
		turn();
	}
	shutdown(fd, SHUT_WR);
	assert_says(hear(fd), OK);
	fd = dial();
	assert_int_equal(send(fd, RELOAD, strlen(RELOAD) - 1, 0), strlen(RELOAD) - 1);
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "");
	assert_int_equal(stage.times_reloaded, 1);
}

/* What the daemon does not read does not matter to it. */
static void assert_closed_while_writing(int fd)
{
	uint64_t until = now_usec() + PATIENCE_USEC;

	while (send(fd, " ", 1, MSG_NOSIGNAL) == 1) {
		assert_true(now_usec() < until);
		turn();
	}
	assert_int_not_equal(errno, EAGAIN);
	close(fd);
}

/* Silent, growing slowly, never reading. */
PROMISE(who_does_not_take_its_answer_in_time_is_closed)
{
	int fd;

	end(NULL);
	assert_int_equal(begin_with(SHORT_USEC), 0);
	assert_string_equal(hear(dial()), "");
	assert_closed_while_writing(dial());
	fill_cgroups(ELEMENTSOF(stage.cgroups));
	fd = dial();
	say(fd, STATUS);
	assert_closed_while_writing(fd);
}

PROMISE(connections_have_limits_but_for_root)
{
	int fds[2 * CONTROL_CLIENTS_MAX], n = 0;

	need_root();
	for (uid_t uid = NOBODY; n < CONTROL_CLIENTS_MAX; uid--) {
		for (int i = 0; i < CONTROL_CLIENTS_PER_UID; i++)
			fds[n++] = dial_as(uid);
		assert_refused(hear(dial_as(uid)), "EUSERS", "too many connections");
	}
	assert_refused(hear(dial_as(1)), "EUSERS", "too many connections");
	while (n < 2 * CONTROL_CLIENTS_MAX)
		fds[n++] = dial();

	close(fds[0]);
	turn();
	assert_refused(hear(dial_as(NOBODY - 1)), "EUSERS", "too many connections");
	assert_says(ask(dial_as(NOBODY), STATUS), "version");
	for (int i = 1; i < n; i++)
		assert_says(ask(fds[i], STATUS), "version");
}

/* A user has fewer connections than that, so each is freed; the last ones when it ends. */
PROMISE(who_leaves_leaves_nothing_and_it_ends_whatever_its_clients_are_doing)
{
	int silent, half, unread;

	need_root();
	for (int i = 0; i < 300; i++) {
		int fd = dial_as(NOBODY);

		if (i % 3 != 0)
			say(fd, i % 3 == 1 ? "{'verb':" : STATUS);
		if (i % 4 != 0)
			turn();
		close(fd);
		turn();
		turn();
	}
	silent = dial();
	half = dial();
	unread = dial();
	fill_cgroups(ELEMENTSOF(stage.cgroups));
	say(half, "{'verb");
	say(unread, STATUS);
	for (int i = 0; i < 6; i++)
		turn();
	stage.daemon.control = control_free(stage.daemon.control);
	assert_string_equal(hear(silent), "");
	assert_string_equal(hear(half), "");
	close(unread);
}

EACH(begin, end)
