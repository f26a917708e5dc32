"""Event sources outlive their server: what it had not finished, the next one does."""

from __future__ import annotations

import contextlib
import functools
import json
import sqlite3
import time
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.aws.event_functions import PRINT_EVENT
from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.moto_server import Moto
from tests.aws.sources import Mappings, eventually
from tests.server import Server


class Life:
    """A server that is ended and started again on the same data."""

    def __init__(self, data_dir: Path, moto: Moto) -> None:
        self.data_dir = data_dir
        self._moto = moto
        self.start()

    def start(self) -> None:
        env = {"SAMOVAR_AWS_ENDPOINT": self._moto.endpoint}
        self.server = Server(self.data_dir, "--no-examples", env=env).start()

    def restart(self) -> None:
        """After a power cut."""
        self.server.kill()
        self.start()


@pytest.fixture
def life(needs_wiring, tmp_path, moto):
    lived = Life(tmp_path / "data", moto)
    yield lived
    if not lived.server.stopped:
        assert lived.server.stop() == 0


def seen(life: Life, function: str, key: str) -> list[str]:
    """What a function has got over all lives of the server."""
    mappings = Mappings(None, life.server)
    records = [each for event in mappings.printed(function) for each in event["Records"]]
    return [_value(each, key) for each in records]


def _value(record: dict[str, Any], key: str) -> str:
    for name in key.split("."):
        record = record[name]
    return str(record)


class ToldQueue:
    """An on-failure destination, and what it was told of."""

    def __init__(self, moto: Moto) -> None:
        self._client = moto.client("sqs")
        self._url = self._client.create_queue(QueueName=f"told-{uuid.uuid4()}")["QueueUrl"]
        answer = self._client.get_queue_attributes(QueueUrl=self._url, AttributeNames=["QueueArn"])
        self.arn: str = answer["Attributes"]["QueueArn"]
        self.numbers: list[str] = []

    def has(self, count: int) -> bool:
        """Whether it was told of so many records."""
        answer = self._client.receive_message(QueueUrl=self._url, MaxNumberOfMessages=10)
        for message in answer.get("Messages", ()):
            self.numbers.append(
                json.loads(message["Body"])["KinesisBatchInfo"]["endSequenceNumber"]
            )
        return len(set(self.numbers)) >= count


def deploy(life: Life, source: str = PRINT_EVENT, **mapping: Any) -> tuple[str, str]:
    """A function with a mapping that is enabled; their name and UUID."""
    with clients_of(life.server.endpoint) as make:
        client = make()
        function = FunctionFactory(client, "restarts", life.server.newest_runtime())(source)
        made = Mappings(client, life.server).create(FunctionName=function, **mapping)
    return function, made


def make_stream(moto: Moto) -> tuple[str, str]:
    client, name = moto.client("kinesis"), f"s-{uuid.uuid4()}"
    client.create_stream(StreamName=name, ShardCount=1)
    summary = client.describe_stream_summary(StreamName=name)["StreamDescriptionSummary"]
    return name, summary["StreamARN"]


def test_every_record_that_is_given_up_is_told_of_through_kills(life, moto):
    name, arn = make_stream(moto)
    kinesis, told = moto.client("kinesis"), ToldQueue(moto)
    put = [
        kinesis.put_record(StreamName=name, Data=b"x", PartitionKey=str(key))["SequenceNumber"]
        for key in range(40)
    ]
    deploy(
        life,
        "def handler(event, context): raise ValueError",
        EventSourceArn=arn,
        StartingPosition="TRIM_HORIZON",
        BatchSize=1,
        MaximumRetryAttempts=0,
        DestinationConfig={"OnFailure": {"Destination": told.arn}},
    )
    for reached in (3, 12, 21):
        eventually(functools.partial(told.has, reached))
        life.restart()
    eventually(lambda: told.has(len(put)))
    assert set(told.numbers) == set(put)


def has_begun(life: Life, mapping: str) -> bool:
    """Whether a mapping's poller has found the shards of its stream, and kept that."""
    with contextlib.closing(sqlite3.connect(life.data_dir / "samovar.db")) as database:
        query = "SELECT count(*) FROM event_source_positions WHERE uuid = ? AND shard LIKE 'shard%'"
        return bool(database.execute(query, [mapping]).fetchone()[0])


def test_what_comes_while_the_server_is_down_is_not_missed_by_latest(life, moto):
    name, arn = make_stream(moto)
    client = moto.client("kinesis")
    client.put_record(StreamName=name, Data=b"x", PartitionKey="old")
    put_at = time.time()
    eventually(lambda: time.time() > put_at + 1)  # a stream's times are whole seconds
    function, mapping = deploy(life, EventSourceArn=arn, StartingPosition="LATEST")
    eventually(lambda: has_begun(life, mapping))
    life.server.kill()
    client.put_record(StreamName=name, Data=b"x", PartitionKey="new")
    life.start()
    eventually(lambda: seen(life, function, "kinesis.partitionKey") == ["new"])


def test_a_server_that_stops_gives_back_what_it_has_not_begun(life, moto):
    client = moto.client("sqs")
    attributes = {"VisibilityTimeout": "3600"}
    url = client.create_queue(QueueName=f"q-{uuid.uuid4()}", Attributes=attributes)["QueueUrl"]
    answer = client.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    function, mapping = deploy(life, EventSourceArn=answer["Attributes"]["QueueArn"])
    with clients_of(life.server.endpoint) as make:
        lambda_client = make()
        lambda_client.put_function_concurrency(
            FunctionName=function, ReservedConcurrentExecutions=0
        )
        client.send_message(QueueUrl=url, MessageBody="a")
        Mappings(lambda_client, life.server).await_result(mapping, "PROBLEM: Rate Exceeded")
        assert life.server.stop() == 0
    [message] = client.receive_message(QueueUrl=url)["Messages"]
    assert message["Body"] == "a"
