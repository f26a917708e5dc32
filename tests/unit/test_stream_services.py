"""What Kinesis- and DynamoDB-compatible services answer, understood or refused."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

import pytest

from samovar.clock import Clock
from samovar.events.sources.poller import SourceError
from samovar.events.sources.streams.dynamodb import TableStream
from samovar.events.sources.streams.kinesis import KinesisStream
from samovar.events.sources.streams.stream import Position
from tests.unit.fake_feed import mapping

ARRIVED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
TABLE_ARN = "arn:aws:dynamodb:us-east-1:000000000000:table/t/stream/2026-01-01T00:00:00.000"
CHANGE = {"SequenceNumber": "1", "Keys": {"id": {"S": "a"}}}


class Service:
    """Answers every operation with the same."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.asked: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        async def call(**params: Any) -> Any:
            self.asked.append(params)
            return self._answer

        return call


def kinesis(answer: Any) -> KinesisStream:
    return KinesisStream(Service(answer), mapping(), "role", Clock())


def table(answer: Any) -> TableStream:
    return TableStream(Service(answer), mapping(source_arn=TABLE_ARN), Clock())


KINESIS_RECORD = {
    "SequenceNumber": "1",
    "PartitionKey": "k",
    "Data": b"x",
    "ApproximateArrivalTimestamp": ARRIVED,
}

NONSENSE = [
    {"Records": 5},
    {"Records": "x"},
    {"Records": [None]},
    {"Records": [{}]},
    {"Records": [{**KINESIS_RECORD, "Data": None, "dynamodb": None}]},
    {"Records": [{**KINESIS_RECORD, "SequenceNumber": 1, "dynamodb": {"SequenceNumber": 1}}]},
    {
        "Records": [
            {**KINESIS_RECORD, "PartitionKey": "\ud800", "dynamodb": {**CHANGE, "x": "\ud800"}}
        ]
    },
    {"Records": [{**KINESIS_RECORD, "PartitionKey": {}, "dynamodb": []}]},
]


@pytest.mark.parametrize("answer", NONSENSE, ids=lambda answer: str(answer)[:60])
@pytest.mark.parametrize("stream", [kinesis, table])
async def test_what_is_no_record_is_a_problem_of_the_source(stream, answer):
    with pytest.raises(SourceError, match="no record"):
        await stream(answer).fetch("s", "i", 10)


@pytest.mark.parametrize("answer", [None, [], {}, {"Records": None}, {"Records": []}], ids=str)
@pytest.mark.parametrize("stream", [kinesis, table])
async def test_an_answer_without_records_has_none(stream, answer):
    assert (await stream(answer).fetch("s", "i", 10)).records == []


async def test_an_item_that_is_nested_too_deeply_is_a_problem_of_the_source():
    value: Any = {"S": "a"}
    for _ in range(40):
        value = {"L": [value]}
    answer = {"Records": [{"dynamodb": {**CHANGE, "NewImage": {"x": value}}}]}
    with pytest.raises(SourceError, match="no record"):
        await table(answer).fetch("s", "i", 10)


async def test_a_change_is_shown_as_json_has_it():
    image = {"b": {"B": b"\x00\xff"}, "s": {"BS": [b"\x01"]}, "m": {"M": {"l": {"L": []}}}}
    answer = {
        "Records": [
            {
                "eventName": "REMOVE",
                "userIdentity": {"PrincipalId": "dynamodb.amazonaws.com", "Type": "Service"},
                "dynamodb": {**CHANGE, "OldImage": image, "ApproximateCreationDateTime": ARRIVED},
            }
        ]
    }
    [record] = (await table(answer).fetch("s", "i", 10)).records
    event = json.loads(record.json)
    assert event["dynamodb"]["OldImage"] == {
        "b": {"B": "AP8="},
        "s": {"BS": ["AQ=="]},
        "m": {"M": {"l": {"L": []}}},
    }
    assert event["dynamodb"]["ApproximateCreationDateTime"] == ARRIVED.timestamp()
    assert event["userIdentity"] == {"principalId": "dynamodb.amazonaws.com", "type": "Service"}


SHARDS = [{"ShardId": 5}, {}, {"ShardId": "a", "SequenceNumberRange": 5}]


@pytest.mark.parametrize("shard", SHARDS, ids=str)
async def test_what_is_no_shard_is_a_problem_of_the_source(shard):
    with pytest.raises(SourceError, match="no shard"):
        await kinesis({"Shards": [shard]}).shards()
    with pytest.raises(SourceError, match="no shard"):
        await table({"StreamDescription": {"Shards": [shard]}}).shards()


async def test_a_service_that_lists_shards_for_ever_is_left():
    shard = {"ShardId": "a"}
    with pytest.raises(SourceError, match="more than"):
        await kinesis({"Shards": [shard], "NextToken": "again"}).shards()
    page = {"Shards": [shard], "LastEvaluatedShardId": "a"}
    with pytest.raises(SourceError, match="more than"):
        await table({"StreamDescription": page}).shards()
    with pytest.raises(SourceError, match="more than"):
        await kinesis({"Shards": [], "NextToken": "again"}).shards()


BEGINNINGS = [
    (Position(), {"ShardIteratorType": "TRIM_HORIZON"}),
    (Position(since=5.0, latest=True), {"ShardIteratorType": "LATEST"}),
]


@pytest.mark.parametrize(("position", "asked"), BEGINNINGS, ids=str)
@pytest.mark.parametrize("stream", [kinesis, table])
async def test_reading_begins_where_the_position_says(stream, position, asked):
    opened = stream({"ShardIterator": "i"})
    assert await opened.iterator("s", position) == "i"
    [params] = opened._client.asked
    assert asked.items() <= params.items()


async def test_reading_goes_on_behind_a_record_or_at_a_time():
    opened = kinesis({"ShardIterator": "i"})
    await opened.iterator("s", Position(after="7", since=5.0))
    await opened.iterator("s", Position(since=5.0))
    behind, at = opened._client.asked
    assert (behind["ShardIteratorType"], behind["StartingSequenceNumber"]) == (
        "AFTER_SEQUENCE_NUMBER",
        "7",
    )
    assert at["Timestamp"] == dt.datetime.fromtimestamp(5.0, dt.UTC)
    opened = table({"ShardIterator": "i"})
    await opened.iterator("s", Position(since=5.0))
    assert opened._client.asked[0]["ShardIteratorType"] == "TRIM_HORIZON"
