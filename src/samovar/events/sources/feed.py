"""A mapping's way to its function: the `Feed` of `poller.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from samovar.clock import Clock
from samovar.events.sources.answer import failed_ids
from samovar.events.sources.failure_record import failure_event
from samovar.events.sources.filter import Filters
from samovar.events.sources.poller import BatchResult, Ending, GivenUp, Positions
from samovar.events.sources.record import Envelope, Record
from samovar.events.sources.room import Room
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping
from samovar.model.invocation import MAX_PAYLOAD_BYTES, Invocation, new_request_id
from samovar.ports import EventQueue, EventSourceStore, Invoker

OK = "OK"
FUNCTION_FAILED = "PROBLEM: Function call failed"
MAX_RESULT_CHARS = 1000


class StoredPositions:
    """The positions of one mapping in the store."""

    def __init__(self, store: EventSourceStore, uuid: str) -> None:
        self._store = store
        self._uuid = uuid

    async def load(self) -> Mapping[str, Any]:
        """Shard → what was saved."""
        return await self._store.positions(self._uuid)

    async def save(self, shard: str, position: Any) -> None:
        """Durable on return. NOT_FOUND where the mapping has gone."""
        await self._store.save_position(self._uuid, shard, position)

    async def forget(self, shard: str) -> None:
        """Drop what was saved of a shard."""
        await self._store.forget_position(self._uuid, shard)


class MappingFeed:
    """See `poller.Feed`."""

    def __init__(
        self,
        mapping: EventSourceMapping,
        invoker: Invoker,
        queue: EventQueue,
        store: EventSourceStore,
        clock: Clock,
        report: Callable[[str, str], None],
        room: Room,
    ) -> None:
        self.mapping = mapping
        self.clock = clock
        self.positions: Positions = StoredPositions(store, mapping.uuid)
        self.stopping = asyncio.Event()
        self.room = room
        self._filters = Filters(mapping.filters)
        self._invoker = invoker
        self._queue = queue
        self._report = report

    async def role(self) -> str:
        """The ARN of the role that the function runs under."""
        try:
            mapping = self.mapping
            return (await self._invoker.resolve(mapping.function, mapping.qualifier)).role
        except PlatformError:
            return ""

    def admits(self, record: Record) -> bool:
        """Whether the filters let a record through."""
        return self._filters.admit(record)

    async def deliver(
        self, records: Sequence[Record], envelope: Envelope, trace_id: str | None = None
    ) -> BatchResult:
        """Invoke the function with a batch; see the port."""
        result = await self._invoke(records, envelope(records), trace_id)
        match result.ending:
            case Ending.FAILED | Ending.NOT_BEGUN:
                self._show(f"PROBLEM: {result.problem}" if result.problem else FUNCTION_FAILED)
            case _:
                self._show(OK)
        return result

    async def give_up(self, given_up: GivenUp, envelope: Envelope) -> None:
        """Tell the on-failure destination; durable on return. Raises `PlatformError`."""
        target = self.mapping.on_failure_arn
        if target is not None:
            payload = envelope(given_up.records)
            now = self.clock.now()
            await self._queue.accept(failure_event(self.mapping, target, given_up, payload, now))

    def problem(self, text: str) -> None:
        """Show a problem of the source."""
        self._show(f"PROBLEM: {text}")

    async def pause(self, seconds: float) -> bool:
        """Wait so long; False as soon as the poller is to stop."""
        await self.clock.until(self.clock.now() + seconds, or_when=self.stopping)
        return not self.stopping.is_set()

    async def _invoke(
        self, records: Sequence[Record], payload: bytes, trace_id: str | None
    ) -> BatchResult:
        mapping, request_id = self.mapping, new_request_id()
        ids = frozenset(record.id for record in records)
        if len(payload) > MAX_PAYLOAD_BYTES:
            return BatchResult(Ending.FAILED, ids, request_id, "Unhandled")
        invocation = Invocation(request_id, mapping.function_arn, payload, trace_id=trace_id)
        try:
            version = await self._invoker.resolve(mapping.function, mapping.qualifier)
            invoked = await self._invoker.invoke(version, invocation)
        except PlatformError as error:
            # A loop is not mended by waiting: its records end as those do that fail.
            looped = error.code is ErrorCode.RECURSIVE_INVOCATION
            ending = Ending.FAILED if looped else Ending.NOT_BEGUN
            return BatchResult(ending, ids, problem=error.message)
        outcome, ran = invoked.outcome, invoked.version.version
        if outcome.function_error is not None:
            return BatchResult(Ending.FAILED, ids, request_id, outcome.function_error, ran)
        failed = failed_ids(outcome.payload, ids) if mapping.partial_failures else frozenset()
        if failed == ids:
            return BatchResult(Ending.FAILED, ids, request_id, None, ran)
        ending = Ending.PARTLY_FAILED if failed else Ending.SUCCEEDED
        return BatchResult(ending, failed, request_id, None, ran)

    def _show(self, text: str) -> None:
        self._report(self.mapping.uuid, text[:MAX_RESULT_CHARS])
