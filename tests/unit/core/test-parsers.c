/* SPDX-License-Identifier: MIT */
/*
 * test-parsers.c - what each parser of core takes a text for, and what it refuses, with which error and in which words; and
 * then nothing is written
 *
 * A parser has a printer of its result: so a row is two texts, and where core can write the value too, what it writes is part of the second.
 * In a text \1 stands for a NUL. The parser sees each text alone in memory, so that the address sanitizer sees it reading on.
 */
#include <inttypes.h>

#include "../unit.h"
#include "core/base64.h"
#include "core/cgpattern.h"
#include "core/duration.h"
#include "core/keyed.h"
#include "core/oomkill.h"
#include "core/procfs.h"
#include "core/psi.h"
#include "core/value.h"
#include "core/wire.h"

#define MOUNT "/sys/fs/cgroup"
#define HYBRID                                         \
	"12:pids:/user.slice\n"                        \
	"11:memory:/docker/0a1b2c\n"                   \
	"4:cpu,cpuacct:/both\n"                        \
	"1:name=systemd:/user.slice/session-2.scope\n" \
	"0::/user.slice/user-1000.slice/session-2.scope\n"
#define STAT "anon 100\nfile 2000\ninactive_file 30000\nslab 7\n"
#define PRINTED_MAX (3 * CGPATH_MAX)

/* ---- parsers, all of one form ------------------------------------------------------------------ */

struct parser {
	int (*parse)(const char *text, size_t size, void *ret, const char **ret_why);
	void (*print)(const void *ret, char *buf); /* buf[PRINTED_MAX] */
};

struct bytes {
	size_t size;
	char bytes[32];
};

/* Those that take a C string; `text` ends where `size` says. */
static const char *c_string(const char *text, size_t size)
{
	static char buf[CGPATH_MAX];

	snprintf(buf, sizeof(buf), "%.*s", (int)size, text);
	return buf;
}

static int decode(const char *text, size_t size, size_t capacity, struct bytes *ret)
{
	struct bytes b = { .size = 99 };
	int r = base64_decode(text, size, b.bytes, capacity, &b.size);

	if (r == 0)
		*ret = b;
	else
		assert_int_equal(b.size, 99);
	for (size_t i = capacity; i < sizeof(b.bytes); i++)
		assert_int_equal(b.bytes[i], 0);
	return r;
}

static int normalise(const char *text, const char *mount, char *ret, const char **ret_why)
{
	char buf[CGPATH_MAX]; /* undefined after an error */
	int r = cgpath_normalise(text, mount, buf, ret_why);

	if (r == 0)
		memcpy(ret, buf, strlen(buf) + 1);
	return r;
}

/* A log, of which the last line says that a process was killed. */
static int read_log(const char *text, size_t size, struct oom_kill *ret)
{
	struct oom_kill kill = { .usage_bytes = 1, .limit_bytes = 1 };
	bool killed = false;

	for (size_t n; size > 0; text += n, size -= n) {
		const char *end = memchr(text, '\n', size);

		assert_false(killed);
		n = end ? (size_t)(end - text) + 1 : size;
		killed = oom_kill_line(&kill, text, n - (end != NULL));
	}
	*ret = kill;
	return killed ? 0 : -EBADMSG;
}

static const char *printed_duration(uint64_t usec)
{
	static char buf[DURATION_TEXT_MAX];
	size_t n = duration_format(usec, buf);

	assert_int_equal(n, strlen(buf));
	return buf;
}

static const char *printed_trigger(const struct trigger *t, bool kernel)
{
	static char buf[2][TRIGGER_TEXT_MAX];
	size_t n = (kernel ? trigger_format_kernel : trigger_format)(t, buf[kernel]);

	assert_int_equal(n, strlen(buf[kernel]));
	return buf[kernel];
}

static const char *printed_value(enum value_form form, const struct value *value)
{
	static char buf[VALUE_TEXT_MAX];
	struct value again;

	value_format(form, value, buf);
	assert_int_equal(value_parse(form, buf, strlen(buf), &again, NULL), 0);
	assert_true(form == FORM_TRIGGER || again.number == value->number);
	return buf;
}

static const char *printed_bytes(const struct bytes *b)
{
	static char buf[PRINTED_MAX];
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < b->size; i++)
		n += (size_t)sprintf(buf + n, b->bytes[i] > ' ' ? "%c" : "<%02x>",
				     (unsigned char)b->bytes[i]);
	return buf;
}

/* Our line without "psibridge/1" and the newline. */
static const char *printed_terms(const struct policy_options *terms)
{
	static char buf[WIRE_LINE_MAX];

	buf[wire_hello_format(terms, buf) - 1] = '\0';
	return buf + strlen("psibridge/1");
}

#define PARSER(name, type, call, ...)                                     \
	static int parse_##name(const char *text, size_t size, void *ret, \
				_unused_ const char **ret_why)            \
	{                                                                 \
		return call;                                              \
	}                                                                 \
	static void print_##name(const void *ret, char *buf)              \
	{                                                                 \
		type const *v = ret;                                      \
		snprintf(buf, PRINTED_MAX, __VA_ARGS__);                  \
	}                                                                 \
	static const struct parser name = { parse_##name, print_##name };

PARSER(duration, uint64_t, duration_parse(text, size, ret, ret_why), "%" PRIu64 " %s", *v,
       printed_duration(*v))
PARSER(trigger, struct trigger, trigger_parse(text, size, ret, ret_why), "%s, %s",
       printed_trigger(v, false), printed_trigger(v, true))
PARSER(hello, struct wire_hello, wire_hello_parse(text, size, ret, ret_why), "%d%s %.*s", v->kind,
       printed_terms(&v->terms), (int)v->cgroup_size, v->cgroup)
#define LINE(l) (l).avg10_centi, (l).avg60_centi, (l).avg300_centi, (l).total_usec
#define LINE_FORMAT "%u %u %u %" PRIu64
PARSER(pressure, struct psi, psi_parse(text, size, ret), LINE_FORMAT ", " LINE_FORMAT,
       LINE(v->some), LINE(v->full))
PARSER(events, struct memory_events, memory_events_parse(text, size, ret),
       "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, v->low, v->high, v->max, v->oom,
       v->oom_kill)
#define NUMBER(name, call) PARSER(name, uint64_t, call, "%" PRIu64, *v)
NUMBER(key, keyed_get(text, size, "key", ret))
NUMBER(key_of_stat, keyed_get(STAT, strlen(STAT), c_string(text, size), ret))
NUMBER(meminfo, meminfo_get(text, size, "MemTotal", ret))
NUMBER(limit, limit_parse(text, size, ret))
PARSER(base64, struct bytes, decode(text, size, 32, ret), "%s", printed_bytes(v))
PARSER(room_for_three, struct bytes, decode(text, size, 3, ret), "%s", printed_bytes(v))
#define PATH(name, call) PARSER(name, char, call, "%s", v)
PATH(cgroup_line, proc_cgroup_v2(text, size, ret))
PATH(memory_line, proc_cgroup_v1(text, size, "memory", ret))
PATH(controller, proc_cgroup_v1(HYBRID, strlen(HYBRID), c_string(text, size), ret))
PATH(path, normalise(c_string(text, size), NULL, ret, ret_why))
PATH(below_mount, normalise(c_string(text, size), MOUNT "/", ret, ret_why))
PARSER(pattern, struct cgpattern *, cgpattern_new(c_string(text, size), MOUNT, ret, ret_why),
       "%s below %s%s", cgpattern_text(*v), cgpattern_fixed(*v),
       cgpattern_is_deep(*v) ? ", deep" : "")
#define MOUNTED(name, controller)                                                               \
	PARSER(name, struct cgmount, mountinfo_line(text, size, controller, ret) ? 0 : -ENOENT, \
	       "%" PRIu64 " %s %s %s", v->id, v->root, v->point, v->read_only ? "ro" : "rw")
MOUNTED(mount2, NULL)
MOUNTED(mount_of_memory, "memory")
PARSER(oom_kill, struct oom_kill, oom_kill_line(ret, text, size) ? 0 : -EBADMSG, "%s", v->task)
PARSER(oom_log, struct oom_kill, read_log(text, size, ret),
       "%s of %s by %s, %" PRIu64 ", %" PRIu64 "/%" PRIu64, v->task, v->cgroup, v->limit, v->pid,
       v->usage_bytes, v->limit_bytes)
#define VALUE(name, form)                                                                         \
	PARSER(name, struct value, value_parse(form, text, size, ret, ret_why), "%" PRIu64 " %s", \
	       form == FORM_TRIGGER ? v->trigger.window_usec : v->number, printed_value(form, v))
VALUE(value_trigger, FORM_TRIGGER)
VALUE(value_time, FORM_TIME)
VALUE(value_time_or_auto, FORM_TIME_OR_AUTO)
VALUE(value_percent, FORM_PERCENT)
VALUE(value_boolean, FORM_BOOLEAN)
VALUE(value_count, FORM_COUNT)
VALUE(value_size, FORM_SIZE)

/* ---- what they take ------------------------------------------------------------------------------ */

#define SOME "some avg10=1.23 avg60=0.05 avg300=100.00 total=123456789\n"
#define FULL "full avg10=0.00 avg60=12.34 avg300=7.10 total=42\n"
#define NUMBERS "123 5 10000 123456789, 0 1234 710 42"
#define EVENTS "low 1\nhigh 22\nmax 333\noom 4444\noom_kill 55555\n"
#define KILLED "oom-kill:constraint=CONSTRAINT_MEMCG,"
#define AT(root, point) "1 2 0:3 " root " " point " rw - cgroup2 none rw"
#define A31 "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"
static const struct {
	const struct parser *parser;
	const char *text, *printed;
} accepted[] = {
	{ &duration, "0", "0 0" },
	{ &duration, "0.0", "0 0" },
	{ &duration, "1us", "1 1us" },
	{ &duration, "0.50000000000000000000000000000000000000ms", "500 500us" },
	{ &duration, "1234us", "1234 1234us" },
	{ &duration, "1230us", "1230 1.23ms" },
	{ &duration, "0.2s", "200000 200ms" },
	{ &duration, "8.192s", "8192000 8.192s" },
	{ &duration, "0.000001s", "1 1us" },
	{ &duration, "1min", "60000000 60s" },
	{ &duration, "1.5min", "90000000 90s" },
	{ &duration, "120s", "120000000 2min" },
	{ &duration, "100min", "6000000000 6000s" },
	{ &duration, "90min", "5400000000 1.5h" },
	{ &duration, "36000.000009s", "36000000009 36000.000009s" },
	/* the finest fractions that still come out even, and the longest */
	{ &duration, "0.0000000025h", "9 9us" },
	{ &duration, "9223372036854775807us", "9223372036854775807 9223372036854.775807s" },
	{ &duration, "2562047788.0152155h", "9223372036854775800 2562047788.0152155h" },
	{ &trigger, "some 200ms/2s", "some 200ms/2s, some 200000 2000000" },
	{ &trigger, "full 100000 2000000", "full 100ms/2s, full 100000 2000000" },
	{ &trigger, "some 1us/100ms", "some 1us/100ms, some 1 100000" },
	{ &trigger, "some 100ms/100ms", "some 100ms/100ms, some 100000 100000" },
	{ &trigger, "full 10s/10s", "full 10s/10s, full 10000000 10000000" },
	{ &trigger, "some 2s/0.1min", "some 2s/6s, some 2000000 6000000" },
	{ &trigger, "some  \t200000 \t 2000000", "some 200ms/2s, some 200000 2000000" },
	{ &trigger, "some \t 200ms/2s\n", "some 200ms/2s, some 200000 2000000" },
	{ &hello, "", "0 " },
	{ &hello, "some 200000 2000000", "1 low=some:200000:2000000 " },
	{ &hello, "some 200000 2000000\n", "1 low=some:200000:2000000 " },
	{ &hello, "some 200000 200000\1", "1 low=some:200000:200000 " },
	{ &hello, "full 100ms/2s\n", "1 low=full:100000:2000000 " },
	{ &hello, "psibridge/1\n", "2 " },
	{ &hello,
	  "psibridge/1 critical=full:100000:2000000 early=some:20000:2000000 low=some:200000:1000000 calm=3 rearm=1 quiet=86400000000 headroom=99 cgroup=a b/c=d low=x\n",
	  "2 early=some:20000:2000000 low=some:200000:1000000 critical=full:100000:2000000 rearm=1 quiet=86400000000 calm=3 headroom=99 a b/c=d low=x" },
	{ &hello, "psibridge/1 headroom=off cgroup=/\n", "2 headroom=off /" },
	{ &hello, "psibridge/1 forecast=off\n", "2 forecast=off " },
	{ &hello, "psibridge/1 forecast=2000000\n", "2 forecast=2000000 " },
	{ &pressure, SOME FULL, NUMBERS },
	/* what later kernels append */
	{ &pressure, SOME FULL "more avg10=0.00 total=1\ncut off he", NUMBERS },
	{ &pressure, "some avg10=1.23 avg60=0.05 avg300=100.00 total=123456789 avg900=0.00\n" FULL,
	  NUMBERS },
	{ &pressure,
	  "some avg10=42949671.99 avg60=0.00 avg300=0.00 total=18446744073709551615\n"
	  "full avg10=42949671.99 avg60=42949671.99 avg300=42949671.99 total=18446744073709551615\n",
	  "4294967199 0 0 18446744073709551615, 4294967199 4294967199 4294967199 18446744073709551615" },
	{ &events, EVENTS "oom_group_kill 6\n", "1 22 333 4444 55555" },
	{ &events, "oom_kill 18446744073709551615\nlow 0\nnew_thing many words\n",
	  "0 0 0 0 18446744073709551615" },
	{ &key_of_stat, "anon", "100" },
	{ &key_of_stat, "inactive_file", "30000" },
	{ &key_of_stat, "slab", "7" },
	{ &key, "other x y z\nkey 1\nword\n", "1" },
	{ &key, "key 1\nkey 2\nke", "1" },
	{ &meminfo, "MemFree:    1 kB\nHugePages_Total:    4\nMemTotal:  16316412 kB\nMemF",
	  "16708005888" },
	{ &meminfo, "MemTotal: 18014398509481983 kB\n", "18446744073709550592" },
	{ &limit, "max\n", "18446744073709551615" },
	{ &limit, "4194304\n", "4194304" },
	{ &limit, "18446744073709551615\n", "18446744073709551615" },
	/* RFC 4648, section 10, and white space, which is nothing, wherever it stands */
	{ &base64, "", "" },
	{ &base64, "Zg==", "f" },
	{ &base64, "Zm8=", "fo" },
	{ &base64, "Zm9vYmFy", "foobar" },
	{ &base64, " Z\tm\n9\rv Y g = = \n", "foob" },
	{ &base64, "AAAA////++++", "<00><00><00><ff><ff><ff><fb><ef><be>" },
	/* what systemd puts into $MEMORY_PRESSURE_WRITE */
	{ &base64, "c29tZSAyMDAwMDAgMjAwMDAwMAA=", "some<20>200000<20>2000000<00>" },
	{ &room_for_three, "Zm9v", "foo" },
	{ &cgroup_line, "0::/\n", "/" },
	{ &cgroup_line, HYBRID, "/user.slice/user-1000.slice/session-2.scope" },
	{ &cgroup_line, "0::/first\n1:name=systemd:/second\n", "/first" },
	/* names may hold anything but slash and newline */
	{ &cgroup_line, "0::/a:b c\\x2d\xc3\xb6\n", "/a:b c\\x2d\xc3\xb6" },
	{ &cgroup_line, "0::/..a/b../...\n", "/..a/b../..." },
	{ &cgroup_line, "0::/a (deleted)/b\n", "/a (deleted)/b" },
	/* outside of our cgroup namespace */
	{ &cgroup_line, "0::/..\n", "/.." },
	{ &cgroup_line, "0::/../../a/b\n", "/../../a/b" },
	/* a hierarchy without controllers and with a name, or a number: not v2 */
	{ &cgroup_line, "7::/no\n0:name=x:/no\n0::/yes\n", "/yes" },
	/* v1 has no such mark, so this is a name */
	{ &memory_line, "4:memory:/a (deleted)\n", "/a (deleted)" },
	{ &memory_line, "4:memory:/../a\n", "/../a" },
	{ &controller, "memory", "/docker/0a1b2c" },
	{ &controller, "cpu", "/both" },
	{ &controller, "name=systemd", "/user.slice/session-2.scope" },
	{ &path, "//././/", "/" },
	{ &path, "a", "/a" },
	{ &path, "/a/", "/a" },
	{ &path, "./a//b/./c/.", "/a/b/c" },
	/* names that only look special */
	{ &path, ".../..a/a../.a", "/.../..a/a../.a" },
	{ &path, "a b/\\x2d/\xc3\xb6/:/ ", "/a b/\\x2d/\xc3\xb6/:/ " },
	{ &below_mount, MOUNT "/", "/" },
	{ &below_mount, "//sys/./fs//cgroup/a/b", "/a/b" },
	{ &below_mount, MOUNT MOUNT, MOUNT },
	/* only when it is there, whole, and the text begins with a slash */
	{ &below_mount, "/sys/fs", "/sys/fs" },
	{ &below_mount, MOUNT "x/a", MOUNT "x/a" },
	{ &below_mount, "/sys/fs/cgrou/p", "/sys/fs/cgrou/p" },
	{ &below_mount, "sys/fs/cgroup/a", MOUNT "/a" },
	{ &pattern, "**", "/** below /, deep" },
	{ &pattern, "a//./b/c*d/e/", "/a/b/c*d/e below /a/b" },
	{ &pattern, "a/*/**", "/a/*/** below /a, deep" },
	{ &pattern, MOUNT "/a/*", "/a/* below /a" },
	{ &pattern, MOUNT "*", MOUNT "* below /sys/fs" },
	{ &pattern, A31 "/**", "/" A31 "/** below /" A31 ", deep" },
	{ &mount2, "31 22 0:26 / " MOUNT " rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate",
	  "31 / " MOUNT " rw" },
	{ &mount2, AT("/../../x", "/cg"), "1 /../../x /cg rw" },
	/* read-only: the mount, or its superblock */
	{ &mount2, "1 2 0:3 / /cg ro,nosuid - cgroup2 none rw", "1 / /cg ro" },
	{ &mount2, "1 2 0:3 / /cg rw,nosuid - cgroup2 none ro", "1 / /cg ro" },
	{ &mount2, "1 2 0:3 / /cg rw,norox - cgroup2 ro rw,xro", "1 / /cg rw" },
	/* any number of tags, an empty source, no superblock options */
	{ &mount2, "1 2 0:3 / /cg rw a:1 b:2 c d:4 - cgroup2 none rw", "1 / /cg rw" },
	{ &mount2, "1 2 0:3 / /cg rw - cgroup2  ro", "1 / /cg ro" },
	{ &mount2, "1 2 0:3 / /cg rw - cgroup2 none ", "1 / /cg rw" },
	{ &mount2, AT("/a\\040b", "/c\\011d\\012e\\134f\\043"), "1 /a b /c\td\ne\\f# rw" },
	{ &mount2, AT("/", "/\\377\\134040"), "1 / /\377\\040 rw" },
	{ &mount_of_memory, "35 31 0:32 / /m ro - cgroup cgroup rw,memory", "35 / /m ro" },
	{ &mount_of_memory, "36 31 0:33 / /m rw - cgroup cgroup rw,cpu,memory", "36 / /m rw" },
	/* of Linux 6.18 with the memory controller on v1 */
	{ &oom_log,
	  "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n"
	  "memory: usage 16384kB, limit 16400kB, failcnt 647\n"
	  "swap: usage 0kB, limit 9007199254740988kB, failcnt 0\n" KILLED
	  "nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/p,task_memcg=/p/a,task=python3,pid=14746,uid=0",
	  "python3 of /p/a by /p, 14746, 16777216/16793600" },
	/* the machine's memory */
	{ &oom_log,
	  "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),global_oom,task_memcg=/s/x.service,task=x,pid=7,uid=33",
	  "x of /s/x.service by , 7, 0/0" },
	/* names may hold anything */
	{ &oom_log,
	  KILLED "oom_memcg=/a,b=c,task_memcg=/a,b=c/d\\x2de,task=x,pid=1,uid=0,pid=23,uid=0",
	  "x,pid=1,uid=0 of /a,b=c/d\\x2de by /a,b=c, 23, 1/1" },
	{ &value_trigger, "full 100000 2000000", "2000000 full 100ms/2s" },
	{ &value_time, "86400s", "86400000000 24h" },
	{ &value_time_or_auto, "auto", "0 auto" },
	{ &value_time_or_auto, "4s", "4000000 4s" },
	{ &value_percent, "off", "0 off" },
	{ &value_percent, "1%", "1 1%" },
	{ &value_percent, "25", "25 25%" },
	{ &value_count, "1048576", "1048576 1048576" },
	{ &value_count, "007", "7 7" },
	{ &value_size, "0T", "0 0" },
	{ &value_size, "1024", "1024 1K" },
	{ &value_size, "1025", "1025 1025" },
	{ &value_size, "2048M", "2147483648 2G" },
	{ &value_size, "4096T", "4503599627370496 4096T" }, /* T is the largest word */
	{ &value_size, "9223372036854775807", "9223372036854775807 9223372036854775807" },
	{ &value_size, "8388607T", "9223370937343148032 8388607T" },
};

/* ---- what they refuse --------------------------------------------------------------------------- */

#define REFUSES(parser, error, why, ...) \
	{                                \
		&parser, error, why,     \
		{                        \
			__VA_ARGS__      \
		}                        \
	}
static const struct {
	const struct parser *parser;
	int error;
	const char *why, *texts[32];
} refusals[] = {
	REFUSES(duration, -EINVAL, "it does not begin with a digit", "", "s", " 1s", "-1s", "+1s",
		".5s", "infinity"),
	REFUSES(duration, -EINVAL, "no digit follows the point", "1.", "1.s"),
	REFUSES(duration, -EINVAL, "the unit is missing (us, ms, s, min or h)", "1", "0.1",
		"200000", "99999999999999999999"),
	REFUSES(duration, -EINVAL, "the unit is none of us, ms, s, min and h", "1s ", "1 s", "1S",
		"1m", "1mss", "1sec", "1min30s", "1,5s", "1.5.5s", "1e3us", "0x10us"),
	REFUSES(duration, -EINVAL, "it is not a whole number of microseconds", "0.5us", "1.0001ms",
		"0.0000001s", "0.1000000000000000000000000000000000001s", "0.3333333333min",
		"0.00000000025h"),
	REFUSES(duration, -ERANGE, "it is longer than 2^63 microseconds", "9223372036854775808us",
		"9223372036854.775808s", "2562047789h", "18446744073709551616us",
		"99999999999999999999999999999999s"),
	REFUSES(trigger, -EINVAL, "it is empty", "", "\n"),
	REFUSES(trigger, -EINVAL, "it begins with neither some nor full", " ", "200ms/2s",
		"none 200ms/2s", "som 200ms/2s", "someone 200ms/2s", " some 200ms/2s"),
	REFUSES(trigger, -EINVAL, "some and full are written in lower case", "Some 200ms/2s",
		"FULL 200000 2000000"),
	REFUSES(trigger, -EINVAL, "threshold and window are missing", "some", "full ", "some\n"),
	REFUSES(trigger, -EINVAL, "the window is missing", "some 200000", "some 200000 "),
	REFUSES(trigger, -EINVAL,
		"it is neither THRESHOLD/WINDOW with units, such as 200ms/2s, nor two numbers in microseconds",
		"some 200ms", "some 200ms 2s", "some -1 2000000", "some 0x10 2000000"),
	REFUSES(trigger, -EINVAL, "something follows the two numbers", "some 200000 2s",
		"some 200000 2000000 ", "some 200000 2000000 1"),
	REFUSES(trigger, -EINVAL, "the window is no number in microseconds", "some 200000 window",
		"some 200000 -2000000"),
	REFUSES(trigger, -EINVAL, "the unit is missing (us, ms, s, min or h)", "some 200000/2s",
		"some 200ms/2000000"),
	REFUSES(trigger, -EINVAL, "it does not begin with a digit", "some /2s", "some 200ms/",
		"some 200ms/ 2s"),
	REFUSES(trigger, -EINVAL, "the unit is none of us, ms, s, min and h", "some 200ms /2s",
		"some 200ms/2s/2s", "some 200ms/2s "),
	REFUSES(trigger, -EINVAL, "it is not a whole number of microseconds", "some 0.5us/2s"),
	REFUSES(trigger, -EINVAL, "the window is shorter than 100 ms", "some 1ms/99ms",
		"some 1 99999", "some 0 0"),
	REFUSES(trigger, -EINVAL, "the window is longer than 10 s", "some 1ms/10.000001s",
		"some 1 10000001", "some 1 18446744073709551616", "some 1us/99999999999999999999h"),
	REFUSES(trigger, -EINVAL, "the threshold is 0", "some 0/2s", "some 0 2000000"),
	REFUSES(trigger, -EINVAL, "the threshold is longer than the window", "some 2.000001s/2s",
		"some 2000001 2000000", "some 18446744073709551616 2000000",
		"some 99999999999999999999h/2s"),
	REFUSES(path, -EINVAL, "it is empty", ""),
	REFUSES(path, -EINVAL, "\"..\" is not allowed in it", "..", "/..", "../a", "a/..", "a/../b",
		"/a/b/./..//", MOUNT "/..", MOUNT "/../../etc", "/sys/fs/x/../cgroup/a"),
	REFUSES(below_mount, -EINVAL, "\"..\" is not allowed in it", MOUNT "/..", MOUNT "/a/../..",
		"/sys/fs/x/../cgroup/a"),
	REFUSES(path, -EINVAL, "a newline is not allowed in it", "a\nb", "a\n", "\n", "a/\n/.."),
	REFUSES(pattern, -EINVAL, "it is empty", ""),
	REFUSES(pattern, -EINVAL, "\"..\" is not allowed in it", "a/../*"),
	REFUSES(pattern, -EINVAL, "a newline is not allowed in it", "a\n*"),
	REFUSES(pattern, -EINVAL, "there is no star in it", "/", "system.slice", "a?/[b]"),
	REFUSES(pattern, -EINVAL, "two stars must be a component of their own", "a**", "**a",
		"a/b**c/d", "***", "****", "*a**"),
	REFUSES(pattern, -EINVAL, "two stars may stand in it only once", "**/**", "**/a/**"),
	REFUSES(pattern, -EINVAL, "it has more than 32 components", A31 "/a/*", A31 "/*/a",
		A31 "/**/a", A31 "/a/**"),
	REFUSES(hello, -EINVAL, "it begins with neither some, full nor psibridge/1", "\n", "\1",
		"L", "Some 200000 2000000", "sone", "sb", "GET / HTTP/1.1\r\n", "psibridge:1\n",
		"psibridged", "\xff\xff"),
	REFUSES(hello, -EINVAL, "there is a character that no trigger has", "some 200000\r",
		"some -1 2000000", "some 200ms/2S\n", "some:200000:2000000"),
	REFUSES(hello, -EINVAL, "something follows the trigger", "some 200000 2000000\n\n",
		"some 200000 2000000\1\n", "some 200000 2000000\nfull"),
	REFUSES(hello, -EINVAL, "threshold and window are missing", "some\n", "some\1"),
	REFUSES(hello, -EINVAL, "it begins with neither some nor full", "something\n",
		"psibridge/1 low=none:1:100000\n"),
	REFUSES(hello, -EINVAL, "the threshold is 0", "some 0 2000000\n",
		"psibridge/1 early=some:0:100000\n"),
	REFUSES(hello, -EINVAL, "the window is longer than 10 s", "some 1 10000001\1",
		"psibridge/1 critical=full:1:99999999999999999999\n"),
	REFUSES(hello, -EINVAL, "the window is missing", "some 200000\n",
		"psibridge/1 low=some::100000\n"),
	REFUSES(hello, -EPROTONOSUPPORT, "only version 1 is spoken here", "psibridge/ 1\n",
		"psibridge/x", "psibridge/\n", "psibridge/1.1\n", "psibridge/1x", "psibridge/1\t",
		"psibridge/1\1", "psibridge/0", "psibridge/2",
		"psibridge/2 whatever it says then\n", "psibridge/10", "psibridge/01\n"),
	REFUSES(hello, -EINVAL, "keys are parted by one blank", "psibridge/1 \n",
		"psibridge/1  rearm=1\n", "psibridge/1 rearm=1 \n",
		"psibridge/1 rearm=1  calm=1\n"),
	REFUSES(hello, -EINVAL, "something follows the line", "psibridge/1 rearm=1\n ",
		"psibridge/1\n\n"),
	REFUSES(hello, -EINVAL, "there is a NUL in the line", "psibridge/1 rearm=1\1",
		"psibridge/1 cgroup=a\1b\n"),
	REFUSES(hello, -EINVAL, "a key is unknown", "psibridge/1 window=1\n", "psibridge/1 rearm\n",
		"psibridge/1 Rearm=1\n", "psibridge/1 =\n"),
	REFUSES(hello, -EINVAL, "a key is there twice", "psibridge/1 rearm=1 rearm=1\n",
		"psibridge/1 low=some:1:100000 low=some:1:100000\n",
		"psibridge/1 headroom=1 calm=1 headroom=off\n"),
	REFUSES(hello, -EINVAL, "a trigger is written as in some:200000:2000000",
		"psibridge/1 low=\n", "psibridge/1 low=some\n", "psibridge/1 low=some:1\n",
		"psibridge/1 low=some:1:100000:1\n", "psibridge/1 low=some:200ms/2s\n",
		"psibridge/1 low=some:+1:100000\n", "psibridge/1 low=some:1\t:100000\n"),
	REFUSES(hello, -EINVAL, "the window is shorter than 100 ms",
		"psibridge/1 critical=full:1:99999\n"),
	REFUSES(hello, -EINVAL, "a trigger is written as in some:200000:2000000",
		"psibridge/1 low=some:0000000000000000000000000000001:0000000000000000000000000000000000000000000000000000100000\n"),
	REFUSES(hello, -EINVAL, "a time is microseconds, from 1 to a day", "psibridge/1 rearm=\n",
		"psibridge/1 rearm=1s\n", "psibridge/1 quiet=-1\n", "psibridge/1 calm=1.5\n",
		"psibridge/1 calm=0\n", "psibridge/1 calm=86400000001\n",
		"psibridge/1 calm=18446744073709551616\n", "psibridge/1 forecast=0\n",
		"psibridge/1 forecast=18446744073709551615\n"),
	REFUSES(hello, -EINVAL, "headroom is neither 1 to 99 nor off", "psibridge/1 headroom=\n",
		"psibridge/1 headroom=0\n", "psibridge/1 headroom=100\n",
		"psibridge/1 headroom=25%\n", "psibridge/1 headroom=OFF\n",
		"psibridge/1 headroom=4294967321\n"),
	REFUSES(hello, -EINVAL, "the cgroup is empty", "psibridge/1 cgroup=\n"),
	/* not such a text */
	REFUSES(pressure, -EBADMSG, "", "", "\n", "hello\n", SOME, FULL, FULL SOME, SOME SOME,
		" " SOME FULL, "\n" SOME FULL, SOME "\n" FULL,
		"Some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some  avg10=0.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.00 avg300=0.00 avg60=0.00 total=0\n" FULL,
		"some avg10=0.00 avg60=0.00 total=0\n" FULL,
		"some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.000 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0,00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00\n" FULL),
	/* one more than fits */
	REFUSES(pressure, -EBADMSG, "",
		"some avg10=42949672.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551616\n" FULL),
	REFUSES(events, -EBADMSG, "", "", "\n", "low\n", "low \n", " 1\n", "low 1", "low 1\nhigh 2",
		"low 1\n\nhigh 2\n", "low  1\n", "low\t1\n", "low 1 \n", "low -1\n", "low 1.0\n",
		"low max\n", "low 18446744073709551616\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull\n"),
	REFUSES(limit, -EBADMSG, "", "18446744073709551616\n", "", "\n", "max", "419", "MAX\n",
		"max\n\n", "1\n2\n", "1 \n", " 1\n", "-1\n", "4M\n"),
	REFUSES(base64, -EINVAL, "", "Z", "Zg", "Zg=", "Zm8", "Zm9vY", "Zm9vYg", "=",
		"==", "===", "====", "Z===", "=Zg=", "Zg===", "Zg====", "Zm8==", "Zm9v=", "Zm9v==",
		"Zm9v====", "Zg==Zg==", "Zg=A", "Zm8=Z", "Zg==A"),
	REFUSES(base64, -EINVAL, "", "Zm9-", "Zm9_", "Zm9.", "Zm\"9v", "Zm9\xc3\xb6", "Zm9v\v",
		"Zm9v\f", "Zm9v\1"),
	/* where the bits give no hint, and bits behind the last byte */
	REFUSES(base64, -EINVAL, "", "AA", "AA=", "AA===", "AAA", "AAA==", "A===", "AAAA=",
		"AAAAA===", "Zh==", "Zk==", "Zv==", "Zm9=", "Zm+=", "//==", "///="),
	REFUSES(room_for_three, -ENOSPC, "", "Zm9vYg==", "AAAAAA=="),
	/* that it is not base64 is the more useful answer */
	REFUSES(room_for_three, -EINVAL, "", "Zm9vYg="),
	REFUSES(value_trigger, -EINVAL, "the threshold is longer than the window", "full 3s/2s"),
	REFUSES(value_time, -EINVAL, "", "0.9ms", "0", "86400.001s", "25h"),
	REFUSES(value_time, -EINVAL, "it does not begin with a digit", "auto", ""),
	REFUSES(value_time, -EINVAL, "the unit is missing (us, ms, s, min or h)", "10"),
	REFUSES(value_time, -EINVAL, "the unit is none of us, ms, s, min and h", "5\1"),
	REFUSES(value_time_or_auto, -EINVAL, "it does not begin with a digit", "Auto", "automatic",
		""),
	/* the last but one is 25, modulo 2^64 */
	REFUSES(value_percent, -EINVAL, "", "", "5\1", "0", "0%", "100%", "%", "25%%", "2.5%", "-1",
		"Off", "18446744073709551641", "26%5"),
	REFUSES(value_boolean, -EINVAL, "", "", "5\1", "2", "yess", "enabled!!", "on "),
	REFUSES(value_count, -EINVAL, "", "", "5\1", "0", "1048577", "1K", "one"),
	REFUSES(value_size, -EINVAL, "", "", "5\1", "M", "50m", "50B", "50MB", "50MiB", "50 M",
		"1.5G", "-1", "0x10", "5P", "18446744073709551616"),
	/* the last is 0, modulo 2^64 */
	REFUSES(value_size, -EINVAL, "that is more than there is", "9223372036854775808",
		"8388608T", "18014398509481984K"),
	REFUSES(cgroup_line, -ENOENT, "", "", "4:memory:/a\n"),
	REFUSES(cgroup_line, -ENODEV, "", "0::/a (deleted)\n", "0::/../a (deleted)\n"),
	REFUSES(cgroup_line, -EBADMSG, "", "0::/../../a/../b\n", "0::/../\n", "0::/..//a\n",
		"0::\n", "0::a\n", "0:://a\n", "0::/a/\n", "0::/a//b\n", "0::/a/./b\n",
		"0::/a/../b\n", "0::/a/..\n", "0::/.\n", "0:/a\n", "::/a\n", "x::/a\n", "0 ::/a\n",
		"99999999999999999999::/a\n", "\n0::/a\n", "hello\n0::/a\n", "0::/a\1b\n"),
	/* cut off */
	REFUSES(cgroup_line, -EBADMSG, "", "0::/a", "4:memory:/a\n0::/system.sl", "0"),
	REFUSES(controller, -ENOENT, "", "mem", "memoryx", "cpu,cpuacct", "systemd", ""),
	/* another file system, or not of the shape of a line */
	REFUSES(mount2, -ENOENT, "", "",
		"22 28 0:20 / /sys rw,nosuid,nodev shared:7 - sysfs sysfs rw",
		"28 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro",
		"35 31 0:32 / /sys/fs/cgroup/memory rw shared:12 - cgroup cgroup rw,memory",
		"1 2 0:3 / /cg rw shared:1 cgroup2 none rw", "1 2 0:3 / /cg - cgroup2 none rw",
		"1 2 0:3 / /cg rw - cgroup2", "1 2 0:3 / /cg rw - cgroup2x none rw",
		"1 2 0:3 / /cg rw - cgroup22 none rw", "x 2 0:3 / /cg rw - cgroup2 none rw",
		"-1 2 0:3 / /cg rw - cgroup2 none rw"),
	/* of its shape, and wrong inside */
	REFUSES(mount2, -ENOENT, "", AT("/", "/\\"), AT("/", "/\\04"), AT("/", "/\\048"),
		AT("/", "/\\084"), AT("/", "/\\400"), AT("/", "/\\x20"), AT("/", "/a\\000b"),
		AT("/\\9", "/cg"), AT("", "/cg"), AT("cg", "/cg"), AT("/", "cg")),
	REFUSES(mount_of_memory, -ENOENT, "", AT("/", "/cg"),
		"1 2 0:3 / /cg rw memory - cgroup memory rw",
		"31 1 0:3 / /cg rw - cgroup cgroup rw,cpu,cpuacct",
		"31 1 0:3 / /cg rw - cgroup cgroup rw,memoryx,xmemory",
		"31 1 0:3 / /cg rw - cgroup cgroup rw,name=memory"),
	REFUSES(oom_kill, -EBADMSG, "", "",
		"oom-kill:", KILLED "oom_memcg=/a,task_memcg=/a,task=x,pid=x,uid=0",
		KILLED "oom_memcg=/a,task_memcg=a,task=x,pid=1,uid=0",
		KILLED "oom_memcg=a,task_memcg=/a,task=x,pid=1,uid=0",
		KILLED "task_memcg=/a,task=x,pid=1,uid=0",
		KILLED "oom_memcg=/a,task_memcg=/a,task=,pid=1,uid=0",
		KILLED "oom_memcg=/a,task_memcg=/a,task=a-name-that-is-too-long,pid=1,uid=0",
		" " KILLED "oom_memcg=/a,task_memcg=/a,task=x,pid=1,uid=0", "memory: usage 1kB",
		"memory: usage 1kB, limit 99999999999999999999kB, failcnt 0",
		"memory: usage -1kB, limit 1kB, failcnt 0",
		"memory: usage 18014398509481984kB, limit 1kB, failcnt 0"),
	REFUSES(key_of_stat, -ENOENT, "", "inactive", "_file", "File", ""),
	REFUSES(key, -EBADMSG, "", "\nkey 1\n", "word\nkey 1\n", " 1\nkey 1\n", "key\n", "key \n",
		"key x\n", "key 1 2\n", "key 18446744073709551616\n"),
	REFUSES(key, -ENOENT, "", "", "key 1", "other 1\nkey 1"),
	REFUSES(meminfo, -EBADMSG, "", "MemTotal: 18014398509481984 kB\n",
		"MemTotal: 18446744073709551616 kB\n", "MemTotal: 1 MB\n", "MemTotal: 1 kB \n",
		"MemTotal: kB\n", "MemTotal: -1 kB\n", "MemTotal:  4\n", "MemTotal 1 kB\n",
		"\nMemTotal: 1 kB\n", ": 1 kB\nMemTotal: 1 kB\n"),
	REFUSES(meminfo, -ENOENT, "", "", "MemTotal: 1 kB", "memtotal: 1 kB\n", "Mem: 1 kB\n"),
};

/* ---- asking them -------------------------------------------------------------------------------- */

static union {
	struct oom_kill kill;
	struct cgmount mount;
	char bytes[sizeof(struct oom_kill) + sizeof(struct cgmount)];
} ret, before;

/* The text as it is meant, alone in memory. */
static char *alone(const char *text, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1);

	assert_non_null(copy);
	for (size_t i = 0; i < size; i++)
		copy[i] = (char)(text[i] == '\1' ? '\0' : text[i]);
	return copy;
}

PROMISE(what_is_right_is_understood_and_written_again)
{
	static char printed[PRINTED_MAX];

	for (size_t i = 0; i < ELEMENTSOF(accepted); i++) {
		const struct parser *parser = accepted[i].parser;
		size_t size = strlen(accepted[i].text);
		char *copy = alone(accepted[i].text, size);

		memset(&ret, 0x5a, sizeof(ret));
		if (parser->parse(copy, size, &ret, NULL) < 0)
			fail_msg("refused: \"%s\"", accepted[i].text);
		parser->print(&ret, printed);
		assert_string_equal(printed, accepted[i].printed);
		if (parser == &pattern)
			assert_null(cgpattern_free(*(struct cgpattern **)(void *)&ret));
		free(copy);
	}
}

PROMISE(what_is_wrong_is_said_in_words_and_nothing_is_written)
{
	memset(&ret, 0x5a, sizeof(ret));
	before = ret;
	for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
		for (size_t k = 0; k < ELEMENTSOF(refusals[i].texts) && refusals[i].texts[k]; k++) {
			const struct parser *parser = refusals[i].parser;
			const char *text = refusals[i].texts[k], *why = "";
			size_t size = strlen(text);
			char *copy = alone(text, size);
			int r = parser->parse(copy, size, &ret, &why);

			if (r != refusals[i].error || strcmp(why, refusals[i].why) != 0)
				fail_msg("row %zu: \"%s\" gave %d, \"%s\"", i, text, r, why);
			/* and the words are not needed */
			assert_int_equal(parser->parse(copy, size, &ret, NULL), refusals[i].error);
			assert_memory_equal(&ret, &before, sizeof(ret));
			free(copy);
		}
	}
}

PROMISE(no_text_at_all_is_refused_too)
{
	static const struct parser *const parsers[] = {
		&duration,	&trigger,     &pressure,	   &events,
		&cgroup_line,	&mount2,      &oom_kill,	   &key,
		&value_trigger, &value_time,  &value_time_or_auto, &value_percent,
		&value_boolean, &value_count, &value_size,
	};

	for (size_t i = 0; i < ELEMENTSOF(parsers); i++)
		assert_true(parsers[i]->parse(NULL, 0, &ret, NULL) < 0);
}

/* A counter that is cut short would look like one that was reset. */
PROMISE(what_was_cut_off_is_refused_or_as_if_absent)
{
	static const char victim[] = KILLED "oom_memcg=/a,task_memcg=/a/b,task=x,pid=77,uid=0";
	const struct oom_kill kill = { .cgroup = "/x", .task = "y", .pid = 5 };
	struct memory_events e;
	struct psi psi;
	uint64_t value;

	for (size_t n = 0; n < strlen(SOME FULL); n++)
		assert_int_equal(psi_parse(SOME FULL, n, &psi), -EBADMSG);
	for (size_t n = 1; n <= strlen(EVENTS); n++)
		assert_int_equal(memory_events_parse(EVENTS, n, &e),
				 EVENTS[n - 1] == '\n' ? 0 : -EBADMSG);
	for (size_t n = 0; n <= strlen(STAT); n++)
		assert_int_equal(keyed_get(STAT, n, "inactive_file", &value),
				 n < strlen(STAT "") - strlen("slab 7\n") ? -ENOENT : 0);
	for (size_t n = 0; n < strlen(victim) - 1; n++) { /* "uid=" is enough */
		struct oom_kill k = kill;

		assert_false(oom_kill_line(&k, victim, n));
		assert_memory_equal(&k, &kill, sizeof(k));
	}
}

/* Paths of 4,095 bytes, one more, and many that are dropped. */
PROMISE(a_path_fills_the_buffer_and_no_more)
{
	static char name[2 * CGPATH_MAX], text[3 * CGPATH_MAX];
	struct cgpattern *p = NULL;
	const char *why;

	for (int more = 0; more <= 1; more++) {
		size_t size = CGPATH_MAX - 1 + (size_t)more;
		int too_long = more ? -ENAMETOOLONG : 0;

		memset(name, 'a', size);
		name[0] = '/';
		name[size] = '\0';
		why = "it is longer than 4095 bytes";
		assert_int_equal(cgpath_normalise(name, NULL, ret.bytes, &why), too_long);
		assert_string_equal(why, "it is longer than 4095 bytes");
		name[1] = '*';
		assert_int_equal(cgpattern_new(name, NULL, &p, &why), too_long);
		p = cgpattern_free(p);
		for (size_t i = 2; i + 1 < size; i += 2)
			name[i] = '/';
		assert_int_equal(cgpath_normalise(name, NULL, ret.bytes, NULL), too_long);
		snprintf(text, sizeof(text), "0::%s\n", name);
		assert_int_equal(proc_cgroup_v2(text, strlen(text), ret.bytes), too_long);
		snprintf(text, sizeof(text), AT("/", "%s"), name);
		assert_int_equal(mountinfo_line(text, strlen(text), NULL, &ret.mount), !more);
		snprintf(text, sizeof(text), AT("%s", "/"), name);
		assert_int_equal(mountinfo_line(text, strlen(text), NULL, &ret.mount), !more);
	}
	memset(text, '/', sizeof(text) - 1);
	text[sizeof(text) - 2] = 'a';
	assert_int_equal(cgpath_normalise(text, NULL, ret.bytes, NULL), 0);
	assert_string_equal(ret.bytes, "/a");
}

PROMISE(the_words_of_a_boolean_count_in_any_case)
{
	static const char *const words[] = { "0", "no",	 "n", "false", "f", "off",
					     "1", "yes", "y", "true",  "t", "on" };
	char text[8];
	struct value value;

	for (size_t i = 0; i < 2 * ELEMENTSOF(words); i++) {
		const char *word = words[i / 2];

		snprintf(text, sizeof(text), "%s", word);
		if (i % 2 && *text >= 'a')
			*text &= ~0x20;
		assert_int_equal(value_parse(FORM_BOOLEAN, text, strlen(text), &value, NULL), 0);
		assert_int_equal(value.number, i / 2 >= 6);
		assert_string_equal(printed_value(FORM_BOOLEAN, &value), i / 2 >= 6 ? "yes" : "no");
	}
}

PROMISE(a_path_is_called_differently_under_each_mount)
{
	static const struct {
		const char *root, *path, *below; /* NULL: not shown, or not by name */
	} table[] = {
		{ "/", "/", "/" },
		{ "/", "/a/b", "/a/b" },
		{ "/a", "/a/b", "/b" },
		{ "/a/b", "/a/b", "/" },
		{ "/a/b", "/a", NULL },
		{ "/a", "/ab", NULL },
		{ "/a", "/", NULL },
		/* a file that is bound somewhere */
		{ "/a/memory.pressure", "/a", NULL },
		/* a host's tree beside a private cgroup namespace: ours has a name in it that we cannot know */
		{ "/..", "/", NULL },
		{ "/../..", "/../a", NULL },
		/* we are beside our namespace */
		{ "/", "/..", NULL },
		{ "/", "/../x", NULL },
		{ "/a", "/../a", NULL },
		{ "/..", "/../x", "/x" },
		{ "/..", "/..", "/" },
		{ "/..", "/../../x", NULL },
		{ "/../x", "/../x/y", "/y" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++) {
		char buf[CGPATH_MAX] = "before";
		bool covers;

		strcpy(ret.mount.root, table[i].root);
		covers = cgmount_covers(&ret.mount, table[i].path, buf);
		if (covers != (table[i].below != NULL) ||
		    strcmp(buf, table[i].below ? table[i].below : "before") != 0)
			fail_msg("%s under %s is %s", table[i].path, table[i].root, buf);
	}
}
