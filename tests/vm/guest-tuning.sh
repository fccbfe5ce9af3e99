#!/bin/bash
# SPDX-License-Identifier: MIT
#
# An operator's afternoon: a service is told Low too often, and what psibridge-tuning(7) has in its first five lines makes that
# less, for good. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"
unit=psb-shop.service
cgroup=/system.slice/$unit
ring=/var/lib/psibridge/trace

check the_daemon_runs daemon_ready

# ---- a service that stalls a little, again and again ---------------------------------------------------------------------
# It is over its MemoryHigh all the time, and put to sleep while it runs: it runs until it was stalled for long enough. It gives
# nothing back.
is_full()
{
	member shop -p MemoryPressureWatch=skip -p Environment=MEMORY_PRESSURE_WATCH=/run/psibridge/notify -- \
		sh -c "$here_bin/listener 600 & exec $here_bin/press full 54 0" &&
		within 60 says shop '^full' && kill -STOP "$(systemctl show -P MainPID "$unit")" &&
		within 20 says shop '^source 1 ' && systemctl set-property --runtime "$unit" MemoryHigh=56M
}
stalled() # in microseconds
{
	local line
	read -r line <"/sys/fs/cgroup$cgroup/memory.pressure"
	echo "${line##*=}"
}
burst() # MICROSECONDS of stall
{
	local pid until=$(($(stalled) + $1))
	pid=$(systemctl show -P MainPID "$unit")
	kill -CONT "$pid"
	within 30 eval '[ "$(stalled)" -ge '"$until"' ]'
	kill -STOP "$pid"
}
# It stalls a while longer, on a slow machine for seconds; then for longer than what makes two episodes of one (10 s) it does not.
rest()
{
	local was
	until was=$(stalled); sleep 1; [ "$(stalled)" = "$was" ]; do :; done
	sleep 10
}
# One that calls for something, and three that do not. The pauses are the load's.
load()
{
	burst 2500000
	for _ in 1 2 3; do
		rest
		burst 260000
	done
	sleep 5 # Low is over
}
begun() # of its Lows: how many came when it was not Low
{
	awk '$1 == "told" { n += $4 == "low" && last != "low"; last = $4 } END { print n + 0 }' "$work/shop.out"
}

check a_service_is_over_its_limit is_full
load
before=$(begun)
note "Lows: $before" "$(grep ^told "$work/shop.out")"
check it_is_told_low_too_often test "$before" -ge 3

# ---- the trace of it -------------------------------------------------------------------------------------------------------
bytes=$(cat $ring/*.trace | wc -c)
check the_trace_is_there_and_bounded test "$bytes" -gt 500 -a "$bytes" -lt 67108864
note "$bytes bytes in $(ls $ring)"
check any_user_reads_it runuser -u nobody -- psibridge why "$cgroup"

# ---- why, tune, set, diff, set --save ------------------------------------------------------------------------------------------
says_out() # FILE PATTERN...: each is in a line of it, and no line is wider than a terminal; a command to paste may be
{
	local file=$work/$1 pattern
	shift
	cat "$file"
	for pattern; do
		grep -qE -- "$pattern" "$file" || { echo "there is no $pattern"; return 1; }
	done
	! grep -v psibridge "$file" | grep -E '.{81}'
}
did() # STATUS NAME COMMAND...: does the command end with it? Its output is $work/NAME
{
	local status=$1 name=$2 got=0
	shift 2
	"$@" >"$work/$name" 2>&1 || got=$?
	note "\$ $*" "$(cat "$work/$name")" "" >&3
	[ "$got" = "$status" ]
}
exec 3>&1
check why_explains_it did 0 why psibridge why "$cgroup"
check it_names_service_cause_and_settings says_out why "^$cgroup" '^> .*Low.* limit' "psibridged's settings" \
	'^  (low|critical) .*threshold .*, passed by'
check tune_recommends_something did 0 tune psibridge tune "$cgroup" --for shed --at-most 2/h
check it_has_reasons_and_what_to_do says_out tune '^For shed: ' 'It would have told Low ' '^[*] .{19} +[12] ' "^\[Watch $cgroup\]" '^Low='
set=$(sed -n 's/^# \(psibridge set .*\)/\1/p' "$work/tune")
check what_it_prints_can_be_pasted did 0 set bash -c "${set:-false}"
check set_says_what_changed says_out set "^\[Watch /?${cgroup#/}\]" 'Low +some 200ms/2s -> ' '--save keeps it'
check diff_tells_them_apart did 1 diff psibridge diff
check and_names_both_sides says_out diff '^\+Low=.*# psibridge set' '^-Low=some 200ms/2s' "^.\[Watch /?${cgroup#/}\]"
check save_keeps_it did 0 save psibridge set "$unit" --save
saved=$(sed -n 's/^Saved in \(.*\):$/\1/p' "$work/save")
check in_a_drop_in grep -q '^Low=' "${saved:-/none}"
nothing_differs()
{
	psibridge diff | grep -x 'psibridged goes by what its files say.'
}
check then_nothing_differs nothing_differs
check nor_after_a_reload eval 'systemctl reload psibridged && nothing_differs'
check nor_after_a_restart eval 'systemctl restart psibridged && nothing_differs'

# ---- the same again ----------------------------------------------------------------------------------------------------------------
load
after=$(($(begun) - before))
note "Lows: $after"
check it_is_told_low_less_often test "$after" -lt "$before" -a "$after" -le 2
# The setting is for what stalled most, and on a machine that does other things the same load does not stall as much each time.
told_of_what_counts()
{
	for _ in 1 2 3; do
		[ "$(begun)" = "$before" ] || return 0
		burst 2500000
		sleep 14
	done
	[ "$(begun)" != "$before" ]
}
check but_it_is_told_of_what_counts told_of_what_counts
members_end
done_testing
