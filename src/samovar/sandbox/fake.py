"""A sandbox without a process, for tests of what stands above it.

How this works. `FakeSandbox` is a driver like any other: its instances have a real channel, a real
output pipe and an `exited` future. Behind them runs no function but a `Behaviour`, on the same
event loop: two functions (or constants), one for the INIT frame and one for INVOKE frames, which
say what the instance does next as a `Reaction`: print, send bytes, hang up, end, or nothing at all.

    FakeSandbox(Behaviour(on_invoke=respond(b'"hello"')))
    FakeSandbox(Behaviour(on_init=end(code=1)))
    FakeSandbox(Behaviour(on_invoke=lambda meta, body: fail("ValueError") if body else NOTHING))

A function may be async: then the instance is busy until it returns. `FakeInstance.invoked` waits
until it has got an event. It isolates nothing, and says so: `isolation.layers` is empty.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from samovar.guest import wire
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.instance import InstanceId
from samovar.model.isolation import Isolation, Layer
from samovar.ports import Exit, SandboxSpec, Usage
from samovar.sandbox.reactions import (
    LEAVE,
    NOTHING,
    READY,
    Reaction,
    echo,
    end,
    extended,
    fail,
    init_error,
    ready,
    respond,
)

__all__ = [  # what is handed on
    "LEAVE",
    "NOTHING",
    "READY",
    "Behaviour",
    "FakeInstance",
    "FakeSandbox",
    "Reaction",
    "echo",
    "end",
    "extended",
    "fail",
    "init_error",
    "ready",
    "respond",
]

RUNTIMES: Mapping[str, str] = {"python3.11": "fake", "python3.12": "fake"}


OnInit = Callable[[wire.Meta], Reaction | Awaitable[Reaction]]
OnInvoke = Callable[[wire.Meta, bytes], Reaction | Awaitable[Reaction]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What instances do. The functions get the meta (and body) of the frame that was read."""

    on_start: Callable[[SandboxSpec], Awaitable[None]] | None = None
    """Awaited by `FakeSandbox.start`: to wait, or to raise `PlatformError`."""
    on_init: OnInit | Reaction = READY
    on_invoke: OnInvoke | Reaction = echo
    on_shutdown: Reaction = LEAVE
    on_restore: OnInit | Reaction = READY
    unfit: str | None = None
    """Why no template can be made of them."""
    origin: str = "fork"
    peak_memory_bytes: int = 20 << 20


class FakeInstance:
    """Implements `samovar.ports.SandboxInstance`.

    `inits`, `restores`, `invocations`, `reports` and `shutdowns` are the frames that it has read.
    What it does of its own accord: `send`, `print` and `end`. `memory_bytes` is what it
    uses, as it says."""

    id: InstanceId
    channel: socket.socket
    output_fd: int
    exited: asyncio.Future[Exit]
    task_root: str
    layers_root: str | None

    def __init__(self, sandbox: FakeSandbox, spec: SandboxSpec, behaviour: Behaviour) -> None:
        self.id = spec.instance_id
        self.task_root = str(spec.code_dir)
        self.layers_root = str(spec.layers_dir) if spec.layers_dir else None
        self.spec = spec
        self.inits: list[wire.Meta] = []
        self.invocations: list[tuple[wire.Meta, bytes]] = []
        self.lanes: list[socket.socket] = []
        """Its ends of them."""
        self._lane_tasks: list[asyncio.Task[None]] = []
        self._fds: list[int] = []
        self.reports: list[wire.Meta] = []
        self.shutdowns: list[wire.Meta] = []
        self.settled = False
        self.frozen = False
        self.restores: list[wire.Meta] = []
        self.memory_bytes = behaviour.peak_memory_bytes
        self._news = asyncio.Event()
        self._sandbox = sandbox
        self._behaviour = behaviour
        self._loop = asyncio.get_running_loop()
        self.exited = self._loop.create_future()
        self.channel, self._guest_channel = socket.socketpair()
        self.channel.setblocking(False)
        self._guest_channel.setblocking(False)
        self.output_fd, self._guest_output_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._exit = Exit(signal=signal.SIGKILL)
        """How it ends if nothing else is said: by `stop`."""
        self._stopping = False
        self._released = False
        self._task = self._loop.create_task(self._run(), name=f"fake-{self.id}")
        self._task.add_done_callback(self._ended)

    # ------------------------------------------------------------ the port

    @property
    def origin(self) -> str:
        return "template" if self.spec.template else self._behaviour.origin

    def peak_memory_bytes(self) -> int:
        return self._behaviour.peak_memory_bytes

    def usage(self) -> Usage:
        return Usage(memory_bytes=0 if self.exited.done() else self.memory_bytes)

    async def freeze(self) -> None:
        """See the port."""
        if self._behaviour.unfit is not None:
            raise PlatformError(ErrorCode.INVALID_PARAMETER, self._behaviour.unfit)
        self.frozen = True
        self._guest_channel.shutdown(socket.SHUT_WR)

    def settle(self) -> None:
        self.settled = True
        self._sandbox.settles.append(self.id)

    async def stop(self) -> None:
        """See the port."""
        if not self._stopping:
            self._stopping = True
            self._sandbox.stops.append(self.id)
            self._task.cancel()
        await asyncio.shield(self.exited)
        self._release()

    # ------------------------------------------------------------ what tests make it do

    async def send(self, data: bytes, lane: int | None = None) -> None:
        """Send to the worker what it has not asked for; on its first channel, or on a lane."""
        channel = self._guest_channel if lane is None else self.lanes[lane]
        await self._loop.sock_sendall(channel, data)

    async def print(self, text: bytes) -> None:
        """Write to its output; waits while the pipe is full."""
        while text:
            try:
                text = text[os.write(self._guest_output_fd, text) :]
            except BlockingIOError:
                await self._when(
                    self._loop.add_writer, self._loop.remove_writer, self._guest_output_fd
                )
            except BrokenPipeError:
                return

    async def invoked(self, times: int = 1) -> None:
        """Wait until it has read so many events in all."""
        while len(self.invocations) < times:
            self._news.clear()
            await self._news.wait()

    def end(self, exit_: Exit) -> None:
        """End, whatever it is doing; `exited` tells when it has."""
        if not self._stopping:
            self._exit = exit_
            self._task.cancel()

    # ------------------------------------------------------------ inside

    async def _run(self) -> None:
        """Read frames and react, until the channel ends or a reaction does."""
        await self._serve(self._guest_channel)

    async def _serve(self, channel: socket.socket) -> None:
        reader = wire.FrameReader()
        while data := await self._receive(channel):
            for kind, meta, body in reader.feed(data):
                if kind == wire.LANE:
                    self._begin_lane(socket.socket(fileno=self._fds.pop(0)))
                    continue
                reaction = await self._react(kind, meta, body)
                await self.print(reaction.output)
                if reaction.send:
                    await self._loop.sock_sendall(channel, reaction.send)
                if reaction.hang_up:
                    channel.close()
                    await self._loop.create_future()
                if reaction.exit:
                    self._exit = reaction.exit
                    self._task.cancel()
                    return
        if channel is self._guest_channel:
            self._exit = Exit(code=0)

    def _begin_lane(self, lane: socket.socket) -> None:
        assert len(self.lanes) < self.inits[0]["concurrency"], "a worker opened too many lanes"
        lane.setblocking(False)
        self.lanes.append(lane)
        self._lane_tasks.append(self._loop.create_task(self._serve(lane)))
        self._lane_tasks[-1].add_done_callback(self._lane_ended)

    def _lane_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            self._sandbox.errors.append(error)
            self.end(Exit(failure=repr(error)))

    async def _receive(self, channel: socket.socket) -> bytes:
        while True:
            try:
                data, fds = wire.receive_descriptors(channel)
            except BlockingIOError:
                await self._when(self._loop.add_reader, self._loop.remove_reader, channel.fileno())
            except ConnectionResetError:
                return b""
            else:
                self._fds += fds
                return data

    async def _react(self, kind: int, meta: wire.Meta, body: bytes) -> Reaction:
        reaction: Reaction | Awaitable[Reaction]
        if kind == wire.INIT:
            self.inits.append(meta)
            on_init = self._behaviour.on_init
            reaction = on_init if isinstance(on_init, Reaction) else on_init(meta)
        elif kind == wire.RESTORE:
            assert self.spec.template, "RESTORE to what was forked from no template"
            self.restores.append(meta)
            on_restore = self._behaviour.on_restore
            reaction = on_restore if isinstance(on_restore, Reaction) else on_restore(meta)
        elif kind == wire.REPORT:
            self.reports.append(meta)
            return NOTHING
        elif kind == wire.SHUTDOWN:
            self.shutdowns.append(meta)
            return self._behaviour.on_shutdown
        else:
            assert kind == wire.INVOKE, f"a worker sent a frame of type {kind}"
            assert self.inits or self.restores, "a worker sent INVOKE before INIT"
            self.invocations.append((meta, body))
            self._news.set()
            on_invoke = self._behaviour.on_invoke
            reaction = on_invoke if isinstance(on_invoke, Reaction) else on_invoke(meta, body)
        return await reaction if inspect.isawaitable(reaction) else reaction

    async def _when(
        self, watch: Callable[..., None], forget: Callable[..., object], fd: int
    ) -> None:
        """Wait until a descriptor is ready, by the loop's own methods."""
        ready = self._loop.create_future()
        watch(fd, _wake, ready)
        try:
            await ready
        finally:
            forget(fd)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Its task is over, and with it whatever watched these descriptors."""
        for lane_task in self._lane_tasks:
            lane_task.cancel()
        for channel in (self._guest_channel, *self.lanes):
            channel.close()
        os.close(self._guest_output_fd)
        if not task.cancelled() and (error := task.exception()):
            self._sandbox.errors.append(error)
            self._exit = Exit(failure=repr(error))
        self.exited.set_result(self._exit)
        if self._stopping:
            self._release()

    def _release(self) -> None:
        if not self._released:
            self._released = True
            self.channel.close()
            os.close(self.output_fd)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class FakeSandbox:
    """Implements `samovar.ports.Sandbox`. `behaviour` is that of instances started from now on.

    Records in `prepared`, `starts`, `settles`, `stops` what it was asked for, in `instances` every
    instance by its id, and in `errors` what behaviours raised; `close` raises those."""

    isolation: Isolation
    runtimes: Mapping[str, str]

    def __init__(
        self, behaviour: Behaviour | None = None, *, runtimes: Mapping[str, str] = RUNTIMES
    ) -> None:
        self.behaviour = behaviour or Behaviour()
        self.runtimes = runtimes
        self.isolation = Isolation(
            driver="fake",
            layers=frozenset(),
            missing=dict.fromkeys(Layer, "a fake sandbox isolates nothing"),
        )
        self.snapshots: str | None = None
        self.prepared: list[str] = []
        self.starts: list[SandboxSpec] = []
        self.settles: list[InstanceId] = []
        self.stops: list[InstanceId] = []
        self.instances: dict[InstanceId, FakeInstance] = {}
        self.errors: list[BaseException] = []

    async def open(self) -> None:
        """See the port."""

    async def prepare(self, runtime: str, *, bridged: bool = False) -> None:
        """See the port. Raises `PlatformError` where there is no such runtime."""
        self._check_runtime(runtime)
        self.prepared.append(runtime)

    async def start(self, spec: SandboxSpec) -> FakeInstance:
        """See the port. Raises `PlatformError` where there is no such runtime."""
        self._check_runtime(spec.runtime)
        self.starts.append(spec)
        behaviour = self.behaviour
        if spec.template is not None:
            template = self.instances.get(spec.template)
            if template is None or not template.frozen or template.exited.done():
                raise PlatformError(ErrorCode.SERVICE, f"no template {spec.template} here")
        if behaviour.on_start:
            await behaviour.on_start(spec)
        instance = FakeInstance(self, spec, behaviour)
        self.instances[spec.instance_id] = instance
        return instance

    async def blanks(self) -> int:
        """See the port."""
        return 0

    def memory_bytes(self) -> int:
        """See the port."""
        return sum(instance.usage().memory_bytes for instance in self.instances.values())

    async def close(self) -> None:
        """See the port. Raises what behaviours have raised meanwhile."""
        for instance in self.instances.values():
            await instance.stop()
        if self.errors:
            raise BaseExceptionGroup("in behaviours of a fake sandbox", self.errors)

    def running(self) -> list[FakeInstance]:
        """The instances that have not ended."""
        return [instance for instance in self.instances.values() if not instance.exited.done()]

    def _check_runtime(self, runtime: str) -> None:
        if runtime not in self.runtimes:
            raise PlatformError(ErrorCode.INVALID_RUNTIME, f"no runtime {runtime} here")
