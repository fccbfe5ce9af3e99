// SPDX-License-Identifier: MIT
//
// embedder WORD...: a program that uses PsiBridge, one word for each thing it does with it
//
// Prints "status STATE: REASON", then what it is told: "changed LEVEL CRITICAL REASON", "callback LEVEL". Standard
// input takes "level" and "exit"; it ends with its input, too.
//
//     watch        handler and callback that print
//     throw        ... before them, ones that throw
//     exit         ... ones that end the process with 7; exit-callback: only the callback does
//     garbage      first fill a cache of 300 MB, and drop it
//     cache        a cache of 300 MB, which a CacheCompactor drops
//     lazy         no Start(): what is asked for starts it
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using PsiBridge;

internal static class Program
{
    private sealed class Callback : IMemoryPressureCallback
    {
        private readonly Action<MemoryPressureEventArgs> react;

        internal Callback(Action<MemoryPressureEventArgs> react) => this.react = react;

        public void OnMemoryPressure(MemoryPressureEventArgs pressure) => react(pressure);
    }

    private static readonly object OutputLock = new object();
    private static List<byte[]>? cache;

    private static void Print(string line)
    {
        lock (OutputLock)
        {
            Console.Out.WriteLine(line);
            Console.Out.Flush();
        }
    }

    // In a method of its own: no register and no slot of Main() keeps it alive.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static List<byte[]> Fill(int mb)
    {
        var pages = new List<byte[]>();
        for (int done = 0; done < mb * 256; done++)
        {
            var page = new byte[4072];
            page[0] = page[4000] = 1;
            pages.Add(page);
        }
        return pages;
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Drop(int mb) => Fill(mb).Count;

    private static void Both(Action<MemoryPressureEventArgs> react)
    {
        MemoryPressure.Changed += (_, pressure) => react(pressure);
        MemoryPressure.Register(new Callback(react));
    }

    private static void Use(string word)
    {
        switch (word)
        {
            case "watch":
                MemoryPressure.Changed += (_, p) => Print("changed " + p.Available + " " + p.Critical + " " + p.Reason);
                MemoryPressure.Register(new Callback(p => Print("callback " + p.Available)));
                break;
            case "throw":
                Both(_ => throw new InvalidOperationException("as told"));
                break;
            case "exit":
                Both(_ => Environment.Exit(7));
                break;
            case "exit-callback":
                MemoryPressure.Register(new Callback(_ => Environment.Exit(7)));
                break;
            case "garbage":
                Drop(300);
                break;
            case "cache":
                cache = Fill(300);
                MemoryPressure.Register(new CacheCompactor(share =>
                {
                    Print("compact " + (int)(share * 100));
                    cache.RemoveRange(0, (int)(cache.Count * share));
                }));
                break;
            default:
                throw new ArgumentException(word);
        }
    }

    private static int Main(string[] words)
    {
        bool lazy = Array.IndexOf(words, "lazy") >= 0;

        if (!lazy)
            MemoryPressure.Start();
        foreach (string word in words)
        {
            if (word != "lazy")
                Use(word);
        }
        Print("status " + MemoryPressure.Status.State + ": " + MemoryPressure.Status.Reason);
        for (string? line; (line = Console.In.ReadLine()) != null;)
        {
            if (line == "exit")
                return 0;
            if (line == "level")
                Print("level " + MemoryPressure.Available + " " + MemoryPressure.IsCritical);
        }
        return 0;
    }
}
