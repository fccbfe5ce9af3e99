#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 600
#
# psibridge-clrhost as people meet it: it runs .NET programs, tells them, and is no reason for any of them to fail.
#
# The programs are tests/dotnet/Embedder and tests/dotnet/Garbage.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "sanitizers do not load into a foreign program"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
host=$builddir/psibridge-clrhost
[ -x "$host" ] || skip_all "psibridge-clrhost was not built (no .NET)"
export PSIBRIDGE_HOOKS="$hooks"

host() { PSIBRIDGE_REARM=${PSIBRIDGE_REARM:-3ms} launch "$host" "$@"; }

# plain STATUS ARGUMENT...: without input and pressure; its output in $T/log
plain()
{
	wanted=$1
	shift
	timeout -k 5 60 "$host" "$@" >"$T/log" 2>&1 </dev/null 4>&-
	status=$?
	[ "$status" = "$wanted" ] || { echo "exit status $status instead of $wanted"; cat "$T/log"; return 1; }
}

check the_program_is_built dotnet_build unaware Embedder -p:Aware=no
app=$T/unaware/bin/Embedder/release/embedder.dll
[ "$tap_bad" = 0 ] || done_testing

# ---- what it is given --------------------------------------------------------------------------------------
# It knows what the runtime wants to find beside a program.
config=${app%.dll}.runtimeconfig.json
mkdir "$T/empty" "$T/shell" && ln -s /bin/sh "$T/shell/PsiBridge.dll"
for name in bare wrong rubbish; do cp "$app" "$T/$name.dll"; done
sed 's/"version": *"[^"]*"/"version": "77.0.0"/' "$config" >"$T/wrong.runtimeconfig.json"
echo rubbish >"$T/rubbish.runtimeconfig.json"
answers() # STATUS PATTERN ARGUMENT...
{
	pattern=$2 wanted=$1
	shift 2
	plain "$wanted" "$@" && said "$pattern"
}
# NAME|STATUS|PATTERN|ARGUMENTS
while IFS='|' read -r name wanted pattern arguments; do
	# shellcheck disable=SC2086 # several words
	check "$name" answers "$wanted" "$pattern" $arguments
done <<END
usage_is_told|0|^usage: psibridge-clrhost|--help
a_program_is_needed|2|^usage:|
an_unknown_option_is_refused|2|^usage:|--nonsense $app
a_callback_that_is_none_is_refused|2|^psibridge\[clrhost\]: --callback nonsense: 'TYPE, ASSEMBLY::METHOD' was expected|--callback nonsense $app
no_program_is_said|127|^psibridge\[clrhost\]: $T/nothing.dll: No such file or directory$|$T/nothing.dll
another_program_is_no_assembly|126|^psibridge\[clrhost\]: /bin/sh: not a .NET assembly|/bin/sh
nor_is_a_directory|126|not a .NET assembly|$T
no_runtimeconfig_is_said|126|$T/bare.runtimeconfig.json' was not found|$T/bare.dll
a_framework_that_is_not_there_is_named|126|Framework: 'Microsoft.NETCore.App', version '77.0.0'|$T/wrong.dll
a_runtimeconfig_that_is_none_is_named|126|rubbish.runtimeconfig.json|$T/rubbish.dll
arguments_behind_the_program_are_its_own|0|^ready a --help b$|$app a --help b
END

# ---- it runs programs --------------------------------------------------------------------------------
the_exit_code() { host "$app" && expect '^ready' && tell exit 7 && ended 7; }
check the_exit_code_is_the_programs the_exit_code

off() { PSIBRIDGE=off PSIBRIDGE_LOG=debug plain 0 "$app" && unsaid psibridge; }
check psibridge_off_is_heard off

where_one_says() { DOTNET_ROOT=$(dirname "$(readlink -f "$(command -v dotnet)")") plain 0 "$app"; }
check dotnet_is_found_where_one_says_it_is where_one_says

no_dotnet() { DOTNET_ROOT=$T/empty plain 127 "$app" && said "no .NET was found \(DOTNET_ROOT is $T/empty\)"; }
check no_dotnet_is_said_with_where_it_was_sought no_dotnet

# ---- what is wrong with us is no reason not to run ---------------------------------------------------------
runs_without() # HOOKS CALLBACK PATTERN
{
	PSIBRIDGE_HOOKS=$1 host ${2:+--callback "$2"} "$app" && expect '^ready' && tell exit 3 && ended 3 &&
		said "$3; the program runs without\$" && unsaid '\]: ready:'
}
check a_psibridge_dll_of_another_version_is_built dotnet_build foreign Embedder -p:Aware=no -p:AssemblyName=PsiBridge
# NAME|HOOKS|CALLBACK|PATTERN
while IFS='|' read -r name where callback pattern; do
	check "$name" runs_without "${where:-$hooks}" "$callback" "$pattern"
done <<END
without_psibridge_dll_the_program_runs|$T/empty||$T/empty/PsiBridge.dll: No such file or directory
a_psibridge_dll_that_is_none_is_said|$T/shell||$T/shell/PsiBridge.dll: not a .NET assembly
a_psibridge_dll_of_another_version_is_said|$T/foreign/bin/Embedder/release||another version: no PsiBridge.Hosting.Start.*
a_callback_without_assembly_is_said||Handler, nowhere::Prints|there is no such static void of one int
a_callback_without_type_is_said||Nobody, embedder::Prints|there is no such static void of one int
a_missing_method_is_said||Handler, embedder::Nothing|Handler, embedder::Nothing: there is no such static void of one int
a_method_of_another_argument_is_said||Handler, embedder::OtherArgument|Handler, embedder::OtherArgument: there is no such static void of one int
a_method_that_returns_is_said||Handler, embedder::Returns|Handler, embedder::Returns: there is no such static void of one int
a_method_that_is_marked_is_said||Handler, embedder::Marked|Handler, embedder::Marked: there is no such static void of one int
END
nonsense() { PSIBRIDGE_LOW=nonsense plain 0 "$app" && said 'PSIBRIDGE_LOW=nonsense' && said '^ready'; }
check settings_that_make_no_sense_are_named_and_the_program_runs nonsense
no_source() { PSIBRIDGE_SOURCE=$T/no-source plain 0 "$app" && said 'memory cannot be watched: .*no-source.*; the program runs without' && said '^ready'; }
check a_source_that_is_not_there_is_named_and_the_program_runs no_source

# ---- it tells them ---------------------------------------------------------------------------------------
check a_program_with_garbage_is_built dotnet_build garbage Garbage
policy()
{
	once launch "$host" "$T/garbage/bin/Garbage/release/garbage.dll" && ready && falls 50 && said '\]: told Low' && tell exit 0 && ended 0
}
check a_program_that_knows_nothing_of_us_gives_back_memory policy

relief()
{
	PSIBRIDGE_QUIET=1s PSIBRIDGE_CALM=1s host --callback 'Handler, embedder::Prints' "$app" && expect '^ready' && low &&
		expect '^handler 1$' && expect '^handler 2$' && expect '^handler 3$' && tell exit 0 && ended 0
}
check a_handler_of_the_program_is_told_and_low_is_followed_by_neutral_and_high relief

present()
{
	low
	host --callback 'Handler, embedder::Prints' "$app" && expect '^handler 1$' && tell exit 0 && ended 0
}
check a_low_from_before_the_runtime_is_up_is_told_then present

check a_program_that_uses_psibridge_is_built dotnet_build aware Embedder -p:PsiBridgeDll="$PSIBRIDGE_HOOKS/PsiBridge.dll"
aware=$T/aware/bin/Embedder/release/embedder.dll
shared()
{
	host "$aware" watch && expect '^ready' && low && expect '^changed Low False Signal True$' && tell exit 0 && ended 0 &&
		[ "$(grep -c '^changed Low' "$T/log")" = 1 ]
}
check a_program_that_uses_psibridge_is_told_by_its_host_and_once shared

# ---- the callback hands over and returns -------------------------------------------------------------------
# "managed code is busy" is written when OnMemoryNotification() has returned; the handler collects until it reads
# "release", which is sent after that.
busy()
{
	PSIBRIDGE_QUIET=60s host --callback 'Handler, embedder::Collects' "$app" && expect '^ready' && low && expect '^handler 1$' || return
	pressure
	for _ in $(seq 20); do
		expect 'notified Low.*handed over in [0-9]+ us, managed code is busy' || { calm; return 1; }
	done
	calm
	tell release && expect '^collected$' && tell exit 0 && ended 0 && [ "$(grep -c '^handler' "$T/log")" -lt 10 ]
}
check notifications_return_while_a_collection_runs_and_the_newest_is_told busy

# ---- programs that behave badly ----------------------------------------------------------------------------
throws()
{
	host --callback 'Handler, embedder::Throws' "$app" && expect '^ready' || return
	pressure
	expect '^handler 1$' && expect 'the callback threw System.InvalidOperationException: on purpose' && expect '^handler 1$'
	result=$?
	calm
	[ "$result" = 0 ] && tell exit 5 && ended 5 && [ "$(grep -c 'the callback threw' "$T/log")" = 1 ]
}
check a_handler_that_throws_is_said_once_and_called_again throws

# Until it is gone its standard input stays open: the end of that would let Main return, with 0.
handler_exits()
{
	host --callback 'Handler, embedder::Exits' "$app" && expect '^ready' && low && expect '^handler 1$' || return
	cat <&3 >>"$T/log"
	ended 9 && said '\]: ended$'
}
check a_handler_may_end_the_program handler_exits

hangs()
{
	host --callback 'Handler, embedder::Hangs' "$app" && expect '^ready' && low && expect '^handler 1$' && tell "$1" 4 && ended 4 && said '\]: ended$'
}
check a_program_ends_though_its_handler_hangs hangs exit
check a_program_exits_though_its_handler_hangs hangs now

collecting()
{
	for _ in 1 2 3; do
		host --callback 'Handler, embedder::Collects' "$app" && expect '^ready' && low && expect '^handler 1$' && tell "$1" 6 && ended 6 || return
	done
}
check a_program_ends_while_a_collection_runs collecting exit
check a_program_exits_while_a_collection_runs collecting now

crash() { host "$app" && expect '^ready' && tell throw && ended 134 && said 'Unhandled exception'; }
check an_unhandled_exception_is_what_it_always_was crash

# Since .NET 10 the runtime leaves SIGTERM to the program: it is not told of its end then.
terminated() { host "$app" && expect '^ready' && kill -TERM "$pid" && ended 143; }
check sigterm_ends_it terminated

# ---- after the end -----------------------------------------------------------------------------------------
# The guard is in ProcessExit, and counts the calls until it reads a line; Low is written so often that there would be some.
after()
{
	host --callback 'Handler, embedder::Prints' "$app" guard && expect '^ready' && low && expect '^handler 1$' &&
		tell "$1" 2 && expect '^ending$' && for _ in $(seq 50); do low; sleep 0.003; done &&
		tell go && expect '^calls after the end: 0$' && ended 2 && said '\]: ended$'
}
check nothing_is_told_after_the_end:main_returns after exit
check nothing_is_told_after_the_end:environment_exit after now

check many_clean_exits_while_told_all_the_time:policy hail 8 0 'exit 0' "$host" "$app"
check many_clean_exits_while_told_all_the_time:handler hail 8 0 'exit 0' "$host" --callback 'Handler, embedder::Counts' "$app"

done_testing
