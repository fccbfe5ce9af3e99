// SPDX-License-Identifier: MIT
//
// ChangeSource.cs - change tokens of a level: each one changes once, then there is a new one
using System.Threading;
using Microsoft.Extensions.Primitives;

namespace PsiBridge.Extensions.Hosting;

internal sealed class ChangeSource
{
    private CancellationTokenSource source = new();
    private (MemoryAvailable, bool) level = (MemoryAvailable.High, false);

    internal IChangeToken Token => new CancellationChangeToken(Volatile.Read(ref source).Token);

    /// <summary>From one thread at a time. What a consumer throws comes from here.</summary>
    internal void Told(MemoryPressureEventArgs pressure)
    {
        if (level == (pressure.Available, pressure.Critical))
            return;
        level = (pressure.Available, pressure.Critical);
        Interlocked.Exchange(ref source, new CancellationTokenSource()).Cancel();
    }
}
