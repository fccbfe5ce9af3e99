# SPDX-License-Identifier: MIT
#
# The tests' part of Makefile.am, which includes it: paths are from the top.
#
# To add a unit test:  its name in the list of its folder, which is one program (tests/unit/unit.h).
# To add a script:     its name in structure_tests or integration_tests.
# All of them run beside one another, so a test makes its own cgroups, and does not mind that its CPU is busy.

# ---- tests ---------------------------------------------------------------------------------------
# All of them are run by tests/driver, which explains what a test is. `make check TESTS='...'` runs some.
structure_tests = \
	tests/structure/tree.sh \
	tests/structure/layers.sh \
	tests/structure/headers.sh \
	tests/structure/symbols.sh \
	tests/structure/circles.sh
if ENABLE_DAEMON
structure_tests += tests/structure/units.sh
endif

# A folder a layer, and a program for each: its tests are links to it (tests/unit/unit.h).
core_tests = \
	tests/unit/core/test-trigger \
	tests/unit/core/test-cgpattern \
	tests/unit/core/test-window \
	tests/unit/core/test-forecast \
	tests/unit/core/test-policy \
	tests/unit/core/test-policy-alarms \
	tests/unit/core/test-policy-model \
	tests/unit/core/test-policy-walk \
	tests/unit/core/test-utf8 \
	tests/unit/core/test-parsers \
	tests/unit/core/test-trace \
	tests/unit/core/test-wire
engine_tests = \
	tests/unit/kernel/test-loop \
	tests/unit/kernel/test-loop-failure \
	tests/unit/kernel/test-loop-life \
	tests/unit/kernel/test-loop-time
kernel_tests = $(engine_tests) \
	tests/unit/kernel/test-closer \
	tests/unit/kernel/test-pathwait \
	tests/unit/kernel/test-cgroup \
	tests/unit/kernel/test-memory
monitor_tests = tests/unit/monitor/test-target tests/unit/monitor/test-tree tests/unit/monitor/test-ahead tests/unit/monitor/test-effect
library_tests = \
	tests/unit/library/test-dispatch \
	tests/unit/library/test-removal \
	tests/unit/library/test-mailbox \
	tests/unit/library/test-settings \
	tests/unit/library/test-resident \
	tests/unit/library/test-watch \
	tests/unit/library/test-bridge \
	tests/unit/library/test-bad-input \
	tests/unit/library/test-sizes \
	tests/unit/library/test-members \
	tests/unit/library/test-records \
	tests/unit/library/test-survey \
	tests/unit/library/test-signals
hosting_tests = \
	tests/unit/hosting/test-hosting \
	tests/unit/hosting/test-hosting-register \
	tests/unit/hosting/test-hostmem
if HAVE_CXX
hosting_cxx_tests = tests/unit/hosting/test-hosting-windows
endif
runtimes_tests = tests/unit/runtimes/test-hook tests/unit/runtimes/test-coreclr
cli_tests = tests/unit/cli/test-score tests/unit/cli/test-tune tests/unit/cli/test-import
# Each is a program: it has a library, or a daemon, of its own.
single_unit_tests = tests/unit/cli/test-rows
if ENABLE_DAEMON
daemon_tests = \
	tests/unit/daemon/test-config \
	tests/unit/daemon/test-table \
	tests/unit/daemon/test-history \
	tests/unit/daemon/test-ring \
	tests/unit/daemon/test-state \
	tests/unit/daemon/test-memoryhigh \
	tests/unit/daemon/test-listen \
	tests/unit/daemon/test-lowmemory \
	tests/unit/daemon/test-peer \
	tests/unit/daemon/test-manager \
	tests/unit/daemon/test-journal
single_unit_tests += tests/unit/daemon/test-control
endif
unit_links = $(core_tests) $(kernel_tests) $(monitor_tests) $(library_tests) $(hosting_tests) $(hosting_cxx_tests) $(runtimes_tests) \
	$(cli_tests) $(daemon_tests)
unit_tests = $(unit_links) $(single_unit_tests)

# With real cgroups and real stalls.
pressure_tests = \
	tests/integration/test-pressure \
	tests/integration/test-rungs \
	tests/integration/test-lost \
	tests/integration/test-driving \
	tests/integration/test-pattern \
	tests/integration/test-oom \
	tests/integration/test-effect \
	tests/integration/test-forecast
# What the kernel does, on which the others stand: in the virtual machine, and on demand (make facts).
fact_tests = tests/integration/test-facts
integration_scripts = \
	tests/integration/test-demo.sh \
	tests/integration/test-cli.sh \
	tests/integration/test-trace.sh \
	tests/integration/test-report.sh \
	tests/integration/test-import.sh \
	tests/integration/test-mounts.sh \
	tests/integration/test-faults.sh
if ENABLE_DAEMON
daemon_programs = \
	tests/integration/test-ring \
	tests/integration/test-daemon \
	tests/integration/test-crowd
integration_scripts += \
	tests/integration/test-cli-daemon.sh \
	tests/integration/test-top.sh
# What those tests are made with.
daemon_tools = tests/unit/daemon/fake-daemon
endif
# What takes longest comes first.
integration_tests = $(runtime_scripts) $(integration_scripts) $(pressure_tests) $(daemon_programs)
integration_links = $(pressure_tests) $(fact_tests) $(daemon_programs)

fuzz_tests = \
	tests/fuzz/corpus.sh

# What waits by itself, with io_uring and with epoll.
loop_tests = $(engine_tests) \
	tests/unit/kernel/test-pathwait \
	tests/unit/library/test-bridge \
	tests/unit/library/test-watch

# Without real pressure.
quick_programs = $(unit_tests) $(fuzz_tests) tests/integration/test-cli.sh
if ENABLE_DAEMON
quick_programs += \
	tests/integration/test-daemon \
	tests/integration/test-cli-daemon.sh \
	tests/integration/test-top.sh
endif

# What an archive is tested with, without any right: what reads sources, or asks for a right. The rest of quick_programs would run the
# same code as stage gcc does.
archive_tests = $(fuzz_tests) tests/integration/test-cli.sh \
	tests/unit/core/test-trace \
	tests/unit/library/test-bad-input \
	tests/unit/library/test-bridge \
	tests/unit/library/test-resident \
	tests/unit/library/test-survey \
	tests/unit/library/test-watch \
	tests/unit/runtimes/test-hook
if ENABLE_DAEMON
archive_tests += \
	tests/integration/test-cli-daemon.sh \
	tests/integration/test-top.sh \
	tests/unit/daemon/test-config \
	tests/unit/daemon/test-control \
	tests/unit/daemon/test-journal \
	tests/unit/daemon/test-peer \
	tests/unit/daemon/test-ring \
	tests/unit/daemon/test-state
endif

# Those in which threads meet.
thread_tests = $(loop_tests) \
	tests/unit/kernel/test-closer \
	tests/unit/library/test-dispatch \
	tests/unit/runtimes/test-hook \
	tests/unit/hosting/test-hosting \
	tests/unit/hosting/test-hosting-register \
	tests/unit/library/test-mailbox \
	tests/unit/library/test-members \
	tests/unit/library/test-records \
	tests/unit/library/test-removal \
	tests/unit/library/test-signals
if ENABLE_DAEMON
thread_tests += \
	tests/unit/daemon/test-lowmemory \
	tests/unit/daemon/test-control \
	tests/unit/daemon/test-table \
	tests/unit/daemon/test-journal \
	tests/integration/test-daemon
endif

# Those worth running on another kernel, see tests/vm/check-vm: what asks the kernel, each rung under real pressure, and what
# this machine may lack. The demo's own test takes ten demos; emulated, one must do.
vm_tests = $(loop_tests) \
	tests/unit/kernel/test-cgroup \
	tests/unit/kernel/test-closer \
	tests/unit/kernel/test-memory \
	tests/unit/library/test-resident \
	tests/unit/library/test-survey \
	$(monitor_tests) \
	$(fact_tests) \
	$(pressure_tests) \
	tests/integration/test-mounts.sh
vm_scripts = tests/vm/guest-rungs.sh tests/vm/guest-demo.sh
if ENABLE_DAEMON
vm_tests += \
	tests/unit/daemon/test-peer
vm_scripts += \
	tests/vm/guest-install.sh \
	tests/vm/guest-daemon.sh \
	tests/vm/guest-cause.sh \
	tests/vm/guest-effect.sh \
	tests/vm/guest-clients.sh \
	tests/vm/guest-containers.sh \
	tests/vm/guest-latency.sh \
	tests/vm/guest-memoryhigh.sh \
	tests/vm/guest-pressure.sh \
	tests/vm/guest-tuning.sh \
	tests/vm/guest-dotnet.sh
endif
vm_tests += $(vm_scripts)

if ENABLE_TESTS
check_PROGRAMS += $(check_tools) $(unit_programs) $(single_unit_tests) $(integration_programs)
TESTS = $(integration_tests) $(unit_tests) $(fuzz_tests) $(structure_tests)
endif
integration_programs = tests/integration/tests
if ENABLE_DAEMON
integration_programs += tests/integration/tests-daemon
endif
# What tests are made with; a test itself is built before it runs.
check_tools = tests/deny-io-uring $(daemon_tools) $(runtime_tools) tests/fuzz/replay tests/integration/fault-host
if HAVE_GIO
check_tools += tests/integration/gmemorymonitor
endif

TEST_EXTENSIONS = .sh
LOG_DRIVER = $(SHELL) $(top_srcdir)/tests/driver
SH_LOG_DRIVER = $(LOG_DRIVER)
AM_TESTS_ENVIRONMENT = \
	srcdir='$(abs_top_srcdir)'; builddir='$(abs_top_builddir)'; \
	CC='$(CC)'; CXX='$(CXX)'; NM='$(NM)'; READELF='$(READELF)'; VERSION='$(PACKAGE_VERSION)'; \
	FUZZ_TARGETS='$(fuzz_targets)'; \
	ASAN_OPTIONS="detect_stack_use_after_return=1$${ASAN_OPTIONS:+:$$ASAN_OPTIONS}"; \
	UBSAN_OPTIONS="print_stacktrace=1$${UBSAN_OPTIONS:+:$$UBSAN_OPTIONS}"; \
	TSAN_OPTIONS="second_deadlock_stack=1:die_after_fork=0$${TSAN_OPTIONS:+:$$TSAN_OPTIONS}"; \
	export srcdir builddir CC CXX NM READELF VERSION FUZZ_TARGETS ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS;
if HAVE_CXX
AM_TESTS_ENVIRONMENT += HAVE_CXX=1; export HAVE_CXX;
endif
if SANITIZERS
AM_TESTS_ENVIRONMENT += SANITIZERS=1; export SANITIZERS;
endif
if STATIC_LIBURING
AM_TESTS_ENVIRONMENT += STATIC_LIBURING=1; export STATIC_LIBURING;
endif
dist_noinst_SCRIPTS += tests/driver tests/summary tests/house $(structure_tests) $(fuzz_tests) $(integration_scripts) $(runtime_scripts)
EXTRA_DIST += tests/integration/shell.sh tests/integration/cli-daemon.sh tests/tap.sh tests/skip.h tests/sockets.h tests/deny.h tests/skips-allowed tests/fuzz/corpus tests/data

# Runs a command as on a kernel without io_uring: PSIBRIDGE_TEST_WRAPPER='./tests/deny-io-uring ENOSYS' make check
tests_deny_io_uring_SOURCES = tests/deny-io-uring.c

# ---- tests/unit: a layer with its tests -----------------------------------------------------------
unit_programs = tests/unit/core/tests tests/unit/kernel/tests tests/unit/monitor/tests tests/unit/library/tests tests/unit/hosting/tests tests/unit/runtimes/tests tests/unit/cli/tests
if HAVE_CXX
unit_programs += tests/unit/hosting/tests-cxx
$(hosting_cxx_tests): tests/unit/hosting/tests-cxx
endif
if ENABLE_DAEMON
unit_programs += tests/unit/daemon/tests
$(daemon_tests): tests/unit/daemon/tests
endif
$(core_tests): tests/unit/core/tests
$(kernel_tests): tests/unit/kernel/tests
$(monitor_tests): tests/unit/monitor/tests
$(library_tests): tests/unit/library/tests
$(hosting_tests): tests/unit/hosting/tests
$(runtimes_tests): tests/unit/runtimes/tests
$(cli_tests): tests/unit/cli/tests
$(pressure_tests) $(fact_tests): tests/integration/tests
$(daemon_programs): tests/integration/tests-daemon
$(unit_links) $(integration_links):
	@rm -f $@ && $(LN_S) "$$(basename $<)" $@
# The programs, too: check_PROGRAMS may have been told in make's arguments, and then it lacks what the tests above were made with.
CLEANFILES += $(unit_links) $(integration_links) $(unit_programs) $(single_unit_tests) $(integration_programs)

unit_main = tests/unit/main.c tests/unit/unit.h tests/pressure.h
fake_root = tests/unit/fake-root.h tests/threads.h
lab = tests/pressure.c tests/pressure.h
count_malloc = tests/unit/count-malloc.c tests/unit/count-malloc.h
# Linked against the layers, so that sanitizers and seams see all of it.
kernel_layer = libkernel.la libcore.la $(LIBURING_PROGRAM_LIBS) $(CMOCKA_LIBS)
monitor_layers = libmonitor.la $(kernel_layer)
library_layers = liblibrary.la $(monitor_layers)
daemon_layers = libdaemon.la libtrace.la $(library_layers) $(daemon_libraries)

tests_unit_core_tests_SOURCES = $(unit_main) $(core_tests:=.c) tests/unit/core/policy-script.h tests/unit/core/policy-judge.h \
	tests/unit/core/random.h
tests_unit_core_tests_LDADD = libtrace.la libcore.la $(CMOCKA_LIBS)

# fake-root.h is a /proc of the test's own.
tests_unit_kernel_tests_SOURCES = $(unit_main) $(kernel_tests:=.c) tests/unit/kernel/loop-variants.h $(fake_root)
tests_unit_kernel_tests_LDADD = $(kernel_layer)

tests_unit_monitor_tests_SOURCES = $(unit_main) $(monitor_tests:=.c) $(fake_root)
tests_unit_monitor_tests_LDADD = $(monitor_layers)

# The public API over a FIFO or a socket.
tests_unit_library_tests_SOURCES = $(unit_main) $(library_tests:=.c) $(fake_root) $(lab) $(count_malloc) \
	tests/unit/library/library-bench.h
tests_unit_library_tests_LDADD = $(library_layers) -ldl

# A manager over a watch that a test moves.
fake_watch = tests/unit/hosting/fake-watch.c tests/unit/hosting/fake-watch.h tests/unit/hosting/hosting-runtime.h
tests_unit_hosting_tests_SOURCES = $(unit_main) $(hosting_tests:=.c) $(fake_watch)
tests_unit_hosting_tests_LDADD = $(library_layers)
tests_unit_hosting_tests_cxx_SOURCES = $(unit_main) tests/unit/hosting/test-hosting-windows.cc $(fake_watch)
tests_unit_hosting_tests_cxx_LDADD = $(library_layers)

tests_unit_runtimes_tests_SOURCES = $(unit_main) $(runtimes_tests:=.c)
tests_unit_runtimes_tests_LDADD = libhook.la $(library_layers)
tests_unit_runtimes_tests_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=psb_registration_report

# It is its own psb_survey().
tests_unit_cli_test_rows_SOURCES = $(unit_main) tests/unit/cli/test-rows.c
cli_rows = rows find-cgroup control-client wait words args
tests_unit_cli_test_rows_LDADD = $(cli_rows:%=src/cli/psibridge-%.$(OBJEXT)) libcore.la $(JANSSON_LIBS) $(CMOCKA_LIBS)
cli_parts = score tune-choose import stamp average
tests_unit_cli_tests_SOURCES = $(unit_main) $(cli_tests:=.c)
tests_unit_cli_tests_LDADD = $(cli_parts:%=src/cli/psibridge-%.$(OBJEXT)) libtrace.la libcore.la $(CMOCKA_LIBS)

tests_unit_daemon_tests_SOURCES = $(unit_main) $(daemon_tests:=.c) $(fake_root) $(lab) $(count_malloc) tests/unit/daemon/config-bench.h
tests_unit_daemon_tests_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_daemon_tests_LDADD = $(daemon_layers)

# Parts of the daemon; what is watched is played.
control_objects = src/daemon/libdaemon_la-control.lo src/daemon/libdaemon_la-control-status.lo \
	src/daemon/libdaemon_la-control-set.lo src/daemon/libdaemon_la-config.lo src/daemon/libdaemon_la-config-files.lo \
	src/daemon/libdaemon_la-listen.lo src/daemon/libdaemon_la-journal.lo
tests_unit_daemon_test_control_SOURCES = $(unit_main) tests/unit/daemon/test-control.c $(fake_root)
tests_unit_daemon_test_control_CPPFLAGS = $(libdaemon_la_CPPFLAGS)
tests_unit_daemon_test_control_LDADD = $(control_objects) $(library_layers) $(daemon_libraries)
# What psibridge(1) is tested against.
tests_unit_daemon_fake_daemon_SOURCES = tests/unit/daemon/fake-daemon.c

# ---- tests/integration: the real kernel ----------------------------------------------------------
tests_integration_tests_SOURCES = $(unit_main) $(pressure_tests:=.c) $(fact_tests:=.c) $(lab) tests/integration/fixture.h tests/threads.h
tests_integration_tests_CPPFLAGS = $(AM_CPPFLAGS) $(EVENT_LOOPS_CFLAGS)
tests_integration_tests_LDADD = $(library_layers) $(EVENT_LOOPS_LIBS)

tests_integration_tests_daemon_SOURCES = $(unit_main) $(daemon_programs:=.c) $(lab) tests/integration/daemon-bench.h tests/threads.h
tests_integration_tests_daemon_LDADD = libtrace.la $(library_layers) $(JANSSON_LIBS)

tests_integration_gmemorymonitor_SOURCES = tests/integration/gmemorymonitor.c
tests_integration_gmemorymonitor_CPPFLAGS = $(AM_CPPFLAGS) $(GIO_CFLAGS)
tests_integration_gmemorymonitor_LDADD = $(GIO_LIBS)

house:
	@srcdir='$(srcdir)' $(srcdir)/tests/house

facts: $(fact_tests)
	@for test in $(fact_tests); do ./$$test || exit; done

# ---- tests/fuzz ------------------------------------------------------------------------------------
# `make check` replays what was found once; `make fuzz` looks for more (clang, FUZZ_SECONDS each).
FUZZ_CC = clang
FUZZ_SECONDS = 30
fuzz_targets = psi trigger keyed base64 procfs pattern wire trace json
if ENABLE_DAEMON
fuzz_targets += config set
endif
# All targets are in one program, which is told which.
tests_fuzz_replay_SOURCES = tests/fuzz/replay.c tests/fuzz/fuzz.h tests/fuzz/fuzz-text.c tests/fuzz/fuzz-path.c tests/fuzz/fuzz-wire.c \
	tests/fuzz/fuzz-json.c $(fuzz_json_sources)
tests_fuzz_replay_CPPFLAGS = $(AM_CPPFLAGS) $(COMPRESSION_CFLAGS)
fuzz_json_libraries = $(JANSSON_LIBS) $(COMPRESSION_LIBS)
fuzz_json_sources = src/cli/trace-json.c src/cli/trace-join.c src/cli/trace-text.c src/cli/import.c src/cli/stamp.c src/cli/average.c
if ENABLE_DAEMON
tests_fuzz_replay_SOURCES += tests/fuzz/fuzz-config.c
tests_fuzz_replay_LDADD = libtrace.la libdaemon.la libkernel.la libcore.la $(LIBURING_PROGRAM_LIBS) $(daemon_libraries) $(fuzz_json_libraries)
fuzz_config_sources = $(top_srcdir)/tests/fuzz/fuzz-config.c $(top_srcdir)/src/daemon/config*.c $(top_srcdir)/src/kernel/file.c
else
tests_fuzz_replay_LDADD = libtrace.la libcore.la $(fuzz_json_libraries)
endif

fuzz:
	@command -v $(FUZZ_CC) >/dev/null || { echo "make fuzz: $(FUZZ_CC) is not installed"; exit 1; }
	@mkdir -p fuzz && set -e; for t in $(fuzz_targets); do \
		echo "  FUZZ     $$t, $(FUZZ_SECONDS) s"; \
		$(FUZZ_CC) -std=gnu11 $(AM_CPPFLAGS) -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
			-DFUZZING="\"$$t\"" $(top_srcdir)/tests/fuzz/replay.c $(top_srcdir)/tests/fuzz/fuzz-[jtpw]*.c $(top_srcdir)/src/core/*.c \
			$(addprefix $(top_srcdir)/,$(fuzz_json_sources)) $(fuzz_config_sources) $(fuzz_json_libraries) -o fuzz/$$t; \
		mkdir -p fuzz/$$t.new; \
		fuzz/$$t -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=fuzz/$$t- -print_final_stats=1 \
			fuzz/$$t.new $(top_srcdir)/tests/fuzz/corpus/$$t >fuzz/$$t.log 2>&1 || \
			{ tail -n 40 fuzz/$$t.log; echo "the input is in fuzz/"; exit 1; }; \
		grep -E 'number_of_executed_units|new_units_added' fuzz/$$t.log; \
	done

# ---- the policy, checked exhaustively for more windows than in each run ------------------------------
model: tests/unit/core/tests
	@PSIBRIDGE_MODEL=all tests/unit/core/tests policy-model

# ---- tests/bench -----------------------------------------------------------------------------------
EXTRA_PROGRAMS = tests/bench/bench
CLEANFILES += tests/bench/bench
tests_bench_bench_SOURCES = $(lab) tests/program.c tests/program.h \
	tests/bench/bench.c tests/bench/bench.h \
	tests/bench/contender.c tests/bench/contender.h tests/bench/daemon.c tests/bench/daemon.h tests/bench/count.c tests/bench/runtime.c tests/bench/runtime.h \
	tests/bench/latency.c tests/bench/faults.c tests/bench/tree.c tests/bench/cost.c \
	tests/bench/effect.c tests/bench/load.c tests/bench/survive.c tests/bench/needless.c tests/bench/again.c tests/bench/ring.c \
	tests/bench/shapes.c
tests_bench_bench_LDADD = $(library_layers) -ldl -lm

bench: all tests/bench/bench
	@tests/bench/bench latency faults tree cost $(BENCHFLAGS)

# ---- tests/vm: the same binaries under Debian 13, unified cgroups, every capability -----------------
vm-needs: all $(check_PROGRAMS) $(unit_links) $(integration_links) $(noinst_vm) $(runtime_programs)

check-vm: vm-needs
	@$(AM_TESTS_ENVIRONMENT) $(top_srcdir)/tests/vm/check-vm $(abs_top_srcdir) $(abs_top_builddir) $(vm_tests)

dist_noinst_SCRIPTS += tests/vm/run tests/vm/check-vm $(vm_scripts)
noinst_vm = tests/vm/listener tests/vm/press tests/vm/foreign
EXTRA_DIST += tests/vm/guest-lib.sh
EXTRA_PROGRAMS += $(noinst_vm)
CLEANFILES += $(noinst_vm)

# A container of the test has nothing in it but this.
tests_vm_listener_SOURCES = tests/vm/listener.c $(lab)
tests_vm_listener_LDADD = liblibrary.la libmonitor.la libkernel.la libcore.la $(LIBURING_PROGRAM_LIBS)
tests_vm_listener_LDFLAGS = -all-static
tests_vm_press_SOURCES = tests/vm/press.c $(lab)
tests_vm_press_LDADD = libcore.la
tests_vm_press_LDFLAGS = -all-static
# A client of systemd's own making; its functions are looked up where it runs.
tests_vm_foreign_SOURCES = tests/vm/foreign.c
tests_vm_foreign_LDADD = -ldl

# ---- the runtimes -----------------------------------------------------------------------------------
include tests/runtimes.mk
