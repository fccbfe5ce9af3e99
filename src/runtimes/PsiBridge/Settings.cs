// SPDX-License-Identifier: MIT
//
// Settings.cs - what the environment and the program say
//
// libpsibridge reads the environment, so the words and their meaning are those of every other hook. What
// MemoryPressureOptions name, which are validated by then, overrides it. Where libpsibridge is missing the defaults count; it is told elsewhere.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace PsiBridge;

internal sealed unsafe class Settings
{
    internal const long GrownShare = -1; // of the limit

    private readonly List<IntPtr> strings = new List<IntPtr>();

    internal Native.WatchOptions Watch; // until FreeStrings()

    internal bool Enabled { get; private set; } = true;
    internal MemoryCollect Collect { get; private set; } = MemoryCollect.Low;
    internal TimeSpan Apart { get; private set; } = TimeSpan.FromSeconds(5);
    internal long Grown { get; private set; } = GrownShare;
    internal TimeSpan Rearm => Watch.RearmUsec > 0 ? Native.Time(Watch.RearmUsec) : TimeSpan.FromMilliseconds(8192);

    internal void Read(MemoryPressureOptions? options, bool haveLibrary)
    {
        Watch.Size = (UIntPtr)sizeof(Native.WatchOptions);
#if PSIBRIDGE_HOOK
        if (Hook.Settings is { } given)
        {
            Take(given); // the native hook has read the environment, and complained
            return;
        }
#endif
        if (haveLibrary)
            ReadEnvironment();
        else
            Enabled = Environment.GetEnvironmentVariable("PSIBRIDGE") != "off";
        if (options != null)
            Override(options);
    }

    internal void FreeStrings()
    {
        strings.ForEach(Marshal.FreeHGlobal);
        strings.Clear();
    }

    private void ReadEnvironment()
    {
        Native.WatchOptions watch = Watch;
        var s = new Native.Settings { Size = (UIntPtr)sizeof(Native.Settings), Watch = &watch };
        var complaints = new List<string>();
        Native.LogFn log = (userdata, priority, message) => complaints.Add(Native.Text((byte*)message) ?? "");

        int r = Native.psb_settings_read(Marshal.GetFunctionPointerForDelegate(log), IntPtr.Zero, &s);
        GC.KeepAlive(log);
        if (r < 0) // not for what it reads
            throw new NotWatchingException(MemoryPressureState.Unavailable, "psb_settings_read: error " + -r);
        Take(s);
        foreach (string complaint in complaints)
            Log.Write(Log.Warning, "{0}", complaint);
        Watch = watch;
    }

    private void Take(in Native.Settings s)
    {
        Log.Highest = s.LogPriority;
        Enabled = s.Enabled != 0;
        Collect = (MemoryCollect)s.Collect;
        Apart = Native.Time(s.ApartUsec);
        Grown = s.GrownBytes == Native.GrownShare ? GrownShare : (long)Math.Min(s.GrownBytes, long.MaxValue);
    }

    private void Override(MemoryPressureOptions o)
    {
        if (o.Cgroup != null || o.Source != null)
        {
            Watch.Cgroup = Utf8(o.Cgroup, null);
            Watch.Source = Utf8(o.Source, null);
        }
        OverrideTriggers(o);
        Watch.RearmUsec = Usec(o.RepeatInterval, Watch.RearmUsec);
        Watch.QuietUsec = Usec(o.QuietTime, Watch.QuietUsec);
        Watch.CalmUsec = Usec(o.CalmTime, Watch.CalmUsec);
        if (o.HighHeadroomPercent is int headroom)
            Watch.HeadroomPercent = headroom == 0 ? Native.HeadroomOff : (uint)headroom;
        Collect = o.Collect ?? Collect;
        Apart = o.MinimumInterval ?? Apart;
        Grown = o.MinimumGrowth ?? Grown;
    }

    // Those of the program make sense, with one another and with what is built in.
    private void OverrideTriggers(MemoryPressureOptions o)
    {
        string? clash = MemoryPressureThreshold.Clash(o.EarlyThreshold ?? Threshold(Watch.Early), o.LowThreshold ?? Threshold(Watch.Low),
                                                      o.CriticalThreshold ?? Threshold(Watch.Critical));

        if (clash != null)
        {
            Log.Write(Log.Warning, "{0}; of the two what the environment says does not count", clash);
            Watch.Early = Watch.Low = Watch.Critical = null;
        }
        Watch.Early = Utf8(o.EarlyThreshold?.ToString(), Watch.Early);
        Watch.Low = Utf8(o.LowThreshold?.ToString(), Watch.Low);
        Watch.Critical = Utf8(o.CriticalThreshold?.ToString(), Watch.Critical);
    }

    private static MemoryPressureThreshold? Threshold(byte* text) =>
        MemoryPressureThreshold.TryParse(Native.Text(text), out MemoryPressureThreshold threshold) ? threshold : null;

    private byte* Utf8(string? text, byte* otherwise)
    {
        if (text == null)
            return otherwise;
        byte[] bytes = Encoding.UTF8.GetBytes(text + "\0");
        IntPtr copy = Marshal.AllocHGlobal(bytes.Length);
        Marshal.Copy(bytes, 0, copy, bytes.Length);
        strings.Add(copy);
        return (byte*)copy;
    }

    private static ulong Usec(TimeSpan? time, ulong otherwise) =>
        time is TimeSpan t ? (ulong)t.Ticks / 10 : otherwise;
}
