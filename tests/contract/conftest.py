"""Every implementation of a store, for the suites that each of them must pass."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from samovar.ports import FunctionStore
from samovar.store.database import Database
from samovar.store.functions import SqlFunctionStore

OpenStore = Callable[[Path], AbstractAsyncContextManager[FunctionStore]]


@asynccontextmanager
async def on_sqlite(directory: Path) -> AsyncIterator[FunctionStore]:
    database = await Database.open(f"sqlite+aiosqlite:///{directory}/state.db")
    yield SqlFunctionStore(database)
    await database.close()


FUNCTION_STORES: dict[str, OpenStore] = {"sqlite": on_sqlite}


@pytest.fixture(params=FUNCTION_STORES)
def open_store(request: pytest.FixtureRequest) -> OpenStore:
    return FUNCTION_STORES[request.param]


@pytest.fixture
async def store(open_store: OpenStore, tmp_path: Path) -> AsyncIterator[FunctionStore]:
    """An empty function store."""
    async with open_store(tmp_path) as opened:
        yield opened


@pytest.fixture
def run_with_store(
    open_store: OpenStore, tmp_path: Path
) -> Iterator[Callable[[Callable[[FunctionStore], Awaitable[None]]], None]]:
    """Runs a coroutine function with one store, many times: for properties."""
    with asyncio.Runner() as runner:
        opened = open_store(tmp_path)
        store = runner.run(opened.__aenter__())

        async def act_with(act: Callable[[FunctionStore], Awaitable[None]]) -> None:
            await act(store)

        yield lambda act: runner.run(act_with(act))
        runner.run(opened.__aexit__(None, None, None))
