#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What a Low achieved, as psibridged says it: of a service that gives 40 MiB back when it is told, and of one that gives nothing
# back. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_daemon_runs daemon_ready

# holds NAME WHAT: a service that connects and takes 60 MiB, which then are over its MemoryHigh: from there on it sleeps at every
# further 256 KiB, which is a stall. It gives 40 MiB back when it is told, if WHAT is "gives".
holds()
{
	member "$1" -p MemorySwapMax=0 -- python3 -c '
import mmap, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/psibridge/notify")
s.setblocking(False)
def take(size):
    m = mmap.mmap(-1, size)
    for at in range(0, size, 4096):
        m[at] = 1
    return m
held, rest = take(40 << 20), take(20 << 20)
print("ready", flush=True)
while True:
    take(256 << 10).close()
    try:
        if s.recv(64) and sys.argv[1] == "gives" and held:
            held = held.close()
            print("gave", flush=True)
    except BlockingIOError:
        pass' "$2"
	within 60 grep -q '^ready' "$work/$1.out" && systemctl set-property --runtime "psb-$1.service" MemoryHigh=56M
}
# entry NAME JQ_CONDITION: a line of the journal on the effect in psb-NAME.service that satisfies it
entry()
{
	journalctl -u psibridged -o json PSIBRIDGE_CGROUP="/system.slice/psb-$1.service" |
		jq -es "map(select(.PSIBRIDGE_BYTES_BACK and ($2))) | length > 0" >/dev/null
}

check a_service_takes_memory holds gives gives
check what_was_given_back_is_in_the_journal within 120 entry gives \
	'(.PSIBRIDGE_BYTES_BACK | tonumber) >= 37748736 and (.PSIBRIDGE_FIRST_BACK_USEC | tonumber) > 0 and .PRIORITY == "6"'
check and_in_the_status sh -c "psibridge status --json | jq -e '.history[] | select(.cgroup == \"/system.slice/psb-gives.service\") |
	.effects >= 1 and .bytes_back >= 37748736 and .effect.stall_before_usec > 0'"
journalctl -u psibridged -o cat PSIBRIDGE_CGROUP=/system.slice/psb-gives.service | sed 's/^/# /'
members_end

check another_takes_as_much holds keeps keeps
check who_gives_nothing_back_three_times_is_told_less_often within 150 entry keeps \
	'.PSIBRIDGE_UNANSWERED == "3" and .PSIBRIDGE_BYTES_BACK == "0" and (.MESSAGE | endswith("Low is repeated after 16.384s"))'
said()
{
	psibridge status system.slice/psb-keeps.service | grep 'told [0-9]* times, gave nothing back: it is told less often'
}
check and_the_status_has_a_word_for_it said
journalctl -u psibridged -o cat PSIBRIDGE_CGROUP=/system.slice/psb-keeps.service | sed 's/^/# /'
members_end
done_testing
