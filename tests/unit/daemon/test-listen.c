/* SPDX-License-Identifier: MIT */
/* Sockets of our own: what lies in the way, and a full file system. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../unit.h"
#include "../../skip.h"
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

PROMISE(anybody_can_connect_and_the_directory_is_made)
{
	char name[32];
	struct stat st;
	int fd;

	assert_int_equal(listen_at(fake_path("psibridge/notify"), &fd), 0);
	assert_int_equal(stat(fake_path("psibridge"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0755);
	assert_int_equal(stat(fake_path("psibridge/notify"), &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0666);
	assert_int_equal(try_connect(fake_path("psibridge/notify")), 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	listen_name(fd, name, sizeof(name));
	assert_string_equal(name, "notify");
	close(fd);
}

PROMISE(what_a_dead_process_left_is_replaced_and_a_live_one_is_not_disturbed)
{
	int fd, second = -1;

	assert_int_equal(listen_at(fake_path("s"), &fd), 0);
	assert_int_equal(listen_at(fake_path("s"), &second), -EADDRINUSE);
	assert_int_equal(second, -1);
	assert_int_equal(try_connect(fake_path("s")), 0);
	close(fd);
	assert_int_equal(try_connect(fake_path("s")), -ECONNREFUSED);
	assert_int_equal(listen_at(fake_path("s"), &fd), 0);
	assert_int_equal(try_connect(fake_path("s")), 0);
	close(fd);
}

PROMISE(what_is_no_socket_stays_where_it_is)
{
	struct stat st;
	int fd = open(fake_path("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600), ret;

	close(fd);
	assert_int_equal(listen_at(fake_path("file"), &ret), -EADDRINUSE);
	assert_int_equal(stat(fake_path("file"), &st), 0);
	assert_true(S_ISREG(st.st_mode));
}

PROMISE(paths_that_cannot_be_are_errors)
{
	char longer[200];
	int fd;

	memset(longer, 'x', sizeof(longer) - 1);
	longer[0] = '/';
	longer[sizeof(longer) - 1] = '\0';
	assert_int_equal(listen_at(longer, &fd), -ENAMETOOLONG);
	assert_int_equal(listen_at(fake_path("no/such/directory"), &fd), -ENOENT);
}

PROMISE(a_full_file_system_is_said_to_be_full)
{
	int fd, file;

	assert_int_equal(mkdir(fake_path("full"), 0755), 0);
	if (mount("tmpfs", fake_path("full"), "tmpfs", 0, "size=4k,nr_inodes=2") < 0)
		SKIP("a file system can't be mounted without permission");
	file = open(fake_path("full/last"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(file >= 0);
	close(file);
	assert_int_equal(listen_at(fake_path("full/notify"), &fd), -ENOSPC);
	assert_int_equal(listen_at(fake_path("full/psibridge/notify"), &fd), -ENOSPC);
	assert_int_equal(umount(fake_path("full")), 0);
}

EACH(fake_set_up, fake_tear_down)
