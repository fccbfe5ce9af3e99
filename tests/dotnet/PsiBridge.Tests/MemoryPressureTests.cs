// SPDX-License-Identifier: MIT
//
// MemoryPressureTests.cs - levels, handlers, callbacks: libpsibridge with a FIFO, in this process
using System;
using System.Collections.Generic;
using System.Runtime;
using System.Runtime.CompilerServices;
using System.Threading;
using Xunit;

namespace PsiBridge.Tests;

public sealed class MemoryPressureTests
{
    private static void WaitFor(EventWaitHandle e) => Assert.True(e.WaitOne(Watched.Patience));

    [Fact]
    public void low_is_followed_by_neutral_and_then_high()
    {
        using var watched = new Watched();

        Assert.Equal(MemoryPressureState.Watching, watched.Status.State);
        Assert.Equal("fifo", watched.Status.Source);
        Assert.Equal(watched.Fifo.Path, watched.Status.Path);
        Assert.Equal(1, watched.Status.Rung);
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        Assert.Equal(0, watched.Count);
        watched.Fifo.Ring();
        MemoryPressureEventArgs low = watched.Wait(MemoryAvailable.Low);
        Assert.Equal(MemoryPressureReason.Signal, low.Reason);
        Assert.False(low.Critical);
        watched.Wait(MemoryAvailable.Neutral);
        watched.Wait(MemoryAvailable.High);
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
    }

    [Fact]
    public void what_is_simulated_is_told_as_what_is_measured()
    {
        using var watched = new Watched();

        MemoryPressure.Simulate(MemoryAvailable.Low, critical: true);
        MemoryPressureEventArgs low = watched.Wait(MemoryAvailable.Low);
        Assert.True(low.Critical);
        Assert.Equal(MemoryPressureReason.Simulated, low.Reason);
        Assert.Equal("Low, critical (memory is very short)", low.ToString());
        watched.Wait(MemoryAvailable.High);
        Assert.False(MemoryPressure.IsCritical);
        Assert.Throws<ArgumentOutOfRangeException>(() => MemoryPressure.Simulate(0));
    }

    [Fact]
    public void the_level_is_that_of_the_news_while_a_handler_runs()
    {
        using var watched = new Watched(o => o.Quiet = TimeSpan.FromSeconds(30));
        var seen = (MemoryAvailable)0;
        bool critical = false;
        using var done = new ManualResetEvent(false);
        EventHandler<MemoryPressureEventArgs> handler = (_, _) =>
        {
            seen = MemoryPressure.Available;
            critical = MemoryPressure.IsCritical;
            done.Set();
        };

        MemoryPressure.Changed += handler;
        MemoryPressure.Simulate(MemoryAvailable.Low, critical: true);
        WaitFor(done);
        MemoryPressure.Changed -= handler;
        Assert.Equal(MemoryAvailable.Low, seen);
        Assert.True(critical);
        MemoryPressure.Stop();
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        Assert.False(MemoryPressure.IsCritical);
    }

    [Fact]
    public void who_has_left_is_not_told()
    {
        using var watched = new Watched();
        int handled = 0, called = 0;
        using var last = new ManualResetEvent(false);
        EventHandler<MemoryPressureEventArgs> handler = (_, _) => handled++;

        MemoryPressure.Changed += handler;
        MemoryPressure.Changed -= handler;
        IDisposable left = MemoryPressure.Register(new Callback(_ => called++));
        left.Dispose();
        left.Dispose();
        using (MemoryPressure.Register(new Callback(_ => last.Set())))
        {
            watched.Fifo.Ring();
            watched.Wait(MemoryAvailable.Low);
            WaitFor(last);
        }
        Assert.Equal(0, handled);
        Assert.Equal(0, called);
        Assert.Throws<ArgumentNullException>(() => MemoryPressure.Register(null!));
    }

    [Fact]
    public void a_callback_may_leave_while_it_is_called()
    {
        using var watched = new Watched();
        int called = 0;
        using var next = new ManualResetEvent(false);
        IDisposable? registration = null;
        registration = MemoryPressure.Register(new Callback(_ =>
        {
            called++;
            registration!.Dispose();
        }));

        using (MemoryPressure.Register(new Callback(p =>
        {
            if (p.Available == MemoryAvailable.High)
                next.Set();
        })))
        {
            watched.Fifo.Ring();
            WaitFor(next);
        }
        Assert.Equal(1, called);
    }

    [Fact]
    public void levels_are_told_while_a_callback_blocks()
    {
        using var watched = new Watched();
        using var inside = new ManualResetEvent(false);
        using var go = new ManualResetEvent(false);
        var seen = new List<MemoryAvailable>();
        using var over = new ManualResetEvent(false);

        using (MemoryPressure.Register(new Callback(p =>
        {
            seen.Add(p.Available);
            if (p.Available == MemoryAvailable.Low)
            {
                inside.Set();
                go.WaitOne();
            }
            else
            {
                over.Set();
            }
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
        IDisposable? registration = null;

        if (fromCallback)
            registration = MemoryPressure.Register(new Callback(_ => handler(null, null!)));
        else
            MemoryPressure.Changed += handler;
        watched.Fifo.Ring();
        WaitFor(stopped);
        MemoryPressure.Stop(); // waits for the thread that was inside
        Assert.Equal(MemoryPressureState.Stopped, MemoryPressure.Status.State);
        registration?.Dispose();
        MemoryPressure.Changed -= handler;
    }

    [Fact]
    public void nothing_is_told_after_a_stop_and_all_again_after_a_start()
    {
        using var watched = new Watched();

        MemoryPressure.Stop();
        int before = watched.Count;
        watched.Fifo.Ring();
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        Assert.Equal(MemoryPressureState.Stopped, MemoryPressure.Status.State);
        Assert.Equal(before, watched.Count);
        // What lay in the FIFO meanwhile is read by the next watch.
        MemoryPressure.Start(new MemoryPressureOptions { Source = watched.Fifo.Path });
        watched.Fifo.Ring();
        watched.Wait(MemoryAvailable.Low, before);
    }

    [Fact]
    public void a_start_with_options_replaces_a_start_without_does_not()
    {
        using var watched = new Watched();
        using var other = new Fifo();

        Assert.Equal(watched.Fifo.Path, MemoryPressure.Start().Path);
        Assert.Equal(other.Path, MemoryPressure.Start(new MemoryPressureOptions { Source = other.Path }).Path);
        other.Ring();
        watched.Wait(MemoryAvailable.Low);
    }

    // Nobody is left who could tell that it is over.
    [Fact]
    public void a_low_does_not_outlive_its_watch_when_the_next_one_cannot_start()
    {
        using var watched = new Watched(o => o.Quiet = TimeSpan.FromMinutes(10));

        watched.Fifo.Ring();
        watched.Wait(MemoryAvailable.Low);
        Assert.Equal(MemoryPressureState.Unavailable,
                     MemoryPressure.Start(new MemoryPressureOptions { Low = "nonsense" }).State);
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        Assert.False(MemoryPressure.IsCritical);
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

    [Theory]
    [InlineData("some nonsense", null, "nonsense")]
    [InlineData("some 200ms/20s", null, "20s")]
    [InlineData(null, -1, "eadroom")]
    [InlineData(null, 101, "eadroom")]
    public void nonsense_in_options_is_named_and_throws_nothing(string? low, int? headroom, string named)
    {
        using var watched = new Watched(o =>
        {
            o.Low = low;
            o.HighHeadroom = headroom;
        });

        Assert.Equal(MemoryPressureState.Unavailable, watched.Status.State);
        Assert.Contains(named, watched.Status.Reason, StringComparison.Ordinal);
        Assert.Equal(MemoryAvailable.High, MemoryPressure.Available);
        Assert.Equal(0, MemoryPressure.Load.LimitBytes);
    }

    [Fact]
    public void where_nothing_can_be_watched_it_says_so_and_can_be_simulated()
    {
        using var watched = new Watched(o => o.Source = "/nonexistent/psibridge");

        Assert.Equal(MemoryPressureState.Unavailable, watched.Status.State);
        Assert.Contains("/nonexistent/psibridge", watched.Status.Reason, StringComparison.Ordinal);
        MemoryPressure.Simulate(MemoryAvailable.Low);
        watched.Wait(MemoryAvailable.Low);
        MemoryPressure.Simulate(MemoryAvailable.High);
        watched.Wait(MemoryAvailable.High);
        Assert.Equal(MemoryPressureState.Unavailable, MemoryPressure.Status.State);
    }

    [Fact]
    public void the_load_adds_up()
    {
        using var watched = new Watched();
        MemoryLoad load = MemoryPressure.Load;

        Assert.InRange(load.Percent, 0, 100);
        Assert.True(load.UsedBytes >= load.WorkingSetBytes && load.WorkingSetBytes > 0);
        Assert.InRange(load.AvailableBytes, 1, load.LimitBytes);
        if (!load.IsMachine)
            Assert.Equal(load.LimitBytes - load.WorkingSetBytes, load.AvailableBytes);
        watched.Fifo.Ring();
        Assert.True(watched.Wait(MemoryAvailable.Low).Load.LimitBytes > 0);
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
