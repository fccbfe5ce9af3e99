// SPDX-License-Identifier: MIT
//
// survive [MB [LIVE-MB]]: a service that imports something big now and then: an index of MB (400), which lives long enough
// to reach the oldest generation, and is dropped for a summary of LIVE-MB (20). Afterwards it answers small questions, which
// make too little garbage for the collector to look at the oldest generation.
//
// It prints "ready" when the import is over. For each line "ping" on its standard input it prints "pong GEN2 MB": full
// collections so far, and what the collector holds. It ends with its standard input. C# 5, so that Mono's compiler
// reads it too.
using System;
using System.Collections.Generic;
using System.Runtime.CompilerServices;

static class Program
{
    static List<byte[]> summary;

    // In a method of its own: no register and no slot of Main() keeps the index alive.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static void Import(long bytes, long keep)
    {
        var index = new List<byte[]>();

        for (long done = 0; done < bytes; done += 4096)
        {
            var record = new byte[4072];

            for (int i = 0; i < record.Length; i += 512)
                record[i] = (byte)done;
            index.Add(record);
        }
        summary = index.GetRange(0, (int)Math.Min(index.Count, keep / 4096));
    }

    // A question of a customer: a few kilobytes, dead at once.
    [MethodImpl(MethodImplOptions.NoInlining)]
    static string Answer(int number)
    {
        var words = new List<string>();

        for (int i = 0; i < 50; i++)
            words.Add("record " + summary[(number + i) % summary.Count].Length);
        return string.Join(",", words.ToArray());
    }

    static int Main(string[] args)
    {
        long mb = args.Length > 0 ? long.Parse(args[0]) : 400, keep = args.Length > 1 ? long.Parse(args[1]) : 20;
        string line;
        int asked = 0;

        Import(mb << 20, keep << 20);
        Console.WriteLine("ready");
        while ((line = Console.ReadLine()) != null)
        {
            if (line != "ping" || Answer(asked++).Length == 0)
                return 2;
            Console.WriteLine("pong " + GC.CollectionCount(2) + " " + (GC.GetTotalMemory(false) >> 20));
        }
        return 0;
    }
}
