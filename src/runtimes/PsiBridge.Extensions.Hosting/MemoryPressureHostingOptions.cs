// SPDX-License-Identifier: MIT
//
// MemoryPressureHostingOptions.cs - the section "MemoryPressure" of appsettings.json
//
// What is null is as the environment says (PSIBRIDGE_LOW and so on, psibridge-runtimes(7)), and if that says nothing, as built in.
// A record, because a change of the configuration that changes nothing here is to begin no new watch.
using System;
using System.Collections.Generic;
using Microsoft.Extensions.Options;

namespace PsiBridge.Extensions.Hosting;

/// <summary>What to watch, how to judge it, and what to do. Null is the environment's, or else the default.</summary>
public sealed record MemoryPressureHostingOptions
{
    /// <summary>False: nothing is watched.</summary>
    public bool Enabled { get; set; } = true;
    /// <summary>The cgroup to watch, its path under the cgroup2 mount. Default: the program's own.</summary>
    public string? Cgroup { get; set; }
    /// <summary>Instead of a cgroup: a PSI file, FIFO or AF_UNIX stream socket.</summary>
    public string? Source { get; set; }
    /// <summary>From this stall on it is Neutral. Default: <c>some 20ms/2s</c>.</summary>
    public string? Early { get; set; }
    /// <summary>From this stall on it is Low. Default: <c>some 200ms/2s</c>.</summary>
    public string? Low { get; set; }
    /// <summary>From this stall on it is Low and critical. Default: <c>full 100ms/2s</c>.</summary>
    public string? Critical { get; set; }
    /// <summary>While it stays Low, that is repeated at most so often. Default: 8.192 s.</summary>
    public TimeSpan? RepeatInterval { get; set; }
    /// <summary>Low ends when stalls stayed under half of it for so long. Default: two windows of it.</summary>
    public TimeSpan? QuietTime { get; set; }
    /// <summary>High comes when stalls stayed under <see cref="Early"/> for so long. Default: 10 s.</summary>
    public TimeSpan? CalmTime { get; set; }
    /// <summary>High needs so much of the limit free, in percent; 0: it does not. Default: 25.</summary>
    public int? HighHeadroomPercent { get; set; }
    /// <summary>At which level to collect. Default: at Low.</summary>
    public MemoryCollect? Collect { get; set; }
    /// <summary>From the end of one collection to the next. Default: 5 s.</summary>
    public TimeSpan? MinimumInterval { get; set; }
    /// <summary>Collect again only if the process has grown by so many bytes. Default: a twentieth of the limit.</summary>
    public long? MinimumGrowth { get; set; }
    /// <summary>The share of each registered MemoryCache that goes at Low, 0 to 1; 0: nothing.</summary>
    public double CompactAtLow { get; set; } = 0.5;
    /// <summary>The share of each registered MemoryCache that goes when it is critical.</summary>
    public double CompactAtCritical { get; set; } = 1.0;

    internal MemoryPressureOptions ForStart() => new()
    {
        Cgroup = Cgroup,
        Source = Source,
        Early = Early,
        Low = Low,
        Critical = Critical,
        Rearm = RepeatInterval,
        Quiet = QuietTime,
        Calm = CalmTime,
        HighHeadroom = HighHeadroomPercent,
        Collect = Collect,
        Apart = MinimumInterval,
        Grown = MinimumGrowth,
    };
}

/// <summary>What MemoryPressure.Start() would throw for, in the words of the configuration; and the shares.</summary>
internal sealed class MemoryPressureHostingOptionsValidator : IValidateOptions<MemoryPressureHostingOptions>
{
    public ValidateOptionsResult Validate(string? name, MemoryPressureHostingOptions options)
    {
        var wrong = new List<string>();

        void Expect(bool good, string key, object? value, string expected)
        {
            if (!good)
                wrong.Add($"MemoryPressure:{key} is {value}: {expected} was expected");
        }

        void Time(TimeSpan? value, string key, int leastMsec, string otherwise = "") =>
            Expect(value is null || (value.Value.TotalMilliseconds >= leastMsec && value <= TimeSpan.FromDays(1)) ||
                   (otherwise != "" && value == TimeSpan.Zero), key, value, $"a time from {leastMsec} ms to 24 h{otherwise}");
        void Share(double value, string key) => Expect(value >= 0 && value <= 1, key, value, "a share from 0 to 1");

        Time(options.RepeatInterval, nameof(options.RepeatInterval), 1);
        Time(options.QuietTime, nameof(options.QuietTime), 1, ", or zero,");
        Time(options.CalmTime, nameof(options.CalmTime), 1);
        Time(options.MinimumInterval, nameof(options.MinimumInterval), 0);
        Share(options.CompactAtLow, nameof(options.CompactAtLow));
        Share(options.CompactAtCritical, nameof(options.CompactAtCritical));
        Expect(!(options.MinimumGrowth < 0), nameof(options.MinimumGrowth), options.MinimumGrowth, "a number of bytes");
        Expect(options.HighHeadroomPercent is null or (>= 0 and <= 99), nameof(options.HighHeadroomPercent), options.HighHeadroomPercent,
               "0 to 99");
        try
        {
            if (wrong.Count == 0)
                options.ForStart().Validate(); // what is named alike here and there
        }
        catch (ArgumentException e)
        {
            wrong.Add("MemoryPressure:" + e.Message);
        }
        return wrong.Count > 0 ? ValidateOptionsResult.Fail(wrong) : ValidateOptionsResult.Success;
    }
}
