"""A day of everything at once: a schedule, functions, destinations, a queue and its mapping, while
instances crash, functions are throttled, and the server is restarted."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.aws.functions import FunctionFactory, clients_of
from tests.aws.moto_server import ACCOUNT, REGION, Moto
from tests.aws.sources import Mappings, eventually
from tests.server import Server

HOURS = 24
RESTARTED_AT = (8, 16)
POISONED_EVERY = 6
HOUR_S, ROUND_S = 3600, 600
SEED = 20261123

BREW = f"""
def handler(event, context):
    if int(event["tick"][11:13]) % {POISONED_EVERY} == 0:
        raise ValueError("over-brewed at " + event["tick"])
    return event["tick"]
"""
TASTE = """
def handler(record, context):
    assert record["requestContext"]["condition"] == "Success", record
    return record["responsePayload"]
"""
SERVE = """
import json

def handler(event, context):
    for record in event["Records"]:
        print("EVENT", json.dumps(json.loads(record["body"])))
"""


class Tearoom:
    """A server that is stopped and started again; its clock goes on."""

    def __init__(self, data_dir: Path, moto: Moto) -> None:
        self._data_dir = data_dir
        self._endpoint = moto.endpoint
        self._ahead_s = 0.0
        self.server = self._started()

    def restart(self) -> None:
        assert self.server.stop() == 0
        self.server = self._started()
        self.server.advance(self._ahead_s)

    def advance(self, seconds: float) -> None:
        self.server.advance(seconds)
        self._ahead_s += seconds

    def _started(self) -> Server:
        flags = ("--no-examples", "--test-controls")
        env = {"SAMOVAR_AWS_ENDPOINT": self._endpoint}
        return Server(self._data_dir, *flags, env=env).start()


@pytest.fixture
def tearoom(needs_wiring: None, moto: Moto, tmp_path: Path) -> Iterator[Tearoom]:
    made = Tearoom(tmp_path / "data", moto)
    yield made
    assert made.server.stop() == 0


def new_queue(moto: Moto, name: str) -> tuple[str, str]:
    """Its URL and ARN."""
    url = moto.client("sqs").create_queue(QueueName=name)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def messages_in(moto: Moto, url: str) -> list[Any]:
    """All that a queue has, as JSON."""
    sqs, found = moto.client("sqs"), []
    while answer := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        for message in answer:
            found.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return found


def arn_of(function: str) -> str:
    return f"arn:aws:lambda:{REGION}:000000000000:function:{function}"


def open_tearoom(tearoom: Tearoom, own: str, served_arn: str, spilled_arn: str) -> list[str]:
    """Each hour: brew, then taste, then into the queue, from where it is served. What fails is
    spilled. Returns the names of the functions."""
    with clients_of(tearoom.server.endpoint) as make:
        client, scheduler = make(), make(service="scheduler")
        functions = FunctionFactory(client, f"tea-{own}", tearoom.server.newest_runtime())
        brew, taste, serve = functions(BREW), functions(TASTE), functions(SERVE)
        for function, next_arn in ((brew, arn_of(taste)), (taste, served_arn)):
            to = {"OnSuccess": next_arn, "OnFailure": spilled_arn}
            client.put_function_event_invoke_config(
                FunctionName=function,
                DestinationConfig={when: {"Destination": arn} for when, arn in to.items()},
            )
        client.create_event_source_mapping(EventSourceArn=served_arn, FunctionName=serve)
        scheduler.create_schedule(
            Name=f"hourly-{own}",
            ScheduleExpression="rate(1 hour)",
            FlexibleTimeWindow={"Mode": "OFF"},
            Target={
                "Arn": arn_of(brew),
                "RoleArn": "arn:aws:iam::000000000000:role/scheduler",
                "Input": '{"tick": "<aws.scheduler.scheduled-time>"}',
            },
        )
    return [brew, taste, serve]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_hour_of_a_day_ends_where_its_owner_said(tearoom: Tearoom, moto: Moto):
    own = uuid.uuid4().hex[:8]
    _, served_arn = new_queue(moto, f"served-{own}")
    spilled_url, spilled_arn = new_queue(moto, f"spilled-{own}")
    brew, taste, serve = open_tearoom(tearoom, own, served_arn, spilled_arn)
    dice = random.Random(SEED)
    for hour in range(HOURS):
        if hour in RESTARTED_AT:
            tearoom.restart()
        tearoom.server.fault(dice.choice((brew, taste)), dice.choice(("crash", "throttle")))
        tearoom.advance(HOUR_S)
    for _ in range(10):  # what is still being retried
        tearoom.advance(ROUND_S)

    spilled = {record["requestPayload"]["tick"] for record in messages_in(moto, spilled_url)}
    with clients_of(tearoom.server.endpoint) as make:
        mappings = Mappings(make(), tearoom.server)

        def all_ticks() -> set[str]:
            return spilled | {record["responsePayload"] for record in mappings.printed(serve)}

        eventually(lambda: len(all_ticks()) > HOURS)
        assert steps(all_ticks()) == {dt.timedelta(hours=1)}
        assert spilled == {tick for tick in all_ticks() if is_poisoned(tick)}
        assert tearoom.server.ask("queues")["queues"] == []


def steps(ticks: set[str]) -> set[dt.timedelta]:
    """The times between them."""
    times = sorted(dt.datetime.fromisoformat(tick) for tick in ticks)
    return {later - earlier for earlier, later in itertools.pairwise(times)}


def is_poisoned(tick: str) -> bool:
    return int(tick[11:13]) % POISONED_EVERY == 0
