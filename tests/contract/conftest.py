"""Every database that a store may stand on, for the suites that each of them must pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from samovar.ports import FunctionStore
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore
from tests.contract.postgresql import PostgreSQL, programs, running_postgresql

DATABASES = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL of this test process."""
    found = programs()
    if found is None:
        pytest.skip("there is no PostgreSQL on this machine: Debian's package is `postgresql`")
    with running_postgresql(found) as server:
        yield server


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Of an empty database: what `Database.open` takes."""
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path}/state.db"
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    with server.database() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty database, open."""
    opened = await Database.open(database_url)
    yield opened
    await opened.close()


@pytest.fixture
def store(database: Database) -> FunctionStore:
    """An empty function store."""
    return SqlFunctionStore(database)


@pytest.fixture
def run_with_store(
    database_url: str,
) -> Iterator[Callable[[Callable[[FunctionStore], Awaitable[None]]], None]]:
    """Runs a coroutine function with one store, many times: for properties."""
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(database_url))
        store = SqlFunctionStore(database)

        async def act_with(act: Callable[[FunctionStore], Awaitable[None]]) -> None:
            await act(store)

        yield lambda act: runner.run(act_with(act))
        runner.run(database.close())
