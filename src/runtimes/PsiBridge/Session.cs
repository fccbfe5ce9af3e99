// SPDX-License-Identifier: MIT
//
// Session.cs - from a start to its stop: one source, the thread that listens to it, and the policy
//
//     libpsibridge, or a slot          "psibridge"                        "psibridge policy"
//        newest level wins  ------->   Take()
//                                      level, Changed handlers
//                                      news -> slot  ------------------>  callbacks, collection
//
// In place of libpsibridge's mailbox, a start-up hook listens to the native hook where there is one (Hook.cs), which has said
// already what it watches, and says what it is told.
//
// The slot is filled by a native host (Hosting.cs), or by Simulate() where nothing can be watched. Stop() from any thread closes
// the source; the listener's thread then finds its way out, and frees what is native. It is waited for, two seconds at most, but
// never from a thread of ours, so a handler may stop what called it.
//
// The heap has a limit of its own (GcLimit.cs): a second source, whose thread, there only if it has something to tell, calls what
// the listener's calls. The worse of the two levels counts, but for a Low that was measured: that is always told.
//
// In one process only one policy acts. It has put a delegate into the AppDomain's data under a name, which another copy of
// this code (the start-up hook has one) finds. The library was chosen by the program, so it makes a start-up hook yield, and
// never the other way.
using System;
using System.Threading;

namespace PsiBridge;

internal sealed class Session
{
    private const string GuardName = "psibridge.policy";
    private static readonly Action Guard = MemoryPressure.Yield; // one for all sessions of this copy, which follow each other
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(2);

    private readonly object gate = new object();
    private readonly MemoryPressureOptions? options;
    private readonly Func<MemoryLoad>? hostLoad;
    private readonly Subscribers<IMemoryPressureCallback> callbacks;
    private readonly Action<Session, MemoryPressureEventArgs> told;
    private readonly ManualResetEventSlim decided = new ManualResetEventSlim();
    private readonly Slot slot = new Slot();
    private readonly Settings settings = new Settings();
    private readonly Thread thread;
    private volatile ISource? mailbox; // null: the slot is listened to
    private MemoryPolicy? policy;
    private bool acts, open; // whether there is a policy, or will be; and whether it is known what is listened to
    private volatile MemoryPressureStatus status = new MemoryPressureStatus(MemoryPressureState.Starting);
    private volatile MemoryPressureStatus? end; // why it was stopped
    private MemoryPressureEventArgs? measured, ofHeap; // the last news of each source; null: High
#if NET
    private GcLimit? gcLimit;
#endif

    // hostLoad: a native host puts in the news, and this is the load; null: libpsibridge is asked. acts: with a policy; else it
    // only tells. told: on the listener's thread.
    internal Session(MemoryPressureOptions? options, Func<MemoryLoad>? hostLoad, bool acts,
                     Subscribers<IMemoryPressureCallback> callbacks, Action<Session, MemoryPressureEventArgs> told)
    {
        this.options = options;
        this.hostLoad = hostLoad;
        this.acts = acts;
        this.callbacks = callbacks;
        this.told = told;
        thread = MemoryPolicy.StartThread("psibridge", Run);
    }

    internal MemoryPressureStatus Status => end ?? mailbox?.Status() ?? status;

    internal bool IsFedByHost => hostLoad != null;

    internal bool IsEnded => end != null;

#if PSIBRIDGE_HOOK
    internal bool IsFedByHook => Hook.Settings != null;
#else
    internal bool IsFedByHook => false;
#endif

    /// <summary>It watches, or is about to.</summary>
    internal bool IsWatching => !IsEnded && status.State <= MemoryPressureState.Watching;

    internal void WaitUntilDecided(TimeSpan patience) => decided.Wait(patience);

    internal MemoryLoad Load() => hostLoad?.Invoke() ?? mailbox?.Load() ?? default;

    internal MemoryEffect Effect() => mailbox?.Effect() ?? new MemoryEffect();

    internal void Put(MemoryAvailable available, bool critical, MemoryPressureReason reason)
    {
        critical = critical && available == MemoryAvailable.Low;
        slot.Put(new MemoryPressureEventArgs { Available = available, Critical = critical, Reason = reason });
    }

    internal void Simulate(MemoryAvailable available, bool critical)
    {
        if (mailbox is { } measured)
            measured.Simulate(available, critical);
        else
            Put(available, critical, MemoryPressureReason.Simulated);
    }

    /// <summary>Handlers are told by one thread at a time.</summary>
    internal object HandlersGate { get; } = new object();

    /// <summary>What is to be told because of `news`, as long as the other source is what it is; null: nothing.</summary>
    internal MemoryPressureEventArgs? Join(MemoryPressureEventArgs news)
    {
        static int Badness(MemoryPressureEventArgs? of) => of == null ? 0 : of.Critical ? 3 : MemoryAvailable.High - of.Available;
        bool heap = news.Reason == MemoryPressureReason.HeapLimit;
        MemoryPressureEventArgs? before = heap ? ofHeap : measured, other = heap ? measured : ofHeap;

        (heap ? ref ofHeap : ref measured) = news;
        // What the heap was at its last full collection may be long ago: where memory is short now, garbage is given back.
        if (Badness(news) >= Badness(other) || (!heap && news.Available == MemoryAvailable.Low))
            return news;
        return Badness(before) > Badness(other) ? other : null; // the other one is left, or was the worse all along
    }

    internal void Tell(MemoryPressureEventArgs pressure)
    {
        StartPolicy();
        policy?.Tell(pressure);
    }

    internal void Stop(TimeSpan? patience = null)
    {
        Close(MemoryPressureState.Stopped);
        bool own = Thread.CurrentThread == thread || (policy?.IsOwnThread ?? false);
#if NET
        own |= gcLimit?.IsOwnThread ?? false;
        gcLimit?.Stop(own ? TimeSpan.Zero : patience ?? StopPatience);
#endif
        if (!own)
            thread.Join(patience ?? StopPatience);
    }

    private void Close(MemoryPressureState state, string why = "")
    {
        lock (gate)
        {
            end ??= new MemoryPressureStatus(state, why);
            policy?.Stop();
#if PSIBRIDGE_HOOK
            if (IsFedByHook)
                Hook.Leave(end.State);
#endif
            mailbox?.Close();
            slot.Close();
#if NET
            gcLimit?.Stop(TimeSpan.Zero);
#endif
        }
    }

    private void Run()
    {
        try
        {
            Begin();
            decided.Set();
            while ((mailbox != null ? mailbox.Take() : slot.Take()) is { } news)
                told(this, news);
            Close(MemoryPressureState.Stopped); // the native hook has ended
        }
        catch (Exception e)
        {
            Log.Write(Log.Error, "ended: {0}; the program runs on without", e.Message); // no memory for us, say
            Close(MemoryPressureState.Unavailable, e.Message);
        }
        mailbox?.Free();
        if (end!.State == MemoryPressureState.TakenOver)
            Log.Write(Log.Info, "ended: {0}", end.Reason);
        decided.Set();
    }

    private void Begin()
    {
        string? missing = IsFedByHook ? null : Library.Find();

        try
        {
            settings.Read(options, missing == null);
            if (!settings.Enabled)
                Close(MemoryPressureState.Off, "PSIBRIDGE=off");
            else if (missing != null && !IsFedByHost)
                Decline(MemoryPressureState.Unavailable, missing);
            else if (acts && !ClaimGuard())
                Close(MemoryPressureState.TakenOver, "the program has a PsiBridge of its own");
            else
                Open();
        }
        catch (Exception e)
        {
            // A NotWatchingException, or a libpsibridge that is too old or for another machine.
            Decline((e as NotWatchingException)?.State ?? MemoryPressureState.Unavailable, e.Message);
        }
        finally
        {
            settings.FreeStrings();
        }
    }

    private void Open()
    {
        ISource? opened = IsFedByHost ? null : NewSource();

        lock (gate)
        {
            mailbox = opened;
            if (end != null)
                opened?.Close(); // stopped meanwhile
            open = true;
        }
        if (acts) // since a moment ago, perhaps
            ClaimGuard();
        status = opened?.Status() ?? new MemoryPressureStatus(MemoryPressureState.Watching) { Source = "host" };
        StartPolicy();
        if (IsFedByHook)
            return;
        Log.Write(Log.Info, "ready: {0}", status);
        // On this rung the stalls of others are told.
        if (status.Rung == Native.RungMachine)
            Log.Write(Log.Info, "watching the whole machine, not this cgroup: {0}", status.Reason);
    }

    /// <summary>From now on it has a policy. Returns whether it had none.</summary>
    internal bool Act()
    {
        lock (gate)
        {
            if (acts || end != null)
                return false;
            acts = true;
            if (!open)
                return true; // Begin() sees to it
        }
        ClaimGuard();
        StartPolicy();
        return true;
    }

    /// <summary>A callback was registered.</summary>
    internal void Prepare()
    {
        lock (gate)
            policy?.Prepare();
    }

#if PSIBRIDGE_HOOK
    private ISource NewSource() => IsFedByHook ? new Hook() : new Mailbox(ref settings.Watch);
#else
    private ISource NewSource() => new Mailbox(ref settings.Watch);
#endif

    private void StartPolicy()
    {
        lock (gate)
        {
#if NET
            if (end == null && status.State == MemoryPressureState.Watching)
                gcLimit ??= new GcLimit(news => told(this, news), settings.Rearm, () => acts && settings.Collect != MemoryCollect.Off);
#endif
            if (end == null && acts)
                policy ??= new MemoryPolicy(settings, callbacks, () => mailbox?.StalledUsec() ?? 0, (bytes, msec) =>
                {
                    MemoryPressure.Collected(bytes, msec);
                    mailbox?.Report(bytes, msec);
                });
        }
    }

    // The slot is listened to all the same, for Simulate(); in a program that knows nothing of us nothing calls that.
    private void Decline(MemoryPressureState state, string why)
    {
        status = new MemoryPressureStatus(state, why);
        if (state == MemoryPressureState.Off)
            Log.Write(Log.Info, "not watching: {0}", why);
        else
            Log.Write(Log.Warning, "cannot watch: {0}; the program runs on without", why);
#if PSIBRIDGE_HOOK
        Close(state, why);
#endif
    }

    internal void Yield() => Close(MemoryPressureState.TakenOver, "another PsiBridge of this process took over");

    // Never given back: to end one that has ended does no harm, and a program that stopped its own wants no other.
    private bool ClaimGuard()
    {
        AppDomain domain = AppDomain.CurrentDomain; // the one object that both copies of this code can see

        lock (domain)
        {
            var other = (Action?)domain.GetData(GuardName);
            if (other == Guard)
                return true;
#if PSIBRIDGE_HOOK
            if (other != null)
                return false;
#endif
            other?.Invoke();
            domain.SetData(GuardName, Guard);
            return true;
        }
    }
}
