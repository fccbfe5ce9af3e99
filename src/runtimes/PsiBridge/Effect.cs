// SPDX-License-Identifier: MIT
//
// Effect.cs - what the last collection did, and whether another is worth it
//
// The rule is that of src/runtimes/effect.h, which says why; both pass the same table of cases. What counts are anonymous pages
// that are resident: heaps are made of them, and pages of files come and go by the kernel's choice.
//
// The file is kept open: opening one charges memory, and what does that when it is short may be put to sleep.
using System;
using System.Globalization;
using System.IO;
using System.Text;

namespace PsiBridge;

/// <summary>What is asked of Effect.WhyNot().</summary>
internal struct EffectAsk
{
    internal long NowMsec, Bytes; // Read()
    internal long LimitBytes;     // 0 and less: unknown
    internal long ApartMsec;
    internal long Grown;          // or Settings.GrownShare; 0: no growth is asked for
    internal bool Anyway;         // nor is it now
}

internal sealed class Effect : IDisposable
{
    private const long Share = 20, LeastBytes = 8L << 20, MostBytes = 50L << 20;
    private const long FreedPercent = 20;

    private readonly byte[] text = new byte[128];
    private readonly FileStream? statm;

    internal long CollectedMsec = -1, TookMsec, Before, After;

    internal Effect()
    {
        try
        {
            statm = new FileStream("/proc/self/statm", FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1);
        }
        catch (Exception e) when (e is IOException || e is UnauthorizedAccessException)
        {
            // No /proc: everything looks like zero bytes, so there is one collection and no more.
        }
    }

    private long Freed => Math.Max(Before - After, 0);

    /// <summary>The last one was worth it.</summary>
    internal bool GaveBack => Freed >= LeastBytes;

    /// <summary>Null: it is worth it.</summary>
    internal string? WhyNot(in EffectAsk ask)
    {
        if (CollectedMsec < 0)
            return null;
        if (ask.NowMsec - CollectedMsec < ask.ApartMsec)
            return "the last collection is not long ago";
        if (ask.Anyway || ask.Grown == 0)
            return null;
        return ask.Bytes >= After + Growth(ask) ? null : "little has grown since the last collection";
    }

    private long Growth(in EffectAsk ask)
    {
        long limit = ask.LimitBytes > 0 ? ask.LimitBytes : long.MaxValue;
        long needed = ask.Grown != Settings.GrownShare ? ask.Grown : Math.Max(Math.Min(limit / Share, MostBytes), LeastBytes);

        return Math.Max(Freed / 100 * FreedPercent, needed);
    }

    /// <summary>In bytes. The second number of the line is what is resident, the third what of it are pages of files and
    /// shared memory; both in pages.</summary>
    internal long Read()
    {
        if (statm == null)
            return 0;
        try
        {
            statm.Seek(0, SeekOrigin.Begin);
            string[] numbers = Encoding.ASCII.GetString(text, 0, statm.Read(text, 0, text.Length)).Split(' ');
            return (long.Parse(numbers[1], CultureInfo.InvariantCulture) - long.Parse(numbers[2], CultureInfo.InvariantCulture)) *
                   Environment.SystemPageSize;
        }
        catch (IOException)
        {
            return 0;
        }
    }

    public void Dispose() => statm?.Dispose();
}
