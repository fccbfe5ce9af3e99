#!/bin/sh
# SPDX-License-Identifier: MIT
#
# A process that the kernel kills for want of memory, and whose cgroup is gone at once: psibridged says whom, with the
# kernel's numbers, in its log, in `psibridge status` and in the metrics.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "a sanitizer needs more memory than the cgroup has"
v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
name=psb-killed-$$
mkdir "$v2/$name" 2>/dev/null || skip_all "no cgroup can be made here"
T=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-killed.XXXXXX") || exit 2
cleanup()
{
	kill "$daemon" 2>/dev/null
	for mount in $v2 $v1; do
		rmdir "$mount/$name/a" "$mount/$name/b" "$mount/$name" 2>/dev/null
	done
	rm -rf "$T"
}
trap cleanup EXIT
dd if=/dev/kmsg of=/dev/null bs=8192 count=1 iflag=nonblock 2>/dev/null || skip_all "no permission to read /dev/kmsg"
psibridge=$builddir/psibridge
unset NOTIFY_SOCKET JOURNAL_STREAM LISTEN_FDS
export LC_ALL=C.UTF-8 PSIBRIDGE_CONTROL="$T/control"

mkdir -p "$T/root/etc/psibridge"
printf '[Watch %s/**]\n' "$name" >"$T/root/etc/psibridge/psibridged.conf"
"$builddir/psibridged" --root "$T/root" --notify "$T/notify" --control "$T/control" >"$T/stdout" 2>"$T/stderr" &
daemon=$!
for _ in $(seq 200); do
	[ ! -S "$T/control" ] || break
	sleep 0.05
done

# kill_in: a cgroup of 16 MiB, a program without end, and no cgroup any more
kill_in()
{
	mkdir "$v2/$name/a" || return
	limit=$v2/$name/a/memory.max
	if [ -e "$v2/$name/cgroup.controllers" ] && echo +memory >"$v2/$name/cgroup.subtree_control" 2>/dev/null && [ -e "$limit" ]; then
		echo 0 >"$v2/$name/a/memory.swap.max" 2>/dev/null
		procs=$v2/$name/a/cgroup.procs
	else
		mkdir -p "$v1/$name/a" || return
		limit=$v1/$name/a/memory.limit_in_bytes procs="$v2/$name/a/cgroup.procs $v1/$name/a/cgroup.procs"
	fi
	echo 16M >"$limit" || return
	# shellcheck disable=SC2016
	sh -c 'for procs; do echo 0 >"$procs" || exit; done; exec tail /dev/zero' sh $procs
	[ $? = 137 ] || return
	for mount in $v2 $v1; do
		[ ! -d "$mount/$name/a" ] || rmdir "$mount/$name/a" || return
	done
}

# log_has EXPRESSION. What a CPU has charged in advance counts as free: 15 of 16 MiB
log_has()
{
	for _ in $(seq 100); do
		grep -Eq "$1" "$T/stderr" && return
		sleep 0.05
	done
	cat "$T/stderr"
	return 1
}

log()
{
	kill_in && log_has "/$name/a: the kernel killed tail \(process " && log_has "for want of memory, at its own limit; 1[56] of 16 MiB in use"
}
check what_was_killed_is_logged_with_its_last_numbers log
status()
{
	"$psibridge" status >"$T/status" && grep -A2 'Killed by the kernel' "$T/status" >"$T/part" &&
		grep -q "^  /$name/a\$" "$T/part" && grep -Eq '^      at [0-9:]{8} \([0-9]+ s ago\): tail \(process [0-9]+\), 1[56] MiB of 16 MiB in use$' "$T/part"
	r=$?
	[ $r = 0 ] || cat "$T/status"
	return $r
}
check status_shows_it status
# counted WHAT CGROUP NUMBER: soon
counted()
{
	for _ in $(seq 100); do
		"$psibridge" metrics / 2>/dev/null | grep -q "^psibridge_cgroup_$1_total{id=\"/$name/$2\"} $3\$" && return
		sleep 0.05
	done
	"$psibridge" metrics / | grep psibridge_cgroup_
	return 1
}
again()
{
	kill_in && kill_in && counted oom_kills a 3
}
check its_counter_outlives_it again
low()
{
	# the kills were Lows too, where there is memory.events
	mkdir "$v2/$name/b" && "$psibridge" simulate low "/$name/b" >/dev/null && counted low b 1 &&
		rmdir "$v2/$name/b" && counted low b 1
}
check and_so_does_the_count_of_its_lows low
elsewhere() { "$psibridge" status other.slice 2>/dev/null | grep Killed || true; }
empty nothing_of_it_is_shown_elsewhere elsewhere
done_testing
