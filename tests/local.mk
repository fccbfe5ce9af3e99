# SPDX-License-Identifier: MIT
#
# The tests' part of Makefile.am, which includes it: paths are from the top.
#
# To add a unit test:  its name in unit_tests, then _SOURCES and _LDADD. _LDADD names the objects it needs, one by one
#                      (src/core/psi.lo): what a file secretly depends on breaks the link, not the review.
# To add a script:     its name in structure_tests or integration_tests.
# A test that makes cgroups or measures time also goes into serial_tests.

# ---- tests ---------------------------------------------------------------------------------------
# All of them are run by tests/driver, which explains what a test is. `make check TESTS='...'` runs some.
structure_tests = \
	tests/structure/tree.sh \
	tests/structure/layers.sh \
	tests/structure/headers.sh \
	tests/structure/symbols.sh
if ENABLE_DAEMON
structure_tests += tests/structure/units.sh
endif

unit_tests = \
	tests/unit/test-psi \
	tests/unit/test-duration \
	tests/unit/test-trigger \
	tests/unit/test-keyed \
	tests/unit/test-base64 \
	tests/unit/test-cgpath \
	tests/unit/test-cgpattern \
	tests/unit/test-procfs \
	tests/unit/test-window \
	tests/unit/test-policy \
	tests/unit/test-policy-alarms \
	tests/unit/test-policy-walk \
	tests/unit/test-policy-resume \
	tests/unit/test-utf8 \
	tests/unit/test-value \
	tests/unit/test-executable \
	tests/unit/test-wire \
	tests/unit/test-loop \
	tests/unit/test-loop-nested \
	tests/unit/test-loop-accept \
	tests/unit/test-loop-life \
	tests/unit/test-loop-time \
	tests/unit/test-closer \
	tests/unit/test-birth \
	tests/unit/test-cgroup \
	tests/unit/test-target \
	tests/unit/test-memory \
	tests/unit/test-resident \
	tests/unit/test-tree \
	tests/unit/test-hosting \
	tests/unit/test-hosting-register \
	tests/unit/test-hostmalloc \
	tests/unit/test-hostmem \
	tests/unit/test-hostquery \
	tests/unit/test-dispatch \
	tests/unit/test-removal \
	tests/unit/test-mailbox \
	tests/unit/test-mailbox-many \
	tests/unit/test-settings \
	tests/unit/test-hook \
	tests/unit/test-hook-life \
	tests/unit/test-protocol \
	tests/unit/test-watch \
	tests/unit/test-bridge \
	tests/unit/test-bad-input \
	tests/unit/test-members \
	tests/unit/test-simulate-at \
	tests/unit/test-records \
	tests/unit/test-records-broken \
	tests/unit/test-survey \
	tests/unit/test-rows \
	tests/unit/test-no-alloc \
	tests/unit/test-signals
if ENABLE_DAEMON
unit_tests += \
	tests/unit/test-config \
	tests/unit/test-config-errors \
	tests/unit/test-forest \
	tests/unit/test-ledger \
	tests/unit/test-listen \
	tests/unit/test-peer \
	tests/unit/test-peer-proc \
	tests/unit/test-manager \
	tests/unit/test-manager-inherit \
	tests/unit/test-journal \
	tests/unit/test-journal-wait \
	tests/unit/test-control \
	tests/unit/test-control-peers \
	tests/unit/test-bus \
	tests/unit/test-bus-life
endif
if HAVE_CXX
unit_tests += tests/unit/test-hosting-cxx
endif

integration_programs = \
	tests/integration/test-facts \
	tests/integration/test-pressure \
	tests/integration/test-rungs \
	tests/integration/test-pattern \
	tests/integration/test-oom
integration_scripts = \
	tests/integration/test-cli.sh \
	tests/integration/test-demo.sh
if ENABLE_DAEMON
daemon_programs = \
	tests/integration/test-manager-double \
	tests/integration/test-daemon \
	tests/integration/test-daemon-config \
	tests/integration/test-daemon-library \
	tests/integration/test-crowd
integration_programs += $(daemon_programs)
integration_scripts += \
	tests/integration/test-cli-daemon.sh \
	tests/integration/test-top.sh \
	tests/integration/test-bus.sh
# What those tests are made with.
daemon_tools = tests/integration/manager-double tests/unit/fake-daemon
endif
integration_scripts += $(runtime_scripts) # tests/runtimes.mk
integration_tests = $(integration_programs) $(integration_scripts)

fuzz_tests = \
	tests/fuzz/corpus.sh

# Those that make cgroups: a neighbour's coming and going wakes who waits for a birth.
cgroup_tests = \
	tests/unit/test-birth \
	tests/unit/test-forest \
	tests/unit/test-mailbox-many \
	tests/unit/test-members \
	tests/unit/test-peer \
	tests/unit/test-protocol \
	tests/unit/test-simulate-at \
	tests/unit/test-survey \
	tests/unit/test-watch

serial_tests = $(integration_tests) $(cgroup_tests) tests/unit/test-loop-time

# Everything that runs our code rather than looking at it.
program_tests = $(unit_tests) $(fuzz_tests) $(integration_tests)

# Without real pressure: seconds.
quick_tests = $(structure_tests) $(unit_tests) $(fuzz_tests) tests/integration/test-cli.sh
if ENABLE_DAEMON
quick_tests += \
	tests/integration/test-manager-double \
	tests/integration/test-daemon \
	tests/integration/test-daemon-config \
	tests/integration/test-cli-daemon.sh \
	tests/integration/test-top.sh \
	tests/integration/test-bus.sh
endif

# Which of them are worth running on another kernel, see tests/vm/check-vm.
# The demo's own test takes ten demos; emulated, one must do.
vm_scripts = tests/vm/guest-rungs.sh tests/vm/guest-demo.sh
if ENABLE_DAEMON
vm_scripts += \
	tests/vm/guest-daemon.sh \
	tests/vm/guest-clients.sh \
	tests/vm/guest-containers.sh \
	tests/vm/guest-dotnet.sh \
	tests/vm/guest-latency.sh \
	tests/vm/guest-pressure.sh
endif
vm_tests = $(unit_tests) $(integration_programs) tests/integration/test-cli.sh $(vm_scripts)

if ENABLE_TESTS
check_PROGRAMS += tests/deny-io-uring $(unit_tests) $(integration_programs) $(daemon_tools) $(runtime_tools) $(fuzz_replays)
if HAVE_GIO
check_PROGRAMS += tests/integration/gmemorymonitor
endif
TESTS = $(structure_tests) $(unit_tests) $(fuzz_tests) $(integration_tests)
endif

TEST_EXTENSIONS = .sh
LOG_DRIVER = $(SHELL) $(top_srcdir)/tests/driver
SH_LOG_DRIVER = $(LOG_DRIVER)
AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; builddir='$(abs_top_builddir)'; \
	CC='$(CC)'; CXX='$(CXX)'; NM='$(NM)'; READELF='$(READELF)'; VERSION='$(PACKAGE_VERSION)'; \
	SERIAL_TESTS='$(serial_tests)'; FUZZ_TARGETS='$(fuzz_targets)'; \
	ASAN_OPTIONS="detect_stack_use_after_return=1$${ASAN_OPTIONS:+:$$ASAN_OPTIONS}"; \
	UBSAN_OPTIONS="print_stacktrace=1$${UBSAN_OPTIONS:+:$$UBSAN_OPTIONS}"; \
	TSAN_OPTIONS="second_deadlock_stack=1$${TSAN_OPTIONS:+:$$TSAN_OPTIONS}"; \
	export srcdir builddir CC CXX NM READELF VERSION SERIAL_TESTS FUZZ_TARGETS ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS;
if HAVE_CXX
AM_TESTS_ENVIRONMENT += HAVE_CXX=1; export HAVE_CXX;
endif
if SANITIZERS
AM_TESTS_ENVIRONMENT += SANITIZERS=1; export SANITIZERS;
endif
if STATIC_LIBURING
AM_TESTS_ENVIRONMENT += STATIC_LIBURING=1; export STATIC_LIBURING;
endif
CLEANFILES += tests/serial.lock
dist_noinst_SCRIPTS += tests/driver tests/summary $(structure_tests) $(fuzz_tests) $(integration_scripts)
EXTRA_DIST += tests/integration/cli.sh tests/integration/cli-daemon.sh tests/tap.sh tests/skip.h tests/skips-allowed tests/fuzz/corpus

# Runs a command as on a kernel without io_uring: PSIBRIDGE_TEST_WRAPPER='./tests/deny-io-uring ENOSYS' make check
tests_deny_io_uring_SOURCES = tests/deny-io-uring.c

# ---- tests/unit: an object alone with its test ---------------------------------------------------
tests_unit_test_psi_SOURCES = tests/unit/test-psi.c
tests_unit_test_psi_LDADD = src/core/psi.lo $(CMOCKA_LIBS)

tests_unit_test_duration_SOURCES = tests/unit/test-duration.c
tests_unit_test_duration_LDADD = src/core/duration.lo $(CMOCKA_LIBS)

tests_unit_test_trigger_SOURCES = tests/unit/test-trigger.c
tests_unit_test_trigger_LDADD = src/core/trigger.lo src/core/duration.lo $(CMOCKA_LIBS)

tests_unit_test_keyed_SOURCES = tests/unit/test-keyed.c
tests_unit_test_keyed_LDADD = src/core/keyed.lo $(CMOCKA_LIBS)

tests_unit_test_base64_SOURCES = tests/unit/test-base64.c
tests_unit_test_base64_LDADD = src/core/base64.lo $(CMOCKA_LIBS)

tests_unit_test_cgpath_SOURCES = tests/unit/test-cgpath.c
tests_unit_test_cgpath_LDADD = src/core/cgpath.lo $(CMOCKA_LIBS)

tests_unit_test_cgpattern_SOURCES = tests/unit/test-cgpattern.c
tests_unit_test_cgpattern_LDADD = src/core/cgpattern.lo src/core/cgpath.lo $(CMOCKA_LIBS)

tests_unit_test_procfs_SOURCES = tests/unit/test-procfs.c
tests_unit_test_procfs_LDADD = src/core/procfs.lo $(CMOCKA_LIBS)

tests_unit_test_window_SOURCES = tests/unit/test-window.c
tests_unit_test_window_LDADD = src/core/window.lo $(CMOCKA_LIBS)

policy_objects = src/core/policy.lo src/core/window.lo
tests_unit_test_policy_SOURCES = tests/unit/test-policy.c tests/unit/policy-script.h
tests_unit_test_policy_LDADD = $(policy_objects) $(CMOCKA_LIBS)

tests_unit_test_policy_alarms_SOURCES = tests/unit/test-policy-alarms.c tests/unit/policy-script.h
tests_unit_test_policy_alarms_LDADD = $(policy_objects) $(CMOCKA_LIBS)

tests_unit_test_policy_walk_SOURCES = tests/unit/test-policy-walk.c tests/unit/policy-judge.h
tests_unit_test_policy_walk_LDADD = $(policy_objects) $(CMOCKA_LIBS)

tests_unit_test_policy_resume_SOURCES = tests/unit/test-policy-resume.c tests/unit/policy-script.h
tests_unit_test_policy_resume_LDADD = $(policy_objects) $(CMOCKA_LIBS)

tests_unit_test_utf8_SOURCES = tests/unit/test-utf8.c
tests_unit_test_utf8_LDADD = src/core/utf8.lo $(CMOCKA_LIBS)

tests_unit_test_value_SOURCES = tests/unit/test-value.c
tests_unit_test_value_LDADD = src/core/value.lo src/core/trigger.lo src/core/duration.lo $(CMOCKA_LIBS)

tests_unit_test_executable_SOURCES = tests/unit/test-executable.c
tests_unit_test_executable_LDADD = src/core/executable.lo $(CMOCKA_LIBS)

tests_unit_test_wire_SOURCES = tests/unit/test-wire.c
tests_unit_test_wire_LDADD = src/core/wire.lo src/core/trigger.lo src/core/duration.lo $(CMOCKA_LIBS)

loop_objects = src/kernel/loop.lo src/kernel/loop-engine.lo src/kernel/loop-uring.lo src/kernel/loop-uring-ops.lo src/kernel/loop-epoll.lo
tests_unit_test_loop_SOURCES = tests/unit/test-loop.c tests/unit/loop-variants.h
tests_unit_test_loop_LDADD = $(loop_objects) $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)

tests_unit_test_loop_nested_SOURCES = tests/unit/test-loop-nested.c
tests_unit_test_loop_nested_LDADD = $(loop_objects) $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)

tests_unit_test_loop_accept_SOURCES = tests/unit/test-loop-accept.c tests/unit/loop-variants.h
tests_unit_test_loop_accept_LDADD = $(loop_objects) $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)

tests_unit_test_loop_life_SOURCES = tests/unit/test-loop-life.c tests/unit/loop-variants.h
tests_unit_test_loop_life_LDADD = $(loop_objects) $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)

tests_unit_test_loop_time_SOURCES = tests/unit/test-loop-time.c tests/unit/loop-variants.h
tests_unit_test_loop_time_LDADD = $(loop_objects) $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)

# A manager over a watch that a test moves.
fake_watch = tests/unit/fake-watch.c tests/unit/fake-watch.h tests/unit/hosting-runtime.h
hosting_objects = src/library/hosting.lo src/library/hostcontrol.lo src/library/hresult.lo src/library/hostmalloc.lo \
	src/library/hostmem.lo src/kernel/maps.lo
tests_unit_test_hosting_SOURCES = tests/unit/test-hosting.c $(fake_watch)
tests_unit_test_hosting_LDADD = $(hosting_objects) $(CMOCKA_LIBS)

tests_unit_test_hosting_register_SOURCES = tests/unit/test-hosting-register.c $(fake_watch)
tests_unit_test_hosting_register_LDADD = $(hosting_objects) $(CMOCKA_LIBS)

tests_unit_test_hostmalloc_SOURCES = tests/unit/test-hostmalloc.c $(fake_watch)
tests_unit_test_hostmalloc_LDADD = $(hosting_objects) $(CMOCKA_LIBS)

tests_unit_test_hostmem_SOURCES = tests/unit/test-hostmem.c $(fake_watch)
tests_unit_test_hostmem_LDADD = $(hosting_objects) $(CMOCKA_LIBS)

tests_unit_test_hostquery_SOURCES = tests/unit/test-hostquery.c $(fake_watch)
tests_unit_test_hostquery_LDADD = $(hosting_objects) $(CMOCKA_LIBS)

tests_unit_test_hosting_cxx_SOURCES = tests/unit/test-hosting-cxx.cc $(fake_watch)
tests_unit_test_hosting_cxx_LDADD = $(hosting_objects) $(CMOCKA_LIBS)

# A kernel adapter with its own layer and core; fake-root.h is a /proc of the test's own.
kernel_layer = libkernel.la libcore.la $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)
tests_unit_test_closer_SOURCES = tests/unit/test-closer.c
tests_unit_test_closer_LDADD = $(kernel_layer)

tests_unit_test_birth_SOURCES = tests/unit/test-birth.c tests/unit/fake-root.h
tests_unit_test_birth_LDADD = $(kernel_layer)

tests_unit_test_cgroup_SOURCES = tests/unit/test-cgroup.c tests/unit/fake-root.h
tests_unit_test_cgroup_LDADD = $(kernel_layer)

tests_unit_test_target_SOURCES = tests/unit/test-target.c tests/unit/fake-root.h
tests_unit_test_target_LDADD = $(kernel_layer)

tests_unit_test_memory_SOURCES = tests/unit/test-memory.c tests/unit/fake-root.h
tests_unit_test_memory_LDADD = $(kernel_layer)

tests_unit_test_tree_SOURCES = tests/unit/test-tree.c tests/unit/fake-root.h
tests_unit_test_tree_LDADD = $(kernel_layer)

# The public API over a FIFO or a socket. Linked against the layers, so that sanitizers and seams see all of it.
library_layers = liblibrary.la $(kernel_layer)
tests_unit_test_dispatch_SOURCES = tests/unit/test-dispatch.c tests/unit/library-bench.h
tests_unit_test_dispatch_LDADD = $(library_layers)

tests_unit_test_mailbox_SOURCES = tests/unit/test-mailbox.c tests/unit/mailbox-bench.h tests/unit/library-bench.h
tests_unit_test_mailbox_LDADD = $(library_layers)

tests_unit_test_mailbox_many_SOURCES = tests/unit/test-mailbox-many.c tests/unit/mailbox-bench.h tests/unit/pattern-bench.h
tests_unit_test_mailbox_many_LDADD = $(library_layers)

tests_unit_test_settings_SOURCES = tests/unit/test-settings.c
tests_unit_test_settings_LDADD = $(library_layers)

tests_unit_test_resident_SOURCES = tests/unit/test-resident.c
tests_unit_test_resident_LDADD = $(library_layers) -ldl

tests_unit_test_removal_SOURCES = tests/unit/test-removal.c tests/unit/library-bench.h
tests_unit_test_removal_LDADD = $(library_layers)

tests_unit_test_protocol_SOURCES = tests/unit/test-protocol.c tests/unit/library-bench.h
tests_unit_test_protocol_LDADD = $(library_layers)

tests_unit_test_watch_SOURCES = tests/unit/test-watch.c tests/unit/library-bench.h
tests_unit_test_watch_LDADD = $(library_layers)

tests_unit_test_bridge_SOURCES = tests/unit/test-bridge.c tests/unit/library-bench.h
tests_unit_test_bridge_LDADD = $(library_layers)

tests_unit_test_bad_input_SOURCES = tests/unit/test-bad-input.c tests/unit/library-bench.h
tests_unit_test_bad_input_LDADD = $(library_layers)

tests_unit_test_members_SOURCES = tests/unit/test-members.c tests/unit/pattern-bench.h
tests_unit_test_members_LDADD = $(library_layers)

tests_unit_test_simulate_at_SOURCES = tests/unit/test-simulate-at.c tests/unit/pattern-bench.h
tests_unit_test_simulate_at_LDADD = $(library_layers)

tests_unit_test_records_SOURCES = tests/unit/test-records.c tests/unit/records-daemon.h tests/unit/library-bench.h
tests_unit_test_records_LDADD = $(library_layers)

tests_unit_test_records_broken_SOURCES = tests/unit/test-records-broken.c tests/unit/records-daemon.h tests/unit/library-bench.h
tests_unit_test_records_broken_LDADD = $(library_layers)

tests_unit_test_survey_SOURCES = tests/unit/test-survey.c tests/unit/fake-root.h tests/integration/lab.c tests/integration/lab.h
tests_unit_test_survey_LDADD = $(library_layers)

# It is its own psb_survey().
tests_unit_test_rows_SOURCES = tests/unit/test-rows.c
tests_unit_test_rows_LDADD = src/cli/psibridge-rows.$(OBJEXT) src/cli/psibridge-control-client.$(OBJEXT) \
	src/core/cgpattern.lo src/core/cgpath.lo $(JANSSON_LIBS) $(CMOCKA_LIBS)

tests_unit_test_no_alloc_SOURCES = tests/unit/test-no-alloc.c tests/unit/library-bench.h
tests_unit_test_no_alloc_LDADD = $(library_layers)

tests_unit_test_signals_SOURCES = tests/unit/test-signals.c tests/unit/library-bench.h
tests_unit_test_signals_LDADD = $(library_layers)

# Parts of the daemon; fake-forest.c stands for what is watched.
daemon_layers = libdaemon.la $(library_layers) $(daemon_libraries)
tests_unit_test_config_SOURCES = tests/unit/test-config.c tests/unit/config-bench.h tests/unit/fake-root.h
tests_unit_test_config_LDADD = $(daemon_layers)

tests_unit_test_config_errors_SOURCES = tests/unit/test-config-errors.c tests/unit/config-bench.h tests/unit/fake-root.h
tests_unit_test_config_errors_LDADD = $(daemon_layers)

tests_unit_test_forest_SOURCES = tests/unit/test-forest.c tests/unit/count-malloc.h tests/integration/lab.c tests/integration/lab.h
tests_unit_test_forest_LDADD = $(daemon_layers)

tests_unit_test_ledger_SOURCES = tests/unit/test-ledger.c
tests_unit_test_ledger_LDADD = $(daemon_layers)

tests_unit_test_listen_SOURCES = tests/unit/test-listen.c
tests_unit_test_listen_LDADD = $(daemon_layers)

tests_unit_test_peer_SOURCES = tests/unit/test-peer.c tests/unit/peer-kernel.h
tests_unit_test_peer_LDADD = $(daemon_layers)

tests_unit_test_peer_proc_SOURCES = tests/unit/test-peer-proc.c tests/unit/peer-kernel.h tests/unit/fake-root.h
tests_unit_test_peer_proc_LDADD = $(daemon_layers)

tests_unit_test_manager_SOURCES = tests/unit/test-manager.c tests/unit/count-malloc.h
tests_unit_test_manager_LDADD = $(daemon_layers)

tests_unit_test_manager_inherit_SOURCES = tests/unit/test-manager-inherit.c
tests_unit_test_manager_inherit_LDADD = $(daemon_layers)

tests_unit_test_journal_SOURCES = tests/unit/test-journal.c tests/unit/journald-double.h
tests_unit_test_journal_LDADD = $(daemon_layers)

tests_unit_test_journal_wait_SOURCES = tests/unit/test-journal-wait.c tests/unit/journald-double.h tests/unit/count-malloc.h
tests_unit_test_journal_wait_LDADD = $(daemon_layers)

fake_forest = tests/unit/fake-forest.c tests/unit/fake-forest.h
control_stage = tests/unit/control-stage.h tests/unit/control-clients.h tests/unit/fake-root.h
tests_unit_test_control_SOURCES = tests/unit/test-control.c $(control_stage)
tests_unit_test_control_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_test_control_LDADD = $(control_objects) $(library_layers) $(daemon_libraries)

tests_unit_test_control_peers_SOURCES = tests/unit/test-control-peers.c $(control_stage)
tests_unit_test_control_peers_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_test_control_peers_LDADD = $(control_objects) $(library_layers) $(daemon_libraries)

control_objects = src/daemon/libdaemon_la-control.lo src/daemon/libdaemon_la-control-status.lo src/daemon/libdaemon_la-names.lo

bus_objects = src/daemon/libdaemon_la-bus.lo src/daemon/libdaemon_la-bus-door.lo src/daemon/libdaemon_la-bus-objects.lo \
	src/daemon/libdaemon_la-bus-news.lo src/daemon/libdaemon_la-bus-lowmem.lo src/daemon/libdaemon_la-names.lo
tests_unit_test_bus_SOURCES = tests/unit/test-bus.c tests/unit/bus-bench.h $(fake_forest)
tests_unit_test_bus_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_test_bus_LDADD = $(bus_objects) $(library_layers) $(daemon_libraries)

tests_unit_test_bus_life_SOURCES = tests/unit/test-bus-life.c tests/unit/bus-bench.h $(fake_forest)
tests_unit_test_bus_life_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_test_bus_life_LDADD = $(bus_objects) $(library_layers) $(daemon_libraries)

# control.c over a fake forest: what psibridge(1) is tested against.
tests_unit_fake_daemon_SOURCES = tests/unit/fake-daemon.c tests/unit/control-stage.h
tests_unit_fake_daemon_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_fake_daemon_LDADD = $(control_objects) $(library_layers) $(daemon_libraries)

# ---- tests/integration: the real kernel ----------------------------------------------------------
lab_files = tests/integration/lab.c tests/integration/lab.h tests/integration/record.h tests/integration/fixture.h
tests_integration_test_facts_SOURCES = tests/integration/test-facts.c $(lab_files)
tests_integration_test_facts_LDADD = $(library_layers)

tests_integration_test_pressure_SOURCES = tests/integration/test-pressure.c $(lab_files)
tests_integration_test_pressure_LDADD = $(library_layers)

tests_integration_test_rungs_SOURCES = tests/integration/test-rungs.c $(lab_files)
tests_integration_test_rungs_LDADD = $(library_layers)

tests_integration_test_pattern_SOURCES = tests/integration/test-pattern.c $(lab_files)
tests_integration_test_pattern_LDADD = $(library_layers)

tests_integration_test_oom_SOURCES = tests/integration/test-oom.c $(lab_files)
tests_integration_test_oom_LDADD = $(library_layers)

# psibridged under the double of a service manager.
tests_integration_manager_double_SOURCES = tests/integration/manager-double.c tests/integration/manager-store.c tests/integration/manager-store.h
daemon_bench = tests/integration/daemon-bench.h tests/integration/daemon-stage.h tests/integration/manager-double.h
tests_integration_test_manager_double_SOURCES = tests/integration/test-manager-double.c tests/integration/manager-double.h
tests_integration_test_manager_double_LDADD = $(daemon_layers)

tests_integration_test_daemon_SOURCES = tests/integration/test-daemon.c $(daemon_bench) $(lab_files)
tests_integration_test_daemon_LDADD = $(kernel_layer) $(JANSSON_LIBS)

tests_integration_test_daemon_config_SOURCES = tests/integration/test-daemon-config.c $(daemon_bench) $(lab_files)
tests_integration_test_daemon_config_LDADD = $(kernel_layer) $(JANSSON_LIBS)

tests_integration_test_daemon_library_SOURCES = tests/integration/test-daemon-library.c $(daemon_bench) $(lab_files)
tests_integration_test_daemon_library_LDADD = $(library_layers) $(JANSSON_LIBS)

tests_integration_test_crowd_SOURCES = tests/integration/test-crowd.c $(daemon_bench) $(lab_files)
tests_integration_test_crowd_LDADD = $(kernel_layer) $(JANSSON_LIBS)

tests_integration_gmemorymonitor_SOURCES = tests/integration/gmemorymonitor.c
tests_integration_gmemorymonitor_CPPFLAGS = $(AM_CPPFLAGS) $(GIO_CFLAGS)
tests_integration_gmemorymonitor_LDADD = $(GIO_LIBS)

# ---- tests/fuzz ------------------------------------------------------------------------------------
# `make check` replays what was found once; `make fuzz` looks for more (clang, FUZZ_SECONDS each).
FUZZ_CC = clang
FUZZ_SECONDS = 30
fuzz_targets = psi trigger keyed base64 procfs pattern wire executable
if ENABLE_DAEMON
fuzz_targets += config
endif
fuzz_replays = \
	tests/fuzz/replay-psi \
	tests/fuzz/replay-trigger \
	tests/fuzz/replay-keyed \
	tests/fuzz/replay-base64 \
	tests/fuzz/replay-procfs \
	tests/fuzz/replay-pattern \
	tests/fuzz/replay-wire \
	tests/fuzz/replay-executable
if ENABLE_DAEMON
fuzz_replays += tests/fuzz/replay-config
endif
fuzz_replay_files = tests/fuzz/replay.c tests/fuzz/fuzz.h
tests_fuzz_replay_psi_SOURCES = tests/fuzz/fuzz-psi.c $(fuzz_replay_files)
tests_fuzz_replay_psi_LDADD = libcore.la
tests_fuzz_replay_trigger_SOURCES = tests/fuzz/fuzz-trigger.c $(fuzz_replay_files)
tests_fuzz_replay_trigger_LDADD = libcore.la
tests_fuzz_replay_keyed_SOURCES = tests/fuzz/fuzz-keyed.c $(fuzz_replay_files)
tests_fuzz_replay_keyed_LDADD = libcore.la
tests_fuzz_replay_base64_SOURCES = tests/fuzz/fuzz-base64.c $(fuzz_replay_files)
tests_fuzz_replay_base64_LDADD = libcore.la
tests_fuzz_replay_procfs_SOURCES = tests/fuzz/fuzz-procfs.c $(fuzz_replay_files)
tests_fuzz_replay_procfs_LDADD = libcore.la
tests_fuzz_replay_pattern_SOURCES = tests/fuzz/fuzz-pattern.c $(fuzz_replay_files)
tests_fuzz_replay_pattern_LDADD = libcore.la
tests_fuzz_replay_wire_SOURCES = tests/fuzz/fuzz-wire.c $(fuzz_replay_files)
tests_fuzz_replay_wire_LDADD = libcore.la
tests_fuzz_replay_executable_SOURCES = tests/fuzz/fuzz-executable.c $(fuzz_replay_files)
tests_fuzz_replay_executable_LDADD = libcore.la
tests_fuzz_replay_config_SOURCES = tests/fuzz/fuzz-config.c $(fuzz_replay_files)
tests_fuzz_replay_config_LDADD = libdaemon.la libkernel.la libcore.la $(LIBURING_PROGRAM_LIBS) $(daemon_libraries)
fuzz_more_config = $(top_srcdir)/src/daemon/config*.c $(top_srcdir)/src/kernel/file.c $(INIH_LIBS)

fuzz:
	@test -n '$(fuzz_targets)' || { echo "no fuzz targets"; exit 1; }
	@command -v $(FUZZ_CC) >/dev/null || { echo "make fuzz: $(FUZZ_CC) is not installed"; exit 1; }
	@mkdir -p fuzz && set -e; for t in $(fuzz_targets); do \
		case $$t in config) more='$(fuzz_more_config)' ;; *) more= ;; esac; \
		echo "  FUZZ     $$t, $(FUZZ_SECONDS) s"; \
		$(FUZZ_CC) -std=gnu11 $(AM_CPPFLAGS) -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
			$(top_srcdir)/tests/fuzz/fuzz-$$t.c $(top_srcdir)/src/core/*.c $$more -o fuzz/$$t; \
		mkdir -p fuzz/$$t.new; \
		fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=fuzz/$$t- -print_final_stats=1 \
			fuzz/$$t.new $(top_srcdir)/tests/fuzz/corpus/$$t >fuzz/$$t.log 2>&1 || \
			{ tail -n 40 fuzz/$$t.log; echo "the input is in fuzz/"; exit 1; }; \
		grep -E 'number_of_executed_units|new_units_added' fuzz/$$t.log; \
	done

# ---- tests/model: the policy, checked exhaustively -------------------------------------------------
model:
	@$(srcdir)/tests/model/run.sh

dist_noinst_SCRIPTS += tests/model/run.sh
EXTRA_DIST += tests/model/policy.pml tests/model/model.h

# ---- tests/bench -----------------------------------------------------------------------------------
bench_programs = \
	tests/bench/bench-latency \
	tests/bench/bench-faults \
	tests/bench/bench-tree \
	tests/bench/bench-cost
EXTRA_PROGRAMS = $(bench_programs)
CLEANFILES += $(bench_programs)
dist_noinst_SCRIPTS += tests/bench/run

bench_files = tests/bench/bench.c tests/bench/bench.h
contenders = tests/bench/contender.c tests/bench/contender.h
bench_ground = tests/bench/ground.c tests/bench/ground.h
bench_libraries = $(library_layers) -ldl
tests_bench_bench_latency_SOURCES = tests/bench/bench-latency.c $(bench_files) $(contenders) \
	tests/bench/count.c tests/bench/count.h
tests_bench_bench_latency_LDADD = $(bench_libraries)
tests_bench_bench_faults_SOURCES = tests/bench/bench-faults.c $(bench_files) $(contenders) $(bench_ground)
tests_bench_bench_faults_LDADD = $(bench_libraries)
tests_bench_bench_tree_SOURCES = tests/bench/bench-tree.c $(bench_files) $(bench_ground)
tests_bench_bench_tree_LDADD = $(bench_libraries)
tests_bench_bench_cost_SOURCES = tests/bench/bench-cost.c $(bench_files) $(bench_ground)
tests_bench_bench_cost_LDADD = $(bench_libraries)

bench: all $(bench_programs)
	@builddir='$(abs_top_builddir)' $(top_srcdir)/tests/bench/run $(BENCHFLAGS)

# ---- tests/vm: the same binaries under Debian 13, unified cgroups, every capability -----------------
check-vm: all $(check_PROGRAMS) $(noinst_vm) $(runtime_programs)
	@$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/tests/vm/check-vm $(abs_top_srcdir) $(abs_top_builddir) $(vm_tests)

dist_noinst_SCRIPTS += tests/vm/run tests/vm/check-vm $(vm_scripts)
noinst_vm = tests/vm/rung tests/vm/listener tests/vm/press tests/vm/foreign
EXTRA_DIST += tests/vm/guest-lib.sh
EXTRA_PROGRAMS += $(noinst_vm)
CLEANFILES += $(noinst_vm)

# A container of the test has nothing in it but this.
tests_vm_rung_SOURCES = tests/vm/rung.c
tests_vm_rung_LDADD = liblibrary.la libkernel.la libcore.la $(LIBURING_PROGRAM_LIBS)
tests_vm_rung_LDFLAGS = -all-static
tests_vm_listener_SOURCES = tests/vm/listener.c
tests_vm_listener_LDADD = $(tests_vm_rung_LDADD)
tests_vm_listener_LDFLAGS = -all-static
tests_vm_press_SOURCES = tests/vm/press.c
tests_vm_press_LDFLAGS = -all-static
# A client of systemd's own making; its functions are looked up where it runs.
tests_vm_foreign_SOURCES = tests/vm/foreign.c
tests_vm_foreign_LDADD = -ldl

# ---- the runtimes -----------------------------------------------------------------------------------
include tests/runtimes.mk
