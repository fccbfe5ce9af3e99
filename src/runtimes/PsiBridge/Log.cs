// SPDX-License-Identifier: MIT
//
// Log.cs - one line a message on standard error
//
// Not through Console.Error: a program may have set that to something of its own, and messages about the process belong
// where those of the native hooks go. Each line is one write, so lines of several threads do not mix. Which priorities
// are let through is PSIBRIDGE_LOG's; it is read here too, for one message must come even without libpsibridge: that
// it is missing.
using System;
using System.Globalization;
using System.IO;
using System.Text;

namespace PsiBridge;

internal static class Log
{
    internal const int Error = 3, Warning = 4, Info = 6, Debug = 7;

    private static readonly object Gate = new object();
    private static Stream? stderr;
    private static int highest = FromEnvironment();

    internal static bool Enabled(int priority) => priority <= highest;

    /// <summary>What psb_settings_read() made of PSIBRIDGE_LOG.</summary>
    internal static void SetHighest(int priority) => highest = priority;

    /// <summary>Open what Write() needs, so that it need not be looked for later.</summary>
    internal static void WarmUp()
    {
        lock (Gate)
            stderr ??= Console.OpenStandardError();
        _ = Encoding.UTF8.GetBytes(OneLine("ready"));
    }

    internal static void Write(int priority, string message)
    {
        if (!Enabled(priority))
            return;
        byte[] line = Encoding.UTF8.GetBytes("psibridge[dotnet]: " + OneLine(message) + "\n");
        try
        {
            lock (Gate)
            {
                stderr ??= Console.OpenStandardError();
                stderr.Write(line, 0, line.Length);
                stderr.Flush();
            }
        }
        catch (Exception e) when (e is IOException || e is ObjectDisposedException || e is UnauthorizedAccessException)
        {
            // Nothing reads it. That is no reason to disturb the program.
        }
    }

    internal static void Write(int priority, string format, params object?[] args)
    {
        if (Enabled(priority))
            Write(priority, string.Format(CultureInfo.InvariantCulture, format, args));
    }

    private static string OneLine(string text) => text.Replace('\n', ' ').Replace('\r', ' ');

    private static int FromEnvironment() => Environment.GetEnvironmentVariable("PSIBRIDGE_LOG") switch
    {
        "off" => -1,
        "error" => Error,
        "info" => Info,
        "debug" => Debug,
        _ => Warning,
    };
}
