// SPDX-License-Identifier: MIT
//
// MemoryPressureServiceCollectionExtensions.cs - services.AddMemoryPressure(configuration)
using System;
using System.Collections.Generic;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using PsiBridge.Extensions.Hosting;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Memory pressure in a host.</summary>
public static class MemoryPressureServiceCollectionExtensions
{
    /// <summary>
    /// Watches memory pressure from the host's start to its stop; when memory is short every registered MemoryCache is compacted and
    /// memory collected. Brings <see cref="IMemoryPressure"/>, and the meter "PsiBridge".
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="configuration">The section with <see cref="MemoryPressureHostingOptions"/>, or a configuration that has it as
    /// "MemoryPressure". A key that means nothing is an error. Changes count from when they are made.</param>
    /// <param name="configure">What the program sets itself, after the configuration.</param>
    public static IServiceCollection AddMemoryPressure(this IServiceCollection services, IConfiguration configuration,
                                                       Action<MemoryPressureHostingOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configuration);
        IConfiguration section = configuration is IConfigurationSection ? configuration : configuration.GetSection("MemoryPressure");
        services.AddOptions<MemoryPressureHostingOptions>().Bind(section, binder => binder.ErrorOnUnknownConfiguration = true);
        return services.AddMemoryPressure(configure);
    }

    /// <inheritdoc cref="AddMemoryPressure(IServiceCollection, IConfiguration, Action{MemoryPressureHostingOptions}?)"/>
    public static IServiceCollection AddMemoryPressure(this IServiceCollection services, Action<MemoryPressureHostingOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddOptions<MemoryPressureHostingOptions>(); // validated by the service: a monitor would throw at a wrong change
        if (configure != null)
            services.Configure(configure);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<MemoryPressureHostingOptions>, MemoryPressureHostingOptionsValidator>());
        services.TryAddSingleton<HostMemoryPressure>();
        services.TryAddSingleton<IMemoryPressure>(provider => provider.GetRequiredService<HostMemoryPressure>());
        services.TryAddSingleton<MemoryPressureMetrics>();
        services.AddHostedService<MemoryPressureService>(); // adds it once
        return services;
    }

    /// <summary>Degraded at Low; unhealthy, or what is given, when it is critical.</summary>
    /// <param name="builder">The health checks.</param>
    /// <param name="name">The name of the check.</param>
    /// <param name="failureStatus">What critical is.</param>
    /// <param name="tags">Tags.</param>
    public static IHealthChecksBuilder AddMemoryPressure(this IHealthChecksBuilder builder, string name = "memory_pressure",
                                                         HealthStatus? failureStatus = null, IEnumerable<string>? tags = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Add(new HealthCheckRegistration(
            name, provider => new MemoryPressureHealthCheck(provider.GetRequiredService<IMemoryPressure>()), failureStatus, tags));
    }
}
