// SPDX-License-Identifier: MIT
//
// StartupHook.cs - the managed policy in a program that knows nothing of it
//
// The runtime loads what DOTNET_STARTUP_HOOKS names and calls Initialize() before Main(), on the main thread. The names
// of class and method are the runtime's (docs/design/features/host-startup-hook.md, dotnet/runtime, MIT), which is why
// there is no namespace. What it throws ends the program, so it throws nothing; what it takes delays the program, so it
// only starts a thread. The rest of this assembly is PsiBridge, compiled in: the program may have a PsiBridge.dll of
// its own, and the two must not meet.
using System;
using PsiBridge;

internal static class StartupHook
{
    internal static void Initialize()
    {
        try
        {
            MemoryPressure.StartByItself();
        }
        catch (Exception e)
        {
            Log.Write(Log.Error, "the start-up hook does not run: {0}", e.Message);
        }
    }
}
