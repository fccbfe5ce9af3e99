// SPDX-License-Identifier: MIT
//
// BackgroundCollection.cs - a full collection that does not pause, and what makes it give memory back
//
//     a background collection   finds what is dead while the program runs
//     then every 110 ms         a collection of generation 0, or one of the program's own, which counts as well
//     until                     free regions are old enough to go, and none goes any more
//
// For the first alone gives nothing back: .NET 10 keeps a region that got free for the next 20 collections (or as many as there are
// processors), and hands over at most 160 KiB for each millisecond since it last did (gc.cpp: aged_region_p(),
// decide_on_decommit_strategy()). 500 MB of garbage, idle: 520 -> 512 MiB with the background collection, which is what it stayed at
// for ten seconds, and 40 MiB after 30 small ones more, 3.4 s; the longest pause was 4 ms. With 300 MB of them alive 520 -> 327,
// 5 ms, where the aggressive collection stopped the program for 85. Nothing moves: what lies between live objects stays, and so do
// large objects (505 -> 480), whose regions get older in full collections alone. Low has the other collection.
#if NET
using System;
using System.Diagnostics;
using System.Runtime;

namespace PsiBridge;

internal sealed class BackgroundCollection : IDisposable
{
    private const long StepMsec = 110; // the runtime's 100 ms, and what clocks differ
    private const int KeptFor = 20;
    private const int Spare = 4;
    private const int MaxWaits = 600; // for a background collection: a minute
    private const long LeastBytes = 4L << 20; // of the 17 that a step may give back

    private readonly Stopwatch paused = new Stopwatch();
    private long fullBefore; // index of the last full collection before ours
    private bool swept;
    private int left, seen; // collections until free regions go, and those of the program and ours by now
    private long bytes;

    /// <summary>What it did, for the question whether another one is worth it.</summary>
    internal Effect Effect { get; } = new Effect();

    /// <summary>When the next step is due; -1: none runs.</summary>
    internal long DueMsec { get; private set; } = -1;

    /// <summary>In other modes a full collection pauses (Batch: DOTNET_gcConcurrent=0), or the program wants none.</summary>
    internal static bool IsPossible => GCSettings.LatencyMode is GCLatencyMode.Interactive or GCLatencyMode.SustainedLowLatency;

    internal void Begin(long nowMsec, long before)
    {
        fullBefore = GcLimit.LastFull().Index;
        swept = false;
        left = MaxWaits;
        paused.Reset();
        Effect.Before = before;
        Collect(GC.MaxGeneration, blocking: false);
        DueMsec = nowMsec + StepMsec;
    }

    /// <summary>True: that was the last one.</summary>
    internal bool Step(long nowMsec)
    {
        bool more = IsPossible && (swept ? Age() : Await());

        DueMsec = nowMsec + StepMsec;
        if (!more)
            End(nowMsec);
        return !more;
    }

    internal void End(long nowMsec)
    {
        DueMsec = -1;
        Effect.CollectedMsec = nowMsec;
        Effect.TookMsec = paused.ElapsedMilliseconds;
        Effect.After = Effect.Read();
    }

    // Until what is dead is known; while it is swept, the size of the heap is 0.
    private bool Await()
    {
        GCMemoryInfo full = GcLimit.LastFull();

        if (full.Index == fullBefore || full.HeapSizeBytes == 0)
            return left-- > 0;
        swept = true;
        left = Math.Max(KeptFor, Environment.ProcessorCount) + Spare;
        seen = GC.CollectionCount(0);
        bytes = Effect.Read();
        return true;
    }

    private bool Age()
    {
        if (GC.CollectionCount(0) == seen)
            Collect(0, blocking: true);
        int made = GC.CollectionCount(0);
        long now = Effect.Read();
        bool goes = bytes - now >= LeastBytes;

        left -= made - seen;
        seen = made;
        bytes = now;
        return left > 0 || goes;
    }

    private void Collect(int generation, bool blocking)
    {
        paused.Start();
        GC.Collect(generation, GCCollectionMode.Forced, blocking, compacting: false);
        paused.Stop();
    }

    public void Dispose() => Effect.Dispose();
}
#endif
