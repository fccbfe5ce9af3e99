// SPDX-License-Identifier: MIT
//
// mono-guest KIND: a program for test-mono.sh that knows nothing of psibridge, and does what tests/dotnet/Garbage does
// not: its garbage is held by finalizers, or is native, or it computes while it is collected. It prints "ready", then obeys
// lines on its standard input:
//
//     return N, exit N, exit-elsewhere N   end: Main returns, Environment.Exit(), the same on another thread
//     throw, throw-elsewhere, crash        end badly
//     say TEXT                             prints TEXT
//     settle TEXT                          the same when the finalizer thread has nothing left to do
//
// KIND: plain, finalizers, native, graph (a live heap that takes its time to walk), busy (two threads allocate meanwhile).
// C# 5, for mcs.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

class Holder
{
    readonly List<byte[]> pages = new List<byte[]>();

    public Holder()
    {
        for (int i = 0; i < 16; i++)
            pages.Add(new byte[4000]);
    }

    ~Holder()
    {
        pages.Clear();
    }
}

class Native
{
    const int Size = 2000;
    readonly IntPtr memory = Marshal.AllocHGlobal(Size);

    public Native()
    {
        for (int i = 0; i < Size; i += 500)
            Marshal.WriteByte(memory, i, 1);
    }

    ~Native()
    {
        Marshal.FreeHGlobal(memory);
    }
}

class Node
{
    public Node Left, Right;
}

static class Guest
{
    static readonly List<object> live = new List<object>();

    // Elsewhere: no stack of a thread that lives on keeps the garbage alive.
    static void OnThread(ThreadStart start)
    {
        var thread = new Thread(start);
        thread.Start();
        thread.Join();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Make<T>(int count, int keepOneOf) where T : new()
    {
        var all = new List<T>();
        for (int i = 0; i < count; i++)
        {
            all.Add(new T());
            // What stays in between keeps malloc() from giving the end of its heap back by itself.
            if (i % keepOneOf == 0)
                live.Add(all[i]);
        }
        GC.KeepAlive(all);
    }

    static void Graph(int count)
    {
        var random = new Random(1);
        var all = new Node[count];
        for (int i = 0; i < count; i++)
        {
            all[i] = new Node();
            all[i].Left = all[random.Next(i + 1)];
            all[i].Right = all[random.Next(i + 1)];
        }
        live.Add(all);
    }

    static int Fill(byte[][] table)
    {
        for (int i = 0; i < table.Length; i++)
            table[i] = new byte[1000];
        return table.Length;
    }

    static void AllocateForEver()
    {
        var table = new byte[1000][];
        while (true)
            Fill(table);
    }

    static int Main(string[] args)
    {
        string kind = args.Length > 0 ? args[0] : "plain", line;

        if (kind == "finalizers")
            OnThread(() => Make<Holder>(2500, int.MaxValue));
        if (kind == "native")
            OnThread(() => Make<Native>(60000, 200));
        if (kind == "graph")
            Graph(2000000);
        for (int i = 0; kind == "busy" && i < 2; i++)
            new Thread(AllocateForEver) { IsBackground = true }.Start();

        Console.WriteLine("ready");
        while ((line = Console.ReadLine()) != null)
        {
            string[] words = line.Split(' ');
            int number = 0;
            if (words.Length > 1)
                int.TryParse(words[1], out number);
            switch (words[0])
            {
            case "return":
                return number;
            case "exit":
                Environment.Exit(number);
                break;
            case "exit-elsewhere":
                OnThread(() => Environment.Exit(number));
                break;
            case "throw":
                throw new InvalidOperationException("as told");
            case "throw-elsewhere":
                OnThread(() => { throw new InvalidOperationException("as told"); });
                break;
            case "crash":
                Environment.FailFast("as told");
                break;
            case "settle":
                GC.WaitForPendingFinalizers();
                Console.WriteLine(words[1]);
                break;
            case "say":
                Console.WriteLine(words[1]);
                break;
            }
        }
        GC.KeepAlive(live);
        return 0;
    }
}
