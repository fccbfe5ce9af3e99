#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 900
#
# test-dotnet.sh - PsiBridge as people use it: the xunit tests, the start-up hook in a program that knows nothing of
# it, the NuGet package, a program compiled ahead of time, Mono. What needs packages that are not on this machine (xunit, the
# AOT compiler, the reference assemblies of older frameworks) is skipped if NuGet cannot get them, and then says what
# NuGet said.
#
# From the environment, beside $srcdir and $builddir: $psibridge_native, a libpsibridge.so (default: the build tree's).
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "sanitizers do not load into a foreign program"
command -v dotnet >/dev/null || skip_all "no .NET here"

srcdir=$(realpath "$srcdir")
builddir=$(realpath "$builddir")
native=${psibridge_native:-}
for file in "$builddir/hooks/libpsibridge.so" "$builddir/.libs/libpsibridge.so"; do
	[ -n "$native" ] || [ ! -e "$file" ] || native=$file
done
[ -n "$native" ] || skip_all "no libpsibridge.so was built"
# The name matters to MSBuild and NuGet, so a link stays one.
native=$(realpath "$(dirname "$native")")/$(basename "$native")
# Who has a home has packages in it.
[ ! -w "${HOME:-/nonexistent}" ] || export NUGET_PACKAGES="${NUGET_PACKAGES:-$HOME/.nuget/packages}"
# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
export DOTNET_CLI_UI_LANGUAGE=en PSIBRIDGE_QUIET=1s PSIBRIDGE_CALM=1s PSIBRIDGE_HIGH_HEADROOM=off

# build VERB PROJECT [OPTION...] : quiet unless it fails
build()
{
	verb=$1 project=$2
	shift 2
	timeout 600 dotnet "$verb" "$srcdir/$project" -c Release --artifacts-path "${out:-$T/made}" --nologo -v quiet \
		--disable-build-servers -p:PsiBridgeNative="$native" -p:NuGetAudit=false "$@" >"$T/build.log" 2>&1 4>&- </dev/null || {
		grep -E "error|warning" "$T/build.log" | sort -u | head -n 20 | grep . || cat "$T/build.log"
		return 1
	}
}
# With the SDK's own framework alone nothing needs to be fetched.
own='-p:PsiBridgeFrameworks=net10.0 -p:PsiBridgeAot=false'

# builds NAME VERB PROJECT [OPTION...]: a failed build is a skip if packages are what is missing, else a failure
builds()
{
	name=$1
	shift
	if build "$@" >"$T/said"; then
		tap_result 0 "$name"
	elif grep -qE "error NU1(101|102|301|100)" "$T/build.log"; then
		skip "$name" "NuGet has no $(sed -n 's/.*Unable to find package \([A-Za-z0-9.]*\).*/\1/p' "$T/build.log" |
			sort -u | head -n 1 | grep . || echo "source that answers")"
		return 1
	else
		tap_result 1 "$name" "$(cat "$T/said")"
		return 1
	fi
}

# gave_back PERCENT : at least so much, as it said itself. On a busy machine it is told High before it has counted.
gave_back()
{
	heard 'collected: ' && grep 'collected: ' "$T/log" | awk -v least="$1" '{ print; exit ($3 - $5) * 100 < least * $3 }'
}
mapped() { grep -q "$1" "/proc/$pid/maps"; }

# ---- xunit -------------------------------------------------------------------------------------------------------
# shellcheck disable=SC2086 # $own is two words
if builds xunit_is_built build tests/dotnet/PsiBridge.Tests/PsiBridge.Tests.csproj $own; then
	PSIBRIDGE_INCLUDE="$srcdir/include" timeout 600 dotnet test \
		"$T/made/bin/PsiBridge.Tests/release/PsiBridge.Tests.dll" --logger 'console;verbosity=normal' >"$T/xunit" 2>&1
	status=$?
	sed -n 's/^  \(Passed\|Failed\|Skipped\) PsiBridge\.Tests\.\(.*\) \[.*\]$/\1 \2/p' "$T/xunit" >"$T/cases"
	while read -r verdict case; do
		case $verdict in
		Passed) tap_result 0 "xunit: $case" ;;
		Failed) tap_result 1 "xunit: $case" "$(awk -v name="PsiBridge.Tests.$case" '
			index($0, "  Failed " name) { on = 1 } /^  (Passed|Skipped) / { on = 0 } on' "$T/xunit")" ;;
		Skipped) skip "xunit: $case" "$(grep -F -A 1 "PsiBridge.Tests.$case [SKIP]" "$T/xunit" | sed -n '2s/^\[[^]]*\] *//p')" ;;
		esac
	done <"$T/cases"
	check "xunit: all cases ran" sh -c "[ $status = 0 ] && [ -s '$T/cases' ] || { tail -n 40 '$T/xunit'; false; }"
fi

# ---- the program's environment, exit, and a library that is not there -------------------------------------------------
# shellcheck disable=SC2086
check a_program_that_uses_psibridge_is_built build build tests/dotnet/Embedder/Embedder.csproj $own
embedder=$T/made/bin/Embedder/release/embedder.dll
export PSIBRIDGE_LIBRARY="$native"
embedder() { source_new; launch dotnet "$embedder" "$@"; }
# not_ours LIBRARY WORDS: named once, and the program runs
not_ours()
{
	PSIBRIDGE_LIBRARY=$1 PSIBRIDGE_LOG=warning embedder watch && expect "^status Unavailable: .*$2" && tell level &&
		expect '^level High False' && tell exit && ended 0 && lines 1
}
check a_library_that_is_not_there_is_named_once not_ours /nonexistent 'libpsibridge was not found \(tried PSIBRIDGE_LIBRARY=/nonexistent\)'
check one_that_is_none_of_ours_too not_ours libm.so.6 psb_settings_read
echo none >"$T/libnone.so"
check one_that_is_there_and_is_none_has_the_words_of_the_loader not_ours "$T/libnone.so" \
	"libpsibridge cannot be loaded: .*$T/libnone.so: (file too short|invalid ELF header)"
needs()
{
	echo 'void needed(void) { }' >"$T/needed.c" && cc -shared -fPIC -o "$T/libneeded.so" "$T/needed.c" &&
		echo 'void needed(void); void f(void) { needed(); }' >"$T/needs.c" &&
		cc -shared -fPIC -o "$T/libneeds.so" "$T/needs.c" -L"$T" -lneeded && rm "$T/libneeded.so" &&
		not_ours "$T/libneeds.so" "libpsibridge cannot be loaded: .*libneeded.so: cannot open shared object file"
}
check and_one_that_needs_another_one_too needs
silent() { PSIBRIDGE_LOG=error PSIBRIDGE_LIBRARY=/nonexistent embedder watch && expect '^status Unavailable' && tell exit && ended 0 && lines 0; }
check the_log_level_is_heard_without_libpsibridge_too silent
# off STATUS: with the environment of the call
off() { PSIBRIDGE_LOG=warning embedder watch && expect "^status Off: $1" && tell exit && ended 0 && lines 0; }
PSIBRIDGE=off check psibridge_off_is_heard off PSIBRIDGE=off
managed_off() { (unset PSIBRIDGE_SOURCE; MEMORY_PRESSURE_WATCH=/dev/null PSIBRIDGE_SOURCE='' off ''); }
check so_is_a_manager_that_switches_it_off managed_off
nonsense()
{
	PSIBRIDGE_LWO=1 PSIBRIDGE_APART=soon embedder watch && expect '^status Watching' && low && expect 'collected: ' &&
		tell exit && ended 0 && said 'PSIBRIDGE_APART=soon' && said 'PSIBRIDGE_LWO: there is no such variable; did you mean PSIBRIDGE_LOW'
}
check nonsense_is_named_and_its_default_counts nonsense
lazy()
{
	embedder lazy && expect '^status NotStarted: ' && tell exit && ended 0 && lines 0 &&
		embedder lazy watch && expect 'ready: rung 1, fifo' && low && expect '^changed Low False Signal' && tell exit && ended 0
}
check it_starts_by_itself_when_it_is_asked_for_and_not_before lazy
# who only reads gets the level, and no policy; a start adds it
acts() { grep -q 'psibridge polic' "/proc/$pid"/task/*/comm; }
reads()
{
	embedder lazy && expect '^status NotStarted: ' && tell level && expect '^level High False' && heard 'ready: rung 1, fifo' &&
		low && expect 'told Low' && expect 'told High' && ! acts && unsaid 'collected: ' &&
		tell start && low && expect 'collected: ' && acts && tell exit && ended 0
}
check reading_a_level_starts_no_policy reads
throws()
{
	embedder throw watch && expect '^status Watching' && low && expect '^callback High' && tell exit && ended 0 &&
		for what in 'a handler of MemoryPressure.Changed' 'a callback of MemoryPressure.Register'; do
			[ "$(grep -c "$what threw System.InvalidOperationException: as told" "$T/log")" = 1 ] || return
		done
}
check what_throws_is_reported_once_and_the_others_are_told throws
# Its standard input stays open: the end of that would let Main return, with 0.
handler_exits() { embedder "$1" && expect '^status Watching' && low && cat <&3 >>"$T/log" && ended 7; }
check a_handler_may_exit handler_exits exit
check a_callback_may_exit handler_exits exit-callback
unset PSIBRIDGE_LIBRARY

# ---- the start-up hook ---------------------------------------------------------------------------------------------
hook=$builddir/hooks/PsiBridge.StartupHook.dll
[ -e "$hook" ] || {
	check the_start_up_hook_is_built build build src/runtimes/PsiBridge.StartupHook/PsiBridge.StartupHook.csproj \
		-p:PsiBridgeHookFramework=net10.0
	hook=$T/made/bin/PsiBridge.StartupHook/release/PsiBridge.StartupHook.dll
}
check a_program_that_knows_nothing_of_us_is_built build build tests/dotnet/Garbage/Garbage.csproj
garbage=$T/made/bin/Garbage/release/garbage.dll
# Alone in a directory: it may need nothing beside it.
mkdir "$T/alone"
cp "$hook" "$T/alone/hook.dll"
hook=$T/alone/hook.dll

hooked() { source_new; DOTNET_STARTUP_HOOKS=$hook launch dotnet "$@"; }
hook_collects()
{
	hooked "$garbage" && ready && said 'psibridge\[dotnet\]: ready: rung 1, fifo on ' && mapped memfd:libpsibridge && low &&
		gave_back 75 && heard 'told High' && tell alive && expect '^alive 5120$' && tell exit 5 && ended 5 &&
		[ -z "$(find "$T/tmp" -name '*psibridge*')" ]
}
check with_a_start_up_hook_it_gives_back_three_quarters_and_goes_on hook_collects
taken_over()
{
	hooked "$embedder" garbage watch && expect '^status Watching' && low && heard 'changed High' 'collected: ' && tell exit && ended 0 &&
		said 'another PsiBridge of this process took over|the program has a PsiBridge of its own' &&
		[ "$(grep -c 'collected: ' "$T/log")" = 1 ] && [ "$(grep -c 'told Low' "$T/log")" = 1 ]
}
check the_library_of_the_program_takes_over taken_over
# With the native hook the same: when the managed policy is loaded, it finds the program's, and all of ours is silent.
beside_the_profiler()
{
	source_new
	CORECLR_ENABLE_NOTIFICATION_PROFILERS=1 \
		CORECLR_NOTIFICATION_PROFILERS="$builddir/hooks/libpsibridge-coreclr.so={9F1A4C50-6B0E-4C46-9C1D-5053492D4247};" \
		launch dotnet "$embedder" garbage watch && expect '^status Watching' && heard 'coreclr\]: ended' && low &&
		heard 'changed High' 'collected: ' && tell exit && ended 0 && [ "$(grep -c 'collected: ' "$T/log")" = 1 ] &&
		unsaid 'coreclr\]: told Low'
}
if [ -e "$builddir/hooks/libpsibridge-coreclr.so" ] && [ -e "$builddir/hooks/PsiBridge.StartupHook.dll" ]; then
	check from_the_profiler_too beside_the_profiler
else
	skip from_the_profiler_too "the hooks were not built"
fi
check many_exits_under_a_hail_of_notifications_are_clean hail 20 4 'exit 4' env "DOTNET_STARTUP_HOOKS=$hook" dotnet "$garbage" 1 0

# ---- the GC's own limit --------------------------------------------------------------------------------------------
# A cache without a bound, filled with 10 MB/s: the kernel sees nothing of the end that it comes to. Half a minute each, of which
# little is work: all at the same time, and beside what is built below. What becomes of them is asked after that.
# shellcheck disable=SC2086
check a_program_with_a_cache_without_a_bound_is_built build build tests/dotnet/Unbounded/Unbounded.csproj $own
# fill NAME COMMAND...: what it says, and its exit status, is in $T/filled-NAME
fill()
{
	name=$1
	shift
	{
		PSIBRIDGE_LIBRARY=$native PSIBRIDGE_SOURCE=$T/source timeout 300 "$@" >"$T/filled-$name" 2>&1 </dev/null 4>&-
		echo "status $?" >>"$T/filled-$name"
	} &
	filling="$filling $!"
}
memory=/sys/fs/cgroup/memory
[ -e $memory/cgroup.procs ] || memory=$mount
groups="$memory/psb-dotnet-$$-1 $memory/psb-dotnet-$$-2" filling=''
# shellcheck disable=SC2086 # several words, here and below
clean_up() { kill $filling; wait $filling; rmdir $groups; } 2>/dev/null
limit() { echo $((300 << 20)) >"$1/memory.limit_in_bytes" || echo $((300 << 20)) >"$1/memory.max"; } 2>/dev/null
cache="dotnet $T/made/bin/Unbounded/release/unbounded.dll"
hard='env DOTNET_GCHeapHardLimit=0xA000000'
fill unguarded $hard $cache 1000 2000 10
fill guarded $hard $cache 300 2000 10 guarded
fill large $hard $cache 300 200000 10 guarded # they alone make no collection before the one that fails
in_groups=''
# shellcheck disable=SC2016
enter='echo $$ >"$0/cgroup.procs" && exec "$@"'
if (for group in $groups; do mkdir "$group" && limit "$group" || exit; done) 2>/dev/null; then
	in_groups=yes
	fill container-unguarded sh -c "$enter" "${groups% *}" $cache 1000 2000 20
	fill container-guarded sh -c "$enter" "${groups#* }" $cache 450 2000 15 guarded
fi

# ---- as people embed it ----------------------------------------------------------------------------------------------
# embeds PERCENT COMMAND...: is told, compacts a cache or has garbage, and gives back so much
embeds()
{
	least=$1
	shift
	source_new
	launch "$@" && expect '^status Watching' && low && expect '^changed Low False Signal' && gave_back "$least" &&
		heard '^changed High' && mapped "${library:-.}" && tell exit && ended 0 && said '^callback Low'
}
# What trimming or AOT would break is an error there.
if builds it_can_be_compiled_ahead_of_time publish tests/dotnet/Embedder/Embedder.csproj -p:PsiBridgeFrameworks=net10.0 \
	-p:PublishAot=true -p:TrimmerSingleWarn=false; then
	no_warning() { ! grep -E 'warning (IL|AOT)' "$T/build.log"; }
	check without_a_warning no_warning
	check and_a_cache_goes_back embeds 25 "$T/made/publish/Embedder/release/embedder" cache watch
fi
if builds the_package_can_be_made pack src/runtimes/PsiBridge/PsiBridge.csproj -o "$T/packages"; then
	# A cache of its own, or the next run would get this package from it.
	check a_program_is_built_with_the_package_alone env NUGET_PACKAGES="$T/nuget" \
		dotnet build "$srcdir/tests/dotnet/Embedder/Embedder.csproj" -c Release --artifacts-path "$T/made-user" --nologo -v quiet \
		--disable-build-servers -p:NuGetAudit=false -p:PsiBridgePackages="$T/packages" -p:RestoreSources="$T/packages"
	package=$T/nuget/psibridge/0.2.0
	presents_itself()
	{
		[ -s "$package/icon.png" ] && [ -s "$T/packages/PsiBridge.0.2.0.snupkg" ] && grep -q '<icon>icon.png<' "$package/psibridge.nuspec" &&
			grep -q '<releaseNotes>0.2.0: ' "$package/psibridge.nuspec" && sed -n 4p "$package/README.md" | grep '^dotnet nuget add source /' &&
			! grep -rF -e "$srcdir" -e "$T" "$package/lib" "$package/psibridge.nuspec"
	}
	check the_package_presents_itself_and_has_symbols_and_no_path_of_this_machine presents_itself
	library='/runtimes/[a-z0-9-]*/native/libpsibridge.so' check it_finds_libpsibridge_in_it_and_gives_back \
		embeds 75 dotnet "$T/made-user/bin/Embedder/release/embedder.dll" garbage watch
fi

# ---- what became of the caches without a bound -------------------------------------------------------------------------
# shellcheck disable=SC2086
wait $filling
became() { cp "$T/filled-$1" "$T/log"; }
dies() { became "$1" && said '^Out of memory' && unsaid '^lived|^status 0'; }
lives() { became "$1" && said '^told Low.* that the GC may use are alive, HeapLimit' && said '^lived' && said '^after High' && said '^status 0'; }
check without_us_the_cache_ends_the_program dies unguarded
check with_a_compactor_it_lives_and_memory_is_high_again lives guarded
check with_large_objects_too lives large
if [ -n "$in_groups" ]; then
	check in_a_container_of_300_mb_it_ends_without_us dies container-unguarded
	check and_lives_with_a_compactor lives container-guarded
else
	skip in_a_container_it_lives "no cgroup with a limit can be made here"
fi

# ---- Mono ----------------------------------------------------------------------------------------------------------
mono_lib=$(dirname "$(realpath "$(command -v mono || echo /nonexistent/mono)")")/../lib/mono/4.5
[ -e "$mono_lib/mscorlib.dll" ] || { skip Mono "no Mono here"; done_testing; }
out=$T/made-mono
check it_is_built_for_mono build build tests/dotnet/Embedder/Embedder.csproj -p:PsiBridgeFrameworks=net462 \
	-p:PsiBridgeMono="$(realpath "$mono_lib")"
exe=$out/bin/Embedder/release/embedder.exe
check mono_gives_back embeds 75 mono "$exe" garbage watch
mono_throws()
{
	source_new
	PSIBRIDGE_LIBRARY=/nonexistent launch mono "$exe" watch && expect '^status Unavailable' && tell exit && ended 0 || return
	launch mono "$exe" throw watch && expect '^status Watching' && low && expect '^callback High' && tell exit && ended 0
}
check without_the_library_and_with_handlers_that_throw_mono_runs_on mono_throws
done_testing
