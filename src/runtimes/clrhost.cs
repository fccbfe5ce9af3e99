// SPDX-License-Identifier: MIT
//
// clrhost.cs - the managed half of psibridge-clrhost (clrhost.c), part of PsiBridge.dll
//
// Two things native code cannot do for itself:
//
//   - Know that the program ends, before the runtime does. hostfxr_run_app() returns, and atexit() handlers run, when
//     managed code cannot be called any more. AppDomain.ProcessExit comes before that, when Main returns and after
//     Environment.Exit(), on the finalizer's thread. Begin() is called before Main, and handlers are called in the
//     order in which they were added: ours is the first. In it the host unregisters, so that whatever the program does
//     at its end it does untold.
//   - Call a method of the program that may not be there, may want other arguments, and may throw. A function pointer
//     from hostfxr has no signature, and an exception that leaves managed code for C ends the process. Bind() makes a
//     delegate, which is checked; Told() catches what it throws, and says so the first time.
//
// All calls but the ending come from the host: Begin and Bind once each and before Main, Told from one thread.
#if NET8_0_OR_GREATER
using System;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.InteropServices;

namespace PsiBridge;

internal static unsafe class ClrHost
{
    // Negative errno, as in the host.
    private const int NoEntry = -2, Invalid = -22, NotAMethod = -71, AlreadyThere = -17;

    private static delegate* unmanaged<void*, void> ending;
    private static delegate* unmanaged<void*, byte*, void> threw;
    private static void* userdata;
    private static Action<int>? handler;
    private static bool complained;

    [UnmanagedCallersOnly]
    internal static int Begin(delegate* unmanaged<void*, void> ending, delegate* unmanaged<void*, byte*, void> threw,
        void* userdata)
    {
        if (ClrHost.ending != null)
            return AlreadyThere;
        ClrHost.ending = ending;
        ClrHost.threw = threw;
        ClrHost.userdata = userdata;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => ClrHost.ending(ClrHost.userdata);
        return 0;
    }

    // "Type, Assembly" and the name of a static void M(int) in it. NoEntry: no such assembly or type; NotAMethod: no
    // such method; Invalid: it has other arguments, or returns something, or is for native code alone.
    [UnmanagedCallersOnly]
    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "no host starts a trimmed program this way")]
    [UnconditionalSuppressMessage("Trimming", "IL2057", Justification = "no host starts a trimmed program this way")]
    [UnconditionalSuppressMessage("Trimming", "IL2075", Justification = "no host starts a trimmed program this way")]
    internal static int Bind(byte* typeName, byte* methodName)
    {
        const BindingFlags any = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;
        string name = Marshal.PtrToStringUTF8((IntPtr)methodName) ?? "";
        Type? type;

        try
        {
            type = Type.GetType(Marshal.PtrToStringUTF8((IntPtr)typeName) ?? "", throwOnError: false);
        }
        catch (Exception)
        {
            return NoEntry; // the assembly is there, and is none; or its name makes no sense
        }
        if (type == null)
            return NoEntry;
        if (Array.Find(type.GetMethods(any), m => m.Name == name) == null)
            return NotAMethod;
        MethodInfo? method = type.GetMethod(name, any, new[] { typeof(int) });
        // A delegate cannot be made of a method that only native code may call.
        if (method == null || method.ReturnType != typeof(void) ||
            method.IsDefined(typeof(UnmanagedCallersOnlyAttribute)))
            return Invalid;
        handler = method.CreateDelegate<Action<int>>();
        return 0;
    }

    [UnmanagedCallersOnly]
    internal static void Told(int available, int critical)
    {
        try
        {
            handler?.Invoke(available);
        }
        catch (Exception e)
        {
            if (complained)
                return;
            complained = true;
            IntPtr text = Marshal.StringToCoTaskMemUTF8($"{e.GetType().FullName}: {e.Message}");
            threw(userdata, (byte*)text);
            Marshal.FreeCoTaskMem(text);
        }
    }
}
#endif
