#!/bin/sh
# SPDX-License-Identifier: MIT
#
# test-bus.sh - psibridged as org.freedesktop.LowMemoryMonitor on a private system bus, with clients that nobody here wrote:
# busctl, and GLib's GMemoryMonitor. What they are told was simulated, so no pressure is needed; root is, to simulate.

# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

[ "$(id -u)" = 0 ] || skip_all "needs root, who alone may simulate"
command -v dbus-daemon >/dev/null || skip_all "no dbus-daemon here"
command -v busctl >/dev/null || skip_all "no busctl here"
: "${psibridged:=$builddir/psibridged}"
: "${psibridge:=$builddir/psibridge}"
: "${gmemorymonitor:=$builddir/tests/integration/gmemorymonitor}"

dir=$(mktemp -d "${TMPDIR:-/tmp}/psb-bus-XXXXXX") || exit 1
pids=
trap 'for pid in $pids; do kill "$pid" 2>/dev/null; done; rm -rf "$dir"' EXIT
unset GIO_USE_MEMORY_MONITOR
export LC_ALL=C.UTF-8 DBUS_SYSTEM_BUS_ADDRESS="unix:path=$dir/bus"

# A system bus as distributions configure it: what nobody allowed is forbidden.
cat >"$dir/bus.conf" <<END
<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type><auth>EXTERNAL</auth><listen>unix:path=$dir/bus</listen>
  <policy context="default">
    <allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="method_return"/>
    <allow receive_type="error"/><allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>$(realpath "$srcdir")/units/dbus/psibridged.conf</include>
</busconfig>
END
# Thresholds that the machine's own pressure stays under, whatever else runs on it.
mkdir -p "$dir/root/etc/psibridge"
cat >"$dir/root/etc/psibridge/psibridged.conf" <<END
[Defaults]
Early=some 10s/10s
Low=some 10s/10s
Critical=full 10s/10s
HighHeadroom=off
END
chmod 755 "$dir"

# until_true COMMAND... : wait up to 20 s until it succeeds
until_true()
{
	tries=0
	while ! "$@" >/dev/null 2>&1; do
		tries=$((tries + 1))
		[ $tries -lt 200 ] || return 1
		sleep 0.1
	done
}

name=org.freedesktop.LowMemoryMonitor
"$psibridged" --root "$dir/root" --notify "$dir/notify" --control "$dir/control" 2>"$dir/psibridged.log" &
daemon=$!
pids=$daemon
until_true test -S "$dir/notify" || skip_all "psibridged does not run here: $(tail -n 1 "$dir/psibridged.log")"
dbus-daemon --nofork --nopidfile --nosyslog --config-file="$dir/bus.conf" 2>"$dir/bus.log" &
pids="$pids $!"
check "a bus that comes later is found" until_true busctl status $name

if [ -x "$gmemorymonitor" ]; then
	"$gmemorymonitor" >"$dir/gmm" 2>"$dir/gmm.err" &
	pids="$pids $!"
	until_true grep -q listening "$dir/gmm"
	told=0
	for level in neutral low critical; do
		"$psibridge" simulate --control "$dir/control" $level / >&2 || break
		told=$((told + 1))
		until_true sh -c "[ \$(grep -c '^[0-9]' '$dir/gmm') -ge $told ]"
	done
	check "GMemoryMonitor tells its program 50, 100, 255" \
		sh -c "cat '$dir/gmm'; [ \"\$(tr '\n' ' ' <'$dir/gmm')\" = 'GMemoryMonitorDBus listening 50 100 255 ' ]"
else
	skip "GMemoryMonitor tells its program 50, 100, 255" "gmemorymonitor was not built: no GLib here"
fi

# The policy, and what is introspected: as anybody, and nobody but root becomes the monitor.
as_nobody=
command -v setpriv >/dev/null && as_nobody='setpriv --reuid 65534 --clear-groups'
refused()
{
	$as_nobody busctl call org.freedesktop.DBus / org.freedesktop.DBus RequestName su $name 0 2>&1 |
		grep -i 'access denied\|not allowed to own'
}
[ -z "$as_nobody" ] || check "others may not own its name" refused
looks()
{
	$as_nobody busctl introspect $name /org/freedesktop/LowMemoryMonitor | grep '^.LowMemoryWarning  *signal  *y ' &&
		$as_nobody busctl call $name /org/freedesktop/LowMemoryMonitor org.freedesktop.DBus.Properties GetAll s $name
}
check "everybody may look at what is offered" looks
kill "$daemon"
wait "$daemon"
check "psibridged ends well" test $? = 0
done_testing
