# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# cli-daemon.sh - for scripts that test psibridge(1) beside a psibridged: . "$srcdir/tests/integration/cli-daemon.sh"
#
# psibridged is played by tests/unit/daemon/fake-daemon, which answers what is in $T/answer; that the real one answers in the same
# way is seen in tests/unit/daemon/test-control.c. It serves as long as its standard input, descriptor 5 here, is open.
# Descriptor 6 is the keys of a pseudo-terminal, if there is one.
# shellcheck source=shell.sh
. "$srcdir/tests/integration/shell.sh"
fake=$builddir/tests/unit/daemon/fake-daemon
clean_up()
{
	exec 5>&- 6>&-
	[ ! -s "$T/pid" ] || kill -9 "$(cat "$T/pid")" 2>/dev/null
}
export PSIBRIDGE_CONTROL="$T/control"

# ---- helpers -----------------------------------------------------------------------------------------
answer() { printf '%s\n' "$1" >"$T/answer"; }
# start [ANSWER]: the fake psibridged; without an answer it says how all is well
start()
{
	rm -f "$T/input" "$T/ready"
	mkfifo "$T/input" "$T/ready"
	if [ $# = 1 ]; then printf %s "$1" >"$T/answer"; else all_is_well; fi
	"$fake" "$PSIBRIDGE_CONTROL" "$T/answer" <"$T/input" >"$T/ready" 6>&- &
	fake_pid=$!
	exec 5>"$T/input"
	read -r _ <"$T/ready"
}

# status_answer WATCHES CGROUPS FILES [HISTORY]
status_answer()
{
	now=$(awk '{ printf "%d", $1 * 1000000 }' /proc/uptime)
	answer '{"version":"0.2.0","pid":1,"backend":"uring","backend_why":"","uptime_usec":60000000,"time_usec":'"$now"',
		"clients":{"connected":3,"plain":2,"records":1,"accepted":9,"refused":1,"told":17,"replaced":2,"max":16384},
		"configuration":{"error":"","files":['"$3"']},"watches":['"$1"'],"cgroups":['"$2"'],"history":['"$4"']}'
}
# watch ID PATH STATE WHY [MEMBERS]: of it, or in place of those here
watch()
{
	[ "$3" != watching ] || set -- "$1" "$2" "$3" "$4" '"available":"high","source":{"rung":2,"name":"psi-privileged",
		"trigger":"some 5000 500000","events":true,"path":"/sys/fs/cgroup/memory.pressure","why":""},
		"stats":{"alarms":41,"alarm_usec":'"$now"',"low":5}'"$5"
	printf '{"id":%s,"path":"%s","configured":true,"state":"%s","why":"%s","critical":false,"shadow":false,"clients":3,"thresholds":1,
		"settings":{"early":"some 20ms/2s","low":"some 200ms/2s","critical":"full 100ms/2s","rearm_usec":8192000,"quiet_usec":4000000,
		"calm_usec":10000000,"headroom_percent":25}%s}' "$1" "$2" "$3" "$4" "${5:+,$5}"
}
# cgroup PATH WATCH [MEMBERS]
cgroup()
{
	printf '{"cgroup":"%s","available":"high","critical":false,"watch":%s,"candidate":false,"since_usec":%s,"some_avg10_centi":1234,
		"some_total_usec":0,"full_total_usec":0,"current_bytes":null,"limit_bytes":0,"clients":2%s}' "$1" "$2" "$now" "${3:+,$3}"
}
all_is_well()
{
	now=$(awk '{ printf "%d", $1 * 1000000 }' /proc/uptime)
	status_answer "$(watch 1 'system.slice/**' watching '' ',"memory_high":{"percent":90,"set":1,"failed":2,"why":"/x: Permission denied"}'),
		$(watch 2 'batch.slice/*' watching '' ',"shadow":true,"made_usec":1,"would_have_told":{"low":5,"critical":1,"neutral":7,"low_usec":9000000,"last_usec":'"$now"'},"source":{"rung":3,"name":"psi","trigger":"some 20000 2000000",
			"events":true,"path":"/p","why":"CAP_SYS_RESOURCE is missing"}'),
		$(watch 3 'kubepods.slice/**' absent 'there is no such cgroup yet'),
		$(watch 4 /broken failed 'memory.pressure: Permission denied'),
		$(watch 5 /guest watching '' ',"configured":false')" \
		"$(cgroup /system.slice/web.service 1 '"current_bytes":524288000,"limit_bytes":536870912'),$(cgroup /system.slice/db.service 1),
		$(cgroup '/batch.slice/night\u001b[31mly' 2),$(cgroup / 1)" \
		'"/etc/psibridge/psibridged.conf","/etc/psibridge/psibridged.conf.d/web.conf"' \
		'{"cgroup":"/batch.slice/gone","low":2,"low_usec":5000000,"killed":3,"last":{"limit":"/batch.slice/gone","task":"tail","pid":77,
		"usage_bytes":15728640,"limit_bytes":16777216,"time_usec":'"$now"'}},
		{"cgroup":"/system.slice/web.service","low":1,"low_usec":9,"killed":0,"effects":3,"bytes_back":0,"unanswered":3,"effect":{"bytes_back":0}},
		{"cgroup":"/system.slice/db.service","low":1,"low_usec":9,"killed":0,"effects":1,"bytes_back":41943040,"unanswered":0,
		"effect":{"bytes_back":41943040,"first_back_usec":300000,"stall_before_usec":2000000,"stall_after_usec":null}}'
}
# level CGROUP LEVEL [CRITICAL]: what psibridged says of it from now on
level()
{
	sed -i 's|\("cgroup":"'"$1"'","available":\)"[a-z]*","critical":[a-z]*|\1"'"$2"'","critical":'"${3:-false}|" "$T/answer"
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

# ---- what there is here ------------------------------------------------------------------------------
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
