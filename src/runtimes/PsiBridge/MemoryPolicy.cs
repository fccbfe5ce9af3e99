// SPDX-License-Identifier: MIT
//
// MemoryPolicy.cs - what is done when memory is short
//
// A thread of its own, and a slot before it: levels are told while a collection runs.
//
//     Low             the callbacks (Caller.cs): caches drop what they can do without
//                     worth it? the GC looks at the limit again, then a full, blocking, compacting collection that gives
//                     back all it can (GCCollectionMode.Aggressive), the large object heap with it; then malloc_trim()
//                     0.7 s later: what went back is read from /proc/self/statm, for the kernel takes its time
//     Neutral, High   the callbacks; what was set at Low is undone
//     Neutral, and it stalls for ten seconds (NeutralStall.cs)
//                     worth it? a collection that does not pause (BackgroundCollection.cs)
//
// To Low that one does not count: what it left can be a lot, and the aggressive one is still due. It asks whether the process has
// grown since either.
//
// Worth it: effect.h has the rule, and here is one more. What callbacks have dropped is no growth, and only a collection can tell
// whether they have dropped anything. So where there are callbacks nothing needs to have grown, as long as the last collection
// gave back 8 MiB; and after a call that came back late, for it had not come to its end when it was collected.
//
// At a level at which it does not collect nothing of the GC is touched. A program that asked the GC for no collection at all (GC.TryStartNoGCRegion) is not
// collected. While it is Low, a latency mode that holds back full blocking collections (SustainedLowLatency, LowLatency) is
// set to Interactive, and back afterwards, unless the program has set another meanwhile.
//
// Mono's collector (net462) frees in the second collection what the first one found (6.8: 455 -> 15 MB with two), knows neither
// limits nor latency modes, and gives back by itself.
using System;
using System.Diagnostics;
using System.Globalization;
using System.Runtime;
using System.Threading;

namespace PsiBridge;

internal sealed class MemoryPolicy
{
    private const long MeasureMsec = 700;

    private readonly Settings settings;
    private readonly Caller caller;
    private readonly Action<long, long> report; // what a collection gave back, and how many ms it took
    private readonly Slot slot = new Slot();
    private readonly Thread thread;

    // Of the thread alone.
    private readonly Effect effect = new Effect();
    private readonly Stopwatch clock = Stopwatch.StartNew();
    private long measureMsec = -1; // when to look at what a collection gave back
    private long limitBytes;
#if NET
    private readonly NeutralStall neutral;
    private readonly BackgroundCollection background = new BackgroundCollection();
#endif

    // stalledUsec: how long tasks have waited by now; 0 where that is not known.
    internal MemoryPolicy(Settings settings, Subscribers<IMemoryPressureCallback> callbacks, Func<long> stalledUsec,
                          Action<long, long> report)
    {
#if NET
        neutral = new NeutralStall(stalledUsec);
#endif
        this.settings = settings;
        this.report = report;
        caller = new Caller(callbacks);
        thread = StartThread("psibridge policy", Run);
    }

    /// <summary>In the background, and nothing that flows from who happens to start it is kept.</summary>
    internal static Thread StartThread(string name, ThreadStart run)
    {
        var thread = new Thread(run) { IsBackground = true, Name = name };

#if NET
        thread.UnsafeStart();
#else
        thread.Start();
#endif
        return thread;
    }

    internal bool IsOwnThread => Thread.CurrentThread == thread || Caller.IsOwnThread;

    /// <summary>A callback was registered.</summary>
    internal void Prepare() => caller.Prepare();

    internal void Tell(MemoryPressureEventArgs pressure) => slot.Put(pressure);

    /// <summary>No collection begins after this. One that runs is not waited for.</summary>
    internal void Stop()
    {
        slot.Close();
        caller.Close();
    }

    private void Run()
    {
        WarmUp();
        while (!slot.IsClosed)
        {
            long due = Earlier(measureMsec, GentlyDueMsec), left = due - clock.ElapsedMilliseconds;
            if (slot.Take(due < 0 ? Timeout.Infinite : (int)Math.Max(left, 0)) is { } pressure)
                React(pressure);
            else if (IsDue(measureMsec))
                Measure();
            else
                Gently();
        }
        Relax();
        effect.Dispose();
#if NET
        background.Dispose();
#endif
    }

    // -1: never
    private static long Earlier(long a, long b) => a < 0 ? b : b < 0 ? a : Math.Min(a, b);

    private bool IsDue(long msec) => msec >= 0 && clock.ElapsedMilliseconds >= msec;

    // What is compiled and read in at the first Low is compiled and read in while the kernel takes code away. So it is gone
    // through once, while memory is plentiful. The start-up hook collects, too, where there is nothing to walk: before
    // Main(). A program that it is attached to has a heap, and is not stopped for this.
    private void WarmUp()
    {
        caller.Prepare();
#if NET
        _ = string.Format(CultureInfo.InvariantCulture, "{0:F1} {1}", MiB(effect.Read()), WhyNot(default));
        Log.WarmUp();
        if (settings.Collect == MemoryCollect.Off)
            return;
        Library.TrimMalloc();
#if PSIBRIDGE_HOOK
        if (WhyNot(default) == null && GC.GetTotalMemory(false) < 8 << 20)
            CollectAll();
#endif
#endif
    }

    private void React(MemoryPressureEventArgs pressure)
    {
        bool told = caller.Tell(pressure);

        if (slot.IsClosed)
            return; // a callback stopped us
        limitBytes = pressure.Load.LimitBytes;
        TellNeutral(pressure);
        if (pressure.Available != MemoryAvailable.Low)
        {
            Relax();
            return;
        }
        if (settings.Collect == MemoryCollect.Off || (settings.Collect == MemoryCollect.Critical && !pressure.Critical))
            return;
        // What is alive was found by a full collection: another one finds what callbacks have dropped, and no more.
        if (pressure.Reason == MemoryPressureReason.HeapLimit && !told)
            return;
        Hurry();
        EffectAsk ask = Ask(pressure.Critical || (told && effect.GaveBack) || caller.TakeLate());
        if (WhyNot(ask) is { } why)
            Log.Write(Log.Info, "kept: {0:F1} MiB, {1}", MiB(ask.Bytes), why);
        else
            Collect(ask.Bytes);
    }

    private EffectAsk Ask(bool anyway) => new EffectAsk
    {
        NowMsec = clock.ElapsedMilliseconds,
        Bytes = effect.Read(),
        LimitBytes = limitBytes,
        ApartMsec = (long)settings.Apart.TotalMilliseconds,
        Grown = settings.Grown,
        Anyway = anyway,
    };

    // Null: it is worth it.
    private string? WhyNot(in EffectAsk ask)
    {
#if NET
        if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
            return "the program has asked for no collection (GC.TryStartNoGCRegion)";
#endif
        return effect.WhyNot(ask);
    }

    private void Collect(long bytes)
    {
        if (measureMsec >= 0)
            Measure();
        long start = clock.ElapsedMilliseconds;

        CollectAll();
        Library.TrimMalloc();
        effect.CollectedMsec = clock.ElapsedMilliseconds;
        effect.TookMsec = effect.CollectedMsec - start;
        effect.Before = bytes;
        effect.After = effect.Read();
        measureMsec = effect.CollectedMsec + MeasureMsec;
    }

    private void Measure()
    {
        measureMsec = -1;
        effect.After = effect.Read();
        Report("collected", effect);
    }

    private void Report(string what, Effect of)
    {
        report(Math.Max(of.Before - of.After, 0), of.TookMsec);
        Log.Write(Log.Info, "{0}: {1:F1} -> {2:F1} MiB, {3} ms", what, MiB(of.Before), MiB(of.After), of.TookMsec);
    }

    private static double MiB(long bytes) => bytes / 1048576.0;

#if NET
    private GCLatencyMode? ownMode; // the program's, while ours is set

    private static void CollectAll()
    {
        try
        {
            GC.RefreshMemoryLimit();
        }
        catch (Exception e)
        {
            // It reads the container's limit once, at start, and refuses one that is under what it has in use already.
            Log.Write(Log.Debug, "the GC keeps its limit: {0}", e.Message);
        }
        GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
    }

    private long GentlyDueMsec => Earlier(neutral.DueMsec, background.DueMsec);

    // What only a limit below us causes is not ours: that limit stays reached whatever we give back.
    private void TellNeutral(MemoryPressureEventArgs pressure)
    {
        bool ours = settings.Collect == MemoryCollect.Low && pressure.Cause != MemoryPressureCause.Descendant;

        neutral.Told(ours ? pressure.Available : MemoryAvailable.High, clock.ElapsedMilliseconds);
        if (pressure.Available == MemoryAvailable.Low && background.DueMsec >= 0)
            EndBackground();
    }

    private void Gently()
    {
        long now = clock.ElapsedMilliseconds;

        if (IsDue(background.DueMsec) && background.Step(now))
            EndBackground();
        if (IsDue(neutral.DueMsec) && neutral.Look(now) && background.DueMsec < 0)
            CollectInBackground();
    }

    private void CollectInBackground()
    {
        EffectAsk ask = Ask(anyway: false);
        string? why = BackgroundCollection.IsPossible
            ? WhyNot(ask) ?? background.Effect.WhyNot(ask)
            : "no full collection without a pause can be had (GCLatencyMode)";

        if (why == null)
            background.Begin(ask.NowMsec, ask.Bytes);
        else
            Log.Write(Log.Debug, "kept: {0:F1} MiB, {1}", MiB(ask.Bytes), why);
    }

    private void EndBackground()
    {
        background.End(clock.ElapsedMilliseconds);
        Report("collected in the background", background.Effect);
    }

    private void Hurry()
    {
        GCLatencyMode mode = GCSettings.LatencyMode;

        if (ownMode != null || (mode != GCLatencyMode.SustainedLowLatency && mode != GCLatencyMode.LowLatency))
            return;
        ownMode = mode;
        GCSettings.LatencyMode = GCLatencyMode.Interactive;
    }

    private void Relax()
    {
        if (ownMode is GCLatencyMode mode && GCSettings.LatencyMode == GCLatencyMode.Interactive)
            GCSettings.LatencyMode = mode;
        ownMode = null;
    }
#else
    private static void CollectAll()
    {
        GC.Collect();
        GC.Collect();
    }

    private static long GentlyDueMsec => -1;

    private static void TellNeutral(MemoryPressureEventArgs pressure) { }

    private static void Gently() { }

    private static void Hurry() { }

    private static void Relax() { }
#endif
}
