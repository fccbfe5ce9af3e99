# SPDX-License-Identifier: MIT
#
# The runtimes' part of the tests' part of Makefile.am: hooks, hosts and the managed library in real runtimes. What a machine
# lacks is skipped by the test itself, with its reason.

runtime_scripts = \
	tests/integration/test-dotnet.sh \
	tests/integration/test-mono.sh \
	tests/integration/test-coreclr.sh \
	tests/integration/test-neutral.sh \
	tests/integration/test-clrhost.sh \
	tests/integration/test-run.sh \
	tests/integration/test-attach.sh

# A process that looks like .NET to `psibridge attach`: hostile answers and sockets.
runtime_tools = tests/integration/dotnet-double tests/integration/stalls
tests_integration_dotnet_double_SOURCES = tests/integration/dotnet-double.c
tests_integration_dotnet_double_LDFLAGS = $(AM_LDFLAGS) -Wl,--export-dynamic
# Real stalls of a chosen share, for scripts.
tests_integration_stalls_SOURCES = tests/integration/stalls.c $(lab)
tests_integration_stalls_LDADD = libcore.la
EXTRA_DIST += tests/dotnet tests/unit/runtimes/worth.cases

# ---- programs that know nothing of us, for tests and benchmarks --------------------------------------
# dotnet/bin/NAME/release/NAME.dll, and dotnet/mono/NAME.exe. Only benchmarks need all of them.
dotnet_programs = Garbage Load
dotnet_told = ManagedGarbage

dotnet/programs.stamp: $(managed_package)
	@set -e; for name in $(dotnet_programs) $(dotnet_told); do \
		echo "  DOTNET   tests/dotnet/$$name"; \
		$(DOTNET_BUILD) build -tl:off -clp:NoSummary $(DOTNET_FLAGS) '$(abs_top_srcdir)'/tests/dotnet/$$name/$$name.csproj; \
	done
	@touch $@

dotnet/mono/garbage.exe: tests/dotnet/Garbage/Program.cs
	@$(MKDIR_P) dotnet/mono
	$(AM_V_GEN)$(MCS) -langversion:5 -out:$@ $(top_srcdir)/tests/dotnet/Garbage/Program.cs

# ---- make bench-effect RUNTIME=coreclr|mono, bench-load, bench-survive -----------------------------------
RUNTIME = coreclr

# Which programs a benchmark needs, each as far as it can be built here.
runtime_programs =
if HAVE_DOTNET
runtime_programs += dotnet/programs.stamp
endif
if HAVE_MCS
runtime_programs += dotnet/mono/garbage.exe
endif

bench_of_runtime = @builddir='$(abs_top_builddir)' tests/bench/bench --runtime=$(RUNTIME)
bench-effect: all tests/bench/bench $(runtime_programs)
	$(bench_of_runtime) effect shapes $(BENCHFLAGS)
bench-load bench-survive: all tests/bench/bench $(runtime_programs)
	$(bench_of_runtime) $(@:bench-%=%) $(BENCHFLAGS)

.PHONY: bench-effect bench-load bench-survive
