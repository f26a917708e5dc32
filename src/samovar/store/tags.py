"""Tags of functions in SQL: the `TagStore` of `scale_stores.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sa

from samovar.model.function import FunctionId
from samovar.store.database import Database
from samovar.store.qualified import lock, of, row_of
from samovar.store.records import id_from
from samovar.store.schema import functions


class SqlTagStore:
    """The `TagStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def tags(self, function: FunctionId) -> Mapping[str, str]:
        """All of a function's. NOT_FOUND."""
        async with self._database.read() as connection:
            found: Mapping[str, str] = (await row_of(connection, function)).tags
        return found

    async def change_tags(
        self, function: FunctionId, change: Callable[[Mapping[str, str]], Mapping[str, str]]
    ) -> Mapping[str, str]:
        """Put `change(tags)` in their place and return it. NOT_FOUND; what `change` raises."""
        async with self._database.write() as connection:
            tags = change((await lock(connection, function)).tags)
            await connection.execute(
                sa.update(functions).where(of(functions, function)).values(tags=dict(tags))
            )
        return tags

    async def tagged(self, prefix: str) -> Mapping[FunctionId, Mapping[str, str]]:
        """Everybody who has a tag whose key begins with `prefix`, with all tags."""
        text = sa.cast(functions.c.tags, sa.Text)
        query = sa.select(functions).where(text.contains(f'"{prefix}', autoescape=True))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return {
            id_from(row): row.tags
            for row in rows
            if any(key.startswith(prefix) for key in row.tags)  # it may have been in a value
        }
