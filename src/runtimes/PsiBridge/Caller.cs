// SPDX-License-Identifier: MIT
//
// Caller.cs - calls the callbacks, one after the other, and goes on without one that does not return
//
// The policy's thread hands news over and waits until all were told, but for no call longer than two seconds: a cache whose
// lock is held must not keep the program from collecting. What does not return keeps the thread that called it, and another one
// goes on with the rest. It is not called again meanwhile; when it returns it is told the newest of what it has missed.
//
// The first thread is made when a callback is registered, for threads cost memory too.
using System;
using System.Collections.Generic;
using System.Threading;

namespace PsiBridge;

internal sealed class Caller(Subscribers<IMemoryPressureCallback> callbacks)
{
    private sealed class Call(Caller owner, MemoryPressureEventArgs news)
    {
        internal readonly Caller Owner = owner;
        internal readonly MemoryPressureEventArgs News = news;
    }

    private const int PatienceMsec = 2000;

    private readonly Subscribers<IMemoryPressureCallback> callbacks = callbacks;

    private static readonly object Gate = new object();
    // Calls that run, of all sessions, and what is to be told next.
    private static readonly Dictionary<object, Call?> Running = new Dictionary<object, Call?>();
    [ThreadStatic] private static bool isOurs;

    // Under the gate.
    private Thread? worker; // goes through the list
    private Subscribers<IMemoryPressureCallback>.Entry[] list = Array.Empty<Subscribers<IMemoryPressureCallback>.Entry>();
    private int next;
    private Call? call;
    private bool done = true, closed, late;

    internal static bool IsOwnThread => isOurs;

    internal void Prepare()
    {
        lock (Gate)
        {
            if (worker == null && !closed && callbacks.All.Length > 0)
                worker = MemoryPolicy.StartThread("psibridge calls", Work);
        }
    }

    /// <summary>Returns whether there are any, when all were told or are not waited for. On the policy's thread.</summary>
    internal bool Tell(MemoryPressureEventArgs news)
    {
        bool gaveUp = false;

        Prepare();
        lock (Gate)
        {
            list = callbacks.All;
            next = 0;
            call = new Call(this, news);
            done = list.Length == 0;
            Monitor.PulseAll(Gate);
            for (int at = next; !done && !closed; at = next)
            {
                if (Monitor.Wait(Gate, PatienceMsec) || done || next != at)
                    continue;
                worker = MemoryPolicy.StartThread("psibridge calls", Work);
                gaveUp = true;
            }
        }
        if (gaveUp)
            Log.Write(Log.Info, "a callback has not returned for {0} s, and is not waited for", PatienceMsec / 1000);
        return list.Length > 0;
    }

    /// <summary>Whether one has returned that was not waited for; since the last time that this was asked.</summary>
    internal bool TakeLate()
    {
        lock (Gate)
        {
            bool was = late;
            late = false;
            return was;
        }
    }

    /// <summary>No call begins after this.</summary>
    internal void Close()
    {
        lock (Gate)
        {
            closed = true;
            Monitor.PulseAll(Gate);
        }
    }

    private void Work()
    {
        isOurs = true;
        lock (Gate)
        {
            while (worker == Thread.CurrentThread && !closed)
            {
                if (next < list.Length)
                {
                    Make(list[next++], call);
                }
                else
                {
                    done = true;
                    Monitor.PulseAll(Gate);
                    Monitor.Wait(Gate);
                }
            }
            late |= worker != Thread.CurrentThread;
        }
    }

    // With the gate, which is let go while the call runs.
    private static void Make(Subscribers<IMemoryPressureCallback>.Entry entry, Call? now)
    {
        if (Running.ContainsKey(entry))
        {
            Running[entry] = now;
            return;
        }
        for (; now is { } told && !told.Owner.closed; now = Running[entry])
        {
            Running[entry] = null;
            Monitor.Exit(Gate);
            try
            {
                told.Owner.callbacks.Tell(entry, callback => callback.OnMemoryPressure(told.News));
            }
            finally
            {
                Monitor.Enter(Gate);
            }
        }
        Running.Remove(entry);
    }
}
