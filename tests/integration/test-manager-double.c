/* SPDX-License-Identifier: MIT */
/*
 * test-manager-double.c - the double of a service manager and manager.c, one against the other
 *
 * This program is the service as well: with "--service" it serves a socket with nothing but what
 * manager.c gives it. Each client it has, new or taken over, gets a byte 'H' when the service
 * starts or the client comes, and is an order when it sends one: 'x' exit with 3, 'i' store it
 * again, 'f' give the store up, 'm' say so in the status.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/manager.h"
#include "kernel/file.h"
#include "../skip.h"
#include "manager-double.h"

#define PATIENCE_MS 20000
#define CLIENTS_MAX 1100

/* ---- the service ------------------------------------------------------------------------------- */

static volatile sig_atomic_t asked_to_stop, asked_to_reload;

static void take_signal(int number)
{
	if (number == SIGTERM)
		asked_to_stop = 1;
	else
		asked_to_reload = 1;
}

static void greet(struct manager *m, int fd)
{
	int r;

	/* full: the double is on its way */
	while ((r = manager_store(m, "client", fd)) == -EAGAIN)
		usleep(1000);
	/* a client that left already is no failure */
	if (r < 0 || (write(fd, "H", 1) != 1 && errno != EPIPE))
		exit(4);
}

static void obey(struct manager *m, int fd)
{
	char order;

	if (read(fd, &order, 1) != 1)
		return;
	if (order == 'x')
		exit(3);
	if (order == 'i')
		manager_store(m, "client", fd);
	if (order == 'f')
		manager_forget(m, "client");
	if (order == 'm')
		manager_status(m, "told by %s", "a client");
}

static int service(void)
{
	static struct pollfd fds[CLIENTS_MAX];
	struct sigaction action = { .sa_handler = take_signal };
	struct manager *m = NULL;
	sigset_t all, none;
	int fd;
	nfds_t n = 0;

	sigfillset(&all);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGHUP, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	if (manager_new(&m) < 0)
		return 5;
	fds[n++] = (struct pollfd){ .fd = manager_take(m, INHERITED_LISTENER), .events = POLLIN };
	while ((fd = manager_take(m, INHERITED_CLIENT)) >= 0) {
		fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
		if (write(fd, "H", 1) != 1)
			return 6;
	}
	manager_status(m, "serving");
	manager_ready(m);
	while (!asked_to_stop) {
		if (asked_to_reload) {
			asked_to_reload = 0;
			manager_reloading(m);
			manager_ready(m);
		}
		if (ppoll(fds, n, NULL, &none) < 0)
			continue;
		for (nfds_t i = 0; i < n; i++) {
			if (!fds[i].revents)
				continue;
			if (i == 0) {
				fds[n] = (struct pollfd){ .fd = accept4(fds[0].fd, NULL, NULL,
									SOCK_CLOEXEC),
							  .events = POLLIN };
				greet(m, fds[n++].fd);
			} else if (fds[i].revents & POLLHUP) {
				fd_close(&fds[i].fd);
			} else {
				obey(m, fds[i].fd);
			}
		}
	}
	manager_stopping(m);
	manager_free(m);
	return 0;
}

/* ---- the test ---------------------------------------------------------------------------------- */

static struct manager_double d;
static char directory[64], socket_path[96];

static int set_up(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(directory, sizeof(directory), "%.40s/psb-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	if (!mkdtemp(directory))
		return -1;
	snprintf(socket_path, sizeof(socket_path), "%s/notify", directory);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (d.pid > 0) {
		double_signal(&d, SIGKILL);
		double_wait(&d);
	}
	unlink(socket_path);
	return rmdir(directory);
}

static void start(const char *mode, const char *option, const char *value)
{
	char *options[16] = { NULL };
	size_t n = 0;
	char *const given[] = { strdup("-s"),
				strdup(socket_path),
				strdup("--"),
				strdup("/proc/self/exe"),
				strdup(mode),
				option ? strdup(option) : NULL,
				value ? strdup(value) : NULL };
	char self[512] = "";

	/* not the link itself: that would be the double when the double reads it */
	assert_true(readlink(given[3], self, sizeof(self) - 1) > 0);
	options[n++] = given[0];
	options[n++] = given[1];
	if (option)
		options[n++] = given[5];
	if (value)
		options[n++] = given[6];
	options[n++] = given[2];
	options[n++] = self;
	options[n++] = given[4];
	if (!double_start(&d, options))
		fail_msg("the double cannot be started: %s", strerror(errno));
	for (size_t i = 0; i < ELEMENTSOF(given); i++)
		free(given[i]);
}

static void await(const char *line)
{
	if (!double_await(&d, line, PATIENCE_MS))
		fail_msg("no \"%s\"", line);
}

static int client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

/* Exactly `n` greetings came so far, and the connection is open. */
static void assert_greeted(int fd, size_t n)
{
	char text[16];

	for (size_t i = 0; i < n; i++)
		assert_int_equal(read(fd, text, 1), 1);
	assert_int_equal(recv(fd, text, sizeof(text), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
}

static void order(int fd, char what)
{
	assert_int_equal(write(fd, &what, 1), 1);
}

static void a_restart_keeps_listener_and_clients(void **state)
{
	int a, b;

	(void)state;
	start("--service", NULL, NULL);
	await("START ");
	await("STATUS=serving");
	await("READY");
	a = client();
	await("FDSTORE client 1 stored");
	assert_greeted(a, 1);
	b = client();
	await("FDSTORE client 2 stored");
	assert_greeted(b, 1);
	double_signal(&d, SIGUSR1);
	await("STOPPING");
	await("EXIT 0");
	await("START ");
	assert_non_null(strstr(d.line, " 1 2"));
	await("READY");
	assert_greeted(a, 1);
	assert_greeted(b, 1);
	order(a, 'm');
	await("STATUS=told by a client");
	close(a);
	close(b);
	assert_int_equal(double_stop(&d), 0);
}

static void a_service_that_is_killed_or_crashes_is_started_again_with_its_clients(void **state)
{
	int a;

	(void)state;
	start("--service", NULL, NULL);
	await("READY");
	a = client();
	await("FDSTORE client 1 stored");
	assert_greeted(a, 1);
	double_signal(&d, SIGUSR2);
	await("SIGNAL 9");
	await("START ");
	await("READY");
	assert_greeted(a, 1);
	order(a, 'x');
	await("EXIT 3");
	await("READY");
	assert_greeted(a, 1);
	close(a);
	assert_int_equal(double_stop(&d), 0);
}

static void a_client_that_hangs_up_leaves_the_store_and_none_is_there_twice(void **state)
{
	int a, b;

	(void)state;
	start("--service", NULL, NULL);
	await("READY");
	a = client();
	await("FDSTORE client 1 stored");
	b = client();
	await("FDSTORE client 2 stored");
	order(b, 'i');
	await("FDSTORE client 2 duplicate");
	close(a);
	await("HANGUP client 1");
	order(b, 'f');
	await("FDSTOREREMOVE client 0");
	close(b);
	assert_int_equal(double_stop(&d), 0);
}

static void a_full_store_takes_no_more(void **state)
{
	int a, b;

	(void)state;
	start("--service", "-m", "1");
	await("READY");
	a = client();
	await("FDSTORE client 1 stored");
	b = client();
	await("FDSTORE client 1 full");
	close(a);
	close(b);
	assert_int_equal(double_stop(&d), 0);
}

static void a_reload_is_asked_for_and_answered(void **state)
{
	(void)state;
	start("--service", NULL, NULL);
	await("READY");
	double_signal(&d, SIGHUP);
	await("RELOADING");
	assert_string_equal(d.line, "RELOADING");
	await("READY");
	assert_int_equal(double_stop(&d), 0);
}

static void a_service_that_feeds_no_watchdog_is_aborted(void **state)
{
	(void)state;
	start("--service", "-w", "300000");
	await("READY");
	await("WATCHDOG timeout");
	await("SIGNAL 6");
	await("START ");
	await("READY");
	assert_int_equal(double_stop(&d), 0);
}

static void a_service_that_never_gets_ready_is_given_up(void **state)
{
	(void)state;
	start("--bad", NULL, NULL);
	for (int i = 0; i < 5; i++)
		await("EXIT 9");
	await("GIVEUP");
	assert_int_equal(double_wait(&d), 1);
}

static void one_that_ends_well_is_not_started_again(void **state)
{
	(void)state;
	start("--good", NULL, NULL);
	await("EXIT 0");
	assert_int_equal(double_wait(&d), 0);
}

static void a_thousand_clients_survive_a_kill(void **state)
{
	enum { CLIENTS = 1000 };
	static int fds[CLIENTS];

	(void)state;
	if (sysconf(_SC_OPEN_MAX) < CLIENTS + 100)
		SKIP("a thousand descriptors are not allowed here");
	start("--service", NULL, NULL);
	await("READY");
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = client();
	await("FDSTORE client 1000 stored");
	for (int i = 0; i < CLIENTS; i++)
		assert_greeted(fds[i], 1);
	double_signal(&d, SIGUSR2);
	await("START ");
	assert_non_null(strstr(d.line, " 1 1000"));
	await("READY");
	for (int i = 0; i < CLIENTS; i++)
		assert_greeted(fds[i], 1);
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
	await("HANGUP client 0");
	assert_int_equal(double_stop(&d), 0);
}

static void raise_file_limit(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_restart_keeps_listener_and_clients),
		TEST(a_service_that_is_killed_or_crashes_is_started_again_with_its_clients),
		TEST(a_client_that_hangs_up_leaves_the_store_and_none_is_there_twice),
		TEST(a_full_store_takes_no_more),
		TEST(a_reload_is_asked_for_and_answered),
		TEST(a_service_that_feeds_no_watchdog_is_aborted),
		TEST(a_service_that_never_gets_ready_is_given_up),
		TEST(one_that_ends_well_is_not_started_again),
		TEST(a_thousand_clients_survive_a_kill),
	};

	if (argc == 2 && strcmp(argv[1], "--service") == 0)
		return service();
	if (argc == 2 && strcmp(argv[1], "--bad") == 0)
		return 9;
	if (argc == 2 && strcmp(argv[1], "--good") == 0)
		return 0;
	signal(SIGPIPE, SIG_IGN);
	raise_file_limit();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
