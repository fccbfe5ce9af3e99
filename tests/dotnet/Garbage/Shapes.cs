// SPDX-License-Identifier: MIT
//
// Shapes.cs - heaps that are harder to give back than a dropped cache; for CoreCLR, not for Mono
//
// KIND: mixed (500 MB, of which two of five pages are garbage), small (a million objects that are alive and 200 MB of garbage
// between them), pinned (500 MB of garbage, and one page in 500 is pinned), pool (500 MB that were rented of the shared ArrayPool
// and returned), cache (300 MB in a MemoryCache). Commands: collect, by hand what psibridge's policy does; count, which says how
// many full collections there were and how long all collections stopped the program.
using System;
using System.Buffers;
using System.Collections.Generic;
using System.Runtime;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Caching.Memory;

static partial class Program
{
    const int Page = 4072;

    internal static readonly Lazy<MemoryCache> Cache = new(() => new MemoryCache(new MemoryCacheOptions()));

    static byte[] Touch(byte[] array)
    {
        for (int at = 0; at < array.Length; at += 4096)
            array[at] = 1;
        return array;
    }

    // Until all is made everything is alive, so that it is of the oldest generation.
    static void MakePages(int count, Action<int, byte[]> take)
    {
        var all = new List<byte[]>();

        for (int i = 0; i < count; i++)
        {
            all.Add(Touch(new byte[Page]));
            take(i, all[i]);
        }
        GC.KeepAlive(all);
    }

    static void MakeSmall(int count)
    {
        var all = new List<byte[]>();

        for (int i = 0; i < count; i++)
        {
            live.Add(new byte[80]);
            all.Add(new byte[184]);
        }
        GC.KeepAlive(all);
    }

    // All at once, as in a burst: the pool keeps some, and the rest is garbage in the large object heap.
    static void Rent(int count, int size)
    {
        var rented = new List<byte[]>();

        for (int i = 0; i < count; i++)
        {
            rented.Add(ArrayPool<byte>.Shared.Rent(size));
            Touch(rented[i]);
        }
        rented.ForEach(array => ArrayPool<byte>.Shared.Return(array));
    }

    static void FillCache(int count)
    {
        for (int i = 0; i < count; i++)
            Cache.Value.Set(i, Touch(new byte[10000]));
    }

    static partial void FillShape(string kind, ref bool known)
    {
        const int Pages = 500 << 8;
        Action fill = kind switch
        {
            "mixed" => () => MakePages(Pages, (i, page) => { if (i % 5 < 3) live.Add(page); }),
            "small" => () => MakeSmall(1000000),
            "pinned" => () => MakePages(Pages, (i, page) => { if (i % 500 == 0) GCHandle.Alloc(page, GCHandleType.Pinned); }),
            "pool" => () => Rent(500, 1 << 20),
            "cache" => () => FillCache(30000),
            _ => null,
        };

        known = fill != null;
        if (known)
            OnThread(() => fill());
    }

    static partial void ObeyShape(string command)
    {
        if (command == "collect")
        {
            GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
            GC.Collect(2, GCCollectionMode.Aggressive, blocking: true, compacting: true);
        }
        if (command == "count")
            Console.WriteLine($"counted full={GC.CollectionCount(2)} pause_usec={GC.GetTotalPauseDuration().TotalMicroseconds:F0}");
    }
}
