"""Starting and stopping instances: what the manager knows of each, and the calls to workers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from msgspec import structs

from samovar.manager.functions import Functions
from samovar.manager.pool import Pool
from samovar.manager.room import Reservation, Room
from samovar.manager.tally import Tally
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionVersion
from samovar.model.instance import Initialization, InstanceId, WorkerId
from samovar.model.invocation import ColdCause, StartReport, Timing
from samovar.ports import InitFailedError, Worker
from samovar.telemetry.log import get_logger

log = get_logger("manager")


@dataclass(slots=True)
class Origin:
    """Where an instance runs, and how it began."""

    instance: InstanceId
    worker_id: WorkerId
    worker: Worker
    pool: Pool
    first: StartReport | None
    """Told to the first request that it takes; None: it has been, or no request waited for it."""


class NoRoomError(Exception):
    """There is no room for another instance now."""


class Instances:
    """All that have come up and are not gone."""

    def __init__(
        self,
        workers: Mapping[WorkerId, Worker],
        room: Room,
        functions: Functions,
        tally: Tally,
        monotonic: Callable[[], float],
    ) -> None:
        self._workers = workers
        self._room = room
        self._functions = functions
        self._tally = tally
        self._monotonic = monotonic
        self._numbers: Iterator[int] = itertools.count(1)
        self._origins: dict[InstanceId, Origin] = {}

    def __len__(self) -> int:
        return len(self._origins)

    def __getitem__(self, instance: InstanceId) -> Origin:
        return self._origins[instance]

    def pools(self) -> Iterator[Pool]:
        """The pool of each."""
        return (origin.pool for origin in self._origins.values())

    def pool_of(self, instance: InstanceId) -> Pool | None:
        """None: it is gone, or has never come up."""
        origin = self._origins.get(instance)
        return origin.pool if origin else None

    async def start(self, pool: Pool, cause: ColdCause, reserved: Reservation) -> Origin:
        """Start an instance. Raises `NoRoomError`, and `InitFailedError` and `PlatformError` as a
        worker does; nothing of it is left then. A worker that refuses costs its own answer: the
        next one with room is asked, and itself not again for a while."""
        while True:
            try:
                return await self._start(pool, cause, reserved)
            except NoRoomError:
                again = self._room.reserve(pool, self._monotonic(), evicting=reserved.evicting)
                if again is None:
                    raise
                reserved = again

    async def _start(self, pool: Pool, cause: ColdCause, reserved: Reservation) -> Origin:
        where = await self._room.take(reserved)
        if where is None:
            raise NoRoomError
        begun = reserved.asked
        instance = InstanceId(f"i-{next(self._numbers):08x}")
        worker, placed = self._workers[where], self._monotonic()
        try:
            started = await worker.start(
                instance, pool.version, initialization_of(pool.version, cause)
            )
        except BaseException as error:
            self._room.is_free(pool, where)
            told = _as_told(error, pool)
            if isinstance(told, NoRoomError):
                self._room.refused(pool, where)
            elif not isinstance(told, asyncio.CancelledError):
                self._tally.start_failed(pool.version.id)
            if told is error:
                raise
            raise told from error
        timing = Timing(0.0, (placed - begun) * 1e3, started.start_ms, started.init_ms)
        report = StartReport(cause, started.origin, timing)
        origin = self._origins[instance] = Origin(instance, where, worker, pool, report)
        self._room.came_up(pool, instance, where, self._monotonic())
        self._functions.of(pool.version).has_started(started)
        self._tally.started(pool.version.id, cause)
        return origin

    async def stop(self, instance: InstanceId, *, in_a_hurry: bool = False) -> None:
        """Have an instance stopped, if it is still there."""
        origin = self._origins.get(instance)
        if origin is not None:
            try:
                await origin.worker.stop(instance, in_a_hurry=in_a_hurry)
            except Exception:  # the worker still counts it; there is nothing more to do here
                log.exception("an instance could not be stopped", instance=instance)

    def gone(self, instance: InstanceId) -> Pool | None:
        """Nothing is left of an instance; return the pool that has lost it, the first time."""
        origin = self._origins.pop(instance, None)
        if origin is None:
            return None
        self._room.is_free(origin.pool, origin.worker_id, instance)
        return origin.pool


def initialization_of(version: FunctionVersion, cause: ColdCause) -> Initialization:
    """What an instance that starts for this cause finds in AWS_LAMBDA_INITIALIZATION_TYPE."""
    if cause is ColdCause.PROVISIONED:
        return Initialization.PROVISIONED
    if version.capacity_provider is not None:
        return Initialization.MANAGED
    return Initialization.SNAP_START if version.snapshotted else Initialization.ON_DEMAND


def _as_told(error: BaseException, pool: Pool) -> BaseException:
    """What becomes of an error of a worker. One that refuses has no room; a defect ends nobody."""
    if isinstance(error, PlatformError) and error.code is ErrorCode.TOO_MANY_REQUESTS:
        return NoRoomError()
    if isinstance(error, (InitFailedError, PlatformError)) or not isinstance(error, Exception):
        return error
    log.exception("start of an instance failed", function=pool.version.arn)
    return PlatformError(ErrorCode.SERVICE, f"The instance could not start: {error}")


def with_queueing(report: StartReport, waited_ms: float) -> StartReport:
    """What a request is told that has waited for so long in all."""
    spent = report.timing
    queue_ms = max(0.0, waited_ms - spent.place_ms - spent.start_ms - spent.init_ms)
    return structs.replace(report, timing=structs.replace(spent, queue_ms=queue_ms))
