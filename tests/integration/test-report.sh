#!/bin/sh
# SPDX-License-Identifier: MIT
#
# psibridge report: what a page and a picture of the public traces have, names that are markup or gnuplot's, and what fails.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"

public=$srcdir/tests/data/earlyoom
head='# psibridge trace 1\n# began 1764504000\ntime_s\tsome_us\tfull_us\tused_kib\tlimit_kib\ttold\tcgroup\n'
# trace TEXT: into the file t
# shellcheck disable=SC2059 # it is a format
trace() { printf "$head$1" >"$T/t"; }
good='0\t0\t0\t400000\t524288\t-\t/a\n10\t0\t0\t524288\t524288\t-\t/a\n12\t1000000\t500000\t524288\t524288\t-\t/a\n90\t1000000\t500000\t300000\t524288\t-\t/a\n'

# ---- what makes no sense -------------------------------------------------------------------------------
# NAME | EXIT STATUS | ARGUMENTS | what is said behind "psibridge report: "
while IFS='|' read -r name wanted arguments words; do
	eval "check $name fails $wanted 'psibridge report: $words' report $arguments"
done <<'END'
a_file_is_needed|2||a FILE is missing; "-" is standard input
an_output_is_needed|2|t|--output is missing: a file that ends in .html, .svg or .png was expected
its_name_says_what_it_is|2|t --output x.pdf|--output "x.pdf": a file that ends in .html, .svg or .png was expected
a_trigger_beside_is_checked|2|t --output x.svg --beside 'some 1ms'|--beside "some 1ms": it is neither THRESHOLD/WINDOW with units, such as 200ms/2s, nor two numbers in microseconds
early_is_the_least|2|t --output x.svg --low 'some 1ms/2s'|--early "some 20ms/2s" is over --low "some 1ms/2s", which stalls could reach unnoticed; --early of at most "some 1ms/2s" was expected
a_file_that_is_not_there|1|nowhere --output x.svg|nowhere: No such file or directory
END

# ---- without gnuplot, or with a broken one -------------------------------------------------------------
trace "$good"
# unharmed COMMAND...: what was there before still is, and nothing else
unharmed()
{
	rm -rf out && mkdir out && echo before >out/r.html
	"$@" || return
	same 'out/r.html before' "$(echo out/* out/.[!.]* | sed 's| out/\.\[!\.\]\*||') $(cat out/r.html)"
}
# said_with PATH TEXT
said_with()
{
	PATH=$1 run report t --output out/r.html
	same 1 "$status" && same "psibridge report: $2" "$(tail -n 1 "$T/stderr")" # libtool's wrapper may say more
}
mkdir bin && printf '#!/bin/sh\necho half of a picture\necho "line 7: it broke" >&2\nexit 3\n' >bin/gnuplot && chmod 755 bin/gnuplot
check without_gnuplot_the_package_is_named unharmed said_with /nowhere 'gnuplot: No such file or directory; it draws the pictures: install the package gnuplot-nox'
check a_gnuplot_that_fails_is_told unharmed said_with "$T/bin" 'gnuplot failed: line 7: it broke'
if ! command -v gnuplot >/dev/null; then
	skip pictures "gnuplot is not installed"
	done_testing
fi

# ---- pages and pictures --------------------------------------------------------------------------------
# first NAME TRIGGER: when it would have spoken first, in seconds, or "never"
first() { sed -n "s/^<li>.*$2: \(never\).*/\1/p; s/^<li>.*$2: [0-9]* times* from \([0-9.]*\) s.*/\1/p" "$1.html"; }
# about WANTED GOT: within 0.15 s
about() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a == b || (b + 0 > 0 && a - b < 0.151 && b - a < 0.151)) }' || { echo "$1 expected, not $2"; return 1; }; }
speaks_first()
{
	run report "$public-$1.txt" --output "$1.html" --beside 'full 1ms/10s'
	same 0 "$status" && same '' "$(cat "$T/stderr" "$T/stdout")" &&
		about "$2" "$(first "$1" 'some 70ms.2s')" && about "$3" "$(first "$1" 'some 200ms.2s')" &&
		about "$4" "$(first "$1" 'full 700ms.1s')" && [ -n "$(first "$1" 'full 1ms.10s')" ]
}
check triggers_beside_overload speaks_first overload 4.2 4.4 13.4
check triggers_beside_loadshift speaks_first loadshift 2.7 3.1 never
check triggers_beside_ontheedge speaks_first ontheedge 2.3 3.2 never
has() { for text; do grep -qF -e "$text" "$page" || { echo "not in $page: $text"; return 1; }; done; }
hasnt() { for text; do ! grep -nF -e "$text" "$page" || return; done; }
page_is_whole()
{
	page=overload.html
	has '<!DOCTYPE html>' '</html>' 'prefers-color-scheme:dark' '--back:#15181c' "default-src 'none'" 'class="wide"' 'class="narrow"' \
		"fill = 'rgb(125,  29,  18)'" '[fill="rgb(125,  29,  18)"]{fill:var(--full)}' \
		'<td class="n">4.3 s<td>Low: <span>tasks waited for memory' '<h3>To restart' 'Low=full 350ms/500ms' && same 2 "$(grep -o '<svg' $page | wc -l)" &&
		same 2 "$(grep -o '</svg>' $page | wc -l)" && hasnt '<script' 'src=' '<defs' &&
		same '' "$(grep -oE 'https?://[^"]*' $page | sort -u)"
}
check a_page_is_one_file_for_light_and_dark page_is_whole
with_memory()
{
	page=m.html
	run report t --output m.html
	same 0 "$status" && has '>limit<' 'some 200ms/2s: 2 times from ' '−219 MiB' 'tasks waited for memory' 'psibridge (bar' || return
	trace '0\t0\t0\t400000\t524288\t-\t/a\n1\t0\t0\t400000\t524288\tlow\t/a\n70\t1\t0\t400000\t524288\thigh\t/a\n'
	run report t --output m.html && has 'told live' '<td>Low: ' '<td>High: ' || return
	run report t --output m.html --low 'full 2s/2s' --early 'full 1ms/2s' --critical 'full 2s/2s' --headroom off && has 'There was none' && hasnt 'told live'
}
check what_was_told_live_is_shown_unless_a_threshold_is_given with_memory
trace "$good"
picture()
{
	run report t --output p.svg && run report t --output d.svg --dark && run report t --output p.png && same 0 "$status" &&
		same '</svg>' "$(grep . p.svg | tail -n 1)" && page=d.svg && has '#15181c' && same PNG "$(head -c 4 p.png | tail -c 3)"
}
check a_picture_has_the_form_of_its_name picture
# Half of 2 s is stalled at 12 s of 90, nothing before 10 and after 14. The first polygon is the legend's; y grows downwards.
drawn()
{
	tr -d '\n' <p.svg | grep -oE "'rgb\(143, 188, 224\)' points = '[^']*'" | sed 1d | grep -oE '[0-9.]+,[0-9.]+' | tr , ' ' | sort -n | awk '
		!n++ { bottom = $2 }
		$2 < bottom - 5 { if (!first) first = $1; last = $1; if (bottom - $2 > high) high = bottom - $2 }
		END { print n, first, last, high; exit !(first > 130 && first < 140 && last > 150 && last < 165 && high > 120) }'
}
check stalls_are_drawn_where_they_were drawn
few_of_many()
{
	for i in 1 2 3 4 5 6 7 8 9 10; do
		printf '%s\t%s\t0\t-\t-\t-\t/c%s\n' 0 0 $i 9 ${i}000000 $i
	done | { printf "$head"; cat; } >many
	page=many.html
	run report many --output many.html && has 'Shown are the 8 that stalled most; 2 others are left out, of which the worst stalled 2 s' '/c10' '/c3' &&
		hasnt '/c2' && run report many --output many.html --cgroup c2 && has '/c2' && hasnt '/c10'
}
check of_many_cgroups_the_worst_are_shown few_of_many
long_is_thinned()
{
	awk -v head="$head" 'BEGIN { printf head; for (i = 0; i < 200000; i++) printf "%.1f\t%d\t0\t%d\t1000000\t-\t/a\n", i / 10, s += i % 7000 * 9, 900000 + i % 9999 }' >long
	run report long --output long.svg
	same 0 "$status" && [ "$(wc -c <long.svg)" -lt 300000 ]
}
check a_long_trace_is_thinned long_is_thinned

# Each example of the manual on a trace of the tree works.
examples()
{
	ln -sf "$srcdir/tests" tests
	sed -n 's/^\.Dl \$ psibridge \(.*tests.data.*\)/\1/p' "$srcdir/src/cli/psibridge-tuning.7" >examples
	same 7 "$(wc -l <examples)" || return
	while read -r example; do
		# shellcheck disable=SC2086 # words and patterns
		run $example
		same 0 "$status" || { cat stderr; return 1; }
	done <examples
}
check examples_of_the_manual_work examples

# ---- names of others' choice ---------------------------------------------------------------------------
hostile()
{
	# shellcheck disable=SC2016 # nothing is to be expanded
	trace "$(printf '%s\n' "$good" | sed 's|/a|/<script>x</script>'"'"'`touch y`"; system("touch y"); set label \\\\\\\\x26 @z\&lt;|g')"
	page=h.html
	for file in h.html h.svg h.png; do
		run report t --output "$file"
		same 0 "$status" && [ ! -e y ] && [ ! -e out/y ] || return
	done
	hasnt '<script' && has '&#60;script&#62;x&#60;/script&#62;&#39;`touch y`&#34;; system' && page=h.svg && hasnt '<script' && has 'touch y'
}
check names_are_text_and_nothing_else hostile

# ---- a full disk ---------------------------------------------------------------------------------------
full()
{
	mkdir small && mount -t tmpfs -o size=16k none small || return
	run report "$public-overload.txt" --output small/r.html
	same 1 "$status" && same 'psibridge report: small/r.html: No space left on device' "$(cat "$T/stderr")" &&
		same '' "$(ls -A small)"
	result=$?
	umount small
	return $result
}
if [ "$(id -u)" = 0 ]; then
	check a_full_disk_leaves_nothing full
else
	skip a_full_disk_leaves_nothing "only root can mount a small file system"
fi
done_testing
