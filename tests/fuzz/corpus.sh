#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Every input that is kept in tests/fuzz/corpus runs through its target once more.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

for target in $FUZZ_TARGETS; do
	check "corpus_of_${target}_replays" "$builddir/tests/fuzz/replay" "$target" "$srcdir/tests/fuzz/corpus/$target"/*
done

without_target()
{
	for dir in "$srcdir"/tests/fuzz/corpus/*/; do
		name=$(basename "$dir")
		case " $FUZZ_TARGETS " in
		*" $name "*) ;;
		*) echo "tests/fuzz/corpus/$name belongs to no target" ;;
		esac
	done
}
empty every_corpus_has_a_target without_target
done_testing
