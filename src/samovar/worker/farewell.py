"""The end of an instance that has extensions: it is told, and waited for, as long as AWS does.

An instance says in READY that it wants this, and for how long. All others are ended at once, and
pay nothing. Whatever an instance says or does, it is gone `LONGEST_S` after it was told.

https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown
"""

from __future__ import annotations

import asyncio
import contextlib
import time

from samovar.guest import wire
from samovar.ports import SandboxInstance
from samovar.worker.channel import Channel
from samovar.worker.report import Fault, Figures

LONGEST_S = 2.0
"""AWS's limit with external extensions."""
HURRIED_S = 0.5
"""Where somebody waits for the instance's room. AWS need not hurry: its room has no end."""
GRACE_S = 0.3
"""The instance ends itself when time is up; so much later we do."""


class Farewell:
    """What one instance wants to hear besides its invocations. Nothing, until `learn` says so."""

    def __init__(self, channel: Channel, handle: SandboxInstance) -> None:
        self._channel = channel
        self._handle = handle
        self._reason = "spindown"
        self._limit_s = 0.0

    def learn(self, ready: wire.Meta) -> None:
        """Take what the instance has said in READY."""
        limit_ms = ready.get("shutdown_ms")
        if ready.get("shutdown") is True and isinstance(limit_ms, int | float):
            # In this order: it may be NaN, or an integer that no float holds.
            self._limit_s = min(max(0.0, limit_ms), LONGEST_S * 1e3) / 1e3

    @property
    def wanted(self) -> bool:
        """Whether it wants to be told anything."""
        return self._limit_s > 0

    def withhold(self) -> None:
        """It will not be told: there is no time."""
        self._limit_s = 0.0

    def blame(self, fault: Fault | None) -> None:
        """It will be ended for this; None: it has ended itself."""
        self._reason = "timeout" if fault and fault.status == "timeout" else "failure"

    def report(self, figures: Figures) -> None:
        """Tell what an invocation has cost, if it wants to know."""
        if self.wanted:
            self._channel.tell(wire.encode(wire.REPORT, figures.meta()))

    async def say(self, limit_s: float) -> None:
        """Tell it that it ends, and wait until it has, or until time is up: at most so much."""
        limit_s = min(limit_s, self._limit_s)
        if limit_s <= 0 or self._handle.exited.done():
            return
        deadline_ms = int((time.time() + limit_s) * 1e3)
        meta = {"reason": self._reason, "deadline_ms": deadline_ms}
        self._channel.tell_last(wire.encode(wire.SHUTDOWN, meta))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s + GRACE_S):
                await asyncio.shield(self._handle.exited)
