#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge attach: which processes it refuses and why, which socket it takes, what it does with the runtime's answers.
#
# First against a double of the runtime (dotnet-double.c), which answers as it is told and maps what it is told to load;
# the hook is a file of zeros then. At the end against the real one, if the SDK is here.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
double=$builddir/tests/integration/dotnet-double
pid=''
name=libpsibridge-coreclr.so
mkdir "$T/hooks"
head -c 8192 /dev/zero >"$T/hooks/$name"
chmod 755 "$T/tmp" "$T/hooks"
managed=PsiBridge.StartupHook.dll
cp "$T/hooks/$name" "$T/hooks/$managed"
chmod 644 "$T/hooks"/*
export PSIBRIDGE_HOOKS="$T/hooks"
check the_program_was_built test -x "$psibridge"
check the_double_was_built test -x "$double"
[ "$tap_bad" = 0 ] || done_testing

# ---- helpers -----------------------------------------------------------------------------------------
# begins COMMAND...: a double that is ready, or another process that has become its program: a shell has its own exe first
begins()
{
	launch "$@"
	case $* in
	*"$double"*) expect '^ready$' ;;
	*) while [ "$(readlink "/proc/$pid/exe")" = "$(readlink "/proc/$$/exe")" ]; do :; done ;;
	esac
}
# refuses_it TEXT: attach says so of process $pid, of which '@' is the number, and fails
refuses_it() { failed "psibridge attach: $pid: $(printf %s "$1" | sed "s/@/$pid/g")" attach --timeout "${patience:-20s}" "$pid"; }
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
now='has the hook now' already='has the hook already, nothing was done'
# then_ends COMMAND...: whatever came of it, process $pid ends well
then_ends()
{
	"$@"
	result=$?
	[ -z "$pid" ] || ended 0 || return
	return $result
}
case_of() { begins $1 && refuses_it "$2"; } # $1 is a command

# ---- what makes no sense -----------------------------------------------------------------------------
# refused_for ARGUMENTS|TEXT
refused_for()
{
	while IFS='|' read -r arguments text; do
		# shellcheck disable=SC2086 # several words
		refused "psibridge attach: $text" attach $arguments || return
	done
}
check what_makes_no_sense_is_refused_by_name refused_for <<END
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
$(for _ in 1 2 3; do printf -- '--set PSIBRIDGE_CGROUP=/%04094d ' 0; done)1|--set: more than 32 settings, or 4096 bytes of them
END
# Linux gives no process so high a number: PID_MAX_LIMIT is 4 Mi.
check no_such_process_is_told failed 'psibridge attach: 4194305: there is no such process' attach 4194305

# ---- processes that are refused (by which switch: test-run.sh), and what the runtime answers ------------------------------------------
cat=$(readlink -f "$(command -v cat)")
cp "$cat" "$T/mono-sgen"
cp "$T/hooks/$name" "$T/libcoreclr.so" # it has mapped what is called so
long=$T/tmp/$(printf '%0100d/%0100d' 1 2)
mkdir -p "$long"
no_socket="there is no dotnet-diagnostic-@-* in $T/tmp"
socket=$T/tmp/dotnet-diagnostic-@-1-socket
forbids='which forbids to attach; start it without, or by "psibridge run --hook=startup-hook"'
# NAME|COMMAND|TEXT
while IFS='|' read -r what command text; do
	# what answers takes as long as the machine is busy; what is silent, or might come, is not waited for
	case $command in *mute | *map=* | *8013135b) patience=300ms ;; *) patience= ;; esac
	check "$what" then_ends case_of "$command" "$text"
done <<END
what_is_not_dotnet_is_told|cat|it is not .NET ($cat), was compiled ahead of time (NativeAOT), or has just begun: $no_socket
mono_is_told|$T/mono-sgen|it is Mono, which takes no hook while it runs; start it with "psibridge run"
no_socket_is_told|$double map=$T/libcoreclr.so|it has no diagnostics socket: $no_socket
diagnostics_off_is_told|env DOTNET_EnableDiagnostics=0 $double|it was started with DOTNET_EnableDiagnostics=0, $forbids
the_socket_off_is_told|env DOTNET_EnableDiagnostics_IPC=0 $double|it was started with DOTNET_EnableDiagnostics_IPC=0, $forbids
another_profiler_in_the_slot_is_told|$double attach=8013136a|another profiler has the slot; start the program by "psibridge run", which takes another (0x8013136a)
a_runtime_that_never_starts_is_told|$double attach=8013135b|its runtime has not started; does it wait for a tool that resumes it (DOTNET_DefaultDiagnosticPortSuspend, DOTNET_DiagnosticPorts)? (0x8013135b)
a_tmpdir_too_long_for_a_socket_is_told|env TMPDIR=$long $double map=$T/libcoreclr.so|its TMPDIR is too long for a diagnostics socket: $long
an_unknown_error_has_its_number|$double attach=81234567|the runtime refused (0x81234567)
a_runtime_before_dotnet_5_is_told|$double info=none|its runtime is older than .NET 5; start it with "psibridge run --hook=profiler"
a_hung_runtime_is_told|$double info=mute|its runtime did not answer in time on $socket; is the process hung?
a_runtime_that_does_not_finish_is_told|$double attach=mute|its runtime did not say in time whether it loaded the hook; it may still do so
a_loaded_hook_that_is_not_there_is_told|$double attach=lie|its runtime says that the hook is loaded, and it is not: see its standard error
bytes_that_are_no_message_are_told|$double info=rubbish|$socket: the answer makes no sense
half_a_header_is_told|$double info=cut|$socket: the answer makes no sense
END
patience=
export PSIBRIDGE_HOOKS="$T/nowhere"
check a_missing_hook_is_told then_ends case_of "$double" "$T/nowhere/$name: No such file or directory"
export PSIBRIDGE_HOOKS="$T/hooks"

state_is() { until grep -q "^State:.$2" "/proc/$1/status"; do :; done; }
# Its parent is stopped, and does not wait for it.
zombie()
{
	mkfifo "$T/gate"
	# shellcheck disable=SC2016
	launch sh -c 'read -r line <"$0" & echo $!; kill -STOP $$' "$T/gate"
	expect . && dead=$line && state_is "$pid" T && : >"$T/gate" && state_is "$dead" Z &&
		failed "psibridge attach: $dead: it has ended, and only waits for its parent" attach "$dead"
	result=$?
	kill -CONT "$pid"
	return $result
}
check a_process_that_has_ended_is_told then_ends zombie

stopped()
{
	begins "$double" && kill -STOP "$pid" && state_is "$pid" T && refuses_it 'it is stopped (SIGSTOP), and will not answer; continue it first'
	result=$?
	kill -CONT "$pid"
	return $result
}
check a_stopped_process_is_told then_ends stopped

# As somebody else than it: of process 1, or, being root, as nobody.
nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
foreign()
{
	set -- 1
	[ "$(id -u)" != 0 ] || set -- $$ $nobody
	them=$1
	shift
	! "$@" "$psibridge" attach "$them" 2>"$T/stderr" &&
		same "psibridge attach: $them: it belongs to user 0; only that user and root may attach" "$(cat "$T/stderr")"
}
if [ "$(id -u)" != 0 ] || $nobody "$psibridge" --version >/dev/null 2>&1; then
	check another_users_process_is_told foreign
else
	skip another_users_process_is_told "nobody cannot run $psibridge"
fi

# ---- it attaches -------------------------------------------------------------------------------------
attaches() { begins "$@" && attached "$now" && expect '^info$'; }
# Of two the hook takes the first: psb_settings_read_from().
set_it()
{
	begins "$double" && attached "$now" --set PSIBRIDGE_LOG=info --set 'PSIBRIDGE_LOW=some 150ms/2s' --set=PSIBRIDGE_LOG=debug &&
		same "$pid ($(readlink "/proc/$pid/exe")): $now" "$(cat "$T/stdout")" && attached "$already" &&
		refuses_it_with_settings && ended 0 && same "ready
info
attach $T/hooks/$name
set PSIBRIDGE_LOG=debug
set PSIBRIDGE_LOW=some 150ms/2s
set PSIBRIDGE_LOG=info" "$(cat "$T/log")"
}
refuses_it_with_settings()
{
	failed "psibridge attach: $pid: it has the hook already, which keeps the settings it has; nothing was done" attach --set PSIBRIDGE_LOG=info "$pid"
}
check it_attaches_once_with_settings_of_which_the_last_of_a_name_counts then_ends set_it

# ---- what has just begun ------------------------------------------------------------------------------
too_early() { attaches "$double" early=3; }
check a_runtime_that_is_starting_is_asked_again then_ends too_early
mkfifo "$T/gate"
cp "$T/hooks/$name" "$T/libhostfxr.so" # what has it mapped will load a runtime
no_socket_yet()
{
	launch "$double" map="$T/libhostfxr.so" gate="$T/gate" && expect '^mapped$' && { sleep 1.5 && : >"$T/gate" & } && attached "$now" && expect '^info$'
}
check the_socket_of_a_program_that_has_just_begun_is_waited_for then_ends no_socket_yet

# ---- which socket -------------------------------------------------------------------------------------
cleaned()
{
	begins "$double" key=5 && rm "$T/tmp/dotnet-diagnostic-$pid-5-socket" &&
		refuses_it "its diagnostics socket, dotnet-diagnostic-@-5-socket in $T/tmp, was removed (by what cleans that directory?), and comes back with the next start only"
}
check a_socket_that_was_removed_is_told then_ends cleaned

# another DIRECTORY KEY: a double of its own, beside; $other is its number. It ends with descriptor 7, if not before.
others=
another()
{
	rm -f "$T/$2.out"
	TMPDIR=$1 "$double" key="$2" <"$T/hold" >"$T/$2.out" &
	other=$! others="$others $!"
	until [ -s "$T/$2.out" ]; do :; done
}
end_others()
{
	kill -KILL $others 2>/dev/null
	wait $others 2>/dev/null
	others=
	rm -rf "$T/tmp"
	mkdir "$T/tmp"
}
mkfifo "$T/hold"
exec 7<>"$T/hold"
# A name says nothing: a dead socket with the right number, and a living one of another process.
crowd()
{
	begins "$double" key=mine && another "$T/tmp" dead && kill -KILL "$other" && wait "$other" 2>/dev/null
	ln "$T/tmp/dotnet-diagnostic-$other-dead-socket" "$T/tmp/dotnet-diagnostic-$pid-0-socket"
	another "$T/tmp" alive && ln "$T/tmp/dotnet-diagnostic-$other-alive-socket" "$T/tmp/dotnet-diagnostic-$pid-1-socket" && "$@"
	result=$?
	end_others
	return $result
}
takes_its_own() { attached "$now" && expect '^info$'; }
check among_stale_and_foreign_sockets_its_own_is_taken then_ends crowd takes_its_own
nobody_there()
{
	rm "$T/tmp/dotnet-diagnostic-$pid-mine-socket"
	refuses_it "nothing answers on the sockets of number @ in $T/tmp (left by processes that are gone?)"
}
check only_stale_and_foreign_sockets_are_told then_ends crowd nobody_there
# One that is attached to, perhaps by root, answers as it should, and then puts the socket of another process in the place of
# its own: who opened that would tell it to load a file from a directory in which the first can write.
impostor()
{
	mkdir "$T/tmp/other"
	another "$T/tmp/other" victim && attaches "$double" key=mine "$1=$T/tmp/other/dotnet-diagnostic-$other-victim-socket"
	result=$?
	end_others
	[ $result = 0 ] && same ready "$(cat "$T/victim.out")"
}
check a_link_to_somebody_elses_socket_is_not_followed then_ends impostor link
check somebody_else_behind_the_same_name_is_told_nothing then_ends impostor hard
# A name of 23 bytes and more is cut off behind the number: TMPDIR, a '/', the name and a NUL fill an address of 108 bytes.
cut=$T/tmp/
while [ ${#cut} -lt $((108 - 2 - 22)) ]; do cut=${cut}x; done
shorter() { mkdir -p "$cut" && attaches env TMPDIR="$cut" sh -c 'exec "$0" name="$(printf "dotnet-diagnostic-%s-" $$ | head -c 22)"' "$double"; }
check a_socket_whose_name_was_cut_off_is_taken then_ends attaches "$double" end=-soc
check a_socket_whose_number_was_cut_off_is_taken then_ends shorter
mkdir -p "$long"
check a_tmpdir_longer_than_a_socket_address_is_no_matter then_ends attaches env TMPDIR="$long" "$double"

# ---- another mount namespace ----------------------------------------------------------------------------
map=-r
[ "$(id -u)" != 0 ] || map=
# inside SCRIPT: a double that does not see the hooks, after the script has changed its mounts; there $T and $double are known
# shellcheck disable=SC2086 # $map is an option or nothing
inside() { begins env T="$T" double="$double" unshare $map -m sh -c "mount -t tmpfs none \"\$T/hooks\" && $1" "$double"; }
# copied: it was told to load a copy
copied() { expect '^attach ' && case $line in "attach /"*"/psibridge-"*"-$name") ;; *) echo "$line"; false ;; esac; }
own_tmp='mount -t tmpfs none "$T/tmp" &&'
elsewhere()
{
	inside "$own_tmp exec \"\$double\"" && attached "$now" && copied && same "dotnet-diagnostic-$pid-1-socket" "$(ls "/proc/$pid/root$T/tmp")" &&
		grep -q "$name (deleted)" "/proc/$pid/maps" && grep -q "psibridge-.*-$managed (deleted)" "/proc/$pid/maps" && attached "$already"
}
# Where the hook is for us, it has put a FIFO, on which a reader would wait for ever.
fifo_there() { inside "mkfifo -m 644 \"\$T/hooks/$name\" && exec \"\$double\"" && attached "$now"; }
# A link to "/" in there means its own.
links()
{
	inside "$own_tmp mkdir \"\$T/tmp/real\" && ln -s \"\$T/tmp/real\" \"\$T/tmp/link\" && TMPDIR=\$T/tmp/link exec \"\$double\"" &&
		attached "$now"
}
# Its TMPDIR is a directory in which it may not write; we may, and must not.
set_aside()
{
	mkdir -m 777 "$T/aside"
	inside "TMPDIR=\$T/aside exec $nobody \"\$double\"" && chmod 755 "$T/aside" && attached "$now" && copied &&
		case $line in *"$T/aside"*) false ;; esac
}
noexec_there()
{
	# shellcheck disable=SC2016
	inside 'mount -t tmpfs -o noexec none "$T/tmp" && for d in /tmp /var/tmp /run /dev/shm; do
		case $T in $d/*) ;; *) mount -t tmpfs -o ro none $d || exit ;; esac; done && exec "$double"' || return
	run attach "$pid"
	# where the test itself is below one of them, that one will do
	if [ "$status" = 0 ]; then
		copied && case $line in *"$T/tmp"*) false ;; esac
	else
		same "psibridge attach: $pid: it cannot see $T/hooks/$name, and no copy can be put where it could: $T/tmp: mounted noexec" "$(cat "$T/stderr")"
	fi
}
# shellcheck disable=SC2086
unshare $map -m true 2>/dev/null && here=yes || here=
# NAME|COMMAND
while IFS='|' read -r what command; do
	if [ -z "$here" ]; then
		skip "$what" "no mount namespace can be made here"
	elif [ "$command" != set_aside ] || { [ "$(id -u)" = 0 ] && $nobody "$psibridge" --version >/dev/null 2>&1; }; then
		check "$what" then_ends "$command"
	else
		skip "$what" "only root can show what root may do; or nobody cannot run $psibridge"
	fi
done <<'END'
in_another_mount_namespace_it_gets_a_copy_that_goes_again|elsewhere
a_fifo_in_the_hooks_place_is_not_waited_for|fifo_there
a_link_in_its_tmpdir_means_its_own_root|links
root_writes_nothing_where_its_target_may_not|set_aside
nothing_is_loaded_from_a_noexec_mount|noexec_there
END

# ---- another pid namespace ------------------------------------------------------------------------------
numbered_one()
{
	# shellcheck disable=SC2086
	begins unshare $map -p -f "$double" || return
	unshared=$pid pid=$(tr -d ' ' <"/proc/$pid/task/$pid/children")
	attached "$now" && expect '^info$'
	result=$?
	pid=$unshared
	return $result
}
# strace holds attach up where it opens TMPDIR; meanwhile the process ends, and another one gets its number.
number_given_on()
{
	# shellcheck disable=SC2016
	unshare -pf --mount-proc sh -c 'double=$1 psibridge=$2 T=$3
		"$double" 0<>"$T/hold" >"$T/first" & pid=$!
		until [ -s "$T/first" ]; do sleep 0.05; done
		strace -qq -o "$T/trace" -e trace=openat2 -e inject=openat2:delay_enter=2000000:when=1 "$psibridge" attach $pid 2>"$T/stderr" & attach=$!
		sleep 1
		kill -KILL $pid
		wait $pid 2>/dev/null
		rm -f "$T"/tmp/dotnet-diagnostic-*
		echo $((pid - 1)) >/proc/sys/kernel/ns_last_pid
		"$double" 0<>"$T/hold" >"$T/second" & second=$!
		wait $attach
		kill -KILL $second
		[ $second = $pid ] || echo "number $second instead of $pid"' sh "$double" "$psibridge" "$T"
	cat "$T/stderr"
	same ready "$(cat "$T/second")" && grep -q 'o such process' "$T/stderr"
}
# shellcheck disable=SC2086
if ! unshare $map -pf true 2>/dev/null; then
	skip in_another_pid_namespace_its_own_number_counts "no pid namespace can be made here"
	skip another_process_of_its_number_is_told_nothing "no pid namespace can be made here"
else
	check in_another_pid_namespace_its_own_number_counts then_ends numbered_one
	if [ "$(id -u)" = 0 ] && command -v strace >/dev/null; then
		check another_process_of_its_number_is_told_nothing number_given_on
	else
		skip another_process_of_its_number_is_told_nothing "only root may choose a number, and strace is needed"
	fi
fi

# ---- the real thing -----------------------------------------------------------------------------------
export PSIBRIDGE_HOOKS="$hooks"
real="a running program gives back memory, by its own source and by one that it is told"
command -v dotnet >/dev/null || { skip "$real" "the .NET SDK is not installed"; done_testing; }
[ -e "$hooks/$name" ] || { skip "$real" "$name was not built"; done_testing; }
check the_program_is_built dotnet_build build Garbage
# gives_back SOURCE ATTACH-OPTION...: of a program whose environment names that source
gives_back()
{
	PSIBRIDGE_SOURCE=$1 once launch "$T/build/bin/Garbage/release/garbage" && expect '^ready' && before=$(rss_kb) || return
	shift
	attached "$now" "$@" && expect '\]: ready: ' && { [ ! -e "$hooks/$managed" ] || heard 'the managed policy has taken over'; } && falls 50 "$before" && attached "$already" && tell alive && expect '^alive 5120'
}
check a_running_program_gives_back_memory then_ends gives_back "$T/source"
check a_running_program_goes_by_the_settings_it_is_told then_ends gives_back "$T/nowhere" --set "PSIBRIDGE_SOURCE=$T/source"

# A runtime that has not loaded the program's assembly yet takes the hook, and crashes when it is asked for more: 9 of 10 starts were
# so, each at the same place. Its socket's name is cut off in the number, which the hook must find, too.
starting()
{
	${CC:-cc} -shared -fPIC -O1 -D_GNU_SOURCE "$srcdir/tests/integration/slow-start.c" -o "$T/slow-start.so" &&
		PSIBRIDGE_LOG=info launch env TMPDIR="$cut" LD_PRELOAD="$T/slow-start.so" "$T/build/bin/Garbage/release/garbage" 1 0 && attached "$now" &&
		{ [ ! -e "$hooks/$managed" ] || heard '^ready' 'the managed policy has taken over'; }
}
check a_program_that_is_starting_goes_on_to_start then_ends starting

done_testing
