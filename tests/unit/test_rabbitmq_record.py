"""Messages of RabbitMQ as functions get them."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal

import pytest
from pamqp.commands import Basic

from samovar.events.sources.rabbitmq.record import Delivery, envelope_of
from samovar.events.sources.rabbitmq.record import record_of as record_within
from samovar.events.sources.record import Record

ARN = "arn:aws:mq:us-west-2:112556298976:broker:test:b-9bcfa592-423a-4942-879d-eb284b418fc8"
NOTHING = dict.fromkeys(
    (
        "contentType",
        "contentEncoding",
        "headers",
        "deliveryMode",
        "priority",
        "correlationId",
        "replyTo",
        "expiration",
        "messageId",
        "timestamp",
        "type",
        "userId",
        "appId",
        "clusterId",
    )
)


def record_of(queue: str, virtual_host: str, delivery: Delivery) -> Record:
    record = record_within(queue, virtual_host, delivery, 6_000_000)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("body", "headers"), [(b"x" * 1000, {}), (b"", {"h": "x" * 1000}), (b"x" * 700, None)]
)
def test_a_message_that_is_too_large_is_no_record(body, headers):
    delivery = Delivery(1, False, Basic.Properties(headers=headers), body)
    assert record_within("q", "/", delivery, 1000) is None


def shown(**properties):
    """The record of an empty message."""
    delivery = Delivery(1, False, Basic.Properties(**properties), b"")
    return json.loads(record_of("q", "/", delivery).json)


def test_a_message_has_the_documented_form():
    properties = Basic.Properties(
        content_type="text/plain",
        headers={"header1": "value1", "header2": "value2", "numberInHeader": 10},
        delivery_mode=1,
        priority=34,
        expiration="60000",
        timestamp=dt.datetime(1970, 1, 1, 0, 33, 41, tzinfo=dt.UTC),
        user_id="AIDACKCEVSQ6C2EXAMPLE",
    )
    body = b'{"timeout":0,"data":"CZrmf0Gw8Ov4bqLQxD4E"}'
    record = record_of("pizzaQueue", "/", Delivery(7, False, properties, body))
    assert record.id == "7"
    assert json.loads(envelope_of(ARN)([record])) == {
        "eventSource": "aws:rmq",
        "eventSourceArn": ARN,
        "rmqMessagesByQueue": {
            "pizzaQueue::/": [
                {
                    "basicProperties": {
                        "contentType": "text/plain",
                        "contentEncoding": None,
                        "headers": {
                            "header1": {"bytes": [118, 97, 108, 117, 101, 49]},
                            "header2": {"bytes": [118, 97, 108, 117, 101, 50]},
                            "numberInHeader": 10,
                        },
                        "deliveryMode": 1,
                        "priority": 34,
                        "correlationId": None,
                        "replyTo": None,
                        "expiration": "60000",
                        "messageId": None,
                        "timestamp": "Jan 1, 1970, 12:33:41 AM",
                        "type": None,
                        "userId": "AIDACKCEVSQ6C2EXAMPLE",
                        "appId": None,
                        "clusterId": None,
                        "bodySize": len(body),
                    },
                    "redelivered": False,
                    "data": "eyJ0aW1lb3V0IjowLCJkYXRhIjoiQ1pybWYwR3c4T3Y0YnFMUXhENEUifQ==",
                }
            ]
        },
    }


def test_every_property_is_there():
    assert shown()["basicProperties"] == NOTHING | {"bodySize": 0}


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ((2026, 11, 3, 12, 0, 0), "Nov 3, 2026, 12:00:00 PM"),
        ((2026, 2, 28, 23, 59, 9), "Feb 28, 2026, 11:59:09 PM"),
        ((2026, 12, 31, 1, 2, 3), "Dec 31, 2026, 1:02:03 AM"),
    ],
)
def test_times_are_written_as_java_writes_them(moment, text):
    at = dt.datetime(*moment, tzinfo=dt.UTC)
    assert shown(timestamp=at)["basicProperties"]["timestamp"] == text


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("é", {"bytes": [-61, -87]}),
        (b"\xff", {"bytes": [-1]}),
        (bytearray(b"\xff"), [-1]),
        (True, True),
        (None, None),
        (-5, -5),
        (1.5, 1.5),
        (float("inf"), "inf"),
        (Decimal("1.25"), 1.25),
        (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), "Jan 1, 1970, 12:00:00 AM"),
        ({"inner": "a"}, {"inner": {"bytes": [97]}}),
        ([1, "a"], [1, {"bytes": [97]}]),
    ],
)
def test_headers_of_all_types(content, form):
    assert shown(headers={"h": content})["basicProperties"]["headers"] == {"h": form}


def test_headers_without_a_bottom_are_cut_off():
    deep: dict[str, object] = {}
    for _ in range(5000):
        deep = {"h": deep}
    assert shown(headers=deep)["basicProperties"]["headers"]["h"]
