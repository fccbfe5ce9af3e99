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
using System.Text;
using System.Threading;

sealed record Order(int Id, string Customer, string Article, decimal Price);

// One thread's work. What is measured of it goes into memory it has from the beginning.
sealed class Server
{
    const int Most = 1 << 20;
    static readonly long ReportEach = 4 * Stopwatch.Frequency;
    readonly byte[][] _cache;
    readonly Random _random;
    readonly int _reportBytes;
    readonly int[] _usec = new int[Most];
    int _served;
    long _checksum;

    public Server(byte[][] cache, int reportBytes, int seed)
    {
        _reportBytes = reportBytes;
        _cache = cache;
        _random = new Random(seed);
    }

    public int Served => _served;
    public ReadOnlySpan<int> Times => _usec.AsSpan(0, Math.Min(_served, Most));
    public long Checksum => _checksum;

    public void Serve(long until)
    {
        long report = Stopwatch.GetTimestamp() + ReportEach / 4;

        _served = 0;
        for (;;)
        {
            long start = Stopwatch.GetTimestamp();

            if (start >= until)
                return;
            if (_reportBytes > 0 && start >= report)
            {
                report += ReportEach;
                _checksum += Report();
            }
            else
                _checksum += Request(_served);
            if (_served < Most)
                _usec[_served] = (int)Stopwatch.GetElapsedTime(start).TotalMicroseconds;
            _served++;
        }
    }

    int Report()
    {
        var lines = new List<byte[]>();

        for (int done = 0; done < _reportBytes; done += 1024)
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
        var orders = new List<Order>();
        var index = new Dictionary<string, Order>();
        var answer = new StringBuilder();

        _random.NextBytes(body);
        for (int i = 0; i < 600; i++)
        {
            var order = new Order(i, "customer " + body[i], "article " + body[i + 600] * 256 + i, body[i + 1200] / 100m);

            orders.Add(order);
            index[order.Article] = order;
        }
        for (int i = 0; i < 16; i++)
        {
            byte[] entry = _cache[_random.Next(_cache.Length)];

            answer.Append(entry[i]).Append(' ').Append(entry[entry.Length / 2]);
        }
        foreach (Order order in index.Values)
            answer.Append(order.Customer).Append(',').Append(order.Price).Append('\n');
        if (number % 8 == 0)
        {
            var entry = new byte[4072];

            body.AsSpan(0, entry.Length).CopyTo(entry);
            _cache[_random.Next(_cache.Length)] = entry;
        }
        return answer.ToString().Length + orders.Count;
    }
}

static class Program
{
    static byte[][] Fill(int megabytes)
    {
        var cache = new byte[megabytes * 256][];

        for (int i = 0; i < cache.Length; i++)
        {
            cache[i] = new byte[4072];
            Array.Fill(cache[i], (byte)i);
        }
        return cache;
    }

    static void Run(Server[] servers, double seconds)
    {
        var threads = new Thread[servers.Length];
        TimeSpan pause = GC.GetTotalPauseDuration();
        int gen2 = GC.CollectionCount(2);
        long start = Stopwatch.GetTimestamp(), until = start + (long)(seconds * Stopwatch.Frequency);

        for (int i = 0; i < servers.Length; i++)
        {
            Server server = servers[i];

            threads[i] = new Thread(() => server.Serve(until));
            threads[i].Start();
        }
        foreach (Thread thread in threads)
            thread.Join();
        Report(servers, Stopwatch.GetElapsedTime(start), GC.GetTotalPauseDuration() - pause, GC.CollectionCount(2) - gen2);
    }

    static void Report(Server[] servers, TimeSpan took, TimeSpan pause, int gen2)
    {
        var times = new List<int>();
        long requests = 0, checksum = 0;
        GCMemoryInfo memory = GC.GetGCMemoryInfo();

        foreach (Server server in servers)
        {
            times.AddRange(server.Times);
            requests += server.Served;
            checksum += server.Checksum;
        }
        times.Sort();
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"result requests={requests} seconds={took.TotalSeconds:F3} p50_usec={At(times, 0.5)} p99_usec={At(times, 0.99)} " +
            $"max_usec={At(times, 1)} gen2={gen2} pause_msec={pause.TotalMilliseconds:F0} " +
            $"heap_mb={memory.TotalCommittedBytes >> 20} believes_mb={memory.TotalAvailableMemoryBytes >> 20} checksum={checksum}"));
    }

    static int At(List<int> sorted, double part) => sorted.Count == 0 ? 0 : sorted[(int)(part * (sorted.Count - 1))];

    static int Main(string[] args)
    {
        int live = args.Length > 0 ? int.Parse(args[0]) : 100;
        int report = args.Length > 1 ? int.Parse(args[1]) : 100;
        int threads = args.Length > 2 ? int.Parse(args[2]) : Environment.ProcessorCount;
        byte[][] cache = Fill(live);
        var servers = new Server[threads];

        for (int i = 0; i < threads; i++)
            servers[i] = new Server(cache, i == 0 ? report << 20 : 0, i + 1);
        Console.WriteLine("ready");
        while (Console.ReadLine() is string line)
        {
            string[] words = line.Split(' ');

            if (words.Length != 2 || words[0] != "go" ||
                !double.TryParse(words[1], NumberStyles.Float, CultureInfo.InvariantCulture, out double seconds))
            {
                Console.Error.WriteLine($"load: \"{line}\": go SECONDS was expected");
                return 2;
            }
            Run(servers, seconds);
        }
        return 0;
    }
}
