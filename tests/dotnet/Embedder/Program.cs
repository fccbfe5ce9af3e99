// SPDX-License-Identifier: MIT
//
// embedder WORD...: a program that uses PsiBridge, one word for each thing it does with it. Without PsiBridge (-p:Aware=no)
// it is one for psibridge-clrhost to run; class Handler is what that may be told to call.
//
// It prints "status STATE: REASON", "ready WORD...", then what it is told: "changed LEVEL CRITICAL REASON LOAD-KNOWN", "callback
// LEVEL"; and does what standard input says, a line each, until that ends:
//
//     exit [N]    return N from Main            now N       Environment.Exit(N)
//     throw       an exception nobody catches   release     ends the collections of Handler.Collects
//     level       prints "level LEVEL CRITICAL"      start       MemoryPressure.Start()
//
//     watch        handler and callback that print
//     throw        ... before them, ones that throw
//     exit         ... ones that end the process with 7; exit-callback: only the callback does
//     garbage      first fill a cache of 300 MB, and drop it
//     cache        a cache of 300 MB, which a CacheCompactor drops
//     lazy         no Start(): what is asked for starts it
//     guard        a handler of ProcessExit, which prints "ending", waits for a line, and prints how many calls of
//                  Handler came since: "calls after the end: 0"
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
#if AWARE
using PsiBridge;
#endif

public static class Handler
{
    internal static int Calls;
    internal static volatile bool Released;

    public static void Counts(int available) => Interlocked.Increment(ref Calls);

    public static void Prints(int available)
    {
        Counts(available);
        Program.Print("handler " + available);
    }

    public static void Throws(int available)
    {
        Prints(available);
        throw new InvalidOperationException("on purpose");
    }

    public static void Exits(int available)
    {
        Prints(available);
        Environment.Exit(9);
    }

    public static void Hangs(int available)
    {
        Prints(available);
        Thread.Sleep(Timeout.Infinite);
    }

    // Collects until released: whatever happens meanwhile happens while a collection runs, or between two.
    public static void Collects(int available)
    {
        Prints(available);
        while (!Released)
            GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);
        Program.Print("collected");
    }

    public static void OtherArgument(string available) { }

    public static int Returns(int available) => available;

#if NET
    [UnmanagedCallersOnly]
    public static void Marked(int available) => Prints(available);
#endif
}

internal static class Program
{
    private static readonly object OutputLock = new object();

    internal static void Print(string line)
    {
        lock (OutputLock)
        {
            Console.Out.WriteLine(line);
            Console.Out.Flush();
        }
    }

#if AWARE
    private sealed class Callback(Action<MemoryPressureEventArgs> react) : IMemoryPressureCallback
    {
        public void OnMemoryPressure(MemoryPressureEventArgs pressure) => react(pressure);
    }

    // In a method of its own: no register and no slot of Main() keeps it alive.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static List<byte[]> Fill()
    {
        var pages = new List<byte[]>();
        for (int done = 0; done < 300 * 256; done++)
        {
            var page = new byte[4072];
            page[0] = page[4000] = 1;
            pages.Add(page);
        }
        return pages;
    }

    private static void Both(Action<MemoryPressureEventArgs> changed, Action<MemoryPressureEventArgs> callback)
    {
        MemoryPressure.Changed += (_, pressure) => changed(pressure);
        MemoryPressure.Register(new Callback(callback));
    }

    private static void Compact(List<byte[]> cache) =>
        MemoryPressure.Register(new CacheCompactor(share => cache.RemoveRange(0, (int)(cache.Count * share))));

    private static readonly Action<MemoryPressureEventArgs> Nothing = _ => { }, Exit = _ => Environment.Exit(7),
        Fail = _ => throw new InvalidOperationException("as told");

    private static readonly Dictionary<string, Action> Uses = new()
    {
        ["watch"] = () => Both(
            p => Print("changed " + p.Available + " " + p.Critical + " " + p.Reason + " " + (MemoryPressure.Load.Percent > 0)),
            p => Print("callback " + p.Available)),
        ["throw"] = () => Both(Fail, Fail),
        ["exit"] = () => Both(Exit, Exit),
        ["exit-callback"] = () => Both(Nothing, Exit),
        ["garbage"] = () => Fill(),
        ["cache"] = () => Compact(Fill()),
    };
#endif

    private static void Guard()
    {
        int calls = Volatile.Read(ref Handler.Calls);

        Print("ending");
        Console.ReadLine();
        Print("calls after the end: " + (Handler.Calls - calls));
    }

    private static int Main(string[] words)
    {
        if (Array.IndexOf(words, "guard") >= 0)
            AppDomain.CurrentDomain.ProcessExit += (_, _) => Guard();
#if AWARE
        if (Array.IndexOf(words, "lazy") < 0)
            MemoryPressure.Start();
        foreach (string word in words)
        {
            if (Uses.TryGetValue(word, out Action? use))
                use();
        }
        Print("status " + MemoryPressure.Status.State + ": " + MemoryPressure.Status.Reason);
#endif
        Print("ready " + string.Join(" ", words));
        for (string? line; (line = Console.In.ReadLine()) != null;)
        {
            string[] parts = line.Split(' ');
            int number = parts.Length > 1 ? int.Parse(parts[1]) : 0;
            if (parts[0] == "exit")
                return number;
            if (parts[0] == "now")
                Environment.Exit(number);
            if (parts[0] == "throw")
                throw new InvalidOperationException("as told");
            if (parts[0] == "release")
                Handler.Released = true;
#if AWARE
            if (parts[0] == "start")
                MemoryPressure.Start();
            if (parts[0] == "level")
                Print("level " + MemoryPressure.Available + " " + MemoryPressure.IsCritical);
#endif
        }
        return 0;
    }
}
