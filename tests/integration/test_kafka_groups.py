"""Members of a Kafka consumer group come and go: a real broker, two pollers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from samovar.config import Config
from samovar.events.clients import AwsClients
from samovar.events.sources.kafka.source import KafkaSource
from samovar.events.sources.poller import BatchResult
from samovar.events.sources.record import Record
from samovar.model.event_source import SourceKind
from samovar.model.source_hosts import HostRules
from tests.kafka_broker import Kafka, program, running_kafka
from tests.unit.fake_feed import SUCCEEDED, FakeFeed, mapping

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Kafka broker here")

DEADLINE_S = 90


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kafka]:
    with running_kafka(tmp_path_factory.mktemp("kafka") / "broker") as started:
        yield started


class Member:
    """A poller, and what it has got."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.got: list[str] = []
        of = mapping(
            SourceKind.KAFKA,
            source_arn=None,
            bootstrap_servers=(kafka.server,),
            topics=(topic,),
            consumer_group_id=f"drinkers-of-{topic}",
        )
        self.feed = FakeFeed(of, self._take)
        self._took = asyncio.Event()

    def _take(self, records: Sequence[Record]) -> BatchResult:
        self.got += [record.id for record in records]
        self._took.set()
        return SUCCEEDED

    async def takes_something(self) -> bool:
        """Whether it does so soon."""
        self._took.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._took.wait(), 0.5)
        return self._took.is_set()

    @contextlib.asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        source = KafkaSource(AwsClients(Config()), HostRules.parse("*"))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(source.poll(self.feed))
            yield
            self.feed.stopping.set()


class Producer:
    """Sends to both partitions in turn."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.sent: list[str] = []
        self._kafka = kafka
        self._topic = topic

    async def send(self) -> list[str]:
        """One record for each; their ids."""
        offset = len(self.sent) // 2
        for partition in (0, 1):
            await asyncio.to_thread(self._kafka.send, self._topic, b"tea", partition=partition)
        sent = [f"{self._topic}-{partition}/{offset}" for partition in (0, 1)]
        self.sent += sent
        return sent

    async def send_until_taken_by(self, member: Member) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self.send()
            while not await member.takes_something():
                await self.send()


@pytest.mark.slow
async def test_partitions_go_from_member_to_member_and_no_record_is_lost_or_comes_twice(kafka):
    topic = await asyncio.to_thread(kafka.create_topic, "tea", 2)
    producer, first, second = Producer(kafka, topic), Member(kafka, topic), Member(kafka, topic)
    async with second.polling():
        async with first.polling():
            await producer.send_until_taken_by(first)
            await producer.send_until_taken_by(second)
        # The first has gone: what it has left is the second's.
        last = await producer.send()
        async with asyncio.timeout(DEADLINE_S):
            while not set(last) <= set(second.got):
                await second.takes_something()
    assert sorted(first.got + second.got) == sorted(producer.sent)


async def test_brokers_that_have_gone_are_a_problem_that_is_shown_and_end_nothing(tmp_path):
    kafka = await asyncio.to_thread(Kafka(tmp_path / "kafka").start)
    try:
        topic = await asyncio.to_thread(kafka.create_topic, "tea")
        member = Member(kafka, topic)
        await asyncio.to_thread(kafka.send, topic, b"Assam")
        async with member.polling():
            async with asyncio.timeout(DEADLINE_S):
                while not await member.takes_something():
                    continue
                kafka.close()
                while not member.feed.problems:
                    await member.takes_something()
    finally:
        kafka.close()
    assert member.feed.problems[0].startswith("Kafka: ")
    assert member.got == ["tea-0/0"]
