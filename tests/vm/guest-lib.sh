# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# guest-lib.sh - for guest-*.sh that need the daemon. Runs in the guest (tests/vm/run) as root, in the build tree:
#
#     . "$srcdir/tests/vm/guest-lib.sh"
#
# What `make install` would put on a machine lies in $builddir/vm-root (see check-vm) and is copied from there. Every test
# installs it afresh and takes it away at its end, so that they can run in any order, and one alone.
#
#     daemon_install              files in place, systemd knows them; nothing runs
#     daemon_start                enabled and started
#     daemon_ready                both; ends the test if that does not work
#     daemon_remove               the opposite, whatever state it is in
#     daemon_pid, daemon_status   of the running one; its STATUS=
#     within SECONDS COMMAND...   does COMMAND succeed within SECONDS? It is tried three times a second
#     member NAME [-p PROPERTY]... -- COMMAND...
#                                 a service in a cgroup of its own, system.slice/psb-NAME.service; its output is $work/NAME.out
#     members_end                 stops all of them
#     gate_close NAME, gate_open NAME
#                                 a member's shell waits at $(gate NAME) in between
#     says NAME PATTERN           does a line of $work/NAME.out match? container_says: of podman's log, $work/NAME.log
#     levels NAME                 what a listener was told, as words in one line: "low neutral high"
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

: "${builddir:?}" "${srcdir:?}"
vm_root=$builddir/vm-root
work=$(mktemp -d /var/tmp/psb-daemon.XXXXXX)
chmod 755 "$work"
here_bin=$work/bin # programs of the tests, where containers and other users can see them
mkdir "$here_bin"
install -m 755 "$builddir"/tests/vm/{listener,press,foreign} "$here_bin/" || exit 1
[ -d "$vm_root" ] || skip_all "nothing is installed in $vm_root: see check-vm"

note()
{
	printf '%s\n' "$@" | sed 's/^/# /'
}

within()
{
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.3
	done
}

# ---- the daemon ----------------------------------------------------------------------------------

installed_files()
{
	(cd "$vm_root" && find . ! -type d -printf '/%P\n')
}

daemon_install()
{
	local service sbindir version unit

	cp -a --no-preserve=ownership "$vm_root/." / || return
	ldconfig
	# Built elsewhere, they ask for what that machine's systemd can do.
	service=$(installed_files | grep '/psibridged\.service$') || return
	sbindir=$(sed -n 's|^ExecStart=\(.*\)/psibridged$|\1|p' "$service")
	version=$(systemctl --version | awk '{ print $2; exit }')
	for unit in "$service" "${service%service}socket"; do
		"$srcdir/units/instantiate" "$version" "$sbindir" /none <"$srcdir/units/${unit##*/}.in" >"$unit" || return
	done
	systemctl daemon-reload
	# It reads its policy files only then.
	systemctl reload dbus 2>/dev/null
	true
}

# daemon_setting SECTION KEY=VALUE...: a drop-in of the service, in /run
daemon_setting()
{
	mkdir -p /run/systemd/system/psibridged.service.d
	{ echo "[$1]"; shift; printf '%s\n' "$@"; } >"/run/systemd/system/psibridged.service.d/test-$#.conf"
	systemctl daemon-reload
}

daemon_start()
{
	systemctl enable --now psibridged
}

daemon_remove()
{
	systemctl disable -q --now psibridged.service psibridged.socket 2>/dev/null
	systemctl clean --what=fdstore psibridged 2>/dev/null
	systemctl reset-failed psibridged.service psibridged.socket 2>/dev/null
	(cd / && installed_files | xargs -r -d '\n' rm -f)
	rm -rf /run/systemd/system/psibridged.service.d /etc/psibridge
	systemctl daemon-reload
}

# For tests that are about something else.
daemon_ready()
{
	daemon_install && daemon_start && return
	systemctl status --no-pager psibridged
	echo "1..0 # not without the daemon"
	exit 1
}

daemon_pid()
{
	systemctl show -P MainPID psibridged
}

daemon_status()
{
	systemctl show -P StatusText psibridged
}

daemon_is_new() # is it another process than OLD_PID, and ready?
{
	[ "$(daemon_pid)" != "$1" ] && systemctl is-active -q psibridged
}

# In microseconds.
cpu_usec()
{
	awk '$1 == "usage_usec" { print $2 }' "/sys/fs/cgroup/$1/cpu.stat"
}

now_usec()
{
	python3 -c 'import time; print(time.monotonic_ns() // 1000)'
}

# ---- who lives in the cgroups ----------------------------------------------------------------------

member()
{
	local name=$1 properties=()
	shift
	while [ "$1" != -- ]; do
		properties+=("$1")
		shift
	done
	shift
	: >"$work/$name.out"
	systemd-run -q --collect --unit "psb-$name" -p StandardOutput="append:$work/$name.out" \
		-p StandardError="append:$work/$name.out" -p LimitMEMLOCK=infinity -p OOMScoreAdjust=-500 \
		-p TimeoutStopSec=5 -p KillMode=mixed "${properties[@]}" -- "$@"
}

# A member that listens at psibridged's socket and runs a shell command beside it.
# member_listens NAME SECONDS COMMAND [-p PROPERTY]...
member_listens()
{
	local name=$1 seconds=$2 command=$3
	shift 3
	member "$name" -p MemoryPressureWatch=skip -p Environment=MEMORY_PRESSURE_WATCH=/run/psibridge/notify "$@" -- \
		/bin/sh -c "$here_bin/listener $seconds & sleep 1; $command; wait"
	within 20 grep -q '^source' "$work/$name.out"
}

# A lock on a file: who waits for it sleeps. To look ten times a second for a file takes a few members all of an emulated machine.
declare -A gates
gate_close()
{
	local fd
	exec {fd}>"$work/$1.gate"
	flock "$fd"
	gates[$1]=$fd
}
gate_open()
{
	flock -u "${gates[$1]}"
	exec {gates[$1]}>&-
}
gate()
{
	echo "flock -s $work/$1.gate true"
}

members_end()
{
	systemctl stop 'psb-*.service' 2>/dev/null
	systemctl reset-failed 'psb-*.service' 2>/dev/null
	true
}

levels()
{
	awk '$1 == "told" { printf "%s%s", space, $4; space = " " }' "$work/$1.out"
}

lows() # NAME: how many
{
	grep -c '^told [0-9]* [0-9]* low ' "$work/$1.out"
}

was_told() # NAME LEVEL
{
	grep -q "^told [0-9]* [0-9]* $2 " "$work/$1.out"
}

says() # NAME PATTERN
{
	grep -qE "$2" "$work/$1.out"
}

container_says() # NAME [PATTERN]: of a container whose log is $work/NAME.log
{
	sed 's/^[^ ]* std[outer]* [FP] //' "$work/$1.log" >"$work/$1.out"
	says "$1" "${2:-}"
}

cgroup_of() # PID
{
	sed -n 's|^0::|/sys/fs/cgroup|p' "/proc/$1/cgroup"
}

# A cgroup is made short of memory by a process put into it: the shell charges hardly anything, press is what is put to sleep.
press_in() # CGROUP MB SECONDS
{
	sh -c 'echo $$ >"$1/cgroup.procs" && exec "$2" hold "$3" "$4"' - "$1" "$here_bin/press" "$2" "$3" >/dev/null
}

connected() # how many clients are
{
	ss -xH state established src /run/psibridge/notify | wc -l
}

median() # of column N
{
	awk -v n="$1" '{ print $n }' | sort -n | awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : "none" }'
}

ended() # NAME: it was told Low, and after the last one that it is over
{
	awk '$1 == "told" { last = $4; n += $4 == "low" } END { exit !(n && last != "low") }' "$work/$1.out"
}

# Whatever ends the test, the machine is as it was.
cleanup()
{
	members_end
	daemon_remove >/dev/null 2>&1
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' TERM INT
