#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The verbs of psibridge(1) that speak with psibridged: status, simulate, metrics. (top is in test-top.sh.)
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"
# shellcheck source=cli-daemon.sh
. "$srcdir/tests/integration/cli-daemon.sh"

# ---- what makes no sense -----------------------------------------------------------------------------
check status_takes_one_cgroup refused 'psibridge status: "b": an option was expected here, such as --json' status a b
check status_wants_a_path refused 'psibridge status: "a/../b": ".." is not allowed in it' status a/../b
check status_wants_a_pattern refused 'psibridge status: "a**": two stars must be a component of their own' status 'a**'
check simulate_wants_a_level refused 'psibridge simulate: a level is missing: low, neutral, high or critical' simulate
check simulate_knows_four_levels refused 'psibridge simulate: "medium": low, neutral, high or critical was expected' simulate medium
check simulate_wants_a_path refused 'psibridge simulate: "/a/../b": ".." is not allowed in it' simulate low /a/../b
check simulate_cannot_say_what_is_not_utf8 refused 'psibridge simulate: "/'"$(printf '\377')"'": it is not UTF-8, and JSON is' simulate low "/$(printf '\377')"
check set_wants_a_cgroup refused 'psibridge set: a CGROUP, UNIT or PATTERN is missing' set --low 'some 400ms/2s'
check set_takes_one_cgroup refused 'psibridge set: "b": an option was expected here' set a b --calm 5s
check set_wants_something_to_set refused 'psibridge set: there is nothing to set: an option such as --low was expected' set a
check set_resets_and_no_more refused 'psibridge set: --reset takes back what was set: it goes with no other option' set a --reset --save
check set_knows_a_trigger refused 'psibridge set: --low "5": it begins with neither some nor full' set a --low 5
check set_says_what_the_shell_needs refused 'psibridge set: --low some: it needs quotes: --low "some 400ms/2s"' set a --low some 400ms/2s
check set_knows_a_time refused 'psibridge set: --rearm "5": the unit is missing (us, ms, s, min or h); a time from 1ms to 24h, such as 10s, was expected' set a --rearm 5
check set_knows_yes_and_no refused 'psibridge set: --shadow "maybe": yes or no was expected' set a --shadow maybe
check set_wants_a_pattern refused 'psibridge set: "a**": two stars must be a component of their own' set 'a**' --calm 5s
check diff_takes_no_word refused 'psibridge diff: "x": an option was expected here, such as --json' diff x
check metrics_knows_two_formats refused 'psibridge metrics: --format "json": openmetrics or prometheus was expected' metrics --format json
check metrics_wants_a_pattern refused 'psibridge metrics: "a**" is no path and no pattern' metrics 'a**'
check top_wants_a_terminal refused 'psibridge top: this is no terminal; --batch is for scripts' top
check top_sorts_by_four_columns refused 'psibridge top: --sort "cpu": some, full, memory or name was expected' top --sort cpu
check top_cannot_look_all_the_time refused 'psibridge top: --interval "1ms": a time from 100ms to 1h, such as 2s, was expected' top --interval 1ms
check words_after_two_dashes_are_words refused 'psibridge simulate: "--low": low, neutral, high or critical was expected' simulate -- --low

# ---- without psibridged ------------------------------------------------------------------------------
away="psibridged is not running ($PSIBRIDGE_CONTROL does not exist); \"systemctl enable --now psibridged\" starts it"
check status_without_psibridged failed "psibridge status: $away" status
check simulate_without_psibridged failed "psibridge simulate: $away" simulate low /
check set_without_psibridged failed "psibridge set: $away" set a --calm 5s
check diff_without_psibridged_is_trouble fails 2 "psibridge diff: $away" diff
check another_socket_can_be_named failed 'psibridge status: psibridged is not running (/nowhere does not exist); "systemctl enable --now psibridged" starts it' status --control /nowhere
check a_socket_with_too_long_a_name failed "psibridge status: \"$(printf %0200d 0)\": a path of 1 to 107 bytes was expected" status --control "$(printf %0200d 0)"
check a_file_that_is_no_socket failed "psibridge status: psibridged is not running (nothing listens on /dev/null); \"systemctl start psibridged\" starts it" status --control /dev/null

start
kill -9 "$fake_pid"
wait "$fake_pid" 2>/dev/null
exec 5>&-
# the kernel takes an io_uring apart a little after its process, and the listener is held until then
check status_of_a_psibridged_that_died wait_for failed "psibridge status: psibridged is not running (nothing listens on $PSIBRIDGE_CONTROL); \"systemctl start psibridged\" starts it" status
rm -f "$PSIBRIDGE_CONTROL"

# speaks ANSWER COMPLAINT: what status says of somebody else at the socket
speaks()
{
	start "$1"
	failed "$2" status
	r=$?
	stop
	return $r
}
check somebody_else_who_is_polite speaks '220 hello
' "psibridge status: $PSIBRIDGE_CONTROL: what listens there is not psibridged"
check somebody_else_who_speaks_json speaks '[]
' "psibridge status: $PSIBRIDGE_CONTROL: what listens there is not psibridged"
check a_psibridged_of_another_world speaks '{"version":"9.9"}
' "psibridge status: psibridged's answer is none that psibridge $("$psibridge" --version | cut -d ' ' -f 2) understands (psibridged is version \"9.9\")"
check an_answer_that_is_cut_off speaks '{"version":"0.2.0",' "psibridge status: psibridged ended the connection in the middle of its answer"
check no_answer_at_all speaks '' "psibridge status: psibridged ended the connection without an answer"
check a_refusal_comes_in_its_own_words speaks '{"error":"too many connections","errno":"EUSERS"}
' "psibridge status: too many connections"

# ---- status ------------------------------------------------------------------------------------------
status_when_all_is_well()
{
	ended 0 status && says 'Memory is nowhere short.' 'system.slice/**' 'rung 2: a PSI trigger with a short window; 3 clients' \
		'MemoryHigh is 90 % of MemoryMax in 1 cgroup; not in 2: /x: Permission denied' \
		'in shadow: no client is told; it would have told Low 5 times (1 critical)' 'absent: there is no such cgroup yet' 'FAILED: memory.pressure: Permission denied' \
		'1 more, made for clients that no configured watch covers' 'Rung 3 and no better: CAP_SYS_RESOURCE is missing' \
		'3 connected of at most 16384 (2 of systemd'\''s protocol, 1 of libpsibridge)' '1 client refused' \
		/etc/psibridge/psibridged.conf.d/web.conf 'Killed by the kernel' /batch.slice/gone 's ago): tail (process 77), 15 MiB of 16 MiB in use' &&
		says_not 'Short of memory'
}
start
check status_says_that_all_is_well status_when_all_is_well

level /system.slice/web.service low true
status_when_memory_is_short()
{
	ended 4 status && says 'Memory is short in 1 cgroup, critically.' 'Low, CRITICAL (all tasks wait)  /system.slice/web.service' \
		'stalls 12.34 % of the time, uses 500 MiB of 512 MiB, 2 clients' 'since ' 'told 3 times, gave nothing back: it is told less often' &&
		says_not 'gave back' || return
	level /system.slice/db.service low
	ended 4 status && says 'gave back 40 MiB after the last Low, 300 ms after the stall began' && says_not 'in the 5 s before' || return
	sed -i 's/"bytes_back":41943040,"first/"bytes_back":0,"reported_bytes":3145728,"first/' "$T/answer"
	ended 4 status && says 'gave back 3 MiB after the last Low, it says' || return
	sed -i 's/"bytes_back":0,"reported_bytes":3145728,"first/"bytes_back":41943040,"first/' "$T/answer"
	level /system.slice/db.service neutral # which it is by then, if that helped
	sed -i 's/"stall_after_usec":null/"stall_after_usec":10000/' "$T/answer"
	ended 4 status && says 'gave back 40 MiB' '; 2 s stalled in the 5 s before that Low, 10 ms in those after'
	same 0 $? && level /system.slice/db.service high
}
check status_says_what_is_short_and_ends_with_4 status_when_memory_is_short

of_a_part()
{
	ended 0 status system.slice/db.service && says 'Memory is nowhere short there.' 'system.slice/**' &&
		says_not web.service batch.slice Clients Killed &&
		ended 4 status /system.slice && says web.service &&
		ended 4 status /sys/fs/cgroup/system.slice/web.service && says web.service &&
		ended 4 status 'system.slice/*' && says web.service &&
		ended 0 status 'batch.slice/*' && says_not web.service 'system.slice/**' &&
		ended 0 status 'kubepods.slice/**' && says 'absent: there is no such cgroup yet'
}
check status_can_be_asked_for_a_part of_a_part

# Real cgroups, some of one name: $lab/a/PREFIX-x.service, and PREFIX-y.service in $lab/a and $lab/b.
lab=psb-find-$$
lab_groups="$lab $lab/a $lab/b $lab/a/$lab-x.service $lab/a/$lab-y.service $lab/b/$lab-y.service"
remove_lab()
{
	for group in $(printf '%s\n' $lab_groups | tac); do
		[ ! -d "$mount/$group" ] || rmdir "$mount/$group"
	done
}
trap 'remove_lab; clean_up; rm -rf "$T"' EXIT
with_lab()
{
	if [ -w "$mount" ] && (cd "$mount" && mkdir $lab_groups) 2>/dev/null; then
		check "$@"
		remove_lab
	else
		skip "$1" "no cgroups can be made here"
	fi
}

what_is_not_there()
{
	failed "psibridge status: /$lab/nothing: there is no such cgroup" status "$lab/nothing" &&
		failed "psibridge status: /$lab/b/$lab-x.service: there is no such cgroup; did you mean /$lab/a/$lab-x.service?" status "/$lab/b/$lab-x.service" &&
		failed "psibridge status: /systm.slice: there is no such cgroup$(printf %s "$slice_hint")" status 'systm.slice/*.service' &&
		failed "psibridge status: /$lab/nothing: there is no such cgroup" status --json "$lab/nothing" &&
		ended 0 status "$lab/a" && ended 0 status "/$lab/**"
}
slice_hint=
[ ! -d "$mount/system.slice" ] || slice_hint='; did you mean /system.slice?'
with_lab status_of_what_does_not_exist_is_an_error what_is_not_there

units()
{
	ended 0 status "$lab-x.service" && says 'Memory is nowhere short there.' &&
		failed "psibridge status: /$lab-y.service: there is no such cgroup; did you mean /$lab/a/$lab-y.service or /$lab/b/$lab-y.service?" status "$lab-y.service" &&
		failed "psibridge status: /$lab-z.socket: there is no such cgroup" status "$lab-z.socket" &&
		cp "$T/answer" "$T/kept" && answer "{\"error\":\"/$lab/a/$lab-x.service: there is no such cgroup\",\"errno\":\"ENOENT\"}" &&
		failed "psibridge simulate: /$lab-y.service: there is no such cgroup; did you mean /$lab/a/$lab-y.service or /$lab/b/$lab-y.service?" simulate low "$lab-y.service" &&
		failed "psibridge simulate: /$lab/a/$lab-x.service: there is no such cgroup" simulate low "$lab-x.service" && mv "$T/kept" "$T/answer"
}
with_lab a_units_name_is_its_cgroup units

# psibridged itself says so of its configuration.
configured() { "$builddir/psibridged" "$1" --root "$T/root" >"$T/stdout" 2>&1; }
warned()
{
	mkdir -p "$T/root/etc/psibridge"
	cat >"$T/root/etc/psibridge/psibridged.conf" <<-END
		[Watch $lab-x.service]
		[Watch psb-fnid-$$/**]
		[Watch $lab/b/**]
		[Watch kubepods.slice/**]
		Enabled=no
		[Watch psb-no.service]
	END
	configured --check-config && says "; did you mean /$lab?" '; did you mean system.slice/psb-no.service?' \
		"conf:1: warning: [Watch $lab-x.service]: it waits for /$lab-x.service, which does not exist on this machine now; did you mean /$lab/a/$lab-x.service?" &&
		says_not conf:3: conf:4: && configured --show-config && grep -A 1 'conf:5$' "$T/stdout" | grep -qx Enabled=no
}
with_lab a_watch_of_what_is_not_there_is_warned_of warned

worst_first()
{
	level /system.slice/db.service neutral
	level / low
	ended 4 status
	same 'web.service / db.service' "$(sed -n 's/^  \(Low\|Neutral\).*)  \/\(system.slice\/\|\)\(.*\)/\3/p' "$T/stdout" | sed 's/^$/\//' | paste -sd ' ')"
}
check the_worst_stands_first worst_first

harmless()
{
	level '/batch.slice/night\\u001b\[31mly' low
	ended 4 status && says '/batch.slice/night?[31mly' && says_not "$(printf '\033')"
}
check names_cannot_send_escape_sequences harmless

json()
{
	ended 4 status --json && is '.version and .pid > 0 and (.watches | length) == 5 and (.cgroups | length) == 4' &&
		is '.cgroups[] | select(.cgroup == "/system.slice/web.service") | .available == "low" and .critical' &&
		ended 4 status --json system.slice/web.service &&
		is '[.cgroups[].cgroup] == ["/system.slice/web.service"] and [.watches[].path] == ["system.slice/**"]'
}
json_check status_is_to_be_had_as_json json
nothing()
{
	status_answer '' '' ''
	ended 0 status && says 'none: nothing is configured, and no client came' 'the built-in one: there is no file'
}
check status_of_a_daemon_with_nothing_to_do nothing

simulate()
{
	answer '{"ok":true}'
	ended 0 simulate critical system.slice/web.service &&
		same '/system.slice/web.service counts as Low, CRITICAL (all tasks wait) until its quiet or calm time is over.' "$(cat "$T/stdout")" &&
		answer '{"error":"/nowhere: there is no such cgroup","errno":"ENOENT"}' &&
		failed 'psibridge simulate: /nowhere: there is no such cgroup' simulate low nowhere
}
check simulate_says_what_it_did simulate
stop

# ---- metrics -----------------------------------------------------------------------------------------
# Each family in one piece with TYPE before its samples, no series twice, every counter's samples end in _total, "# EOF"
# and nothing behind it.
well_formed()
{
	awk '
	function bad(why) { print FILENAME ":" FNR ": " why ": " $0; wrong = 1 }
	eof { bad("behind the end") }
	/^# TYPE / {
		if ($3 in type) bad("the family is there twice")
		type[$3] = $4; current = $3; next
	}
	/^# HELP / { if ($3 != current) bad("of another family"); next }
	/^# EOF$/ { eof = 1; next }
	!/^[a-z_]+(\{([a-z]+="([^"\\]|\\["\\n])*",?)+\})? [0-9]+(\.[0-9]+)?$/ { bad("no sample") ; next }
	{
		series = $0; sub(/ [0-9.]+$/, "", series)
		if (seen[series]++) bad("twice")
		name = $0; sub(/[{ ].*/, "", name)
		plain = type[current] == "counter" && current !~ /_total$/ ? current "_total" : current
		if (name != plain) bad("not of the family " current)
		if (type[current] == "counter" && name !~ /_total$/) bad("a counter without _total")
	}
	END { if (!eof) { print "no # EOF"; wrong = 1 } exit wrong }' "$1"
}

without_daemon()
{
	ended 0 metrics && well_formed "$T/stdout" && says 'psibridge_up 0' 'container_pressure_memory_waiting_seconds_total{id="/"} ' \
		'# TYPE container_pressure_memory_stalled_seconds counter' '# TYPE container_memory_working_set_bytes gauge' &&
		says_not psibridge_memory_available
}
on_cgroup2 metrics_without_psibridged without_daemon
on_cgroup2 metrics_of_no_cgroup failed 'psibridge metrics: "nowhere": there is no such cgroup' metrics nowhere

start
with_daemon()
{
	level / low true
	ended 0 metrics / && well_formed "$T/stdout" && says 'psibridge_up 1' 'psibridge_clients{kind="systemd"} 2' \
		'psibridge_watch_alarms_total{watch="system.slice/**"} 41' "psibridge_watch_last_alarm_timestamp_seconds{watch=\"system.slice/**\"} $(($(date +%s) / 1000))" 'psibridge_watch_state{watch="/broken",state="failed"} 1' \
		'psibridge_watch_notifications_total{watch="system.slice/**",available="low"} 5' 'psibridge_clients_refused_total 1' &&
		says 'psibridge_memory_available{id="/"} 1' 'psibridge_memory_critical{id="/"} 1' &&
		ended 0 metrics && says 'psibridge_cgroup_oom_kills_total{id="/batch.slice/gone"} 3' 'psibridge_cgroup_low_total{id="/batch.slice/gone"} 2' \
			'psibridge_cgroup_unanswered{id="/system.slice/web.service"} 3' 'psibridge_cgroup_given_back_bytes_total{id="/system.slice/db.service"} 41943040' \
			'psibridge_cgroup_first_back_seconds{id="/system.slice/db.service"} 0.300000' \
			'psibridge_cgroup_stall_before_seconds{id="/system.slice/db.service"} 2.000000' &&
		says_not 'psibridge_cgroup_stall_after_seconds{id="/system.slice/db.service"}' 'psibridge_cgroup_first_back_seconds{id="/batch' &&
		ended 0 metrics --format prometheus / && well_formed "$T/stdout" &&
		says '# TYPE container_pressure_memory_waiting_seconds_total counter'
}
on_cgroup2 metrics_with_psibridged with_daemon

# Nothing is known, which is not that memory is plentiful.
blind()
{
	status_answer "$(watch 1 '/**' failed 'PSI is switched off in this kernel; boot it with psi=1' '"available":null')" '' ''
	ended 1 status && says 'Nothing is known of memory: no watch works.' 'FAILED: PSI is switched off' &&
		{ [ -z "$have_jq" ] || { ended 1 status --json && is '.watches[0] | .state == "failed" and .available == null'; }; } &&
		{ [ -z "$pressure" ] || { ended 0 metrics / && says 'psibridge_watch_state{watch="/**",state="failed"} 1' && says_not 'psibridge_memory_available{'; }; }
}
check where_no_watch_works_nothing_is_said_to_be_well blind
stop

# A cgroup's name may hold quotes and backslashes, and bytes that are no UTF-8.
odd_names()
{
	group=$mount/psb-cli-$$
	mkdir "$group" "$group/a\"b\\c" "$group/$(printf '\377')" "$group/$(printf '\376')" "$group/$(printf '\033[31m')" "$group/$(printf '\302\233m')"
	ended 0 metrics "psb-cli-$$/*" && well_formed "$T/stdout" &&
		says "container_pressure_memory_waiting_seconds_total{id=\"/psb-cli-$$/a\\\"b\\\\c\"} 0.000000" 'psibridge_cgroups_left_out 4' &&
		! LC_ALL=C grep -q "$(printf '[\376\377\033\233]')" "$T/stdout"
	r=$?
	rmdir "$group"/* "$group"
	return $r
}
if [ -n "$pressure" ] && [ -w "$mount" ]; then
	check odd_names_are_escaped_or_left_out odd_names
else
	skip odd_names_are_escaped_or_left_out "cannot make cgroups here"
fi

# only FILE...: the directory holds these and nothing else
only()
{
	same "$*" "$(cd "$T/dir" && find . ! -name . | sed 's|^\./||' | sort | paste -sd ' ')"
}
into_a_file()
{
	mkdir -p "$T/dir"
	echo old >"$T/dir/psibridge.prom"
	ended 0 metrics / --output "$T/dir/psibridge.prom" && [ ! -s "$T/stdout" ] && well_formed "$T/dir/psibridge.prom" &&
		same 644 "$(stat -c %a "$T/dir/psibridge.prom")" && only psibridge.prom &&
		(cd "$T/dir" && ended 0 metrics / --output new.prom) && well_formed "$T/dir/new.prom"
}
on_cgroup2 metrics_replaces_a_file_in_one_step into_a_file

# What is no file is not replaced by one, nor followed.
elsewhere()
{
	mkfifo "$T/dir/fifo"
	ln -s new.prom "$T/dir/link"
	for what in fifo link .; do
		failed "psibridge metrics: $T/dir/$what: it is no regular file; it is as it was" metrics / --output "$T/dir/$what" || return
	done
	[ -p "$T/dir/fifo" ] && [ -L "$T/dir/link" ]
}
on_cgroup2 metrics_refuses_to_write_to_what_is_no_file elsewhere

no_room()
{
	rm -rf "$T/dir"
	mkdir "$T/dir"
	echo old >"$T/dir/psibridge.prom"
	said=$(
		trap '' XFSZ
		ulimit -f 0
		"$psibridge" metrics / --output "$T/dir/psibridge.prom" 2>&1
	) && return 1
	same "psibridge metrics: $T/dir/psibridge.prom: File too large; it is as it was" "$said" &&
		same old "$(cat "$T/dir/psibridge.prom")" && only psibridge.prom
}
on_cgroup2 a_file_that_cannot_be_written_stays_as_it_was no_room

# ---- set and diff, of a real psibridged --------------------------------------------------------------
# In a lab; its configuration is below $T/root.
etc=$T/root/etc/psibridge
set_conf=$T/root/run/psibridge/set.conf
serve()
{
	"$builddir/psibridged" --root "$T/root" --notify "$T/notify" --control "$PSIBRIDGE_CONTROL" >/dev/null 2>"$T/log" 5>&- 6>&- &
	echo $! >"$T/pid"
	wait_for "$psibridge" status >/dev/null 2>&1
}
serves_no_more()
{
	kill "$@" "$(cat "$T/pid")"
	wait "$(cat "$T/pid")"
	rm -f "$T/pid" "$PSIBRIDGE_CONTROL"
}
printed() { same "$1" "$(cat "$T/stdout")"; }

# From what is configured to another setting, which lasts, and back.
settings()
{
	web=$lab/a/$lab-x.service
	rm -rf "$T/root" "$PSIBRIDGE_CONTROL"
	mkdir -p "$etc" "$T/root/run"
	printf '[Watch %s/**]\nRearm=30s\n' "$lab" >"$etc/psibridged.conf"
	serve || return
	ended 0 diff && printed 'psibridged goes by what its files say.' &&
		ended 0 set "$lab-x.service" --low 'some 400ms/2s' && printed "[Watch $web] (new)
  Low           some 200ms/2s -> some 400ms/2s
It lasts until the machine restarts ($set_conf); --save keeps it." &&
		ended 1 diff && printed "--- configured
+++ running
+[Watch $web]
-Low=some 200ms/2s                  # built in
+Low=some 400ms/2s                  # psibridge set" || return
	kept=$(cat "$T/stdout")
	failed 'psibridge set: --early: Early "some 500ms/2s" is over Low "some 400ms/2s", which stalls could reach unnoticed; Early of at most "some 400ms/2s" was expected' \
		set "$web" --early 'some 500ms/2s' &&
		failed 'psibridge set: --critical: Critical is under Low: every Low would be critical' set "$web" --critical 'some 50ms/2s' &&
		failed "psibridge set: /$lab/a/never-made: there is no such cgroup" set "$lab/a/never-made" --calm 5s &&
		failed "psibridge set: /$lab/b: nothing of it was set at run time" set "$lab/b" --reset &&
		ended 0 set "$web" --low 'some 400ms/2s' && says 'Nothing changes: it was so already.' || return
	for signal in -HUP -KILL -TERM; do
		if [ $signal = -HUP ]; then
			kill -HUP "$(cat "$T/pid")"
			wait_for grep -q 'configuration reloaded; watches: 6' "$T/log"
		else
			serves_no_more $signal 2>/dev/null
			serve
		fi
		ended 1 diff && printed "$kept" || return
	done
	ended 0 set "$web" --reset && printed "[Watch $web] (gone)
  Low           some 400ms/2s -> some 200ms/2s" && ended 0 diff && [ ! -e "$set_conf" ]
}
# What is saved is a file like others.
saved()
{
	file=$etc/psibridged.conf.d/zz-set-$lab-a-$lab-x.service.conf
	ended 0 set "$web" --low 'some 400ms/2s' && ended 0 set "$web" --calm 1min --save && printed "[Watch $web]
  Calm          10s -> 60s
Saved in $file:
  [Watch $web]
  Low=some 400ms/2s
  Rearm=30s
  Calm=60s" && same "[Watch $web] Low=some 400ms/2s Rearm=30s Calm=60s" "$(sed 1d "$file" | paste -sd ' ')" && same 644 "$(stat -c %a "$file")" &&
		[ ! -e "$set_conf" ] && ended 0 diff && failed "psibridge set: /$web: nothing of it was set at run time" set "$web" --save || return
	# what another file says later, and a file that is another's
	printf '[Watch %s]\nCalm=5s\n' "$web" >"$etc/psibridged.conf.d/zzz.conf"
	run set "$web" --calm 7s --save
	same 1 "$status" && same "psibridge set: [Watch $web] Calm=5s counts: $etc/psibridged.conf.d/zzz.conf says so, and is read later" "$(cat "$T/stderr")" || return
	rm "$etc/psibridged.conf.d/zzz.conf"
	echo '# mine' >"$file"
	run set "$web" --calm 9s --save
	same 1 "$status" && same "psibridge set: $file: it was not written by psibridge set, and is as it was; what was set lasts until the machine restarts" "$(cat "$T/stderr")" &&
		same '# mine' "$(cat "$file")" && run diff && says '+Calm=9s                            # psibridge set' || return
	rm "$file"
	ended 0 set "$web" --reset
}
# Files that changed, with and without a mistake; at a start, too, where they contradict what was set.
changed()
{
	printf '[Watch %s/**]\nRearm=soon\n' "$lab" >"$etc/psibridged.conf"
	ended 1 diff && says 'The files have mistakes: they would be refused, and what runs stays.' "$etc/psibridged.conf:2:" &&
		failed "psibridge set: $etc/psibridged.conf:2: Rearm: \"soon\": it does not begin with a digit; a time from 1ms to 24h, such as 10s, was expected" \
			set "$web" --calm 5s || return
	printf '[Watch %s/**]\nRearm=40s\n' "$lab" >"$etc/psibridged.conf"
	ended 1 diff && printed "--- configured
+++ running
 [Watch $lab/**]
-Rearm=40s                          # $etc/psibridged.conf:2
+Rearm=30s                          # $etc/psibridged.conf:2" && ended 0 set "$web" --low 'some 300ms/2s' && says "[Watch $lab/**]" '30s -> 40s' || return
	serves_no_more -TERM
	printf '[Watch %s]\nEarly=some 350ms/2s\nLow=some 400ms/2s\nCritical=full 500ms/2s\n' "$web" >"$etc/psibridged.conf"
	serve
	ended 0 diff && grep -q "what psibridge set is left out, and is in $set_conf.refused now: .*Early" "$T/log" && [ -e "$set_conf.refused" ]
}
# A candidate is counted beside what is live. Where all are in the shadow it can be rehearsed.
candidates()
{
	ended 0 set "$web" --low 'some 600ms/2s' --shadow yes && says "[Watch $web] Shadow=yes (new)" 'no -> yes' && ended 0 status "$web" &&
		says 'in shadow: no client is told; it would have told Low 0 times and Neutral 0' 'the live one told Low 0 times and Neutral 0 times' || return
	printf '[Defaults]\nShadow=yes\nQuiet=1ms\n[Watch %s/**]\n' "$lab" >"$etc/psibridged.conf"
	ended 0 set "$web" --reset && ended 0 simulate critical "$web" && run status "$web" && says 'it would have told Low 1 time (1 critical)' 'Low last at ' &&
		awk 'NR > 1 && length > 80 { print; wrong = 1 } END { exit wrong }' "$T/stdout" && serves_no_more -TERM
}
# What is in the way of the daemon's own file is found before anything changes, and what was left behind there is not waited for.
in_the_way()
{
	printf '[Watch %s/**]\n' "$lab" >"$etc/psibridged.conf"
	rm -f "$set_conf"*
	serve || return
	mkdir "$set_conf"
	failed "psibridge set: $set_conf: Is a directory" set "$web" --calm 5s && rmdir "$set_conf" && ended 0 diff && mkfifo "$set_conf~" &&
		ended 0 set "$web" --calm 5s && ended 0 set "$web" --reset && [ ! -e "$set_conf~" ]
}
# Of several that save at once none loses what another set.
at_once()
{
	pids=
	for i in 1 2 3; do
		for option in calm quiet rearm; do
			"$psibridge" set "$web" --$option ${i}s --save >/dev/null 2>"$T/$option.$i" &
			pids="$pids $!"
		done
	done
	for pid in $pids; do
		wait "$pid" || { cat "$T"/*.[123]; return 1; }
	done
	same 'Calm Quiet Rearm' "$(sed -n 's/=[123]s$//p' "$file" | sort | paste -sd ' ')" && ended 0 diff
}
# One that is stopped holds the others up for no longer than an answer may take.
held_up()
{
	(flock 9 && exec sleep 60) 9>"$PSIBRIDGE_CONTROL.lock" &
	pids=$!
	sleep 0.2
	failed "psibridge set: another psibridge set has held $PSIBRIDGE_CONTROL.lock for 10 s" set "$web" --calm 5s
	r=$?
	kill "$pids"
	return $r
}
# A watch that another file takes away judges nothing by what is set.
taken_away()
{
	printf '[Watch %s]\nEnabled=no\n' "$web" >"$etc/psibridged.conf.d/zzz.conf"
	run set "$web" --low 'some 300ms/2s'
	same 1 "$status" && same "psibridge set: /$web is judged by none of it: a file says Enabled=no of it" "$(cat "$T/stderr")" || return
	rm "$etc/psibridged.conf.d/zzz.conf" "$file"
	ended 0 set "$web" --low 'some 400ms/2s' && ended 0 set "$web" --reset && ended 0 diff && serves_no_more -TERM
}
set_and_diff()
{
	settings && saved && changed && candidates && in_the_way && at_once && held_up && taken_away
}
if [ "$(id -u)" = 0 ]; then
	with_lab what_is_set_lasts_is_seen_saved_and_taken_back set_and_diff
else
	skip what_is_set_lasts_is_seen_saved_and_taken_back "only root may set"
fi

done_testing
