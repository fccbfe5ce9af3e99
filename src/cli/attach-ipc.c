/* SPDX-License-Identifier: MIT */
/*
 * attach-ipc.c - the diagnostics protocol of .NET
 *
 * Every runtime from .NET Core 3.0 on listens on an AF_UNIX stream socket in its TMPDIR, called
 * dotnet-diagnostic-PID-KEY-socket: PID as the process sees itself, KEY the time it started. A
 * crashed process leaves its socket behind, and a container may share /tmp with others, so the name
 * alone says nothing: the one is taken whose listener the kernel says it is (SO_PEERCRED), or, where
 * that cannot be told across pid namespaces, whose runtime says so itself (ProcessInfo).
 *
 * A message is a header of 20 bytes (magic, size of all, command set, command, reserved) and a
 * payload, little-endian; strings are a count of UTF-16 units, the NUL among them, and the units.
 * A connection takes one command and is closed by the runtime after its answer: command set 0xff,
 * command 0 (done) or 0xff (failed), an HRESULT in front. Source: dotnet/diagnostics,
 * documentation/design-docs/ipc-protocol.md; dotnet/runtime, src/native/eventpipe/ds-*.h (MIT).
 *
 * The target may be hostile, and we may be root: it must not get us to speak to a socket of somebody
 * else, least of all to ask another runtime to load what lies in the target's TMPDIR. So no link is
 * followed to the socket, and each connection is looked at before the first byte is written: the name
 * may lead elsewhere than a moment ago.
 *
 * The path in sun_path is /proc/self/fd/N, for a descriptor of the socket: short enough whatever TMPDIR
 * is, and in the mount namespace of the target.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/wait.h"
#include "core/scan.h"
#include "core/utf8.h"

#define MAGIC "DOTNET_IPC_V1"
#define HEADER_SIZE 20
#define MESSAGE_MAX 65535
#define CANDIDATES_MAX 64

enum { SET_PROFILER = 3, SET_PROCESS = 4, SET_ANSWER = 0xff };
enum { PROFILER_ATTACH = 1 };
enum { PROCESS_INFO = 0, PROCESS_INFO_2 = 4 };
enum { ANSWER_DONE = 0, ANSWER_FAILED = 0xff };

/* ---- bytes ------------------------------------------------------------------------------------ */

struct message {
	uint8_t bytes[MESSAGE_MAX];
	size_t size; /* beyond the maximum: it did not fit */
};

static void put(struct message *m, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++, m->size++)
		if (m->size < MESSAGE_MAX)
			m->bytes[m->size] = (uint8_t)(value >> 8 * i);
}

static void begin(struct message *m, unsigned set, unsigned command)
{
	memcpy(m->bytes, MAGIC, sizeof(MAGIC));
	m->size = sizeof(MAGIC);
	put(m, 0, 2);
	put(m, set, 1);
	put(m, command, 1);
	put(m, 0, 2);
}

/* Errors: -EILSEQ. */
static int put_string(struct message *m, const char *text)
{
	size_t left = strlen(text), count_at = m->size, n;
	uint32_t units = 1;

	put(m, 0, 4);
	for (; left > 0; text += n, left -= n) {
		static const uint8_t masks[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
		uint32_t c;

		n = utf8_character(text, left);
		if (n == 0)
			return -EILSEQ;
		c = (uint8_t)text[0] & masks[n];
		for (size_t i = 1; i < n; i++)
			c = c << 6 | ((uint8_t)text[i] & 0x3f);
		if (c >= 0x10000) {
			put(m, 0xd800 + ((c - 0x10000) >> 10), 2);
			c = 0xdc00 + ((c - 0x10000) & 0x3ff);
			units++;
		}
		put(m, c, 2);
		units++;
	}
	put(m, 0, 2);
	for (unsigned i = 0; i < 4; i++)
		m->bytes[count_at + i] = (uint8_t)(units >> 8 * i);
	return 0;
}

struct reader {
	const uint8_t *p;
	size_t left;
};

static bool get(struct reader *r, unsigned size, uint64_t *ret)
{
	uint64_t value = 0;

	if (r->left < size)
		return false;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)r->p[i] << 8 * i;
	r->p += size;
	r->left -= size;
	*ret = value;
	return true;
}

/* `buf` may be NULL. What is not ASCII becomes '?': only versions are read. */
static bool get_string(struct reader *r, char *buf, size_t capacity)
{
	uint64_t units, unit = 0;

	if (!get(r, 4, &units) || units > r->left / 2)
		return false;
	for (size_t i = 0; i < units; i++) {
		get(r, 2, &unit);
		if (buf && i + 1 < capacity)
			buf[i] = unit < 0x7f && (unit >= 0x20 || unit == 0) ? (char)unit : '?';
	}
	if (buf)
		buf[MIN((size_t)units, capacity - 1)] = '\0';
	return true;
}

/* ---- one command ------------------------------------------------------------------------------ */

static int wait_for(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n = poll(&p, 1, msec_until(deadline));

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n == 0 ? -ETIMEDOUT : 0;
}

static int pause_briefly(void)
{
	struct timespec t = { .tv_nsec = 20 * 1000 * 1000 };

	nanosleep(&t, NULL);
	return 0;
}

/* -ESTALE: it is not the target that listens there. */
static int check_listener(const struct ipc *ipc, int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return -errno;
	/* 0: a process that has no number in our pid namespace */
	return peer.pid == ipc->listener || (peer.pid == 0 && peer.uid == ipc->uid) ? 0 : -ESTALE;
}

static int connect_to(const struct ipc *ipc, uint64_t deadline)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int there, fd, r = 0;
	struct stat st;

	there = openat(ipc->directory, ipc->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (there < 0)
		return -errno;
	fd = fstat(there, &st) == 0 && S_ISSOCK(st.st_mode)
		     ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
		     : (errno = ESTALE, -1);
	if (fd < 0) {
		r = -errno;
		close(there);
		return r;
	}
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", there);
	while (r == 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		r = -errno;
		/* the backlog is full, and there is nothing that could be polled for */
		if (r == -EAGAIN)
			r = now_usec() < deadline ? pause_briefly() : -ETIMEDOUT;
	}
	if (r == 0)
		r = check_listener(ipc, fd);
	close(there);
	if (r == 0)
		return fd;
	close(fd);
	return r;
}

static int send_all(int fd, const struct message *m, uint64_t deadline)
{
	size_t done = 0;
	int r = 0;

	while (r == 0 && done < m->size) {
		ssize_t n = send(fd, m->bytes + done, m->size - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (errno == EAGAIN)
			r = wait_for(fd, POLLOUT, deadline);
		else if (errno != EINTR)
			r = -errno;
	}
	return r;
}

static int receive(int fd, struct message *m, size_t wanted, uint64_t deadline)
{
	int r = 0;

	while (r == 0 && m->size < wanted) {
		ssize_t n = recv(fd, m->bytes + m->size, wanted - m->size, 0);

		if (n > 0)
			m->size += (size_t)n;
		else if (n == 0)
			r = -EPIPE;
		else if (errno == EAGAIN)
			r = wait_for(fd, POLLIN, deadline);
		else if (errno != EINTR)
			r = -errno;
	}
	return r;
}

/* `m` is the command, and then the answer. */
static int ask(const struct ipc *ipc, struct message *m, struct reader *ret, bool *ret_done)
{
	uint64_t deadline = usec_add(now_usec(), ipc->timeout_usec);
	size_t size;
	int fd, r;

	if (m->size > MESSAGE_MAX)
		return -ENAMETOOLONG;
	m->bytes[14] = (uint8_t)m->size;
	m->bytes[15] = (uint8_t)(m->size >> 8);
	fd = connect_to(ipc, deadline);
	if (fd < 0)
		return fd;
	r = send_all(fd, m, deadline);
	m->size = 0;
	if (r == 0)
		r = receive(fd, m, HEADER_SIZE, deadline);
	size = (size_t)m->bytes[14] | (size_t)m->bytes[15] << 8;
	if (r == 0 && (memcmp(m->bytes, MAGIC, sizeof(MAGIC)) != 0 || size < HEADER_SIZE ||
		       m->bytes[16] != SET_ANSWER ||
		       (m->bytes[17] != ANSWER_DONE && m->bytes[17] != ANSWER_FAILED)))
		r = -EBADMSG;
	if (r == 0)
		r = receive(fd, m, size, deadline);
	close(fd);
	if (r < 0)
		return r;
	*ret = (struct reader){ m->bytes + HEADER_SIZE, size - HEADER_SIZE };
	*ret_done = m->bytes[17] == ANSWER_DONE;
	return 0;
}

/* For commands that are answered with an HRESULT in either case. */
static int ask_hresult(const struct ipc *ipc, struct message *m, uint32_t *ret)
{
	struct reader answer;
	uint64_t hresult;
	bool done;
	int r = ask(ipc, m, &answer, &done);

	if (r < 0)
		return r;
	if (!get(&answer, 4, &hresult))
		return -EBADMSG;
	/* "failed" and S_OK do not go together */
	if (!done && !(hresult & UINT64_C(0x80000000)))
		return -EBADMSG;
	*ret = (uint32_t)hresult;
	return 0;
}

int ipc_attach_profiler(const struct ipc *ipc, const char *path, const struct settings *settings,
			uint32_t *ret_hresult)
{
	/* as in src/runtimes/coreclr.c, in the layout of a GUID in memory */
	static const uint8_t guid[16] = { 0x50, 0x4c, 0x1a, 0x9f, 0x0e, 0x6b, 0x46, 0x4c,
					  0x9c, 0x1d, 0x50, 0x53, 0x49, 0x2d, 0x42, 0x47 };
	struct message m;
	int r;

	begin(&m, SET_PROFILER, PROFILER_ATTACH);
	put(&m, MIN(ipc->timeout_usec / USEC_PER_MSEC, (uint64_t)INT_MAX), 4);
	for (size_t i = 0; i < sizeof(guid); i++)
		put(&m, guid[i], 1);
	r = put_string(&m, path);
	if (r < 0)
		return r;
	/* data for the profiler: its settings, see src/runtimes/coreclr.c */
	put(&m, settings->bytes, 4);
	for (size_t i = 0; i < settings->n; i++)
		for (const char *p = settings->texts[i]; p == settings->texts[i] || p[-1]; p++)
			put(&m, (uint8_t)*p, 1);
	return ask_hresult(ipc, &m, ret_hresult);
}

const char *ipc_words(uint32_t hresult)
{
	/* names and meanings: dotnet/runtime, src/coreclr/inc/corerror.xml (MIT) */
	static const struct {
		uint32_t hresult;
		const char *words;
	} table[] = {
		{ 0x8013136a,
		  "another profiler has the slot; start the program by \"psibridge run\", which takes another" },
		{ 0x80131385, "the runtime does not know this command" },
		{ 0x80131515, "the runtime does not support it" },
		{ 0x80004005, "the runtime could not load the hook" },
		{ 0x80070005, "the runtime may not open the hook" },
		{ 0x8007000b, "the hook is made for another machine or libc" },
		{ 0x80070002, "the runtime did not find the hook" },
		{ 0x8007007e, "the runtime could not load the hook" },
		{ 0x80131367, "the runtime is giving up another profiler; try again" },
		{ 0x80131368, "the hook does not support attaching" },
		{ 0x80131371, "the runtime is starting or ending" },
		{ 0x80131375, "the hook asked not to be loaded" },
		{ 0x80131379, "a background collection did not end in time; try again" },
		{ 0x80131384, "the runtime did not understand the message" },
		{ 0x80131505, "it took too long" },
		{ 0x80131387, "an error inside the runtime's diagnostics server" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (table[i].hresult == hresult)
			return table[i].words;
	return NULL;
}

/* ---- which socket? ---------------------------------------------------------------------------- */

/*
 * Does this process answer there? 1: yes. 0: somebody else, or nobody. Errors: it is the one, and
 * does not answer as it should; -EPERM; -EOPNOTSUPP: it does not know ProcessInfo.
 */
static int is_the_one(struct ipc *ipc, const struct target *t)
{
	static const unsigned commands[] = { PROCESS_INFO_2, PROCESS_INFO };
	int r = -EOPNOTSUPP;

	ipc->version[0] = '\0';
	for (size_t i = 0; i < ELEMENTSOF(commands) && r == -EOPNOTSUPP; i++) {
		struct reader answer;
		struct message m;
		uint64_t pid, skipped;
		bool done;

		begin(&m, SET_PROCESS, commands[i]);
		r = ask(ipc, &m, &answer, &done);
		if (r == -ECONNREFUSED || r == -ENOENT || r == -ESTALE)
			return 0;
		if (r < 0)
			return r;
		if (!done) {
			r = -EOPNOTSUPP;
			continue;
		}
		if (!get(&answer, 8, &pid))
			return -EBADMSG;
		if (pid != (uint64_t)t->inner_pid)
			return 0;
		r = 1;
		if (commands[i] != PROCESS_INFO_2)
			break;
		/* cookie; command line, system, machine, entry assembly; version */
		if (!get(&answer, 8, &skipped) || !get(&answer, 8, &skipped) ||
		    !get_string(&answer, NULL, 0) || !get_string(&answer, NULL, 0) ||
		    !get_string(&answer, NULL, 0) || !get_string(&answer, NULL, 0) ||
		    !get_string(&answer, ipc->version, sizeof(ipc->version)))
			ipc->version[0] = '\0';
	}
	return r;
}

static bool is_socket_of(const char *name, pid_t pid, uint64_t start, bool *ret_exact)
{
	struct scan s = scan_string(name), key;
	uint64_t number;

	if (!scan_word(&s, "dotnet-diagnostic-") || scan_u64(&s, &number) < 0 ||
	    number != (uint64_t)pid || !scan_word(&s, "-") || !scan_ends_with(s, "-socket"))
		return false;
	key = s;
	*ret_exact = scan_u64(&key, &number) == 0 && number == start;
	return true;
}

static int no_answer(int error, const char *directory, const char *name, char *why)
{
	switch (-error) {
	case ETIMEDOUT:
		snprintf(why, ATTACH_WHY_MAX,
			 "its runtime did not answer in time on %s/%s; is the process hung?",
			 directory, name);
		break;
	case EOPNOTSUPP:
		snprintf(why, ATTACH_WHY_MAX,
			 "its runtime is older than .NET 5; start it with "
			 "\"psibridge run --hook=profiler\"");
		break;
	case EACCES:
	case EPERM:
		snprintf(why, ATTACH_WHY_MAX,
			 "%s/%s: only the user of the process and root may attach", directory,
			 name);
		break;
	case EBADMSG:
	case EPIPE:
		snprintf(why, ATTACH_WHY_MAX, "%s/%s: the answer makes no sense", directory, name);
		break;
	default:
		snprintf(why, ATTACH_WHY_MAX, "%s/%s: %s", directory, name, strerror(-error));
	}
	return error;
}

/* Does it listen on one whose file is gone? The kernel knows the name it was bound to. */
static bool was_removed(const struct target *t, char *name)
{
	char path[64], line[512], wanted[64];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/net/unix", (int)t->pid);
	snprintf(wanted, sizeof(wanted), "dotnet-diagnostic-%d-", (int)t->inner_pid);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		const char *at = strstr(line, wanted);
		struct scan s = scan_string(at ? at : "");

		if (at && line[strlen(line) - 1] == '\n')
			s.left--;
		found = scan_ends_with(s, "-socket") && s.left <= NAME_MAX;
		if (found)
			snprintf(name, NAME_MAX + 1, "%.*s", (int)s.left, s.p);
	}
	if (f)
		fclose(f);
	return found;
}

/* Sockets with the right key first: they are the one unless clocks differ (a time namespace). */
static int search(DIR *dir, const struct target *t, struct ipc *ipc, char *why)
{
	unsigned tried = 0;
	int failed = 0;
	char name[NAME_MAX + 1] = "";

	for (int wanted = 1; wanted >= 0; wanted--) {
		struct dirent *entry;

		rewinddir(dir);
		while ((entry = readdir(dir)) && tried < CANDIDATES_MAX) {
			bool exact;
			int r;

			if (!is_socket_of(entry->d_name, t->inner_pid, t->start, &exact) ||
			    exact != wanted)
				continue;
			tried++;
			snprintf(ipc->name, sizeof(ipc->name), "%s", entry->d_name);
			r = is_the_one(ipc, t);
			if (r > 0)
				return 0;
			if (r < 0 && failed == 0) {
				failed = r;
				snprintf(name, sizeof(name), "%s", entry->d_name);
			}
		}
	}
	if (failed < 0)
		return no_answer(failed, target_tmpdir(t), name, why);
	if (tried == 0 && was_removed(t, name)) {
		snprintf(
			why, ATTACH_WHY_MAX,
			"its diagnostics socket, %s in %s, was removed (by what cleans that directory?), and comes back with the next start only",
			name, target_tmpdir(t));
		return -ENOENT;
	}
	snprintf(
		why, ATTACH_WHY_MAX,
		tried > 0
			? "nobody answers on the sockets of number %d in %s (left by processes that are gone?)"
			: "it has no diagnostics socket: there is no dotnet-diagnostic-%d-* in %s",
		(int)t->inner_pid, target_tmpdir(t));
	return -ENOENT;
}

int ipc_find(const struct target *target, uint64_t timeout_usec, struct ipc *ret, char *why)
{
	struct ipc ipc = { .directory = -1,
			   .timeout_usec = timeout_usec,
			   .listener = target->pid,
			   .uid = target->uid };
	DIR *dir;
	int fd, r;

	ipc.directory = target_open_path(target, target_tmpdir(target), O_RDONLY | O_DIRECTORY);
	if (ipc.directory < 0) {
		r = ipc.directory;
		snprintf(why, ATTACH_WHY_MAX, "its TMPDIR, %s: %s", target_tmpdir(target),
			 strerror(-r));
		return r;
	}
	fd = fcntl(ipc.directory, F_DUPFD_CLOEXEC, 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (dir) {
		r = search(dir, target, &ipc, why);
		closedir(dir);
	} else {
		r = -errno;
		snprintf(why, ATTACH_WHY_MAX, "%s: %s", target_tmpdir(target), strerror(-r));
		if (fd >= 0)
			close(fd);
	}
	if (r < 0) {
		ipc_done(&ipc);
		return r;
	}
	*ret = ipc;
	return 0;
}

void ipc_done(struct ipc *ipc)
{
	if (ipc->directory >= 0)
		close(ipc->directory);
	ipc->directory = -1;
}
