#!/bin/sh
# SPDX-License-Identifier: MIT
#
# record-traces.sh BUILD DIRECTORY [NAME...] - record traces of real pressure (README.md here says what each is)
#
# psibridged keeps them (Trace=): what the kernel counted, and what was told of it. Each program runs for LENGTH seconds (20) in a cgroup
# /psb-trace with a limit of its own, on cgroup v2 or, where the memory controller is on v1, in one of that name there. As root. The one with
# swap makes a zram device for it and takes it away again; where that cannot be it is left out.
build=$(cd "$1" && pwd) && to=$(cd "$2" && pwd) || exit 2
here=$(cd "$(dirname "$0")/../.." && pwd)
shift 2
[ $# -gt 0 ] || set -- page-cache anonymous anonymous-zram forks dotnet dotnet-hook web
length=${LENGTH:-20}
T=$(mktemp -d) || exit 2
v2=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
v1=$(awk '$3 == "cgroup" && $4 ~ /(^|,)memory(,|$)/ { print $2; exit }' /proc/mounts)
group=psb-trace

clean_up()
{
	[ -z "$daemon" ] || kill "$daemon" 2>/dev/null
	swap_off
	for root in "$v2" $v1; do [ ! -d "$root/$group" ] || xargs -r kill -9 <"$root/$group/cgroup.procs" 2>/dev/null; done
	sleep 1
	for root in "$v2" $v1; do [ ! -d "$root/$group" ] || rmdir "$root/$group"; done
	rm -rf "$T"
}
trap clean_up EXIT

# limit MIB: of the next program. No other swap than what is made for it is used.
limit()
{
	for root in "$v2" $v1; do mkdir -p "$root/$group" || exit; done
	if [ -n "$v1" ]; then
		echo $(($1 << 20)) >"$v1/$group/memory.limit_in_bytes"
	else
		echo +memory >"$v2/cgroup.subtree_control"
		echo $(($1 << 20)) >"$v2/$group/memory.high"
		echo $(($1 << 21)) >"$v2/$group/memory.max"
		if [ -n "$zram" ]; then echo max; else echo 0; fi >"$v2/$group/memory.swap.max"
	fi
}
zram=''
# A device that udev looks at is busy.
swap_on()
{
	modprobe zram 2>/dev/null && udevadm settle && zram=$(zramctl --find --size 512M) && udevadm settle &&
		mkswap "$zram" >/dev/null && udevadm settle && swapon "$zram"
}
swap_off()
{
	[ -z "$zram" ] || { swapoff "$zram"; zramctl --reset "$zram"; }
	zram=
}
# inside COMMAND...: in the cgroup, for so long
inside()
{
	(
		# shellcheck disable=SC2016 # the subshell is the parent
		for root in "$v2" $v1; do sh -c 'echo $PPID >"$1"' sh "$root/$group/cgroup.procs"; done
		exec timeout "$length" "$@"
	)
	return 0
}
# Out of memory with it: pages that another cgroup was charged for make no pressure.
data()
{
	head -c 128M /dev/urandom >"$T/data" && sync "$T/data" && dd if="$T/data" iflag=nocache count=0 2>/dev/null
}
# dotnet_program COMMAND...: it works for $length s with a live cache of 24 MiB, and makes garbage. Its limit comes when it has started.
dotnet_program()
{
	limit 512
	rm -f "$T/in" && mkfifo "$T/in"
	(length=$((length + 60)) && inside "$@" dotnet exec "$build/dotnet/bin/Load/release/load.dll" 24 12 2) <"$T/in" >"$T/load" &
	exec 9>"$T/in"
	until grep -q ready "$T/load"; do sleep 0.2; done
	limit "${DOTNET_LIMIT:-96}"
	echo "go $length" >&9
	sleep "$length"
	exec 9>&-
	wait $!
	cat "$T/load"
}

# ---- the programs --------------------------------------------------------------------------------------
page_cache()
{
	data
	limit 64
	inside python3 -c '
import os, random, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
while True: os.pread(fd, 262144, random.randrange(512) * 262144)' "$T/data"
}
anonymous()
{
	limit 64
	inside python3 -c '
import os, time
held = []
while True: held.append(os.urandom(1 << 19) + bytes(1 << 19)); time.sleep(0.1)'
}
anonymous_zram() { swap_on && anonymous; }
forks()
{
	data
	limit 64
	inside sh -c 'while :; do for i in 1 2 3; do dd if="$1" of=/dev/null bs=256k skip=$((i * 128)) count=120 2>/dev/null & done; wait; done' sh "$T/data"
}
dotnet_alone() { dotnet_program; }
dotnet_hook() { dotnet_program "$build/psibridge" run --; }
web()
{
	limit 64
	(for _ in $(seq $((length * 4))); do sleep 0.2; curl -s -o "$T/page" http://127.0.0.1:18080/; done) &
	inside python3 -m http.server --directory "$here" --bind 127.0.0.1 18080 >"$T/web" 2>&1
	return 0
}

# record NAME FUNCTION
record()
{
	mkdir -p "$T/state" "$T/etc/psibridge" "$T/run/psibridge"
	printf '[Defaults]\nCalm=2s\nRearm=4s\n[Watch %s]\n' "$group" >"$T/etc/psibridge/psibridged.conf"
	limit 64
	STATE_DIRECTORY=$T/state "$build/psibridged" --root "$T" --notify "$T/run/psibridge/notify" --control "$T/run/psibridge/control" 2>"$T/log" &
	daemon=$!
	until [ -S "$T/run/psibridge/control" ]; do sleep 0.1; done
	"$2" || echo "$1: left out"
	swap_off
	sleep 8 # Quiet, and Calm
	kill "$daemon" && wait "$daemon"
	daemon=
	cat "$T"/state/trace/*.trace >"$to/$1.trace"
	rm -r "$T/state"
	for root in "$v2" $v1; do xargs -r kill -9 <"$root/$group/cgroup.procs" 2>/dev/null; done
	sleep 1
	for root in "$v2" $v1; do rmdir "$root/$group"; done
	wc "$to/$1.trace"
}

for name; do
	function=$(echo "$name" | tr - _)
	[ "$name" != dotnet ] || function=dotnet_alone
	record "$name" "$function"
done
