// SPDX-License-Identifier: MIT
//
// GcLimitTests.cs - two sources, one level: the worse counts. How near the GC is to its limit is tried by test-dotnet.sh, with one
using System;
using System.Collections.Generic;
using System.Linq;
using Xunit;

namespace PsiBridge.Tests;

public sealed class GcLimitTests
{
    private static MemoryPressureEventArgs News(string word) => new()
    {
        Reason = word[0] == 'h' ? MemoryPressureReason.HeapLimit : MemoryPressureReason.Stall,
        Critical = word[1] == 'C',
        Available = word[1] switch
        {
            'H' => MemoryAvailable.High,
            'N' => MemoryAvailable.Neutral,
            _ => MemoryAvailable.Low,
        },
    };

    private static string Word(MemoryPressureEventArgs? told) =>
        told == null ? "-" : (told.Reason == MemoryPressureReason.HeapLimit ? "h" : "m") + (told.Critical ? 'C' : told.Available.ToString()[0]);

    // What comes from m(easuring) or the h(eap): H(igh), N(eutral), L(ow), C(ritical); and what is told then.
    [Theory]
    [InlineData("mN mL mL mC mN mH", "mN mL mL mC mN mH")] // one alone: as it comes
    [InlineData("hN hL hC hH", "hN hL hC hH")]
    [InlineData("mL hN hL hH mH", "mL - hL - mH")] // the better one is not told, a second Low is
    [InlineData("mN hL hH mH", "mN hL mN mH")] // what is left is told again
    [InlineData("hC mL mN mL hN mH hH", "hC mL - mL mL hN hH")] // a Low that was measured is told all the same
    [InlineData("hL mC hH mN mH", "hL mC - mN mH")]
    public void of_two_sources_the_worse_counts(string come, string told)
    {
        var session = new Session(null, () => default, false, new Subscribers<IMemoryPressureCallback>("a callback"), (_, _) => { });

        try
        {
            IEnumerable<string> said = come.Split(' ').Select(word => Word(session.Join(News(word))));
            Assert.Equal(told, string.Join(" ", said));
        }
        finally
        {
            session.Stop();
        }
    }
}
