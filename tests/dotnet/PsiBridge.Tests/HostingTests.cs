// SPDX-License-Identifier: MIT
//
// HostingTests.cs - a native host, played by function pointers
using System;
using System.Runtime.InteropServices;
using Xunit;

namespace PsiBridge.Tests;

public sealed unsafe class HostingTests
{
    [UnmanagedCallersOnly]
    private static int GetLoad(uint* percent, ulong* available)
    {
        *percent = 42;
        *available = 1234567;
        return 0;
    }

    [Fact]
    public void a_host_feeds_it_and_is_asked_for_the_load_until_it_is_stopped()
    {
        delegate* unmanaged<Hosting.HostInterface*, int> start = &Hosting.Start;
        delegate* unmanaged<int, int, void> told = &Hosting.Told;
        var host = new Hosting.HostInterface { Size = (nuint)sizeof(Hosting.HostInterface) - 1, GetLoad = &GetLoad };

        using var watched = new Watched();
        Assert.Equal(-22, start(null));
        Assert.Equal(-22, start(&host));
        host.Size++;
        Assert.Equal(0, start(&host));
        Assert.Equal(-114, start(&host));
        Assert.Equal("host", MemoryPressure.Start(new MemoryPressureOptions { Source = "/nonexistent" }).Source);
        told(0, 0);
        told(4, 0);
        told(1, 1);
        MemoryPressureEventArgs low = watched.Wait(MemoryAvailable.Low);
        Assert.True(low.Critical);
        Assert.Equal((42, 1234567L), (low.Load.Percent, low.Load.AvailableBytes));
        told(3, 0);
        watched.Wait(MemoryAvailable.High);
        MemoryPressure.Stop();
        told(1, 0);
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        Assert.Equal(2, watched.Count);
    }
}
