// SPDX-License-Identifier: MIT
//
// Hosting.cs - the way in for a native host that runs this program
//
// A host in the sense of the CLR hosting API has a bridge of its own and is told by ICLRMemoryNotificationCallback. It
// finds these methods by hostfxr, calls Start() once with what we may ask it, and Told() for each notification. From
// then on it is the source of MemoryPressure: there is no second watch in the process, and no second judgement.
//
// Told() puts the level into a slot and returns. It allocates nothing. As any call into managed code it waits for a
// collection that has stopped the world, so the host calls it from a thread that can bear that.
#if NET
using System;
using System.ComponentModel;
using System.Runtime.InteropServices;

namespace PsiBridge;

/// <summary>For native hosts, by function pointer. Nothing in here is for managed code.</summary>
[EditorBrowsable(EditorBrowsableState.Never)]
public static unsafe class Hosting
{
    private const int EINVAL = 22, EALREADY = 114;

    private static volatile SlotSource? slot;

    /// <summary>What a host offers.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct HostInterface
    {
        /// <summary>Its size, in bytes.</summary>
        public nuint Size;

        /// <summary>IHostMemoryManager::GetMemoryLoad: 0, or a negative number. May be null. Until Stop().</summary>
        public delegate* unmanaged<void*, uint*, ulong*, int> GetLoad;

        /// <summary>The first argument of it.</summary>
        public void* Userdata;
    }

    /// <summary>Returns 0, -EINVAL (no host, or its size), -EALREADY.</summary>
    [UnmanagedCallersOnly]
    public static int Start(HostInterface* host)
    {
        if (host == null || host->Size < (nuint)sizeof(HostInterface))
            return -EINVAL;
        HostInterface copy = *host;
        var status = new MemoryPressureStatus(MemoryPressureState.Watching, "", source: "host");
        var fed = new SlotSource(status, () => Load(copy));
        if (!MemoryPressure.StartFromHost(fed))
            return -EALREADY;
        slot = fed;
        return 0;
    }

    /// <summary>Hands over and returns. What is no level is dropped.</summary>
    [UnmanagedCallersOnly]
    public static void Told(int available, int critical)
    {
        if (available >= (int)MemoryAvailable.Low && available <= (int)MemoryAvailable.High)
            slot?.Put((MemoryAvailable)available, critical != 0, MemoryPressureReason.Signal);
    }

    /// <summary>Nothing is told after this, and GetLoad is not called any more.</summary>
    [UnmanagedCallersOnly]
    public static void Stop()
    {
        SlotSource? fed = slot;

        slot = null;
        if (fed != null)
            MemoryPressure.Stop();
    }

    private static MemoryLoad Load(HostInterface host)
    {
        uint percent = 0;
        ulong available = 0;

        if (slot == null || host.GetLoad == null || host.GetLoad(host.Userdata, &percent, &available) < 0)
            return default;
        return new MemoryLoad((int)percent, 0, 0, 0, (long)available, false);
    }
}
#endif
