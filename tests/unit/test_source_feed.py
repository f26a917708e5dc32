"""A batch's way to its function: what is invoked, what is shown, what a destination is told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from samovar.clock import Clock
from samovar.events.sources.feed import MappingFeed
from samovar.events.sources.poller import Ending, GivenUp
from samovar.events.sources.record import Record, records_envelope
from samovar.events.sources.room import Room
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import Event, EventSource
from samovar.model.invocation import Invocation, Outcome, StartReport
from samovar.ports import Invoked
from tests.contract.samples import a_version
from tests.unit.fake_feed import mapping
from tests.unit.fake_feed import record as make_record

FUNCTION_VERSION = a_version()
BATCH_OF_TWO = (make_record(0), make_record(1))


class ScriptedInvoker:
    """Answers as it is told, and keeps what it was asked."""

    def __init__(self, answer: Outcome | PlatformError) -> None:
        self._answer = answer
        self.invocations: list[Invocation] = []

    async def resolve(self, *_: object) -> Any:
        return FUNCTION_VERSION

    async def invoke(self, version: Any, invocation: Invocation) -> Invoked:
        self.invocations.append(invocation)
        if isinstance(self._answer, PlatformError):
            raise self._answer
        return Invoked(self._answer, version, StartReport(cause=None))


class Accepted:
    """An event queue."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def accept(self, *events: Event) -> None:
        self.events += events


class Fed:
    """A feed, and all around it."""

    def __init__(self, answer: Outcome | PlatformError = Outcome(b"null"), **settings: Any) -> None:  # noqa: B008 - frozen
        self.invoker, self.queue = ScriptedInvoker(answer), Accepted()
        self.shown: list[str] = []
        self.feed = MappingFeed(
            mapping(**settings),
            self.invoker,  # type: ignore[arg-type]
            self.queue,
            None,  # type: ignore[arg-type]
            Clock(wall=lambda: 1_573_691_886.021),
            lambda _, text: self.shown.append(text),
            Room(),
        )

    async def deliver(self):
        return await self.feed.deliver(BATCH_OF_TWO, records_envelope, "Root=1")


IDS = frozenset({"0", "1"})
REPORT = Outcome(b'{"batchItemFailures": [{"itemIdentifier": "1"}]}')
LOOP = PlatformError(ErrorCode.RECURSIVE_INVOCATION, "it goes round and round")
THROTTLE = PlatformError(ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded.")

DELIVERIES = [
    (Outcome(b"null"), {}, Ending.SUCCEEDED, set(), "OK"),
    (REPORT, {}, Ending.SUCCEEDED, set(), "OK"),
    (REPORT, {"partial_failures": True}, Ending.PARTLY_FAILED, {"1"}, "OK"),
    (Outcome(b"x"), {"partial_failures": True}, Ending.FAILED, IDS, "Function call failed"),
    (Outcome(b"{}", "Unhandled"), {}, Ending.FAILED, IDS, "PROBLEM: Function call failed"),
    (THROTTLE, {}, Ending.NOT_BEGUN, IDS, "PROBLEM: Rate Exceeded."),
    (LOOP, {}, Ending.FAILED, IDS, "PROBLEM: it goes round and round"),
]


@pytest.mark.parametrize(("answer", "settings", "ending", "ids", "shown"), DELIVERIES)
async def test_a_delivery_ends_as_the_function_says(answer, settings, ending, ids, shown):
    fed = Fed(answer, **settings)
    result = await fed.deliver()
    assert (result.ending, result.failed) == (ending, ids)
    assert shown in fed.shown[-1]


async def test_a_function_gets_the_batch_by_the_name_that_its_owner_gave_it():
    fed = Fed(qualifier="live")
    await fed.deliver()
    [invocation] = fed.invoker.invocations
    assert json.loads(invocation.payload) == {"Records": [{"n": 0}, {"n": 1}]}
    assert invocation.function_arn.endswith(":function:f:live")
    assert invocation.trace_id == "Root=1"


async def test_what_is_larger_than_a_payload_fails_without_an_attempt():
    fed = Fed()
    large = [Record(id="1", json=b"x" * 7_000_000)]
    result = await fed.feed.deliver(large, records_envelope)
    assert (result.ending, fed.invoker.invocations) == (Ending.FAILED, [])


def given_up(**changes: Any) -> GivenUp:
    return GivenUp(
        **{
            "records": BATCH_OF_TWO,
            "condition": "RetryAttemptsExhausted",
            "attempts": 3,
            "result": None,
            "details_name": "KinesisBatchInfo",
            "details": {"batchSize": 2},
        }
        | changes
    )


async def test_a_destination_is_told_where_the_records_are():
    queue_arn = "arn:aws:sqs:us-east-1:000000000000:q"
    fed = Fed(Outcome(b"{}", "Unhandled"), on_failure_arn=queue_arn)
    result = await fed.deliver()
    await fed.feed.give_up(given_up(result=result), records_envelope)
    [event] = fed.queue.events
    assert (event.target, event.source, event.queue) == (
        queue_arn,
        EventSource.MAPPING,
        fed.feed.mapping.function.arn,
    )
    assert json.loads(event.payload) == {
        "requestContext": {
            "requestId": result.request_id,
            "functionArn": fed.feed.mapping.function_arn,
            "condition": "RetryAttemptsExhausted",
            "approximateInvokeCount": 3,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": FUNCTION_VERSION.version,
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "timestamp": "2019-11-14T00:38:06.021Z",
        "KinesisBatchInfo": {"batchSize": 2},
    }


async def test_a_bucket_is_told_the_records_too():
    fed = Fed(on_failure_arn="arn:aws:s3:::bucket")
    await fed.feed.give_up(given_up(), records_envelope)
    told = msgspec.json.decode(fed.queue.events[0].payload)
    assert json.loads(told["payload"]) == {"Records": [{"n": 0}, {"n": 1}]}
    assert "responseContext" not in told
    key = fed.queue.events[0].attributes["Key"]
    assert key.startswith(f"aws/lambda/{fed.feed.mapping.uuid}/-/2019/11/14/2019-11-14T00.38.06-")


async def test_without_a_destination_nobody_is_told():
    fed = Fed()
    await fed.feed.give_up(given_up(), records_envelope)
    assert fed.queue.events == []
