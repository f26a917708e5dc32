"""Event source mappings in SQL: the `EventSourceStore` of `stores.py`.

As in `functions.py`, every write first locks a row: that of the mapping. What a listing selects by
is a column of its own; the rest is one document.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.event_source import EventSourceMapping, SourceKind
from samovar.model.function import FunctionId
from samovar.ports import Page
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.records import key_of
from samovar.store.schema import event_source_positions, event_sources
from samovar.telemetry.log import get_logger

log = get_logger("store")

_AT = event_sources.c
_SHARD = event_source_positions.c
_LISTING = "event-source-mappings"


class SqlEventSourceStore:
    """The `EventSourceStore` over a `Database`."""

    def __init__(self, database: Database, max_mappings: int) -> None:
        self._database = database
        self._max_mappings = max_mappings

    async def create(self, mapping: EventSourceMapping) -> None:
        """Add a mapping; see the port. CONFLICT, INVALID_PARAMETER."""
        async with self._database.write() as connection:
            number = await connection.scalar(sa.select(sa.func.count()).select_from(event_sources))
            if (number or 0) >= self._max_mappings:
                raise PlatformError(
                    ErrorCode.INVALID_PARAMETER,
                    f"There are {number} event source mappings already, and this server takes no "
                    "more (SAMOVAR_MAX_EVENT_SOURCES).",
                )
            await _refuse_duplicate(connection, mapping)
            await connection.execute(sa.insert(event_sources), _row(mapping))

    async def get(self, uuid: str) -> EventSourceMapping:
        """One mapping. NOT_FOUND."""
        async with self._database.read() as connection:
            return await _find(connection, sa.select(event_sources), uuid)

    async def list_mappings(
        self,
        account: str,
        region: str,
        *,
        source_arn: str | None,
        function: FunctionId | None,
        qualifier: str | None,
        marker: str | None,
        limit: int,
    ) -> Page[EventSourceMapping]:
        """Those of an account; see the port."""
        query = sa.select(event_sources).where(_AT.account == account, _AT.region == region)
        if source_arn is not None:
            query = query.where(_AT.source_arn == source_arn)
        if function is not None:
            query = query.where(_AT.name == function.name)
        if qualifier is not None:
            query = query.where(_AT.qualifier == qualifier)
        if marker is not None:
            (after,) = read_marker(marker, _LISTING, str)
            query = query.where(_AT.uuid > after)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(_AT.uuid).limit(limit + 1))).all()
        shown = rows[:limit]
        more = write_marker(_LISTING, shown[-1].uuid) if rows[limit:] else None
        return Page([_mapping(row) for row in shown], more)

    async def all_mappings(self) -> Sequence[EventSourceMapping]:
        """Everybody's."""
        async with self._database.read() as connection:
            rows = (await connection.execute(sa.select(event_sources))).all()
        readable = []
        for row in rows:
            try:
                readable.append(_mapping(row))
            except msgspec.ValidationError as error:  # it must not keep the others from working
                log.warning("a mapping cannot be read", mapping=row.uuid, error=str(error))
        return readable

    async def change(
        self, uuid: str, change: Callable[[EventSourceMapping], EventSourceMapping]
    ) -> EventSourceMapping:
        """Put `change(mapping)` in its place; see the port. NOT_FOUND, CONFLICT."""
        async with self._database.write() as connection:
            before = await _find(connection, sa.select(event_sources).with_for_update(), uuid)
            after = change(before)
            if after.uuid != uuid:
                raise ValueError("a mapping keeps its UUID")
            if not after.feeds_the_same(before):
                await _refuse_duplicate(connection, after)
            if after != before:
                await connection.execute(
                    sa.update(event_sources).where(_AT.uuid == uuid).values(_row(after))
                )
        return after

    async def remove(self, uuid: str) -> None:
        """With its positions."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(event_source_positions).where(_SHARD.uuid == uuid))
            await connection.execute(sa.delete(event_sources).where(_AT.uuid == uuid))

    async def positions(self, uuid: str) -> Mapping[str, Any]:
        """Shard → where to go on."""
        query = sa.select(event_source_positions).where(_SHARD.uuid == uuid)
        async with self._database.read() as connection:
            return {row.shard: row.position for row in await connection.execute(query)}

    async def save_position(self, uuid: str, shard: str, position: Any) -> None:
        """NOT_FOUND where the mapping has gone."""
        at = sa.and_(_SHARD.uuid == uuid, _SHARD.shard == shard)
        async with self._database.write() as connection:
            await _find(connection, sa.select(event_sources).with_for_update(), uuid)
            saved = await connection.execute(
                sa.update(event_source_positions).where(at).values(position=position)
            )
            if not saved.rowcount:
                await connection.execute(
                    sa.insert(event_source_positions),
                    {"uuid": uuid, "shard": shard, "position": position},
                )

    async def forget_position(self, uuid: str, shard: str) -> None:
        """Drop what was saved of a shard."""
        at = sa.and_(_SHARD.uuid == uuid, _SHARD.shard == shard)
        async with self._database.write() as connection:
            await connection.execute(sa.delete(event_source_positions).where(at))


async def _find(
    connection: AsyncConnection, query: sa.Select[Any], uuid: str
) -> EventSourceMapping:
    row = (await connection.execute(query.where(_AT.uuid == uuid))).first()
    if row is None:
        raise PlatformError(ErrorCode.NOT_FOUND, "The resource you requested does not exist.")
    return _mapping(row)


async def _refuse_duplicate(connection: AsyncConnection, mapping: EventSourceMapping) -> None:
    query = sa.select(event_sources).where(
        *(_AT[column] == value for column, value in key_of(mapping.function).items()),
        _AT.uuid != mapping.uuid,
        _AT.source_arn.is_not_distinct_from(mapping.source_arn),
    )
    for row in await connection.execute(query):
        if _mapping(row).feeds_the_same(mapping):
            raise PlatformError(ErrorCode.CONFLICT, _conflict(mapping, row.uuid))


def _conflict(mapping: EventSourceMapping, uuid: str) -> str:
    """AWS's words, blanks included; it has two versions of them."""
    name = f'function (" {mapping.function.name} ")'
    source = mapping.source_arn or ",".join(mapping.bootstrap_servers)
    which = (
        f'An event source mapping with SQS arn (" {source} ") and {name}'
        if mapping.kind is SourceKind.SQS
        else f'The event source arn (" {source} ") and {name} provided mapping'
    )
    return f"{which} already exists. Please update or delete the existing mapping with UUID {uuid}"


# ---------------------------------------------------------------- rows


def _row(mapping: EventSourceMapping) -> dict[str, Any]:
    return {
        "uuid": mapping.uuid,
        **key_of(mapping.function),
        "qualifier": mapping.qualifier,
        "source_arn": mapping.source_arn,
        "state": mapping.state.value,
        "last_modified": mapping.last_modified,
        "config": msgspec.to_builtins(mapping, builtin_types=()),
    }


def _mapping(row: Any) -> EventSourceMapping:
    return msgspec.convert(row.config, EventSourceMapping)
