#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Which cgroup is watched where the hierarchy is mounted more than once, or something lies over it: always our own, or
# none, and the right cause is named. Mounts are made in a namespace of the test's own; what is open is compared with the cgroup itself by its inode.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

psibridge=$builddir/psibridge
export psibridge
unset MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE
U=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)
M=/mnt # a name that is shorter than those of the hierarchies
T=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-mounts.XXXXXX") || exit 2
A=$U/psibridge-mounts-$$-a B=$U/psibridge-mounts-$$-b
cleanup()
{
	rmdir "$A/x" "$A" "$B" 2>/dev/null
	rm -rf "$T"
}
trap cleanup EXIT
[ -n "$U" ] && [ -d "$M" ] || skip_all "no cgroup2 hierarchy is mounted here, or there is no /mnt"
unshare -m true 2>/dev/null || skip_all "no mount namespace can be made here"
mkdir "$A" "$A/x" "$B" 2>/dev/null && cat "$A/memory.pressure" >/dev/null 2>&1 ||
	skip_all "no cgroup with PSI can be made here (root and a writable cgroup2 mount are needed)"
mkdir "$T/long-name"
own=$(stat -c %i "$A")

# inside SCRIPT: run it in cgroup A and a mount namespace, with U, A, B and T from here, and the functions below
cat >"$T/functions" <<'END'
field() { sed -n "1s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p;1s/.*\"$1\":\\([0-9]*\\),.*/\\1/p"; }
armed() { "$psibridge" watch --json --duration 0 | head -n 1; }
# what is watched is in our own cgroup
watched() {
	line=$(armed)
	path=$(printf %s "$line" | field path)
	[ "$(stat -c %i "${path%/*}")" = "$own" ] || { printf '%s\n' "$line"; exit 1; }
}
# nothing that is a cgroup's is watched
not_watched() {
	line=$(armed)
	[ "$(printf %s "$line" | field rung)" = 6 ] || { printf '%s\n' "$line"; exit 1; }
}
# finding RUNG TEXT: what doctor says of it
finding() {
	"$psibridge" doctor --json >"$T/doctor"
	tr '{}' '\n\n' <"$T/doctor" | grep "^\"rung\":$1," | grep -q "$2" || { cat "$T/doctor"; exit 1; }
}
no_finding() { ! "$psibridge" doctor --json | tr '{}' '\n\n' | grep "^\"rung\":$1," | grep "$2"; }
END
inside()
{
	U=$U M=$M A=$A B=$B T=$T own=$own unshare -m sh -c '. "$T/functions"; echo $$ >"$A/cgroup.procs"; '"$1"
}

# shellcheck disable=SC2016
{
check a_bind_of_another_cgroup_is_not_ours inside 'mount --bind "$B" "$M"; watched'
check a_bind_of_our_own_shows_it_when_the_tree_is_covered inside \
	'mount --bind "$A" "$M"; mount -t tmpfs none "$U"; watched && [ "${path%/*}" = "$M" ]'
check another_cgroup_bound_over_ours_is_not_ours inside \
	'mount --bind "$A" "$T/long-name"; mount --bind "$B" "$A"; watched && [ "${path%/*}" = "$T/long-name" ]'
check another_file_system_over_all_cgroups_leaves_the_machine inside 'mount -t tmpfs none /sys/fs/cgroup; not_watched'
check another_cgroups_file_over_ours_is_not_taken inside \
	'mount --bind "$B/memory.pressure" "$A/memory.pressure"; path=$(armed | field path); [ "$path" != "$A/memory.pressure" ]'
check our_own_file_bound_over_itself_is_ours inside \
	'mount --bind "$U" "$U"; mount --bind "$A/memory.pressure" "$A/memory.pressure"; mount -o remount,bind,ro "$U"; watched
	[ "$path" = "$A/memory.pressure" ] && no_finding 0 "mounted read-only"'
check a_read_only_mount_is_told_where_it_forbids_a_trigger inside \
	'mount --bind "$U" "$U"; mount -o remount,bind,ro "$U"; finding 0 "mounted read-only"; finding 3 "its file system is mounted read-only"
	mkfifo "$T/fifo"; export MEMORY_PRESSURE_WATCH="$T/fifo"; no_finding 0 "mounted read-only"'
check no_cgroups_at_all_are_not_called_v1 inside \
	'mount -t tmpfs none /sys/fs/cgroup; finding 0 "no cgroup file system is mounted where it can be opened"; finding 2 "no cgroup file system"'
check a_proc_of_processes_alone_is_not_taken_for_a_kernel_without_psi inside \
	'mount -t proc -o subset=pid proc /proc; finding 6 "though the cgroup.s memory.pressure is: this /proc has only processes in it"
	finding "[23]" "\"taken\":true"'
check a_cgroup_whose_psi_is_off_is_told_so inside \
	'[ -e "$A/cgroup.pressure" ] || exit 0; echo 0 >"$A/cgroup.pressure"; (finding 3 "its cgroup.pressure is 0" && grep -q "Write 1 into" "$T/doctor")
	r=$?; echo 1 >"$A/cgroup.pressure"; exit $r'
check what_is_left_of_a_removed_cgroup_is_not_ours inside \
	'echo $$ >"$U/cgroup.procs"; rmdir "$A/x"; mkdir "$A/x"; mount --bind "$A/x" "$M"; rmdir "$A/x"; mkdir "$A/x"
	echo $$ >"$A/x/cgroup.procs"; own=$(stat -c %i "$A/x"); watched; r=$?; echo $$ >"$U/cgroup.procs"; exit $r'
check a_hosts_tree_beside_a_private_namespace_is_not_ours inside \
	'exec unshare -C -m sh -c ". \"\$T/functions\"; mount -t cgroup2 none \"\$T/long-name\" && mount --bind \"\$U\" \"\$M\" && watched"'
check a_hosts_tree_alone_has_no_name_for_us inside 'exec unshare -C sh -c ". \"\$T/functions\"; not_watched"'
check metrics_are_of_the_whole_tree inside \
	'mount --bind "$B" "$M"; "$psibridge" metrics --control "$T/none" | grep -q "id=\"${A#"$U"}/x\""'
}
done_testing
