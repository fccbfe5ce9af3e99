# SPDX-License-Identifier: MIT
#
# The runtimes' part of the tests' part of Makefile.am: hooks, hosts and the managed library in real runtimes. What a machine
# lacks is skipped by the test itself, with its reason.

runtime_scripts = \
	tests/integration/test-run.sh \
	tests/integration/test-attach.sh \
	tests/integration/test-coreclr.sh \
	tests/integration/test-clrhost.sh \
	tests/integration/test-dotnet.sh \
	tests/integration/test-mono.sh

# A runtime that answers what a test wants to hear: errors that the real one does not have at hand.
runtime_tools = \
	tests/integration/coreclr-double \
	tests/integration/dotnet-double
tests_integration_coreclr_double_SOURCES = tests/integration/coreclr-double.c
tests_integration_coreclr_double_CPPFLAGS = $(AM_CPPFLAGS)
tests_integration_coreclr_double_LDADD = -ldl
tests_integration_dotnet_double_SOURCES = tests/integration/dotnet-double.c
tests_integration_dotnet_double_LDFLAGS = $(AM_LDFLAGS) -Wl,--export-dynamic
EXTRA_DIST += tests/dotnet tests/integration/mono-guest.cs tests/integration/mono-wait.c

tests_unit_test_hook_SOURCES = tests/unit/test-hook.c tests/unit/hook-stage.h tests/unit/library-bench.h
tests_unit_test_hook_LDADD = libhook.la $(library_layers)

tests_unit_test_hook_life_SOURCES = tests/unit/test-hook-life.c tests/unit/hook-stage.h tests/unit/library-bench.h
tests_unit_test_hook_life_LDADD = libhook.la $(library_layers)
