// SPDX-License-Identifier: MIT
//
// Settings.cs - what the environment and the program say
//
// libpsibridge reads the environment, so the words and their meaning are those of every other hook. What
// MemoryPressureOptions name overrides it. Where libpsibridge is missing the defaults count; it is told elsewhere.
using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace PsiBridge;

internal sealed unsafe class Settings : IDisposable
{
    private readonly List<IntPtr> strings = new List<IntPtr>();

    internal Native.WatchOptions Watch;

    internal bool Enabled { get; private set; } = true;
    internal MemoryCollect Collect { get; private set; } = MemoryCollect.Low;
    internal TimeSpan Apart { get; private set; } = TimeSpan.FromSeconds(10);
    internal long Grown { get; private set; } = 50L << 20;

    internal Settings(MemoryPressureOptions? options, bool haveLibrary)
    {
        Watch.Size = (UIntPtr)sizeof(Native.WatchOptions);
        if (haveLibrary)
            ReadEnvironment();
        else
            Enabled = Environment.GetEnvironmentVariable("PSIBRIDGE") != "off";
        if (options != null)
            Override(options);
    }

    /// <summary>After this, Watch is not to be used any more.</summary>
    public void Dispose()
    {
        foreach (IntPtr s in strings)
            Marshal.FreeHGlobal(s);
        strings.Clear();
        Watch = default;
    }

    private void ReadEnvironment()
    {
        Native.WatchOptions watch = Watch;
        var s = new Native.Settings { Size = (UIntPtr)sizeof(Native.Settings), Watch = &watch };
        var complaints = new List<string>();
        Native.LogFn log = (userdata, priority, message) => complaints.Add(Native.Text((byte*)message) ?? "");

        int r = Native.psb_settings_read(Marshal.GetFunctionPointerForDelegate(log), IntPtr.Zero, &s);
        GC.KeepAlive(log);
        if (r < 0)
        {
            Log.Write(Log.Warning, "PSIBRIDGE_ variables cannot be read: error " + -r);
            return;
        }
        Log.SetHighest(s.LogPriority);
        foreach (string complaint in complaints)
            Log.Write(Log.Warning, complaint);
        Watch = watch;
        Enabled = s.Enabled != 0;
        Collect = (MemoryCollect)s.Collect;
        Apart = Time(s.ApartUsec);
        Grown = (long)Math.Min(s.GrownBytes, long.MaxValue);
    }

    private void Override(MemoryPressureOptions o)
    {
        if (o.Cgroup != null || o.Source != null)
        {
            Watch.Cgroup = Utf8(o.Cgroup);
            Watch.Source = Utf8(o.Source);
        }
        if (o.Early != null)
            Watch.Early = Utf8(o.Early);
        if (o.Low != null)
            Watch.Low = Utf8(o.Low);
        if (o.Critical != null)
            Watch.Critical = Utf8(o.Critical);
        if (o.Rearm is TimeSpan rearm)
            Watch.RearmUsec = Usec(rearm);
        if (o.Quiet is TimeSpan quiet)
            Watch.QuietUsec = Usec(quiet);
        if (o.Calm is TimeSpan calm)
            Watch.CalmUsec = Usec(calm);
        // A negative one becomes a huge one, which libpsibridge refuses by name.
        if (o.HighHeadroom is int headroom)
            Watch.HeadroomPercent = headroom == 0 ? Native.HeadroomOff : headroom < 0 ? uint.MaxValue - 1 : (uint)headroom;
        Collect = o.Collect ?? Collect;
        Apart = o.Apart ?? Apart;
        Grown = o.Grown ?? Grown;
    }

    private byte* Utf8(string? text)
    {
        if (text == null)
            return null;
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        IntPtr copy = Marshal.AllocHGlobal(bytes.Length + 1);
        Marshal.Copy(bytes, 0, copy, bytes.Length);
        Marshal.WriteByte(copy, bytes.Length, 0);
        strings.Add(copy);
        return (byte*)copy;
    }

    private static ulong Usec(TimeSpan t) => t.Ticks <= 0 ? 0 : (ulong)(t.Ticks / 10);

    private static TimeSpan Time(ulong usec) => TimeSpan.FromTicks((long)Math.Min(usec, long.MaxValue / 10) * 10);
}
