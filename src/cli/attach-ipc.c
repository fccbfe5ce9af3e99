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
 * The target may be hostile, and we may be root: it must not get us to speak to a socket of another
 * process, least of all to ask another runtime to load what lies in the target's TMPDIR. So no link is
 * followed to the socket, and each connection is looked at before the first byte is written: the name
 * may lead elsewhere than a moment ago.
 *
 * The path in sun_path is /proc/self/fd/N, for a descriptor of the socket: short enough whatever TMPDIR
 * is, and in the mount namespace of the target.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/attach.h"
#include "cli/socket.h"
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
	size_t size; /* of ours, some 12 KB at most: a path in UTF-16, and settings */
};

static void put(struct message *m, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		m->bytes[m->size++] = (uint8_t)(value >> 8 * i);
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

static uint32_t get(const struct message *m, size_t at)
{
	const uint8_t *p = m->bytes + at;

	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Of ProcessInfo2, which says: number, cookie; command line, system, machine, entry assembly; version. */
static void get_version(const struct message *m, char *buf, size_t capacity)
{
	size_t at = HEADER_SIZE + 8 + 16, units = 0;

	for (unsigned i = 0; i < 5; i++) {
		at += 2 * units;
		if (at + 4 > m->size)
			return;
		units = get(m, at);
		at += 4;
		if (units > (m->size - at) / 2)
			return;
	}
	/* the NUL is one of the units; versions are ASCII, and go to a terminal */
	for (size_t i = 0; i < units && i + 1 < capacity; i++, at += 2) {
		uint8_t c = m->bytes[at];
		bool is_plain = m->bytes[at + 1] == 0 && c < 0x7f && (c >= 0x20 || c == 0);

		buf[i] = is_plain ? (char)c : '?';
	}
	buf[MIN(units, capacity - 1)] = '\0';
}

/* ---- one command ------------------------------------------------------------------------------ */

/* -ESTALE: it is not the target that listens there. */
static int check_listener(const struct target *target, int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		return -errno;
	/* 0: a process that has no number in our pid namespace */
	return peer.pid == target->pid || (peer.pid == 0 && peer.uid == target->uid) ? 0 : -ESTALE;
}

static int connect_to(const struct runtime_socket *runtime, uint64_t end_usec)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int there, fd, r;
	struct stat st;

	there = openat(runtime->directory, runtime->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (there < 0)
		return -errno;
	fd = fstat(there, &st) == 0 && S_ISSOCK(st.st_mode)
		     ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
		     : (errno = ESTALE, -1);
	r = fd < 0 ? -errno : 0;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", there);
	if (r == 0)
		r = socket_connect(fd, &address, end_usec);
	if (r == 0)
		r = check_listener(runtime->target, fd);
	close(there);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

static int receive(int fd, uint8_t *at, size_t size, uint64_t end_usec)
{
	while (size > 0) {
		ssize_t n = socket_receive(fd, at, size, end_usec);

		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* `m` is the command, and then the answer. Returns: 0; FAILED: it is that. */
enum { FAILED = 1 };

static int ask(const struct runtime_socket *runtime, struct message *m)
{
	uint64_t end = usec_add(now_usec(), runtime->timeout_usec);
	int fd = connect_to(runtime, end), r;

	if (fd < 0)
		return fd;
	m->bytes[14] = (uint8_t)m->size;
	m->bytes[15] = (uint8_t)(m->size >> 8);
	r = socket_send(fd, m->bytes, m->size, end);
	if (r == 0)
		r = receive(fd, m->bytes, HEADER_SIZE, end);
	m->size = (size_t)m->bytes[14] | (size_t)m->bytes[15] << 8;
	if (r == 0 && (memcmp(m->bytes, MAGIC, sizeof(MAGIC)) != 0 || m->size < HEADER_SIZE ||
		       m->bytes[16] != SET_ANSWER ||
		       (m->bytes[17] != ANSWER_DONE && m->bytes[17] != ANSWER_FAILED)))
		r = -EBADMSG;
	if (r == 0)
		r = receive(fd, m->bytes + HEADER_SIZE, m->size - HEADER_SIZE, end);
	close(fd);
	return r < 0 || m->bytes[17] == ANSWER_DONE ? r : FAILED;
}

int runtime_attach_profiler(const struct runtime_socket *runtime, const char *path,
			    const struct settings *settings, uint32_t *ret_hresult)
{
	/* as in src/runtimes/coreclr.c, in the layout of a GUID in memory */
	static const uint8_t guid[16] = { 0x50, 0x4c, 0x1a, 0x9f, 0x0e, 0x6b, 0x46, 0x4c,
					  0x9c, 0x1d, 0x50, 0x53, 0x49, 0x2d, 0x42, 0x47 };
	struct message m;
	int r;

	begin(&m, SET_PROFILER, PROFILER_ATTACH);
	put(&m, MIN(runtime->timeout_usec / USEC_PER_MSEC, (uint64_t)INT_MAX), 4);
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
	r = ask(runtime, &m);
	if (r < 0)
		return r;
	/* an HRESULT in either case; "failed" and S_OK do not go together */
	if (m.size < HEADER_SIZE + 4)
		return -EBADMSG;
	*ret_hresult = get(&m, HEADER_SIZE);
	return r == FAILED && !(*ret_hresult & UINT32_C(0x80000000)) ? -EBADMSG : 0;
}

const char *runtime_words(uint32_t hresult)
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
	return "the runtime refused";
}

/* ---- which socket? ---------------------------------------------------------------------------- */

/*
 * Does this process answer there? 1: yes. 0: another process, or none. Errors: it is the one, and
 * does not answer as it should; -EPERM; -EOPNOTSUPP: it does not know ProcessInfo.
 */
static int is_the_one(struct runtime_socket *runtime)
{
	static const unsigned commands[] = { PROCESS_INFO_2, PROCESS_INFO };

	runtime->version[0] = '\0';
	for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
		struct message m;
		int r;

		begin(&m, SET_PROCESS, commands[i]);
		r = ask(runtime, &m);
		if (r == -ECONNREFUSED || r == -ENOENT || r == -ESTALE)
			return 0;
		if (r < 0)
			return r;
		if (r == FAILED)
			continue;
		if (m.size < HEADER_SIZE + 8)
			return -EBADMSG;
		if (get(&m, HEADER_SIZE) != (uint32_t)runtime->target->inner_pid)
			return 0;
		if (commands[i] == PROCESS_INFO_2)
			get_version(&m, runtime->version, sizeof(runtime->version));
		return 1;
	}
	return -EOPNOTSUPP;
}

/* The target at `name` answered with an error. */
static int no_answer(struct target *t, int error, const char *name)
{
	const char *what = error == -EACCES || error == -EPERM
				   ? "only the user of the process and root may attach"
			   : error == -EBADMSG || error == -EPIPE ? "the answer makes no sense"
								  : strerror(-error);

	if (error == -ETIMEDOUT)
		return target_refuse(
			t, error,
			"its runtime did not answer in time on %.220s/%s; is the process hung?",
			t->tmpdir, name);
	if (error == -EOPNOTSUPP)
		return target_refuse(t, error,
				     "its runtime is older than .NET 5; start it with "
				     "\"psibridge run --hook=profiler\"");
	return target_refuse(t, error, "%.220s/%s: %s", t->tmpdir, name, what);
}

/* Is it one of this process's number? Its key is not looked at: clocks differ in a time namespace. */
static bool is_socket_of(const struct target *t, const char *name)
{
	char begin[48];

	snprintf(begin, sizeof(begin), "dotnet-diagnostic-%d-", (int)t->inner_pid);
	return strncmp(name, begin, strlen(begin)) == 0 &&
	       scan_ends_with(scan_string(name), "-socket");
}

/* Of a socket whose file is gone the kernel still knows the name it was bound to. */
static void take_bound(char *line, void *userdata)
{
	struct runtime_socket *runtime = userdata;
	const char *name = strstr(line, "dotnet-diagnostic-");

	if (name && is_socket_of(runtime->target, name))
		snprintf(runtime->name, sizeof(runtime->name), "%s", name);
}

static int not_found(struct target *t, struct runtime_socket *runtime, unsigned tried)
{
	runtime->name[0] = '\0';
	if (tried == 0)
		target_each(t, "net/unix", '\n', take_bound, runtime);
	if (runtime->name[0])
		return target_refuse(
			t, -ENOENT,
			"its diagnostics socket, %s in %.200s, was removed (by what cleans that directory?), and comes back with the next start only",
			runtime->name, t->tmpdir);
	if (tried > 0)
		return target_refuse(
			t, -ENOENT,
			"nothing answers on the sockets of number %d in %.400s (left by processes that are gone?)",
			(int)t->inner_pid, t->tmpdir);
	return target_refuse(
		t, -ENOENT,
		"it has no diagnostics socket: there is no dotnet-diagnostic-%d-* in %.400s",
		(int)t->inner_pid, t->tmpdir);
}

/* Sockets with the right key first: they are the one unless clocks differ. */
static int search(DIR *dir, struct target *t, struct runtime_socket *runtime)
{
	char exact[NAME_MAX + 1], name[NAME_MAX + 1];
	unsigned tried = 0;
	int failed = 0;

	snprintf(exact, sizeof(exact), "dotnet-diagnostic-%d-%" PRIu64 "-socket", (int)t->inner_pid,
		 t->start);
	for (int wanted = 1; wanted >= 0; wanted--) {
		struct dirent *entry;

		rewinddir(dir);
		while ((entry = readdir(dir)) && tried < CANDIDATES_MAX) {
			int r;

			if (!is_socket_of(t, entry->d_name) ||
			    (strcmp(entry->d_name, exact) == 0) != wanted)
				continue;
			tried++;
			strcpy(runtime->name, entry->d_name);
			r = is_the_one(runtime);
			if (r > 0)
				return 0;
			if (r < 0 && failed == 0) {
				failed = r;
				strcpy(name, entry->d_name);
			}
		}
	}
	return failed < 0 ? no_answer(t, failed, name) : not_found(t, runtime, tried);
}

int runtime_find(struct target *target, uint64_t timeout_usec, struct runtime_socket *ret)
{
	DIR *dir;
	int fd;

	*ret = (struct runtime_socket){ .timeout_usec = timeout_usec, .target = target };
	ret->directory = target_open_path(target, target->tmpdir, O_RDONLY | O_DIRECTORY);
	if (ret->directory < 0)
		return target_refuse(target, ret->directory, "its TMPDIR, %.400s: %s",
				     target->tmpdir, strerror(-ret->directory));
	fd = fcntl(ret->directory, F_DUPFD_CLOEXEC, 0);
	dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		fd = -errno;
		return target_refuse(target, fd, "%.400s: %s", target->tmpdir, strerror(-fd));
	}
	fd = search(dir, target, ret);
	closedir(dir);
	return fd;
}

void runtime_done(struct runtime_socket *runtime)
{
	if (runtime->directory >= 0)
		close(runtime->directory);
	runtime->directory = -1;
}
