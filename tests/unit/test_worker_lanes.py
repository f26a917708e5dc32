"""A worker runs many invocations at once in one instance: each on a lane of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import CapacityProvider
from samovar.model.instance import InstanceState
from samovar.model.invocation import Outcome
from samovar.ports import Exit
from samovar.sandbox.fake import NOTHING, Behaviour, FakeInstance, Reaction, end, respond
from samovar.worker.channel import REST_S, Pace
from tests.unit.fake_machine import ID, Machine, an_invocation, machine
from tests.unit.scripted_worker import settled, until

MANY = 4
HEAD = wire.encode(wire.HEAD, {"content_type": "text/plain"})


class Held:
    """A behaviour that answers each event when the test says so."""

    def __init__(self) -> None:
        self.gates: dict[bytes, asyncio.Future[Reaction]] = {}
        self.behaviour = Behaviour(on_invoke=self._on_invoke)

    async def _on_invoke(self, meta: wire.Meta, body: bytes) -> Reaction:
        gate = self.gates[body] = asyncio.get_running_loop().create_future()
        return await gate

    def react(self, event: bytes, reaction: Reaction | None = None) -> None:
        self.gates.pop(event).set_result(reaction or respond(event))


@contextlib.asynccontextmanager
async def many(
    tmp_path: Path, behaviour: Behaviour, **changes: object
) -> AsyncIterator[tuple[Machine, FakeInstance]]:
    """A machine with an idle instance of many requests."""
    provider = CapacityProvider("arn:provider", MANY)
    async with machine(tmp_path, behaviour) as built:
        yield built, await built.idle(capacity_provider=provider, **{"timeout_s": 60} | changes)


def begun(built: Machine, *events: bytes) -> list[asyncio.Task[Outcome]]:
    return [asyncio.create_task(built.invoke(event)) for event in events]


def error_of(outcome: Outcome) -> str:
    assert outcome.function_error == "Unhandled"
    assert not outcome.instance_survives
    return json.loads(outcome.payload)["errorMessage"]


async def test_as_many_run_at_once_as_may_and_no_more(tmp_path):
    held = Held()
    events = [b"%d" % number for number in range(MANY)]
    async with many(tmp_path, held.behaviour) as (built, instance):
        assert instance.inits[0]["concurrency"] == MANY
        running = begun(built, *events)
        await instance.invoked(MANY)
        with pytest.raises(PlatformError) as refused:
            await built.invoke(b"one too many")
        assert refused.value.code is ErrorCode.SERVICE
        for event in reversed(events):
            held.react(event)
        assert [(await one).payload for one in running] == events
        assert built.worker._instances[ID].state is InstanceState.IDLE


async def test_lanes_are_opened_as_they_are_needed_and_used_again(tmp_path):
    async with many(tmp_path, Behaviour()) as (built, instance):
        for _ in range(5):
            await built.invoke()
        assert len(instance.lanes) == 1
        for _ in range(5):
            await asyncio.gather(*(built.invoke() for _ in range(3)))
        assert len(instance.lanes) == 3


async def test_an_instance_of_one_request_has_no_lanes_but_its_first_channel(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle(capacity_provider=CapacityProvider("arn:provider", 1))
        await built.invoke()
        assert "concurrency" not in instance.inits[0]
        assert instance.lanes == []


async def test_a_lane_comes_through_while_an_event_is_being_read(tmp_path):
    """The largest event does not fit into a socket: the lane after it must not wait for it."""
    held = Held()
    large = b'"' + b"x" * 6_000_000 + b'"'
    async with many(tmp_path, held.behaviour) as (built, instance):
        first, second = begun(built, large, b"2")
        await until(lambda: b"2" in held.gates)
        held.react(b"2")
        assert (await second).payload == b"2"
        await instance.invoked(2)
        held.react(large)
        assert (await first).payload == large


async def test_a_stream_that_is_taken_slowly_holds_up_no_other(tmp_path):
    class SlowSink:
        def __init__(self) -> None:
            self.taken = 0
            self.go_on = asyncio.Event()

        async def begin(self, content_type: str | None) -> None: ...

        async def write(self, part: bytes) -> None:
            self.taken += len(part)
            await self.go_on.wait()

    def on_invoke(meta: wire.Meta, body: bytes) -> Reaction:
        if body != b"stream":
            return respond(body)
        part = wire.encode(wire.PART, None, b"x" * wire.MAX_PART_BYTES)
        return Reaction(send=HEAD + 40 * part + wire.encode(wire.RESPONSE))

    async with many(tmp_path, Behaviour(on_invoke=on_invoke)) as (built, _):
        sink = SlowSink()
        slow = asyncio.create_task(built.worker.invoke(ID, an_invocation(b"stream"), sink))
        await until(lambda: sink.taken)
        for number in range(20):
            assert (await built.invoke(b"%d" % number)).payload == b"%d" % number
        assert not slow.done()
        sink.go_on.set()
        assert (await slow).function_error is None
        assert sink.taken == 40 * wire.MAX_PART_BYTES


# ---------------------------------------------------------------- one fails


async def test_a_timeout_is_told_at_once_and_the_others_run_to_their_ends(tmp_path):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        slow, other = begun(built, b"slow", b"other")
        await instance.invoked(2)
        lane = next(iter(built.worker._instances[ID]._lanes.busy))
        lane.channel._answer.set_exception(TimeoutError())  # as its timer does
        await until(lambda: slow.done() or other.done())
        failed, left, event = (slow, other, b"other") if slow.done() else (other, slow, b"slow")
        assert error_of(failed.result()).endswith("Task timed out after 60.00 seconds")
        with pytest.raises(PlatformError):
            await built.invoke(b"new")
        await settled()
        assert built.exits == []
        held.react(event)
        outcome = await left
        assert (outcome.payload, outcome.function_error) == (event, None)
        assert not outcome.instance_survives
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_a_request_that_ended_its_process_in_word_alone_leaves_the_others(tmp_path):
    held = Held()
    meta = {"type": "Runtime.ExitError", "fault": "Runtime exited with error: exit status 3"}
    async with many(tmp_path, held.behaviour) as (built, instance):
        ending, other = begun(built, b"ending", b"other")
        await instance.invoked(2)
        held.react(b"ending", Reaction(send=wire.encode(wire.ERROR, meta)))
        assert error_of(await ending).endswith("Runtime exited with error: exit status 3")
        held.react(b"other")
        assert (await other).payload == b"other"
        await until(lambda: built.exits == [ID])


async def test_an_error_of_a_handler_leaves_the_instance_as_it_is(tmp_path):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        failing, other = begun(built, b"failing", b"other")
        await instance.invoked(2)
        held.react(b"failing", Reaction(send=wire.encode(wire.ERROR, {"type": "E"}, b"{}")))
        assert (await failing).instance_survives
        held.react(b"other")
        assert (await other).instance_survives
        assert built.exits == []


async def test_a_crash_is_told_to_all_as_what_it_was(tmp_path):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        running = begun(built, b"1", b"2", b"3")
        await instance.invoked(3)
        instance.end(Exit(signal=9, out_of_memory=True))
        outcomes = [await one for one in running]
        assert {json.loads(o.payload)["errorType"] for o in outcomes} == {"Runtime.OutOfMemory"}
        assert len({error_of(outcome) for outcome in outcomes}) == 1
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_an_answer_that_was_sent_before_a_crash_is_heard(tmp_path):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        answered, crashing = begun(built, b"answered", b"crashing")
        await instance.invoked(2)
        held.react(b"answered")
        held.react(b"crashing", end(code=1))
        assert (await answered).payload == b"answered"
        assert error_of(await crashing).endswith("exit status 1")


async def test_a_cancelled_request_leaves_the_others(tmp_path):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        leaving, other = begun(built, b"leaving", b"other")
        await instance.invoked(2)
        leaving.cancel()
        await settled()
        held.react(b"other")
        assert (await other).payload == b"other"
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_stopping_ends_all_that_run(tmp_path):
    async with many(tmp_path, Behaviour(on_invoke=NOTHING)) as (built, instance):
        running = begun(built, b"1", b"2")
        await instance.invoked(2)
        await built.worker.stop(ID)
        for one in running:
            assert "Runtime exited" in error_of(await one)
        assert built.exits == []


# ---------------------------------------------------------------- who breaks the protocol


@pytest.mark.parametrize(
    "frame",
    [
        wire.encode(wire.RESPONSE, None, b"1"),
        wire.encode(wire.READY),
        wire.encode(wire.IDLE),
        wire.encode(wire.LANE),
        b"no frame at all" * 10,
    ],
    ids=["answer", "ready", "idle", "lane", "noise"],
)
@pytest.mark.parametrize("lane", [None, 1], ids=["first channel", "idle lane"])
async def test_who_speaks_where_nothing_was_asked_is_ended(tmp_path, frame, lane):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        first, second = begun(built, b"1", b"2")
        await instance.invoked(2)
        held.react(b"2")
        await second
        await instance.send(frame, lane)
        assert "Runtime exited" in error_of(await first)
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_a_second_answer_on_a_lane_is_a_breach(tmp_path):
    twice = wire.encode(wire.RESPONSE, None, b"1") * 2
    async with many(tmp_path, Behaviour(on_invoke=Reaction(send=twice))) as (built, _):
        assert not (await built.invoke()).instance_survives
        await until(lambda: built.exits == [ID])


async def test_no_answer_is_pending_on_a_lane_of_many(tmp_path):
    pending = wire.encode(wire.RESPONSE, {"pending": True}, b"1")
    async with many(tmp_path, Behaviour(on_invoke=Reaction(send=pending))) as (built, _):
        outcome = await built.invoke()
        assert not outcome.pending
        assert "Runtime exited" in error_of(outcome)
        await until(lambda: built.exits == [ID])


async def test_who_closes_an_idle_lane_is_ended_after_those_that_run(tmp_path):
    held = Held()
    async with many(tmp_path, held.behaviour) as (built, instance):
        first, second = begun(built, b"1", b"2")
        await instance.invoked(2)
        held.react(b"2")
        await second
        instance.lanes[1].shutdown(2)
        await until(lambda: not built.worker._instances[ID].takes_more)
        held.react(b"1")
        assert (await first).payload == b"1"
        await until(lambda: built.exits == [ID])


def test_many_channels_that_rest_get_no_more_of_the_event_loop_than_one():
    pace = Pace()
    rests = [pace.next_rest_s() for _ in range(100)]
    assert rests[0] == REST_S
    assert sum(1 / rest for rest in rests) < 6 / REST_S


async def test_floods_on_all_lanes_end_with_their_streams(tmp_path):
    parts = HEAD + wire.encode(wire.PART, None, b".") * 2000 + wire.encode(wire.RESPONSE)
    async with many(tmp_path, Behaviour(on_invoke=Reaction(send=parts))) as (built, _):
        outcomes = await asyncio.gather(*(built.invoke() for _ in range(MANY)))
        assert [len(outcome.payload) for outcome in outcomes] == [2000] * MANY
        assert built.worker._instances[ID]._channel.pace.resting == 0
