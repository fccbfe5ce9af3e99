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
		"$@" -Wall -Wextra -Werror -fsyntax-only -x "$language" -I"$srcdir/include" -I"$srcdir/src" -
}

same_version()
{
	header=$(awk '/^#define PSB_VERSION_(MAJOR|MINOR|PATCH) / { printf "%s%s", dot, $3; dot = "." }' "$srcdir/include/psibridge/psibridge.h")
	[ "$header" = "$VERSION" ] || echo "psibridge.h says $header, configure.ac says $VERSION"
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
for header in "$srcdir"/src/*/*.h; do
	[ -e "$header" ] || continue
	name=${header#"$srcdir/src/"}
	# shellcheck disable=SC2086
	check "header_${name}_stands_alone" compile c "$header" $CC -std=gnu11 -D_GNU_SOURCE -Wno-unused-function
done
empty header_and_configure_have_the_same_version same_version
done_testing
