#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What the objects say of themselves: core needs nothing that could make a system call, the library exports what its
# header declares and its map lists, and drags in nothing but liburing and libc.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

map=$srcdir/src/library/libpsibridge.sym
lib=$builddir/.libs/libpsibridge.so

work=$(mktemp -d "${TMPDIR:-/tmp}/psb-symbols.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit

# ---- core ------------------------------------------------------------------------------------------
objects=$(for source in "$srcdir"/src/core/*.c; do echo "$builddir/src/core/.libs/$(basename "$source" .c).o"; done)

# shellcheck disable=SC2086 # CC and libtool's NM have arguments, and objects are many
core_undefined()
{
	# Fortified (-D_FORTIFY_SOURCE) they have other names.
	pure='(__)?(bcmp|memchr|memcmp|memcpy|memmove|memset|strchr|strcmp|strlen|strncmp|strnlen|strrchr|snprintf|vsnprintf)(_chk)?|__assert_fail'
	# What compilers and instrumentation add is nobody's decision.
	added='_GLOBAL_OFFSET_TABLE_|__stack_chk_fail|__(asan|ubsan|tsan|gcov|llvm|sanitizer|sancov)_.*|___?(asan|tsan)_.*|__u?(div|mod|divmod|mul)[dt]i[34]'
	$CC -r -nostdlib -o core.o $objects
	$NM -u core.o | awk '{ print $2 }' | grep -vxE "$pure|$added|malloc|calloc|free"
	# The only object of core that owns memory.
	$NM -A -u $objects | grep -v '/cgpattern\.o:' | grep -wE 'malloc|calloc|free'
	true
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
	"$1" >first
	"$2" >second
	[ -s first ] || echo "$1: nothing found"
	comm -23 first second | sed "s/$/: $1, but not $2/"
	comm -13 first second | sed "s/$/: $2, but not $1/"
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

# libpsibridge.so of the NuGet packages, where .NET is: it is for machines older than this one (old-libc.c).
young()
{
	file=$builddir/dotnet/native/.libs/libpsibridge.so
	[ ! -e "$file" ] || $READELF -W --dyn-syms "$file" | grep -oE '[^ ]+@GLIBC_2[.](29|[3-9][0-9])[^ ]*' || :
}

no_globals()
{
	# Writable data in core would be state that a pure function must not have. (.data.rel.ro is
	# constant: tables of pointers.)
	# shellcheck disable=SC2086
	$NM -f sysv core.o | awk -F '[ ]*[|][ ]*' '
		$NF ~ /^([.](data|bss|tdata|tbss)|[*]COM)/ && $NF !~ /^[.]data[.]rel[.]ro/ { print "the variable " $1 }'
}

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
	empty the_packages_library_asks_for_nothing_that_glibc_2_28_has_not young
	empty library_neither_prints_nor_exits_nor_changes_a_handler manners
	if [ -n "${STATIC_LIBURING:-}" ]; then
		empty library_needs_nothing_but_libc needed ''
	else
		empty library_needs_nothing_but_libc_and_liburing needed '|liburing[.]so'
	fi
fi
done_testing
