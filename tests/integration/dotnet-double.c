/* SPDX-License-Identifier: MIT */
/*
 * dotnet-double.c - a process that looks like .NET to `psibridge attach`, and answers as it is told
 *
 *     dotnet-double [KEY=VALUE...]
 *
 * It listens on a diagnostics socket in $TMPDIR; then it prints "ready", and a line for each command: "info", "attach PATH"
 * (followed by "set NAME=VALUE" for each setting that comes with it). It ends with its standard input. What a real
 * runtime does is tried with a real one; this is for those that are old, hung or hostile:
 *
 *     key=TEXT     in the socket's name, instead of the time it started; 1 by default
 *     end=TEXT     at its end, instead of -socket: the runtime cuts what does not fit; name=TEXT: all of it
 *     info=none    no ProcessInfo, as .NET Core 3.1           info=mute   takes the connection, and is silent
 *     info=rubbish bytes that are no message                  info=cut    half a header, and hangs up
 *     attach=N     HRESULT N, hexadecimal; 0 (the default) maps the file, as loading it would, and the managed policy beside it
 *     attach=lie   says 0, and maps nothing                   attach=mute is silent
 *     early=N      the first N times it is asked to attach, it is too early
 *     map=PATH     only maps that; there is no socket; gate=PATH: not until that FIFO was written to, which it says
 *     link=PATH    when asked for ProcessInfo, puts a symbolic link to PATH in its socket's place; hard=PATH: a hard link
 */
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER_SIZE 20
#define UNKNOWN_COMMAND 0x80131385
#define NOT_YET_AVAILABLE 0x8013135b

static const char *info = "", *attach = "0", *early = "0", *key = "1", *link_to, *hard_to, *map,
		  *gate, *name, *tail = "-socket";
static const struct {
	const char *name;
	const char **value;
} options[] = {
	{ "info=", &info },    { "attach=", &attach }, { "key=", &key },  { "link=", &link_to },
	{ "hard=", &hard_to }, { "map=", &map },       { "end=", &tail }, { "early=", &early },
	{ "gate=", &gate },    { "name=", &name },
};
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static size_t count(const uint8_t *at)
{
	return (size_t)at[0] | (size_t)at[1] << 8;
}

/* Nobody reads what a good answer says beside that. */
static void answer(int fd, uint32_t hresult)
{
	uint8_t m[HEADER_SIZE + 4] = "DOTNET_IPC_V1";

	m[14] = sizeof(m);
	m[16] = 0xff;
	m[17] = hresult ? 0xff : 0;
	for (unsigned i = 0; i < 4; i++)
		m[HEADER_SIZE + i] = (uint8_t)(hresult >> 8 * i);
	if (write(fd, m, sizeof(m)) != (ssize_t)sizeof(m))
		perror("answer");
}

static void answer_info(int fd)
{
	if ((link_to || hard_to) && unlink(address.sun_path) == 0 &&
	    (link_to ? symlink(link_to, address.sun_path) : link(hard_to, address.sun_path)) < 0)
		perror(address.sun_path);
	if (strcmp(info, "rubbish") == 0)
		dprintf(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
	else if (strcmp(info, "cut") == 0)
		dprintf(fd, "DOTNET_IPC");
	else
		answer(fd, strcmp(info, "none") == 0 ? UNKNOWN_COMMAND : 0);
}

static void map_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED)
		perror(path);
	close(fd);
}

/* What the hook would have the runtime load, where it is there. */
static void map_beside(const char *path)
{
	static const char hook[] = "libpsibridge-coreclr.so",
			  managed[] = "PsiBridge.StartupHook.dll";
	const char *end = strstr(path, hook);
	char beside[4096 + sizeof(managed)];

	snprintf(beside, sizeof(beside), "%.*s%s", end ? (int)(end - path) : 0, path, managed);
	if (access(beside, F_OK) == 0)
		map_file(beside);
}

/* A time-out, a GUID, a path in UTF-16 (ASCII here) with its count before it, a count, so many bytes of "NAME=VALUE", NUL. */
static void load(int fd, const uint8_t *m, size_t size)
{
	static int times;
	const uint8_t *at = m + HEADER_SIZE + 20, *end = m + size;
	size_t units = count(at);
	char path[4096] = "";

	if (times++ < atoi(early)) {
		answer(fd, NOT_YET_AVAILABLE);
		return;
	}
	for (size_t i = 0; i < units && i + 1 < sizeof(path); i++)
		path[i] = (char)at[4 + 2 * i];
	printf("attach %s\n", path);
	at += 4 + 2 * units;
	if (count(at) != (size_t)(end - at - 4))
		printf("the data do not end where the message does\n");
	for (at += 4; at < end; at += strlen((const char *)at) + 1)
		printf("set %s\n", (const char *)at);
	if (strcmp(attach, "0") == 0) {
		map_file(path);
		map_beside(path);
	}
	answer(fd, (uint32_t)strtoul(strcmp(attach, "lie") == 0 ? "0" : attach, NULL, 16));
}

static void serve(int fd)
{
	static uint8_t m[65536];
	size_t size = 0;

	while (size < HEADER_SIZE || size < count(m + 14)) {
		ssize_t n = read(fd, m + size, sizeof(m) - size);

		if (n <= 0)
			return;
		size += (size_t)n;
	}
	if (m[16] == 4 && m[17] == 0) {
		printf("info\n");
		if (strcmp(info, "mute") == 0)
			return; /* the connection stays */
		answer_info(fd);
	} else if (m[16] == 3 && m[17] == 1) {
		if (strcmp(attach, "mute") == 0)
			return;
		load(fd, m, size);
	} else {
		answer(fd, UNKNOWN_COMMAND);
	}
	close(fd);
}

int main(int argc, char **argv)
{
	struct pollfd p[] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN } };
	const char *tmpdir = getenv("TMPDIR");

	for (int i = 1; i < argc; i++)
		for (size_t k = 0; k < sizeof(options) / sizeof(options[0]); k++)
			if (strncmp(argv[i], options[k].name, strlen(options[k].name)) == 0)
				*options[k].value = argv[i] + strlen(options[k].name);
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* relative, so that a long TMPDIR fits */
	snprintf(address.sun_path, sizeof(address.sun_path), "dotnet-diagnostic-%d-%.40s%.20s",
		 (int)getpid(), key, tail);
	if (name)
		snprintf(address.sun_path, sizeof(address.sun_path), "%s", name);
	if (map)
		map_file(map);
	if (gate) {
		printf("mapped\n");
		close(open(gate, O_RDONLY | O_CLOEXEC));
		map = NULL;
	}
	p[1].fd = map ? -1 : socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (chdir(tmpdir ? tmpdir : "/tmp") < 0)
		return 1;
	if (!map && (bind(p[1].fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
		     listen(p[1].fd, 8) < 0)) {
		perror(address.sun_path);
		return 1;
	}
	printf("ready\n");
	while (poll(p, 2, -1) > 0 && !p[0].revents) {
		int fd = accept4(p[1].fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			serve(fd);
	}
	unlink(address.sun_path);
	return 0;
}
