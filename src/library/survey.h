/* SPDX-License-Identifier: MIT */
/*
 * survey.h - psb_survey() with the hierarchy as an argument (tests have one of plain files)
 */
#pragma once

#include "kernel/cgroup.h"
#include "psibridge/tools.h"

/* As psb_survey(). `cgroups` has v2. */
int survey_cgroups(const struct cgroups *cgroups, const char *pattern, psb_survey_fn *fn,
		   void *userdata);
