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
idle times stand in for some of its own. Where it is called at regular times, it is known to some
seconds when the next call is due, and what the bins say is for when it is not: see `rhythm`.

A function that is alone (one instance at a time) is there whenever it pays for itself, and goes
in between: a periodic one comes back a little before its time. Where instances are several, the
next request takes the one that was used last, and those below it cannot go and come back; so they
are kept until it no longer pays to wait for *any* later bin (optimal stopping).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from samovar.manager.keep_alive import Ages, KeepAlive, Profile
from samovar.manager.policies.idle_times import (
    BINS,
    BINS_PER_OCTAVE,
    EDGES_S,
    WIDTHS_S,
    IdleTimes,
    bin_of,
)
from samovar.manager.policies.rhythm import Due, Rhythm, Rhythms

PRICE = 1e-3
"""Cold starts a GiB·s has to save; 3.6 a GiB·hour."""
REACH = 2 * BINS_PER_OCTAVE
"""Bins around an idle time in which its like is expected."""
ALIKE = 4.0
"""Idle times' worth of that expectation, together."""
FROM_ALL = 5.0
"""Idle times of its own that those of all functions stand in for."""
REMEMBERED = 500.0
"""Idle times of a function; when there are more, each of them counts half."""
FAINT = 0.05
"""Counts below it are forgotten."""
DAY_S = 86400.0
PERCENT = 100.0
START_GIB_S = 18.0
"""GiB·s that a second of a start is worth: an instance goes only to save more than that until it is
back. (In public clouds a second of a processor costs what nine GiB·s do; twice that, because a
start is in the way of what else runs.)"""
AWAY_S = 10.0
"""An instance goes only to stay away for at least so long."""
MAX_IDLE = 64
"""Of one function's instances, those whose idle times are watched."""
UNKNOWN_START_MS = 500.0
LOOK_AHEAD_S = 60.0
"""What an instance is worth goes by what it saves in the next octave of its age; while it is
younger than this, in so many seconds."""
NOTHING_KNOWN = array("f")


class Thrift:
    """The policy: the price, and what all functions have in common."""

    name = "thrift"

    def __init__(self, price: float = PRICE) -> None:
        self.price = price
        self.idle = IdleTimes()
        self.rhythms = Rhythms()

    def of(self, profile: Profile) -> KeepAlive:
        """See `KeepAlivePolicy`."""
        return _Thrifty(self, profile)


class _Stretch(NamedTuple):
    """A part of an idle time, and how probably it ends there, once it has come so far."""

    begin_s: float
    end_s: float
    chance: float


class _Plan(NamedTuple):
    """And what was known of the next call when it was made."""

    due: Due | None
    ages: Sequence[Ages]

    def serves(self, due: Due | None) -> bool:
        """Whether it will do where that is known."""
        if self.due is None or due is None:
            return self.due is due
        return self.due.is_like(due)


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
        "_rhythm",
        "_seen_at",
        "_total",
    )

    def __init__(self, policy: Thrift, profile: Profile) -> None:
        self._policy = policy
        self._profile = profile
        self._rhythm = Rhythm(policy.rhythms)
        self._daily = 0.0
        """Calls, of which each counts half a day later."""
        self._seen_at = 0.0
        self._idle_since: list[float] = []
        """Of its instances, were none ever stopped; the one that was used last is taken first."""
        self._own: dict[int, float] = {}
        """Bin → idle times that ended in it."""
        self._total = 0.0
        self._renew_at = 0.0
        self._chances = NOTHING_KNOWN
        """Bin → how probable it is that an idle time ends in it, once it has come so far. (Shared
        by all functions that have not had one.)"""
        self._plans: dict[bool, _Plan] = {}
        """Whether there are several instances → the plan."""

    def arrived(self, now: float, *, cold: bool) -> None:
        """See `KeepAlive`."""
        self._daily = self._daily * 0.5 ** ((now - self._seen_at) / DAY_S) + 1.0
        self._seen_at = now
        self._rhythm.hear(now)
        if self._idle_since:
            bin_ = self._policy.idle.ended(self._idle_since.pop(), now)
            self._own[bin_] = self._own.get(bin_, 0.0) + 1.0
            self._total += 1.0
            if self._total > REMEMBERED:
                self._fade()

    def plan(self, now: float) -> Sequence[Ages]:
        """See `KeepAlive`. Made anew when there are an eighth more idle times, or when the next
        call is due at another age."""
        if len(self._idle_since) == MAX_IDLE:
            self._policy.idle.forget(self._idle_since.pop(0))
        self._idle_since.append(now)
        self._policy.idle.began(now)
        self._learn(now)
        several = len(self._idle_since) > 1
        due = None if several else self._rhythm.due(now)
        plan = self._plans.get(several)
        if plan is None or not plan.serves(due):
            plan = self._plans[several] = _Plan(due, self._decide(several, due))
        return plan.ages

    def worth(self, now: float, idle_since: float) -> float:
        """See `KeepAlive`: what it saves soon, for a GiB·s."""
        age_s = max(0.0, now - idle_since)
        until_s = age_s + max(age_s, LOOK_AHEAD_S)
        left, held_s = 1.0, 0.0
        for bin_ in range(bin_of(age_s), min(BINS, bin_of(until_s) + 1)):
            chance = self._chances[bin_] if self._chances else 0.0
            held_s += left * WIDTHS_S[bin_] * (1.0 - chance / 2.0)
            left *= 1.0 - chance
        saved = 1.0 - left
        due = self._rhythm.due(idle_since)
        if due is not None and age_s < due.end_s:
            saved = (1.0 - due.chance) * saved + (due.chance if due.begin_s < until_s else 0.0)
        return self._cost() * saved / (held_s * self._gib)

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

    def _learn(self, now: float) -> None:
        """Bring the chances up to date, where enough is new."""
        if self._chances and self._total < self._renew_at:
            return
        self._renew_at = self._total + max(1.0, self._total / 8.0)
        self._plans.clear()
        everybody = self._policy.idle.expected(now)
        if not self._own:
            self._chances = everybody.chances
            return
        expected = self._expected(everybody.shares)
        left = sum(expected) + FROM_ALL * everybody.never
        self._chances = array("f")
        for count in expected:
            self._chances.append(min(1.0, count / left) if left > 0.0 else 0.0)
            left -= count

    def _expected(self, shares: Sequence[float]) -> list[float]:
        """Bin → idle times: its own, their like around them, and those of all functions."""
        own = [self._own.get(bin_, 0.0) for bin_ in range(BINS)]
        edge = [0.0] * (REACH - 1)
        alike = _windows(_windows([*edge, *own, *edge]))  # twice: weights fall off like a roof
        each = ALIKE / REACH**2 / (self._total or 1.0)
        return [
            count + each * max(0.0, near) + FROM_ALL * share
            for count, near, share in zip(own, alike, shares, strict=True)
        ]

    # ------------------------------------------------------------ deciding

    def _decide(self, several: bool, due: Due | None) -> Sequence[Ages]:
        price = self._policy.price * self._gib / self._cost()
        stretches = list(self._stretches(due))
        gains = [
            chance - price * (end_s - begin_s) * (1.0 - chance / 2.0)
            for begin_s, end_s, chance in stretches
        ]
        """Of being there in a stretch that an idle time has come to."""
        stays = self._stays(gains) if several else 0
        lead_s = (self._profile.start_ms or UNKNOWN_START_MS) / 1e3
        away_s = max(AWAY_S, START_GIB_S * lead_s / self._gib)
        plan: list[Ages] = []
        for place, stretch in enumerate(stretches):
            if gains[place] < 0.0 and place >= stays:
                continue
            begin_s, end_s = stretch.begin_s - lead_s, stretch.end_s
            if begin_s - (plan[-1].end_s if plan else 0.0) <= away_s:
                begin_s, before_s = plan.pop() if plan else (0.0, 0.0)
                end_s = max(end_s, before_s)
            plan.append(Ages(begin_s, end_s))
        return plan

    def _stretches(self, due: Due | None) -> Iterator[_Stretch]:
        """The bins; and where a call is due, before those after it, the time in which it is. Until
        then, a bin's chance is that of being out of rhythm, too."""
        left = 1.0
        for bin_, usual in enumerate(self._chances):
            chance = usual
            if due is not None:
                out = (1.0 - due.chance) * left
                if EDGES_S[bin_ + 1] > due.begin_s:
                    yield _Stretch(due.begin_s, due.end_s, due.chance / (due.chance + out))
                    due = None
                else:
                    chance *= out / (due.chance + out)
            yield _Stretch(EDGES_S[bin_], EDGES_S[bin_ + 1], chance)
            left *= 1.0 - usual

    def _stays(self, gains: Sequence[float]) -> int:
        """The first bin before which an instance goes that cannot come back: from there on, the
        later bins, too, are not worth to wait for."""
        worth, goes = 0.0, len(gains)
        for bin_ in range(len(gains) - 1, -1, -1):
            worth = gains[bin_] + (1.0 - self._chances[bin_]) * worth
            if worth <= 0.0:
                worth, goes = 0.0, bin_
        return goes


def _windows(values: Sequence[float]) -> list[float]:
    """The sums of all windows of `REACH` values."""
    sums = list(accumulate(values, initial=0.0))
    return [end - begin for begin, end in zip(sums, sums[REACH:], strict=False)]
