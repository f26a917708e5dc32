"""A server whose clock tests advance, schedules on it, and functions that tell what they got."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import urllib.request
import uuid

import pytest
from botocore.exceptions import ClientError

from tests.aws.functions import FunctionFactory, clients_of
from tests.server import running

__all__ = ["client_to", "create", "function", "name", "own_server", "scheduler"]

ROLE = "arn:aws:iam::000000000000:role/scheduler"
OFF = {"Mode": "OFF"}
HOUR_S = 3600

TELLS = """
    import json
    def handler(event, context):
        print("told", json.dumps(event))
"""


@pytest.fixture(scope="module")
def own_server(needs_wiring, moto, tmp_path_factory):
    """A server whose clock these tests advance."""
    data_dir = tmp_path_factory.mktemp("scheduler") / "data"
    flags = ("--no-examples", "--test-controls")
    with running(data_dir, *flags, SAMOVAR_AWS_ENDPOINT=moto.endpoint) as started:
        yield started


@pytest.fixture(scope="module")
def client_to(own_server):
    with clients_of(own_server.endpoint) as make:
        yield make


@pytest.fixture(scope="module")
def scheduler(client_to):
    return client_to(service="scheduler")


@pytest.fixture
def function(client_to, own_server):
    """A function that prints its events: its name, and its ARN."""
    factory = FunctionFactory(client_to(), f"f-{uuid.uuid4().hex[:8]}", own_server.newest_runtime())
    name = factory(TELLS)
    yield name
    factory.close()


def arn_of(function):
    return f"arn:aws:lambda:us-east-1:000000000000:function:{function}"


@pytest.fixture
def name():
    return f"s-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def create(scheduler, name):
    """Creates a schedule; deleted at the end, if it still is there."""

    def make(expression="rate(1 hour)", target=None, **more):
        given = {"Arn": arn_of("nothing"), "RoleArn": ROLE} | (target or {})
        request = {"FlexibleTimeWindow": OFF, "ScheduleExpression": expression} | more
        return scheduler.create_schedule(Name=name, Target=given, **request)

    yield make
    with contextlib.suppress(scheduler.exceptions.ResourceNotFoundException):
        scheduler.delete_schedule(Name=name)


def now_of(server):
    return dt.datetime.fromisoformat(server.ask("test/clock")["now"])


def refusal(call, *args, **kwargs):
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    error = caught.value.response
    return error["ResponseMetadata"]["HTTPStatusCode"], error["Error"]["Code"], str(caught.value)


def told_to(server, function, count):
    """What a function has been told, when it has been told so often."""
    server.await_log(function, "told")
    while True:  # bounded by the test's time-out
        url = f"{server.endpoint}/_samovar/logs/{function}?tail_bytes=1000000"
        with urllib.request.urlopen(url, timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        told = [line.partition("told ")[2] for line in lines if "told " in line]
        if len(told) >= count:
            return [json.loads(text) for text in told]
