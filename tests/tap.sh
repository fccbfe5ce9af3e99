# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# tap.sh - for test scripts: . "$srcdir/tests/tap.sh"
#
#     check NAME COMMAND...    a case: passes if COMMAND succeeds; what it prints is shown if not
#     empty NAME COMMAND...    a case: passes if COMMAND prints nothing (a list of complaints)
#     skip NAME REASON         a case that cannot run here
#     skip_all REASON          the whole script cannot run here; ends it
#     done_testing             last line: the plan, and the exit status
#
# From the test's environment (see Makefile.am): $srcdir and $builddir, absolute; $CC, $CXX, $NM, $READELF.

tap_n=0 tap_bad=0

tap_result()
{
	tap_n=$((tap_n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $tap_n - $2"
	else
		tap_bad=$((tap_bad + 1))
		echo "not ok $tap_n - $2"
		printf '%s\n' "$3" | sed 's/^/# /'
	fi
}

check()
{
	tap_name=$1
	shift
	tap_out=$("$@" 2>&1)
	tap_result $? "$tap_name" "$tap_out"
}

empty()
{
	tap_name=$1
	shift
	tap_out=$("$@" 2>&1) || tap_out="$tap_out
$* failed"
	[ -z "$tap_out" ]
	tap_result $? "$tap_name" "$tap_out"
}

skip()
{
	tap_n=$((tap_n + 1))
	echo "ok $tap_n - $1 # SKIP $2"
}

skip_all()
{
	echo "1..0 # SKIP $1"
	exit 0
}

done_testing()
{
	echo "1..$tap_n"
	[ "$tap_bad" = 0 ]
	exit
}

# The files of the project, relative to $srcdir: everything but what git, autotools and builds put there.
our_files()
{
	(
		cd "$srcdir" || exit
		find . -type d \( -name .git -o -name autom4te.cache -o -path ./build-aux -o -path ./m4 \
			-o -path './build*' -o -path ./_build -o -path ./_inst -o -path ./.cache -o -path './psibridge-[0-9]*' \) -prune \
			-o -type d -exec test -e '{}/config.status' \; -prune \
			-o -type f ! -path ./configure ! -path './configure~' ! -path ./aclocal.m4 ! -path ./Makefile.in \
			! -path './psibridge-*.tar.*' ! -name '*~' ! -name '.*.sw?' -print
	) | sed 's|^\./||' | sort
}
