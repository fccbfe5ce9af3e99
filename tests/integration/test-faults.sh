#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 600
#
# Each system call failing once, and each allocation: in a host, in psibridged. After each run: no crash, no hang, no Low that stays,
# nothing that is deaf without a word. It works, or it ends with an error and says which.
#
#     test-faults.sh                    a few of them, as a test
#     test-faults.sh all [TARGET...]    all of them: make check-faults. Counts, and what failed
#     test-faults.sh one TARGET FAULT   one of them: prints what is wrong, or nothing. KEEP: a directory for what it left behind
#
# FAULT is SYSCALL:ERRNO:N (strace counts in each thread by itself), or alloc:N. JOBS: how many at once.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

command -v strace >/dev/null || skip_all "strace is not installed"
[ -z "${SANITIZERS:-}" ] || skip_all "a sanitizer has an allocator of its own, and cannot be traced"
bin=$builddir/.libs
fail_alloc=$builddir/tests/integration/fail-alloc.so
export LD_LIBRARY_PATH="$bin" LC_ALL=C
unset MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE NOTIFY_SOCKET JOURNAL_STREAM LISTEN_FDS
cgroups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
targets='thread-fifo-uring thread-fifo-epoll thread-cgroup-uring thread-cgroup-epoll
	fd-fifo-uring fd-fifo-epoll fd-cgroup-uring fd-cgroup-epoll daemon-uring daemon-epoll'

# Errors that a call may really have. Closing and unmapping have none; futex(2) and exit are glibc's.
errors_of()
{
	case $1 in
	close | munmap | futex | exit* | execve | rt_sig* | brk | arch_prctl | set_* | rseq | restart_syscall | \
		clock_nanosleep | getpid | gettid | rt_sigreturn | sched_yield | mprotect | wait4 | kill) ;;
	io_uring_enter) echo ENOMEM EPERM EBADF EINTR ;;
	epoll_ctl) echo ENOMEM ;;
	epoll_* | poll | ppoll | accept* | recv* | send* | connect | read | pread64 | write) echo ENOMEM EINTR ;;
	openat | socket | eventfd2 | epoll_create1 | inotify_init1 | timerfd_create | signalfd4 | pipe2) echo EMFILE ENOMEM ;;
	clone*) echo EAGAIN ;;
	io_uring_*) echo ENOMEM EPERM ;;
	*) echo ENOMEM ;;
	esac
}

# ---- one run: in a directory of its own, $here ---------------------------------------------------------
# Prints the command that makes $fault happen to whatever follows it.
inject()
{
	call=${fault%%:*} rest=${fault#*:}
	case $fault in
	none) echo "env" ;;
	count) echo "strace -f -qq -o $here/calls -e trace=all" ;;
	alloc:*) echo "env LD_PRELOAD=$fail_alloc FAIL_ALLOC=$rest FAIL_ALLOC_DONE=$here/failed" ;;
	*) echo "strace -f -qq -o $here/calls -e trace=$call -e inject=$call:error=${rest%%:*}:when=${rest#*:}" ;;
	esac
}

# ended STATUS: is that an end that says what was wrong? Prints what is not.
ended()
{
	case $1 in
	0) ;;
	124 | 137) echo "it hangs" ;;
	1 | 2 | 3 | 66 | 69 | 7[0-9] | 127) [ -s "$here/stderr" ] || echo "status $1 without a word" ;;
	*) echo "status $1" ;;
	esac
	grep -h FAULT "$here/stderr" || :
}

# Not beside each other below the root, where each psibridged waits for a system.slice.
make_group()
{
	group=psb-faults/${here##*.}
	until mkdir -p "$cgroups/$group/a" || [ ! -w "$cgroups" ]; do :; done # another one removes what is empty
}

remove_group()
{
	rmdir "$cgroups/$group/a" "$cgroups/$group"
	rmdir "$cgroups/psb-faults" 2>/dev/null # the last one
}

# in_group COMMAND...: in a cgroup of its own, where no other program stalls, if there is one
in_group() { timeout -k 1 60 sh -c '[ ! -d "$0" ] || echo 0 >"$0/cgroup.procs"; exec "$@"' "$cgroups/${group:-no}/a" "$@"; }

run_host()
{
	case $target in *-cgroup-*) what=cgroup ;; *) what=$here/fifo && mkfifo "$what" ;; esac
	[ ! -w "${cgroups:-/nowhere}" ] || make_group
	# shellcheck disable=SC2046
	in_group $(inject) "$builddir/tests/integration/fault-host" "${target%%-*}" "$what" >"$here/stdout" 2>"$here/stderr"
	ended $?
	[ -z "${group:-}" ] || remove_group
}

# To the daemon itself: strace and timeout hand no signal on.
signal()
{
	pkill "-$1" -P $pid psibridged 2>/dev/null || pkill "-$1" -P "$(pgrep -P $pid strace)" psibridged 2>/dev/null
}

run_daemon()
{
	make_group
	mkdir -p "$here/root/etc/psibridge" "$here/psibridge" || exit 2
	cat >"$here/root/etc/psibridge/psibridged.conf" <<-EOF
		[Defaults]
		Early=some 10s/10s
		Low=some 10s/10s
		Critical=full 10s/10s
		Quiet=100ms
		Calm=200ms
		[Watch $group/**]
	EOF
	# shellcheck disable=SC2046
	timeout -k 1 40 $(inject) "$bin/psibridged" --root "$here/root" --notify "$here/psibridge/notify" --control "$here/control" \
		>"$here/stdout" 2>"$here/stderr" &
	pid=$!
	for _ in $(seq 100); do
		[ ! -S "$here/control" ] && kill -0 $pid 2>/dev/null || break
		sleep 0.05
	done
	for episode in 1 2 3 4 5 6; do
		kill -0 $pid 2>/dev/null || break
		# a client's first connection, or the first command, may be what fails: then the next one counts
		in_group "$bin/psibridge" watch --json --source "$here/psibridge/notify" --rung 1 --count 3 --duration 2500ms \
			>"$here/client" 2>>"$here/client-stderr" &
		client=$!
		sleep 0.2 # the client connects; one that is late is told the present state
		"$bin/psibridge" simulate low "/$group/a" --control "$here/control" >/dev/null 2>>"$here/simulate-stderr"
		# what goes on in a new watch ends there
		sed -i "s/^Calm=.*/Calm=20${episode}ms/" "$here/root/etc/psibridge/psibridged.conf"
		signal HUP
		wait $client
		complaint=
		grep -q '"available":"low"' "$here/client" || complaint=deaf
		! grep '"available"' "$here/client" | tail -n 1 | grep -q '"available":"low"' || { complaint="Low stays" && break; }
		[ -z "$complaint" ] && [ $episode -ge 2 ] && break
	done
	alive=no
	kill -0 $pid 2>/dev/null && alive=yes
	signal TERM
	wait $pid
	status=$?
	[ $alive = yes ] || [ $status != 0 ] || echo "it ended by itself with status 0"
	ended $status
	[ $alive = no ] || [ -z "$complaint" ] || echo "a client: $complaint"
	remove_group
}

# one TARGET FAULT: fails when there are no such allocations any more
one()
{
	target=$1 fault=$2
	here=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-fault.XXXXXX") || exit 2
	export PSIBRIDGE_BACKEND=epoll
	[ "${target##*-}" != uring ] || PSIBRIDGE_BACKEND=auto
	case $target in
	daemon-*) run_daemon ;;
	*) run_host ;;
	esac >"$here/complaints"
	# taking out has no errors, and sd-event ends with an assertion if it has one
	grep -q 'EPOLL_CTL_DEL.*(INJECTED)' "$here/calls" 2>/dev/null && : >"$here/complaints"
	[ -z "${KEEP:-}" ] || cp -r "$here" "$KEEP"
	if [ -s "$here/complaints" ]; then
		tr '\n' ';' <"$here/complaints"
		echo
		sed 's/^/    /' "$here/stderr" | head -n 5
		sed 's/^/    /' "$here/failed" 2>/dev/null | head -n 12
	fi
	[ "$fault" != count ] || count_calls >"$CALLS"
	[ "${fault%:*}" != alloc ] || [ -e "$here/failed" ]
	r=$?
	rm -rf "$here"
	return $r
}

# "CALL FIRST LAST" lines: how often one thread made it at most. What ld.so does is not ours: it ends with an error of its
# own, or crashes; set_tid_address(2) is its last call before it relocates.
count_calls()
{
	sed -nE 's/^([0-9]+) +([a-z0-9_]+)\(.*/\1 \2/p' "$here/calls" |
		awk '$2 == "set_tid_address" { begun = 1 }
			{ n = ++count[$0]; if (n > most[$2]) most[$2] = n; if (!begun) loader[$2]++ }
			END { for (c in most) if (most[c] > loader[c]) print c, loader[c] + 1, most[c] }'
}

# ---- many of them ----------------------------------------------------------------------------------------
# Runs "FAULT" lines for target $1; what failed is added to $work/bad, and $work/over says that there are no more.
run_faults()
{
	sed "s|^|$1 |; s|\$| $work|" | xargs -P "${JOBS:-4}" -L 1 sh -c '
		complaint=$("$0" one "$1" "$2")
		[ $? = 0 ] || echo "$1 $2" >>"$3/over"
		[ -z "$complaint" ] || printf "%s %s: %s\n" "$1" "$2" "$complaint" >>"$3/bad"' "$self" 2>&1
}

all()
{
	for target in ${*:-$targets}; do
		CALLS=$work/calls one "$target" count >&2
		while read -r call first last; do
			for error in $(errors_of "$call"); do
				seq "$first" "$last" | sed "s|^|$call:$error:|"
			done
		done <"$work/calls" >"$work/lines"
		: >"$work/bad"
		run_faults "$target" <"$work/lines"
		allocations=0
		until [ -e "$work/over" ]; do
			seq $((allocations + 1)) $((allocations + 40)) | sed 's|^|alloc:|' | run_faults "$target"
			allocations=$((allocations + 40))
		done
		allocations=$((allocations - $(wc -l <"$work/over")))
		rm -f "$work/over"
		echo "$target: $(wc -l <"$work/lines") system calls, $allocations allocations, $(grep -c "^$target" "$work/bad") failed"
		cat "$work/bad"
		[ ! -s "$work/bad" ] || failed=yes
	done
	[ -z "$failed" ]
}

# few TARGET FAULT...: a case
few()
{
	: >"$work/bad"
	target=$1
	shift
	printf '%s\n' "$@" | run_faults "$target"
	empty "$target" cat "$work/bad"
}

self=$0 failed=
if [ "${1:-}" = one ]; then
	one "$2" "$3"
	exit
fi
${CC:-cc} -shared -fPIC -O1 -D_GNU_SOURCE "$srcdir/tests/integration/fail-alloc.c" -o "$fail_alloc" || exit 2
work=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-faults.XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT
if [ "${1:-}" = all ]; then
	shift
	all "$@"
	exit
fi
few thread-fifo-uring none clone3:EAGAIN:2 madvise:ENOMEM:1 alloc:7 newfstatat:ENOMEM:15 io_uring_setup:EPERM:2 io_uring_enter:EBADF:3 \
	io_uring_register:ENOMEM:1
few fd-cgroup-epoll none epoll_wait:ENOMEM:3 eventfd2:EMFILE:2 timerfd_create:EMFILE:1 epoll_ctl:ENOMEM:4 openat:EMFILE:25 openat:EMFILE:40 pread64:ENOMEM:10 alloc:16 alloc:30
if [ -w "${cgroups:-/nowhere}" ]; then
	few daemon-epoll none accept4:EMFILE:1 recvfrom:ENOMEM:1 sendto:ENOMEM:1 inotify_add_watch:ENOMEM:1 alloc:112 alloc:200 alloc:300
else
	skip daemon-epoll "no cgroup can be made here"
fi
done_testing
