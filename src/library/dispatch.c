/* SPDX-License-Identifier: MIT */
/*
 * dispatch.c - registrations: what waits for each, who calls it, and its end
 *
 * A registration has entries, at most one for each cgroup, in which the newest state wins. A thread takes
 * them out one by one (dispatch_take()): its own, which calls, or one of the host's (mailbox.c). An inline
 * one has neither: the loop's thread calls it. Nothing allocates on the way of a notification: there are
 * as many unused entries as there are cgroups that none waits for.
 *
 * Removal waits until `running` is over, joins the thread and frees. If the remover is itself inside a
 * callback, of this bridge or another, it notes what it waits for (`waits_for`); a chain of such notes that
 * leads back to it is a deadlock. Then, out of patience, and from inside its own call it does not wait: the
 * registration is an `orphan`, and freed when the call returns. Until it is freed it counts as `lingering`,
 * and the bridge does not end.
 *
 * A thread's calls nest where a callback dispatches a foreign bridge; `frames` is their stack.
 */
#include "library/dispatch.h"

#include "kernel/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define INLINE_FLAGS (PSB_TELL_EFFECT | PSB_TELL_SAMPLE)
#define KNOWN_FLAGS (PSB_INLINE | PSB_TELL_PRESENT | PSB_TELL_SOURCE | INLINE_FLAGS)
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

static bool has_thread(const struct psb_registration *reg)
{
	return reg->fn && !(reg->flags & PSB_INLINE);
}

void dispatch_init(struct dispatch *dispatch, struct psb_bridge *bridge)
{
	dispatch->bridge = bridge;
	dispatch->reserved = 2; /* for a level, and for a source */
}

/* ---- what is told, and what is not; all with the lock held ------------------------------------ */

/* Low again, and not worse. A FIFO or a socket repeats with a reason of its own. */
static bool is_repeat(const struct psb_registration *reg, const struct psb_notification *n)
{
	if (n->reason == PSB_REASON_REPEAT)
		return true;
	return !reg->dispatch->many && n->available == PSB_LOW && reg->told == PSB_LOW &&
	       (!n->critical || reg->told_critical);
}

/* A repeated Low may come too soon for a callback that takes its time. */
static bool is_too_soon(const struct psb_registration *reg, const struct psb_notification *n)
{
	return n->kind == PSB_KIND_LEVEL && reg->low_usec > 0 && n->cgroup == reg->low_cgroup &&
	       is_repeat(reg, n) &&
	       n->time_usec < usec_add(reg->low_usec, SLOW_FACTOR * reg->duration_usec);
}

/* What was missed, and has ended. */
static bool is_old_news(const struct psb_registration *reg, const struct psb_notification *n)
{
	return !reg->dispatch->many && n->kind == PSB_KIND_LEVEL && n->available != PSB_LOW &&
	       n->available == reg->told;
}

static void note_told(struct psb_registration *reg, const struct psb_notification *n)
{
	reg->dispatch->calls += n->kind != PSB_KIND_SAMPLE;
	if (n->kind != PSB_KIND_LEVEL)
		return;
	reg->told = n->available;
	reg->told_critical = n->critical;
	if (n->available == PSB_LOW) {
		reg->low_usec = now_usec();
		reg->low_cgroup = n->cgroup;
	}
}

void dispatch_assume(struct dispatch *dispatch, enum psb_available available, bool critical)
{
	LOCKED(dispatch->bridge);
	for (struct psb_registration *reg = dispatch->first; reg; reg = reg->next) {
		reg->told = available;
		reg->told_critical = critical;
	}
}

/* ---- entries, all with the lock held ---------------------------------------------------------- */

/* So many unused ones. Errors: -ENOMEM. */
static int make_room(struct psb_registration *reg, unsigned wanted)
{
	unsigned room = reg->queued + wanted;
	struct entry *entries;

	if (room <= reg->room)
		return 0;
	entries = reallocarray(reg->entries, room, sizeof(*entries));
	if (!entries)
		return -ENOMEM;
	memset(entries + reg->room, 0, (room - reg->room) * sizeof(*entries));
	reg->entries = entries;
	reg->room = room;
	return 0;
}

/* A watch of one cgroup speaks of another one when its process was moved. */
static bool is_of(const struct psb_registration *reg, const struct entry *entry,
		  const struct label *label, enum psb_kind kind)
{
	return entry->label && (entry->label == label || !reg->dispatch->many) &&
	       (entry->notification.kind == PSB_KIND_SOURCE) == (kind == PSB_KIND_SOURCE);
}

static void put_entry(struct psb_registration *reg, struct label *label,
		      const struct psb_notification *n)
{
	struct entry *entry = NULL;

	for (struct entry *e = reg->entries; e < reg->entries + reg->room; e++)
		if (is_of(reg, e, label, n->kind) || (!e->label && !entry))
			entry = e;
	if (entry->label) {
		reg->dispatch->superseded++;
		label_unref(entry->label);
	} else {
		reg->queued++;
		entry->order = ++reg->order;
	}
	entry->label = label_ref(label);
	entry->notification = *n;
	pthread_cond_signal(&reg->wake);
}

/* There is one. */
static void take_oldest(struct psb_registration *reg, struct entry *ret)
{
	struct entry *oldest = NULL;

	for (struct entry *e = reg->entries; e < reg->entries + reg->room; e++)
		if (e->label && (!oldest || e->order < oldest->order))
			oldest = e;
	*ret = *oldest;
	oldest->label = NULL;
	reg->queued--;
}

void dispatch_leave(void *registration)
{
	struct psb_registration *reg = registration;
	struct psb_bridge *bridge = reg->bridge;

	reg->running = false;
	pthread_cond_broadcast(&bridge->idle);
	pthread_mutex_unlock(&bridge->lock);
}

static void wait_until(struct psb_registration *reg, uint64_t until_usec)
{
	struct timespec until = usec_timespec(until_usec);

	pthread_cleanup_push(dispatch_leave, reg);
	pthread_cond_timedwait(&reg->wake, &reg->bridge->lock, &until);
	pthread_cleanup_pop(0);
}

int dispatch_take(struct psb_registration *reg, uint64_t until_usec, struct entry *ret)
{
	while (!reg->closed) {
		if (reg->queued == 0) {
			if (until_usec != USEC_NEVER && now_usec() >= until_usec)
				return 0;
			wait_until(reg, until_usec);
			continue;
		}
		take_oldest(reg, ret);
		ret->notification.cgroup = ret->label->path;
		if (!is_too_soon(reg, &ret->notification) &&
		    !is_old_news(reg, &ret->notification)) {
			note_told(reg, &ret->notification);
			return 1;
		}
		label_unref(ret->label);
	}
	return -ECANCELED;
}

int dispatch_reserve(struct dispatch *dispatch)
{
	LOCKED(dispatch->bridge);
	for (struct psb_registration *reg = dispatch->first; reg; reg = reg->next)
		if (!(reg->flags & PSB_INLINE) && make_room(reg, dispatch->reserved + 1) < 0)
			return -ENOMEM;
	dispatch->reserved++;
	return 0;
}

/* The room stays, for the next time. */
void dispatch_release(struct dispatch *dispatch)
{
	LOCKED(dispatch->bridge);
	dispatch->reserved--;
}

/* ---- calling ---------------------------------------------------------------------------------- */

static void registration_free(struct psb_registration *reg)
{
	for (unsigned i = 0; i < reg->room; i++)
		label_unref(reg->entries[i].label);
	free(reg->entries);
	free(reg);
}

/* Lock held; removed, and no call of it runs any more. */
static void bury(struct psb_registration *reg)
{
	reg->bridge->lingering--;
	pthread_cond_broadcast(&reg->bridge->idle);
	pthread_cond_destroy(&reg->wake);
	registration_free(reg);
}

/* Lock held before and after, not during. `reg` is not removed before, and may be after. False: this
 * is a forked child that came back from the callback; nothing is locked. */
static bool call(struct psb_registration *reg, const struct psb_notification *notification)
{
	struct frame frame = { .outer = frames, .reg = reg };
	uint64_t start, duration;

	reg->running = true;
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
	if (notification->kind != PSB_KIND_SAMPLE) { /* nothing was told */
		reg->duration_usec = duration;
		if (reg->dispatch)
			reg->dispatch->total_usec += duration;
	}
	pthread_cond_broadcast(&reg->bridge->idle);
	return true;
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
	struct entry entry;

	pthread_setname_np(pthread_self(), "psb-callback");
	frames = NULL; /* after dlopen(3) the first touch allocates: now, not under pressure */
	pthread_mutex_lock(&bridge->lock);
	while (dispatch_take(reg, USEC_NEVER, &entry) == 1) {
		if (!call(reg, &entry.notification))
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

/* ---- for the loop's thread -------------------------------------------------------------------- */

static bool is_due(struct psb_registration *reg, const struct psb_notification *n, bool present)
{
	unsigned wanted = n->kind == PSB_KIND_SOURCE   ? PSB_TELL_SOURCE
			  : n->kind == PSB_KIND_EFFECT ? PSB_TELL_EFFECT
			  : n->kind == PSB_KIND_SAMPLE ? PSB_TELL_SAMPLE
						       : 0;

	if (present ? !reg->owes_present : wanted && !(reg->flags & wanted))
		return false;
	if (!wanted) /* news that comes first is the present state */
		reg->owes_present = false;
	return true;
}

void dispatch_deliver(struct dispatch *dispatch, struct label *label,
		      const struct psb_notification *notification, bool present)
{
	struct psb_notification n = *notification;

	n.cgroup = label->path;
	LOCKED(dispatch->bridge);
	dispatch->sequence++;
	for (struct psb_registration *reg = dispatch->first; reg; reg = reg->next)
		if (!(reg->flags & PSB_INLINE) && is_due(reg, &n, present))
			put_entry(reg, label, &n);

	/* The list may change in every call: begin anew after each, the sequence says which are
	 * done. */
	for (struct psb_registration *reg = dispatch->first; reg;) {
		if (!(reg->flags & PSB_INLINE) || reg->sequence == dispatch->sequence) {
			reg = reg->next;
			continue;
		}
		reg->sequence = dispatch->sequence;
		if (is_due(reg, &n, present) && !is_too_soon(reg, &n)) {
			note_told(reg, &n);
			call(reg, &n);
			if (reg->orphan)
				bury(reg);
		}
		reg = dispatch->first;
	}
}

/* ---- for any thread --------------------------------------------------------------------------- */

int dispatch_add(struct dispatch *dispatch, psb_callback_fn *fn, void *userdata, unsigned flags,
		 psb_registration **ret)
{
	struct psb_registration *reg;
	int r = 0;

	/* these would take the place of a level in an entry */
	if ((flags & ~KNOWN_FLAGS) || ((flags & INLINE_FLAGS) && !(flags & PSB_INLINE)))
		return -EINVAL;
	reg = calloc(1, sizeof(*reg));
	if (!reg)
		return -ENOMEM;
	reg->bridge = dispatch->bridge;
	reg->dispatch = dispatch;
	reg->fn = fn;
	reg->userdata = userdata;
	reg->flags = flags;
	reg->owes_present = flags & PSB_TELL_PRESENT;
	thread_cond_init(&reg->wake);

	/* its first call, which may want to remove it, waits for the lock */
	LOCKED(dispatch->bridge);
	if (flags & PSB_TELL_SAMPLE)
		atomic_store(&dispatch->samples, true);
	if (!(flags & PSB_INLINE))
		r = make_room(reg, dispatch->reserved);
	if (r == 0 && has_thread(reg))
		r = thread_start(&reg->thread, THREAD_STACK_CALLBACK, registration_run, reg);
	if (r < 0) {
		registration_free(reg);
		return r;
	}
	reg->sequence = dispatch->sequence;
	reg->next = dispatch->first;
	dispatch->first = reg;
	if (ret)
		*ret = reg;
	return 0;
}

/* The notes of all bridges. Inside of a bridge's lock. */
static pthread_mutex_t notes_lock = PTHREAD_MUTEX_INITIALIZER;

/* From here on (NULL: no more) this thread waits for `reg`, which runs. False: that would be for itself. */
static bool wait_for(struct psb_registration *reg)
{
	bool cycle = false;

	pthread_mutex_lock(&notes_lock);
	for (const struct psb_registration *r = reg; r && !cycle; r = r->waits_for)
		cycle = is_inside(r);
	for (struct frame *f = cycle ? NULL : frames; f; f = f->outer)
		f->reg->waits_for = reg;
	pthread_mutex_unlock(&notes_lock);
	return !cycle;
}

/* Lock held. Until the call that runs is over. Errors: -EDEADLK (it is waiting for itself), -ETIMEDOUT. */
static int await_call(struct psb_registration *reg, uint64_t patience_usec)
{
	struct timespec until = usec_timespec(usec_add(now_usec(), patience_usec));
	int r = 0;

	if (!wait_for(reg))
		return -EDEADLK;
	while (reg->running && r == 0)
		r = pthread_cond_timedwait(&reg->bridge->idle, &reg->bridge->lock, &until);
	wait_for(NULL);
	return reg->running ? -ETIMEDOUT : 0;
}

/* Lock held. */
static void unlink_registration(struct psb_registration *reg)
{
	struct psb_registration **p = &reg->dispatch->first;

	while (*p != reg)
		p = &(*p)->next;
	*p = reg->next;
	reg->dispatch = NULL;
	reg->closed = true;
	pthread_cond_broadcast(&reg->wake);
}

/* Lock held before, not after. */
static int remove_and_unlock(struct psb_registration *reg, uint64_t patience_usec,
			     psb_ended_fn *ended)
{
	struct psb_bridge *bridge = reg->bridge;
	void *userdata = reg->userdata;
	int r = 0;
	NO_CANCEL;

	if (!reg->dispatch) {
		/* inside its call: removed there before, or by a thread that waits for that call */
		pthread_mutex_unlock(&bridge->lock);
		return 0;
	}
	unlink_registration(reg);
	reg->ended = ended;
	bridge->lingering++;
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

	if (has_thread(reg))
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
	pthread_mutex_lock(&dispatch->bridge->lock);
	while (dispatch->first) {
		/* found and removed in one: a callback may remove itself at any time */
		remove_and_unlock(dispatch->first, USEC_NEVER, NULL);
		pthread_mutex_lock(&dispatch->bridge->lock);
	}
	pthread_mutex_unlock(&dispatch->bridge->lock);
}

void dispatch_clear_in_child(struct dispatch *dispatch)
{
	while (dispatch->first) {
		struct psb_registration *reg = dispatch->first;

		dispatch->first = reg->next;
		registration_free(reg);
	}
}
