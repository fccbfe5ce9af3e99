#!/bin/bash
# SPDX-License-Identifier: MIT
#
# psibridged as a unit, from its first start to its end. What installing leaves is in guest-install.sh. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

# ---- install, enable, start --------------------------------------------------------------------------
check its_files_are_installed daemon_install
unit=$(systemctl show -P FragmentPath psibridged)
check enable_now_starts_it daemon_start
check it_is_active systemctl is-active psibridged.service psibridged.socket
check both_sockets_are_there test -S /run/psibridge/notify -a -S /run/psibridge/control
check anybody_may_connect test "$(stat -c %a /run/psibridge/notify)" = 666
check its_status_says_something within 10 sh -c '[ -n "$(systemctl show -P StatusText psibridged)" ]'
note "STATUS: $(daemon_status)"

exposure()
{
	systemd-analyze security --no-pager "$@" | sed -n 's/.*Overall exposure level.*: \([0-9.]*\) .*/\1/p'
}
at_most_one()
{
	echo "exposure $1"
	awk -v e="$1" 'BEGIN { exit !(e != "" && e <= 1.0) }'
}
check its_exposure_is_at_most_1 at_most_one "$(exposure psibridged.service)"
check and_offline_too at_most_one "$(exposure --offline=yes "$unit")"
check it_is_reloaded_by_the_manager_itself test "$(systemctl show -P Type psibridged)" = notify-reload
check its_memory_is_guarded_by_the_kernel test "$(cat /sys/fs/cgroup/psibridged.service/memory.min)" = 16777216
check it_is_the_last_to_be_killed test "$(cat "/proc/$(daemon_pid)/oom_score_adj")" = -900
locked()
{
	grep VmLck "/proc/$(daemon_pid)/status"
	[ "$(awk '/^VmLck/ { print $2 }' "/proc/$(daemon_pid)/status")" -gt 1000 ]
}
check its_memory_is_locked locked
note "$(grep -E '^(VmRSS|VmLck|Threads)' "/proc/$(daemon_pid)/status")"

# ---- hardened, and still able --------------------------------------------------------------------------
# What the sandbox would break first: io_uring, short windows, other users' processes.
member reader -p User=nobody -- sleep 1000
tells_root_what_it_watches()
{
	psibridge status --json >"$work/status"
	case $? in 0 | 4) ;; *) return 1 ;; esac # 4: memory is short somewhere, for what runs beside
	jq -e . <"$work/status" >/dev/null
}
check status_works tells_root_what_it_watches
note "$(jq -c '[.backend, .backend_why, (.watches[] | [.path, .state, .source.name, .why])]' "$work/status")"
check it_uses_io_uring jq -e '.backend == "uring"' "$work/status"
check it_has_privileged_triggers jq -e \
	'[.watches[] | select(.path | startswith("/system.slice/")) | .source.name] == ["psi-privileged"]' "$work/status"

# ---- what the kernel kills -----------------------------------------------------------------------------
# With MemoryMax= alone there is next to no stall before it.
killed()
{
	for i in 1 2 3 4; do
		! systemd-run -q --wait --collect --unit "psb-greedy$i" -p MemoryMax=32M -p MemorySwapMax=0 tail /dev/zero || return
		[ ! -e "/sys/fs/cgroup/system.slice/psb-greedy$i.service" ] || return
		within 10 sh -c "journalctl -b -o cat -u psb-greedy$i.service | grep -F '/system.slice/psb-greedy$i.service: the kernel killed tail (process '" || return
	done
}
check four_services_that_were_killed_are_told_of_though_they_are_gone killed
killed_in_status()
{
	psibridge status
	[ "$(psibridge status --json | jq '[.history[] | select(.killed == 1 and .last.limit == .cgroup and .last.limit_bytes == 33554432)] | length')" = 4 ]
}
check and_status_has_them killed_in_status
check and_metrics within 5 sh -c "psibridge metrics | grep -F 'psibridge_cgroup_oom_kills_total{id=\"/system.slice/psb-greedy1.service\"} 1'"
check lows_are_counted_too sh -c "psibridge simulate low psb-reader.service && psibridge status --json | jq -e '.history[] | select(.cgroup == \"/system.slice/psb-reader.service\" and .low > 0)'"

# ---- reload ----------------------------------------------------------------------------------------------
pid=$(daemon_pid)
mkdir -p /etc/psibridge/psibridged.conf.d
printf '[Defaults]\nLow=some 300ms/2s\n' >/etc/psibridge/psibridged.conf.d/50-test.conf
check a_good_configuration_is_taken systemctl reload psibridged
check it_is_the_same_process test "$(daemon_pid)" = "$pid"
check its_status_says_nothing_bad sh -c '! systemctl show -P StatusText psibridged | grep -qi "configuration"'

printf '[Defaults]\nLow=some 300ms/2s\nRearm=soon\n' >/etc/psibridge/psibridged.conf.d/50-test.conf
systemctl reload psibridged
status_names_the_file()
{
	within 10 sh -c 'systemctl show -P StatusText psibridged | grep -q "50-test.conf:3"'
	daemon_status
	daemon_status | grep -q '50-test.conf:3'
}
check a_bad_one_is_named_in_the_status status_names_the_file
journal_names_the_file()
{
	journalctl -b -o cat -u psibridged --since -1min | grep '50-test.conf:3.*Rearm'
}
check and_in_the_journal within 5 journal_names_the_file
note "$(journal_names_the_file | tail -n 1)"
check the_daemon_goes_on test "$(daemon_pid)" = "$pid"
old_settings_stay()
{
	psibridge status --json | jq -e '[.watches[].settings.low] | unique == ["some 300ms/2s"]'
}
check and_so_does_the_old_configuration old_settings_stay
rm -r /etc/psibridge
systemctl reload psibridged

# ---- a configuration that is bad from the start ---------------------------------------------------------------
check_config()
{
	mkdir -p /etc/psibridge
	printf '[Watch ../x]\n' >/etc/psibridge/psibridged.conf
	psibridged --check-config >"$work/complaints" 2>&1 && return 1
	cat "$work/complaints"
	grep -q '^/etc/psibridge/psibridged.conf:1: ' "$work/complaints"
}
sbin=$(dirname "$(sed -n 's/^ExecStart=//p' "$unit")")
PATH=$sbin:$PATH
check check_config_finds_it check_config

# Its clients wait, and more come. It was started 42 times in 31 s.
systemctl stop psibridged
member_listens waiting 100 'sleep 100'
since=$(date +%s)
for _ in 1 2 3 4 5 6 7 8; do
	timeout 3 socat -u UNIX-CONNECT:/run/psibridge/notify - >/dev/null 2>&1
done
sleep 6
started()
{
	journalctl -b -o cat --since "@$since" -u psibridged | grep -c '^Starting '
}
said()
{
	journalctl -b -o cat --since "@$since" _COMM=psibridged
}
note "$(started) starts in $(($(date +%s) - since)) s" "$(said | sort | uniq -c)"
check a_bad_one_is_started_twice_a_minute test "$(started)" -ge 1 -a "$(started)" -le 3
check and_says_one_line_each_time test "$(said | sort -u | wc -l)" = 1
check clients_stay_with_what_works test "$(grep -c '^source' "$work/waiting.out")" -le 2
check its_status_line_has_the_mistake sh -c 'systemctl show -P StatusText psibridged | grep -q "not started: /etc/psibridge/psibridged.conf:1: "'
check its_socket_is_still_there systemctl is-active psibridged.socket
rm -r /etc/psibridge
check then_it_starts_again systemctl restart psibridged
members_end
check check_config_likes_none_at_all psibridged --check-config

# ---- clients across restart, crash and stop --------------------------------------------------------------------
member_listens faithful 1000 'sleep 1000'
note "$(cat "$work/faithful.out")"
stored()
{
	systemctl show -P NFileDescriptorStore psibridged
}
a_socket_is_stored()
{
	stored
	[ "$(stored)" -ge 1 ]
}
check a_client_is_kept_in_the_fd_store within 10 a_socket_is_stored
connected=$(connected)
check it_is_counted_as_connected test "$connected" -ge 1

pid=$(daemon_pid)
check restart_works systemctl restart psibridged
check it_is_another_process daemon_is_new "$pid"
pid=$(daemon_pid)
kill -9 "$pid"
check a_killed_one_is_back_at_once within 5 daemon_is_new "$pid"
check no_client_was_lost test "$(connected)" = "$connected"
pid=$(daemon_pid)
for _ in 1 2 3 4 5 6 7 8; do
	kill -9 "$(daemon_pid)"
	within 5 daemon_is_new "$pid"
	pid=$(daemon_pid)
done
check however_often_it_is_killed systemctl is-active psibridged.service psibridged.socket
check still_no_client_was_lost test "$(connected)" = "$connected"

start=$(now_usec)
systemctl stop psibridged.service
took=$(($(now_usec) - start))
note "stop took $((took / 1000)) ms (with systemctl)"
# 0.8 s on a quiet emulated machine, 3.5 s on a very busy one; one that waits for something takes TimeoutStopSec=, 10 s
check it_stops_long_before_its_timeout test "$took" -lt 6000000
check it_stopped_by_itself test "$(systemctl show -P Result psibridged)" = success
check clients_are_kept_across_a_stop test "$(connected)" = "$connected"
timeout 60 socat -u UNIX-CONNECT:/run/psibridge/notify - >/dev/null &
check who_connects_starts_it_again within 50 systemctl is-active psibridged
kill $!
wait
members_end

systemctl stop psibridged.service
check asking_a_stopped_one_fails sh -c '! psibridge status'
check and_does_not_start_it sh -c 'sleep 2; ! systemctl is-active psibridged'

# ---- uninstall ---------------------------------------------------------------------------------------------------
check disable_now_works systemctl disable --now psibridged.service psibridged.socket
check no_process_is_left sh -c '! pgrep -x psibridged'
check no_directory_is_left_in_run test ! -e /run/psibridge
check no_cgroup_is_left test ! -e /sys/fs/cgroup/psibridged.service
daemon_remove
failed_units()
{
	systemctl --failed --no-legend | grep -i psi
	true
}
empty nothing_failed failed_units

done_testing
