// SPDX-License-Identifier: MIT
//
// StartupHook.cs - the managed policy in a program that knows nothing of it
//
// The runtime loads what DOTNET_STARTUP_HOOKS names and calls Initialize() before Main(), on the main thread. The names
// of class and method are the runtime's (docs/design/features/host-startup-hook.md, dotnet/runtime, MIT), which is why
// there is no namespace. What it throws ends the program, so it throws nothing; what it takes delays the program, so it
// only starts a thread. It comes a second time where the native hook asks for it, too. The rest of this assembly is PsiBridge,
// compiled in: the program may have a PsiBridge.dll of its own, and the two must not meet.
using System;
using System.IO;
using System.Reflection;
using System.Runtime.CompilerServices;
using PsiBridge;

internal static class StartupHook
{
    // Without a type of our own or another library: what cannot be compiled is an exception inside of the try.
    internal static void Initialize()
    {
        try
        {
            Begin();
        }
        catch (Exception)
        {
            // A runtime that lacks what we need. It would end the program.
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Begin()
    {
        Log.Mute = IsTool(Assembly.GetEntryAssembly()?.Location ?? "");
        try
        {
            if (MemoryPressure.Status.State != MemoryPressureState.NotStarted)
                Hook.Silence();
            else if (Hook.Join() != false)
                MemoryPressure.StartByItself();
        }
        catch (Exception e)
        {
            Log.Write(Log.Error, "the start-up hook does not run: {0}", e.Message);
        }
    }

    // The SDK, compilers, test hosts and shells: src/runtimes/tool.c.
    private static readonly string[] Tools =
    {
        "csc", "vbc", "fsc", "mcs", "VBCSCompiler", "MSBuild", "testhost", "vstest.console", "datacollector", "pwsh",
    };

    private static bool IsTool(string entry)
    {
        int sdk = entry.IndexOf("/sdk/", StringComparison.Ordinal) + 5;

        return (sdk >= 5 && sdk < entry.Length && char.IsAsciiDigit(entry[sdk])) ||
               Array.IndexOf(Tools, Path.GetFileNameWithoutExtension(entry)) >= 0;
    }
}
