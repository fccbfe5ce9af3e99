// SPDX-License-Identifier: MIT
//
// OptionsTests.cs - what is set in code: mistakes throw, before anything is changed; what an environment adds never does
using System;
using System.Collections.Generic;
using System.Diagnostics.CodeAnalysis;
using System.Linq;
using System.Runtime.InteropServices;
using Xunit;

namespace PsiBridge.Tests;

public sealed class OptionsTests
{
    // What the message says, and what makes it say so.
    private static readonly Dictionary<string, Action<MemoryPressureOptions>> Wrong = new()
    {
        ["EarlyThreshold = \"\": a trigger"] = o => o.EarlyThreshold = default(MemoryPressureThreshold),
        ["EarlyThreshold = \"some 300ms/2s\" is over LowThreshold = \"some 200ms/2s\""] = o => o.EarlyThreshold = Parse("some 300ms/2s"),
        ["EarlyThreshold = \"some 20ms/2s\" is over LowThreshold = \"some 10ms/2s\""] = o => o.LowThreshold = Parse("some 10ms/2s"),
        ["EarlyThreshold = \"full 10ms/2s\" is over LowThreshold"] =
            o => (o.EarlyThreshold, o.CriticalThreshold) = (Parse("full 10ms/2s"), Parse("some 50ms/2s")),
        ["is over CriticalThreshold = \"full 10ms/2s\""] = o => o.CriticalThreshold = Parse("full 10ms/2s"),
        ["Cgroup = \"\": a path"] = o => o.Cgroup = "",
        ["Cgroup = \"/a\\0b\": a path without NUL"] = o => o.Cgroup = "/a\0b",
        ["Cgroup = \"../a\": a path without \"..\""] = o => o.Cgroup = "../a",
        ["Source = \"/a\\0b\": a path without NUL"] = o => o.Source = "/a\0b",
        ["Source = \"/b\": not both"] = o => (o.Cgroup, o.Source) = ("/a", "/b"),
        ["RepeatInterval = -00:00:01: a time from 1 ms"] = o => o.RepeatInterval = TimeSpan.FromSeconds(-1),
        ["RepeatInterval = 00:00:00: a time from 1 ms"] = o => o.RepeatInterval = TimeSpan.Zero,
        ["RepeatInterval = 10675199.02:48:05.4775807: a time"] = o => o.RepeatInterval = TimeSpan.MaxValue,
        ["QuietTime = -00:00:00.0000001: a time"] = o => o.QuietTime = TimeSpan.FromTicks(-1),
        ["CalmTime = 1.01:00:00: a time"] = o => o.CalmTime = TimeSpan.FromHours(25),
        ["MinimumInterval = -1.00:00:00: a time from zero"] = o => o.MinimumInterval = TimeSpan.FromDays(-1),
        ["HighHeadroomPercent = -1: 0 to 99"] = o => o.HighHeadroomPercent = -1,
        ["HighHeadroomPercent = 100: 0 to 99"] = o => o.HighHeadroomPercent = 100,
        ["Collect = 7: Low, Critical or Off"] = o => o.Collect = (MemoryCollect)7,
        ["MinimumGrowth = -1: a number of bytes"] = o => o.MinimumGrowth = -1,
    };

    private static MemoryPressureThreshold Parse(string text) => MemoryPressureThreshold.Parse(text);

    public static TheoryData<string> Messages => new(Wrong.Keys);

    [Theory]
    [MemberData(nameof(Messages))]
    public void what_makes_no_sense_throws_by_name_and_what_ran_runs_on(string words)
    {
        using var watched = new Watched();
        var options = new MemoryPressureOptions();

        Wrong[words](options);
        var e = Assert.Throws<ArgumentException>(() => MemoryPressure.Start(options));
        Assert.Contains(words, e.Message, StringComparison.Ordinal);
        Assert.Equal(e.Message, Assert.Throws<ArgumentException>(options.Validate).Message);
        Assert.Equal(watched.Fifo.Path, MemoryPressure.Status.Path);
        watched.Fifo.Ring();
        watched.Wait(MemoryAvailable.Low);
    }

    [Fact]
    public void what_is_at_its_bound_is_taken_and_a_change_afterwards_does_not_count()
    {
        using var fifo = new Fifo();
        var options = new MemoryPressureOptions
        {
            Source = fifo.Path, EarlyThreshold = Parse("some 20000 2000000"), LowThreshold = Parse("some 0.2s/2s"),
            CriticalThreshold = Parse("full 100ms/2000ms"),
            RepeatInterval = TimeSpan.FromMilliseconds(1), QuietTime = TimeSpan.Zero, CalmTime = TimeSpan.FromDays(1), HighHeadroomPercent = 99,
            Collect = MemoryCollect.Off, MinimumInterval = TimeSpan.Zero, MinimumGrowth = 0,
        };

        MemoryPressure.Stop();
        Assert.Equal(fifo.Path, MemoryPressure.Start(options).Path);
        options.Source = "/nonexistent";
        Assert.Equal(fifo.Path, MemoryPressure.Start().Path);
        MemoryPressure.Stop();
    }

    [Theory]
    [InlineData("some nonsense", "\"some nonsense\": a trigger such as some 200ms/2s")]
    [InlineData("", "\"\": a trigger")]
    [InlineData("some 200ms/20s", "\"some 200ms/20s\": a trigger")]
    [InlineData("some 200ms/2s\0", "\"some 200ms/2s\\0\": a trigger")]
    public void what_is_no_threshold_throws_with_what_was_written(string text, string words) =>
        Assert.StartsWith(words, Assert.Throws<FormatException>(() => Parse(text)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("some 200000 2000000", "some 200ms/2s", false, 200, 2000)]
    [InlineData("full 0.5s/10s", "full 500ms/10s", true, 500, 10000)]
    [InlineData("some 1500us/100ms", "some 1500us/100ms", false, 1.5, 100)]
    public void a_threshold_is_what_was_written(string text, string shown, bool full, double stallMsec, double windowMsec)
    {
        MemoryPressureThreshold threshold = Parse(text);

        Assert.Equal((shown, full), (threshold.ToString(), threshold.IsFull));
        Assert.Equal((stallMsec, windowMsec), (threshold.Stall.TotalMilliseconds, threshold.Window.TotalMilliseconds));
    }

    // libpsibridge is asked by way of the environment's reader, which names what it refuses.
    [Theory]
    [InlineData("some 200ms/2s")]
    [InlineData("full 1us/100ms")]
    [InlineData("some 0.0000015s/2s")]
    [InlineData("some 0.000001s/10s")]
    [InlineData("some 0/2s")]
    [InlineData("some 2.0s/2s")]
    [InlineData("some 2.s/2s")]
    [InlineData("some .5s/2s")]
    [InlineData("some 2.001s/2s")]
    [InlineData("some 1ms/99ms")]
    [InlineData("some 1ms/10.000001s")]
    [InlineData("some 1ms/1min")]
    [InlineData("some 1s/0.002h")]
    [InlineData("some  \t200ms/2s")]
    [InlineData("some 200ms /2s")]
    [InlineData("some 200ms/ 2s")]
    [InlineData("some 200ms/2s ")]
    [InlineData(" some 200ms/2s")]
    [InlineData("Some 200ms/2s")]
    [InlineData("some200ms/2s")]
    [InlineData("some")]
    [InlineData("some 200000 2000000")]
    [InlineData("some 200000  2000000")]
    [InlineData("some 200000 2000000 1")]
    [InlineData("some 200000/2000000")]
    [InlineData("some 200000/2s")]
    [InlineData("some 200ms 2s")]
    [InlineData("some 99999999999999999999999999999999s/2s")]
    [InlineData("some -1ms/2s")]
    [InlineData("some 200ms/2s/2s")]
    [InlineData("some 200Ms/2s")]
    public unsafe void a_trigger_is_judged_as_libpsibridge_does(string text)
    {
        Native.Settings s = new() { Size = (UIntPtr)sizeof(Native.Settings) };
        string? before = Environment.GetEnvironmentVariable("PSIBRIDGE_LOW"); // .NET's copy of it; the library reads the real one

        Assert.Null(before);
        Assert.Equal(0, setenv("PSIBRIDGE_LOW", text, 1));
        Assert.Equal(0, setenv("PSIBRIDGE_EARLY", "some 1us/100ms", 1)); // under all of them
        int r = Native.psb_settings_read(IntPtr.Zero, IntPtr.Zero, &s);
        unsetenv("PSIBRIDGE_LOW");
        unsetenv("PSIBRIDGE_EARLY");
        Assert.Equal(0, r);
        Assert.Equal(s.Refused == 0, MemoryPressureThreshold.TryParse(text, out MemoryPressureThreshold threshold));
        Assert.Equal(s.Refused == 0, threshold != default && Parse(threshold.ToString()) == threshold);
    }

    [Fact]
    public void where_code_and_environment_do_not_go_together_the_code_counts_and_it_is_watched()
    {
        setenv("PSIBRIDGE_LOW", "some 10ms/2s", 1);
        setenv("PSIBRIDGE_EARLY", "some 1ms/2s", 1);
        try
        {
            using var watched = new Watched(o => o.EarlyThreshold = Parse("some 20ms/2s"));
            Assert.Equal(MemoryPressureState.Watching, watched.Status.State);
            setenv("PSIBRIDGE_EARLY", "some 500ms/2s", 1);
            using var other = new Watched(); // the environment alone: over its own low
            Assert.Equal(MemoryPressureState.Watching, other.Status.State);
        }
        finally
        {
            unsetenv("PSIBRIDGE_LOW");
            unsetenv("PSIBRIDGE_EARLY");
        }
    }

    [Fact]
    public void what_is_public_has_no_pointers_each_enumeration_a_zero_and_no_coverage_is_counted()
    {
        Type[] types = typeof(MemoryPressure).Assembly.GetExportedTypes();

        Assert.True(typeof(MemoryPressure).Assembly.IsDefined(typeof(ExcludeFromCodeCoverageAttribute), false));
        Assert.Equal(5, types.Count(type => type.IsEnum));
        Assert.All(types.Where(type => type.IsEnum), type => Assert.True(Enum.IsDefined(type, 0), type.Name));
        Assert.All(types.SelectMany(type => type.GetFields().Select(f => f.FieldType).Concat(type.GetMethods().SelectMany(
            m => m.GetParameters().Select(p => p.ParameterType)))), type => Assert.False(type.IsPointer || type.IsFunctionPointer, type.Name));
    }

    [DllImport("libc")] private static extern int setenv(string name, string value, int overwrite);
    [DllImport("libc")] private static extern int unsetenv(string name);
}
