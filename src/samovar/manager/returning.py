"""Instances that have answered and are not idle yet (a *pending* outcome).

A client that sends its next request as soon as it has its answer would find its instance busy, and
start another: on a machine with too much to do nearly each time. So an answer that is pending
counts as an instance about to be idle, for as long as a start would take: whoever waits for it in
vain has lost no more than that.
"""

from __future__ import annotations

from collections.abc import Sequence

from samovar.manager.actions import Action
from samovar.manager.keep_alive import Profile
from samovar.manager.pool import Pool

LEAST_S = 0.02
MOST_S = 1.0


class Returning:
    """One such answer, until it is idle or overdue."""

    def __init__(self, pool: Pool, profile: Profile) -> None:
        self.pool = pool
        self.within_s = min(MOST_S, max(LEAST_S, profile.start_ms / 1e3))
        """From then on it counts no more."""
        self._ended = False
        pool.returning += 1

    def end(self) -> Sequence[Action]:
        """It is idle, or overdue. The second time it does nothing."""
        if self._ended:
            return ()
        self._ended = True
        return self.pool.does_not_return()
