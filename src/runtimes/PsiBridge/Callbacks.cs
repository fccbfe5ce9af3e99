// SPDX-License-Identifier: MIT
//
// Callbacks.cs - for what holds memory it could do without, and from a level to a share of a cache
//
// Half of a cache at Low: what was not used lately is what the next request will miss least, and Low is told again
// after the rearm time (8.192 s) if that was not enough, so half of the rest goes then. At critical tasks stand still
// and the kernel is about to kill: all of it. Nothing at Neutral and High: a cache fills by itself.
using System;

namespace PsiBridge;

/// <summary>Told before the policy collects, so that what is dropped goes back with that collection.</summary>
public interface IMemoryPressureCallback
{
    /// <summary>
    /// Drop what can be done without. Called on a thread of ours, one callback after the other; the collection waits for all of
    /// them, but for none longer than two seconds. News that comes while it runs is told afterwards, the newest of it only.
    /// What it throws is reported once on standard error, and it is called again the next time.
    /// </summary>
    /// <param name="pressure">Low (also repeatedly, while it lasts), then always Neutral or High.</param>
    void OnMemoryPressure(MemoryPressureEventArgs pressure);
}

/// <summary>
/// Compacts a cache when memory is short. Fits any method that takes the share to remove, from 0 to 1, such as
/// <c>Microsoft.Extensions.Caching.Memory.MemoryCache.Compact</c>:
/// <code>MemoryPressure.Register(new CacheCompactor(cache.Compact));</code>
/// </summary>
public sealed class CacheCompactor : IMemoryPressureCallback
{
    private readonly Action<double> compact;

    /// <summary>Makes a compactor.</summary>
    /// <param name="compact">Removes a share of the cache, 0 to 1. Called as any callback.</param>
    /// <param name="atLow">The share to remove at Low; 0: nothing.</param>
    /// <param name="atCritical">The share to remove at Low, critical.</param>
    /// <exception cref="ArgumentNullException"><paramref name="compact"/> is null.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A share is not from 0 to 1.</exception>
    public CacheCompactor(Action<double> compact, double atLow = 0.5, double atCritical = 1.0)
    {
        this.compact = compact ?? throw new ArgumentNullException(nameof(compact));
        AtLow = atLow >= 0 && atLow <= 1 ? atLow : throw new ArgumentOutOfRangeException(nameof(atLow));
        AtCritical = atCritical >= 0 && atCritical <= 1
            ? atCritical : throw new ArgumentOutOfRangeException(nameof(atCritical));
    }

    /// <summary>The share that is removed at Low.</summary>
    public double AtLow { get; }

    /// <summary>The share that is removed at Low, critical.</summary>
    public double AtCritical { get; }

    /// <inheritdoc/>
    public void OnMemoryPressure(MemoryPressureEventArgs pressure)
    {
        if (pressure == null)
            throw new ArgumentNullException(nameof(pressure));
        double share = pressure.Available != MemoryAvailable.Low ? 0 : pressure.Critical ? AtCritical : AtLow;
        if (share > 0)
            compact(share);
    }
}
