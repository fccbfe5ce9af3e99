/* SPDX-License-Identifier: MIT */
/*
 * policy.pml - the level policy, exhaustively, for small windows
 *
 * Run it with tests/model/run.sh. What is checked is src/core/policy.c itself, compiled into the verifier; this file is only the
 * world around it: any stall, any alarm (true, false, late), any out-of-memory, any signal, any headroom, at any time the
 * library could sample, and any level that somebody else told. model.h turns the state of the policy into something finite: all times become ages, all totals become
 * distances from the newest, and an age beyond everything the policy compares it with becomes one value.
 *
 * Promises checked in every reachable state (model_step() in model.h):
 *  - Low is followed by Neutral or High, and Neutral without want of headroom by High, within a bounded time after stalls end.
 *  - Never two equal notifications in a row within Rearm; Neutral and High only from another level.
 *  - Low ends after Quiet and not before, Neutral after Calm.
 *  - Over low, over critical and out of memory are told at that very step; nothing is told without a cause.
 *  - A deadline whenever the level is not High, and none while it is High and calm; never sooner than the pace.
 *
 * What is explored: time in units (WINDOW of them in each window), samples 1 unit apart at least, a rest of up to REST units,
 * deadlines kept or missed by one unit.
 */

c_decl {
\#include "model.h"
};

c_state "struct model m" "Global"

init {
	byte limit, dt, some, whole, event, what;
	bool oom, room, burst, asked, broken;

	c_code { model_begin(&now.m); };
	do
	:: atomic {
		c_code { Pinit->limit = model_limit(&now.m); };
		select(dt : 1 .. limit);
		if
		:: event = 0 /* POLICY_TICK */
		:: event = 1; if :: burst = 0 :: (dt > WINDOW) -> burst = 1 fi /* POLICY_ALARM, avg10 small or great */
		:: c_expr { now.m.listen } -> event = 2 /* POLICY_EVENTS */
		:: (dt == 1) -> event = 3; /* POLICY_SIGNAL: High, Neutral, Low, critical */
			if :: what = 0 :: what = 1 :: what = 2 :: what = 3 fi
		:: (dt == 1) -> event = 4; /* policy_resume(): the same levels */
			if :: what = 0 :: what = 1 :: what = 2 :: what = 3 fi
		fi;
		if
		:: (event >= 3) -> skip
		:: (event < 3 && dt <= WINDOW + 1) -> select(some : 0 .. dt); select(whole : 0 .. some)
		:: (event < 3 && dt > WINDOW + 1) -> /* a rest: what matters is how much, not each unit of it */
			if :: some = 0 :: some = 1 :: some = 2 :: some = WINDOW :: some = dt fi;
			if :: whole = 0 :: whole = some fi
		:: (event < 3 && event != 1 && dt <= 2) -> oom = 1
		fi;
		c_code { Pinit->asked = model_asks(&now.m, Pinit->event, Pinit->dt, Pinit->some, Pinit->whole,
						   Pinit->oom, Pinit->what, Pinit->burst); };
		if
		:: !asked
		:: asked -> room = 0
		:: asked -> room = 1
		fi;
		c_code { Pinit->broken = model_step(&now.m, Pinit->event, Pinit->dt, Pinit->some, Pinit->whole,
						    Pinit->oom, Pinit->what, Pinit->burst, Pinit->room); };
		assert(!broken);
		limit = 0; dt = 0; some = 0; whole = 0; event = 0; what = 0;
		oom = 0; room = 0; burst = 0; asked = 0
	}
	od
}
