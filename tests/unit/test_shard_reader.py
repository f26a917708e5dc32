"""Reading a stream, with a stream and a function that do as they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from samovar.clock import Clock
from samovar.events.sources.poller import SourceError
from samovar.events.sources.record import Record
from samovar.events.sources.room import Room
from samovar.events.sources.streams.shard_reader import ShardReader
from samovar.events.sources.streams.source import StreamSource
from samovar.events.sources.streams.stream import Fetched, Position, Shard
from samovar.model.errors import ErrorCode, PlatformError
from tests.unit.fake_feed import (
    SUCCEEDED,
    FakeFeed,
    failed,
    mapping,
    not_begun,
    partly_failed,
    until,
)
from tests.unit.fake_feed import record as make_record

BUSY = PlatformError(ErrorCode.TOO_MANY_REQUESTS, "the queue is full")


class FakeStream:
    """Shards of records; iterators are offsets."""

    identity = "first"
    retention_s = 24 * 3600.0
    idle_s = 1.0
    begins_at_times = True
    details_name = "KinesisBatchInfo"

    def __init__(self, **shards: Sequence[object]) -> None:
        self.contents = {name: list(records) for name, records in shards.items()}
        self.parents: dict[str, frozenset[str]] = {}
        self.closed: set[str] = set()
        self.errors: list[SourceError] = []
        self.begun: list[tuple[str, Position]] = []
        self.page = 1000

    async def shards(self):
        return [
            Shard(name, self.parents.get(name, frozenset()), name in self.closed)
            for name in self.contents
        ]

    async def iterator(self, shard, position):
        self.begun.append((shard, position))
        if position.after is None:
            return str(len(self.contents[shard]) if position.latest else 0)
        ids = [each.id for each in self.contents[shard]]
        return str(ids.index(position.after) + 1)

    async def fetch(self, shard, iterator, limit):
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        start = int(iterator)
        end = start + min(limit, self.page)
        records = self.contents[shard][start:end]
        at_end = shard in self.closed and start + len(records) >= len(self.contents[shard])
        return Fetched(records, None if at_end else str(start + len(records)))


def records(count: int, keys: str = "k"):
    return [make_record(number, key=keys[number % len(keys)]) for number in range(count)]


async def read(feed: FakeFeed, stream: FakeStream, position: Position = Position()) -> bool:  # noqa: B008 - frozen
    """Read shard s to its end."""
    stream.closed.add("s")
    async with asyncio.timeout(20):
        return await ShardReader(feed, stream, "s", position).run()


def numbers(batches):
    return [[int(each) for each in batch] for batch in batches]


async def test_a_shard_is_read_to_its_end_and_kept_as_done():
    feed = FakeFeed(mapping(batch_size=2))
    assert await read(feed, FakeStream(s=records(5)))
    assert numbers(feed.batches) == [[0, 1], [2, 3], [4]]
    assert feed.positions.kept["s"]["done"]


async def test_it_goes_on_behind_the_position():
    feed = FakeFeed(mapping())
    await read(feed, FakeStream(s=records(5)), Position(after="2"))
    assert numbers(feed.batches) == [[3, 4]]


async def test_a_batch_that_fails_stops_what_comes_after_it():
    attempts = iter([failed, failed, lambda _: SUCCEEDED, lambda _: SUCCEEDED])
    feed = FakeFeed(mapping(batch_size=2, max_retries=-1), lambda batch: next(attempts)(batch))
    await read(feed, FakeStream(s=records(4)))
    assert numbers(feed.batches) == [[0, 1], [0, 1], [0, 1], [2, 3]]


async def test_bad_records_are_found_by_splitting_and_given_up():
    def function(batch):
        return failed(batch) if any(each.id == "5" for each in batch) else SUCCEEDED

    feed = FakeFeed(mapping(bisect=True, max_retries=1), function)
    await read(feed, FakeStream(s=records(8)))
    [given_up] = feed.given_up
    assert [each.id for each in given_up.records] == ["5"]
    assert (given_up.condition, given_up.attempts) == ("RetryAttemptsExhausted", 2)
    assert given_up.details["startSequenceNumber"] == given_up.details["endSequenceNumber"] == "5"
    assert given_up.details["shardId"] == "s"
    assert given_up.details["batchSize"] == 1
    assert given_up.details["streamArn"] == feed.mapping.source_arn
    assert numbers(feed.batches)[-1] == [6, 7]


async def test_it_goes_on_with_the_first_record_that_was_reported():
    answers = iter([partly_failed(2, 3), SUCCEEDED])
    feed = FakeFeed(mapping(partial_failures=True), lambda _: next(answers))
    await read(feed, FakeStream(s=records(4)))
    assert numbers(feed.batches) == [[0, 1, 2, 3], [2, 3]]


async def test_the_position_moves_only_after_the_destination_was_told():
    feed = FakeFeed(mapping(max_retries=0), failed)
    feed.give_up_errors = [BUSY, BUSY]
    await read(feed, FakeStream(s=records(2)))
    assert len(feed.given_up) == 1
    assert len(feed.batches) == 1
    assert feed.problems == ["the queue is full"] * 2


async def test_records_that_are_too_old_are_given_up_without_an_attempt():
    feed = FakeFeed(mapping(max_record_age_s=60))
    now = feed.clock.now()
    await read(
        feed, FakeStream(s=[make_record(0, arrived_at=now - 61), make_record(1, arrived_at=now)])
    )
    [given_up] = feed.given_up
    assert ([each.id for each in given_up.records], given_up.attempts) == (["0"], 0)
    assert given_up.condition == "RecordAgeExceeded"
    assert numbers(feed.batches) == [[1]]


async def test_a_throttled_function_is_tried_until_the_records_expire():
    feed = FakeFeed(mapping(max_retries=0, max_record_age_s=-1), not_begun)
    stream = FakeStream(s=[make_record(0, arrived_at=feed.clock.now())])
    await read(feed, stream)
    [given_up] = feed.given_up
    assert given_up.condition == "RecordAgeExceeded"
    assert len(feed.batches) > 1000


async def test_keys_keep_their_order_over_lanes_that_run_at_once():
    feed = FakeFeed(mapping(batch_size=3, parallelization=4))
    feed.gate = asyncio.Event()
    reading = asyncio.ensure_future(read(feed, FakeStream(s=records(200, keys="abcdefgh"))))
    await until(lambda: feed.most_running > 1)
    feed.gate.set()
    assert await reading
    delivered = [int(each) for batch in feed.batches for each in batch]
    assert sorted(delivered) == list(range(200))
    for key in range(8):
        own = [number for number in delivered if number % 8 == key]
        assert own == sorted(own)
    assert feed.positions.kept["s"]["done"]


async def test_nothing_is_fetched_for_which_there_is_no_room():
    feed = FakeFeed(mapping(batch_size=10))
    feed.gate = asyncio.Event()
    stream = FakeStream(s=records(50_000))
    reading = asyncio.ensure_future(read(feed, stream))
    await until(lambda: len(feed.pauses) > 2000)
    assert len(feed.batches) == 1
    feed.stopping.set()
    feed.gate.set()
    assert not await reading
    assert int(feed.positions.kept["s"]["after"]) == 9


async def test_what_is_filtered_out_is_done():
    of = mapping(batch_size=1, filters=('{"data": {"x": [1]}}',))
    feed = FakeFeed(of)
    await read(feed, FakeStream(s=records(5)))
    assert feed.batches == []
    assert feed.positions.kept["s"]["done"]


async def test_an_iterator_that_has_expired_is_renewed():
    feed = FakeFeed(mapping(batch_size=2))
    stream = FakeStream(s=records(4))
    stream.page = 2
    stream.errors = [SourceError("it has expired", code="ExpiredIteratorException")]
    await read(feed, stream)
    assert feed.problems == []
    assert len(stream.begun) == 2
    assert numbers(feed.batches) == [[0, 1], [2, 3]]


async def test_a_service_that_fails_is_asked_again_and_the_problem_shown():
    feed = FakeFeed(mapping())
    stream = FakeStream(s=records(1))
    stream.errors = [SourceError("it is down")] * 3
    await read(feed, stream)
    assert feed.problems == ["it is down"] * 3
    assert feed.pauses[:3] == [1.0, 2.0, 4.0]
    assert numbers(feed.batches) == [[0]]


async def test_a_position_that_cannot_be_kept_is_tried_again():
    feed = FakeFeed(mapping())
    feed.positions.errors = [PlatformError(ErrorCode.UNAVAILABLE, "the database is busy")] * 2
    await read(feed, FakeStream(s=records(1)))
    assert feed.positions.kept["s"]["done"]
    assert len(feed.batches) == 1


async def test_a_mapping_that_has_gone_ends_its_poller():
    feed = FakeFeed(mapping())
    feed.positions.errors = [PlatformError(ErrorCode.NOT_FOUND, "it has gone")]
    assert not await read(feed, FakeStream(s=records(1)))
    assert feed.stopping.is_set()
    assert feed.positions.kept == {}


async def test_a_service_that_sends_a_record_twice_has_it_delivered_once_at_a_time():
    feed = FakeFeed(mapping())
    one = make_record(1)
    assert await read(feed, FakeStream(s=[one, one, one]))
    assert numbers(feed.batches) == [[1]]


class OneStream:
    """Opens the same stream, again and again."""

    def __init__(self, stream: FakeStream) -> None:
        self._stream = stream

    def __call__(self, _mapping: object, _role: str, _clock: Clock) -> OneStream:
        return self

    async def __aenter__(self) -> FakeStream:
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        return None


async def poll_until(feed: FakeFeed, stream: FakeStream, condition) -> None:
    """Run a poller until something holds, then stop it."""
    polling = asyncio.ensure_future(StreamSource("Fake", OneStream(stream)).poll(feed))
    try:
        await until(condition)
    finally:
        feed.stopping.set()
        await polling


async def test_a_shard_waits_for_the_one_that_it_came_out_of():
    stream = FakeStream(a=records(3), b=[make_record(number) for number in (10, 11)])
    stream.parents["b"], stream.closed = frozenset("a"), {"a"}
    feed = FakeFeed(mapping(batch_size=1))
    await poll_until(feed, stream, lambda: len(feed.batches) == 5)
    assert numbers(feed.batches) == [[0], [1], [2], [10], [11]]


async def test_after_a_restart_latest_is_what_it_was_at_first():
    feed = FakeFeed(mapping(starting_position="LATEST"))
    stream = FakeStream(s=records(3))
    await poll_until(feed, stream, lambda: "s" in feed.positions.kept and stream.begun)
    again = FakeFeed(feed.mapping)
    again.positions.kept = feed.positions.kept
    assert stream.begun[0][1].latest
    await poll_until(again, stream, lambda: len(stream.begun) == 2)
    assert (stream.begun[1][1].latest, stream.begun[1][1].since) == (
        False,
        stream.begun[0][1].since,
    )


async def test_a_stream_that_is_split_later_is_read_from_the_beginnings_of_its_parts():
    stream = FakeStream(a=records(2))
    feed = FakeFeed(mapping(starting_position="LATEST"))
    polling = asyncio.ensure_future(StreamSource("Fake", OneStream(stream)).poll(feed))
    await until(lambda: bool(stream.begun))
    stream.contents["b"] = [make_record(number) for number in (10, 11)]
    stream.parents["b"] = frozenset("a")
    stream.closed.add("a")
    await until(lambda: bool(feed.batches))
    feed.stopping.set()
    await polling
    assert numbers(feed.batches) == [[10, 11]]


class FromTheOldest(FakeStream):
    """As DynamoDB has it: it begins with the oldest record, and leaves out what came too early."""

    begins_at_times = False


async def test_what_came_before_the_latest_stays_left_out_after_a_restart():
    feed = FakeFeed(mapping(starting_position="LATEST"))
    now = feed.clock.now()
    old = [make_record(number, arrived_at=now - 100) for number in range(4)]
    stream = FromTheOldest(s=[*old, make_record(10, arrived_at=now)])
    stream.page = 2
    feed.positions.kept["s"] = Position(since=now).to_json()
    reader = ShardReader(feed, stream, "s", Position(since=now))
    reading = asyncio.ensure_future(reader.run())
    await until(lambda: (feed.positions.kept["s"]["after"] or "") >= "1")
    feed.stopping.set()
    await reading
    again = FakeFeed(feed.mapping)
    await read(again, stream, Position.from_json(feed.positions.kept["s"]))
    assert [number for batch in feed.batches + again.batches for number in batch] == ["10"]


async def test_a_position_never_goes_back():
    feed = FakeFeed(mapping(batch_size=1, parallelization=2))
    feed.positions.errors = [PlatformError(ErrorCode.UNAVAILABLE, "busy")]
    written = []
    save = feed.positions.save

    async def remember(shard, position):
        await save(shard, position)
        written.append(position)

    feed.positions.save = remember  # type: ignore[method-assign]
    await read(feed, FakeStream(s=records(20, keys="ab")))
    order = [int(each["after"]) for each in written if each["after"] is not None]
    assert order == sorted(order)
    assert written[-1]["done"]


async def test_a_record_that_fits_into_no_event_is_given_up_at_once():
    feed = FakeFeed(mapping())
    large = Record(id="1", json=b"x" * 7_000_000)
    await read(feed, FakeStream(s=[make_record(0), large, make_record(2)]))
    [given_up] = feed.given_up
    assert (given_up.condition, given_up.attempts) == ("MaximumPayloadSizeExceeded", 0)
    assert numbers(feed.batches) == [[0], [2]]


async def test_a_stream_that_was_made_anew_is_read_from_its_beginning():
    feed = FakeFeed(mapping(starting_position="LATEST"))
    feed.positions.kept = {
        "*": Position(after="first").to_json(),
        "s": Position(done=True).to_json(),
    }
    stream = FakeStream(s=records(2))
    stream.identity = "second"
    await poll_until(feed, stream, lambda: len(feed.batches) == 1)
    assert numbers(feed.batches) == [[0, 1]]
    assert feed.positions.kept["*"]["after"] == "second"


async def test_a_stream_that_is_made_anew_ends_the_readers_of_the_old_one():
    feed = FakeFeed(mapping())
    stream = FakeStream(s=records(1), old=())
    polling = asyncio.ensure_future(StreamSource("Fake", OneStream(stream)).poll(feed))
    await until(lambda: len(stream.begun) == 2)
    stream.identity = "second"
    stream.closed.add("old")  # its end has the poller look for shards
    async with asyncio.timeout(10):
        await polling
    assert feed.problems == ["The stream was made anew: it is read from its beginning"]


async def test_a_reader_of_a_shard_that_was_dropped_comes_to_its_end():
    feed, stream = FakeFeed(mapping()), FakeStream(s=records(1))
    reader = ShardReader(feed, stream, "s", Position())
    reading = asyncio.ensure_future(reader.run())
    await until(lambda: len(feed.batches) == 1)
    reader.dropped = True
    stream.errors = [SourceError("no such shard", code="ResourceNotFoundException")]
    async with asyncio.timeout(10):
        assert await reading


async def test_where_memory_is_short_it_fetches_when_nothing_is_left():
    feed, stream = FakeFeed(mapping(batch_size=2)), FakeStream(s=records(6))
    feed.room, stream.page = Room(max_bytes=1), 2
    feed.gate = asyncio.Event()
    reading = asyncio.ensure_future(read(feed, stream))
    await until(lambda: len(feed.pauses) > 50)
    assert numbers(feed.batches) == [[0, 1]]
    feed.gate.set()
    assert await reading
    assert numbers(feed.batches) == [[0, 1], [2, 3], [4, 5]]
    feed.room.take(1)
    feed.room.give(1)
    assert not feed.room.is_full
