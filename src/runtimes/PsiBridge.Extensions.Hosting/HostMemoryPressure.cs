// SPDX-License-Identifier: MIT
//
// HostMemoryPressure.cs - IMemoryPressure as the process has it
using System;
using Microsoft.Extensions.Primitives;

namespace PsiBridge.Extensions.Hosting;

internal sealed class HostMemoryPressure : IMemoryPressure
{
    private sealed class Callback(Action<MemoryPressureEventArgs> tell) : IMemoryPressureCallback
    {
        public void OnMemoryPressure(MemoryPressureEventArgs pressure) => tell(pressure);
    }

    /// <summary>Told by the hosted service.</summary>
    internal ChangeSource Changes { get; } = new();

    public MemoryAvailable Available => MemoryPressure.Available;

    public bool IsCritical => MemoryPressure.IsCritical;

    public MemoryLoad Load => MemoryPressure.Load;

    public MemoryPressureStatus Status => MemoryPressure.Status;

    public IDisposable Register(Action<MemoryPressureEventArgs> callback)
    {
        ArgumentNullException.ThrowIfNull(callback);
        return MemoryPressure.Register(new Callback(callback));
    }

    public IChangeToken GetChangeToken() => Changes.Token;
}
