"""How instances on a worker end, asked for and not; nothing is ever left of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from samovar.model.instance import InstanceState
from samovar.ports import Exit
from samovar.sandbox.fake import NOTHING, Behaviour, Reaction, end, respond
from tests.unit.fake_machine import ID, machine
from tests.unit.scripted_worker import settled, until


async def test_a_stopped_instance_leaves_nothing_and_is_no_exit(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle()
        await built.worker.stop(ID)
        await settled()
        assert built.leftovers() == {}
        assert built.exits == []


async def test_stopping_twice_or_what_is_unknown_is_no_error(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle()
        await asyncio.gather(*(built.worker.stop(ID) for _ in range(3)))
        await built.worker.stop(ID)
        await built.worker.stop("i-unknown")
        assert built.sandbox.stops == [ID]
        assert built.leftovers() == {}


async def test_stopping_a_busy_instance_ends_its_invocation_as_a_crash(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance = await built.idle(timeout_s=60)
        running = asyncio.create_task(built.invoke())
        await until(lambda: instance.invocations)
        await built.worker.stop(ID)
        outcome = await running
        assert json.loads(outcome.payload)["errorType"] == "Runtime.ExitError"
        assert not outcome.instance_survives
        assert built.exits == []


async def test_an_instance_that_is_stopped_in_the_moment_of_its_answer_is_not_idle_again(tmp_path):
    async with machine(tmp_path) as built:
        await built.idle()
        running = asyncio.create_task(built.invoke())
        known = built.worker._instances[ID]
        await until(lambda: known._channel._answer is None and known.state is InstanceState.BUSY)
        await built.worker.stop(ID)
        outcome = await running
        assert (outcome.payload, outcome.instance_survives) == (b"{}", False)


async def test_a_cancelled_invocation_ends_the_instance(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance = await built.idle(timeout_s=60)
        running = asyncio.create_task(built.invoke())
        await until(lambda: instance.invocations)
        running.cancel()
        await asyncio.wait([running])
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


@pytest.mark.parametrize("end_it", ["exit", "hang up"])
async def test_an_idle_instance_that_ends_by_itself_is_cleared_away_and_told(tmp_path, end_it):
    async with machine(tmp_path) as built:
        instance = await built.idle()
        if end_it == "exit":
            instance.end(Exit(code=0))
        else:
            instance._guest_channel.shutdown(2)
        await until(lambda: built.exits)
        await settled()
        assert built.exits == [ID]
        assert built.leftovers() == {}


async def test_an_instance_that_ends_right_after_its_answer_has_answered_and_is_gone(tmp_path):
    answer = Reaction(send=respond(b"1").send, exit=Exit(code=1))
    async with machine(tmp_path, Behaviour(on_invoke=answer)) as built:
        await built.idle()
        assert (await built.invoke()).payload == b"1"
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}


async def test_an_instance_whose_process_ends_but_whose_channel_is_held_open_ends(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance = await built.idle(timeout_s=60)
        holder = instance._guest_channel.dup()  # a process that it left behind, as it were
        running = asyncio.create_task(built.invoke())
        await until(lambda: instance.invocations)
        instance.end(Exit(code=9))
        outcome = await running
        assert "exit status 9" in json.loads(outcome.payload)["errorMessage"]
        holder.close()


async def test_an_answer_of_what_a_process_left_behind_is_the_last_one(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance = await built.idle(timeout_s=60)
        child = instance._guest_channel.dup()
        running = asyncio.create_task(built.invoke())
        await until(lambda: instance.invocations)
        instance.end(Exit(code=0))
        await asyncio.wait([instance.exited])
        child.send(respond(b"1").send)
        assert (await running).payload == b"1"
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {}
        child.close()


async def test_a_worker_that_closes_stops_everything(tmp_path):
    async with machine(tmp_path) as built:
        for name in ("i-1", "i-2", "i-3"):
            await built.idle(name)
    assert built.sandbox.running() == []
    assert built.exits == []


async def test_a_worker_that_closes_ends_what_runs(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=NOTHING)) as built:
        instance = await built.idle(timeout_s=60)
        running = asyncio.create_task(built.invoke())
        await until(lambda: instance.invocations)
    assert not (await running).instance_survives


async def test_an_instance_that_cannot_be_stopped_keeps_its_memory_and_harms_nobody_else(tmp_path):
    async with machine(tmp_path, Behaviour(on_invoke=end(code=1))) as built:
        stuck = await built.idle()
        stop, stuck.stop = stuck.stop, _fails
        await built.invoke()
        await until(lambda: built.exits == [ID])
        assert built.leftovers() == {"memory": 128, "instances": [ID], "pins": built.cache._pins}
        await built.idle("i-2")
        stuck.stop = stop


async def _fails():
    raise OSError("the kernel says no")
