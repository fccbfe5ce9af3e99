#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge replay of what others recorded, and of what is packed: real files, and what is said of those that make no sense.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"

data=$srcdir/tests/data
# trace TEXT: into the file t
# shellcheck disable=SC2059 # it is a format
trace() { printf "$1" >"$T/t"; }
# said STATUS ERRORS LAST: of t
said()
{
	run replay t
	same "$1" "$status" && same "$2" "$(cat "$T/stderr")" && same "$3" "$(tail -n 1 "$T/stdout")"
}

# ---- one stall, by many tools (tests/data/README.md) ---------------------------------------------------
# When the first Low is, in seconds from the first sample of each.
first_low()
{
	run replay "$data/$1" --json
	same 0 "$status" && same '' "$(cat "$T/stderr")" &&
		same "$2" "$(jq -r 'select(.available == "low") | [.earliest_usec, .latest_usec] | map(. / 1e5 | round / 10) | unique | join("-")' "$T/stdout" | head -n 1)"
}
while read -r file seconds; do
	json_check "first_low_of_$file" first_low "$file" "$seconds"
done <<'END'
machine.trace 8.2
machine-trace-zstd.bin 8.2
pressure-date.txt 7.2
psi2log.txt 7-9
psi2log-2.txt 6.4
promtool-tsdb-dump.txt 6.1
prometheus-query-range.json 6.1
sadf.json 8.2
END

# ---- packed ------------------------------------------------------------------------------------------
packed()
{
	gzip -c <"$data/machine.trace" >t && said 0 '' "$(run replay "$data/machine.trace" && tail -n 1 "$T/stdout")" &&
		"$psibridge" replay - <"$data/machine-trace-zstd.bin" >out && same 'Replayed 12.4 s' "$(grep -o 'Replayed 12.4 s' out)"
}
check what_is_packed_is_read_from_a_file_and_from_standard_input packed
cut_off()
{
	gzip -c <"$data/machine.trace" | head -c 600 >t && run replay t
	same 1 "$status" && matches '^Replayed [3-9]' "$(tail -n 1 "$T/stdout")" &&
		matches '^psibridge replay: t:[2-4][0-9]: what is packed ends early$' "$(cat "$T/stderr")"
}
check of_what_is_cut_off_the_rest_is_read cut_off
scrambled()
{
	{ gzip -c <"$data/machine.trace" && echo rubbish; } >t && run replay t
	same 1 "$status" && matches '^Replayed 12.4 s' "$(tail -n 1 "$T/stdout")" &&
		same 'psibridge replay: t:67: what is packed with gzip is damaged from here on' "$(cat "$T/stderr")"
}
check damage_is_told scrambled

# ---- what is no sample by itself -----------------------------------------------------------------------
apart()
{
	printf 'time,avg10_some\n0,0.00\n60,0.50\n' >t
	said 0 'psibridge replay: t: only avg10 is in it, up to 1 min 0 s apart: tasks waited 55 ms to 10.9 s; what is told is an estimate' \
		'Replayed 59 s of 1 cgroup: Low 0 (critical 0), Neutral 0, High 0; 0 ms in Low. Between samples another Low may be hidden, 1 time.'
}
check averages_far_apart_are_bounds apart
joined()
{
	m=container_pressure_memory
	trace "${m}_waiting_seconds_total{id=\"/b\"} 1 100\n${m}_waiting_seconds_total{id=\"/b\"} 9 160\n${m}_waiting_seconds_total{id=\"/a\"} 1 100
${m}_stalled_seconds_total{id=\"/b\"} 9 160\n${m}_stalled_seconds_total{id=\"/b\"} 0 100\n${m}_stalled_seconds_total{id=\"/a\"} 7 999\n"
	run replay t --json --rung 3
	same '/b 0 60000000 true' "$(jq -r 'select(.available == "low" and .reason == "stall") | "\(.cgroup) \(.earliest_usec) \(.latest_usec) \(.critical)"' "$T/stdout")" &&
		is "$(tail -n 1 "$T/stdout")" '.cgroups == 2 and .duration_usec == 60000000'
}
json_check series_are_joined_by_cgroup_and_time joined

# ---- what makes no sense -------------------------------------------------------------------------------
# NAME | TEXT | what is said
while IFS='|' read -r name text words; do
	trace "$text"
	check "$name" said 1 "psibridge replay: t$words" ''
done <<'END'
metrics_of_others|# TYPE up gauge\nup 1 5\n|: neither node_pressure_memory_ nor container_pressure_memory_waiting_seconds_total is in it
json_of_others|{"a": 1}|: JSON, but neither of Prometheus's query_range nor of sadf
several_instances|[{"metric": {"__name__": "node_pressure_memory_waiting_seconds_total", "instance": "a"}, "values": []}, {"metric": {"__name__": "node_pressure_memory_waiting_seconds_total", "instance": "b"}}]|: series of several instances: ask for one
json_that_ends_early|{"data":\n{"result": [|: line 2: ']' expected near end of file
json_without_series|{"data": {"result": [{"metric": {"__name__": "up"}, "values": []}]}}|: neither node_pressure_memory_ nor container_pressure_memory_waiting_seconds_total is in it
json_of_another_shape|[{"metric": {"__name__": "node_pressure_memory_waiting_seconds_total"}, "values": [[1, 2]]}]|: "values": [[TIME, "NUMBER"], ...] was expected
sadf_of_several|{"sysstat": {"hosts": [{}, {}]}}|: statistics of several hosts: one is expected
sadf_without_psi|{"sysstat": {"hosts": [{"statistics": [{}]}]}}|: there is no "psi-mem" in it; sadf -j -- -q MEM has it
END
long_line()
{
	{ printf '# psibridge trace 1\ntime_s\tsome_us\n0\t0\n' && head -c 70000 /dev/zero | tr '\0' 7 && printf '\n5\t0\n'; } >t
	said 1 'psibridge replay: t:4: a line of more than 65536 bytes' 'Replayed 5 s of 1 cgroup: Low 0 (critical 0), Neutral 0, High 0; 0 ms in Low.'
}
check a_line_that_is_too_long_costs_itself long_line
too_many()
{
	{ printf '# psibridge trace 1\ntime_s\tsome_us\tcgroup\n' && seq -f '0	0	/%.0f' 65537; } >all && run replay all
	same 1 "$status" && same 'psibridge replay: all:65539: of more than 65536 cgroups; name one' "$(cat "$T/stderr")" &&
		run replay all /65537 && same 0 "$status"
}
check cgroups_are_limited too_many

done_testing
