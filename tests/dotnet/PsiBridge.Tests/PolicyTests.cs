// SPDX-License-Identifier: MIT
//
// PolicyTests.cs - what the policy does with the GC, and what CacheCompactor does with a cache
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime;
using System.Runtime.CompilerServices;
using System.Threading;
using Xunit;

namespace PsiBridge.Tests;

public sealed class PolicyTests
{
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void FillAndDrop(int mb)
    {
        var pages = new List<byte[]>();
        for (int done = 0; done < mb * 256; done++)
            pages.Add(new byte[4072]);
        GC.Collect(1); // what is dropped now is old, and nobody collects it soon
        pages.Clear();
    }

    private static int CollectionsOf(bool critical = false)
    {
        int collections = GC.CollectionCount(2);

        Watched.Simulate(MemoryAvailable.Low, critical);
        Watched.Simulate(MemoryAvailable.High); // the policy's thread has done with Low
        return GC.CollectionCount(2) - collections;
    }

    [Fact]
    public void low_gives_back_what_was_dropped_and_callbacks_come_first()
    {
        static long Resident() => long.Parse(File.ReadAllText("/proc/self/statm").Split(' ')[1]) * Environment.SystemPageSize;
        using Watched watched = Watched.Still();
        int first = -1;

        FillAndDrop(200);
        long before = Resident();
        int start = GC.CollectionCount(2);
        using (MemoryPressure.Register(new Callback(p => first = first < 0 ? GC.CollectionCount(2) - start : first)))
            Assert.InRange(CollectionsOf(), 1, int.MaxValue);
        Assert.Equal(0, first);
        Assert.InRange(before - Resident(), 100 << 20, long.MaxValue);
        Assert.True(SpinWait.SpinUntil(() => MemoryPressure.Effect.CollectedBytes > 0, Watched.Patience));
        Assert.InRange(MemoryPressure.Effect.CollectedBytes, 100 << 20, before);
    }

    // test-hook.c reads the same table.
    [Fact]
    public void a_collection_is_worth_it_as_the_table_says()
    {
        using var table = new StreamReader(typeof(PolicyTests).Assembly.GetManifestResourceStream("worth.cases")!);
        int cases = 0;

        for (string? line; (line = table.ReadLine()) != null;)
        {
            if (line.StartsWith('#'))
                continue;
            string[] words = line.Split(' ', StringSplitOptions.RemoveEmptyEntries);
            long Mib(int at) => long.Parse(words[at]) << 20;
            using var effect = new Effect { Before = Mib(1), After = Mib(2) };
            if (words[0] != "-")
                effect.CollectedMsec = 7200_000 - long.Parse(words[0]) * 1000;
            string? why = effect.WhyNot(7200_000, Mib(3), long.Parse(words[4]) * 1000, Mib(5));
            Assert.True((why == null ? "yes" : why.EndsWith("long ago") ? "soon" : "little") == words[6], line);
            cases++;
        }
        Assert.InRange(cases, 21, int.MaxValue);
    }

    [Theory]
    [InlineData(0, 60)]
    [InlineData(3600, 0)]
    public void it_is_collected_again_only_if_it_has_grown_and_some_time_has_passed(int apart, int grown)
    {
        using Watched watched = Watched.Still(o =>
        {
            o.Apart = TimeSpan.FromSeconds(apart);
            o.Grown = grown << 20;
        });

        Assert.InRange(CollectionsOf(), 1, int.MaxValue);
        Assert.Equal(0, CollectionsOf());
        int again = 0;
        for (int i = 0; i < 5 && again == 0; i++) // where the machine is short, the runtime may have been first
        {
            FillAndDrop(120);
            again = CollectionsOf();
        }
        Assert.Equal(apart == 0, again > 0);
    }

    [Theory]
    [InlineData(MemoryCollect.Off, true, false)]
    [InlineData(MemoryCollect.Critical, false, false)]
    [InlineData(MemoryCollect.Critical, true, true)]
    [InlineData(MemoryCollect.Low, false, true)]
    public void it_collects_at_the_level_that_was_chosen(MemoryCollect collect, bool critical, bool collects)
    {
        using Watched watched = Watched.Still(o => o.Collect = collect);

        Assert.Equal(collects, CollectionsOf(critical) > 0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void a_latency_mode_that_holds_collections_back_is_lifted_until_it_is_over_or_stopped(bool stopped)
    {
        GCLatencyMode own = GCSettings.LatencyMode;
        using Watched watched = Watched.Still();
        static bool Becomes(GCLatencyMode mode) => SpinWait.SpinUntil(() => GCSettings.LatencyMode == mode, Watched.Patience);

        try
        {
            GCSettings.LatencyMode = GCLatencyMode.SustainedLowLatency;
            // Non-concurrent GCs do not know it; then there is nothing to lift.
            if (GCSettings.LatencyMode != GCLatencyMode.SustainedLowLatency)
                return;
            MemoryPressure.Simulate(MemoryAvailable.Low);
            Assert.True(Becomes(GCLatencyMode.Interactive));
            if (stopped)
                MemoryPressure.Stop();
            else
                MemoryPressure.Simulate(MemoryAvailable.High);
            Assert.True(Becomes(GCLatencyMode.SustainedLowLatency));
        }
        finally
        {
            GCSettings.LatencyMode = own;
        }
    }

    [Fact]
    public void a_cache_loses_half_at_low_and_all_at_critical_and_nothing_else()
    {
        using Watched watched = Watched.Still();
        var shares = new List<double>();

        using (MemoryPressure.Register(new CacheCompactor(shares.Add)))
        {
            Watched.Simulate(MemoryAvailable.Low);
            Watched.Simulate(MemoryAvailable.Low, critical: true);
            Watched.Simulate(MemoryAvailable.Neutral);
            Watched.Simulate(MemoryAvailable.High);
        }
        Assert.Equal(new[] { 0.5, 1.0 }, shares);
        Assert.Throws<ArgumentNullException>(() => new CacheCompactor(null!));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CacheCompactor(_ => { }, 1.1));
        Assert.Throws<ArgumentOutOfRangeException>(() => new CacheCompactor(_ => { }, 0.5, double.NaN));
        Assert.Throws<ArgumentNullException>(() => new CacheCompactor(_ => { }).OnMemoryPressure(null!));
    }
}
