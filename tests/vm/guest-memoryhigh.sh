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
gate_close hungry
member hungry -p Slice=$slice -p MemoryMax=32M -p MemorySwapMax=0 -- sh -c "$(gate hungry); exec $here_bin/press hold 31 30"
soon is hungry $of_32M
gate_open hungry
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
# For three of them at a time there is memory. Those that grow fast do so one after the other, so that it is fast.
app()
{
	gate_close "app$1"
	member "app$1" -p MemoryMax=640M -p MemorySwapMax=0 -p OOMPolicy=continue -- sh -c \
		"MEMORY_PRESSURE_WATCH=/run/psibridge/notify $here_bin/press garbage 400 & $(gate "app$1"); $here_bin/press grow 300 $2 & wait"
}
is_ready() # NAME: full, and limited
{
	says "$1" '^full' && { [ "$way" != MemoryHighAt=90% ] || grep -q '^[0-9]' "/sys/fs/cgroup/system.slice/psb-$1.service/memory.high"; }
}
is_over() # NAME
{
	says "$1" '^grown' || grep -q '^oom_kill [1-9]' "/sys/fs/cgroup/system.slice/psb-$1.service/memory.events"
}
at() # NAME WORD: the time of the first line of its output that begins so
{
	awk -v word="$2" '$1 == word { print $2; exit }' "$work/$1.out"
}
# One line: "survived", or "killed" and milliseconds of growth until then; "told" and milliseconds until then; MiB/s
outcome() # NAME
{
	local start grown gave dead
	start=$(at "$1" growing) grown=$(at "$1" grown) gave=$(at "$1" gave)
	dead=$(dmesg | sed -n "s|^\[ *\([0-9]*\)\.\([0-9]*\)\] oom-kill:.*/psb-$1\.service.*|\1\2|p" | tail -n 1)
	if grep -qx 'oom_kill 0' "/sys/fs/cgroup/system.slice/psb-$1.service/memory.events" && [ -n "$grown" ]; then
		printf 'survived %s' $((300 * 1000000 / (grown - start)))
	else
		printf 'killed %s' $(((${dead:-$start} - start) / 1000))
	fi
	echo " told ${gave:+$(((gave - start) / 1000))}"
}
survive() # HOW_MANY MIB_PER_SECOND
{
	local i
	for ((i = 0; i < $1; i++)); do app "$i" "$2"; done
	for ((i = 0; i < $1; i++)); do within 60 is_ready "app$i"; done
	for ((i = 0; i < $1; i++)); do
		gate_open "app$i"
		[ "$2" -le 80 ] || within 90 is_over "app$i"
	done
	for ((i = 0; i < $1; i++)); do within 90 is_over "app$i"; done
	for ((i = 0; i < $1; i++)); do outcome "app$i"; done
	members_end
}
# That they die where nothing is told need not be seen so often.
survive_rows()
{
	local way speed left times
	for way in Forecast=2s MemoryHighAt=90% Forecast=off Enabled=no; do
		configure "[Watch system.slice/psb-app*.service]" "$way" "[Defaults]" "Shadow=$([ $way = Enabled=no ] && echo yes || echo no)"
		systemctl restart psibridged
		case $way in Forecast=2s | Mem*) times=$PSB_SURVIVE ;; *) times=$(((PSB_SURVIVE + 2) / 3)) ;; esac
		for speed in 20 80 320 1024 8192; do
			for ((left = times; left > 0; left -= 3)); do
				survive $((left < 3 ? left : 3)) $speed
			done >"$work/outcomes"
			note "$way at $speed MiB/s: $(grep -c ^survived "$work/outcomes") of $times survive; medians: really $(grep ^survived "$work/outcomes" | median 2) MiB/s, killed after $(grep ^killed "$work/outcomes" | median 2) ms, told after $(grep "told [0-9]" "$work/outcomes" | median 4) ms"
		done
	done
}
[ -z "${PSB_SURVIVE:-}" ] || survive_rows
done_testing
