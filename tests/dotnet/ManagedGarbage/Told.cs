// SPDX-License-Identifier: MIT
//
// managed-garbage [MB [LIVE-MB]]: the program of tests/dotnet/Garbage with the managed library in
// it. Asking to be told is all it adds: that starts the watch, and the library's own policy
// collects. It says on its standard error what it is told.
using System;
using System.Runtime.CompilerServices;
using PsiBridge;

static class Told
{
    [ModuleInitializer]
    internal static void Begin()
    {
        MemoryPressure.Changed += (_, pressure) => Console.Error.WriteLine("managed-garbage: told " + pressure.Available);
    }
}
