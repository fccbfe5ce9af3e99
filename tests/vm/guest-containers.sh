#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The recipes of units/containers, for real: podman with its default seccomp profile and a read-only cgroup file system,
# systemd-nspawn with and without a user namespace, a plain unit with the drop-in. In each a client of libpsibridge hears of its
# own cgroup through the one socket that is bound, and of no other. Runs in the guest (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"
recipes=$srcdir/units/containers
notify=/run/psibridge/notify
rootfs=$work/rootfs
trap 'podman rm -ft 0 psb-a psb-b psb-bare psb-pod psb-daemon >/dev/null 2>&1; cleanup' EXIT

# The whole file system of a container.
mkdir -p "$rootfs"/{bin,dev,etc,proc,root,run,sys,tmp,usr,var}
cp "$here_bin"/{listener,press} "$rootfs/bin/"
echo 'ID=psibridge-test' >"$rootfs/etc/os-release"

check the_daemon_runs daemon_ready

# ---- podman ----------------------------------------------------------------------------------------------
# Its log driver is a file that is written outside of the container.
container()
{
	local name=$1
	shift
	podman run -d --name "$name" --log-driver=k8s-file --log-opt "path=$work/$name.log" --network none --memory 64m \
		--cgroup-conf memory.high=16777216 "$@" --rootfs "$rootfs:O" /bin/listener 1000
}

bound=(-v "$notify:$notify" -e "MEMORY_PRESSURE_WATCH=$notify")
check podman_runs_one_with_the_socket container psb-a "${bound[@]}"
check and_another container psb-b "${bound[@]}"
check and_one_without container psb-bare
check io_uring_is_forbidden_in_there_by_the_default_profile within 20 container_says psb-bare '^source .* epoll'
check without_the_socket_it_has_to_listen_to_memory_events within 20 container_says psb-bare '^source 4 events'
check with_it_it_listens_to_the_daemon within 20 container_says psb-a '^source 1 '
note "without: $(head -n 1 "$work/psb-bare.out")" "with:    $(head -n 1 "$work/psb-a.out")"
sleep 2
pid=$(podman inspect -f '{{.State.Pid}}' psb-a)
check its_control_groups_are_read_only grep -E ' /sys/fs/cgroup ro,.* cgroup2 ' "/proc/$pid/mountinfo"
check it_is_confined_by_seccomp grep -E '^Seccomp:[[:space:]]*2$' "/proc/$pid/status"
check it_has_no_cap_sys_resource test $((0x$(awk '$1 == "CapEff:" { print $2 }' "/proc/$pid/status") >> 24 & 1)) = 0
press_container()
{
	podman exec psb-a /bin/press hold 32 4
}
check memory_gets_short_in_one press_container
check it_is_told_low within 10 container_says psb-a '^told [0-9]+ [0-9]+ low '
check and_that_it_is_over within 20 container_says psb-a '^told [0-9]+ [0-9]+ (neutral|high) .*calm'
container_says psb-b
check the_other_was_not_told test "$(lows psb-b)" = 0
note "$(sed 's/^/psb-a: /' "$work/psb-a.out")" "$(sed 's/^/psb-b: /' "$work/psb-b.out")"

was=$(lows psb-a)
systemctl restart psibridged
check its_socket_outlives_the_daemon press_container
told_again()
{
	container_says psb-a && [ "$(lows psb-a)" -gt "$was" ]
}
check it_is_told_by_the_next_daemon_too within 15 told_again

one_more()
{
	timeout 60 podman run --rm --network none "${bound[@]}" --rootfs "$rootfs:O" /bin/listener 2 | grep '^source 1 '
}
check one_that_comes_later_is_served_too one_more
podman rm -ft 0 psb-a psb-b psb-bare >/dev/null 2>&1

# ---- systemd-nspawn ---------------------------------------------------------------------------------------------
nspawn() # NAME OPTION...
{
	local name=$1
	shift
	# `exec`, so that it ends with the unit; it makes a scope of its own.
	member "$name" -p Delegate=yes -- systemd-nspawn -q -D "$rootfs" --ephemeral -M "psb-$name" --kill-signal=SIGKILL \
		--property=MemoryHigh=16M --bind="$notify" -E "MEMORY_PRESSURE_WATCH=$notify" "$@" /bin/listener 1000
	within 30 grep -q '^source' "$work/$name.out"
}

for name in spawn spawnusers; do
	[ $name = spawn ] && private=no || private=pick
	check "${name}_starts" nspawn $name --private-users="$private"
	check "${name}_listens_to_the_daemon" grep '^source 1 ' "$work/$name.out"
	cgroup=$(cgroup_of "$(machinectl show -P Leader "psb-$name")")
	note "$(cat "$work/$name.out")" "cgroup $cgroup"
	check "${name}_gets_short_of_memory" press_in "$cgroup" 40 4
	check "${name}_is_told_low" within 10 was_told $name low
	check "${name}_hears_the_end" within 20 ended $name
	note "$name: $(levels $name)"
	machinectl terminate "psb-$name" 2>/dev/null
done
members_end

# ---- a plain unit with the drop-in ---------------------------------------------------------------------------------
cat >/run/systemd/system/psb-plain.service <<-END
	[Service]
	ExecStart=$here_bin/foreign
	StandardOutput=append:$work/plain.out
	MemoryHigh=16M
	User=nobody
END
mkdir -p /run/systemd/system/psb-plain.service.d
cp "$recipes/50-psibridge.conf" /run/systemd/system/psb-plain.service.d/
chmod 777 "$work"
systemctl daemon-reload
check a_plain_unit_starts systemctl start psb-plain
check its_program_accepts_what_the_drop_in_says within 20 grep -q '^ready' "$work/plain.out"
environment=$(tr '\0' '\n' <"/proc/$(systemctl show -P MainPID psb-plain)/environ" | grep '^MEMORY_PRESSURE')
note "$environment"
check its_threshold_is_a_trigger_with_its_nul test "$(sed -n 's/^MEMORY_PRESSURE_WRITE=//p' <<<"$environment" | base64 -d | od -An -c | tr -d ' \n')" \
	= 'some2000002000000\0'
sleep 1
check a_plain_unit_gets_short_of_memory press_in /sys/fs/cgroup/system.slice/psb-plain.service 40 4
check a_plain_unit_is_told within 10 grep '^told' "$work/plain.out"
systemctl stop psb-plain
rm -r /run/systemd/system/psb-plain.service*
systemctl daemon-reload

# ---- the daemon in a container, as the DaemonSet has it -----------------------------------------------------------------
# It sees the machine's processes and cgroup names. Clients mount the directory with the one socket.
sbin=$(dirname "$(sed -n 's/^ExecStart=//p' "$(systemctl show -P FragmentPath psibridged)")")
systemctl stop psibridged.service psibridged.socket
in_a_container()
{
	mkdir -p "$work/pods" && podman run -d --name psb-daemon --pid=host --cgroupns=host --ulimit memlock=-1 --network none \
		--cap-drop=all --cap-add=sys_resource --read-only -v "$work/pods:/run/psibridge" \
		-v /sys/fs/cgroup:/sys/fs/cgroup --rootfs /:O "$sbin/psibridged" --control /run/control/control &&
		within 20 test -S "$work/pods/notify"
}
press_pod()
{
	podman exec psb-pod /bin/press hold 32 4
}
stalls_told()
{
	container_says psb-pod
	grep -c ' low . stall ' "$work/psb-pod.out"
}
told_more_than() # a record, with its reason; of bytes it would be "signal"
{
	[ "$(stalls_told)" -gt "$1" ]
}
last_source() # PATTERN
{
	container_says psb-pod
	grep '^source' "$work/psb-pod.out" | tail -n 1 | grep "^source $1 "
}
check it_runs_in_a_container in_a_container
bound=(-v "$work/pods:/run/psibridge:ro" -e "MEMORY_PRESSURE_WATCH=$notify")
check a_pod_starts container psb-pod "${bound[@]}"
check a_pod_listens_to_it within 20 last_source '1 psibridged'
check memory_gets_short_in_the_pod press_pod
check the_pod_is_told within 15 told_more_than 0
podman rm -ft 0 psb-daemon >/dev/null 2>&1
check without_the_daemon_it_takes_another_source within 40 last_source '4 events'
check the_next_daemon_starts in_a_container
check and_is_found_by_itself within 90 last_source '1 psibridged'
was=$(stalls_told)
check memory_gets_short_in_the_pod_again press_pod
check and_the_pod_is_told_again within 15 told_more_than "$was"
note "$(sed 's/^/psb-pod: /' "$work/psb-pod.out")"
podman rm -ft 0 psb-pod psb-daemon >/dev/null 2>&1

# ---- the other recipes -------------------------------------------------------------------------------------------------
# What the host has no runtime for is at least read by something that knows the format.
quadlet_accepts()
{
	QUADLET_UNIT_DIRS=$recipes /usr/libexec/podman/quadlet -dryrun 2>&1 | tee "$work/quadlet"
	grep -q "MEMORY_PRESSURE_WATCH=$notify" "$work/quadlet" && grep -q -- "-v $notify" "$work/quadlet"
}
check podman_reads_the_quadlet quadlet_accepts

done_testing
