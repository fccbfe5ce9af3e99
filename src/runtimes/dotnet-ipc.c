/* SPDX-License-Identifier: MIT */
/*
 * dotnet-ipc.c - two commands of .NET's diagnostics protocol, to our own process
 *
 * The socket is dotnet-diagnostic-PID-KEY-socket in TMPDIR, its end cut off where it would not fit into a socket's address. Others
 * may have left files of that name, so the kernel is asked who listens: it must be this process. A message is a header of 20 bytes
 * (magic, size of all, command set, command, reserved) and a payload, little-endian, as this is built for; strings are a count of
 * UTF-16 units with the NUL, and the units. Each connection takes one command. (dotnet/diagnostics, documentation/design-docs/
 * ipc-protocol.md; dotnet/runtime, src/native/eventpipe/ds-*.h: MIT.)
 *
 * ProcessInfo2 (.NET 6) tells the version. The name of the entry assembly that it tells, too, comes from the host when there is no
 * assembly yet, so it says nothing of how far the start is. ApplyStartupHook (.NET 8) runs a hook at once, on the thread that answers; at
 * the very beginning it is only noted down, and loaded on the program's own thread before Main(). (dotnet/runtime#86813, #87490)
 */
#include "runtimes/dotnet-ipc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define MAGIC "DOTNET_IPC_V1"
#define ANSWER_SEC 5
#define SOCKET_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

enum { SET_PROCESS = 4, SET_ANSWER = 0xff };
enum { PROCESS_INFO_2 = 4, APPLY_STARTUP_HOOK = 7 };
enum { ANSWER_DONE = 0 };

struct message {
	struct {
		char magic[14];
		uint16_t size; /* of all */
		uint8_t set, command;
		uint16_t reserved;
	} header;
	uint8_t payload[UINT16_MAX];
	size_t size;
};

/* ---- bytes ------------------------------------------------------------------------------------- */

/* Of ASCII. */
static int put_string(struct message *m, const char *text)
{
	uint32_t units = (uint32_t)strlen(text) + 1;

	memcpy(m->payload + m->size, &units, sizeof(units));
	m->size += sizeof(units);
	for (uint32_t i = 0; i < units; i++, m->size += 2)
		m->payload[m->size] = (uint8_t)text[i]; /* the byte behind it is 0 */
	return 0;
}

/* The string at *at, in ASCII with a '?' for what is not, into buf; *at is behind it then. -EBADMSG: there is none. */
static int get_string(const struct message *m, size_t *at, char *buf, size_t size)
{
	uint32_t units;
	size_t n = 0;

	if (*at + sizeof(units) > m->size)
		return -EBADMSG;
	memcpy(&units, m->payload + *at, sizeof(units));
	*at += sizeof(units);
	if (units > (m->size - *at) / 2)
		return -EBADMSG;
	for (size_t i = 0; i < units && n + 1 < size; i++, n++)
		buf[n] = m->payload[*at + 2 * i + 1] ? '?' : (char)m->payload[*at + 2 * i];
	buf[n] = '\0';
	*at += 2 * (size_t)units;
	return 0;
}

/* ---- the socket --------------------------------------------------------------------------------- */

/* Errors: -ESTALE: another process listens there, or none. */
static int connect_to(int directory, const char *name)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval timeout = { .tv_sec = ANSWER_SEC };
	struct ucred peer = { 0 };
	socklen_t length = sizeof(peer);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* short enough for any TMPDIR */
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%.80s", directory,
		 name);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.pid == getpid())
		return fd;
	close(fd);
	return -ESTALE;
}

static int connect_to_ours(const char *tmpdir)
{
	DIR *dir = opendir(tmpdir);
	int r = dir ? -ENOENT : -errno;
	struct dirent *entry;
	/* what fits into an address behind TMPDIR; if nothing does, there is no socket */
	size_t used = strlen(tmpdir) + (tmpdir[strlen(tmpdir) - 1] != '/') + 1;
	char begins[48];

	snprintf(begins, sizeof(begins), "dotnet-diagnostic-%d-", (int)getpid());
	if (used + strlen(begins) > SOCKET_PATH_MAX && used < SOCKET_PATH_MAX)
		begins[SOCKET_PATH_MAX - used] = '\0';
	while (dir && r < 0 && (entry = readdir(dir)))
		if (strncmp(entry->d_name, begins, strlen(begins)) == 0)
			r = connect_to(dirfd(dir), entry->d_name);
	if (dir)
		closedir(dir);
	return r == -ESTALE ? -ENOENT : r;
}

static int receive(int fd, void *to, size_t size)
{
	ssize_t n = recv(fd, to, size, MSG_WAITALL);

	if (n == (ssize_t)size)
		return 0;
	return n >= 0 ? -EPIPE : errno == EAGAIN ? -ETIMEDOUT : -errno;
}

/* `m` is the payload of the command, and then of the answer. Errors: -EPROTO: it is an error. */
static int ask(const char *tmpdir, uint8_t command, struct message *m)
{
	int fd = connect_to_ours(tmpdir), r;
	size_t size = sizeof(m->header) + m->size;

	if (fd < 0)
		return fd;
	m->header = (typeof(m->header)){ MAGIC, (uint16_t)size, SET_PROCESS, command, 0 };
	r = send(fd, m, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -EPIPE;
	if (r == 0)
		r = receive(fd, &m->header, sizeof(m->header));
	if (r == 0 && (memcmp(m->header.magic, MAGIC, sizeof(MAGIC)) != 0 ||
		       m->header.set != SET_ANSWER || m->header.size < sizeof(m->header)))
		r = -EBADMSG;
	if (r == 0) {
		m->size = m->header.size - sizeof(m->header);
		r = receive(fd, m->payload, m->size);
	}
	close(fd);
	return r < 0 || m->header.command == ANSWER_DONE ? r : -EPROTO;
}

/* ---- the commands -------------------------------------------------------------------------------- */

static int read_version(const char *tmpdir, struct message *m)
{
	enum { COMMAND_LINE, SYSTEM, MACHINE, ENTRY, VERSION, STRINGS };
	char text[64];
	size_t at = 24; /* behind a process id and a GUID */
	int r = ask(tmpdir, PROCESS_INFO_2, m);

	for (int i = 0; r == 0 && i < STRINGS; i++)
		r = get_string(m, &at, text, sizeof(text));
	if (r < 0)
		return r == -EPROTO ? -EOPNOTSUPP : r;
	return atoi(text) < 8 ? -EOPNOTSUPP : atoi(text);
}

int dotnet_version(const char *tmpdir)
{
	struct message *m = calloc(1, sizeof(*m));
	int r = m ? read_version(tmpdir, m) : -ENOMEM;

	free(m);
	return r;
}

int dotnet_load(const char *tmpdir, const char *path)
{
	struct message *m = calloc(1, sizeof(*m));
	int r = m ? put_string(m, path) : -ENOMEM;

	if (r == 0)
		r = ask(tmpdir, APPLY_STARTUP_HOOK, m);
	free(m);
	return r;
}
