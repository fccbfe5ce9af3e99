// SPDX-License-Identifier: MIT
//
// Support.cs - what the tests share: a source that rings when told, and somebody who listens
//
// MemoryPressure is one for a process, so tests run one after the other, and each begins and ends with a stop. Waits
// are for events, with a limit that only a failure reaches.
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using System.Threading;
using Xunit;

[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace PsiBridge.Tests;

/// <summary>A FIFO; each byte in it is a Low.</summary>
internal sealed class Fifo : IDisposable
{
    private readonly FileStream stream;

    [DllImport("libc", SetLastError = true)]
    private static extern int mkfifo([MarshalAs(UnmanagedType.LPUTF8Str)] string path, uint mode);

    internal Fifo()
    {
        Path = System.IO.Path.Combine(System.IO.Path.GetTempPath(), "psb-xunit-" + Guid.NewGuid().ToString("N"));
        Assert.Equal(0, mkfifo(Path, 0x180));
        stream = new FileStream(Path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite, 0);
    }

    internal string Path { get; }

    internal void Ring() => stream.Write("x"u8);

    public void Dispose()
    {
        stream.Dispose();
        File.Delete(Path);
    }
}

internal sealed class Callback(Action<MemoryPressureEventArgs> react) : IMemoryPressureCallback
{
    public void OnMemoryPressure(MemoryPressureEventArgs pressure) => react(pressure);
}

/// <summary>Begins a watch on a FIFO of its own, listens, and stops.</summary>
internal sealed class Watched : IDisposable
{
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly List<MemoryPressureEventArgs> told = new();

    /// <param name="change">Of the options, with which Low is over in no time.</param>
    internal Watched(Action<MemoryPressureOptions>? change = null)
    {
        var options = new MemoryPressureOptions
        {
            Source = Fifo.Path,
            RepeatInterval = TimeSpan.FromMilliseconds(1),
            QuietTime = TimeSpan.FromMilliseconds(100),
            CalmTime = TimeSpan.FromMilliseconds(100),
            HighHeadroomPercent = 0,
        };
        change?.Invoke(options);
        MemoryPressure.Stop();
        MemoryPressure.Changed += Hear;
        Status = MemoryPressure.Start(options);
    }

    /// <summary>What is simulated stays until something else is.</summary>
    internal static Watched Still(Action<MemoryPressureOptions>? change = null) => new(o =>
    {
        o.QuietTime = TimeSpan.FromMinutes(10);
        change?.Invoke(o);
    });

    internal Fifo Fifo { get; } = new();

    internal MemoryPressureStatus Status { get; }

    internal int Count => told.Count;

    internal void Hear(object? sender, MemoryPressureEventArgs pressure)
    {
        lock (told)
        {
            told.Add(pressure);
            Monitor.PulseAll(told);
        }
    }

    /// <summary>The first of this level that came, or is yet to come.</summary>
    internal MemoryPressureEventArgs Wait(MemoryAvailable available)
    {
        lock (told)
        {
            MemoryPressureEventArgs? found;
            while ((found = told.Find(p => p.Available == available)) == null)
                Assert.True(Monitor.Wait(told, Patience), "waited in vain; what came: " + string.Join(", ", told));
            return found;
        }
    }

    /// <summary>Until the policy's thread has told callbacks: what comes after it would take its place.</summary>
    internal static void Simulate(MemoryAvailable available, bool critical = false)
    {
        using var taken = new ManualResetEvent(false);

        using (MemoryPressure.Register(new Callback(p => _ = p.Available == available && taken.Set())))
        {
            MemoryPressure.Simulate(available, critical);
            Assert.True(taken.WaitOne(Patience));
        }
    }

    public void Dispose()
    {
        MemoryPressure.Changed -= Hear;
        MemoryPressure.Stop();
        Fifo.Dispose();
    }
}
