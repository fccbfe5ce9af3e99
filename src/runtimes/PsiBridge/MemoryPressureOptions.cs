// SPDX-License-Identifier: MIT
//
// MemoryPressureOptions.cs - what can be set in code
//
// What is null is as the environment says (PSIBRIDGE_LOW and so on, psibridge-runtimes(7)), and if it says nothing, as
// built in. So an operator can set what the programmer left open, and not override what was set. The words are
// those of psibridged.conf(5). Values are judged by libpsibridge, in one place for all: nonsense is told by
// MemoryPressure.Status, and throws nothing.
using System;

namespace PsiBridge;

/// <summary>At which level the policy collects.</summary>
public enum MemoryCollect
{
    /// <summary>At Low.</summary>
    Low = 0,
    /// <summary>At Low, critical.</summary>
    Critical = 1,
    /// <summary>Never: handlers and callbacks are told, nothing else happens.</summary>
    Off = 2,
}

/// <summary>What to watch, how to judge it, and what to do. Null is the environment's, or else the default.</summary>
public sealed class MemoryPressureOptions
{
    /// <summary>The cgroup to watch, its path under the cgroup2 mount. Default: the program's own.</summary>
    public string? Cgroup { get; set; }
    /// <summary>Instead of a cgroup: a PSI file, FIFO or AF_UNIX stream socket, as in systemd's protocol.</summary>
    public string? Source { get; set; }
    /// <summary>From this stall on it is Neutral. Default: <c>some 20ms/2s</c>.</summary>
    public string? Early { get; set; }
    /// <summary>From this stall on it is Low. Default: <c>some 200ms/2s</c>.</summary>
    public string? Low { get; set; }
    /// <summary>From this stall on it is Low and critical. Default: <c>full 100ms/2s</c>.</summary>
    public string? Critical { get; set; }
    /// <summary>While it stays Low, that is repeated at most so often. Default: 8.192 s.</summary>
    public TimeSpan? Rearm { get; set; }
    /// <summary>Low ends when stalls stayed under half of <see cref="Low"/> for so long. Zero, and the default: two
    /// windows of it.</summary>
    public TimeSpan? Quiet { get; set; }
    /// <summary>High comes when stalls stayed under <see cref="Early"/> for so long. Default: 10 s.</summary>
    public TimeSpan? Calm { get; set; }
    /// <summary>High needs so much of the limit free, in percent; 0: it does not. Default: 25.</summary>
    public int? HighHeadroom { get; set; }
    /// <summary>At which level to collect. Default: at Low.</summary>
    public MemoryCollect? Collect { get; set; }
    /// <summary>From the end of one collection to the next. Default: 5 s, so that each Low can be acted on, for it is
    /// repeated after <see cref="Rearm"/>.</summary>
    public TimeSpan? Apart { get; set; }
    /// <summary>Collect again only if the process has grown since by so many bytes of anonymous memory, and by a fifth of what
    /// the last collection gave back; 0: at every Low. It is not asked for at critical, nor where callbacks drop what a
    /// collection gives back. Default: a twentieth of the limit, 8 MiB at least and 50 MiB at most.</summary>
    public long? Grown { get; set; }
}
