// SPDX-License-Identifier: MIT
//
// IMemoryPressureCallback.cs - for what holds memory it could do without
namespace PsiBridge;

/// <summary>Told before the policy collects, so that what is dropped goes back with that collection.</summary>
public interface IMemoryPressureCallback
{
    /// <summary>
    /// Drop what can be done without. Called on the policy's thread, one callback after the other; the collection
    /// waits for all of them. News that comes meanwhile is told afterwards, the newest of it only. What it throws is
    /// reported once on standard error, and it is called again the next time.
    /// </summary>
    /// <param name="pressure">Low (also repeatedly, while it lasts), then always Neutral or High.</param>
    void OnMemoryPressure(MemoryPressureEventArgs pressure);
}
