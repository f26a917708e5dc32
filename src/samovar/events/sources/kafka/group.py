"""A consumer group: which partitions are ours, and a worker for each. Import it lazily: it loads
aiokafka.

How this works. The group's members deal out the partitions anew whenever one comes or goes. Before
that, aiokafka calls `_Listener.on_partitions_revoked` and waits: workers begin nothing more, and
have a while to end what they have begun and to commit it. Then all of them end. When the partitions
are dealt out, those that are ours now get new workers, which go on where the group has committed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Mapping, Sequence

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    CorruptRecordException,
    IllegalStateError,
    KafkaError,
)

from samovar.events.sources.kafka.client import REBALANCE_LIMIT_S
from samovar.events.sources.kafka.codecs import UnreadableBatchError
from samovar.events.sources.kafka.partition import PartitionWorker, UnreadableError
from samovar.events.sources.kafka.record import KafkaMessage, envelope_of
from samovar.events.sources.poller import Feed
from samovar.events.sources.waiting import wait_for_source

PATIENCE_S = REBALANCE_LIMIT_S - 10
"""For what is under way when partitions are about to go to others."""

COMMIT_LIMIT_S = 20.0
"""A broker that has gone is waited for so long; then its records will come again."""

CHUNK_RECORDS = 64
CHUNK_BYTES = 256 * 1024
"""What is handed out at once: others have their turns in between."""

LOOK_EVERY_S = 30.0

WAIT_MS = 3_600_000
"""For records: there is no reason to look up."""

PARTITIONS = "partitions"
"""The shard under which it is kept how many partitions the topic had."""


class KafkaGroup:
    """Our member of the group."""

    def __init__(self, feed: Feed, consumer: AIOKafkaConsumer) -> None:
        self._feed = feed
        self._consumer = consumer
        self._envelope = envelope_of(feed.mapping.bootstrap_servers)
        self._workers: dict[PartitionWorker, asyncio.Task[None]] = {}
        self._assigned: asyncio.Queue[Collection[TopicPartition]] = asyncio.Queue()
        self._dealt = 0
        """How often partitions were dealt out."""

    async def run(self) -> None:
        """Until the feed is stopping. Raises aiokafka's errors."""
        (topic,) = self._feed.mapping.topics
        self._consumer.subscribe([topic], listener=_Listener(self))
        async with asyncio.TaskGroup() as tasks:
            stopping = tasks.create_task(self._feed.stopping.wait())
            watching = tasks.create_task(self._watch(topic))
            tasks.create_task(self._look_after(topic))
            while not stopping.done():
                assigned = tasks.create_task(self._assigned.get())
                await asyncio.wait((assigned, stopping), return_when=asyncio.FIRST_COMPLETED)
                if stopping.done():
                    assigned.cancel()
                else:
                    await self._begin(assigned.result(), tasks)
            watching.cancel()

    async def _watch(self, topic: str) -> None:
        """Raise what goes wrong with the group. aiokafka tells only those who wait for records,
        and there is nobody else who does while no partition is ours: this waits for those of a
        partition that there never is."""
        nowhere = TopicPartition(topic, -1)
        while True:
            await self._consumer.getmany(nowhere, timeout_ms=WAIT_MS)

    async def _look_after(self, topic: str) -> None:
        """Now and then see whether the brokers are still there: those who wait for records wait
        on, whatever happens, so that nothing comes twice just because a broker was restarted."""
        feed = self._feed
        while await feed.pause(LOOK_EVERY_S):
            looking = self._consumer.topics()
            try:
                topics = await wait_for_source(looking, feed.clock, None, feed.stopping)
            except (KafkaError, OSError) as error:
                feed.problem(f"Kafka: {type(error).__name__}: the brokers do not answer")
                continue
            if topics is not None and topic not in topics:
                feed.problem(f"The cluster has no topic {topic}")

    # ------------------------------------------------------------ rebalances

    async def release(self) -> None:
        """Let go of all partitions."""
        self._dealt += 1
        while not self._assigned.empty():  # those that have gone before we came to them
            self._assigned.get_nowait()
        if self._workers:
            async with asyncio.TaskGroup() as tasks:
                for worker in self._workers:
                    tasks.create_task(worker.rest(PATIENCE_S))
            for task in self._workers.values():
                task.cancel()
            await asyncio.wait(self._workers.values())
        self._workers.clear()

    def take(self, partitions: Collection[TopicPartition]) -> None:
        """These are ours now. Does not wait: aiokafka does until it has returned."""
        self._assigned.put_nowait(partitions)

    async def _begin(
        self, partitions: Collection[TopicPartition], tasks: asyncio.TaskGroup
    ) -> None:
        feed, dealt = self._feed, self._dealt
        finding = self._find_beginnings(partitions)
        with contextlib.suppress(CommitFailedError, IllegalStateError):  # dealt out anew already
            await wait_for_source(finding, feed.clock, None, feed.stopping)
        if self._dealt != dealt or feed.stopping.is_set():
            return
        for partition in partitions:
            log = _ConsumedPartition(self._consumer, partition)
            worker = PartitionWorker(self._feed, log, self._envelope)
            self._workers[worker] = tasks.create_task(worker.run(), name=f"reader of {partition}")

    # ------------------------------------------------------------ where to begin

    async def _find_beginnings(self, partitions: Collection[TopicPartition]) -> None:
        """Commit where to begin in partitions of which the group has committed nothing: the
        mapping's starting position, of before the first start. Partitions that the topic has got
        since then are read from their beginning: nothing in them was meant to be left out."""
        consumer, positions = self._consumer, self._feed.positions
        fresh = [each for each in partitions if await consumer.committed(each) is None]
        known: int = (await positions.load()).get(PARTITIONS, 0)
        added = [each for each in fresh if known and each.partition >= known]
        begin = dict(await consumer.beginning_offsets(added)) if added else {}
        if first := [each for each in fresh if each not in begin]:
            begin |= await self._starting_offsets(first)
        for partition, offset in begin.items():
            consumer.seek(partition, offset)
        if begin:
            await consumer.commit(begin)
        (topic,) = self._feed.mapping.topics
        count = len(consumer.partitions_for_topic(topic) or ())
        if count > known:
            await positions.save(PARTITIONS, count)

    async def _starting_offsets(
        self, partitions: Sequence[TopicPartition]
    ) -> Mapping[TopicPartition, int]:
        mapping, consumer = self._feed.mapping, self._consumer
        if mapping.starting_position == "TRIM_HORIZON":
            oldest: Mapping[TopicPartition, int] = await consumer.beginning_offsets(partitions)
            return oldest
        newest: dict[TopicPartition, int] = dict(await consumer.end_offsets(partitions))
        if mapping.starting_position == "AT_TIMESTAMP" and mapping.starting_timestamp is not None:
            at_ms = int(mapping.starting_timestamp.timestamp() * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(partitions, at_ms))
            newest |= {each: at.offset for each, at in found.items() if at is not None}
        return newest


class _Listener(ConsumerRebalanceListener):
    """What aiokafka calls. It asks for this class to be inherited."""

    def __init__(self, group: KafkaGroup) -> None:
        self._group = group

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._group.release()

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._group.take(assigned)


class _ConsumedPartition:
    """The `PartitionLog` of a consumer's partition."""

    def __init__(self, consumer: AIOKafkaConsumer, partition: TopicPartition) -> None:
        self._consumer = consumer
        self._partition = partition
        self._ready: list[KafkaMessage] = []
        """Fetched, and not handed out: a fetch that is cancelled must not lose them."""
        self._ready_bytes = 0

    async def fetch(self, limit: int) -> Sequence[KafkaMessage]:
        ready = self._ready
        while len(ready) < min(limit, CHUNK_RECORDS) and self._ready_bytes < CHUNK_BYTES:
            try:
                message = await self._next(0 if ready else WAIT_MS)
            except UnreadableError:
                if ready:
                    break  # it will be raised again
                raise
            if message is None:
                break
            ready.append(message)
            self._ready_bytes += len(message.key or b"") + len(message.value or b"")
        fetched, self._ready, self._ready_bytes = ready[:limit], ready[limit:], 0
        return fetched

    async def _next(self, wait_ms: int) -> KafkaMessage | None:
        """One at a time: with each batch of records that is begun, all of it is decompressed."""
        try:
            fetched = await self._consumer.getmany(
                self._partition, timeout_ms=wait_ms, max_records=1
            )
        except (UnreadableBatchError, CorruptRecordException) as error:
            raise UnreadableError(f"{_shown(self._partition)}: {error}") from error
        except KafkaError:
            raise
        except Exception as error:  # whatever aiokafka makes of bytes that are no records
            kind = type(error).__name__
            raise UnreadableError(f"{_shown(self._partition)}: {kind}") from error
        messages: Sequence[KafkaMessage] = fetched.get(self._partition, ())
        return messages[0] if messages else None

    async def commit(self, offset: int) -> None:
        try:
            async with asyncio.timeout(COMMIT_LIMIT_S):
                await self._consumer.commit({self._partition: offset})
        except (CommitFailedError, IllegalStateError):
            return  # another consumer has it, and will get these records again


def _shown(partition: TopicPartition) -> str:
    return f"The records of {partition.topic}-{partition.partition} cannot be read"
