"""A worker's templates: for each version that is snapshotted, the one that its instances are forked
from.

How this works. A template is made when it is first asked for (the version is published, or an
instance is wanted after a restart), once for all who ask meanwhile. It has a slot with the memory
of its version. It goes

- when its version does, or the worker: at once, also while it is being made;
- when it dies: who was just forking from it gets another one;
- while no instance runs from it, when its memory is wanted for something else, promised or really
  used: the least recently used first;
- when `pressure` chooses it, as it may any instance.

It is then made again when it is next asked for. Forks share its memory: its slot is given back when
the last of them has ended, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId
from samovar.ports import InitFailedError
from samovar.telemetry.log import get_logger
from samovar.worker.report import Fault
from samovar.worker.running import RunningInstance

log = get_logger("worker")

_UNFIT = "Runtime.SnapshotError"

_TOLD_LATE_S = 0.5
"""That a fork has failed may be told before the end of its template is, which is why."""

Forked = TypeVar("Forked")

Admit = Callable[[InstanceId, FunctionVersion], Awaitable[None]]
"""Take a slot, making room for it. Raises `PlatformError` where there is none."""
Begin = Callable[[InstanceId, FunctionVersion], Awaitable[RunningInstance]]
"""Start what is to become a template."""
GiveBack = Callable[[InstanceId, FunctionVersion | None], None]
"""Give back its slot and, of one that had begun, its version's code."""


@dataclass(eq=False, slots=True)
class _Template:
    id: InstanceId
    version: FunctionVersion
    made: asyncio.Future[RunningInstance]
    task: asyncio.Task[None] | None = None
    """Makes it; later, ends it."""
    forks: set[InstanceId] = field(default_factory=set)
    """Those that are being started, too."""
    ended: bool = False
    used_at: float = field(default_factory=time.monotonic)


class Templates:
    """See the module."""

    def __init__(
        self, tasks: asyncio.TaskGroup, admit: Admit, begin: Begin, give_back: GiveBack
    ) -> None:
        self._tasks = tasks
        self._admit = admit
        self._begin = begin
        self._give_back = give_back
        self._templates: dict[VersionKey, _Template] = {}
        self._origins: dict[InstanceId, _Template] = {}
        """Of the instances that were forked."""
        self._numbers = itertools.count(1)
        self._closing = False
        self.begun: dict[InstanceId, RunningInstance] = {}
        """Those that have a process, being made and being ended included. To be looked at only."""

    def arns(self) -> frozenset[str]:
        """Of the versions that have one."""
        return frozenset(t.version.arn for t in self._templates.values() if _is_made(t))

    @property
    def spare_memory_mib(self) -> int:
        """What `make_room` could free."""
        return sum(template.version.memory_mib for template in self._made_ones())

    async def of(self, version: FunctionVersion) -> InstanceId:
        """The template of a version; it is made where there is none.

        Raises `InitFailedError` where its init fails or leaves what cannot be forked, and
        `PlatformError`."""
        template = self._wanted(version)
        await asyncio.shield(template.made)
        return template.id

    async def fork(
        self,
        instance: InstanceId,
        version: FunctionVersion,
        start: Callable[[InstanceId], Awaitable[Forked]],
    ) -> Forked:
        """Have `start` make an instance from the version's template, which makes no room until
        `let_go`. Once more, from a new one, where that turns out to have ended.

        Raises as `of`, and what `start` does."""
        for is_last in (False, True):
            template = self._wanted(version)
            template.forks.add(instance)
            self._origins[instance] = template
            try:
                await asyncio.shield(template.made)
                return await start(template.id)
            except BaseException as error:
                self.let_go(instance)
                if is_last or not await _has_ended(template, error):
                    raise
                self._drop(template)
        raise AssertionError("the last one has returned or raised")

    def let_go(self, instance: InstanceId) -> None:
        """The instance is no more. Idempotent."""
        template = self._origins.pop(instance, None)
        if template:
            template.forks.discard(instance)
            self._settle(template)

    async def make_room(self, enough: Callable[[], bool]) -> None:
        """Drop what nobody uses, until there is room or nothing is left to drop."""
        while not enough() and (spare := self._made_ones()):
            await asyncio.wait([self._drop(spare[0])])

    def drop_one(self, *, though_used: bool = False) -> bool:
        """Begin to end one that nobody uses, or any one; return False where there is none. Forks
        live on."""
        spare = self._made_ones(though_used=though_used)
        if not spare:
            return False
        log.info("a template makes room", template=spare[0].id, function=spare[0].version.arn)
        self._drop(spare[0])
        return True

    def end(self, id_: InstanceId, why: Fault) -> None:
        """End it by choice, now; who waits for it is told why."""
        for template in list(self._templates.values()):
            if template.id == id_:
                self._drop(template, InitFailedError(why.document("")))

    def forget(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """Drop those of a version that is not `current` any more. Does not wait."""
        for key, template in list(self._templates.items()):
            if (key.function, key.version) == (function, version) and key != current:
                self._drop(template)

    async def close(self) -> None:
        """Drop them all, and make no more."""
        self._closing = True
        tasks = [self._drop(template) for template in list(self._templates.values())]
        if tasks:
            await asyncio.wait(tasks)

    # ------------------------------------------------------------ inside

    def _wanted(self, version: FunctionVersion) -> _Template:
        template = self._templates.get(version.key)
        if template is None:
            if self._closing:
                raise PlatformError(ErrorCode.UNAVAILABLE, "The worker is shutting down.")
            id_ = InstanceId(f"template-{next(self._numbers)}")
            template = _Template(id_, version, asyncio.get_running_loop().create_future())
            template.made.add_done_callback(_take_note)
            self._templates[version.key] = template
            template.task = self._tasks.create_task(self._make(template), name=id_)
        template.used_at = time.monotonic()
        return template

    def _made_ones(self, *, though_used: bool = False) -> list[_Template]:
        """The least recently used first."""
        templates = [
            template
            for template in self._templates.values()
            if _is_made(template) and (though_used or not template.forks)
        ]
        return sorted(templates, key=lambda template: template.used_at)

    async def _make(self, template: _Template) -> None:
        try:
            running = await self._made(template)
        except BaseException as error:
            self._withdraw(template)
            if not template.made.done():
                template.made.set_exception(error if isinstance(error, Exception) else _removed())
            if not isinstance(error, Exception):
                raise
            return
        template.made.set_result(running)
        running.handle.exited.add_done_callback(lambda _: self._died(template))

    async def _made(self, template: _Template) -> RunningInstance:
        version = template.version
        await self._admit(template.id, version)
        try:
            with _unfit_is_its_fault():
                running = await self._begin(template.id, version)
        except BaseException:
            self._give_back(template.id, None)
            raise
        self.begun[template.id] = running
        try:
            await running.initialise(snapshot=True)
            with _unfit_is_its_fault():
                await running.handle.freeze()
            if self._templates.get(version.key) is not template:
                raise _removed()
        except BaseException:
            self._withdraw(template)  # nothing is to cancel what follows
            await self._clear_away(template, running)
            raise
        return running

    def _died(self, template: _Template) -> None:
        if self._templates.get(template.version.key) is template:
            log.warning("a template ended", template=template.id, function=template.version.arn)
            self._drop(template)

    def _drop(self, template: _Template, why: Exception | None = None) -> asyncio.Task[None]:
        """Nobody gets it any more, and its end has begun: the task is done when it has come. Where
        it is being made, all who wait for it are told why. Idempotent."""
        assert template.task
        if self._withdraw(template):
            if _is_made(template):
                running = template.made.result()
                running.condemn()
                template.task = self._tasks.create_task(
                    self._clear_away(template, running), name=f"drop-{template.id}"
                )
            else:
                template.made.set_exception(why or _removed())
                template.task.cancel()
        return template.task

    def _withdraw(self, template: _Template) -> bool:
        """Nobody gets it any more. Returns whether that is new."""
        if self._templates.get(template.version.key) is not template:
            return False
        del self._templates[template.version.key]
        return True

    async def _clear_away(self, template: _Template, running: RunningInstance) -> None:
        try:
            await running.stop(farewell_s=0.0)
        except Exception:  # its memory stays taken: it may still be there
            log.exception("a template could not be stopped", template=template.id)
            return
        del self.begun[template.id]
        template.ended = True
        self._settle(template)

    def _settle(self, template: _Template) -> None:
        if template.ended and not template.forks:
            self._give_back(template.id, template.version)


def _is_made(template: _Template) -> bool:
    made = template.made
    return made.done() and not made.cancelled() and made.exception() is None


async def _has_ended(template: _Template, error: BaseException) -> bool:
    """Whether that may be why a fork of it has failed."""
    is_ours = isinstance(error, PlatformError) and error.code is ErrorCode.SERVICE
    if not is_ours or not _is_made(template):
        return False
    exited = template.made.result().handle.exited
    await asyncio.wait([exited], timeout=_TOLD_LATE_S)
    return exited.done()


def _removed() -> PlatformError:
    return PlatformError(ErrorCode.UNAVAILABLE, "The version's snapshot is being removed.")


def _take_note(made: asyncio.Future[RunningInstance]) -> None:
    if not made.cancelled():
        made.exception()  # it may be that nobody waits any more


@contextlib.contextmanager
def _unfit_is_its_fault() -> Iterator[None]:
    """What the sandbox refuses to make a template of is the function's to mend."""
    try:
        yield
    except PlatformError as error:
        if error.code is not ErrorCode.INVALID_PARAMETER:
            raise
        message = f"No snapshot of the function can be taken: {error.message}"
        document = {"errorType": _UNFIT, "errorMessage": message}
        raise InitFailedError(json.dumps(document).encode()) from error
