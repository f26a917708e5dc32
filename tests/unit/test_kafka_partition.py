"""One partition of Kafka, with a log and a function that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from samovar.events.sources.kafka.partition import PartitionWorker, UnreadableError
from samovar.events.sources.kafka.record import KafkaMessage, envelope_of
from samovar.events.sources.poller import BatchResult, Ending
from samovar.events.sources.record import Record
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import SourceKind
from tests.unit.fake_feed import SUCCEEDED, FakeFeed, failed, mapping, not_begun, until
from tests.unit.test_kafka_record import Message

NOW_MS = 1_000_000_000
"""The feed's clock."""

Answer = Callable[[Sequence[Record]], BatchResult]


class FakeLog:
    """A partition in memory: `PartitionLog`."""

    def __init__(self, *messages: KafkaMessage) -> None:
        self.messages = list(messages)
        self.commits: list[int] = []
        self.errors: list[UnreadableError] = []
        self._more = asyncio.Event()

    async def fetch(self, limit: int) -> Sequence[KafkaMessage]:
        if self.errors:
            raise self.errors.pop(0)
        while not self.messages:
            self._more.clear()
            await self._more.wait()
        fetched, self.messages = self.messages[:limit], self.messages[limit:]
        return fetched

    async def commit(self, offset: int) -> None:
        self.commits.append(offset)

    def append(self, *messages: KafkaMessage) -> None:
        self.messages += messages
        self._more.set()


def messages(*offsets: int) -> list[Message]:
    return [Message(offset=each, value=b"%d" % each, timestamp=NOW_MS) for each in offsets]


def in_turn(*answers: Answer) -> Answer:
    """Each delivery has the next answer; all after them succeed."""
    left = list(answers)
    return lambda records: left.pop(0)(records) if left else SUCCEEDED


def feed_of(function: Answer = lambda _: SUCCEEDED, **settings: object) -> FakeFeed:
    of = mapping(
        SourceKind.KAFKA, source_arn=None, bootstrap_servers=("a:1",), topics=("tea",), **settings
    )
    return FakeFeed(of, function)


def offsets(batches: Sequence[Sequence[str]]) -> list[list[int]]:
    return [[int(each.rpartition("/")[2]) for each in batch] for batch in batches]


async def work(feed: FakeFeed, log: FakeLog, until_: Callable[[], bool]) -> None:
    """Have a worker work until something holds, and stop it."""
    worker = PartitionWorker(feed, log, envelope_of(("a:1",)))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        await until(lambda: until_() or running.done())
        feed.stopping.set()


async def test_batches_follow_each_other_and_each_is_committed():
    feed, log = feed_of(batch_size=2), FakeLog(*messages(0, 1, 2, 3, 4))
    await work(feed, log, lambda: log.commits[-1:] == [5])
    assert offsets(feed.batches) == [[0, 1], [2, 3], [4]]
    assert log.commits == [2, 4, 5]


async def test_nothing_overtakes_a_batch_that_fails():
    feed = feed_of(in_turn(failed, failed), batch_size=2)
    log = FakeLog(*messages(0, 1, 2, 3))
    await work(feed, log, lambda: log.commits[-1:] == [4])
    assert offsets(feed.batches) == [[0, 1], [0, 1], [0, 1], [2, 3]]
    assert feed.pauses == [1.0, 2.0]


async def test_waits_have_a_bound():
    feed, log = feed_of(in_turn(*[not_begun] * 12)), FakeLog(*messages(0))
    await work(feed, log, lambda: log.commits[-1:] == [1])
    assert feed.pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]


async def test_a_throttle_uses_up_no_attempt():
    feed = feed_of(in_turn(*[not_begun] * 5, failed), max_retries=1)
    log = FakeLog(*messages(0))
    await work(feed, log, lambda: log.commits[-1:] == [1])
    assert feed.given_up == []


async def test_what_uses_up_its_attempts_is_given_up_and_then_committed():
    feed = feed_of(in_turn(failed, failed), max_retries=1, batch_size=2)
    log = FakeLog(*messages(0, 1, 2))
    await work(feed, log, lambda: log.commits[-1:] == [3])
    [given_up] = feed.given_up
    assert offsets([[each.id for each in given_up.records]]) == [[0, 1]]
    assert (given_up.condition, given_up.attempts) == ("RetryAttemptsExhausted", 2)
    assert given_up.details_name == "KafkaBatchInfo"


async def test_a_destination_that_cannot_be_told_now_is_told_later_and_the_function_not_asked():
    busy = PlatformError(ErrorCode.TOO_MANY_REQUESTS, "the queue is full")
    feed, log = feed_of(in_turn(failed), max_retries=0), FakeLog(*messages(0))
    feed.give_up_errors += [busy] * 3
    await work(feed, log, lambda: log.commits[-1:] == [1])
    assert len(feed.batches) == len(feed.given_up) == 1
    assert "the queue is full" in feed.problems


async def test_what_cannot_be_told_before_the_end_is_not_committed():
    busy = PlatformError(ErrorCode.TOO_MANY_REQUESTS, "the queue is full")
    feed, log = feed_of(in_turn(failed), max_retries=0), FakeLog(*messages(0))
    feed.give_up_errors += [busy] * 1000
    await work(feed, log, lambda: len(feed.pauses) > 5)
    assert log.commits in ([], [0])


@pytest.mark.parametrize(
    ("settings", "attempts"),
    [({}, 11), ({"max_retries": -1}, 11), ({"max_retries": 2}, 3)],
)
async def test_with_a_destination_there_are_ten_retries_unless_said_otherwise(settings, attempts):
    queue = "arn:aws:sqs:us-east-1:000000000000:dead"
    feed = feed_of(failed, on_failure_arn=queue, **settings)
    await work(feed, FakeLog(*messages(0)), lambda: bool(feed.given_up))
    assert len(feed.batches) == attempts


async def test_without_a_destination_there_is_no_end_of_retries():
    feed = feed_of(failed)
    await work(feed, FakeLog(*messages(0)), lambda: len(feed.batches) > 50)
    assert feed.given_up == []


async def test_records_that_cannot_be_read_are_a_problem_and_looked_at_again():
    feed, log = feed_of(), FakeLog(*messages(0))
    log.errors += [UnreadableError("no record")] * 3
    await work(feed, log, lambda: log.commits[-1:] == [1])
    assert feed.problems == ["no record"] * 3
    assert feed.pauses == [1, 2, 4]


async def test_poison_is_isolated_by_halves_in_order():
    def fails_with_2(records: Sequence[Record]) -> BatchResult:
        poisoned = any(each.id.endswith("/2") for each in records)
        return failed(records) if poisoned else SUCCEEDED

    feed = feed_of(fails_with_2, bisect=True, max_retries=0)
    log = FakeLog(*messages(0, 1, 2, 3))
    await work(feed, log, lambda: log.commits[-1:] == [4])
    assert offsets(feed.batches) == [[0, 1, 2, 3], [0, 1], [2, 3], [2], [3]]
    assert [each.records[0].id for each in feed.given_up] == ["tea-0/2"]


async def test_only_named_failures_come_again_and_hold_the_commit_back():
    def names_1(records: Sequence[Record]) -> BatchResult:
        result = failed([each for each in records if each.id.endswith("/1")])
        return BatchResult(Ending.PARTLY_FAILED, result.failed)

    feed, log = feed_of(in_turn(names_1)), FakeLog(*messages(0, 1, 2))
    await work(feed, log, lambda: log.commits[-1:] == [3])
    assert offsets(feed.batches) == [[0, 1, 2], [1]]
    assert log.commits == [1, 3]


async def test_what_is_too_old_is_given_up_without_the_function():
    old = [Message(offset=0, timestamp=NOW_MS - 61_000), *messages(1)]
    feed, log = feed_of(max_record_age_s=60), FakeLog(*old)
    await work(feed, log, lambda: log.commits[-1:] == [2])
    assert offsets(feed.batches) == [[1]]
    assert [each.condition for each in feed.given_up] == ["RecordAgeExceeded"]


async def test_what_is_too_large_is_given_up():
    large = Message(offset=0, value=b"x" * 5_000_000)
    feed, log = feed_of(), FakeLog(large, *messages(1))
    await work(feed, log, lambda: log.commits[-1:] == [2])
    assert offsets(feed.batches) == [[1]]
    assert [each.condition for each in feed.given_up] == ["MaximumPayloadSizeExceeded"]
    assert feed.problems


async def test_what_is_filtered_out_is_committed():
    feed, log = feed_of(filters=('{"value": ["none"]}',)), FakeLog(*messages(0, 1))
    await work(feed, log, lambda: log.commits[-1:] == [2])
    assert feed.batches == []


async def test_what_is_filtered_out_after_what_is_not_dealt_with_waits_for_it():
    feed = feed_of(in_turn(failed), filters=('{"value": ["0"]}',))
    log = FakeLog(*messages(0, 1))
    await work(feed, log, lambda: log.commits[-1:] == [2])
    assert log.commits == [0, 2]


async def test_a_window_gathers_what_comes_within_it():
    feed, log = feed_of(window_s=5), FakeLog(*messages(0))
    worker = PartitionWorker(feed, log, envelope_of(("a:1",)))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(worker.run())
        await until(lambda: not log.messages)
        log.append(*messages(1))
        await until(lambda: not log.messages)
        assert feed.batches == []
        feed.clock.advance(5)
        await until(lambda: log.commits == [2])
        feed.stopping.set()
    assert offsets(feed.batches) == [[0, 1]]


async def test_a_partition_that_goes_waits_for_what_is_under_way():
    feed, log = feed_of(), FakeLog(*messages(0))
    feed.gate = asyncio.Event()
    worker = PartitionWorker(feed, log, envelope_of(("a:1",)))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        await until(lambda: feed.running == 1)
        resting = tasks.create_task(worker.rest(patience_s=60))
        await asyncio.sleep(0)
        assert not resting.done()
        feed.gate.set()
        await resting
        assert log.commits == [1]
        running.cancel()


async def test_a_partition_that_goes_begins_nothing_more():
    feed, log = feed_of(in_turn(failed)), FakeLog(*messages(0))
    worker = PartitionWorker(feed, log, envelope_of(("a:1",)))
    feed.gate = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(worker.run())
        await until(lambda: feed.running == 1)
        resting = tasks.create_task(worker.rest(patience_s=60))
        await asyncio.sleep(0)
        feed.gate.set()
        await resting
        await running
    assert len(feed.batches) == 1
    assert log.commits in ([], [0])
