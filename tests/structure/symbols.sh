#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the objects say of themselves: core needs nothing that could make a system call, the library exports what its
# header declares and its map lists, and drags in nothing but liburing and libc.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

map=$srcdir/src/library/libpsibridge.sym
lib=$builddir/.libs/libpsibridge.so

# ---- core: one row a function that is not core's own, and the objects that may call it -----------
core_undefined()
{
	# What compilers and instrumentation add is nobody's decision.
	instrumentation='^(_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__(asan|ubsan|tsan|gcov|llvm|sanitizer|sancov)_|___?(asan|tsan)_|__u?(div|mod|divmod|mul)[dt]i[34]$)'
	# shellcheck disable=SC2086 # libtool's NM has arguments
	for object in "$builddir"/src/core/.libs/*.o; do
		source=$srcdir/src/core/$(basename "$object" .o).c
		[ -e "$source" ] && echo "$object $($NM -g "$object" | tr '\n' ' ')"
	done | awk -v skip="$instrumentation" '
	BEGIN {
		n = split("bcmp memchr memcmp memcpy memmove memset strchr strcmp strlen strncmp strnlen strrchr" \
			" snprintf vsnprintf __assert_fail", pure, " ")
		for (i = 1; i <= n; i++)
			may[pure[i]] = "."
		# Fortified (-D_FORTIFY_SOURCE) they have other names.
		for (i = 1; i <= n; i++)
			may["__" pure[i] "_chk"] = "."
		# The only objects of core that own memory.
		may["malloc"] = may["calloc"] = may["free"] = "^cgpattern$"
	}
	{
		object = $1
		sub(/.*\//, "", object)
		sub(/\.o$/, "", object)
		# nm: "0000 T name", or "U name" without an address
		for (i = 2; i <= NF; i++) {
			if ($i == "U" || $i == "w") {
				if (!(($(i + 1) " " object) in wanted))
					wanted[$(i + 1) " " object] = 1
			} else if ($i ~ /^[TDRBVWuiC]$/ && $(i - 1) ~ /^[0-9a-f]+$/)
				defined[$(i + 1)] = 1
		}
		objects++
	}
	END {
		for (w in wanted) {
			split(w, p, " ")
			if (!(p[1] in defined) && p[1] !~ skip && !(p[1] in may && p[2] ~ may[p[1]]))
				print p[2] ".o needs " p[1]
		}
		if (!objects)
			print "no objects of core found below " ENVIRON["builddir"]
	}' | sort
}

# ---- the library: three lists that must be one -----------------------------------------------------
declared()
{
	# A declaration starts a line with a type and has "psb_name(" in it; comments start with " *" or "/**".
	cat "$srcdir"/include/psibridge/*.h | grep -E '^[A-Za-z].*[ *]psb_[a-z0-9_]+\(' | grep -v '^typedef' |
		grep -oE 'psb_[a-z0-9_]+\(' | tr -d '(' | sort -u
}

listed()
{
	sed -n 's/^[[:space:]]*\(psb_[a-z0-9_]*\);.*/\1/p' "$map" | sort
}

exported()
{
	# shellcheck disable=SC2086
	$NM -D --defined-only "$lib" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort
}

same()
{
	"$1" >first.$$
	"$2" >second.$$
	[ -s first.$$ ] || echo "$1: nothing found"
	comm -23 first.$$ second.$$ | sed "s/$/: $1, but not $2/"
	comm -13 first.$$ second.$$ | sed "s/$/: $2, but not $1/"
	rm first.$$ second.$$
}

needed()
{
	$READELF -d "$lib" | awk -v may="^(libc[.]so[.]|ld-linux|lib(asan|ubsan|tsan|gcov|clang_rt)$1)" '
		/[(]NEEDED[)]/ { n++; gsub(/.*\[|\].*/, ""); if ($0 !~ may) print "needs " $0 }
		END { if (!n) print "nothing is needed: that is no shared library" }'
}

# It never prints, never exits, and changes no handler: it has none of the functions for that. (gcov's are in a build for coverage.)
manners()
{
	# shellcheck disable=SC2086
	$NM "$lib" | grep -q __gcov_ && return
	# shellcheck disable=SC2086
	$NM -D --undefined-only "$lib" | awk '{ sub(/@.*/, "", $NF); print $NF }' | grep -xE \
		'std(out|err)|(__)?v?[df]?printf(_chk)?|f?put(s|c|char)|fwrite|perror|v?(warn|err)x?|(__)?v?syslog(_chk)?|_*[eE]xit|quick_exit|abort|raise|__assert_fail|_*sig(action|nal|suspend|wait|timedwait|procmask)' || :
}

stays()
{
	$READELF -d "$lib" | grep -q NODELETE || echo "dlclose(3) takes it away, and threads may be at their end in it"
}

no_globals()
{
	# Writable data in core would be state that a pure function must not have. (.data.rel.ro is
	# constant: tables of pointers.)
	for object in "$builddir"/src/core/.libs/*.o; do
		[ -e "$srcdir/src/core/$(basename "$object" .o).c" ] || continue
		# shellcheck disable=SC2086
		$NM -f sysv "$object" | awk -F '[ ]*[|][ ]*' -v o="$(basename "$object")" '
			$NF ~ /^([.](data|bss|tdata|tbss)|[*]COM)/ && $NF !~ /^[.]data[.]rel[.]ro/ { print o " has the variable " $1 }'
	done
}

cd "${TMPDIR:-/tmp}" || exit
empty core_calls_nothing_that_could_be_a_system_call core_undefined
if [ -n "${SANITIZERS:-}" ]; then
	skip core_has_no_writable_data "sanitizers add their own"
else
	empty core_has_no_writable_data no_globals
fi
if [ -e "$lib" ]; then
	empty public_headers_and_symbol_map_agree same declared listed
	empty library_exports_exactly_its_symbol_map same exported listed
	empty library_stays_in_memory stays
	empty library_neither_prints_nor_exits_nor_changes_a_handler manners
	if [ -n "${STATIC_LIBURING:-}" ]; then
		empty library_needs_nothing_but_libc needed ''
	else
		empty library_needs_nothing_but_libc_and_liburing needed '|liburing[.]so'
	fi
fi
done_testing
