#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The units before anybody runs them: for each kind of systemd they say only what it knows, they are as closed as promised, and
# the recipes for containers hand out one socket, not two. How closed they are, and the rest: tests/vm/guest-daemon.sh.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

units=$srcdir/units
work=$(mktemp -d "${TMPDIR:-/tmp}/psb-units.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT

made_for() # VERSION
{
	mkdir -p "$work/$1"
	for unit in psibridged.service psibridged.socket psibridge-metrics.service; do
		sh "$units/instantiate" "$1" /sbin /bin <"$units/$unit.in" >"$work/$1/$unit" || return
	done
}
says()
{
	grep -qx -e "$2" "$work/$1/psibridged.service"
}
says_not()
{
	! grep -e "$2" "$work/$1"/*
}

check made_for_an_old_systemd made_for 252
check made_for_one_that_reloads made_for '253.1-1'
check made_for_one_that_keeps_descriptors made_for '257 (257.13-1)'
mv "$work/253.1-1" "$work/253"
mv "$work/257 (257.13-1)" "$work/257"
for version in 252 253 257; do
	check "nothing_is_left_to_substitute_for_$version" says_not $version '@[A-Za-z0-9_]*@'
done
# What `make install` takes: made by the build, or as it is in the source tree.
installed=$(ls "$builddir"/units/*.service "$builddir"/units/*.socket "$units"/*.timer 2>/dev/null)
left_over()
{
	test "$(echo "$installed" | wc -l)" -ge 4 || echo "not all units are there: $installed"
	grep -nE '@[A-Za-z0-9_]*@' $installed "$units"/dbus/* "$builddir"/src/library/libpsibridge.pc
	true
}
empty nothing_is_left_to_substitute_in_what_is_installed left_over
check an_old_one_is_told_how_to_reload says 252 'ExecReload=/bin/sh -c "kill -HUP $MAINPID"'
check and_has_type_notify says 252 Type=notify
check a_new_one_reloads_by_itself says 253 Type=notify-reload
check and_is_not_told_how says_not 257 ExecReload
check before_254_descriptors_are_not_preserved says_not 253 FileDescriptorStorePreserve
check before_254_a_wrong_configuration_is_tried_again_slowly says 253 RestartSec=5s
check since_254_not_at_all says 257 RestartPreventExitStatus=78
check since_254_they_are says 257 FileDescriptorStorePreserve=yes
check nonsense_is_no_version sh -c '! sh "$1" new /sbin /bin </dev/null 2>/dev/null' - "$units/instantiate"

# The comments beside what had to stay open: every one that `systemd-analyze security` complains about has its reason.
explained()
{
	for what in User CapabilityBoundingSet PrivateUsers ProtectControlGroups ProtectProc ProcSubset RootDirectory; do
		grep -q "^# $what=" "$units/psibridged.service.in" || echo "$what= is open, and no comment says why"
	done
}
empty what_is_open_is_explained explained

here=$(systemd-analyze --version 2>/dev/null | awk '{ print $2 + 0; exit }')
if [ "${here:-0}" -ge 250 ]; then
	# Copied beside one another, each knows the others; the programs are not there yet.
	complaints()
	{
		mkdir -p "$work/all"
		cp $installed "$work/all/"
		sed -i 's|^ExecStart=/[^ ]*/psibridged*|ExecStart=/bin/true|' "$work"/all/*.service
		for unit in "$work"/all/*; do
			systemd-analyze verify --man=no "$unit" 2>&1 | grep -F psibridge
		done
		true
	}
	empty systemd_understands_every_line complaints
else
	skip systemd_understands_every_line "systemd-analyze of systemd 250 or later is not here"
fi

# ---- recipes ----------------------------------------------------------------------------------------------
recipes()
{
	find "$units/containers" -type f ! -name README.md
}
check recipes_are_there test "$(recipes | wc -l)" -ge 3
control_is_bound()
{
	# The DaemonSet's own daemon is the one that may have it.
	recipes | xargs grep -n 'psibridge/control' | grep -v -- '--control'
	grep -nE '(-v|--volume|--bind)[= ]?/run/psibridge(/control|:|/? |$)' "$units/containers/README.md"
	true
}
empty no_recipe_hands_out_the_control_socket control_is_bound
trigger_of() # FILE
{
	grep -oE 'MEMORY_PRESSURE_WRITE(=|, value: )[A-Za-z0-9+/=]+' "$1" | sed 's/.*[ ]//; s/MEMORY_PRESSURE_WRITE=//' |
		base64 -d | od -An -c | tr -d ' \n'
}
for file in 50-psibridge.conf psibridged-daemonset.yaml; do
	check "the_trigger_in_${file}_has_its_nul" test "$(trigger_of "$units/containers/$file")" = 'some2000002000000\0'
done

if command -v mandoc >/dev/null; then
	man_complaints()
	{
		find "$srcdir/src" -name '*.[1-8]' -exec mandoc -Tlint -W warning {} + 2>/dev/null
		true
	}
	empty man_pages_are_well_formed man_complaints
else
	skip man_pages_are_well_formed "mandoc is not installed"
fi

done_testing
