/* SPDX-License-Identifier: MIT */
/*
 * attach-ipc.c - the diagnostics protocol of .NET
 *
 * Every runtime from .NET Core 3.0 on listens on an AF_UNIX stream socket in its TMPDIR, called
 * dotnet-diagnostic-PID-KEY-socket: PID as the process sees itself, KEY the time it started (by its own
 * clock, which differs in a time namespace). A crashed process leaves its socket behind, and a
 * container may share /tmp with others, so the name alone says nothing: the one is taken whose
 * listener the kernel says it is (SO_PEERCRED), and whose runtime answers (ProcessInfo, .NET 5).
 *
 * A message is a header of 20 bytes (magic, size of all, command set, command, reserved) and a
 * payload, little-endian; strings are a count of UTF-16 units, the NUL among them, and the units.
 * A connection takes one command and is closed by the runtime after its answer: command set 0xff,
 * command 0 (done) or 0xff (failed), an HRESULT in front. Source: dotnet/diagnostics,
 * documentation/design-docs/ipc-protocol.md; dotnet/runtime, src/native/eventpipe/ds-*.h (MIT).
 *
 * The target may be hostile, and we may be root: it must not get us to speak to a socket of another
 * process, least of all to ask another runtime to load what lies in the target's TMPDIR. So no link is
 * followed to the socket, which is opened once: later its name may lead elsewhere. The path in
 * sun_path is /proc/self/fd/N of it: short enough whatever TMPDIR is, and in the target's mount
 * namespace. And each connection is looked at before the first byte is written.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
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
enum { PROCESS_INFO = 0 };
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

/* ---- one command ------------------------------------------------------------------------------ */

/* Errors: -ESTALE (it is not the target that listens there), -ESRCH (the target is gone, and its number
 * may be another's), and others of the socket. */
static int connect_to(const struct target *target, uint64_t end_usec)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;
	struct ucred peer;
	socklen_t length = sizeof(peer);

	if (fd < 0)
		return -errno;
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", target->socket);
	r = socket_connect(fd, &address, end_usec);
	if (r == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
		r = -errno;
	if (r == 0 && peer.pid != target->pid)
		r = -ESTALE;
	if (r == 0 && faccessat(target->proc, "status", F_OK, 0) < 0)
		r = -ESRCH;
	if (r == 0)
		return fd;
	close(fd);
	return r;
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

/* `m` is the command, and then the answer. Returns: 0; FAILED: it is that. Errors: -ETIMEDOUT,
 * -EBADMSG, -EPIPE (hung up), those of connect_to(). */
enum { FAILED = 1 };

static int ask(const struct target *target, struct message *m, uint64_t timeout_usec)
{
	uint64_t end = usec_add(now_usec(), timeout_usec);
	int fd = connect_to(target, end), r;

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

int runtime_attach_profiler(const struct target *target, const char *path,
			    const struct settings *settings, uint64_t timeout_usec,
			    uint32_t *ret_hresult)
{
	/* as in src/runtimes/coreclr.c, in the layout of a GUID in memory */
	static const uint8_t guid[16] = { 0x50, 0x4c, 0x1a, 0x9f, 0x0e, 0x6b, 0x46, 0x4c,
					  0x9c, 0x1d, 0x50, 0x53, 0x49, 0x2d, 0x42, 0x47 };
	struct message m;
	const uint8_t *answer = m.bytes + HEADER_SIZE;
	int r;

	begin(&m, SET_PROFILER, PROFILER_ATTACH);
	put(&m, MIN(timeout_usec / USEC_PER_MSEC, (uint64_t)INT_MAX), 4);
	memcpy(m.bytes + m.size, guid, sizeof(guid));
	m.size += sizeof(guid);
	if (put_string(&m, path) < 0)
		return target_refuse(target, "the path of the hook is not UTF-8: %s", path);
	/* data for the profiler: its settings, see src/runtimes/coreclr.c */
	put(&m, settings->size, 4);
	memcpy(m.bytes + m.size, settings->bytes, settings->size);
	m.size += settings->size;
	r = ask(target, &m, timeout_usec);
	if (r == -ETIMEDOUT)
		return target_refuse(
			target,
			"its runtime did not say in time whether it loaded the hook; it may still do so");
	if (r >= 0 && m.size < HEADER_SIZE + 4)
		r = -EBADMSG;
	if (r < 0)
		return target_refuse(target, "its runtime hung up: %s", strerror(-r));
	*ret_hresult = (uint32_t)answer[0] | (uint32_t)answer[1] << 8 | (uint32_t)answer[2] << 16 |
		       (uint32_t)answer[3] << 24;
	return 0;
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
		{ 0x80131371, "the runtime is starting or ending" },
		{ 0x80131379, "a background collection did not end in time; try again" },
		{ 0x80131505, "it took too long" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (table[i].hresult == hresult)
			return table[i].words;
	return "the runtime refused";
}

/* ---- which socket? ---------------------------------------------------------------------------- */

/* Does the target answer there? Errors: of ask(); -EOPNOTSUPP: it does not know ProcessInfo; -ENOTSOCK. */
static int try_socket(struct target *t, int directory, const char *name, uint64_t timeout_usec)
{
	struct message m;
	struct stat st;
	int r;

	t->socket = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (t->socket < 0 || fstat(t->socket, &st) < 0)
		r = -errno;
	else if (!S_ISSOCK(st.st_mode))
		r = -ENOTSOCK;
	else {
		begin(&m, SET_PROCESS, PROCESS_INFO);
		r = ask(t, &m, timeout_usec);
	}
	if (r == 0)
		return 0;
	if (t->socket >= 0)
		close(t->socket);
	t->socket = -1;
	return r == FAILED ? -EOPNOTSUPP : r;
}

/* The target at `name` answered with an error. */
static int no_answer(const struct target *t, int error, const char *name)
{
	const char *what = error == -EACCES || error == -EPERM
				   ? "only the user of the process and root may attach"
			   : error == -EBADMSG || error == -EPIPE ? "the answer makes no sense"
								  : strerror(-error);

	if (error == -ETIMEDOUT)
		return target_refuse(
			t, "its runtime did not answer in time on %s/%s; is the process hung?",
			t->tmpdir, name);
	if (error == -EOPNOTSUPP)
		return target_refuse(t, "its runtime is older than .NET 5; start it with "
					"\"psibridge run --hook=profiler\"");
	return target_refuse(t, "%s/%s: %s", t->tmpdir, name, what);
}

/* What the socket's name begins with, into buf[48]. */
static void name_of(const struct target *t, char *buf)
{
	snprintf(buf, 48, "dotnet-diagnostic-%d-", (int)t->inner_pid);
}

static int not_found(const struct target *t, unsigned tried)
{
	char begins[48], *list = tried == 0 ? target_read(t, "net/unix") : NULL, *bound;

	name_of(t, begins);
	/* of a socket whose file is gone the kernel still knows the name it was bound to */
	bound = list ? strstr(list, begins) : NULL;
	if (bound)
		target_refuse(
			t,
			"its diagnostics socket, %.*s in %s, was removed (by what cleans that directory?), and comes back with the next start only",
			(int)strcspn(bound, "\n"), bound, t->tmpdir);
	else if (tried > 0)
		target_refuse(
			t,
			"nothing answers on the sockets of number %d in %s (left by processes that are gone?)",
			(int)t->inner_pid, t->tmpdir);
	else
		target_refuse(
			t, "%s%s%s: there is no %s* in %s",
			t->has_coreclr ? "it has no diagnostics socket" : "it is not .NET (",
			t->has_coreclr ? "" : t->exe,
			t->has_coreclr
				? ""
				: "), was compiled ahead of time (NativeAOT), or has just begun",
			begins, t->tmpdir);
	free(list);
	return -ECANCELED;
}

static int search(DIR *dir, struct target *t, uint64_t timeout_usec)
{
	char begins[48], name[NAME_MAX + 1];
	unsigned tried = 0;
	int failed = 0;
	struct dirent *entry;

	name_of(t, begins);
	while ((entry = readdir(dir)) && tried < CANDIDATES_MAX) {
		int r;

		if (strncmp(entry->d_name, begins, strlen(begins)) != 0 ||
		    !scan_ends_with(scan_string(entry->d_name), "-socket"))
			continue;
		tried++;
		r = try_socket(t, dirfd(dir), entry->d_name, timeout_usec);
		if (r == 0)
			return 0;
		/* another process, or none: the next one may be it */
		if (r == -ECONNREFUSED || r == -ENOENT || r == -ESTALE || r == -ENOTSOCK || failed)
			continue;
		failed = r;
		strcpy(name, entry->d_name);
	}
	return failed < 0 ? no_answer(t, failed, name) : not_found(t, tried);
}

int runtime_find(struct target *target, uint64_t timeout_usec)
{
	int fd = target_open_path(target, target->tmpdir, O_RDONLY | O_DIRECTORY), r;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		return target_refuse(target, "its TMPDIR, %s: %s", target->tmpdir,
				     strerror(fd < 0 ? -fd : errno));
	r = search(dir, target, timeout_usec);
	closedir(dir);
	return r;
}
