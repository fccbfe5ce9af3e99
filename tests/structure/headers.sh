#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every header stands alone: the public ones as strict C99 and C++11, ours as gnu11. And the version
# has one value.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

# Twice, so that the include guard is tried too.
compile()
{
	language=$1 header=$2
	shift 2
	printf '#include "%s"\n#include "%s"\nextern int not_empty;\n' "$header" "$header" |
		"$@" -Wall -Wextra -Werror -fsyntax-only -x "$language" -I"$srcdir/include" -I"$srcdir/src" -I"$srcdir" -
}

same_version()
{
	header=$(awk '/^#define PSB_VERSION_(MAJOR|MINOR|PATCH) / { printf "%s%s", dot, $3; dot = "." }' "$srcdir/include/psibridge/psibridge.h")
	[ "$header" = "$VERSION" ] || echo "psibridge.h says $header, configure.ac says $VERSION"
}

# What a program that was ported from Windows has of its own, before or behind the header.
own_names()
{
	language=$1 order=$2
	shift 2
	macros='#define __stdcall
#define STDMETHODCALLTYPE
#define STDMETHODIMP HRESULT STDMETHODCALLTYPE
#define STDMETHODIMP_(type) type STDMETHODCALLTYPE
'
	types='typedef unsigned long SIZE_T; typedef void *LPVOID; typedef int BOOL; typedef int LONG;
'
	header='#include "psibridge/hosting.h"
'
	operators='#ifdef __cplusplus
#include <cstring>
inline bool operator==(const GUID &a, const GUID &b) { return memcmp(&a, &b, sizeof(a)) == 0; }
inline bool operator!=(const GUID &a, const GUID &b) { return !(a == b); }
bool same(const IID &a);
bool same(const IID &a) { return a == IID_IUnknown && !(a != IID_IHostMalloc); }
#endif
extern int not_empty;
'
	other='#define PSB_HOSTING_NAMES_DEFINED
typedef signed char BOOL; typedef long LONG;
'
	case $order in
	before) set -- "$macros$types$header$operators" "$@" ;;
	behind) set -- "$header$macros$types$operators" "$@" ;;
	other) set -- "$macros$other$header$operators" "$@" ;;
	esac
	text=$1
	shift
	printf '%s' "$text" | "$@" -Wall -Wextra -Werror -fsyntax-only -x "$language" -I"$srcdir/include" -
}

for header in "$srcdir"/include/psibridge/*.h; do
	name=$(basename "$header" .h)
	# shellcheck disable=SC2086 # CC and CXX may have arguments
	{
		check "public_header_${name}_is_c99" compile c "$header" $CC -std=c99 -pedantic -Wstrict-prototypes
		if [ -n "${HAVE_CXX:-}" ]; then
			check "public_header_${name}_is_cxx11" compile c++ "$header" $CXX -std=c++11 -pedantic
		else
			skip "public_header_${name}_is_cxx11" "no C++ compiler"
		fi
	}
done
for order in before behind other; do
	# shellcheck disable=SC2086
	{
		check "own_windows_names_${order}_hosting_h_in_c" own_names c "$order" $CC -std=c11 -pedantic
		if [ -n "${HAVE_CXX:-}" ]; then
			check "own_windows_names_${order}_hosting_h_in_cxx" own_names c++ "$order" $CXX -std=c++11 -pedantic
			check "own_windows_names_${order}_hosting_h_in_cxx20" own_names c++ "$order" $CXX -std=c++20 -pedantic
		fi
	}
done
for header in "$srcdir"/src/*/*.h; do
	[ -e "$header" ] || continue
	name=${header#"$srcdir/src/"}
	# shellcheck disable=SC2086
	check "header_${name}_stands_alone" compile c "$header" $CC -std=gnu11 -D_GNU_SOURCE -Wno-unused-function
done
# Programs of other ages are served or refused in each of them alike.
sized_without_test()
{
	awk '/^struct psb_[a-z_]+ \{$/ { name = $2 } /^\tsize_t size;/ && name { print name; name = "" } /^}/ { name = "" }' "$srcdir"/include/psibridge/*.h |
		while read -r name; do
			grep -q "struct $name\>" "$srcdir/tests/unit/library/test-sizes.c" || echo "$name"
		done
}

empty structures_that_grow_are_in_test_sizes sized_without_test
empty header_and_configure_have_the_same_version same_version
done_testing
