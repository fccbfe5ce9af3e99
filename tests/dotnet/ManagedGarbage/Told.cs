// SPDX-License-Identifier: MIT
//
// managed-garbage [MB [LIVE-MB]]: the program of tests/dotnet/Garbage with the managed library in
// it. Asking to be told is all it adds: that starts the watch, and the library's own policy
// collects. It says on its standard error what it is told. With KIND cache its MemoryCache is registered, too.
using System;
using System.Runtime.CompilerServices;
using PsiBridge;

static class Told
{
    [ModuleInitializer]
    internal static void Begin()
    {
        if (Array.IndexOf(Environment.GetCommandLineArgs(), "cache") > 0)
            MemoryPressure.Register(new CacheCompactor(share => Program.Cache.Value.Compact(share)));
        MemoryPressure.Changed += (_, pressure) => Console.Error.WriteLine("managed-garbage: told " + pressure.Available);
    }
}
