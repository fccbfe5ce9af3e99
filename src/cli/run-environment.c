/* SPDX-License-Identifier: MIT */
/*
 * run-environment.c - what is to be different in the environment of a program
 *
 * The environment belongs to the user. What is set there is extended, or left alone; a variable is
 * replaced only where its value was without effect (run-runtimes.c says where).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"

void environment_done(struct environment *e)
{
	for (size_t i = 0; i < e->n; i++)
		free(e->changes[i].value);
	e->n = 0;
}

/* Its index; e->n: it is not changed. */
static size_t find(const struct environment *e, const char *name)
{
	size_t i = 0;

	while (i < e->n && strcmp(e->changes[i].name, name) != 0)
		i++;
	return i;
}

const char *environment_get(const struct environment *e, const char *name)
{
	size_t i = find(e, name);

	return i < e->n ? e->changes[i].value : getenv(name);
}

static int take(struct environment *e, const char *name, char *value)
{
	size_t i = find(e, name);

	if (!value)
		return -ENOMEM;
	if (i == CHANGES_MAX) {
		free(value);
		return -ENOBUFS;
	}
	if (i == e->n)
		e->changes[e->n++] = (struct change){ .name = name };
	free(e->changes[i].value);
	e->changes[i].value = value;
	return 0;
}

int environment_set(struct environment *e, const char *name, const char *value)
{
	const char *old = environment_get(e, name);

	if (old && strcmp(old, value) == 0)
		return 0;
	return take(e, name, strdup(value));
}

int environment_append(struct environment *e, const char *name, char separator, const char *item)
{
	const char *old = environment_get(e, name);
	size_t n = old ? strlen(old) : 0;
	char between[2] = { separator, '\0' }, *value;

	if (n == 0 || old[n - 1] == separator)
		between[0] = '\0';
	if (asprintf(&value, "%s%s%s", old ? old : "", between, item) < 0)
		value = NULL;
	return take(e, name, value);
}

int environment_switch(const struct environment *e, const char *name)
{
	const char *value = environment_get(e, name);
	char *end;
	unsigned long number;

	if (!value || !*value)
		return -1;
	number = strtoul(value, &end, 16);
	return end == value ? -1 : number != 0;
}

void environment_quote(const char *text, char *buf)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "%+,-./:=@_";

	if (*text && text[strspn(text, plain)] == '\0') {
		strcpy(buf, text);
		return;
	}
	*buf++ = '\'';
	for (; *text; text++) {
		if (*text == '\'')
			buf = stpcpy(buf, "'\\''");
		else
			*buf++ = *text;
	}
	*buf++ = '\'';
	*buf = '\0';
}
