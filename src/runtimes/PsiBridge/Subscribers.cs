// SPDX-License-Identifier: MIT
//
// Subscribers.cs - who is told, and what becomes of what they throw
//
// A copy-on-write list: telling takes no lock, and an entry that is told may add and remove, itself too. Each entry is told
// in a try of its own. The first exception of an entry is reported on standard error, later ones are not: a handler
// that throws does so each time, and standard error is no place for that when memory is short.
using System;

namespace PsiBridge;

/// <param name="what">How a report begins.</param>
internal sealed class Subscribers<T>(string what) where T : class
{
    private sealed class Entry(Subscribers<T> list, T target) : IDisposable
    {
        internal readonly T Target = target;
        internal volatile bool Removed;
        internal bool Reported;

        public void Dispose() => list.Remove(this);
    }

    private readonly object gate = new object();
    private Entry[] entries = Array.Empty<Entry>();

    internal IDisposable Add(T target)
    {
        var entry = new Entry(this, target);

        lock (gate)
            entries = [.. entries, entry];
        return entry;
    }

    /// <summary>As with a delegate: the last one that was added goes.</summary>
    internal void RemoveLast(T target)
    {
        lock (gate)
        {
            int at = Array.FindLastIndex(entries, e => e.Target.Equals(target));
            if (at >= 0)
                Remove(entries[at]);
        }
    }

    private void Remove(Entry entry)
    {
        lock (gate)
        {
            entry.Removed = true;
            entries = Array.FindAll(entries, e => e != entry);
        }
    }

    internal void Tell(Action<T> tell)
    {
        foreach (Entry entry in entries)
        {
            if (entry.Removed)
                continue;
            try
            {
                tell(entry.Target);
            }
            catch (Exception e)
            {
                if (entry.Reported)
                    continue;
                entry.Reported = true;
                Log.Write(Log.Error, "{0} threw {1}: {2}; it stays registered, and this is not told again", what,
                          e.GetType().FullName, e.Message);
            }
        }
    }
}
