"""How long instances idle, as all functions together tell it (pure).

Idle times are counted in bins of a sixth of an octave. Those that are not over yet count too, up to
the age they have come to: each bin's chance is *ended in it ÷ came so far* (Kaplan and Meier's
estimate). Else a server would, for its first hours, take long idle times for rare.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

BINS_PER_OCTAVE = 6
LONGEST_S = 8 * 86400.0
BINS = round(BINS_PER_OCTAVE * math.log2(LONGEST_S)) + 1
EDGES_S = [0.0, *(2.0 ** (bin_ / BINS_PER_OCTAVE) for bin_ in range(1, BINS + 1))]
WIDTHS_S = [end - begin for begin, end in pairwise(EDGES_S)]
FIRST_GUESS = 0.1
"""Idle times in each octave before there are any, and beside one that never ends."""
SLOT_S = 300.0
"""Idle times that began within so much of each other are counted together until they end."""
STALE_AFTER_S = 900.0


class Expected(NamedTuple):
    """What is to be expected of an idle time."""

    shares: Sequence[float]
    """Bin → how probable it is that it ends there."""
    never: float
    """And that it never does."""
    chances: array[float]
    """Bin → how probable it is that it ends there, once it has come so far."""


class IdleTimes:
    """Those of all functions under one policy."""

    def __init__(self) -> None:
        self._ended = [FIRST_GUESS / BINS_PER_OCTAVE] * BINS
        self._begun: dict[int, int] = {}
        """Slot of time → idle times that began in it and are not over."""
        self._ancient = 0
        """Those of slots longer ago than the last bin."""
        self._known = 0
        self._renew_at = 0
        self._renew_by = -math.inf
        self._expected = Expected([], 1.0, array("f"))

    def began(self, now: float) -> None:
        """An instance has become idle."""
        slot = int(now // SLOT_S)
        self._begun[slot] = self._begun.get(slot, 0) + 1

    def ended(self, since: float, now: float) -> int:
        """Its next request has come; return the bin."""
        self.forget(since)
        bin_ = bin_of(now - since)
        self._ended[bin_] += 1.0
        self._known += 1
        return bin_

    def forget(self, since: float) -> None:
        """How long this one is going to be is not of interest any more."""
        slot = int(since // SLOT_S)
        count = self._begun.pop(slot, 0)
        if count > 1:
            self._begun[slot] = count - 1
        elif not count:
            self._ancient -= 1

    def expected(self, now: float) -> Expected:
        """Made anew when a sixteenth more is known, or a quarter of an hour has gone by."""
        if self._known >= self._renew_at or now >= self._renew_by:
            self._renew_at = self._known + 1 + self._known // 16
            self._renew_by = now + STALE_AFTER_S
            self._expected = self._estimate(now)
        return self._expected

    def _estimate(self, now: float) -> Expected:
        pending = [0.0] * BINS
        for slot in [slot for slot in self._begun if now - slot * SLOT_S > LONGEST_S]:
            self._ancient += self._begun.pop(slot)
        for slot, count in self._begun.items():
            pending[bin_of(now - (slot + 1) * SLOT_S)] += count
        came = 1.0 + self._ancient
        chances = array("f", bytes(4 * BINS))
        for bin_ in range(BINS - 1, -1, -1):
            came += self._ended[bin_] + pending[bin_] / 2.0  # half way through it, on average
            chances[bin_] = self._ended[bin_] / came
            came += pending[bin_] / 2.0
        left, shares = 1.0, []
        for chance in chances:
            shares.append(left * chance)
            left *= 1.0 - chance
        return Expected(shares, left, chances)


def bin_of(seconds: float) -> int:
    """The bin of an idle time."""
    return min(BINS - 1, int(BINS_PER_OCTAVE * math.log2(seconds))) if seconds > 1.0 else 0
