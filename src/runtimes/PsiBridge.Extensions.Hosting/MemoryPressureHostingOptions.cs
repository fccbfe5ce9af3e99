// SPDX-License-Identifier: MIT
//
// MemoryPressureHostingOptions.cs - the section "MemoryPressure" of appsettings.json: what can be set in code, and what a host adds
using System.Collections.Generic;
using System.Linq;
using Microsoft.Extensions.Options;

namespace PsiBridge.Extensions.Hosting;

/// <summary>What to watch, how to judge it, and what to do.</summary>
public sealed record MemoryPressureHostingOptions : MemoryPressureOptions
{
    /// <summary>False: nothing is watched.</summary>
    public bool Enabled { get; set; } = true;
    /// <summary>The share of each registered MemoryCache that goes at Low, 0 to 1; 0: nothing.</summary>
    public double CompactAtLow { get; set; } = 0.5;
    /// <summary>The share of each registered MemoryCache that goes when it is critical.</summary>
    public double CompactAtCritical { get; set; } = 1.0;
}

/// <summary>What MemoryPressure.Start() would throw for, in the words of the configuration; and the shares.</summary>
internal sealed class MemoryPressureHostingOptionsValidator : IValidateOptions<MemoryPressureHostingOptions>
{
    public ValidateOptionsResult Validate(string? name, MemoryPressureHostingOptions options)
    {
        List<string> wrong = new[]
        {
            WrongShare(nameof(options.CompactAtLow), options.CompactAtLow),
            WrongShare(nameof(options.CompactAtCritical), options.CompactAtCritical),
        }.OfType<string>().Concat(options.Mistakes()).Select(mistake => "MemoryPressure:" + mistake).ToList();

        return wrong.Count > 0 ? ValidateOptionsResult.Fail(wrong) : ValidateOptionsResult.Success;
    }

    private static string? WrongShare(string name, double value) =>
        MemoryPressureOptions.Wrong(!(value >= 0 && value <= 1), name, value, "a share from 0 to 1");
}
