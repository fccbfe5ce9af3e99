// SPDX-License-Identifier: MIT
//
// MemoryPressure.cs - what programs see
//
// One for a process, for there is one heap. It starts by itself when something is asked for, with what the environment
// says, and never again after a Stop(). Who only reads gets a watch without a policy: to look changes nothing. Nothing here
// throws for what the machine cannot do: Available then stays High, and Status says why. What throws are values that make no
// sense in code, before anything is changed.
//
// `current` is replaced, never changed: under `gate`, which is held for that and for nothing that waits or calls out.
using System;

namespace PsiBridge;

/// <summary>
/// Tells when memory is short, and by default does what helps then: callbacks drop their caches, and the GC gives back
/// what it can.
/// </summary>
/// <remarks>
/// All members may be used from any thread. Handlers of <see cref="Changed"/> run on one background thread, callbacks
/// and collections on another.
/// </remarks>
public static class MemoryPressure
{
    private static readonly TimeSpan StartPatience = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan ExitPatience = TimeSpan.FromMilliseconds(200);

    private static readonly object Gate = new object();
    private static readonly Subscribers<EventHandler<MemoryPressureEventArgs>> Handlers =
        new Subscribers<EventHandler<MemoryPressureEventArgs>>("a handler of MemoryPressure.Changed");
    private static readonly Subscribers<IMemoryPressureCallback> Callbacks =
        new Subscribers<IMemoryPressureCallback>("a callback of MemoryPressure.Register");
    private static readonly MemoryPressureStatus NotStarted = new MemoryPressureStatus(MemoryPressureState.NotStarted);

    private static volatile Session? current;
    private static bool exitWatched;
    private static volatile bool byItself = true;
    private static volatile MemoryPressureEventArgs? last; // what was told; null: High
    private static CollectionTotals collections;

    /// <summary>How much memory the program may count on, as last told. High where nothing is watched. To read it starts the
    /// watch, and no more: collections begin with a <see cref="Start"/>, a handler or a callback.</summary>
    public static MemoryAvailable Available => Last()?.Available ?? MemoryAvailable.High;

    /// <summary>Low, and whole tasks stall, or the kernel killed one.</summary>
    public static bool IsCritical => Last()?.Critical ?? false;

    /// <summary>The memory load, read now. All zero where nothing is watched.</summary>
    public static MemoryLoad Load
    {
        get
        {
            StartByItself(acts: false);
            return current?.Load() ?? default;
        }
    }

    /// <summary>What the last Low achieved. All zero where nothing is watched, or a native host watches.</summary>
    public static MemoryEffect Effect => current?.Effect() ?? new MemoryEffect();

    /// <summary>What is watched, or why nothing is.</summary>
    public static MemoryPressureStatus Status => current?.Status ?? NotStarted;

    /// <summary>
    /// Told on each change, and again while it stays Low. Each level is told at once, also while a collection runs; if
    /// handlers are slow, the newest one. A handler that throws is reported once on standard error, and the others are
    /// still called. Adding a handler starts the watch.
    /// </summary>
    public static event EventHandler<MemoryPressureEventArgs>? Changed
    {
        add
        {
            if (value == null)
                return;
            Handlers.Add(value);
            StartByItself();
        }
        remove
        {
            if (value != null)
                Handlers.RemoveLast(value);
        }
    }

    /// <summary>
    /// Starts the watch; returns when it is known whether that worked. If one runs already, null leaves it as it is, and
    /// options begin a new one with those. Handlers and callbacks stay.
    /// </summary>
    /// <param name="options">Null, and all in it that is null: as the environment says.</param>
    /// <returns><see cref="Status"/>. What this machine cannot do is said there; nothing is thrown for it.</returns>
    /// <exception cref="ArgumentException">An option makes no sense; the message names it and its value. What ran before runs
    /// on.</exception>
    public static MemoryPressureStatus Start(MemoryPressureOptions? options = null)
    {
        options?.Validate();
        Begin(options?.Copy(), null).WaitUntilDecided(StartPatience);
        return Status;
    }

    /// <summary>
    /// Ends the watch. Afterwards <see cref="Available"/> is High and nothing is told. From inside a handler or callback
    /// it returns at once; from elsewhere after a handler that runs has ended, two seconds at most.
    /// </summary>
    public static void Stop()
    {
        Session? stopped;

        lock (Gate)
        {
            byItself = false;
            stopped = current;
            last = null;
        }
        stopped?.Stop();
    }

    /// <summary>
    /// Registers a callback, which is told before the policy collects. It is held strongly, until the registration is
    /// disposed of: one that only we know of, as a <see cref="CacheCompactor"/>, would else be gone with the next
    /// collection. Dispose of it together with the cache it speaks for. A call that runs on another thread may still be
    /// at it when that returns; none begins after it. Registering starts the watch.
    /// </summary>
    /// <param name="callback">Who is told.</param>
    /// <exception cref="ArgumentNullException"><paramref name="callback"/> is null.</exception>
    public static IDisposable Register(IMemoryPressureCallback callback)
    {
        if (callback == null)
            throw new ArgumentNullException(nameof(callback));
        IDisposable registration = Callbacks.Add(callback);
        StartByItself();
        current?.Prepare();
        return registration;
    }

    /// <summary>
    /// For tests: all behaves as if <paramref name="available"/> had been measured, with handlers, callbacks and
    /// collection. It ends as a measured one would: Neutral after the quiet time, then High. Where nothing can be watched
    /// it works too, and lasts until the next Simulate(); after a Stop() it does nothing.
    /// </summary>
    /// <param name="available">The level.</param>
    /// <param name="critical">With Low only.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such level.</exception>
    public static void Simulate(MemoryAvailable available, bool critical = false)
    {
        if (available < MemoryAvailable.Low || available > MemoryAvailable.High)
            throw new ArgumentOutOfRangeException(nameof(available));
        if (current == null)
            Start();
        Act(current!);
        current!.WaitUntilDecided(StartPatience);
        current.Simulate(available, critical);
    }

    /// <summary>Collections that the policy made: how many, their time, and what went back. Added up over all watches.</summary>
    internal struct CollectionTotals
    {
        internal long Count, Msec, Bytes;
    }

    internal static CollectionTotals Collections
    {
        get
        {
            lock (Gate)
                return collections;
        }
    }

    /// <summary>On the policy's thread.</summary>
    internal static void Collected(long bytes, long msec)
    {
        lock (Gate)
        {
            collections.Count++;
            collections.Msec += msec;
            collections.Bytes += bytes;
        }
    }

    private static MemoryPressureEventArgs? Last()
    {
        StartByItself(acts: false);
        return last;
    }

    /// <summary>For a native host, which puts in the news from now on, and says what the load is.</summary>
    internal static Session StartFromHost(Func<MemoryLoad> load) => Begin(null, load);

    /// <summary>Another copy of this code acts from now on.</summary>
    internal static void Yield() => current?.Yield();

    /// <summary>For the start-up hook, and whatever else must not wait.</summary>
    internal static void StartByItself(bool acts = true)
    {
        if (current is { } session)
        {
            if (acts)
                Act(session);
        }
        else if (byItself)
        {
            lock (Gate)
            {
                if (current == null && byItself)
                    Begin(null, null, acts);
            }
        }
    }

    // What only told does something from now on; also now, if it is Low.
    private static void Act(Session session)
    {
        if (session.Act() && last is { Available: MemoryAvailable.Low } low)
            session.Tell(low);
    }

    private static Session Begin(MemoryPressureOptions? options, Func<MemoryLoad>? hostLoad, bool acts = true)
    {
        Session? old;
        Session started;

        lock (Gate)
        {
            old = current;
            // A native host that feeds us stays, whatever is asked for.
            if (old != null && old.IsWatching && (old.IsFedByHost || (options == null && hostLoad == null)))
            {
                if (acts)
                    Act(old);
                return old;
            }
            if (!exitWatched)
                AppDomain.CurrentDomain.ProcessExit += (_, _) => current?.Stop(ExitPatience);
            exitWatched = true;
            // The new one tells what is now, if it is another level. If it cannot watch, nothing would ever end a Low.
            last = null;
            current = started = new Session(options, hostLoad, acts, Callbacks, Told);
        }
        old?.Stop();
        return started;
    }

    // On the listener's thread, or on that of the heap's limit.
    private static void Told(Session session, MemoryPressureEventArgs news)
    {
        MemoryPressureEventArgs? pressure;

        news.Load = session.Load();
        lock (Gate)
        {
            if (session != current || session.IsEnded)
                return; // the last words of one that was stopped
            if (news.Reason == MemoryPressureReason.Present && last == null && news.Available == MemoryAvailable.High)
                return;
            if ((pressure = session.Join(news)) == null)
                return;
            last = pressure;
            session.Tell(pressure);
        }
        if (!session.IsFedByHook)
            Log.Write(Log.Info, "told {0}", pressure);
        lock (session.HandlersGate)
        {
            if (last == pressure) // or the other thread waits with what is newer
                Handlers.Tell(handler => handler(null, pressure));
        }
    }
}
