// SPDX-License-Identifier: MIT
//
// Hosting.cs - the way in for a native host that runs this program (clrhost.c is one)
//
// The host finds these methods by hostfxr, calls Start() once, before Main, with what may be asked of it, and Told() for
// each notification. From then on it is the source of MemoryPressure: there is no second watch in the process, and no second
// judgement. Told() puts the level into a slot and returns.
//
// Two things that native code cannot do for itself are here, too: to know that the program ends before the runtime does
// (AppDomain.ProcessExit, whose handlers are called in the order in which they were added), and to call a method of the
// program that may not be there, may want other arguments, and may throw: an exception that leaves managed code for C ends
// the process.
#if NET
using System;
using System.ComponentModel;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.InteropServices;

namespace PsiBridge;

/// <summary>For native hosts, by function pointer. Nothing in here is for managed code.</summary>
[EditorBrowsable(EditorBrowsableState.Never)]
public static unsafe class Hosting
{
    private const int ENOENT = 2, EINVAL = 22, EPROTO = 71, EALREADY = 114;

    private static HostInterface host;
    private static volatile Session? session;
    private static Action<int>? handler;
    private static bool started, complained;

    /// <summary>What a host offers.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct HostInterface
    {
        /// <summary>Its size, in bytes.</summary>
        public nuint Size;
        /// <summary>IHostMemoryManager::GetMemoryLoad: 0, or a negative number. May be null.</summary>
        public delegate* unmanaged<void*, uint*, ulong*, int> GetLoad;
        /// <summary>The first argument of all of them.</summary>
        public void* Userdata;
        /// <summary>The program ends; nothing is told from its return on. May be null.</summary>
        public delegate* unmanaged<void*, void> Ending;
        /// <summary>The method below threw this, for the first time. May be null.</summary>
        public delegate* unmanaged<void*, byte*, void> Threw;
        /// <summary>"Type, Assembly" and a static void of one int in it, which is told in place of MemoryPressure; or null.</summary>
        public byte* Type, Method;
    }

    /// <summary>
    /// Once for a process. Returns 0, -EINVAL (no host, or its size), -EALREADY. Of the method: -ENOENT (no such type or
    /// assembly), -EPROTO (no such method), -EINVAL (it has other arguments, or returns something, or is for native code alone).
    /// </summary>
    [UnmanagedCallersOnly]
    public static int Start(HostInterface* given)
    {
        if (given == null || given->Size < (nuint)sizeof(HostInterface))
            return -EINVAL;
        if (started)
            return -EALREADY;
        started = true;
        host = *given;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => End();
        if (host.Type != null)
            return Bind(Native.Text(host.Type)!, Native.Text(host.Method));
        session = MemoryPressure.StartFromHost(Load);
        return 0;
    }

    /// <summary>Hands over and returns. What is no level is dropped. From one thread at a time.</summary>
    [UnmanagedCallersOnly]
    public static void Told(int available, int critical)
    {
        if (available < (int)MemoryAvailable.Low || available > (int)MemoryAvailable.High)
            return;
        session?.Put((MemoryAvailable)available, critical != 0, MemoryPressureReason.Signal);
        try
        {
            handler?.Invoke(available);
        }
        catch (Exception e)
        {
            if (complained || host.Threw == null)
                return;
            complained = true;
            IntPtr text = Marshal.StringToCoTaskMemUTF8($"{e.GetType().FullName}: {e.Message}");
            host.Threw(host.Userdata, (byte*)text);
            Marshal.FreeCoTaskMem(text);
        }
    }

    // Nothing is told after this, and GetLoad is not called any more.
    private static void End()
    {
        if (host.Ending != null)
            host.Ending(host.Userdata);
        handler = null;
        if (session != null)
            MemoryPressure.Stop();
        session = null;
    }

    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "no host starts a trimmed program this way")]
    [UnconditionalSuppressMessage("Trimming", "IL2057", Justification = "no host starts a trimmed program this way")]
    [UnconditionalSuppressMessage("Trimming", "IL2075", Justification = "no host starts a trimmed program this way")]
    private static int Bind(string typeName, string? name)
    {
        const BindingFlags any = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;
        Type? type = null;

        try
        {
            type = Type.GetType(typeName, throwOnError: false);
        }
        catch (Exception)
        {
            // The assembly is there, and is none; or its name makes no sense.
        }
        if (type == null)
            return -ENOENT;
        MethodInfo[] named = Array.FindAll(type.GetMethods(any), m => m.Name == name);
        // A delegate cannot be made of a method that only native code may call.
        handler = Array.Find(named, m => m.ReturnType == typeof(void) && !m.IsDefined(typeof(UnmanagedCallersOnlyAttribute)) &&
                                         m.GetParameters() is [{ } p] && p.ParameterType == typeof(int))
            ?.CreateDelegate<Action<int>>();
        return named.Length == 0 ? -EPROTO : handler == null ? -EINVAL : 0;
    }

    private static MemoryLoad Load()
    {
        uint percent = 0;
        ulong available = 0;

        if (session == null || host.GetLoad == null || host.GetLoad(host.Userdata, &percent, &available) < 0)
            return default;
        return new MemoryLoad { Percent = (int)percent, AvailableBytes = (long)available };
    }
}
#endif
