/* SPDX-License-Identifier: MIT */
/*
 * main.c - the main() of a program of many test files, see unit.h
 */
#include "unit.h"

#include "../pressure.h"

static struct test_file *test_files;

/* liburing maps and unmaps its rings by system calls of its own, which the thread sanitizer does
 * not see: a ring at the address of an older one looks like a race between their threads. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:io_uring_*\n";
}

/* pressure.c's errors: they fail the test. */
void lab_failed(const char *message)
{
	fail_msg("%s", message);
	abort();
}

void test_file_add(struct test_file *file, const char *path, struct promise *promise)
{
	struct promise **at = &file->promises;

	if (!file->promises) {
		file->path = path;
		file->next = test_files;
		test_files = file;
	}
	while (*at && (*at)->line < promise->line)
		at = &(*at)->next;
	promise->next = *at;
	*at = promise;
}

/* What cmocka is given for one promise and one variant. */
struct one {
	const struct test_file *file;
	const struct promise *promise;
	void *state;
	char name[192];
};

static void keep(void **state)
{
	struct one *one = *state;

	if (one->file->begin)
		one->file->begin(&one->state);
	one->promise->keep(&one->state);
}

static int end(void **state)
{
	struct one *one = *state;

	return one->file->end ? one->file->end(&one->state) : 0;
}

static bool suits(const struct test_file *file, const void *variant, const struct promise *promise)
{
	return !file->suits || file->suits(variant, promise);
}

static int run_file(const struct test_file *file)
{
	static struct CMUnitTest tests[512];
	static struct one ones[ELEMENTSOF(tests)];
	size_t n = 0, rounds = file->variants ? file->variant_count : 1;

	for (size_t v = 0; v < rounds; v++) {
		const char *variant = file->variants;

		if (variant)
			variant += v * file->variant_size;
		for (const struct promise *p = file->promises; p; p = p->next) {
			struct one *one = &ones[n];

			if (variant && !suits(file, variant, p))
				continue;
			if (n == ELEMENTSOF(tests))
				abort();
			*one = (struct one){ file, p, (void *)(uintptr_t)variant, "" };
			if (variant)
				snprintf(one->name, sizeof(one->name), "%s (%s)", p->name,
					 *(const char *const *)(const void *)variant);
			else
				snprintf(one->name, sizeof(one->name), "%s", p->name);
			tests[n++] = (struct CMUnitTest){ one->name, keep, NULL, end, one };
		}
	}
	return _cmocka_run_group_tests(program_invocation_short_name, tests, n, file->begin_all,
				       file->end_all);
}

static const char *name_of(const struct test_file *file)
{
	const char *slash = strrchr(file->path, '/');

	return (slash ? slash + 1 : file->path) + strlen("test-");
}

int main(int argc, char **argv)
{
	const char *said = program_invocation_short_name;

	if (strncmp(said, "test-", 5) == 0)
		said += 5;
	else if (argc == 2)
		said = argv[1];
	for (const struct test_file *f = test_files; f; f = f->next)
		if (strncmp(name_of(f), said, strlen(said)) == 0 && name_of(f)[strlen(said)] == '.')
			return run_file(f);
	fprintf(stderr, "%s: there is no test \"%s\"; there are:", program_invocation_short_name,
		said);
	for (const struct test_file *f = test_files; f; f = f->next)
		fprintf(stderr, " %s", name_of(f));
	fputc('\n', stderr);
	return 2;
}
