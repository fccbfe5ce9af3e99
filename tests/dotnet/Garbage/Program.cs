// SPDX-License-Identifier: MIT
//
// garbage [MB [LIVE-MB]]: a program that knows nothing of psibridge. It fills a cache of MB (300), drops all but LIVE-MB
// (20) of it, and idles, as many programs do after a busy hour. It prints "ready" and ends with its standard input, or
// on "exit N" there, "native-exit N", "throw", "crash"; "fork PROGRAM" is done, "alive" and "collections" are answered. C# 5, so that Mono's
// compiler reads it too.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

static class Program
{
    static List<byte[]> live = new List<byte[]>();

    [DllImport("libc")]
    static extern void exit(int status);

    // In a method of its own: no register and no slot of Main() keeps the cache alive.
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
        live = cache.GetRange(0, (int)Math.Min(cache.Count, keep / 4096));
    }

    static int Main(string[] args)
    {
        long mb = args.Length > 0 ? long.Parse(args[0]) : 300, keep = args.Length > 1 ? long.Parse(args[1]) : 20;
        string line;

        Work(mb << 20, keep << 20);
        Console.WriteLine("ready");
        Console.Out.Flush();
        while ((line = Console.ReadLine()) != null)
        {
            string[] words = line.Split(' ');
            if (words[0] == "exit")
                return int.Parse(words[1]);
            if (words[0] == "native-exit")
                exit(int.Parse(words[1]));
            if (words[0] == "throw")
                throw new InvalidOperationException("as told");
            if (words[0] == "crash")
                Environment.FailFast("as told");
            if (words[0] == "fork")
                using (var child = Process.Start(words[1]))
                    child.WaitForExit();
            if (words[0] == "collections")
                Console.WriteLine("collections " + GC.CollectionCount(GC.MaxGeneration));
            if (words[0] == "alive")
                Console.WriteLine("alive " + live.Count);
            Console.Out.Flush();
        }
        GC.KeepAlive(live);
        return 0;
    }
}
