// SPDX-License-Identifier: MIT
//
// ExtensionsHostingTests.cs - services.AddMemoryPressure() in a real host, with a FIFO that rings
using System;
using System.Collections.Concurrent;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using System.Linq;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Caching.Hybrid;
using Microsoft.Extensions.Caching.Memory;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using PsiBridge.Extensions.Hosting;
using Xunit;

namespace PsiBridge.Tests;

public sealed class ExtensionsHostingTests : IDisposable
{
    /// <summary>The log, and appsettings.json as one that a test changes.</summary>
    private sealed class Lines : ILoggerProvider, ILogger
    {
        internal readonly ConcurrentQueue<string> All = new();

        public ILogger CreateLogger(string category) => this;
        public IDisposable? BeginScope<T>(T state) where T : notnull => null;
        public bool IsEnabled(LogLevel level) => true;
        public void Log<T>(LogLevel level, EventId id, T state, Exception? e, Func<T, Exception?, string> text) =>
            All.Enqueue(level + ": " + text(state, e));
        public void Dispose() { }
    }

    private readonly Fifo fifo = new(), other = new();
    private readonly Lines lines = new();
    private readonly HostApplicationBuilder builder = Host.CreateEmptyApplicationBuilder(null);

    public ExtensionsHostingTests()
    {
        MemoryPressure.Stop();
        builder.Configuration.AddInMemoryCollection(new Dictionary<string, string?>
        {
            ["MemoryPressure:Source"] = fifo.Path,
            ["MemoryPressure:RepeatInterval"] = "00:00:00.001",
            ["MemoryPressure:QuietTime"] = "00:10:00",
            ["MemoryPressure:HighHeadroomPercent"] = "0",
        });
        builder.Logging.AddProvider(lines);
        builder.Services.AddMetrics();
        builder.Services.AddMemoryPressure(builder.Configuration);
        builder.Services.AddHealthChecks().AddMemoryPressure();
    }

    public void Dispose()
    {
        MemoryPressure.Stop();
        fifo.Dispose();
        other.Dispose();
    }

    private static async Task Becomes(Func<bool> condition, string what)
    {
        for (int i = 0; !condition(); i++)
        {
            Assert.True(i < 400, "waited in vain: " + what);
            await Task.Delay(50);
        }
    }

    [Fact]
    public async Task at_low_every_cache_shrinks_and_it_is_logged_and_measured_and_degraded()
    {
        builder.Services.AddMemoryCache();
        builder.Services.AddHybridCache();
        builder.Services.AddKeyedSingleton<IMemoryCache>("keyed", new MemoryCache(new MemoryCacheOptions()));
        using IHost host = builder.Build();
        var measured = new ConcurrentDictionary<string, double>();
        using var listener = new MeterListener { InstrumentPublished = (i, l) => { if (i.Meter.Name == "PsiBridge") l.EnableMeasurementEvents(i); } };
        listener.SetMeasurementEventCallback<long>((i, value, _, _) => measured[i.Name] = value);
        listener.SetMeasurementEventCallback<int>((i, value, _, _) => measured[i.Name] = value);
        listener.SetMeasurementEventCallback<double>((i, value, _, _) => measured[i.Name] = value);
        listener.Start();

        await host.StartAsync();
        var pressure = host.Services.GetRequiredService<IMemoryPressure>();
        var hybrid = host.Services.GetRequiredService<HybridCache>();
        var caches = new[] { host.Services.GetRequiredService<IMemoryCache>(), host.Services.GetRequiredKeyedService<IMemoryCache>("keyed") }
            .Cast<MemoryCache>().ToArray();
        Assert.Equal(("fifo", fifo.Path), (pressure.Status.Source, pressure.Status.Path));
        for (int i = 0; i < 100; i++)
        {
            await hybrid.SetAsync("key " + i, new byte[100]);
            caches[1].Set(i, new byte[100]);
        }
        Assert.Equal(100, caches[0].Count);
        var token = pressure.GetChangeToken();
        var told = new BlockingCollection<MemoryPressureEventArgs>();

        using (pressure.Register(told.Add))
        {
            fifo.Ring();
            Assert.True(told.TryTake(out MemoryPressureEventArgs? low, Watched.Patience));
            Assert.Equal(MemoryAvailable.Low, low!.Available);
        }
        await Becomes(() => token.HasChanged, "the token changes");
        Assert.All(caches, cache => Assert.Equal(50, cache.Count));
        Assert.Contains(lines.All, line => line.StartsWith("Information: told Low"));
        HealthReport report = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync();
        Assert.Equal(HealthStatus.Degraded, report.Status);
        await Becomes(() =>
        {
            listener.RecordObservableInstruments();
            return measured.GetValueOrDefault("psibridge.collection.count") > 0;
        }, "a collection is counted");
        Assert.Equal(1, measured["psibridge.memory.level"]);
        Assert.Equal(1, measured["psibridge.memory.notifications"]);
        Assert.Contains("psibridge.collection.returned", measured.Keys);
        await host.StopAsync();
        Assert.Equal(MemoryPressureState.Stopped, pressure.Status.State);
        Assert.Equal(50, caches[1].Count);
    }

    [Theory]
    [InlineData("CompactAtLow", "1.5", "MemoryPressure:CompactAtLow = 1.5: a share from 0 to 1 was expected")]
    [InlineData("MinimumInterval", "-00:00:01", "MemoryPressure:MinimumInterval = -00:00:01: a time from zero to 24 h was expected")]
    [InlineData("QuietTime", "2.00:00:00", "MemoryPressure:QuietTime = 2.00:00:00: a time from 1 ms to 24 h, or zero, was expected")]
    [InlineData("MinimumGrowth", "-1", "MemoryPressure:MinimumGrowth = -1: a number of bytes was expected")]
    [InlineData("HighHeadroomPercent", "101", "MemoryPressure:HighHeadroomPercent = 101: 0 to 99 was expected")]
    [InlineData("Collect", "7", "MemoryPressure:Collect = 7: Low, Critical or Off was expected")]
    [InlineData("LowThreshold", "often", "'MemoryPressure:LowThreshold'")]
    [InlineData("LowThreshold", "some 200ms/20s", "\"some 200ms/20s\": a trigger such as some 200ms/2s")]
    [InlineData("LowThreshold", "some 10ms/2s", "MemoryPressure:EarlyThreshold = \"some 20ms/2s\" is over LowThreshold")]
    [InlineData("Lwo", "some 200ms/2s", "Lwo")]
    public async Task what_is_wrong_fails_the_start_and_is_named(string key, string value, string named)
    {
        builder.Configuration["MemoryPressure:" + key] = value;
        using IHost host = builder.Build();

        Exception e = await Assert.ThrowsAnyAsync<Exception>(() => host.StartAsync());
        Assert.Contains(named, e.ToString());
        Assert.NotEqual(MemoryPressureState.Watching, MemoryPressure.Status.State);
    }

    [Fact]
    public async Task a_change_of_the_configuration_counts_and_a_wrong_one_is_logged()
    {
        using IHost host = builder.Build();
        var pressure = host.Services.GetRequiredService<IMemoryPressure>();
        var configuration = (IConfigurationRoot)builder.Configuration;

        void Change(string key, string value)
        {
            configuration["MemoryPressure:" + key] = value;
            configuration.Reload();
        }

        await host.StartAsync();
        Change("CompactAtLow", "2");
        Assert.Contains(lines.All, line => line.StartsWith("Error: the configuration is wrong") && line.Contains("CompactAtLow = 2"));
        Assert.Equal(fifo.Path, pressure.Status.Path);
        Change("CompactAtLow", "0.25");
        Change("Source", other.Path);
        Assert.Equal(other.Path, pressure.Status.Path);
        Change("Enabled", "false");
        Assert.Equal(MemoryPressureState.Stopped, pressure.Status.State);
        await host.StopAsync();
    }

    [Fact]
    public void a_fake_tells_what_a_test_says()
    {
        var fake = new FakeMemoryPressure();
        var told = new List<string>();
        var token = fake.GetChangeToken();

        using (fake.Register(p => told.Add(p + " " + fake.Available)))
        {
            fake.Set(MemoryAvailable.High);
            Assert.False(token.HasChanged);
            fake.Set(MemoryAvailable.Low, critical: true);
        }
        fake.Set(MemoryAvailable.Neutral, critical: true);
        Assert.True(token.HasChanged);
        Assert.False(fake.GetChangeToken().HasChanged);
        Assert.Equal(new[] { "High (memory is plentiful) High", "Low, critical (memory is very short) Low" }, told);
        Assert.Equal((MemoryAvailable.Neutral, false), (fake.Available, fake.IsCritical));
        Assert.Throws<ArgumentOutOfRangeException>(() => fake.Set(0));
    }

    [Theory]
    [InlineData(MemoryAvailable.Neutral, false, HealthStatus.Healthy)]
    [InlineData(MemoryAvailable.Low, false, HealthStatus.Degraded)]
    [InlineData(MemoryAvailable.Low, true, HealthStatus.Unhealthy)]
    public async Task the_health_check_says_how_it_stands(MemoryAvailable available, bool critical, HealthStatus expected)
    {
        var fake = new FakeMemoryPressure();
        using IHost host = Replace(fake);

        fake.Set(available, critical);
        HealthReport report = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync();
        Assert.Equal(expected, report.Entries["memory_pressure"].Status);
        Assert.Contains(available.ToString(), report.Entries["memory_pressure"].Description);
    }

    private IHost Replace(IMemoryPressure pressure)
    {
        builder.Services.AddSingleton(pressure); // the last one counts
        return builder.Build();
    }
}
