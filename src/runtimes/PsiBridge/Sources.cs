// SPDX-License-Identifier: MIT
//
// Sources.cs - where news comes from: a mailbox of libpsibridge, or a slot that is filled
//
//     MailboxSource   a bridge and a watch of our own; the listener's thread waits in psb_mailbox_take()
//     SlotSource      one slot in which the newest wins: filled by a native host (Hosting.cs), or by Simulate() where
//                     nothing can be watched
//
// Take() and Free() belong to the listener's thread. All else may be called from anywhere, at any time, also after
// Free(): the handles are read, and references taken, under a lock that Free() takes too. No lock is held while anything
// is waited for or read.
using System;
using System.Globalization;
using System.IO;
using System.Threading;

namespace PsiBridge;

internal abstract class Source
{
    /// <summary>Wait for news. Null: closed, there will be no more.</summary>
    internal abstract MemoryPressureEventArgs? Take();

    internal abstract void Close();

    internal abstract void Free();

    internal abstract MemoryLoad Load();

    /// <summary>0 or a negative errno.</summary>
    internal abstract int Simulate(MemoryAvailable available, bool critical);

    internal abstract MemoryPressureStatus Status();
}

internal sealed class NotWatchingException(MemoryPressureState state, string why) : Exception(why)
{
    internal MemoryPressureState State => state;
}

internal sealed class SlotSource(MemoryPressureStatus status, Func<MemoryLoad>? load) : Source
{
    private readonly object gate = new object();
    private MemoryAvailable available;
    private bool critical, full, closed;
    private MemoryPressureReason reason;

    internal void Put(MemoryAvailable available, bool critical, MemoryPressureReason reason)
    {
        lock (gate)
        {
            this.available = available;
            this.critical = critical && available == MemoryAvailable.Low;
            this.reason = reason;
            full = true;
            Monitor.Pulse(gate);
        }
    }

    internal override MemoryPressureEventArgs? Take()
    {
        lock (gate)
        {
            while (!full && !closed)
                Monitor.Wait(gate);
            full = false;
            return closed ? null : new MemoryPressureEventArgs { Available = available, Critical = critical, Reason = reason };
        }
    }

    internal override void Close()
    {
        lock (gate)
        {
            closed = true;
            Monitor.PulseAll(gate);
        }
    }

    internal override void Free() { }

    internal override MemoryLoad Load() => load == null ? default : load();

    internal override int Simulate(MemoryAvailable available, bool critical)
    {
        Put(available, critical, MemoryPressureReason.Simulated);
        return 0;
    }

    internal override MemoryPressureStatus Status() => status;
}

internal sealed unsafe class MailboxSource : Source
{
    private readonly object gate = new object();
    private IntPtr bridge, watch, mailbox;
    private IntPtr code; // zero: it cannot be kept in memory, or the program sees to that itself
    private bool complained;
    private string? cgroup; // the last one's name, so that it is not made anew for each notification
    private string? backend;

    /// <exception cref="NotWatchingException">There is nothing to watch.</exception>
    internal MailboxSource(ref Native.WatchOptions options)
    {
        try
        {
            Open(ref options);
        }
        catch
        {
            Free(); // also where libpsibridge lacks a function: what it has made has threads and descriptors
            throw;
        }
    }

    private void Open(ref Native.WatchOptions options)
    {
        const int Size = 400;
        byte* text = stackalloc byte[Size];
        IntPtr made;

        text[0] = 0;
        options.ErrorText = text;
        options.ErrorTextSize = (UIntPtr)Size;
        int r = Native.psb_bridge_new(IntPtr.Zero, &made);
        // There are no options of ours that it could refuse.
        Check(r, r == -Native.EINVAL ? "PSIBRIDGE_BACKEND=" + Environment.GetEnvironmentVariable("PSIBRIDGE_BACKEND") +
                                       ": auto, uring or epoll was expected" : "");
        bridge = made;
        fixed (Native.WatchOptions* o = &options)
            r = Native.psb_watch_new(bridge, o, &made);
        Check(r, Native.Text(text) ?? "");
        watch = made;
        Check(Native.psb_mailbox_new(watch, Native.TellPresent, &made), "");
        mailbox = made;
        backend = Native.psb_bridge_backend(bridge, null) == Native.BackendUring ? "io_uring" : "epoll";
        PrepareCode();
        Check(Native.psb_bridge_start(bridge), "");
    }

    private static void Check(int r, string why)
    {
        if (r < 0)
            throw new NotWatchingException(r == -Native.ENODATA ? MemoryPressureState.Off : MemoryPressureState.Unavailable,
                                           why.Length > 0 ? why : "error " + -r);
    }

    // The collector's code and what lies beside it are kept in memory from the start.
    private void PrepareCode()
    {
        IntPtr made;

        if (Native.psb_code_new(&made) < 0)
            return;
        code = made;
        foreach (string line in File.ReadLines("/proc/self/maps"))
        {
            // "7f48740fe000-7f4874400000 r-xp 0001d000 fe:01 1234    /usr/lib/libcoreclr.so"
            if (Array.IndexOf(Collectors, line.Substring(line.LastIndexOf('/') + 1)) >= 0 &&
                ulong.TryParse(line.Substring(0, line.IndexOf('-')), NumberStyles.HexNumber, CultureInfo.InvariantCulture,
                               out ulong address))
                Native.psb_code_keep(code, (IntPtr)(long)address);
        }
    }

    private static readonly string[] Collectors =
    {
        "libcoreclr.so", "libclrgc.so", "libclrjit.so", "libSystem.Native.so", "System.Private.CoreLib.dll", "System.Console.dll",
        "System.Runtime.dll", "System.Threading.dll", "PsiBridge.dll", "PsiBridge.StartupHook.dll", "mono", "mono-sgen",
    };

    // From the first sign on: later the code is gone, and is read in again page by page (psibridge.h, "code").
    private void KeepCode(MemoryAvailable available)
    {
        ulong refused = 0;

        if (code == IntPtr.Zero)
            return;
        if (available == MemoryAvailable.High)
            Native.psb_code_unlock(code);
        else if (Native.psb_code_lock(code, &refused) == 0 && refused > 0 && !complained)
        {
            complained = true;
            Log.Write(Log.Info, "{0:F1} MiB of code cannot be kept in memory: a higher LimitMEMLOCK= would allow it",
                      refused / 1048576.0);
        }
    }

    internal override MemoryPressureEventArgs? Take()
    {
        var n = new Native.Notification { Size = (UIntPtr)sizeof(Native.Notification) };

        if (Native.psb_mailbox_take(mailbox, Native.Forever, &n) <= 0)
            return null;
        KeepCode((MemoryAvailable)n.Available);
        cgroup ??= Native.Text(n.Cgroup);
        var news = new MemoryPressureEventArgs
        {
            Available = (MemoryAvailable)n.Available,
            Critical = n.Critical != 0,
            Reason = (MemoryPressureReason)n.Reason,
            Stall = TimeSpan.FromTicks((long)Math.Min(n.StallUsec, long.MaxValue / 10) * 10),
            Cgroup = cgroup,
        };
        if (n.Kind == Native.KindGone)
        {
            Log.Write(Log.Warning, "the cgroup {0} was removed; what takes its place will be watched", cgroup);
            cgroup = null; // it may be another one
        }
        return news;
    }

    internal override void Close()
    {
        lock (gate)
        {
            if (mailbox != IntPtr.Zero)
                Native.psb_mailbox_close(mailbox); // returns at once
        }
    }

    internal override void Free()
    {
        IntPtr oldMailbox, oldWatch, oldBridge;

        lock (gate)
        {
            oldMailbox = mailbox;
            oldWatch = watch;
            oldBridge = bridge;
            mailbox = watch = bridge = IntPtr.Zero;
        }
        Native.psb_mailbox_free(oldMailbox);
        Native.psb_watch_unref(oldWatch);
        Native.psb_bridge_unref(oldBridge);
        if (code != IntPtr.Zero)
            code = Native.psb_code_free(code);
    }

    // Free() may come at any time: a reference of our own keeps the watch, and that its bridge.
    private T With<T>(Func<IntPtr, T> use, T none)
    {
        IntPtr borrowed;

        lock (gate)
            borrowed = watch == IntPtr.Zero ? watch : Native.psb_watch_ref(watch);
        if (borrowed == IntPtr.Zero)
            return none;
        T result = use(borrowed);
        Native.psb_watch_unref(borrowed);
        return result;
    }

    internal override MemoryLoad Load() => With(w =>
    {
        var load = new Native.Load { Size = (UIntPtr)sizeof(Native.Load) };

        return Native.psb_watch_load(w, &load) < 0 ? default
            : new MemoryLoad
            {
                Percent = (int)load.Percent,
                UsedBytes = (long)load.CurrentBytes,
                WorkingSetBytes = (long)load.WorkingSetBytes,
                LimitBytes = (long)load.LimitBytes,
                AvailableBytes = (long)load.AvailableBytes,
                IsMachine = load.Machine != 0,
            };
    }, default);

    internal override int Simulate(MemoryAvailable available, bool critical) =>
        With(w => Native.psb_watch_simulate(w, (int)available, critical ? 1 : 0), -Native.ENODATA);

    internal override MemoryPressureStatus Status() => With(w =>
    {
        var source = new Native.Source { Size = (UIntPtr)sizeof(Native.Source) };

        Native.psb_watch_source(w, &source);
        return new MemoryPressureStatus(MemoryPressureState.Watching, Native.Text(source.Why) ?? "")
        {
            Source = Native.Text(source.Name),
            Cgroup = Native.Text(source.Cgroup),
            Rung = (int)source.Rung,
            Backend = backend,
            Path = Native.Text(source.Path) is { Length: > 0 } path ? path : null,
        };
    }, new MemoryPressureStatus(MemoryPressureState.Stopped, ""));
}
