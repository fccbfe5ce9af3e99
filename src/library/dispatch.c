/* SPDX-License-Identifier: MIT */
/*
 * dispatch.c - registrations, mailboxes, threads
 *
 * A registration is `queued` with letters, at most one for each cgroup: a newer letter overwrites
 * the one that waits. Its own thread takes the letters out one by one and calls. An inline
 * registration has no thread and no letters: the loop's thread calls it in dispatch_deliver(). A
 * `pulled` one has letters and no thread: somebody of the host's comes for them (mailbox.c), and is
 * `running` while he is in here. What he does between two visits is his call.
 *
 * States, under the bridge's lock:
 *
 *     idle --(letter taken)--> running --(call returned)--> idle
 *       |                         |
 *       +---- removed ------------+-- removed from inside: `orphan`, freed when the call returns
 *
 * A thread that removes from outside sets `removed`, waits until `running` is over, joins the
 * registration's thread and frees. If it is itself inside a callback, of this bridge or another, it
 * notes what it waits for (`waits_for`); a chain of such notes that leads back to it is a deadlock,
 * and the answer is -EDEADLK instead. Until it is freed, a removed registration counts as
 * `lingering`, and the bridge does not end: its last reference may go while a thread still waits here.
 *
 * A thread's calls nest where a callback dispatches a foreign bridge; `frames` is their stack.
 *
 * Nothing here allocates on the way of a notification. The slots of a single cgroup are part of its
 * registration. For a pattern's many cgroups letters are reserved when one comes under observation:
 * a registration has at least as many spare ones as there are cgroups without a letter in its queue.
 */
#include "library/dispatch-internal.h"

#include "kernel/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_FLAGS (PSB_INLINE | PSB_TELL_PRESENT | PSB_TELL_SOURCE)
/* A slow callback lengthens its own rearm to so many times its duration. */
#define SLOW_FACTOR 20

/* The callbacks that this thread is inside of, the innermost first. */
struct frame {
	struct frame *outer;
	struct psb_registration *reg;
};
static __thread struct frame *frames;

bool dispatch_is_inside_any(void)
{
	return frames != NULL;
}

static bool is_inside(const struct psb_registration *reg)
{
	for (const struct frame *f = frames; f; f = f->outer)
		if (f->reg == reg)
			return true;
	return false;
}

/* ---- calling ------------------------------------------------------------------------------- */

/* What was told, and when. `still`: nobody told it another level meanwhile. */
void registration_told(struct psb_registration *reg, const struct psb_notification *n,
		       uint64_t at_usec, bool still)
{
	if (n->kind != PSB_KIND_LEVEL)
		return;
	if (still) {
		reg->told = n->available;
		reg->told_critical = n->critical;
	}
	if (n->available == PSB_LOW) {
		reg->low_usec = at_usec;
		reg->low_cgroup = n->cgroup;
	}
}

/* Lock held before and after, not during. `reg` is not removed before, and may be after. False: this
 * is a forked child that came back from the callback; nothing is locked. */
static bool call(struct psb_registration *reg, const struct psb_notification *notification)
{
	struct frame frame = { .outer = frames, .reg = reg };
	unsigned assumptions = reg->assumptions;
	uint64_t start, duration;

	reg->running = true;
	reg->dispatch->calls++;
	pthread_mutex_unlock(&reg->bridge->lock);
	frames = &frame;
	start = now_usec();
	reg->fn(notification, reg->userdata);
	duration = now_usec() - start;
	frames = frame.outer;
	if (reg->flags & PSB_INLINE)
		bridge_leave_child(reg->bridge);
	if (bridge_is_child(reg->bridge))
		return false;
	pthread_mutex_lock(&reg->bridge->lock);
	reg->running = false;
	if (reg->dispatch)
		reg->dispatch->total_usec += duration;
	reg->duration_usec = duration;
	registration_told(reg, notification, start, reg->assumptions == assumptions);
	pthread_cond_broadcast(&reg->bridge->idle);
	return true;
}

/* Low again, and not worse. A FIFO or a socket repeats with a reason of its own. */
static bool is_repeat(const struct psb_registration *reg, const struct psb_notification *n)
{
	if (n->reason == PSB_REASON_REPEAT)
		return true;
	return !reg->dispatch->many && n->available == PSB_LOW && reg->told == PSB_LOW &&
	       (!n->critical || reg->told_critical);
}

static bool is_wanted(const struct psb_registration *reg, const struct psb_notification *n)
{
	return n->kind != PSB_KIND_SOURCE || (reg->flags & PSB_TELL_SOURCE);
}

/* A repeated Low may come too soon for a callback that takes its time. Not while a call runs: what
 * it tells is not in `told` yet. */
bool registration_is_too_soon(const struct psb_registration *reg, const struct psb_notification *n)
{
	return n->kind == PSB_KIND_LEVEL && reg->low_usec > 0 && n->cgroup == reg->low_cgroup &&
	       is_repeat(reg, n) &&
	       n->time_usec < usec_add(reg->low_usec, SLOW_FACTOR * reg->duration_usec);
}

/* Nobody needs the same Neutral or High twice. */
bool registration_is_old_news(const struct psb_registration *reg, const struct psb_notification *n)
{
	return !reg->dispatch->many && n->kind == PSB_KIND_LEVEL && n->available != PSB_LOW &&
	       n->available == reg->told;
}

/* ---- mailboxes, all with the lock held ----------------------------------------------------- */

static struct letter *find_letter(struct psb_registration *reg, const struct label *label,
				  bool source)
{
	for (struct letter *l = reg->letters; l; l = l->next)
		if (l->label == label && (l->notification.kind == PSB_KIND_SOURCE) == source)
			return l;
	return NULL;
}

/* Returns: -ENOMEM, and then some are there that are not needed. */
static int keep_spare(struct psb_registration *reg, unsigned count)
{
	while (reg->spare_count < count) {
		struct letter *letter = malloc(sizeof(*letter));

		if (!letter)
			return -ENOMEM;
		letter->next = reg->spare;
		reg->spare = letter;
		reg->spare_count++;
	}
	return 0;
}

static struct letter *take_spare(struct psb_registration *reg)
{
	struct letter *letter = reg->spare;

	reg->spare = letter->next;
	reg->spare_count--;
	return letter;
}

static void put_letter(struct psb_registration *reg, struct label *label,
		       const struct psb_notification *n)
{
	bool source = n->kind == PSB_KIND_SOURCE;
	struct letter *letter = find_letter(reg, label, source);

	if (letter) {
		reg->dispatch->superseded++;
		letter->notification = *n;
		return;
	}
	letter = reg->dispatch->many ? take_spare(reg) : &reg->slot[source];
	letter->notification = *n;
	letter->label = label_ref(label);
	letter->next = NULL;
	*reg->letters_last = letter;
	reg->letters_last = &letter->next;
	pthread_cond_signal(&reg->wake);
}

static void drop_letter(struct psb_registration *reg, struct letter *letter)
{
	label_unref(letter->label);
	if (letter == &reg->slot[0] || letter == &reg->slot[1])
		return;
	if (!reg->dispatch || reg->spare_count >= reg->dispatch->reserved) {
		free(letter);
		return;
	}
	letter->next = reg->spare;
	reg->spare = letter;
	reg->spare_count++;
}

/* Takes the oldest letter out: its contents and its reference to the label. */
struct letter registration_take_letter(struct psb_registration *reg)
{
	struct letter *letter = reg->letters, taken = *letter;

	reg->letters = letter->next;
	if (!reg->letters)
		reg->letters_last = &reg->letters;
	label_ref(taken.label);
	drop_letter(reg, letter);
	return taken;
}

/* ---- the end of a registration -------------------------------------------------------------- */

/* Lock held. */
static void unlink_registration(struct psb_registration *reg)
{
	struct psb_registration **p = &reg->dispatch->first;

	while (*p != reg)
		p = &(*p)->next;
	*p = reg->next;
	reg->dispatch = NULL;
}

static void free_letters(struct psb_registration *reg)
{
	reg->dispatch = NULL; /* nothing is kept */
	while (reg->letters) {
		struct letter *next = reg->letters->next;

		drop_letter(reg, reg->letters);
		reg->letters = next;
	}
	while (reg->spare)
		free(take_spare(reg));
}

void registration_free(struct psb_registration *reg)
{
	free_letters(reg);
	pthread_cond_destroy(&reg->wake);
	free(reg);
}

/* Lock held; removed, and no call of it runs any more. */
static void bury(struct psb_registration *reg)
{
	reg->bridge->lingering--;
	pthread_cond_broadcast(&reg->bridge->idle);
	registration_free(reg);
}

static void *registration_run(void *arg)
{
	struct psb_registration *reg = arg;
	struct psb_bridge *bridge = reg->bridge;

	pthread_setname_np(pthread_self(), "psb-callback");
	frames = NULL; /* after dlopen(3) the first touch allocates: now, not under pressure */
	pthread_mutex_lock(&bridge->lock);
	for (;;) {
		while (!reg->removed && !reg->letters)
			pthread_cond_wait(&reg->wake, &bridge->lock);
		if (reg->removed)
			break;

		struct letter letter = registration_take_letter(reg);

		letter.notification.cgroup = letter.label->path;
		if (!registration_is_too_soon(reg, &letter.notification) &&
		    !registration_is_old_news(reg, &letter.notification) &&
		    !call(reg, &letter.notification))
			return NULL;
		label_unref(letter.label);
	}
	if (reg->orphan) {
		pthread_detach(pthread_self());
		bury(reg);
	}
	pthread_mutex_unlock(&bridge->lock);
	return NULL;
}

/* ---- for the loop's thread ------------------------------------------------------------------ */

void dispatch_deliver(struct dispatch *dispatch, struct label *label,
		      const struct psb_notification *notification)
{
	struct psb_bridge *bridge = dispatch->bridge;
	struct psb_notification n = *notification;

	n.cgroup = label->path;
	pthread_mutex_lock(&bridge->lock);
	dispatch->sequence++;
	for (struct psb_registration *reg = dispatch->first; reg; reg = reg->next)
		if (!(reg->flags & PSB_INLINE) && is_wanted(reg, &n)) {
			if (n.kind != PSB_KIND_SOURCE)
				reg->owes_present = false;
			put_letter(reg, label, &n);
		}

	/* The list may change in every call: begin anew after each, the sequence says who is
	 * through. */
	for (struct psb_registration *reg = dispatch->first; reg;) {
		if (!(reg->flags & PSB_INLINE) || reg->sequence == dispatch->sequence ||
		    reg->running) {
			reg = reg->next;
			continue;
		}
		reg->sequence = dispatch->sequence;
		if (is_wanted(reg, &n) && !registration_is_too_soon(reg, &n)) {
			if (n.kind != PSB_KIND_SOURCE)
				reg->owes_present = false;
			call(reg, &n);
			if (reg->orphan)
				bury(reg);
		}
		reg = dispatch->first;
	}
	pthread_mutex_unlock(&bridge->lock);
}

void dispatch_present(struct dispatch *dispatch, struct label *label,
		      const struct psb_notification *notification)
{
	struct psb_bridge *bridge = dispatch->bridge;
	struct psb_notification n = *notification;

	n.cgroup = label->path;
	pthread_mutex_lock(&bridge->lock);
	for (struct psb_registration *reg = dispatch->first; reg;) {
		if (!reg->owes_present) {
			reg = reg->next;
			continue;
		}
		reg->owes_present = false;
		if (reg->flags & PSB_INLINE) {
			call(reg, &n);
			if (reg->orphan)
				bury(reg);
		} else {
			put_letter(reg, label, &n);
		}
		reg = dispatch->first;
	}
	pthread_mutex_unlock(&bridge->lock);
}

void dispatch_assume(struct dispatch *dispatch, enum psb_available available, bool critical)
{
	pthread_mutex_lock(&dispatch->bridge->lock);
	for (struct psb_registration *reg = dispatch->first; reg; reg = reg->next) {
		reg->told = available;
		reg->told_critical = critical;
		reg->assumptions++;
	}
	pthread_mutex_unlock(&dispatch->bridge->lock);
}

/* ---- for everybody ------------------------------------------------------------------------- */

int registration_new(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		     struct psb_registration **ret)
{
	struct psb_registration *reg = calloc(1, sizeof(*reg));
	pthread_condattr_t monotonic;

	if (!reg)
		return -ENOMEM;
	reg->bridge = dispatch->bridge;
	reg->dispatch = dispatch;
	reg->fn = fn;
	reg->userdata = userdata;
	reg->flags = flags;
	reg->letters_last = &reg->letters;
	reg->owes_present = flags & PSB_TELL_PRESENT;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&reg->wake, &monotonic);
	pthread_condattr_destroy(&monotonic);
	*ret = reg;
	return 0;
}

int registration_enlist(struct psb_registration *reg, psb_registration **ret)
{
	struct dispatch *dispatch = reg->dispatch;
	int r = 0;

	pthread_mutex_lock(&reg->bridge->lock);
	if (!(reg->flags & PSB_INLINE))
		r = keep_spare(reg, dispatch->reserved);
	if (r == 0) {
		reg->sequence = dispatch->sequence;
		reg->next = dispatch->first;
		dispatch->first = reg;
		if (ret) /* before the first call, which may want to remove it */
			*ret = reg;
	}
	pthread_mutex_unlock(&reg->bridge->lock);
	return r;
}

int dispatch_reserve(struct dispatch *dispatch)
{
	int r = 0;

	pthread_mutex_lock(&dispatch->bridge->lock);
	for (struct psb_registration *reg = dispatch->first; r == 0 && reg; reg = reg->next)
		if (!(reg->flags & PSB_INLINE))
			r = keep_spare(reg, dispatch->reserved + 1);
	if (r == 0)
		dispatch->reserved++;
	pthread_mutex_unlock(&dispatch->bridge->lock);
	return r;
}

void dispatch_release(struct dispatch *dispatch)
{
	pthread_mutex_lock(&dispatch->bridge->lock);
	dispatch->reserved--;
	for (struct psb_registration *reg = dispatch->first; reg; reg = reg->next)
		if (reg->spare_count > dispatch->reserved)
			free(take_spare(reg));
	pthread_mutex_unlock(&dispatch->bridge->lock);
}

int dispatch_add(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		 psb_registration **ret)
{
	struct psb_registration *reg;
	int r;

	if (!fn || (flags & ~KNOWN_FLAGS))
		return -EINVAL;
	r = registration_new(dispatch, fn, userdata, flags, &reg);
	if (r < 0)
		return r;
	if (!(flags & PSB_INLINE)) {
		r = thread_start(&reg->thread, THREAD_STACK_CALLBACK, registration_run, reg);
		if (r < 0) {
			registration_free(reg);
			return r;
		}
	}
	r = registration_enlist(reg, ret);
	if (r < 0) {
		pthread_mutex_lock(&reg->bridge->lock);
		reg->removed = true;
		pthread_cond_signal(&reg->wake);
		pthread_mutex_unlock(&reg->bridge->lock);
		if (!(flags & PSB_INLINE))
			pthread_join(reg->thread, NULL);
		registration_free(reg);
	}
	return r;
}

/* The notes of all bridges. Inside of a bridge's lock. */
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;

static void note(struct psb_registration *reg)
{
	for (struct frame *f = frames; f; f = f->outer)
		f->reg->waits_for = reg;
}

/* From here on this thread waits for `reg`, which runs; false: that would be waiting for itself. */
static bool begin_waiting(struct psb_registration *reg)
{
	bool cycle = false;

	pthread_mutex_lock(&notes_lock);
	for (const struct psb_registration *r = reg; r && !cycle; r = r->waits_for)
		cycle = is_inside(r);
	if (!cycle)
		note(reg);
	pthread_mutex_unlock(&notes_lock);
	return !cycle;
}

static void end_waiting(void)
{
	pthread_mutex_lock(&notes_lock);
	note(NULL);
	pthread_mutex_unlock(&notes_lock);
}

/* Lock held before, not after. */
static int remove_and_unlock(struct psb_registration *reg)
{
	struct psb_bridge *bridge = reg->bridge;
	bool own_thread = !(reg->flags & PSB_INLINE) && !reg->pulled;
	NO_CANCEL;

	/* From inside its callback: removed there before, or by somebody who waits for this very
	 * call. */
	if (reg->removed) {
		pthread_mutex_unlock(&bridge->lock);
		return 0;
	}
	unlink_registration(reg);
	reg->removed = true;
	bridge->lingering++;
	if (own_thread)
		pthread_cond_signal(&reg->wake);
	if (reg->running) {
		if (!begin_waiting(reg)) {
			int r = is_inside(reg) ? 0 : -EDEADLK;

			reg->orphan = true;
			pthread_mutex_unlock(&bridge->lock);
			return r;
		}
		while (reg->running)
			pthread_cond_wait(&bridge->idle, &bridge->lock);
		end_waiting();
	}
	pthread_mutex_unlock(&bridge->lock);

	if (own_thread)
		pthread_join(reg->thread, NULL);
	pthread_mutex_lock(&bridge->lock);
	bury(reg);
	pthread_mutex_unlock(&bridge->lock);
	return 0;
}

int psb_registration_remove(psb_registration *reg)
{
	if (!reg)
		return 0;
	if (bridge_is_child(reg->bridge))
		return -ECHILD;
	pthread_mutex_lock(&reg->bridge->lock);
	return remove_and_unlock(reg);
}

void dispatch_clear(struct dispatch *dispatch)
{
	for (;;) {
		pthread_mutex_lock(&dispatch->bridge->lock);
		if (!dispatch->first) {
			pthread_mutex_unlock(&dispatch->bridge->lock);
			return;
		}
		/* found and removed in one: a callback may remove itself at any time */
		remove_and_unlock(dispatch->first);
	}
}

void dispatch_clear_in_child(struct dispatch *dispatch)
{
	while (dispatch->first) {
		struct psb_registration *reg = dispatch->first;

		dispatch->first = reg->next;
		free_letters(reg);
		free(reg);
	}
}

void dispatch_count(const struct dispatch *dispatch, struct psb_stats *stats)
{
	stats->callbacks += dispatch->calls;
	stats->callback_usec += dispatch->total_usec;
	stats->superseded += dispatch->superseded;
}
