// SPDX-License-Identifier: MIT
//
// aot-sample: PsiBridge in a program that was compiled ahead of time. It prints its status and what it is told, keeps a
// cache that is compacted when memory is short, and ends with its standard
// input, or on "exit" there.
using System;
using System.Collections.Generic;
using PsiBridge;

var cache = new List<byte[]>();
for (int page = 0; page < 25600; page++)
    cache.Add(new byte[4072]);

using IDisposable registration = MemoryPressure.Register(new CacheCompactor(share =>
{
    lock (cache)
        cache.RemoveRange(0, (int)(cache.Count * share));
    Console.WriteLine("compacted " + share.ToString("0.0", System.Globalization.CultureInfo.InvariantCulture));
}));
MemoryPressure.Changed += (_, pressure) => Console.WriteLine("told " + pressure.Available + " " + pressure.Reason);

MemoryPressureStatus status = MemoryPressure.Start();
Console.WriteLine("status " + status.State + ": " + status.Reason);
while (Console.ReadLine() is { } line && line != "exit")
    Console.WriteLine("load " + MemoryPressure.Load);
GC.KeepAlive(cache);
