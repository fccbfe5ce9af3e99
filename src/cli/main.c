/* SPDX-License-Identifier: MIT */
/*
 * main.c - psibridge VERB ...: finds the verb and steps aside
 *
 * Every verb answers --help itself, so `psibridge help VERB` is `psibridge VERB --help`.
 */
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/args.h"
#include "cli/cli.h"
#include "cli/output.h"
#include "core/nearest.h"

static const struct verb {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} verbs[] = {
	{ "watch", verb_watch, "print a line whenever memory becomes short, or is no longer" },
	{ "run", verb_run, "start a program with the hook of its runtime: .NET, Mono" },
	{ "attach", verb_attach, "put the hook into a .NET program that runs already" },
	{ "doctor", verb_doctor,
	  "say how soon pressure is noticed here, why, and how to do better" },
	{ "status", verb_status, "say where memory is short now, and whether psibridged is well" },
	{ "top", verb_top, "show the cgroups that wait for memory, live" },
	{ "simulate", verb_simulate, "make psibridged tell its clients a level" },
	{ "set", verb_set, "change what psibridged judges a cgroup by, now or for good" },
	{ "diff", verb_diff, "say where psibridged goes by something else than its files" },
	{ "metrics", verb_metrics, "print pressure and levels of all cgroups for Prometheus" },
	{ "record", verb_record, "write down what pressure there is, to replay it" },
	{ "replay", verb_replay, "say what would have been told of what was recorded" },
	{ "why", verb_why, "say why Low was told, and what came of it" },
	{ "tune", verb_tune, "find the setting that would have done best on it" },
	{ "report", verb_report, "draw what was recorded: a page, or a picture" },
	{ "demo", verb_demo, "make memory short on purpose, in a cgroup of its own, and watch it" },
};

static int help(void)
{
	printf("psibridge - tells programs when memory is short\n"
	       "\n"
	       "Usage: psibridge VERB [OPTION...]\n"
	       "\n");
	for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
		printf("  %-8s %s\n", verbs[i].name, verbs[i].summary);
	printf("  %-8s %s\n"
	       "\n"
	       "  --help, --version\n"
	       "\n"
	       "Not sure where to begin? \"psibridge doctor\". The manual is psibridge(1).\n",
	       "help", "\"psibridge help VERB\" says more about a verb");
	return EXIT_OK;
}

static const struct verb *find_verb(const char *name)
{
	for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
		if (strcmp(name, verbs[i].name) == 0)
			return &verbs[i];
	return NULL;
}

static int unknown_verb(const char *word)
{
	const char *names[ELEMENTSOF(verbs) + 1] = { "help" }, *near;

	for (size_t i = 0; i < ELEMENTSOF(verbs); i++)
		names[i + 1] = verbs[i].name;
	near = nearest_word(word, strlen(word), names, ELEMENTSOF(names));
	if (near)
		complain(NULL, "%s: there is no such verb; did you mean %s?", word, near);
	else
		complain(NULL, "%s: there is no such verb; \"psibridge help\" lists them", word);
	return EXIT_USAGE;
}

/* A descriptor of ours must not become a program's standard output. */
static int check_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 || errno != EBADF)
			continue;
		if (fd == STDOUT_FILENO) {
			complain(NULL, "standard output is closed");
			return -EBADF;
		}
		/* kept open; it is the lowest free one, so it is `fd` */
		if (open("/dev/null", O_RDWR) != fd) {
			complain(NULL, "/dev/null: %s", strerror(errno));
			return -EBADF;
		}
	}
	return 0;
}

static int run(int argc, char **argv, const struct verb *verb)
{
	const char *word = argc > 1 ? argv[1] : NULL;

	if (!word) {
		complain(NULL, "a verb was expected; \"psibridge help\" lists them");
		return EXIT_USAGE;
	}
	if (strcmp(word, "--version") == 0) {
		printf("psibridge %s\n", psb_version());
		return EXIT_OK;
	}
	if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 ||
	    (strcmp(word, "help") == 0 && argc == 2))
		return help();
	if (strcmp(word, "help") == 0) {
		char option[] = "--help", *arguments[] = { argv[2], option, NULL };

		verb = find_verb(argv[2]);
		return verb ? verb->run(2, arguments) : unknown_verb(argv[2]);
	}
	return verb ? verb->run(argc - 1, argv + 1) : unknown_verb(word);
}

int main(int argc, char **argv)
{
	const struct verb *verb = argc > 1 ? find_verb(argv[1]) : NULL;
	int status, r;

	setlocale(LC_CTYPE, "");
	/* what `run` starts gets them as they are */
	if (!(verb && verb->run == verb_run) && check_standard_descriptors() < 0)
		return EXIT_FAILED;
	errno = 0;
	status = run(argc, argv, verb);
	r = output_end();
	/* what a verb saw itself, it has said */
	if (r < 0 && r != -EPIPE && status != EXIT_FAILED) {
		complain(verb ? verb->name : NULL, "standard output: %s", strerror(-r));
		status = EXIT_FAILED;
	}
	return status;
}
