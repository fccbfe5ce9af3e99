/* SPDX-License-Identifier: MIT */
/*
 * label.h - a cgroup's path with a reference count
 *
 * A notification that waits for its callback names the cgroup, also when its monitor is gone. Any thread.
 */
#pragma once

#include <stdatomic.h>

struct label {
	atomic_uint refs;
	struct label *older; /* of a watch that followed its process; see psb_watch.label */
	char path[];
};

/* With one reference. Errors: -ENOMEM. */
int label_new(const char *path, struct label **ret);
struct label *label_ref(struct label *label);
/* The last reference frees it. NULL is allowed. Returns NULL. */
struct label *label_unref(struct label *label);
