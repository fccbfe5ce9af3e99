// SPDX-License-Identifier: MIT
//
// Hook.cs - the native hook of this process (libpsibridge-coreclr.so), in place of a watch of our own
//
// Where the profiler is in the program it waits and wakes, and has had this assembly loaded. Its table of functions
// (src/runtimes/managed.h has the contract) is in a mapping that /proc/self/maps shows by name. Take() belongs to the listener's
// thread; all else may be called from anywhere, at any time.
using System;
using System.Globalization;
using System.IO;

namespace PsiBridge;

internal sealed unsafe class Hook : ISource
{
#pragma warning disable CS0649 // native code assigns to them
    private struct Table
    {
        internal nuint Size;
        internal delegate* unmanaged<Native.Settings*, int> Join;
        internal delegate* unmanaged<int*, int*, int*, int*, int> Take;
        internal delegate* unmanaged<ulong, ulong, void> Report;
        internal delegate* unmanaged<Native.Load*, int> Load;
        internal delegate* unmanaged<Native.Stats*, int> Stats;
        internal delegate* unmanaged<IntPtr, int> Keep;
        internal delegate* unmanaged<int, void> Leave;
    }
#pragma warning restore CS0649

    private const string Mapping = "/memfd:psibridge-hook (deleted)";
    private const int EALREADY = 114;

    private static Table* table;

    /// <summary>What it goes by, if we have joined it.</summary>
    internal static Native.Settings? Settings { get; private set; }

    /// <summary>Null: there is none, or it has ended. False: another copy of us has joined it.</summary>
    internal static bool? Join()
    {
        var settings = new Native.Settings { Size = (UIntPtr)sizeof(Native.Settings) };

        table = Find();
        if (table == null || table->Size != (nuint)sizeof(Table))
            return null;
        int r = table->Join(&settings);
        if (r == 0)
            Settings = settings;
        return r == 0 ? true : r == -EALREADY ? false : null;
    }

    private static Table* Find()
    {
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            if (line.EndsWith(Mapping, StringComparison.Ordinal))
                return (Table*)ulong.Parse(line.AsSpan(0, line.IndexOf('-')), NumberStyles.HexNumber, CultureInfo.InvariantCulture);
        }
        return null;
    }

    internal Hook() => Code.Find(address => table->Keep(address));

    public MemoryPressureEventArgs? Take()
    {
        int available, critical, reason, cause;

        if (table->Take(&available, &critical, &reason, &cause) == 0)
            return null;
        return new MemoryPressureEventArgs
        {
            Available = (MemoryAvailable)available,
            Critical = critical != 0,
            Reason = (MemoryPressureReason)reason,
            Cause = (MemoryPressureCause)cause,
        };
    }

    /// <summary>Take() ends. Where another policy acts, or the program ends, the native hook is to be silent, too.</summary>
    internal static void Leave(MemoryPressureState why) =>
        table->Leave(why is MemoryPressureState.TakenOver or MemoryPressureState.Stopped ? 1 : 0);

    /// <summary>Where we have a watch of our own already.</summary>
    internal static void Silence()
    {
        if (Settings != null)
            return; // that is it
        if (Join() == true)
            Leave(MemoryPressureState.TakenOver);
        Settings = null;
    }

    public void Close() { } // Leave()

    public void Free() { }

    public void Simulate(MemoryAvailable available, bool critical) { }

    public void Report(long bytes, long msec) => table->Report((ulong)bytes, (ulong)msec * 1000);

    public MemoryEffect Effect() => new MemoryEffect();

    public long StalledUsec()
    {
        var stats = new Native.Stats { Size = (UIntPtr)sizeof(Native.Stats) };

        return table->Stats(&stats) < 0 ? 0 : (long)stats.StallUsec;
    }

    public MemoryLoad Load()
    {
        var load = new Native.Load { Size = (UIntPtr)sizeof(Native.Load) };

        return table->Load(&load) < 0 ? default : Mailbox.LoadOf(load);
    }

    public MemoryPressureStatus? Status() => new MemoryPressureStatus(MemoryPressureState.Watching) { Source = "the native hook" };
}
