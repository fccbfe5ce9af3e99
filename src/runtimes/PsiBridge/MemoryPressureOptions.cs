// SPDX-License-Identifier: MIT
//
// MemoryPressureOptions.cs - what can be set in code
//
// What is null is as the environment says (PSIBRIDGE_LOW and so on, psibridge-runtimes(7)), and if it says nothing, as
// built in. So an operator can set what the programmer left open, and not override what was set. The words are
// those of psibridged.conf(5). A value that makes no sense is a mistake in the program: MemoryPressure.Start() throws, before
// anything is changed, and the message has the property and the value. A cgroup that is not there is none: it may come.
using System;
using System.Globalization;

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
    /// <summary>While it stays Low, that is repeated at most so often; 1 ms to a day. Default: 8.192 s.</summary>
    public TimeSpan? Rearm { get; set; }
    /// <summary>Low ends when stalls stayed under half of <see cref="Low"/> for so long. Zero, and the default: two
    /// windows of it.</summary>
    public TimeSpan? Quiet { get; set; }
    /// <summary>High comes when stalls stayed under <see cref="Early"/> for so long; 1 ms to a day. Default: 10 s.</summary>
    public TimeSpan? Calm { get; set; }
    /// <summary>High needs so much of the limit free, in percent; 0: it does not. Default: 25.</summary>
    public int? HighHeadroom { get; set; }
    /// <summary>At which level to collect. Default: at Low.</summary>
    public MemoryCollect? Collect { get; set; }
    /// <summary>From the end of one collection to the next; a day at most. Default: 5 s, so that each Low can be acted on,
    /// for it is repeated after <see cref="Rearm"/>.</summary>
    public TimeSpan? Apart { get; set; }
    /// <summary>Collect again only if the process has grown since by so many bytes of anonymous memory, and by a fifth of what
    /// the last collection gave back; 0: at every Low. It is not asked for at critical, nor where callbacks drop what a
    /// collection gives back. Default: a twentieth of the limit, 8 MiB at least and 50 MiB at most.</summary>
    public long? Grown { get; set; }

    /// <summary>Throws what <see cref="MemoryPressure.Start"/> would.</summary>
    /// <exception cref="ArgumentException">A value makes no sense, or <see cref="Early"/> is over <see cref="Low"/> or
    /// <see cref="Critical"/>, so that stalls could reach those unnoticed.</exception>
    public void Validate()
    {
        var day = TimeSpan.FromDays(1);
        var least = TimeSpan.FromMilliseconds(1);
        const string aTime = "a time from 1 ms to 24 h";

        CheckPath(nameof(Cgroup), Cgroup);
        CheckPath(nameof(Source), Source);
        Check(Cgroup == null || Source == null, nameof(Source), Source, "not both Cgroup and Source");
        Check(Array.IndexOf((Cgroup ?? "").Split('/'), "..") < 0, nameof(Cgroup), Cgroup, "a path without \"..\"");
        CheckTriggers();
        Check(!(Rearm < least || Rearm > day), nameof(Rearm), Rearm, aTime);
        Check(Quiet == TimeSpan.Zero || !(Quiet < least || Quiet > day), nameof(Quiet), Quiet, aTime + ", or zero,");
        Check(!(Calm < least || Calm > day), nameof(Calm), Calm, aTime);
        Check(!(HighHeadroom < 0 || HighHeadroom > 99), nameof(HighHeadroom), HighHeadroom, "0 to 99");
        Check(Collect is null or MemoryCollect.Low or MemoryCollect.Critical or MemoryCollect.Off, nameof(Collect), Collect,
              "Low, Critical or Off");
        Check(!(Apart < TimeSpan.Zero || Apart > day), nameof(Apart), Apart, "a time from zero to 24 h");
        Check(!(Grown < 0), nameof(Grown), Grown, "a number of bytes");
    }

    internal MemoryPressureOptions Copy() => (MemoryPressureOptions)MemberwiseClone();

    private void CheckTriggers()
    {
        CheckTrigger(nameof(Early), Early);
        CheckTrigger(nameof(Low), Low);
        CheckTrigger(nameof(Critical), Critical);
        if (Threshold.Clash(Early, Low, Critical) is { } clash)
            throw new ArgumentException(clash, "options");
    }

    private static void CheckTrigger(string name, string? text) =>
        Check(text == null || Threshold.Parse(text) != null, name, text, Threshold.Expected);

    private static void CheckPath(string name, string? path)
    {
        Check(path != "", name, path, "a path, or null,");
        Check(path == null || path.IndexOfAny(new[] { '\0', '\n' }) < 0, name, path, "a path without NUL and newline");
    }

    private static void Check(bool good, string name, object? value, string expected)
    {
        if (good)
            return;
        string text = Convert.ToString(value, CultureInfo.InvariantCulture) ?? "";
        if (value is string)
            text = "\"" + text.Replace("\0", "\\0").Replace("\n", "\\n") + "\"";
        throw new ArgumentException(name + " = " + text + ": " + expected + " was expected", "options");
    }
}
