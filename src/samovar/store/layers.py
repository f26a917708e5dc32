"""Layers in SQL: the `LayerStore` of `stores.py`.

As in `functions.py`, every write first locks a row: that of the layer, or of the version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from samovar.model.errors import ErrorCode, PlatformError
from samovar.model.layer import LayerId, LayerPolicy, LayerVersion
from samovar.ports import MadeFor, Page
from samovar.store.database import Database
from samovar.store.markers import read_marker, write_marker
from samovar.store.schema import layer_versions, layers

_AT = layer_versions.c


class SqlLayerStore:
    """The `LayerStore` over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def publish(self, layer: LayerId, build: Callable[[int], LayerVersion]) -> LayerVersion:
        """Add the version that `build` makes; see the port."""
        at = layer._asdict()
        query = sa.select(layers.c.last_published).where(*_same(layers, at)).with_for_update()
        async with self._database.write() as connection:
            last = await connection.scalar(query)
            if last is None:
                last = 0
                await connection.execute(sa.insert(layers), {**at, "last_published": 0})
            published = build(last + 1)
            if (published.id, published.number) != (layer, last + 1):
                raise ValueError(f"asked for version {last + 1}, built {published.arn}")
            await connection.execute(sa.insert(layer_versions), _row(published))
            await connection.execute(
                sa.update(layers).where(*_same(layers, at)).values(last_published=last + 1)
            )
        return published

    async def get(self, layer: LayerId, number: int) -> LayerVersion:
        """One version. NOT_FOUND."""
        async with self._database.read() as connection:
            return _version(await _find(connection, sa.select(layer_versions), layer, number))

    async def list_versions(
        self, layer: LayerId, made_for: MadeFor, *, marker: str | None, limit: int
    ) -> Page[LayerVersion]:
        """The newest first; see the port."""
        query = sa.select(layer_versions).where(
            *_same(layer_versions, layer._asdict()), *_fits(made_for)
        )
        if marker is not None:
            (before,) = read_marker(marker, "layer-versions", int)
            query = query.where(_AT.number < before)
        async with self._database.read() as connection:
            ordered = query.order_by(_AT.number.desc()).limit(limit + 1)
            rows = (await connection.execute(ordered)).all()
        shown = rows[:limit]
        more = write_marker("layer-versions", shown[-1].number) if rows[limit:] else None
        return Page([_version(row) for row in shown], more)

    async def list_layers(
        self, account: str, region: str, made_for: MadeFor, *, marker: str | None, limit: int
    ) -> Page[LayerVersion]:
        """The newest version of each that fits, by name; see the port."""
        newest = (
            sa.select(_AT.name, sa.func.max(_AT.number).label("number"))
            .where(_AT.account == account, _AT.region == region, *_fits(made_for))
            .group_by(_AT.name)
            .order_by(_AT.name)
            .limit(limit + 1)
        )
        if marker is not None:
            (after,) = read_marker(marker, "layers", str)
            newest = newest.where(_AT.name > after)
        chosen = newest.subquery()
        query = (
            sa.select(layer_versions)
            .join(chosen, sa.and_(chosen.c.name == _AT.name, chosen.c.number == _AT.number))
            .where(_AT.account == account, _AT.region == region)
            .order_by(_AT.name)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        shown = rows[:limit]
        more = write_marker("layers", shown[-1].name) if rows[limit:] else None
        return Page([_version(row) for row in shown], more)

    async def delete(self, layer: LayerId, number: int) -> None:
        """With its policy. Deleting what is not there is no error."""
        async with self._database.write() as connection:
            await connection.execute(sa.delete(layer_versions).where(*_one(layer, number)))

    async def policy(self, layer: LayerId, number: int) -> LayerPolicy | None:
        """Who else may use a version. NOT_FOUND."""
        async with self._database.read() as connection:
            return _policy(await _find(connection, sa.select(_AT.policy), layer, number))

    async def change_policy(
        self,
        layer: LayerId,
        number: int,
        change: Callable[[LayerPolicy | None], LayerPolicy | None],
    ) -> None:
        """Put `change(policy)` in its place; see the port. NOT_FOUND."""
        query = sa.select(_AT.policy).with_for_update()
        async with self._database.write() as connection:
            changed = change(_policy(await _find(connection, query, layer, number)))
            await connection.execute(
                sa.update(layer_versions)
                .where(*_one(layer, number))
                .values(policy=None if changed is None else msgspec.to_builtins(changed))
            )

    async def code_in_use(self) -> frozenset[str]:
        """sha256 (hex) of every package that a layer version refers to."""
        async with self._database.read() as connection:
            return frozenset(await connection.scalars(sa.select(_AT.code_sha256).distinct()))


def _same(table: sa.Table, values: dict[str, Any]) -> list[sa.ColumnElement[bool]]:
    return [table.c[column] == value for column, value in values.items()]


def _one(layer: LayerId, number: int) -> list[sa.ColumnElement[bool]]:
    return _same(layer_versions, {**layer._asdict(), "number": number})


async def _find(
    connection: AsyncConnection, query: sa.Select[Any], layer: LayerId, number: int
) -> Any:
    row = (await connection.execute(query.where(*_one(layer, number)))).first()
    if row is None:
        raise PlatformError(ErrorCode.NOT_FOUND, "The resource you requested does not exist.")
    return row


# ---------------------------------------------------------------- rows

_SEPARATOR = ","


def _listed(names: tuple[str, ...]) -> str:
    """Names as one text in which each can be searched for, on any database."""
    return _SEPARATOR + "".join(name + _SEPARATOR for name in names)


def _fits(made_for: MadeFor) -> list[sa.ColumnElement[bool]]:
    wanted = ((_AT.runtimes, made_for.runtime), (_AT.architectures, made_for.architecture))
    return [
        column.contains(_listed((name,)), autoescape=True)
        for column, name in wanted
        if name is not None
    ]


def _row(version: LayerVersion) -> dict[str, Any]:
    config = msgspec.to_builtins(version)
    for column in ("id", "number", "created"):
        del config[column]
    return {
        **version.id._asdict(),
        "number": version.number,
        "created": version.created,
        "code_sha256": version.code.sha256_hex,
        "runtimes": _listed(version.runtimes),
        "architectures": _listed(version.architectures),
        "config": config,
        "policy": None,
    }


def _version(row: Any) -> LayerVersion:
    layer = LayerId(row.account, row.region, row.name)
    fields = {**row.config, "id": layer, "number": row.number, "created": row.created}
    return msgspec.convert(fields, LayerVersion)


def _policy(row: Any) -> LayerPolicy | None:
    return None if row.policy is None else msgspec.convert(row.policy, LayerPolicy)
