/* SPDX-License-Identifier: MIT */
/*
 * demo-lab.c - where the demo's cgroup may be
 *
 * Where systemd is PID 1 on a unified host the tree is its own, and it may rearrange what others make in it (systemd's
 * CGROUP_DELEGATION.md). The clean way to a subtree of one's own is a scope with Delegate=yes, for root from the system's manager and
 * for other users from their own (`--user`). It is also the only way for an ordinary user: a process may be moved only between groups
 * whose common ancestor one may write to, so the whole demo has to start inside of the scope. systemd-run --scope makes it and then
 * executes the command in its own place: same process, same terminal, same signals. Whether it can do that is tried with `true` first,
 * because after a successful exec nothing is left to fall back to.
 *
 * In the scope this process moves into a leaf ("control"): a v2 group with processes cannot hand controllers to children (cgroups(7),
 * "no internal processes"). Elsewhere the demo's group is below our own where that is possible (always on v1 and for plain v2 groups;
 * on a unified host only the root may have both processes and controllers), else beside it.
 */
#include "demo/demo.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/target-options.h"

#define WORDS_MAX 64
#define V1_MOUNT "/sys/fs/cgroup/memory"

/* ---- the scope --------------------------------------------------------------------------------- */

bool demo_scope_wanted(void)
{
	/* sd_booted(3), and the unified hierarchy */
	return access("/run/systemd/system", F_OK) == 0 &&
	       access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0;
}

/* The first line that it complains with is the reason. */
static int try_scope(char *why)
{
	char command[128], text[LAB_WHY_MAX / 2] = "";
	const char *user = geteuid() == 0 ? "" : " --user";
	FILE *f;

	snprintf(command, sizeof(command),
		 "systemd-run%s --scope --quiet --collect --property=Delegate=yes -- true 2>&1",
		 user);
	f = popen(command, "re");
	if (f && !fgets(text, sizeof(text), f))
		strcpy(text, "failed");
	if (f && pclose(f) == 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return lab_why(why, -EACCES, "systemd-run%s: %s", user, text);
}

int demo_scope_enter(char **argv, char *why)
{
	char self[LAB_PATH_MAX] = "", unit[64];
	const char *words[WORDS_MAX] = { "systemd-run",
					 "--scope",
					 "--quiet",
					 "--collect",
					 "--property=Delegate=yes",
					 unit,
					 geteuid() == 0 ? "--system" : "--user",
					 "--",
					 self,
					 "demo",
					 "--in-scope" };
	size_t n = 11;
	int r = try_scope(why);

	if (r < 0)
		return r;
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return lab_why(why, -errno, "/proc/self/exe: %s", strerror(errno));
	snprintf(unit, sizeof(unit), "--unit=psibridge-demo-%d.scope", (int)getpid());
	for (size_t i = 1; argv[i] && n < WORDS_MAX - 1; i++)
		words[n++] = argv[i];
	/* execvp(3) wants words it could write to, and does not */
	execvp(words[0], (char *const *)(uintptr_t)words);
	return lab_why(why, -errno, "systemd-run: %s", strerror(errno));
}

/* ---- our own cgroup ---------------------------------------------------------------------------- */

/*
 * Its directory, which is where the library finds our memory.pressure; and the same in the v1
 * hierarchy of the memory controller, or its top where we are elsewhere there; "": there is none.
 */
static int own_directories(char *buf, char *v1, char *why)
{
	struct psb_watch_options options = { .size = sizeof(options),
					     .pid = getpid(),
					     .rungs = PSB_RUNG_MASK(PSB_RUNG_SAMPLING),
					     .error_text = why,
					     .error_text_size = LAB_WHY_MAX };
	struct probed probed;
	int r = target_probe(&options, &probed);

	if (r < 0)
		return r;
	snprintf(buf, LAB_PATH_MAX, "%s", dirname(probed.source.path));
	snprintf(v1, LAB_PATH_MAX, V1_MOUNT "%s", probed.cgroup[1] ? probed.cgroup : "");
	if (access(v1, F_OK) < 0)
		strcpy(v1, V1_MOUNT);
	if (access(V1_MOUNT "/memory.usage_in_bytes", F_OK) < 0)
		*v1 = '\0';
	return 0;
}

/* What systemd delegated is ours to arrange. */
static int move_to_leaf(const char *scope, char *why)
{
	char leaf[LAB_PATH_MAX + 32];
	int r = 0;

	snprintf(leaf, sizeof(leaf), "%s/control", scope);
	if (mkdir(leaf, 0755) < 0 && errno != EEXIST)
		r = -errno;
	strcat(leaf, "/cgroup.procs");
	if (r == 0)
		r = lab_try_write(leaf, "0");
	return r < 0 ? lab_why(why, r, "moving to %s: %s", leaf, strerror(-r)) : 0;
}

int demo_lab_open(struct lab *lab, bool in_scope, char *why)
{
	static char base[LAB_PATH_MAX], base_v1[LAB_PATH_MAX]; /* the laboratory points to them */
	char name[64], beside[LAB_WHY_MAX];
	int r;

	snprintf(name, sizeof(name), "psibridge-demo-%d", (int)getpid());
	r = own_directories(base, base_v1, why);
	if (r < 0)
		return r;
	if (*base_v1)
		return lab_open_in(lab, base, base_v1, name, why);
	r = in_scope ? move_to_leaf(base, why) : 0;
	if (r == 0)
		r = lab_open_in(lab, base, NULL, name, why);
	if (r == 0 || in_scope)
		return r;
	*strrchr(base, '/') = '\0';
	r = lab_open_in(lab, base, NULL, name, beside);
	if (r < 0)
		snprintf(why + strlen(why), LAB_WHY_MAX - strlen(why), "; %s", beside);
	return r;
}
