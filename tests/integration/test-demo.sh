#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge demo, on real memory: what it shows is true, what it promises is judged, and nothing stays behind.
# The runs are shorter than a user's, so that all of it takes about 80 s.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
host=$builddir/psibridge-luahost
[ -x "$psibridge" ] || skip_all "psibridge was not built"
[ -x "$host" ] || skip_all "psibridge-luahost was not built: no Lua"

# demo STATUS ARGUMENT...: the output is in out, complaints and progress are in err
demo()
{
	want=$1
	shift
	"$psibridge" demo "$@" >out 2>err
	got=$?
	[ $got = "$want" ] || { cat out err; echo "exit status $got instead of $want"; return 1; }
}
has() { grep -q -e "$1" "$2" || { echo "no \"$1\" in:"; cat "$2"; return 1; }; }
# demo_says STATUS FILE TEXT ARGUMENT...: with that text in it
demo_says()
{
	status=$1 file=$2 text=$3
	shift 3
	demo "$status" "$@" && has "$text" "$file"
}

# number LABEL N: what the table says without (1) and with (2) psibridge: in tenths, of a millisecond or a MiB
number()
{
	awk -v label="$1" -v n="$2" 'index($0, "  " label) == 1 {
		$0 = substr($0, 39 + 19 * (n - 1), 19)
		print int($1 * 10 * ($2 == "s" ? 1000 : $2 == "GiB" ? 1024 : 1))
	}' out
}
before='program: memory (RSS) at the start' after='program: memory (RSS) at the end'

groups() { find /sys/fs/cgroup -type d -name 'psibridge-demo-*' 2>/dev/null; }
# Whatever else runs on this machine: the leftovers of process $1.
leftovers()
{
	groups | grep -E "psibridge-demo-$1(\$|/|[.])"
	find . -name 'psibridge-demo.*'
	true
}

# ---- the command line --------------------------------------------------------------------------------
# NAME|STATUS|FILE|TEXT|ARGUMENTS
while IFS='|' read -r name wanted file text arguments; do
	# shellcheck disable=SC2086 # several words
	check "$name" demo_says "$wanted" "$file" "$text" $arguments
done <<'END'
too_little_memory_is_refused_by_name|2|err|5|--memory 5
a_length_without_a_unit_is_refused|2|err|5|--length 5
an_unknown_option_is_refused|2|err|no-such|--no-such-option
help_says_what_it_leaves_behind|0|out|leaves nothing behind|--help
a_host_that_is_not_there_is_named|1|err|nothing: No such file|--host ./nothing
END

if [ -n "${SANITIZERS:-}" ]; then
	skip memory_goes_back "a sanitizer has a heap of its own, which malloc_trim() does not trim"
	done_testing
fi

# ---- simulated ---------------------------------------------------------------------------------------
simulated()
{
	demo_says 0 out '^SIMULATED: --simulate was given\.' --simulate --memory 160 --length 7s && has '^  SIMULATED  ' out &&
		has '^  neighbour: passes.*  - *-$' out && has '^  told Low' out &&
		[ "$(number "$after" 2)" -lt $(($(number "$before" 2) / 2)) ] &&
		[ "$(number "$after" 1)" -gt $(($(number "$before" 1) / 2)) ]
}
check simulated_run_is_marked_and_gives_memory_back simulated
empty simulated_run_leaves_no_fifo leftovers 0

printf '#!/bin/sh\nexit 3\n' >short
# A program that never listens: the demo must see that, and say so.
printf '#!/bin/sh\nexec "%s" --no-bridge "$@"\n' "$host" >deaf
chmod +x short deaf
check a_program_that_ends_early_is_named demo_says 1 err 'ended with status 3' --simulate --memory 96 --length 5s --host ./short
deaf_program()
{
	demo_says 1 out 'did not go as it should' --length 5s --host ./deaf "$@" && has 'less than half of its' out && has 'never told' out
}

# ---- the host alone ------------------------------------------------------------------------------------
# Its script computes for four seconds at a time; it is told in the middle of that, and must not collect at its end only.
busy_script_is_interrupted()
{
	cat >busy.lua <<-'END'
		for i = 1, 50000 do local page = { ('x'):rep(1000) } end
		function tick()
			local start = os.clock()
			io.stdout:write('busy\n')
			while os.clock() - start < 4 do end
			io.stdout:write('idle\n')
		end
	END
	"$host" --source "$T/source" busy.lua >busy.out 4<&- &
	pid=$!
	wait_for grep -q busy busy.out && low && wait_for grep -q collected busy.out
	kill "$pid"
	wait "$pid"
	told=$(sed -n 's/^told at=\([0-9]*\) level=low/\1/p' busy.out)
	done=$(sed -n 's/^collected at=\([0-9]*\) .*/\1/p' busy.out)
	[ -n "$told" ] && [ -n "$done" ] && [ $((done - told)) -lt 2000000 ] || { cat busy.out; return 1; }
}
check a_busy_script_is_interrupted_to_collect busy_script_is_interrupted

# ---- for real ----------------------------------------------------------------------------------------
# It judges what the neighbour gained itself, by time; beside other programs that want the CPUs it may have to try again.
for _ in 1 2 3; do
	"$psibridge" demo --length 12s >out 2>err
	status=$?
	[ "$status" != 0 ] || break
done
if grep -q '^SIMULATED' out; then
	check a_program_that_does_not_react_fails_the_demo deaf_program --simulate --memory 96
	skip demo_on_a_real_cgroup_succeeds "$(sed -n 's/^SIMULATED: //p' out)"
	done_testing
fi

succeeded()
{
	cat out err
	[ "$status" = 0 ]
}
check demo_on_a_real_cgroup_succeeds succeeded
check memory_of_the_program_falls_by_half test "$(number "$after" 2)" -lt $(($(number "$before" 2) / 2))
check without_psibridge_it_does_not test "$(number "$after" 1)" -gt $(($(number "$before" 1) * 9 / 10))
check the_program_was_told_after_the_first_stall test "$(number 'from the first stall to the callback' 2)" -gt 0
# High comes 7 s after that, which on a busy machine is after the end
check low_is_followed_by_neutral test "$(grep -A 1 '^  told Low' out | grep -c '^  told Neutral')" -ge 1
named=$(tr '\n' ' ' <out | sed 's/.*(In \([^ ]*\)\.).*/\1/')
check it_names_its_cgroup_which_is_gone test "${named#/}" != "$named" -a ! -e "$named"
empty its_file_is_gone leftovers 0
check a_program_that_does_not_react_fails_the_demo deaf_program --memory 160

# ---- cut short ---------------------------------------------------------------------------------------
# ended_by SIGNAL NUMBER: when all three actors are in their group. It takes its course, and then nothing is left of it: a cgroup with a
# process in it cannot go. The demo's pid stays the same in a scope of systemd.
own_group() { groups | grep "psibridge-demo-$pid\$" | head -n 1; }
all_are_there() { [ "$(grep -c . "$(own_group)/run/cgroup.procs" 2>/dev/null)" = 3 ]; }
nothing_is_left() { leftovers "$pid" >left && [ ! -s left ]; }
ended_by()
{
	# a shell lets what it starts in the background ignore SIGINT
	env --default-signal=INT "$psibridge" demo --length 20s >out 2>err &
	pid=$!
	wait_for all_are_there
	group=$(own_group)
	kill "-$1" "$pid"
	wait "$pid"
	got=$?
	wait_for nothing_is_left
	[ -n "$group" ] && [ $got = $((128 + $2)) ] && [ ! -s left ] || { cat left err; return 1; }
}
check ctrl_c_ends_it_by_that_signal_and_leaves_nothing ended_by INT 2
check termination_leaves_nothing ended_by TERM 15
check a_killed_one_leaves_nothing ended_by KILL 9
done_testing
