// SPDX-License-Identifier: MIT
//
// Threshold.cs - a trigger such as "some 200ms/2s", judged as libpsibridge does (src/core/trigger.c)
//
// What is written in code is judged before anything is started, also where there is no libpsibridge. Its own notation with units
// and the kernel's, two numbers in microseconds. A test compares the verdicts.
using System;
using System.Globalization;

namespace PsiBridge;

internal readonly struct Threshold
{
    internal const string Expected = "a trigger such as some 200ms/2s, in a window from 100ms to 10s,";

    private readonly bool full;
    private readonly long stallUsec, windowUsec;

    private Threshold(bool full, long stallUsec, long windowUsec)
    {
        this.full = full;
        this.stallUsec = stallUsec;
        this.windowUsec = windowUsec;
    }

    internal static Threshold? Parse(string text)
    {
        int blank = text.IndexOfAny(new[] { ' ', '\t' });
        string kind = text.Substring(0, Math.Max(blank, 0)), rest = text.Substring(kind.Length).Trim(' ', '\t');
        int slash = rest.IndexOf('/'), middle = rest.IndexOfAny(new[] { ' ', '\t' });
        int cut = slash >= 0 ? slash : middle;

        if ((kind != "some" && kind != "full") || cut < 0 || (slash >= 0 && middle >= 0) || text.EndsWith(" ") || text.EndsWith("\t"))
            return null;
        string unit = slash >= 0 ? "" : "us";
        if (!Usec(rest.Substring(0, cut) + unit, out long stall) ||
            !Usec(rest.Substring(cut + 1).TrimStart(' ', '\t') + unit, out long window) ||
            window < 100_000 || window > 10_000_000 || stall < 1 || stall > window)
            return null;
        return new Threshold(kind == "full", stall, window);
    }

    /// <summary>Null: stalls pass early on their way to the others; or in words what does not go together. What is null, or no
    /// trigger, counts as what is built in.</summary>
    internal static string? Clash(string? early, string? low, string? critical)
    {
        Threshold first = Parse(early ?? "") ?? new Threshold(false, 20_000, 2_000_000);

        if (first.IsOver(Parse(low ?? "") ?? new Threshold(false, 200_000, 2_000_000)))
            return Words(early, "Low", low ?? "some 200ms/2s");
        if (first.IsOver(Parse(critical ?? "") ?? new Threshold(true, 100_000, 2_000_000)))
            return Words(early, "Critical", critical ?? "full 100ms/2s");
        return null;
    }

    private static string Words(string? early, string name, string other) =>
        "Early = \"" + (early ?? "some 20ms/2s") + "\" is over " + name + " = \"" + other + "\", which stalls could reach unnoticed";

    // trigger_check_early() has the rule.
    private bool IsOver(Threshold other)
    {
        long parts = (other.windowUsec - 1) / windowUsec + 1;

        return (full && !other.full) || stallUsec > Math.Max(other.stallUsec / parts, 1);
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
}
