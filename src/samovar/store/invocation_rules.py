"""Event invoke configs and recursion settings in SQL: `InvocationRuleStore` of `rule_stores.py`.

As in `functions.py`, every write first locks the row of its function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.event_invoke_config import EventInvokeConfig
from samovar.model.function import FunctionId
from samovar.ports import Page
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.qualified import check_qualifier, delete_of, lock, of, row_of
from samovar.store.records import id_from, key_of
from samovar.store.schema import event_invoke_configs, functions

_LISTING = "event-invoke-configs"
_COLUMNS = ("function", "qualifier", "last_modified")


class SqlInvocationRuleStore:
    """The `InvocationRuleStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, function: FunctionId, qualifier: str) -> EventInvokeConfig | None:
        """One configuration; None: there is none, or no such function."""
        async with self._database.read() as connection:
            return await _find(connection, function, qualifier)

    async def change(
        self,
        function: FunctionId,
        qualifier: str,
        change: Callable[[EventInvokeConfig | None], EventInvokeConfig],
    ) -> EventInvokeConfig:
        """See the port. NOT_FOUND; what `change` raises."""
        async with self._database.write() as connection:
            await lock(connection, function)
            await check_qualifier(connection, function, qualifier)
            before = await _find(connection, function, qualifier)
            config = change(before)
            await delete_of(connection, event_invoke_configs, function, qualifier)
            await connection.execute(sa.insert(event_invoke_configs), _row(config))
        return config

    async def delete(self, function: FunctionId, qualifier: str) -> bool:
        """Whether there was one. NOT_FOUND."""
        async with self._database.write() as connection:
            await lock(connection, function)
            return await delete_of(connection, event_invoke_configs, function, qualifier) > 0

    async def list_configs(
        self, function: FunctionId, *, marker: str | None, limit: int
    ) -> Page[EventInvokeConfig]:
        """By qualifier. NOT_FOUND."""
        query = sa.select(event_invoke_configs).where(of(event_invoke_configs, function))
        if marker is not None:
            (after,) = read_marker(marker, _LISTING, str)
            query = query.where(event_invoke_configs.c.qualifier > after)
        query = query.order_by(event_invoke_configs.c.qualifier).limit(limit + 1)
        async with self._database.read() as connection:
            await row_of(connection, function)
            rows = (await connection.execute(query)).all()
        shown = rows[:limit]
        more = write_marker(_LISTING, shown[-1].qualifier) if rows[limit:] else None
        return Page([_config(row) for row in shown], more)

    async def loops_allowed(self, function: FunctionId) -> bool:
        """Whether it may be invoked in a recursive loop. NOT_FOUND."""
        async with self._database.read() as connection:
            return bool((await row_of(connection, function)).loops_allowed)

    async def allow_loops(self, function: FunctionId, allowed: bool) -> None:
        """NOT_FOUND."""
        async with self._database.write() as connection:
            await lock(connection, function)
            await connection.execute(
                sa.update(functions).where(of(functions, function)).values(loops_allowed=allowed)
            )


async def _find(
    connection: AsyncConnection, function: FunctionId, qualifier: str
) -> EventInvokeConfig | None:
    query = sa.select(event_invoke_configs).where(
        of(event_invoke_configs, function), event_invoke_configs.c.qualifier == qualifier
    )
    row = (await connection.execute(query)).first()
    return None if row is None else _config(row)


def _row(config: EventInvokeConfig) -> dict[str, Any]:
    settings = msgspec.to_builtins(config)
    for column in _COLUMNS:
        del settings[column]
    return {
        **key_of(config.function),
        "qualifier": config.qualifier,
        "last_modified": config.last_modified,
        "config": settings,
    }


def _config(row: Any) -> EventInvokeConfig:
    columns = {"qualifier": row.qualifier, "last_modified": row.last_modified}
    return msgspec.convert({**row.config, **columns, "function": id_from(row)}, EventInvokeConfig)
