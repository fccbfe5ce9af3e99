/* SPDX-License-Identifier: MIT */
/*
 * fake-daemon.c - what psibridge(1) speaks with in its tests
 *
 *     fake-daemon SOCKET FILE    answers each line with what is in FILE then, and ends the connection
 *
 * Prints "ready", then serves until its standard input ends.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void serve(int fd, const char *file)
{
	char text[65536];
	FILE *f = fopen(file, "re");
	size_t size = f ? fread(text, 1, sizeof(text), f) : 0;

	if (recv(fd, text + size, sizeof(text) - size, 0) > 0)
		(void)!send(fd, text, size, MSG_NOSIGNAL);
	if (f)
		fclose(f);
	close(fd);
}

int main(int argc, char **argv)
{
	struct pollfd fds[] = { { .fd = STDIN_FILENO }, { .events = POLLIN } };
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (argc != 3 || strlen(argv[1]) >= sizeof(address.sun_path))
		return 2;
	strcpy(address.sun_path, argv[1]);
	unlink(argv[1]);
	fds[1].fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(fds[1].fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fds[1].fd, 8) < 0)
		return 1;
	puts("ready");
	fflush(stdout);
	while (poll(fds, 2, -1) > 0 && !fds[0].revents)
		serve(accept(fds[1].fd, NULL, NULL), argv[2]);
	return 0;
}
