// SPDX-License-Identifier: MIT
//
// ProcessTests.cs - what needs a process of its own: environment, exit, a library that is not there
using System;
using Xunit;

namespace PsiBridge.Tests;

public sealed class ProcessTests
{
    private static int CountOf(string text, string part) => text.Split(part).Length - 1;

    [Theory]
    [InlineData("/nonexistent/libpsibridge.so", "warning", "libpsibridge was not found (tried PSIBRIDGE_LIBRARY=/nonexistent/libpsibridge.so)", 1)]
    [InlineData("/nonexistent/libpsibridge.so", "error", "libpsibridge was not found", 0)]
    [InlineData("/etc/passwd", "warning", "libpsibridge was not found (tried PSIBRIDGE_LIBRARY=/etc/passwd)", 1)]
    [InlineData("libm.so.6", "warning", "psb_settings_read", 1)]
    public void a_library_that_is_none_of_ours_is_named_once_and_the_program_runs(string library, string log, string named, int lines)
    {
        using var program = new Embedder("watch", ("PSIBRIDGE_LIBRARY", library), ("PSIBRIDGE_LOG", log));

        Assert.Contains(named, program.Wait("status Unavailable: "), StringComparison.Ordinal);
        program.Say("level");
        program.Wait("level High False");
        (int status, string output) = program.End();
        Assert.Equal(0, status);
        Assert.Equal(lines, CountOf(output, "psibridge[dotnet]:"));
    }

    [Theory]
    [InlineData("PSIBRIDGE", "off", "debug", "status Off: PSIBRIDGE=off")]
    [InlineData("MEMORY_PRESSURE_WATCH", "/dev/null", "warning", "status Off: ")]
    public void the_environment_switches_it_off(string name, string value, string log, string told)
    {
        using var program = new Embedder("watch", (name, value), ("PSIBRIDGE_LOG", log));

        program.Wait(told);
        (int status, string output) = program.End();
        Assert.Equal(0, status);
        Assert.Equal(0, CountOf(output, "psibridge[dotnet]:"));
    }

    [Fact]
    public void nonsense_in_the_environment_is_named_and_its_default_counts()
    {
        using var fifo = new Fifo();
        using var program = new Embedder("watch", ("PSIBRIDGE_SOURCE", fifo.Path), ("PSIBRIDGE_LWO", "some 1ms/2s"),
                                         ("PSIBRIDGE_APART", "soon"), ("PSIBRIDGE_COLLECT", "always"));

        program.Wait("PSIBRIDGE_APART=soon");
        program.Wait("PSIBRIDGE_COLLECT=always");
        program.Wait("PSIBRIDGE_LWO: there is no such variable; did you mean PSIBRIDGE_LOW?");
        program.Wait("status Watching");
        fifo.Ring();
        program.Wait("collected: ");
        Assert.Equal(0, program.End().Status);
    }

    [Fact]
    public void it_starts_by_itself_when_it_is_asked_for()
    {
        using var fifo = new Fifo();
        using var program = new Embedder("lazy watch", ("PSIBRIDGE_SOURCE", fifo.Path));

        program.Wait("ready: rung 1, fifo on " + fifo.Path);
        fifo.Ring();
        program.Wait("changed Low False Signal");
        Assert.Equal(0, program.End().Status);
    }

    [Fact]
    public void it_does_not_start_unless_it_is_asked_for()
    {
        using var fifo = new Fifo();
        using var program = new Embedder("lazy", ("PSIBRIDGE_SOURCE", fifo.Path));

        program.Wait("status NotStarted: ");
        Assert.Equal(0, CountOf(program.End().Output, "psibridge[dotnet]:"));
    }

    [Fact]
    public void what_throws_is_reported_once()
    {
        using var fifo = new Fifo();
        using var program = new Embedder("throw watch", ("PSIBRIDGE_SOURCE", fifo.Path), ("PSIBRIDGE_QUIET", "100ms"),
                                         ("PSIBRIDGE_CALM", "100ms"), ("PSIBRIDGE_HIGH_HEADROOM", "off"));

        fifo.Ring();
        program.Wait("changed High");
        program.Wait("callback High");
        (int status, string output) = program.End();
        Assert.Equal(0, status);
        Assert.Equal(1, CountOf(output, "a handler of MemoryPressure.Changed threw System.InvalidOperationException: as told"));
        Assert.Equal(1, CountOf(output, "a callback of MemoryPressure.Register threw System.InvalidOperationException: as told"));
    }

    [Theory]
    [InlineData("exit")]
    [InlineData("exit-callback")]
    public void a_program_may_exit_from_inside(string word)
    {
        using var fifo = new Fifo();
        using var program = new Embedder(word, ("PSIBRIDGE_SOURCE", fifo.Path));

        program.Wait("status Watching");
        fifo.Ring();
        Assert.Equal(7, program.End(closeInput: false).Status);
    }

    [Fact]
    public void a_cache_that_is_registered_goes_back_to_the_kernel()
    {
        using var fifo = new Fifo();
        using var program = new Embedder("cache", ("PSIBRIDGE_SOURCE", fifo.Path));

        program.Wait("status Watching");
        fifo.Ring();
        program.Wait("compact 50");
        string[] words = program.Wait("collected: ").Split(' ');
        double before = double.Parse(words[2], System.Globalization.CultureInfo.InvariantCulture),
               after = double.Parse(words[4], System.Globalization.CultureInfo.InvariantCulture);
        Assert.InRange(before - after, 100, 300);
        program.End();
    }
}
