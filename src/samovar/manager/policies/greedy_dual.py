"""Greedy-dual caching of instances.

A. Fuerst and P. Sharma, "FaasCache: Keeping Serverless Computing Alive with Greedy-Dual Caching",
ASPLOS 2021, section 4: https://doi.org/10.1145/3445814.3446757

Instances are kept until memory is scarce. Then the one of the least priority goes:

    priority = clock + frequency × cost of a cold start ÷ memory

where the clock is the priority of the last one that went: so what is not used grows old.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from samovar.manager.keep_alive import Ages, KeepAlive, Profile

UNKNOWN_START_MS = 100.0
"""What a cold start is taken to cost before there was one."""


class GreedyDual:
    """The policy: one clock for all functions."""

    name = "greedy-dual"

    def __init__(self) -> None:
        self.clock = 0.0

    def of(self, profile: Profile) -> KeepAlive:
        """See `KeepAlivePolicy`."""
        return _Priority(self, profile)


class _Priority:
    """Of one function; its instances have their last use in common."""

    __slots__ = ("_frequency", "_plan", "_policy", "_profile", "_used_at_clock")

    def __init__(self, policy: GreedyDual, profile: Profile) -> None:
        self._policy = policy
        self._profile = profile
        self._frequency = 0
        self._used_at_clock = policy.clock
        self._plan = (Ages(0.0, math.inf),)

    def arrived(self, now: float, *, cold: bool) -> None:
        """See `KeepAlive`."""
        self._frequency += 1
        self._used_at_clock = self._policy.clock

    def plan(self, now: float) -> Sequence[Ages]:
        """See `KeepAlive`."""
        return self._plan

    def worth(self, now: float, idle_since: float) -> float:
        """See `KeepAlive`: the priority."""
        cost_ms = self._profile.start_ms or UNKNOWN_START_MS
        return self._used_at_clock + self._frequency * cost_ms / self._profile.memory_mib

    def evicted(self, worth: float) -> None:
        """See `KeepAlive`. The clock never goes back."""
        self._policy.clock = max(self._policy.clock, worth)
