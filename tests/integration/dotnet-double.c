/* SPDX-License-Identifier: MIT */
/*
 * dotnet-double.c - a process that looks like .NET to `psibridge attach`, and answers as it is told
 *
 *     dotnet-double [KEY=VALUE...]
 *
 * It listens on a diagnostics socket in $TMPDIR; then it prints "ready", and a line for each command: "info", "attach PATH" (followed by
 * "set NAME=VALUE" for each setting that comes with it). It ends with its standard input. One command
 * is answered by:
 *
 *     info=none    no ProcessInfo, as .NET Core 3.1 info=mute takes the connection, and is silent
 *     info=rubbish bytes that are no message       info=cut  half a header, and hangs up
 *     key=TEXT     in the socket's name, instead of the time it started; 1 by default
 *     attach=N     HRESULT N, hexadecimal; 0 (the default) maps the file, as loading it would
 *     attach=lie   says 0, and maps nothing       attach=mute   is silent
 *     link=PATH    when asked for ProcessInfo, puts a symbolic link to PATH in its socket's place
 *     hard=PATH    the same with a hard link
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define HEADER_SIZE 20
#define MESSAGE_MAX 65535

static const char *info = "", *attach = "0", *key = "1", *link_to, *hard_to;
static const struct {
	const char *name;
	const char **value;
} options[] = {
	{ "info", &info },    { "attach", &attach }, { "key", &key },
	{ "link", &link_to }, { "hard", &hard_to },
};
static struct sockaddr_un address = { .sun_family = AF_UNIX };

struct message {
	uint8_t bytes[MESSAGE_MAX];
	size_t size;
};

static void put(struct message *m, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		m->bytes[m->size++] = (uint8_t)(value >> 8 * i);
}

static void put_string(struct message *m, const char *text)
{
	put(m, strlen(text) + 1, 4);
	for (const char *p = text; p == text || p[-1]; p++)
		put(m, (uint8_t)*p, 2);
}

static void begin(struct message *m, int done)
{
	memcpy(m->bytes, "DOTNET_IPC_V1", 14);
	m->size = 14;
	put(m, 0, 2);
	put(m, 0xff, 1);
	put(m, done ? 0 : 0xff, 1);
	put(m, 0, 2);
}

static void finish(int fd, struct message *m)
{
	m->bytes[14] = (uint8_t)m->size;
	m->bytes[15] = (uint8_t)(m->size >> 8);
	if (write(fd, m->bytes, m->size) != (ssize_t)m->size)
		perror("answer");
}

static void answer_hresult(int fd, uint32_t hresult)
{
	struct message m;

	begin(&m, hresult == 0);
	put(&m, hresult, 4);
	finish(fd, &m);
}

static void answer_info(int fd)
{
	struct message m;

	if (strcmp(info, "rubbish") == 0) {
		dprintf(fd, "HTTP/1.1 400 Bad Request\r\n\r\n");
		return;
	}
	if (strcmp(info, "cut") == 0) {
		dprintf(fd, "DOTNET_IPC");
		return;
	}
	if (strcmp(info, "none") == 0) {
		answer_hresult(fd, 0x80131385);
		return;
	}
	begin(&m, 1);
	put(&m, (uint64_t)getpid(), 8);
	put(&m, 0, 8);
	put(&m, 0, 8);
	put_string(&m, "dotnet-double");
	put_string(&m, "Linux");
	put_string(&m, "x64");
	finish(fd, &m);
}

/* The UTF-16 string at p, ASCII only. */
static void get_string(const uint8_t *p, char *buf, size_t capacity)
{
	size_t units = (size_t)p[0] | (size_t)p[1] << 8, i;

	for (i = 0; i < units && i + 1 < capacity; i++)
		buf[i] = (char)p[4 + 2 * i];
	buf[i] = '\0';
}

static void answer_load(int fd, const char *how, const char *path)
{
	if (strcmp(how, "0") == 0) {
		int file = open(path, O_RDONLY | O_CLOEXEC);

		if (file < 0 || mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0) == MAP_FAILED) {
			answer_hresult(fd, 0x80004005);
			return;
		}
		close(file);
	}
	answer_hresult(fd, (uint32_t)strtoul(strcmp(how, "lie") == 0 ? "0" : how, NULL, 16));
}

/* What is behind the path of an attach request: a count, and so many bytes of "NAME=VALUE", NUL. */
static void print_settings(const struct message *m)
{
	const uint8_t *path = m->bytes + HEADER_SIZE + 20, *end = m->bytes + m->size, *p;

	p = path + 4 + 2 * ((size_t)path[0] | (size_t)path[1] << 8);
	if (end - p < 4 || (size_t)(end - p - 4) != ((size_t)p[0] | (size_t)p[1] << 8))
		printf("the data do not end where the message does\n");
	for (p += 4; p < end; p += strlen((const char *)p) + 1)
		printf("set %s\n", (const char *)p);
}

/* 1: silent, the connection stays */
static int answer(int fd)
{
	static struct message m;
	char path[4096];

	m.size = 0;
	while (m.size < HEADER_SIZE || m.size < ((size_t)m.bytes[14] | (size_t)m.bytes[15] << 8)) {
		ssize_t n = read(fd, m.bytes + m.size, MESSAGE_MAX - m.size);

		if (n <= 0)
			return 0;
		m.size += (size_t)n;
	}
	switch (m.bytes[16] << 8 | m.bytes[17]) {
	case 0x0400:
		printf("info\n");
		if (strcmp(info, "mute") == 0)
			return 1;
		if ((link_to || hard_to) && unlink(address.sun_path) == 0 &&
		    (link_to ? symlink(link_to, address.sun_path)
			     : link(hard_to, address.sun_path)) < 0)
			perror(address.sun_path);
		answer_info(fd);
		return 0;
	case 0x0301:
		/* a time-out, a GUID, a path */
		get_string(m.bytes + HEADER_SIZE + 20, path, sizeof(path));
		printf("attach %s\n", path);
		print_settings(&m);
		if (strcmp(attach, "mute") == 0)
			return 1;
		answer_load(fd, attach, path);
		return 0;
	default:
		answer_hresult(fd, 0x80131385);
		return 0;
	}
}

/* KEY=VALUE. Returns: whether there is such a key. */
static bool take_option(const char *text)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		size_t n = strlen(options[i].name);

		if (strncmp(text, options[i].name, n) == 0 && text[n] == '=') {
			*options[i].value = text + n + 1;
			return true;
		}
	}
	return false;
}

int main(int argc, char **argv)
{
	const char *tmpdir = getenv("TMPDIR");
	int listener;

	for (int i = 1; i < argc; i++)
		if (!take_option(argv[i]))
			return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (chdir(tmpdir ? tmpdir : "/tmp") < 0)
		return 1;
	/* relative, so that a long TMPDIR fits */
	snprintf(address.sun_path, sizeof(address.sun_path), "dotnet-diagnostic-%d-%.40s-socket",
		 (int)getpid(), key);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 8) < 0) {
		perror(address.sun_path);
		return 1;
	}
	printf("ready\n");
	for (;;) {
		struct pollfd p[] = { { .fd = STDIN_FILENO, .events = POLLIN },
				      { .fd = listener, .events = POLLIN } };
		int fd;

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[0].revents)
			break;
		fd = p[1].revents ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
		if (fd >= 0 && !answer(fd))
			close(fd);
	}
	unlink(address.sun_path);
	return 0;
}
