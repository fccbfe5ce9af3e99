// SPDX-License-Identifier: MIT
//
// MemoryPressureOptions.cs - what can be set in code
//
// What is null is as the environment says (PSIBRIDGE_LOW and so on, psibridge-runtimes(7)), and if it says nothing, as
// built in. So an operator can set what the programmer left open, and not override what was set. The words are
// those of psibridged.conf(5). A value that makes no sense is a mistake in the program: MemoryPressure.Start() throws, before
// anything is changed, and the message has the property and the value. A cgroup that is not there is none: it may come.
// A record that can be added to: those of PsiBridge.Extensions.Hosting are these and more, and one that says the same begins no new watch.
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;

namespace PsiBridge;

/// <summary>At which level the policy collects.</summary>
public enum MemoryCollect
{
    /// <summary>At Low; and without a pause at a Neutral that stalls for ten seconds.</summary>
    Low = 0,
    /// <summary>At Low, critical.</summary>
    Critical = 1,
    /// <summary>Never: handlers and callbacks are told, nothing else happens.</summary>
    Off = 2,
}

/// <summary>What to watch, how to judge it, and what to do. Null is the environment's, or else the default.</summary>
public record MemoryPressureOptions
{
    /// <summary>The cgroup to watch, its path under the cgroup2 mount. Default: the program's own.</summary>
    public string? Cgroup { get; set; }
    /// <summary>Instead of a cgroup: a PSI file, FIFO or AF_UNIX stream socket, as in systemd's protocol.</summary>
    public string? Source { get; set; }
    /// <summary>From this stall on it is Neutral. Default: <c>some 20ms/2s</c>.</summary>
    public MemoryPressureThreshold? EarlyThreshold { get; set; }
    /// <summary>From this stall on it is Low. Default: <c>some 200ms/2s</c>.</summary>
    public MemoryPressureThreshold? LowThreshold { get; set; }
    /// <summary>From this stall on it is Low and critical. Default: <c>full 100ms/2s</c>.</summary>
    public MemoryPressureThreshold? CriticalThreshold { get; set; }
    /// <summary>While it stays Low, that is repeated at most so often; 1 ms to a day. Default: 8.192 s.</summary>
    public TimeSpan? RepeatInterval { get; set; }
    /// <summary>Low ends when stalls stayed under half of <see cref="LowThreshold"/> for so long. Zero, and the default: two
    /// windows of it.</summary>
    public TimeSpan? QuietTime { get; set; }
    /// <summary>High comes when stalls stayed under <see cref="EarlyThreshold"/> for so long; 1 ms to a day. Default: 10 s.</summary>
    public TimeSpan? CalmTime { get; set; }
    /// <summary>High needs so much of the limit free, in percent; 0: it does not. Default: 25.</summary>
    public int? HighHeadroomPercent { get; set; }
    /// <summary>At which level to collect. Default: at Low.</summary>
    public MemoryCollect? Collect { get; set; }
    /// <summary>From the end of one collection to the next; a day at most. Default: 5 s, so that each Low can be acted on,
    /// for it is repeated after <see cref="RepeatInterval"/>.</summary>
    public TimeSpan? MinimumInterval { get; set; }
    /// <summary>Collect again only if the process has grown since by so many bytes of anonymous memory, and by a fifth of what
    /// the last collection gave back; 0: at every Low. It is not asked for at critical, nor where callbacks drop what a
    /// collection gives back. Default: a twentieth of the limit, 8 MiB at least and 50 MiB at most.</summary>
    public long? MinimumGrowth { get; set; }

    /// <summary>Throws what <see cref="MemoryPressure.Start"/> would.</summary>
    /// <exception cref="ArgumentException">A value makes no sense, or <see cref="EarlyThreshold"/> is over
    /// <see cref="LowThreshold"/> or <see cref="CriticalThreshold"/>, so that stalls could reach those unnoticed.</exception>
    public void Validate()
    {
        if (Mistakes().FirstOrDefault() is { } mistake)
            throw new ArgumentException(mistake, "options");
    }

    /// <summary>Each as "Property = value: what was expected".</summary>
    internal IEnumerable<string> Mistakes()
    {
        const string aTime = "a time from 1 ms to 24 h", aPath = "a path, or null,", onePath = "a path without NUL and newline";

        return new[]
        {
            Wrong(Cgroup == "", nameof(Cgroup), Cgroup, aPath),
            Wrong(Source == "", nameof(Source), Source, aPath),
            Wrong(HasControls(Cgroup), nameof(Cgroup), Cgroup, onePath),
            Wrong(HasControls(Source), nameof(Source), Source, onePath),
            Wrong(Cgroup != null && Source != null, nameof(Source), Source, "not both Cgroup and Source"),
            Wrong((Cgroup ?? "").Split('/').Contains(".."), nameof(Cgroup), Cgroup, "a path without \"..\""),
            WrongThreshold(nameof(EarlyThreshold), EarlyThreshold) ?? WrongThreshold(nameof(LowThreshold), LowThreshold) ??
                WrongThreshold(nameof(CriticalThreshold), CriticalThreshold) ??
                MemoryPressureThreshold.Clash(EarlyThreshold, LowThreshold, CriticalThreshold),
            Wrong(!IsTime(RepeatInterval), nameof(RepeatInterval), RepeatInterval, aTime),
            Wrong(QuietTime != TimeSpan.Zero && !IsTime(QuietTime), nameof(QuietTime), QuietTime, aTime + ", or zero,"),
            Wrong(!IsTime(CalmTime), nameof(CalmTime), CalmTime, aTime),
            Wrong(HighHeadroomPercent is < 0 or > 99, nameof(HighHeadroomPercent), HighHeadroomPercent, "0 to 99"),
            Wrong(Collect is not (null or MemoryCollect.Low or MemoryCollect.Critical or MemoryCollect.Off), nameof(Collect), Collect,
                  "Low, Critical or Off"),
            Wrong(MinimumInterval < TimeSpan.Zero || MinimumInterval > TimeSpan.FromDays(1), nameof(MinimumInterval), MinimumInterval,
                  "a time from zero to 24 h"),
            Wrong(MinimumGrowth < 0, nameof(MinimumGrowth), MinimumGrowth, "a number of bytes"),
        }.OfType<string>();
    }

    internal MemoryPressureOptions Copy() => this with { };

    internal static string? Wrong(bool wrong, string name, object? value, string expected) => !wrong ? null
        : name + " = " + (value is string text ? Quoted(text) : Convert.ToString(value, CultureInfo.InvariantCulture)) + ": " + expected +
          " was expected";

    internal static string Quoted(string text) => "\"" + text.Replace("\0", "\\0").Replace("\n", "\\n") + "\"";

    private static string? WrongThreshold(string name, MemoryPressureThreshold? threshold) =>
        Wrong(threshold == default(MemoryPressureThreshold), name, "", MemoryPressureThreshold.Expected);

    private static bool HasControls(string? path) => path != null && path.IndexOfAny(new[] { '\0', '\n' }) >= 0;

    private static bool IsTime(TimeSpan? time) => !(time < TimeSpan.FromMilliseconds(1) || time > TimeSpan.FromDays(1));
}
