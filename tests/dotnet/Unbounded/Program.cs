// SPDX-License-Identifier: MIT
//
// unbounded MB BYTES MBPS [guarded]: a service with a MemoryCache that has no bound, as most have. Two threads put MB megabytes into
// it, in entries of BYTES, MBPS megabytes a second at most, and read it; guarded: a CacheCompactor compacts it.
//
// It prints what it is told ("told Low (memory is short): ..."), and at the end "lived, put N MB in N s, told Low N times"; then it
// drops the cache, collects, and prints "after LEVEL". An exception ends it.
using System;
using System.Diagnostics;
using System.Threading;
using Microsoft.Extensions.Caching.Memory;
using PsiBridge;

internal static class Program
{
    private static readonly MemoryCache Cache = new(new MemoryCacheOptions());
    private static long put;
    private static int lows;

    // What a busy machine kept it from is not made up for.
    private static void Fill(long total, int bytes, double bytesPerMsec)
    {
        const int RoundMsec = 20;

        for (long mine = 0; mine < total; Thread.Sleep(RoundMsec))
        {
            for (double round = 0; round < bytesPerMsec * RoundMsec; round += bytes, mine += bytes)
            {
                long key = Interlocked.Add(ref put, bytes);
                Cache.Set(key, new byte[bytes]);
                Cache.TryGetValue(key / 2, out _);
            }
        }
    }

    private static int Main(string[] args)
    {
        long total = long.Parse(args[0]) << 20;
        int bytes = int.Parse(args[1]);
        double each = double.Parse(args[2]) * (1 << 20) / 1000 / 2;
        var threads = new Thread[2];

        if (args.Length > 3)
        {
            MemoryPressure.Register(new CacheCompactor(Cache.Compact));
            MemoryPressure.Changed += (_, pressure) =>
            {
                lows += pressure.Available == MemoryAvailable.Low ? 1 : 0;
                Console.WriteLine("told {0}, {1}, {2} entries", pressure, pressure.Reason, Cache.Count);
            };
            Console.WriteLine("status {0}", MemoryPressure.Start().State);
        }
        var clock = Stopwatch.StartNew();
        for (int i = 0; i < threads.Length; i++)
            (threads[i] = new Thread(() => Fill(total / 2, bytes, each))).Start();
        foreach (Thread thread in threads)
            thread.Join();
        Console.WriteLine("lived, put {0} MB in {1} s, told Low {2} times", put >> 20, clock.ElapsedMilliseconds / 1000, lows);
        Cache.Clear();
        for (int i = 0; i < 600 && MemoryPressure.Available != MemoryAvailable.High; i++)
        {
            GC.Collect();
            Thread.Sleep(50);
        }
        Console.WriteLine("after {0}", MemoryPressure.Available);
        return 0;
    }
}
