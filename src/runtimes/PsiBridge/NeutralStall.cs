// SPDX-License-Identifier: MIT
//
// NeutralStall.cs - has a Neutral stalled for ten seconds?
//
// Stalls under Low's threshold may go on for minutes: on a fast disk a program beside a neighbour that read a file round and round
// stalled 4 % of the time, and the neighbour got half of what it could. So while it is Neutral the policy looks every five seconds
// at what has stalled since, which libpsibridge has counted anyway; two looks in a row that find 2.5 % are the ten seconds. That is
// a quarter of Low's 10 %. One burst that stayed under Low, 200 ms at most, is 4 % of one look and nothing in the next, so it never
// counts; nor does the end of a Low, which falls to under half of Low before it is Neutral. At rest (High) there is no look.
using System;

namespace PsiBridge;

internal sealed class NeutralStall(Func<long> stalledUsec)
{
    private const long LookMsec = 5000;
    private const long ShareUsec = 25; // of each ms
    private const int InARow = 2;

    private long lookedMsec, before;
    private int found;

    /// <summary>When to look; -1: it is not Neutral.</summary>
    internal long DueMsec { get; private set; } = -1;

    internal void Told(MemoryAvailable available, long nowMsec)
    {
        if (available != MemoryAvailable.Neutral)
            DueMsec = -1;
        else if (DueMsec < 0)
            Begin(nowMsec, stalledUsec(), 0);
    }

    /// <summary>True: it has. Ten more have to go by until it has again.</summary>
    internal bool Look(long nowMsec)
    {
        long stalled = stalledUsec();
        int inARow = stalled - before >= (nowMsec - lookedMsec) * ShareUsec ? found + 1 : 0;

        Begin(nowMsec, stalled, inARow % InARow);
        return inARow == InARow;
    }

    private void Begin(long nowMsec, long stalled, int inARow)
    {
        lookedMsec = nowMsec;
        before = stalled;
        found = inARow;
        DueMsec = nowMsec + LookMsec;
    }
}
