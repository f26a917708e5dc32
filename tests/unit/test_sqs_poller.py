"""Polling a queue, with a queue and a function that do as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from samovar.events.sources.poller import BatchResult, Ending
from samovar.events.sources.room import Room
from samovar.events.sources.sqs.held import HeldMessages
from samovar.events.sources.sqs.message import read_message
from samovar.events.sources.sqs.pace import Pace
from samovar.events.sources.sqs.source import SqsSource
from samovar.model import lineage
from samovar.model.event_source import SourceKind
from tests.unit.fake_feed import FUNCTION, SUCCEEDED, FakeFeed, failed, not_begun, until
from tests.unit.fake_feed import mapping as make_mapping
from tests.unit.fake_queue import FakeQueue

ARN = "arn:aws:sqs:us-east-1:000000000000:q"


def mapping(**settings):
    return make_mapping(SourceKind.SQS, **{"source_arn": ARN, "batch_size": 10} | settings)


@contextlib.asynccontextmanager
async def polling(feed: FakeFeed, queue: FakeQueue) -> AsyncIterator[None]:
    """Poll for as long as the block runs; a poller that does not stop fails the test."""
    task = asyncio.ensure_future(SqsSource(queue).poll(feed))  # type: ignore[arg-type]
    try:
        yield
    finally:
        feed.stopping.set()
        if feed.gate is not None:
            feed.gate.set()
        async with asyncio.timeout(10):
            await task


def partly(*message_ids: str):
    return lambda _: BatchResult(Ending.PARTLY_FAILED, frozenset(message_ids))


async def test_what_was_delivered_is_deleted():
    queue, feed = FakeQueue("a", "b", "c"), FakeFeed(mapping())
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 3)
    assert feed.batches == [["m1", "m2", "m3"]]
    assert queue.held == {}


async def test_what_failed_is_left_to_appear_again():
    queue, feed = FakeQueue("a", "b"), FakeFeed(mapping(), failed)
    async with polling(feed, queue):
        await until(lambda: len(feed.batches) == 1)
    assert (queue.deleted, len(queue.held)) == ([], 2)


async def test_what_was_reported_is_left_and_the_rest_is_deleted():
    queue, feed = FakeQueue("a", "b", "c"), FakeFeed(mapping(), partly("m2"))
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 2)
    assert queue.deleted == ["m1", "m3"]
    assert list(queue.held) == ["m2/1"]


async def test_a_throttled_batch_is_held_and_tried_again():
    answers = iter([not_begun, not_begun, not_begun, lambda _: SUCCEEDED])
    feed = FakeFeed(mapping(), lambda batch: next(answers)(batch))
    queue = FakeQueue("a")
    async with polling(feed, queue):
        await until(lambda: queue.deleted == ["m1"])
    assert feed.batches == [["m1"]] * 4
    assert [wait for wait in feed.pauses if wait >= 1][:3] == [1.0, 2.0, 4.0]


async def test_a_throttled_batch_goes_back_when_the_poller_stops():
    queue, feed = FakeQueue("a", "b"), FakeFeed(mapping(), not_begun)
    async with polling(feed, queue):
        await until(lambda: len(feed.batches) >= 1)
    assert sorted(message["MessageId"] for message in queue.visible) == ["m1", "m2"]
    assert queue.held == {}


async def test_what_waits_for_its_window_goes_back_when_the_poller_stops():
    queue, feed = FakeQueue("a", "b"), FakeFeed(mapping(batch_size=100, window_s=300))
    feed.pause = lambda _: asyncio.sleep(0, not feed.stopping.is_set())  # time stands still
    async with polling(feed, queue):
        await until(lambda: len(queue.held) == 2)
    assert feed.batches == []
    assert len(queue.visible) == 2


async def test_what_runs_is_finished_when_the_poller_stops():
    queue, feed = FakeQueue("a"), FakeFeed(mapping())
    feed.gate = asyncio.Event()
    async with polling(feed, queue):
        await until(lambda: feed.running == 1)
    assert queue.deleted == ["m1"]


async def test_messages_are_kept_invisible_while_the_function_runs():
    queue, feed = FakeQueue("a", visibility_s=1), FakeFeed(mapping())
    feed.gate = asyncio.Event()
    async with polling(feed, queue):
        await until(lambda: queue.renewed.get("m1", 0) >= 2)
    assert queue.deleted == ["m1"]


async def test_no_more_batches_run_at_once_than_the_mapping_allows():
    queue = FakeQueue(*"abcdefghij")
    feed = FakeFeed(mapping(batch_size=1, max_concurrency=2))
    feed.gate = asyncio.Event()
    async with polling(feed, queue):
        await until(lambda: feed.running == 2)
        feed.gate.set()
        await until(lambda: len(queue.deleted) == 10)
    assert feed.most_running == 2


async def test_batches_with_the_same_group_run_one_after_the_other():
    queue = FakeQueue()
    for body in ("a1", "a2"):
        queue.send(body, group="a")
    queue.send("b1", group="b")
    feed = FakeFeed(mapping(batch_size=1, source_arn=ARN + ".fifo"))
    feed.gate = asyncio.Event()
    async with polling(feed, queue):
        await until(lambda: feed.running == 1 and queue.receives > 1)
        assert feed.batches == [["m1"]]
        feed.gate.set()
        await until(lambda: len(queue.deleted) == 3)
    assert feed.batches == [["m1"], ["m2"], ["m3"]]


async def test_what_is_filtered_out_is_deleted():
    queue = FakeQueue('{"a": 1}', '{"a": 2}', "plain")
    feed = FakeFeed(mapping(filters=('{"body": {"a": [2]}}',)))
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 3)
    assert feed.batches == [["m2"]]


async def test_a_large_batch_is_received_by_several_requests():
    queue = FakeQueue(*(str(number) for number in range(200)))
    feed = FakeFeed(mapping(batch_size=200, window_s=300))
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 200)
    assert [len(batch) for batch in feed.batches] == [200]


async def test_a_queue_that_does_not_answer_is_asked_again_and_the_problem_shown():
    queue, feed = FakeQueue("a"), FakeFeed(mapping())
    queue.errors = [OSError("down"), OSError("down")]
    async with polling(feed, queue):
        await until(lambda: queue.deleted == ["m1"])
    assert feed.problems == ["OSError: down"] * 2
    assert feed.pauses[:2] == [1.0, 2.0]


async def test_a_deletion_that_fails_is_tried_again():
    queue, feed = FakeQueue("a"), FakeFeed(mapping())
    queue.delete_errors = [OSError("down"), OSError("down")]
    async with polling(feed, queue):
        await until(lambda: queue.deleted == ["m1"])
    assert feed.problems == []


async def test_a_deletion_that_fails_for_good_ends_no_other_delivery():
    queue, feed = FakeQueue("a", "b"), FakeFeed(mapping(batch_size=1))
    queue.delete_errors = [OSError("down")] * 3
    async with polling(feed, queue):
        await until(lambda: bool(queue.deleted) and bool(feed.problems))
    assert feed.problems == ["OSError: down"]


async def test_a_service_that_does_not_wait_is_not_asked_all_the_time():
    queue, feed = FakeQueue(waits=False), FakeFeed(mapping())
    async with polling(feed, queue):
        await until(lambda: queue.receives >= 5)
    assert len(feed.pauses) >= 4


@pytest.mark.parametrize(
    "answer",
    [{"Messages": 5}, {"Messages": ["x"]}, {"Messages": [{}]}, {"Messages": {"a": 1}}, [], None],
    ids=str,
)
async def test_a_service_that_makes_no_sense_ends_nothing(answer):
    queue, feed = FakeQueue("a"), FakeFeed(mapping())
    queue.answers = [answer]
    async with polling(feed, queue):
        await until(lambda: queue.deleted == ["m1"])


async def test_what_is_received_twice_is_delivered_once_and_deleted_by_its_newest_receipt():
    queue, feed = FakeQueue("a"), FakeFeed(mapping())
    feed.gate = asyncio.Event()
    async with polling(feed, queue):
        await until(lambda: feed.running == 1)
        [message] = queue.held.values()
        queue.held.clear()
        queue.visible.append(message)  # its visibility time-out has passed, whatever we did
        await until(lambda: bool(queue.held))
    assert feed.batches == [["m1"]]
    assert queue.deleted == ["m1"]


RAW = {"MessageId": "m", "ReceiptHandle": "r", "Body": "b"}


@pytest.mark.parametrize(
    "raw",
    [
        {},
        {**RAW, "Body": None},
        {**RAW, "Body": b"x"},
        {**RAW, "MessageId": 1},
    ],
    ids=str,
)
def test_what_is_no_message_is_left_alone(raw):
    assert read_message(raw, ARN) is None


def test_half_a_character_comes_as_json_can_say_it():
    message = read_message({**RAW, "Body": "tea \ud800"}, ARN)
    assert message is not None
    assert json.loads(message.record.json)["body"] == "tea \ud800"


async def test_one_failed_deletion_keeps_no_other_message():
    queue = FakeQueue(*(str(number) for number in range(30)))
    feed = FakeFeed(mapping(batch_size=30, window_s=300))
    queue.delete_errors = [OSError("down")] * 3
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 20 and bool(feed.problems))
    assert len(queue.held) == 10


@pytest.mark.parametrize("trace", ["a\r\nb: c", "x" * 513, "", "a b"])
def test_what_is_no_trace_header_goes_no_further(trace):
    message = read_message({**RAW, "Attributes": {"AWSTraceHeader": trace}}, ARN)
    assert message is not None
    assert message.trace_id is None


def test_attributes_of_the_wrong_kind_are_left_out():
    raw = {**RAW, "Attributes": {"a": 1, "b": "x"}, "MessageAttributes": {"c": 5, "d": {}}}
    message = read_message(raw, ARN)
    assert message is not None
    assert message.record.seen["attributes"] == {"b": "x"}
    assert list(message.record.seen["messageAttributes"]) == ["d"]


def test_the_pace_grows_while_everything_is_busy_and_halves_when_throttled():
    pace = Pace()
    assert pace.limit == 5
    pace.succeeded(busy=4, now=1.0)
    assert pace.limit == 5
    for quarter in range(4, 12):
        pace.succeeded(busy=pace.limit, now=quarter / 4)
        pace.succeeded(busy=pace.limit, now=quarter / 4 + 0.1)
    assert pace.limit == 13
    pace.throttled()
    assert pace.limit == 6
    for _ in range(10):
        pace.throttled()
    assert pace.limit == 1


def test_the_pace_keeps_to_the_maximum_concurrency():
    pace = Pace(most=2)
    pace.succeeded(busy=2, now=10.0)
    assert pace.limit == 2


async def test_a_batch_that_waits_for_its_group_goes_back_when_the_poller_stops():
    queue = FakeQueue()
    for body in ("a1", "a2"):
        queue.send(body, group="a")
    feed = FakeFeed(mapping(batch_size=1, source_arn=ARN + ".fifo"))
    feed.gate = asyncio.Event()
    async with polling(feed, queue):
        await until(lambda: feed.running == 1 and len(queue.held) == 2)
    assert queue.deleted == ["m1"]
    assert [message["MessageId"] for message in queue.visible] == ["m2"]


async def test_no_message_of_a_group_overtakes_one_that_has_failed():
    queue = FakeQueue(fifo=True)
    for number in range(10):
        queue.send(f"{number}" + "x" * 1_100_000, group="g")
    feed = FakeFeed(mapping(source_arn=ARN + ".fifo"), failed)
    async with polling(feed, queue):
        await until(lambda: bool(feed.batches) and len(queue.visible) == 5)
        receives = queue.receives
        await until(lambda: queue.receives > receives + 1)
    assert feed.batches == [["m1", "m2", "m3", "m4", "m5"]]
    assert len(queue.held) == 5


async def test_a_message_that_says_it_loops_is_stopped_alone():
    queue = FakeQueue("a", "b", "c")
    mark = lineage.enter("Root=1", FUNCTION)[0].partition("Lineage=")[2].partition(":")[0]
    queue.visible[1]["Attributes"]["AWSTraceHeader"] = f"Root=1;Lineage={mark}:15"
    feed = FakeFeed(mapping())
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 3)
    assert sorted(feed.batches) == [["m1"], ["m2"], ["m3"]]


async def test_a_renewal_that_hangs_stops_no_other():
    queue, feed = FakeQueue("a", visibility_s=1), FakeFeed(mapping())
    feed.gate, change, hung = asyncio.Event(), queue.change_message_visibility_batch, []

    async def hang_once(**params: Any) -> Any:
        if not hung:
            hung.append(params)
            await asyncio.Event().wait()
        return await change(**params)

    queue.change_message_visibility_batch = hang_once  # type: ignore[method-assign]
    async with polling(feed, queue):
        await until(lambda: queue.renewed.get("m1", 0) >= 1)
    assert len(hung) == 1
    assert queue.deleted == ["m1"]


async def test_where_memory_is_short_one_batch_runs_at_a_time():
    queue, feed = FakeQueue(*"abcd"), FakeFeed(mapping(batch_size=1))
    feed.room = Room(max_bytes=1)
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 4)
    assert feed.most_running == 1
    assert not feed.room.is_full


def looping(message: dict[str, Any]) -> None:
    """Have a message say that it has been through the function too often."""
    mark = lineage.enter("Root=1", FUNCTION)[0].partition("Lineage=")[2].partition(":")[0]
    message["Attributes"]["AWSTraceHeader"] = f"Root=1;Lineage={mark}:15"


async def test_what_comes_behind_a_looping_message_does_not_overtake_its_group():
    queue = FakeQueue(fifo=True)
    queue.send("a", "b", "c", group="A")
    looping(queue.visible[1])
    feed = FakeFeed(mapping(), failed)
    async with polling(feed, queue):
        await until(lambda: len(queue.visible) == 2)
    assert feed.batches == [["m1"]]


async def test_messages_that_say_they_loop_do_not_pass_the_maximum_concurrency():
    queue = FakeQueue(*"abcdef")
    for message in queue.visible[::2]:
        looping(message)
    feed = FakeFeed(mapping(max_concurrency=2))
    async with polling(feed, queue):
        await until(lambda: len(queue.deleted) == 6)
    assert feed.most_running == 2


async def test_a_message_is_held_from_when_it_was_asked_for():
    queue = FakeQueue("a", visibility_s=3)
    held = HeldMessages(queue, "http://queue", 3, Room())
    await held.receive("arn:aws:sqs:us-east-1:000000000000:q", 1, wait_s=20)
    (message,) = held._held.values()
    assert message.renew_at <= time.monotonic() + 1
