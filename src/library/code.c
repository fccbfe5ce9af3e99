/* SPDX-License-Identifier: MIT */
/*
 * code.c - psb_code: kernel/resident for hosts, with a lock and a process it belongs to
 *
 * In a forked child the locks are gone (mlock(2)).
 */
#include "kernel/resident.h"
#include "psibridge/tools.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

struct psb_code {
	pthread_mutex_t lock;
	pid_t pid;
	struct resident *resident;
};

int psb_code_new(psb_code **ret)
{
	struct psb_code *code;
	int r;

	if (!ret)
		return -EINVAL;
	code = malloc(sizeof(*code));
	if (!code)
		return -ENOMEM;
	r = resident_new(&code->resident);
	if (r < 0) {
		free(code);
		return r;
	}
	pthread_mutex_init(&code->lock, NULL);
	code->pid = getpid();
	/* What locks, and what it calls. Without room for them it works later, or as well as it can. */
	(void)resident_keep(code->resident, (const void *)(uintptr_t)psb_code_lock);
	(void)resident_keep(code->resident, (const void *)(uintptr_t)pread);
	*ret = code;
	return 0;
}

int psb_code_keep(psb_code *code, const void *address)
{
	int r;

	if (!code || !address)
		return -EINVAL;
	if (code->pid != getpid())
		return -ECHILD;
	pthread_mutex_lock(&code->lock);
	r = resident_keep(code->resident, address);
	pthread_mutex_unlock(&code->lock);
	return r;
}

int psb_code_lock(psb_code *code, uint64_t *ret_refused_bytes)
{
	uint64_t refused = 0;
	int r;

	if (!code)
		return -EINVAL;
	if (code->pid != getpid())
		return -ECHILD;
	pthread_mutex_lock(&code->lock);
	r = resident_lock(code->resident, &refused);
	pthread_mutex_unlock(&code->lock);
	if (r == 0 && ret_refused_bytes)
		*ret_refused_bytes = refused;
	return r;
}

int psb_code_unlock(psb_code *code)
{
	if (!code)
		return -EINVAL;
	if (code->pid != getpid())
		return -ECHILD;
	pthread_mutex_lock(&code->lock);
	resident_unlock(code->resident);
	pthread_mutex_unlock(&code->lock);
	return 0;
}

psb_code *psb_code_free(psb_code *code)
{
	if (!code)
		return NULL;
	code->resident = resident_free(code->resident);
	pthread_mutex_destroy(&code->lock);
	free(code);
	return NULL;
}
