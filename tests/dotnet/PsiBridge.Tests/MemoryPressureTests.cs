// SPDX-License-Identifier: MIT
//
// MemoryPressureTests.cs - levels, handlers, callbacks: libpsibridge with a FIFO, in this process
using System;
using System.Collections.Generic;
using System.Threading;
using Xunit;

namespace PsiBridge.Tests;

public sealed class MemoryPressureTests
{
    private static void WaitFor(EventWaitHandle e) => Assert.True(e.WaitOne(Watched.Patience));

    private static (MemoryAvailable, bool) Now => (MemoryPressure.Available, MemoryPressure.IsCritical);

    [Fact]
    public void low_is_followed_by_neutral_and_then_high()
    {
        using var watched = new Watched();

        Assert.Equal(MemoryPressureState.Watching, watched.Status.State);
        Assert.Equal(("fifo", watched.Fifo.Path, 1), (watched.Status.Source, watched.Status.Path, watched.Status.Rung));
        Assert.Equal(0, watched.Count);
        watched.Fifo.Ring();
        MemoryPressureEventArgs low = watched.Wait(MemoryAvailable.Low);
        Assert.Equal((MemoryPressureReason.Signal, false), (low.Reason, low.Critical));
        Assert.True(low.Load.LimitBytes > 0);
        watched.Wait(MemoryAvailable.Neutral);
        watched.Wait(MemoryAvailable.High);
        Assert.Equal((MemoryAvailable.High, false), Now);

        MemoryLoad load = MemoryPressure.Load;
        Assert.InRange(load.Percent, 0, 100);
        Assert.InRange(load.WorkingSetBytes, 1, load.UsedBytes);
        Assert.InRange(load.AvailableBytes, 1, load.LimitBytes);
        if (!load.IsMachine)
            Assert.Equal(load.LimitBytes - load.WorkingSetBytes, load.AvailableBytes);
    }

    [Fact]
    public void what_is_simulated_is_told_as_what_is_measured_and_is_the_level_meanwhile()
    {
        using Watched watched = Watched.Still();
        (MemoryAvailable, bool) seen = default;
        EventHandler<MemoryPressureEventArgs> handler = (_, _) => seen = Now;

        MemoryPressure.Changed -= watched.Hear;
        MemoryPressure.Changed += handler;
        MemoryPressure.Changed += watched.Hear; // they are called in their order
        MemoryPressure.Simulate(MemoryAvailable.Low, critical: true);
        MemoryPressureEventArgs low = watched.Wait(MemoryAvailable.Low);
        MemoryPressure.Changed -= handler;
        Assert.Equal(MemoryPressureReason.Simulated, low.Reason);
        Assert.Equal("Low, critical (memory is very short)", low.ToString());
        Assert.Equal((MemoryAvailable.Low, true), seen);
        Assert.Throws<ArgumentOutOfRangeException>(() => MemoryPressure.Simulate(0));

        // Nobody is left who could tell that it is over.
        Assert.Equal(MemoryPressureState.Unavailable, MemoryPressure.Start(new MemoryPressureOptions { Source = "/nonexistent" }).State);
        Assert.Equal((MemoryAvailable.High, false), Now);
    }

    [Fact]
    public void who_has_left_is_not_told_also_if_that_was_inside_a_call()
    {
        using Watched watched = Watched.Still();
        int handled = 0, called = 0, once = 0;
        EventHandler<MemoryPressureEventArgs> handler = (_, _) => handled++;
        IDisposable? registration = null;

        MemoryPressure.Changed += handler;
        MemoryPressure.Changed -= handler;
        MemoryPressure.Register(new Callback(_ => called++)).Dispose();
        IDisposable next = null!;
        registration = MemoryPressure.Register(new Callback(_ =>
        {
            once++;
            registration!.Dispose();
            next.Dispose();
        }));
        next = MemoryPressure.Register(new Callback(_ => called++));
        Watched.Simulate(MemoryAvailable.Low);
        Watched.Simulate(MemoryAvailable.High);
        Assert.Equal((0, 0, 1), (handled, called, once));
        Assert.Throws<ArgumentNullException>(() => MemoryPressure.Register(null!));
    }

    [Fact]
    public void a_start_with_options_replaces_and_after_a_stop_nothing_is_told()
    {
        using var watched = new Watched();
        using var other = new Fifo();

        Assert.Equal(watched.Fifo.Path, MemoryPressure.Start().Path);
        MemoryPressure.Stop();
        watched.Fifo.Ring();
        MemoryPressure.Simulate(MemoryAvailable.Low);
        Assert.Equal(MemoryPressureState.Stopped, MemoryPressure.Status.State);
        Assert.Equal(other.Path, MemoryPressure.Start(new MemoryPressureOptions { Source = other.Path }).Path);
        Assert.Equal(0, watched.Count);
        other.Ring();
        watched.Wait(MemoryAvailable.Low);
    }

    [Fact]
    public void levels_are_told_while_a_callback_blocks()
    {
        using var watched = new Watched();
        using var inside = new ManualResetEvent(false);
        using var go = new ManualResetEvent(false);
        using var over = new ManualResetEvent(false);
        var seen = new List<MemoryAvailable>();

        using (MemoryPressure.Register(new Callback(p =>
        {
            seen.Add(p.Available);
            (p.Available == MemoryAvailable.Low ? inside : over).Set();
            go.WaitOne();
        })))
        {
            watched.Fifo.Ring();
            WaitFor(inside);
            watched.Wait(MemoryAvailable.High);
            Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
            go.Set();
            WaitFor(over);
        }
        // The newest wins: Neutral was over when the callback came back.
        Assert.Equal(new[] { MemoryAvailable.Low, MemoryAvailable.High }, seen);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void it_may_be_stopped_from_inside(bool fromCallback)
    {
        using var watched = new Watched();
        using var stopped = new ManualResetEvent(false);
        EventHandler<MemoryPressureEventArgs> handler = (_, _) =>
        {
            MemoryPressure.Stop();
            stopped.Set();
        };
        IDisposable? registration = fromCallback ? MemoryPressure.Register(new Callback(_ => handler(null, null!))) : null;

        if (!fromCallback)
            MemoryPressure.Changed += handler;
        watched.Fifo.Ring();
        WaitFor(stopped);
        MemoryPressure.Stop(); // waits for the thread that was inside
        Assert.Equal(MemoryPressureState.Stopped, MemoryPressure.Status.State);
        registration?.Dispose();
        MemoryPressure.Changed -= handler;
    }

    [Fact]
    public void starts_and_stops_of_many_threads_end()
    {
        using var watched = new Watched();
        var threads = new Thread[4];

        for (int i = 0; i < threads.Length; i++)
        {
            int n = i;
            threads[i] = new Thread(() =>
            {
                for (int round = 0; round < 25; round++)
                {
                    if ((round + n) % 2 == 0)
                        MemoryPressure.Start(new MemoryPressureOptions { Source = watched.Fifo.Path });
                    else
                        MemoryPressure.Stop();
                    _ = MemoryPressure.Load;
                    _ = MemoryPressure.Status.ToString();
                }
            });
            threads[i].Start();
        }
        foreach (Thread thread in threads)
            Assert.True(thread.Join(Watched.Patience));
        MemoryPressure.Stop();
        MemoryPressure.Start(new MemoryPressureOptions { Source = watched.Fifo.Path });
        watched.Fifo.Ring();
        watched.Wait(MemoryAvailable.Low);
    }

    [Fact]
    public void where_nothing_can_be_watched_it_says_so_and_can_be_simulated()
    {
        using var watched = new Watched(o => o.Source = "/nonexistent/psibridge");

        Assert.Equal(MemoryPressureState.Unavailable, watched.Status.State);
        Assert.Contains("/nonexistent/psibridge", watched.Status.Reason, StringComparison.Ordinal);
        Assert.Equal(0, MemoryPressure.Load.LimitBytes);
        Watched.Simulate(MemoryAvailable.Low);
        Assert.Equal((MemoryAvailable.Low, false), Now);
        Watched.Simulate(MemoryAvailable.High, critical: true);
        Assert.Equal((MemoryAvailable.High, false), Now);
        Assert.Equal(MemoryPressureState.Unavailable, MemoryPressure.Status.State);
    }

    [Fact]
    public void a_stop_does_not_wait_for_ever_for_a_handler()
    {
        using var watched = new Watched();
        object theirs = new();
        EventHandler<MemoryPressureEventArgs> handler = (_, _) =>
        {
            lock (theirs)
                _ = MemoryPressure.Available;
        };

        MemoryPressure.Changed += handler;
        lock (theirs)
        {
            watched.Fifo.Ring();
            watched.Wait(MemoryAvailable.Low);
            MemoryPressure.Stop(); // gives up on the handler after two seconds
        }
        MemoryPressure.Changed -= handler;
    }
}
