#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge run: what it recognises, what it sets and what it leaves alone, and that the program is none the wiser.
#
# The programs are made here by the C compiler, with the marks by which runtimes are known, and print their environment;
# the hooks are empty files. At the end real .NET and Mono programs give memory back, where the SDK and Mono are here.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

psibridge=$builddir/psibridge
hooks=${PSIBRIDGE_HOOKS:-$builddir/hooks}
T=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-run.XXXXXX") || exit 2
trap 'rm -rf "$T"' EXIT
unset MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE MONO_ENV_OPTIONS LD_LIBRARY_PATH PSIBRIDGE
for variable in $(env | sed -n 's/^\(\(PSIBRIDGE\|CORECLR\|COMPlus\|DOTNET\)_[A-Za-z0-9_]*\)=.*/\1/p'); do
	unset "$variable"
done
mkdir "$T/hooks" "$T/bin"
so=$T/hooks/libpsibridge-coreclr.so dll=$T/hooks/PsiBridge.StartupHook.dll
: >"$so"
: >"$dll"
: >"$T/hooks/libmono-profiler-psibridge.so"
export LC_ALL=C.UTF-8 PSIBRIDGE_HOOKS="$T/hooks" PATH="$T/bin:$PATH"
guid='{9F1A4C50-6B0E-4C46-9C1D-5053492D4247}'
ulimit -c 0
cd "$T" || exit 2

# ---- helpers -----------------------------------------------------------------------------------------
# shellcheck source=cli.sh
. "$srcdir/tests/integration/cli.sh"

# made NAME FLAGS: a program from the C on standard input, that prints its process id, arguments and environment
made()
{
	# CC and its flags are several words
	# shellcheck disable=SC2086
	{ cat; cat "$T/main.c"; } | ${CC:-cc} $2 -x c -o "$T/bin/$1" - -Wl,--export-dynamic 2>"$T/cc.log"
}
cat >"$T/main.c" <<'C'
#include <stdio.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv)
{
	printf("pid=%d\n", (int)getpid());
	for (int i = 0; i < argc; i++)
		printf("argv%d=%s\n", i, argv[i]);
	for (char **e = environ; *e; e++)
		puts(*e);
	return argc > 1 && argv[1][0] == '7' ? 7 : 0;
}
C
host='extern const char name[]; const char name[] = "hostfxr_main_startupinfo";'
marker='0x8b,0x12,0x02,0xb9,0x6a,0x61,0x20,0x38,0x72,0x7b,0x93,0x02,0x14,0xd7,0xa0,0x32,0x13,0xf5,0xb9,0xe6,0xef,0xae,0x33,0x18,0xee,0x3b,0x2d,0xce,0x24,0xb3,0x6a,0xae'
build()
{
	made plain </dev/null && echo "$host" | made dotnet &&
		printf '%s\nvolatile unsigned char marker[] = {0,0,0,0,0,0,0,0,%s};\n' "$host" "$marker" | made apphost &&
		printf '%s\nvolatile unsigned char marker[] = {1,2,3,0,0,0,0,0,%s};\n' "$host" "$marker" | made bundle &&
		echo 'int DotNetRuntimeInfo;' | made single && echo 'int DotNetRuntimeDebugHeader;' | made aot &&
		echo 'void mono_main(void); void mono_main(void) {}' | made mono && return
	cat "$T/cc.log"
	return 1
}
check the_program_was_built test -x "$psibridge"
# shellcheck disable=SC2086
if ! echo 'int main(void) { return 0; }' | ${CC:-cc} -x c -o "$T/try" - 2>/dev/null; then
	skip everything_else "no compiler"
	done_testing
fi
check programs_are_made build
[ "$tap_bad" = 0 ] || done_testing

# In the build tree psibridge is a script of libtool's, which adds to LD_LIBRARY_PATH.
without_libtool() { sed -i "s|$builddir/\.libs/\{0,1\}:\{0,1\}||" "$T/stdout"; }

# plans TEXT ARGUMENT...: what --dry-run prints; the first line is a comment
plans()
{
	text=$1
	shift
	run run --dry-run "$@"
	without_libtool
	same 0 "$status" && same "$text" "$(cat "$T/stdout")" && [ ! -s "$T/stderr" ]
}
lines() { printf '%s\n' "$@"; }

# ---- what makes no sense -----------------------------------------------------------------------------
check a_command_is_needed refused 'psibridge run: a command is missing, such as "psibridge run -- dotnet app.dll"' run
check a_way_that_is_none refused 'psibridge run: --hook "magic": auto, notification, profiler, startup-hook, mono-profiler, protocol or none was expected' run --hook magic -- true
itself() { run run --dry-run "$psibridge"; ! grep -q '\.NET host' "$T/stdout"; }
check psibridge_does_not_take_itself_for_dotnet itself
check json_needs_a_dry_run refused 'psibridge run: --json goes with --dry-run' run --json -- true
check a_way_into_another_runtime refused 'psibridge run: --hook "mono-profiler": that is a way into Mono, and apphost is a .NET app (apphost)' run --hook mono-profiler -- apphost
ends_with() { run run -- "$2"; same "$1" "$status" && same "psibridge run: $2: $3" "$(cat "$T/stderr")"; }
check not_found_is_127 ends_with 127 no-such-program 'command not found'
check a_path_that_is_not_there_is_127 ends_with 127 ./no/such 'No such file or directory'
: >"$T/data"
check not_executable_is_126 ends_with 126 ./data 'Permission denied'
check a_directory_is_126 ends_with 126 / 'Permission denied'
printf '#!/no/such/interpreter\n' >"$T/bin/lost"
printf '#!%s\n' "$T/bin/loop" >"$T/bin/loop"
chmod +x "$T/bin/lost" "$T/bin/loop"
check a_missing_interpreter_is_127 ends_with 127 lost 'command not found'
check interpreters_in_a_circle_are_126 ends_with 126 loop 'Too many levels of symbolic links'

# ---- what is recognised ------------------------------------------------------------------------------
notification="CORECLR_ENABLE_NOTIFICATION_PROFILERS=1
CORECLR_NOTIFICATION_PROFILERS='$so=$guid;'"
check an_apphost_is_dotnet plans "# $T/bin/apphost: a .NET app (apphost); notification
$notification" apphost
check a_bundle_is_dotnet plans "# $T/bin/bundle: a .NET app (single file, framework-dependent); notification
$notification" bundle
check a_single_file_is_dotnet plans "# $T/bin/single: a .NET app (single file, self-contained); notification
$notification" single
check the_host_is_dotnet plans "# $T/bin/dotnet: the .NET host (dotnet); notification
$notification" dotnet app.dll
check options_of_the_host_are_no_command plans "# $T/bin/dotnet: the .NET host (dotnet); notification
$notification" dotnet --roll-forward Major --fx-version=9.0.0 app.dll build
check a_command_of_the_sdk_gets_a_word plans "# $T/bin/dotnet: the .NET host (dotnet); notification
# \"dotnet build\" is a command of the SDK: the SDK's own processes get the hook too
$notification" dotnet build
check nativeaot_gets_advice plans "# $T/bin/aot: a .NET program compiled ahead of time (NativeAOT); none
# a .NET program compiled ahead of time (NativeAOT): it has no interface for a hook; the PsiBridge package, built into the program, does the same" aot
mono="MONO_ENV_OPTIONS=--profile=psibridge
LD_LIBRARY_PATH=$T/hooks"
check mono_is_mono plans "# $T/bin/mono: Mono; mono-profiler
$mono" mono app.exe
ln -s mono "$T/bin/alias"
check links_are_followed plans "# $T/bin/alias: Mono; mono-profiler
$mono" alias app.exe
printf '#!%s\n' "$T/bin/apphost" >"$T/bin/script"
printf '#!%s -x\n' "$T/bin/script" >"$T/bin/script-of-script"
printf '#!/usr/bin/env mono\n' >"$T/bin/by-env"
printf '#! /usr/bin/env -S A=b mono --debug\n' >"$T/bin/by-env-s"
printf '#!/usr/bin/env dotnet\n' >"$T/bin/app.cs"
printf '#!/usr/bin/env -S -i mono\n' >"$T/bin/cleared"
printf 'echo no first line\n' >"$T/bin/text"
chmod +x "$T"/bin/*
check a_script_is_its_interpreter plans "# $T/bin/script: a .NET app (apphost); notification
$notification" script
check so_is_a_script_of_a_script plans "# $T/bin/script-of-script: a .NET app (apphost); notification
$notification" script-of-script
check env_is_looked_through plans "# $T/bin/by-env: Mono; mono-profiler
$mono" by-env
check env_with_words_too plans "# $T/bin/by-env-s: Mono; mono-profiler
$mono" by-env-s
check a_file_based_app_is_a_command_of_the_sdk plans "# $T/bin/app.cs: the .NET host (dotnet); notification
# \"dotnet $T/bin/app.cs\" is a command of the SDK: the SDK's own processes get the hook too
$notification" app.cs
check env_that_clears_is_told plans "# $T/bin/cleared: Mono; none
# Mono: its #! line clears the environment" cleared
# ---- what is there already ---------------------------------------------------------------------------
with() { env "$1" "$psibridge" run --dry-run "$2" >"$T/stdout" 2>&1; without_libtool; grep -qxF -e "$3" "$T/stdout" || { cat "$T/stdout"; return 1; }; }
with2() { env "$1" "$2" "$psibridge" run --dry-run ${5:+--hook "$5"} "$3" >"$T/stdout" 2>&1; grep -qxF -e "$4" "$T/stdout" || { cat "$T/stdout"; return 1; }; }
check a_list_of_profilers_is_extended with 'CORECLR_NOTIFICATION_PROFILERS=/a.so={X};' apphost "CORECLR_NOTIFICATION_PROFILERS='/a.so={X};$so=$guid;'"
check a_list_without_its_last_semicolon_too with 'CORECLR_NOTIFICATION_PROFILERS=/a.so={X}' apphost "CORECLR_NOTIFICATION_PROFILERS='/a.so={X};$so=$guid;'"
case $(uname -m) in
x86_64 | aarch64)
	check the_list_that_hides_the_plain_one_is_extended with 'CORECLR_NOTIFICATION_PROFILERS_64=/a.so={X};' apphost "CORECLR_NOTIFICATION_PROFILERS_64='/a.so={X};$so=$guid;'"
	;;
esac
check start_up_hooks_are_extended with2 DOTNET_STARTUP_HOOKS=/a.dll A=b apphost "DOTNET_STARTUP_HOOKS=/a.dll:$dll" startup-hook
check options_of_mono_are_extended with MONO_ENV_OPTIONS=--debug mono "MONO_ENV_OPTIONS='--debug --profile=psibridge'"
check library_paths_are_extended with LD_LIBRARY_PATH=/a:/b mono "LD_LIBRARY_PATH=/a:/b:$T/hooks"
check the_slot_of_another_profiler_is_left_alone with2 CORECLR_ENABLE_PROFILING=1 'CORECLR_PROFILER={X}' apphost '# profiler: another profiler has the slot (CORECLR_ENABLE_PROFILING=1)' profiler
slot_kept() { with2 CORECLR_ENABLE_PROFILING=1 'CORECLR_PROFILER={X}' apphost "CORECLR_NOTIFICATION_PROFILERS='$so=$guid;'" profiler && ! grep -q '^CORECLR_\(PROFILER\|ENABLE_PROFILING\)' "$T/stdout"; }
check and_notification_is_taken slot_kept
check the_profiler_can_be_asked_for plans "# $T/bin/apphost: a .NET app (apphost); profiler
CORECLR_ENABLE_PROFILING=1
CORECLR_PROFILER='$guid'
CORECLR_PROFILER_PATH=$so" --hook profiler apphost
check profilers_forbidden_means_the_start_up_hook with DOTNET_EnableDiagnostics=0 apphost "DOTNET_STARTUP_HOOKS=$dll"
check notification_forbidden_means_the_profiler with CORECLR_ENABLE_NOTIFICATION_PROFILERS=0 apphost "CORECLR_PROFILER_PATH=$so"
nested()
{
	for way in notification profiler startup-hook; do
		"$psibridge" run --hook $way -- "$psibridge" run --dry-run apphost >"$T/stdout" 2>/dev/null
		same "# $T/bin/apphost: a .NET app (apphost); $way is set already" "$(cat "$T/stdout")" || return
	done
	same "# $T/bin/mono: Mono; mono-profiler is set already" "$("$psibridge" run --hook mono-profiler -- "$psibridge" run --dry-run mono 2>/dev/null)"
}
check run_in_run_adds_nothing_twice nested
# What is not ours is not ours: another file with a longer name, an option that begins alike.
check another_start_up_hook_with_a_longer_name with2 DOTNET_STARTUP_HOOKS=/a/NotPsiBridge.StartupHook.dll A=b apphost "DOTNET_STARTUP_HOOKS=/a/NotPsiBridge.StartupHook.dll:$dll" startup-hook
check another_profile_that_begins_alike with MONO_ENV_OPTIONS=--profile=psibridge2 mono "MONO_ENV_OPTIONS='--profile=psibridge2 --profile=psibridge'"
missing() { with PSIBRIDGE_HOOKS=/nowhere apphost "# notification: /nowhere/libpsibridge-coreclr.so: No such file or directory" && ! grep -q '^[A-Z]' "$T/stdout"; }
check a_missing_hook_is_told_and_nothing_set missing
runs_on()
{
	PSIBRIDGE_HOOKS=/nowhere run run apphost 7
	same 7 "$status" && grep -qx 'psibridge run: apphost: it runs without us' "$T/stderr" && ! grep -q ^CORECLR "$T/stdout"
}
check and_the_program_runs_without_us runs_on
quiet() { PSIBRIDGE_LOG=error PSIBRIDGE_HOOKS=/nowhere run run apphost; [ ! -s "$T/stderr" ]; }
check a_log_level_below_warning_is_heard quiet
odd()
{
	mkdir -p "$T/a;b" && cp "$so" "$T/a;b/"
	with "PSIBRIDGE_HOOKS=$T/a;b" apphost "# notification: the path of the hook has one of : ; = in it"
}
check a_path_that_would_break_a_list_is_told odd
switched_off() { PSIBRIDGE=off run run --dry-run apphost; same "# $T/bin/apphost: not looked at (PSIBRIDGE=off); none" "$(cat "$T/stdout")"; }
check psibridge_off_changes_nothing switched_off
check hook_none_changes_nothing plans "# $T/bin/apphost: not looked at (--hook=none); none" --hook none apphost
quoted() { mkdir -p "$T/it's a dir" && cp "$so" "$T/it's a dir/" && (set -a; eval "$(PSIBRIDGE_HOOKS="$T/it's a dir" "$psibridge" run --dry-run apphost)"; same "$T/it's a dir/libpsibridge-coreclr.so=$guid;" "$CORECLR_NOTIFICATION_PROFILERS"); }
check a_dry_run_can_be_evaluated quoted
json() { "$psibridge" run --dry-run --json apphost | jq -e --arg v "$so=$guid;" '.event == "plan" and .runtime == "coreclr" and .hook == "notification" and .already == false and .variables == {CORECLR_ENABLE_NOTIFICATION_PROFILERS: "1", CORECLR_NOTIFICATION_PROFILERS: $v} and .notes == []'; }
if command -v jq >/dev/null; then check json_is_one_object json; else skip json_is_one_object "jq is not installed"; fi

# ---- programs of no known runtime --------------------------------------------------------------------
protocol()
{
	run run plain
	same 0 "$status" || return
	watch=$(sed -n 's/^MEMORY_PRESSURE_WATCH=//p' "$T/stdout")
	if [ -z "$watch" ]; then
		grep -q 'psibridged does not run here, and memory.pressure of the own cgroup cannot be used' "$T/stderr"
	else
		[ -w "$watch" ] && [ "$(sed -n 's/^MEMORY_PRESSURE_WRITE=//p' "$T/stdout" | base64 -d | tr '\0' .)" = 'some 200000 2000000.' ] &&
			same "psibridge run: plain: a program of no runtime that psibridge knows: it gets MEMORY_PRESSURE_WATCH, which helps if it understands that" "$(cat "$T/stderr")"
	fi
}
check an_unknown_program_gets_the_protocol_or_is_told_why_not protocol
set_already() { MEMORY_PRESSURE_WATCH=/dev/null run run plain; grep -qx MEMORY_PRESSURE_WATCH=/dev/null "$T/stdout" && ! grep -q ^MEMORY_PRESSURE_WRITE "$T/stdout" && [ ! -s "$T/stderr" ]; }
check variables_that_are_set_stay set_already
for_children() { run run --hook notification plain; grep -q ^CORECLR_NOTIFICATION_PROFILERS= "$T/stdout" && same "psibridge run: plain: a program of no runtime that psibridge knows; if it starts .NET, that gets the hook" "$(cat "$T/stderr")"; }
check a_hook_can_be_for_what_it_starts for_children

# ---- the program is none the wiser -------------------------------------------------------------------
same_process() { sh -c 'echo "pid=$$"; exec "$0" run apphost one "two words"' "$psibridge" >"$T/stdout" && same "$(sed -n 1p "$T/stdout")" "$(sed -n 2p "$T/stdout")" && same "argv0=apphost argv1=one argv2=two words" "$(sed -n 's/^argv/argv/p' "$T/stdout" | tr '\n' ' ' | sed 's/ $//')"; }
check it_is_the_same_process_with_the_same_arguments same_process
status_of() { run run -- apphost 7; same 7 "$status"; }
check its_exit_status_is_ours status_of
# shellcheck disable=SC2016
by_signal() { run run --hook none -- sh -c 'kill -TERM $$'; same 143 "$status"; }
check its_signal_is_ours by_signal
option_like() { run run -- apphost --json --help; grep -qx argv1=--json "$T/stdout" && grep -qx argv2=--help "$T/stdout"; }
check options_behind_the_command_are_the_programs option_like
option_like_too() { run run apphost --json; grep -qx argv1=--json "$T/stdout"; }
check without_the_two_dashes_too option_like_too
shell_text() { run run --hook none -- text; same 0 "$status" && same 'no first line' "$(cat "$T/stdout")"; }
check a_text_without_a_first_line_is_for_the_shell shell_text
# stdin or stdout may be closed, and are so for the program
closed() { "$psibridge" run --hook none -- sh -c '[ -e /proc/self/fd/1 ] || exit 5' >&- 2>/dev/null; same 5 $?; }
check a_closed_descriptor_stays_closed closed

# ---- the real thing ----------------------------------------------------------------------------------
export PSIBRIDGE_HOOKS="$hooks" PATH="${PATH#*:}"
rss_kb() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }
heard()
{
	while read -r said <&6; do
		case $said in
		*"$1"*) return ;;
		esac
	done
	echo "not said: $1"
	return 1
}
# gives_back COMMAND...: run, told Low, smaller; it ends with the status it was told
gives_back()
{
	rm -f in out err source
	mkfifo in out err source
	exec 4<>source 7<>err
	PSIBRIDGE_SOURCE=$T/source PSIBRIDGE_LOG=info timeout -k 5 100 "$psibridge" run "$@" <in >out 2>err &
	started=$!
	exec 5>in 3<out 6<err 7>&-
	read -r line <&3 && same ready "$line" && heard 'ready: ' || return
	pid=$(cat "/proc/$started/task/$started/children")
	before=$(rss_kb "${pid% }")
	printf x >&4
	heard 'collected: ' || return
	after=$(rss_kb "${pid% }")
	echo exit 7 >&5
	wait "$started"
	ended=$?
	exec 5>&- 3<&- 6<&-
	echo "resident: $before kB before, $after kB after"
	same 7 "$ended" && [ "$after" -lt $((before / 5 + 20 * 1024)) ]
}
if ! command -v dotnet >/dev/null; then
	skip real_dotnet_programs_give_back_memory "the .NET SDK is not installed"
elif ! [ -e "$hooks/libpsibridge-coreclr.so" ]; then
	skip real_dotnet_programs_give_back_memory "libpsibridge-coreclr.so was not built"
else
	build_real()
	{
		DOTNET_CLI_HOME=$T DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 MSBUILDDISABLENODEREUSE=1 timeout 200 dotnet build -c Release \
			-v quiet --nologo --artifacts-path "$T/build" "$srcdir/tests/dotnet/Garbage/Garbage.csproj" </dev/null
	}
	check the_program_is_built build_real
	garbage=$T/build/bin/Garbage/release/garbage
	check a_real_apphost_gives_back_memory gives_back "$garbage"
	check real_dotnet_gives_back_memory gives_back -- dotnet "$garbage.dll"
	check with_the_profiler_too gives_back --hook profiler -- "$garbage"
	if [ -e "$hooks/PsiBridge.StartupHook.dll" ]; then
		check with_the_start_up_hook_too gives_back --hook startup-hook -- "$garbage"
	else
		skip with_the_start_up_hook_too "PsiBridge.StartupHook.dll was not built"
	fi
fi
if ! command -v mono >/dev/null || ! command -v mcs >/dev/null; then
	skip a_real_mono_program_gives_back_memory "Mono is not installed"
elif ! [ -e "$hooks/libmono-profiler-psibridge.so" ]; then
	skip a_real_mono_program_gives_back_memory "libmono-profiler-psibridge.so was not built"
else
	check the_program_is_built_for_mono mcs -out:"$T/garbage.exe" "$srcdir/tests/dotnet/Garbage/Program.cs"
	check a_real_mono_program_gives_back_memory gives_back mono "$T/garbage.exe"
fi

done_testing
