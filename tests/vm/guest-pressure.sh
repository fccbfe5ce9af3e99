#!/bin/bash
# SPDX-License-Identifier: MIT
# ALONE it takes all memory
#
# psibridged at its two extremes: at rest, where nothing of it may wake up, and on a machine without any memory left, where it has
# to work best. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_daemon_runs daemon_ready

# ---- at rest -------------------------------------------------------------------------------------------------------
# Without the watchdog, which is an alarm clock by its nature.
daemon_setting Service WatchdogSec=0
systemctl restart psibridged
# Clients of both kinds; they say nothing and are told nothing.
member crowd -p LimitNOFILE=4096 -- python3 -c '
import socket, time
clients = []
for i in range(200):
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/psibridge/notify")
    if i % 2:
        s.send(b"psibridge/1 quiet=4000000\n")
    clients.append(s)
print("source", flush=True)
time.sleep(1000)'
check two_hundred_clients_connect within 20 grep -q '^source' "$work/crowd.out"
two_hundred_are_connected()
{
	connected
	[ "$(connected)" -ge 200 ]
}
check and_stay_connected within 20 two_hundred_are_connected
switches()
{
	cat /proc/"$(daemon_pid)"/task/*/status | awk '$1 ~ /^(non)?voluntary_ctxt_switches:/ { n += $2 } END { print n }'
}
# woken_in SECONDS: how often; also in $woken
woken_in()
{
	local was
	was=$(switches)
	sleep "$1"
	woken=$(($(switches) - was))
}
is_quiet()
{
	woken_in 5
	[ $woken = 0 ]
}
within 60 is_quiet # all is High
cpu=$(cpu_usec psibridged.service)
woken_in 40
note "in 40 s with 200 clients: $woken wake-ups, $(($(cpu_usec psibridged.service) - cpu)) us of CPU" \
	"$(grep -E '^(VmRSS|VmLck|Threads)' "/proc/$(daemon_pid)/status")"
check at_rest_nothing_of_it_wakes_up test "$woken" = 0
members_end
rm -r /run/systemd/system/psibridged.service.d
systemctl daemon-reload
systemctl restart psibridged

# ---- a machine without any memory left -----------------------------------------------------------------------------
# Twelve services that stall in turns, while all but a little of the machine's memory is taken by somebody who keeps it. There is
# no swap: what is left to throw out is code, everybody's. Whoever takes too much is killed and comes back, which is part of it.
gate_close together
members=(m1 m2 m3 m4 m5 m6 m7 m8 m9 m10 m11 m12)
for m in "${members[@]}"; do
	member_listens "$m" 600 "$(gate together); $here_bin/press hold 24 5 10 5 10 5 10 5" \
		-p MemoryHigh=8M &
done
wait
available()
{
	awk '$1 == "MemAvailable:" { print int($2 / 1024) }' /proc/meminfo
}
was=$(available)
# Most of it as huge pages that nobody uses: the kernel need not even clear them, which takes an emulated machine minutes.
echo $(((was - 500) / 2)) >/proc/sys/vm/nr_hugepages
note "of $was MB available, left beside huge pages: $(available) MB"
# It is killed often, and systemd must not give it up.
member hog -p OOMScoreAdjust=900 -p Restart=always -p RestartSec=100ms -p StartLimitIntervalSec=0 -- "$here_bin/press" leave 150
nearly_out()
{
	[ "$(available)" -lt 200 ]
}
check memory_is_taken within 300 nearly_out
note "left: $(available) MB"
all_told()
{
	local m
	for m in "${members[@]}"; do
		was_told "$m" low || return
	done
}
stalls() # which time: its notifications that say whose the stall is
{
	jq -es 'map(select(.reason == "stall" or .reason == "repeat")) | length > 0' "$work/said.$1"
}
# One without a limit, PSB_CAUSE_TIMES times (1): what it waits for is nobody's but the machine's. The first time beside the others.
without_a_limit() # which time
{
	gate_close open
	member open -- sh -c "$(gate open); exec $here_bin/press hold 300 150" # stopped before
	psibridge watch --json --cgroup system.slice/psb-open.service --duration 200s >"$work/said.$1" &
	within 30 grep -q '"armed"' "$work/said.$1"
	within 60 nearly_out
	[ "$1" != 0 ] || gate_open together
	gate_open open
	within 50 stalls "$1"
	[ "$1" != 0 ] || within 50 all_told
	sleep 10 # of more of it
	note "left: $(available) MB; the machine: $(head -n 1 /proc/pressure/memory)"
	kill $!
	systemctl stop psb-open
}
times=${PSB_CAUSE_TIMES:-1}
for ((nth = 0; nth < times; nth++)); do
	without_a_limit $nth
done
systemctl stop psb-hog
echo 0 >/proc/sys/vm/nr_hugepages
blamed=0
for ((nth = 0; nth < times; nth++)); do
	jq -c 'select(.available) | [.available, .reason, .cause]' "$work/said.$nth" | sort | uniq -c | sed 's/^/# /'
	jq -es 'map(select(.reason == "stall" or .reason == "repeat")) | length > 0 and all(.cause == "machine")' "$work/said.$nth" >/dev/null &&
		blamed=$((blamed + 1))
done
note "the machine is the cause in $blamed of $times"
check without_a_limit_the_machine_is_the_cause test $blamed = "$times"
check the_daemon_lived_through_it systemctl is-active psibridged
check every_service_was_told_low all_told
# From the daemon's judgement to the client's callback: what delivery took.
for m in "${members[@]}"; do
	awk '$1 == "told" && $6 != "present" { print $2 - $3 }' "$work/$m.out"
done | sort -n >"$work/delivery"
p99()
{
	awk '{ v[NR] = $1 } END { print v[int(NR * 0.99 + 0.999)] }' "$1"
}
note "delivery of $(wc -l <"$work/delivery") notifications: median $(median 1 <"$work/delivery") us, p99 $(p99 "$work/delivery") us, worst $(tail -n 1 "$work/delivery") us"
check something_was_delivered test "$(wc -l <"$work/delivery")" -gt 0 # how fast is a figure, not a promise, on an emulated machine
check the_daemon_itself_did_not_fault_much sh -c "awk '{ print \$12; exit \$12 > 50 }' /proc/$(daemon_pid)/stat"

done_testing
