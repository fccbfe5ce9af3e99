#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge run: what it sets and what it leaves alone, and that the program is none the wiser.
#
# The program is a script that prints its environment; the hooks are empty files. At the end real .NET and Mono programs
# give memory back, and programs of other runtimes run as ever, where these are here.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
mkdir "$T/hooks" "$T/bin"
so=$T/hooks/libpsibridge-coreclr.so dll=$T/hooks/PsiBridge.StartupHook.dll
: >"$so"
: >"$dll"
: >"$T/hooks/libmono-profiler-psibridge.so"
export PSIBRIDGE_HOOKS="$T/hooks" PATH="$T/bin:$PATH"
guid='{9F1A4C50-6B0E-4C46-9C1D-5053492D4247}'

# ---- helpers -----------------------------------------------------------------------------------------
cat >"$T/bin/program" <<'SH'
#!/bin/sh
echo "pid=$$"
printf 'argument=%s\n' "$@"
env
exit "${1:-0}"
SH
chmod +x "$T/bin/program"
check the_program_was_built test -x "$psibridge"

# In the build tree psibridge is a script of libtool's, which adds to LD_LIBRARY_PATH.
planned() { run run --dry-run "$@" && sed -i "s|$builddir/\.libs/\{0,1\}:\{0,1\}||" "$T/stdout"; }
# plans TEXT ARGUMENT...: that and nothing else
plans()
{
	text=$1
	shift
	planned "$@"
	same 0 "$status" && same "$text" "$(cat "$T/stdout")" && [ ! -s "$T/stderr" ]
}
# with VARIABLE=VALUE... -- LINE ARGUMENT...: where these are set, LINE is in the plan
with()
(
	while [ "$1" != -- ]; do
		export "${1?}"
		shift
	done
	line=$2
	shift 2
	planned "$@"
	grep -qxF -e "$line" "$T/stdout" || { cat "$T/stdout"; exit 1; }
)
without() { ! grep "$1" "$T/stdout"; }

# ---- what makes no sense -----------------------------------------------------------------------------
check a_command_is_needed refused 'psibridge run: a command is missing, such as "psibridge run -- dotnet app.dll"' run
check a_way_that_is_none refused 'psibridge run: --hook "magic": auto, notification, profiler, startup-hook, mono-profiler, protocol or none was expected' run --hook magic -- true
check a_share_that_is_none refused 'psibridge run: --memory-high "100%": a percentage from 1% to 99%, or off, was expected' run --memory-high=100% -- true
nowhere='command not found (or what would run it: the interpreter in its #! line, its dynamic linker)'
echo 'echo text' >"$T/data"
mkdir "$T/first" "$T/first/program"
cp "$T/data" "$T/first/useless"
printf '#!/no/such/interpreter\n' >"$T/bin/lost"
printf '#!%s\n' "$T/bin/loop" >"$T/bin/loop"
chmod +x "$T/bin/lost" "$T/bin/loop"
# NAME|STATUS|COMMAND|TEXT
while IFS='|' read -r name wanted command text; do
	check "$name" fails "$wanted" "psibridge run: $command: $text" run --hook none -- "$command"
done <<END
not_found_is_127|127|no-such-program|$nowhere
a_path_that_is_not_there_is_127|127|./no/such|No such file or directory
not_executable_is_126|126|./data|Permission denied
a_directory_is_126|126|/|Permission denied
a_missing_interpreter_is_127_and_told|127|lost|$nowhere
also_where_a_path_was_given|127|$T/bin/lost|it is there, but what would run it is not: the interpreter in its #! line, or its dynamic linker
interpreters_in_a_circle_are_126|126|loop|Too many levels of symbolic links
END
in_path() { PATH=$T/first:$PATH run run --hook none -- "$1"; same "$2" "$status"; }
check a_directory_in_path_is_passed_over in_path program 0
check what_may_not_be_executed_is_126 in_path useless 126

# ---- what is set -------------------------------------------------------------------------------------
notification="# notification
CORECLR_ENABLE_NOTIFICATION_PROFILERS=1
CORECLR_NOTIFICATION_PROFILERS='$so=$guid;'"
mono="# mono-profiler
MONO_ENV_OPTIONS=--profile=psibridge
LD_LIBRARY_PATH=$T/hooks"
all() { MEMORY_PRESSURE_WATCH=/dev/null plans "$notification
$mono
# protocol is left out: it is set already" "$@"; }
check all_that_harms_nothing_is_set all
check whatever_the_command_is all no-such-program --json
check notification_alone plans "$notification" --hook notification
check mono_alone plans "$mono" --hook mono-profiler
check the_profiler plans "# profiler
CORECLR_ENABLE_PROFILING=1
CORECLR_PROFILER='$guid'
CORECLR_PROFILER_PATH=$so" --hook profiler
check the_start_up_hook plans "# startup-hook
DOTNET_STARTUP_HOOKS=$dll" --hook startup-hook
check hook_none_sets_nothing plans '' --hook none
switched_off() { PSIBRIDGE=off plans ''; }
check psibridge_off_sets_nothing switched_off
as_planned()
{
	run run program
	for line in CORECLR_ENABLE_NOTIFICATION_PROFILERS=1 "CORECLR_NOTIFICATION_PROFILERS=$so=$guid;" MONO_ENV_OPTIONS=--profile=psibridge; do
		grep -qxF -e "$line" "$T/stdout" || return
	done
	grep -q "^LD_LIBRARY_PATH=.*$T/hooks\$" "$T/stdout"
}
check the_program_gets_what_was_planned as_planned
quoted() { mkdir -p "$T/it's a dir" && cp "$so" "$T/it's a dir/" && (set -a; eval "$(PSIBRIDGE_HOOKS="$T/it's a dir" "$psibridge" run --dry-run --hook notification)"; same "$T/it's a dir/libpsibridge-coreclr.so=$guid;" "$CORECLR_NOTIFICATION_PROFILERS"); }
check a_dry_run_can_be_evaluated quoted

# ---- what is set already stays -----------------------------------------------------------------------
# extends [ARGUMENT... --]: with the first of each pair the second is in the plan. What is not ours is not ours: another file
# with a longer name, an option that begins alike.
extends()
{
	while IFS='|' read -r variable line way; do
		# shellcheck disable=SC2086 # an option, or nothing
		with "$variable" -- "$line" $way || return
	done
}
check what_is_set_already_is_extended extends <<END
CORECLR_NOTIFICATION_PROFILERS=/a.so={X};|CORECLR_NOTIFICATION_PROFILERS='/a.so={X};$so=$guid;'
CORECLR_NOTIFICATION_PROFILERS=/a.so={X}|CORECLR_NOTIFICATION_PROFILERS='/a.so={X};$so=$guid;'
CORECLR_NOTIFICATION_PROFILERS_64=/a.so={X};|CORECLR_NOTIFICATION_PROFILERS_64='/a.so={X};$so=$guid;'
MONO_ENV_OPTIONS=--debug|MONO_ENV_OPTIONS='--debug --profile=psibridge'
MONO_ENV_OPTIONS=--profile=psibridge2|MONO_ENV_OPTIONS='--profile=psibridge2 --profile=psibridge'
LD_LIBRARY_PATH=/a:/b|LD_LIBRARY_PATH=/a:/b:$T/hooks
DOTNET_STARTUP_HOOKS=/a.dll:|DOTNET_STARTUP_HOOKS=/a.dll::$dll|--hook startup-hook
DOTNET_STARTUP_HOOKS=/a.dll|DOTNET_STARTUP_HOOKS=/a.dll:$dll|--hook startup-hook
DOTNET_STARTUP_HOOKS=/a/NotPsiBridge.StartupHook.dll|DOTNET_STARTUP_HOOKS=/a/NotPsiBridge.StartupHook.dll:$dll|--hook startup-hook
END
slot_kept() { with 'CORECLR_PROFILER={X}' -- '# profiler is left out: CORECLR_PROFILER={X} is set, and stays' --hook profiler && without ^CORECLR; }
check the_slot_of_another_profiler_is_left_alone slot_kept
slot_hidden() { with CORECLR_PROFILER_PATH_64=/a.so -- '# profiler is left out: CORECLR_PROFILER_PATH_64=/a.so is set, and stays' --hook profiler && without ^CORECLR; }
check so_is_one_whose_path_hides_ours slot_hidden
check notification_is_beside_it with CORECLR_ENABLE_PROFILING=1 'CORECLR_PROFILER={X}' -- "CORECLR_NOTIFICATION_PROFILERS='$so=$guid;'"
off() { with CORECLR_ENABLE_NOTIFICATION_PROFILERS=0 -- '# notification is left out: CORECLR_ENABLE_NOTIFICATION_PROFILERS=0 is set, and stays' && without ^CORECLR; }
check notification_that_is_off_stays_off off
forbidden() { with "$1" -- "# notification is left out: $1 forbids profilers; \"--hook startup-hook\" does without" && without ^CORECLR; }
for switch in DOTNET_EnableDiagnostics=0 DOTNET_EnableDiagnostics_Profiler=0x0 COMPlus_EnableDiagnostics=00; do
	check "${switch%=*}_forbids_profilers" forbidden "$switch"
done
check the_newer_name_of_a_switch_counts with DOTNET_EnableDiagnostics=1 COMPlus_EnableDiagnostics=0 -- CORECLR_ENABLE_NOTIFICATION_PROFILERS=1
check profilers_forbidden_or_not_there_is_the_start_up_hook with DOTNET_EnableDiagnostics=0 -- "DOTNET_STARTUP_HOOKS=$dll" --hook startup-hook
nested()
{
	for way in profiler startup-hook; do
		"$psibridge" run --hook $way -- "$psibridge" run --dry-run --hook notification >"$T/stdout"
		same "# notification is left out: $way is set already" "$(cat "$T/stdout")" || return
	done
	mkdir -p "$T/other" && cp "$T"/hooks/* "$T/other" && MEMORY_PRESSURE_WATCH=/dev/null "$psibridge" run -- env "PSIBRIDGE_HOOKS=$T/other" "$psibridge" run --dry-run >"$T/stdout"
	[ "$(grep -c 'left out: it is set already' "$T/stdout")" = 2 ] && without ^CORECLR && MEMORY_PRESSURE_WATCH=/dev/null run run -- "$psibridge" run -- true && [ ! -s "$T/stderr" ]
}
check run_in_run_adds_nothing_twice nested
set_already() { MEMORY_PRESSURE_WATCH=/dev/null run run program; grep -qx MEMORY_PRESSURE_WATCH=/dev/null "$T/stdout" && without ^MEMORY_PRESSURE_WRITE && [ ! -s "$T/stderr" ]; }
check what_a_manager_told_to_watch_stays set_already

# ---- a hook that cannot be loaded --------------------------------------------------------------------
missing()
{
	PSIBRIDGE_HOOKS=/nowhere run run program 7
	same 7 "$status" && without '^\(CORECLR\|MONO\)' && same "psibridge run: notification is left out: /nowhere/libpsibridge-coreclr.so: No such file or directory
psibridge run: mono-profiler is left out: /nowhere/libmono-profiler-psibridge.so: No such file or directory" "$(cat "$T/stderr")"
}
check a_missing_hook_is_told_and_the_program_runs missing
# What it sets is in tests/vm/guest-memoryhigh.sh. The cgroup of the tests is not the program's own.
left_alone() { run run --memory-high program 7; same 7 "$status" && grep '^psibridge run: memory.high is left as it is: ' "$T/stderr"; }
check memory_high_of_a_cgroup_with_others_is_left_alone_and_the_program_runs left_alone
quiet() { PSIBRIDGE_LOG=error PSIBRIDGE_HOOKS=/nowhere run run program; [ ! -s "$T/stderr" ]; }
check a_log_level_below_warning_is_heard quiet
odd() { mkdir -p "$T/a;b" && cp "$so" "$T/a;b/" && with "PSIBRIDGE_HOOKS=$T/a;b" -- "# notification is left out: $T/a;b/libpsibridge-coreclr.so: a hook's path may have no : ; or = in it"; }
check a_path_that_would_break_a_list_is_told odd

# ---- the protocol ------------------------------------------------------------------------------------
protocol()
{
	run run --hook protocol program
	same 0 "$status" || return
	watch=$(sed -n 's/^MEMORY_PRESSURE_WATCH=//p' "$T/stdout")
	if [ -z "$watch" ]; then
		grep -qx 'psibridge run: protocol is left out: psibridged does not run here' "$T/stderr"
	else
		[ -S "$watch" ] && [ "$(sed -n 's/^MEMORY_PRESSURE_WRITE=//p' "$T/stdout" | base64 -d | tr '\0' .)" = 'some 200000 2000000.' ]
	fi
}
check psibridged_is_watched_or_it_is_told_on_request protocol
unasked() { run run program && same 0 "$status" && [ ! -s "$T/stderr" ]; }
check unasked_that_is_no_word unasked

# ---- the program is none the wiser -------------------------------------------------------------------
same_process() { sh -c 'echo "pid=$$"; exec "$0" run program 0 "two words"' "$psibridge" >"$T/stdout" && same "$(sed -n 1p "$T/stdout")" "$(sed -n 2p "$T/stdout")" && same 'argument=0 argument=two words' "$(grep ^argument= "$T/stdout" | tr '\n' ' ' | sed 's/ $//')"; }
check it_is_the_same_process_with_the_same_arguments same_process
status_of() { run run -- program 7; same 7 "$status"; }
check its_exit_status_is_ours status_of
# shellcheck disable=SC2016
by_signal() { run run -- sh -c 'kill -TERM $$'; same 143 "$status"; }
check its_signal_is_ours by_signal
option_like() { run run "$@" program 0 --dry-run --help; grep -qx argument=--dry-run "$T/stdout" && grep -qx argument=--help "$T/stdout"; }
check options_behind_the_command_are_the_programs option_like
check behind_two_dashes_too option_like --
# stdin or stdout may be closed, and are so for the program
closed() { "$psibridge" run -- sh -c '[ -e /proc/self/fd/1 ] || exit 5' >&- 2>/dev/null; same 5 $?; }
check a_closed_descriptor_stays_closed closed

# ---- the real thing ----------------------------------------------------------------------------------
export PSIBRIDGE_HOOKS="$hooks" PATH="${PATH#*:}"
# unharmed PROGRAM ARGUMENT...: of another runtime, it prints what it prints without us
unharmed() { "$@" >"$T/a" 2>&1; run run -- "$@" && same 0 "$status" && cat "$T/stdout" "$T/stderr" | cmp - "$T/a"; }
for program in node java; do
	if command -v $program >/dev/null; then check ${program}_runs_as_ever unharmed $program --version; else skip ${program}_runs_as_ever "$program is not installed"; fi
done
# gives_back ARGUMENT...: of run; told Low, the program gets smaller, and ends with the status it was told
gives_back() { once launch "$psibridge" run "$@" && ready && falls 50 && tell exit 7 && ended 7; }
if ! command -v dotnet >/dev/null; then
	skip real_dotnet_programs_give_back_memory "the .NET SDK is not installed"
elif ! [ -e "$hooks/libpsibridge-coreclr.so" ]; then
	skip real_dotnet_programs_give_back_memory "libpsibridge-coreclr.so was not built"
else
	garbage=$T/build/bin/Garbage/release/garbage
	check the_program_is_built dotnet_build build Garbage
	check a_real_apphost_gives_back_memory_with_the_profiler gives_back --hook profiler -- "$garbage"
	check real_dotnet_gives_back_memory gives_back -- dotnet "$garbage.dll"
	# For MSBuild a line on a compiler's standard error is an error. No cgroups, no PSI, and a setting that makes no sense.
	# shellcheck disable=SC2016
	worst='for d in /sys/fs/cgroup /proc/pressure "$1"; do [ ! -d "$d" ] || mount -t tmpfs none "$d" || exit; done; shift; exec "$@"'
	# shellcheck disable=SC2086 # $map is an option or nothing
	builds()
	{
		PSIBRIDGE_LOW=nonsense PSIBRIDGE_LOG=${1:-warning} unshare $map -m sh -c "$worst" sh "${mount:-/nonexistent}" \
			"$psibridge" run -- dotnet build -c Release --nologo --artifacts-path "$T/worst" -p:UseSharedCompilation=false \
			"$srcdir/tests/dotnet/Garbage/Garbage.csproj" >"$T/stdout" 2>&1 4>&- </dev/null
		same 0 $? && grep -q ' 0 Warning(s)' "$T/stdout" && ! grep 'psibridge\[' "$T/stdout" && return
		cat "$T/stdout"
		return 1
	}
	map=-r
	[ "$(id -u)" != 0 ] || map=
	# shellcheck disable=SC2086
	if unshare $map -m true 2>/dev/null; then
		check the_sdk_builds_as_ever_in_the_worst_environment builds
	else
		skip the_sdk_builds_as_ever_in_the_worst_environment "no mount namespace can be made here"
	fi
fi
if ! command -v mono >/dev/null || ! command -v mcs >/dev/null; then
	skip a_real_mono_program "Mono is not installed"
elif ! [ -e "$hooks/libmono-profiler-psibridge.so" ]; then
	skip a_real_mono_program "libmono-profiler-psibridge.so was not built"
else
	check the_program_is_built_for_mono mcs -out:"$T/garbage.exe" "$srcdir/tests/dotnet/Garbage/Program.cs"
	# shellcheck disable=SC2016
	check a_real_mono_program_gives_back_memory_where_a_script_starts_it gives_back -- sh -c 'exec mono "$0"' "$T/garbage.exe"
fi

done_testing
