"""InvokeWithResponseStream over ASGI: what a client gets, when, and what it costs others."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from botocore.eventstream import EventStreamBuffer

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import MAX_PAYLOAD_BYTES, Outcome
from samovar.ports import InitFailedError
from tests.unit.known_functions import front_door
from tests.unit.scripted_worker import settled, until
from tests.unit.test_invoke import recorded

URL = "/2021-11-15/functions/{}/response-streaming-invocations"


async def ask(door, body=b"{}", name="f", **more):
    return await door.ask("POST", URL.format(name), body, **more)


def events(answer):
    """(chunks joined, what InvokeComplete says); the latter is the last event, and the only one."""
    buffer = EventStreamBuffer()
    buffer.add_data(answer.body)
    messages = list(buffer)
    *chunks, complete = messages
    assert complete.headers[":event-type"] == "InvokeComplete"
    assert {chunk.headers[":event-type"] for chunk in chunks} <= {"PayloadChunk"}
    return b"".join(chunk.payload for chunk in chunks), json.loads(complete.payload)


def streams(*parts, payload=b"", **more):
    """A function that streams these parts."""

    async def on_stream(sink):
        await sink.begin("text/plain")
        for part in parts:
            await sink.write(part)
        return Outcome(payload, **more)

    return on_stream


async def test_a_stream_is_chunks_and_an_end():
    async with front_door() as door:
        door.worker.on_stream = streams(b"one ", b"two")
        answer = await ask(door)
        assert (answer.status, answer.complete) == (200, True)
        assert events(answer) == (b"one two", {})
        assert answer["content-type"] == "application/vnd.amazon.eventstream"
        assert answer["x-amz-executed-version"] == "$LATEST"
        assert len(answer["x-amzn-requestid"]) == 36
        assert answer["x-samovar-start"].startswith("cold; cause=first")
        assert answer.all("content-length") == []


async def test_the_first_chunk_is_sent_while_the_function_still_writes():
    async with front_door() as door:
        going_on, sent = asyncio.Event(), []

        async def on_stream(sink):
            await sink.begin(None)
            await sink.write(b"first")
            sent.append(True)
            await going_on.wait()
            return Outcome(b"")

        door.worker.on_stream = on_stream
        seen = []

        async def watch(message):
            seen.append(message)

        asking = asyncio.create_task(ask(door, watch=watch))
        await until(lambda: sent)
        assert any(b"first" in message.get("body", b"") for message in seen)
        assert not asking.done()
        going_on.set()
        await asking


async def test_a_function_that_does_not_stream_is_one_chunk():
    async with front_door() as door:
        door.returns(b'{"a": 1}')
        answer = await ask(door)
        assert events(answer) == (b'{"a": 1}', {})
        assert answer["content-length"] == str(len(answer.body))


async def test_the_log_tail_is_in_the_end_if_it_was_asked_for():
    async with front_door() as door:
        door.worker.on_stream = streams(b"x", log_tail=b"START\n")
        _, complete = events(await ask(door, headers={"x-amz-log-type": "Tail"}))
        assert complete == {"LogResult": base64.b64encode(b"START\n").decode()}


async def test_a_failure_before_the_stream_is_unhandled_and_no_payload():
    document = b'{"errorType": "ValueError"}'
    async with front_door() as door:
        door.returns(document, function_error="Unhandled")
        chunks, complete = events(await ask(door))
        assert chunks == b""
        assert complete == {"ErrorCode": "Unhandled", "ErrorDetails": document.decode()}


async def test_a_failed_init_is_one_too():
    async with front_door() as door:
        door.worker.failures.append(InitFailedError(b'{"errorType":"X"}', b"the log"))
        answer = await ask(door)
        assert events(answer)[1]["ErrorCode"] == "Unhandled"
        assert answer["x-samovar-start"] == "cold; init=failed"


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (b'{"errorType": "Sandbox.Timedout"}', "Sandbox.Timedout"),
        (b'{"errorType": 7}', "Unhandled"),
        (b'{"errorType": "two words"}', "Unhandled"),
        (b"[]", "Unhandled"),
        (b"\xff", "Unhandled"),
        (b"[" * 100_000, "Unhandled"),
        (b"", "Unhandled"),
    ],
)
async def test_a_failure_in_mid_stream_is_told_by_its_type(document, code):
    async with front_door() as door:
        door.worker.on_stream = streams(b"some", payload=document, function_error="Unhandled")
        chunks, complete = events(await ask(door))
        assert chunks == b"some"
        assert complete["ErrorCode"] == code
        assert complete["ErrorDetails"] == document.decode(errors="replace")


async def test_a_defect_in_mid_stream_cuts_the_response_off():
    async def on_stream(sink):
        await sink.begin(None)
        await sink.write(b"some")
        raise ZeroDivisionError

    async with front_door() as door:
        door.worker.on_stream = on_stream
        answer = await ask(door)
        assert (answer.status, answer.complete) == (200, False)
        assert door.manager.ledger.total_in_use == 0


# ---------------------------------------------------------------- before the stream


async def test_a_dry_run_runs_nothing():
    async with front_door() as door:
        answer = await ask(door, headers={"x-amz-invocation-type": "DryRun"})
        assert (answer.status, answer["x-amz-executed-version"]) == (204, "$LATEST")
        assert door.worker.invoked == []


@pytest.mark.parametrize(
    ("more", "status", "name"),
    [
        ({"headers": {"x-amz-invocation-type": "Event"}}, 400, "ValidationException"),
        ({"headers": {"x-amz-log-type": "Head"}}, 400, "ValidationException"),
        ({"headers": {"x-amz-client-context": "?"}}, 400, "InvalidRequestContentException"),
        ({"body": b"{"}, 400, "InvalidRequestContentException"),
        ({"body": b" " * (MAX_PAYLOAD_BYTES + 1)}, 413, "RequestTooLargeException"),
        ({"name": "g"}, 404, "ResourceNotFoundException"),
        ({"signed": False}, 403, "MissingAuthenticationTokenException"),
    ],
)
async def test_what_cannot_be_run_is_refused_as_invoke_refuses_it(more, status, name):
    async with front_door() as door:
        answer = await ask(door, **more)
        assert (answer.status, answer["x-amzn-errortype"]) == (status, name)
        assert door.worker.asked == []


async def test_an_invocation_that_could_not_begin_is_an_ordinary_error():
    def vanish(instance):
        raise PlatformError(ErrorCode.SERVICE, "gone")

    async with front_door() as door:
        door.worker.on_invoke = vanish
        answer = await ask(door)
        assert (answer.status, answer["x-amzn-errortype"]) == (500, "ServiceException")


async def test_an_invocation_is_what_invoke_makes_of_it():
    async with front_door() as door:
        seen = recorded(door)
        context = base64.b64encode(b'{"a":1}').decode()
        await ask(door, b"[1]", name="f:$LATEST", headers={"x-amz-client-context": context})
        assert (seen[0].payload, seen[0].client_context) == (b"[1]", '{"a":1}')
        assert seen[0].function_arn.endswith(":f:$LATEST")


async def test_each_name_and_method_that_is_no_invocation_is_not_found():
    async with front_door() as door:
        for method, target in [("GET", URL.format("f")), ("POST", URL.format("f/g"))]:
            assert (await door.ask(method, target)).status in (404, 405)


# ---------------------------------------------------------------- pending


async def test_a_pending_instance_is_not_given_to_anybody_before_it_is_idle():
    async with front_door() as door:
        idle = asyncio.get_running_loop().create_future()
        door.worker.on_await_idle = lambda: idle
        door.returns(b"1", pending=True)
        assert events(await ask(door)) == (b"1", {})
        assert door.manager.ledger.total_in_use == 1
        door.returns(b"2")
        await ask(door)
        first, second = door.worker.invoked
        assert first != second
        idle.set_result(True)
        await until(lambda: door.manager.ledger.total_in_use == 0)
        await ask(door)
        assert len(door.worker.asked) == 2


@pytest.mark.parametrize("how", ["ended", "broke"])
async def test_a_pending_instance_that_does_not_come_to_rest_is_replaced(how):
    async def on_await_idle():
        if how == "broke":
            raise ZeroDivisionError
        return False

    async with front_door() as door:
        door.worker.on_await_idle = on_await_idle
        door.returns(b"1", pending=True)
        await ask(door)
        await until(lambda: door.worker.stopped)
        await settled()
        assert door.manager.ledger.total_in_use == 0
        door.returns(b"2")
        await ask(door)
        assert len(door.worker.asked) == 2
