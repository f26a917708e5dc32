"""Asynchronous invocation over ASGI: what becomes an event, and what is refused."""

from __future__ import annotations

import dataclasses

import pytest

from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.event import MAX_EVENT_BYTES
from tests.unit.known_functions import ACTIVE, front_door

INVOKE = "/2015-03-31/functions/{}/invocations"
INVOKE_ASYNC = "/2014-11-13/functions/{}/invoke-async/"
EVENT = {"x-amz-invocation-type": "Event"}
WAYS = [(INVOKE, EVENT), (INVOKE_ASYNC, {}), (INVOKE_ASYNC.rstrip("/"), {})]


async def ask(door, path, headers, body=b"{}", **more):
    return await door.ask("POST", path, body, headers=headers, **more)


@pytest.mark.parametrize(("path", "headers"), WAYS)
async def test_the_answer_is_a_202_when_the_event_is_kept(path, headers):
    async with front_door() as door:
        answer = await ask(door, path.format("f"), {"x-amzn-trace-id": "Root=1-a", **headers}, b"1")
        assert (answer.status, answer.body, answer["content-length"]) == (202, b"", "0")
        (event,) = door.events.accepted
        assert event.id == answer["x-amzn-requestid"]
        assert event.queue == event.target == ACTIVE.id.arn
        assert (event.payload, event.tenant_id) == (b"1", None)
        assert event.trace_id.startswith("Root=1-a")
        assert event.accepted_at == event.due_at == 1000.0
        assert door.worker.asked == []


async def test_no_payload_is_an_empty_event():
    async with front_door() as door:
        await ask(door, INVOKE.format("f"), EVENT, b"")
        assert [event.payload for event in door.events.accepted] == [b"{}"]


async def test_the_qualifier_belongs_to_the_target_and_not_to_the_queue():
    async with front_door() as door:
        await ask(door, INVOKE.format("f") + "?Qualifier=$LATEST", EVENT)
        (event,) = door.events.accepted
        assert (event.queue, event.target) == (ACTIVE.id.arn, ACTIVE.id.arn + ":$LATEST")


async def test_a_tenant_goes_along():
    tenants = dataclasses.replace(ACTIVE, tenant_isolation=True)
    async with front_door(tenants) as door:
        await ask(door, INVOKE.format("f"), {**EVENT, "x-amz-tenant-id": "blue"})
        assert [event.tenant_id for event in door.events.accepted] == ["blue"]
        answer = await ask(door, INVOKE.format("f"), EVENT)
        assert (answer.status, len(door.events.accepted)) == (400, 1)


@pytest.mark.parametrize(("path", "headers"), WAYS)
@pytest.mark.parametrize("pieces", [1, 3])
async def test_the_largest_event_is_kept_and_a_larger_one_is_not(path, headers, pieces):
    def body(size):
        whole = b'"' + b"x" * (size - 2) + b'"'
        step = size // pieces + 1
        return [whole[at : at + step] for at in range(0, size, step)]

    async with front_door() as door:
        answer = await ask(door, path.format("f"), headers, body(MAX_EVENT_BYTES))
        assert answer.status == 202
        answer = await ask(door, path.format("f"), headers, body(MAX_EVENT_BYTES + 1))
        assert (answer.status, answer["x-amzn-errortype"]) == (413, "RequestTooLargeException")
        assert b"payload is too large for the Event invocation type" in answer.body
        assert len(door.events.accepted) == 1


@pytest.mark.parametrize(("path", "headers"), WAYS)
@pytest.mark.parametrize(
    ("name", "body", "more", "error"),
    [
        ("g", b"{}", {}, (404, "ResourceNotFoundException")),
        ("f%0a", b"{}", {}, (400, "ValidationException")),
        ("f", b"{", {}, (400, "InvalidRequestContentException")),
        ("f", b"[" * 100_000, {}, (400, "InvalidRequestContentException")),
        ("f", b"{}", {"content-length": "9" * 5000}, (413, "RequestTooLargeException")),
        ("f", b"{}", {"x-amz-tenant-id": "t"}, (400, "InvalidParameterValueException")),
        ("f", b"{}", {"host": "attacker.example"}, (403, "AccessDeniedException")),
    ],
)
async def test_what_is_refused_leaves_no_event(path, headers, name, body, more, error):
    async with front_door() as door:
        answer = await ask(door, path.format(name), headers | more, body)
        assert (answer.status, answer["x-amzn-errortype"]) == error
        assert door.events.accepted == []


@pytest.mark.parametrize(("path", "headers"), WAYS)
async def test_without_a_signature_it_is_refused(path, headers):
    async with front_door() as door:
        assert (await ask(door, path.format("f"), headers, signed=False)).status == 403
        assert door.events.accepted == []


@pytest.mark.parametrize(("path", "headers"), WAYS)
async def test_a_client_that_goes_away_in_the_midst_of_it_leaves_no_event(path, headers):
    async with front_door() as door:
        assert (await ask(door, path.format("f"), headers, gone=True)).status == 0
        assert door.events.accepted == []


async def test_a_full_queue_is_told_as_a_throttle():
    async with front_door() as door:
        door.events.refusal = PlatformError(
            ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded: full.", ThrottleReason.CALLER_RATE
        )
        answer = await ask(door, INVOKE.format("f"), EVENT)
        assert (answer.status, answer["x-amzn-errortype"]) == (429, "TooManyRequestsException")
        assert b'"Reason":"CallerRateLimitExceeded"' in answer.body.replace(b" ", b"")


async def test_nothing_is_accepted_while_the_server_shuts_down():
    async with front_door() as door:
        door.application.draining = True
        assert (await ask(door, INVOKE.format("f"), EVENT)).status == 503
        assert door.events.accepted == []
