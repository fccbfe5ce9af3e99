#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE beside others it stalls longer
#
# What a Low achieved, as psibridged says it: of a service that gives 40 MiB back when it is told, and of one that gives nothing
# back. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_daemon_runs daemon_ready

# holds NAME KEEP_MB GIVE_MB: 60 MiB, and a little more again and again, which is over its MemoryHigh and put to sleep. Beside it
# something runs on the same CPU, or all tasks would wait: critical, which is told as often as ever.
holds()
{
	member "$1" -p CPUAffinity=0 -p MemoryPressureWatch=skip -p Environment=MEMORY_PRESSURE_WATCH=/run/psibridge/notify \
		-- sh -c "$here_bin/listener 300 & while :; do :; done & exec $here_bin/press full $2 $3"
	within 60 says "$1" '^full' && systemctl set-property --runtime "psb-$1.service" MemoryHigh=56M
}
# entry NAME JQ_CONDITION: a line of the journal on the effect in psb-NAME.service that satisfies it
entry()
{
	journalctl -u psibridged -o json PSIBRIDGE_CGROUP="/system.slice/psb-$1.service" |
		jq -es "map(select(.PSIBRIDGE_BYTES_BACK and ($2))) | length > 0" >/dev/null
}
# metric NAME FAMILY: its value
metric()
{
	psibridge metrics | sed -n "s|^psibridge_cgroup_$2{id=\"/system.slice/psb-$1.service\"} ||p"
}
all_of() # NAME: what is said of it
{
	journalctl -u psibridged -o cat PSIBRIDGE_CGROUP="/system.slice/psb-$1.service"
	psibridge status "system.slice/psb-$1.service" | sed -n 3,5p
	psibridge metrics | grep "cgroup_.*psb-$1"
}

check a_service_takes_memory holds gives 20 40
check what_was_given_back_is_in_the_journal within 120 entry gives \
	'(.PSIBRIDGE_BYTES_BACK | tonumber) >= 37748736 and (.PSIBRIDGE_FIRST_BACK_USEC | tonumber) > 0 and .PRIORITY == "6"
	 and .PSIBRIDGE_STALL_BEFORE_USEC and .PSIBRIDGE_STALL_AFTER_USEC'
# which is tight for ten seconds more
check in_the_status_for_people sh -c "psibridge status system.slice/psb-gives.service | grep -E 'gave back (3[6-9]|4[0-4])[^ ]* MiB after the last Low'"
note "$(all_of gives)"
# ... with the stalls, which a client of psibridged does not look at itself
check its_client_is_told within 5 says gives '^effect [34][0-9]{7} [1-9][0-9]* [1-9][0-9]* [0-9]+ 0$'
check in_the_status_for_programs sh -c "psibridge status --json | jq -e '.history[] | select(.cgroup == \"/system.slice/psb-gives.service\") |
	.effects >= 1 and .bytes_back >= 37748736 and .unanswered == 0 and .effect.stall_before_usec > 0'"
check and_in_the_metrics test "$(metric gives given_back_bytes_total)" -ge 37748736
members_end

check another_takes_as_much holds keeps 60 0
check who_gives_nothing_back_three_times_is_told_less_often within 150 entry keeps \
	'.PSIBRIDGE_UNANSWERED == "3" and .PSIBRIDGE_BYTES_BACK == "0" and (.MESSAGE | endswith("Low is repeated after 16.384s"))'
check and_the_status_has_a_word_for_it sh -c \
	"psibridge status system.slice/psb-keeps.service | grep 'told 3 times, gave nothing back: it is told less often'"
check and_the_metrics_a_number test "$(metric keeps unanswered)" = 3
note "$(all_of keeps)"
members_end
done_testing
