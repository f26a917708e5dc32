"""Reads one shard: fetches its records, delivers them in order, and keeps its position.

How this works. One task fetches; as many lanes as the parallelization factor deliver. A partition
key always goes to the same lane, so its records keep their order. A lane tries a batch until that
is done or given up, and only then takes the next one. The position is that of the last record
before which everything is done; it is saved after each batch, and after the on-failure
destination was told: what a crash repeats is what was not saved.

A record is fetched only when there is room for it: a function that fails stops its shard.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from dataclasses import replace

from samovar.events.records import iso_time
from samovar.events.sources.batch import MAX_RECORD_BYTES, Batcher
from samovar.events.sources.failure_record import (
    AGE_EXCEEDED,
    PAYLOAD_EXCEEDED,
    RETRIES_EXHAUSTED,
)
from samovar.events.sources.filter import sort_out
from samovar.events.sources.poller import Feed, GivenUp, SourceError
from samovar.events.sources.record import Record, records_envelope
from samovar.events.sources.retry import FOREVER, Work, after, without_old
from samovar.events.sources.streams.progress import Progress
from samovar.events.sources.streams.stream import Position, Stream
from samovar.model.errors import ErrorCode, PlatformError

MAX_FETCH = 1000
"""Records in one request; DynamoDB Streams has no more."""

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Of records that were fetched and are not done."""

BUSY_S = 0.2
"""Between two requests to a shard that had something: five a second is what Kinesis allows."""

FULL_S = 0.1
"""Between two looks whether there is room again."""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 30.0

CLOCK_SKEW_S = 5.0
"""Between a service's clock and ours, and what its times are rounded by."""

EXPIRED = "ExpiredIteratorException"
TRIMMED = "TrimmedDataAccessException"


class ShardReader:
    """One shard of one mapping's stream."""

    def __init__(self, feed: Feed, stream: Stream, shard: str, position: Position) -> None:
        self.stream = stream
        self.shard = shard
        self._feed = feed
        self.dropped = False
        """The stream has it no more: what cannot be fetched will never be."""
        self._read_to = position
        """Where fetching goes on; ahead of what is saved."""
        self._wanted = self._saved = position
        self._saving = asyncio.Lock()
        self._progress = Progress()
        self._waiting_bytes = 0
        self._sizes: dict[str, int] = {}
        self._lanes = [_Lane(feed, self) for _ in range(feed.mapping.parallelization or 1)]

    async def run(self) -> bool:
        """Read until the poller is to stop; True: the shard has come to its end, and all of it is
        done."""
        try:
            async with asyncio.TaskGroup() as tasks:
                lanes = [tasks.create_task(lane.run()) for lane in self._lanes]
                ended = await self._fetch_all()
                for lane in self._lanes:
                    lane.close()
                await asyncio.gather(*lanes)
        finally:
            self._hold(-self._waiting_bytes)
            self._sizes.clear()
        finished = ended and not len(self._progress) and not self._feed.stopping.is_set()
        if finished:
            await self._save(Position(done=True))
        return finished

    async def settle(self, records: Sequence[Record]) -> None:
        """They are done: delivered, filtered out or given up."""
        ids = [record.id for record in records]
        self._hold(-sum(self._sizes.pop(each, 0) for each in ids))
        last = self._progress.done(ids)
        if last is not None:
            await self._save(Position(after=last, since=self._read_to.since))

    # ------------------------------------------------------------ fetching

    async def _fetch_all(self) -> bool:
        iterator, failures = None, 0
        while not self._feed.stopping.is_set():
            try:
                if iterator is None:
                    iterator = await self.stream.iterator(self.shard, self._read_to)
                    # Where this one expires, the latest record will be another one.
                    self._read_to = replace(self._read_to, latest=False)
                fetched = await self.stream.fetch(self.shard, iterator, self._limit())
                failures = 0
            except SourceError as error:
                iterator = None
                if self.dropped:
                    return True
                if await self._recover(error, failures):
                    failures = min(failures + 1, 10)
                continue
            await self._take(fetched.records)
            iterator = fetched.iterator
            if iterator is None:
                return True
            await self._feed.pause(BUSY_S if fetched.records else self.stream.idle_s)
            await self._wait_for_room()
        return False

    def _limit(self) -> int:
        return min(MAX_FETCH, max(self._feed.mapping.batch_size, 100))

    async def _recover(self, error: SourceError, failures: int) -> bool:
        """After a request that failed; whether it is a problem."""
        if error.code == EXPIRED:
            await self._feed.pause(BUSY_S)
            return False
        if error.code == TRIMMED:  # what comes next has expired: the oldest there is, then
            self._read_to = Position()
        self._feed.problem(str(error))
        await self._feed.pause(min(FIRST_BACK_OFF_S * 2**failures, LONGEST_BACK_OFF_S))
        return True

    async def _take(self, records: Sequence[Record]) -> None:
        now = self._feed.clock.now()
        new = [record for record in records if self._progress.add(record.id)]
        wanted, unwanted = await sort_out(new, self._goes_on)
        for record in wanted:
            self._sizes[record.id] = len(record.json)
            self._hold(len(record.json))
            self._lanes[self._lane_of(record)].put(record.filtered(), now)
        if records:
            self._read_to = Position(after=records[-1].id, since=self._read_to.since)
        if unwanted:
            await self.settle(unwanted)

    def _goes_on(self, record: Record) -> bool:
        return not self._is_too_early(record) and self._feed.admits(record)

    def _is_too_early(self, record: Record) -> bool:
        """Of streams that cannot begin at a time: what came before it is read, and left out."""
        since = self._read_to.since
        if since is None or self.stream.begins_at_times or record.arrived_at is None:
            return False
        return record.arrived_at < since - CLOCK_SKEW_S

    def _lane_of(self, record: Record) -> int:
        return zlib.crc32(record.key.encode(errors="replace")) % len(self._lanes)

    async def _wait_for_room(self) -> None:
        most = self._feed.mapping.batch_size * len(self._lanes) + MAX_FETCH
        while not self._feed.stopping.is_set() and (
            len(self._progress) >= most
            or self._waiting_bytes >= MAX_WAITING_BYTES
            or (self._waiting_bytes and self._feed.room.is_full)
        ):
            await self._feed.pause(FULL_S)

    def _hold(self, size_bytes: int) -> None:
        self._waiting_bytes += size_bytes
        self._feed.room.take(size_bytes)

    async def _save(self, position: Position) -> None:
        """However long that takes; not saved, records come again. One at a time, the newest."""
        self._wanted = position
        async with self._saving:
            while self._saved is not self._wanted:
                trying = self._wanted
                if await self._try_to_save(trying):
                    self._saved = trying
                elif not await self._feed.pause(FIRST_BACK_OFF_S):
                    return

    async def _try_to_save(self, position: Position) -> bool:
        try:
            await self._feed.positions.save(self.shard, position.to_json())
        except PlatformError as error:
            if error.code is ErrorCode.NOT_FOUND:  # the mapping has gone
                self._feed.stopping.set()
            self._feed.problem(error.message)
            return False
        return True


class _Lane:
    """Delivers batches, one after the other."""

    def __init__(self, feed: Feed, reader: ShardReader) -> None:
        self._feed = feed
        self._reader = reader
        self._batcher = Batcher.of(feed.mapping)
        self._woken = asyncio.Event()
        self._closed = False

    def put(self, record: Record, now: float) -> None:
        """A record of this lane."""
        self._batcher.add(record, now)
        self._woken.set()

    def close(self) -> None:
        """Nothing more comes. What is there is delivered, unless the poller is to stop."""
        self._closed = True
        self._woken.set()

    async def run(self) -> None:
        """Deliver until there is nothing more to come."""
        clock, stopping = self._feed.clock, self._feed.stopping
        while not stopping.is_set():
            batch = self._batcher.take(clock.now())
            if batch is None and self._closed:
                batch = self._batcher.take(float("inf"))
                if batch is None:
                    return
            if batch is not None:
                await self._work_off(Work(batch))
                continue
            self._woken.clear()
            await clock.until(self._batcher.due_at, or_when=self._woken)

    async def _work_off(self, batch: Work) -> None:
        """Until it is done or given up, or the poller is to stop: then it is read again."""
        if len(batch.records[0].json) > MAX_RECORD_BYTES:  # the batcher leaves it alone
            self._feed.problem(f"The record {batch.records[0].id} is too large for any event")
            await self._give_up(batch, PAYLOAD_EXCEEDED)
            return
        to_do = [batch]
        while to_do:
            work: Work | None = to_do.pop(0)
            assert work is not None
            if work.waits and not await self._feed.pause(work.back_off_s):
                return
            old, work = without_old(work, self._max_age_s(), self._feed.clock.now())
            if old is not None and not await self._give_up(old, AGE_EXCEEDED):
                return
            if work is None:
                continue
            result = await self._feed.deliver(work.records, records_envelope)
            then = after(work, result, self._feed.mapping)
            to_do[:0] = then.again
            if then.done:
                await self._reader.settle(then.done)
            if then.given_up is not None and not await self._give_up(
                then.given_up, RETRIES_EXHAUSTED
            ):
                return

    def _max_age_s(self) -> float:
        """The stream drops its records, too, and may be told to keep them for longer."""
        own_s, retention_s = self._feed.mapping.max_record_age_s, self._reader.stream.retention_s
        return retention_s if own_s is None or own_s == FOREVER else min(own_s, retention_s)

    async def _give_up(self, work: Work, condition: str) -> bool:
        """Tell the on-failure destination, however long that takes, and go on without them. False:
        the poller was to stop before that could be done."""
        first, last = work.records[0], work.records[-1]
        given_up = GivenUp(
            records=work.records,
            condition=condition,
            attempts=work.failures,
            result=work.result,
            details_name=self._reader.stream.details_name,
            details={
                "shardId": self._reader.shard,
                "startSequenceNumber": first.id,
                "endSequenceNumber": last.id,
                "approximateArrivalOfFirstRecord": iso_time(first.arrived_at or 0.0),
                "approximateArrivalOfLastRecord": iso_time(last.arrived_at or 0.0),
                "batchSize": len(work.records),
                "streamArn": self._feed.mapping.source_arn,
            },
        )
        while True:
            try:
                await self._feed.give_up(given_up, records_envelope)
            except PlatformError as error:
                self._feed.problem(error.message)
                if not await self._feed.pause(FIRST_BACK_OFF_S):
                    return False
            else:
                await self._reader.settle(work.records)
                return True
