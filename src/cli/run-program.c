/* SPDX-License-Identifier: MIT */
/*
 * run-program.c - from a command to the file that will run, and what is in it
 *
 * A command without a slash is looked for in PATH, as execvp(3) does it: a file that may not be
 * executed is passed over, and remembered as the reason if nothing better comes. Symbolic links
 * follow themselves, by opening the file.
 *
 * A script is as good as its interpreter, and an interpreter may be a script again (Linux: four
 * times). `#!/usr/bin/env X` starts X from PATH; `env -S` splits the rest of the line into words,
 * VAR=VALUE before X sets variables and `-i` takes ours away. A text without #! is run by the
 * shell, as execvp(3) does.
 *
 * The file is mapped, not read: a single-file app has 70 MB, of which a few pages are looked at.
 * Should somebody truncate it at that moment, we die of SIGBUS before the program was started.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cli/run.h"

#define INTERPRETERS_MAX 5
#define SHELL "/bin/sh"

static int map_file(const char *path, struct executable *ret, void **ret_map, size_t *ret_size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY), r = 0;
	void *map = NULL;
	struct stat st;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode))
		r = -EACCES;
	if (r == 0 && st.st_size > 0) {
		map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (map == MAP_FAILED)
			r = -errno;
	}
	close(fd);
	if (r < 0)
		return r;
	*ret_map = map;
	*ret_size = (size_t)st.st_size;
	executable_parse(map, *ret_size, ret);
	return 0;
}

static void unmap(struct program *p)
{
	if (p->map)
		munmap(p->map, p->map_size);
	p->map = NULL;
	p->map_size = 0;
	p->image = (struct executable){ 0 };
}

void program_done(struct program *program)
{
	unmap(program);
}

int program_own(struct executable *ret, void **ret_map, size_t *ret_size)
{
	return map_file("/proc/self/exe", ret, ret_map, ret_size);
}

static int may_run(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOTDIR ? -ENOENT : -errno;
	if (!S_ISREG(st.st_mode) || access(path, X_OK) < 0)
		return -EACCES;
	return 0;
}

/* `name` as execvp(3) finds it, into buf[PATH_MAX]. */
static int search(const char *name, char *buf)
{
	const char *path = getenv("PATH");
	struct scan rest, directory;
	int r = -ENOENT;

	if (!*name)
		return -ENOENT;
	if (strchr(name, '/')) {
		if (strlen(name) >= PATH_MAX)
			return -ENAMETOOLONG;
		strcpy(buf, name);
		return may_run(buf);
	}
	rest = scan_string(path ? path : "/bin:/usr/bin");
	for (bool more = true; more;) {
		int n, one;

		more = scan_field(&rest, ':', &directory);
		if (!more)
			directory = rest;
		/* an empty one is where we stand */
		n = snprintf(buf, PATH_MAX, "%.*s%s%s", (int)directory.left,
			     directory.left > 0 ? directory.p : "", directory.left > 0 ? "/" : "./",
			     name);
		if (n >= PATH_MAX)
			continue;
		one = may_run(buf);
		if (one == 0)
			return 0;
		/* A directory that may not be entered has nothing for us: as bash has it, not dash. */
		if (one == -EACCES && access(buf, F_OK) == 0)
			r = one;
	}
	return r;
}

/* The same as execve(2) judges: who gains rights by it has a dynamic linker that trusts nobody. */
static bool is_privileged(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return false;
	if ((st.st_mode & S_ISUID) && st.st_uid != getuid())
		return true;
	if ((st.st_mode & S_ISGID) && (st.st_mode & S_IXGRP) && st.st_gid != getgid())
		return true;
	return getuid() != 0 && getxattr(path, "security.capability", NULL, 0) > 0;
}

static bool next_word(struct scan *s, struct scan *ret)
{
	size_t n = 0;

	scan_blanks(s);
	while (n < s->left && s->p[n] != ' ' && s->p[n] != '\t')
		n++;
	*ret = (struct scan){ s->p, n };
	scan_skip(s, n);
	return n > 0;
}

static bool is_env(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strcmp(slash ? slash + 1 : path, "env") == 0;
}

/*
 * `arguments` of env(1) in a #! line: takes off all that stands before the command. Without -S all
 * of it is one word, a command with blanks in its name; nobody means that, and env says so.
 */
static bool env_command(struct scan *arguments, struct scan *ret, bool *cleared)
{
	struct scan word;

	if (!scan_word(arguments, "--split-string="))
		scan_word(arguments, "-S");
	while (next_word(arguments, &word)) {
		if (scan_is(word, "-i") || scan_is(word, "-") ||
		    scan_is(word, "--ignore-environment"))
			*cleared = true;
		else if (scan_is(word, "-u"))
			next_word(arguments, &word);
		else if (word.p[0] != '-' && !scan_has(word, '=')) {
			*ret = word;
			return true;
		}
	}
	return false;
}

static void keep(char *buf, size_t capacity, struct scan word)
{
	snprintf(buf, capacity, "%.*s", (int)MIN(word.left, capacity - 1),
		 word.left > 0 ? word.p : "");
}

/* One step down: from a script to its interpreter. */
static int follow(struct program *p)
{
	struct scan arguments = p->image.argument, word = { NULL, 0 };
	char script[PATH_MAX], name[PATH_MAX], first[PROGRAM_WORD_MAX];
	int r;

	strcpy(script, p->image_path);
	keep(name, sizeof(name), p->image.interpreter);
	if (is_env(name) && env_command(&arguments, &word, &p->cleared)) {
		keep(name, sizeof(name), word);
		r = search(name, p->image_path);
	} else {
		strcpy(p->image_path, name);
		r = may_run(p->image_path);
	}
	if (next_word(&arguments, &word))
		keep(first, sizeof(first), word);
	else
		keep(first, sizeof(first), scan_string(script));
	strcpy(p->first, first);
	unmap(p);
	return r;
}

/* bash's rule: what has a NUL in its first line is no text. */
static bool is_text(const struct executable *x)
{
	const void *newline = x->size > 0 ? memchr(x->bytes, '\n', MIN(x->size, (size_t)128))
					  : NULL;
	size_t line = newline ? (size_t)((const uint8_t *)newline - x->bytes)
			      : MIN(x->size, (size_t)128);

	return line == 0 || !memchr(x->bytes, '\0', line);
}

int program_find(char **argv, struct program *ret)
{
	struct program *p = ret;
	int r;

	*p = (struct program){ .argv = argv };
	r = search(argv[0], p->path);
	if (r < 0)
		return r;
	strcpy(p->image_path, p->path);
	if (argv[1])
		keep(p->first, sizeof(p->first), scan_string(argv[1]));
	for (unsigned i = 0;; i++) {
		p->privileged = is_privileged(p->image_path);
		p->readable = map_file(p->image_path, &p->image, &p->map, &p->map_size) == 0;
		if (!p->readable || p->image.kind == EXECUTABLE_ELF ||
		    p->image.kind == EXECUTABLE_PE)
			return 0;
		p->script = true;
		if (p->image.kind == EXECUTABLE_OTHER) {
			if (!is_text(&p->image))
				return 0;
			unmap(p);
			strcpy(p->image_path, SHELL);
			map_file(SHELL, &p->image, &p->map, &p->map_size);
			return 0;
		}
		r = i < INTERPRETERS_MAX ? follow(p) : -ELOOP;
		if (r < 0) {
			program_done(p);
			return r;
		}
	}
}
