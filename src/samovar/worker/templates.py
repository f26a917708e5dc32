"""A worker's templates: for each version that is snapshotted, the one that its instances are forked
from.

How this works. A template is made when it is first asked for (the version is published, or an
instance is wanted after a restart), once for all who ask meanwhile. It has a slot with the memory
of its version. It goes when its version does, when it dies, and when its memory is wanted for
something else and no instance of its version is there: the least recently used first. It is then
made again when it is next asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass, field

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.function import FunctionId, FunctionVersion, VersionKey
from samovar.model.instance import InstanceId
from samovar.ports import InitFailedError
from samovar.telemetry.log import get_logger
from samovar.worker.running import RunningInstance

log = get_logger("worker")

_UNFIT = "Runtime.SnapshotError"

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
    used_at: float = field(default_factory=time.monotonic)


class Templates:
    """See the module."""

    def __init__(
        self,
        tasks: asyncio.TaskGroup,
        admit: Admit,
        begin: Begin,
        give_back: GiveBack,
        in_use: Callable[[], Collection[VersionKey]],
    ) -> None:
        """`in_use` tells the versions that have instances."""
        self._tasks = tasks
        self._admit = admit
        self._begin = begin
        self._give_back = give_back
        self._in_use = in_use
        self._templates: dict[VersionKey, _Template] = {}
        self._numbers = itertools.count(1)

    def arns(self) -> frozenset[str]:
        """Of the versions that have one."""
        return frozenset(t.version.arn for t in self._templates.values() if _is_made(t))

    @property
    def spare_memory_mib(self) -> int:
        """What `make_room` could free."""
        return sum(template.version.memory_mib for template in self._spare())

    async def of(self, version: FunctionVersion) -> InstanceId:
        """The template of a version; it is made where there is none.

        Raises `InitFailedError` where its init fails or leaves what cannot be forked, and
        `PlatformError`."""
        template = self._templates.get(version.key)
        if template is None:
            id_ = InstanceId(f"template-{next(self._numbers)}")
            template = _Template(id_, version, asyncio.get_running_loop().create_future())
            template.made.add_done_callback(_take_note)
            self._templates[version.key] = template
            self._tasks.create_task(self._make(template), name=id_)
        template.used_at = time.monotonic()
        await asyncio.shield(template.made)
        return template.id

    async def make_room(self, enough: Callable[[], bool], wanted: VersionKey) -> None:
        """Drop what nobody uses, until there is room or nothing is left to drop but the one of the
        version that is wanted."""
        while not enough() and (spare := self._spare(wanted)):
            await self._drop(min(spare, key=lambda template: template.used_at))

    def forget(self, function: FunctionId, version: str, current: VersionKey | None) -> None:
        """Drop those of a version that is not `current` any more. Does not wait."""
        for key, template in list(self._templates.items()):
            if (key.function, key.version) == (function, version) and key != current:
                self._tasks.create_task(self._drop(template), name=f"drop-{template.id}")

    async def close(self) -> None:
        """Drop them all."""
        for template in list(self._templates.values()):
            await self._drop(template)

    # ------------------------------------------------------------ inside

    def _spare(self, *wanted: VersionKey) -> list[_Template]:
        in_use = {*self._in_use(), *wanted}
        return [t for key, t in self._templates.items() if key not in in_use and _is_made(t)]

    async def _make(self, template: _Template) -> None:
        try:
            running = await self._made(template)
        except BaseException as error:
            if self._templates.get(template.version.key) is template:
                del self._templates[template.version.key]
            if isinstance(error, Exception):
                template.made.set_exception(error)
                return
            template.made.cancel()
            raise
        template.made.set_result(running)
        running.handle.exited.add_done_callback(lambda _: self._ended(template))

    async def _made(self, template: _Template) -> RunningInstance:
        version = template.version
        await self._admit(template.id, version)
        try:
            with _unfit_is_its_fault():
                running = await self._begin(template.id, version)
        except BaseException:
            self._give_back(template.id, None)
            raise
        try:
            await running.initialise(snapshot=True)
            with _unfit_is_its_fault():
                await running.handle.freeze()
            if self._templates.get(version.key) is not template:
                raise PlatformError(ErrorCode.UNAVAILABLE, "The version is being removed.")
        except BaseException:
            await self._clear_away(template, running)
            raise
        return running

    def _ended(self, template: _Template) -> None:
        if self._templates.get(template.version.key) is template:
            log.warning("a template ended", template=template.id, function=template.version.arn)
            self._tasks.create_task(self._drop(template), name=f"drop-{template.id}")

    async def _drop(self, template: _Template) -> None:
        """End it; where it is being made, that ends it when it is."""
        if self._templates.get(template.version.key) is not template:
            return
        del self._templates[template.version.key]
        if _is_made(template):
            await self._clear_away(template, template.made.result())

    async def _clear_away(self, template: _Template, running: RunningInstance) -> None:
        await running.stop(farewell_s=0.0)
        self._give_back(template.id, template.version)


def _is_made(template: _Template) -> bool:
    made = template.made
    return made.done() and not made.cancelled() and made.exception() is None


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
