"""The hybrid histogram policy, without its time series model.

M. Shahrad et al., "Serverless in the Wild: Characterizing and Optimizing the Serverless Workload
at a Large Cloud Provider", USENIX ATC 2020, section 4:
https://www.usenix.org/conference/atc20/presentation/shahrad

Each function has a histogram of its idle times, in bins of a minute over four hours. Where that
says something (its counts differ much among bins), an instance goes as soon as it is idle, is
there again at the head of the histogram (5th percentile, rounded down, less 10 %) and stays until
its tail (99th, rounded up, plus 10 %). A head in the first minute means that it does not go at
all. Where it says nothing, or most idle times are longer than it reaches, an instance is kept for
as long as the histogram reaches. (For the latter the paper forecasts with ARIMA.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from samovar.manager.keep_alive import Ages, KeepAlive, Profile

BIN_S = 60.0
MARGIN = 0.1
REPRESENTATIVE_VARIATION = 2.0
"""Standard deviation ÷ mean of the counts of all bins, from which on the histogram is gone by."""


class HybridHistogram:
    """The policy: its percentiles, and how far histograms reach."""

    name = "histogram"

    def __init__(self, head: float = 0.05, tail: float = 0.99, range_s: float = 4 * 3600.0) -> None:
        self.head = head
        self.tail = tail
        self.bins = round(range_s / BIN_S)
        self.standard = (Ages(0.0, self.bins * BIN_S),)
        """What is done without knowledge."""

    def of(self, profile: Profile) -> KeepAlive:
        """See `KeepAlivePolicy`."""
        return _Histogram(self)


class _Histogram:
    """Of one function."""

    __slots__ = (
        "_beyond",
        "_counts",
        "_idle_since",
        "_plan",
        "_policy",
        "_renew_at",
        "_squares",
        "_within",
    )

    def __init__(self, policy: HybridHistogram) -> None:
        self._policy = policy
        self._counts: dict[int, int] = {}
        """Bin → idle times in it."""
        self._within = 0
        self._beyond = 0
        """Idle times that the histogram reaches, and those that it does not."""
        self._squares = 0
        """Of the counts, summed up: what their variation is made of."""
        self._idle_since: float | None = None
        self._plan: Sequence[Ages] = policy.standard
        self._renew_at = 1

    def arrived(self, now: float, *, cold: bool) -> None:
        """See `KeepAlive`. Of several instances the one that was idle last counts."""
        if self._idle_since is None:
            return
        bin_ = int((now - self._idle_since) / BIN_S)
        self._idle_since = None
        if bin_ >= self._policy.bins:
            self._beyond += 1
            return
        before = self._counts.get(bin_, 0)
        self._counts[bin_] = before + 1
        self._squares += 2 * before + 1
        self._within += 1

    def plan(self, now: float) -> Sequence[Ages]:
        """See `KeepAlive`. Made anew when there are three in a hundred idle times more."""
        self._idle_since = now
        seen = self._within + self._beyond
        if seen >= self._renew_at:
            self._plan = self._decide()
            self._renew_at = seen + 1 + seen // 32
        return self._plan

    def worth(self, now: float, idle_since: float) -> float:
        """See `KeepAlive`. The paper has no order among functions: the longest idle goes first."""
        return idle_since

    def evicted(self, worth: float) -> None:
        """See `KeepAlive`."""

    def _decide(self) -> Sequence[Ages]:
        policy = self._policy
        if self._beyond > self._within or self._variation() < REPRESENTATIVE_VARIATION:
            return policy.standard
        head = self._bin_at(policy.head)
        until_s = (self._bin_at(policy.tail) + 1) * BIN_S * (1 + MARGIN)
        return (Ages(head * BIN_S * (1 - MARGIN), until_s),)

    def _variation(self) -> float:
        """The coefficient of variation of all bins' counts, empty ones included."""
        mean = self._within / self._policy.bins
        if not mean:
            return 0.0
        variance = self._squares / self._policy.bins - mean * mean
        return math.sqrt(max(0.0, variance)) / mean

    def _bin_at(self, share: float) -> int:
        """The bin in which the idle time of that rank is."""
        rank, passed = share * self._within, 0
        for bin_ in sorted(self._counts):
            passed += self._counts[bin_]
            if passed >= rank:
                return bin_
        return self._policy.bins
