// SPDX-License-Identifier: MIT
//
// FakeMemoryPressure.cs - for tests of what reacts to memory pressure: the level is what the test says
using System;

using Microsoft.Extensions.Primitives;

namespace PsiBridge.Extensions.Hosting;

/// <summary>
/// For tests: nothing is watched, nothing is collected. <see cref="Set"/> tells, on the caller's thread, and has told everything when it
/// returns.
/// </summary>
public sealed class FakeMemoryPressure : IMemoryPressure
{
    private readonly ChangeSource changes = new();
    private Action<MemoryPressureEventArgs>? callbacks;

    /// <inheritdoc/>
    public MemoryAvailable Available { get; private set; } = MemoryAvailable.High;

    /// <inheritdoc/>
    public bool IsCritical { get; private set; }

    /// <inheritdoc/>
    public MemoryLoad Load => default;

    /// <inheritdoc/>
    public MemoryPressureStatus Status { get; } = new(MemoryPressureState.Watching) { Source = "fake" };

    /// <inheritdoc/>
    public IDisposable Register(Action<MemoryPressureEventArgs> callback)
    {
        ArgumentNullException.ThrowIfNull(callback);
        callbacks += callback;
        return new Registration(() => callbacks -= callback);
    }

    /// <inheritdoc/>
    public IChangeToken GetChangeToken() => changes.Token;

    /// <summary>Tells callbacks and change tokens. What they throw is thrown here.</summary>
    /// <param name="available">The level.</param>
    /// <param name="critical">With Low only.</param>
    /// <param name="reason">Why.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such level.</exception>
    public void Set(MemoryAvailable available, bool critical = false, MemoryPressureReason reason = MemoryPressureReason.Simulated)
    {
        if (available is < MemoryAvailable.Low or > MemoryAvailable.High)
            throw new ArgumentOutOfRangeException(nameof(available), available, "Low, Neutral or High was expected.");
        var pressure = new MemoryPressureEventArgs
        {
            Available = Available = available,
            Critical = IsCritical = critical && available == MemoryAvailable.Low,
            Reason = reason,
        };
        callbacks?.Invoke(pressure);
        changes.Told(pressure);
    }

    private sealed class Registration(Action end) : IDisposable
    {
        private Action? end = end;

        public void Dispose() => System.Threading.Interlocked.Exchange(ref end, null)?.Invoke();
    }
}
