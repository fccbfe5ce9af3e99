// SPDX-License-Identifier: MIT
//
// garbage [KIND] [MB [LIVE-MB]]: a program that knows nothing of psibridge. It fills a cache of MB (300), drops all but LIVE-MB
// (20) of it, and idles, as many programs do after a busy hour. It prints "ready", ends with its standard input, and obeys
// lines there:
//
//     exit N, now N, elsewhere N, native-exit N   Main returns, Environment.Exit(), on another thread, exit(3)
//     throw, throw-elsewhere, crash               end badly
//     fork PROGRAM                                starts it and waits
//     alive, settle                               are answered, settle when no finalizer has anything left to do
//
// KIND, in place of the cache: large (500 MiB in arrays, of which every fifth is kept), finalizers (which hold it), native (memory
// that finalizers free), graph (a live heap that takes its time to walk), busy (two threads allocate meanwhile); and those of
// Shapes.cs. This file is C# 5, so that Mono's compiler reads it too.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;

class Holder
{
    byte[][] pages = new byte[16][];

    public Holder()
    {
        for (int i = 0; i < pages.Length; i++)
            pages[i] = new byte[4000];
    }

    ~Holder()
    {
        pages = null;
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

static partial class Program
{
    static readonly List<object> live = new List<object>();

    [DllImport("libc")]
    static extern void exit(int status);

    // Elsewhere: no stack of a thread that lives on, and no register of Main(), keeps the garbage alive.
    static void OnThread(ThreadStart start)
    {
        var thread = new Thread(start);
        thread.Start();
        thread.Join();
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Work(long bytes, long keep)
    {
        var cache = new List<byte[]>();
        for (long done = 0; done < bytes; done += 4096)
        {
            var page = new byte[4072];
            page[0] = page[4000] = 1;
            cache.Add(page);
        }
        live.AddRange(cache.GetRange(0, (int)Math.Min(cache.Count, keep / 4096)));
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

    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Large(int count)
    {
        var all = new List<byte[]>();
        for (int i = 0; i < count; i++)
        {
            all.Add(new byte[1 << 20]);
            for (int page = 0; page < 1 << 20; page += 4096)
                all[i][page] = 1;
            if (i % 5 == 0)
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

    static void AllocateForEver()
    {
        var table = new byte[1000][];
        for (int i = 0;; i = (i + 1) % table.Length)
            table[i] = new byte[1000];
    }

    // Without Shapes.cs there are none, and calls of these are left out.
    static partial void FillShape(string kind, ref bool known);

    static partial void ObeyShape(string command);

    static void Fill(string[] args)
    {
        string kind = args.Length > 0 ? args[0] : "300";
        bool known = false;

        FillShape(kind, ref known);
        if (known)
            return;
        if (kind == "finalizers")
            OnThread(() => Make<Holder>(2500, int.MaxValue));
        else if (kind == "large")
            OnThread(() => Large(500));
        else if (kind == "native")
            OnThread(() => Make<Native>(60000, 200));
        else if (kind == "graph")
            Graph(2000000);
        else if (kind != "busy")
            Work(long.Parse(kind) << 20, (args.Length > 1 ? long.Parse(args[1]) : 20) << 20);
        else
            for (int i = 0; i < 2; i++)
                new Thread(AllocateForEver) { IsBackground = true }.Start();
    }

    static void Obey(string command, string argument, int number)
    {
        ThreadStart now = () => Environment.Exit(number), fail = () => { throw new InvalidOperationException("as told"); };

        ObeyShape(command);
        if (command == "now")
            now();
        if (command == "elsewhere")
            OnThread(now);
        if (command == "native-exit")
            exit(number);
        if (command == "throw")
            fail();
        if (command == "throw-elsewhere")
            OnThread(fail);
        if (command == "crash")
            Environment.FailFast("as told");
        if (command == "fork")
            Process.Start(argument).WaitForExit();
        if (command == "settle")
        {
            GC.WaitForPendingFinalizers();
            Console.WriteLine("settled");
        }
        if (command == "alive")
            Console.WriteLine("alive " + live.Count);
    }

    static int Main(string[] args)
    {
        string line;

        Fill(args);
        Console.WriteLine("ready");
        while ((line = Console.ReadLine()) != null)
        {
            string[] words = line.Split(' ');
            int number;
            int.TryParse(words[words.Length - 1], out number);
            if (words[0] == "exit")
                return number;
            Obey(words[0], words[words.Length - 1], number);
        }
        GC.KeepAlive(live);
        return 0;
    }
}
