// SPDX-License-Identifier: MIT
//
// Hosting.cs - the way in for a native host that runs this program (clrhost.c is one)
//
// The host finds these methods by hostfxr, calls Start() once, before Main, with what may be asked of it, and Told() for
// each notification. From then on it is the source of MemoryPressure, and there is no second watch in the process.
//
// A thing that native code cannot do for itself is here, too: to know that the program ends before the runtime does
// (AppDomain.ProcessExit, whose handlers are called in the order in which they were added).
#if NET
using System;
using System.Diagnostics.CodeAnalysis;
using System.Reflection;
using System.Runtime.InteropServices;

namespace PsiBridge;

/// <summary>For native hosts, by function pointer: hostfxr finds what is internal, too. Nothing in here is for managed code.</summary>
internal static unsafe class Hosting
{
    private const int ENOENT = 2, EINVAL = 22, EALREADY = 114;

    private static HostInterface host;
    private static volatile Session? session;
    private static readonly Subscribers<Action<int>> Handlers = new Subscribers<Action<int>>("the callback");
    private static IDisposable? bound; // the handler
    private static bool started;

    /// <summary>What a host offers.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct HostInterface
    {
        /// <summary>Its size, in bytes.</summary>
        internal nuint Size;
        /// <summary>IHostMemoryManager::GetMemoryLoad: 0, or a negative number. May be null.</summary>
        internal delegate* unmanaged<uint*, ulong*, int> GetLoad;
        /// <summary>The program ends; nothing is told from its return on. May be null.</summary>
        internal delegate* unmanaged<void> Ending;
        /// <summary>"Type, Assembly" and a static void of one int in it, which is told in place of MemoryPressure; or null.</summary>
        internal byte* Type, Method;
    }

    /// <summary>Once for a process. Returns 0, -EINVAL (no host, or its size), -EALREADY, -ENOENT (there is no such method).</summary>
    [UnmanagedCallersOnly]
    internal static int Start(HostInterface* given)
    {
        if (given == null || given->Size < (nuint)sizeof(HostInterface))
            return -EINVAL;
        if (started)
            return -EALREADY;
        started = true;
        host = *given;
        AppDomain.CurrentDomain.ProcessExit += (_, _) => End();
        if (host.Type != null)
            return Bind(Native.Text(host.Type)!, Native.Text(host.Method)!);
        session = MemoryPressure.StartFromHost(Load);
        return 0;
    }

    /// <summary>Hands over and returns. What is no level is dropped. From one thread at a time.</summary>
    [UnmanagedCallersOnly]
    internal static void Told(int available, int critical)
    {
        if (available < (int)MemoryAvailable.Low || available > (int)MemoryAvailable.High)
            return;
        session?.Put((MemoryAvailable)available, critical != 0, MemoryPressureReason.Signal);
        Handlers.Tell(handler => handler(available));
    }

    // Nothing is told after this, and GetLoad is not called any more.
    private static void End()
    {
        if (host.Ending != null)
            host.Ending();
        bound?.Dispose();
        if (session != null)
            MemoryPressure.Stop();
        session = null;
    }

    [UnconditionalSuppressMessage("Trimming", "IL2026", Justification = "no host starts a trimmed program this way")]
    [UnconditionalSuppressMessage("Trimming", "IL2057", Justification = "no host starts a trimmed program this way")]
    [UnconditionalSuppressMessage("Trimming", "IL2075", Justification = "no host starts a trimmed program this way")]
    private static int Bind(string type, string name)
    {
        const BindingFlags any = BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;

        try
        {
            MethodInfo? method = Type.GetType(type)?.GetMethod(name, any, null, new[] { typeof(int) }, null);
            if (method != null && !method.IsDefined(typeof(UnmanagedCallersOnlyAttribute))) // that is for native code alone
                bound = Handlers.Add(method.CreateDelegate<Action<int>>());
        }
        catch (Exception)
        {
            // The assembly is none, or the method returns something.
        }
        return bound == null ? -ENOENT : 0;
    }

    private static MemoryLoad Load()
    {
        uint percent = 0;
        ulong available = 0;

        if (session == null || host.GetLoad == null || host.GetLoad(&percent, &available) < 0)
            return default;
        return new MemoryLoad { Percent = (int)percent, AvailableBytes = (long)available };
    }
}
#endif
