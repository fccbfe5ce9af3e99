/* SPDX-License-Identifier: MIT */
/*
 * replay.c - the program around the fuzz targets
 *
 *     replay TARGET FILE...
 *
 * runs a target over files and prints how many there were. A target aborts on a broken promise, so coming to the end is success;
 * running nothing at all is not, it would hide a corpus that was left out of the tarball. With -DFUZZING="TARGET" and clang's
 * -fsanitize=fuzzer the target is fuzzed.
 */
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

struct fuzz_target *fuzz_targets;

static const struct fuzz_target *find(const char *name)
{
	const struct fuzz_target *target = fuzz_targets;

	while (target && strcmp(target->name, name) != 0)
		target = target->next;
	return target;
}

#ifdef FUZZING
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	find(FUZZING)->run(data, size);
	return 0;
}
#else
static void run_file(const struct fuzz_target *target, const char *path)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	uint8_t *data;

	if (!f || fstat(fileno(f), &st) < 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	/* exactly as big as the input, so that the address sanitizer sees one byte too far */
	data = malloc(st.st_size > 0 ? (size_t)st.st_size : 1);
	CHECK(data && fread(data, 1, (size_t)st.st_size, f) == (size_t)st.st_size);
	fclose(f);
	target->run(data, (size_t)st.st_size);
	free(data);
}

int main(int argc, char **argv)
{
	const struct fuzz_target *target = argc < 3 ? NULL : find(argv[1]);

	for (int i = 2; target && i < argc; i++)
		run_file(target, argv[i]);
	printf("%d inputs\n", target ? argc - 2 : 0);
	return target ? EXIT_SUCCESS : EXIT_FAILURE;
}
#endif
