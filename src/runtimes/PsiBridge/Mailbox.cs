// SPDX-License-Identifier: MIT
//
// Mailbox.cs - a bridge, a watch and a mailbox of libpsibridge
//
// Take() and Free() belong to the listener's thread. All else may be called from anywhere, at any time, also after Free(): the gate
// is held for as long as a call takes that uses the handles. None of them waits.
using System;

namespace PsiBridge;

internal sealed class NotWatchingException(MemoryPressureState state, string why) : Exception(why)
{
    internal MemoryPressureState State => state;
}

/// <summary>What a session listens to.</summary>
internal interface ISource
{
    MemoryPressureEventArgs? Take();
    void Close();
    void Free();
    void Simulate(MemoryAvailable available, bool critical);
    void Report(long bytes, long msec);
    MemoryEffect Effect();
    long StalledUsec();
    MemoryLoad Load();
    MemoryPressureStatus? Status();
}

internal sealed unsafe class Mailbox : ISource
{
    private readonly object gate = new object();
    private IntPtr bridge, watch, mailbox, registration;
    private bool keepsCode;
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
        bridge = made;
        fixed (Native.WatchOptions* o = &options)
            r = Native.psb_watch_new(bridge, o, &made);
        Check(r, Native.Text(text) ?? "");
        watch = made;
        Check(Native.psb_mailbox_new(watch, Native.TellPresent, &made), "");
        mailbox = made;
        registration = Native.psb_mailbox_registration(mailbox);
        backend = Native.psb_bridge_backend(bridge, null) == Native.BackendUring ? "io_uring" : "epoll";
        keepsCode = true; // also where it fails half-way: what begins is ended
        Code.Begin();
        Check(Native.psb_bridge_start(bridge), "");
    }

    private static void Check(int r, string why)
    {
        if (r < 0)
            throw new NotWatchingException(r == -Native.ENODATA ? MemoryPressureState.Off : MemoryPressureState.Unavailable,
                                           why.Length > 0 ? why : "error " + -r);
    }

    /// <summary>Waits for news. Null: closed, there will be no more.</summary>
    public MemoryPressureEventArgs? Take()
    {
        var n = new Native.Notification { Size = (UIntPtr)sizeof(Native.Notification) };

        if (Native.psb_mailbox_take(mailbox, Native.Forever, &n) <= 0)
            return null;
        Code.Keep((MemoryAvailable)n.Available);
        byte* cause = stackalloc byte[Native.CauseTextMax];
        cgroup ??= Native.Text(n.Cgroup);
        var news = new MemoryPressureEventArgs
        {
            Available = (MemoryAvailable)n.Available,
            Critical = n.Critical != 0,
            Reason = (MemoryPressureReason)n.Reason,
            Stall = Native.Time(n.StallUsec),
            Cgroup = cgroup,
            Cause = (MemoryPressureCause)n.Cause,
            CauseText = Native.psb_cause_text(&n, cause) == UIntPtr.Zero ? null : Native.Text(cause),
            CauseCgroup = n.CauseLength == UIntPtr.Zero ? null : System.Text.Encoding.UTF8.GetString(n.Cgroup, (int)n.CauseLength),
        };
        if (n.Kind == Native.KindGone)
        {
            Log.Write(Log.Info, "the cgroup {0} was removed; what takes its place will be watched", cgroup);
            cgroup = null; // it may be another one
        }
        return news;
    }

    public void Close() => Use(() => Native.psb_mailbox_close(mailbox), 0);

    public void Free()
    {
        IntPtr oldMailbox = mailbox, oldWatch = watch, oldBridge = bridge;

        lock (gate)
            mailbox = watch = bridge = IntPtr.Zero;
        Native.psb_mailbox_free(oldMailbox);
        Native.psb_watch_unref(oldWatch);
        Native.psb_bridge_unref(oldBridge);
        if (keepsCode)
            Code.End();
        keepsCode = false;
    }

    private T Use<T>(Func<T> call, T none)
    {
        lock (gate)
            return mailbox == IntPtr.Zero ? none : call();
    }

    public void Simulate(MemoryAvailable available, bool critical) =>
        Use(() => Native.psb_watch_simulate(watch, (int)available, critical ? 1 : 0), 0);

    /// <summary>What a collection gave back, for libpsibridge cannot see what the program takes again at once.</summary>
    public void Report(long bytes, long msec) =>
        Use(() => Native.psb_registration_report(registration, (ulong)bytes, (ulong)msec * 1000), 0);

    private Native.Stats Stats()
    {
        var s = new Native.Stats { Size = (UIntPtr)sizeof(Native.Stats) };

        Native.psb_watch_stats(watch, &s);
        return s;
    }

    /// <summary>How long tasks waited for memory, as far as samples saw it, all in all.</summary>
    public long StalledUsec() => Use(() => (long)Stats().StallUsec, 0);

    public MemoryEffect Effect() => Use(() =>
    {
        Native.Stats s = Stats();

        return new MemoryEffect
        {
            Count = (long)s.Effects,
            BytesBack = (long)s.EffectBytes,
            FirstBack = Native.TimeOrNull(s.Effects > 0, s.FirstBackUsec),
            StallBefore = Native.TimeOrNull(s.Effects > 0, s.StallBeforeUsec),
            StallAfter = Native.TimeOrNull(s.Effects > 0, s.StallAfterUsec),
            Unanswered = (int)s.Unanswered,
            CollectedBytes = (long)s.ReportedBytes,
        };
    }, new MemoryEffect());

    public MemoryLoad Load() => Use(() =>
    {
        var load = new Native.Load { Size = (UIntPtr)sizeof(Native.Load) };

        return Native.psb_watch_load(watch, &load) < 0 ? default : LoadOf(load);
    }, default);

    internal static MemoryLoad LoadOf(in Native.Load load) => new MemoryLoad
    {
        Percent = (int)load.Percent,
        UsedBytes = (long)load.CurrentBytes,
        WorkingSetBytes = (long)load.WorkingSetBytes,
        LimitBytes = (long)load.LimitBytes,
        AvailableBytes = (long)load.AvailableBytes,
        IsMachine = load.Machine != 0,
    };

    /// <summary>Null: it is freed.</summary>
    public MemoryPressureStatus? Status() => Use<MemoryPressureStatus?>(() =>
    {
        var source = new Native.Source { Size = (UIntPtr)sizeof(Native.Source) };

        Native.psb_watch_source(watch, &source);
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
