"""Events on their way to queues, topics, buses and buckets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from msgspec import structs

from samovar.config import Config
from samovar.events.clients import AwsClients
from samovar.events.senders import Senders
from samovar.events.sending import SendError
from samovar.model.event import Event
from tests.aws.answering import answering
from tests.aws.moto_server import ACCOUNT, REGION, Moto
from tests.aws.sources import eventually
from tests.aws.targets import bucket_of, bus_to, queue_of, topic_to

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Lineage=a87bd80c:1"
EVENT = Event(
    id="7f6a2b0e-0000-4000-8000-000000000000",
    queue=f"arn:aws:lambda:{REGION}:000000000000:function:f",
    target="",
    payload=b'{"n": 1}',
    accepted_at=1573755365.568,
    due_at=0,
    trace_id=TRACE,
)
ATTRIBUTES = {"MessageAttributes": '{"RequestID": {"DataType": "String", "StringValue": "r"}}'}


@pytest.fixture
async def send(moto: Moto) -> AsyncIterator[Any]:
    """`await send(target, **changes)` through moto."""
    async with AwsClients(Config(aws_endpoint=moto.endpoint)) as clients:
        sender = Senders(clients)

        async def send_one(target: str, **changes: Any) -> None:
            await sender.send(structs.replace(EVENT, target=target, **changes))

        yield send_one


async def test_a_queue_has_the_payload_its_attributes_and_the_trace(send, moto):
    queue = queue_of(moto)
    await send(queue.arn, attributes=ATTRIBUTES)
    message = queue.message()
    assert message["Body"] == '{"n": 1}'
    assert message["MessageAttributes"]["RequestID"]["StringValue"] == "r"
    assert message["Attributes"]["AWSTraceHeader"] == TRACE


@pytest.mark.parametrize("junk", ["junk", "Root=" + "x" * 490, "\x7f"])
async def test_a_client_s_junk_in_place_of_a_trace_costs_nobody_a_message(send, moto, junk):
    queue = queue_of(moto)
    await send(queue.arn, trace_id=junk)
    await send(bus_to(queue, source=["lambda"]), trace_id=junk)
    messages: list[Any] = []
    eventually(lambda: messages.extend(queue.messages()) or len(messages) == 2)
    assert all("AWSTraceHeader" not in message["Attributes"] for message in messages)


async def test_a_fifo_queue_keeps_an_event_that_is_sent_twice_once(send, moto):
    queue = queue_of(moto, f"q-{uuid4().hex}.fifo", FifoQueue="true")
    await send(queue.arn, attributes={"MessageGroupId": "g"})
    await send(queue.arn, attributes={"MessageGroupId": "g"})
    assert queue.message()["Attributes"]["MessageGroupId"] == "g"


async def test_a_topic_tells_its_subscribers(send, moto):
    queue = queue_of(moto)
    await send(topic_to(queue), attributes=ATTRIBUTES)
    told = queue.told()
    assert told["Message"] == '{"n": 1}'
    assert told["MessageAttributes"]["RequestID"]["Value"] == "r"


async def test_a_bus_has_an_event_of_the_type(send, moto):
    queue = queue_of(moto)
    bus = bus_to(queue, source=["lambda"], detail_type=["Told"])
    resources = json.dumps(["arn:aws:lambda:x", bus])
    await send(bus, attributes={"DetailType": "Told", "Resources": resources})
    told = queue.told()
    assert told["detail"] == {"n": 1}
    assert told["resources"] == json.loads(resources)


async def test_a_bucket_has_an_object_under_the_documented_key(send, moto):
    bucket = bucket_of(moto)
    await send(f"arn:aws:s3:::{bucket}")
    key = f"aws/lambda/async/f/2019/11/14/2019-11-14T18.16.05-{EVENT.id}"
    found = moto.client("s3").get_object(Bucket=bucket, Key=key)
    assert found["Body"].read() == b'{"n": 1}'


@pytest.mark.parametrize(
    "target",
    [
        f"arn:aws:sqs:{REGION}:{ACCOUNT}:not-there",
        f"arn:aws:sqs:{REGION}:{ACCOUNT}:../../admin",
        f"arn:aws:sqs:evil.example/:{ACCOUNT}:q",
        "arn:aws:sqs:-:123456789012:q",
        f"arn:aws:sns:{REGION}:{ACCOUNT}:not-there",
        "arn:aws:s3:::not-there-for-sure",
        "arn:aws:s3:::../../../etc/passwd",
        f"arn:aws:iam:{REGION}:{ACCOUNT}:role/x",
        "arn:aws:sqs:us-east-1:1:q",
        "no arn",
        "",
    ],
)
async def test_what_is_not_there_or_is_no_target_is_not_tried_again(send, target):
    with pytest.raises(SendError) as refused:
        await send(target)
    assert refused.value.lasting


async def test_a_queue_that_was_made_anew_is_found(send, moto):
    queue = queue_of(moto)
    await send(queue.arn)
    moto.client("sqs").delete_queue(QueueUrl=queue.url)
    with pytest.raises(SendError):
        await send(queue.arn)
    again = queue_of(moto, queue.arn.rsplit(":", 1)[1])
    await send(queue.arn)
    assert again.told() == {"n": 1}


async def test_without_an_endpoint_it_is_tried_again_for_there_may_be_one_later():
    async with AwsClients(Config()) as clients:
        target = f"arn:aws:sqs:{REGION}:{ACCOUNT}:q"
        with pytest.raises(SendError, match="SAMOVAR_SQS_ENDPOINT") as refused:
            await Senders(clients).send(structs.replace(EVENT, target=target))
        assert not refused.value.lasting


TARGETS = [
    f"arn:aws:sqs:{REGION}:{ACCOUNT}:q",
    f"arn:aws:sns:{REGION}:{ACCOUNT}:t",
    f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/b",
    "arn:aws:s3:::bucket",
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe{[",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n{"QueueUrl":5',
        b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"Entries":0',
        b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
    ],
    ids=["bytes", "list", "number", "entries", "unavailable", "redirect", "no http"],
)
async def test_an_answer_that_makes_no_sense_is_a_failure_that_passes(target, answer):
    async with answering(answer) as (url, heads), AwsClients(Config(aws_endpoint=url)) as clients:
        with pytest.raises(SendError) as refused:
            await Senders(clients).send(structs.replace(EVENT, target=target))
        assert not refused.value.lasting
        assert len(heads) <= 2


@pytest.mark.parametrize("target", TARGETS)
async def test_an_endpoint_that_never_answers_is_not_waited_for(target):
    async with answering() as (url, _), AwsClients(Config(aws_endpoint=url)) as clients:
        sender, event = Senders(clients, limit_s=0.2), structs.replace(EVENT, target=target)
        with pytest.raises(SendError, match="did not answer") as refused:
            await sender.send(event)
        assert not refused.value.lasting
        ends = await asyncio.gather(*[sender.send(event) for _ in range(9)], return_exceptions=True)
        assert sorted("lately" in str(end) for end in ends) == [False] + [True] * 8
