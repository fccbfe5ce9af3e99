// SPDX-License-Identifier: MIT
//
// MemoryLevels.cs - what is told: levels, reasons, load, state
//
// The numbers of the enumerations are those of psibridge.h, for they come from there as they are; from 100 on they are our own.
using System;

namespace PsiBridge;

/// <summary>How much memory the program may count on. Low available means high memory load.</summary>
public enum MemoryAvailable
{
    /// <summary>No level: what a variable holds before it is given one. It is never told.</summary>
    Unknown = 0,
    /// <summary>Memory is short: give back what can be given back.</summary>
    Low = 1,
    /// <summary>Tasks wait for memory now and then, or little room is left.</summary>
    Neutral = 2,
    /// <summary>Memory is plentiful: the resting state.</summary>
    High = 3,
}

/// <summary>Why a notification was sent.</summary>
public enum MemoryPressureReason
{
    /// <summary>No reason was given.</summary>
    Unknown = 0,
    /// <summary>Tasks waited for memory longer than a threshold allows.</summary>
    Stall = 1,
    /// <summary>Still Low, and the rearm time has passed.</summary>
    Repeat = 2,
    /// <summary>The kernel ran out of memory for this cgroup.</summary>
    OutOfMemory = 3,
    /// <summary>A FIFO, a socket or the native host of this program said so.</summary>
    Signal = 4,
    /// <summary>No stalls, but less room to the limit than High needs.</summary>
    Headroom = 5,
    /// <summary>Stalls stayed low for long enough.</summary>
    Calm = 6,
    /// <summary>It was simulated: <see cref="MemoryPressure.Simulate"/>.</summary>
    Simulated = 7,
    /// <summary>It was so when the watch began.</summary>
    Present = 8,
    /// <summary>The cgroup was removed. The next one of that name is watched, or the one in which this process is now.</summary>
    Gone = 9,
    /// <summary>No stalls yet, but at this growth the limit is soon reached.</summary>
    Forecast = 10,
    /// <summary>What is alive comes near the GC's own limit, or is no longer near it. The kernel knows nothing of that.</summary>
    HeapLimit = 100,
}

/// <summary>Whose limit was reached, or whose pressure it is.</summary>
public enum MemoryPressureCause
{
    /// <summary>Nothing stalls, or there is nothing that would say it.</summary>
    Unknown = 0,
    /// <summary>The cgroup's own limit.</summary>
    Own = 1,
    /// <summary>A limit above it, which it shares with others.</summary>
    Ancestor = 2,
    /// <summary>Only a limit below it.</summary>
    Descendant = 3,
    /// <summary>No limit: the machine itself is short of memory.</summary>
    Machine = 4,
}

/// <summary>Memory in use, of the watched cgroup or, where no limit is set, of the machine. Zero where it is not known.</summary>
public struct MemoryLoad
{
    /// <summary>The working set in percent of the limit, 0 to 100.</summary>
    public int Percent { get; internal set; }
    /// <summary>Memory in use, page cache included.</summary>
    public long UsedBytes { get; internal set; }
    /// <summary>Memory in use without inactive page cache, as the kubelet counts.</summary>
    public long WorkingSetBytes { get; internal set; }
    /// <summary>The limit that counts: the least of all that are set above the program; -1: unknown.</summary>
    public long LimitBytes { get; internal set; }
    /// <summary>The limit less the working set; -1: unknown.</summary>
    public long AvailableBytes { get; internal set; }
    /// <summary>No limit is set: these are the machine's figures.</summary>
    public bool IsMachine { get; internal set; }
    /// <inheritdoc/>
    public override readonly string ToString() => AvailableBytes < 0 ? "unknown" : Percent + " % (" + (AvailableBytes >> 20) + " MiB available)";
}

/// <summary>What the last Low achieved, known five seconds after it was told.</summary>
public sealed class MemoryEffect
{
    internal MemoryEffect() { }

    /// <summary>How many are known by now; 0: none, and what follows says nothing.</summary>
    public long Count { get; internal set; }
    /// <summary>What the cgroup held less at best, in memory and in swap, without page cache; 0: nothing worth a word.</summary>
    public long BytesBack { get; internal set; }
    /// <summary>From the stall's beginning to the first byte back; null: there was none.</summary>
    public TimeSpan? FirstBack { get; internal set; }
    /// <summary>How long tasks waited for memory in the five seconds before; null: not known.</summary>
    public TimeSpan? StallBefore { get; internal set; }
    /// <summary>... and in those after it.</summary>
    public TimeSpan? StallAfter { get; internal set; }
    /// <summary>So many in a row gave nothing back; from three on Low is told less often.</summary>
    public int Unanswered { get; internal set; }
    /// <summary>What the process held less after each collection that a Low made, added up.</summary>
    public long CollectedBytes { get; internal set; }
}

/// <summary>What a handler of <see cref="MemoryPressure.Changed"/> and a callback are told.</summary>
public sealed class MemoryPressureEventArgs : EventArgs
{
    internal MemoryPressureEventArgs() { }

    /// <summary>How much memory the program may count on.</summary>
    public MemoryAvailable Available { get; internal set; }
    /// <summary>Low, and whole tasks stall, or the kernel killed one. False with any other level.</summary>
    public bool Critical { get; internal set; }
    /// <summary>Why it is told.</summary>
    public MemoryPressureReason Reason { get; internal set; }
    /// <summary>The load when it was told.</summary>
    public MemoryLoad Load { get; internal set; }
    /// <summary>How long tasks waited for memory since the last time something was told.</summary>
    public TimeSpan Stall { get; internal set; }
    /// <summary>The cgroup, its path under the cgroup2 mount; null if it is not known.</summary>
    public string? Cgroup { get; internal set; }
    /// <summary>Whose limit was reached.</summary>
    public MemoryPressureCause Cause { get; internal set; }
    /// <summary>The path of the cgroup whose limit it is; null if it is none, or not known.</summary>
    public string? CauseCgroup { get; internal set; }
    /// <summary>Whose limit, in words: "shop.slice reached its MemoryHigh=80M"; null if it is not known, or over.</summary>
    public string? CauseText { get; internal set; }
    /// <summary>All of it as people read it: "Low (memory is short): shop.slice reached its MemoryHigh=80M".</summary>
    public override string ToString() => CauseText == null ? Level : Level + ": " + CauseText;

    private string Level => Available switch
    {
        MemoryAvailable.Low => Critical ? "Low, critical (memory is very short)" : "Low (memory is short)",
        MemoryAvailable.High => "High (memory is plentiful)",
        MemoryAvailable.Neutral => "Neutral",
        _ => "?",
    };
}

/// <summary>What <see cref="MemoryPressure"/> is doing.</summary>
public enum MemoryPressureState
{
    /// <summary>Nothing was asked for yet.</summary>
    NotStarted,
    /// <summary>Starting: a thread finds out what can be watched.</summary>
    Starting,
    /// <summary>Memory pressure is watched.</summary>
    Watching,
    /// <summary>Nothing can be watched here; the reason says why.</summary>
    Unavailable,
    /// <summary>Switched off by the environment; the reason says by what.</summary>
    Off,
    /// <summary>Another PsiBridge of this process took over.</summary>
    TakenOver,
    /// <summary><see cref="MemoryPressure.Stop"/> was called, or the process ends.</summary>
    Stopped,
}

/// <summary>What <see cref="MemoryPressure"/> is doing, and why not more.</summary>
public sealed class MemoryPressureStatus
{
    internal MemoryPressureStatus(MemoryPressureState state, string reason = "")
    {
        State = state;
        Reason = reason;
    }

    /// <summary>What is going on.</summary>
    public MemoryPressureState State { get; }
    /// <summary>One sentence. While watching: why not a better source is used; empty on the best one.</summary>
    public string Reason { get; }
    /// <summary>What is listened to: "psi-privileged", "psi", "events", "sampling", "machine", "psi-file", "fifo",
    /// "socket", "psibridged", or "host"; null if nothing is.</summary>
    public string? Source { get; internal set; }
    /// <summary>The watched cgroup, its path under the cgroup2 mount; null if there is none.</summary>
    public string? Cgroup { get; internal set; }
    /// <summary>The step of the ladder in psibridge(7), 1 to 6; 0 if nothing is watched.</summary>
    public int Rung { get; internal set; }
    /// <summary>The file that is open; null if there is none.</summary>
    public string? Path { get; internal set; }
    /// <summary>"io_uring" or "epoll"; null if nothing is watched.</summary>
    public string? Backend { get; internal set; }
    /// <inheritdoc/>
    public override string ToString() =>
        State == MemoryPressureState.Watching && Source != "host"
            ? "rung " + Rung + ", " + Source + " on " + (Path ?? Cgroup ?? "?") + ", " + Backend
            : Reason.Length > 0 ? State + ": " + Reason : State.ToString();
}
