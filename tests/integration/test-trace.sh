#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge record and replay: what is refused, what is kept of what is damaged, and real pressure, recorded and told once more.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"

head='# psibridge trace 1\ntime_s\tsome_us\tcgroup\n'
# trace TEXT: into the file t
# shellcheck disable=SC2059 # it is a format
trace() { printf "$1" >"$T/t"; }

public() { echo "$srcdir/tests/data/earlyoom-$1.txt"; }

# ---- what makes no sense -------------------------------------------------------------------------------
# NAME | EXIT STATUS | ARGUMENTS | what is said behind "psibridge "
while IFS='|' read -r name wanted arguments words; do
	eval "check $name fails $wanted 'psibridge $words' $arguments"
done <<'END'
replay_wants_a_file|2|replay|replay: a FILE is missing; "-" is standard input
replay_knows_two_triggers|2|replay t --rung 4|replay: --rung "4": 2 or 3 was expected
a_threshold_is_checked|2|replay t --low 'some 2s'|replay: --low "some 2s": it is neither THRESHOLD/WINDOW with units, such as 200ms/2s, nor two numbers in microseconds
early_is_the_least|2|replay t --low 'some 1ms/2s'|replay: --early "some 20ms/2s" is over --low "some 1ms/2s", which stalls could reach unnoticed; --early of at most "some 1ms/2s" was expected
a_file_that_is_not_there|1|replay nowhere|replay: nowhere: No such file or directory
an_empty_file|1|replay /dev/null|replay: /dev/null: it is empty
a_directory|1|replay /|replay: /: Is a directory
zeros_without_end|1|replay /dev/zero|replay: /dev/zero:1: a line of more than 65536 bytes
a_program|1|replay /bin/sh|replay: /bin/sh:1: it is not text: there is a NUL in it
a_foreign_file|1|replay /etc/passwd|replay: /etc/passwd: neither a trace of psibridge nor one that it can import (psibridge-trace(5))
why_of_no_trace|1|why --trace nowhere|why: nowhere: No such file or directory
why_of_a_name_alone|1|why grow-high.service --trace "$srcdir/tests/data/grow-high.trace"|why: there is no line about /grow-high.service; did you mean /system.slice/grow-high.service?
why_of_no_time|2|why --trace "$(public overload)" --at yesterday|why: --at "yesterday": a time such as 14:03, "2026-11-24 14:03", -2h or 90s was expected
a_time_of_day_needs_a_begin|1|why --trace "$(public overload)" --at 14:03|why: --at "14:03": the trace does not say when it began; a time since then, such as 90s, was expected
tune_knows_three_purposes|2|tune t --for kill|tune: --for "kill": trim, shed or restart was expected
a_rate_is_an_hour|2|tune t --at-most 4/m|tune: --at-most "4/m": a number such as 4/h was expected
tune_of_no_cgroup|2|tune t a/../b|tune: "a/../b": there is no such file, and as a cgroup: ".." is not allowed in it
tune_of_too_many|2|tune $(seq -s " " 65)|tune: "65": at most 64 words are taken here
record_to_a_file_by_a_letter|1|record / -o nowhere/t|record: nowhere/t: No such file or directory
record_of_nowhere|1|record /no-such.slice|record: /no-such.slice: there is no such cgroup
record_of_no_path|2|record ../x|record: "../x": ".." is not allowed in it
record_so_often|2|record --interval 1ms|record: --interval "1ms": a time from 10ms to 1h, such as 100ms, was expected
a_directory_that_is_not_there|1|record / --output nowhere/t|record: nowhere/t: No such file or directory
END
# Where psibridged has run there is a trace, of whatever happened.
[ -e /var/lib/psibridge/trace ] || {
	check tune_without_a_file refused \
		'psibridge tune: a FILE is missing; psibridged keeps none here: /var/lib/psibridge/trace: No such file or directory' tune
	check tune_of_no_file failed 'psibridge tune: nowhere is no file; for a cgroup, what psibridged keeps is missing: /var/lib/psibridge/trace: No such file or directory' tune nowhere
}

# ---- damage --------------------------------------------------------------------------------------------
# damaged STATUS ERRORS LAST ARGUMENT...: that is said on stderr, and of the rest this
damaged()
{
	wanted=$1 errors=$2 last=$3
	shift 3
	run replay t "$@"
	same "$wanted" "$status" && same "$errors" "$(cat "$T/stderr")" && same "$last" "$(tail -n 1 "$T/stdout")"
}
good='0\t0\t/a\n10\t0\t/a\n12\t1000000\t/a\n60\t1000000\t/a\n'
told='Replayed 1 min 0 s of 1 cgroup: Low 1 (critical 0), Neutral 2, High 1; 7.3 s in Low.'

trace "$head$good"
check a_trace_is_told damaged 0 '' "$told"
check only_one_cgroup_is_told damaged 0 '' "$told" /a
check a_cgroup_that_is_not_in_it damaged 1 'psibridge replay: t: no line is about /b' '' /b
trace "$head${good}61\t10000"
check a_torn_last_line_costs_itself damaged 0 '' "$told"
trace "$head${good}61\tx\t/a\n"
check a_damaged_line_is_told_and_costs_itself damaged 1 "psibridge replay: t:7: a field is not what its column's name says" "$told"
trace "$head${good}30\t1000000\t/a\n"
check a_line_that_goes_back_is_left_out damaged 1 "psibridge replay: t:7: its time is before that of the cgroup's line before; left out" "$told"
trace "${head}0\t0\t/a\n10\t0\t/a\n12\t1000000\t/a\n9460800000\t2000000\t/a\n60\t1000000\t/a\n"
check a_line_of_centuries_later_costs_itself damaged 1 "psibridge replay: t:6: its time is more than a year after the line before; left out" "$told"
trace "${head}0\t0\t/a\n94608000\t0\t/a\n94608001\t0\t/a\n"
check two_of_them_are_meant damaged 1 "psibridge replay: t:4: its time is more than a year after the line before; left out" \
	'Replayed 1095 d 0 h of 1 cgroup: Low 0 (critical 0), Neutral 0, High 0; 0 ms in Low.'
trace "${head}100\t0\t/a\n160\t0\t/a\n0\t0\t/b\n"
check it_can_be_sorted_by_cgroup damaged 0 '' 'Replayed 2 min 40 s of 2 cgroups: Low 0 (critical 0), Neutral 0, High 0; 0 ms in Low.'
trace '# psibridge trace 2\n'
check a_later_version_is_told damaged 1 'psibridge replay: t:1: a trace of a later version; this program reads version 1' ''
trace '# psibridge trace 1\ntime_s some_us\n0\t0\n'
check without_names_of_columns_nothing_is_read damaged 1 'psibridge replay: t:2: the names of the columns were expected: time_s, some_us and others, with tabs between them' ''
trace ' 1.0 | 1 2 | 0 0 0 0\n\0\n 9.0 | 1 2 | 0 0 0 0\n'
check so_does_one_of_oomstat damaged 1 'psibridge replay: t:2: it is not text: there is a NUL in it' \
	'Replayed 8 s of 1 cgroup: Low 0 (critical 0), Neutral 0, High 0; 0 ms in Low.'
trace "$head"
check no_line_is_told damaged 1 'psibridge replay: t: there is no line' ''
trace "$head$good"
from_stdin() { "$psibridge" replay - <"$T/t" | grep -qxF "$told"; }
check standard_input_is_read from_stdin
in_json()
{
	run replay t --json --rung 3
	same 'low neutral high' "$(jq -r 'select(.event == "notification").available' "$T/stdout" | tr '\n' ' ' | sed 's/ $//')" &&
		is "$(tail -n 1 "$T/stdout")" '.event == "summary" and .duration_usec == 60000000 and .low == 1'
}
json_check it_is_told_in_json in_json

# ---- tuning --------------------------------------------------------------------------------------------
# settings FILE...: of what was recommended, as replay's options
recommended() { jq -r 'select(.event == "recommendation").settings | "--low \"\(.Low)\" --critical \"\(.Critical)\" --early \"\(.Early)\""' "$T/stdout"; }
# when TRACE: Low for the first time, with what was recommended
when() { eval "\"\$psibridge\" replay \"\$(public $1)\" --json $settings" | jq -r 'select(.available == "low").time_usec' | head -n 1; }
trim_is_early()
{
	run tune "$(public overload)" --json
	same 0 "$status" || return
	settings=$(recommended)
	first=$(when overload)
	[ "${first:-99999999}" -lt 5000000 ]
}
restart_is_for_what_is_lost()
{
	run tune "$(public overload)" "$(public loadshift)" "$(public ontheedge)" --for restart --json
	same 0 "$status" && is "$(tail -n 1 "$T/stdout")" '.lost == 1 and .heavy == 2 and .best.in_vain == 0 and .best.missed == 0' || return
	settings=$(recommended)
	[ -n "$(when overload)" ] && same '' "$(when loadshift)" && same '' "$(when ontheedge)"
}
says_so_where_traces_do_not_bear_it()
{
	fails 1 '' tune "$(public loadshift)" --for restart
	matches '^No episode was lost ' "$(cat "$T/stdout")" && ! grep -q '^Low=' "$T/stdout"
}
in_eighty_columns()
{
	run tune "$(public overload)" "$(public loadshift)" --for shed
	same 0 "$status" && same '' "$(grep -E '.{81}' "$T/stdout")" && matches '^\* ' "$(cat "$T/stdout")" && matches '^\[Defaults\]$' "$(cat "$T/stdout")"
}
others_are_in_it()
{
	run tune "$(public overload)" --json
	is "$(grep systemd-oomd "$T/stdout")" '.in_grid == false and .low == 1 and .after_usec > 50000000' &&
		is "$(grep '"lmkd critical"' "$T/stdout")" '.after_usec > 9900000 and .after_usec < 10300000'
}
# What it prints is a configuration that psibridged takes, whatever is recommended.
taken()
{
	mkdir -p conf/etc/psibridge
	for trace in overload loadshift ontheedge; do
		for purpose in trim shed; do
			"$psibridge" tune "$(public $trace)" --for $purpose | sed -n '/^# /,$p' >conf/etc/psibridge/psibridged.conf
			"$psibridged" --root conf --check-config || return
		done
	done
}
json_check trim_speaks_early trim_is_early
psibridged=$builddir/psibridged
if [ -x "$psibridged" ]; then check what_it_prints_is_a_configuration taken; fi
json_check restart_speaks_of_what_is_lost_only restart_is_for_what_is_lost
check it_says_so_where_the_traces_do_not_bear_it says_so_where_traces_do_not_bear_it
check tune_fits_a_terminal in_eighty_columns
json_check what_others_ship_is_in_the_table others_are_in_it
# Files that follow each other are one trace; in a directory all are read.
joined()
{
	mkdir ring
	printf '# psibridge trace 1\n# began 1000.0\ntime_s\tsome_us\tcgroup\n0\t0\t/a\n9\t0\t/a\n' >ring/1.trace
	printf '# psibridge trace 1\n# began 1010.0\ntime_s\tsome_us\tcgroup\n0\t0\t/a\n1\t500000\t/a\n50\t500000\t/a\n' >ring/2.trace
	: >ring/3.trace # just begun
	run tune ring /a
	same 0 "$status" && matches '^1 min 0 s of 1 cgroup\. .* in 1 episode' "$(tr '\n' ' ' <"$T/stdout")" && matches '^\[Watch /a\]$' "$(cat "$T/stdout")" &&
		fails 1 'psibridge tune: there is no line about /b' tune ring /b
}
check files_that_follow_each_other_are_one_trace joined

# ---- why ------------------------------------------------------------------------------------------------
explained()
{
	cp "$(public loadshift)" t
	run why --trace t --at 30s
	same 0 "$status" && matches '^  2\.500 s      first stall; none for 2\.5 s before$' "$(cat "$T/stdout")" &&
		matches '^> 3\.039 s      Low .memory is short. ' "$(cat "$T/stdout")" && matches '^  36\.050 s     told Low the last of 4 more times$' "$(cat "$T/stdout")" &&
		matches '^  low       some 206 ms of 2 s; threshold 200 ms, passed by 3 %$' "$(cat "$T/stdout")" && same '' "$(grep -E '.{81}' "$T/stdout")"
}
nothing_to_explain()
{
	fails 1 '' why --trace "$(public loadshift)" --low 'full 700ms/1s' --critical 'full 900ms/1s'
	same '/ was not told Low.
Low is at full 700 ms of 1 s (these settings); most was 421 ms, at 26.300 s (60 % of it).' "$(cat "$T/stdout")"
}
# The counters of /a began anew, with which it did not stall for half a million years.
most_is_of_what_stalled()
{
	trace "${head}0\t900000\t/a\n5\t3\t/a\n60\t3\t/a\n0\t0\t/b\n5\t15000\t/b\n60\t15000\t/b\n"
	run why --trace t
	same 1 "$status" && matches '^/b was not told Low' "$(cat "$T/stdout")"
}
# What was told live counts, not what would have been; what came back is seen in what is in use.
live()
{
	printf '# psibridge trace 1\n# began 1764504000\ntime_s\tsome_us\tused_kib\tlimit_kib\ttold\treason\tcause\tcgroup\n' >live.trace
	printf '%s\t%s\t%s\t524288\t%s\t/shop.slice\n' 0 0 400000 '-\t-\t-' 10 0 520000 '-\t-\t-' 11 90000 521216 'critical\tstall\town' 13 90000 400000 '-\t-\t-' \
		20 90000 400000 'high\tcalm\tunknown' 60 90000 400000 '-\t-\t-' | sed 's/\\t/\t/g' >>live.trace
	TZ=UTC0 run why --trace live.trace --at 12:00
	same 0 "$status" && matches '^> 12:00:11\.000 Low, CRITICAL .all tasks wait. it reached its limit$' "$(cat "$T/stdout")" &&
		matches '^  memory    509 MiB of 512 MiB in use' "$(cat "$T/stdout")" && matches '^  after it  118 MiB went back within 5 s$' "$(cat "$T/stdout")" &&
		matches '^            stalled 90 ms in the 5 s before, 0 ms after$' "$(cat "$T/stdout")" || return
	for at in 2025-11-30 '2025-11-30 12:00' 2025-11-30\ 12:00:11; do
		TZ=UTC0 run why --trace live.trace --at "$at"
		same "0 $at" "$status $at" || return
	done
	TZ=UTC0 run why --trace live.trace --at '2025-11-30 12:00:10'
	same 1 "$status" || return
	TZ=UTC0 run why --trace live.trace --at 11:59
	same 1 "$status" && matches '^/shop.slice was not told Low' "$(cat "$T/stdout")"
}
# A pause of one second is within a stall; and what was told at the end of the trace was told once.
one_stall()
{
	printf '# psibridge trace 1\ntime_s\tsome_us\ttold\treason\tcause\tcgroup\n0\t0\t-\t-\t-\t/a\n10\t0\t-\t-\t-\t/a\n11\t50000\t-\t-\t-\t/a\n' >t
	printf '12\t50000\t-\t-\t-\t/a\n13\t300000\tlow\tstall\tunknown\t/a\n' >>t
	run why --trace t
	same 0 "$status" && matches '^  10\.000 s     first stall; none for 10 s before$' "$(cat "$T/stdout")" && same 1 "$(grep -c '13\.000 s' "$T/stdout")"
}
check why_explains_a_low explained
check a_pause_of_a_second_is_within_a_stall one_stall
check why_says_how_near_it_came nothing_to_explain
why_is_not_written() { "$psibridge" why --trace "$(public loadshift)" 2>&1 >/dev/full | grep -qx 'psibridge why: standard output: No space left on device'; }
check why_takes_what_stalled_most most_is_of_what_stalled
check what_was_told_live_is_explained live
check why_tells_of_a_full_disk why_is_not_written

# ---- recording -----------------------------------------------------------------------------------------
if ! [ -r "$mount/memory.pressure" ]; then
	skip recording "no cgroup2 with PSI is mounted here"
	done_testing
fi
recorded()
{
	rm -f r
	run record / --output r --duration 0
	same 0 "$status" && same '# psibridge trace 1' "$(sed -n 1p r)" && same 4 "$(wc -l <r)" && matches '/$' "$(tail -n 1 r)" || return
	fails 1 'psibridge record: r: it is there already, and is not replaced' record / --output r
}
check a_new_file_has_a_head_and_a_line_for_each_cgroup recorded
full() { "$psibridge" record / --duration 0 2>&1 >/dev/full | grep -qx 'psibridge record: standard output: No space left on device'; }
check a_full_disk_is_told full
# Cgroups of ours, where nothing happens; the lines of all take more than a page.
group=/psb-trace-$$
clean_up() { [ ! -d "$mount$group" ] || find "$mount$group" -depth -type d -exec rmdir {} +; }
rest()
{
	mkdir "$mount$group" || return
	run record $group --output r3 --duration 300ms
	same 0 "$status" && run replay r3 && matches '^Replayed [3-9][0-9][0-9] ms' "$(cat "$T/stdout")"
}
full_keeps()
{
	for i in $(seq 20); do
		mkdir "$mount$group/$(printf %0200d "$i")" || return
	done
	mkdir small && mount -t tmpfs -o size=4k none small || return
	run record "$group/*" --output small/r
	same 1 "$status" && same 'psibridge record: small/r: No space left on device' "$(cat "$T/stderr")" &&
		[ "$(tail -c 1 small/r | od -An -c | tr -d ' ')" = '\n' ]
	result=$?
	umount small
	return $result
}
if [ "$(id -u)" = 0 ]; then
	check a_rest_until_the_end_is_in_it rest
	check a_full_disk_keeps_whole_lines full_keeps
else
	skip a_rest_until_the_end_is_in_it "only root can make a cgroup"
	skip a_full_disk_keeps_whole_lines "only root can mount a small file system"
fi
signalled()
{
	"$psibridge" record '**' >r2 &
	wait_for grep -q '^0\.' r2
	kill "$!" && wait "$!"
}
check a_signal_ends_it_well signalled

# The demo makes memory short in a cgroup of its own; whether it has shown what it is to show is not asked here.
real()
{
	rm -f real
	"$psibridge" record '**' --output real &
	recorder=$!
	"$psibridge" demo --memory 160 --length 7s >demo.out 2>&1
	kill "$recorder" && wait "$recorder" || return
	run replay real --rung 3
	same 0 "$status" && grep -E 'Low.*/psibridge-demo-[0-9]+/run$' "$T/stdout" || { cat demo.out; return 1; }
}
if [ "$(id -u)" = 0 ]; then
	check real_pressure_is_told_once_more real
else
	skip real_pressure_is_told_once_more "the demo needs a cgroup of its own: root is needed"
fi
done_testing
