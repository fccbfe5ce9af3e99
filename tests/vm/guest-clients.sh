#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Clients of psibridged that nobody here wrote, unmodified: libsystemd's sd-event, GLib's GMemoryMonitor, socat. Each sits
# in a cgroup of its own; memory is made short in one after the other, and each hears of its own alone. Runs in the guest
# (tests/vm/run) as root.
# shellcheck source=guest-lib.sh
. "$srcdir/tests/vm/guest-lib.sh"

check the_daemon_runs daemon_ready
notify=/run/psibridge/notify
trigger=$(printf 'some 200000 2000000\0' | base64)
high=(-p MemoryHigh=16M -p MemoryPressureWatch=skip)

# A client, and beside it in the same cgroup a shell that presses when told: gate_open NAME.
client()
{
	local name=$1 command=$2
	shift 2
	gate_close "$name"
	member "$name" "${high[@]}" "$@" -- /bin/bash -c "
		$command &
		$(gate "$name")
		$here_bin/press hold 32 4
		sleep 1000"
}

told()
{
	case $1 in
	socat*) tr -cd L <"$work/$1.out" | wc -c ;;
	*) grep -c '^told' "$work/$1.out" ;;
	esac
}

# ---- each in its own cgroup ------------------------------------------------------------------------------
client sd "$here_bin/foreign" -p Environment=MEMORY_PRESSURE_WATCH=$notify
client sdtrigger "$here_bin/foreign" -p Environment=MEMORY_PRESSURE_WATCH=$notify \
	-p "Environment=MEMORY_PRESSURE_WRITE=$trigger"
client socat "socat -u UNIX-CONNECT:$notify -"
client socattrigger "{ printf 'some 200000 2000000\n'; sleep 1000; } | socat STDIO UNIX-CONNECT:$notify"
client ours "$here_bin/listener 1000" -p Environment=MEMORY_PRESSURE_WATCH=$notify
members=(sd sdtrigger socat socattrigger ours)
check sd_event_accepts_the_socket within 20 grep -q ready "$work/sd.out"
check with_a_trigger_too within 20 grep -q ready "$work/sdtrigger.out"
check ours_finds_it_by_itself within 20 grep -q '^source 1 ' "$work/ours.out"
note "$(cat "$work/ours.out")"
sleep 2

counts()
{
	local member text=
	for member; do
		text+=" $member=$(told "$member")"
	done
	echo "$text"
}

quiet()
{
	counts "${members[@]}"
	! counts "${members[@]}" | grep -q '=[1-9]'
}
check nobody_is_told_before_anything_happened quiet

for pressed in "${members[@]}"; do
	others=()
	for member in "${members[@]}"; do
		[ "$member" = "$pressed" ] || others+=("$member")
	done
	was=$(counts "${others[@]}") mine=$(told "$pressed")
	gate_open "$pressed"
	was_told_more()
	{
		[ "$(told "$pressed")" -gt "$mine" ]
	}
	check "${pressed}_hears_of_its_own_low" within 15 was_told_more
	sleep 5
	check "nobody_else_hears_of_that_of_$pressed" test "$(counts "${others[@]}")" = "$was"
	note "$pressed: $(told "$pressed") times"
done
check ours_hears_the_end_of_it_too within 20 ended ours
note "ours: $(levels ours)"

# ---- a restart and what it costs a client ----------------------------------------------------------------------
# Hung up on, sd-event's callback runs about a million times a second.
spin()
{
	local cost before was
	before=$(cpu_usec system.slice/psb-sd.service) was=$(told sd)
	"$@"
	sleep 5
	cost=$(($(cpu_usec system.slice/psb-sd.service) - before))
	echo "sd-event used $((cost / 1000)) ms of CPU in 5 s, told $(($(told sd) - was)) times"
	[ "$cost" -lt 500000 ] && [ "$(told sd)" = "$was" ]
}
check a_restart_is_not_noticed_by_sd_event spin systemctl restart psibridged
check nor_is_a_crash spin systemctl kill -s KILL psibridged
check nor_is_a_stop spin systemctl stop psibridged.service
systemctl start psibridged
sleep 1
systemctl stop psb-sd.service # its shell pressed once; another one:
client sd2 "$here_bin/foreign" -p Environment=MEMORY_PRESSURE_WATCH=$notify
within 20 grep -q ready "$work/sd2.out"
systemctl restart psibridged
gate_open sd2
told_after_a_restart()
{
	[ "$(told sd2)" -ge 1 ]
}
check who_connected_before_a_restart_is_told_after_it within 20 told_after_a_restart

# ---- over D-Bus ------------------------------------------------------------------------------------------------
glib=$builddir/tests/integration/gmemorymonitor
if [ -x "$glib" ]; then
	install -m 755 "$glib" "$here_bin/"
	member glib -p MemoryPressureWatch=off -- "$here_bin/gmemorymonitor"
	check glib_has_a_memory_monitor within 20 grep -q '^listening' "$work/glib.out"
	sleep 2
	# The machine's: everybody's stalls together.
	client machine "sleep 1000"
	gate_open machine
	check glib_is_told_of_the_machine within 30 grep '^[0-9]' "$work/glib.out"
	note "$(paste -sd' ' "$work/glib.out")"
	check the_levels_are_those_of_low_memory_monitor sh -c "! grep '^[0-9]' $work/glib.out | grep -v -xE '50|100|255'"
else
	skip glib_has_a_memory_monitor "gmemorymonitor was not built: no GLib where this was built"
fi

name=org.freedesktop.LowMemoryMonitor
nobody()
{
	systemd-run -q --wait --pipe --collect -p User=nobody "$@" 2>&1
}
others_may_not_own_its_name()
{
	nobody busctl call org.freedesktop.DBus / org.freedesktop.DBus RequestName su $name 0 | grep -i 'access denied\|not allowed to own'
}
check others_may_not_own_its_name within 20 others_may_not_own_its_name
everybody_may_look()
{
	nobody busctl introspect $name /org/freedesktop/LowMemoryMonitor | grep '^.LowMemoryWarning  *signal  *y '
}
check everybody_may_look_at_what_is_offered within 20 everybody_may_look

# ---- whoever asks for what is not his ------------------------------------------------------------------------------
asked_for_another()
{
	printf 'psibridge/1 cgroup=/system.slice/psb-ours.service\n' >"$work/hello"
	systemd-run -q --wait --pipe --collect -p User=nobody timeout 5 \
		sh -c "{ cat; sleep 2; } | socat STDIO UNIX-CONNECT:$notify" <"$work/hello" | tr -c '[:print:]' '\n'
}
refused()
{
	asked_for_another >"$work/refused"
	cat "$work/refused"
	grep -qE 'psb1' "$work/refused" && grep -qiE 'own|not|allowed|refus' "$work/refused"
}
check who_asks_for_anothers_cgroup_is_refused_with_words refused
note "$(grep -E '[a-z]{4}' "$work/refused")"

done_testing
