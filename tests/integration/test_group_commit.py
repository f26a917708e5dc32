"""Writes that come together share a transaction, and fail alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from samovar.model.errors import ErrorCode, PlatformError
from samovar.store.database import Database
from samovar.store.group_commit import GroupCommit

INSERT = sa.text("INSERT INTO numbers VALUES (:number)")


class Numbers:
    """Writes numbers into a table; some cannot be written."""

    def __init__(self, database: Database, **bounds: int) -> None:
        self.groups: list[list[int]] = []
        self.done: list[tuple[int, Any]] = []
        self.commit = GroupCommit[int](database, self._perform, self._done, **bounds)

    def _perform(self, connection: sa.Connection, numbers: Sequence[int]) -> Sequence[Any]:
        self.groups.append(list(numbers))
        connection.execute(INSERT, [{"number": number} for number in numbers])
        if 13 in numbers:
            raise ValueError("an unlucky number")
        return [PlatformError(ErrorCode.CONFLICT, "!") if n == 7 else n * 10 for n in numbers]

    def _done(self, number: int, result: Any) -> None:
        self.done.append((number, result))

    async def submit(self, *numbers: int) -> list[Any]:
        submitted = (self.commit.submit(number, 100) for number in numbers)
        return await asyncio.gather(*submitted, return_exceptions=True)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    opened = await Database.open(tmp_path / "numbers.db")
    async with opened.write() as connection:
        await connection.execute(sa.text("CREATE TABLE numbers (number INTEGER)"))
    yield opened
    await opened.close()


async def written(database: Database) -> list[int]:
    async with database.read() as connection:
        return [row[0] for row in await connection.execute(sa.text("SELECT * FROM numbers"))]


async def test_what_waits_is_written_together_and_each_hears_of_its_own(database):
    numbers = Numbers(database)
    async with numbers.commit:
        assert await numbers.submit(*range(1, 6)) == [10, 20, 30, 40, 50]
    assert sorted(map(len, numbers.groups), reverse=True)[0] >= 4
    assert sorted(await written(database)) == [1, 2, 3, 4, 5]


async def test_a_result_may_be_an_error_of_one_and_undoes_nothing(database):
    numbers = Numbers(database)
    async with numbers.commit:
        results = await numbers.submit(6, 7, 8)
    assert [type(result) for result in results] == [int, PlatformError, int]
    assert sorted(await written(database)) == [6, 7, 8]


async def test_what_cannot_be_written_fails_alone(database):
    numbers = Numbers(database)
    async with numbers.commit:
        results = await numbers.submit(*range(10, 20))
    assert [n for n, result in zip(range(10, 20), results, strict=True) if result != n * 10] == [13]
    assert sorted(await written(database)) == [n for n in range(10, 20) if n != 13]


async def test_who_goes_away_does_not_undo_its_write(database):
    numbers = Numbers(database)
    async with numbers.commit:
        async with asyncio.TaskGroup() as tasks:
            going = tasks.create_task(numbers.commit.submit(1))
            await asyncio.sleep(0)
            going.cancel()
        await numbers.submit(2)
    assert numbers.done == [(1, 10), (2, 20)]
    assert sorted(await written(database)) == [1, 2]


@pytest.mark.parametrize("bound", [{"max_waiting": 3}, {"max_waiting_bytes": 300}])
async def test_no_more_wait_than_may(database, bound):
    numbers = Numbers(database, **bound)
    async with numbers.commit:
        results = await numbers.submit(*range(1, 9))
        refused = [result for result in results if isinstance(result, PlatformError)]
        assert len(refused) >= 4
        assert {error.code for error in refused} == {ErrorCode.UNAVAILABLE}
        assert await numbers.submit(20) == [200]
    assert len(numbers.done) == 9


async def test_what_waits_at_the_end_is_still_written_and_nothing_after_it(database):
    numbers = Numbers(database)
    async with numbers.commit, asyncio.TaskGroup() as tasks:
        tasks.create_task(numbers.submit(1, 2, 3))
        await asyncio.sleep(0)
    assert sorted(await written(database)) == [1, 2, 3]
    (refused,) = await numbers.submit(4)
    assert refused.code is ErrorCode.UNAVAILABLE


async def test_who_cannot_hear_of_its_write_keeps_nobody_from_hearing(database):
    numbers = Numbers(database)

    def done(number, result):
        if number == 1:
            raise RuntimeError("not now")

    numbers.commit = GroupCommit[int](database, numbers._perform, done)
    async with numbers.commit:
        assert await numbers.submit(1, 2) == [10, 20]
        assert await numbers.submit(3) == [30]


async def test_nobody_waits_for_writes_whose_task_has_ended(database):
    class Ends:
        async def transact(self, work):
            raise asyncio.CancelledError

    numbers = Numbers(Ends())
    async with numbers.commit:
        results = [*await numbers.submit(1, 2), *await numbers.submit(3)]
    assert [result.code for result in results] == [ErrorCode.UNAVAILABLE] * 3
    assert numbers.done == list(zip((1, 2, 3), results, strict=True))
