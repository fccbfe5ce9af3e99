/* SPDX-License-Identifier: MIT */
/*
 * trigger.c - a PSI threshold over a window, in two notations
 *
 * A slash decides which notation it is; a mixture ("some 200000/2s", "some 200ms 2s") is an error that says so,
 * because guessing a unit could be wrong by a factor of a thousand. Every struct trigger that leaves
 * trigger_parse() obeys 1 <= threshold <= window and 100 ms <= window <= 10 s; all other code relies on it (no
 * product of two of these numbers overflows).
 *
 * The kernel reads sscanf("some %u %u"), which takes any white space and ignores what follows
 * (psi_trigger_create(), kernel/sched/psi.c). Here what follows is an error: the trigger would not be the one
 * that was meant.
 */
#include "trigger.h"

#include <inttypes.h>
#include <stdio.h>

#include "duration.h"
#include "scan.h"

static const char *const kind_names[] = { [PSI_SOME] = "some", [PSI_FULL] = "full" };

static int take_kind(struct scan *s, enum psi_kind *ret, const char **ret_why)
{
	struct scan word = { s->p, 0 };
	char lower[5] = "";

	while (word.left < s->left && s->p[word.left] != ' ' && s->p[word.left] != '\t')
		word.left++;
	for (size_t i = 0; word.left == 4 && i < 4; i++)
		lower[i] = (char)(word.p[i] | 0x20);
	if (strcmp(lower, "some") != 0 && strcmp(lower, "full") != 0)
		return scan_refuse(-EINVAL, "it begins with neither some nor full", ret_why);
	if (!scan_is(word, lower))
		return scan_refuse(-EINVAL, "some and full are written in lower case", ret_why);
	*ret = *lower == 'f' ? PSI_FULL : PSI_SOME;
	scan_skip(s, word.left);
	return 0;
}

static int take_duration(struct scan text, uint64_t *ret_usec, const char **ret_why)
{
	int r = duration_parse(text.p, text.left, ret_usec, ret_why);

	if (r == -ERANGE)
		*ret_usec = UINT64_MAX;
	return r == -ERANGE ? 0 : r;
}

/* False: no number. One that does not fit becomes the biggest. */
static bool take_number(struct scan *s, uint64_t *ret)
{
	int r = scan_u64(s, ret);

	if (r == -ERANGE)
		*ret = UINT64_MAX;
	return r != -EINVAL;
}

static int judge(const struct trigger *t, const char **ret_why)
{
	if (t->window_usec < TRIGGER_WINDOW_MIN_USEC)
		return scan_refuse(-EINVAL, "the window is shorter than 100 ms", ret_why);
	if (t->window_usec > TRIGGER_WINDOW_MAX_USEC)
		return scan_refuse(-EINVAL, "the window is longer than 10 s", ret_why);
	if (t->threshold_usec == 0)
		return scan_refuse(-EINVAL, "the threshold is 0", ret_why);
	if (t->threshold_usec > t->window_usec)
		return scan_refuse(-EINVAL, "the threshold is longer than the window", ret_why);
	return 0;
}

int trigger_parse(const char *text, size_t size, struct trigger *ret, const char **ret_why)
{
	struct scan s = { text, size }, threshold;
	struct trigger t;
	int r;

	if (s.left > 0 && (s.p[s.left - 1] == '\n' || s.p[s.left - 1] == '\0'))
		s.left--;
	if (s.left == 0)
		return scan_refuse(-EINVAL, "it is empty", ret_why);
	r = take_kind(&s, &t.kind, ret_why);
	if (r < 0)
		return r;
	scan_blanks(&s);
	if (s.left == 0)
		return scan_refuse(-EINVAL, "threshold and window are missing", ret_why);

	if (scan_field(&s, '/', &threshold)) {
		r = take_duration(threshold, &t.threshold_usec, ret_why);
		if (r == 0)
			r = take_duration(s, &t.window_usec, ret_why);
		if (r < 0)
			return r;
	} else {
		if (!take_number(&s, &t.threshold_usec) || (s.left > 0 && !scan_blanks(&s)))
			return scan_refuse(-EINVAL,
					   "it is neither THRESHOLD/WINDOW with units, such as "
					   "200ms/2s, nor two numbers in microseconds",
					   ret_why);
		if (s.left == 0)
			return scan_refuse(-EINVAL, "the window is missing", ret_why);
		if (!take_number(&s, &t.window_usec))
			return scan_refuse(-EINVAL, "the window is no number in microseconds",
					   ret_why);
		if (s.left > 0)
			return scan_refuse(-EINVAL, "something follows the two numbers", ret_why);
	}
	r = judge(&t, ret_why);
	if (r < 0)
		return r;
	*ret = t;
	return 0;
}

bool trigger_is_same(const struct trigger *a, const struct trigger *b)
{
	return a->kind == b->kind && a->threshold_usec == b->threshold_usec &&
	       a->window_usec == b->window_usec;
}

size_t trigger_format(const struct trigger *trigger, char *buf)
{
	char threshold[DURATION_TEXT_MAX], window[DURATION_TEXT_MAX];

	duration_format(trigger->threshold_usec, threshold);
	duration_format(trigger->window_usec, window);
	/* no duration is longer than the 22 of "18446744073709.551615s", so both have room */
	return (size_t)snprintf(buf, TRIGGER_TEXT_MAX, "%s %.22s/%.22s", kind_names[trigger->kind],
				threshold, window);
}

size_t trigger_format_kernel(const struct trigger *trigger, char *buf)
{
	return (size_t)snprintf(buf, TRIGGER_TEXT_MAX, "%s %" PRIu64 " %" PRIu64,
				kind_names[trigger->kind], trigger->threshold_usec,
				trigger->window_usec);
}

struct trigger trigger_rescale(const struct trigger *trigger, uint64_t window_usec)
{
	struct trigger t = *trigger;
	uint64_t parts = (t.window_usec - 1) / window_usec + 1;

	t.window_usec = window_usec;
	/* a bigger window has the whole of the old one in one part: the threshold stays */
	t.threshold_usec = MAX(t.threshold_usec / parts, UINT64_C(1));
	return t;
}

struct trigger trigger_to_arm(const struct trigger *early, bool privileged)
{
	return trigger_rescale(early,
			       privileged ? MIN(early->window_usec / 4, TRIGGER_SHORT_WINDOW_USEC)
					  : 2 * USEC_PER_SEC);
}

static bool is_passed_unnoticed(const struct trigger *early, const struct trigger *other)
{
	if (early->kind == PSI_FULL && other->kind == PSI_SOME)
		return true;
	return early->threshold_usec > trigger_rescale(other, early->window_usec).threshold_usec;
}

int trigger_check_early(const char *early_name, const struct trigger *early, const char *other_name,
			const struct trigger *other, char *why, size_t why_size)
{
	char early_text[TRIGGER_TEXT_MAX], other_text[TRIGGER_TEXT_MAX], most[TRIGGER_TEXT_MAX];
	struct trigger limit = trigger_rescale(other, early->window_usec);

	if (!is_passed_unnoticed(early, other))
		return 0;
	trigger_format(early, early_text);
	trigger_format(other, other_text);
	trigger_format(&limit, most);
	snprintf(why, why_size,
		 "%s \"%s\" is over %s \"%s\", which stalls could reach unnoticed; "
		 "%s of at most \"%s\" was expected",
		 early_name, early_text, other_name, other_text, early_name, most);
	return -EINVAL;
}

struct trigger trigger_early_of(const struct trigger *low, const struct trigger *critical)
{
	struct trigger early = trigger_rescale(critical, low->window_usec);

	early.kind = low->kind == PSI_SOME ? PSI_SOME : critical->kind;
	early.threshold_usec = MAX(MIN(early.threshold_usec, low->threshold_usec / 10),
				   UINT64_C(1));
	return early;
}
