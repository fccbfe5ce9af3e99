// SPDX-License-Identifier: MIT
//
// GcLimit.cs - how much of the GC's own limit is in use
//
// In a container the GC allows itself 75 % of the memory limit (GCHeapHardLimit sets another), and when what is alive does not fit
// it throws OutOfMemoryException. The kernel sees nothing of that: 300 MB with an unbounded cache ended at a PSI stall of 0.
//
//     a full collection     what is alive, in percent of the limit: from 60 on Neutral, from 70 on Low, from 85 on critical
//     any collection, from  has what is in use grown by a quarter of the room that was left? then a full collection, which is
//     10 percent on         judged, so that garbage alone makes no Low
//
// Full collections alone would not do: .NET 10 with a limit of 225 MB and a growing cache made them at 39, 83 and 215 MB, and with
// arrays of 1 MB at 17, 79 and 221, the last one before the exception. Large objects make no other collections, so where they are
// a twentieth of the limit a thread looks, once a second at most. There is none before that, or before something is to be told.
// Low comes early: a cache of 80,000 entries took 0.1 to 3 s to be halved (two busy cores), while others filled it.
//
// A collection is noticed by an object that nothing refers to. Its finalizer runs after a collection of its generation: one
// registers itself anew and grows old, the other makes a new one, which is young.
#if NET
using System;
using System.Runtime;
using System.Runtime.CompilerServices;
using System.Threading;

namespace PsiBridge;

internal sealed class GcLimit
{
    private const int NeutralPercent = 60, LowPercent = 70, CriticalPercent = 85, WatchPercent = 10, LargePercent = 5;
    private const int MinPaceMsec = 50, MaxPaceMsec = 1000;
    private const long LongPauseBytes = 1L << 30; // a heap from which on a full collection that blocks is the last resort
    private const int LargeObjects = 3, PinnedObjects = 4; // generations, as GCMemoryInfo counts them

    private readonly object gate = new object();
    private readonly Action<MemoryPressureEventArgs> told;
    private readonly long rearmMsec;
    private readonly Func<bool> collects;
    private Thread? thread;
    private volatile bool stopped;

    // Of the last full collection.
    private long judged, limit, alive;
    private bool watches, hasYoung; // collections that are not full are looked at
    private bool hasLarge;          // the thread looks
    private bool asked, inHurry;    // another one was asked for, because of what was in use then
    // What the thread is to do.
    private bool collect;
    private MemoryPressureEventArgs? news;
    // What was told last.
    private (MemoryAvailable Available, bool Critical) level = (MemoryAvailable.High, false);
    private long toldAlive, toldMsec;

    /// <param name="told">Called on a thread of ours.</param>
    /// <param name="rearm">Low is repeated at most so often, unless half of the room that was left is gone.</param>
    /// <param name="collects">Whether the GC may be asked to collect.</param>
    internal GcLimit(Action<MemoryPressureEventArgs> told, TimeSpan rearm, Func<bool> collects)
    {
        this.told = told;
        this.collects = collects;
        rearmMsec = (long)rearm.TotalMilliseconds;
        Arm(young: false);
        Arm(young: hasYoung = true);
    }

    internal bool IsOwnThread => Thread.CurrentThread == thread;

    /// <summary>Nothing is told after this, but for what is being told; that is waited for.</summary>
    internal void Stop(TimeSpan patience)
    {
        Thread? running;

        lock (gate)
        {
            stopped = true;
            running = thread;
            Monitor.Pulse(gate);
        }
        if (running != null && running != Thread.CurrentThread)
            running.Join(patience);
    }

    // ---- what the GC's finalizer thread does ------------------------------------------------------------------

    private sealed class Sentinel(GcLimit owner, bool young)
    {
        ~Sentinel()
        {
            if (!owner.Look(young))
                return;
            if (young)
                owner.Arm(young: true);
            else
                GC.ReRegisterForFinalize(this);
        }
    }

    // In a method of its own: no register of the caller's keeps it alive.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private void Arm(bool young) => _ = new Sentinel(this, young);

    // False: no more of these. An exception would end the program.
    private bool Look(bool young)
    {
        try
        {
            lock (gate)
            {
                Examine(null);
                if (young)
                    hasYoung = watches;
                return !stopped && (!young || watches);
            }
        }
        catch (OutOfMemoryException)
        {
            return true; // the program is told by the GC itself; the next collection is looked at again
        }
    }

    internal static GCMemoryInfo LastFull()
    {
        GCMemoryInfo blocking = GC.GetGCMemoryInfo(GCKind.FullBlocking), background = GC.GetGCMemoryInfo(GCKind.Background);

        return blocking.Index > background.Index ? blocking : background;
    }

    // Free space between objects is used again, or compacted before the GC gives up.
    private static long InUse(in GCMemoryInfo info) => info.HeapSizeBytes - info.FragmentedBytes;

    private bool Is(int percent, long bytes) => bytes >= limit / 100 * percent;

    /// <param name="inUse">Null: what the last collection saw.</param>
    private void Examine(long? inUse)
    {
        GCMemoryInfo full = LastFull(), any = GC.GetGCMemoryInfo(GCKind.Any);
        ReadOnlySpan<GCGenerationInfo> generations = any.GenerationInfo;
        bool hadLarge = hasLarge;

        // Where nothing limits the GC it calls the machine's memory available, and that is watched by others.
        limit = any.TotalAvailableMemoryBytes;
        if (limit > any.HighMemoryLoadThresholdBytes)
            limit = long.MaxValue;
        watches = judged == 0 || Is(WatchPercent, InUse(any));
        hasLarge = Is(LargePercent, generations[LargeObjects].SizeAfterBytes + generations[PinnedObjects].SizeAfterBytes);
        if (full.Index != judged && full.HeapSizeBytes > 0) // or it sweeps yet, in the background
            Judge(full);
        if (watches && !hasYoung)
            Arm(young: hasYoung = true);
        if (watches)
            Consider(inUse ?? InUse(any));
        if (news != null || collect || (hasLarge && !hadLarge))
            Wake();
    }

    private void Judge(in GCMemoryInfo full)
    {
        judged = full.Index;
        alive = InUse(full);
        asked = false;
        Decide(Is(LowPercent, alive) ? MemoryAvailable.Low : Is(NeutralPercent, alive) ? MemoryAvailable.Neutral : MemoryAvailable.High,
               Is(CriticalPercent, alive));
    }

    private void Decide(MemoryAvailable available, bool critical)
    {
        long now = Environment.TickCount64;
        bool again = available == MemoryAvailable.Low &&
                     (now - toldMsec >= rearmMsec || alive - toldAlive >= (limit - toldAlive) / 2);

        if (level == (available, critical) && !again)
            return;
        level = (available, critical);
        toldMsec = now;
        toldAlive = alive;
        news = new MemoryPressureEventArgs
        {
            Available = available,
            Critical = critical,
            Reason = MemoryPressureReason.HeapLimit,
            CauseText = available == MemoryAvailable.High ? null
                : $"{alive >> 20} of the {limit >> 20} MiB that the GC may use are alive",
        };
    }

    private void Consider(long inUse)
    {
        if (asked || !collects() || inUse - alive < (limit - alive) / 4)
            return;
        asked = collect = true;
        inHurry = limit < LongPauseBytes || Is(CriticalPercent, inUse);
    }

    private void Wake()
    {
        thread ??= MemoryPolicy.StartThread("psibridge heap", Run);
        Monitor.Pulse(gate);
    }

    // ---- what the thread does ---------------------------------------------------------------------------------

    private void Run()
    {
        long before = 0, beforeMsec = Environment.TickCount64;
        int pace = MaxPaceMsec;

        while (!stopped)
        {
            try
            {
                Do(Take(pace));
                long inUse = GC.GetTotalMemory(false), now = Environment.TickCount64;
                lock (gate)
                    Examine(inUse);
                // An eighth of the time in which the room would be gone.
                long room = Math.Max(limit - inUse, 0), grown = Math.Max(inUse - before, 1);
                pace = (int)Math.Clamp((double)room / grown * (now - beforeMsec) / 8, MinPaceMsec, MaxPaceMsec);
                (before, beforeMsec) = (inUse, now);
            }
            catch (OutOfMemoryException)
            {
                pace = MinPaceMsec;
            }
        }
    }

    private void Do((MemoryPressureEventArgs? Tell, bool Collect) todo)
    {
        if (todo.Tell != null)
            told(todo.Tell);
        if (todo.Collect && GCSettings.LatencyMode != GCLatencyMode.NoGCRegion)
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Forced, blocking: inHurry, compacting: false);
    }

    private (MemoryPressureEventArgs? Tell, bool Collect) Take(int pace)
    {
        lock (gate)
        {
            if (news == null && !collect && !stopped)
                Monitor.Wait(gate, hasLarge ? pace : Timeout.Infinite);
            var taken = stopped ? (null, false) : (news, collect);
            news = null;
            collect = false;
            return taken;
        }
    }
}
#endif
