#!/bin/bash
# SPDX-License-Identifier: MIT
#
# What README.md says about installing, typed on a machine that never had psibridge, every unit that this puts there, and
# `make uninstall`. Runs in the guest (tests/vm/run) as root. There is no compiler in it: ./bootstrap was run on the host, and
# what depends on the compiler's headers counts as made.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

work=$(mktemp -d /var/tmp/psb-install.XXXXXX)
cd / || exit

everything() # directories, too
{
	find /etc /usr /var/lib /run/systemd /run/psibridge \
		-regextype posix-extended -regex '/run/systemd/(journal|units|namespace-[^/]*|transient|inaccessible|propagate|notify|dynamic-uid|incoming|io.*).*' -prune \
		-o -print 2>/dev/null | sort
}

# make writes into the build tree, which is the host's.
mkdir "$work/upper" "$work/overlay"
mount -t overlay -o "lowerdir=$builddir,upperdir=$work/upper,workdir=$work/overlay" overlay "$builddir" || exit 1
trap 'cd /; umount -l "$builddir"; rm -rf "$work"' EXIT
find "$builddir" -path '*/.deps/*' -name '*.P*o' | while read -r file; do : >"$file"; done
before=$(everything)

# ---- README.md -----------------------------------------------------------------------------------------
# Those of the section on the daemon.
typed()
{
	sed -n '/^# \.\/bootstrap build && make/,/^```/s/^# //p' "$srcdir/README.md" |
		sed "s|\./bootstrap build && ||; s|-C build|-C $builddir|"
}
check there_are_two_lines_to_type test "$(typed | wc -l)" = 2
type_them()
{
	typed | while read -r line; do
		echo "# $line"
		sh -c "$line" </dev/null || exit
	done
}
check readme_says_how_to_install_and_start_it type_them
running()
{
	systemctl is-active psibridged.service || return
	[ "$(systemctl show -P NRestarts psibridged)" = 0 ]
}
check and_then_the_daemon_runs running
asked()
{
	psibridge status
}
check and_answers asked
explained() # message IDs that the journal has no text for
{
	sed -n 's/^-- \([0-9a-f]\{32\}\)$/\1/p' "$srcdir/units/psibridge.catalog" >"$work/ids"
	[ -s "$work/ids" ] || echo "no message IDs in the catalog"
	while read -r id; do
		journalctl --dump-catalog "$id" 2>&1 | grep -q 'Subject:' || echo "$id is not explained"
	done <"$work/ids"
}
empty the_journal_explains_its_messages explained

# ---- every unit ----------------------------------------------------------------------------------------
units=$(cd "$(dirname "$(systemctl show -P FragmentPath psibridged.service)")" && ls psibridge*)
check there_are_four_units test "$(echo "$units" | wc -l)" = 4
complaints()
{
	# shellcheck disable=SC2086 # a list
	systemd-analyze verify --man=no $units 2>&1 | grep -i psibridge
	true
}
empty systemd_has_nothing_to_complain_about complaints
mkdir -p /var/lib/prometheus/node-exporter
started() # UNIT
{
	systemctl stop psibridged.service psibridged.socket psibridge-metrics.timer 2>/dev/null
	systemctl start "$1" && [ "$(systemctl show -P Result "$1")" = success ] && return
	systemctl status --no-pager "$1"
	return 1
}
for unit in $units; do
	check "${unit}_starts" started "$unit"
done
systemctl start psibridged.service
check the_metrics_are_written systemctl start psibridge-metrics.service
check and_know_the_daemon grep '^psibridge_up 1' /var/lib/prometheus/node-exporter/psibridge.prom
rm -r /var/lib/prometheus
systemctl start psibridge-metrics.timer

# ---- uninstall -----------------------------------------------------------------------------------------
uninstall()
{
	make -C "$builddir" uninstall >"$work/uninstall.log" 2>&1
	status=$?
	grep -v -e '^ ( cd' -e '^ rm -f' -e '^make' -e libtool "$work/uninstall.log"
	return $status
}
check uninstall_works uninstall
check nothing_runs_any_more sh -c '! pgrep -a psibridge'
active()
{
	systemctl list-units --no-legend --all 'psibridge*'
}
empty systemd_knows_no_unit_of_it active
# What was observed stays, as logs do.
left()
{
	everything | comm -13 <(echo "$before") - |
		grep -v -E '^/(var/lib/psibridge(/trace.*)?|etc/ld\.so\.cache|var/lib/systemd/catalog(/database)?|var/lib/systemd/(timers|linger).*)$'
	true
}
empty no_file_and_no_directory_is_left left
gone()
{
	everything | comm -23 <(echo "$before") -
}
empty and_nothing_else_is_gone gone
check the_linker_forgot_it sh -c '! ldconfig -p | grep psibridge'

done_testing
