"""How many instances of a version are kept, whether requests come or not (pure)."""

from __future__ import annotations

import math

from samovar.manager.members import Members
from samovar.model.scale import Provisioned, ProvisionedStatus, Scale
from samovar.ports import InitFailedError

INIT_FAILURE = "FUNCTION_ERROR_INIT_FAILURE"
"""AWS's StatusReason where the function's own init fails."""
NO_ROOM = "No worker has room for another instance."
RETRY_FIRST_S = 1.0
RETRY_AT_MOST_S = 60.0
"""Between one start that fails and the next: twice as long each time, up to this."""
YOUNG_S = 10.0
"""An instance that has ended by itself before was no success."""
ENDED_EARLY = "An instance ended by itself within seconds of its init phase."
AT_ONCE = 8
"""Instances of one version that start beforehand at the same time: requests come first."""


class Targets:
    """A version's `Scale`, and how the starts fare that it asks for."""

    __slots__ = ("_came_up_at", "_failures", "reason", "retry_at", "scale")

    def __init__(self) -> None:
        self.scale = Scale()
        self.reason: str | None = None
        """Why the last start failed; None: it did not."""
        self.retry_at = -math.inf
        """When the next one may be tried."""
        self._failures = 0
        self._came_up_at: float | None = None
        """When the first start ended well after the last that failed."""

    def set(self, scale: Scale) -> None:
        """Ask for something else: what failed before is tried again at once."""
        self.scale = scale
        self.reason, self._failures, self.retry_at = None, 0, -math.inf

    def succeeded(self, now: float) -> None:
        """A start beforehand has ended well. What failed before is forgotten once nothing has
        failed for `YOUNG_S`: an instance may end as soon as it is up."""
        self.reason = None
        if self._came_up_at is None:
            self._came_up_at = now

    def blocked(self) -> None:
        """One found no room. (It is tried again as soon as there is some.)"""
        self.reason = NO_ROOM

    def failed(self, why: Exception | str, now: float) -> None:
        """One has failed, or what it started did not live for long: wait before the next."""
        if self._came_up_at is not None and now - self._came_up_at >= YOUNG_S:
            self._failures = 0
        self._came_up_at = None
        self.reason = INIT_FAILURE if isinstance(why, InitFailedError) else str(why)
        pause_s = min(RETRY_AT_MOST_S, RETRY_FIRST_S * 2.0**self._failures)
        self._failures = min(self._failures + 1, 16)
        self.retry_at = now + pause_s

    def progress(self, members: Members) -> Provisioned:
        """As the API tells it."""
        requested, allocated = self.scale.provisioned, members.provisioned
        status, reason = ProvisionedStatus.READY, None
        if allocated < requested:
            reason = self.reason
            status = ProvisionedStatus.FAILED if reason else ProvisionedStatus.IN_PROGRESS
        return Provisioned(requested, allocated, len(members.idle_provisioned), status, reason)
