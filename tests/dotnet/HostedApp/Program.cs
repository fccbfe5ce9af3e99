// SPDX-License-Identifier: MIT
//
// hosted [WORD...]: a program for psibridge-clrhost to run, and the handlers (class Handler) it may be told to call
//
// It prints "ready WORD..." and does what standard input says, a line each, until that ends:
//
//     exit N      return N from Main            now N       Environment.Exit(N)
//     throw       an exception nobody catches   release     ends the collections of Handler.Collects
//
// With the word "guard" it has a handler of ProcessExit, which prints "ending", waits for a line, and prints how many
// calls came since: "calls after the end: 0".
using System;
using System.Runtime.InteropServices;
using System.Threading;

public static class Handler
{
    internal static int Calls;
    internal static volatile bool Released;

    private static void Say(string text)
    {
        Console.WriteLine(text);
        Console.Out.Flush();
    }

    public static void Prints(int available)
    {
        Interlocked.Increment(ref Calls);
        Say($"handler {available}");
    }

    public static void Counts(int available) => Interlocked.Increment(ref Calls);

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
        int before = GC.CollectionCount(2);

        Prints(available);
        while (!Released)
            GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);
        Say($"collected {(GC.CollectionCount(2) > before ? "some" : "nothing")}");
    }

    public static void TwoArguments(int available, int critical) => Prints(available);

    public static void OtherArgument(string available) => Say(available);

    public static int Returns(int available) => available;

    [UnmanagedCallersOnly]
    public static void Marked(int available) => Say($"marked {available}");
}

internal static class Program
{
    private static void Guard()
    {
        AppDomain.CurrentDomain.ProcessExit += (_, _) =>
        {
            int calls = Volatile.Read(ref Handler.Calls);

            Console.WriteLine("ending");
            Console.Out.Flush();
            Console.ReadLine();
            Console.WriteLine($"calls after the end: {Handler.Calls - calls}");
            Console.Out.Flush();
        };
    }

    private static int Main(string[] args)
    {
        string? line;

        if (Array.IndexOf(args, "guard") >= 0)
            Guard();
#if USES_PSIBRIDGE
        PsiBridge.MemoryPressure.Changed += (_, e) =>
        {
            Console.WriteLine($"changed {e.Available}, load known: {PsiBridge.MemoryPressure.Load.Percent > 0}");
            Console.Out.Flush();
        };
#endif
        Console.WriteLine($"ready {string.Join(' ', args)}");
        Console.Out.Flush();
        while ((line = Console.ReadLine()) != null)
        {
            string[] words = line.Split(' ');
            switch (words[0])
            {
                case "exit":
                    return int.Parse(words[1]);
                case "now":
                    Environment.Exit(int.Parse(words[1]));
                    break;
                case "throw":
                    throw new InvalidOperationException("as told");
                case "release":
                    Handler.Released = true;
                    break;
            }
        }
        return 0;
    }
}
