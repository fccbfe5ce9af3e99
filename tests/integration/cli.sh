# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# cli.sh - for scripts that run psibridge(1) and look at what it says: . "$srcdir/tests/integration/cli.sh"
#
# $T is a scratch directory; clean_up() is called at the end, before it goes. $hooks is where the hooks were built, $mount the
# cgroup2 hierarchy. The environment has no variable of psibridge's, .NET's or Mono's.
psibridge=$builddir/psibridge
hooks=${PSIBRIDGE_HOOKS:-$builddir/hooks}
T=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-cli.XXXXXX") || exit 2
clean_up() { :; }
trap 'clean_up; rm -rf "$T"' EXIT
unset MEMORY_PRESSURE_WATCH MEMORY_PRESSURE_WRITE MONO_ENV_OPTIONS LD_LIBRARY_PATH NO_COLOR PSIBRIDGE
for variable in $(env | sed -n 's/^\(\(PSIBRIDGE\|CORECLR\|COMPlus\|DOTNET\)_[A-Za-z0-9_]*\)=.*/\1/p'); do
	unset "$variable"
done
export LC_ALL=C.UTF-8
mount=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)

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

# ---- programs that go on meanwhile -------------------------------------------------------------------
# spawn COMMAND...: its output is descriptor 3, its standard input 5, its errors are in $T/log; $started is its number, and $pid
spawn()
{
	rm -f "$T/in" "$T/out"
	mkfifo "$T/in" "$T/out"
	"$@" <"$T/in" >"$T/out" 2>"$T/log" &
	started=$! pid=$!
	exec 5>"$T/in" 3<"$T/out"
}

# expect LINE: the next one
expect()
{
	read -r line <&3 || { echo "it ended: $(cat "$T/log")"; return 1; }
	same "$1" "$line"
}

launch() { spawn "$@" && expect ready; }

# Its input ends; what it had left to say is in $T/rest.
finish()
{
	exec 5>&-
	cat <&3 >"$T/rest"
	exec 3<&-
	wait "$started"
	status=$?
	pid='' started=''
}

# completed WORD...: what bash offers for the last of these words behind "psibridge"
completed()
{
	bash -c '. "$1" 2>/dev/null
		COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2))
		_psibridge "$2" "${COMP_WORDS[-1]}" "${COMP_WORDS[-2]}"
		printf "%s\n" "${COMPREPLY[@]}"' bash "$srcdir/src/cli/psibridge.bash" "$psibridge" "$@"
}

matches()
{
	printf '%s\n' "$2" | grep -Eq -e "$1" || { printf 'pattern: %s\ntext:    %s\n' "$1" "$2"; return 1; }
}

# is [TEXT] EXPRESSION: a JSON text, or else what was said last, for which a jq expression is true
is()
{
	[ $# = 2 ] || set -- "$(cat "$T/stdout")" "$1"
	printf '%s\n' "$1" | jq -e "$2" >/dev/null || { printf 'not true: %s\nof:       %s\n' "$2" "$1"; return 1; }
}

have_jq=$(command -v jq)
json_check()
{
	if [ -n "$have_jq" ]; then
		check "$@"
	else
		skip "$1" "jq is not installed"
	fi
}

# ---- real programs: tests/dotnet/Garbage -------------------------------------------------------------
garbage=$T/build/bin/Garbage/release/garbage
build_garbage()
{
	DOTNET_CLI_HOME=$T DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 MSBUILDDISABLENODEREUSE=1 timeout 200 dotnet build -c Release \
		-v quiet --nologo --artifacts-path "$T/build" "$srcdir/tests/dotnet/Garbage/Garbage.csproj" </dev/null
}

# of the one child of process $1
child_of()
{
	child=$(cat "/proc/$1/task/$1/children")
	echo "${child% }"
}
# idles SOURCE COMMAND...: real .NET or Mono on garbage, whose hook would collect as often as it is told, as under real pressure;
# what is told is written to descriptor 4, what the hook says comes on descriptor 6
idles()
{
	rm -f "$T/source" "$T/err"
	mkfifo "$T/source" "$T/err"
	exec 4<>"$T/source" 7<>"$T/err"
	source=$1
	shift
	# shellcheck disable=SC2016
	launch env PSIBRIDGE_REARM=1s PSIBRIDGE_APART=1s PSIBRIDGE_GROWN=0 "PSIBRIDGE_SOURCE=$source" PSIBRIDGE_LOG=info \
		timeout -k 5 100 sh -c 'exec "$@" 2>"$0"' "$T/err" "$@" || return
	exec 6<"$T/err" 7>&-
	# the program is timeout's child
	pid=$(child_of "$started")
	before=$(rss_kb "$pid")
}
# Its hook is there, it is told Low, and collects.
collects() { heard 'ready: ' && printf x >&4 && heard 'collected: ' && halved "$pid" "$before"; }
# halved PID KB: its resident memory falls below half of that. It is told again where one collection was not enough (333 -> 219 MiB
# seen in the first, on a busy machine): the source is descriptor 4.
halved()
{
	for n in $(seq 100); do
		after=$(rss_kb "$1")
		[ "$after" -ge $(($2 / 2)) ] || break
		[ $((n % 25)) != 0 ] || printf x >&4
		sleep 0.1
	done
	echo "resident: $2 kB before, $after kB after; $said"
	[ "$after" -lt $(($2 / 2)) ] # how much is a figure of make bench-effect
}
rss_kb() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$1/status"; }

# heard TEXT: descriptor 6 is read until a line has it
heard()
{
	while read -r said <&6; do
		case $said in
		*"$1"*) return ;;
		esac
	done
	echo "not said: $1"
	return 1
}
