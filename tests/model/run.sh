#!/bin/sh
# SPDX-License-Identifier: MIT
#
# run.sh - search every state of the level policy for small windows (policy.pml says what is promised)
#
# Needs spin (Debian package of that name), cc, and some hundred megabytes; takes one to two minutes.
#     tests/model/run.sh [NAME...]     all settings at the end of this file, or these
# Fails when a promise is broken, or when the search was not exhaustive. Prints the number of states of each setting.
# To see it catch a mutant, name another policy.c or window.c: POLICY=file WINDOW_C=file tests/model/run.sh three
set -eu

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
policy=${POLICY:-$top/src/core/policy.c}
wanted=$*
searched=
window=${WINDOW_C:-$top/src/core/window.c}
command -v spin >/dev/null || { echo "1..0 # SKIP spin is not installed"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# name, then in units of time: window early low critical rearm quiet calm rest
search() {
	name=$1
	case " $wanted " in *" $name "* | "  ") ;; *) return 0 ;; esac
	searched=1
	defines="-DWINDOW=$2 -DEARLY=$3 -DLOW=$4 -DCRITICAL=$5 -DREARM=$6 -DQUIET=$7 -DCALM=$8 -DREST=$9"
	# the paces, scaled down as the windows are
	defines="$defines -DPOLICY_PACE_MIN_USEC=1 -DPOLICY_PACE_STEADY_USEC=1 -DPOLICY_FAST_USEC=1 -DPOLICY_PACE_EVENTS_USEC=1 -DPOLICY_PACE_IDLE_USEC=2"
	defines="$defines -DPOLICY_PACE_MAX_USEC=4 -DPOLICY_MUTE_MIN_USEC=1 -DPOLICY_MUTE_MAX_USEC=4"
	dir=$work/$name
	mkdir "$dir"
	(
		cd "$dir"
		spin -DWINDOW="$2" -a "$here/policy.pml"
		# shellcheck disable=SC2086
		${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O2 -w -DSAFETY -DNOREDUCE -DCOLLAPSE -DMEMLIM=6000 -DVECTORSZ=2048 \
			$defines -I"$top/src" -I"$top/src/core" -I"$here" pan.c "$policy" "$window" -o pan
		./pan -m4000000 -w26 >out 2>&1
	) || { cat "$dir/out"; echo "$name: the verifier failed"; exit 1; }
	if grep -q '^broken:' "$dir/out" || ! grep -q 'errors: 0' "$dir/out"; then
		grep -v '^$' "$dir/out" | head -40
		echo "$name: a promise is broken"
		exit 1
	fi
	if grep -Eq 'max search depth too small|out of memory|reached -DMEMLIM|Search not completed' "$dir/out"; then
		cat "$dir/out"
		echo "$name: the search was not exhaustive"
		exit 1
	fi
	states=$(sed -n 's/^ *\([0-9.e+]*\) states, stored.*/\1/p' "$dir/out")
	transitions=$(sed -n 's/^ *\([0-9.e+]*\) transitions.*/\1/p' "$dir/out")
	echo "$name: exhaustive, $states states, $transitions transitions, 0 errors"
}

#	name		window	early	low	critical rearm	quiet	calm	rest
search	three		3	1	2	2	4	3	3	7
search	four		4	1	2	2	6	8	6	9
search	upside-down	4	3	2	1	3	2	9	9
search	five		5	1	3	2	7	10	7	11

[ "$searched" ] || { echo "there is no setting of that name: $wanted"; exit 1; }
