"""Group commit: writes that come while another transaction is under way share the next one.

How this works. One task takes all the writes that wait and has them performed in one transaction,
so that a hundred of them cost one sync of the disk. Whoever submitted a write goes on when that
transaction is durable. If it fails, both halves of the group are tried again by themselves, so that
a write that cannot be made fails alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Generic, TypeVar

import sqlalchemy as sa

from samovar.model.errors import ErrorCode, PlatformError
from samovar.store.database import Database
from samovar.telemetry.log import get_logger

log = get_logger("store")

MAX_GROUP = 512
"""Writes in one transaction: the ones after them wait for it."""

MAX_GROUP_BYTES = 16 * 1024 * 1024
"""A group ends with the write that brings it over this."""

MAX_WAITING = 16_384
MAX_WAITING_BYTES = 256 * 1024 * 1024
"""Of writes that wait for their group; more are refused."""

Write = TypeVar("Write")
Perform = Callable[[sa.Connection, Sequence[Write]], Sequence[Any]]
"""Performs writes in a transaction, and returns what came of each: an exception is its alone, and
undoes nothing. What it raises undoes all of it."""

Waiter = tuple[Write, int, "asyncio.Future[Any]"]


class GroupCommit(Generic[Write]):
    """Use as an async context manager: its task lives inside, and ends when nothing waits."""

    def __init__(
        self,
        database: Database,
        perform: Perform[Write],
        done: Callable[[Write, Any], None],
        max_waiting: int = MAX_WAITING,
        max_waiting_bytes: int = MAX_WAITING_BYTES,
    ) -> None:
        """`done` is called with each write and what came of it, before who submitted it goes on,
        and also if nobody waits for it any more."""
        self._database = database
        self._perform = perform
        self._done = done
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting: deque[Waiter[Write]] = deque()
        self._waiting_bytes = 0
        self._under_way: deque[Waiter[Write]] = deque()
        """The group that is being made: those of it that have not been answered, in order."""
        self._news = asyncio.Event()
        self._closing = False
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> GroupCommit[Write]:
        await self._tasks.__aenter__()
        self._tasks.create_task(self._work(), name="group-commit")
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        self._news.set()
        await self._tasks.__aexit__(None, None, None)

    async def submit(self, write: Write, size_bytes: int = 0) -> Any:
        """Have a write made; return, or raise, what came of it. Raises UNAVAILABLE where too many
        wait. When cancelled, it is made nevertheless."""
        full = (
            len(self._waiting) >= self._max_waiting
            or self._waiting_bytes >= self._max_waiting_bytes
        )
        if self._closing or full:
            failure = _unavailable("too many writes are waiting")
            self._tell(write, failure)
            raise failure
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, size_bytes, future))
        self._waiting_bytes += size_bytes
        self._news.set()
        return await future

    async def _work(self) -> None:
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._news.clear()
                    await self._news.wait()
                    continue
                await self._make(self._next_group())
        finally:  # nobody is to wait for who has gone
            self._closing = True
            self._under_way.extend(self._waiting)
            self._waiting.clear()
            self._answer([_unavailable("it is stopping")] * len(self._under_way))

    def _next_group(self) -> list[Waiter[Write]]:
        group: list[Waiter[Write]] = []
        size_bytes = 0
        while self._waiting and len(group) < MAX_GROUP and size_bytes < MAX_GROUP_BYTES:
            group.append(self._waiting.popleft())
            size_bytes += group[-1][1]
        self._waiting_bytes -= size_bytes
        self._under_way.extend(group)
        return group

    async def _make(self, group: Sequence[Waiter[Write]]) -> None:
        writes = [write for write, _, _ in group]
        try:
            results = await self._database.transact(lambda c: self._perform(c, writes))
        except Exception as error:
            if len(group) > 1 and not _is_busy(error):
                middle = len(group) // 2
                await self._make(group[:middle])
                await self._make(group[middle:])
                return
            results = [error] * len(group)
        self._answer(results)

    def _answer(self, results: Sequence[Any]) -> None:
        for result in results:
            write, _, future = self._under_way.popleft()
            self._tell(write, result)
            if future.done():  # nobody waits for it any more
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _tell(self, write: Write, result: Any) -> None:
        try:
            self._done(write, result)
        except Exception:  # what was written is written, and others wait for theirs
            log.exception("what came of a write was not heard")


def _unavailable(why: str) -> PlatformError:
    return PlatformError(ErrorCode.UNAVAILABLE, f"The service is unavailable: {why}.")


def _is_busy(error: Exception) -> bool:
    return isinstance(error, PlatformError) and error.code is ErrorCode.UNAVAILABLE
