"""A dispatcher over a real store, in front of functions that do as told, by a clock that is set."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from samovar.clock import Clock
from samovar.events.dispatcher import Dispatcher
from samovar.events.sending import Sender
from samovar.events.targets import Targets
from samovar.events.turns import Turns
from samovar.events.verdict import Rules
from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event import DeadEvent, Event
from samovar.model.function import FunctionId, FunctionVersion
from samovar.model.invocation import Invocation, Outcome, StartReport
from samovar.ports import Invoked, ResponseSink
from samovar.store.database import Database
from samovar.store.event_rows import dead_event_from
from samovar.store.events import SqlEventStore
from tests.contract.samples import a_version
from tests.unit.known_functions import ACTIVE
from tests.unit.scripted_worker import DEADLINE_S

NOW = 1_000_000.0

THROTTLE = PlatformError(ErrorCode.TOO_MANY_REQUESTS, "Rate Exceeded.")


def arn_of(name: str) -> str:
    return f"arn:aws:lambda:us-east-1:000000000000:function:{name}"


def event(id_: str, function: str = "f", **fields: Any) -> Event:
    arn = arn_of(function)
    settings = {"payload": b"{}", "accepted_at": NOW, "due_at": NOW} | fields
    return Event(**{"id": id_, "queue": arn, "target": arn} | settings)


@dataclass
class Functions:
    """An `Invoker`. Each invocation is written down, then does what `act` says."""

    act: Callable[[str], Awaitable[Outcome]]
    """What an invocation of the function of this name comes to."""
    begun: list[tuple[str, str]] = field(default_factory=list)
    """Function and event, in order."""
    gone: set[str] = field(default_factory=set)

    async def resolve(self, function: FunctionId, qualifier: str | None) -> FunctionVersion:
        if function.name in self.gone:
            raise PlatformError(ErrorCode.NOT_FOUND, f"Function not found: {function.arn}")
        return a_version(id=function, state=ACTIVE.state)

    async def invoke(
        self, version: FunctionVersion, invocation: Invocation, sink: ResponseSink | None = None
    ) -> Invoked:
        self.begun.append((version.id.name, invocation.request_id))
        return Invoked(await self.act(version.id.name), version, StartReport(cause=None))

    def times(self, function: str) -> int:
        """How often it has been invoked."""
        return sum(name == function for name, _ in self.begun)


@dataclass
class World:
    """A dispatcher and what is around it."""

    database: Database
    store: SqlEventStore
    functions: Functions
    clock: Clock
    rules: Rules = field(default_factory=Rules)
    no_rules: PlatformError | None = None
    """What is raised in place of them."""
    reserved: dict[str, int] = field(default_factory=dict)
    at_once: int = 64
    sender: Sender | None = None
    bound_of: Callable[[str], int] = lambda _queue: 64

    @contextlib.asynccontextmanager
    async def dispatching(self, store: Any = None, **more: Any) -> AsyncIterator[Dispatcher]:
        """A dispatcher at work, for one block."""

        async def rules_of(_event: Event) -> Rules:
            if self.no_rules is not None:
                raise self.no_rules
            return self.rules

        targets = Targets(self.functions, self.sender, lambda id_: self.reserved.get(id_.name))
        turns = Turns(self.bound_of, self.at_once)
        store = store or self.store
        async with Dispatcher(store, targets, rules_of, turns, self.clock, **more) as made:
            yield made

    async def left(self) -> list[str]:
        """Ids of the events that are to be delivered."""
        return [row.id for row in await self._rows("died_at IS NULL")]

    async def dead(self) -> list[DeadEvent]:
        return [dead_event_from(row) for row in await self._rows("died_at IS NOT NULL")]

    async def _rows(self, which: str) -> list[Any]:
        async with self.database.read() as connection:
            query = sa.text(f"SELECT * FROM events WHERE {which} ORDER BY id")
            return list((await connection.execute(query)).all())


class Refuses:
    """A store that refuses the first call of one of its methods."""

    def __init__(self, store: Any, method: str, error: Exception | None) -> None:
        self._store, self._method, self._error = store, method, error

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name != self._method or self._error is None:
            return real

        async def refuse(*_given: Any, **_named: Any) -> None:
            error, self._error = self._error, None
            raise error

        return refuse


async def succeed(_function: str) -> Outcome:
    return Outcome(b"{}")


async def fail(_function: str) -> Outcome:
    return Outcome(b'{"errorType": "Error"}', "Unhandled")


async def never(_function: str) -> Outcome:
    await asyncio.Event().wait()
    raise AssertionError


@contextlib.asynccontextmanager
async def world(
    directory: Path, act: Callable[[str], Awaitable[Outcome]] = succeed
) -> AsyncIterator[World]:
    """A store without events."""
    database = await Database.open(directory / "events.db")
    async with SqlEventStore(database) as store:
        yield World(database, store, Functions(act), Clock(wall=lambda: NOW))
    await database.close()


async def until_true(condition: Callable[[], Awaitable[object]]) -> None:
    """Look again and again, till what is asked of the database is so."""
    deadline = time.monotonic() + DEADLINE_S
    while not await condition():
        assert time.monotonic() < deadline, "it never came true"
        await asyncio.sleep(0.001)


async def gone(it: World) -> bool:
    """Whether every event has come to its end."""
    return not await it.left()
