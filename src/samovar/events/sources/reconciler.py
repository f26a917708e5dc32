"""Keeps the pollers that run as the mappings in the store want them.

How this works. Each round compares the mappings with the pollers (`plan.py`) and acts on the
difference; a round begins when the mappings have changed, when a poller has ended, and now and
then, for whatever was missed. A poller that is to end is told so and keeps its mapping waiting
until it has; one that fails is started again after a while, by its own task, and takes nothing
else down. What pollers report is written by and by: the newest alone, and only where it differs.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from msgspec import structs

from samovar.clock import Clock
from samovar.events.sources.feed import MappingFeed
from samovar.events.sources.filter import Filters, PatternError
from samovar.events.sources.plan import plan
from samovar.events.sources.poller import Source, SourceError
from samovar.events.sources.room import Room
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping, SourceKind, settle
from samovar.model.function import FunctionVersion
from samovar.ports import EventQueue, EventSourceStore, Invoker
from samovar.telemetry.log import get_logger

log = get_logger("events.sources")

LOOK_AGAIN_S = 60.0
"""Between rounds, when nothing has happened."""

AFTER_FAILURE_S = 1.0
"""Before another round, when one has failed (the database was busy)."""

RESULTS_EVERY_S = 1.0

STOP_LIMIT_S = 1200.0
"""For a poller to come to its end: the longest that a function runs, and some. It is ended then."""

CHECK_LIMIT_S = 20.0
"""For a source to say that it is there, when a mapping is made or changed."""

FIRST_BACK_OFF_S = 1.0
LONGEST_BACK_OFF_S = 60.0
"""Of a poller that fails again and again."""


@dataclass(slots=True)
class _Running:
    feed: MappingFeed
    task: asyncio.Task[None]
    deadline: asyncio.TimerHandle | None = None

    def stop(self, limit_s: float) -> None:
        """Have it come to its end, within so long. Idempotent."""
        self.feed.stopping.set()
        if self.deadline is None:
            self.deadline = asyncio.get_running_loop().call_later(limit_s, self.task.cancel)

    def no_deadline(self) -> None:
        """It has ended."""
        if self.deadline is not None:
            self.deadline.cancel()


class Reconciler:
    """The `EventSources` of `ports.py`."""

    def __init__(
        self,
        store: EventSourceStore,
        invoker: Invoker,
        queue: EventQueue,
        sources: Mapping[SourceKind, Source],
        clock: Clock,
        *,
        shared: bool = False,
        check_limit_s: float = CHECK_LIMIT_S,
        stop_limit_s: float = STOP_LIMIT_S,
    ) -> None:
        self._store = store
        self._invoker = invoker
        self._queue = queue
        self._sources = sources
        self._clock = clock
        self._shared = shared
        self._check_limit_s = check_limit_s
        self._stop_limit_s = stop_limit_s
        self._room = Room()
        self._running: dict[str, _Running] = {}
        self._results: dict[str, str] = {}
        self._changed = asyncio.Event()
        self._reported = asyncio.Event()
        self._ending = asyncio.Event()

    @contextlib.asynccontextmanager
    async def polling(self) -> AsyncIterator[None]:
        """Poll for as long as the block runs; `drain` before its end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep(tasks))
            tasks.create_task(self._write_results())
            try:
                yield
            finally:
                await self.drain(0)

    async def drain(self, timeout_s: float) -> None:
        """Fetch nothing more, for good; let pollers come to their ends within so many seconds, and
        end the others. Idempotent."""
        self._ending.set()
        self._changed.set()
        self._reported.set()
        pollers = [running.task for running in self._running.values()]
        for running in self._running.values():
            running.feed.stopping.set()
        if pollers:
            _, late = await asyncio.wait(pollers, timeout=timeout_s)
            for poller in late:
                poller.cancel()

    # ------------------------------------------------------------ the port

    async def check(self, mapping: EventSourceMapping, version: FunctionVersion) -> None:
        """Raise INVALID_PARAMETER for a mapping that cannot be polled; see the port."""
        if self._shared:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                "Event sources need a server that has its database to itself: several would each "
                "poll them.",
            )
        try:
            Filters(mapping.filters)
        except PatternError as error:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER, f"Invalid filter pattern definition. ({error})"
            ) from error
        try:
            async with asyncio.timeout(self._check_limit_s):
                await self._source(mapping).check(mapping, version)
        except TimeoutError as error:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                f"The event source did not answer within {self._check_limit_s:g} seconds.",
            ) from error

    def changed(self) -> None:
        """The mappings in the store have changed."""
        self._changed.set()

    # ------------------------------------------------------------ rounds

    async def _keep(self, tasks: asyncio.TaskGroup) -> None:
        while not self._ending.is_set():
            self._changed.clear()
            try:
                await self._round(tasks)
                pause_s = LOOK_AGAIN_S
            except PlatformError as error:
                log.warning("the event sources could not be looked at", error=str(error))
                pause_s = AFTER_FAILURE_S
            except Exception:  # one mapping must not end the others, nor the server
                log.exception("the event sources could not be looked at")
                pause_s = AFTER_FAILURE_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause_s)

    async def _round(self, tasks: asyncio.TaskGroup) -> None:
        mappings = () if self._shared else await self._store.all_mappings()
        running = {uuid: each.feed.mapping.revision for uuid, each in self._running.items()}
        to_do = plan(mappings, running)
        for uuid in to_do.stop:
            self._running[uuid].stop(self._stop_limit_s)
        if not self._ending.is_set():
            for mapping in to_do.start:
                self._start(mapping, tasks)
        for uuid in to_do.settle:
            await self._store.change(uuid, self._settle)
        for uuid in to_do.remove:
            self._results.pop(uuid, None)
            await self._store.remove(uuid)

    def _settle(self, mapping: EventSourceMapping) -> EventSourceMapping:
        return settle(mapping, dt.datetime.fromtimestamp(self._clock.now(), dt.UTC))

    def _start(self, mapping: EventSourceMapping, tasks: asyncio.TaskGroup) -> None:
        try:
            feed = MappingFeed(
                mapping,
                self._invoker,
                self._queue,
                self._store,
                self._clock,
                self._report,
                self._room,
            )
        except PatternError as error:  # kept by a release that took it for a pattern
            self._report(mapping.uuid, f"PROBLEM: Invalid filter pattern definition. ({error})")
            return
        task = tasks.create_task(self._poll(feed), name=f"poller of {mapping.uuid}")
        self._running[mapping.uuid] = _Running(feed, task)
        task.add_done_callback(lambda _: self._ended(mapping.uuid))

    def _ended(self, uuid: str) -> None:
        self._running.pop(uuid).no_deadline()
        self._changed.set()

    async def _poll(self, feed: MappingFeed) -> None:
        """Run a poller until it is to stop, however often it fails."""
        failures = 0
        while not feed.stopping.is_set():
            began = self._clock.now()
            try:
                await self._source(feed.mapping).poll(feed)
            except Exception as error:
                _log_failure(feed.mapping, error)
                feed.problem(_shown(error))
            lived_s = self._clock.now() - began
            failures = 0 if lived_s > LONGEST_BACK_OFF_S else failures + 1
            await feed.pause(min(FIRST_BACK_OFF_S * 2 ** min(failures - 1, 10), LONGEST_BACK_OFF_S))

    def _source(self, mapping: EventSourceMapping) -> Source:
        source = self._sources.get(mapping.kind)
        if source is None:
            raise PlatformError(
                ErrorCode.INVALID_PARAMETER,
                f"Event sources of the kind {mapping.kind} are not supported by this server.",
            )
        return source

    # ------------------------------------------------------------ results

    def _report(self, uuid: str, text: str) -> None:
        self._results[uuid] = text
        self._reported.set()

    async def _write_results(self) -> None:
        written: dict[str, str] = {}
        while not self._ending.is_set():
            await self._reported.wait()
            self._reported.clear()
            results, self._results = self._results, {}
            for uuid, text in results.items():
                if written.get(uuid) != text and await self._write_result(uuid, text):
                    written[uuid] = text
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), RESULTS_EVERY_S)
            written = {uuid: text for uuid, text in written.items() if uuid in self._running}

    async def _write_result(self, uuid: str, text: str) -> bool:
        try:
            await self._store.change(
                uuid, lambda mapping: structs.replace(mapping, last_result=text)
            )
        except PlatformError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                log.warning("a result could not be written", mapping=uuid, error=str(error))
            return False
        return True


def _log_failure(mapping: EventSourceMapping, error: Exception) -> None:
    if isinstance(error, SourceError | PlatformError):
        log.warning("a poller has failed", mapping=mapping.uuid, error=str(error))
    else:
        log.exception("a poller has failed", mapping=mapping.uuid)


def _shown(error: Exception) -> str:
    if isinstance(error, PlatformError):
        return error.message
    if isinstance(error, SourceError):
        return str(error)
    return f"Internal error: {type(error).__name__}"  # its text may hold a secret
