// SPDX-License-Identifier: MIT
//
// Subscribers.cs - who is told, and what becomes of what they throw
//
// A copy-on-write list: telling takes no lock, and an entry that is told may add and remove, itself too. Each entry is told
// in a try of its own. Only its first exception is reported on standard error: a handler that throws does so each time, and
// standard error is no place for that when memory is short.
using System;

namespace PsiBridge;

/// <param name="what">How a report begins.</param>
internal sealed class Subscribers<T>(string what) where T : class
{
    internal sealed class Entry(Subscribers<T> list, T target) : IDisposable
    {
        internal readonly T Target = target;
        internal bool Reported;

        public void Dispose() => list.Remove(this);
    }

    private readonly object gate = new object();
    private volatile Entry[] entries = Array.Empty<Entry>();

    internal IDisposable Add(T target)
    {
        var entry = new Entry(this, target);

        lock (gate)
            entries = [.. entries, entry];
        return entry;
    }

    /// <summary>As with a delegate: the last one that was added goes.</summary>
    internal void RemoveLast(T target) => Array.FindLast(entries, e => e.Target.Equals(target))?.Dispose();

    private void Remove(Entry entry)
    {
        lock (gate)
            entries = Array.FindAll(entries, e => e != entry);
    }

    internal Entry[] All => entries;

    internal void Tell(Action<T> tell)
    {
        foreach (Entry entry in entries)
            Tell(entry, tell);
    }

    internal void Tell(Entry entry, Action<T> tell)
    {
        try
        {
            if (Array.IndexOf(entries, entry) >= 0) // not removed meanwhile
                tell(entry.Target);
        }
        catch (Exception e)
        {
            if (!entry.Reported)
                Log.Write(Log.Error, "{0} threw {1}: {2}; it stays registered, and this is not told again", what,
                          e.GetType().FullName, e.Message);
            entry.Reported = true;
        }
    }
}
