// SPDX-License-Identifier: MIT
//
// PolicyTests.cs - what the policy does with the GC, and what CacheCompactor does with a cache
using System;
using System.Collections.Generic;
using System.IO;
using System.IO.MemoryMappedFiles;
using System.Runtime;
using System.Runtime.CompilerServices;
using System.Threading;
using Microsoft.Extensions.Caching.Memory;
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
            string? why = effect.WhyNot(new EffectAsk
            {
                NowMsec = 7200_000,
                Bytes = Mib(3),
                LimitBytes = Mib(4),
                ApartMsec = long.Parse(words[5]) * 1000,
                Grown = words[6] == "share" ? Settings.GrownShare : Mib(6),
                Anyway = words[7] == "anyway",
            });
            Assert.True((why == null ? "yes" : why.EndsWith("long ago") ? "soon" : "little") == words[8], line);
            cases++;
        }
        Assert.InRange(cases, 36, int.MaxValue);
    }

    [Theory]
    [InlineData(0, 60)]
    [InlineData(3600, 0)]
    public void it_is_collected_again_only_if_it_has_grown_and_some_time_has_passed(int apart, int grown)
    {
        using Watched watched = Watched.Still(o =>
        {
            o.MinimumInterval = TimeSpan.FromSeconds(apart);
            o.MinimumGrowth = grown << 20;
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

    // Pages of a file come and go by the kernel's choice, and heaps are none.
    [Fact]
    public void pages_of_a_file_are_no_growth_and_at_critical_none_is_asked_for()
    {
        using Watched watched = Watched.Still(o =>
        {
            o.MinimumInterval = TimeSpan.Zero;
            o.MinimumGrowth = 60 << 20;
        });
        string path = Path.GetTempFileName();

        Assert.InRange(CollectionsOf(), 1, int.MaxValue);
        using (var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.None, 1, FileOptions.DeleteOnClose))
        {
            file.SetLength(120 << 20);
            using var mapped = MemoryMappedFile.CreateFromFile(file, null, 0, MemoryMappedFileAccess.ReadWrite, HandleInheritability.None, true);
            using MemoryMappedViewAccessor view = mapped.CreateViewAccessor();
            for (long at = 0; at < file.Length; at += Environment.SystemPageSize)
                view.Write(at, (byte)1);
            Assert.Equal(0, CollectionsOf());
            Assert.InRange(CollectionsOf(critical: true), 1, int.MaxValue);
        }
    }

    // 300 MB of which each Low drops a half: what callbacks drop is no growth, and goes back all the same.
    [Fact]
    public void a_cache_that_shrinks_takes_what_is_resident_with_it()
    {
        using var cache = new MemoryCache(new MemoryCacheOptions());
        using Watched watched = Watched.Still(o => o.MinimumInterval = TimeSpan.Zero);
        using IDisposable registration = MemoryPressure.Register(new CacheCompactor(cache.Compact));
        using var effect = new Effect();
        const int entry = 10_000;

        CollectionsOf(); // the first one is always worth it
        for (int i = 0; i < 30_000; i++)
            cache.Set(i, new byte[entry]);
        GC.Collect();
        long filled = effect.Read();
        for (int left = 15_000; left >= 1_875; left /= 2)
        {
            Assert.InRange(CollectionsOf(), 1, int.MaxValue);
            Assert.Equal(left, cache.Count);
            long gone = (30_000 - left) * (long)entry;
            Assert.InRange(filled - effect.Read(), gone * 8 / 10, long.MaxValue);
        }
        // When nothing goes back any more, collecting ends too; a callback may be there for other things.
        cache.Clear();
        int more = 0;
        while (more < 5 && CollectionsOf() > 0)
            more++;
        Assert.InRange(more, 1, 2);
    }

    // Low is repeated after 8.192 s, and each is to be acted on.
    [Fact]
    public void the_default_distance_is_shorter_than_the_time_after_which_low_is_repeated()
    {
        var settings = new Settings();

        settings.Read(null, haveLibrary: true);
        settings.FreeStrings();
        Assert.InRange(settings.Apart.TotalSeconds, 1, 8.192 - 3);
        Assert.Equal(new Settings().Apart, settings.Apart);
        Assert.Equal(new Settings().Grown, settings.Grown);
    }

    [Fact]
    public void a_callback_that_does_not_return_stops_neither_collections_nor_the_others()
    {
        using Watched watched = Watched.Still(o =>
        {
            o.MinimumInterval = TimeSpan.Zero;
            o.MinimumGrowth = 0;
        });
        using var inside = new ManualResetEvent(false);
        using var go = new ManualResetEvent(false);
        var blocked = new List<MemoryAvailable>();
        int others = 0;

        using (MemoryPressure.Register(new Callback(p =>
        {
            blocked.Add(p.Available);
            inside.Set();
            go.WaitOne();
        })))
        using (MemoryPressure.Register(new Callback(p => others += p.Available == MemoryAvailable.Low ? 1 : 0)))
        {
            int collections = GC.CollectionCount(2);
            MemoryPressure.Simulate(MemoryAvailable.Low);
            Assert.True(inside.WaitOne(Watched.Patience));
            Assert.True(SpinWait.SpinUntil(() => GC.CollectionCount(2) > collections, Watched.Patience));
            Assert.Equal(1, others);
            Watched.Simulate(MemoryAvailable.High); // a second Low in a row may be told much later
            Assert.InRange(CollectionsOf(), 1, int.MaxValue);
            Assert.InRange(CollectionsOf(), 1, int.MaxValue);
            Assert.Equal(3, others);
            Assert.Single(blocked);
            go.Set();
            Assert.True(SpinWait.SpinUntil(() => blocked.Count == 2, Watched.Patience));
            Assert.Equal(MemoryAvailable.High, blocked[1]); // the newest of what it has missed
        }
    }

    // A second and a third session, and what a session that ended had locked.
    [Fact]
    public void another_start_keeps_the_code_in_memory_and_a_stop_lets_it_go()
    {
        static long Locked() => long.Parse(Array.Find(File.ReadAllLines("/proc/self/status"), l => l.StartsWith("VmLck:"))!.Split(':')[1]
            .Replace("kB", ""));
        using var watched = new Watched();

        long locked = Locked();
        Assert.InRange(locked, 1, long.MaxValue); // RLIMIT_MEMLOCK allows for some of it everywhere
        for (int i = 0; i < 2; i++)
        {
            MemoryPressure.Start(new MemoryPressureOptions { Source = watched.Fifo.Path });
            Assert.Equal(locked, Locked());
        }
        MemoryPressure.Stop();
        Assert.Equal(0, Locked());
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

    [Theory]
    [InlineData(MemoryCollect.Off, true)]
    [InlineData(MemoryCollect.Critical, false)]
    public void where_it_does_not_collect_it_touches_nothing_of_the_gc(MemoryCollect collect, bool critical)
    {
        GCLatencyMode own = GCSettings.LatencyMode;
        using Watched watched = Watched.Still(o => o.Collect = collect);

        try
        {
            GCSettings.LatencyMode = GCLatencyMode.SustainedLowLatency;
            GCLatencyMode set = GCSettings.LatencyMode; // non-concurrent GCs do not know it
            GCLatencyMode? seen = null;
            int collections = GC.CollectionCount(2);
            Watched.Simulate(MemoryAvailable.Low, critical);
            // The next one is told when the policy has done with Low, and before anything is undone.
            using (MemoryPressure.Register(new Callback(_ => seen ??= GCSettings.LatencyMode)))
                Watched.Simulate(MemoryAvailable.High);
            Assert.Equal(collections, GC.CollectionCount(2));
            Assert.Equal(set, seen);
            Assert.Equal(GCLargeObjectHeapCompactionMode.Default, GCSettings.LargeObjectHeapCompactionMode);
        }
        finally
        {
            GCSettings.LatencyMode = own;
        }
    }

    // A letter a look of five seconds: what stalled in it, by which the policy looks; an upper case one is where ten seconds have.
    // n: nothing, u: under 2.5 %, s: 2.5 %, l: 2.5 % of one that came 4 s late, o: 2.5 % of 5 s, in one that came 4 s late
    [Theory]
    [InlineData("nnnn")]
    [InlineData("uuuuuu")]
    [InlineData("sS")]
    [InlineData("snsnsusS")]
    [InlineData("sSsSsnsS")]
    [InlineData("lLsonsL")]
    public void a_neutral_that_stalls_in_two_looks_in_a_row_has_stalled_for_ten_seconds(string looks)
    {
        long stalled = 700_000, now = 1000;
        var neutral = new NeutralStall(() => stalled);

        Assert.Equal(-1, neutral.DueMsec);
        foreach (MemoryAvailable available in new[] { MemoryAvailable.Low, MemoryAvailable.Neutral })
        {
            neutral.Told(available, now);
            stalled += 124_000; // before it was Neutral, or less than counts
        }
        stalled -= 124_000;
        string found = "";
        foreach (char look in looks.ToLowerInvariant())
        {
            Assert.Equal(now + 5000, neutral.DueMsec);
            neutral.Told(MemoryAvailable.Neutral, now + 2000); // again: nothing new
            now += look is 'l' or 'o' ? 9000 : 5000;
            stalled += look switch { 'u' => 124_000, 's' or 'o' => 125_000, 'l' => 225_000, _ => 0 };
            found += neutral.Look(now) ? char.ToUpperInvariant(look) : look;
        }
        Assert.Equal(looks, found);
        neutral.Told(MemoryAvailable.High, now);
        Assert.Equal(-1, neutral.DueMsec);
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
