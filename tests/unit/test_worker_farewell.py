"""Instances that want to be told of their end, and those that abuse it."""

from __future__ import annotations

import asyncio
import json
import math
import time

import pytest

from samovar.guest import wire
from samovar.ports import Exit
from samovar.sandbox.fake import NOTHING, Behaviour, Reaction, extended, respond
from tests.unit.fake_machine import ID, REQUEST_ID, machine
from tests.unit.scripted_worker import until

EXTENDED = extended()


async def test_an_instance_that_wants_it_is_told_of_its_end(tmp_path):
    async with machine(tmp_path, Behaviour(on_init=EXTENDED)) as built:
        instance = await built.idle()
        await built.worker.stop(ID)
        ((told),) = instance.shutdowns
        assert told["reason"] == "spindown"
        assert told["deadline_ms"] <= time.time() * 1e3 + 2_000
        assert instance.exited.result() == Exit(code=0)
        assert built.leftovers() == {}
        assert built.exits == []


async def test_all_others_are_not(tmp_path):
    async with machine(tmp_path) as built:
        instance = await built.idle()
        await built.invoke()
        await built.worker.stop(ID)
        assert (instance.shutdowns, instance.reports) == ([], [])


async def test_it_learns_what_each_invocation_has_cost(tmp_path):
    async with machine(tmp_path, Behaviour(on_init=EXTENDED)) as built:
        instance = await built.idle()
        await built.invoke()
        await built.invoke()
        await until(lambda: len(instance.reports) == 2)
        first, second = instance.reports
        assert (first["id"], first["status"]) == (REQUEST_ID, "success")
        assert first["init_ms"] > 0
        assert (first["peak_mib"], first["memory_mib"]) == (20, 128)
        assert "init_ms" not in second
        assert f"Duration: {second['run_ms']:.2f} ms" in built.logs.text.decode()


async def test_a_timed_out_invocation_is_answered_before_its_instance_is_told(tmp_path):
    behaviour = Behaviour(on_init=extended(50), on_invoke=NOTHING, on_shutdown=NOTHING)
    async with machine(tmp_path, behaviour) as built:
        instance = await built.idle(timeout_s=0.05)
        outcome = await built.invoke()
        assert json.loads(outcome.payload)["errorType"] == "Sandbox.Timedout"
        assert not instance.exited.done()
        await until(lambda: instance.shutdowns)
        assert instance.shutdowns[0]["reason"] == "timeout"
        assert instance.reports[0]["status"] == "timeout"
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_who_stays_is_ended_when_time_is_up(tmp_path):
    behaviour = Behaviour(on_init=extended(20), on_shutdown=NOTHING)
    async with machine(tmp_path, behaviour) as built:
        instance = await built.idle()
        await built.worker.stop(ID)
        assert instance.exited.result() == Exit(signal=9)
        assert built.leftovers() == {}


async def test_where_somebody_waits_for_its_room_it_has_less_time(tmp_path):
    behaviour = Behaviour(on_init=EXTENDED, on_shutdown=NOTHING)
    async with machine(tmp_path, behaviour) as built:
        instance = await built.idle()
        stopping = asyncio.create_task(built.worker.stop(ID, in_a_hurry=True))
        await until(lambda: instance.shutdowns)
        assert instance.shutdowns[0]["deadline_ms"] - time.time() * 1e3 <= 500
        await stopping
        assert instance.exited.result() == Exit(signal=9)


async def test_what_it_says_after_that_is_discarded(tmp_path):
    late = Reaction(send=respond(b"late").send * 3 + b"no frame at all" * 10_000, exit=Exit(code=0))
    behaviour = Behaviour(on_init=EXTENDED, on_invoke=NOTHING, on_shutdown=late)
    async with machine(tmp_path, behaviour) as built:
        instance = await built.idle(timeout_s=0.05)
        await built.invoke()
        await until(lambda: built.exits == [ID])
        assert instance.exited.result() == Exit(code=0)


async def test_a_cancelled_stop_ends_it_all_the_same(tmp_path):
    behaviour = Behaviour(on_init=EXTENDED, on_shutdown=NOTHING)
    async with machine(tmp_path, behaviour) as built:
        instance = await built.idle()
        stopping = asyncio.create_task(built.worker.stop(ID))
        await until(lambda: instance.shutdowns)
        stopping.cancel()
        await asyncio.wait([stopping])
        await instance.exited
        await built.worker.stop(ID)
        assert built.leftovers() == {}


async def test_stopping_twice_tells_it_once(tmp_path):
    behaviour = Behaviour(on_init=extended(100), on_shutdown=NOTHING)
    async with machine(tmp_path, behaviour) as built:
        instance = await built.idle()
        await asyncio.gather(*(built.worker.stop(ID) for _ in range(3)))
        assert len(instance.shutdowns) == 1
        assert built.leftovers() == {}


@pytest.mark.parametrize("wish", [None, "2000", -5, 0, math.nan, [], {"a": 1}, False])
async def test_a_wish_that_makes_no_sense_is_none(tmp_path, wish):
    async with machine(tmp_path, Behaviour(on_init=extended(wish))) as built:
        instance = await built.idle()
        await built.worker.stop(ID)
        assert instance.shutdowns == []


@pytest.mark.parametrize("wish", [1e9, math.inf, 10**400])
async def test_nobody_is_waited_for_longer_than_two_seconds(tmp_path, wish):
    async with machine(tmp_path, Behaviour(on_init=extended(wish))) as built:
        instance = await built.idle()
        await built.worker.stop(ID)
        assert instance.shutdowns[0]["deadline_ms"] <= time.time() * 1e3 + 2_000


async def test_the_worker_tells_all_instances_at_once(tmp_path):
    behaviour = Behaviour(on_init=EXTENDED, on_shutdown=NOTHING)
    async with machine(tmp_path, behaviour) as built:
        instances = [await built.idle(f"i-{number}") for number in range(4)]
        stopping = asyncio.create_task(built.worker.stop_all())
        await until(lambda: all(instance.shutdowns for instance in instances))
        assert not any(instance.exited.done() for instance in instances)
        for instance in instances:
            instance.end(Exit(code=0))
        await stopping
        assert built.leftovers() == {}


async def test_a_frame_out_of_turn_costs_the_instance_its_farewell(tmp_path):
    unasked = Reaction(send=wire.encode(wire.READY) * 2)
    async with machine(tmp_path, Behaviour(on_init=EXTENDED, on_invoke=unasked)) as built:
        instance = await built.idle()
        outcome = await built.invoke()
        assert json.loads(outcome.payload)["errorType"] == "Runtime.ExitError"
        await until(lambda: built.exits == [ID])
        assert instance.shutdowns == []
