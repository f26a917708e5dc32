"""Waiting for a source no longer than its poller may."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from samovar.clock import Clock

T = TypeVar("T")


async def wait_for_source(
    work: Coroutine[Any, Any, T], clock: Clock, moment: float | None, stopping: asyncio.Event
) -> T | None:
    """What `work` returns; None where `moment` (of the platform's clock; None: never) comes before
    that, or `stopping` is set: it is cancelled then, and has ended on return. Raises what it
    raises."""
    task = asyncio.ensure_future(work)
    alarm = asyncio.ensure_future(clock.until(moment, or_when=stopping))
    try:
        await asyncio.wait((task, alarm), return_when=asyncio.FIRST_COMPLETED)
    finally:
        task.cancel()
        alarm.cancel()
        await asyncio.wait((task, alarm))
    return None if task.cancelled() else task.result()
