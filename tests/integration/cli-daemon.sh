# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# cli-daemon.sh - for scripts that test psibridge(1) beside a psibridged: . "$srcdir/tests/integration/cli-daemon.sh"
#
# psibridged is played by tests/unit/daemon/fake-daemon: its real control socket before levels that `simulate` moves. It serves
# as long as its standard input, descriptor 5 here, is open. Descriptor 6 is the keys of a pseudo-terminal, if there is one.
# shellcheck source=cli.sh
. "$srcdir/tests/integration/cli.sh"
fake=$builddir/tests/unit/daemon/fake-daemon
clean_up()
{
	exec 5>&- 6>&-
	[ ! -s "$T/pid" ] || kill -9 "$(cat "$T/pid")" 2>/dev/null
}
export PSIBRIDGE_CONTROL="$T/control"

# ---- helpers -----------------------------------------------------------------------------------------
# start ARGUMENT...: the fake psibridged
start()
{
	rm -f "$T/input" "$T/ready"
	mkfifo "$T/input" "$T/ready"
	"$fake" "$PSIBRIDGE_CONTROL" "$@" <"$T/input" >"$T/ready" 6>&- &
	fake_pid=$!
	exec 5>"$T/input"
	read -r _ <"$T/ready"
}

stop()
{
	exec 5>&-
	wait "$fake_pid"
}

# ended STATUS ARGUMENT...: that exit status, and nothing on stderr
ended()
{
	expected=$1
	shift
	run "$@"
	same "$expected" "$status" && same "" "$(cat "$T/stderr")"
}

# says TEXT...: each is in the output of the last run
says()
{
	for text; do
		grep -Fq -e "$text" "$T/stdout" || { printf 'missing: %s\nin:\n' "$text"; cat "$T/stdout"; return 1; }
	done
}

# says_not TEXT...
says_not()
{
	for text; do
		! grep -Fq -e "$text" "$T/stdout" || { printf 'not expected: %s\nin:\n' "$text"; cat "$T/stdout"; return 1; }
	done
}

# wait_for COMMAND...: until it succeeds, 20 s at most
wait_for()
{
	tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ $tries -lt 400 ] || { echo "never came true: $*"; return 1; }
		sleep 0.05
	done
}

# ---- what there is here ------------------------------------------------------------------------------
root=
[ "$(id -u)" != 0 ] || root=yes
# as_root NAME COMMAND...: simulate is for root
as_root()
{
	if [ -n "$root" ]; then
		check "$@"
	else
		skip "$1" "only root may simulate"
	fi
}

# no cgroup2 or no PSI here?
pressure=
if "$psibridge" metrics / 2>/dev/null | grep -q '^container_pressure_memory_waiting_seconds_total{id="/"}'; then
	pressure=yes
fi
on_cgroup2()
{
	if [ -n "$pressure" ]; then
		check "$@"
	else
		skip "$1" "no cgroup2 hierarchy with PSI"
	fi
}
check the_programs_were_built test -x "$psibridge" -a -x "$fake"
[ "$tap_bad" = 0 ] || done_testing
