/* SPDX-License-Identifier: MIT */
/* Sockets of our own, and what lies in the way. */
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "../unit.h"
#include "../fake-root.h"
#include "daemon/listen.h"

static int try_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), r;

	memcpy(address.sun_path, path, strlen(path));
	r = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
	close(fd);
	return r;
}

PROMISE(anybody_can_connect_and_only_what_a_dead_process_left_is_replaced)
{
	const char *path = fake_path("psibridge/notify");
	struct stat st;
	int fd = listen_at(path);

	assert_true(fd >= 0);
	assert_int_equal(stat(fake_path("psibridge"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode, S_IFSOCK | 0666);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(listen_at(path), -EADDRINUSE);
	assert_int_equal(try_connect(path), 0);
	close(fd);
	assert_int_equal(try_connect(path), -ECONNREFUSED);
	fd = listen_at(path);
	assert_int_equal(try_connect(path), 0);
	close(fd);
}

PROMISE(paths_that_cannot_be_are_errors_and_what_is_no_socket_stays)
{
	char longer[200];
	struct stat st;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[sizeof(longer) - 1] = '\0';
	fake_write("file", "");
	assert_int_equal(listen_at(longer), -ENAMETOOLONG);
	assert_int_equal(listen_at(fake_path("no/such/directory")), -ENOENT);
	assert_int_equal(listen_at(fake_path("file")), -EADDRINUSE);
	assert_int_equal(stat(fake_path("file"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

EACH(fake_set_up, fake_tear_down)
