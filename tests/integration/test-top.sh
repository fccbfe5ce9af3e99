#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge top: for scripts, and in a pseudo-terminal of script(1) that gets its keys through descriptor 6. A key is pressed
# when what the key before it did is on the screen.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"
# shellcheck source=cli-daemon.sh
. "$srcdir/tests/integration/cli-daemon.sh"

batch()
{
	ended 0 top --batch --interval 100ms / &&
		same 1 "$(grep -c '^ SOME %   FULL %  .*LEVEL .*CGROUP$' "$T/stdout")" &&
		same 1 "$(grep -Ec '^ *[0-9]+\.[0-9]{2} +[0-9]+\.[0-9]{2} .* /$' "$T/stdout")"
}
on_cgroup2 top_prints_a_table_for_scripts batch
on_cgroup2 top_of_no_cgroup failed 'psibridge top: cgroups cannot be read: there is no such cgroup' top --batch nowhere
# Where there is no PSI there is no number, and 0 would be one.
without_psi()
{
	ended 0 top --batch --interval 100ms "psb-top-$$" && grep -Eq '^ +- +- .*psb-top' "$T/stdout" &&
		ended 0 metrics "psb-top-$$" && says_not 'waiting_seconds_total{' || return
	echo 1 >"$mount/psb-top-$$/cgroup.pressure"
	ended 0 top --batch --interval 100ms "psb-top-$$" && grep -Eq '^ +0.00 +0.00 .*psb-top' "$T/stdout"
}
if [ -n "$pressure" ] && mkdir "$mount/psb-top-$$" 2>/dev/null; then
	if { echo 0 >"$mount/psb-top-$$/cgroup.pressure"; } 2>/dev/null; then
		check top_has_no_numbers_where_there_is_no_psi without_psi
	else
		skip top_has_no_numbers_where_there_is_no_psi "no cgroup.pressure here"
	fi
	rmdir "$mount/psb-top-$$"
else
	skip top_has_no_numbers_where_there_is_no_psi "cannot make cgroups here"
fi

# ---- in a terminal ------------------------------------------------------------------------------------
# begin ROWS COLUMNS ARGUMENT...: psibridge top in a pseudo-terminal; what it writes is in $T/screen, which shows() then reads from
# $from on. With $jobs bash stops and continues it; that gives the terminal its modes back itself, so it is for the case that needs it.
jobs=
begin()
{
	rows=$1 columns=$2
	shift 2
	# one that a failed case left behind
	[ ! -s "$T/pid" ] || kill -9 "$(cat "$T/pid")" 2>/dev/null
	rm -f "$T/keys" "$T/screen" "$T/before" "$T/after" "$T/status" "$T/pid" "$T/stopped" "$T/go"
	mkfifo "$T/keys" "$T/go"
	cat >"$T/inside" <<-END
		tty >"$T/tty"
		stty rows $rows cols $columns
		stty -g >"$T/before"
		if [ -n "$jobs" ]; then
			"$psibridge" top --interval 100ms $* &
			echo \$! >"$T/pid"
			fg >/dev/null
			stty -g >"$T/stopped"
			read -r _ <"$T/go"
			fg >/dev/null
		else
			sh -c 'echo \$\$ >"$T/pid"; exec "$psibridge" top --interval 100ms $*'
		fi
		echo \$? >"$T/status"
		stty -g >"$T/after"
	END
	TERM=xterm script -qfec "bash ${jobs:+-m} '$T/inside'" "$T/screen" <"$T/keys" >/dev/null 2>&1 5>&- &
	script_pid=$!
	exec 6>"$T/keys"
	from=1
	shows '\?1049h'
}
press() { printf '%b' "$1" >&6; }
look_anew() { from=$(($(wc -c <"$T/screen") + 1)); }
screen_has() { tail -c "+$from" "$T/screen" 2>/dev/null | grep -Eaq -e "$1"; }
shows() { wait_for screen_has "$1" || { tail -c 1500 "$T/screen" | cat -v; return 1; }; }
# The same of what stays on the screen after a key: only what changes is written, and after SIGCONT everything.
screen_says()
{
	look_anew
	kill -CONT "$(cat "$T/pid")"
	sleep 0.1 # it draws; shows_now() asks again
	screen_has "$1"
}
shows_now() { wait_for screen_says "$1" || { tail -c 1500 "$T/screen" | cat -v; return 1; }; }
# ends [KEY]: the screen is given back, the terminal is as it was before, and its exit status is 0.
ends()
{
	press "${1-}"
	wait_for test -s "$T/status" -a -s "$T/after" || return 1
	exec 6>&-
	wait "$script_pid"
	: >"$T/pid"
	same 0 "$(cat "$T/status")" && cmp "$T/before" "$T/after" && grep -aq "$(printf '\033')\[?1049l" "$T/screen"
}

keys()
{
	begin 20 100 / && shows 'by some' && shows "Mind: reading these files can swallow other programs' unprivileged alarms" &&
		shows 'No levels: psibridged is not running' || return
	for pair in 'f full' 'm memory' 'n name' 'r name, reversed' 's some, reversed'; do
		press "${pair%% *}"
		shows_now "by ${pair#* }" || return
	done
	press '/zz'
	shows_now 'Only with: zz_' && shows_now 'no cgroup matches' || return
	press '\033'
	shows_now 'q quit' && shows_now 'every 100ms, by some, reversed[^,]' || return
	press p
	shows_now PAUSED && ends q
}
# Every line fits; the smallest terminal there is does too.
narrow() { begin 5 40 / && shows 'q quit' && ends q && begin 1 1 && ends q; }
levels_and_sizes()
{
	start
	level / low true
	begin 10 80 / &&
		shows 'psibridged: memory is short in 1 cgroup' && shows CRITICAL && shows 'SOME, LATELY' &&
		look_anew && stty -F "$(cat "$T/tty")" cols 130 && shows 'SOME, THE LAST 30' && ends q
	r=$?
	stop
	return $r
}
# signalled NAME: with that signal it ends in good order
signalled() { begin 10 80 / && shows 'q quit' && kill "-$1" "$(cat "$T/pid")" && ends; }
# ^Z gives the terminal back to the shell, fg takes it again.
suspended()
{
	jobs=yes
	begin 10 80 / && shows 'q quit' || return
	look_anew
	press '\032'
	shows '\?1049l' && wait_for test -s "$T/stopped" && cmp "$T/before" "$T/stopped" || return
	look_anew
	echo >"$T/go"
	shows '\?1049h' && shows 'q quit' && ends q
}
ascii()
{
	(LC_ALL=C && begin 10 80 / && shows 'q quit' && ends q) && ! LC_ALL=C grep -aq "$(printf '[\200-\377]')" "$T/screen"
}
on_terminal()
{
	if ! command -v script >/dev/null || ! command -v bash >/dev/null; then
		skip "$1" "script(1) or bash is not installed"
	else
		on_cgroup2 "$@"
	fi
}
on_terminal top_listens_to_keys keys
on_terminal top_fits_small_terminals narrow
on_terminal top_shows_levels_and_follows_the_size levels_and_sizes
for signal in INT TERM HUP QUIT; do
	on_terminal "top_gives_the_terminal_back_after_SIG$signal" signalled "$signal"
done
on_terminal top_needs_no_utf8 ascii
on_terminal top_can_be_suspended suspended
done_testing
