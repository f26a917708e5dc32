"""The sandbox that tests of worker and manager run on does what a sandbox does, and no more."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.instance import InstanceId
from samovar.ports import Exit, Sandbox, SandboxInstance, SandboxSpec
from samovar.sandbox.fake import (
    NOTHING,
    Behaviour,
    FakeInstance,
    FakeSandbox,
    Reaction,
    end,
    fail,
    init_error,
    ready,
    respond,
)

WITHIN_S = 10.0
_numbers = itertools.count()


def spec(**changes: object) -> SandboxSpec:
    fields = {
        "instance_id": InstanceId(f"i-{next(_numbers)}"),
        "runtime": "python3.11",
        "code_dir": Path("/code"),
        "memory_mib": 128,
        "vcpus": 0.07,
        "ephemeral_storage_mib": 512,
    }
    return SandboxSpec(**(fields | changes))


@pytest.fixture
async def sandbox() -> AsyncIterator[FakeSandbox]:
    sandbox = FakeSandbox()
    await sandbox.open()
    yield sandbox
    await sandbox.close()


class Caller:
    """Speaks to an instance as a worker does."""

    def __init__(self, instance: FakeInstance) -> None:
        self.instance = instance
        self._reader = wire.FrameReader()
        self._frames: list[wire.Frame] = []

    async def init(self) -> wire.Frame:
        return await self.ask(wire.encode(wire.INIT, {"handler": "app.handler"}))

    async def invoke(self, body: bytes = b"{}") -> wire.Frame:
        return await self.ask(wire.encode(wire.INVOKE, {"id": "1"}, body))

    async def ask(self, frame: bytes) -> wire.Frame:
        await asyncio.get_running_loop().sock_sendall(self.instance.channel, frame)
        return await self.frame()

    async def frame(self) -> wire.Frame:
        while not self._frames:
            self._frames += self._reader.feed(await self.received())
        return self._frames.pop(0)

    async def received(self) -> bytes:
        async with asyncio.timeout(WITHIN_S):
            loop = asyncio.get_running_loop()
            data = await loop.sock_recv(self.instance.channel, wire.RECV_BYTES)
        if not data:
            raise EOFError
        return data

    async def exit(self) -> Exit:
        async with asyncio.timeout(WITHIN_S):
            return await asyncio.shield(self.instance.exited)

    def output(self) -> bytes:
        return os.read(self.instance.output_fd, 1 << 20)


async def start(sandbox: FakeSandbox, behaviour: Behaviour | None = None) -> Caller:
    if behaviour:
        sandbox.behaviour = behaviour
    return Caller(await sandbox.start(spec()))


async def test_it_implements_the_ports(sandbox: FakeSandbox) -> None:
    driver: Sandbox = sandbox
    instance: SandboxInstance = await driver.start(spec())
    assert (driver.isolation.driver, driver.isolation.layers) == ("fake", frozenset())
    assert (instance.origin, instance.task_root, instance.peak_memory_bytes() > 0) == (
        "fork",
        "/code",
        True,
    )


async def test_by_default_an_instance_gets_ready_and_echoes(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox)
    assert await caller.init() == (wire.READY, {"init_ms": 1.0}, b"")
    assert await caller.invoke(b'"tea"') == (wire.RESPONSE, {}, b'"tea"')
    assert await caller.invoke(b"[]") == (wire.RESPONSE, {}, b"[]")


async def test_an_instance_keeps_what_it_was_sent(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox)
    await caller.init()
    await caller.invoke(b"7")
    assert caller.instance.inits == [{"handler": "app.handler"}]
    assert caller.instance.invocations == [({"id": "1"}, b"7")]


async def test_a_failed_init_is_told_and_is_the_end(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox, Behaviour(on_init=init_error("Runtime.ImportModuleError", "no")))
    document = b'{"errorType": "Runtime.ImportModuleError", "errorMessage": "no"}'
    assert await caller.init() == (wire.INIT_ERROR, {}, document)
    assert await caller.exit() == Exit(code=1)


async def test_a_behaviour_may_depend_on_the_event(sandbox: FakeSandbox) -> None:
    def on_invoke(meta: wire.Meta, body: bytes) -> Reaction:
        return respond(b"1") if body == b"fine" else fail("ValueError", "boom")

    caller = await start(sandbox, Behaviour(on_invoke=on_invoke))
    await caller.init()
    assert (await caller.invoke(b"fine"))[0] == wire.RESPONSE
    assert (await caller.invoke(b"not"))[:2] == (wire.ERROR, {"type": "ValueError"})


async def test_an_invocation_may_take_until_the_test_says_so(sandbox: FakeSandbox) -> None:
    gate = asyncio.Event()

    async def on_invoke(meta: wire.Meta, body: bytes) -> Reaction:
        await gate.wait()
        return respond(b"late")

    caller = await start(sandbox, Behaviour(on_invoke=on_invoke))
    await caller.init()
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(caller.invoke())
        await caller.instance.invoked()
        assert not answer.done()
        gate.set()
    assert answer.result()[2] == b"late"


ENDS = {
    "a code": (end(code=7), Exit(code=7)),
    "a signal": (end(signal=signal.SIGSEGV), Exit(signal=signal.SIGSEGV)),
    "the memory limit": (
        end(signal=signal.SIGKILL, out_of_memory=True),
        Exit(signal=signal.SIGKILL, out_of_memory=True),
    ),
    "a start that failed": (end(failure="no room"), Exit(failure="no room")),
}


@pytest.mark.parametrize(("reaction", "how"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("where", ["init", "invoke"])
async def test_an_instance_ends_with(
    sandbox: FakeSandbox, reaction: Reaction, how: Exit, where: str
) -> None:
    on_init = reaction if where == "init" else ready()
    caller = await start(sandbox, Behaviour(on_init=on_init, on_invoke=reaction))
    with pytest.raises(EOFError):
        await caller.init()
        await caller.invoke()
    assert await caller.exit() == how


async def test_what_it_printed_before_its_end_can_be_read(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox, Behaviour(on_init=end(code=1, output=b"last words")))
    with pytest.raises(EOFError):
        await caller.init()
    await caller.exit()
    assert caller.output() == b"last words"


async def test_output_is_there_before_the_answer(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox, Behaviour(on_invoke=respond(b"1", output=b"hello\n")))
    await caller.init()
    await caller.invoke()
    assert caller.output() == b"hello\n"


async def test_an_instance_that_prints_more_than_the_pipe_holds_waits(
    sandbox: FakeSandbox,
) -> None:
    text = b"x" * (1 << 20)
    caller = await start(sandbox, Behaviour(on_invoke=respond(b"1", output=text)))
    await caller.init()
    seen = bytearray()
    async with asyncio.TaskGroup() as tasks:
        answer = tasks.create_task(caller.invoke())
        while not answer.done():
            await asyncio.sleep(0)
            try:
                seen += caller.output()
            except BlockingIOError:
                continue
    assert (bytes(seen), answer.result()[2]) == (text, b"1")


async def test_garbage_goes_out_as_it_is(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox, Behaviour(on_init=Reaction(send=b"\xff" * 100)))
    with pytest.raises(wire.ProtocolError):
        await caller.init()


async def test_an_instance_may_send_what_nobody_asked_for(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox)
    await caller.init()
    await caller.instance.send(wire.encode(wire.RESPONSE, None, b"unasked"))
    assert (await caller.frame())[2] == b"unasked"


async def test_an_instance_may_hang_up_and_live_on(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox, Behaviour(on_invoke=Reaction(hang_up=True)))
    await caller.init()
    with pytest.raises(EOFError):
        await caller.invoke()
    assert sandbox.running() == [caller.instance]


async def test_an_instance_may_end_while_it_is_idle(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox)
    await caller.init()
    caller.instance.end(Exit(signal=signal.SIGKILL, out_of_memory=True))
    assert (await caller.exit()).out_of_memory
    with pytest.raises(EOFError):
        await caller.received()


async def test_an_instance_ends_when_its_channel_is_closed(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox)
    await caller.init()
    caller.instance.channel.shutdown(2)
    assert await caller.exit() == Exit(code=0)


@pytest.mark.parametrize("reaction", [NOTHING, end(code=3)], ids=["hanging", "ended"])
async def test_stop_ends_an_instance_and_can_be_repeated(
    sandbox: FakeSandbox, reaction: Reaction
) -> None:
    caller = await start(sandbox, Behaviour(on_invoke=reaction))
    await caller.init()
    await asyncio.get_running_loop().sock_sendall(
        caller.instance.channel, wire.encode(wire.INVOKE, {}, b"")
    )
    await caller.instance.invoked()
    await caller.instance.stop()
    await caller.instance.stop()
    assert (await caller.exit()) == (reaction.exit or Exit(signal=signal.SIGKILL))
    assert caller.instance.channel.fileno() == -1
    assert sandbox.stops == [caller.instance.id]


async def test_a_stop_that_is_cancelled_still_ends_the_instance(sandbox: FakeSandbox) -> None:
    caller = await start(sandbox)
    stopping = asyncio.create_task(caller.instance.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert await caller.exit() == Exit(signal=signal.SIGKILL)
    assert caller.instance.channel.fileno() == -1


async def test_it_records_what_it_was_asked_for(sandbox: FakeSandbox) -> None:
    await sandbox.prepare("python3.11")
    instance = await sandbox.start(spec())
    instance.settle()
    assert (sandbox.prepared, sandbox.starts) == (["python3.11"], [instance.spec])
    assert (sandbox.settles, sandbox.instances) == ([instance.id], {instance.id: instance})


async def test_a_runtime_that_is_not_there_is_refused(sandbox: FakeSandbox) -> None:
    with pytest.raises(PlatformError) as refused:
        await sandbox.start(spec(runtime="python2.7"))
    assert (refused.value.code, sandbox.starts) == (ErrorCode.INVALID_RUNTIME, [])


async def test_a_start_may_be_refused_or_held(sandbox: FakeSandbox) -> None:
    async def on_start(spec: SandboxSpec) -> None:
        raise PlatformError(ErrorCode.UNAVAILABLE, "no supervisor")

    sandbox.behaviour = Behaviour(on_start=on_start)
    with pytest.raises(PlatformError, match="no supervisor"):
        await sandbox.start(spec())
    assert sandbox.instances == {}


async def test_what_a_behaviour_raises_is_not_lost() -> None:
    def on_invoke(meta: wire.Meta, body: bytes) -> Reaction:
        raise AssertionError("not this event")

    sandbox = FakeSandbox(Behaviour(on_invoke=on_invoke))
    caller = await start(sandbox)
    await caller.init()
    with pytest.raises(EOFError):
        await caller.invoke()
    with pytest.raises(BaseExceptionGroup) as raised:
        await sandbox.close()
    assert raised.group_contains(AssertionError, match="not this event")


async def test_a_closed_sandbox_leaves_no_descriptor_and_no_task() -> None:
    gc.collect()
    descriptors, tasks = os.listdir("/proc/self/fd"), asyncio.all_tasks()
    sandbox = FakeSandbox(Behaviour(on_invoke=NOTHING))
    callers = [await start(sandbox) for _ in range(5)]
    await asyncio.gather(*(caller.init() for caller in callers[:3]))
    callers[0].instance.end(Exit(code=2))
    await sandbox.close()
    assert os.listdir("/proc/self/fd") == descriptors
    assert asyncio.all_tasks() == tasks
