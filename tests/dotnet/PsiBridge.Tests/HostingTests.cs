// SPDX-License-Identifier: MIT
//
// HostingTests.cs - a native host, played by function pointers
using System;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using Xunit;

namespace PsiBridge.Tests;

public sealed unsafe class HostingTests
{
    [UnmanagedCallersOnly]
    private static int GetLoad(void* userdata, uint* percent, ulong* available)
    {
        *percent = 42;
        *available = *(ulong*)userdata;
        return 0;
    }

    [Fact]
    public void a_host_feeds_it_and_is_asked_for_the_load_until_it_is_stopped()
    {
        delegate* unmanaged<Hosting.HostInterface*, int> start = &Hosting.Start;
        delegate* unmanaged<int, int, void> told = &Hosting.Told;
        ulong bytes = 1234567;
        var host = new Hosting.HostInterface { Size = (nuint)sizeof(Hosting.HostInterface), GetLoad = &GetLoad, Userdata = &bytes };
        using var low = new ManualResetEvent(false);
        using var high = new ManualResetEvent(false);
        MemoryPressureEventArgs? args = null;
        EventHandler<MemoryPressureEventArgs> handler = (_, p) =>
        {
            if (p.Available == MemoryAvailable.Low)
            {
                args = p;
                low.Set();
            }
            if (p.Available == MemoryAvailable.High)
                high.Set();
        };

        MemoryPressure.Stop();
        Assert.Equal(-22, start(null));
        var small = host;
        small.Size = 3 * (nuint)sizeof(nuint) - 1;
        Assert.Equal(-22, start(&small));
        MemoryPressure.Changed += handler;
        Assert.Equal(0, start(&host));
        Assert.Equal(-114, start(&host));
        Assert.Equal("host", MemoryPressure.Start(new MemoryPressureOptions { Source = "/nonexistent" }).Source);
        told(0, 0);
        told(4, 0);
        told(1, 1);
        Assert.True(low.WaitOne(Watched.Patience));
        Assert.True(args!.Critical);
        Assert.Equal(42, args.Load.Percent);
        Assert.Equal((long)bytes, args.Load.AvailableBytes);
        told(3, 0);
        Assert.True(high.WaitOne(Watched.Patience));
        MemoryPressure.Stop();
        told(1, 0);
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        MemoryPressure.Changed -= handler;
    }
}
