// SPDX-License-Identifier: MIT
//
// MemoryPressureThreshold.cs - a trigger such as "some 200ms/2s", judged as libpsibridge does (src/core/trigger.c)
//
// What is written in code is judged before anything is started, also where there is no libpsibridge. Its own notation with units
// and the kernel's, two numbers in microseconds. A test compares the verdicts.
using System;
using System.ComponentModel;
using System.Globalization;

namespace PsiBridge;

/// <summary>So much stall in so long a window, as in <c>some 200ms/2s</c>.</summary>
#if !PSIBRIDGE_HOOK // which is never configured by a file
[TypeConverter(typeof(Converter))]
#endif
public readonly record struct MemoryPressureThreshold
{
    internal const string Expected = "a trigger such as some 200ms/2s, in a window from 100ms to 10s,";

    private MemoryPressureThreshold(bool full, long stallUsec, long windowUsec)
    {
        IsFull = full;
        Stall = Native.Time((ulong)stallUsec);
        Window = Native.Time((ulong)windowUsec);
    }

    /// <summary>All tasks stall at once (<c>full</c>), not some.</summary>
    public bool IsFull { get; }
    /// <summary>How long tasks stall in each window.</summary>
    public TimeSpan Stall { get; }
    /// <summary>From 100 ms to 10 s.</summary>
    public TimeSpan Window { get; }

    /// <summary>Reads <c>some 200ms/2s</c>, or the kernel's <c>some 200000 2000000</c>.</summary>
    /// <param name="text">With <c>some</c> or <c>full</c> in front, and the units us, ms, s, min and h.</param>
    /// <exception cref="FormatException">It is neither, or the window is under 100 ms or over 10 s.</exception>
    public static MemoryPressureThreshold Parse(string text)
    {
        if (text == null)
            throw new ArgumentNullException(nameof(text));
        return TryParse(text, out MemoryPressureThreshold threshold) ? threshold
            : throw new FormatException(MemoryPressureOptions.Quoted(text) + ": " + Expected + " was expected");
    }

    /// <summary>As <see cref="Parse"/>, but false where that throws.</summary>
    /// <param name="text">What is read.</param>
    /// <param name="threshold">What was read.</param>
    public static bool TryParse(string? text, out MemoryPressureThreshold threshold)
    {
        threshold = default;
        if (text == null)
            return false;
        int blank = text.IndexOfAny(new[] { ' ', '\t' });
        string kind = text.Substring(0, Math.Max(blank, 0)), rest = text.Substring(kind.Length).Trim(' ', '\t');
        int slash = rest.IndexOf('/'), middle = rest.IndexOfAny(new[] { ' ', '\t' });
        int cut = slash >= 0 ? slash : middle;

        if ((kind != "some" && kind != "full") || cut < 0 || (slash >= 0 && middle >= 0) || text.EndsWith(" ") || text.EndsWith("\t"))
            return false;
        string unit = slash >= 0 ? "" : "us";
        if (!Usec(rest.Substring(0, cut) + unit, out long stall) ||
            !Usec(rest.Substring(cut + 1).TrimStart(' ', '\t') + unit, out long window) ||
            window < 100_000 || window > 10_000_000 || stall < 1 || stall > window)
            return false;
        threshold = new MemoryPressureThreshold(kind == "full", stall, window);
        return true;
    }

    /// <summary>As it is parsed.</summary>
    public override string ToString() => this == default ? "" : (IsFull ? "full " : "some ") + Words(Stall) + "/" + Words(Window);

    /// <summary>Null: stalls pass early on their way to the others; or in words what does not go together. Null counts as what is
    /// built in.</summary>
    internal static string? Clash(MemoryPressureThreshold? early, MemoryPressureThreshold? low, MemoryPressureThreshold? critical)
    {
        MemoryPressureThreshold first = early ?? new(false, 20_000, 2_000_000), second = low ?? new(false, 200_000, 2_000_000),
            third = critical ?? new(true, 100_000, 2_000_000);

        return first.IsOver(second) ? Words("LowThreshold", second) : first.IsOver(third) ? Words("CriticalThreshold", third) : null;

        string Words(string name, MemoryPressureThreshold other) =>
            "EarlyThreshold = \"" + first + "\" is over " + name + " = \"" + other + "\", which stalls could reach unnoticed";
    }

    // trigger_check_early() has the rule.
    private bool IsOver(MemoryPressureThreshold other)
    {
        long parts = (other.Window.Ticks - 1) / Window.Ticks + 1;

        return (IsFull && !other.IsFull) || Stall.Ticks / 10 > Math.Max(other.Stall.Ticks / 10 / parts, 1);
    }

    private static string Words(TimeSpan time)
    {
        long usec = time.Ticks / 10;
        long unit = usec % 1000_000 == 0 ? 1000_000 : usec % 1000 == 0 ? 1000 : 1;

        return (usec / unit).ToString(CultureInfo.InvariantCulture) + (unit == 1 ? "us" : unit == 1000 ? "ms" : "s");
    }

    // "200ms", in whole microseconds
    private static bool Usec(string text, out long usec)
    {
        int end = 0;

        usec = 0;
        while (end < text.Length && ((text[end] >= '0' && text[end] <= '9') || (text[end] == '.' && end > 0)))
            end++;
        decimal unit = text.Substring(end) switch
        {
            "us" => 1,
            "ms" => 1000,
            "s" => 1000_000,
            "min" => 60_000_000,
            "h" => 3600_000_000,
            _ => 0,
        };
        if (end == 0 || unit == 0 || text[end - 1] == '.' ||
            !decimal.TryParse(text.Substring(0, end), NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out decimal number))
            return false;
        number = Math.Min(number, 1000_000_000) * unit; // no window is so long
        usec = (long)number;
        return usec == number;
    }

#if !PSIBRIDGE_HOOK
    // What Microsoft.Extensions.Configuration reads values with.
    private sealed class Converter : TypeConverter
    {
        public override bool CanConvertFrom(ITypeDescriptorContext? context, Type sourceType) =>
            sourceType == typeof(string) || base.CanConvertFrom(context, sourceType);

        public override object? ConvertFrom(ITypeDescriptorContext? context, CultureInfo? culture, object value) =>
            value is string text ? Parse(text) : base.ConvertFrom(context, culture, value);
    }
#endif
}
