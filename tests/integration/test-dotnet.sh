#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 900
#
# test-dotnet.sh - PsiBridge as people use it: the xunit tests, the start-up hook in a program that knows nothing of
# it, the NuGet package, a program compiled ahead of time, Mono. Pressure comes from a FIFO; real pressure is the virtual
# machine's (tests/vm/guest-dotnet.sh).
#
# Builds go to a directory of their own. What needs packages that are not on this machine (xunit, the AOT compiler, the
# reference assemblies of older frameworks) is skipped if NuGet cannot get them, and then says what NuGet said.
#
# From the environment, beside $srcdir and $builddir: $psibridge_native, a libpsibridge.so (default: the build tree's).

# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "sanitizers do not load into a foreign program"

command -v dotnet >/dev/null || skip_all "no .NET here"

dir=$(mktemp -d "${TMPDIR:-/tmp}/psb-dotnet-XXXXXX") || exit 1
pids=
finish()
{
	for pid in $pids; do kill "$pid" 2>/dev/null; done
	rm -rf "$dir"
}
trap finish EXIT

srcdir=$(realpath "$srcdir")
builddir=$(realpath "$builddir")
for var in $(env | sed -n 's/^\(PSIBRIDGE[A-Z_]*\|MEMORY_PRESSURE_[A-Z]*\|DOTNET_STARTUP_HOOKS\)=.*/\1/p'); do unset "$var"; done
export LC_ALL=C.UTF-8 DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_CLI_UI_LANGUAGE=en MSBUILDDISABLENODEREUSE=1
# Who has no home (nobody) gets one, and with it a NuGet cache that is empty.
if [ ! -w "${HOME:-/nonexistent}" ]; then
	export HOME="$dir" DOTNET_CLI_HOME="$dir"
fi

native=${psibridge_native:-}
for file in "$builddir/hooks/libpsibridge.so" "$builddir/.libs/libpsibridge.so"; do
	[ -n "$native" ] || [ ! -e "$file" ] || native=$file
done
[ -n "$native" ] || skip_all "no libpsibridge.so was built"
# The name matters to MSBuild and NuGet, so a link stays one.
native=$(realpath "$(dirname "$native")")/$(basename "$native")

# build VERB PROJECT [OPTION...] : quiet unless it fails
build()
{
	verb=$1 project=$2
	shift 2
	timeout 600 dotnet "$verb" "$srcdir/$project" -c Release --artifacts-path "${out:-$dir/out}" --nologo -v quiet \
		--disable-build-servers -p:PsiBridgeNative="$native" -p:NuGetAudit=false "$@" >"$dir/build.log" 2>&1 || {
		grep -E "error|warning" "$dir/build.log" | sort -u | head -n 20 | grep . || cat "$dir/build.log"
		return 1
	}
}

# With the SDK's own framework alone nothing needs to be fetched.
own='-p:PsiBridgeFrameworks=net10.0 -p:PsiBridgeAot=false'

# A failed build is a skip if packages are what is missing, else a failure of all that follows.
lacks_packages()
{
	grep -qE "error NU1(101|102|301|100)" "$dir/build.log"
}

why_not()
{
	echo "NuGet has no $(sed -n 's/.*Unable to find package \([A-Za-z0-9.]*\).*/\1/p' "$dir/build.log" | sort -u | head -n 1 |
		grep . || echo "source that answers")"
}

# until_true COMMAND... : wait up to a minute until it succeeds (machines may be busy)
until_true()
{
	tries=0
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || return 1
		sleep 0.05
	done
}

mkfifo "$dir/bell" "$dir/input"
exec 5<>"$dir/bell" 6<>"$dir/input"

# run NAME COMMAND... : in the background, told by the bell, commanded by `tell`; prints to $dir/NAME
run()
{
	name=$1
	shift
	rm -f "$dir/$name.pid" "$dir/$name.status"
	: >"$dir/$name"
	# `check` runs its command in a subshell, which cannot wait for what was started here: so the status goes to a file.
	(
		env PSIBRIDGE_SOURCE="$dir/bell" PSIBRIDGE_LOG=debug PSIBRIDGE_QUIET=1s PSIBRIDGE_CALM=1s \
			PSIBRIDGE_HIGH_HEADROOM=off "$@" <"$dir/input" 5>&- 6>&- >"$dir/$name" 2>&1 &
		echo $! >"$dir/$name.pid"
		wait $!
		echo $? >"$dir/$name.ended"
		mv "$dir/$name.ended" "$dir/$name.status"
	) &
	until_true test -s "$dir/$name.pid"
	running=$(cat "$dir/$name.pid")
	pids="$pids $running"
}

has()
{
	until_true grep -q "$2" "$dir/$1" || {
		echo "no \"$2\" in:"
		cat "$dir/$1"
		return 1
	}
}

lacks()
{
	! grep "$2" "$dir/$1"
}

# ends NAME STATUS [COMMAND] : by this word on its input (there is no end of file: the FIFO stays open for the next)
ends()
{
	printf '%s\n' "${3:-exit 0}" >&6
	until_true test -e "$dir/$1.status" || echo "it runs on"
	[ "$(cat "$dir/$1.status")" = "$2" ] || {
		cat "$dir/$1.status" "$dir/$1"
		return 1
	}
}

ring()
{
	printf x >&5
}

# gave_back NAME PERCENT : at least so much, as it said itself
gave_back()
{
	has "$1" 'collected: ' || return
	awk -v least="$2" '/collected: / { if (($3 - $5) * 100 >= least * $3) ok = 1; print } END { exit !ok }' "$dir/$1"
}

# ---- xunit -------------------------------------------------------------------------------------------------------

# shellcheck disable=SC2086 # $own is two words
if build build tests/dotnet/PsiBridge.Tests/PsiBridge.Tests.csproj $own >"$dir/said"; then
	PSIBRIDGE_INCLUDE="$srcdir/include" timeout 600 dotnet test \
		"$dir/out/bin/PsiBridge.Tests/release/PsiBridge.Tests.dll" --logger 'console;verbosity=normal' >"$dir/xunit" 2>&1
	status=$?
	sed -n 's/^  \(Passed\|Failed\|Skipped\) PsiBridge\.Tests\.\(.*\) \[.*\]$/\1 \2/p' "$dir/xunit" >"$dir/cases"
	while read -r verdict case; do
		case $verdict in
		Passed) tap_result 0 "xunit: $case" ;;
		Failed) tap_result 1 "xunit: $case" "$(awk -v name="PsiBridge.Tests.$case" '
			index($0, "  Failed " name) { on = 1 } /^  (Passed|Skipped) / { on = 0 } on' "$dir/xunit")" ;;
		Skipped) skip "xunit: $case" "$(grep -F -A 1 "PsiBridge.Tests.$case [SKIP]" "$dir/xunit" | sed -n '2s/^\[[^]]*\] *//p')" ;;
		esac
	done <"$dir/cases"
	check "xunit: all cases ran" sh -c "[ $status = 0 ] && [ -s '$dir/cases' ] || { tail -n 40 '$dir/xunit'; false; }"
elif lacks_packages; then
	skip "xunit" "$(why_not)"
else
	check "xunit tests can be built" sh -c "cat '$dir/said'; false"
fi

# ---- the start-up hook ---------------------------------------------------------------------------------------------

hook="$builddir/hooks/PsiBridge.StartupHook.dll"
if [ ! -e "$hook" ]; then
	check "the start-up hook can be built" build build src/runtimes/PsiBridge.StartupHook/PsiBridge.StartupHook.csproj \
		-p:PsiBridgeHookFramework=net10.0
	hook="$dir/out/bin/PsiBridge.StartupHook/release/PsiBridge.StartupHook.dll"
fi
check "the program that knows nothing of us can be built" build build tests/dotnet/Garbage/Garbage.csproj
# shellcheck disable=SC2086
check "a program that uses PsiBridge can be built" build build tests/dotnet/Embedder/Embedder.csproj $own
garbage="$dir/out/bin/Garbage/release/garbage.dll"
embedder="$dir/out/bin/Embedder/release/embedder.dll"

# Alone in a directory: it may need nothing beside it.
mkdir "$dir/alone"
cp "$hook" "$dir/alone/hook.dll"
hook="$dir/alone/hook.dll"

run hooked env DOTNET_STARTUP_HOOKS="$hook" dotnet "$garbage"
check "a start-up hook begins to watch" has hooked 'psibridge\[dotnet\]: ready: rung 1, fifo on '
check "... with the libpsibridge inside of it, from memory" grep -q 'memfd:libpsibridge' "/proc/$running/maps"
check "... and the program runs" has hooked '^ready$'
ring
check "at Low the program gives back at least 75 % of its memory" gave_back hooked 75
check "... and is told Neutral and High" has hooked 'told High'
check "... and keeps what it uses" sh -c "echo alive >&6"
check "    (it answers)" has hooked '^alive 5120$'
check "its exit status is its own" ends hooked 5 'exit 5'

run off env PSIBRIDGE=off DOTNET_STARTUP_HOOKS="$hook" dotnet "$garbage" 1 0
check "PSIBRIDGE=off: the hook stays out of the way" has off '^ready$'
check "... the program ends" ends off 0
check "... and not a word was said" lacks off 'psibridge'

run gone env PSIBRIDGE_LIBRARY=/nonexistent/libpsibridge.so DOTNET_STARTUP_HOOKS="$hook" dotnet "$garbage" 1 0
check "without libpsibridge the hook says so" has gone 'cannot watch: libpsibridge was not found (tried PSIBRIDGE_LIBRARY=/nonexistent/libpsibridge.so); the program runs on without'
check "... and it does" has gone '^ready$'
check "... to its end" ends gone 3 'exit 3'

run both env DOTNET_STARTUP_HOOKS="$hook" dotnet "$embedder" garbage watch
check "hook and library in one process: the library takes over" has both 'another PsiBridge of this process took over\|stays out: the program has a PsiBridge of its own'
check "... and watches" has both 'status Watching'
ring
check "... and collects" has both 'collected: '
check "... and tells" has both 'changed High'
check "... to the end" ends both 0 exit
check "... alone" sh -c "[ \$(grep -c 'collected: ' '$dir/both') = 1 ] && [ \$(grep -c 'told Low' '$dir/both') = 1 ] || { cat '$dir/both'; false; }"

# Told every 3 ms, in whatever state of starting and ending.
(while sleep 0.003; do printf x >&5; done) &
bell=$!
pids="$pids $bell"
n=0 bad=
while [ $n -lt 100 ]; do
	n=$((n + 1))
	printf 'exit 4\n' >&6
	PSIBRIDGE_SOURCE="$dir/bell" PSIBRIDGE_REARM=1ms PSIBRIDGE_QUIET=1ms PSIBRIDGE_CALM=1ms PSIBRIDGE_APART=1ms \
		PSIBRIDGE_GROWN=0 DOTNET_STARTUP_HOOKS="$hook" timeout 20 dotnet "$garbage" 1 0 \
		<"$dir/input" 5>&- 6>&- >"$dir/exit" 2>&1
	status=$?
	if [ $status != 4 ] || [ "$(cat "$dir/exit")" != ready ]; then
		bad=$n
		break
	fi
done
kill "$bell"
wait "$bell" 2>/dev/null
dd if="$dir/bell" of=/dev/null iflag=nonblock 2>/dev/null # what was not taken is no Low for the next program
check "a hundred exits with the hook are clean while it is told every 3 ms" sh -c \
	"[ -z '$bad' ] || { echo 'number $bad: status $status'; cat '$dir/exit'; false; }"

# ---- ahead of time -------------------------------------------------------------------------------------------------

# What trimming or AOT would break is an error there.
if build publish tests/dotnet/Embedder/Embedder.csproj -p:PsiBridgeFrameworks=net10.0 -p:PublishAot=true \
	-p:TrimmerSingleWarn=false >"$dir/said"; then
	check "PsiBridge can be compiled ahead of time without a warning" sh -c "! grep -E 'warning (IL|AOT)' '$dir/build.log'"
	run aot "$dir/out/publish/Embedder/release/embedder" cache watch
	check "... and watches" has aot '^status Watching'
	ring
	check "... and tells" has aot '^changed Low False Signal'
	check "... and a cache is compacted" has aot '^compact 50'
	check "... and it collects" gave_back aot 25
	check "... and tells that it is over" has aot '^changed High'
	check "... and ends" ends aot 0 exit
elif lacks_packages; then
	skip "a program compiled ahead of time" "$(why_not)"
else
	check "PsiBridge can be compiled ahead of time" sh -c "cat '$dir/said'; false"
fi

# ---- the package ---------------------------------------------------------------------------------------------------

if build pack src/runtimes/PsiBridge/PsiBridge.csproj -o "$dir/packages" >"$dir/said"; then
	# A cache of its own, or the next run would get this package from it.
	check "a program can be built with the package alone" env NUGET_PACKAGES="$dir/nuget" \
		dotnet build "$srcdir/tests/dotnet/Embedder/Embedder.csproj" -c Release --artifacts-path "$dir/out-user" --nologo -v quiet \
		--disable-build-servers -p:NuGetAudit=false -p:PsiBridgePackages="$dir/packages" \
		-p:RestoreSources="$dir/packages"
	run packaged dotnet "$dir/out-user/bin/Embedder/release/embedder.dll" garbage watch
	check "... and finds libpsibridge in it" has packaged '^status Watching'
	check "    (there)" grep -q "/runtimes/[a-z0-9-]*/native/libpsibridge.so" "/proc/$running/maps"
	ring
	check "... and gives back" gave_back packaged 75
	check "... and ends" ends packaged 0 exit
elif lacks_packages; then
	skip "the NuGet package" "$(why_not)"
else
	check "the NuGet package can be made" sh -c "cat '$dir/said'; false"
fi

# ---- Mono ----------------------------------------------------------------------------------------------------------

mono_lib=$(dirname "$(realpath "$(command -v mono || echo /nonexistent/mono)")")/../lib/mono/4.5
if [ ! -e "$mono_lib/mscorlib.dll" ]; then
	skip "Mono" "no Mono here"
else
	mono_lib=$(realpath "$mono_lib")
	out="$dir/out-mono"
	check "PsiBridge can be built for Mono" build build tests/dotnet/Embedder/Embedder.csproj \
		-p:PsiBridgeFrameworks=net462 -p:PsiBridgeMono="$mono_lib"
	exe="$out/bin/Embedder/release/embedder.exe"
	run mono mono "$exe" garbage watch
	check "... and watches" has mono '^status Watching'
	ring
	check "... and tells" has mono '^changed Low False Signal'
	check "... and callbacks" has mono '^callback Low'
	check "... and gives back" gave_back mono 75
	check "... and tells that it is over" has mono '^changed High'
	check "... and ends" ends mono 0 exit

	run thrown mono "$exe" throw watch
	check "a handler that throws is reported under Mono" has thrown '^status Watching'
	ring
	check "... and the others are told" has thrown '^callback High'
	check "... and it ends" ends thrown 0 exit
	check "... once" sh -c "[ \$(grep -c 'a handler of MemoryPressure.Changed threw' '$dir/thrown') = 1 ]"

	run exits mono "$exe" exit
	check "a handler may exit under Mono" has exits '^status Watching'
	ring
	check "... and it does" ends exits 7 status

	run nolib env PSIBRIDGE_LIBRARY=/nonexistent/libpsibridge.so mono "$exe" watch
	check "Mono without libpsibridge says so" has nolib 'cannot watch: libpsibridge was not found (tried PSIBRIDGE_LIBRARY=/nonexistent/libpsibridge.so)'
	check "... and runs on" ends nolib 0 exit
fi

done_testing
