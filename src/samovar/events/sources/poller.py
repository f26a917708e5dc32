"""The contract between the sources' role and what polls one kind of source.

How this works. The reconciler runs `Source.poll` once for each enabled mapping, in a task of its
own, with a `Feed`. A poller fetches records, asks the feed which of them the mapping's filters let
through (`admits`), hands those over in batches (`deliver`), and acknowledges to its source what
has been dealt with: what was delivered, and what was filtered out. What it does of a failed batch
is its source's affair; `give_up` tells the on-failure destination, durably, before the poller goes
on without those records.

A poller runs until `stopping` is set; then it fetches nothing more, gives back what was fetched
and not begun, lets the deliveries that run come to their end, and returns. When it is cancelled
instead, the drain time is over. It may raise anything: the mapping shows it as a problem, and the
poller is started again after a while. `SourceError` is for what is no defect of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from samovar.clock import Clock
from samovar.events.sources.record import Envelope, Record
from samovar.events.sources.room import Room
from samovar.model.event_source import EventSourceMapping
from samovar.model.function import FunctionVersion


class SourceError(Exception):
    """A source that is not there, does not answer, or refuses us; the message is shown. `code` is
    what AWS calls the error; None: there was no answer."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class Ending(StrEnum):
    """How a delivery has ended."""

    SUCCEEDED = "succeeded"
    PARTLY_FAILED = "partly failed"
    """The function has named some of the records: `BatchResult.failed`."""
    FAILED = "failed"
    """The function has failed, or its answer cannot be understood."""
    NOT_BEGUN = "not begun"
    """A throttle, no such function, an error of the platform: nothing was tried. It goes on being
    tried, and counts against no number of attempts."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What came of a batch."""

    ending: Ending
    failed: frozenset[str] = frozenset()
    """Ids of the records that were not dealt with: of all, unless it succeeded or partly did."""
    request_id: str = ""
    function_error: str | None = None
    version: str | None = None
    """Of the function, that ran."""
    problem: str | None = None
    """Why it was not begun, or stopped."""


class Positions(Protocol):
    """How far a mapping has come in each shard, kept by the platform."""

    async def load(self) -> Mapping[str, Any]:
        """Shard → what was saved."""
        ...

    async def save(self, shard: str, position: Any) -> None:
        """Durable on return. `position` is anything that JSON holds. Raises `PlatformError`
        NOT_FOUND where the mapping has gone."""
        ...

    async def forget(self, shard: str) -> None:
        """A shard that the source has dropped. Raises `PlatformError`."""
        ...


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Records that a poller goes on without."""

    records: Sequence[Record]
    condition: str
    """`RetryAttemptsExhausted` or `RecordAgeExceeded`."""
    attempts: int
    """How often the function was invoked with them."""
    result: BatchResult | None
    """Of the last attempt; None: there was none."""
    details_name: str
    """What AWS calls the part that tells of the source: `KinesisBatchInfo`, …"""
    details: Mapping[str, Any]


class Feed(Protocol):
    """What a poller works with: one mapping's way to its function."""

    mapping: EventSourceMapping
    clock: Clock
    positions: Positions
    stopping: asyncio.Event
    room: Room
    """Shared by all pollers."""

    async def role(self) -> str:
        """The ARN of the role that the function runs under; empty where there is no function."""
        ...

    def admits(self, record: Record) -> bool:
        """Whether the mapping's filters let a record through. Pure, bounded in time."""
        ...

    async def deliver(
        self, records: Sequence[Record], envelope: Envelope, trace_id: str | None = None
    ) -> BatchResult:
        """Invoke the function with a batch (not empty), and wait for its end. What it comes to is
        the result, not an exception; it is shown as the mapping's LastProcessingResult."""
        ...

    async def give_up(self, given_up: GivenUp, envelope: Envelope) -> None:
        """Tell the on-failure destination, where there is one; durable on return. Raises
        `PlatformError` where that cannot be done now: the records must be kept then."""
        ...

    def problem(self, text: str) -> None:
        """Show a problem of the source that does not end the poller; `deliver` clears it."""
        ...

    async def pause(self, seconds: float) -> bool:
        """Wait so long by the platform's clock; False as soon as `stopping` is set."""
        ...


class Source(Protocol):
    """One kind of source."""

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """Raise `PlatformError` INVALID_PARAMETER for a mapping that cannot be polled, in AWS's
        words where it has some. Bounded in time."""
        ...

    async def poll(self, feed: Feed) -> None:
        """See the module's text."""
        ...
