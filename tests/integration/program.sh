# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# program.sh - for scripts that put something of ours into a program of a foreign runtime, tell it Low, and read what is said
#
# Pressure is a byte in the FIFO $T/source. What the program and our part of it say comes through another FIFO, line by line,
# so a test waits for events and not for time; `timeout` is there for the day on which nothing comes.
# It makes the scratch directory $T and goes there: a runtime that crashes leaves its report behind.

T=$(mktemp -d "${TMPDIR:-/tmp}/psibridge-program.XXXXXX") || exit 2
trap 'rm -rf "$T"' EXIT
cd "$T" || exit 2
for variable in $(env | sed -n 's/^\(\(PSIBRIDGE\|MEMORY_PRESSURE\|CORECLR\|COMPlus\|DOTNET\|MONO\)_[A-Za-z0-9_]*\)=.*/\1/p'); do
	[ "$variable" = PSIBRIDGE_HOOKS ] || unset "$variable"
done
unset PSIBRIDGE
mkdir "$T/tmp"
export LC_ALL=C.UTF-8 HOME="$T" TMPDIR="$T/tmp" DOTNET_CLI_HOME="$T" DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1 \
	MSBUILDDISABLENODEREUSE=1
# shellcheck disable=SC3045 # every shell we know has it
ulimit -c 0

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

# launch COMMAND...: what it says is on descriptor 3, its standard input is descriptor 5. The environment of the call counts.
launch()
{
	rm -f "$T/in" "$T/out"
	mkfifo "$T/in" "$T/out"
	: >"$T/log"
	PSIBRIDGE_LOG=${PSIBRIDGE_LOG-debug} PSIBRIDGE_SOURCE=${PSIBRIDGE_SOURCE-$T/source} \
		timeout -k 5 100 "$@" <"$T/in" >"$T/out" 2>&1 4>&- &
	pid=$!
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

# The program and our part of it, in whichever order.
ready()
{
	expect '^ready|\]: ready: ' && if said '^ready' >/dev/null; then expect '\]: ready: '; else expect '^ready'; fi
}

tell() { printf '%s\n' "$*" >&5; }

# ended STATUS: with what is left of its output in $T/log
ended()
{
	exec 5>&-
	cat <&3 >>"$T/log"
	exec 3<&-
	wait "$pid"
	status=$?
	[ "$status" = "$1" ] || { echo "exit status $status instead of $1"; cat "$T/log"; return 1; }
}

said() { grep -Eq -e "$1" "$T/log" || { printf 'not said: %s\n' "$1"; cat "$T/log"; return 1; }; }
unsaid() { ! grep -E -e "$1" "$T/log" || { printf 'said: %s\n' "$1"; cat "$T/log"; return 1; }; }
# lines N: so many of ours
lines() { [ "$(grep -c '^psibridge' "$T/log")" = "$1" ] || { printf 'not %s lines:\n' "$1"; cat "$T/log"; return 1; }; }

# The program's own process, below timeout(1).
find_process() { process=$(tr -d ' ' <"/proc/$pid/task/$pid/children"); [ -d "/proc/$process" ]; }
rss_kb() { find_process && awk '/^VmRSS/ { print $2 }' "/proc/$process/status"; }

# dotnet_build DIRECTORY PROJECT [PROPERTY...]: outside the source tree and without the network
dotnet_build()
{
	where=$1 project=$2
	shift 2
	timeout 200 dotnet build -c Release -v quiet --nologo "$@" --artifacts-path "$T/$where" "$srcdir/tests/dotnet/$project/$project.csproj" \
		4>&- </dev/null
}
