"""The Worker: everything that happens on one machine.

`start` takes a slot (admission: the worker has the last word), fetches the code, asks the sandbox
for an instance and runs its init phase; `invoke` runs one invocation in it; `stop` ends it. An
instance that ends by itself is cleared away here and then told to `on_exit`'s callbacks.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable
from typing import Any

from samovar.census import WorkerCensus
from samovar.model.errors import ErrorCode, PlatformError, ThrottleReason
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import Initialization, InstanceId, InstanceState, WorkerId
from samovar.model.invocation import INIT_LIMIT_S, Invocation, Outcome
from samovar.ports import LogStore, ResponseSink, Sandbox, SandboxInstance, Started, WorkerStatus
from samovar.telemetry.log import get_logger
from samovar.worker.capacity import Capacity
from samovar.worker.census import Counted
from samovar.worker.code_cache import CodeCache
from samovar.worker.farewell import HURRIED_S, LONGEST_S
from samovar.worker.gauges import Gauges
from samovar.worker.pressure import Sentence
from samovar.worker.running import RunningInstance
from samovar.worker.slots import Slots
from samovar.worker.starter import Starter
from samovar.worker.templates import Templates
from samovar.worker.watch import PressureWatch, Room
from samovar.worker.web import web_server

log = get_logger("worker")

ANSWER_GRACE_S = 0.2
"""For so long an answer that was sent just before the end may still be read."""


class LocalWorker:
    """The `Worker` port on this machine. Use as an async context manager."""

    def __init__(
        self,
        id_: WorkerId,
        sandbox: Sandbox,
        code: CodeCache,
        logs: LogStore,
        capacity: Capacity,
        init_limit_s: float = INIT_LIMIT_S,
        terminal: str | None = None,
        gauges: Gauges | None = None,
    ) -> None:
        self.id = id_
        self._sandbox = sandbox
        self._code = code
        self._starter = Starter(sandbox, code)
        self._logs = logs
        self._capacity = capacity
        self._slots = Slots(capacity.memory_mib, capacity.vcpus)
        self._init_limit_s = init_limit_s
        self._terminal = terminal
        self._instances: dict[InstanceId, RunningInstance] = {}
        self._ending: set[InstanceId] = set()
        self._counted = Counted(capacity, self._instances)
        self._exit_callbacks: list[Callable[[InstanceId], None]] = []
        self._pressure_callbacks: list[Callable[[WorkerId], None]] = []
        self._tasks = asyncio.TaskGroup()
        self._closing = False
        self._templates = Templates(
            self._tasks,
            admit=self._admit_template,
            begin=self._begin_template,
            give_back=self._give_back_template,
        )
        self._watch = PressureWatch(
            Room(capacity.usable_memory_mib, sandbox.memory_bytes, self._slots),
            gauges or Gauges(),
            self._instances,
            self._templates,
            end=self._end_by_choice,
            changed=self._pressure_changed,
        )

    async def __aenter__(self) -> LocalWorker:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._watch.run(), name="pressure-watch")
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Stop every instance, then wait for what is still being cleared away."""
        await self.stop_all()
        self._watch.close()
        await self._tasks.__aexit__(None, None, None)

    async def stop_all(self) -> None:
        """Stop every instance, and start no more. Invocations that still run end as if their
        instance had died."""
        self._closing = True
        async with asyncio.TaskGroup() as stops:
            for instance in list(self._instances):
                stops.create_task(self._clear_away(instance))
            stops.create_task(self._templates.close())

    # ------------------------------------------------------------ the port

    def status(self) -> WorkerStatus:
        """See `ports.Worker`."""
        disk = self._code.disk()
        return WorkerStatus(
            id=self.id,
            memory_mib=self._slots.memory_mib,
            free_memory_mib=self._slots.free_memory_mib + self._templates.spare_memory_mib,
            isolation=self._sandbox.isolation,
            runtimes=frozenset(self._sandbox.runtimes),
            warm_code=self._code.warm(),
            vcpus=self._slots.vcpus,
            free_vcpus=self._slots.free_vcpus,
            disk_mib=disk.total_mib,
            free_disk_mib=disk.free_mib,
            architecture=self._capacity.architecture,
            zone=self._capacity.zone,
            templates=self._templates.arns(),
            pressure=self._watch.pressure,
        )

    async def census(self) -> WorkerCensus:
        """See `census.WorkerView`."""
        blanks = await self._sandbox.blanks()
        return await self._counted.census(self.status(), self._slots.promised_vcpus, blanks)

    async def prepare(self, version: FunctionVersion) -> None:
        """See `ports.Worker`."""
        if self._closing:
            raise _shutting_down()
        await self._starter.prepare(version)
        if version.snapshotted:
            await self._templates.of(version)

    def forget(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """See `ports.Worker`."""
        self._templates.forget(function, version, current)

    async def start(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization = Initialization.ON_DEMAND,
    ) -> Started:
        """See `ports.Worker`."""
        if self._closing:
            raise _shutting_down()
        begun = time.perf_counter()
        start = functools.partial(self._start, instance, version, initialization)
        if version.snapshotted:
            running, init_ms = await self._templates.fork(instance, version, start)
        else:
            running, init_ms = await start(None)
        total_ms = (time.perf_counter() - begun) * 1e3
        return Started(running.handle.origin, max(0.0, total_ms - init_ms), init_ms)

    async def invoke(
        self, instance: InstanceId, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Outcome:
        """See `ports.Worker`."""
        running = self._ready(instance)
        self._watch.wake()
        try:
            return await running.invoke(invocation, sink)
        finally:
            if running.is_spent:
                self._end_soon(instance)

    async def crash(self, instance: InstanceId, invocation: Invocation) -> Outcome:
        """See `ports.Worker`."""
        running = self._ready(instance)
        try:
            return await running.crash(invocation)
        finally:
            self._end_soon(instance)

    async def await_idle(self, instance: InstanceId) -> bool:
        """See `ports.Worker`."""
        running = self._instances.get(instance)
        if running is None or running.state is not InstanceState.BUSY:
            return False
        survives = False
        try:
            survives = await running.await_idle()
        finally:
            if not survives:
                self._end_soon(instance)
        return survives

    async def stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        """See `ports.Worker`."""
        running = self._instances.get(instance)
        if running is None:
            return
        await running.stop(HURRIED_S if in_a_hurry else LONGEST_S)
        if self._instances.pop(instance, None) is not None:
            self._slots.give_back(instance)
            self._starter.unpin(running.version)
            self._templates.let_go(instance)

    def on_exit(self, callback: Callable[[InstanceId], None]) -> None:
        """See `ports.Worker`."""
        self._exit_callbacks.append(callback)

    def on_pressure(self, callback: Callable[[WorkerId], None]) -> None:
        """See `ports.Worker`."""
        self._pressure_callbacks.append(callback)

    # ------------------------------------------------------------ inside

    async def _start(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization,
        template: InstanceId | None,
    ) -> tuple[RunningInstance, float]:
        """Return it with the ms that its init, or what follows a fork, has taken."""
        await self._make_room(version, version.vcpus)
        self._admit(instance, version)
        self._watch.wake()
        try:
            running = await self._begin(instance, version, initialization, template)
        except BaseException:
            self._slots.give_back(instance)
            raise
        try:
            if self._closing:
                raise _shutting_down()
            return running, await (running.restore() if template else running.initialise())
        except BaseException:
            await self.stop(instance)
            raise

    async def _admit_template(self, id_: InstanceId, version: FunctionVersion) -> None:
        await self._make_room(version, vcpus=0.0)
        self._admit(id_, version, vcpus=0.0)

    async def _make_room(self, version: FunctionVersion, vcpus: float) -> None:
        """Where there is too little left, give up templates that nobody uses."""
        await self._templates.make_room(
            lambda: self._slots.shortage(version.memory_mib, vcpus) is None
        )

    def _admit(
        self, instance: InstanceId, version: FunctionVersion, vcpus: float | None = None
    ) -> None:
        """Promise an instance what its version asks for, or raise TOO_MANY_REQUESTS, saying what
        there is too little of."""
        vcpus = version.vcpus if vcpus is None else vcpus
        left = self._slots.shortage(version.memory_mib, vcpus)
        if left is None and not self._code.has_room_for(
            version.code, *(layer.code for layer in version.layers)
        ):
            left = "no room on its disk for the function's code"
        if left is not None:
            raise PlatformError(
                ErrorCode.TOO_MANY_REQUESTS,
                f"The worker has {left}.",
                ThrottleReason.ACCOUNT_CONCURRENCY,
            )
        if pressed := self._watch.refusal(version.memory_mib):
            raise PlatformError(
                ErrorCode.TOO_MANY_REQUESTS,
                f"The worker is short of memory: {pressed}.",
                ThrottleReason.ACCOUNT_CONCURRENCY,
            )
        self._slots.take(instance, version.memory_mib, vcpus)

    def _ready(self, instance: InstanceId) -> RunningInstance:
        running = self._instances.get(instance)
        if running is None or not running.takes_more:
            raise PlatformError(ErrorCode.SERVICE, f"Instance {instance} is not idle here.")
        return running

    async def _begin(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        initialization: Initialization,
        template: InstanceId | None,
    ) -> RunningInstance:
        handle, layers = await self._starter.start(instance, version, template=template)
        running = self._running(
            handle,
            version,
            lambda: self._lost(instance),
            terminal=self._terminal,
            web=web_server(version, layers),
            initialization=initialization,
        )
        self._instances[instance] = running
        handle.exited.add_done_callback(lambda _: self._exited(instance))
        return running

    async def _begin_template(self, id_: InstanceId, version: FunctionVersion) -> RunningInstance:
        handle, _ = await self._starter.start(id_, version, is_template=True)
        self._watch.wake()
        kind = Initialization.SNAP_START
        return self._running(handle, version, lambda: None, initialization=kind)

    def _give_back_template(self, id_: InstanceId, begun: FunctionVersion | None) -> None:
        self._slots.give_back(id_)
        if begun is not None:
            self._starter.unpin(begun)

    def _running(
        self,
        handle: SandboxInstance,
        version: FunctionVersion,
        lost: Callable[[], None],
        **settings: Any,
    ) -> RunningInstance:
        return RunningInstance(
            handle,
            version,
            log=lambda text: self._logs.append(version.id, text),
            lost=lost,
            init_limit_s=self._init_limit_s,
            **settings,
        )

    def _exited(self, instance: InstanceId) -> None:
        """The instance's processes are gone. An invocation or init in progress learns it from the
        closed channel; the grace lets an answer that was sent just before still be read."""
        running = self._instances.get(instance)
        if running is None or running.state is InstanceState.STOPPING:
            return  # asked for
        if running.state is InstanceState.IDLE:
            self._lost(instance)
        else:
            asyncio.get_running_loop().call_later(ANSWER_GRACE_S, self._exited_while_busy, instance)

    def _exited_while_busy(self, instance: InstanceId) -> None:
        running = self._instances.get(instance)
        if running is not None:
            running.close_channels()
            if running.state is InstanceState.IDLE:  # it had answered first
                self._lost(instance)

    def _lost(self, instance: InstanceId) -> None:
        """An idle instance has ended, or has closed its channel, or spoke unasked."""
        running = self._instances[instance]
        log.warning("idle instance ended", instance=instance, function=running.version.arn)
        self._end_soon(instance)

    def _end_soon(self, instance: InstanceId) -> None:
        running = self._instances.get(instance)
        if running is not None and not self._closing and instance not in self._ending:
            self._ending.add(instance)
            running.condemn()
            self._tasks.create_task(self._end(instance), name=f"end-{instance}")

    def _end_by_choice(self, sentence: Sentence) -> None:
        """Nothing idle is left to give back, and this one is furthest over its fair share."""
        id_, why = sentence.instance, sentence.fault
        running = self._instances.get(id_)
        log.warning("instance ended", instance=id_, reason=why.message)
        if running is None:
            self._templates.end(id_, why)
        else:
            running.cut_off(why)
            self._end_soon(id_)

    def _pressure_changed(self) -> None:
        for callback in self._pressure_callbacks:
            callback(self.id)

    async def _end(self, instance: InstanceId) -> None:
        try:
            await self._clear_away(instance)
        finally:
            self._ending.discard(instance)
        for callback in self._exit_callbacks:
            callback(instance)

    async def _clear_away(self, instance: InstanceId) -> None:
        try:
            await self.stop(instance)
        except Exception:  # its memory stays taken: it may still be there
            log.exception("an instance could not be stopped", instance=instance)


def _shutting_down() -> PlatformError:
    return PlatformError(ErrorCode.UNAVAILABLE, "The worker is shutting down.")
