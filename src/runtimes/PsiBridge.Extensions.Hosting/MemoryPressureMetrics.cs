// SPDX-License-Identifier: MIT
//
// MemoryPressureMetrics.cs - the meter "PsiBridge": for dotnet-counters, and OpenTelemetry by AddMeter("PsiBridge")
//
//     psibridge.memory.level            0 Low and critical, 1 Low, 2 Neutral, 3 High
//     psibridge.memory.notifications    what was told, by level and reason
//     psibridge.memory.stall            seconds in which tasks waited for memory, as told
//     psibridge.collection.count, .pause, .returned   collections that a Low made, their seconds, and the bytes that went back
using System;
using System.Collections.Generic;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;

namespace PsiBridge.Extensions.Hosting;

internal sealed class MemoryPressureMetrics : IDisposable
{
    internal const string MeterName = "PsiBridge";

    private readonly Meter? own; // one of a factory is the factory's to dispose of
    private readonly Counter<long> notifications;
    private readonly Counter<double> stall;

    public MemoryPressureMetrics(IServiceProvider services, IMemoryPressure pressure)
    {
        Meter meter = services.GetService<IMeterFactory>()?.Create(MeterName) ?? (own = new Meter(MeterName));

        notifications = meter.CreateCounter<long>("psibridge.memory.notifications", "{notification}", "Levels that were told.");
        stall = meter.CreateCounter<double>("psibridge.memory.stall", "s", "Time in which tasks waited for memory.");
        meter.CreateObservableGauge("psibridge.memory.level", () => pressure.IsCritical ? 0 : (int)pressure.Available, null,
                                    "0: Low and critical, 1: Low, 2: Neutral, 3: High.");
        meter.CreateObservableCounter("psibridge.collection.count", () => MemoryPressure.Collections.Count, "{collection}",
                                      "Collections that a Low made.");
        meter.CreateObservableCounter("psibridge.collection.pause", () => MemoryPressure.Collections.Msec / 1000.0, "s",
                                      "How long they took.");
        meter.CreateObservableCounter("psibridge.collection.returned", () => MemoryPressure.Collections.Bytes, "By",
                                      "Resident memory that went back with them.");
    }

    internal void Told(MemoryPressureEventArgs pressure)
    {
        notifications.Add(1, new KeyValuePair<string, object?>("level", pressure.Critical ? "Critical" : pressure.Available.ToString()),
                          new KeyValuePair<string, object?>("reason", pressure.Reason.ToString()));
        stall.Add(pressure.Stall.TotalSeconds);
    }

    public void Dispose() => own?.Dispose();
}
