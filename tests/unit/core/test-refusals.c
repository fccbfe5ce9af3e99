/* SPDX-License-Identifier: MIT */
/*
 * test-refusals.c - what each parser of core refuses, with which error and in which words; and then nothing is written
 *
 * A row is a parser, an error, its words ("" where it has none) and the texts that get them. In a text \1 stands for a NUL. The parser
 * sees each text alone in memory, so that the address sanitizer sees it reading on.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

/* ---- parsers, all of one form ------------------------------------------------------------------ */

#define PARSER(name, call)                                                              \
	static int name(const char *text, size_t size, void *ret, const char **ret_why) \
	{                                                                               \
		(void)ret_why;                                                          \
		return call;                                                            \
	}
PARSER(duration, duration_parse(text, size, ret, ret_why))
PARSER(trigger, trigger_parse(text, size, ret, ret_why))
PARSER(hello, wire_hello_parse(text, size, ret, ret_why))
PARSER(pressure, psi_parse(text, size, ret))
PARSER(events, memory_events_parse(text, size, ret))
PARSER(limit, limit_parse(text, size, ret))
PARSER(cgroup_line, proc_cgroup_v2(text, size, ret))
PARSER(mount2, mountinfo_line(text, size, NULL, ret) ? 0 : -ENOENT)
PARSER(mount_of_memory, mountinfo_line(text, size, "memory", ret) ? 0 : -ENOENT)
PARSER(oom_kill, oom_kill_line(ret, text, size) ? 0 : -EBADMSG)
PARSER(value_trigger, value_parse(FORM_TRIGGER, text, size, ret, ret_why))
PARSER(value_time, value_parse(FORM_TIME, text, size, ret, ret_why))
PARSER(value_time_or_auto, value_parse(FORM_TIME_OR_AUTO, text, size, ret, ret_why))
PARSER(value_percent, value_parse(FORM_PERCENT, text, size, ret, ret_why))
PARSER(value_boolean, value_parse(FORM_BOOLEAN, text, size, ret, ret_why))
PARSER(value_count, value_parse(FORM_COUNT, text, size, ret, ret_why))
PARSER(value_size, value_parse(FORM_SIZE, text, size, ret, ret_why))

static int base64(const char *text, size_t size, void *ret, const char **ret_why)
{
	size_t n = 99;
	int r = base64_decode(text, size, ret, 32, &n);

	(void)ret_why;
	assert_int_equal(n, 99);
	return r;
}

/* Those that take a C string; `text` ends where `size` says. */
static const char *c_string(const char *text, size_t size)
{
	static char buf[CGPATH_MAX];

	snprintf(buf, sizeof(buf), "%.*s", (int)size, text);
	return buf;
}

PARSER(pattern, cgpattern_new(c_string(text, size), NULL, ret, ret_why))
PARSER(controller, proc_cgroup_v1(HYBRID, strlen(HYBRID), c_string(text, size), ret))

/* With a mount that it may have in front, and without. What it has written is undefined. */
static int path(const char *text, size_t size, void *ret, const char **ret_why)
{
	const char *why = NULL;
	char buf[CGPATH_MAX];
	int r = cgpath_normalise(c_string(text, size), NULL, buf, ret_why);

	(void)ret;
	assert_int_equal(cgpath_normalise(c_string(text, size), MOUNT, buf, &why), r);
	if (ret_why)
		assert_string_equal(*ret_why, why);
	return r;
}

/* ---- what they refuse --------------------------------------------------------------------------- */

#define SOME "some avg10=1.23 avg60=0.05 avg300=100.00 total=123456789\n"
#define FULL "full avg10=0.00 avg60=12.34 avg300=7.10 total=42\n"
#define KILLED "oom-kill:constraint=CONSTRAINT_MEMCG,"
#define AT(root, point) "1 2 0:3 " root " " point " rw - cgroup2 none rw"
#define A31 "a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a"
#define REFUSES(parser, error, why, ...) \
	{                                \
		parser, error, why,      \
		{                        \
			__VA_ARGS__      \
		}                        \
	}
static const struct {
	int (*parse)(const char *text, size_t size, void *ret, const char **ret_why);
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
	REFUSES(hello, -EINVAL, "the version is no number", "psibridge/ 1\n", "psibridge/x",
		"psibridge/\n", "psibridge/1.1\n", "psibridge/1x", "psibridge/1\t",
		"psibridge/1\1"),
	REFUSES(hello, -EPROTONOSUPPORT, "only version 1 is spoken here", "psibridge/0",
		"psibridge/2", "psibridge/2 whatever it says then\n", "psibridge/10",
		"psibridge/01\n", "psibridge/99999999999999999999999\n"),
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
	REFUSES(hello, -EINVAL, "a trigger is too long",
		"psibridge/1 low=some:0000000000000000000000000000001:0000000000000000000000000000000000000000000000000000100000\n"),
	REFUSES(hello, -EINVAL, "a time is no number of microseconds", "psibridge/1 rearm=\n",
		"psibridge/1 rearm=1s\n", "psibridge/1 quiet=-1\n", "psibridge/1 calm=1.5\n"),
	REFUSES(hello, -EINVAL, "a time is 0", "psibridge/1 calm=0\n"),
	REFUSES(hello, -EINVAL, "a time is longer than a day", "psibridge/1 calm=86400000001\n",
		"psibridge/1 calm=18446744073709551616\n"),
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
		"some avg10=0 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.000 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0,00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=-1\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=0x1\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00\n" FULL),
	/* one more than fits */
	REFUSES(pressure, -EBADMSG, "",
		"some avg10=42949672.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=18446744073709551616.00 avg60=0.00 avg300=0.00 total=0\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551616\n" FULL,
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999\n" FULL),
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
		"AAAAA===", "Zh==", "Zv==", "Zm9=", "Zm+=", "//==", "///="),
	REFUSES(value_trigger, -EINVAL, "threshold and window are missing", "some"),
	REFUSES(value_trigger, -EINVAL, "the threshold is longer than the window", "full 3s/2s"),
	REFUSES(value_trigger, -EINVAL, "it begins with neither some nor full", "5\1"),
	REFUSES(value_trigger, -EINVAL, "it is empty", ""),
	REFUSES(value_time, -EINVAL, "", "0.9ms", "0", "86400.001s", "25h"),
	REFUSES(value_time_or_auto, -EINVAL, "", "0.9ms", "0", "86400.001s", "25h"),
	REFUSES(value_time, -EINVAL, "it does not begin with a digit", "auto", ""),
	REFUSES(value_time, -EINVAL, "the unit is missing (us, ms, s, min or h)", "10"),
	REFUSES(value_time, -EINVAL, "the unit is none of us, ms, s, min and h", "5\1"),
	REFUSES(value_time_or_auto, -EINVAL, "it does not begin with a digit", "Auto", "automatic",
		""),
	REFUSES(value_time_or_auto, -EINVAL, "the unit is none of us, ms, s, min and h", "5\1"),
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
};

/* ---- asking them -------------------------------------------------------------------------------- */

/* The text as it is meant, alone in memory. */
static char *alone(const char *text, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1);

	assert_non_null(copy);
	for (size_t i = 0; i < size; i++)
		copy[i] = (char)(text[i] == '\1' ? '\0' : text[i]);
	return copy;
}

PROMISE(what_is_wrong_is_said_in_words_and_nothing_is_written)
{
	static char ret[sizeof(struct oom_kill)], before[sizeof(ret)];

	memset(ret, 0x5a, sizeof(ret));
	memset(before, 0x5a, sizeof(before));
	for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
		for (size_t k = 0; k < ELEMENTSOF(refusals[i].texts) && refusals[i].texts[k]; k++) {
			const char *text = refusals[i].texts[k], *why = "";
			size_t size = strlen(text);
			char *copy = alone(text, size);
			int r = refusals[i].parse(copy, size, ret, &why);

			if (r != refusals[i].error || strcmp(why, refusals[i].why) != 0)
				fail_msg("row %zu: \"%s\" gave %d, \"%s\"", i, text, r, why);
			/* and the words are not needed */
			assert_int_equal(refusals[i].parse(copy, size, ret, NULL),
					 refusals[i].error);
			assert_memory_equal(ret, before, sizeof(ret));
			free(copy);
		}
	}
}

PROMISE(no_text_at_all_is_refused_too)
{
	static char ret[sizeof(struct oom_kill)];

	assert_int_equal(duration(NULL, 0, ret, NULL), -EINVAL);
	assert_int_equal(trigger(NULL, 0, ret, NULL), -EINVAL);
	assert_int_equal(pressure(NULL, 0, ret, NULL), -EBADMSG);
	assert_int_equal(events(NULL, 0, ret, NULL), -EBADMSG);
	assert_int_equal(cgroup_line(NULL, 0, ret, NULL), -ENOENT);
	assert_int_equal(mount2(NULL, 0, ret, NULL), -ENOENT);
	assert_int_equal(oom_kill(NULL, 0, ret, NULL), -EBADMSG);
	for (enum value_form form = FORM_TRIGGER; form <= FORM_SIZE; form++)
		assert_int_equal(value_parse(form, NULL, 0, (struct value *)(void *)ret, NULL),
				 -EINVAL);
}
