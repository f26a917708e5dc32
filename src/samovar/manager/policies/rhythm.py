"""Whether a function is called at regular times, and when it is due (pure).

A function is in rhythm while the time between two calls is that between the two before, or nearly.
How often a rhythm goes on that has gone on once, twice or longer, all functions tell together: so
a third call may be expected to the second where timers are what there is.
"""

from __future__ import annotations

from typing import NamedTuple

SHORTEST_S = 20.0
"""What is called more often than that is not worth to be foretold."""
TOLERANCE = 0.01
TOLERANCE_S = 3.0
"""A call is in time that is early or late by so large a share of the period, and by so much."""
STREAKS = 4
"""Repetitions in a row that are told apart."""
LIKELY = 0.25
"""Less probable calls are not foretold."""
NEWEST = 0.25
"""Weight of the newest period in the mean."""


class Due(NamedTuple):
    """When a call is expected, in seconds from some time on, and how probably."""

    begin_s: float
    end_s: float
    chance: float

    def is_like(self, other: Due) -> bool:
        """Whether what was decided for one will do for the other."""
        return (
            abs(self.begin_s - other.begin_s) <= TOLERANCE_S / 2
            and abs(self.chance - other.chance) <= 0.05
        )


class Rhythms:
    """What all functions under one policy have in common: how often a rhythm goes on."""

    def __init__(self) -> None:
        self._tried = [1.0] * STREAKS
        self._kept = [0.5] * STREAKS

    def tell(self, streak: int, *, kept: bool) -> None:
        """One that had gone on for so long went on, or did not."""
        self._tried[streak] += 1.0
        self._kept[streak] += kept

    def chance(self, streak: int) -> float:
        """How probable it is that it goes on once more."""
        return self._kept[streak] / self._tried[streak]


class Rhythm:
    """That of one function."""

    __slots__ = ("_all", "_heard_at", "_period_s", "_streak")

    def __init__(self, rhythms: Rhythms) -> None:
        self._all = rhythms
        self._heard_at: float | None = None
        self._period_s = 0.0
        self._streak = 0

    def hear(self, now: float) -> None:
        """A call."""
        if self._heard_at is None:
            self._heard_at = now
            return
        passed_s = now - self._heard_at
        self._heard_at = now
        if self._period_s < SHORTEST_S:
            self._period_s = passed_s
            return
        off_s = passed_s - self._period_s
        kept = abs(off_s) <= self._tolerance_s
        self._all.tell(self._streak, kept=kept)
        self._streak = min(STREAKS - 1, self._streak + 1) if kept else 0
        self._period_s += off_s * NEWEST if kept else off_s

    def due(self, since: float) -> Due | None:
        """When the next call is due after `since`; None where nobody can tell."""
        if not self._streak or self._heard_at is None:
            return None
        chance = self._all.chance(self._streak)
        at_s = self._heard_at + self._period_s - since
        if chance < LIKELY or at_s + self._tolerance_s <= 0.0:
            return None
        return Due(max(0.0, at_s - self._tolerance_s), at_s + self._tolerance_s, chance)

    @property
    def _tolerance_s(self) -> float:
        return TOLERANCE * self._period_s + TOLERANCE_S
