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

host=${PSIBRIDGE_CLRHOST:-$builddir/psibridge-clrhost}
PSIBRIDGE_HOOKS=${PSIBRIDGE_HOOKS:-$builddir/hooks}
[ -x "$host" ] || skip_all "psibridge-clrhost was not built (no .NET)"
export PSIBRIDGE_HOOKS
# shellcheck source=program.sh
. "$srcdir/tests/integration/program.sh"

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

# ---- it runs programs --------------------------------------------------------------------------------
usage() { plain 0 --help && said '^usage: psibridge-clrhost' && plain 2 && said '^usage:' && plain 2 --nonsense "$app"; }
check usage_is_told_and_wrong_usage_refused usage

callback_text()
{
	plain 2 --callback nonsense "$app" &&
		said "^psibridge\[clrhost\]: --callback nonsense: 'TYPE, ASSEMBLY::METHOD' was expected"
}
check a_callback_that_is_none_is_refused callback_text

the_exit_code() { host "$app" && expect '^ready' && tell exit 7 && ended 7; }
check the_exit_code_is_the_programs the_exit_code

words() { plain 0 "$app" a --help 'b c' && said '^ready a --help b c$'; }
check arguments_behind_the_program_are_its_own words

off() { PSIBRIDGE=off PSIBRIDGE_LOG=debug plain 0 "$app" && unsaid psibridge; }
check psibridge_off_is_heard off

where_one_says() { DOTNET_ROOT=$(dirname "$(readlink -f "$(command -v dotnet)")") plain 0 "$app"; }
check dotnet_is_found_where_one_says_it_is where_one_says

# ---- programs that cannot be started ---------------------------------------------------------------------
no_dotnet()
{
	mkdir -p "$T/empty"
	DOTNET_ROOT=$T/empty plain 127 "$app" && said "no .NET was found \(DOTNET_ROOT is $T/empty\)"
}
check no_dotnet_is_said_with_where_it_was_sought no_dotnet

no_program() { plain 127 "$T/nothing.dll" && said "^psibridge\[clrhost\]: $T/nothing.dll: No such file or directory$"; }
check no_program_is_said no_program

no_assembly()
{
	plain 126 /bin/sh && said '^psibridge\[clrhost\]: /bin/sh: not a .NET assembly' || return
	cp "$app" "$T/cut.dll" && truncate -s 300 "$T/cut.dll" && plain 126 "$T/cut.dll" && said 'not a .NET assembly' &&
		plain 126 "$T" && said 'not a .NET assembly'
}
check what_is_no_assembly_is_refused_in_words no_assembly

no_config() { cp "$app" "$T/bare.dll" && plain 126 "$T/bare.dll" && said "$T/bare.runtimeconfig.json: No such file"; }
check no_runtimeconfig_is_said no_config

wrong_config()
{
	cp "$app" "$T/wrong.dll"
	sed 's/"version": *"[^"]*"/"version": "77.0.0"/' "${app%.dll}.runtimeconfig.json" >"$T/wrong.runtimeconfig.json"
	plain 126 "$T/wrong.dll" && said "Framework: 'Microsoft.NETCore.App', version '77.0.0'" && said 'cannot be started' || return
	echo rubbish >"$T/wrong.runtimeconfig.json"
	plain 126 "$T/wrong.dll" && said 'wrong.runtimeconfig.json' && said 'cannot be started'
}
check a_framework_that_is_not_there_is_named wrong_config

# ---- what is wrong with us is no reason not to run ---------------------------------------------------------
runs_without() # runs_without PATTERN ARGUMENT...
{
	pattern=$1
	shift
	host "$@" && expect '^ready' && tell exit 3 && ended 3 && said "$pattern; the program runs without\$" && unsaid '\]: ready:'
}
elsewhere() { PSIBRIDGE_HOOKS=$1 runs_without "$2" "$app"; }
check without_psibridge_dll_the_program_runs elsewhere "$T/empty" "$T/empty/PsiBridge.dll: No such file or directory"
mkdir "$T/shell" && ln -s /bin/sh "$T/shell/PsiBridge.dll"
check a_psibridge_dll_that_is_none_is_said elsewhere "$T/shell" "$T/shell/PsiBridge.dll: not a .NET assembly"
check a_psibridge_dll_of_another_version_is_built dotnet_build foreign Embedder -p:Aware=no -p:AssemblyName=PsiBridge
check a_psibridge_dll_of_another_version_is_said elsewhere "$T/foreign/bin/Embedder/release" 'another version: .*PsiBridge.Hosting.Start.*'
check a_callback_without_assembly_is_said runs_without 'no such type, or no such assembly' --callback 'Handler, nowhere::Prints' "$app"
check a_callback_without_type_is_said runs_without 'no such type, or no such assembly' --callback 'Nobody, embedder::Prints' "$app"
check a_missing_method_is_said runs_without 'Handler, embedder::Nothing: the type has no such static method' --callback 'Handler, embedder::Nothing' "$app"
for method in TwoArguments OtherArgument Returns Marked; do
	check "a_method_of_another_signature_is_said:$method" runs_without "Handler, embedder::$method: it is not a static void of one int" \
		--callback "Handler, embedder::$method" "$app"
done
nonsense() { PSIBRIDGE_LOW=nonsense plain 0 "$app" && said 'PSIBRIDGE_LOW=nonsense' && said '^ready'; }
check settings_that_make_no_sense_are_named_and_the_program_runs nonsense
no_source() { PSIBRIDGE_SOURCE=$T/no-source plain 0 "$app" && said 'memory cannot be watched: .*no-source.*; the program runs without' && said '^ready'; }
check a_source_that_is_not_there_is_named_and_the_program_runs no_source

# ---- it tells them ---------------------------------------------------------------------------------------
check a_program_with_garbage_is_built dotnet_build garbage Garbage
policy()
{
	host "$T/garbage/bin/Garbage/release/garbage.dll" && expect '^ready' && low && expect '\]: told Low' && expect 'collected: ' && tell exit 0 && ended 0 || return
	sed -n 's/.*collected: \([0-9]*\)[.0-9]* -> \([0-9]*\).*/\1 \2/p' "$T/log" | { read -r before after && [ "$after" -lt $((before / 2)) ]; } ||
		{ cat "$T/log"; return 1; }
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
exits()
{
	host --callback 'Handler, embedder::Exits' "$app" && expect '^ready' && low && expect '^handler 1$' || return
	cat <&3 >>"$T/log"
	ended 9 && said '\]: ended$'
}
check a_handler_may_end_the_program exits

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

many() # many N ARGUMENT...
{
	count=$1
	shift
	for _ in $(seq "$count"); do
		host "$@" "$app" && expect '^ready' || return
		pressure
		expect '\]: told Low' && expect '\]: told Low' && tell exit 0 && ended 0
		result=$?
		calm
		[ "$result" = 0 ] && unsaid 'Unhandled|Aborted' && said '\]: ended$' || return 1
	done
}
check many_clean_exits_while_told_all_the_time:policy many 8
check many_clean_exits_while_told_all_the_time:handler many 8 --callback 'Handler, embedder::Counts'

done_testing
