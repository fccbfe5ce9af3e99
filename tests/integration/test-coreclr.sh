#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 600
#
# libpsibridge-coreclr.so as .NET programs meet it: tests/dotnet/Garbage is not changed, gives memory back when told, and
# ends as ever.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "sanitizers do not load into a foreign program"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
hook=$hooks/libpsibridge-coreclr.so
guid='{9F1A4C50-6B0E-4C46-9C1D-5053492D4247}'

[ -e "$hook" ] || skip_all "libpsibridge-coreclr.so was not built"

# as WAY: the environment that brings the hook in
as()
{
	unset CORECLR_ENABLE_PROFILING CORECLR_PROFILER CORECLR_PROFILER_PATH CORECLR_ENABLE_NOTIFICATION_PROFILERS \
		CORECLR_NOTIFICATION_PROFILERS
	case $1 in
	profiler)
		export CORECLR_ENABLE_PROFILING=1 CORECLR_PROFILER="$guid" CORECLR_PROFILER_PATH="$hook"
		;;
	notification) # .NET 10 reads an entry only if it ends with a semicolon
		export CORECLR_ENABLE_NOTIFICATION_PROFILERS=1 CORECLR_NOTIFICATION_PROFILERS="$hook=$guid;"
		;;
	esac
}

garbage() { PSIBRIDGE_LOG=${PSIBRIDGE_LOG-info} eager launch "$garbage" "$@"; }

# ---- the file ----------------------------------------------------------------------------------------
exported()
{
	# shellcheck disable=SC2086 # libtool's NM has arguments
	[ "$($NM -D --defined-only "$hook" | awk '$2 != "A" { print $3 }' | sort | tr '\n' ' ')" = "DllGetClassObject " ]
}
needed()
{
	$READELF -d "$hook" | awk '/[(]NEEDED[)]/ { gsub(/.*\[|\].*/, ""); if ($0 !~ /^(libc[.]so|ld-linux)/) print "needs " $0 }
		/NODELETE/ { stays = 1 } END { if (!stays) print "can be unloaded while it collects" }'
}
NM=${NM:-nm} READELF=${READELF:-readelf}
check one_symbol_is_exported exported
empty it_needs_nothing_but_libc_and_stays_mapped needed

command -v dotnet >/dev/null || { skip the_real_runtime "dotnet is not installed"; done_testing; }
check the_program_is_built dotnet_build build Garbage
[ "$tap_bad" = 0 ] || done_testing
garbage=$T/build/bin/Garbage/release/garbage

# gives_back PERCENT COMMAND...: fills and drops a cache, is told, and its resident memory falls by so much
gives_back()
{
	percent=$1
	shift
	source_new
	PSIBRIDGE_LOG=info once launch "$@" && ready && falls "$percent" && tell alive && expect '^alive 51' && tell exit 7 && ended 7
}

# How the runtime is told (the profiler's slot, or the list of the others) and how the program is started are test-run.sh's.
as notification
managed='\]: the managed policy has taken over'
# managed PERCENT COMMAND...: the same, in one collection that the managed policy makes
managed()
{
	percent=$1
	shift
	source_new
	PSIBRIDGE_LOG=info once launch "$@" && ready && heard "$managed" && low && expect 'dotnet\]: collected: ' && gone "$percent" &&
		tell alive && expect '^alive' && tell exit 7 && ended 7 && unsaid 'coreclr\]: collected'
}
gone() { grep -h 'collected: ' "$T/log" | awk -v least="$1" '{ print; exit ($3 - $5) * 100 < least * $3 }'; }
check the_managed_policy_takes_over_and_gives_four_fifths_back managed 80 "$garbage"
# ForceGC() does not: 528 -> 528 MB; GC.Collect(aggressive) by hand: 130
check the_large_object_heap_is_compacted managed 65 "$garbage" large
check what_lives_stays managed 30 "$garbage" 500 300

# ---- where nothing managed can be loaded ----------------------------------------------------------------
# without WORDS PERCENT COMMAND...: says why, in one line, and the runtime collects as it likes
without()
{
	words=$1 percent=$2
	shift 2
	source_new
	PSIBRIDGE_LOG=info once launch "$@" && ready && heard "coreclr\]: without the managed policy: .*$words" && falls "$percent" &&
		tell alive && expect '^alive 51' && tell exit 7 && ended 7
}
# beside COMMAND...: a copy of the hook in a directory of its own, in which the command has put something
beside()
{
	rm -rf "$T/beside"
	mkdir "$T/beside"
	cp -L "$hook" "$T/beside/hook.so"
	"$@"
	hook=$T/beside/hook.so
	as notification
	hook=$hooks/libpsibridge-coreclr.so
}
dll=PsiBridge.StartupHook.dll
beside :
check without_the_file without "$dll: No such file or directory" 80 "$garbage"
# .NET 10 ends a program when what it is asked to load cannot be loaded.
rubbish() { echo text >"$T/beside/$dll"; }
beside rubbish
check with_a_file_that_is_none without "$dll: no assembly" 80 "$garbage"
cut_off() { head -c 100000 "$hooks/$dll" >"$T/beside/$dll"; }
beside cut_off
check with_a_file_that_is_cut_off without "$dll: cut off" 80 "$garbage"
foreign() { cp "$T/build/bin/Garbage/release/garbage.dll" "$T/beside/$dll"; }
beside foreign
check with_an_assembly_of_others without "$dll: not ours" 80 "$garbage"
as notification
check with_the_socket_off without 'the runtime has no diagnostics socket in TMPDIR' 80 env DOTNET_EnableDiagnostics_IPC=0 "$garbage"
unsupported()
{
	cp -R "$T/build/bin/Garbage/release" "$T/unsupported" &&
		sed -i 's/"configProperties": {/&\n"System.StartupHookProvider.IsSupported": false,/' "$T/unsupported/garbage.runtimeconfig.json" &&
		grep -q StartupHookProvider "$T/unsupported/garbage.runtimeconfig.json" &&
		without 'the program loads no start-up hooks' 80 "$T/unsupported/garbage"
}
check with_start_up_hooks_off unsupported

# ---- ways to start ---------------------------------------------------------------------------------------
as profiler
# Server GC gives back on a timer of its own, and how much it keeps depends on the number of processors.
check without_concurrent_collections_too gives_back 80 env DOTNET_gcConcurrent=0 "$garbage"
check with_a_hard_limit_too gives_back 80 env DOTNET_GCHeapHardLimit=0x20000000 "$garbage"
check with_server_collections_most_of_it gives_back 60 env DOTNET_gcServer=1 "$garbage"

single()
{
	timeout 200 dotnet publish -c Release -v quiet --nologo --no-self-contained -p:PublishSingleFile=true --use-current-runtime \
		--artifacts-path "$T/single" -o "$T/single/app" "$srcdir/tests/dotnet/Garbage/Garbage.csproj" </dev/null &&
		gives_back 80 "$T/single/app/garbage"
}
check in_a_single_file_too single

# ---- where it is ---------------------------------------------------------------------------------------
# It is moved after its start, as managers do, and the cgroup it came from stays.
group=$mount/psibridge-coreclr-$$
clean_up() { [ ! -d "$group" ] || rmdir "$group"; }
follows()
{
	PSIBRIDGE_SOURCE='' PSIBRIDGE_LOG=info launch "$garbage" 1 0 && ready && echo "$pid" >"$group/cgroup.procs" &&
		expect "ready: .*${group##*/}" && tell exit 7 && ended 7
}
if mkdir "$group" 2>/dev/null && [ -e "$group/memory.pressure" ]; then
	check it_follows_its_process_into_another_cgroup follows
else
	skip it_follows_its_process_into_another_cgroup "no cgroup with PSI can be made here"
fi

# ---- ends --------------------------------------------------------------------------------------------
# By exit(3) it ends without the runtime's knowledge.
check many_exits_under_a_hail_of_notifications_are_clean hail 60 7 'exit 7' "$garbage" 20 2
check native_exits_too hail 10 7 'native-exit 7' "$garbage" 20 2

# dies COMMAND STATUS WORDS: told Low and to die in one breath
dies()
{
	source_new
	PSIBRIDGE_QUIET=300ms garbage 50 2 && ready || return
	low
	tell "$1"
	ended "$2" && said "$3"
}
check an_unhandled_exception_ends_it_as_ever dies throw 134 'Unhandled exception. System.InvalidOperationException: as told'
check failfast_ends_it_as_ever dies crash 134 'as told'

# Its child has our environment, and nothing else of us.
child()
{
	printf '#!/bin/sh\nls -l /proc/self/fd\nenv | grep -c "^CORECLR_PROFILER="\n' >"$T/child"
	chmod +x "$T/child"
	source_new
	PSIBRIDGE_QUIET=300ms garbage 50 2 && ready || return
	low
	tell "fork $T/child"
	tell exit 9
	ended 9 && grep -qx 1 "$T/log" && ! grep -v '^psibridge' "$T/log" | grep -E 'source|anon_inode|memory|statm'
}
check a_child_of_the_program_inherits_no_descriptor child

# SIGKILL: nobody gets to clean up. The sockets and pipes of diagnostics are the runtime's own, with or without us.
killed()
{
	rm -rf "$T/tmp"
	mkdir "$T/tmp"
	source_new
	PSIBRIDGE_QUIET=300ms garbage 50 2 && ready || return
	low && expect ']: told Low' || return
	kill -KILL "$pid"
	ended 137 || return
	left=$(find "$T/tmp" -mindepth 1 ! -name 'clr-debug-pipe-*' ! -name 'dotnet-diagnostic-*')$(find /dev/shm -name '*psibridge*')
	[ -z "$left" ] || { echo "$left"; return 1; }
}
check a_violent_end_leaves_nothing_of_us_behind killed

# ---- bad input ---------------------------------------------------------------------------------------
# runs_on [PATTERN]: one line is said, or none, and the program does not care
runs_on()
{
	source_new
	PSIBRIDGE_LOG=warning garbage 5 1 && expect '^ready' && tell exit 5 && ended 5 && said "${1:-.}" && lines $#
}
switched_off() { PSIBRIDGE=off runs_on; }
check psibridge_off_is_heard switched_off
wrong_guid() { CORECLR_PROFILER='{00000000-6B0E-4C46-9C1D-5053492D4247}' runs_on 'not started: the runtime was given a wrong CLSID'; }
check a_wrong_guid_is_one_line wrong_guid
# As the main profiler and as a notification-only one.
twice()
{
	CORECLR_ENABLE_NOTIFICATION_PROFILERS=1 CORECLR_NOTIFICATION_PROFILERS="$hook=$guid;" \
		runs_on 'asked for twice: this process has psibridge already'
}
check a_process_is_hooked_once twice

done_testing
