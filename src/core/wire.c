/* SPDX-License-Identifier: MIT */
/*
 * wire.c - what is said on psibridged's notify socket
 *
 * A hello arrives in pieces of any size, and the same bytes must mean the same however they were
 * cut. So wire_hello_parse() is given all of them each time, and answers -EAGAIN as long as a
 * continuation could make them good. It refuses early where nothing can: a beginning that is none
 * of the three words, a character that no trigger has, a version that is not ours, too many bytes.
 *
 * The three kinds are told apart by their first bytes: "psibridge/" is a line of ours, "some" and
 * "full" begin a trigger, no byte at all is systemd's protocol without a word.
 *
 * A trigger ends with the first newline or NUL. systemd's clients write what
 * $MEMORY_PRESSURE_WRITE holds, by default with a NUL, and nothing says that it must have one: a
 * trigger without its end is complete as it stands, but "some 200000 200000" may still become
 * "some 200000 2000000".
 *
 * In our own line a trigger has colons where the kernel's notation has blanks, because blanks part
 * the keys: it is copied, the colons are replaced, and trigger.c judges it.
 */
#include "wire.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "scan.h"

#define OURS "psibridge/"
#define VERSION "1"
/* Far more blanks than any client sends. */
#define TRIGGER_LINE_MAX 256
#define TIME_MAX_USEC (UINT64_C(86400) * USEC_PER_SEC)

/* ---- reading a hello ------------------------------------------------------------------------- */

static bool could_become(struct scan s, const char *word)
{
	return s.left > 0 && memcmp(s.p, word, MIN(s.left, strlen(word))) == 0;
}

static int take_trigger(struct scan value, struct trigger *ret, const char **ret_why)
{
	char text[TRIGGER_TEXT_MAX];
	bool valid = value.left <= sizeof(text);
	unsigned colons = 0;

	for (size_t i = 0; valid && i < value.left; i++) {
		char c = value.p[i];

		valid = c == ':' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
		colons += c == ':';
		text[i] = c == ':' ? ' ' : c;
	}
	if (!valid || colons != 2)
		return scan_refuse(-EINVAL, "a trigger is written as in some:200000:2000000",
				   ret_why);
	return trigger_parse(text, value.left, ret, ret_why);
}

static int take_time(struct scan value, uint64_t *ret, const char **ret_why)
{
	return scan_is_number(value, 1, TIME_MAX_USEC, ret)
		       ? 0
		       : scan_refuse(-EINVAL, "a time is microseconds, from 1 to a day", ret_why);
}

static int take_headroom(struct scan value, unsigned *ret, const char **ret_why)
{
	uint64_t percent;

	if (scan_is(value, "off")) {
		*ret = HEADROOM_OFF;
		return 0;
	}
	if (!scan_is_number(value, 1, 99, &percent))
		return scan_refuse(-EINVAL, "headroom is neither 1 to 99 nor off", ret_why);
	*ret = (unsigned)percent;
	return 0;
}

static int take_descendants(struct scan value, unsigned *ret, const char **ret_why)
{
	if (!scan_is(value, "yes") && !scan_is(value, "no"))
		return scan_refuse(-EINVAL, "descendants is neither yes nor no", ret_why);
	*ret = scan_is(value, "yes") ? DESCENDANTS_COUNT : DESCENDANTS_APART;
	return 0;
}

static int take_forecast(struct scan value, uint64_t *ret, const char **ret_why)
{
	if (!scan_is(value, "off"))
		return take_time(value, ret, ret_why);
	*ret = FORECAST_OFF;
	return 0;
}

static int take_value(struct policy_options *t, enum setting setting, struct scan value,
		      const char **ret_why)
{
	void *to = (char *)t + setting_table[setting].offset;

	switch (setting_table[setting].form) {
	case FORM_TRIGGER:
		return take_trigger(value, to, ret_why);
	case FORM_PERCENT:
		return take_headroom(value, to, ret_why);
	case FORM_BOOLEAN:
		return take_descendants(value, to, ret_why);
	case FORM_TIME_OR_OFF:
		return take_forecast(value, to, ret_why);
	default:
		return take_time(value, to, ret_why);
	}
}

static int take_key(struct policy_options *t, struct scan item, const char **ret_why)
{
	for (enum setting key = 0; key < SETTING_COUNT; key++) {
		struct scan value = item;

		if (!scan_word(&value, setting_table[key].word) || !scan_word(&value, "="))
			continue;
		if (setting_is_set(t, key))
			return scan_refuse(-EINVAL, "a key is there twice", ret_why);
		return take_value(t, key, value, ret_why);
	}
	return scan_refuse(-EINVAL, "a key is unknown", ret_why);
}

/* What stands behind the version, without the newline. */
static int take_keys(struct scan s, struct wire_hello *h, const char **ret_why)
{
	int r;

	while (s.left > 0) {
		struct scan item;

		if (!scan_word(&s, " ") || s.left == 0 || *s.p == ' ')
			return scan_refuse(-EINVAL, "keys are parted by one blank", ret_why);
		if (scan_word(&s, "cgroup=")) {
			if (s.left == 0)
				return scan_refuse(-EINVAL, "the cgroup is empty", ret_why);
			if (s.left >= CGPATH_MAX)
				return scan_refuse(-EINVAL, "the cgroup's path is too long",
						   ret_why);
			h->cgroup = s.p;
			h->cgroup_size = s.left;
			return 0;
		}
		item = (struct scan){ s.p, 0 };
		while (item.left < s.left && s.p[item.left] != ' ')
			item.left++;
		scan_skip(&s, item.left);
		r = take_key(&h->terms, item, ret_why);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_ours(struct scan s, struct wire_hello *ret, const char **ret_why)
{
	struct wire_hello h = { .kind = WIRE_SUBSCRIBE };
	struct scan line, whole = s;
	int r;

	scan_skip(&s, strlen(OURS));
	if (s.left > 0 && (!scan_word(&s, VERSION) || (s.left > 0 && *s.p != ' ' && *s.p != '\n')))
		return scan_refuse(-EPROTONOSUPPORT, "only version 1 is spoken here", ret_why);
	if (scan_has(s, '\0'))
		return scan_refuse(-EINVAL, "there is a NUL in the line", ret_why);
	if (!scan_field(&s, '\n', &line)) {
		if (whole.left >= WIRE_HELLO_MAX)
			return scan_refuse(-EINVAL, "the line is too long", ret_why);
		return -EAGAIN;
	}
	if (whole.left - s.left > WIRE_HELLO_MAX)
		return scan_refuse(-EINVAL, "the line is too long", ret_why);
	if (s.left > 0)
		return scan_refuse(-EINVAL, "something follows the line", ret_why);
	r = take_keys(line, &h, ret_why);
	if (r < 0)
		return r;
	*ret = h;
	return 0;
}

static bool is_of_a_trigger(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == ' ' || c == '\t' ||
	       c == '.' || c == '/';
}

static int parse_trigger(struct scan s, struct wire_hello *ret, const char **ret_why)
{
	struct wire_hello h = { .kind = WIRE_TRIGGER };
	size_t n = 0;
	int r;

	while (n < s.left && is_of_a_trigger(s.p[n]))
		n++;
	if (n >= TRIGGER_LINE_MAX)
		return scan_refuse(-EINVAL, "the trigger is too long", ret_why);
	if (n < s.left) {
		if (s.p[n] != '\n' && s.p[n] != '\0')
			return scan_refuse(-EINVAL, "there is a character that no trigger has",
					   ret_why);
		if (s.left > n + 1)
			return scan_refuse(-EINVAL, "something follows the trigger", ret_why);
		r = trigger_parse(s.p, n, &h.terms.low, ret_why);
		if (r < 0)
			return r;
	} else if (trigger_parse(s.p, n, &h.terms.low, NULL) < 0) {
		return -EAGAIN;
	}
	*ret = h;
	return n < s.left ? 0 : 1;
}

int wire_hello_parse(const char *data, size_t size, struct wire_hello *ret, const char **ret_why)
{
	struct scan s = { data, size };

	if (size == 0) {
		*ret = (struct wire_hello){ .kind = WIRE_PLAIN };
		return 1;
	}
	if (could_become(s, OURS))
		return size < strlen(OURS) ? -EAGAIN : parse_ours(s, ret, ret_why);
	if (could_become(s, "some") || could_become(s, "full"))
		return size < strlen("some") ? -EAGAIN : parse_trigger(s, ret, ret_why);
	return scan_refuse(-EINVAL, "it begins with neither some, full nor psibridge/1", ret_why);
}

/* ---- writing one ------------------------------------------------------------------------------ */

/* In the kernel's notation, with colons for its blanks. */
static size_t put_trigger(const struct trigger *trigger, char *buf)
{
	size_t n = trigger_format_kernel(trigger, buf);

	for (char *blank = buf; (blank = strchr(blank, ' ')) != NULL;)
		*blank = ':';
	return n;
}

size_t wire_hello_format(const struct policy_options *terms, char *buf)
{
	size_t n = strlen(OURS VERSION);

	memcpy(buf, OURS VERSION, n);
	/* three triggers of 11 + 5 + 2 * 21 bytes at most, four times of 10 + 20, the headroom of 12 + 10,
	 * descendants of 13 + 3 */
	_Static_assert(WIRE_LINE_MAX > sizeof(OURS VERSION) + 3 * 58 + 4 * 30 + 22 + 16 + 1,
		       "room for every line");
	for (enum setting key = 0; key < SETTING_COUNT; key++) {
		const struct setting_row *row = &setting_table[key];
		struct value value;

		if (!setting_is_set(terms, key))
			continue;
		setting_get(terms, key, &value);
		n += (size_t)snprintf(buf + n, WIRE_LINE_MAX - n, " %s=", row->word);
		if (row->form == FORM_TRIGGER)
			n += put_trigger(&value.trigger, buf + n);
		else if (row->form == FORM_BOOLEAN)
			n += (size_t)snprintf(buf + n, WIRE_LINE_MAX - n,
					      value.number ? "yes" : "no");
		else
			n += (size_t)snprintf(buf + n, WIRE_LINE_MAX - n,
					      value.number ? "%" PRIu64 : "off", value.number);
	}
	buf[n++] = '\n';
	return n;
}

/* ---- records ---------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct wire_record) == WIRE_RECORD_SIZE, "no padding, no surprise");

int wire_record_check(const struct wire_record *r)
{
	if (r->magic != WIRE_MAGIC || r->size != WIRE_RECORD_SIZE || r->kind == 0)
		return -EBADMSG;
	if (r->kind > WIRE_REPORT)
		return -ENOTSUP;
	if (r->kind == WIRE_EFFECT || r->kind == WIRE_REPORT)
		return 0; /* numbers, whatever they are */
	if (!memchr(r->text, '\0', sizeof(r->text)))
		return -EBADMSG;
	if (r->kind == WIRE_BYE || r->kind == WIRE_REFUSED)
		return 0; /* they say nothing of a level */
	if (r->available < 1 || r->available > 3)
		return -EBADMSG;
	/* critical is a second degree of Low, and GONE is never Low */
	if (r->critical > 1 || (r->critical && r->available != 1) ||
	    (r->kind == WIRE_GONE && r->available == 1))
		return -EBADMSG;
	return 0;
}
