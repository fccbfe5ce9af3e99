#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Inside a folder no two files use each other, neither at once nor by way of others: who uses whose symbols, as the objects
# say it, can be put in an order.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# "USER USED" for each pair of files of folder $1. A name that several objects define (main) says nothing.
pairs()
{
	# shellcheck disable=SC2086 # libtool's NM has arguments
	find "$builddir/src/$1" -name '*.o' -exec $NM -A -g {} + | sed -E 's|^([^:]*/)?([^:]*_la-)?([^:/]*)\.o:|\3 |' | sort -u |
		awk -v sources=" $(cd "$srcdir/src/$1" && echo *.c) " '
		!index(sources, " " $1 ".c ") { next } # left over in an old build
		NF == 3 && $2 == "U" { user[++n] = $1; used[n] = $3 }
		NF == 4 { definers[$4]++; definer[$4] = $1 }
		END {
			for (i = 1; i <= n; i++)
				if (definers[used[i]] == 1 && definer[used[i]] != user[i])
					print user[i], definer[used[i]]
		}' | sort -u
}

circles()
{
	pairs "$1" | tsort 2>&1 >/dev/null | sed -n 's/^tsort: \([^ ]*\)$/\1/p'
}

for folder in core kernel monitor library daemon cli demo runtimes; do
	[ -n "$(find "$builddir/src/$folder" -name '*.o' 2>/dev/null)" ] || continue
	empty "no_circle_of_files_in_$folder" circles "$folder"
done
done_testing
