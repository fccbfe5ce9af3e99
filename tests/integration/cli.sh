# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# cli.sh - for scripts that run psibridge(1) and look at what it says. They set $psibridge and the scratch directory $T.

# run ARGUMENT...: what it said is in $T/stdout and $T/stderr, how it ended in $status
run()
{
	"$psibridge" "$@" >"$T/stdout" 2>"$T/stderr" </dev/null 5>&-
	status=$?
}

same()
{
	[ "$1" = "$2" ] || { printf 'expected: %s\ngot:      %s\n' "$1" "$2"; return 1; }
}

# refused TEXT ARGUMENT...: exit 2, nothing on stdout, exactly that one line on stderr
refused()
{
	text=$1
	shift
	run "$@"
	same 2 "$status" && same "$text" "$(cat "$T/stderr")" && [ ! -s "$T/stdout" ]
}

# failed TEXT ARGUMENT...: the same with exit 1
failed()
{
	text=$1
	shift
	run "$@"
	same 1 "$status" && same "$text" "$(cat "$T/stderr")" && [ ! -s "$T/stdout" ]
}

# completed WORD...: what bash offers for the last of these words behind "psibridge"
completed()
{
	bash -c '. "$1" 2>/dev/null
		COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
		_psibridge "$2" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$srcdir/src/cli/psibridge.bash" "$psibridge" "$@"
}
