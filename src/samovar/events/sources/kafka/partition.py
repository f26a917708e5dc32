"""One partition of a topic: its records in order, batch after batch, each until it is dealt with.

A record is committed when it and all before it were delivered, were filtered out, or were given up.
Nothing else is kept: after a crash, or when the partition goes to another consumer, records that
were not committed come again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from msgspec import structs

from samovar.events.sources.batch import ENVELOPE_BYTES, Batcher
from samovar.events.sources.failure_record import AGE_EXCEEDED, RETRIES_EXHAUSTED
from samovar.events.sources.filter import admitted
from samovar.events.sources.kafka.record import (
    KafkaMessage,
    batch_details,
    offset_of,
    record_of,
    stub_of,
)
from samovar.events.sources.poller import Ending, Feed, GivenUp
from samovar.events.sources.record import Envelope, Record
from samovar.events.sources.retry import (
    FIRST_BACK_OFF_S,
    FOREVER,
    Work,
    after,
    back_off_s,
    without_old,
)
from samovar.events.sources.waiting import wait_for_source
from samovar.model.errors import PlatformError
from samovar.model.event_source import EventSourceMapping
from samovar.model.invocation import MAX_PAYLOAD_BYTES

RETRIES_BEFORE_DESTINATION = 10
"""Of batches that nothing else limits, where there is a place for those that fail. AWS's:
https://docs.aws.amazon.com/lambda/latest/dg/kafka-on-failure-destination.html"""

DEFAULT_WINDOW_S = 0.5
"""https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventsourcemapping.html"""

MAX_RECORD_BYTES = MAX_PAYLOAD_BYTES - ENVELOPE_BYTES


class UnreadableError(Exception):
    """The next records are none, or too large, and will be so the next time; the message is
    shown."""


class PartitionLog(Protocol):
    """A partition as its consumer has it. Raises aiokafka's errors."""

    async def fetch(self, limit: int) -> Sequence[KafkaMessage]:
        """Wait for the next records, at most so many; when cancelled, none is lost. Raises
        `UnreadableError`."""
        ...

    async def commit(self, offset: int) -> None:
        """The next record to read is the one at `offset`; durable on return. Where the partition
        belongs to another consumer by now, nothing happens."""
        ...


class PartitionWorker:
    """Deals with one partition until it is told to end."""

    def __init__(self, feed: Feed, log: PartitionLog, envelope: Envelope) -> None:
        self._feed = feed
        self._mapping = _with_limits(feed.mapping)
        self._log = log
        self._envelope = envelope
        self._batcher = Batcher.of(feed.mapping, DEFAULT_WINDOW_S)
        self._open: dict[int, None] = {}
        """Offsets of the records that are not dealt with, in order."""
        self._end: int | None = None
        """The offset after everything that was fetched."""
        self._committed: int | None = None
        self._unreadable = 0
        """Fetches in a row that brought nothing that can be read."""
        self._ending = False
        self._at_rest = asyncio.Event()
        """Set while there is no attempt under way: ended now, nothing comes twice."""
        self._at_rest.set()

    async def run(self) -> None:
        """Until the feed is stopping, or `rest` was called and nothing is under way."""
        while not self._done:
            batch = self._batcher.take(self._feed.clock.now())
            if batch is None:
                await self._fetch()
            else:
                await self._deal_with(batch)

    async def rest(self, patience_s: float) -> None:
        """Begin nothing more: the partition is about to go to another consumer. Returns when what
        was begun is committed, or its time is up; the worker may be cancelled then."""
        self._ending = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._at_rest.wait()

    @property
    def _done(self) -> bool:
        return self._ending or self._feed.stopping.is_set()

    # ------------------------------------------------------------ fetching

    async def _fetch(self) -> None:
        feed = self._feed
        fetching = self._log.fetch(self._batcher.wanted)
        try:
            due_at = self._batcher.due_at
            messages = await wait_for_source(fetching, feed.clock, due_at, feed.stopping)
        except UnreadableError as error:
            # This partition's affair: the others go on.
            feed.problem(str(error))
            self._unreadable += 1
            await feed.pause(back_off_s(self._unreadable))
            return
        for message in messages or ():
            await self._gather(message)
            self._end = message.offset + 1
            self._unreadable = 0
            await asyncio.sleep(0)  # a filter takes its time: others have their turns
        if not self._open:
            await self._commit()

    async def _gather(self, message: KafkaMessage) -> None:
        feed = self._feed
        record = record_of(message, MAX_RECORD_BYTES)
        if record is None:
            self._open[message.offset] = None
            feed.problem(f"The record at offset {message.offset} is too large for any event")
            await self._give_up(Work([stub_of(message)]), "MaximumPayloadSizeExceeded")
        elif await admitted(record, feed.admits):
            self._open[message.offset] = None
            self._batcher.add(record, feed.clock.now())

    # ------------------------------------------------------------ delivering

    async def _deal_with(self, records: Sequence[Record]) -> None:
        works = [Work(records)]
        while works and not self._done:
            if works[0].waits and not await self._feed.pause(works[0].back_off_s):
                return
            if self._ending:
                return
            self._at_rest.clear()
            try:
                works[:1] = await self._attempt(works[0])
                await self._commit()
            finally:
                self._at_rest.set()

    async def _attempt(self, work: Work) -> Sequence[Work]:
        """One delivery; returns what is to come again."""
        mapping = self._mapping
        if mapping.max_record_age_s not in (None, FOREVER):
            old, rest = without_old(work, mapping.max_record_age_s, self._feed.clock.now())
            if old is not None:
                await self._give_up(old, AGE_EXCEEDED)
            if rest is None:
                return ()
            work = rest
        result = await self._feed.deliver(work.records, self._envelope)
        if result.ending is Ending.PARTLY_FAILED:
            # Those alone, and not what comes after them: not as with Kinesis.
            failed = [record for record in work.records if record.id in result.failed]
            self._close(record for record in work.records if record.id not in result.failed)
            work = replace(work, records=failed)
        what = after(work, result, mapping)
        if what.given_up is not None:
            await self._give_up(what.given_up, RETRIES_EXHAUSTED)
        self._close(what.done)
        return what.again

    async def _give_up(self, work: Work, condition: str) -> None:
        """Tell the on-failure destination, however long that takes, and go on without them; where
        the feed is stopping before that could be done, they are not dealt with."""
        records = work.records
        details = batch_details(records, self._mapping.bootstrap_servers, self._envelope)
        given_up = GivenUp(
            records, condition, work.failures, work.result, "KafkaBatchInfo", details
        )
        while True:
            try:
                await self._feed.give_up(given_up, self._envelope)
            except PlatformError as error:
                self._feed.problem(error.message)
                if not await self._feed.pause(FIRST_BACK_OFF_S):
                    return
            else:
                self._close(records)
                return

    # ------------------------------------------------------------ progress

    def _close(self, records: Iterable[Record]) -> None:
        for record in records:
            self._open.pop(offset_of(record), None)

    async def _commit(self) -> None:
        """Everything before the first record that is not dealt with."""
        offset = next(iter(self._open), self._end)
        if offset is not None and offset != self._committed:
            await self._log.commit(offset)
            self._committed = offset


def _with_limits(mapping: EventSourceMapping) -> EventSourceMapping:
    if mapping.on_failure_arn is None or mapping.max_retries not in (None, FOREVER):
        return mapping
    return structs.replace(mapping, max_retries=RETRIES_BEFORE_DESTINATION)
