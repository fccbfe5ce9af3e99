// SPDX-License-Identifier: MIT
//
// MemoryPressureHealthCheck.cs - Low is degraded, critical is what the registration calls a failure
//
// Where nothing can be watched the program is as healthy as it was; the description says why nothing is.
using System.Collections.Generic;
using System.Threading;
using System.Threading.Tasks;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace PsiBridge.Extensions.Hosting;

internal sealed class MemoryPressureHealthCheck(IMemoryPressure pressure) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        MemoryAvailable available = pressure.Available;
        bool critical = pressure.IsCritical;
        MemoryPressureStatus status = pressure.Status;
        HealthStatus health = available != MemoryAvailable.Low ? HealthStatus.Healthy
            : critical ? context.Registration.FailureStatus : HealthStatus.Degraded;
        string text = status.State == MemoryPressureState.Watching
            ? $"memory is {available}{(critical ? ", critical" : "")}, {pressure.Load}"
            : $"memory is not watched: {status}";
        var data = new Dictionary<string, object> { ["available"] = available.ToString(), ["critical"] = critical, ["source"] = status.Source ?? "" };

        return Task.FromResult(new HealthCheckResult(health, text, data: data));
    }
}
