"""Records of Kafka as functions get them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from samovar.events.sources.answer import failed_ids
from samovar.events.sources.kafka.record import batch_details, envelope_of, offset_of, stub_of
from samovar.events.sources.kafka.record import record_of as record_within
from samovar.events.sources.record import Record

SERVERS = ("one:9092", "two:9092")


@dataclass
class Message:
    topic: str = "tea"
    partition: int = 0
    offset: int = 15
    timestamp: int = 1545084650987
    timestamp_type: int = 0
    key: bytes | None = b"green"
    value: bytes | None = b"Hello, this is a test."
    headers: list[tuple[str, bytes | None]] = field(default_factory=list)


def record_of(message: Message, max_bytes: int = 6_000_000) -> Record:
    record = record_within(message, max_bytes)
    assert record is not None
    return record


@pytest.mark.parametrize(
    "message",
    [
        Message(value=b"x" * 1000),
        Message(key=b"x" * 1000),
        Message(headers=[("h", b"\xff" * 300)]),
        Message(headers=[("h" * 1000, b"")]),
    ],
)
def test_a_record_that_is_too_large_is_none_but_where_it_is_can_be_told(message):
    assert record_within(message, 1000) is None
    assert stub_of(message).id == record_of(message).id
    assert len(stub_of(message).json) < 200


def test_a_record_has_the_documented_form():
    message = Message(headers=[("headerKey", b"headerValue")])
    event = json.loads(envelope_of(SERVERS)([record_of(message)]))
    assert event == {
        "eventSource": "SelfManagedKafka",
        "bootstrapServers": "one:9092,two:9092",
        "records": {
            "tea-0": [
                {
                    "topic": "tea",
                    "partition": 0,
                    "offset": 15,
                    "timestamp": 1545084650987,
                    "timestampType": "CREATE_TIME",
                    "key": "Z3JlZW4=",
                    "value": "SGVsbG8sIHRoaXMgaXMgYSB0ZXN0Lg==",
                    "headers": [
                        {"headerKey": [104, 101, 97, 100, 101, 114, 86, 97, 108, 117, 101]}
                    ],
                }
            ]
        },
    }


@pytest.mark.parametrize(
    ("message", "part"),
    [
        (Message(timestamp_type=1), {"timestampType": "LOG_APPEND_TIME"}),
        (Message(headers=[("h", b"\xff\x80\x7f")]), {"headers": [{"h": [-1, -128, 127]}]}),
        (Message(headers=[("h", None)]), {"headers": [{"h": []}]}),
        (Message(headers=[("h", b"1"), ("h", b"2")]), {"headers": [{"h": [49]}, {"h": [50]}]}),
        (Message(key=b""), {"key": ""}),
        (Message(value=b"\x00\xff"), {"value": "AP8="}),
    ],
)
def test_what_is_less_usual(message, part):
    shown = json.loads(record_of(message).json)
    assert part.items() <= shown.items()


@pytest.mark.parametrize("name", ["key", "value"])
def test_what_a_record_does_not_have_is_left_out(name):
    assert name not in json.loads(record_of(Message(**{name: None})).json)


def test_records_are_told_apart_by_topic_and_partition():
    records = [record_of(Message(partition=p, offset=o)) for p, o in ((0, 1), (1, 1), (0, 2))]
    event = json.loads(envelope_of(SERVERS)(records))
    offsets = {name: [each["offset"] for each in those] for name, those in event["records"].items()}
    assert offsets == {"tea-0": [1, 2], "tea-1": [1]}
    assert [offset_of(record) for record in records] == [1, 1, 2]


def test_a_function_names_failures_by_partition_and_offset():
    ids = [record_of(Message(offset=offset)).id for offset in (1, 2)]
    answer = {"batchItemFailures": [{"itemIdentifier": {"partition": "tea-0", "offset": 2}}]}
    assert failed_ids(json.dumps(answer).encode(), ids) == {ids[1]}


def test_a_destination_is_told_where_records_are():
    records = [record_of(Message(offset=o, timestamp=o * 1000)) for o in (3, 4, 5)]
    envelope = envelope_of(SERVERS)
    assert batch_details(records, SERVERS, envelope) == {
        "batchSize": 3,
        "bootstrapServers": "one:9092,two:9092",
        "payloadSize": len(envelope(records)),
        "recordsInfo": {
            "tea-0": {
                "firstRecordOffset": "3",
                "lastRecordOffset": "5",
                "firstRecordTimestamp": "1970-01-01T00:00:03.000Z",
                "lastRecordTimestamp": "1970-01-01T00:00:05.000Z",
            }
        },
    }
