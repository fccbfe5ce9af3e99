# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# shell.sh - for scripts that run psibridge(1), or put something of ours into a program of a foreign runtime, and read what is said:
# . "$srcdir/tests/integration/shell.sh"
#
# Pressure is a byte in the FIFO $T/source, what a program says comes through another one, line by line: a test waits for events and
# not for time. $T is a scratch directory, in which we are (a runtime that crashes leaves its report behind); clean_up() is called at
# the end, before it goes. $hooks is where the hooks were built, $mount the cgroup2 hierarchy. The environment has no variable of
# psibridge's, .NET's or Mono's.
psibridge=$builddir/psibridge
hooks=${PSIBRIDGE_HOOKS:-$builddir/hooks}
T=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-shell.XXXXXX") || exit 2
clean_up() { :; }
trap 'clean_up; rm -rf "$T"' EXIT
cd "$T" || exit 2
chmod 755 "$T"
for variable in $(env | sed -n 's/^\(\(PSIBRIDGE\|MEMORY_PRESSURE\|CORECLR\|COMPlus\|DOTNET\|MONO\)_[A-Za-z0-9_]*\)=.*/\1/p'); do
	unset "$variable"
done
unset PSIBRIDGE LD_LIBRARY_PATH NO_COLOR
mkdir "$T/tmp"
export LC_ALL=C.UTF-8 HOME="$T" TMPDIR="$T/tmp" DOTNET_CLI_HOME="$T" DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 \
	MSBUILDDISABLENODEREUSE=1
# shellcheck disable=SC3045 # every shell we know has it
ulimit -c 0
mount=$(awk '{ for (i = 7; i < NF; i++) if ($i == "-" && $(i + 1) == "cgroup2") { print $5; exit } }' /proc/self/mountinfo)

# ---- psibridge(1) ------------------------------------------------------------------------------------
# run ARGUMENT...: what it said is in $T/stdout and $T/stderr, how it ended in $status
run()
{
	"$psibridge" "$@" >"$T/stdout" 2>"$T/stderr" </dev/null 5>&-
	status=$?
}

# fails STATUS TEXT ARGUMENT...: nothing on stdout, exactly that one line on stderr
fails()
{
	wanted=$1 text=$2
	shift 2
	run "$@"
	same "$wanted" "$status" && same "$text" "$(cat "$T/stderr")" && [ ! -s "$T/stdout" ]
}
refused() { fails 2 "$@"; }
failed() { fails 1 "$@"; }

same()
{
	[ "$1" = "$2" ] || { printf 'expected: %s\ngot:      %s\n' "$1" "$2"; return 1; }
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

# wait_for COMMAND...: until it succeeds, a minute at most
wait_for()
{
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 1200 ] || { echo "never came true: $*"; return 1; }
		sleep 0.05
	done
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

# ---- pressure ----------------------------------------------------------------------------------------
# Open for both on descriptor 4, so that no write to it ever blocks. A new one: what the last program left unread is nobody's.
source_new()
{
	rm -f "$T/source"
	mkfifo "$T/source"
	exec 4<>"$T/source"
}
source_new

low() { printf x >&4; }

# pressure: a Low every few milliseconds, until calm. What was not taken by then is no Low for the next program.
pressure() { while low; do sleep 0.003; done & feeder=$!; }
calm()
{
	kill "$feeder"
	wait "$feeder" || : # it was killed
	dd if="$T/source" of=/dev/null iflag=nonblock || :
} 2>/dev/null

# eager COMMAND...: every Low is acted on at once. Under pressure; one that comes alone may be over, and overtaken in the mailbox,
# before a busy machine has taken it: once COMMAND...
eager() { PSIBRIDGE_REARM=1ms PSIBRIDGE_QUIET=${PSIBRIDGE_QUIET-1ms} PSIBRIDGE_CALM=${PSIBRIDGE_CALM-1ms} PSIBRIDGE_APART=1ms PSIBRIDGE_GROWN=0 "$@"; }
once() { PSIBRIDGE_QUIET=300ms eager "$@"; }

# ---- programs that go on meanwhile -------------------------------------------------------------------
# launch COMMAND...: what it says is on descriptor 3, its standard input is descriptor 5. The environment of the call counts.
launch()
{
	rm -f "$T/in" "$T/out"
	mkfifo "$T/in" "$T/out"
	: >"$T/log"
	PSIBRIDGE_LOG=${PSIBRIDGE_LOG-debug} PSIBRIDGE_SOURCE=${PSIBRIDGE_SOURCE-$T/source} "$@" <"$T/in" >"$T/out" 2>&1 4>&- &
	pid=$!
	# for the day on which nothing comes
	{ timeout 300 tail --pid="$pid" -f /dev/null || kill -KILL "$pid"; } >/dev/null 2>&1 </dev/null 3<&- 4<&- 5>&- &
	exec 5>"$T/in" 3<"$T/out"
}

# expect PATTERN: reads on until a line matches; what was read is in $T/log
expect()
{
	while IFS= read -r line <&3; do
		printf '%s\n' "$line" >>"$T/log"
		! printf '%s\n' "$line" | grep -Eq -e "$1" || return 0
	done
	printf 'it ended before: %s\n' "$1"
	cat "$T/log"
	return 1
}

# heard PATTERN...: each was said, or will be, in whichever order
heard()
{
	for pattern; do
		grep -Eq -e "$pattern" "$T/log" || expect "$pattern" || return
	done
}
ready() { heard '^ready' '\]: ready: '; }

tell() { printf '%s\n' "$*" >&5; }

# ended STATUS: with what is left of its output in $T/log
ended()
{
	exec 5>&-
	cat <&3 >>"$T/log"
	exec 3<&-
	wait "$pid"
	status=$?
	pid=''
	[ "$status" = "$1" ] || { echo "exit status $status instead of $1"; cat "$T/log"; return 1; }
}

said() { grep -Eq -e "$1" "$T/log" || { printf 'not said: %s\n' "$1"; cat "$T/log"; return 1; }; }
unsaid() { ! grep -E -e "$1" "$T/log" || { printf 'said: %s\n' "$1"; cat "$T/log"; return 1; }; }
# lines N: so many of ours
lines() { [ "$(grep -c '^psibridge' "$T/log")" = "$1" ] || { printf 'not %s lines:\n' "$1"; cat "$T/log"; return 1; }; }

rss_kb() { awk '/^VmRSS/ { print $2 }' "/proc/$pid/status"; }
# falls PERCENT [KB]: told Low, the program's resident memory falls by so much (from KB). Once is enough where pauses are short; on a
# busy machine they are not, and the rest goes at the next Low.
falls()
{
	before=${2:-$(rss_kb)} i=0
	until after=$(rss_kb) && [ "$after" -le $((before * (100 - $1) / 100)) ]; do
		i=$((i + 1))
		[ $i -le 3 ] || { echo "$before kB before, $after after: less than $1 % went back"; cat "$T/log"; return 1; }
		low && expect '\]: collected: ' || return
	done
}

# hail N STATUS LINE COMMAND...: so many times a program that is told Low all the time is told to end, and ends as ever; every second
# one when it was seen to be told. The others are told in whatever state of starting and ending.
hail()
{
	times=$1 wanted=$2 word=$3
	shift 3
	source_new
	pressure
	for n in $(seq "$times"); do
		PSIBRIDGE_LOG=info eager launch "$@" && expect '^ready' && { [ $((n % 2)) = 0 ] || heard '\]: told Low'; } && tell "$word" &&
			ended "$wanted" && ! grep -vx 'psibridge\[.*\]: .*\|ready *' "$T/log" || { calm; echo "number $n"; return 1; }
	done
	calm
}

# dotnet_build DIRECTORY PROJECT [PROPERTY...]: outside the source tree and without the network
dotnet_build()
{
	where=$1 project=$2
	shift 2
	timeout 200 dotnet build -c Release -v quiet --nologo "$@" --artifacts-path "$T/$where" "$srcdir/tests/dotnet/$project/$project.csproj" \
		4>&- </dev/null
}
