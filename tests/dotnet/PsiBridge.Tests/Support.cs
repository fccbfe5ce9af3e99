// SPDX-License-Identifier: MIT
//
// Support.cs - what the tests share: a source that rings when told, somebody who listens, a program that runs
//
// MemoryPressure is one for a process, so tests run one after the other, and each begins and ends with a stop. Waits
// are for events, with a limit that only a failure reaches.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Text;
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

/// <summary>What came, in its order, from whichever thread.</summary>
internal sealed class Heard<T>
{
    private readonly List<T> all = new();

    internal int Count
    {
        get
        {
            lock (all)
                return all.Count;
        }
    }

    internal void Add(T item)
    {
        lock (all)
        {
            all.Add(item);
            Monitor.PulseAll(all);
        }
    }

    /// <summary>The first that came, or is yet to come, from number `from` on, for which `wanted` is true.</summary>
    internal T Wait(Predicate<T> wanted, int from = 0)
    {
        long end = Environment.TickCount64 + (long)Watched.Patience.TotalMilliseconds;

        lock (all)
        {
            for (int at = from;;)
            {
                for (; at < all.Count; at++)
                {
                    if (wanted(all[at]))
                        return all[at];
                }
                long left = end - Environment.TickCount64;
                Assert.True(left > 0, "waited in vain; what came:\n" + this);
                Monitor.Wait(all, (int)left);
            }
        }
    }

    public override string ToString()
    {
        lock (all)
            return string.Join("\n", all) + "\n";
    }
}

/// <summary>Begins a watch on a FIFO of its own, listens, and stops.</summary>
internal sealed class Watched : IDisposable
{
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly Heard<MemoryPressureEventArgs> told = new();

    internal Watched(Action<MemoryPressureOptions>? change = null)
    {
        var options = new MemoryPressureOptions
        {
            Source = Fifo.Path,
            Rearm = TimeSpan.FromMilliseconds(1),
            Quiet = TimeSpan.FromMilliseconds(100),
            Calm = TimeSpan.FromMilliseconds(100),
            HighHeadroom = 0,
        };
        change?.Invoke(options);
        MemoryPressure.Stop();
        MemoryPressure.Changed += Hear;
        Status = MemoryPressure.Start(options);
    }

    internal Fifo Fifo { get; } = new();

    internal MemoryPressureStatus Status { get; }

    internal int Count => told.Count;

    private void Hear(object? sender, MemoryPressureEventArgs pressure) => told.Add(pressure);

    internal MemoryPressureEventArgs Wait(MemoryAvailable available, int from = 0) =>
        told.Wait(p => p.Available == available, from);

    public void Dispose()
    {
        MemoryPressure.Changed -= Hear;
        MemoryPressure.Stop();
        Fifo.Dispose();
    }
}

internal sealed class Callback : IMemoryPressureCallback
{
    private readonly Action<MemoryPressureEventArgs> react;

    internal Callback(Action<MemoryPressureEventArgs> react) => this.react = react;

    public void OnMemoryPressure(MemoryPressureEventArgs pressure) => react(pressure);
}

/// <summary>tests/dotnet/Embedder as a process of its own.</summary>
internal sealed class Embedder : IDisposable
{
    private readonly Heard<string> lines = new();
    private readonly Process process;

    internal Embedder(string words, params (string Name, string Value)[] environment)
    {
        string dotnet = Environment.ProcessPath!;
        var start = new ProcessStartInfo(Path.GetFileName(dotnet) == "dotnet" ? dotnet : "dotnet")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "embedder.dll"));
        foreach (string word in words.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            start.ArgumentList.Add(word);
        foreach (string name in start.Environment.Keys.Where(k => k.StartsWith("PSIBRIDGE", StringComparison.Ordinal) &&
                                                                  k != "PSIBRIDGE_LIBRARY").ToList())
            start.Environment.Remove(name);
        start.Environment["PSIBRIDGE_LOG"] = "debug";
        foreach ((string name, string value) in environment)
            start.Environment[name] = value;
        process = Process.Start(start)!;
        process.OutputDataReceived += Hear;
        process.ErrorDataReceived += Hear;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    private void Hear(object sender, DataReceivedEventArgs e)
    {
        if (e.Data != null)
            lines.Add(e.Data);
    }

    internal void Say(string line)
    {
        process.StandardInput.WriteLine(line);
        process.StandardInput.Flush();
    }

    /// <summary>The first line with `part` in it, printed already or yet to come, on either stream.</summary>
    internal string Wait(string part) => lines.Wait(l => l.Contains(part, StringComparison.Ordinal));

    /// <summary>Ends its input, unless it has ended by itself; all it printed and its exit status.</summary>
    internal (int Status, string Output) End(bool closeInput = true)
    {
        if (closeInput)
            process.StandardInput.Close();
        if (!process.WaitForExit(20000))
        {
            process.Kill();
            Assert.Fail("it does not end; it printed:\n" + Output);
        }
        process.WaitForExit(); // and all output has come
        return (process.ExitCode, Output);
    }

    internal string Output => lines.ToString();

    public void Dispose()
    {
        if (!process.HasExited)
            process.Kill();
        process.Dispose();
    }
}
