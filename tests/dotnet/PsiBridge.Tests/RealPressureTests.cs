// SPDX-License-Identifier: MIT
//
// RealPressureTests.cs - no simulation: a cgroup with a limit, a program with garbage, a neighbour that reads
//
// The neighbour reads a file over and over that does not fit into what the garbage leaves of the limit, so it waits for
// pages it has had before: that is what PSI counts. When the garbage is gone the file fits.
//
// The limit is the v1 controller's where memory is still there (PSI follows the v2 membership all the same), else
// memory.max. The file lies in /var/tmp, because /tmp may be a tmpfs, whose pages are not read again.
using System;
using System.Diagnostics;
using System.IO;
using System.Linq;
using Xunit;

namespace PsiBridge.Tests;

/// <summary>Runs where cgroups can be made and limited.</summary>
public sealed class PressureFactAttribute : FactAttribute
{
    public PressureFactAttribute() => Skip = PressureGroup.WhyNot();
}

/// <summary>A cgroup with a limit; made by the test, removed by it.</summary>
internal sealed class PressureGroup : IDisposable
{
    private readonly string v2;
    private readonly string? v1;

    private PressureGroup(string v2, string? v1)
    {
        this.v2 = v2;
        this.v1 = v1;
    }

    /// <summary>For sh: the shell that runs it joins.</summary>
    internal string Join => "echo $$ >" + v2 + "/cgroup.procs && " + (v1 == null ? "" : "echo $$ >" + v1 + "/cgroup.procs && ");

    internal string Name => "/" + Path.GetFileName(v2);

    internal static PressureGroup Make(long limit)
    {
        string name = "psb-xunit-" + Environment.ProcessId + "-" + Environment.TickCount64;
        string v2 = Path.Combine(Mount("cgroup2", "")!, name);
        string? v1 = Mount("cgroup", "memory") is { } mount ? Path.Combine(mount, name) : null;
        var group = new PressureGroup(v2, v1);

        try
        {
            Directory.CreateDirectory(v2);
            if (v1 != null)
                Directory.CreateDirectory(v1);
            else if (!File.Exists(Path.Combine(v2, "memory.max")))
                File.WriteAllText(Path.Combine(Path.GetDirectoryName(v2)!, "cgroup.subtree_control"), "+memory");
            File.WriteAllText(v1 != null ? v1 + "/memory.limit_in_bytes" : v2 + "/memory.max", limit.ToString());
            if (!File.Exists(v2 + "/memory.pressure"))
                throw new IOException("PSI is off");
            return group;
        }
        catch
        {
            group.Dispose();
            throw;
        }
    }

    internal static string? WhyNot()
    {
        if (Mount("cgroup2", "") == null)
            return "there is no cgroup2 mount";
        try
        {
            Make(1L << 30).Dispose();
            return null;
        }
        catch (Exception e) when (e is IOException || e is UnauthorizedAccessException)
        {
            return "no cgroup can be made and limited here: " + e.Message;
        }
    }

    // proc(5): ... mount point is the fifth field; after " - " come type, source, super options.
    private static string? Mount(string type, string option) =>
        (from line in File.ReadLines("/proc/self/mountinfo")
         let halves = line.Split(" - ")
         let tail = halves[1].Split(' ')
         where tail[0] == type && (option.Length == 0 || tail[2].Split(',').Contains(option))
         select halves[0].Split(' ')[4]).FirstOrDefault();

    public void Dispose()
    {
        foreach (string? folder in new[] { v1, v2 })
        {
            if (folder == null || !Directory.Exists(folder))
                continue;
            // The last process of a group is gone a little after it was waited for.
            for (int tries = 0; tries < 200; tries++)
            {
                try
                {
                    Directory.Delete(folder);
                    break;
                }
                catch (IOException)
                {
                    System.Threading.Thread.Sleep(10);
                }
            }
        }
    }
}

public sealed class RealPressureTests
{
    private static Process Shell(string script)
    {
        var start = new ProcessStartInfo("sh") { RedirectStandardError = true };
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add(script);
        Process process = Process.Start(start)!;
        process.ErrorDataReceived += (_, _) => { };
        process.BeginErrorReadLine();
        return process;
    }

    [PressureFact]
    public void a_program_with_garbage_gives_it_back_when_a_neighbour_stalls()
    {
        string file = "/var/tmp/psb-xunit-" + Guid.NewGuid().ToString("N");
        using var group = PressureGroup.Make(430L << 20);

        try
        {
            using (Process fill = Shell("dd if=/dev/zero of=" + file + " bs=1M count=300 && " +
                                        "dd of=" + file + " oflag=nocache conv=notrunc,fdatasync count=0"))
            {
                fill.WaitForExit();
                Assert.Equal(0, fill.ExitCode);
            }
            using var program = new Embedder(group, "garbage watch", ("PSIBRIDGE_EARLY", "some 10ms/2s"),
                                             ("PSIBRIDGE_LOW", "some 20ms/2s"), ("PSIBRIDGE_CRITICAL", "full 2s/2s"),
                                             ("PSIBRIDGE_QUIET", "1s"), ("PSIBRIDGE_HIGH_HEADROOM", "off"));
            Assert.Contains(group.Name, program.Wait("ready: "), StringComparison.Ordinal);
            program.Wait("status Watching");
            using Process neighbour = Shell(group.Join + "while :; do dd if=" + file + " of=/dev/null bs=64k; done");
            try
            {
                program.Wait("changed Low False Stall");
                string[] words = program.Wait("collected: ").Split(' ');
                double before = double.Parse(words[2], System.Globalization.CultureInfo.InvariantCulture),
                       after = double.Parse(words[4], System.Globalization.CultureInfo.InvariantCulture);
                Assert.InRange(after / before, 0, 0.2);
                program.Wait("changed Neutral");
                program.Say("load");
                Assert.DoesNotContain("load 0 %", program.Wait("load "), StringComparison.Ordinal);
            }
            finally
            {
                neighbour.Kill(entireProcessTree: true);
                neighbour.WaitForExit();
            }
            Assert.Equal(0, program.End().Status);
        }
        finally
        {
            File.Delete(file);
        }
    }
}
