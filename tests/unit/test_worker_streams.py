"""A worker passes on streamed answers: in order, bounded, and ended by whatever can end them."""

from __future__ import annotations

import asyncio
import json

import pytest

from samovar.guest import wire
from samovar.model.invocation import MAX_STREAMED_BYTES
from samovar.sandbox.fake import NOTHING, Behaviour, Reaction, end
from samovar.worker.parts import HIGH_BYTES
from samovar.worker.report import RESPONSE_LIMIT_BYTES
from tests.unit.fake_machine import ID, an_invocation, machine
from tests.unit.scripted_worker import settled, until

HEAD = wire.encode(wire.HEAD, {"content_type": "text/plain"})
RESPONSE = wire.encode(wire.RESPONSE)
ERROR = wire.encode(wire.ERROR, {"type": "Boom"}, b'{"errorType": "Boom"}')
PENDING = {"pending": True}
IDLE = wire.encode(wire.IDLE)


def part(body: bytes) -> bytes:
    return wire.encode(wire.PART, None, body)


def stream(*frames: bytes) -> Behaviour:
    return Behaviour(on_invoke=Reaction(send=b"".join(frames)))


class Sink:
    """Takes what comes; `held`: no more than one part, until the test lets it go on."""

    def __init__(self, *, held: bool = False) -> None:
        self.content_type: str | None = "never begun"
        self.body = b""
        self.go_on = asyncio.Event()
        if not held:
            self.go_on.set()

    async def begin(self, content_type: str | None) -> None:
        self.content_type = content_type

    async def write(self, part: bytes) -> None:
        self.body += part
        await self.go_on.wait()


async def run(built, sink=None):
    return await built.worker.invoke(ID, an_invocation(), sink)


async def ended(built):
    """The instance has been ended and nothing of it is left."""
    await until(lambda: built.exits == [ID])
    assert built.leftovers() == {}


def error_type(outcome):
    assert outcome.function_error == "Unhandled"
    return json.loads(outcome.payload)["errorType"]


async def test_parts_reach_the_sink_in_order_and_the_instance_is_free_again(tmp_path):
    async with machine(tmp_path, stream(HEAD, part(b"one "), part(b"two"), RESPONSE)) as built:
        await built.idle()
        for _ in range(2):
            sink = Sink()
            outcome = await run(built, sink)
            assert (sink.content_type, sink.body) == ("text/plain", b"one two")
            assert (outcome.payload, outcome.function_error) == (b"", None)
            assert outcome.instance_survives


async def test_a_part_is_passed_on_while_the_function_still_writes(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance, sink = await built.idle(timeout_s=60), Sink()
        running = asyncio.create_task(run(built, sink))
        await instance.send(HEAD + part(b"first"))
        await until(lambda: sink.body == b"first")
        assert not running.done()
        await instance.send(RESPONSE)
        assert (await running).instance_survives


async def test_an_answer_that_is_not_streamed_does_not_touch_the_sink(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle()
        sink = Sink()
        assert (await run(built, sink)).payload == b"{}"
        assert sink.content_type == "never begun"


@pytest.mark.parametrize("meta", [None, {"content_type": 7}])
async def test_a_stream_need_not_have_a_content_type(tmp_path, meta):
    async with machine(tmp_path, stream(wire.encode(wire.HEAD, meta), RESPONSE)) as built:
        await built.idle()
        sink = Sink()
        assert (await run(built, sink)).instance_survives
        assert sink.content_type is None


# ---------------------------------------------------------------- without a sink


async def test_without_a_sink_a_stream_is_gathered(tmp_path):
    async with machine(tmp_path, stream(HEAD, part(b"[1,"), part(b"2]"), RESPONSE)) as built:
        await built.idle()
        assert (await run(built)).payload == b"[1,2]"


async def test_what_is_gathered_is_no_larger_than_a_response_and_the_instance_lives_on(tmp_path):
    whole = [part(b"x" * 65536)] * (RESPONSE_LIMIT_BYTES // 65536)
    rest = part(b"x" * (RESPONSE_LIMIT_BYTES % 65536))
    async with machine(tmp_path, stream(HEAD, *whole, rest, RESPONSE)) as built:
        await built.idle(timeout_s=60)
        assert len((await run(built)).payload) == RESPONSE_LIMIT_BYTES
    async with machine(tmp_path, stream(HEAD, *whole, rest, part(b"x"), RESPONSE)) as built:
        await built.idle(timeout_s=60)
        outcome = await run(built)
        assert error_type(outcome) == "Function.ResponseSizeTooLarge"
        assert outcome.instance_survives


async def test_a_stream_over_awss_limit_fails(tmp_path):
    async def pour(meta, body):
        instance = built.sandbox.instances[ID]
        await instance.send(HEAD)
        for _ in range(MAX_STREAMED_BYTES // 65536):
            await instance.send(part(b"x" * 65536))
        return Reaction(send=part(b"x"))

    class Count(Sink):
        size = 0

        async def write(self, part: bytes) -> None:
            self.size += len(part)

    async with machine(tmp_path, Behaviour(on_invoke=pour)) as built:
        await built.idle(timeout_s=60)
        sink = Count()
        assert error_type(await run(built, sink)) == "Function.ResponseSizeTooLarge"
        assert sink.size == MAX_STREAMED_BYTES
        await ended(built)


# ---------------------------------------------------------------- ends in mid-stream


async def test_an_error_in_mid_stream_keeps_the_instance(tmp_path):
    async with machine(tmp_path, stream(HEAD, part(b"some"), ERROR)) as built:
        await built.idle()
        sink = Sink()
        outcome = await run(built, sink)
        assert (sink.body, error_type(outcome)) == (b"some", "Boom")
        assert outcome.instance_survives


@pytest.mark.parametrize("sent", [HEAD, HEAD + part(b"some")])
@pytest.mark.parametrize("gathered", [True, False])
async def test_a_crash_in_mid_stream_is_an_error_that_ends_the_instance(tmp_path, sent, gathered):
    crash = Reaction(send=sent, exit=end(code=1).exit)
    async with machine(tmp_path, Behaviour(on_invoke=crash)) as built:
        await built.idle()
        outcome = await run(built, None if gathered else Sink())
        assert error_type(outcome) == "Runtime.ExitError"
        assert not outcome.instance_survives
        await ended(built)


async def test_a_stream_has_no_longer_than_the_functions_timeout(tmp_path):
    async with machine(tmp_path, stream(HEAD, part(b"some"))) as built:
        await built.idle(timeout_s=0.1)
        sink = Sink()
        assert error_type(await run(built, sink)) == "Sandbox.Timedout"
        assert sink.body == b"some"
        await ended(built)


async def test_a_sink_that_takes_nothing_has_no_longer_either(tmp_path):
    async with machine(tmp_path, stream(HEAD, part(b"some"), RESPONSE)) as built:
        await built.idle(timeout_s=0.1)
        assert error_type(await run(built, Sink(held=True))) == "Sandbox.Timedout"
        await ended(built)


async def test_a_stream_that_was_whole_before_the_instance_ended_is_whole(tmp_path):
    """The taker is slow, so that part of it is read long after the end."""
    parts = [part(bytes([65 + i]) * 65536) for i in range(4)]
    leave = Reaction(send=b"".join([HEAD, *parts, RESPONSE]), exit=end(code=0).exit)
    async with machine(tmp_path, Behaviour(on_invoke=leave)) as built:
        instance, sink = await built.idle(timeout_s=60), Sink(held=True)
        running = asyncio.create_task(run(built, sink))
        await until(lambda: sink.body)
        sink.go_on.clear()
        await until(lambda: built.worker._instances[ID]._channel.paused or running.done())
        sink.go_on.set()
        outcome = await running
        assert (len(sink.body), outcome.function_error) == (4 * 65536, None)
        assert instance.exited.done() or outcome.instance_survives
        await ended(built)


@pytest.mark.parametrize(
    "frames",
    [
        [part(b"before its head")],
        [HEAD, HEAD],
        [HEAD, part(b"x" * (wire.MAX_PART_BYTES + 1))],
        [HEAD, wire.HEADER.pack(wire.PART, 0, wire.MAX_PART_BYTES + 1)],
        [HEAD, wire.HEADER.pack(wire.PART, 1, 1)],
        [HEAD, part(b"x"), part(b"")],
        [HEAD, part(b"x"), wire.encode(wire.RESPONSE, None, b"a body")],
        [HEAD, part(b"x"), wire.encode(wire.READY)],
        [HEAD, part(b"x"), IDLE],
        [HEAD, part(b"x"), wire.encode(77)],
        [HEAD, b"\xff" * 64],
    ],
)
async def test_a_frame_out_of_turn_ends_the_instance(tmp_path, frames):
    async with machine(tmp_path, stream(*frames)) as built:
        await built.idle(timeout_s=60)
        outcome = await run(built, Sink())
        assert error_type(outcome) == "Runtime.ExitError"
        assert not outcome.instance_survives
        await ended(built)


@pytest.mark.parametrize("more", [part(b"more"), RESPONSE, IDLE, HEAD])
async def test_a_frame_after_the_end_of_a_stream_ends_the_instance(tmp_path, more):
    async with machine(tmp_path, stream(HEAD, part(b"all"), RESPONSE, more)) as built:
        await built.idle(timeout_s=60)
        sink = Sink()
        outcome = await run(built, sink)
        assert (sink.body, outcome.instance_survives) == (b"all", False)
        await ended(built)


async def test_a_sink_that_breaks_down_ends_the_instance(tmp_path):
    class Broken(Sink):
        async def write(self, part: bytes) -> None:
            raise ZeroDivisionError

    async with machine(tmp_path, stream(HEAD, part(b"x"))) as built:
        await built.idle(timeout_s=60)
        with pytest.raises(ZeroDivisionError):
            await run(built, Broken())
        await ended(built)


# ---------------------------------------------------------------- bounds


@pytest.mark.parametrize("size", [100, 1000, 4000, wire.MAX_PART_BYTES])
async def test_while_its_taker_is_slow_a_stream_is_not_read(tmp_path, size):
    blocks, in_block = 16, 65536 // size

    async def pour(meta, body):
        instance = built.sandbox.instances[ID]
        await instance.send(HEAD + part(b"the first"))
        await until(lambda: sink.body)
        for _ in range(blocks):
            await instance.send(part(b"x" * size) * in_block)
        return Reaction(send=RESPONSE)

    async with machine(tmp_path, Behaviour(on_invoke=pour)) as built:
        await built.idle(timeout_s=120)
        sink = Sink(held=True)
        running = asyncio.create_task(run(built, sink))
        channel = built.worker._instances[ID]._channel
        await until(lambda: channel.paused)
        await settled()
        assert len(channel.parts._held) <= HIGH_BYTES + wire.MAX_PART_BYTES + wire.RECV_BYTES
        assert sink.body == b"the first"
        sink.go_on.set()
        assert (await running).instance_survives
        assert len(sink.body) == len(b"the first") + blocks * in_block * size


# ---------------------------------------------------------------- pending


def pending(*after: bytes, streamed: bool = False) -> Behaviour:
    """Answers, and says that it is still at work."""
    answer = wire.encode(wire.RESPONSE, PENDING, b"" if streamed else b"1")
    return stream(*([HEAD, part(b"1")] if streamed else []), answer, *after)


@pytest.mark.parametrize("streamed", [True, False])
async def test_who_asked_has_the_answer_before_the_instance_is_idle(tmp_path, streamed):
    async with machine(tmp_path, pending(streamed=streamed)) as built:
        instance = await built.idle(timeout_s=60)
        outcome = await run(built)
        assert (outcome.payload, outcome.pending, outcome.instance_survives) == (b"1", True, True)
        waiting = asyncio.create_task(built.worker.await_idle(ID))
        await settled()
        assert not waiting.done()
        await instance.send(IDLE)
        assert await waiting
        assert (await run(built)).payload == b"1"


async def test_an_instance_that_comes_to_rest_at_once_is_not_pending(tmp_path):
    async with machine(tmp_path, pending(IDLE)) as built:
        await built.idle(timeout_s=60)
        for _ in range(2):
            outcome = await run(built)
            assert (outcome.pending, outcome.instance_survives) == (False, True)


async def test_an_instance_may_be_idle_before_anybody_waits_for_it(tmp_path):
    async with machine(tmp_path, pending()) as built:
        instance = await built.idle(timeout_s=60)
        assert (await run(built)).pending
        await instance.send(IDLE)
        await until(lambda: built.worker._instances[ID]._channel.idle.done())
        assert await built.worker.await_idle(ID)


async def test_what_comes_after_the_answer_has_no_longer_than_the_timeout(tmp_path):
    async with machine(tmp_path, pending()) as built:
        await built.idle(timeout_s=0.1)
        await run(built)
        assert not await built.worker.await_idle(ID)
        await ended(built)


@pytest.mark.parametrize("after", [[IDLE, IDLE], [RESPONSE], [part(b"x")], [b"\xff" * 64]])
async def test_what_is_not_idle_after_the_answer_ends_the_instance(tmp_path, after):
    async with machine(tmp_path, pending(*after)) as built:
        await built.idle(timeout_s=60)
        await run(built)
        assert not await built.worker.await_idle(ID)
        await ended(built)


async def test_an_end_after_the_answer_is_told(tmp_path):
    leave = Reaction(send=wire.encode(wire.RESPONSE, PENDING, b"1"), exit=end(code=0).exit)
    async with machine(tmp_path, Behaviour(on_invoke=leave)) as built:
        await built.idle(timeout_s=60)
        outcome = await run(built)
        assert outcome.payload == b"1"
        if outcome.pending:
            assert not await built.worker.await_idle(ID)
        await ended(built)


async def test_an_instance_that_is_stopped_meanwhile_is_not_idle(tmp_path):
    async with machine(tmp_path, pending()) as built:
        await built.idle(timeout_s=60)
        await run(built)
        waiting = asyncio.create_task(built.worker.await_idle(ID))
        await settled()
        await built.worker.stop(ID)
        assert not await waiting
        assert not await built.worker.await_idle(ID)
