// SPDX-License-Identifier: MIT
//
// MemoryPressureService.cs - from the host's start to its stop: the watch, its options, its log, and the caches
//
// The watch is the process's, so of several hosts the last one started counts, and the first one stopped ends it. Options that are
// wrong at the start fail the start; later ones are logged, and those in force stay.
using System;
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Caching.Memory;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Primitives;

namespace PsiBridge.Extensions.Hosting;

internal sealed class MemoryPressureService(
    IServiceProvider services, HostMemoryPressure pressure, MemoryPressureMetrics metrics, ILoggerFactory loggers,
    IOptionsFactory<MemoryPressureHostingOptions> options, IEnumerable<IOptionsChangeTokenSource<MemoryPressureHostingOptions>> changes)
    : IHostedService
{
    private readonly object gate = new();
    private readonly ILogger logger = loggers.CreateLogger("PsiBridge");
    private readonly List<IDisposable> registrations = [];
    private volatile MemoryPressureHostingOptions current = new();

    public Task StartAsync(CancellationToken cancellationToken)
    {
        Log.Sink = Write;
        MemoryPressure.Changed += Told;
        if (FindCaches() is { Count: > 0 } caches)
            registrations.Add(pressure.Register(p => Compact(caches, p)));
        foreach (IOptionsChangeTokenSource<MemoryPressureHostingOptions> source in changes)
            registrations.Add(ChangeToken.OnChange(source.GetChangeToken, Reload));
        // What can be watched may take seconds to find out; the host waits, and no thread of the pool's is blocked.
        return Task.Factory.StartNew(() => Use(options.Create(Options.DefaultName)), cancellationToken, TaskCreationOptions.LongRunning,
                                     TaskScheduler.Default);
    }

    public Task StopAsync(CancellationToken cancellationToken)
    {
        registrations.ForEach(registration => registration.Dispose());
        registrations.Clear();
        MemoryPressure.Changed -= Told;
        MemoryPressure.Stop();
        Log.Sink = null;
        return Task.CompletedTask;
    }

    private void Use(MemoryPressureHostingOptions next)
    {
        lock (gate)
        {
            current = next;
            if (next.Enabled)
                MemoryPressure.Start(next);
            else
                MemoryPressure.Stop();
        }
    }

    private void Reload()
    {
        try
        {
            MemoryPressureHostingOptions next = options.Create(Options.DefaultName);
            if (next != current)
                Use(next);
        }
        catch (Exception e) when (e is OptionsValidationException or InvalidOperationException)
        {
            logger.LogError("the configuration is wrong, and what was in force stays: {Reason}", e.Message + " " + e.InnerException?.Message);
        }
    }

    // HybridCache keeps its first level in the registered one.
    private List<MemoryCache> FindCaches()
    {
        var found = new HashSet<MemoryCache>();

        foreach (IMemoryCache cache in services.GetServices<IMemoryCache>())
            Add(cache);
        if (services is IKeyedServiceProvider)
        {
            foreach (IMemoryCache cache in services.GetKeyedServices<IMemoryCache>(KeyedService.AnyKey))
                Add(cache);
        }
        return [.. found];

        void Add(IMemoryCache cache) => _ = cache is MemoryCache known && found.Add(known);
    }

    private void Compact(List<MemoryCache> caches, MemoryPressureEventArgs told)
    {
        double share = told.Available != MemoryAvailable.Low ? 0 : told.Critical ? current.CompactAtCritical : current.CompactAtLow;

        foreach (MemoryCache cache in share > 0 ? caches : [])
        {
            try
            {
                cache.Compact(share);
            }
            catch (ObjectDisposedException)
            {
                // The program has done with that one.
            }
        }
    }

    private void Told(object? sender, MemoryPressureEventArgs told)
    {
        metrics.Told(told);
        pressure.Changes.Told(told);
    }

    private void Write(int priority, string message) => logger.Log(priority switch
    {
        <= 3 => LogLevel.Error,
        4 => LogLevel.Warning,
        <= 6 => LogLevel.Information,
        _ => LogLevel.Debug,
    }, "{Message}", message);
}
