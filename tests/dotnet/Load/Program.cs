// SPDX-License-Identifier: MIT
//
// load [LIVE-MB [REPORT-MB [THREADS]]]: a web application without the web. It has a live cache of LIVE-MB (100) and serves
// requests on THREADS (one a processor) threads, each the next as soon as the last is done. A request allocates about
// 300 kB that is dead when it is answered; it reads a few entries of the cache, and every eighth replaces one: so there is
// garbage in the oldest generation too, which only a full collection finds. Every 4 s one request is for a report of
// REPORT-MB (100; 0: none), which lives through a few collections before it is dropped.
//
// It prints "ready", serves when told "go SECONDS" on its standard input, and then says on one line what came of it. It
// ends with its standard input. pause_msec is what the runtime counts itself, heap_mb what the collector holds, believes_mb
// what it takes for the memory it may use; the requests' times are taken outside of the collector's view.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Globalization;
using System.Linq;
using System.Text;
using System.Threading;

sealed record Order(int Id, string Customer, string Article, decimal Price);

// One thread's work. What is measured of it goes into memory it has from the beginning.
sealed class Server(byte[][] cache, int reportBytes, int seed)
{
    readonly Random random = new Random(seed);
    readonly int[] usec = new int[1 << 20];
    int served;

    public long Checksum { get; private set; }
    public int Served => served;
    public IEnumerable<int> Times => usec.Take(served);

    public void Serve(long until)
    {
        long report = Stopwatch.GetTimestamp() + Stopwatch.Frequency;

        served = 0;
        for (long start; (start = Stopwatch.GetTimestamp()) < until; served++)
        {
            if (reportBytes > 0 && start >= report)
            {
                report += 4 * Stopwatch.Frequency;
                Checksum += Report();
            }
            else
            {
                Checksum += Request(served);
            }
            if (served < usec.Length)
                usec[served] = (int)Stopwatch.GetElapsedTime(start).TotalMicroseconds;
        }
    }

    int Report()
    {
        var lines = new List<byte[]>();

        for (int done = 0; done < reportBytes; done += 1024)
        {
            var line = new byte[1000];

            line[0] = line[^1] = (byte)done;
            lines.Add(line);
        }
        return lines.Count;
    }

    int Request(int number)
    {
        var body = new byte[64 * 1024];
        var index = new Dictionary<string, Order>();
        var answer = new StringBuilder();

        random.NextBytes(body);
        for (int i = 0; i < 600; i++)
        {
            var order = new Order(i, "customer " + body[i], "article " + body[i + 600] * 256 + i, body[i + 1200] / 100m);

            index[order.Article] = order;
        }
        for (int i = 0; i < 16; i++)
        {
            byte[] entry = cache[random.Next(cache.Length)];

            answer.Append(entry[i]).Append(' ').Append(entry[entry.Length / 2]);
        }
        foreach (Order order in index.Values)
            answer.Append(order.Customer).Append(',').Append(order.Price).Append('\n');
        if (number % 8 == 0)
            cache[random.Next(cache.Length)] = body.AsSpan(0, 4072).ToArray();
        return answer.Length + answer.ToString().Length;
    }
}

static class Program
{
    static void Run(Server[] servers, double seconds)
    {
        TimeSpan pause = GC.GetTotalPauseDuration();
        int gen2 = GC.CollectionCount(2);
        long start = Stopwatch.GetTimestamp(), until = start + (long)(seconds * Stopwatch.Frequency);
        Thread[] threads = Array.ConvertAll(servers, server => new Thread(() => server.Serve(until)));

        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        TimeSpan took = Stopwatch.GetElapsedTime(start);
        pause = GC.GetTotalPauseDuration() - pause;
        gen2 = GC.CollectionCount(2) - gen2;
        GCMemoryInfo memory = GC.GetGCMemoryInfo();
        int[] times = servers.SelectMany(server => server.Times).Order().ToArray();
        int At(double part) => times.Length == 0 ? 0 : times[(int)(part * (times.Length - 1))];
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"result requests={servers.Sum(s => (long)s.Served)} seconds={took.TotalSeconds:F3} p50_usec={At(0.5)} p99_usec={At(0.99)} " +
            $"max_usec={At(1)} gen2={gen2} pause_msec={pause.TotalMilliseconds:F0} heap_mb={memory.TotalCommittedBytes >> 20} " +
            $"believes_mb={memory.TotalAvailableMemoryBytes >> 20} checksum={servers.Sum(s => s.Checksum)}"));
    }

    static int Main(string[] args)
    {
        int Argument(int at, int otherwise) => args.Length > at ? int.Parse(args[at]) : otherwise;
        var cache = new byte[Argument(0, 100) * 256][];
        var servers = new Server[Argument(2, Environment.ProcessorCount)];

        for (int i = 0; i < cache.Length; i++)
            Array.Fill(cache[i] = new byte[4072], (byte)i);
        for (int i = 0; i < servers.Length; i++)
            servers[i] = new Server(cache, i == 0 ? Argument(1, 100) << 20 : 0, i + 1);
        Console.WriteLine("ready");
        while (Console.ReadLine() is string line)
        {
            if (!line.StartsWith("go ") || !double.TryParse(line[3..], CultureInfo.InvariantCulture, out double seconds))
            {
                Console.Error.WriteLine($"load: \"{line}\": go SECONDS was expected");
                return 2;
            }
            Run(servers, seconds);
        }
        return 0;
    }
}
