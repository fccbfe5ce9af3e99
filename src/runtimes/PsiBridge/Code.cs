// SPDX-License-Identifier: MIT
//
// Code.cs - the collector's code, kept in memory while that is short (psibridge.h, "code")
//
// One for the process: a session that takes the place of another begins before that has ended, and libpsibridge locks nothing
// where something is locked already, for it takes that for the program's own doing. The last session to end unlocks.
using System;
using System.Globalization;
using System.IO;

namespace PsiBridge;

internal static unsafe class Code
{
    private static readonly object Gate = new object();
    private static readonly string[] Collectors =
    {
        "libcoreclr.so", "libclrgc.so", "libclrjit.so", "libSystem.Native.so", "System.Private.CoreLib.dll", "System.Console.dll",
        "System.Runtime.dll", "System.Threading.dll", "PsiBridge.dll", "PsiBridge.StartupHook.dll", "mono", "mono-sgen",
    };

    private static IntPtr code; // zero: it cannot be kept in memory, or the program sees to that itself
    private static int users;
    private static bool complained;

    /// <summary>From now on the collector's code and what lies beside it are kept in memory.</summary>
    internal static void Begin()
    {
        lock (Gate)
        {
            users++;
            Make();
        }
    }

    internal static void End()
    {
        lock (Gate)
        {
            if (--users == 0 && code != IntPtr.Zero)
                code = Native.psb_code_free(code);
        }
    }

    /// <summary>From the first sign on all other code, too: later it is gone, and is read in again page by page.</summary>
    internal static void Keep(MemoryAvailable available)
    {
        ulong refused = 0;

        lock (Gate)
        {
            Make(); // what had locked memory may have ended: a start-up hook that yielded
            if (code == IntPtr.Zero)
                return;
            if (available == MemoryAvailable.High)
                Native.psb_code_unlock(code);
            else if (Native.psb_code_lock(code, &refused) < 0)
                refused = 0;
            if (refused == 0 || complained)
                return;
            complained = true;
        }
        Log.Write(Log.Info, "{0:F1} MiB of code cannot be kept in memory: a higher LimitMEMLOCK= would allow it",
                  refused / 1048576.0);
    }

    private static void Make()
    {
        IntPtr made;

        if (code != IntPtr.Zero || users == 0 || Native.psb_code_new(&made) < 0)
            return;
        code = made;
        Find(address => Native.psb_code_keep(code, address));
    }

    /// <summary>An address in each file of those that are mapped.</summary>
    internal static void Find(Action<IntPtr> keep)
    {
        try
        {
            foreach (string line in File.ReadLines("/proc/self/maps"))
                FindIn(line, keep);
        }
        catch (Exception e) when (e is IOException || e is UnauthorizedAccessException)
        {
            // Out of descriptors, say. What locks is kept, and the rest from the first sign on.
        }
    }

    // "7f48740fe000-7f4874400000 r-xp 0001d000 fe:01 1234    /usr/lib/libcoreclr.so"
    private static void FindIn(string line, Action<IntPtr> keep)
    {
        if (Array.IndexOf(Collectors, line.Substring(line.LastIndexOf('/') + 1)) >= 0 &&
            ulong.TryParse(line.Substring(0, line.IndexOf('-')), NumberStyles.HexNumber, CultureInfo.InvariantCulture,
                           out ulong address))
            keep((IntPtr)(long)address);
    }
}
