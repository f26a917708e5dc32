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
AT_ONCE = 8
"""Instances of one version that start beforehand at the same time: requests come first."""


class Targets:
    """A version's `Scale`, and how the starts fare that it asks for."""

    __slots__ = ("_failures", "reason", "retry_at", "scale")

    def __init__(self) -> None:
        self.scale = Scale()
        self.reason: str | None = None
        """Why the last start failed; None: it did not."""
        self.retry_at = -math.inf
        """When the next one may be tried."""
        self._failures = 0

    def set(self, scale: Scale) -> None:
        """Ask for something else: what failed before is tried again at once."""
        self.scale = scale
        self.succeeded()

    def succeeded(self) -> None:
        """A start beforehand has ended well."""
        self.reason, self._failures, self.retry_at = None, 0, -math.inf

    def blocked(self) -> None:
        """One found no room. (It is tried again as soon as there is some.)"""
        self.reason = NO_ROOM

    def failed(self, error: Exception, now: float) -> None:
        """One has failed: wait before the next."""
        self.reason = INIT_FAILURE if isinstance(error, InitFailedError) else str(error)
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
