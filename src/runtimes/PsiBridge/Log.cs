// SPDX-License-Identifier: MIT
//
// Log.cs - one line a message on standard error
//
// A line that could only be written by waiting for a reader is lost: what has to react must not wait.
//
// Not through Console.Error, which a program may have set to something of its own. Each line is one write, so lines of
// several threads do not mix. PSIBRIDGE_LOG is read here too, for one message must come even without libpsibridge: that it is
// missing.
using System;
using System.Globalization;
using System.IO;
using System.Runtime.InteropServices;
using System.Text;

namespace PsiBridge;

internal static class Log
{
    internal const int Error = 3, Warning = 4, Info = 6, Debug = 7;

    private static readonly Stream Stderr = Console.OpenStandardError();
    /// <summary>Later what psb_settings_read() made of it.</summary>
    internal static int Highest { private get; set; } = Environment.GetEnvironmentVariable("PSIBRIDGE_LOG") switch
    {
        "off" => -1,
        "error" => Error,
        "info" => Info,
        "debug" => Debug,
        _ => Warning,
    };

    /// <summary>Standard error is data to others.</summary>
    internal static bool Mute { private get; set; }

    /// <summary>Takes the place of standard error, at every level: what it gets is filtered by its own rules.</summary>
    internal static Action<int, string>? Sink { private get; set; }

    /// <summary>What Write() needs is there, so that it need not be looked for later.</summary>
    internal static void WarmUp() => _ = Bytes(WouldWait() ? "waits" : "ready");

    private struct PollFd
    {
        internal int Fd;
        internal short Events, Returned;
    }

    [DllImport("libc")] private static extern int poll(ref PollFd fds, UIntPtr count, int timeout);

    // A pipe that can be written to has room for a line (pipe(7), PIPE_BUF).
    private static bool WouldWait()
    {
        const short pollout = 4;
        var stderr = new PollFd { Fd = 2, Events = pollout };

        return poll(ref stderr, (UIntPtr)1, 0) <= 0;
    }

    internal static void Write(int priority, string format, params object?[] args)
    {
        if (Sink is { } sink)
        {
            sink(priority, string.Format(CultureInfo.InvariantCulture, format, args));
            return;
        }
        if (priority > Highest || Mute || WouldWait())
            return;
        byte[] line = Bytes(string.Format(CultureInfo.InvariantCulture, format, args));
        try
        {
            Stderr.Write(line, 0, line.Length);
        }
        catch (Exception e) when (e is IOException || e is ObjectDisposedException || e is UnauthorizedAccessException)
        {
            // Nothing reads it. That is no reason to disturb the program.
        }
    }

    private static byte[] Bytes(string message) =>
        Encoding.UTF8.GetBytes("psibridge[dotnet]: " + message.Replace('\n', ' ').Replace('\r', ' ') + "\n");
}
