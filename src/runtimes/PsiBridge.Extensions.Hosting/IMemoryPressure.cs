// SPDX-License-Identifier: MIT
//
// IMemoryPressure.cs - what a service asks for: the level now, and to be told
using System;
using Microsoft.Extensions.Primitives;

namespace PsiBridge.Extensions.Hosting;

/// <summary>How much memory the program may count on. Injected as a singleton; <see cref="FakeMemoryPressure"/> takes its place in tests.</summary>
public interface IMemoryPressure
{
    /// <summary>How much memory the program may count on, as last told. High where nothing is watched.</summary>
    MemoryAvailable Available { get; }

    /// <summary>Low, and whole tasks stall, or the kernel killed one.</summary>
    bool IsCritical { get; }

    /// <summary>The memory load, read now. All zero where nothing is watched.</summary>
    MemoryLoad Load { get; }

    /// <summary>What is watched, or why nothing is.</summary>
    MemoryPressureStatus Status { get; }

    /// <summary>
    /// Registers a callback, which is told before memory is collected: what it drops goes back with that collection. It is called on one
    /// thread, one callback after the other, also repeatedly while it stays Low.
    /// </summary>
    /// <param name="callback">What is called.</param>
    /// <returns>Ends the registration when it is disposed of.</returns>
    IDisposable Register(Action<MemoryPressureEventArgs> callback);

    /// <summary>A token that changes once, with the next change of the level.</summary>
    IChangeToken GetChangeToken();
}
