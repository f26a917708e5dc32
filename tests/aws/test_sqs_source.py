"""Queues as event sources: real functions, moto's queues, unmodified boto3."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.aws.event_functions import FAIL_ON_POISON, PRINT_EVENT, REPORT_POISON
from tests.aws.moto_server import Moto
from tests.aws.sources import Mappings, eventually


class Queue:
    """One queue of moto's."""

    def __init__(self, client: Any, name: str, attributes: dict[str, str]) -> None:
        self._client = client
        self.url = client.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        self.arn = self.attribute("QueueArn")

    def attribute(self, name: str) -> str:
        answer = self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        value: str = answer["Attributes"][name]
        return value

    def send(self, body: str, **more: Any) -> str:
        """Returns its message id."""
        sent = self._client.send_message(QueueUrl=self.url, MessageBody=body, **more)
        message_id: str = sent["MessageId"]
        return message_id

    def send_all(self, *bodies: str) -> None:
        entries = [{"Id": str(at), "MessageBody": body} for at, body in enumerate(bodies)]
        self._client.send_message_batch(QueueUrl=self.url, Entries=entries)

    def messages(self) -> int:
        """Those that are visible, and those that are not."""
        visible = int(self.attribute("ApproximateNumberOfMessages"))
        return visible + int(self.attribute("ApproximateNumberOfMessagesNotVisible"))


@pytest.fixture
def make_queue(moto: Moto) -> Callable[..., Queue]:
    """Creates queues."""
    client = moto.client("sqs")

    def make(suffix: str = "", **attributes: str) -> Queue:
        return Queue(client, f"q-{uuid.uuid4()}{suffix}", {"VisibilityTimeout": "10"} | attributes)

    return make


def bodies(mappings: Mappings, function: str) -> list[str]:
    """What a function has got, message by message."""
    events = mappings.printed(function)
    return [record["body"] for event in events for record in event["Records"]]


def test_a_message_comes_as_aws_documents_it(make_queue, make_moto_function, mappings):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    mappings.create(EventSourceArn=queue.arn, FunctionName=function)
    kind = {"DataType": "String", "StringValue": "green"}
    leaf = {"DataType": "Binary", "BinaryValue": b"\x00\xff"}
    message_id = queue.send("tea ☕", MessageAttributes={"kind": kind, "leaf": leaf})
    [event] = mappings.printed_events(function, 1)
    [record] = event["Records"]
    attributes = record.pop("attributes")
    assert attributes["ApproximateReceiveCount"] == "1"
    assert {"SentTimestamp", "SenderId", "ApproximateFirstReceiveTimestamp"} <= set(attributes)
    assert record.pop("receiptHandle")
    assert record.pop("md5OfMessageAttributes")
    lists = {"stringListValues": [], "binaryListValues": []}
    assert record == {
        "messageId": message_id,
        "body": "tea ☕",
        "md5OfBody": hashlib.md5("tea ☕".encode(), usedforsecurity=False).hexdigest(),
        "messageAttributes": {
            "kind": {"stringValue": "green", "dataType": "String"} | lists,
            "leaf": {"binaryValue": "AP8=", "dataType": "Binary"} | lists,
        },
        "eventSource": "aws:sqs",
        "eventSourceARN": queue.arn,
        "awsRegion": "us-east-1",
    }


def test_messages_are_deleted_once_the_function_has_succeeded(
    make_queue, make_moto_function, mappings
):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    mapping = mappings.create(EventSourceArn=queue.arn, FunctionName=function)
    queue.send_all(*"abcde")
    eventually(lambda: sorted(bodies(mappings, function)) == list("abcde"))
    eventually(lambda: queue.messages() == 0)
    mappings.await_result(mapping, "OK")


def test_a_batch_that_fails_comes_again(make_queue, make_moto_function, mappings):
    queue = make_queue(VisibilityTimeout="2")
    function = make_moto_function(FAIL_ON_POISON, Timeout=2)
    mapping = mappings.create(EventSourceArn=queue.arn, FunctionName=function)
    queue.send("poison")
    _, second = mappings.printed_events(function, 2)[:2]
    assert int(second["Records"][0]["attributes"]["ApproximateReceiveCount"]) >= 2
    mappings.await_result(mapping, "PROBLEM: Function call failed")


def test_only_reported_messages_come_again(make_queue, make_moto_function, mappings):
    queue = make_queue(VisibilityTimeout="2")
    function = make_moto_function(REPORT_POISON, Timeout=2)
    queue.send_all("a", "poison", "b")
    mappings.create(
        EventSourceArn=queue.arn,
        FunctionName=function,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    eventually(lambda: bodies(mappings, function).count("poison") >= 2)
    assert queue.messages() == 1
    assert sorted(set(bodies(mappings, function))) == ["a", "b", "poison"]
    assert bodies(mappings, function).count("a") == 1


def test_messages_are_gathered_into_batches(make_queue, make_moto_function, mappings):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    for start in (0, 10, 20):
        queue.send_all(*(str(number) for number in range(start, start + 10)))
    mappings.create(
        EventSourceArn=queue.arn,
        FunctionName=function,
        BatchSize=30,
        MaximumBatchingWindowInSeconds=60,
    )
    [event] = mappings.printed_events(function, 1)
    assert {record["body"] for record in event["Records"]} == {str(n) for n in range(30)}


def test_a_window_closes_by_the_platforms_clock(
    make_queue, make_moto_function, mappings, moto_server
):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    mappings.create(
        EventSourceArn=queue.arn,
        FunctionName=function,
        BatchSize=100,
        MaximumBatchingWindowInSeconds=300,
    )
    queue.send_all("a", "b")
    held = "ApproximateNumberOfMessagesNotVisible"
    eventually(lambda: queue.attribute(held) == "2")
    assert mappings.printed(function) == []
    moto_server.advance(301)
    [event] = mappings.printed_events(function, 1)
    assert {record["body"] for record in event["Records"]} == {"a", "b"}


def test_messages_that_are_filtered_out_are_deleted(make_queue, make_moto_function, mappings):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    pattern = json.dumps({"body": {"kind": [{"prefix": "gr"}], "price": [{"numeric": ["<", 9]}]}})
    mappings.create(
        EventSourceArn=queue.arn,
        FunctionName=function,
        FilterCriteria={"Filters": [{"Pattern": pattern}]},
    )
    wanted = json.dumps({"kind": "green", "price": 5})
    deep = "[" * 100_000
    queue.send_all(
        "plain", deep, json.dumps({"kind": "green", "price": 10}), wanted, "\ud7ff", "null", "[]"
    )
    eventually(lambda: queue.messages() == 0)
    assert bodies(mappings, function) == [wanted]


def test_messages_of_a_group_come_in_order(make_queue, make_moto_function, mappings):
    queue = make_queue(".fifo", FifoQueue="true", ContentBasedDeduplication="true")
    function = make_moto_function(PRINT_EVENT)
    for number in range(6):
        for group in "ab":
            queue.send(f"{group}{number:02}", MessageGroupId=group)
    mappings.create(EventSourceArn=queue.arn, FunctionName=function, BatchSize=3)
    eventually(lambda: len(bodies(mappings, function)) == 12)
    for group in "ab":
        got = [body for body in bodies(mappings, function) if body[0] == group]
        assert got == sorted(got)


def test_a_mapping_is_disabled_and_enabled(make_queue, make_moto_function, mappings, moto_lambda):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    mapping = mappings.create(EventSourceArn=queue.arn, FunctionName=function, Enabled=False)
    queue.send("a")
    enabling = moto_lambda.update_event_source_mapping(UUID=mapping, Enabled=True)
    assert enabling["State"] == "Enabling"
    mappings.await_state(mapping, "Enabled")
    eventually(lambda: bodies(mappings, function) == ["a"])
    disabling = moto_lambda.update_event_source_mapping(UUID=mapping, Enabled=False)
    assert disabling["State"] == "Disabling"
    mappings.await_state(mapping, "Disabled")
    queue.send("b")
    assert queue.messages() == 1
    assert int(queue.attribute("ApproximateNumberOfMessages")) == 1


def test_an_update_is_in_force_when_it_has_settled(
    make_queue, make_moto_function, mappings, moto_lambda
):
    queue = make_queue()
    old, new = make_moto_function(PRINT_EVENT), make_moto_function(PRINT_EVENT)
    mapping = mappings.create(EventSourceArn=queue.arn, FunctionName=old)
    updating = moto_lambda.update_event_source_mapping(UUID=mapping, FunctionName=new, BatchSize=1)
    assert updating["State"] == "Updating"
    mappings.await_state(mapping, "Enabled")
    queue.send_all("a", "b")
    eventually(lambda: sorted(bodies(mappings, new)) == ["a", "b"])
    assert bodies(mappings, old) == []
    assert [len(event["Records"]) for event in mappings.printed(new)] == [1, 1]


def test_messages_wait_where_the_function_has_gone(
    make_queue, make_moto_function, mappings, moto_lambda
):
    queue = make_queue()
    function = make_moto_function(PRINT_EVENT)
    mapping = mappings.create(EventSourceArn=queue.arn, FunctionName=function)
    moto_lambda.delete_function(FunctionName=function)
    queue.send("a")
    mappings.await_result(mapping, "PROBLEM: Function not found")
    assert queue.messages() == 1
    assert mappings.get(mapping)["State"] == "Enabled"


def test_a_trace_goes_on_in_the_function(make_queue, make_moto_function, mappings):
    queue = make_queue()
    function = make_moto_function(
        """
        import json, os

        def handler(event, context):
            print("EVENT " + json.dumps(os.environ["_X_AMZN_TRACE_ID"]))
        """
    )
    mappings.create(EventSourceArn=queue.arn, FunctionName=function)
    header = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    trace = {"DataType": "String", "StringValue": header}
    queue.send("a", MessageSystemAttributes={"AWSTraceHeader": trace})
    [seen] = mappings.printed_events(function, 1)
    assert seen.startswith(f"{header};Lineage=")


@pytest.mark.parametrize(
    "answer",
    [
        '"x" * 6_000_000',
        '{"batchItemFailures": "all"}',
        '{"batchItemFailures": [{"itemIdentifier": None}]}',
        '{"batchItemFailures": [{"itemIdentifier": ""}]}',
        '{"batchItemFailures": [{"id": "a"}]}',
        '{"batchItemFailures": [{"itemIdentifier": "of nobody"}] * 100_000}',
    ],
)
def test_an_answer_that_makes_no_sense_fails_the_batch(
    make_queue, make_moto_function, mappings, answer
):
    queue = make_queue()
    function = make_moto_function(f"handler = lambda event, context: {answer}", Timeout=10)
    queue.send_all("a", "b")
    mapping = mappings.create(
        EventSourceArn=queue.arn,
        FunctionName=function,
        FunctionResponseTypes=["ReportBatchItemFailures"],
    )
    mappings.await_result(mapping, "PROBLEM: Function call failed")
    assert queue.messages() == 2
