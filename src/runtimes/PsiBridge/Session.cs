// SPDX-License-Identifier: MIT
//
// Session.cs - from a start to its stop: one source, the thread that listens to it, and the policy
//
//     libpsibridge, or the host        "psibridge"                        "psibridge policy"
//        newest level wins  ------->   Source.Take()
//                                      state, Changed handlers
//                                      news -> slot  ------------------>  callbacks, collection
//
// The listener's thread makes all that is native, and frees it. Stop() from any thread closes the source; the thread then
// finds its way out. It is waited for, two seconds at most, but never from a thread of ours, so a handler may stop what
// called it.
//
// In one process only one policy acts. It has put a delegate into the AppDomain's data under a name, which another copy of
// this code (the start-up hook has one) finds, for it shares no static with us. The library was chosen by the program, so
// it makes a start-up hook yield; a start-up hook makes no other yield.
using System;
using System.Threading;

namespace PsiBridge;

internal sealed class Session
{
    private const string GuardName = "psibridge.policy";
    private const string SwitchedOff = "PSIBRIDGE=off";
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(2);

    private readonly object gate = new object();
    private readonly MemoryPressureOptions? options;
    private readonly Subscribers<IMemoryPressureCallback> callbacks;
    private readonly Action<Session, MemoryPressureEventArgs> told;
    private readonly ManualResetEventSlim decided = new ManualResetEventSlim();
    private readonly Action yieldToOther;
    private readonly Thread thread;
    private Source? source;
    private MemoryPolicy? policy;
    private volatile MemoryPressureStatus status;
    private MemoryPressureStatus? end; // why it was stopped

    /// <param name="options">The program's.</param>
    /// <param name="given">A source that is there already; null: libpsibridge is asked.</param>
    /// <param name="callbacks">For the policy.</param>
    /// <param name="told">Called on the listener's thread for each news.</param>
    internal Session(MemoryPressureOptions? options, SlotSource? given,
                     Subscribers<IMemoryPressureCallback> callbacks, Action<Session, MemoryPressureEventArgs> told)
    {
        this.options = options;
        this.callbacks = callbacks;
        this.told = told;
        status = given?.Status() ?? new MemoryPressureStatus(MemoryPressureState.Starting, "");
        source = given;
        IsFedByHost = given != null && given.Status().Source == "host";
        yieldToOther = () => Close(MemoryPressureState.TakenOver, "another PsiBridge of this process took over");
        thread = Threads.Start("psibridge", Run);
    }

    internal MemoryPressureStatus Status
    {
        get
        {
            MemoryPressureStatus known = status;
            return known.State == MemoryPressureState.Watching ? source?.Status() ?? known : known;
        }
    }

    internal bool IsFedByHost { get; }

    /// <summary>Begins to listen, or does already.</summary>
    internal bool IsAlive => thread.IsAlive && end == null;

    /// <summary>News is taken here.</summary>
    internal bool IsListening => source != null && IsAlive;

    internal void WaitUntilDecided(TimeSpan patience) => decided.Wait(patience);

    internal MemoryLoad Load() => source?.Load() ?? default;

    internal int Simulate(MemoryAvailable available, bool critical) =>
        source?.Simulate(available, critical) ?? -Native.ENODATA;

    internal void Tell(MemoryPressureEventArgs pressure) => policy?.Tell(pressure);

    internal void Stop(TimeSpan? patience = null)
    {
        Close(MemoryPressureState.Stopped, "");
        if (Thread.CurrentThread != thread && !(policy?.IsOwnThread ?? false))
            thread.Join(patience ?? StopPatience);
    }

    private void Close(MemoryPressureState state, string why)
    {
        lock (gate)
        {
            end ??= new MemoryPressureStatus(state, why);
            policy?.Stop();
            source?.Close();
        }
    }

    private void Run()
    {
        try
        {
            if (Begin() is { } why)
                Decline(why);
            else
                Listen();
        }
        catch (Exception e)
        {
            // Or a libpsibridge that is too old or for another machine, or no memory for us. The program goes on.
            Decline(new MemoryPressureStatus((e as NotWatchingException)?.State ?? MemoryPressureState.Unavailable, e.Message));
        }
        finally
        {
            End();
        }
    }

    private void Listen()
    {
        decided.Set();
        MemoryPressureStatus ready = Status;
        Log.Write(Log.Info, "ready: {0}", ready);
        // On this rung the stalls of others are told: that must not go unnoticed.
        if (ready.Rung == Native.RungMachine)
            Log.Write(Log.Warning, "watching the whole machine, not this cgroup: {0}", ready.Reason);
        while (source!.Take() is { } news)
            told(this, news);
    }

    private void End()
    {
        ReleaseGuard();
        lock (gate)
        {
            policy?.Stop();
            status = end ?? status;
        }
        source?.Free();
        if (end?.State == MemoryPressureState.TakenOver)
            Log.Write(Log.Info, "ended: {0}", end.Reason);
        else if (source != null)
            Log.Write(Log.Debug, "ended");
        decided.Set();
    }

    // Null: there is something to listen to; or why not.
    private MemoryPressureStatus? Begin()
    {
        string? missing = Library.Find();

        using var settings = new Settings(options, missing == null);
        if (!settings.Enabled)
            return new MemoryPressureStatus(MemoryPressureState.Off, SwitchedOff);
        if (source == null && missing != null)
            return new MemoryPressureStatus(MemoryPressureState.Unavailable, missing);
        if (!ClaimGuard())
            return new MemoryPressureStatus(MemoryPressureState.TakenOver, "the program has a PsiBridge of its own");
        Source opened = source ?? new MailboxSource(ref settings.Watch);
        lock (gate)
        {
            source = opened;
            if (end != null)
                return end; // stopped meanwhile
            policy = new MemoryPolicy(settings, callbacks);
        }
        status = opened.Status();
        return null;
    }

    private void Decline(MemoryPressureStatus why)
    {
        status = why;
        if (why.State == MemoryPressureState.Unavailable)
            Log.Write(Log.Warning, "cannot watch: {0}; the program runs on without", why.Reason);
        else if (why.State == MemoryPressureState.TakenOver)
            Log.Write(Log.Info, "stays out: {0}", why.Reason);
        else if (why.State == MemoryPressureState.Off && why.Reason != SwitchedOff)
            Log.Write(Log.Info, "not watching: {0}", why.Reason);
    }

    private bool ClaimGuard()
    {
        AppDomain domain = AppDomain.CurrentDomain;

        // The one object that both copies of this code can see.
        lock (domain)
        {
            if (domain.GetData(GuardName) is Action other && other != yieldToOther)
            {
#if PSIBRIDGE_HOOK
                return false;
#else
                other();
#endif
            }
            domain.SetData(GuardName, yieldToOther);
            return true;
        }
    }

    private void ReleaseGuard()
    {
        AppDomain domain = AppDomain.CurrentDomain;

        lock (domain)
        {
            if (domain.GetData(GuardName) is Action own && own == yieldToOther)
                domain.SetData(GuardName, null);
        }
    }
}
