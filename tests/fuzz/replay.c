/* SPDX-License-Identifier: MIT */
/*
 * replay.c - run a fuzz target over files, without a fuzzer
 *
 *     replay TARGET FILE|DIRECTORY...
 *
 * Links with all fuzz targets. Every file named, and every file in a directory named, is one input.
 * Prints how many there were. A target aborts on a broken promise, so coming to the end is success;
 * running nothing at all is not, it would hide a corpus that was left out of the tarball.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

struct fuzz_target *fuzz_targets;
static const struct fuzz_target *target;

static int fail(const char *path)
{
	int error = errno;

	fprintf(stderr, "%s: %s\n", path, strerror(error));
	return -error;
}

static int run_file(const char *path, size_t size, unsigned *count)
{
	FILE *f = fopen(path, "re");
	uint8_t *data;
	size_t got;

	if (!f)
		return fail(path);
	/* exactly as big as the input, so that the address sanitizer sees one byte too far */
	data = malloc(size > 0 ? size : 1);
	if (!data)
		abort();
	got = fread(data, 1, size, f);
	fclose(f);
	if (got != size) {
		free(data);
		errno = EIO;
		return fail(path);
	}
	target->run(data, size);
	free(data);
	(*count)++;
	return 0;
}

static int run(const char *path, unsigned *count)
{
	struct stat st;
	struct dirent *entry;
	DIR *dir;
	int r = 0;

	if (stat(path, &st) < 0)
		return fail(path);
	if (!S_ISDIR(st.st_mode))
		return run_file(path, (size_t)st.st_size, count);
	dir = opendir(path);
	if (!dir)
		return fail(path);
	while (r == 0 && (entry = readdir(dir))) {
		char inside[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(inside, sizeof(inside), "%s/%s", path, entry->d_name);
		r = run(inside, count);
	}
	closedir(dir);
	return r;
}

int main(int argc, char **argv)
{
	unsigned count = 0;

	for (target = fuzz_targets; target; target = target->next)
		if (argc > 1 && strcmp(target->name, argv[1]) == 0)
			break;
	for (int i = 2; target && i < argc; i++)
		if (run(argv[i], &count) < 0)
			return EXIT_FAILURE;
	printf("%u inputs\n", count);
	return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
