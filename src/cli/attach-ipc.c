/* SPDX-License-Identifier: MIT */
/*
 * attach-ipc.c - the diagnostics protocol of .NET
 *
 * Every runtime from .NET Core 3.0 on listens on an AF_UNIX stream socket in its TMPDIR, called dotnet-diagnostic-PID-KEY-socket:
 * PID as the process sees itself, KEY the time it started (by its own clock, which differs in a time namespace); where TMPDIR is long,
 * the end is cut off. A crashed process
 * leaves its socket behind, and a container may share /tmp with others, so the name alone says nothing: the one is taken whose
 * listener the kernel says it is (SO_PEERCRED), and whose runtime answers (ProcessInfo, .NET 5).
 *
 * A message is a header of 20 bytes (magic, size of all, command set, command, reserved) and a payload, little-endian; strings are
 * a count of UTF-16 units, the NUL among them, and the units. A connection takes one command and is closed by the runtime after its
 * answer: command set 0xff, command 0 (done) or 0xff (failed), an HRESULT in front. Source: dotnet/diagnostics,
 * documentation/design-docs/ipc-protocol.md; dotnet/runtime, src/native/eventpipe/ds-*.h (MIT).
 *
 * The target may be hostile, and we may be root: it must not get us to speak to a socket of another process, least of all to ask
 * another runtime to load what lies in the target's TMPDIR. So no link is followed to the socket, which is opened once: later its
 * name may lead elsewhere. It is connected to as /proc/self/fd/N: short enough for sun_path, and in the target's mount namespace.
 * And each connection is looked at before the first byte is written.
 */
#include <dirent.h>
#include <endian.h>
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
#include "core/utf8.h"

#define MAGIC "DOTNET_IPC_V1"

enum { SET_PROFILER = 3, SET_PROCESS = 4, SET_ANSWER = 0xff };
enum { PROFILER_ATTACH = 1 };
enum { PROCESS_INFO = 0 };
enum { ANSWER_DONE = 0, ANSWER_FAILED = 0xff };

/* The runtime leaves at least so many bytes of a socket's name: .NET 10, TMPDIR of 93 bytes. */
#define NAME_LEAST 13

/* ---- bytes ------------------------------------------------------------------------------------ */

struct header {
	char magic[14];
	uint16_t size; /* of all; little-endian, as everything */
	uint8_t set, command;
	uint16_t reserved;
};

struct message {
	struct header header;
	uint8_t payload[UINT16_MAX]; /* of ours, some 12 KB at most: a path in UTF-16, and settings */
	size_t size;
};

static void put(struct message *m, const void *bytes, size_t size)
{
	memcpy(m->payload + m->size, bytes, size);
	m->size += size;
}

static void put_number(struct message *m, size_t number)
{
	uint32_t value = htole32((uint32_t)number);

	put(m, &value, sizeof(value));
}

/* Errors: -EILSEQ. */
static int put_string(struct message *m, const char *text)
{
	static const uint8_t masks[] = { 0, 0x7f, 0x1f, 0x0f, 0x07 };
	uint16_t units[PATH_MAX + 1];
	size_t count = 0, n;

	for (; *text && count < PATH_MAX - 1; text += n) {
		uint32_t c;

		n = utf8_character(text, strlen(text));
		if (n == 0)
			return -EILSEQ;
		c = (uint8_t)text[0] & masks[n];
		for (size_t i = 1; i < n; i++)
			c = c << 6 | ((uint8_t)text[i] & 0x3f);
		if (c >= 0x10000) {
			units[count++] = htole16((uint16_t)(0xd800 + ((c - 0x10000) >> 10)));
			c = 0xdc00 + (c & 0x3ff);
		}
		units[count++] = htole16((uint16_t)c);
	}
	units[count++] = 0;
	put_number(m, count);
	put(m, units, count * sizeof(*units));
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

static int receive(int fd, void *to, size_t size, uint64_t end_usec)
{
	for (char *at = to; size > 0;) {
		ssize_t n = socket_receive(fd, at, size, end_usec);

		if (n <= 0)
			return n < 0 ? (int)n : -EPIPE;
		at += n;
		size -= (size_t)n;
	}
	return 0;
}

/* `m` is the payload of the command, and then of the answer. Returns: 0; FAILED: it is that. Errors: -ETIMEDOUT,
 * -EBADMSG, -EPIPE (hung up), those of connect_to(). */
enum { FAILED = 1 };

static int ask(const struct target *target, uint8_t set, uint8_t command, struct message *m,
	       uint64_t timeout_usec)
{
	uint64_t end = usec_add(now_usec(), timeout_usec);
	struct header *h = &m->header;
	int fd = connect_to(target, end), r;

	if (fd < 0)
		return fd;
	*h = (struct header){ MAGIC, htole16((uint16_t)(sizeof(*h) + m->size)), set, command, 0 };
	r = socket_send(fd, m, sizeof(*h) + m->size, end);
	if (r == 0)
		r = receive(fd, h, sizeof(*h), end);
	m->size = le16toh(h->size) - sizeof(*h);
	if (r == 0 &&
	    (memcmp(h->magic, MAGIC, sizeof(MAGIC)) != 0 || m->size > sizeof(m->payload) ||
	     h->set != SET_ANSWER || (h->command != ANSWER_DONE && h->command != ANSWER_FAILED)))
		r = -EBADMSG;
	if (r == 0)
		r = receive(fd, m->payload, m->size, end);
	close(fd);
	return r < 0 || h->command == ANSWER_DONE ? r : FAILED;
}

enum { NOT_YET_AVAILABLE = 0x8013135b, UNINITIALIZED = 0x80131371 };

static bool is_too_early(uint32_t hresult)
{
	return hresult == NOT_YET_AVAILABLE || hresult == UNINITIALIZED;
}

/* Names and meanings: dotnet/runtime, src/coreclr/inc/corerror.xml (MIT). */
static const char *words_of(uint32_t hresult)
{
	static const struct {
		uint32_t hresult;
		const char *words;
	} table[] = {
		{ 0x8013136a,
		  "another profiler has the slot; start the program by \"psibridge run\", which takes another" },
		{ 0x80070005, "the runtime may not open the hook" },
		{ 0x8007000b, "the hook is made for another machine or libc" },
		{ 0x8007007e, "the runtime could not load the hook" },
		{ NOT_YET_AVAILABLE,
		  "its runtime has not started; does it wait for a tool that resumes it "
		  "(DOTNET_DefaultDiagnosticPortSuspend, DOTNET_DiagnosticPorts)?" },
		{ UNINITIALIZED, "the runtime is starting or ending" },
	};

	for (size_t i = 0; i < ELEMENTSOF(table); i++)
		if (table[i].hresult == hresult)
			return table[i].words;
	return "the runtime refused";
}

int runtime_attach_profiler(const struct target *target, const char *path,
			    const struct settings *settings, uint64_t timeout_usec)
{
	/* as in src/runtimes/coreclr.c, in the layout of a GUID in memory */
	static const uint8_t guid[16] = { 0x50, 0x4c, 0x1a, 0x9f, 0x0e, 0x6b, 0x46, 0x4c,
					  0x9c, 0x1d, 0x50, 0x53, 0x49, 0x2d, 0x42, 0x47 };
	struct message m = { .size = 0 };
	uint32_t hresult;
	int r;

	put_number(&m, MIN(timeout_usec / USEC_PER_MSEC, (uint64_t)INT_MAX));
	put(&m, guid, sizeof(guid));
	if (put_string(&m, path) < 0)
		return refuse(target, "the path of the hook is not UTF-8: %s", path);
	/* data for the profiler: its settings, see src/runtimes/coreclr.c */
	put_number(&m, settings->size);
	put(&m, settings->bytes, settings->size);
	r = ask(target, SET_PROFILER, PROFILER_ATTACH, &m, timeout_usec);
	if (r == -ETIMEDOUT)
		return refuse(target, "its runtime did not say in time whether it loaded the hook; "
				      "it may still do so");
	if (r >= 0 && m.size < sizeof(hresult))
		r = -EBADMSG;
	if (r < 0)
		return refuse(target, "its runtime hung up: %s", strerror(-r));
	memcpy(&hresult, m.payload, sizeof(hresult));
	hresult = le32toh(hresult);
	if (is_too_early(hresult) && now_usec() < target->end_usec)
		return -EAGAIN;
	if (hresult & UINT32_C(0x80000000))
		return refuse(target, "%s (0x%08x)", words_of(hresult), (unsigned)hresult);
	return 0;
}

/* ---- which socket? ---------------------------------------------------------------------------- */

/* Does the target answer there? Errors: of ask(); -EOPNOTSUPP: it does not know ProcessInfo; -ESTALE: another
 * process, or none, does. */
static int try_socket(struct target *t, int directory, const char *name, uint64_t timeout_usec)
{
	struct message m = { .size = 0 };
	struct stat st;
	int r = -ESTALE;

	t->socket = openat(directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (t->socket < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	if (fstat(t->socket, &st) == 0 && S_ISSOCK(st.st_mode))
		r = ask(t, SET_PROCESS, PROCESS_INFO, &m, timeout_usec);
	if (r == 0)
		return 0;
	close(t->socket);
	t->socket = -1;
	return r == FAILED ? -EOPNOTSUPP : r == -ECONNREFUSED ? -ESTALE : r;
}

/* How much of the socket's name fits into an address behind TMPDIR. 0: too little, there is no socket. */
static size_t name_room(const struct target *t)
{
	size_t n = strlen(t->tmpdir), room = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	n += t->tmpdir[n - 1] != '/';
	return n + NAME_LEAST > room ? 0 : room - n;
}

static int no_socket(const struct target *t, const char *begins)
{
	char *list = NULL, *bound = NULL;

	if (target_has_just_begun(t))
		return -EAGAIN;
	/* of a socket whose file is gone the kernel still knows the name it was bound to */
	if (target_read(t, "net/unix", &list) == 0)
		bound = strstr(list, begins);
	if (bound)
		refuse(t,
		       "its diagnostics socket, %.*s in %s, was removed (by what cleans that "
		       "directory?), and comes back with the next start only",
		       (int)strcspn(bound, "\n"), bound, t->tmpdir);
	else if (t->has_coreclr && name_room(t) == 0)
		refuse(t, "its TMPDIR is too long for a diagnostics socket: %s", t->tmpdir);
	else if (t->has_coreclr)
		refuse(t, "it has no diagnostics socket: there is no %s* in %s", begins, t->tmpdir);
	else
		refuse(t,
		       "it is not .NET (%s), was compiled ahead of time (NativeAOT), or has just "
		       "begun: there is no %s* in %s",
		       t->exe, begins, t->tmpdir);
	free(list);
	return -ECANCELED;
}

/* `error` is that of the socket `name`. */
static int no_answer(const struct target *t, int error, const char *name)
{
	if (error == -ESTALE && target_has_just_begun(t))
		return -EAGAIN;
	if (error == -ESTALE)
		return refuse(t,
			      "nothing answers on the sockets of number %d in %s "
			      "(left by processes that are gone?)",
			      (int)t->inner_pid, t->tmpdir);
	if (error == -ETIMEDOUT)
		return refuse(t,
			      "its runtime did not answer in time on %s/%s; is the process hung?",
			      t->tmpdir, name);
	if (error == -EOPNOTSUPP)
		return refuse(t, "its runtime is older than .NET 5; start it with "
				 "\"psibridge run --hook=profiler\"");
	return refuse(t, "%s/%s: %s", t->tmpdir, name,
		      error == -EBADMSG || error == -EPIPE ? "the answer makes no sense"
							   : strerror(-error));
}

int runtime_find(struct target *t, uint64_t timeout_usec)
{
	int fd = target_open_path(t, t->tmpdir, O_RDONLY | O_DIRECTORY), failed = 0, r = -ENOENT;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	uint64_t end = usec_add(now_usec(), timeout_usec);
	char begins[48], name[NAME_MAX + 1];
	struct dirent *entry;

	if (!dir)
		return refuse(t, "its TMPDIR, %s: %s", t->tmpdir, strerror(fd < 0 ? -fd : errno));
	snprintf(begins, sizeof(begins), "dotnet-diagnostic-%d-", (int)t->inner_pid);
	/* so short it may be the beginning of others' names, too; who listens there is what counts */
	begins[MIN(sizeof(begins) - 1, name_room(t) ?: SIZE_MAX)] = '\0';
	while (r < 0 && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, begins, strlen(begins)) != 0)
			continue;
		/* one time for all: there may be any number, left by others or made to delay us */
		r = try_socket(t, dirfd(dir), entry->d_name, usec_sub(end, now_usec()));
		/* what another process's socket answers says less than what its own does */
		if (r < 0 && (failed == 0 || failed == -ESTALE)) {
			failed = r;
			strcpy(name, entry->d_name);
		}
	}
	closedir(dir);
	return r == 0 ? 0 : failed == 0 ? no_socket(t, begins) : no_answer(t, failed, name);
}
