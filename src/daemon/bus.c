/* SPDX-License-Identifier: MIT */
/*
 * bus.c - the connection to the bus: its life, its deadlines, and when to emit
 *
 *          not wanted                socket appears, or retry
 *   OFF <------------- (any)   AWAY -------------------------> OPENING --Hello answered--> READY
 *                               ^                                 |                          |
 *                               +--------- CLOSING <--------------+-----------<--------------+
 *                                (the loop lets go of the socket)     error, hang-up
 *
 * sd-bus can be driven without ever waiting: sd_bus_start() only connects, and authentication,
 * Hello and the requests for names go on in sd_bus_process(). What it wants to be woken for it says
 * by sd_bus_get_events() and sd_bus_get_timeout(). The calls of sd-bus that wait for an answer are
 * not used anywhere in the daemon: sd_bus_call(), sd_bus_request_name(), and
 * sd_bus_query_sender_privilege(), which asks the bus who the sender is.
 *
 * The loop tells of edges, so sd_bus_process() is called until it has nothing left to do, and then
 * reading and writing have both ended with EAGAIN. Waiting to write is an operation of its own that
 * is only armed while something is queued: an edge of POLLOUT comes with every message that the bus
 * takes, and would wake us for nothing. A turn is bounded: after TURN messages the rest of the
 * daemon comes first, whoever floods us.
 *
 * The operations poll a duplicate of the socket. sd-bus closes its own as soon as the connection is
 * lost, and the loop wants a descriptor to stay until it has let go of it.
 *
 * When there is no bus: no socket, or one where nobody listens any more, is waited for by the door
 * (inotify), without any timer. Where that says nothing (an address that is no path; a bus that
 * accepts and hangs up; a refusal right after bind(2)) we try again after 0.1 s, 0.2 s and so on up
 * to a minute. A connection that lived for a minute starts that count anew.
 *
 * Names are asked for with a place in the queue. So a second daemon, or low-memory-monitor of
 * another make, keeps its name, and the name comes to us without asking again when it is free. What
 * NameAcquired and NameLost say is believed of the bus alone: anybody may send a signal of that
 * name.
 *
 * A bus that does not read makes sd-bus queue. Beyond BUS_QUEUE_MAX messages nothing is emitted;
 * what changed meanwhile stays marked, and the newest state is sent when the bus reads again.
 */
#include "daemon/bus-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TURN 32
#define DEFAULT_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define RETRY_FIRST_USEC (100 * USEC_PER_MSEC)
#define RETRY_MOST_USEC (60 * USEC_PER_SEC)
#define SEND_BUFFER (128 * 1024) /* sd-bus asks for 8 MiB: too much to lose to a bus that hangs */
#define REFUSALS_MAX 8		 /* so often a socket may refuse us before we wait for a new one */
#define LIVED_USEC (60 * USEC_PER_SEC)

static void try_to_connect(struct bus *bus);
static void update(struct bus *bus);

/* ---- the end of a connection ----------------------------------------------------------------- */

static void free_now(struct bus *bus)
{
	free(bus->trees);
	free(bus->address);
	free(bus);
}

static void let_go(struct bus *bus)
{
	if (--bus->held > 0)
		return;
	if (bus->fd >= 0)
		close(bus->fd);
	bus->fd = -1;
	if (bus->freed) {
		free_now(bus);
		return;
	}
	bus->state = BUS_AWAY;
	if (!bus->retry.queued) /* not before the time that lost() has set */
		loop_timer_set(bus->daemon->loop, &bus->retry, now_usec());
}

static void in_released(struct loop_op *op)
{
	let_go(CONTAINER_OF(op, struct bus, in));
}

static void out_released(struct loop_op *op)
{
	let_go(CONTAINER_OF(op, struct bus, out));
}

static void door_released(struct door *door)
{
	let_go(CONTAINER_OF(door, struct bus, door));
}

/* Not from within sd_bus_process(). */
static void hang_up(struct bus *bus)
{
	struct loop *loop = bus->daemon->loop;

	loop_timer_stop(loop, &bus->due);
	loop_timer_stop(loop, &bus->emit);
	for (size_t i = 0; i < BUS_NAMES; i++)
		bus->names[i].owned = false;
	bus->state = BUS_CLOSING;
	bus_lowmem_update(bus);
	bus->sd = sd_bus_close_unref(bus->sd);
	/* the first may be released from within the call: then the second is still held */
	bus->held += 2;
	loop_cancel(&bus->in, in_released);
	loop_cancel(&bus->out, out_released);
}

/* When to try again; 0: when the door opens. */
static uint64_t retry_after(struct bus *bus, int error)
{
	uint64_t delay = RETRY_FIRST_USEC;

	if (bus->door_path[0] && !door_is_open(&bus->door) &&
	    door_open(&bus->door, bus->door_path) < 0)
		error = 0; /* no inotify to be had: by time, then */
	if (door_is_open(&bus->door)) {
		if (error == -ENOENT || error == -ENOTDIR)
			return 0;
		if (error == -ECONNREFUSED && bus->failures >= REFUSALS_MAX)
			return 0;
	}
	for (unsigned i = 0; i < bus->failures && delay < RETRY_MOST_USEC; i++)
		delay *= 2;
	bus->failures++;
	return MIN(delay, RETRY_MOST_USEC);
}

static void note_absence(struct bus *bus, const char *what, int error)
{
	if (bus->told_away)
		return;
	bus->told_away = true;
	journal_log(bus->daemon->journal, LOG_IS_INFO, MESSAGE_OTHER,
		    "D-Bus: %s (%s); it is used as soon as it can be", what, strerror(-error));
}

static void lost(struct bus *bus, int error)
{
	uint64_t now = now_usec(), delay = 0;
	bool was_ready = bus->state == BUS_READY;

	note_absence(bus, was_ready ? "the bus has hung up" : "the bus does not let us in", error);
	/* listen before looking, or a bus that comes in between is missed */
	if (was_ready && now - bus->ready_usec >= LIVED_USEC)
		bus->failures = 0;
	delay = retry_after(bus, 0);
	if (was_ready && bus->failures == 1)
		delay = 0; /* most often it is there again already */
	loop_timer_set(bus->daemon->loop, &bus->retry, now + delay);
	hang_up(bus);
}

/* ---- names ----------------------------------------------------------------------------------- */

static int name_answered(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	struct bus_name *name = userdata;
	struct journal *journal = name->bus->daemon->journal;
	const sd_bus_error *error = sd_bus_message_get_error(m);
	uint32_t answer;

	(void)ret_error;
	if (sd_bus_is_open(sd_bus_message_get_bus(m)) <= 0)
		return 0; /* the end of the connection answers every call */
	if (error) {
		journal_log(journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "D-Bus: we may not have the name %s: %s", name->name,
			    error->message ? error->message : error->name);
		return 0;
	}
	if (sd_bus_message_read(m, "u", &answer) > 0 && answer == 2) /* ..._REPLY_IN_QUEUE */
		journal_log(journal, LOG_IS_NOTICE, MESSAGE_OTHER,
			    "D-Bus: the name %s is somebody else's; it is ours when he gives it up",
			    name->name);
	return 0;
}

/* Sees every message; NameAcquired and NameLost of the bus are for it. */
static int filter(sd_bus_message *m, void *userdata, sd_bus_error *ret_error)
{
	struct bus *bus = userdata;
	const char *sender = sd_bus_message_get_sender(m), *name;
	bool owned;

	(void)ret_error;
	if (!sender || strcmp(sender, "org.freedesktop.DBus") != 0)
		return 0;
	owned = sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameAcquired") > 0;
	if (!owned && sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameLost") <= 0)
		return 0;
	if (sd_bus_message_read(m, "s", &name) < 0)
		return 0;
	for (size_t i = 0; i < BUS_NAMES; i++)
		if (strcmp(name, bus->names[i].name) == 0)
			bus->names[i].owned = owned;
	if (strcmp(name, LOWMEM_NAME) == 0)
		bus_lowmem_update(bus);
	return 0;
}

static int ask_for_name(struct bus *bus, sd_bus *sd, enum bus_name_index index)
{
	return sd_bus_request_name_async(sd, NULL, bus->names[index].name, SD_BUS_NAME_QUEUE,
					 name_answered, &bus->names[index]);
}

/* ---- the life of a connection ---------------------------------------------------------------- */

/* Calls sd_bus_process() until there is nothing to do. Returns what it said last: > 0 means that
 * there is more. */
static int process(struct bus *bus)
{
	int r = 0;

	bus->inside = true;
	for (unsigned i = 0; i < TURN; i++) {
		r = sd_bus_process(bus->sd, NULL);
		if (r <= 0)
			break;
	}
	bus->inside = false;
	if (r >= 0 && sd_bus_is_open(bus->sd) <= 0)
		return -ECONNRESET;
	return r;
}

static bool is_wanted(const struct bus *bus)
{
	const struct config *config = bus->daemon->config;

	return config && (config->bus || config->low_memory_monitor);
}

static bool is_as_wanted(const struct bus *bus)
{
	const struct config *config = bus->daemon->config;

	return config && bus->with_manager == config->bus &&
	       bus->with_lowmem == config->low_memory_monitor;
}

static void now_ready(struct bus *bus)
{
	bus->state = BUS_READY;
	bus->ready_usec = now_usec();
	if (bus->told_away)
		journal_log(bus->daemon->journal, LOG_IS_INFO, MESSAGE_OTHER, "D-Bus: connected");
	bus->told_away = false;
	bus_news_reset(bus);
	door_close(&bus->door, NULL);
}

static void run(struct bus *bus)
{
	int r = process(bus);

	if (r < 0) {
		lost(bus, r);
		return;
	}
	if (!is_as_wanted(bus)) {
		loop_timer_set(bus->daemon->loop, &bus->retry, now_usec());
		hang_up(bus);
		return;
	}
	if (bus->state == BUS_OPENING && sd_bus_is_ready(bus->sd) > 0)
		now_ready(bus);
	if (bus->trees_changed || bus->any_dirty || bus->config_changed || bus->level_count > 0 ||
	    bus->lowmem.warning)
		bus_soon(bus); /* perhaps it waited for room in the queue */
	update(bus);
	if (r > 0 && bus->state != BUS_CLOSING)
		loop_timer_set(bus->daemon->loop, &bus->due, now_usec());
}

static void readable(struct loop_op *op, int result)
{
	struct bus *bus = CONTAINER_OF(op, struct bus, in);

	if (result < 0)
		lost(bus, result);
	else
		run(bus);
}

static void writable(struct loop_op *op, int result)
{
	struct bus *bus = CONTAINER_OF(op, struct bus, out);

	if (result < 0)
		lost(bus, result);
	else
		run(bus);
}

static void is_due(struct loop_timer *timer, uint64_t now)
{
	(void)now;
	run(CONTAINER_OF(timer, struct bus, due));
}

static void out_is_idle(struct loop_op *op)
{
	update(CONTAINER_OF(op, struct bus, out));
}

/* Listen for what sd-bus wants to know. */
static void update(struct bus *bus)
{
	struct loop *loop = bus->daemon->loop;
	uint64_t until = USEC_NEVER;
	int events, r;

	if (bus->state != BUS_OPENING && bus->state != BUS_READY)
		return;
	events = sd_bus_get_events(bus->sd);
	r = events < 0 ? events : sd_bus_get_timeout(bus->sd, &until);
	if (r >= 0 && !loop_op_is_busy(&bus->in))
		r = loop_poll(loop, &bus->in, bus->fd, POLLIN, readable);
	if (r >= 0 && (events & POLLOUT) && !loop_op_is_busy(&bus->out))
		r = loop_poll(loop, &bus->out, bus->fd, POLLOUT, writable);
	if (r < 0) {
		lost(bus, r);
		return;
	}
	if (!(events & POLLOUT) && loop_op_is_busy(&bus->out))
		loop_cancel(&bus->out, out_is_idle);
	loop_timer_set(loop, &bus->due, until);
}

static int start(struct bus *bus)
{
	_cleanup_(sd_bus_close_unrefp) sd_bus *sd = NULL;
	int r, fd;

	bus->with_manager = bus->daemon->config->bus;
	bus->with_lowmem = bus->daemon->config->low_memory_monitor;
	r = sd_bus_new(&sd);
	if (r >= 0)
		r = sd_bus_set_address(sd, bus->address);
	if (r >= 0)
		r = sd_bus_set_bus_client(sd, 1);
	if (r >= 0)
		r = sd_bus_negotiate_fds(sd, 0);
	if (r >= 0)
		r = sd_bus_add_filter(sd, NULL, filter, bus);
	if (r >= 0 && bus->with_manager)
		r = bus_objects_add(bus, sd);
	if (r >= 0 && bus->with_lowmem)
		r = bus_lowmem_add(bus, sd);
	if (r >= 0)
		r = sd_bus_start(sd);
	/* queued behind Hello */
	if (r >= 0 && bus->with_manager)
		r = ask_for_name(bus, sd, BUS_NAME_OURS);
	if (r >= 0 && bus->with_lowmem)
		r = ask_for_name(bus, sd, BUS_NAME_LOWMEM);
	if (r < 0)
		return r;
	fd = sd_bus_get_fd(sd);
	if (fd < 0)
		return fd;
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){ SEND_BUFFER }, sizeof(int));
	fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		return -errno;
	bus->fd = fd;
	bus->sd = steal(sd);
	return 0;
}

static void try_to_connect(struct bus *bus)
{
	uint64_t delay;
	int r;

	if (bus->state != BUS_AWAY && bus->state != BUS_OFF)
		return;
	if (!is_wanted(bus)) {
		bus->state = BUS_OFF;
		door_close(&bus->door, NULL);
		return;
	}
	/* listen before looking, or a bus that comes in between is missed */
	if (bus->door_path[0])
		(void)door_open(&bus->door, bus->door_path);
	bus->state = BUS_AWAY;
	r = start(bus);
	if (r >= 0) {
		bus->state = BUS_OPENING;
		update(bus);
		return;
	}
	note_absence(bus, "there is no bus", r);
	delay = retry_after(bus, r);
	if (delay > 0)
		loop_timer_set(bus->daemon->loop, &bus->retry, now_usec() + delay);
}

static void retry_expired(struct loop_timer *timer, uint64_t now)
{
	(void)now;
	try_to_connect(CONTAINER_OF(timer, struct bus, retry));
}

static void door_opened(struct door *door)
{
	struct bus *bus = CONTAINER_OF(door, struct bus, door);

	if (bus->state != BUS_AWAY)
		return;
	bus->failures = 0;
	loop_timer_stop(bus->daemon->loop, &bus->retry);
	try_to_connect(bus);
}

/* ---- emitting -------------------------------------------------------------------------------- */

bool bus_takes(const struct bus *bus)
{
	uint64_t queued;

	return bus->state == BUS_READY && sd_bus_get_n_queued_write(bus->sd, &queued) >= 0 &&
	       queued < BUS_QUEUE_MAX;
}

void bus_soon(struct bus *bus)
{
	if (bus->state == BUS_READY && !bus->emit.queued && bus_takes(bus))
		loop_timer_set(bus->daemon->loop, &bus->emit,
			       MAX(now_usec(), bus->emitted_usec + BUS_PACE_USEC));
}

static void emit_is_due(struct loop_timer *timer, uint64_t now)
{
	struct bus *bus = CONTAINER_OF(timer, struct bus, emit);

	bus->emitted_usec = now;
	bus_lowmem_emit(bus);
	bus_news_emit(bus);
	update(bus);
}

/* ---- life ------------------------------------------------------------------------------------ */

void bus_config_changed(struct bus *bus)
{
	if (!bus || bus->freed)
		return;
	bus->config_changed = true;
	switch (bus->state) {
	case BUS_OFF:
		loop_timer_set(bus->daemon->loop, &bus->retry, now_usec());
		break;
	case BUS_OPENING:
	case BUS_READY:
		if (!is_as_wanted(bus)) /* not now: perhaps we are inside sd_bus_process() */
			loop_timer_set(bus->daemon->loop, &bus->due, now_usec());
		else
			bus_lowmem_update(bus);
		bus_soon(bus);
		break;
	case BUS_AWAY:
		if (!is_wanted(bus))
			loop_timer_set(bus->daemon->loop, &bus->retry, now_usec());
		break;
	case BUS_CLOSING:
		break;
	}
}

int bus_new(struct daemon *daemon, struct bus **ret)
{
	const char *address = secure_getenv("DBUS_SYSTEM_BUS_ADDRESS");
	struct bus *bus = calloc(1, sizeof(*bus));
	int r;

	if (!bus)
		return -ENOMEM;
	*bus = (struct bus){
		.daemon = daemon,
		.address = strdup(address && *address ? address : DEFAULT_ADDRESS),
		.fd = -1,
		.due.expired = is_due,
		.retry.expired = retry_expired,
		.emit.expired = emit_is_due,
		.names = { [BUS_NAME_OURS] = { bus, BUS_NAME, false },
			   [BUS_NAME_LOWMEM] = { bus, LOWMEM_NAME, false } },
	};
	door_init(&bus->door, daemon->loop, door_opened);
	if (!bus->address) {
		free_now(bus);
		return -ENOMEM;
	}
	if (door_path_of_address(bus->address, bus->door_path) < 0)
		bus->door_path[0] = '\0';
	r = forest_observe(daemon->forest, bus_news, bus);
	if (r < 0) {
		free_now(bus);
		return r;
	}
	loop_timer_set(daemon->loop, &bus->retry, now_usec());
	*ret = bus;
	return 0;
}

struct bus *bus_free(struct bus *bus)
{
	if (!bus)
		return NULL;
	bus->freed = true;
	forest_unobserve(bus->daemon->forest, bus_news, bus);
	loop_timer_stop(bus->daemon->loop, &bus->retry);
	bus->held++; /* the door's */
	if (bus->state == BUS_OPENING || bus->state == BUS_READY)
		hang_up(bus);
	door_close(&bus->door, door_released);
	return NULL;
}
