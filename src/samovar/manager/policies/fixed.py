"""A fixed time-out, as most platforms have it."""

from __future__ import annotations

from collections.abc import Sequence

from samovar.manager.keep_alive import Ages, KeepAlive, Profile


class FixedTimeout:
    """Every idle instance stays for so long. Where memory is scarce the longest idle goes first."""

    name = "fixed"

    def __init__(self, idle_timeout_s: float) -> None:
        self._plan = (Ages(0.0, idle_timeout_s),)

    def of(self, profile: Profile) -> KeepAlive:
        """One object for all: it remembers nothing."""
        return self

    def arrived(self, now: float, *, cold: bool) -> None:
        """See `KeepAlive`."""

    def plan(self, now: float) -> Sequence[Ages]:
        """See `KeepAlive`."""
        return self._plan

    def worth(self, now: float, idle_since: float) -> float:
        """See `KeepAlive`."""
        return idle_since

    def evicted(self, worth: float) -> None:
        """See `KeepAlive`."""
