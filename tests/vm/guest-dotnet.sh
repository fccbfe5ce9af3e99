#!/bin/bash
# SPDX-License-Identifier: MIT
# TIMEOUT 900
# ALONE, and last: how much a collection gives back depends on how much of the machine it gets
#
# .NET programs that nobody changed, with real pressure: in a unit at its limit, in a container, from the start and
# attached to. Runs in the guest (tests/vm/run) as root. .NET is the host's, which check-vm shares ($DOTNET_ROOT). Ways in that
# need no pressure, no unit and no container are tested natively: test-run.sh, test-coreclr.sh, test-dotnet.sh.
#
# The stage: `garbage` idles with garbage in memory that its cgroup has no room for beside somebody else (press), who needs it
# for some seconds. There is no swap: either the garbage goes or he waits, and at memory.max somebody is killed.
# Emulated, .NET needs five to ten seconds to start; nothing else of it had to be set differently.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

[ -n "${DOTNET_ROOT:-}" ] || skip_all "no dotnet on the host's PATH"
hooks=$builddir/hooks
program=$builddir/dotnet/bin/Garbage/release
trap 'podman rm -ft 0 psb-socket psb-attached >/dev/null 2>&1; cleanup' EXIT

in_tmp()
{
	find /tmp /dev/shm /var/tmp -xdev -maxdepth 1 -iname '*psibridge*' | sort
}
in_tmp >"$work/before"

# One file each, as somebody would bind it into a container.
check the_program_was_built test -x "$program/garbage"
check the_hook_was_built test -r "$hooks/libpsibridge-coreclr.so"
mkdir "$work/app" "$work/hooks" "$work/in"
cp "$program"/garbage* "$work/app/" && cp -L "$hooks"/* "$work/hooks/" || exit 1
chmod -R a+rX "$work"
hook=$work/hooks/libpsibridge-coreclr.so
profiler=(CORECLR_ENABLE_PROFILING=1 'CORECLR_PROFILER={9F1A4C50-6B0E-4C46-9C1D-5053492D4247}')

rss() # PID, in MiB
{
	awk '$1 == "VmRSS:" { print int($2 / 1024) }' "/proc/$1/status"
}
fell() # PERCENT BEFORE AFTER
{
	echo "$2 MiB before, $3 after: not $1 % less"
	[ -n "$3" ] && [ "$2" -gt 250 ] && [ $((100 * ($2 - $3))) -ge $(($1 * $2)) ]
}
# A test of its own; what it starts has its pid in $pid, as it is seen here.
start() # TEST COMMAND...
{
	rm -f "$work/pid"
	check "$@"
	pid=$(cat "$work/pid" 2>/dev/null || echo none)
}
alive() # PID
{
	[ "$(cat "/proc/$1/comm" 2>/dev/null)" = "${2:-garbage}" ]
}
# Sets $before and $after (the program's memory in MiB) of pressing the cgroup of PID for SECONDS.
press_on() # PID MB SECONDS
{
	before=$(rss "$1")
	press_in "$(cgroup_of "$1")" "$2" "$3"
	after=$(rss "$1")
	note "$before -> ${after:-gone} MiB"
}

# ---- in a unit, at memory.max ---------------------------------------------------------------------------
# memory.high below it gives the time to react: without one, an allocation that finds nothing to reclaim kills within
# milliseconds. .NET lets its heap grow to 75 % of memory.max.
# The kernel is to choose as it likes, and systemd to leave it at that.
# unit NAME [VARIABLE=VALUE...]
unit()
{
	local name=$1
	shift
	mkfifo "$work/in/$name"
	member "$name" -p MemoryPressureWatch=skip -p MemoryHigh=455M -p MemoryMax=475M -p OOMScoreAdjust=0 -p OOMPolicy=continue \
		-- env "DOTNET_ROOT=$DOTNET_ROOT" PSIBRIDGE_LOG=info "$@" sh -c "exec $work/app/garbage 300 20 <>$work/in/$name"
	within 60 says "$name" '^ready' || return
	systemctl show -P MainPID "psb-$name" >"$work/pid"
	alive "$(cat "$work/pid")"
}
gone() # PID
{
	[ "$1" != none ] && ! alive "$1"
}
was_killed() # PID
{
	gone "$1" && dmesg | grep "Killed process $1 (garbage)"
}

start one_runs_at_its_limit_without_us unit doomed
press_on "$pid" 250 40 &
pressing=$!
check it_is_killed_by_the_kernel within 40 was_killed "$pid"
systemctl stop psb-doomed 2>/dev/null
wait $pressing 2>/dev/null

start one_runs_at_its_limit_with_the_profiler unit saved "${profiler[@]}" "CORECLR_PROFILER_PATH=$hook"
check the_hook_has_a_privileged_trigger within 5 says saved 'ready: rung 2, psi-privileged'
press_on "$pid" 250 8 &
pressing=$!
check it_is_told_low_within_seconds within 4 says saved 'told Low'
wait $pressing
check it_reports_what_went_back within 10 says saved 'collected:'
read -r before after < <(sed -n 's/.*collected: \([0-9]*\)\..* -> \([0-9]*\)\..*/\1 \2/p' "$work/saved.out" | head -n 1)
fell_by_70()
{
	fell 70 "${before:-0}" "$(rss "$pid")"
}
check its_memory_falls_by_70_percent within 20 fell_by_70 # the runtime gives pages back over time
check it_survives alive "$pid"
check and_nobody_was_killed grep -x 'oom_kill 0' "$(cgroup_of "$pid")/memory.events"
check it_hears_that_it_is_over within 20 says saved 'told (Neutral|High)'
note "$(grep -E 'psibridge' "$work/saved.out")"
echo 'alive' >"$work/in/saved"
check it_kept_what_it_needs within 10 says saved '^alive 5120'
echo 'exit 0' >"$work/in/saved"
check it_ends_when_it_wants_to within 10 gone "$pid"
members_end

# ---- in a container ----------------------------------------------------------------------------------------
# Its own file system has nothing in it but links into /usr, which is this machine's.
rootfs=$work/rootfs
mkdir -p "$rootfs"/{dev,etc,proc,root,run,sys,tmp,usr,var/tmp,app}
for i in bin lib lib64 sbin; do ln -s "usr/$i" "$rootfs/$i"; done
echo 'ID=psibridge-test' >"$rootfs/etc/os-release"
chmod 1777 "$rootfs/tmp"

# container NAME PODMAN_OPTION...
container()
{
	local name=$1
	shift
	podman run -d --name "psb-$name" --log-driver=k8s-file --log-opt "path=$work/$name.log" --network none --memory 600m \
		--ulimit memlock=-1:-1 --cgroup-conf memory.high=471859200 -v /usr:/usr:ro -v "$work/app:/app:ro" \
		-e "DOTNET_ROOT=$DOTNET_ROOT" -e PSIBRIDGE_LOG=info "$@" --rootfs "$rootfs:O" \
		/bin/sh -c 'mkfifo /run/in && exec /app/garbage 400 20 <>/run/in' || return
	within 60 container_says "$name" '^ready' || return
	podman inspect -f '{{.State.Pid}}' "psb-$name" >"$work/pid"
	alive "$(cat "$work/pid")"
}
files_in_tmp() # PID: of its container, but for the socket of its own runtime
{
	find "/proc/$1/root/tmp" "/proc/$1/root/dev/shm" ! -type d ! -name 'dotnet-diagnostic-*' ! -name 'clr-debug-pipe-*' 2>/dev/null
}
# The program in container NAME, whose pid is $pid, gives its garbage back.
gives_back() # NAME
{
	local was=$pid
	press_on "$pid" 150 8
	check "${1}_is_told" within 5 container_says "$1" 'told Low'
	check "${1}_collects" within 10 container_says "$1" 'collected:'
	# 90 % on a quiet machine; beside others it was 75 % once: the heap goes back bit by bit, as long as memory is short
	# what the hook collected: it may do so before memory is short, for it is told when the limit comes near
	read -r before after < <(sed -n 's/.*collected: \([0-9]*\)\..* -> \([0-9]*\)\..*/\1 \2/p' "$work/$1.log" | head -n 1)
	check "${1}_falls_by_60_percent_while_memory_is_short" fell 60 "${before:-0}" "${after:-0}"
	check "${1}_is_still_the_same" alive "$was"
	note "$(grep psibridge "$work/$1.out")"
}

check the_daemon_runs daemon_ready
start a_container_has_the_hook_as_one_file_and_its_socket container socket -v "$hook:/hook.so:ro" -v /run/psibridge/notify:/run/psibridge/notify \
	-e MEMORY_PRESSURE_WATCH=/run/psibridge/notify -e "${profiler[0]}" -e "${profiler[1]}" -e CORECLR_PROFILER_PATH=/hook.so
check it_listens_to_the_daemon within 10 container_says socket 'ready: rung 1, psibridged'
gives_back socket
podman rm -ft 0 psb-socket >/dev/null

# What is asked for is what `make install` put there.
start one_runs_without_any_hook container attached
check attach_loads_the_hook_into_it psibridge attach "$pid"
check its_control_groups_are_read_only grep -E ' /sys/fs/cgroup ro,.* cgroup2 ' "/proc/$pid/mountinfo"
check it_has_to_listen_to_memory_events_without_io_uring within 20 container_says attached 'ready: rung 4, .*, epoll'
gives_back attached
empty nothing_of_it_stays_in_the_containers_tmp files_in_tmp "$pid"
check attaching_again_is_no_mistake psibridge attach "$pid"
podman rm -ft 0 psb-attached >/dev/null

# ---- and away ------------------------------------------------------------------------------------------------
left() # the runtime's own sockets aside: a killed one leaves those, as always
{
	pgrep -a garbage
	comm -13 "$work/before" <(in_tmp) | { grep -v '^/var/tmp/psibridge-test\.' || true; } # of tests that run beside it
}
daemon_remove
empty nothing_is_left left

done_testing
