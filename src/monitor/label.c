/* SPDX-License-Identifier: MIT */
/*
 * label.c - see label.h
 */
#include "monitor/label.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int label_new(const char *path, struct label **ret)
{
	size_t size = strlen(path) + 1;
	struct label *label = malloc(sizeof(*label) + size);

	if (!label)
		return -ENOMEM;
	atomic_init(&label->refs, 1);
	label->older = NULL;
	memcpy(label->path, path, size);
	*ret = label;
	return 0;
}

struct label *label_ref(struct label *label)
{
	atomic_fetch_add_explicit(&label->refs, 1, memory_order_relaxed);
	return label;
}

struct label *label_unref(struct label *label)
{
	if (label && atomic_fetch_sub_explicit(&label->refs, 1, memory_order_acq_rel) == 1)
		free(label);
	return NULL;
}
