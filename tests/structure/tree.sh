#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What every file of the tree promises: short enough to read, a licence, nothing of the machine it was written on.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

LINES_MAX=800

text_files()
{
	our_files | grep -v -E '^(tests/fuzz/corpus/|tests/traces/)|\.(png|svg|gz|xz|bin|class|dll)$'
}

too_long()
{
	text_files | grep -v -E '^(LICENSE|NOTES\.md|CHANGELOG\.md)$' | (cd "$srcdir" && xargs -d '\n' awk -v max=$LINES_MAX '
		FNR == max + 1 { print FILENAME " has more than " max " lines" }')
}

# Line 1, or line 2 below a "#!". Man pages and units have comments too; prose and data have not.
without_licence()
{
	text_files | grep -E '\.([ch]|cc|sh|am|ac|sym|lua|pml|awk|1|3|5|7|8|service|socket)$|^(bootstrap|\.ci/run|tests/(driver|summary|house)|tests/vm/[a-z-]*)$' |
		(cd "$srcdir" && xargs -d '\n' awk '
		FNR == 1 { ok = /SPDX-License-Identifier: MIT/; script = /^#!/ || /^\/\* REUSE/
			if (!ok && !script) print FILENAME ": line 1 is not SPDX-License-Identifier: MIT" }
		FNR == 2 && script && !/SPDX-License-Identifier: MIT/ { print FILENAME ": line 2 is not SPDX-License-Identifier: MIT" }')
}

# Where somebody worked, and the machines somebody downloads from. Written so that they do not match themselves.
machine_traces()
{
	hosts=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -oE '[a-z+]+://[^/ ]+' |
		sed 's|.*://||; s|.*@||; s|:[0-9]*$||' | grep . | sort -u | sed 's/[.]/[.]/g' | tr '\n' '|')
	registries='(deb|security|snapshot|ftp)[.]debian[.]org|registry[.]npmjs|pypi[.]org|files[.]pythonhosted|proxy[.]golang|static[.]crates|repo1?[.]maven|api[.]nuget|docker[.]io/'
	paths='(^|[^A-Za-z0-9_.$}])/(home|Users|root|wor[k])/[A-Za-z0-9_]'
	text_files | grep -v '^LICENSE$' | (cd "$srcdir" && xargs -d '\n' grep -nIE "$paths|$registries|${hosts}no[.]such[.]host" /dev/null)
	[ -z "${HOME:-}" ] || [ "${#HOME}" -lt 6 ] ||
		text_files | (cd "$srcdir" && xargs -d '\n' grep -nIF "$HOME/" /dev/null)
	true
}

white_space()
{
	text_files | (cd "$srcdir" && xargs -d '\n' grep -nIE '[[:space:]]+$' /dev/null | grep -v '\.md:' | head -20)
	true
}

check tree_was_found test "$(text_files | wc -l)" -gt 20
empty no_file_has_more_than_${LINES_MAX}_lines too_long
empty every_source_names_its_licence without_licence
empty nothing_names_the_machine_it_was_written_on machine_traces
empty no_line_ends_in_white_space white_space
done_testing
