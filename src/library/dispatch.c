/* SPDX-License-Identifier: MIT */
/*
 * dispatch.c - registrations, mailboxes, threads
 *
 * A registration is `queued` with entries, at most one for each cgroup: a newer entry overwrites
 * the one that waits. Its own thread takes the entries out one by one and calls. An inline
 * registration has no thread and no entries: the loop's thread calls it in dispatch_deliver(). A
 * `pulled` one has entries and no thread: a thread of the host takes them (mailbox.c), and it is
 * `running` while that is in here. The time between two takes counts as its call.
 *
 * States, under the bridge's lock:
 *
 *     idle --(entry taken)--> running --(call returned)--> idle
 *       |                         |
 *       +---- removed ------------+-- removed from inside: `orphan`, freed when the call returns
 *
 * A thread that removes from outside sets `removed`, waits until `running` is over, joins the
 * registration's thread and frees. If it is itself inside a callback, of this bridge or another, it
 * notes what it waits for (`waits_for`); a chain of such notes that leads back to it is a deadlock,
 * and the answer is -EDEADLK instead. It need not wait for ever: -ETIMEDOUT. After either the registration
 * is an orphan, too. Until it is freed, a removed registration counts as `lingering`, and the bridge does
 * not end: its last reference may go while a thread still waits here.
 *
 * A thread's calls nest where a callback dispatches a foreign bridge; `frames` is their stack.
 *
 * Nothing here allocates on the way of a notification. The slots of a single cgroup are part of its
 * registration. For a pattern's many cgroups entries are reserved when one comes under observation:
 * a registration has at least as many spare ones as there are cgroups without an entry in its queue.
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

/* What was told, and when. `still`: it was told no other level meanwhile. */
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

/* The same Neutral or High is not told twice. */
bool registration_is_old_news(const struct psb_registration *reg, const struct psb_notification *n)
{
	return !reg->dispatch->many && n->kind == PSB_KIND_LEVEL && n->available != PSB_LOW &&
	       n->available == reg->told;
}

/* ---- mailboxes, all with the lock held ----------------------------------------------------- */

static struct entry *find_entry(struct psb_registration *reg, const struct label *label,
				bool source)
{
	for (struct entry *l = reg->entries; l; l = l->next)
		if (l->label == label && (l->notification.kind == PSB_KIND_SOURCE) == source)
			return l;
	return NULL;
}

/* Returns: -ENOMEM, and then some are there that are not needed. */
static int keep_spare(struct psb_registration *reg, unsigned count)
{
	while (reg->spare_count < count) {
		struct entry *entry = malloc(sizeof(*entry));

		if (!entry)
			return -ENOMEM;
		entry->next = reg->spare;
		reg->spare = entry;
		reg->spare_count++;
	}
	return 0;
}

static struct entry *take_spare(struct psb_registration *reg)
{
	struct entry *entry = reg->spare;

	reg->spare = entry->next;
	reg->spare_count--;
	return entry;
}

static void put_entry(struct psb_registration *reg, struct label *label,
		      const struct psb_notification *n)
{
	bool source = n->kind == PSB_KIND_SOURCE;
	struct entry *entry = find_entry(reg, label, source);

	if (entry) {
		reg->dispatch->superseded++;
		entry->notification = *n;
		return;
	}
	entry = reg->dispatch->many ? take_spare(reg) : &reg->slot[source];
	entry->notification = *n;
	entry->label = label_ref(label);
	entry->next = NULL;
	*reg->entries_last = entry;
	reg->entries_last = &entry->next;
	pthread_cond_signal(&reg->wake);
}

static void drop_entry(struct psb_registration *reg, struct entry *entry)
{
	label_unref(entry->label);
	if (entry == &reg->slot[0] || entry == &reg->slot[1])
		return;
	if (!reg->dispatch || reg->spare_count >= reg->dispatch->reserved) {
		free(entry);
		return;
	}
	entry->next = reg->spare;
	reg->spare = entry;
	reg->spare_count++;
}

/* Takes the oldest entry out: its contents and its reference to the label. */
struct entry registration_take_entry(struct psb_registration *reg)
{
	struct entry *entry = reg->entries, taken = *entry;

	reg->entries = entry->next;
	if (!reg->entries)
		reg->entries_last = &reg->entries;
	label_ref(taken.label);
	drop_entry(reg, entry);
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

static void free_entries(struct psb_registration *reg)
{
	reg->dispatch = NULL; /* nothing is kept */
	while (reg->entries) {
		struct entry *next = reg->entries->next;

		drop_entry(reg, reg->entries);
		reg->entries = next;
	}
	while (reg->spare)
		free(take_spare(reg));
}

void registration_free(struct psb_registration *reg)
{
	free_entries(reg);
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

/* Lock held before and after, not during. As in a callback: the bridge's last reference may go here. */
static void tell_ended(struct psb_registration *reg)
{
	struct frame frame = { .reg = reg };

	if (!reg->ended)
		return;
	pthread_mutex_unlock(&reg->bridge->lock);
	frames = &frame;
	reg->ended(reg->userdata);
	frames = NULL;
	pthread_mutex_lock(&reg->bridge->lock);
}

static void *registration_run(void *arg)
{
	struct psb_registration *reg = arg;
	struct psb_bridge *bridge = reg->bridge;

	pthread_setname_np(pthread_self(), "psb-callback");
	frames = NULL; /* after dlopen(3) the first touch allocates: now, not under pressure */
	pthread_mutex_lock(&bridge->lock);
	for (;;) {
		while (!reg->removed && !reg->entries)
			pthread_cond_wait(&reg->wake, &bridge->lock);
		if (reg->removed)
			break;

		struct entry entry = registration_take_entry(reg);

		entry.notification.cgroup = entry.label->path;
		if (!registration_is_too_soon(reg, &entry.notification) &&
		    !registration_is_old_news(reg, &entry.notification) &&
		    !call(reg, &entry.notification))
			return NULL;
		label_unref(entry.label);
	}
	if (reg->orphan) {
		pthread_detach(pthread_self());
		tell_ended(reg);
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
			put_entry(reg, label, &n);
		}

	/* The list may change in every call: begin anew after each, the sequence says which are
	 * done. */
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
			put_entry(reg, label, &n);
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

/* ---- for any thread ------------------------------------------------------------------------ */

int registration_new(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		     struct psb_registration **ret)
{
	struct psb_registration *reg = calloc(1, sizeof(*reg));

	if (!reg)
		return -ENOMEM;
	reg->bridge = dispatch->bridge;
	reg->dispatch = dispatch;
	reg->fn = fn;
	reg->userdata = userdata;
	reg->flags = flags;
	reg->entries_last = &reg->entries;
	reg->owes_present = flags & PSB_TELL_PRESENT;
	pthread_cond_init(&reg->wake, NULL);
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

/* Lock held. Until the call that runs is over. Errors: -EDEADLK (it is waiting for itself), -ETIMEDOUT. */
static int await_call(struct psb_registration *reg, uint64_t patience_usec)
{
	struct timespec until = usec_timespec(usec_add(now_usec(), patience_usec));
	int r = 0;

	if (!begin_waiting(reg))
		return -EDEADLK;
	while (reg->running && r == 0)
		r = pthread_cond_clockwait(&reg->bridge->idle, &reg->bridge->lock, CLOCK_MONOTONIC,
					   &until);
	end_waiting();
	return reg->running ? -ETIMEDOUT : 0;
}

/* Lock held before, not after. */
static int remove_and_unlock(struct psb_registration *reg, uint64_t patience_usec,
			     psb_ended_fn *ended)
{
	struct psb_bridge *bridge = reg->bridge;
	bool own_thread = !(reg->flags & PSB_INLINE) && !reg->pulled;
	void *userdata = reg->userdata;
	int r = 0;
	NO_CANCEL;

	/* From inside its callback: removed there before, or by a thread that waits for this very
	 * call. */
	if (reg->removed) {
		pthread_mutex_unlock(&bridge->lock);
		return 0;
	}
	unlink_registration(reg);
	reg->removed = true;
	reg->ended = ended;
	bridge->lingering++;
	if (own_thread)
		pthread_cond_signal(&reg->wake);
	if (reg->running)
		r = await_call(reg, patience_usec);
	if (r < 0) {
		if (is_inside(reg))
			r = 0;
		reg->orphan = true;
		pthread_mutex_unlock(&bridge->lock);
		return r;
	}
	pthread_mutex_unlock(&bridge->lock);

	if (own_thread)
		pthread_join(reg->thread, NULL);
	pthread_mutex_lock(&bridge->lock);
	bury(reg);
	pthread_mutex_unlock(&bridge->lock);
	if (ended)
		ended(userdata);
	return 0;
}

int dispatch_remove(struct psb_registration *reg, uint64_t patience_usec, psb_ended_fn *ended)
{
	pthread_mutex_lock(&reg->bridge->lock);
	return remove_and_unlock(reg, patience_usec, ended);
}

int psb_registration_remove(psb_registration *reg)
{
	if (!reg)
		return 0;
	if (bridge_is_child(reg->bridge))
		return -ECHILD;
	return dispatch_remove(reg, USEC_NEVER, NULL);
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
		remove_and_unlock(dispatch->first, USEC_NEVER, NULL);
	}
}

void dispatch_clear_in_child(struct dispatch *dispatch)
{
	while (dispatch->first) {
		struct psb_registration *reg = dispatch->first;

		dispatch->first = reg->next;
		free_entries(reg);
		free(reg);
	}
}

void dispatch_count(const struct dispatch *dispatch, struct psb_stats *stats)
{
	stats->callbacks += dispatch->calls;
	stats->callback_usec += dispatch->total_usec;
	stats->superseded += dispatch->superseded;
}
