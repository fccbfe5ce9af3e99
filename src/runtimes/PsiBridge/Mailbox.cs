// SPDX-License-Identifier: MIT
//
// Mailbox.cs - a bridge, a watch and a mailbox of libpsibridge
//
// Take() and Free() belong to the listener's thread. All else may be called from anywhere, at any time, also after Free(): a
// SafeHandle is not freed while a call that uses it runs, and a call that comes later is refused.
using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;

namespace PsiBridge;

internal sealed class NotWatchingException(MemoryPressureState state, string why) : Exception(why)
{
    internal MemoryPressureState State => state;
}

internal sealed class Handle : SafeHandle
{
    private readonly Func<IntPtr, IntPtr> free;

    internal Handle(IntPtr value, Func<IntPtr, IntPtr> free) : base(IntPtr.Zero, ownsHandle: true)
    {
        this.free = free;
        SetHandle(value);
    }

    public override bool IsInvalid => handle == IntPtr.Zero;

    protected override bool ReleaseHandle() => free(handle) == IntPtr.Zero;
}

internal sealed unsafe class Mailbox
{
    private Handle? bridge, watch, mailbox;
    private IntPtr code; // zero: it cannot be kept in memory, or the program sees to that itself
    private bool complained;
    private string? cgroup; // the last one's name, so that it is not made anew for each notification
    private string? backend;

    /// <exception cref="NotWatchingException">There is nothing to watch.</exception>
    internal Mailbox(ref Native.WatchOptions options)
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
        bridge = new Handle(made, Native.psb_bridge_unref);
        fixed (Native.WatchOptions* o = &options)
            r = Native.psb_watch_new(bridge, o, &made);
        Check(r, Native.Text(text) ?? "");
        watch = new Handle(made, Native.psb_watch_unref);
        Check(Native.psb_mailbox_new(watch, Native.TellPresent, &made), "");
        mailbox = new Handle(made, Native.psb_mailbox_free);
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
        {
            Native.psb_code_unlock(code);
        }
        else if (Native.psb_code_lock(code, &refused) == 0 && refused > 0 && !complained)
        {
            complained = true;
            Log.Write(Log.Info, "{0:F1} MiB of code cannot be kept in memory: a higher LimitMEMLOCK= would allow it",
                      refused / 1048576.0);
        }
    }

    /// <summary>Waits for news. Null: closed, there will be no more.</summary>
    internal MemoryPressureEventArgs? Take()
    {
        var n = new Native.Notification { Size = (UIntPtr)sizeof(Native.Notification) };

        if (Native.psb_mailbox_take(mailbox!, Native.Forever, &n) <= 0)
            return null;
        KeepCode((MemoryAvailable)n.Available);
        cgroup ??= Native.Text(n.Cgroup);
        var news = new MemoryPressureEventArgs
        {
            Available = (MemoryAvailable)n.Available,
            Critical = n.Critical != 0,
            Reason = (MemoryPressureReason)n.Reason,
            Stall = Native.Time(n.StallUsec),
            Cgroup = cgroup,
            Cause = (MemoryPressureCause)n.Cause,
            CauseCgroup = n.CauseLength == UIntPtr.Zero ? null : System.Text.Encoding.UTF8.GetString(n.Cgroup, (int)n.CauseLength),
        };
        if (n.Kind == Native.KindGone)
        {
            Log.Write(Log.Warning, "the cgroup {0} was removed; what takes its place will be watched", cgroup);
            cgroup = null; // it may be another one
        }
        return news;
    }

    /// <summary>Returns at once.</summary>
    internal void Close() => Use(mailbox, Native.psb_mailbox_close, 0);

    internal void Free()
    {
        mailbox?.Dispose();
        watch?.Dispose();
        bridge?.Dispose();
        if (code != IntPtr.Zero)
            code = Native.psb_code_free(code);
    }

    private static T Use<T>(Handle? handle, Func<Handle, T> call, T none)
    {
        try
        {
            return handle == null ? none : call(handle);
        }
        catch (ObjectDisposedException)
        {
            return none;
        }
    }

    internal void Simulate(MemoryAvailable available, bool critical) =>
        Use(watch, w => Native.psb_watch_simulate(w, (int)available, critical ? 1 : 0), 0);

    internal MemoryLoad Load() => Use(watch, w =>
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

    /// <summary>Null: it is freed.</summary>
    internal MemoryPressureStatus? Status() => Use<MemoryPressureStatus?>(watch, w =>
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
    }, null);
}
