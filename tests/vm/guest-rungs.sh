#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Which rung a process gets in worlds that only a whole machine has: in a container, as nobody, with and without a delegated
# cgroup, under systemd. Runs in the guest (tests/vm/run) as root. What each said is in the log.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

work=$(mktemp -d /var/tmp/psb-rungs.XXXXXX)
trap 'podman rm -fa >/dev/null 2>&1; rm -rf "$work"' EXIT

# expect NAME PATTERN COMMAND...: what it prints matches the extended regular expression
expect()
{
	local said
	said=$("${@:3}" 2>&1)
	grep -qE "$2" <<<"$said"
	tap_result $? "$1" "wanted: $2"
	sed 's/^/# /' <<<"$said"
}

# A container whose whole file system is the one program.
rootfs=$work/rootfs
mkdir -p "$rootfs"/{bin,proc,sys,dev,tmp,etc,run}
install -m 755 "$builddir/tests/vm/listener" "$rootfs/bin/"
install -m 755 "$builddir/tests/vm/listener" "$work/"
chmod 755 "$work"

container()
{
	timeout 120 podman run --rm --network none --memory 64m "$@" --rootfs "$rootfs" /bin/listener rung
}

# systemd sets the protocol's variables for every service whose manager has memory pressure accounting, and makes the file
# writable for its user; "plain" is a service without both.
unit()
{
	systemd-run -q --wait --pipe --collect -p MemoryMax=64M "$@" "$work/listener" rung
}

plain()
{
	systemd-run -q --wait --pipe --collect -p MemoryMax=64M -p MemoryPressureWatch=off "$@" \
		env -u MEMORY_PRESSURE_WATCH -u MEMORY_PRESSURE_WRITE "$work/listener" rung
}

expect a_service_is_told_by_systemd_what_to_watch \
	'rung 1 \(psi-file\) cgroup /system.slice/.*\.service, /sys/fs/cgroup/system.slice/' unit
expect so_is_one_of_nobody_without_any_right 'rung 1 \(psi-file\) cgroup /system.slice/.*\.service,' unit -p User=nobody
expect and_one_with_read_only_control_groups 'rung 1 \(psi-file\) ' unit -p ProtectControlGroups=yes
expect where_it_is_switched_off_there_is_nothing \
	'no watch: MEMORY_PRESSURE_WATCH=/dev/null: .* switched off' unit -p MemoryPressureWatch=off
expect without_the_protocol_a_service_gets_a_privileged_trigger_on_its_own_cgroup \
	'rung 2 \(psi-privileged\) cgroup /system.slice/.*\.service,' plain
expect nobody_without_delegation_listens_to_memory_events_and_hears_why \
	'rung 4 \(events\) .*memory.events: .*no permission' plain -p User=nobody
expect nobody_who_owns_his_pressure_file_gets_an_unprivileged_trigger \
	'rung 3 \(psi\) .*(2 s rule|CAP_SYS_RESOURCE)' plain -p User=nobody -p MemoryPressureWatch=on
expect root_without_the_capability_gets_an_unprivileged_trigger \
	'rung 3 \(psi\) .*CAP_SYS_RESOURCE' plain -p CapabilityBoundingSet=~CAP_SYS_RESOURCE
expect a_service_that_may_not_use_io_uring_falls_back_to_epoll \
	'^epoll rung 2' plain -p SystemCallFilter=~io_uring_setup -p SystemCallErrorNumber=EPERM
expect protected_control_groups_are_read_only_and_said_to_be \
	'rung 4 \(events\) .*read-only' plain -p ProtectControlGroups=yes
expect without_a_cgroup_file_system_the_machine_stands_in_and_says_so \
	'rung 6 \(machine\) .*/proc/pressure/memory' plain -p TemporaryFileSystem=/sys
expect a_container_listens_to_memory_events_in_its_read_only_cgroup \
	'rung 4 \(events\) cgroup /, /sys/fs/cgroup/memory.events: .*read-only' container
expect with_a_writable_cgroup_a_container_gets_an_unprivileged_trigger \
	'rung 3 \(psi\) cgroup /.*libpod.*CAP_SYS_RESOURCE' container -v /sys/fs/cgroup:/sys/fs/cgroup:rw --cgroupns=host
expect the_hosts_tree_in_a_namespace_of_its_own_has_no_name_for_it \
	'rung 6 \(machine\) .*no mount of cgroup2 shows' container -v /sys/fs/cgroup:/sys/fs/cgroup:rw --cgroupns=private
expect at_the_root_of_its_namespace_no_trigger_can_be_set \
	'rung 4 \(events\) cgroup /, .*root of a cgroup namespace' container --systemd=always
expect with_the_hosts_cgroup_namespace_it_finds_its_own_by_its_path \
	'rung 4 \(events\) cgroup /.*libpod' container --cgroupns=host

done_testing
