#!/bin/sh
# SPDX-License-Identifier: MIT
# TIMEOUT 600
#
# Mono with psibridge: unmodified programs with libmono-profiler-psibridge.so.
#
# The program is tests/dotnet/Garbage, compiled here by mcs, outside the source tree.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ -z "${SANITIZERS:-}" ] || skip_all "sanitizers do not load into a foreign program"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
hook=$hooks/libmono-profiler-psibridge.so
[ -e "$hook" ] || skip_all "libmono-profiler-psibridge.so was not built"
for program in mono mcs; do
	command -v $program >/dev/null || skip_all "$program is not installed"
done
export PSIBRIDGE_CALM=10s # nothing here waits for High

# hooked [ARGUMENT...]: of garbage.exe
hooked() { LD_LIBRARY_PATH=$hooks MONO_ENV_OPTIONS=${MONO_ENV_OPTIONS---profile=psibridge} launch mono garbage.exe "$@"; }

# gives_back COMMAND...: a Low takes four fifths of its memory from it, as seen from outside
gives_back() { once "$@" && ready && said '\]: ready: rung 1, fifo ' && [ "$(rss_kb)" -gt 100000 ] && falls 80 && ended 0; }

check the_program_is_compiled mcs -out:garbage.exe "$srcdir/tests/dotnet/Garbage/Program.cs"
[ "$tap_bad" = 0 ] || done_testing

# ---- collections ----------------------------------------------------------------------------------------
its_symbols() { [ "$($NM -D --defined-only "$hook" | awk '{ print $3 }')" = mono_profiler_init_psibridge ]; }
check the_hook_exports_what_mono_looks_up_and_nothing_else its_symbols

check an_idle_program_gives_back_four_fifths gives_back hooked
check what_finalizers_hold_goes_back_too gives_back hooked finalizers
check native_memory_that_finalizers_free_goes_back_too gives_back hooked native
for mode in preemptive coop; do
	MONO_THREADS_SUSPEND=$mode check "so_it_does_with_${mode}_suspend" gives_back hooked finalizers
done

# On SIGQUIT Mono's finalizer thread lists all threads it knows. The first line of each begins with its name, in quotes; in the
# middle of the last one the program may write. It may answer before the list is complete: the longest of three counts.
mono_threads()
{
	for _ in 1 2 3; do
		: >"$T/log"
		kill -QUIT "$pid" && expect '^Full thread dump' && tell settle && expect 'settled$' && tell settle &&
			expect 'settled$' || return
		grep -c '^"' "$T/log" >>"$T/counts"
	done
	sort -n "$T/counts" | tail -n 1
	rm "$T/counts"
}
no_guest()
{
	once hooked 1 0 && ready && few=$(mono_threads) || return
	: >"$T/log"
	for _ in 1 2 3; do
		low && expect '\]: collected' || return
	done
	same=$(mono_threads)
	tell exit 0 && ended 0 && echo "threads: $few, after three collections: $same" && [ "$few" -ge 1 ] && [ "$few" = "$same" ]
}
check no_thread_of_the_hook_is_attached_between_collections no_guest

# Red with all signals blocked in the visitor: Mono waits for ever until it stops.
while_allocating()
{
	eager hooked busy && ready && pressure || return
	n=0
	while [ $n -lt 30 ] && expect '\]: collected'; do
		n=$((n + 1))
	done
	calm
	tell exit 0 && ended 0 && [ $n = 30 ]
}
check collections_end_while_other_threads_allocate while_allocating

# ---- the end -------------------------------------------------------------------------------------------
# endings N STATUS KIND LINE...: N times, while it is collected every few milliseconds, and nobody notices
endings()
{
	times=$1 wanted=$2 kind=$3 bad=0
	[ "$kind" != plain ] || kind='1 0'
	shift 3
	pressure
	for _ in $(seq "$times"); do
		PSIBRIDGE_LOG=warning eager hooked $kind && expect '^ready' && tell "$@" && ended "$wanted" &&
			unsaid psibridge && continue
		bad=$((bad + 1))
	done
	calm
	[ $bad = 0 ] || { echo "$bad of $times"; return 1; }
}
# Mono prints the hook's code in the report of a crash; all else is as without it.
crashes()
{
	pressure
	PSIBRIDGE_LOG=warning eager hooked 1 0 && expect '^ready' && tell crash && ended 134 && unsaid '^psibridge\['
	crashed=$?
	calm
	return $crashed
}
check many_returns_from_main endings 20 7 plain exit 7
check many_exits_by_environment_exit endings 20 5 plain now 5
check exits_by_another_thread endings 10 6 plain elsewhere 6
check returns_while_other_threads_allocate endings 10 7 busy exit 7
check exits_while_other_threads_allocate endings 10 5 busy now 5
check unhandled_exceptions_end_it_as_ever endings 10 1 plain throw
check unhandled_exceptions_of_other_threads_do_too endings 5 1 plain throw-elsewhere
check a_crash_is_the_programs_own crashes

amid()
{
	hooked graph && ready && low && expect '\]: told Low' && tell "$1" 5 && ended 5 &&
		said '\]: ended$'
}
check returning_amid_a_long_collection_is_clean amid exit
check exiting_amid_a_long_collection_is_clean amid now
check exiting_on_another_thread_amid_a_long_collection_is_clean amid elsewhere

children()
{
	pressure
	eager hooked 20 2 && expect '^ready' && tell fork true && tell fork true && tell alive && expect '^alive' &&
		tell exit 4 && ended 4
	raised=$?
	calm
	return $raised
}
check it_starts_other_programs children

# ---- what makes no sense ----------------------------------------------------------------------------------
options()
{
	MONO_ENV_OPTIONS=--profile=psibridge:low=1s hooked 1 0 && ready &&
		tell exit 3 && ended 3 && said '^psibridge\[mono\]: --profile=psibridge:low=1s: "low=1s" is ignored'
}
check options_of_the_profiler_are_ignored_and_named options

twice()
{
	MONO_ENV_OPTIONS='--profile=psibridge --profile=psibridge' hooked 1 0 && ready &&
		low && expect '\]: collected' && tell exit 3 && ended 3 && [ "$(grep -c '\]: ready' "$T/log")" = 1 ]
}
check named_twice_it_is_there_once twice

# A Mono without one of the functions: the profiler is loaded by something that has none of them.
cat >other.c <<'END'
#include <dlfcn.h>
#include <stddef.h>
int main(int argc, char **argv)
{
	void *hook = dlopen(argv[argc - 1], RTLD_NOW);
	void (*init)(const char *) = hook ? (void (*)(const char *))dlsym(hook, "mono_profiler_init_psibridge") : NULL;
	if (!init)
		return 1;
	init("psibridge");
	return 3;
}
END
# shellcheck disable=SC2086 # $CC may have arguments
strange()
{
	$CC -o other other.c -ldl && launch ./other "$hook" && ended 3 &&
		said '^psibridge\[mono\]: this Mono has no mono_profiler_create\(\); the program runs on without'
}
check a_mono_that_lacks_a_function_runs_on_without_us strange

done_testing
