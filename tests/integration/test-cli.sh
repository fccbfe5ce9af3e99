#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge(1) as people and scripts meet it: what it prints, on which descriptor, and its exit status.
#
# A watched FIFO is a pressure source that a test can play: a byte in it is a Low. The program's output is read through
# another FIFO, line by line, so the test waits for events and not for time.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=cli.sh
. "$srcdir/tests/integration/cli.sh"
group=
clean_up()
{
	[ -z "$group" ] || rmdir "$group" 2>/dev/null
}

# ---- helpers -----------------------------------------------------------------------------------------
start() { spawn "$psibridge" watch "$@"; }

# Open for both on descriptor 4, so that no write to it ever blocks.
fifo_source()
{
	rm -f "$T/source"
	mkfifo "$T/source"
	exec 4<>"$T/source"
}

check the_program_was_built test -x "$psibridge"
[ "$tap_bad" = 0 ] || done_testing

# ---- what makes no sense -----------------------------------------------------------------------------
check no_verb_is_refused refused 'psibridge: a verb was expected; "psibridge help" lists them'
check a_mistyped_verb_gets_the_nearest refused 'psibridge: wacth: there is no such verb; did you mean watch?' wacth
check a_verb_near_nothing_gets_the_list refused 'psibridge: frobnicate: there is no such verb; "psibridge help" lists them' frobnicate
check help_of_a_mistyped_verb_gets_the_nearest refused 'psibridge: docter: there is no such verb; did you mean doctor?' help docter
check a_mistyped_option_gets_the_nearest refused 'psibridge watch: --crtiical: there is no such option; did you mean --critical?' watch --crtiical x
check an_option_near_nothing_gets_the_list refused 'psibridge doctor: --frobnicate: there is no such option; "psibridge help doctor" lists them' doctor --frobnicate
check options_are_not_abbreviated refused 'psibridge watch: --dur: there is no such option; "psibridge help watch" lists them' watch --dur 1s
check options_of_watch_are_not_doctors refused 'psibridge doctor: --count: there is no such option; "psibridge help doctor" lists them' doctor --count 1
check short_options_are_refused refused 'psibridge watch: -j: options are long here; "psibridge help watch" lists them' watch -j
check a_bare_word_is_refused refused 'psibridge watch: "system.slice": an option was expected here, such as --json' watch system.slice
check a_word_after_two_dashes_is_refused refused 'psibridge watch: "x": an option was expected here, such as --json' watch -- x
check a_missing_value_is_named refused 'psibridge watch: --low: its value is missing, a trigger such as "some 200ms/2s" was expected' watch --low
check a_flag_takes_no_value refused 'psibridge watch: --json=1: --json takes no value' watch --json=1
check an_unknown_option_with_value_is_named_without_it refused 'psibridge watch: --cuont: there is no such option; did you mean --count?' watch --cuont=3

check low_threshold_over_window refused 'psibridge watch: --low "some 2s/1s": the threshold is longer than the window' watch --low 'some 2s/1s'
check low_joined_with_its_value refused 'psibridge watch: --low "some 2s/1s": the threshold is longer than the window' watch '--low=some 2s/1s'
check early_over_low refused 'psibridge watch: --early "some 300ms/2s" is over low "some 200ms/2s", which stalls could reach unnoticed; early of at most "some 200ms/2s" was expected' watch --early 'some 300ms/2s' --critical 'full 1s/2s'
check low_under_the_default_early refused 'psibridge doctor: --early "some 20ms/2s" is over low "some 10ms/2s", which stalls could reach unnoticed; early of at most "some 10ms/2s" was expected' doctor --low 'some 10ms/2s'
check rearm_without_unit refused 'psibridge watch: --rearm "5": the unit is missing (us, ms, s, min or h); a time from 1ms to 24h, such as 10s, was expected' watch --rearm 5
check calm_of_two_days refused 'psibridge watch: --calm "48h": a time from 1ms to 24h, such as 10s, was expected' watch --calm 48h
check headroom_of_a_hundred refused 'psibridge watch: --headroom "100": a percentage from 1 to 99, or "off", was expected' watch --headroom 100
check rung_zero refused 'psibridge watch: --rung "0": a rung from 1 to 6 was expected' watch --rung 0
check rung_seven refused 'psibridge doctor: --rung "7": a rung from 1 to 6 was expected' doctor --rung 7
check count_of_zero refused 'psibridge watch: --count "0": a number from 1 on was expected' watch --count 0
check count_beyond_all_bits refused 'psibridge watch: --count "99999999999999999999": a number from 1 on was expected' watch --count 99999999999999999999
check duration_in_weeks refused 'psibridge watch: --duration "2w": the unit is none of us, ms, s, min and h; a time such as 30s was expected' watch --duration 2w
check a_pid_that_is_a_name refused 'psibridge watch: --pid "init": a process id was expected' watch --pid init
check an_empty_cgroup refused 'psibridge watch: --cgroup "": a path below the cgroup2 mount was expected' watch --cgroup ''
check two_targets refused 'psibridge watch: --unit "b": --cgroup a was named already; --pattern watches several cgroups' watch --cgroup a --unit b
check control_characters_do_not_reach_the_terminal refused 'psibridge watch: --?[31mred: there is no such option; "psibridge help watch" lists them' watch "--$(printf '\033')[31mred"

leads_nowhere()
{
	run watch --json --duration 10ms
	same 0 "$status" && matches 'MEMORY_PRESSURE_WATCH=/nowhere: No such file' "$(cat "$T/stderr")" &&
		is "$(head -n 1 "$T/stdout")" '.rung > 1 and .why == "MEMORY_PRESSURE_WATCH=/nowhere: No such file or directory"' || return
	run doctor --json
	is "$(cat "$T/stdout")" '[.findings[] | select(.rung > 0) | .rung] == [1, 2, 3, 4, 5, 6] and
		(.findings[] | select(.rung == 1) | .what == "MEMORY_PRESSURE_WATCH=/nowhere: No such file or directory")'
}

check a_source_that_is_not_there failed 'psibridge watch: --source=/nowhere: No such file or directory' watch --source /nowhere
MEMORY_PRESSURE_WATCH=/dev/null
export MEMORY_PRESSURE_WATCH
check switched_off_by_systemd_is_told failed 'psibridge watch: MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service' watch
MEMORY_PRESSURE_WATCH=/nowhere
json_check a_variable_that_leads_nowhere_is_a_reason_for_the_next_rung leads_nowhere
unset MEMORY_PRESSURE_WATCH
PSIBRIDGE_BACKEND=kqueue
export PSIBRIDGE_BACKEND
check an_unknown_backend_is_told failed 'psibridge watch: no event loop can be made: Invalid argument; PSIBRIDGE_BACKEND takes auto, uring or epoll' watch
unset PSIBRIDGE_BACKEND

# ---- help ----------------------------------------------------------------------------------------------
help_is_one()
{
	for verb in watch doctor demo; do
		"$psibridge" help $verb >"$T/a" && "$psibridge" $verb --help >"$T/b" && "$psibridge" $verb -h >"$T/c" &&
			cmp "$T/a" "$T/b" && cmp "$T/a" "$T/c" && grep -q "^psibridge $verb - " "$T/a" || return
		[ "$(awk 'length > 100' "$T/a" | wc -l)" = 0 ] || return
	done
}

help_lists_verbs()
{
	run --help
	same 0 "$status" && cp "$T/stdout" "$T/a" && run help && cmp "$T/a" "$T/stdout" &&
		for verb in watch doctor demo help; do
			grep -q "^  $verb " "$T/a" || { echo "no $verb"; return 1; }
		done
}

version_is_ours()
{
	run --version
	same 0 "$status" && same "psibridge $VERSION" "$(cat "$T/stdout")"
}

# Every option of --help is in the manual, in the completion, and known to the parser.
undocumented()
{
	for verb in watch doctor status top simulate metrics; do
		"$psibridge" $verb --help | grep -oE -e '^  --[a-z]+' | tr -d ' -' | sort -u | while read -r option; do
			grep -Eq "Fl \\\\?-?$option|Fl Fl $option" "$srcdir/src/cli/psibridge.1" || echo "psibridge.1 has no --$option"
			completed $verb -- | grep -qx -e "--$option" || echo "psibridge.bash has no --$option for $verb"
			[ "$option" = help ] || ! "$psibridge" $verb "--$option=" 2>&1 </dev/null | grep -q 'there is no such option' || echo "$verb does not know --$option"
		done
		"$psibridge" help | grep -q "^  $verb " || echo "help does not know $verb"
	done
}

check help_lists_every_verb help_lists_verbs
check help_VERB_is_VERB_help help_is_one
check version_is_that_of_the_build version_is_ours
empty every_option_is_documented_completed_and_known undocumented

# Every example of the manual that begins with an #include is a translation unit.
examples_compile()
{
	awk -v dir="$T" '
		/^\.Bd -literal/ { n++; on = 1; next }
		/^\.Ed/ { on = 0 }
		on { gsub(/\\e/, "\\"); print > (dir "/example" n ".c") }' "$srcdir/src/library/psibridge.3"
	for example in "$T"/example*.c; do
		# shellcheck disable=SC2086
		$CC -std=c99 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Werror -pedantic -fsyntax-only -I"$srcdir/include" "$example" || return
	done
	same 2 "$(ls "$T"/example*.c | wc -l)"
}
if command -v "${CC%% *}" >/dev/null; then
	check examples_of_the_manual_compile examples_compile
else
	skip examples_of_the_manual_compile "no compiler here"
fi

# ---- watch: lines for scripts ------------------------------------------------------------------------
levels_in_json()
{
	fifo_source
	start --json --source "$T/source" --quiet 200ms --calm 200ms --count 3
	read -r armed <&3
	echo x >&4
	read -r one <&3
	finish
	same 0 "$status" && [ ! -s "$T/log" ] || return
	is "$armed" '.event == "armed" and .source == "fifo" and .rung == 1 and (.backend | IN("io_uring", "epoll"))' &&
		is "$armed" '.available == "high" and .critical == false and .trigger == "" and .why == ""' &&
		is "$armed" ".path == \"$T/source\" and (.cgroup | type == \"string\") and (.events | type == \"boolean\")" &&
		is "$one" '.event == "notification" and .available == "low" and .critical == false and .reason == "signal"' &&
		is "$one" '(.time_usec > 0) and (.realtime_usec > 1000000000000000) and (.cgroup | startswith("/"))' &&
		is "$one" '[.some_total_usec, .full_total_usec, .stall_usec, .since_usec, .some_avg10_centi, .limit_bytes] | all(type == "number")' &&
		is "$one" '.current_bytes == null or .current_bytes > 0' &&
		is "$(sed -n 1p "$T/rest")" '.event == "notification" and .available == "neutral" and .reason == "calm"' &&
		is "$(sed -n 2p "$T/rest")" '.event == "notification" and .available == "high" and .reason == "calm"' &&
		is "$(sed -n 3p "$T/rest")" '.event == "summary" and .end == "count" and .notifications == 3' &&
		is "$(sed -n 3p "$T/rest")" '.low == 1 and .critical == 0 and .neutral == 1 and .high == 1 and .alarms == 1 and .duration_usec >= 400000' &&
		same 3 "$(wc -l <"$T/rest")"
}

duration_ends_it()
{
	fifo_source
	start --json --source "$T/source" --duration 150ms
	finish
	same 0 "$status" && is "$(tail -n 1 "$T/rest")" '.event == "summary" and .end == "duration" and .duration_usec >= 150000 and .duration_usec < 5000000'
}

signal_ends_it()
{
	fifo_source
	start --json --source "$T/source"
	read -r armed <&3
	kill -s "$1" "$pid"
	finish
	same 0 "$status" && [ ! -s "$T/log" ] && is "$(cat "$T/rest")" '.event == "summary" and .end == "signal"'
}

# Nothing happens any more, so only the closed pipe itself can end it, or else the duration.
reader_leaves()
{
	fifo_source
	start --json --source "$T/source" --duration 30s
	read -r armed <&3
	began=$(date +%s)
	exec 3<&-
	wait "$pid"
	same 0 "$?" && [ ! -s "$T/log" ] && [ $(($(date +%s) - began)) -lt 15 ]
}

# A pipe that nobody reads from the start: the very first line cannot be written.
reader_never_was()
{
	fifo_source
	rm -f "$T/broken"
	mkfifo "$T/broken"
	exec 5<>"$T/broken" 6>"$T/broken"
	exec 5>&-
	"$psibridge" watch "$@" --source "$T/source" --duration 0 >&6 2>"$T/stderr" </dev/null
	status=$?
	exec 6>&-
	same 0 "$status" && [ ! -s "$T/stderr" ]
}

rearm_repeats()
{
	fifo_source
	start --json --source "$T/source" --rearm 100ms --quiet 10s --count 2
	read -r armed <&3
	echo x >&4
	read -r one <&3
	# more than the rearm time later by the kernel's clock
	until [ "$(date +%s%N)" -gt "$(($(printf '%s' "$one" | jq .realtime_usec) * 1000 + 100000000))" ]; do :; done
	echo x >&4
	read -r two <&3
	finish
	is "$two" '.available == "low" and (.reason == "signal" or .reason == "repeat")' &&
		is "[$one,$two]" '.[1].time_usec - .[0].time_usec >= 100000'
}

not_utf8()
{
	name=$T/$(printf 'a\377b')
	mkfifo "$name"
	run watch --json --source "$name" --duration 0
	same 0 "$status" && is "$(head -n 1 "$T/stdout")" '.path | endswith("/a\ufffdb")'
}

json_check levels_come_as_objects_and_count_ends_after_exactly_so_many levels_in_json
json_check duration_ends_it_with_a_summary duration_ends_it
json_check sigterm_ends_it_with_a_summary_and_0 signal_ends_it TERM
json_check sigint_ends_it_with_a_summary_and_0 signal_ends_it INT
check a_reader_that_leaves_ends_it_at_once reader_leaves
check a_broken_pipe_is_no_failure reader_never_was
check a_broken_pipe_is_no_failure_in_json reader_never_was --json
json_check rearm_lets_low_be_repeated rearm_repeats
json_check a_path_that_is_not_utf8_is_still_json not_utf8

# ---- watch: lines for people -------------------------------------------------------------------------
levels_in_words()
{
	fifo_source
	start --source "$T/source" --quiet 200ms --calm 200ms --count 3
	read -r first <&3
	echo x >&4
	finish
	clock='^[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{3}  '
	memory='  ([0-9.]+ .iB (of [0-9.]+ .iB|in use))?$'
	same 0 "$status" &&
		matches "^Watching $T/source.*\\. Pressure will be noticed as soon as its writer says so, by the FIFO of systemd's protocol \\(rung 1 of 6\\)\\.\$" "$first" &&
		matches "${clock}Low \\(memory is short\\)           the source said so                0 ms stalled$memory" "$(sed -n 1p "$T/rest")" &&
		matches "${clock}Neutral \\(memory is tight\\)       no more waiting                   0 ms stalled$memory" "$(sed -n 2p "$T/rest")" &&
		matches "${clock}High \\(memory is plentiful\\)      no more waiting                   0 ms stalled$memory" "$(sed -n 3p "$T/rest")" &&
		matches '^Watched for [0-9.]+ m?s: Low 1 \(critical 0\), Neutral 1, High 1; 1 alarms \(0 false, 0 lost\), 0 samples\.$' "$(sed -n 4p "$T/rest")"
}

escapes_are_harmless()
{
	name=$T/$(printf 'e\033[31m\007x')
	mkfifo "$name"
	run watch --source "$name" --duration 0
	same 0 "$status" && matches '/e\?\[31m\?x' "$(head -n 1 "$T/stdout")" && ! grep -q "$(printf '\033')" "$T/stdout"
}

# A terminal of its own: script(1) gives one.
coloured()
{
	fifo_source
	echo x >&4 # waits there until somebody listens
	env TERM=xterm "$@" script -qec "'$psibridge' watch --source '$T/source' --count 1 --duration 10s" /dev/null </dev/null >"$T/stdout"
	grep -q 'the source said so' "$T/stdout" && grep -q "$(printf '\033')" "$T/stdout"
}

plain()
{
	! coloured "$@" && grep -q 'the source said so' "$T/stdout"
}

check levels_come_in_words_and_aligned levels_in_words
check a_name_cannot_send_escapes_to_the_terminal escapes_are_harmless
if ! command -v script >/dev/null; then
	skip colour_on_a_terminal "script(1) is not installed"
elif ! script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	skip colour_on_a_terminal "no pseudo-terminal can be had here"
else
	check colour_on_a_terminal coloured X=1
	check no_colour_with_NO_COLOR plain NO_COLOR=1
	check an_empty_NO_COLOR_means_nothing coloured NO_COLOR=
	check no_colour_on_a_dumb_terminal plain TERM=dumb
fi

full_device()
{
	fifo_source
	"$psibridge" "$@" >/dev/full 2>"$T/stderr" </dev/null
	same 1 "$?" && matches 'standard output: No space left on device$' "$(cat "$T/stderr")"
}

closed_output()
{
	"$psibridge" "$@" >&- 2>"$T/stderr"
	same 1 "$?" && same 'psibridge: standard output is closed' "$(cat "$T/stderr")"
}

if [ -c /dev/full ]; then
	check a_full_disk_is_told_by_watch full_device watch --source "$T/source" --duration 0
	check a_full_disk_is_told_by_watch_json full_device watch --json --source "$T/source" --duration 0
	check a_full_disk_is_told_by_doctor full_device doctor --source "$T/source"
	check a_full_disk_is_told_by_help full_device help
else
	skip a_full_disk_is_told "there is no /dev/full"
fi
check closed_standard_output_is_told closed_output watch

# ---- doctor ------------------------------------------------------------------------------------------
doctor_json()
{
	fifo_source
	run doctor --json --source "$T/source"
	one=$(cat "$T/stdout")
	same 0 "$status" && same 1 "$(wc -l <"$T/stdout")" && [ ! -s "$T/stderr" ] &&
		is "$one" '.works == true and .rung == 1 and .source == "fifo" and .error == null and .advice == ""' &&
		is "$one" ".verdict == \"Pressure in $T/source will be noticed as soon as its writer says so (rung 1 of 6: the FIFO of systemd's protocol).\"" &&
		is "$one" '[.findings[] | select(.rung > 0) | .rung] == [1, 2, 3, 4, 5, 6]' &&
		is "$one" '[.findings[] | select(.taken)] | length == 1 and .[0].rung == 1 and .[0].status == "works"' &&
		is "$one" 'all(.findings[]; (.id | length > 0) and (.what | length > 0) and (.status | IN("works", "could-be-better", "does-not-work")))' &&
		is "$one" 'all(.findings[]; .status != "does-not-work" or .rung == 0 or (.error | test("^E[A-Z]+$")))'
}

doctor_words()
{
	fifo_source
	run doctor --source "$T/source"
	same 0 "$status" &&
		matches "^Pressure in $T/source will be noticed as soon as" "$(head -n 3 "$T/stdout" | tr '\n' ' ')" &&
		grep -q '^The ladder: ' "$T/stdout" && grep -q '^  ✓ 1 taken: ' "$T/stdout" && grep -q '^Also$' "$T/stdout" || return
	# nothing but a word that is longer than a line goes beyond it
	awk '{ line = $0; gsub(/✓|✗|→/, "x", line) } length(line) > 80 && line ~ /[^ ] [^ ]/' "$T/stdout" | grep -v / && return 1
	LC_ALL=C "$psibridge" doctor --source "$T/source" >"$T/stdout" &&
		! LC_ALL=C grep -q "$(printf '[\200-\377]')" "$T/stdout" && grep -q '^  + 1 taken: ' "$T/stdout"
}

doctor_none()
{
	run doctor --rung 1
	same 1 "$status" && matches 'will not be noticed: no rung of the' "$(head -n 1 "$T/stdout")" || return
	run doctor --json --rung 1
	same 1 "$status" && is "$(cat "$T/stdout")" '.works == false and .rung == 0 and [.findings[] | select(.rung > 0) | .rung] == [1]'
}

doctor_off()
{
	MEMORY_PRESSURE_WATCH=/dev/null "$psibridge" doctor --json >"$T/stdout"
	same 1 "$?" && is "$(cat "$T/stdout")" '.verdict == "No pressure will be noticed: MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service."' &&
		is "$(cat "$T/stdout")" '.error == "ENODATA" and (.advice | test("MemoryPressureWatch=auto"))'
}

doctor_backend()
{
	fifo_source
	PSIBRIDGE_BACKEND=kqueue "$psibridge" doctor --source "$T/source" >"$T/stdout"
	same 1 "$?" && matches 'no event loop can be made' "$(head -n 2 "$T/stdout" | tr '\n' ' ')"
}

# /proc/meminfo is empty in a service with ProcSubset=pid
doctor_without_meminfo()
{
	: >"$T/meminfo"
	if ! unshare -m true 2>/dev/null; then
		echo '# no mount namespace can be had here'
		return 0
	fi
	unshare -m sh -c 'mount --bind "$1" /proc/meminfo && exec "$2" doctor --json' sh "$T/meminfo" "$psibridge" >"$T/stdout"
	is "$(cat "$T/stdout")" '[.findings[] | select(.id == "limit") | .what] | length == 1 and (.[0] | test(" 0 (MiB|%)") | not) and (.[0] | test("unknown|effective limit"))'
}
json_check doctor_json_is_one_object_with_every_rung doctor_json
check doctor_says_it_in_words_within_the_width doctor_words
json_check doctor_ends_with_1_when_no_rung_works doctor_none
json_check doctor_knows_switched_off doctor_off
json_check doctor_takes_no_unknown_memory_for_0 doctor_without_meminfo
check doctor_without_a_loop_promises_nothing doctor_backend

# ---- real cgroups --------------------------------------------------------------------------------------
real_tests='an_unknown_cgroup_is_told an_unknown_unit_is_told doctor_of_an_unknown_cgroup_is_a_verdict an_unknown_process_is_told
a_removed_cgroup_ends_it_with_3 a_removed_cgroup_is_told_in_words only_the_rungs_named_are_used doctor_and_watch_take_the_same_rung a_pattern_is_named'
if [ -z "$mount" ]; then
	for name in $real_tests; do skip "$name" "no unified cgroup hierarchy is mounted here"; done
	done_testing
fi
check an_unknown_cgroup_is_told failed 'psibridge watch: --cgroup /no-such.slice: there is no such cgroup' watch --cgroup no-such.slice
check an_unknown_unit_is_told failed 'psibridge watch: --unit no-such-unit.service: no cgroup of that name; is it running?' watch --unit no-such-unit
check a_unit_with_a_suffix_keeps_it failed 'psibridge watch: --unit no-such-unit.scope: no cgroup of that name; is it running?' watch --unit no-such-unit.scope
check an_unknown_process_is_told failed 'psibridge watch: --pid 2147483647: there is no such process' watch --pid 2147483647
check a_path_that_climbs_is_refused refused 'psibridge watch: --cgroup "../x": ".." is not allowed in it' watch --cgroup ../x
check a_pattern_without_stars_is_refused refused 'psibridge watch: --pattern "system.slice": there is no star in it' watch --pattern system.slice

doctor_unknown()
{
	run doctor --cgroup no-such.slice
	same 1 "$status" && same 'No pressure will be noticed: --cgroup /no-such.slice: there is no such cgroup.' "$(cat "$T/stdout")"
}
check doctor_of_an_unknown_cgroup_is_a_verdict doctor_unknown

group=$mount/psibridge-cli-$$
if ! mkdir "$group" 2>/dev/null || ! cat "$group/memory.pressure" >/dev/null 2>&1; then
	why="no cgroup with PSI can be made here (root and a writable cgroup2 mount are needed)"
	for name in a_removed_cgroup_ends_it_with_3 a_removed_cgroup_is_told_in_words only_the_rungs_named_are_used \
		doctor_and_watch_take_the_same_rung a_pattern_is_named; do
		skip "$name" "$why"
	done
	done_testing
fi
path=${group#"$mount"}

gone()
{
	start "$@" --cgroup "$path"
	read -r first <&3
	rmdir "$group"
	finish
	mkdir "$group"
	same 3 "$status" && [ ! -s "$T/log" ]
}

gone_in_json()
{
	gone --json &&
		is "$first" ".event == \"armed\" and .cgroup == \"$path\"" &&
		is "$(sed -n 1p "$T/rest")" ".event == \"gone\" and .cgroup == \"$path\" and .reason == \"gone\" and .available != \"low\"" &&
		is "$(sed -n 2p "$T/rest")" '.event == "summary" and .end == "gone"' &&
		same 2 "$(wc -l <"$T/rest")"
}

gone_in_words()
{
	gone && matches "^Watching $path\\b.*Pressure will be noticed within " "$first" &&
		matches '  Gone +the cgroup was removed ' "$(sed -n 1p "$T/rest")"
}

only_rungs()
{
	run watch --json --cgroup "$path" --rung 5 --duration 0
	is "$(head -n 1 "$T/stdout")" '.rung == 5 and .source == "sampling" and .trigger == ""' || return
	run watch --json --cgroup "$path" --rung 3 --rung 5 --early 'some 30ms/4s' --duration 0
	is "$(head -n 1 "$T/stdout")" '.rung == 3 and .source == "psi" and (.trigger | endswith(" 2000000"))' || return
	run watch --cgroup "$path" --rung 5 --low 'some 100ms/3s' --duration 0
	matches 'Pressure will be noticed within 3 s, by reading memory.pressure now and then \(rung 5 of 6' "$(head -n 1 "$T/stdout")"
}

same_rung()
{
	run watch --json --cgroup "$path" --duration 0
	armed=$(head -n 1 "$T/stdout")
	run doctor --json --cgroup "$path"
	same 0 "$status" && is "[$armed,$(cat "$T/stdout")]" '.[0].rung == .[1].rung and .[0].trigger == .[1].trigger and .[0].source == .[1].source'
}

pattern_named()
{
	run watch --json --pattern "$path/*" --duration 0
	same 0 "$status" && is "$(head -n 1 "$T/stdout")" ".event == \"armed\" and .pattern == \"$path/*\" and .cgroup == \"$path\"" || return
	run watch --pattern "$path/*" --duration 0
	matches "^Watching all of $path/\\*" "$(head -n 1 "$T/stdout")"
}

json_check a_removed_cgroup_ends_it_with_3 gone_in_json
check a_removed_cgroup_is_told_in_words gone_in_words
json_check only_the_rungs_named_are_used only_rungs
json_check doctor_and_watch_take_the_same_rung same_rung
json_check a_pattern_is_named pattern_named
done_testing
