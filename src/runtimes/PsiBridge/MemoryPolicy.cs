// SPDX-License-Identifier: MIT
//
// MemoryPolicy.cs - what is done when memory is short
//
// A thread of its own, and a slot before it: levels are told while a collection runs.
//
//     Low             the callbacks: caches drop what they can do without
//                     worth it? the GC looks at the limit again, then a full, blocking, compacting collection that gives
//                     back all it can (GCCollectionMode.Aggressive), the large object heap with it; then malloc_trim()
//                     0.7 s later: what went back is read from /proc/self/statm, for the kernel takes its time
//     Neutral, High   the callbacks; what was set at Low is undone
//
// Worth it: effect.h has the rule. A program that asked the GC for no collection at all (GC.TryStartNoGCRegion) is not
// collected. While it is Low, a latency mode that holds back full blocking collections (SustainedLowLatency, LowLatency) is
// set to Interactive, and back afterwards, unless the program has set another meanwhile.
//
// Mono's collector (net462) frees in the second collection what the first one found (6.8: 455 -> 15 MB with two), knows neither
// limits nor latency modes, and gives back by itself.
using System;
using System.Diagnostics;
using System.Globalization;
using System.IO;
using System.Runtime;
using System.Text;
using System.Threading;

namespace PsiBridge;

internal sealed class MemoryPolicy
{
    private const long MeasureMsec = 700;

    private readonly Settings settings;
    private readonly Subscribers<IMemoryPressureCallback> callbacks;
    private readonly Action<long, long> report; // what a collection gave back, and how many ms it took
    private readonly Slot slot = new Slot();
    private readonly Thread thread;

    // Of the thread alone.
    private readonly Effect effect = new Effect();
    private readonly Stopwatch clock = Stopwatch.StartNew();
    private long measureMsec = -1; // when to look at what a collection gave back

    internal MemoryPolicy(Settings settings, Subscribers<IMemoryPressureCallback> callbacks, Action<long, long> report)
    {
        this.settings = settings;
        this.report = report;
        this.callbacks = callbacks;
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

    internal bool IsOwnThread => Thread.CurrentThread == thread;

    internal void Tell(MemoryPressureEventArgs pressure) => slot.Put(pressure);

    /// <summary>No collection begins after this. One that runs is not waited for.</summary>
    internal void Stop() => slot.Close();

    private void Run()
    {
        WarmUp();
        while (!slot.IsClosed)
        {
            long left = measureMsec - clock.ElapsedMilliseconds;
            if (slot.Take(measureMsec < 0 ? Timeout.Infinite : (int)Math.Max(left, 0)) is { } pressure)
                React(pressure);
            else if (measureMsec >= 0 && clock.ElapsedMilliseconds >= measureMsec)
                Measure();
        }
        Relax();
        effect.Dispose();
    }

    // What is compiled and read in at the first Low is compiled and read in while the kernel takes code away. So it is gone
    // through once, while memory is plentiful. The start-up hook collects, too, where there is nothing to walk: before
    // Main(). A program that it is attached to has a heap, and is not stopped for this.
    private void WarmUp()
    {
#if NET
        _ = string.Format(CultureInfo.InvariantCulture, "{0:F1} {1}", MiB(effect.Read()), WhyNot(0));
        Log.WarmUp();
        Library.TrimMalloc();
#if PSIBRIDGE_HOOK
        if (settings.Collect != MemoryCollect.Off && WhyNot(0) == null && GC.GetTotalMemory(false) < 8 << 20)
            CollectAll();
#endif
#endif
    }

    private void React(MemoryPressureEventArgs pressure)
    {
        callbacks.Tell(callback => callback.OnMemoryPressure(pressure));
        if (slot.IsClosed)
            return; // a callback stopped us
        if (pressure.Available != MemoryAvailable.Low)
        {
            Relax();
            return;
        }
        Hurry();
        if (settings.Collect == MemoryCollect.Off || (settings.Collect == MemoryCollect.Critical && !pressure.Critical))
            return;
        long rss = effect.Read();
        if (WhyNot(rss) is { } why)
            Log.Write(Log.Info, "kept: {0:F1} MiB, {1}", MiB(rss), why);
        else
            Collect(rss);
    }

    // Null: it is worth it.
    private string? WhyNot(long rss)
    {
#if NET
        if (GCSettings.LatencyMode == GCLatencyMode.NoGCRegion)
            return "the program has asked for no collection (GC.TryStartNoGCRegion)";
#endif
        return effect.WhyNot(clock.ElapsedMilliseconds, rss, (long)settings.Apart.TotalMilliseconds, settings.Grown);
    }

    private void Collect(long rss)
    {
        if (measureMsec >= 0)
            Measure();
        long start = clock.ElapsedMilliseconds;

        CollectAll();
        Library.TrimMalloc();
        effect.CollectedMsec = clock.ElapsedMilliseconds;
        effect.TookMsec = effect.CollectedMsec - start;
        effect.Before = rss;
        effect.After = effect.Read();
        measureMsec = effect.CollectedMsec + MeasureMsec;
    }

    private void Measure()
    {
        measureMsec = -1;
        effect.After = effect.Read();
        report(Math.Max(effect.Before - effect.After, 0), effect.TookMsec);
        Log.Write(Log.Info, "collected: {0:F1} -> {1:F1} MiB, {2} ms", MiB(effect.Before), MiB(effect.After), effect.TookMsec);
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

    private static void Hurry() { }

    private static void Relax() { }
#endif
}

// What the last collection did, and whether another is worth it: src/runtimes/effect.h, which passes the same table of cases.
// The file is kept open: opening one charges memory, and what does that when it is short may be put to sleep.
internal sealed class Effect : IDisposable
{
    private const long GrownPercent = 20;

    private readonly byte[] text = new byte[128];
    private readonly FileStream? statm;

    internal long CollectedMsec = -1, TookMsec, Before, After;

    internal Effect()
    {
        try
        {
            statm = new FileStream("/proc/self/statm", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1);
        }
        catch (Exception e) when (e is IOException || e is UnauthorizedAccessException)
        {
            // No /proc: everything looks like zero bytes, so there is one collection and no more.
        }
    }

    /// <summary>Null: it is worth it.</summary>
    internal string? WhyNot(long nowMsec, long rss, long apartMsec, long grown)
    {
        if (CollectedMsec < 0)
            return null;
        if (nowMsec - CollectedMsec < apartMsec)
            return "the last collection is not long ago";
        if (grown == 0)
            return null; // every Low is to be acted on
        long freed = Math.Max(Before - After, 0);
        return rss >= After + Math.Max(freed / 100 * GrownPercent, grown) ? null : "little has grown since the last collection";
    }

    /// <summary>Bytes; the second number of the line is pages.</summary>
    internal long Read()
    {
        if (statm == null)
            return 0;
        try
        {
            statm.Seek(0, SeekOrigin.Begin);
            string line = Encoding.ASCII.GetString(text, 0, statm.Read(text, 0, text.Length));
            return long.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture) * Environment.SystemPageSize;
        }
        catch (IOException)
        {
            return 0;
        }
    }

    public void Dispose() => statm?.Dispose();
}
