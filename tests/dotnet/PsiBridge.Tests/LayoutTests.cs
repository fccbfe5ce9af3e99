// SPDX-License-Identifier: MIT
//
// LayoutTests.cs - the structures of Native.cs are those of psibridge.h, as a C compiler lays them out
using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using System.Runtime.CompilerServices;
using System.Text;
using Xunit;

namespace PsiBridge.Tests;

/// <summary>Runs where there is a C compiler, and the header (PSIBRIDGE_INCLUDE names its folder).</summary>
public sealed class CompilerFactAttribute : FactAttribute
{
    public CompilerFactAttribute()
    {
        if (Include == null)
            Skip = "PSIBRIDGE_INCLUDE does not say where psibridge.h is";
        else if (!(Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(d => File.Exists(Path.Combine(d, "cc"))))
            Skip = "there is no C compiler";
    }

    internal static string? Include => Environment.GetEnvironmentVariable("PSIBRIDGE_INCLUDE");
}

public sealed unsafe class LayoutTests
{
    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output;
    }

    private static long At(void* structure, void* member) => (byte*)member - (byte*)structure;

    [CompilerFact]
    public void every_structure_is_laid_out_as_in_the_header()
    {
        string folder = Directory.CreateTempSubdirectory("psb-xunit-").FullName;
        var c = new StringBuilder("#include <psibridge/psibridge.h>\n#include <stdio.h>\nint main(void)\n{\n");
        var ours = new StringBuilder();
        Native.Notification n;
        Native.WatchOptions w;
        Native.Settings s;
        Native.Load l;
        Native.Source o;

        void Size(string name, long size)
        {
            c.Append($"\tprintf(\"{name} %zu\\n\", sizeof(struct {name}));\n");
            ours.Append($"{name} {size}\n");
        }

        void Member(string name, string member, void* structure, void* at)
        {
            c.Append($"\tprintf(\"{name}.{member} %zu\\n\", offsetof(struct {name}, {member}));\n");
            ours.Append($"{name}.{member} {At(structure, at)}\n");
        }

        Size("psb_notification", sizeof(Native.Notification));
        Member("psb_notification", "kind", &n, &n.Kind);
        Member("psb_notification", "available", &n, &n.Available);
        Member("psb_notification", "critical", &n, &n.Critical);
        Member("psb_notification", "reason", &n, &n.Reason);
        Member("psb_notification", "cgroup", &n, &n.Cgroup);
        Member("psb_notification", "stall_usec", &n, &n.StallUsec);
        Member("psb_notification", "current_bytes", &n, &n.CurrentBytes);
        Size("psb_watch_options", sizeof(Native.WatchOptions));
        Member("psb_watch_options", "cgroup", &w, &w.Cgroup);
        Member("psb_watch_options", "source", &w, &w.Source);
        Member("psb_watch_options", "rungs", &w, &w.Rungs);
        Member("psb_watch_options", "early", &w, &w.Early);
        Member("psb_watch_options", "low", &w, &w.Low);
        Member("psb_watch_options", "critical", &w, &w.Critical);
        Member("psb_watch_options", "rearm_usec", &w, &w.RearmUsec);
        Member("psb_watch_options", "quiet_usec", &w, &w.QuietUsec);
        Member("psb_watch_options", "calm_usec", &w, &w.CalmUsec);
        Member("psb_watch_options", "headroom_percent", &w, &w.HeadroomPercent);
        Member("psb_watch_options", "error_text", &w, &w.ErrorText);
        Member("psb_watch_options", "error_text_size", &w, &w.ErrorTextSize);
        Size("psb_settings", sizeof(Native.Settings));
        Member("psb_settings", "watch", &s, &s.Watch);
        Member("psb_settings", "enabled", &s, &s.Enabled);
        Member("psb_settings", "log_priority", &s, &s.LogPriority);
        Member("psb_settings", "collect", &s, &s.Collect);
        Member("psb_settings", "refused", &s, &s.Refused);
        Member("psb_settings", "apart_usec", &s, &s.ApartUsec);
        Member("psb_settings", "grown_bytes", &s, &s.GrownBytes);
        Size("psb_load", sizeof(Native.Load));
        Member("psb_load", "current_bytes", &l, &l.CurrentBytes);
        Member("psb_load", "working_set_bytes", &l, &l.WorkingSetBytes);
        Member("psb_load", "limit_bytes", &l, &l.LimitBytes);
        Member("psb_load", "available_bytes", &l, &l.AvailableBytes);
        Member("psb_load", "percent", &l, &l.Percent);
        Member("psb_load", "machine", &l, &l.Machine);
        Size("psb_source", sizeof(Native.Source));
        Member("psb_source", "rung", &o, &o.Rung);
        Member("psb_source", "name", &o, &o.Name);
        Member("psb_source", "cgroup", &o, &o.Cgroup);
        Member("psb_source", "events", &o, &o.Events);
        Member("psb_source", "trigger", &o, o.Trigger);
        Member("psb_source", "why", &o, o.Why);
        Member("psb_source", "path", &o, o.Path);
        c.Append("\treturn 0;\n}\n");

        try
        {
            string source = Path.Combine(folder, "layout.c"), program = Path.Combine(folder, "layout");
            File.WriteAllText(source, c.ToString());
            Run("cc", "-I" + CompilerFactAttribute.Include, "-o", program, source);
            Assert.Equal(Run(program), ours.ToString());
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
