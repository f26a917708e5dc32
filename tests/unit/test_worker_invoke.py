"""A worker runs invocations: outcomes, and the log lines of each."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time

import pytest

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.invocation import MAX_PAYLOAD_BYTES
from samovar.sandbox.fake import NOTHING, Behaviour, Reaction, end, fail, ready, respond
from samovar.worker.report import RESPONSE_LIMIT_BYTES
from tests.unit.fake_machine import ID, REQUEST_ID, an_invocation, machine
from tests.unit.scripted_worker import until


def lines_of(outcome, lines):
    """Match a log against AWS's form; `{ms}` is any duration."""
    pattern = re.escape(lines).replace(r"\{ms\}", r"\d+\.\d\d").replace(r"\{billed\}", r"\d+")
    match = re.fullmatch(pattern, outcome.log_tail.decode(), re.DOTALL)
    assert match, outcome.log_tail.decode()


async def test_a_response_is_passed_on_as_it_is(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=respond(b'{"a": 1}'))) as built:
        await built.idle()
        outcome = await built.invoke()
        assert (outcome.payload, outcome.function_error) == (b'{"a": 1}', None)
        assert outcome.instance_survives
        assert outcome.run_ms > 0


async def test_the_log_of_an_invocation_is_as_aws_writes_it(tmp_path):
    behaviour = Behaviour(on_invoke=respond(b"1", output=b"hello\n"), on_init=ready(0.01))
    async with machine(tmp_path, behaviour) as built:
        await built.idle(memory_mib=128)
        first, second = await built.invoke(), await built.invoke()
        frame = (
            f"START RequestId: {REQUEST_ID} Version: $LATEST\n"
            "hello\n"
            f"END RequestId: {REQUEST_ID}\n"
            f"REPORT RequestId: {REQUEST_ID}\tDuration: {{ms}} ms\tBilled Duration: {{billed}} ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 20 MB\t"
        )
        lines_of(first, frame + "Init Duration: 0.01 ms\t\n")
        lines_of(second, frame + "\n")
        assert built.logs.text == first.log_tail + second.log_tail


async def test_what_is_printed_before_the_answer_is_in_its_log_however_much_it_is(tmp_path):
    text = b"x" * 50_000 + b"the end\n"
    async with machine(tmp_path, Behaviour(on_invoke=respond(b"1", output=text))) as built:
        await built.idle()
        outcome = await built.invoke()
        assert text in built.logs.text
        assert len(outcome.log_tail) == 4096
        assert b"the end\nEND RequestId" in outcome.log_tail


async def test_the_log_tail_is_given_to_who_asks_for_it_only(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle()
        outcome = await built.worker.invoke(ID, an_invocation(want_log_tail=False))
        assert outcome.log_tail == b""


async def test_the_log_tail_has_nothing_of_earlier_invocations(tmp_path):
    def shout(meta, body):
        return respond(b"1", output=body + b"\n")

    async with machine(tmp_path, Behaviour(on_invoke=shout)) as built:
        await built.idle()
        await built.invoke(b'"first"')
        assert b"first" not in (await built.invoke(b'"second"')).log_tail


async def test_an_instance_is_told_the_request_its_arn_and_its_deadline(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle(timeout_s=60)
        before = time.time()
        await built.worker.invoke(
            ID, an_invocation(b"[1]", client_context='{"a":1}', trace_id="Root=1")
        )
        ((meta, body),) = instance.invocations
        assert body == b"[1]"
        assert (meta["id"], meta["client_context"], meta["trace_id"]) == (
            REQUEST_ID,
            '{"a":1}',
            "Root=1",
        )
        assert meta["arn"].endswith(":function:f")
        assert before + 59 < meta["deadline_ms"] / 1e3 < time.time() + 61


async def test_the_largest_event_and_the_largest_response_pass(tmp_path):
    event = b'"' + b"x" * (MAX_PAYLOAD_BYTES - 2) + b'"'
    async with machine(tmp_path) as built:
        await built.idle(timeout_s=60)
        assert (await built.invoke(event)).payload == event


async def test_an_error_of_the_handler_keeps_the_instance(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=fail("ValueError", "boom"))) as built:
        await built.idle()
        outcome = await built.invoke()
        assert json.loads(outcome.payload) == {"errorType": "ValueError", "errorMessage": "boom"}
        assert (outcome.function_error, outcome.instance_survives) == ("Unhandled", True)
        assert "Status" not in outcome.log_tail.decode()
        await built.invoke()


# ---------------------------------------------------------------- ends of instances

EXITS = [
    (end(code=1), "Runtime.ExitError", "Runtime exited with error: exit status 1"),
    (end(code=0), "Runtime.ExitError", "Runtime exited without providing a reason"),
    (
        end(signal=signal.SIGSEGV),
        "Runtime.ExitError",
        "Runtime exited with error: signal: segmentation fault",
    ),
    (
        end(signal=signal.SIGKILL, out_of_memory=True),
        "Runtime.OutOfMemory",
        "Runtime exited with error: signal: killed",
    ),
]


@pytest.mark.parametrize(("reaction", "error_type", "message"), EXITS)
async def test_a_crash_is_told_and_logged_as_aws_does(tmp_path, reaction, error_type, message):
    async with machine(tmp_path, Behaviour(on_invoke=reaction, on_init=ready(0.01))) as built:
        await built.idle()
        outcome = await built.invoke()
        assert json.loads(outcome.payload) == {
            "errorType": error_type,
            "errorMessage": f"RequestId: {REQUEST_ID} Error: {message}",
        }
        assert (outcome.function_error, outcome.instance_survives) == ("Unhandled", False)
        lines_of(
            outcome,
            f"START RequestId: {REQUEST_ID} Version: $LATEST\n"
            f"RequestId: {REQUEST_ID} Error: {message}\n{error_type}\n"
            f"END RequestId: {REQUEST_ID}\n"
            f"REPORT RequestId: {REQUEST_ID}\tDuration: {{ms}} ms\tBilled Duration: {{billed}} ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 20 MB\tInit Duration: 0.01 ms\t"
            f"Status: error\tError Type: {error_type}\t\n",
        )


async def test_after_a_crash_nothing_is_left_and_the_manager_is_told(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=end(code=1))) as built:
        await built.idle()
        await built.invoke()
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_what_a_crashing_function_printed_last_is_in_its_log(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=end(code=1, output=b"Killed!\n"))) as built:
        await built.idle()
        assert b"Killed!\nRequestId: " in (await built.invoke()).log_tail


async def test_a_timeout_is_told_and_logged_as_aws_does_and_ends_the_instance(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING, on_init=ready(0.01))) as built:
        await built.idle(timeout_s=0.05)
        outcome = await built.invoke()
        assert json.loads(outcome.payload) == {
            "errorType": "Sandbox.Timedout",
            "errorMessage": f"RequestId: {REQUEST_ID} Error: Task timed out after 0.05 seconds",
        }
        assert not outcome.instance_survives
        log = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", b"WHEN", outcome.log_tail)
        assert f"\nWHEN {REQUEST_ID} Task timed out after 0.05 seconds\n\nEND ".encode() in log
        assert log.endswith(b"\tStatus: timeout\t\n")
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_a_channel_that_is_closed_by_a_process_that_lives_on_is_its_end(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=Reaction(hang_up=True))) as built:
        await built.idle(timeout_s=60)
        outcome = await built.invoke()
        assert json.loads(outcome.payload)["errorType"] == "Runtime.ExitError"
        assert not built.sandbox.running()


# ---------------------------------------------------------------- hostile answers


@pytest.mark.parametrize(
    "sent",
    [
        wire.encode(wire.READY),
        wire.encode(77),
        b"\xff" * 64,
        wire.HEADER.pack(wire.RESPONSE, 60_000, 0) + b'{"a":' * 12_000,
        wire.HEADER.pack(wire.RESPONSE, 0, wire.MAX_BODY_BYTES + 1),
    ],
    ids=["another type", "an unknown type", "noise", "deep nesting", "a huge promise"],
)
async def test_an_answer_that_breaks_the_protocol_ends_the_instance(tmp_path, sent):
    async with machine(tmp_path, Behaviour(on_invoke=Reaction(send=sent))) as built:
        await built.idle(timeout_s=60)
        outcome = await built.invoke()
        assert json.loads(outcome.payload)["errorType"] == "Runtime.ExitError"
        assert not outcome.instance_survives
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


@pytest.mark.parametrize("kind", [wire.RESPONSE, wire.ERROR])
async def test_an_answer_over_the_limit_is_refused_with_awss_words(tmp_path, kind):
    sent = wire.encode(kind, None, b"x" * (RESPONSE_LIMIT_BYTES + 1))
    async with machine(tmp_path, Behaviour(on_invoke=Reaction(send=sent))) as built:
        await built.idle(timeout_s=60)
        document = json.loads((await built.invoke()).payload)
        assert document["errorType"] == "Function.ResponseSizeTooLarge"
        assert "maximum allowed payload size (6291556 bytes)" in document["errorMessage"]


async def test_a_second_answer_ends_the_instance_before_it_serves_anybody_else(tmp_path):
    twice = respond(b"1").send + respond(b'"poison"').send
    async with machine(tmp_path, Behaviour(on_invoke=Reaction(send=twice))) as built:
        await built.idle()
        outcome = await built.invoke()
        assert (outcome.payload, outcome.instance_survives) == (b"1", False)
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_a_frame_that_nobody_asked_for_ends_an_idle_instance(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle()
        await instance.send(respond(b'"poison"').send)
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_an_answer_before_the_event_was_read_does_not_let_events_pile_up(tmp_path):
    async with machine(tmp_path, Behaviour(on_init=ready())) as built:
        instance = await built.idle(timeout_s=60)
        answering = asyncio.create_task(built.invoke(b" " * MAX_PAYLOAD_BYTES))
        await asyncio.sleep(0)  # it has begun to send, and more than a socket holds
        await instance.send(respond(b"1").send)
        outcome = await answering
        assert json.loads(outcome.payload)["errorType"] == "Runtime.ExitError"
        assert not outcome.instance_survives


# ---------------------------------------------------------------- what cannot begin


async def test_an_instance_that_is_busy_or_unknown_is_not_invoked(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance = await built.idle(timeout_s=60)
        running = asyncio.create_task(built.invoke())
        await until(lambda: instance.invocations)
        for name in (ID, "i-unknown"):
            with pytest.raises(PlatformError, match="is not idle here") as refused:
                await built.invoke(instance=name)
            assert refused.value.code is ErrorCode.SERVICE
        await built.worker.stop(ID)
        await running


async def test_an_instance_that_has_just_ended_is_not_invoked(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle()
        instance._task.cancel()
        await asyncio.wait([instance.exited])
        with pytest.raises(PlatformError, match="is not idle here"):
            await built.invoke()
