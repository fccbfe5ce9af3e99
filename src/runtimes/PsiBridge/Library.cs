// SPDX-License-Identifier: MIT
//
// Library.cs - where libpsibridge is
//
// Asked in this order; the first that answers is it:
//   1. $PSIBRIDGE_LIBRARY, and then nothing else: who sets it means it.
//   2. In the start-up hook: the copy inside. It is written into a memfd, a file that no directory has, and loaded
//      from /proc/self/fd, so it needs no place to be written to and leaves none behind.
//   3. libpsibridge.so where the runtime looks for native libraries: beside the program, in its NuGet packages.
//   4. libpsibridge.so.0 of the system.
//
// .NET has NativeLibrary for this. On Mono dlopen() loads the file first, and the DllImport, which names the SONAME, finds
// what is loaded already.
using System;
using System.Collections.Generic;
using System.IO;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace PsiBridge;

internal static unsafe class Library
{
    private static readonly object Gate = new object();
    private static readonly List<string> Tried = new List<string>();
    private static string? refused; // the loader's words for a file that is there
    private static IntPtr handle;

    [DllImport("libc")] private static extern IntPtr malloc_trim(UIntPtr pad);

    /// <summary>Null if libpsibridge is there, or else what was tried.</summary>
    internal static string? Find()
    {
        lock (Gate)
        {
            Tried.Clear();
            refused = null;
            if (handle == IntPtr.Zero)
                handle = Search();
            return handle != IntPtr.Zero ? null
                : refused != null ? "libpsibridge cannot be loaded: " + refused
                : "libpsibridge was not found (tried " + string.Join(", ", Tried) + ")";
        }
    }

    /// <summary>Give back to the kernel what malloc() keeps, where this libc can.</summary>
    internal static void TrimMalloc()
    {
        try
        {
            malloc_trim(UIntPtr.Zero);
        }
        catch (Exception e) when (e is EntryPointNotFoundException || e is DllNotFoundException)
        {
            // musl
        }
    }

    private static IntPtr Search()
    {
        string? named = Environment.GetEnvironmentVariable("PSIBRIDGE_LIBRARY");
        IntPtr found = IntPtr.Zero;

        if (!string.IsNullOrEmpty(named))
            return Load(named!, "PSIBRIDGE_LIBRARY=" + named);
#if PSIBRIDGE_EMBEDDED
        found = LoadEmbedded();
#elif !NET // Mono's own search knows the assembly's folder; dlopen() does not.
        found = Load(Path.Combine(AppDomain.CurrentDomain.BaseDirectory, "libpsibridge.so"));
#endif
        if (found == IntPtr.Zero)
            found = Load("libpsibridge.so");
        return found != IntPtr.Zero ? found : Load("libpsibridge.so.0");
    }

#if NET
    internal static void Install()
    {
        try
        {
            NativeLibrary.SetDllImportResolver(typeof(Library).Assembly, (name, _, _) =>
                name == "psibridge" && Find() == null ? handle : IntPtr.Zero);
        }
        catch (InvalidOperationException)
        {
            // The program set one for us. Then that finds the library.
        }
    }
#else
    // In libc since glibc 2.34.
    [DllImport("libc")] private static extern IntPtr dlopen(byte[] name, int flags);
    [DllImport("libc")] private static extern IntPtr dlerror();
#endif

    private static IntPtr Load(string name, string? shown = null)
    {
        Tried.Add(shown ?? name);
#if NET
        try
        {
            return NativeLibrary.Load(name, typeof(Library).Assembly, null);
        }
        catch (Exception e) when (e is DllNotFoundException || e is BadImageFormatException)
        {
            // One sentence of the runtime's, then a line of the loader's for each file that it tried.
            foreach (string line in e.Message.Split('\n'))
                Refuse(line.Trim(), name, shown);
            return IntPtr.Zero;
        }
#else
        const int now = 2, global = 0x100;
        IntPtr loaded = dlopen(System.Text.Encoding.UTF8.GetBytes(name + "\0"), now | global);
        if (loaded == IntPtr.Zero)
            Refuse(Native.Text((byte*)dlerror()) ?? "", name, shown);
        return loaded;
#endif
    }

    // "/opt/libpsibridge.so: invalid ELF header". That it is not where it was looked for is no news, also under a name that the
    // runtime made of it; but the line may be about another file, which this one needs.
    private static void Refuse(string line, string name, string? shown)
    {
        const string missing = "cannot open shared object file: No such file or directory";
        int colon = line.IndexOf(": ", StringComparison.Ordinal);
        string file = line.Substring(0, Math.Max(colon, 0));

        if (file.Length == 0 || (line.EndsWith(missing, StringComparison.Ordinal) &&
                                 Path.GetFileName(file).IndexOf(Path.GetFileName(name), StringComparison.Ordinal) >= 0))
            return;
        refused ??= shown != null && !shown.EndsWith(file, StringComparison.Ordinal) ? shown + ": " + line : line;
    }

#if PSIBRIDGE_EMBEDDED
    [DllImport("libc")] private static extern int memfd_create(byte* name, uint flags);

    private static IntPtr LoadEmbedded()
    {
        const uint cloexec = 1;

        try
        {
            using Stream inside = typeof(Library).Assembly.GetManifestResourceStream("libpsibridge.so")!;
            fixed (byte* name = "libpsibridge"u8)
            {
                int fd = memfd_create(name, cloexec);
                using var file = new FileStream(new SafeFileHandle((IntPtr)fd, ownsHandle: true), FileAccess.Write, 0);
                inside.CopyTo(file);
                return Load("/proc/self/fd/" + fd, "the copy inside");
            }
        }
        catch (Exception e) when (e is EntryPointNotFoundException || e is IOException || e is ArgumentException)
        {
            return IntPtr.Zero; // a libc without memfd_create(), or no memory for it
        }
    }
#endif
}
