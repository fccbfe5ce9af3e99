#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE with PSB_SURVIVE it measures
#
# MemoryHighAt= of psibridged, and psibridge run --memory-high: what is set, and that it is taken back. Runs in the guest
# (tests/vm/run) as root. PSB_SURVIVE=10: and then who survives, ten times each.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_program_is_there daemon_install
slice=psbhigh.slice
watch="[Watch $slice/*.service]"
configure() # LINE...
{
	mkdir -p /etc/psibridge/psibridged.conf.d
	printf '%s\n' "$@" >/etc/psibridge/psibridged.conf.d/high.conf
}
high() # NAME
{
	cat "/sys/fs/cgroup/$slice/psb-$1.service/memory.high"
}
is() # NAME HIGH
{
	[ "$(high "$1")" = "$2" ] || { high "$1"; return 1; }
}
soon() # COMMAND...: emulated, a look comes only every ten seconds
{
	within 60 "$@"
}
of_64M=60395520 of_32M=30195712 # 90 %, whole pages
limited() # NAME [-p PROPERTY]...: a service that has a maximum
{
	member "$1" -p Slice=$slice -p MemoryMax=64M "${@:2}" -- sleep 1000
}
killed() # the next process is there
{
	local pid
	pid=$(daemon_pid)
	kill -9 "$pid"
	within 10 daemon_is_new "$pid"
}

# ---- what is set ------------------------------------------------------------------------------------------
limited early
limited own -p MemoryHigh=32M
member unlimited -p Slice=$slice -- sleep 1000
limited foreign
chown nobody "/sys/fs/cgroup/$slice/psb-foreign.service/memory.high" # as in what is delegated to a user
limited cached -p MemoryMax=32M # its limit is full of page cache
sh -c 'echo $$ >"$1/cgroup.procs" && exec head -c 64M /dev/zero >"$2"' - "/sys/fs/cgroup/$slice/psb-cached.service" "$work/file"
configure "$watch" MemoryHighAt=90%
check the_daemon_starts daemon_start
check who_has_a_maximum_alone_gets_a_share_of_it soon is early $of_64M
check who_uses_more_already_too soon is cached $of_32M
check what_has_its_own_keeps_it is own 33554432
check without_a_maximum_there_is_none is unlimited max
limited late -p MemoryMax=32M
check one_that_is_made_later_gets_it soon is late $of_32M
systemctl set-property --runtime psb-late MemoryMax=64M
check a_maximum_that_changes_is_followed soon is late $of_64M
in_status()
{
	psibridge status | grep -F "MemoryHigh is 90 % of MemoryMax in 3 cgroups; not in 1: /$slice/psb-foreign.service: Permission denied"
}
check status_has_it_and_what_cannot_be_set soon in_status
in_journal()
{
	journalctl -b -o cat -u psb-early.service | grep -F "memory.high is set to $of_64M bytes, 90 % of memory.max" &&
		[ "$(journalctl -b -o cat -u psibridged | grep -c 'MemoryHighAt=.*psb-foreign')" = 1 ]
}
check the_journal_says_it_once soon in_journal
# It is the limit that counts then.
member hungry -p Slice=$slice -p MemoryMax=32M -p MemorySwapMax=0 -- sh -c "until [ -e $work/go ]; do sleep 0.1; done; exec $here_bin/press hold 31 30"
soon is hungry $of_32M
touch "$work/go"
is_the_cause()
{
	psibridge status --json | jq -e --arg c "/$slice/psb-hungry.service" '.cgroups[] | select(.cgroup == $c and .available == "low") |
		.cause == "own" and (.cause_text | contains("MemoryHigh="))'
}
check it_is_the_cause_of_a_low within 30 is_the_cause
note "$(psibridge status --json | jq -c '.cgroups[] | [.cgroup, .available, .cause_text, .limit_bytes]')"
check and_nothing_was_killed grep -qx 'oom_kill 0' "/sys/fs/cgroup/$slice/psb-hungry.service/memory.events"
systemctl stop psb-hungry

# ---- and taken back ---------------------------------------------------------------------------------------
pid=$(daemon_pid)
configure "$watch"
systemctl reload psibridged
check a_reload_without_it_takes_it_back within 5 is early max
check from_all_of_them is late max
check it_is_the_same_process test "$(daemon_pid)" = "$pid"
configure "$watch" MemoryHighAt=90%
systemctl reload psibridged
soon is late $of_64M
check a_killed_daemon_is_back killed
check what_it_set_is_still_there is early $of_64M
check the_next_one_knows_that_it_is_its_own soon in_status
echo 48M >"/sys/fs/cgroup/$slice/psb-late.service/memory.high"
systemctl stop psibridged
check a_stop_takes_back_what_a_killed_one_set is early max
check what_the_administrator_wrote_stays is late 50331648
check nothing_else_was_touched is own 33554432
systemctl start psibridged
soon is early $of_64M
rm -r /etc/psibridge
check it_is_killed_and_nothing_is_to_be_set_any_more killed
check the_next_one_takes_it_back soon is early max
systemctl stop psibridged
members_end

# ---- without a daemon -------------------------------------------------------------------------------------
in_scope() # PROPERTY...
{
	systemd-run -q --scope --collect --unit psb-scope "$@" psibridge run --hook none --memory-high \
		cat /sys/fs/cgroup/system.slice/psb-scope.scope/memory.high 2>&1
}
check run_sets_it_in_a_scope test "$(in_scope -p MemoryMax=64M)" = $of_64M
said() # WORDS TEXT
{
	echo "$2"
	[[ $2 == *"memory.high is left as it is: "*"$1"* ]]
}
check not_where_there_is_one said 'has one of 33554432 bytes' "$(in_scope -p MemoryMax=64M -p MemoryHigh=32M)"
check not_without_a_maximum said 'has no memory.max' "$(in_scope)"
check not_where_others_are said 'other processes are in /system.slice/psb-shared.service' \
	"$(systemd-run -q --wait --pipe --collect --unit psb-shared -p MemoryMax=64M sh -c 'psibridge run --hook none --memory-high true; :' 2>&1)"

# ---- who survives -----------------------------------------------------------------------------------------
# 400 MiB of garbage and a neighbour that grows by 300 MiB in a limit of 640, without swap: one is killed unless the garbage goes.
survives() # MIB_PER_SECOND
{
	local app=/sys/fs/cgroup/system.slice/psb-app.service
	members_end
	rm -f "$work/go"
	member app -p MemoryMax=640M -p MemorySwapMax=0 -p OOMPolicy=continue -- sh -c \
		"MEMORY_PRESSURE_WATCH=/run/psibridge/notify $here_bin/press garbage 400 & until [ -e $work/go ]; do sleep 0.1; done; $here_bin/press grow 300 $1 & wait"
	within 60 grep -q '^full' "$work/app.out" || return
	[ "$way" != MemoryHighAt=90% ] || within 10 grep -q '^[0-9]' $app/memory.high || return
	touch "$work/go"
	within 90 grep -Eq '^grown|^oom_kill [1-9]' "$work/app.out" $app/memory.events
	grep -qx 'oom_kill 0' $app/memory.events && grep -q '^grown' "$work/app.out"
}
survive_rows()
{
	local way speed i survived
	for way in Enabled=no Forecast=off Forecast=2s MemoryHighAt=90%; do
		configure "[Watch system.slice/psb-app.service]" "$way" "[Defaults]" "Shadow=$([ $way = Enabled=no ] && echo yes || echo no)"
		systemctl restart psibridged
		for speed in 20 80 320 1024; do
			survived=0
			for ((i = 0; i < PSB_SURVIVE; i++)); do
				! survives $speed || survived=$((survived + 1))
			done
			note "$way at $speed MiB/s: $survived of $PSB_SURVIVE survive"
		done
	done
}
[ -z "${PSB_SURVIVE:-}" ] || survive_rows
done_testing
