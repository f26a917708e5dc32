"""Reserved concurrency: what is in force is what is kept, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from samovar.frontend.auth import Caller
from samovar.frontend.operations.concurrency import ConcurrencyOperations
from samovar.model.errors import ErrorCode, PlatformError
from samovar.ports import FunctionRecord
from tests.contract.samples import function_id
from tests.unit.scripted_worker import ScriptedWorker, managing, settled

F = function_id("f")
CALLER = Caller(F.account, F.region)


class Records:
    """The part of the `FunctionStore` port that these operations use; writes wait for the test."""

    def __init__(self) -> None:
        self.kept: int | None = 5
        self.gone = False
        self.writes: list[asyncio.Future[None]] = []

    async def record(self, function):
        return FunctionRecord(function, self.kept)

    async def set_reserved_concurrency(self, function, limit):
        self.writes.append(asyncio.get_running_loop().create_future())
        await self.writes[-1]
        if self.gone:
            raise PlatformError(ErrorCode.NOT_FOUND, "gone")
        self.kept = limit


class NoScales:
    """The part of `Scaling` that these operations use: nothing was asked for."""

    async def follow(self, function):
        assert function == F


def operations_of(store, manager):
    control = SimpleNamespace(store=store, manager=manager, scaling=NoScales())
    return ConcurrencyOperations(control).handlers()


def reserved(manager):
    return manager.ledger.account_limit - manager.ledger.unreserved_limit


async def test_two_at_once_leave_in_force_what_is_kept():
    store = Records()
    async with managing(ScriptedWorker()) as manager:
        operations = operations_of(store, manager)
        asked = [
            asyncio.create_task(
                operations["PutFunctionConcurrency"](
                    CALLER, {"FunctionName": "f", "ReservedConcurrentExecutions": limit}
                )
            )
            for limit in (10, 20)
        ]
        while not all(task.done() for task in asked):
            await settled()
            for write in reversed(store.writes):  # the later first, where they may overtake
                if not write.done():
                    write.set_result(None)
                    await settled()
        assert reserved(manager) == store.kept


async def test_what_is_deleted_meanwhile_reserves_nothing():
    store = Records()
    async with managing(ScriptedWorker()) as manager:
        operations = operations_of(store, manager)
        request = {"FunctionName": "f", "ReservedConcurrentExecutions": 10}
        asked = asyncio.create_task(operations["PutFunctionConcurrency"](CALLER, request))
        await settled()
        store.gone = True
        manager.set_reserved_concurrency(F, None)  # the deletion
        store.writes[0].set_result(None)
        with pytest.raises(PlatformError):
            await asked
        assert reserved(manager) == 0
