#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE beside others the machine itself is short
#
# Whose limit a stall comes from: one row for each cause that one cgroup can have, PSB_CAUSE_TIMES times each (1; all of ten:
# PSB_CAUSE_TIMES=10). The machine's own shortage is in guest-pressure.sh, as often. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_program_is_there daemon_install

# slice NAME PROPERTY...: NAME.slice with these, when slices_start was called, until the machine ends
slices=()
slice()
{
	mkdir -p /run/systemd/system
	{ echo '[Slice]'; printf '%s\n' "${@:2}"; } >"/run/systemd/system/$1.slice"
	slices+=("$1.slice")
}
slices_start()
{
	systemctl daemon-reload
	systemctl start "${slices[@]}"
}

# A row works in cgroups of its own, so all of them do at the same time. Its files are called like it.
# heard ROW CGROUP JQ_CONDITION [OPTION]...: a notification of the watch that satisfies it, within 60 s. The watch must be there
# before the stall is, so the row's work goes on when it is armed. Then the work ends.
heard()
{
	local row=$1 watch r
	psibridge watch --json --cgroup "$2" --duration 150s "${@:4}" >"$work/said.$row" &
	watch=$!
	within 60 grep -q '"armed"' "$work/said.$row" || echo "not armed"
	gate_open "$row"
	within 60 satisfies "$work/said.$row" "$3"
	r=$?
	kill $watch
	wait $watch
	systemctl stop "psb-$row*"
	jq -c '[.available, .reason, .cause, .cause_cgroup]' "$work/said.$row" | grep -v '^.null' | sort | uniq -c
	return $r
}
# satisfies FILE JQ_CONDITION: asked once a second, for jq takes a third of that on an emulated machine, and six ask
satisfies()
{
	sleep 1
	jq -es "map(select(.event == \"notification\" and ($2))) | length > 0" "$1"
}
# works ROW NAME MB SECONDS [-p PROPERTY]...: takes that much, again and again, when the row's watch is armed
works()
{
	member "$1$2" "${@:5}" -- sh -c "$(gate "$1"); exec $here_bin/press hold $3 $4"
}
first() # ROW LEVEL JQ_CONDITION: of the first notification of that level
{
	jq -es "map(select(.available == \"$2\"))[0] | $3" "$work/said.$1"
}

own_high()
{
	gate_close own
	works own '' 24 20 -p MemoryHigh=8M
	heard own system.slice/psb-own.service '.available == "low"' &&
		first own low '.cause == "own" and .cause_cgroup == "/system.slice/psb-own.service"'
}
own_max()
{
	gate_close max
	member max -p MemoryMax=24M -p MemorySwapMax=0 -p OOMPolicy=continue -- \
		sh -c "$(gate max); while :; do tail /dev/zero; done"
	heard max system.slice/psb-max.service '.available == "low"' && first max low '.cause == "own" and .limit_bytes == 25165824'
}
ancestor()
{
	gate_close shop
	works shop glutton 60 30 -p Slice=psbshop.slice
	works shop victim 8 30 -p Slice=psbshop.slice
	heard shop psbshop.slice/psb-shopvictim.service '.available == "low"' &&
		first shop low '.cause == "ancestor" and .cause_cgroup == "/psbshop.slice"'
}
# ... and is no Low there, though the child is over the threshold for as long as it works
descendant()
{
	gate_close child
	works child '' 24 12 -p Slice=psbparent.slice -p MemoryHigh=8M
	heard child psbparent.slice '.some_total_usec > 0 and .available == "high" and .reason == "calm"' &&
		first child neutral '.cause == "descendant"' && jq -es 'map(select(.available == "low")) | length == 0' "$work/said.child"
}
descendant_where_it_counts()
{
	gate_close asked
	works asked '' 24 20 -p Slice=psbasks.slice -p MemoryHigh=8M
	heard asked psbasks.slice '.available == "low" and .cause == "descendant"' --descendants yes
}
# without a memory controller of its own it is the next one above that counts
no_events()
{
	gate_close bare
	works bare '' 24 20 -p Slice=psbup-bare.slice
	local bare=psbup.slice/psbup-bare.slice/psb-bare.service
	[ ! -e "/sys/fs/cgroup/$bare/memory.events" ] || return
	heard bare "$bare" '.available == "low"' && first bare low '.cause == "ancestor" and .cause_cgroup == "/psbup.slice"'
}
# What is full is the slice, though the one who asks has hardly anything.
full_of_others()
{
	member hoard -p Slice=psbfull.slice -- "$here_bin/press" full 84 0
	within 60 full 80
	psibridge doctor --cgroup psbfull.slice >"$work/doctor"
	systemd-run -q --wait --collect --pipe -p Slice=psbfull.slice -- "$here_bin/listener" load >"$work/load"
	grep -h 'effective limit\|^load' "$work/doctor" "$work/load"
	grep -Eq 'effective limit is 80 MiB, of which 8[0-4] MiB \(100 %\) are in use' "$work/doctor" &&
		grep -q '^load 100$' "$work/load"
}
full() # MB
{
	[ "$(cat /sys/fs/cgroup/psbfull.slice/memory.current)" -ge $(($1 << 20)) ]
}

# Compaction for huge pages is a stall, too, but of the machine's.
huge=/sys/kernel/mm/transparent_hugepage/enabled was_huge=$(grep -o '\[.*\]' /sys/kernel/mm/transparent_hugepage/enabled | tr -d '[]')
echo never >$huge
slice psbshop MemoryHigh=24M
slice psbparent
slice psbparent-mid
slice psbasks
slice psbfull MemoryHigh=80M
slice psbup MemoryHigh=8M
slice psbup-bare DisableControllers=memory
slices_start
rows=(own_high own_max ancestor descendant descendant_where_it_counts no_events)
times=${PSB_CAUSE_TIMES:-1}
declare -A right pids
round()
{
	local row
	for row in "${rows[@]}"; do
		"$row" >"$work/log.$row" 2>&1 &
		pids[$row]=$!
	done
	for row in "${rows[@]}"; do
		if wait "${pids[$row]}"; then right[$row]=$((${right[$row]:-0} + 1)); else note "$row:" "$(cat "$work/log.$row")"; fi
	done
	members_end
}
for ((i = 0; i < times; i++)); do
	round
done
# all_of ROW: all of its times were right
all_of()
{
	note "$1: ${right[$1]:-0} of $times" >&3
	[ "${right[$1]:-0}" = "$times" ]
}
exec 3>&1
check a_service_that_reaches_its_MemoryHigh all_of own_high
check a_service_that_is_killed_at_its_MemoryMax all_of own_max
check a_service_whose_neighbour_fills_their_slice all_of ancestor
check a_slice_whose_service_reaches_its_own_limit_is_neutral_and_never_low all_of descendant
check unless_that_is_asked_for all_of descendant_where_it_counts
check without_memory_events_of_its_own_the_slice_is_the_cause all_of no_events

# ---- psibridged, and a client above a limited child -------------------------------------------------------------------
mid=psbparent.slice/psbparent-mid.slice
# configured LINE: its watch of the slice
configured()
{
	mkdir -p /etc/psibridge
	printf '%s\n' '[Watch psbparent.slice/**]' Quiet=1s Calm=2s "$@" >/etc/psibridge/psibridged.conf
	systemctl reload-or-restart psibridged
}
# above LEVEL: what a client in the slice is told when the child is Low by its own limit
above()
{
	member child -p Slice=psbparent-mid.slice -p MemoryHigh=8M -- sh -c "sleep 1; exec $here_bin/press hold 24 20"
	within 60 row "$mid/psb-child.service" '.available == "low" and .cause == "own"' || return
	within 20 row $mid ".available == \"$1\" and .cause == \"descendant\" and .clients == 1"
	local r=$?
	psibridge status --json | jq -c '.cgroups[]'
	members_end
	within 60 row $mid '.available == "high"' && return $r
}
row() # CGROUP JQ_CONDITION
{
	psibridge status --json | jq -e ".cgroups[] | select(.cgroup == \"/$1\") | $2"
}
check psibridged_watches_the_slice configured
python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect("/run/psibridge/notify")
s.send(sys.argv[1].encode() + b"\n")
time.sleep(1000)' "psibridge/1 cgroup=/$mid" &
client=$!
check its_client_is_there within 20 row $mid '.clients == 1'
check who_is_above_a_limited_child_is_told_neutral above neutral
check and_another_configuration_is_read configured Descendants=yes
check by_which_it_is_told_low above low
kill $client

check a_slice_that_a_neighbour_fills_is_full_for_who_asks full_of_others
echo "$was_huge" >$huge
systemctl stop "${slices[@]}"
done_testing
