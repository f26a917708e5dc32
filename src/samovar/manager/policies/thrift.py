"""Thrift, a policy of our own: every instance has to earn its keep, at one price for all.

An instance is kept at an age of idleness for as long as what that will save is worth what it
takes, where

    saved = probability that a request comes for it × what a cold start costs
    taken = GiB × expected seconds until then × price

The price is the one knob. Since it is the same for all functions, none holds memory that would
save more elsewhere; and where memory is scarce, the instance goes that saves least for it. A cold
start costs one, and once more for each percent of the function's calls of a day
that it is: so rare functions are not forgotten for the sake of busy ones.

How probable a request is at which age, each function learns from its own idle times, in bins of a
sixth of an octave, old ones fading. Around each of them, its like is expected within two octaves,
weakly: so that a few say something. What a function has not learned, all functions have: their
idle times stand in for two of its own.

A function that is alone (one instance at a time) is there in all bins that pay for themselves,
and goes in between: a periodic one comes back a little before its time. Where instances are
several, the next request takes the one that was used last, and those below it cannot go and come
back; so they are kept until it no longer pays to wait for *any* later bin (optimal stopping).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from itertools import accumulate, pairwise

from samovar.manager.keep_alive import Ages, KeepAlive, Profile

PRICE = 1e-3
"""Cold starts a GiB·s has to save; 3.6 a GiB·hour."""
BINS_PER_OCTAVE = 6
LONGEST_S = 8 * 86400.0
BINS = round(BINS_PER_OCTAVE * math.log2(LONGEST_S)) + 1
EDGES_S = [0.0, *(2.0 ** (bin_ / BINS_PER_OCTAVE) for bin_ in range(1, BINS + 1))]
WIDTHS_S = [end - begin for begin, end in pairwise(EDGES_S)]
REACH = 2 * BINS_PER_OCTAVE
"""Bins around an idle time in which its like is expected."""
ALIKE = 2.0
"""Idle times' worth of that expectation, together."""
FROM_ALL = 2.0
"""Idle times of its own that those of all functions stand in for."""
NEVER = 0.1
"""Of the idle times that are not over yet, the share that is taken never to be."""
REMEMBERED = 500.0
"""Idle times of a function; when there are more, each of them counts half."""
FAINT = 0.05
"""Counts below it are forgotten."""
DAY_S = 86400.0
PERCENT = 100.0
AWAY_STARTS = 20.0
AWAY_S = 10.0
"""An instance goes only to stay away for so many times what its start takes, and for so long."""
MAX_IDLE = 64
"""Of one function's instances, those whose idle times are watched."""
UNKNOWN_START_MS = 500.0
LOOK_AHEAD_S = 60.0
"""What an instance is worth goes by what it saves in the next octave of its age; while it is
younger than this, in so many seconds."""


class Thrift:
    """The policy: the price, and the idle times of all functions."""

    name = "thrift"

    def __init__(self, price: float = PRICE) -> None:
        self.price = price
        self.ended = [0.1 / BINS_PER_OCTAVE] * BINS
        """Idle times of all functions in each bin; before there are any, all octaves are alike."""
        self.pending = 0.0
        """Those that are not over yet."""

    @property
    def never(self) -> float:
        """How many idle times are taken to be without an end."""
        return 1.0 + NEVER * self.pending

    @property
    def known(self) -> float:
        """How many idle times there are to learn from."""
        return sum(self.ended) + self.never

    def of(self, profile: Profile) -> KeepAlive:
        """See `KeepAlivePolicy`."""
        return _Thrifty(self, profile)


class _Thrifty:
    """Of one function."""

    __slots__ = (
        "_chances",
        "_daily",
        "_idle_since",
        "_own",
        "_plans",
        "_policy",
        "_profile",
        "_renew_at",
        "_seen_at",
        "_total",
    )

    def __init__(self, policy: Thrift, profile: Profile) -> None:
        self._policy = policy
        self._profile = profile
        self._daily = 0.0
        """Calls, of which each counts half a day later."""
        self._seen_at = 0.0
        self._idle_since: deque[float] = deque(maxlen=MAX_IDLE)
        """Of its instances, were none ever stopped; the one that was used last is taken first."""
        self._own: dict[int, float] = {}
        """Bin → idle times that ended in it."""
        self._total = 0.0
        self._renew_at = 0.0
        self._chances: list[float] = []
        """Bin → how probable it is that an idle time ends in it, once it has come so far."""
        self._plans: dict[bool, Sequence[Ages]] = {}
        """Whether there are several instances → the plan."""

    def arrived(self, now: float, *, cold: bool) -> None:
        """See `KeepAlive`."""
        self._daily = self._daily * 0.5 ** ((now - self._seen_at) / DAY_S) + 1.0
        self._seen_at = now
        if self._idle_since:
            bin_ = _bin_of(now - self._idle_since.pop())
            self._own[bin_] = self._own.get(bin_, 0.0) + 1.0
            self._total += 1.0
            self._policy.ended[bin_] += 1.0
            self._policy.pending -= 1.0
            if self._total > REMEMBERED:
                self._fade()

    def plan(self, now: float) -> Sequence[Ages]:
        """See `KeepAlive`. Made anew when there are an eighth more idle times."""
        self._idle_since.append(now)
        self._policy.pending += 1.0
        self._learn()
        several = len(self._idle_since) > 1
        plan = self._plans.get(several)
        if plan is None:
            plan = self._plans[several] = self._decide(several)
        return plan

    def worth(self, now: float, idle_since: float) -> float:
        """See `KeepAlive`: what it saves soon, for a GiB·s."""
        age_s = max(0.0, now - idle_since)
        until_s = age_s + max(age_s, LOOK_AHEAD_S)
        left, held_s = 1.0, 0.0
        for bin_ in range(_bin_of(age_s), min(BINS, _bin_of(until_s) + 1)):
            chance = self._chances[bin_] if self._chances else 0.0
            held_s += left * WIDTHS_S[bin_] * (1.0 - chance / 2.0)
            left *= 1.0 - chance
        return self._cost() * (1.0 - left) / (held_s * self._gib)

    def evicted(self, worth: float) -> None:
        """See `KeepAlive`."""

    # ------------------------------------------------------------ learning

    @property
    def _gib(self) -> float:
        return self._profile.memory_mib / 1024

    def _cost(self) -> float:
        """Of a cold start."""
        return 1.0 + PERCENT / max(1.0, self._daily)

    def _fade(self) -> None:
        halved = ((bin_, count / 2.0) for bin_, count in self._own.items())
        self._own = {bin_: count for bin_, count in halved if count > FAINT}
        self._total = sum(self._own.values())
        self._renew_at = 0.0

    def _learn(self) -> None:
        """Bring the chances up to date, where enough is new."""
        if self._chances and self._total < self._renew_at:
            return
        self._renew_at = self._total + max(1.0, self._total / 8.0)
        self._plans.clear()
        expected = self._expected()
        left = sum(expected) + FROM_ALL * self._policy.never / self._policy.known
        self._chances = []
        for count in expected:
            self._chances.append(min(1.0, count / left) if left > 0.0 else 0.0)
            left -= count

    def _expected(self) -> list[float]:
        """Bin → idle times: its own, their like around them, and those of all functions."""
        own = [self._own.get(bin_, 0.0) for bin_ in range(BINS)]
        edge = [0.0] * (REACH - 1)
        alike = _windows(_windows([*edge, *own, *edge]))  # twice: weights fall off like a roof
        each = ALIKE / REACH**2 / (self._total or 1.0)
        share = FROM_ALL / self._policy.known
        return [
            count + each * max(0.0, near) + share * ended
            for count, near, ended in zip(own, alike, self._policy.ended, strict=True)
        ]

    # ------------------------------------------------------------ deciding

    def _decide(self, several: bool) -> Sequence[Ages]:
        price = self._policy.price * self._gib / self._cost()
        gains = [
            chance - price * width_s * (1.0 - chance / 2.0)
            for chance, width_s in zip(self._chances, WIDTHS_S, strict=True)
        ]
        """Of being there in a bin that an idle time has come to."""
        stays = self._stays(gains) if several else 0
        lead_s = (self._profile.start_ms or UNKNOWN_START_MS) / 1e3
        away_s = max(AWAY_S, AWAY_STARTS * lead_s)
        plan: list[Ages] = []
        for bin_, gain in enumerate(gains):
            if gain < 0.0 and bin_ >= stays:
                continue
            begin_s = EDGES_S[bin_] - lead_s
            if begin_s - (plan[-1].end_s if plan else 0.0) <= away_s:
                begin_s = plan.pop().begin_s if plan else 0.0
            plan.append(Ages(begin_s, EDGES_S[bin_ + 1]))
        return plan

    def _stays(self, gains: Sequence[float]) -> int:
        """The first bin before which an instance goes that cannot come back: from there on, the
        later bins, too, are not worth to wait for."""
        worth, goes = 0.0, len(gains)
        for bin_ in range(len(gains) - 1, -1, -1):
            worth = gains[bin_] + (1.0 - self._chances[bin_]) * worth
            if worth <= 0.0:
                worth, goes = 0.0, bin_
        return goes


def _bin_of(seconds: float) -> int:
    return min(BINS - 1, int(BINS_PER_OCTAVE * math.log2(seconds))) if seconds > 1.0 else 0


def _windows(values: Sequence[float]) -> list[float]:
    """The sums of all windows of `REACH` values."""
    sums = list(accumulate(values, initial=0.0))
    return [end - begin for begin, end in zip(sums, sums[REACH:], strict=False)]
