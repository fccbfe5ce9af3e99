#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE it measures
#
# How soon psibridged tells of the real stalls of services under MemoryHigh. Runs in the guest
# (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"
slice=system-psb.slice # between system.slice and our services: their stalls are the only ones in it
high=(-p MemoryHigh=16M -p "Slice=$slice")

check the_daemon_runs daemon_ready

# ---- how soon -----------------------------------------------------------------------------------------------------
# The first stall is seen at most 20 ms late, in the memory.pressure of the slice: reading that of the service could swallow an event
# of a trigger which it has there.
# run NAME READY PROGRAM PROPERTY...: PROGRAM is there when the command READY succeeds. Leaves $onset (of the first stall) and
# $crossed (200 ms of it had come together).
run()
{
	local name=$1 ready=$2 program=$3 sampler
	gate_close "$name"
	member "$name" "${high[@]}" "${@:4}" -- /bin/sh -c "$program $(gate "$name"); $here_bin/press hold 32 6; wait"
	within 20 "$ready" "$name" || { cat "$work/$name.out" >&2; return 1; }
	sleep 3 # what starting it took out of the cgroup is over
	"$here_bin/press" onset "/sys/fs/cgroup/system.slice/$slice/memory.pressure" 20 >"$work/$name.onset" &
	sampler=$!
	within 20 grep -q '^looking' "$work/$name.onset"
	gate_open "$name"
	wait $sampler
	onset=$(awk '$1 == "onset" { print $2 }' "$work/$name.onset")
	crossed=$(awk '$1 == "crossed" { print $2 }' "$work/$name.onset")
}
# told_since FILE [LEVEL_PATTERN]: times of what it was told after the first stall: NOW JUDGED
told_since()
{
	awk -v t="$onset" -v level="${2:-.}" '$1 == "told" && $2 > t && (level == "." || $4 ~ level) { print $2, $3; found = 1; exit }
		END { exit !found }' "$1"
}
ended_run() # NAME TIME...: all of them are there
{
	local name=$1 time
	shift
	systemctl stop "psb-$name"
	for time; do
		[ -n "$time" ] || { note "$name: $(paste -sd' ' "$work/$name.onset")" "$(cat "$work/$name".*)" >&2; return 1; }
	done
}
ready_alone() { says "$1" '^ready'; }
ready_both() { says "$1" '^source 1 ' && grep -q '^ready' "$work/$1.own"; }
# What systemd gives a service: its own file, and for want of the capability the kernel's two-second rule. Prints when it was told, in ms
# after the first stall.
alone()
{
	local told
	run "$1" ready_alone "$here_bin/foreign &" -p MemoryPressureWatch=on -p User=nobody || return
	within 15 told_since "$work/$1.out" >/dev/null
	told=$(told_since "$work/$1.out")
	ended_run "$1" "$onset" "$told" && echo $(((${told% *} - onset) / 1000))
}
# A service of root's arms what systemd gave it, with CAP_SYS_RESOURCE, and listens to the daemon as well. Prints FIRST (the daemon's
# notification of any level, after the first stall), LOW (after it), OVER (Low after 200 ms of stall had come together); and JUDGED and
# TOLD: how much later than sd-event's first event the daemon's Low was; in ms.
both()
{
	local own first low
	run "$1" ready_both "$here_bin/foreign >$work/$1.own & unset MEMORY_PRESSURE_WRITE
		MEMORY_PRESSURE_WATCH=/run/psibridge/notify $here_bin/listener 40 &" -p MemoryPressureWatch=on || return
	within 15 told_since "$work/$1.own" >/dev/null
	within 15 told_since "$work/$1.out" low >/dev/null
	own=$(told_since "$work/$1.own") first=$(told_since "$work/$1.out" '^(neutral|low)') low=$(told_since "$work/$1.out" low)
	ended_run "$1" "$onset" "$crossed" "$own" "$first" "$low" || return
	own=${own% *} first=${first% *}
	echo "$(((first - onset) / 1000)) $(((${low% *} - onset) / 1000)) $(((${low% *} - crossed) / 1000))" \
		"$(((${low#* } - own) / 1000)) $(((${low% *} - own) / 1000))"
}
member keeper -p "Slice=$slice" -- sleep 1000 # the slice stays, with no limit
for i in 1 2 3 4 5; do
	both "both$i"
done >"$work/both.ms"
for i in 1 2 3; do
	alone "alone$i"
done >"$work/alone.ms"

note "ms from the first stall to the first notification, to Low; from 200 ms of stall to Low; and from sd-event's first event beside it, with" \
	"the same right on the same cgroup, to Low judged and told:   $(paste -sd, "$work/both.ms")" \
	"from the first stall to sd-event's first event, on its own:  $(paste -sd, "$work/alone.ms")"
first=$(median 1 <"$work/both.ms")
own=$(median 1 <"$work/alone.ms")
note "median: $first ms with psibridged, $own ms with the service's own trigger"
check five_runs_were_measured test "$(wc -l <"$work/both.ms")" = 5
check it_is_told_within_300_ms_of_its_first_stall test "$first" -lt 300
check low_comes_within_300_ms_of_being_true test "$(median 3 <"$work/both.ms")" -lt 300
# Emulated, one look at the cgroups takes tens of milliseconds: medians of 34 and 51 ms were seen.
check low_is_judged_at_most_100_ms_after_sd_event test "$(median 4 <"$work/both.ms")" -le 100
check and_told_at_most_100_ms_later test "$(median 5 <"$work/both.ms")" -le 100
check that_is_sooner_than_on_its_own test "$first" -lt "$own"
members_end

done_testing
