// SPDX-License-Identifier: MIT
//
// Native.cs - libpsibridge as C# sees it
//
// Structures are those of psibridge.h, member for member; all are blittable, so calls work alike on CoreCLR, NativeAOT and Mono.
// LayoutTests compares them with what a C compiler makes of the header.
// Nothing calls us from a native thread: psb_settings_read() calls its log function before it returns.
using System;
using System.Runtime.InteropServices;

namespace PsiBridge;

internal static unsafe class Native
{
    // Mono cannot be told where a library is; there Library.Find() loads it before (Library.cs).
#if NET
    private const string Lib = "psibridge";
#else
    private const string Lib = "libpsibridge.so.0";
#endif

    internal const uint TellPresent = 2;
    internal const ulong Forever = ulong.MaxValue, Unknown = ulong.MaxValue, GrownShare = ulong.MaxValue;
    internal const int CauseTextMax = 320;
    internal const uint HeadroomOff = 0xffffffff;
    internal const int KindGone = 2;
    internal const int BackendUring = 1;
    internal const int EINVAL = 22, ENODATA = 61;
    internal const int RungMachine = 6;

    [StructLayout(LayoutKind.Sequential)]
    internal struct Notification
    {
        internal UIntPtr Size;
        internal int Kind, Available, Critical, Reason;
        internal byte* Cgroup;
        internal ulong TimeUsec, SinceUsec, SomeTotalUsec, FullTotalUsec, StallUsec;
        internal uint SomeAvg10Centi;
        internal ulong CurrentBytes, LimitBytes;
        internal int Cause, CauseIsHigh;
        internal UIntPtr CauseLength;
        internal uint Event, FullAvg10Centi;
        internal ulong OomEvents;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct WatchOptions
    {
        internal UIntPtr Size;
        internal byte* Cgroup;
        internal long Pid;
        internal byte* Unit, Source, SourceWrite;
        internal UIntPtr SourceWriteSize;
        internal byte* Pattern;
        internal uint Rungs;
        internal byte* Early, Low, Critical;
        internal ulong RearmUsec, QuietUsec, CalmUsec;
        internal uint HeadroomPercent;
        internal byte* ErrorText;
        internal UIntPtr ErrorTextSize;
        internal int Descendants;
        internal ulong ForecastUsec;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Settings
    {
        internal UIntPtr Size;
        internal WatchOptions* Watch;
        internal int Enabled, LogPriority, Collect;
        internal uint Refused;
        internal ulong ApartUsec, GrownBytes;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Load
    {
        internal UIntPtr Size;
        internal ulong CurrentBytes, WorkingSetBytes, LimitBytes, HighBytes, AvailableBytes;
        internal uint Percent;
        internal int Machine;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Source
    {
        internal UIntPtr Size;
        internal uint Rung;
        internal byte* Name, Cgroup;
        internal int Events;
        internal fixed byte Trigger[64];
        internal fixed byte Why[320];
        internal fixed byte Path[4096];
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Stats
    {
        internal UIntPtr Size;
        internal ulong Alarms, FalseAlarms, LostAlarms, Samples, Sweeps, Low, Critical, Neutral, High, Callbacks, CallbackUsec,
            Superseded, BytesBack, Members, AlarmUsec, SampleUsec;
        internal ulong Effects, Unanswered, EffectUsec, EffectBytes, FirstBackUsec, StallBeforeUsec, StallAfterUsec,
            ReportedBytes, ReportedUsec, EffectReportedBytes, StallUsec;
    }

    [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
    internal delegate void LogFn(IntPtr userdata, int priority, IntPtr message);

    [DllImport(Lib)] internal static extern int psb_settings_read(IntPtr log, IntPtr userdata, Settings* ret);
    [DllImport(Lib)] internal static extern int psb_bridge_new(IntPtr options, IntPtr* ret);
    [DllImport(Lib)] internal static extern int psb_bridge_start(IntPtr bridge);
    [DllImport(Lib)] internal static extern int psb_bridge_backend(IntPtr bridge, byte** ret_why);
    [DllImport(Lib)] internal static extern IntPtr psb_bridge_unref(IntPtr bridge);
    [DllImport(Lib)] internal static extern int psb_watch_new(IntPtr bridge, WatchOptions* options, IntPtr* ret);
    [DllImport(Lib)] internal static extern IntPtr psb_watch_unref(IntPtr watch);
    [DllImport(Lib)] internal static extern int psb_watch_load(IntPtr watch, Load* ret);
    [DllImport(Lib)] internal static extern int psb_watch_source(IntPtr watch, Source* ret);
    [DllImport(Lib)] internal static extern int psb_watch_stats(IntPtr watch, Stats* ret);
    [DllImport(Lib)] internal static extern int psb_watch_simulate(IntPtr watch, int available, int critical);
    [DllImport(Lib)] internal static extern int psb_mailbox_new(IntPtr watch, uint flags, IntPtr* ret);
    [DllImport(Lib)] internal static extern int psb_mailbox_take(IntPtr mailbox, ulong timeout_usec, Notification* ret);
    [DllImport(Lib)] internal static extern IntPtr psb_mailbox_registration(IntPtr mailbox);
    [DllImport(Lib)] internal static extern int psb_registration_report(IntPtr registration, ulong bytes, ulong usec);
    [DllImport(Lib)] internal static extern int psb_mailbox_close(IntPtr mailbox);
    [DllImport(Lib)] internal static extern IntPtr psb_mailbox_free(IntPtr mailbox);
    [DllImport(Lib)] internal static extern UIntPtr psb_cause_text(Notification* notification, byte* buf);
    [DllImport(Lib)] internal static extern int psb_code_new(IntPtr* ret);
    [DllImport(Lib)] internal static extern int psb_code_keep(IntPtr code, IntPtr address);
    [DllImport(Lib)] internal static extern int psb_code_lock(IntPtr code, ulong* ret_refused_bytes);
    [DllImport(Lib)] internal static extern int psb_code_unlock(IntPtr code);
    [DllImport(Lib)] internal static extern IntPtr psb_code_free(IntPtr code);
#if NET
    static Native() => Library.Install();
#endif

    // As UTF-8, on Linux.
    internal static string? Text(byte* text) => text == null ? null : new string((sbyte*)text);

    internal static TimeSpan Time(ulong usec) => TimeSpan.FromTicks((long)Math.Min(usec, long.MaxValue / 10) * 10);

    internal static TimeSpan? TimeOrNull(bool known, ulong usec) => known && usec != Unknown ? Time(usec) : null;
}
