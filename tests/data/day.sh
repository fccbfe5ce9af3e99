#!/bin/sh
# SPDX-License-Identifier: MIT
#
# day.sh BUILD [SAMPLES] - make a day of a trace, and say what it costs to keep it and to go through it
#
# 864000 samples 0.1 s apart of one cgroup: stalls and rests of half a minute on average, in which something stalls 0.1 % to 80 % of the
# time, so half of the samples differ from the one before. Those are in the trace, and of each rest the last. The day is the same each time.
build=$(cd "$1" && pwd) || exit 2
psibridge=$build/.libs/psibridge # not libtool's script, which takes time, too
export LD_LIBRARY_PATH="$build/.libs"
T=$(mktemp -d) || exit 2
trap 'rm -rf "$T"' EXIT

# make_day SAMPLES
make_day()
{
	awk -v samples="$1" '
	function line() { return sprintf("%d.%06d\t%d\t%d\t%.2f\t%.2f\t%d\t524288\t0\t-\t-\t-\t-\t/shop.slice", i / 10,
		i % 10 * 100000 + late, some, full, some10, full10, used) }
	BEGIN {
		srand(7)
		used = 498112
		print "# psibridge trace 1"
		print "time_s\tsome_us\tfull_us\tsome_avg10\tfull_avg10\tused_kib\tlimit_kib\toom\tevent\ttold\treason\tcause\tcgroup"
		for (i = 0; i < samples; i++) {
			late = int(rand() * 900)
			if (left-- <= 0) {
				stalls = !stalls
				left = int(-log(1 - rand()) * 300)
				rate = exp(log(10) * (rand() * 2.9 - 3))
				share = rand() * 0.8
			}
			grown = 0
			if (stalls) {
				grown = int(-log(1 - rand()) * rate * 100000) + 1
				grown = grown > 100000 ? 100000 : grown
				used += int(rand() * 600) - 300
				used = used > 524288 ? 524288 : used
			}
			some += grown
			full += int(grown * share)
			if (i % 20 == 0) { # as the kernel does, each 2 s
				some10 += ((some - some_before) / 20000 - some10) * 371 / 2048
				full10 += ((full - full_before) / 20000 - full10) * 371 / 2048
				some_before = some
				full_before = full
			}
			if (grown || i == 0) {
				if (rest)
					print rest
				rest = ""
				print line()
			} else
				rest = line()
		}
		if (rest)
			print rest
	}'
}

# cpu NAME COMMAND...: its seconds
cpu()
{
	name=$1
	shift
	/bin/bash -c 'TIMEFORMAT="%U %S"; time "$@" >/dev/null' bash "$@" 2>"$T/time"
	awk -v name="$name" 'END { printf "%-10s %.3f s of CPU\n", name, $1 + $2 }' "$T/time"
}

# packed FILE: bytes for each sample that differs, of the first 50,000 lines
packed()
{
	head -n 50000 "$1" >"$T/part"
	zstd -19 -q -c "$T/part" | wc -c | cat - "$T/part" |
		awk -F'\t' 'NR == 1 { bytes = $1 } $13 && $2 != before { n++; before = $2 } END { printf "%.1f", bytes / n }'
}

make_day "${2:-864000}" >"$T/day.trace"
printf '%d lines, %s bytes for a sample that differs after zstd -19\n' "$(wc -l <"$T/day.trace")" "$(packed "$T/day.trace")"
cpu replay "$psibridge" replay "$T/day.trace"
cpu tune "$psibridge" tune "$T/day.trace"
