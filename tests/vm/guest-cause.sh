#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE beside others the machine itself is short
#
# Whose limit a stall comes from: one row for each cause that one cgroup can have, PSB_CAUSE_TIMES times each (2; all of ten:
# PSB_CAUSE_TIMES=10). The machine's own shortage is in guest-pressure.sh. Runs in the guest (tests/vm/run) as root.
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

# Compaction for huge pages is a stall, too, but of the machine's.
huge=/sys/kernel/mm/transparent_hugepage/enabled was_huge=$(grep -o '\[.*\]' /sys/kernel/mm/transparent_hugepage/enabled | tr -d '[]')
echo never >$huge
slice psbshop MemoryHigh=24M
slice psbparent
slice psbup MemoryHigh=8M
slice psbup-bare DisableControllers=memory
times()
{
	for ((i = 0; i < ${PSB_CAUSE_TIMES:-2}; i++)); do
		"$1"
		local r=$?
		members_end
		[ $r = 0 ] || return
	done
}
check a_service_that_reaches_its_MemoryHigh times own_high
check a_service_that_is_killed_at_its_MemoryMax times own_max
check a_service_whose_neighbour_fills_their_slice times ancestor
check a_slice_whose_service_reaches_its_own_limit_is_neutral times descendant
check and_never_low descendant_is_not_low
members_end
check unless_that_is_asked_for descendant_where_it_counts
check without_memory_events_of_its_own_the_slice_is_the_cause times no_events
echo "$was_huge" >$huge
systemctl stop psbshop.slice psbparent.slice psbup.slice
done_testing
