// SPDX-License-Identifier: MIT
//
// LayoutTests.cs - the structures of Native.cs are those of the public headers, as a C compiler lays them out
using System;
using System.Diagnostics;
using System.IO;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Xunit;

namespace PsiBridge.Tests;

/// <summary>Runs where the header is (PSIBRIDGE_INCLUDE names its folder): there a C compiler built it.</summary>
public sealed class CompilerFactAttribute : FactAttribute
{
    internal static readonly string? Include = Environment.GetEnvironmentVariable("PSIBRIDGE_INCLUDE");

    public CompilerFactAttribute() => Skip = Include == null ? "PSIBRIDGE_INCLUDE does not say where psibridge/tools.h is" : null;
}

public sealed class LayoutTests
{
    private static string Run(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(0, process.ExitCode);
        return output;
    }

    [CompilerFact]
    public void every_structure_is_laid_out_as_in_the_header()
    {
        string folder = Directory.CreateTempSubdirectory("psb-xunit-").FullName;
        var c = new StringBuilder("#include <psibridge/tools.h>\n#include <stdio.h>\nint main(void)\n{\n");
        var ours = new StringBuilder();

        void Compare(string expression, long value)
        {
            c.Append($"\tprintf(\"{expression} %zu\\n\", {expression});\n");
            ours.Append($"{expression} {value}\n");
        }

        foreach ((string name, Type type) in new[]
                 { ("psb_notification", typeof(Native.Notification)), ("psb_watch_options", typeof(Native.WatchOptions)),
                   ("psb_settings", typeof(Native.Settings)), ("psb_load", typeof(Native.Load)),
                   ("psb_source", typeof(Native.Source)), ("psb_stats", typeof(Native.Stats)) })
        {
            Compare($"sizeof(struct {name})", Marshal.SizeOf(type));
            foreach (FieldInfo field in type.GetFields(BindingFlags.Instance | BindingFlags.NonPublic))
            {
                string member = Regex.Replace(field.Name, "(?<!^)([A-Z])", "_$1").ToLowerInvariant();
                Compare($"offsetof(struct {name}, {member})", (long)Marshal.OffsetOf(type, field.Name));
            }
        }
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
