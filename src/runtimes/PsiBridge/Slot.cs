// SPDX-License-Identifier: MIT
//
// Slot.cs - from one thread to another: room for one piece of news, in which the newest wins
using System.Threading;

namespace PsiBridge;

internal sealed class Slot
{
    private readonly object gate = new object();
    private MemoryPressureEventArgs? news;
    private volatile bool closed;

    internal bool IsClosed => closed;

    internal void Put(MemoryPressureEventArgs pressure)
    {
        lock (gate)
        {
            news = pressure;
            Monitor.Pulse(gate);
        }
    }

    /// <summary>Waits; null: it is closed, or the time is over.</summary>
    internal MemoryPressureEventArgs? Take(int msec = Timeout.Infinite)
    {
        lock (gate)
        {
            if (news == null && !closed)
                Monitor.Wait(gate, msec);
            MemoryPressureEventArgs? taken = closed ? null : news;
            news = null;
            return taken;
        }
    }

    internal void Close()
    {
        lock (gate)
        {
            closed = true;
            Monitor.Pulse(gate);
        }
    }
}
