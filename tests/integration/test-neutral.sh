#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 300
#
# test-neutral.sh - a Neutral that stalls for ten seconds is worth a collection that does not pause, whichever way the managed policy
# came in. Real stalls of some 5 % of the time (stalls.c), in one cgroup with four idle programs full of garbage.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "sanitizers do not load into a foreign program"
command -v dotnet >/dev/null || skip_all "no .NET here"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
[ -e "$hooks/PsiBridge.StartupHook.dll" ] || skip_all "the hooks were not built"
export DOTNET_CLI_UI_LANGUAGE=en
check the_program_is_built dotnet_build build Garbage
check and_one_that_uses_psibridge dotnet_build build ManagedGarbage -p:PsiBridgeFrameworks=net10.0 -p:PsiBridgeAot=false \
	-p:PsiBridgeNative="$hooks/libpsibridge.so" -p:NuGetAudit=false
[ "$tap_bad" = 0 ] || done_testing
garbage=$T/build/bin/Garbage/release/garbage

# ---- the cgroup ------------------------------------------------------------------------------------------
# 500 MB for five programs of some 80, of which 40 are garbage, and a file of 400: it does not fit after they have given back either.
mkfifo "$T/order" "$T/answer"
"$builddir/tests/integration/stalls" 6 500 400 <"$T/order" >"$T/answer" 2>&1 &
stalls=$!
exec 7>"$T/order" 8<"$T/answer"
clean_up() { exec 7>&-; wait "$stalls"; }
read -r word v2 v1 <&8
[ "$word" = group ] || skip_all "no cgroup with a limit can be made here: $word $v2 $v1"

# begin NAME COMMAND...: in the cgroup; what it says is in $T/NAME. It reads what is for all of them, and ends with us.
mkfifo "$T/in"
exec 9<>"$T/in"
begin()
{
	name=$1
	shift
	# shellcheck disable=SC2016 # for the shell in there
	PSIBRIDGE_LOW='some 1s/2s' PSIBRIDGE_CRITICAL='full 1s/2s' PSIBRIDGE_FORECAST=off PSIBRIDGE_LOG=debug sh -c 'for group; do [ "$group" != -- ] || break; echo $$ >"$group/cgroup.procs" || exit; shift; done; shift; exec "$@"' \
		- "$v2" ${v1:+"$v1"} -- "$@" <"$T/in" >"$T/$name" 2>&1 7>&- 8<&- &
	eval "$name=$!"
}
says() { wait_for grep -Eq -e "$2" "$T/$1" || { cat "$T/$1"; return 1; }; }

never() { ! grep "$@"; }

begin profiler "$psibridge" run -- "$garbage" 40 1
begin hook "$psibridge" run --hook=startup-hook -- "$garbage" 40 1
begin attach "$garbage" 40 1
begin package env PSIBRIDGE_LIBRARY="$hooks/libpsibridge.so" "$T/build/bin/ManagedGarbage/release/managed-garbage" 40 1
begin critical env PSIBRIDGE_COLLECT=critical "$psibridge" run --hook=startup-hook -- "$garbage" 40 1
check an_idle_program_is_there says attach '^ready'
check it_is_attached_to run attach --timeout 30s --set PSIBRIDGE_LOG=debug "$attach"
for way in profiler hook attach package critical; do
	check "${way}_watches" says $way '\]: ready: '
done

# ---- it stalls -------------------------------------------------------------------------------------------
# gives_back WAY: without a Low, and two fifths at least; what a region still holds besides stays
gives_back()
{
	says "$1" 'dotnet\]: collected in the background: ' && ! grep 'told Low' "$T/$1" &&
		awk '/collected in the background/ { sub(/.*background: /, ""); print; exit $3 * 10 > $1 * 6 }' "$T/$1"
}
sleep 12 & wait $! # Neutral for want of room, perhaps, and nothing stalls
for way in profiler hook attach package; do
	check "${way}_collects_nothing_before" never collected "$T/$way"
done
echo go >&7
for way in profiler hook attach package; do
	check "${way}_gives_back_what_is_not_needed" gives_back $way
done
check with_collections_at_critical_alone_it_is_told says critical 'told Neutral'
check and_gives_nothing_back never collected "$T/critical"
done_testing
