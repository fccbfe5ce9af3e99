#!/bin/sh
# SPDX-License-Identifier: MIT
# ALONE it compares two halves of a minute
#
# The demo as somebody on a machine with systemd sees it: unified cgroups, a delegated scope, a privileged trigger. Runs in
# the guest (tests/vm/run) as root, in the build tree. What it printed is in the log.
# shellcheck source=../tap.sh
. "$srcdir/tests/tap.sh"

demo=$("$builddir/psibridge" demo 2>/dev/null)
status=$?
printf '%s\n' "$demo" | sed 's/^/# /'
# its own judgement: at least twice the passes, or a third of the waiting; at most half the memory
check the_demo_keeps_what_it_promises test "$status" = 0
check it_ran_on_real_pressure sh -c '! printf "%s" "$1" | grep -qi simulated' - "$demo"
done_testing
