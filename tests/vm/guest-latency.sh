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
# The first stall is seen in the service's own memory.pressure, at most 20 ms late. Where the service has a trigger of its own
# there, reading it could swallow an event, and it is the slice's instead.
# Prints FIRST (notification of any level, after the first stall), LOW (after it) and OVER (Low after 200 ms of stall
# had come together), in ms.
one_run() # NAME READY_PATTERN PROGRAM PROPERTY...
{
	local name=$1 ready=$2 program=$3 onset crossed first low sampler seen=$slice
	shift 3
	[[ $name == daemon* ]] && seen=$slice/psb-$name.service
	member "$name" "${high[@]}" "$@" -- /bin/sh -c \
		"$program & until [ -e $work/$name.go ]; do sleep 0.1; done; $here_bin/press hold 32 6; wait"
	within 20 grep -q "$ready" "$work/$name.out" || { cat "$work/$name.out" >&2; return 1; }
	sleep 3 # what starting it took out of the cgroup is over
	"$here_bin/press" onset "/sys/fs/cgroup/system.slice/$seen/memory.pressure" 20 >"$work/$name.onset" &
	sampler=$!
	within 20 grep -q '^looking' "$work/$name.onset"
	touch "$work/$name.go"
	wait $sampler
	onset=$(awk '$1 == "onset" { print $2 }' "$work/$name.onset")
	crossed=$(awk '$1 == "crossed" { print $2 }' "$work/$name.onset")
	is_low() # a program that is told bytes is told nothing but Low
	{
		awk -v t="$onset" '$1 == "told" && $2 > t && ($4 == "low" || $4 == "") { print $2; found = 1; exit }
			END { exit !found }' "$work/$name.out"
	}
	within 15 is_low
	low=$(is_low)
	first=$(awk -v t="$onset" '$1 == "told" && $2 > t && $4 != "high" { print $2; exit }' "$work/$name.out")
	systemctl stop "psb-$name"
	if [ -z "$onset" ] || [ -z "$crossed" ] || [ -z "$first" ] || [ -z "$low" ]; then
		note "$name: $(paste -sd' ' "$work/$name.onset")" "$(cat "$work/$name.out")" >&2
		return 1
	fi
	echo "$(((first - onset) / 1000)) $(((low - onset) / 1000)) $(((low - crossed) / 1000))"
}
runs() # KIND RUNS READY_PATTERN PROGRAM PROPERTY...
{
	local kind=$1 count=$2 i
	shift 2
	: >"$work/$kind.ms"
	for ((i = 0; i < count; i++)); do
		one_run "$kind$i" "$@" >>"$work/$kind.ms"
	done
}
member keeper -p "Slice=$slice" -- sleep 1000 # the slice stays, with no limit
runs daemon 5 '^source 1 ' "$here_bin/listener 40" -p MemoryPressureWatch=skip \
	-p Environment=MEMORY_PRESSURE_WATCH=/run/psibridge/notify
# What systemd gives a service: its own file, and for want of the capability the kernel's two-second rule.
runs alone 3 '^ready' "$here_bin/foreign" -p MemoryPressureWatch=on -p User=nobody
# ---- beside a trigger of its own, with the same right --------------------------------------------------------------
# A service of root's arms what systemd gave it, with CAP_SYS_RESOURCE, and listens to the daemon as well. Prints how much later
# than sd-event's first event the daemon's Low was judged, and told, in ms.
beside() # NAME
{
	local own daemon
	member "$1" "${high[@]}" -p MemoryPressureWatch=on -- /bin/sh -c \
		"$here_bin/foreign >$work/$1.own & unset MEMORY_PRESSURE_WRITE
		MEMORY_PRESSURE_WATCH=/run/psibridge/notify $here_bin/listener 40 &
		until [ -e $work/$1.go ]; do sleep 0.1; done; $here_bin/press hold 32 6; wait"
	within 20 grep -q '^source 1 ' "$work/$1.out" && within 20 grep -q '^ready' "$work/$1.own" || return
	sleep 3
	touch "$work/$1.go"
	within 15 grep -q '^told' "$work/$1.own"
	within 15 was_told "$1" low
	own=$(awk '$1 == "told" { print $2; exit }' "$work/$1.own")
	daemon=$(awk '$1 == "told" && $4 == "low" { print $3, $2; exit }' "$work/$1.out")
	note "$1: work $(awk '$1 == "work" { print $2; exit }' "$work/$1.out"), own $own: $(grep '^told' "$work/$1.out" | head -3 | paste -sd';')" >&2
	systemctl stop "psb-$1"
	[ -n "$own" ] && [ -n "$daemon" ] && echo "$(((${daemon% *} - own) / 1000)) $(((${daemon#* } - own) / 1000))"
}
for i in 1 2 3 4 5; do
	beside "beside$i"
done >"$work/beside.ms"

note "ms from the first stall to the first notification, to Low; from 200 ms of stall to Low" \
	"psibridged:                     $(paste -sd, "$work/daemon.ms")" \
	"sd-event on its own:            $(paste -sd, "$work/alone.ms")"
first=$(median 1 <"$work/daemon.ms")
own=$(median 1 <"$work/alone.ms")
note "median: $first ms with psibridged, $own ms with the service's own trigger"
check five_runs_were_measured test "$(wc -l <"$work/daemon.ms")" = 5
check it_is_told_within_300_ms_of_its_first_stall test "$first" -lt 300
check low_comes_within_300_ms_of_being_true test "$(median 3 <"$work/daemon.ms")" -lt 300
note "beside sd-event on the same cgroup with CAP_SYS_RESOURCE, Low was judged, told so many ms later: $(paste -sd, "$work/beside.ms")"
check five_runs_beside_sd_event test "$(wc -l <"$work/beside.ms")" = 5
# Emulated, one look at the cgroups takes tens of milliseconds: medians of 34 and 51 ms were seen.
check low_is_judged_at_most_100_ms_later test "$(median 1 <"$work/beside.ms")" -le 100
check and_told_at_most_100_ms_later test "$(median 2 <"$work/beside.ms")" -le 100
check that_is_sooner_than_on_its_own test "$first" -lt "$own"
members_end

done_testing
