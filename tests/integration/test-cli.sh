#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge(1) as people and scripts meet it: what it prints, on which descriptor, and its exit status.
#
# A watched FIFO is a pressure source that a test can play: a byte in it is a Low. The program's output is read through
# another FIFO, line by line, so the test waits for events and not for time.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
group=
clean_up()
{
	[ -z "$group" ] || rmdir "$group" 2>/dev/null
}

# spawn COMMAND...: its output is descriptor 3, its errors are in $T/log
spawn()
{
	rm -f "$T/out"
	mkfifo "$T/out"
	"$@" >"$T/out" 2>"$T/log" </dev/null &
	pid=$!
	exec 3<"$T/out"
}

# Once it ends: what it had left to say is in $T/rest.
finish()
{
	cat <&3 >"$T/rest"
	exec 3<&-
	wait "$pid"
	status=$?
}

# completed WORD...: what bash offers for the last of these words behind "psibridge"
completed()
{
	bash -c '. "$1" 2>/dev/null
		COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
		_psibridge "$2" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$srcdir/src/cli/psibridge.bash" "$psibridge" "$@"
}

# start ARGUMENT...: its first line is in $armed
start()
{
	spawn "$psibridge" watch "$@"
	read -r armed <&3
}
start_on_fifo()
{
	source_new
	start --source "$T/source" "$@"
}
# line N: of what it said after that
line() { sed -n "$1p" "$T/rest"; }

check the_program_was_built test -x "$psibridge"
[ "$tap_bad" = 0 ] || done_testing

# ---- what makes no sense -----------------------------------------------------------------------------
# NAME | ARGUMENTS, as a shell would read them | what is said behind "psibridge "
while IFS='|' read -r name arguments words; do
	eval "check $name refused 'psibridge$words' $arguments"
done <<'END'
no_verb||: a verb was expected; "psibridge help" lists them
a_mistyped_verb|wacth|: wacth: there is no such verb; did you mean watch?
a_verb_near_nothing|frobnicate|: frobnicate: there is no such verb; "psibridge help" lists them
help_of_a_mistyped_verb|help docter|: docter: there is no such verb; did you mean doctor?
a_mistyped_option|watch --crtiical x| watch: --crtiical: there is no such option; did you mean --critical?
a_mistyped_option_with_its_value|watch --cuont=3| watch: --cuont: there is no such option; did you mean --count?
an_option_near_nothing|doctor --frobnicate| doctor: --frobnicate: there is no such option; "psibridge help doctor" lists them
an_abbreviated_option|watch --dur 1s| watch: --dur: there is no such option; "psibridge help watch" lists them
an_option_of_another_verb|doctor --count 1| doctor: --count: there is no such option; "psibridge help doctor" lists them
a_short_option|watch -j| watch: -j: options are long here; "psibridge help watch" lists them
a_bare_word|watch system.slice| watch: "system.slice": an option was expected here, such as --json
a_word_after_two_dashes|watch -- x| watch: "x": an option was expected here, such as --json
a_missing_value|watch --low| watch: --low: its value is missing, a trigger such as "some 200ms/2s" was expected
a_value_of_a_flag|watch --json=1| watch: --json=1: --json takes no value
a_threshold_over_its_window|watch "--low=some 2s/1s"| watch: --low "some 2s/1s": the threshold is longer than the window
low_under_the_default_early|doctor --low "some 10ms/2s"| doctor: --early "some 20ms/2s" is over low "some 10ms/2s", which stalls could reach unnoticed; early of at most "some 10ms/2s" was expected
rearm_without_unit|watch --rearm 5| watch: --rearm "5": the unit is missing (us, ms, s, min or h); a time from 1ms to 24h, such as 10s, was expected
calm_of_two_days|watch --calm 48h| watch: --calm "48h": a time from 1ms to 24h, such as 10s, was expected
headroom_of_a_hundred|watch --headroom 100| watch: --headroom "100": a percentage from 1 to 99, or "off", was expected
rung_zero|watch --rung 0| watch: --rung "0": a rung from 1 to 6 was expected
rung_seven|doctor --rung 7| doctor: --rung "7": a rung from 1 to 6 was expected
count_of_zero|watch --count 0| watch: --count "0": a number from 1 on was expected
count_beyond_all_bits|watch --count 99999999999999999999| watch: --count "99999999999999999999": a number from 1 on was expected
duration_in_weeks|watch --duration 2w| watch: --duration "2w": the unit is none of us, ms, s, min and h; a time such as 30s was expected
a_pid_that_is_a_name|watch --pid init| watch: --pid "init": a process id was expected
an_empty_cgroup|watch --cgroup ""| watch: --cgroup "": a path below the cgroup2 mount was expected
two_targets|watch --cgroup a --unit b| watch: --unit "b": --cgroup a was named already; --pattern watches several cgroups
control_characters|watch "--$(printf "\033")[31mred"| watch: --?[31mred: there is no such option; "psibridge help watch" lists them
END

leads_nowhere()
{
	why='MEMORY_PRESSURE_WATCH=/nowhere: No such file or directory'
	run watch --json --duration 10ms
	same 0 "$status" && matches "$why" "$(cat "$T/stderr")" && is "$(head -n 1 "$T/stdout")" ".rung > 1 and .why == \"$why\"" || return
	run doctor --json
	is "[.findings[] | select(.rung > 0) | .rung] == [1, 2, 3, 4, 5, 6] and (.findings[] | select(.rung == 1) | .what == \"$why\")"
}
doctor_off()
{
	run doctor --json
	same 1 "$status" && is '.verdict == "No pressure will be noticed: MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service."' &&
		is '.error == "ENODATA" and (.advice | test("MemoryPressureWatch=auto"))'
}
doctor_backend()
{
	source_new
	run doctor --source "$T/source"
	same 1 "$status" && matches 'no event loop can be made' "$(head -n 2 "$T/stdout" | tr '\n' ' ')"
}

check a_source_that_is_not_there failed 'psibridge watch: --source=/nowhere: No such file or directory' watch --source /nowhere
export MEMORY_PRESSURE_WATCH=/dev/null
check switched_off_by_systemd_is_told failed 'psibridge watch: MEMORY_PRESSURE_WATCH=/dev/null: memory pressure notification is switched off for this service' watch
json_check doctor_knows_switched_off doctor_off
MEMORY_PRESSURE_WATCH=/nowhere
json_check a_variable_that_leads_nowhere_is_a_reason_for_the_next_rung leads_nowhere
unset MEMORY_PRESSURE_WATCH
export PSIBRIDGE_BACKEND=kqueue
check an_unknown_backend_is_told failed 'psibridge watch: no event loop can be made: Invalid argument; PSIBRIDGE_BACKEND takes auto, uring or epoll' watch
check doctor_without_a_loop_promises_nothing doctor_backend
unset PSIBRIDGE_BACKEND

# ---- help ----------------------------------------------------------------------------------------------
# Each verb is in the list, and has one help, whatever asks for it; every option of it is in the manual, in the completion, and known
# to the parser.
undocumented()
{
	"$psibridge" help | cmp - "$T/help"
	for verb in watch doctor status top simulate set diff run attach metrics record replay why tune report demo; do
		grep -q "^  $verb " "$T/help" || echo "help does not know $verb"
		"$psibridge" help $verb >"$T/a"
		grep -q "^psibridge $verb - " "$T/a" || echo "help $verb does not begin with it"
		awk 'length > 80' "$T/a"
		for option in --help -h; do "$psibridge" $verb $option | cmp - "$T/a"; done
		[ $verb != demo ] || continue # which has a manual of its own
		grep -oE -e '^  --[a-z-]+' "$T/a" | sed 's/^  --//' | sort -u | while read -r option; do
			grep -Eq "Fl \\\\?-?$option|Fl Fl $option" "$srcdir"/src/cli/psibridge*.1 || echo "psibridge.1 has no --$option"
			completed $verb -- | grep -qx -e "--$option" || echo "psibridge.bash has no --$option for $verb"
			[ "$option" = help ] || ! "$psibridge" $verb "--$option=" 2>&1 </dev/null | grep -q 'there is no such option' || echo "$verb does not know --$option"
		done
	done
}
"$psibridge" --help >"$T/help"
empty every_verb_and_option_is_documented_completed_and_known undocumented
check version_is_that_of_the_build test "$("$psibridge" --version)" = "psibridge $VERSION"

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
	start_on_fifo --json --quiet 200ms --calm 200ms --count 3
	echo x >&4
	read -r one <&3
	finish
	same 0 "$status" && [ ! -s "$T/log" ] && same 3 "$(wc -l <"$T/rest")" &&
		is "$armed" '.event == "armed" and .source == "fifo" and .rung == 1 and (.backend | IN("io_uring", "epoll"))' &&
		is "$armed" '.available == "high" and .critical == false and .trigger == "" and .why == ""' &&
		is "$armed" ".path == \"$T/source\" and (.cgroup | type == \"string\") and (.events | type == \"boolean\")" &&
		is "$one" '.event == "notification" and .available == "low" and .critical == false and .reason == "signal"' &&
		is "$one" '(.time_usec > 0) and (.realtime_usec > 1000000000000000) and (.cgroup | startswith("/"))' &&
		is "$one" '[.some_total_usec, .full_total_usec, .stall_usec, .since_usec, .some_avg10_centi, .limit_bytes] | all(type == "number")' &&
		is "$one" '.current_bytes == null or .current_bytes > 0' &&
		is "$(line 1)" '.event == "notification" and .available == "neutral" and .reason == "calm"' &&
		is "$(line 2)" '.event == "notification" and .available == "high" and .reason == "calm"' &&
		is "$(line 3)" '.event == "summary" and .end == "count" and .notifications == 3' &&
		is "$(line 3)" '.low == 1 and .critical == 0 and .neutral == 1 and .high == 1 and .alarms == 1 and .duration_usec > 0'
}

duration_ends_it()
{
	start_on_fifo --json --duration 150ms
	finish
	same 0 "$status" && is "$(line 1)" '.event == "summary" and .end == "duration" and .duration_usec >= 150000 and .duration_usec < 5000000'
}

signal_ends_it()
{
	start_on_fifo --json
	kill -s "$1" "$pid"
	finish
	same 0 "$status" && [ ! -s "$T/log" ] && is "$(line 1)" '.event == "summary" and .end == "signal"'
}

# Nothing happens any more, so only the closed pipe itself can end it, or else the duration.
reader_leaves()
{
	start_on_fifo --json --duration 30s
	began=$(date +%s)
	exec 3<&-
	wait "$pid"
	same 0 "$?" && [ ! -s "$T/log" ] && [ $(($(date +%s) - began)) -lt 15 ]
}

# A pipe that nothing reads from the start: the very first line cannot be written.
reader_never_was()
{
	mkfifo "$T/broken"
	exec 5<>"$T/broken" 6>"$T/broken"
	exec 5>&-
	"$psibridge" watch "$@" --source "$T/source" --duration 0 >&6 2>"$T/stderr" </dev/null
	status=$?
	exec 6>&-
	rm "$T/broken"
	same 0 "$status" && [ ! -s "$T/stderr" ]
}

# A name cannot send escapes to the terminal, and one that is no UTF-8 is still JSON.
odd_names()
{
	name=$T/$(printf 'e\033[31m\007x\377')
	mkfifo "$name"
	run watch --source "$name" --duration 0
	same 0 "$status" && LC_ALL=C grep -aq 'e?\[31m?x' "$T/stdout" && ! grep -aq "$(printf '\033')" "$T/stdout" || return
	run watch --json --source "$name" --duration 0
	same 0 "$status" && is "$(head -n 1 "$T/stdout")" '.path | endswith("x\ufffd")'
}

json_check levels_come_as_objects_and_count_ends_after_exactly_so_many levels_in_json
json_check duration_ends_it_with_a_summary duration_ends_it
json_check sigterm_ends_it_with_a_summary_and_0 signal_ends_it TERM
json_check sigint_ends_it_with_a_summary_and_0 signal_ends_it INT
check a_reader_that_leaves_ends_it_at_once reader_leaves
check a_broken_pipe_is_no_failure reader_never_was
check a_broken_pipe_is_no_failure_in_json reader_never_was --json
json_check odd_names_are_harmless odd_names

# ---- watch: lines for people -------------------------------------------------------------------------
levels_in_words()
{
	start_on_fifo --quiet 200ms --calm 200ms --count 3
	echo x >&4
	finish
	clock='^[0-2][0-9]:[0-5][0-9]:[0-6][0-9]\.[0-9]{3}  '
	memory='  ([0-9.]+ .iB (of [0-9.]+ .iB|in use))?$'
	same 0 "$status" &&
		matches "^Watching $T/source.*\\. Pressure will be noticed as soon as its writer says so, by the FIFO of systemd's protocol \\(rung 1 of 6\\)\\.\$" "$armed" &&
		matches "${clock}Low \\(memory is short\\)           the source said so                0 ms stalled$memory" "$(line 1)" &&
		matches "${clock}Neutral \\(memory is tight\\)       no more waiting                   0 ms stalled$memory" "$(line 2)" &&
		matches "${clock}High \\(memory is plentiful\\)      no more waiting                   0 ms stalled$memory" "$(line 3)" &&
		matches '^Watched for [0-9.]+ m?s: Low 1 \(critical 0\), Neutral 1, High 1; 1 alarms \(0 false, 0 lost\), 0 samples\.$' "$(line 4)"
}

# A terminal of its own: script(1) gives one. colours COUNT VARIABLE: how many lines have one
colours()
{
	source_new
	echo x >&4 # waits there until it is read
	env TERM=xterm "$2" script -qec "'$psibridge' watch --source '$T/source' --count 1 --duration 10s" /dev/null </dev/null >"$T/stdout"
	grep -q 'the source said so' "$T/stdout" && same "$1" "$(grep -c "$(printf '\033')" "$T/stdout")"
}

check levels_come_in_words_and_aligned levels_in_words
if ! command -v script >/dev/null; then
	skip colour_on_a_terminal "script(1) is not installed"
elif ! script -qec true /dev/null >/dev/null 2>&1 </dev/null; then
	skip colour_on_a_terminal "no pseudo-terminal can be had here"
else
	check colour_on_a_terminal colours 1 X=1
	check no_colour_with_NO_COLOR colours 0 NO_COLOR=1
	check an_empty_NO_COLOR_means_nothing colours 1 NO_COLOR=
	check no_colour_on_a_dumb_terminal colours 0 TERM=dumb
fi

full_device()
{
	"$psibridge" "$@" >/dev/full 2>"$T/stderr" </dev/null
	same 1 "$?" && matches 'standard output: No space left on device$' "$(cat "$T/stderr")"
}

closed_output()
{
	"$psibridge" watch >&- 2>"$T/stderr"
	same 1 "$?" && same 'psibridge: standard output is closed' "$(cat "$T/stderr")"
}

source_new
for verb in "watch --source $T/source --duration 0" "watch --json --source $T/source --duration 0" "doctor --source $T/source" help; do
	if [ -c /dev/full ]; then
		# shellcheck disable=SC2086 # several words
		check "a_full_disk_is_told: $verb" full_device $verb
	else
		skip "a_full_disk_is_told: $verb" "there is no /dev/full"
	fi
done
check closed_standard_output_is_told closed_output

# ---- doctor ------------------------------------------------------------------------------------------
doctor_json()
{
	source_new
	run doctor --json --source "$T/source"
	same 0 "$status" && same 1 "$(wc -l <"$T/stdout")" && [ ! -s "$T/stderr" ] &&
		is '.works == true and .rung == 1 and .source == "fifo" and .error == null and .advice == ""' &&
		is ".verdict == \"Pressure in $T/source will be noticed as soon as its writer says so (rung 1 of 6: the FIFO of systemd's protocol).\"" &&
		is '[.findings[] | select(.rung > 0) | .rung] == [1, 2, 3, 4, 5, 6]' &&
		is '[.findings[] | select(.taken)] | length == 1 and .[0].rung == 1 and .[0].status == "works"' &&
		is 'all(.findings[]; (.id | length > 0) and (.what | length > 0) and (.status | IN("works", "could-be-better", "does-not-work")))' &&
		is 'all(.findings[]; .status != "does-not-work" or .rung == 0 or (.error | test("^E[A-Z]+$")))'
}

doctor_words()
{
	source_new
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
	run doctor --json --rung 1
	same 1 "$status" && is '.works == false and .rung == 0 and (.verdict | test("will not be noticed: no rung of the")) and
		[.findings[] | select(.rung > 0) | .rung] == [1]'
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
	is '[.findings[] | select(.id == "limit") | .what] | length == 1 and (.[0] | test(" 0 (MiB|%)") | not) and (.[0] | test("unknown|effective limit"))'
}
json_check doctor_json_is_one_object_with_every_rung doctor_json
check doctor_says_it_in_words_within_the_width doctor_words
json_check doctor_ends_with_1_when_no_rung_works doctor_none
json_check doctor_takes_no_unknown_memory_for_0 doctor_without_meminfo

# ---- real cgroups --------------------------------------------------------------------------------------
if [ -z "$mount" ]; then
	skip real_cgroups "no unified cgroup hierarchy is mounted here"
	done_testing
fi
# NAME|STATUS|ARGUMENTS|TEXT
while IFS='|' read -r name wanted arguments text; do
	# shellcheck disable=SC2086 # several words
	check "$name" fails "$wanted" "psibridge watch: $text" watch $arguments
done <<'END'
an_unknown_cgroup_is_told|1|--cgroup no-such.slice|--cgroup /no-such.slice: there is no such cgroup
an_unknown_unit_is_told|1|--unit no-such-unit|--unit no-such-unit.service: no cgroup of that name; is it running?
a_unit_with_a_suffix_keeps_it|1|--unit no-such-unit.scope|--unit no-such-unit.scope: no cgroup of that name; is it running?
an_unknown_process_is_told|1|--pid 2147483647|--pid 2147483647: there is no such process
a_path_that_climbs_is_refused|2|--cgroup ../x|--cgroup "../x": ".." is not allowed in it
a_pattern_without_stars_is_refused|2|--pattern system.slice|--pattern "system.slice": there is no star in it
END
doctor_unknown()
{
	run doctor --cgroup no-such.slice
	same 1 "$status" && same 'No pressure will be noticed: --cgroup /no-such.slice: there is no such cgroup.' "$(cat "$T/stdout")"
}
check doctor_of_an_unknown_cgroup_is_a_verdict doctor_unknown

group=$mount/psibridge-cli-$$
if ! mkdir "$group" 2>/dev/null || ! cat "$group/memory.pressure" >/dev/null 2>&1; then
	skip cgroups_of_our_own "no cgroup with PSI can be made here (root and a writable cgroup2 mount are needed)"
	done_testing
fi
path=${group#"$mount"}

gone()
{
	start --cgroup "$path" "$@"
	rmdir "$group"
	finish
	mkdir "$group"
	same 3 "$status" && [ ! -s "$T/log" ]
}

gone_in_json()
{
	gone --json && same 2 "$(wc -l <"$T/rest")" &&
		is "$armed" ".event == \"armed\" and .cgroup == \"$path\"" &&
		is "$(line 1)" ".event == \"gone\" and .cgroup == \"$path\" and .reason == \"gone\" and .available != \"low\"" &&
		is "$(line 2)" '.event == "summary" and .end == "gone"'
}

gone_in_words()
{
	gone && matches "^Watching $path\\b.*Pressure will be noticed within " "$armed" && matches '  Gone +the cgroup was removed ' "$(line 1)"
}

# first OPTION...: the first line of watch there
first()
{
	run watch "$@" --duration 0
	head -n 1 "$T/stdout"
}

only_rungs()
{
	is "$(first --json --cgroup "$path" --rung 5)" '.rung == 5 and .source == "sampling" and .trigger == ""' &&
		is "$(first --json --cgroup "$path" --rung 3 --rung 5 --early 'some 30ms/4s')" '.rung == 3 and .source == "psi" and (.trigger | endswith(" 2000000"))' &&
		matches 'Pressure will be noticed within 3 s, by reading memory.pressure now and then \(rung 5 of 6' "$(first --cgroup "$path" --rung 5 --low 'some 100ms/3s')"
}

same_rung()
{
	armed=$(first --json --cgroup "$path")
	run doctor --json --cgroup "$path"
	same 0 "$status" && is "[$armed,$(cat "$T/stdout")]" '.[0].rung == .[1].rung and .[0].trigger == .[1].trigger and .[0].source == .[1].source'
}

pattern_named()
{
	is "$(first --json --pattern "$path/*")" ".event == \"armed\" and .pattern == \"$path/*\" and .cgroup == \"$path\"" &&
		matches "^Watching all of $path/\\*" "$(first --pattern "$path/*")"
}

json_check a_removed_cgroup_ends_it_with_3 gone_in_json
check a_removed_cgroup_is_told_in_words gone_in_words
json_check only_the_rungs_named_are_used only_rungs
json_check doctor_and_watch_take_the_same_rung same_rung
json_check a_pattern_is_named pattern_named
done_testing
