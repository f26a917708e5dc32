"""A feed and a function for pollers under test: what they do is scripted, what they got is kept."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from samovar.clock import Clock
from samovar.events.sources.filter import Filters
from samovar.events.sources.poller import BatchResult, Ending, GivenUp
from samovar.events.sources.record import Envelope, Record
from samovar.events.sources.room import Room
from samovar.model.errors import PlatformError
from samovar.model.event_source import EventSourceMapping, MappingState, SourceKind
from samovar.model.function import FunctionId

FUNCTION = FunctionId("000000000000", "us-east-1", "f")


def mapping(kind: SourceKind = SourceKind.KINESIS, **settings: Any) -> EventSourceMapping:
    """An enabled mapping with AWS's defaults."""
    defaults: dict[str, Any] = {
        "uuid": "00000000-0000-0000-0000-000000000001",
        "kind": kind,
        "function": FUNCTION,
        "state": MappingState.ENABLED,
        "last_modified": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        "source_arn": "arn:aws:kinesis:us-east-1:000000000000:stream/s",
        "batch_size": 100,
        "window_s": 0,
        "starting_position": "TRIM_HORIZON",
    }
    return EventSourceMapping(**defaults | settings)


def record(number: int, key: str = "k", arrived_at: float | None = None) -> Record:
    """The record that has this number as its id."""
    return Record(
        id=str(number),
        json=b'{"n":%d}' % number,
        contents={"data": b"%d" % number},
        key=key,
        arrived_at=arrived_at,
    )


def failed(records: Sequence[Record]) -> BatchResult:
    """The function has failed."""
    return BatchResult(Ending.FAILED, frozenset(r.id for r in records), "r-1", "Unhandled", "1")


def not_begun(records: Sequence[Record]) -> BatchResult:
    """The function is throttled."""
    return BatchResult(Ending.NOT_BEGUN, frozenset(r.id for r in records), problem="throttled")


def partly_failed(*numbers: int) -> BatchResult:
    """The function has named these."""
    return BatchResult(Ending.PARTLY_FAILED, frozenset(str(n) for n in numbers), "r-1", None, "1")


SUCCEEDED = BatchResult(Ending.SUCCEEDED, request_id="r-1", version="1")

Function = Callable[[Sequence[Record]], BatchResult]


class FakePositions:
    """Positions in memory; `errors` are raised by the next saves."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.errors: list[PlatformError] = []

    async def load(self) -> Mapping[str, Any]:
        return dict(self.kept)

    async def save(self, shard: str, position: Any) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.kept[shard] = position

    async def forget(self, shard: str) -> None:
        self.kept.pop(shard, None)


class FakeFeed:
    """See `poller.Feed`. Waits take no time: pausing advances the clock."""

    def __init__(self, of: EventSourceMapping, function: Function = lambda _: SUCCEEDED) -> None:
        self.mapping = of
        self.clock = Clock(wall=lambda: 1_000_000.0)
        self.positions = FakePositions()
        self.stopping = asyncio.Event()
        self.room = Room()
        self.function = function
        self.batches: list[list[str]] = []
        """Ids, in the order of their deliveries."""
        self.given_up: list[GivenUp] = []
        self.problems: list[str] = []
        self.pauses: list[float] = []
        self.give_up_errors: list[PlatformError] = []
        self.gate: asyncio.Event | None = None
        """Deliveries wait for it, where there is one."""
        self.running = 0
        self.most_running = 0
        self._filters = Filters(of.filters)

    async def role(self) -> str:
        return "arn:aws:iam::000000000000:role/r"

    def admits(self, record: Record) -> bool:
        return self._filters.admit(record)

    async def deliver(
        self, records: Sequence[Record], envelope: Envelope, trace_id: str | None = None
    ) -> BatchResult:
        assert records
        self.batches.append([each.id for each in records])
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0)
            if self.gate is not None:
                await self.gate.wait()
            return self.function(records)
        finally:
            self.running -= 1

    async def give_up(self, given_up: GivenUp, envelope: Envelope) -> None:
        if self.give_up_errors:
            raise self.give_up_errors.pop(0)
        self.given_up.append(given_up)

    def problem(self, text: str) -> None:
        self.problems.append(text)

    async def pause(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        await asyncio.sleep(0)
        if not self.stopping.is_set():
            self.clock.advance(seconds)
        return not self.stopping.is_set()


async def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    """Let the others run until it holds."""
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - of any kind: nothing tells of it
            await asyncio.sleep(0)
