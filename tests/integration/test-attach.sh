#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge attach: which processes it refuses and why, which socket it takes, what it does with the runtime's answers.
#
# First against a double of the runtime (dotnet-double.c), which answers as it is told and maps what it is told to load;
# the hooks are files of zeros then. At the end against the real one, if the SDK is here. Output comes through FIFOs, so the
# test waits for events and not for time; `timeout` is there for the day on which nothing comes.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=cli.sh
. "$srcdir/tests/integration/cli.sh"
double=${PSIBRIDGE_DOTNET_DOUBLE:-$builddir/tests/integration/dotnet-double}
pid='' started=''
clean_up()
{
	[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null
	[ -z "$started" ] || kill -KILL "$started" 2>/dev/null
}
mkdir "$T/tmp" "$T/hooks"
chmod 755 "$T" "$T/tmp" "$T/hooks"
dd if=/dev/zero of="$T/hooks/libpsibridge-coreclr.so" bs=4096 count=2 2>/dev/null
chmod 644 "$T/hooks/libpsibridge-coreclr.so"
export PSIBRIDGE_HOOKS="$T/hooks" TMPDIR="$T/tmp"
ulimit -c 0

# ---- helpers -----------------------------------------------------------------------------------------
# refuses_it TEXT: attach says so of process $pid, of which '@' is the number, and fails
refuses_it() { failed "psibridge attach: $pid: $(printf %s "$1" | sed "s/@/$pid/g")" attach --timeout $patience "$pid"; }
patience=20s

# fails_for TEXT ARGUMENT...: it says so of a double of these arguments, which then ends
fails_for()
{
	text=$1
	shift
	launch "$double" "$@" && refuses_it "$text"
	result=$?
	[ -z "$started" ] || finish
	return $result
}

# silent TEXT ARGUMENT...: the same of one that never answers
silent()
{
	patience=300ms
	fails_for "$@"
	result=$?
	patience=20s
	return $result
}

# attached TEXT ARGUMENT...: attach succeeds and prints a line that ends so
attached()
{
	text=$1
	shift
	run attach --timeout 20s "$@" "$pid"
	same 0 "$status" && same "$text" "$(sed 's/^.*): //' "$T/stdout")" && return
	cat "$T/stderr"
	return 1
}

# then_ends COMMAND...: whatever came of it, the double ends
then_ends()
{
	"$@"
	result=$?
	[ -z "$started" ] || finish
	return $result
}

check the_program_was_built test -x "$psibridge"
check the_double_was_built test -x "$double"
[ "$tap_bad" = 0 ] || done_testing

# ---- what makes no sense -----------------------------------------------------------------------------
# refused_for ARGUMENTS|TEXT
refused_for()
{
	while IFS='|' read -r arguments text; do
		# shellcheck disable=SC2086 # several words
		refused "psibridge attach: $text" attach $arguments || return
	done
}
check what_makes_no_sense_is_refused_by_name refused_for <<'END'
|a process id is missing
init|"init": a process id was expected
0|"0": a process id was expected
99999999999999999999|"99999999999999999999": a process id was expected
--set PSIBRIDGE_COLLECT=often 1|--set PSIBRIDGE_COLLECT=often: low, critical or off was expected
--set PSIBRIDGE_LWO=1 1|--set PSIBRIDGE_LWO: there is no such variable; did you mean PSIBRIDGE_LOW?
--set DOTNET_gcServer=1 1|--set DOTNET_gcServer: there is no such setting
--set PSIBRIDGE_BACKEND=epoll 1|--set PSIBRIDGE_BACKEND: there is no such setting
--set PSIBRIDGE_LOG 1|--set PSIBRIDGE_LOG: NAME=VALUE was expected
--timeout 24h 1|--timeout "24h": a time from 100ms to 10min, such as 10s, was expected
END
too_many()
{
	set --
	for word in $(seq 3); do set -- "$@" --set "PSIBRIDGE_CGROUP=/$(printf %04094d 0)"; done
	refused 'psibridge attach: --set: more than 32 settings, or 4096 bytes of them' attach "$@" 1
}
check settings_beyond_all_bounds too_many

# ---- processes that are refused ----------------------------------------------------------------------
# Linux gives no process so high a number: PID_MAX_LIMIT is 4 Mi.
check no_such_process_is_told failed 'psibridge attach: 4194305: there is no such process' attach 4194305

# sits COMMAND...: a process that waits for its standard input
sits()
{
	spawn "$@"
	# until it has become the program: a shell has its own exe first
	while [ "$(readlink "/proc/$pid/exe")" = "$(readlink "/proc/$$/exe")" ]; do :; done
}
refused_as()
{
	text=$1
	shift
	sits "$@"
	refuses_it "$text"
	result=$?
	finish
	return $result
}
no_socket="there is no dotnet-diagnostic-@-* in $T/tmp"
check what_is_not_dotnet_is_told refused_as "it is not .NET ($(readlink -f "$(command -v cat)")), was compiled ahead of time (NativeAOT), or has just begun: $no_socket" cat
cp "$(command -v cat)" "$T/mono-sgen"
check mono_is_told refused_as 'it is Mono, which takes no hook while it runs; start it with "psibridge run"' "$T/mono-sgen"
# It has mapped what is called so.
mapped() { cp "$T/hooks/libpsibridge-coreclr.so" "$T/$1" && fails_for "$2" map="$T/$1"; }
check no_socket_is_told mapped libcoreclr.so "it has no diagnostics socket: $no_socket"
check another_libc_is_told mapped ld-musl-x86_64.so.1 'it is linked with musl, and the hook with glibc'

# Its parent is stopped, and does not wait for it.
zombie()
{
	mkfifo "$T/gate"
	# shellcheck disable=SC2016
	spawn sh -c 'read -r line <"$0" & echo $!; kill -STOP $$' "$T/gate"
	read -r dead <&3
	while ! grep -q '^State:.T' "/proc/$pid/status"; do :; done
	: >"$T/gate"
	while ! grep -q '^State:.Z' "/proc/$dead/status"; do :; done
	failed "psibridge attach: $dead: it has ended, and only waits for its parent" attach "$dead"
	result=$?
	kill -CONT "$pid"
	return $result
}
check a_process_that_has_ended_is_told then_ends zombie

# As somebody else than it: of process 1, or, being root, as nobody.
foreign()
{
	set -- 1
	[ "$(id -u)" != 0 ] || set -- $$ setpriv --reuid=65534 --regid=65534 --clear-groups
	them=$1
	shift
	! "$@" "$psibridge" attach "$them" 2>"$T/stderr" &&
		same "psibridge attach: $them: it belongs to user 0; only that user and root may attach" "$(cat "$T/stderr")"
}
if [ "$(id -u)" != 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups "$psibridge" --version >/dev/null 2>&1; then
	check another_users_process_is_told foreign
else
	skip another_users_process_is_told "nobody cannot run $psibridge"
fi

stopped()
{
	launch "$double" || return
	kill -STOP "$pid"
	while ! grep -q '^State:.T' "/proc/$pid/status"; do :; done
	failed "psibridge attach: $pid: it is stopped (SIGSTOP), and will not answer; continue it first" attach "$pid"
	result=$?
	kill -CONT "$pid"
	return $result
}
check a_stopped_process_is_told then_ends stopped

# ---- switched off when it was started ----------------------------------------------------------------
off()
{
	launch env "$1=$2" "$double" &&
		refuses_it "it was started with $1=$2, which forbids to attach; start it without, or by \"psibridge run --hook=startup-hook\""
	result=$?
	finish
	[ $result = 0 ] && [ ! -s "$T/rest" ]
}
check diagnostics_off_is_told off DOTNET_EnableDiagnostics 0
check diagnostics_off_in_hexadecimal off DOTNET_EnableDiagnostics 0x0
check diagnostics_off_by_the_older_name off COMPlus_EnableDiagnostics 0
check the_socket_off_is_told off DOTNET_EnableDiagnostics_IPC 0

on_again()
{
	launch env DOTNET_EnableDiagnostics=1 COMPlus_EnableDiagnostics=0 "$double" && attached 'has the hook now'
}
check the_newer_name_counts_before_the_older then_ends on_again

check profilers_off_is_told off DOTNET_EnableDiagnostics_Profiler 0

# ---- what the runtime answers ------------------------------------------------------------------------
# Of two the hook takes the first: psb_settings_read_from().
set_it()
{
	launch "$double" && attached 'has the hook now' --set PSIBRIDGE_LOG=info --set 'PSIBRIDGE_LOW=some 150ms/2s' --set=PSIBRIDGE_LOG=debug &&
		same "$pid ($(readlink "/proc/$pid/exe")): has the hook now" "$(cat "$T/stdout")" && expect info &&
		expect "attach $T/hooks/libpsibridge-coreclr.so" && expect 'set PSIBRIDGE_LOG=debug' && expect 'set PSIBRIDGE_LOW=some 150ms/2s' && expect 'set PSIBRIDGE_LOG=info' &&
		attached 'has the hook already, nothing was done' &&
		failed "psibridge attach: $pid: it has the hook already, which keeps the settings it has; nothing was done" attach --set PSIBRIDGE_LOG=info "$pid"
	result=$?
	finish
	[ $result = 0 ] && [ ! -s "$T/rest" ]
}
check it_attaches_once_with_settings_of_which_the_last_of_a_name_counts set_it
socket=$T/tmp/dotnet-diagnostic-@-1-socket
check another_profiler_in_the_slot_is_told fails_for 'another profiler has the slot; start the program by "psibridge run", which takes another (0x8013136a)' attach=8013136a
check an_unknown_error_has_its_number fails_for 'the runtime refused (0x81234567)' attach=81234567
check a_runtime_before_dotnet_5_is_told fails_for 'its runtime is older than .NET 5; start it with "psibridge run --hook=profiler"' info=none
check a_hung_runtime_is_told silent "its runtime did not answer in time on $socket; is the process hung?" info=mute
check a_runtime_that_does_not_finish_is_told silent 'its runtime did not say in time whether it loaded the hook; it may still do so' attach=mute
check a_loaded_hook_that_is_not_there_is_told fails_for 'its runtime says that the hook is loaded, and it is not: see its standard error' attach=lie
check bytes_that_are_no_message_are_told fails_for "$socket: the answer makes no sense" info=rubbish
check half_a_header_is_told fails_for "$socket: the answer makes no sense" info=cut
missing() { launch "$double" && PSIBRIDGE_HOOKS=$T/nowhere failed "psibridge attach: $pid: $T/nowhere/libpsibridge-coreclr.so: No such file or directory" attach "$pid"; }
check a_missing_hook_is_told then_ends missing

# ---- which socket -------------------------------------------------------------------------------------
cleaned()
{
	launch "$double" key=5 && rm "$T/tmp/dotnet-diagnostic-$pid-5-socket"
	failed "psibridge attach: $pid: its diagnostics socket, dotnet-diagnostic-$pid-5-socket in $T/tmp, was removed (by what cleans that directory?), and comes back with the next start only" attach "$pid"
}
check a_socket_that_was_removed_is_told then_ends cleaned
# A name says nothing: a dead socket with the right number, and a living one of another process.
crowd()
{
	rm -rf "$T/tmp" "$T/hold"
	mkdir "$T/tmp"
	mkfifo "$T/hold"
	launch "$double" key=mine
	exec 7<>"$T/hold"
	"$double" key=dead <"$T/hold" >/dev/null &
	dead=$!
	"$double" key=other <"$T/hold" >/dev/null &
	other=$!
	while ! [ -S "$T/tmp/dotnet-diagnostic-$dead-dead-socket" ] || ! [ -S "$T/tmp/dotnet-diagnostic-$other-other-socket" ]; do :; done
	kill -KILL "$dead"
	wait "$dead" 2>/dev/null
	ln "$T/tmp/dotnet-diagnostic-$dead-dead-socket" "$T/tmp/dotnet-diagnostic-$pid-0-socket"
	ln "$T/tmp/dotnet-diagnostic-$other-other-socket" "$T/tmp/dotnet-diagnostic-$pid-1-socket"
	"$@"
	result=$?
	kill -KILL "$other"
	wait "$other" 2>/dev/null
	return $result
}
takes_its_own() { attached 'has the hook now' && expect info; }
check among_stale_and_foreign_sockets_its_own_is_taken then_ends crowd takes_its_own
nobody_there()
{
	rm "$T/tmp/dotnet-diagnostic-$pid-mine-socket"
	failed "psibridge attach: $pid: nothing answers on the sockets of number $pid in $T/tmp (left by processes that are gone?)" attach "$pid"
}
check only_stale_and_foreign_sockets_are_told then_ends crowd nobody_there
# One that is attached to, perhaps by root, answers as it should, and then puts the socket of another process in the place of
# its own: who opened that would tell it to load a file from a directory in which the first can write.
impostor()
{
	rm -rf "$T/tmp" "$T/hold"
	mkdir "$T/tmp" "$T/tmp/other"
	mkfifo "$T/hold"
	exec 7<>"$T/hold"
	TMPDIR=$T/tmp/other "$double" key=other <"$T/hold" >"$T/other.out" &
	other=$!
	while ! [ -S "$T/tmp/other/dotnet-diagnostic-$other-other-socket" ]; do :; done
	launch "$double" key=mine "$1=$T/tmp/other/dotnet-diagnostic-$other-other-socket" &&
		attached 'has the hook now' && expect info
	result=$?
	kill -KILL "$other"
	wait "$other" 2>/dev/null
	[ $result = 0 ] && same ready "$(cat "$T/other.out")"
}
check a_link_to_somebody_elses_socket_is_not_followed then_ends impostor link
check somebody_else_behind_the_same_name_is_told_nothing then_ends impostor hard
long=$T/tmp/$(printf '%0100d/%0100d' 1 2)
long_path()
{
	mkdir -p "$long"
	launch env TMPDIR="$long" "$double" && attached 'has the hook now'
}
check a_tmpdir_longer_than_a_socket_address_is_no_matter then_ends long_path

# ---- another namespace --------------------------------------------------------------------------------
if [ "$(id -u)" = 0 ]; then map=; else map=-r; fi
# shellcheck disable=SC2086
if unshare $map -m true 2>/dev/null; then
	# It has a /tmp of its own and does not see the hooks.
	elsewhere()
	{
		# $map is an option or nothing
		# shellcheck disable=SC2016
		launch unshare $map -m sh -c 'mount -t tmpfs none "$1/hooks" && mount -t tmpfs none "$1/tmp" && exec "$2"' sh "$T" "$double" &&
			attached 'has the hook now' && expect info && read -r line <&3 &&
			case $line in
			"attach $T/tmp/psibridge-"*-libpsibridge-coreclr.so) ;;
			*) echo "$line"; false ;;
			esac && same "dotnet-diagnostic-$pid-1-socket" "$(ls "/proc/$pid/root$T/tmp")" &&
			grep -q 'libpsibridge-coreclr.so (deleted)' "/proc/$pid/maps" && attached 'has the hook already, nothing was done'
	}
	check in_another_mount_namespace_it_gets_a_copy_that_goes_again then_ends elsewhere
	# Where the hook is for us, it has put a FIFO, on which a reader would wait for ever.
	fifo_there()
	{
		# shellcheck disable=SC2016
		launch unshare $map -m sh -c 'mount -t tmpfs none "$1/hooks" && mkfifo -m 644 "$1/hooks/libpsibridge-coreclr.so" && exec "$2"' sh "$T" "$double" &&
			attached 'has the hook now'
	}
	check a_fifo_in_the_hooks_place_is_not_waited_for then_ends fifo_there
	copied_elsewhere() { case $line in "attach $1/"*) echo "$line"; false ;; "attach /"*/psibridge-*-libpsibridge-coreclr.so) ;; *) echo "$line"; false ;; esac }
	# Its TMPDIR is a directory in which it may not write; we may, and must not.
	set_aside()
	{
		mkdir -m 777 "$T/aside"
		# shellcheck disable=SC2016
		launch unshare -m sh -c 'mount -t tmpfs none "$1/hooks" && TMPDIR=$1/aside exec setpriv --reuid=65534 --regid=65534 --clear-groups "$2"' \
			sh "$T" "$double" || return
		chmod 755 "$T/aside"
		attached 'has the hook now' && expect info && read -r line <&3 && copied_elsewhere "$T/aside"
	}
	if [ "$(id -u)" != 0 ]; then
		skip root_writes_nothing_where_its_target_may_not "only root can show what root may do"
	elif setpriv --reuid=65534 --regid=65534 --clear-groups "$psibridge" --version >/dev/null 2>&1; then
		check root_writes_nothing_where_its_target_may_not then_ends set_aside
	else
		skip root_writes_nothing_where_its_target_may_not "nobody cannot run $psibridge"
	fi
	# A link to "/" in there means its own.
	links()
	{
		# shellcheck disable=SC2016
		launch unshare $map -m sh -c 'mount -t tmpfs none "$1/hooks" && mount -t tmpfs none "$1/tmp" && mkdir "$1/tmp/real" &&
			ln -s "$1/tmp/real" "$1/tmp/link" && TMPDIR=$1/tmp/link exec "$2"' sh "$T" "$double" && attached 'has the hook now'
	}
	check a_link_in_its_tmpdir_means_its_own_root then_ends links
	noexec_there()
	{
		# shellcheck disable=SC2016
		launch unshare $map -m sh -c 'mount -t tmpfs none "$1/hooks" && mount -t tmpfs -o noexec none "$1/tmp" &&
			for d in /tmp /var/tmp /run /dev/shm; do case $1 in $d/*) ;; *) mount -t tmpfs -o ro none $d || exit ;; esac; done &&
			TMPDIR=$1/tmp exec "$2"' sh "$T" "$double" || return
		run attach "$pid"
		# where the test itself is below one of them, that one will do
		if [ "$status" = 0 ]; then
			expect info && read -r line <&3 && copied_elsewhere "$T/tmp"
		else
			same "psibridge attach: $pid: it cannot see $T/hooks/libpsibridge-coreclr.so, and no copy can be put where it could: $T/tmp: mounted noexec" "$(cat "$T/stderr")"
		fi
	}
	check nothing_is_loaded_from_a_noexec_mount then_ends noexec_there
else
	for name in in_another_mount_namespace_it_gets_a_copy_that_goes_again a_fifo_in_the_hooks_place_is_not_waited_for root_writes_nothing_where_its_target_may_not a_link_in_its_tmpdir_means_its_own_root nothing_is_loaded_from_a_noexec_mount; do
		skip $name "no mount namespace can be made here"
	done
fi
# shellcheck disable=SC2086
if unshare $map -pf true 2>/dev/null; then
	numbered_one()
	{
		launch unshare $map -p -f "$double" || return
		unshared=$pid pid=$(child_of "$pid")
		attached 'has the hook now'
		result=$?
		pid=$unshared
		[ $result = 0 ] && expect info
	}
	check in_another_pid_namespace_its_own_number_counts then_ends numbered_one
	# strace holds attach up where it opens TMPDIR; meanwhile the process ends, and another one gets its number.
	number_given_on()
	{
		# shellcheck disable=SC2016
		unshare $map -pf --mount-proc sh -c 'double=$1 psibridge=$2 T=$3
			"$double" 0<>"$T/in" >"$T/first" & pid=$!
			until [ -s "$T/first" ]; do sleep 0.05; done
			strace -qq -o "$T/trace" -e trace=openat2 -e inject=openat2:delay_enter=2000000:when=1 "$psibridge" attach $pid 2>"$T/stderr" & attach=$!
			sleep 1
			kill -KILL $pid
			wait $pid 2>/dev/null
			rm -f "$T"/tmp/dotnet-diagnostic-*
			echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
			"$double" 0<>"$T/in" >"$T/second" & second=$!
			wait $attach
			kill -KILL $second
			[ $second = $pid ] || echo "number $second instead of $pid"' sh "$double" "$psibridge" "$T"
		cat "$T/stderr"
		same ready "$(cat "$T/second")" && grep -q 'o such process' "$T/stderr"
	}
	mkfifo "$T/in"
	if [ "$(id -u)" = 0 ] && command -v strace >/dev/null; then
		check another_process_of_its_number_is_told_nothing number_given_on
	else
		skip another_process_of_its_number_is_told_nothing "only root may choose a number, and strace is needed"
	fi
else
	for name in in_another_pid_namespace_its_own_number_counts another_process_of_its_number_is_told_nothing; do
		skip $name "no pid namespace can be made here"
	done
fi

# ---- the real thing -----------------------------------------------------------------------------------
export PSIBRIDGE_HOOKS="$hooks"
real='a_running_program_gives_back_memory a_running_program_goes_by_the_settings_it_is_told'
why=
command -v dotnet >/dev/null || why="the .NET SDK is not installed"
[ -e "$hooks/libpsibridge-coreclr.so" ] || why="libpsibridge-coreclr.so was not built"
if [ -n "$why" ]; then
	for name in $real; do skip "$name" "$why"; done
	done_testing
fi
check the_program_is_built build_garbage
[ -x "$garbage" ] || done_testing

# gives_back SOURCE ATTACH-OPTION...
gives_back()
{
	idles "$1" "$garbage" || return
	shift
	attached "has the hook now" "$@" && collects && attached "has the hook already, nothing was done" && echo alive >&5 && expect 'alive 5120'
}
check a_running_program_gives_back_memory then_ends gives_back "$T/source"
# Its own environment names another source.
check a_running_program_goes_by_the_settings_it_is_told then_ends gives_back "$T/nowhere" --set "PSIBRIDGE_SOURCE=$T/source"

done_testing
