#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE beside others the machine itself is short
#
# Whose limit a stall comes from: one row for each cause that one cgroup can have, PSB_CAUSE_TIMES times each (1; all of ten:
# PSB_CAUSE_TIMES=10). The machine's own shortage is in guest-pressure.sh, as often. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_program_is_there daemon_install

# slice NAME PROPERTY...: NAME.slice with these, until the machine ends
slice()
{
	mkdir -p /run/systemd/system
	{ echo '[Slice]'; printf '%s\n' "${@:2}"; } >"/run/systemd/system/$1.slice"
	systemctl daemon-reload
	systemctl start "$1.slice"
}

# heard CGROUP JQ_CONDITION [OPTION]...: a notification of the watch that satisfies it, within 60 s. The watch must be there
# before the stall is, so `go` is touched when it is armed.
heard()
{
	rm -f "$work/go" "$work/said"
	timeout 90 psibridge watch --json --cgroup "$1" --duration 60s "${@:3}" >"$work/said" &
	within 20 grep -q '"armed"' "$work/said" || return
	touch "$work/go"
	within 60 jq -es "map(select(.event == \"notification\" and ($2))) | length > 0" "$work/said"
	local r=$?
	kill %% 2>/dev/null
	wait
	jq -c '[.available, .reason, .cause, .cause_cgroup]' "$work/said" | grep -v '^.null' | sort | uniq -c
	return $r
}

waits="until [ -e $work/go ]; do sleep 0.1; done"

own_high()
{
	member own -p MemoryHigh=8M -- sh -c "$waits; exec $here_bin/press hold 24 20"
	heard system.slice/psb-own.service '.available == "low"' || return
	jq -es 'map(select(.available == "low"))[0] | .cause == "own" and .cause_cgroup == "/system.slice/psb-own.service"' "$work/said"
}
own_max()
{
	member max -p MemoryMax=24M -p MemorySwapMax=0 -p OOMPolicy=continue -- \
		sh -c "$waits; while :; do tail /dev/zero; done"
	heard system.slice/psb-max.service '.available == "low"' || return
	jq -es 'map(select(.available == "low"))[0] | .cause == "own" and .limit_bytes == 25165824' "$work/said"
}
ancestor()
{
	member glutton -p Slice=psbshop.slice -- sh -c "$waits; exec $here_bin/press hold 60 30"
	member victim -p Slice=psbshop.slice -- sh -c "$waits; exec $here_bin/press hold 8 30"
	heard psbshop.slice/psb-victim.service '.available == "low"' || return
	jq -es 'map(select(.available == "low"))[0] | .cause == "ancestor" and .cause_cgroup == "/psbshop.slice"' "$work/said"
}
descendant()
{
	member child -p Slice=psbparent.slice -p MemoryHigh=8M -- sh -c "$waits; exec $here_bin/press hold 24 20"
	heard psbparent.slice '.available == "neutral"' || return
	jq -es 'map(select(.available == "neutral"))[0] | .cause == "descendant"' "$work/said"
}
# ... and is no Low there, though the child is over the threshold for as long as it works
descendant_is_not_low()
{
	member child -p Slice=psbparent.slice -p MemoryHigh=8M -- sh -c "$waits; exec $here_bin/press hold 24 15"
	heard psbparent.slice '.some_total_usec > 0 and .available == "high" and .reason == "calm"' || return
	jq -es 'map(select(.available == "low")) | length == 0' "$work/said"
}
descendant_where_it_counts()
{
	member child -p Slice=psbparent.slice -p MemoryHigh=8M -- sh -c "$waits; exec $here_bin/press hold 24 20"
	heard psbparent.slice '.available == "low" and .cause == "descendant"' --descendants yes
}
# without a memory controller of its own it is the next one above that counts
no_events()
{
	member bare -p Slice=psbup-bare.slice -- sh -c "$waits; exec $here_bin/press hold 24 20"
	local bare=psbup.slice/psbup-bare.slice/psb-bare.service
	[ ! -e "/sys/fs/cgroup/$bare/memory.events" ] || return
	heard "$bare" '.available == "low"' || return
	jq -es 'map(select(.available == "low"))[0] | .cause == "ancestor" and .cause_cgroup == "/psbup.slice"' "$work/said"
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
slice psbfull MemoryHigh=80M
slice psbup MemoryHigh=8M
slice psbup-bare DisableControllers=memory
# times ROW: all of them must be right; how many were is in the table
times()
{
	local right=0 all=${PSB_CAUSE_TIMES:-1}
	for ((i = 0; i < all; i++)); do
		"$1" && right=$((right + 1))
		members_end
	done
	echo "$1: $right of $all" >>"$work/table"
	[ $right = "$all" ]
}
check a_service_that_reaches_its_MemoryHigh times own_high
check a_service_that_is_killed_at_its_MemoryMax times own_max
check a_service_whose_neighbour_fills_their_slice times ancestor
check a_slice_whose_service_reaches_its_own_limit_is_neutral times descendant
check and_never_low descendant_is_not_low
members_end
check unless_that_is_asked_for descendant_where_it_counts
check without_memory_events_of_its_own_the_slice_is_the_cause times no_events

# ---- psibridged, and a client above a limited child -------------------------------------------------------------------
mid=psbparent.slice/psbparent-mid.slice
# configured LINE: its watch of the slice
configured()
{
	mkdir -p /etc/psibridge
	printf '%s\n' '[Watch psbparent.slice/**]' "$@" >/etc/psibridge/psibridged.conf
	systemctl reload-or-restart psibridged
}
# above LEVEL: what a client in the slice is told when the child is Low by its own limit
above()
{
	member child -p Slice=psbparent-mid.slice -p MemoryHigh=8M -- sh -c "sleep 1; exec $here_bin/press hold 24 20"
	within 60 row "$mid/psb-child.service" '.available == "low" and .cause == "own"' || return
	within 5 row $mid ".available == \"$1\" and .cause == \"descendant\" and .clients == 1"
	local r=$?
	psibridge status $mid | sed -n 3,8p
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
systemctl stop psbshop.slice psbparent.slice psbup.slice psbfull.slice
note "$(cat "$work/table")"
done_testing
